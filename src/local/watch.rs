//! What the engine asks of a connection while it compiles and runs: stop? wait? commit? and what it tells after a commit.

use crate::clock::now_ns;
use crate::control::Control;
use crate::database::DatabaseFile;
use crate::engine::watch::{Use, Watch};
use crate::run::Place;
use crate::surroundings::Relief;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// How long a statement may run on the thread that reads requests before that thread lets another one read.
const READER_BUDGET_NS: u64 = 300_000;

/// How long a statement computes before it lets other threads have the processor. With more endless statements than
/// processors a short one elsewhere would else wait for a whole time slice of each.
const SLICE_NS: u64 = 500_000;

/// Pragmas that act on the whole program.
const PROGRAM_WIDE: &[&str] =
    &["hard_heap_limit", "soft_heap_limit", "temp_store_directory", "data_store_directory"];

/// No lead.
const NO_LEAD: u64 = u64::MAX;

/// A connection's watch.
pub struct ConnectionWatch {
    control: Arc<Control>,
    main: OnceLock<Arc<DatabaseFile>>,
    attached: Mutex<Vec<(String, Arc<DatabaseFile>)>>,
    relief: Arc<dyn Relief>,
    lead: AtomicU64,
    relieve_at_ns: AtomicU64,
    yield_at_ns: AtomicU64,
    turn_held: AtomicBool,
    commits_refused: AtomicBool,
    compiling: AtomicBool,
    uses_writer: AtomicBool,
    wants_turn: AtomicBool,
    refused: Mutex<Option<String>>,
}

impl ConnectionWatch {
    /// The watch of the connection that `control` belongs to.
    pub fn new(control: Arc<Control>, relief: Arc<dyn Relief>) -> Self {
        ConnectionWatch {
            control,
            main: OnceLock::new(),
            attached: Mutex::new(Vec::new()),
            relief,
            lead: AtomicU64::new(NO_LEAD),
            relieve_at_ns: AtomicU64::new(u64::MAX),
            yield_at_ns: AtomicU64::new(0),
            turn_held: AtomicBool::new(false),
            commits_refused: AtomicBool::new(false),
            compiling: AtomicBool::new(false),
            uses_writer: AtomicBool::new(false),
            wants_turn: AtomicBool::new(false),
            refused: Mutex::new(None),
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

    /// Where what runs from now on runs.
    pub fn set_place(&self, place: Place) {
        match place {
            Place::Reader(lead) => {
                self.lead.store(lead, Ordering::Relaxed);
                self.relieve_at_ns.store(now_ns() + READER_BUDGET_NS, Ordering::Relaxed);
            }
            Place::Thread => {
                self.lead.store(NO_LEAD, Ordering::Relaxed);
                self.relieve_at_ns.store(u64::MAX, Ordering::Relaxed);
            }
        }
    }

    /// The writer turn is held: commits may happen.
    pub fn set_turn_held(&self, held: bool) {
        self.turn_held.store(held, Ordering::Relaxed);
    }

    /// Turns commits into rollbacks.
    pub fn refuse_commits(&self, refuse: bool) {
        self.commits_refused.store(refuse, Ordering::Relaxed);
    }

    /// A statement is about to be compiled.
    pub fn begin_compiling(&self) {
        self.uses_writer.store(false, Ordering::Relaxed);
        self.wants_turn.store(false, Ordering::Relaxed);
        self.compiling.store(true, Ordering::Relaxed);
        // One that was refused while a statement ran is no matter of the next that is compiled.
        *self.refused.lock() = None;
    }

    /// The statement that was compiled last uses what writes from within.
    pub fn uses_writer(&self) -> bool {
        self.uses_writer.load(Ordering::Relaxed)
    }

    /// It was refused because it has to be compiled in the writer turn, which is not held.
    pub fn wants_turn(&self) -> bool {
        self.wants_turn.load(Ordering::Relaxed)
    }

    /// What runs may take a while from here.
    pub fn about_to_wait(&self) {
        self.relieve_if(|_| true);
    }

    /// It was compiled, or refused.
    pub fn end_compiling(&self) {
        self.compiling.store(false, Ordering::Relaxed);
    }

    /// The pragma that was refused while a statement was compiled.
    pub fn take_refused(&self) -> Option<String> {
        self.refused.lock().take()
    }

    fn relieve_if(&self, due: impl FnOnce(u64) -> bool) {
        let at = self.relieve_at_ns.load(Ordering::Relaxed);
        if at != u64::MAX && due(at) {
            let lead = self.lead.load(Ordering::Relaxed);
            self.set_place(Place::Thread);
            self.relief.relieve(lead);
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

    /// Not without the turn, and not once the work has to stop: a statement that computed past its deadline in a place
    /// where nobody asks must not be answered with an error and kept.
    ///
    /// While a statement is compiled, only the turn counts, which [`Self::may_use`] asks for first: libSQL's DROP INDEX does
    /// not survive a commit that fails.
    fn may_commit(&self) -> bool {
        if self.compiling.load(Ordering::Relaxed) {
            if !self.turn_held.load(Ordering::Relaxed) {
                tracing::error!("libSQL commits while a statement is compiled, without the writer turn");
            }
            return true;
        }
        self.turn_held.load(Ordering::Relaxed)
            && !self.commits_refused.load(Ordering::Relaxed)
            && self.control.stop().is_none()
    }

    fn may_use(&self, what: Use, name: &str) -> bool {
        // libSQL creates and drops the tables of a vector index, in a transaction of its own, while CREATE INDEX, DROP INDEX
        // and DROP TABLE are compiled. So what changes a schema is compiled in the turn: without it, nothing more of this
        // statement is allowed, and it is compiled again.
        if what == Use::Schema
            && self.compiling.load(Ordering::Relaxed)
            && !self.turn_held.load(Ordering::Relaxed)
        {
            self.wants_turn.store(true, Ordering::Relaxed);
        }
        if self.wants_turn() {
            return false;
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // `PRAGMA optimize` runs ANALYZE from within, and FTS3's function of that name rewrites its index.
        if is("optimize") {
            self.uses_writer.store(true, Ordering::Relaxed);
        }
        let refused = what == Use::PragmaCall && PROGRAM_WIDE.iter().any(|name| is(name));
        if refused {
            *self.refused.lock() = Some(format!("PRAGMA {}", name.to_ascii_lowercase()));
        }
        !refused
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
