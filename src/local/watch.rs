//! What the engine asks of a connection while it compiles and runs: stop? wait? commit? and what it tells after a commit.

use super::policy::gate::Gate;
use super::reports::Reports;
use super::shadow::{is_shadow, Doubt};
use super::slice::Slices;
use crate::clock::now_ns;
use crate::control::Control;
use crate::database::placement::Displaced;
use crate::database::{DatabaseFile, FolderState};
use crate::denial::Denial;
use crate::engine::action::{Action, Ask, Decision};
use crate::engine::vfs::Opened;
use crate::engine::watch::{Use, Watch};
use crate::run::Place;
use crate::surroundings::Relief;
use parking_lot::Mutex;
use port_driver::error_code::ErrorCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// How long a statement may run on the thread that reads requests before that thread lets another one read.
const READER_BUDGET_NS: u64 = 300_000;

/// How long the thread that reads waits for the client's answer by reading on. Longer, and another thread reads, which can
/// run short statements again.
pub const MEANWHILE: Duration = Duration::from_millis(1);

/// How old a look at the files may be that a commit rests on.
const PLACEMENT_FRESH_NS: u64 = 1_000_000;

/// How long a connection does not look at its files themselves if it only reads, or if nothing has changed in their folders.
pub const PLACEMENT_LOOK_NS: u64 = 1_000_000_000;

/// Pragmas that act on the whole program.
const PROGRAM_WIDE: &[&str] =
    &["hard_heap_limit", "soft_heap_limit", "temp_store_directory", "data_store_directory"];

/// No lead.
const NO_LEAD: u64 = u64::MAX;

/// Whoever decides about commits besides this program.
pub trait CommitGate: Send + Sync {
    /// Whether the transaction may be committed. If not, what it says was noted by [`ConnectionWatch::set_failure`], or the work has
    /// to stop.
    fn allows_commit(&self) -> bool;
}

/// A connection's watch.
pub struct ConnectionWatch {
    control: Arc<Control>,
    main: OnceLock<Arc<DatabaseFile>>,
    attached: Mutex<Vec<(String, Arc<DatabaseFile>)>>,
    relief: Arc<dyn Relief>,
    lead: AtomicU64,
    relieve_at_ns: AtomicU64,
    /// The connection's policy.
    pub policy: Gate,
    /// When what computes lets others have the processor.
    pub slices: Slices,
    turn_held: AtomicBool,
    commits_refused: AtomicBool,
    compiling: AtomicBool,
    uses_writer: AtomicBool,
    wants_turn: AtomicBool,
    changes_allowed: AtomicBool,
    compiled_within: AtomicBool,
    unstoppable: AtomicBool,
    changes_schema: AtomicBool,
    new_index: Mutex<Option<String>>,
    doubt: Mutex<Option<Doubt>>,
    doubt_is_own: AtomicBool,
    settled: Mutex<Vec<Doubt>>,
    files_refused: AtomicBool,
    refused: Mutex<Option<Box<Denial>>>,
    in_turn: Mutex<Vec<InTurn>>,
    placed_ns: AtomicU64,
    looked_ns: AtomicU64,
    pragma_runs: AtomicBool,
    has_committed: AtomicBool,
    displaced: Mutex<Option<Displaced>>,
    failure: Mutex<Option<(ErrorCode, String)>>,
    has_failure: AtomicBool,
    order_broken: AtomicBool,
    may_have_committed: AtomicBool,
    wal_notes: Mutex<Vec<(String, u32)>>,
    notes_wal: AtomicBool,
    gate: Mutex<Option<Weak<dyn CommitGate>>>,
    is_gated: AtomicBool,
    commit_refused: AtomicBool,
    /// What is told of waits for locks, and of how far a statement has come.
    pub reports: Reports,
}

/// A file whose turn is held, and what the connection has open of it.
pub struct InTurn {
    /// The file.
    pub file: Arc<DatabaseFile>,
    /// What is open.
    pub opened: Opened,
    /// The folder as it was when they were found at their paths.
    pub folder: FolderState,
}

