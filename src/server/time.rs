//! The handle that other threads have on the [`super::timekeeper`]: they tell it what it has to look at.

use super::exit::Exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use tokio::sync::{mpsc, Notify};

/// The handle that other threads have on the timekeeper.
#[derive(Clone)]
pub struct Time(pub(super) Arc<Shared>);

/// What they share with it.
pub(super) struct Shared {
    pub(super) parked: AtomicBool,
    pub(super) leads: AtomicU64,
    pub(super) unpark: Notify,
    pub(super) next_deadline_ns: AtomicU64,
    pub(super) deadline_set: Notify,
    pub(super) table_empty: Notify,
    pub(super) shut_down: mpsc::UnboundedSender<Exit>,
}

impl Time {
    /// The leader starts a statement.
    #[inline]
    pub fn leader_is_busy(&self) {
        self.0.leads.fetch_add(1, Ordering::Relaxed);
        // The leader has set its busy flag before this load, the watcher sets `parked` before it looks at that flag:
        // one of the two sees the other (both SeqCst).
        if self.0.parked.load(Ordering::SeqCst) {
            self.0.parked.store(false, Ordering::SeqCst);
            self.0.unpark.notify_one();
        }
    }

    /// A request with this deadline waits on some connection.
    pub fn queued_until(&self, deadline_ns: u64) {
        if deadline_ns < self.0.next_deadline_ns.fetch_min(deadline_ns, Ordering::SeqCst) {
            self.0.deadline_set.notify_one();
        }
    }

    /// The last connection is gone.
    pub fn table_is_empty(&self) {
        self.0.table_empty.notify_one();
    }

    /// Ends the program; the first reason counts.
    pub fn shut_down(&self, exit: Exit) {
        // Nobody listens only when the end has come already.
        let _ = self.0.shut_down.send(exit);
    }
}
