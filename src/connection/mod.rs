//! One connection as the rest of the program sees it.

mod admission;
pub mod backend;
pub mod inbox;
pub mod job;
pub mod thread;

use crate::control::Control;
use crate::counters::Counters;
use crate::database::OpenFiles;
use backend::Backend;
use inbox::Inbox;
use job::QueuedBytes;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// An open connection, shared by the router and the connection's thread.
pub struct Connection {
    /// Its id on the wire.
    pub id: u32,
    /// What makes running work stop.
    pub control: Arc<Control>,
    /// Counts.
    pub counters: Arc<Counters>,
    /// What waits, and who may run it.
    pub inbox: Inbox,
    backend: Mutex<Option<Backend>>,
    /// The files that it has open.
    pub files: Arc<OpenFiles>,
}

impl Connection {
    /// A connection whose thread is about to open the database.
    pub fn new(id: u32, queue_requests_max: u32, queued_bytes: Arc<QueuedBytes>) -> Self {
        let control = Arc::new(Control::new());
        let counters = Arc::new(Counters::default());
        let (stops, counts) = (Arc::clone(&control), Arc::clone(&counters));
        Connection {
            id,
            control,
            counters,
            inbox: Inbox::new(stops, counts, queue_requests_max, queued_bytes),
            backend: Mutex::new(None),
            files: Arc::default(),
        }
    }

    /// What it is connected to, for whoever has the right to run.
    pub fn backend(&self) -> MutexGuard<'_, Option<Backend>> {
        self.backend.lock()
    }

    /// Prepared statements and cursors that its client holds.
    pub fn held(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (read(&self.counters.statements), read(&self.counters.cursors))
    }

    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.inbox.queued()
    }
}