impl ConnectionWatch {
    /// The watch of the connection that `control` belongs to.
    pub fn new(control: Arc<Control>, relief: Arc<dyn Relief>, reports: Reports) -> Self {
        ConnectionWatch {
            control,
            main: OnceLock::new(),
            attached: Mutex::new(Vec::new()),
            relief,
            lead: AtomicU64::new(NO_LEAD),
            relieve_at_ns: AtomicU64::new(u64::MAX),
            policy: Gate::default(),
            slices: Slices::default(),
            turn_held: AtomicBool::new(false),
            commits_refused: AtomicBool::new(false),
            compiling: AtomicBool::new(false),
            uses_writer: AtomicBool::new(false),
            wants_turn: AtomicBool::new(false),
            changes_allowed: AtomicBool::new(false),
            compiled_within: AtomicBool::new(false),
            unstoppable: AtomicBool::new(false),
            changes_schema: AtomicBool::new(false),
            new_index: Mutex::new(None),
            doubt: Mutex::new(None),
            doubt_is_own: AtomicBool::new(false),
            settled: Mutex::new(Vec::new()),
            files_refused: AtomicBool::new(false),
            refused: Mutex::new(None),
            in_turn: Mutex::new(Vec::new()),
            placed_ns: AtomicU64::new(0),
            looked_ns: AtomicU64::new(0),
            pragma_runs: AtomicBool::new(false),
            has_committed: AtomicBool::new(false),
            displaced: Mutex::new(None),
            failure: Mutex::new(None),
            has_failure: AtomicBool::new(false),
            order_broken: AtomicBool::new(false),
            may_have_committed: AtomicBool::new(false),
            wal_notes: Mutex::new(Vec::new()),
            notes_wal: AtomicBool::new(false),
            gate: Mutex::new(None),
            is_gated: AtomicBool::new(false),
            commit_refused: AtomicBool::new(false),
            reports,
        }
    }

    /// A callback of the client has failed, and why.
    pub fn set_failure(&self, code: ErrorCode, message: String) {
        *self.failure.lock() = Some((code, message));
        self.has_failure.store(true, Ordering::Relaxed);
    }

    /// The same, unless something has failed before: that is what has ended the statement. While it is taken down, SQLite still asks
    /// for the last value of each group, whose rows may be gone with the process that was ended.
    pub fn note_failure(&self, code: ErrorCode, message: &str) {
        if !self.has_failure.load(Ordering::Relaxed) {
            self.set_failure(code, message.to_owned());
        }
    }

    /// Why a callback has failed, if one has since this was last asked.
    #[inline]
    pub fn take_failure(&self) -> Option<(ErrorCode, String)> {
        if !self.has_failure.load(Ordering::Relaxed) {
            return None;
        }
        self.has_failure.store(false, Ordering::Relaxed);
        self.failure.lock().take()
    }

