//! One connection as the rest of the program sees it.

mod admission;
pub mod backend;
pub mod inbox;
pub mod job;
pub mod thread;

use crate::control::Control;
use crate::counters::Counters;
use crate::database::OpenFiles;
use crate::questions::Questions;
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
    /// What the request that runs asks of the client.
    pub questions: Arc<Questions>,
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
        let questions = Arc::new(Questions::new(Arc::clone(&control)));
        let counters = Arc::new(Counters::default());
        let inbox = Inbox::new(
            Arc::clone(&control),
            Arc::clone(&questions),
            Arc::clone(&counters),
            queue_requests_max,
            queued_bytes,
        );
        Connection {
            id,
            control,
            questions,
            counters,
            inbox,
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
