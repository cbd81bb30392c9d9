//! What the engine asks of a connection while it runs: stop? wait? and what it tells after a commit.

use crate::clock::now_ns;
use crate::control::Control;
use crate::database::DatabaseFile;
use crate::engine::watch::Watch;
use crate::surroundings::Relief;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// How long a statement may run on the thread that reads requests before that thread lets another one read.
const READER_BUDGET_NS: u64 = 300_000;

/// How long a statement computes before it lets other threads have the processor. With more endless statements than
/// processors a short one elsewhere would else wait for a whole time slice of each.
const SLICE_NS: u64 = 500_000;

/// A connection's watch.
pub struct ConnectionWatch {
    control: Arc<Control>,
    main: OnceLock<Arc<DatabaseFile>>,
    attached: Mutex<Vec<(String, Arc<DatabaseFile>)>>,
    relief: Arc<dyn Relief>,
    relieve_at_ns: AtomicU64,
    yield_at_ns: AtomicU64,
}

impl ConnectionWatch {
    /// The watch of the connection that `control` belongs to.
    pub fn new(control: Arc<Control>, relief: Arc<dyn Relief>) -> Self {
        ConnectionWatch {
            control,
            main: OnceLock::new(),
            attached: Mutex::new(Vec::new()),
            relief,
            relieve_at_ns: AtomicU64::new(u64::MAX),
            yield_at_ns: AtomicU64::new(0),
        }
    }

    /// The main database's file, known once the handle is open.
    pub fn set_main(&self, file: Arc<DatabaseFile>) {
        let _ = self.main.set(file);
    }

    /// The attached databases' files.
    pub fn set_attached(&self, attached: Vec<(String, Arc<DatabaseFile>)>) {
        *self.attached.lock() = attached;
    }

    /// A statement starts on the thread that reads requests.
    pub fn lead(&self) {
        self.relieve_at_ns.store(now_ns() + READER_BUDGET_NS, Ordering::Relaxed);
    }

    /// That statement has ended.
    pub fn end_lead(&self) {
        self.relieve_at_ns.store(u64::MAX, Ordering::Relaxed);
    }

    fn relieve_if(&self, due: impl FnOnce(u64) -> bool) {
        let at = self.relieve_at_ns.load(Ordering::Relaxed);
        if at != u64::MAX && due(at) {
            self.end_lead();
            self.relief.relieve();
        }
    }
}

impl Watch for ConnectionWatch {
    fn should_stop(&self) -> bool {
        let now_ns = now_ns();
        self.relieve_if(|at| now_ns >= at);
        if now_ns >= self.yield_at_ns.load(Ordering::Relaxed) {
            std::thread::yield_now();
            self.yield_at_ns.store(now_ns + SLICE_NS, Ordering::Relaxed);
        }
        self.control.stop().is_some()
    }

    fn wait_for_lock(&self, tries: u32) -> bool {
        if !self.control.is_patient() {
            return false;
        }
        self.relieve_if(|_| true);
        self.control.wait_for_lock(tries)
    }

    fn committed(&self, schema: &str, pages: u32) {
        match self.main.get() {
            Some(file) if schema == "main" => file.committed(pages),
            _ => {
                if let Some((_, file)) = self.attached.lock().iter().find(|(name, _)| name == schema) {
                    file.committed(pages);
                }
            }
        }
    }
}