    /// A comparison could not be made: what runs is to be stopped, and not to be committed.
    pub fn break_order(&self) {
        self.order_broken.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    #[inline]
    pub fn order_is_broken(&self) -> bool {
        self.order_broken.load(Ordering::Relaxed)
    }

    /// Nothing has failed yet, of another request.
    #[inline]
    pub fn forget_failure(&self) {
        self.has_failure.store(false, Ordering::Relaxed);
        self.order_broken.store(false, Ordering::Relaxed);
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

    /// The files whose turns are held, which were found at their paths just now.
    pub fn set_in_turn(&self, fill: impl FnOnce(&mut Vec<InTurn>)) {
        let mut files = self.in_turn.lock();
        files.clear();
        fill(&mut files);
        self.placed_ns.store(now_ns(), Ordering::Relaxed);
        self.looked_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// True if no name in the folders of those files has changed since they were found, as the turns say that were taken just
    /// now.
    pub fn is_still_placed(&self) -> bool {
        let still = self.in_turn.lock().iter().all(|known| known.folder.is_that_of(known.file.folder(false)));
        if still {
            self.placed_ns.store(now_ns(), Ordering::Relaxed);
        }
        still
    }

    /// `PRAGMA journal_mode` removes the log itself, and then commits: what was looked at in its turn is enough.
    pub fn set_pragma_runs(&self, runs: bool) {
        self.pragma_runs.store(runs, Ordering::Relaxed);
    }

    /// Another request: a look of the one before says nothing about it.
    pub fn forget_placement(&self) {
        self.placed_ns.store(0, Ordering::Relaxed);
    }

    /// True if something was committed to a WAL since this was last asked.
    pub fn take_commits(&self) -> bool {
        self.has_committed.swap(false, Ordering::Relaxed)
    }

    /// A commit was let happen since this was last asked. It may have failed since.
    #[inline]
    pub fn take_may_have_committed(&self) -> bool {
        // A load first, since there is mostly nothing to take.
        self.may_have_committed.load(Ordering::Relaxed)
            && self.may_have_committed.swap(false, Ordering::Relaxed)
    }

    /// It has not happened yet.
    pub fn keep_may_have_committed(&self) {
        self.may_have_committed.store(true, Ordering::Relaxed);
    }

    /// Whether commits to a WAL are noted for [`Self::take_wal_notes`].
    pub fn note_wal(&self, on: bool) {
        self.notes_wal.store(on, Ordering::Relaxed);
        self.wal_notes.lock().clear();
    }

    /// The schemas that commits have written to, with the pages in their WAL.
    pub fn take_wal_notes(&self) -> Vec<(String, u32)> {
        std::mem::take(&mut *self.wal_notes.lock())
    }

    /// Who else decides about commits; nobody if that is gone. (Weak, because it knows this watch.)
    pub fn set_gate(&self, gate: Option<Weak<dyn CommitGate>>) {
        self.is_gated.store(gate.is_some(), Ordering::Relaxed);
        *self.gate.lock() = gate;
    }

    fn passes_gate(&self) -> bool {
        if !self.is_gated.load(Ordering::Relaxed) {
            return true;
        }
        let gate = self.gate.lock().as_ref().and_then(Weak::upgrade);
        // The client may have taken its time, in which the work may have had to stop.
        gate.is_some_and(|gate| gate.allows_commit()) && self.control.stop().is_none()
    }

    /// A commit was refused since this was last asked.
    #[inline]
    pub fn take_commit_refused(&self) -> bool {
        // A load first, since there is mostly nothing to take.
        self.commit_refused.load(Ordering::Relaxed) && self.commit_refused.swap(false, Ordering::Relaxed)
    }

    /// The file for which a commit was refused.
    pub fn take_displaced(&self) -> Option<Displaced> {
        self.displaced.lock().take()
    }

    /// What a commit goes into stands at its path.
    fn is_in_place(&self) -> bool {
        let now_ns = now_ns();
        let fresh = now_ns.saturating_sub(self.placed_ns.load(Ordering::Relaxed)) < PLACEMENT_FRESH_NS;
        if fresh || self.pragma_runs.load(Ordering::Relaxed) {
            return true;
        }
        let overdue = now_ns.saturating_sub(self.looked_ns.load(Ordering::Relaxed)) >= PLACEMENT_LOOK_NS;
        let mut files = self.in_turn.lock();
        let displaced = |known: &mut InTurn| {
            // Before the look at the file: what changes after it is seen the next time.
            let folder = known.file.folder(true);
            if known.folder.is_that_of(folder) && !overdue {
                return None;
            }
            let checked = known.file.check_placement(&known.opened);
            if checked.is_ok() {
                known.folder = folder;
            }
            checked.err()
        };
        match files.iter_mut().find_map(displaced) {
            None => true,
            Some(displaced) => {
                *self.displaced.lock() = Some(displaced);
                false
            }
        }
    }

    /// Turns commits into rollbacks.
    pub fn refuse_commits(&self, refuse: bool) {
        self.commits_refused.store(refuse, Ordering::Relaxed);
    }

    /// Whether commits are turned into rollbacks now.
    pub fn refuses_commits(&self) -> bool {
        self.commits_refused.load(Ordering::Relaxed)
    }

    /// A statement is about to be compiled.
    pub fn begin_compiling(&self) {
        self.uses_writer.store(false, Ordering::Relaxed);
        self.wants_turn.store(false, Ordering::Relaxed);
        self.changes_schema.store(false, Ordering::Relaxed);
        *self.new_index.lock() = None;
        *self.doubt.lock() = None;
        self.doubt_is_own.store(false, Ordering::Relaxed);
        self.compiling.store(true, Ordering::Relaxed);
        // One that was refused while a statement ran is no matter of the next that is compiled.
        *self.refused.lock() = None;
    }

    /// The statement that was compiled last uses what writes from within.
    pub fn uses_writer(&self) -> bool {
        self.uses_writer.load(Ordering::Relaxed)
    }

    /// Whether what is compiled may change a schema: the turn is held for it.
    pub fn allow_changes(&self, allow: bool) {
        self.changes_allowed.store(allow, Ordering::Relaxed);
    }

    /// What is compiled is compiled within a transaction for it. It is not stopped: an interrupted write would end that
    /// transaction, and libSQL goes on. Nor does anything commit.
    pub fn set_compiled_within(&self, within: bool) {
        self.compiled_within.store(within, Ordering::Relaxed);
        self.unstoppable.store(within, Ordering::Relaxed);
    }

    /// The statement that was compiled last changes a schema.
    pub fn changes_schema(&self) -> bool {
        self.changes_schema.load(Ordering::Relaxed)
    }

    /// It was refused because it has to be compiled in the writer turn, which was not taken for it.
    pub fn wants_turn(&self) -> bool {
        self.wants_turn.load(Ordering::Relaxed)
    }

    /// What runs may take a while from here.
    pub fn about_to_wait(&self) {
        self.relieve_if(|_| true);
    }

    /// Whoever runs on the thread that reads reads on for a moment, until `ready`: what is waited for may come from there.
    pub fn read_meanwhile(&self, mut ready: impl FnMut() -> bool) {
        let lead = self.lead.load(Ordering::Relaxed);
        if lead == NO_LEAD {
            return;
        }
        let leads = self.relief.read_meanwhile(lead, MEANWHILE, &mut ready);
        // What has been read is not waited for by anybody: the time that is left to a leader begins anew.
        self.set_place(if leads { Place::Reader(lead) } else { Place::Thread });
    }

    /// It was compiled, or refused.
    pub fn end_compiling(&self) {
        self.compiling.store(false, Ordering::Relaxed);
    }

    /// No further files from now on: neither ATTACH nor VACUUM INTO.
    pub fn refuse_files(&self) {
        self.files_refused.store(true, Ordering::Relaxed);
    }

    /// What has to be looked up before the statement that was refused for it is compiled again.
    pub fn take_doubt(&self) -> Option<Doubt> {
        self.doubt.lock().take()
    }

    /// The doubt is about what libSQL does itself. DROP INDEX drops the index's tables before it asks whether it may drop the
    /// index, and goes on where that was refused; a client's statement does not.
    pub fn doubt_is_own(&self) -> bool {
        self.doubt_is_own.load(Ordering::Relaxed)
    }

    /// It was looked up: the statement may do it, until [`Self::take_settled`].
    pub fn settle(&self, doubt: Doubt) {
        self.settled.lock().push(doubt);
    }

    /// It may arise again.
    pub fn unsettle(&self, doubt: &Doubt) {
        self.settled.lock().retain(|settled| settled != doubt);
    }

    /// The doubts that were settled; they may arise again.
    pub fn take_settled(&self) -> Vec<Doubt> {
        std::mem::take(&mut *self.settled.lock())
    }

    /// What only an index of vectors has, named like this one, is used in this way: whether there is one has to be looked
    /// up, which cannot be done from within the engine.
    fn doubt_of(&self, what: Use, action: Action, name: &str, first_change: bool) -> Option<Doubt> {
        let compiling = self.compiling.load(Ordering::Relaxed);
        let own = match what {
            // libSQL writes these itself, in no trigger: while its index is created or dropped, and while statements run.
            // So are an index and a trigger of their tables made only by a client.
            Use::Rows | Use::TableOfNew => compiling && !self.changes_schema.load(Ordering::Relaxed),
            Use::RowsOfTrigger => true,
            // It also creates and drops them, as part of what the client changes.
            Use::Schema | Use::NewTable | Use::NewIndex | Use::TemporarySchema | Use::NewTemporaryIndex => {
                first_change
            }
            Use::Function if compiling && name.eq_ignore_ascii_case("libsql_vector_idx") => {
                return self.new_index.lock().clone().map(Doubt::NewIndex);
            }
            _ => false,
        };
        (own && is_shadow(name)).then(|| Doubt::Table(action, name.to_owned()))
    }

    /// What this program's own rules have refused.
    pub fn take_refused(&self) -> Option<Box<Denial>> {
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
        self.slices.look(now_ns);
        self.reports.look(self.control.request(), now_ns);
        (self.control.stop().is_some() || self.order_is_broken()) && !self.unstoppable.load(Ordering::Relaxed)
    }

    fn wait_for_lock(&self, tries: u32) -> bool {
        if !self.control.is_patient() {
            return false;
        }
        self.relieve_if(|_| true);
        self.reports.wait(self.control.request(), tries, || self.control.wait_for_lock(tries))
    }

    /// Not without the turn, and not once the work has to stop: a statement that computed past its deadline in a place
    /// where nobody asks must not be answered with an error and kept. Nor into a file that nobody finds again.
    ///
    /// While a statement is compiled, only the turn counts, which [`Self::may_use`] asks for first: libSQL's DROP INDEX does
    /// not survive a commit that fails.
    fn may_commit(&self) -> bool {
        if self.compiling.load(Ordering::Relaxed) {
            if !self.turn_held.load(Ordering::Relaxed) {
                tracing::error!("libSQL commits while a statement is compiled, without the writer turn");
            }
            self.may_have_committed.store(true, Ordering::Relaxed);
            return !self.compiled_within.load(Ordering::Relaxed);
        }
        let may = self.turn_held.load(Ordering::Relaxed)
            && !self.commits_refused.load(Ordering::Relaxed)
            && self.control.stop().is_none()
            && !self.order_is_broken()
            && self.passes_gate()
            && self.is_in_place();
        if may {
            self.may_have_committed.store(true, Ordering::Relaxed);
        } else {
            self.commit_refused.store(true, Ordering::Relaxed);
        }
        may
    }

    fn may_use(&self, what: Use, action: Action, name: &str) -> bool {
        // libSQL creates and drops the tables of a vector index, in a transaction of its own, while CREATE INDEX, DROP INDEX
        // and DROP TABLE are compiled. So what changes a schema is compiled in the turn: without it, nothing more of this
        // statement is allowed, and it is compiled again.
        let compiling = self.compiling.load(Ordering::Relaxed);
        let mut first_change = false;
        let new_index = matches!(what, Use::NewIndex | Use::NewTemporaryIndex);
        if compiling && (new_index || matches!(what, Use::Schema | Use::NewTable | Use::TemporarySchema)) {
            first_change = !self.changes_schema.swap(true, Ordering::Relaxed);
            if first_change {
                *self.new_index.lock() = new_index.then(|| name.to_owned());
                if what == Use::NewTable {
                    // libSQL does nothing more while it is compiled, and its SELECT may take long.
                    self.unstoppable.store(false, Ordering::Relaxed);
                }
            } else if self.doubt.lock().is_some() {
                self.doubt_is_own.store(true, Ordering::Relaxed);
            }
            if matches!(what, Use::Schema | Use::NewTable | Use::NewIndex) {
                let allowed = self.changes_allowed.load(Ordering::Relaxed);
                self.wants_turn.fetch_or(!allowed, Ordering::Relaxed);
            }
        }
        // What is compiled anew while it runs has the turn or needs none.
        if compiling && self.wants_turn() {
            return false;
        }
        if let Some(doubt) = self.doubt_of(what, action, name, first_change) {
            if !self.settled.lock().contains(&doubt) {
                *self.doubt.lock() = Some(doubt);
                return false;
            }
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // `PRAGMA optimize` runs ANALYZE from within, and FTS3's function of that name rewrites its index.
        if is("optimize") {
            self.uses_writer.store(true, Ordering::Relaxed);
        }
        let refused = match what {
            Use::PragmaCall if PROGRAM_WIDE.iter().any(|name| is(name)) => format!(
                "PRAGMA {} acts on the whole program, not on this connection alone; it cannot be set over SQL",
                name.to_ascii_lowercase()
            ),
            // VACUUM attaches a temporary file, which has no name. `:MEMORY:` is a file's.
            Use::Attach | Use::AttachUnknown
                if self.files_refused.load(Ordering::Relaxed)
                    && (what == Use::AttachUnknown || !name.is_empty() && name != ":memory:") =>
            {
                "this connection opens no further files (untrusted_sql): neither ATTACH nor VACUUM INTO".to_owned()
            }
            _ => return true,
        };
        *self.refused.lock() = Some(Box::new(Denial::by_program(action, name, refused)));
        false
    }

    #[inline]
    fn has_policy(&self) -> bool {
        self.policy.is_active()
    }

    fn decide(&self, ask: &Ask<'_>, is_engines: &dyn Fn() -> bool) -> Decision {
        self.policy.decide(ask, is_engines, self.compiling.load(Ordering::Relaxed))
    }

    fn committed(&self, schema: &str, pages: u32) {
        self.has_committed.store(true, Ordering::Relaxed);
        if self.notes_wal.load(Ordering::Relaxed) {
            self.wal_notes.lock().push((schema.to_owned(), pages));
        }
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
