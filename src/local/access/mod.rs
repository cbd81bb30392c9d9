//! The one door through which statements run.
//!
//! [`Access::run`] and its neighbours do for every statement what must not be forgotten at any: take the writer turn if
//! it may write, look whether the work has to stop, step, undo what cannot be answered, and, when it has ended, put the
//! callbacks back, notice attached files, and give the turn back if the transaction is over. What ends a transaction is
//! the engine's word, not the SQL text.

mod checkpoint;
mod compiled;
mod doubts;
mod own;
mod turn;
mod within;

use super::callbacks::{Asking, CommitHooks};
use super::feed::Feed;
use super::statement::{Kind, Statement};
use super::turns::Turns;
use super::watch::ConnectionWatch;
use crate::clock::now_ns;
use crate::control::Control;
use crate::database::DatabaseFile;
use crate::engine::allowed::{self, Folders};
use crate::engine::{code, query, Handle, RawStatement, Step};
use crate::error::{Error, Result};
use crate::run::Place;
use crate::sql::keyword::Keyword;
use port_driver::params::Params;
use std::sync::Arc;
use within::Within;

/// Takes the rows of a statement while it runs.
pub trait Rows {
    /// The statement has to wait for a turn.
    fn about_to_wait(&mut self);
    /// The current row. False: enough for now. After an error the statement is undone.
    fn row(&mut self, row: &RawStatement) -> Result<bool>;
}

/// The handle with its turns. Field order is drop order: the handle closes before the turns go.
pub struct Access {
    /// The connection's id.
    pub id: u32,
    /// The engine's connection.
    pub handle: Handle,
    /// Deadline and cancellation of what runs.
    pub control: Arc<Control>,
    pub(super) watch: Arc<ConnectionWatch>,
    pub(super) turns: Turns,
    /// Open cursors of statements that write.
    pub writing_cursors: u32,
    /// What runs may only run inside a transaction: not after the engine, or a statement before it, has ended that.
    pub inside: bool,
    /// A read-only transaction is open, for which `PRAGMA query_only` is on until it ends; what it was before.
    pub query_only: Option<bool>,
    /// A pragma ran in the open transaction: it may have been `defer_foreign_keys`. The engine switches that off when the
    /// transaction ends, and keeps the statements compiled under it, which find a violation too late to undo their own row.
    /// So every statement is to be compiled anew then.
    compile_anew: bool,
    /// A doubt was settled for what runs.
    doubts_settled: bool,
    /// What the statement that was compiled last, and has not run yet, was compiled within.
    compiled_within: Option<Within>,
    /// What is compiled changes the temporary schema alone, or does not run here.
    pub(in crate::local) temporary: bool,
    /// The folders whose files SQL may open; `None`: all files.
    pub(in crate::local) allowed: Option<Folders>,
    /// How the client is called by what runs.
    asking: Arc<Asking>,
    /// The policy for SQL of strangers holds, and with it smaller limits.
    pub(in crate::local) untrusted: bool,
    pub(in crate::local) place: Option<Place>,
    checkpoint_due: bool,
    /// Listeners are told of the last transaction after the reply, in its turn still; whether it has committed.
    pub(in crate::local) telling_due: Option<bool>,
    /// When the files were last found at their paths.
    pub(super) placed_ns: u64,
    /// Who is told of what is committed.
    pub(super) feed: Feed,
    /// The client's decisions about commits.
    pub(super) commit_hooks: Arc<CommitHooks>,
    /// How many schemas the engine had when [`Turns`] were told: main, temp and the attached ones.
    pub(super) schemas: i32,
}

impl Access {
    /// A handle on the main file of `turns`.
    pub fn new(
        id: u32,
        handle: Handle,
        control: Arc<Control>,
        watch: Arc<ConnectionWatch>,
        turns: Turns,
        asking: Arc<Asking>,
        feed: Feed,
    ) -> Self {
        let commit_hooks = Arc::new(CommitHooks::new(id, Arc::clone(&asking), Arc::clone(&feed.recorder)));
        Access {
            id,
            handle,
            control,
            watch,
            turns,
            writing_cursors: 0,
            inside: false,
            query_only: None,
            compile_anew: false,
            doubts_settled: false,
            compiled_within: None,
            temporary: false,
            allowed: None,
            asking,
            untrusted: false,
            place: None,
            checkpoint_due: false,
            telling_due: None,
            placed_ns: 0,
            feed,
            commit_hooks,
            schemas: 2,
        }
    }

    /// A request starts, on this thread.
    pub fn begin(&mut self, place: Place) {
        self.place = Some(place);
        allowed::begin(self.allowed.as_ref());
        self.watch.set_place(place);
        self.watch.forget_placement();
        self.asking.begin();
        self.look_for_listeners();
        self.watch.reports.begin();
    }

    /// It has ended.
    pub fn end(&mut self) {
        self.place = None;
        allowed::end();
        self.watch.reports.end();
        self.watch.slices.end();
        self.watch.set_place(Place::Thread);
    }

    /// The main database's file.
    pub fn file(&self) -> &Arc<DatabaseFile> {
        self.turns.main()
    }

    /// Runs a client's statement with `params` to its end. Returns the rows of the table that it changed.
    pub fn run(
        &mut self,
        statement: &mut Statement,
        params: &Params<'_>,
        guarded: bool,
        rows: &mut impl Rows,
    ) -> Result<Changes> {
        let kind = Kind { guarded, ..statement.kind() };
        let mut started_ns = 0;
        let outcome = self.within_turn(kind, rows, |access, rows| {
            started_ns = now_ns();
            for doubt in statement.doubts() {
                access.look_up(doubt)?;
            }
            let before = access.handle.total_changes();
            let mut bound = statement.bind_for_run(params)?;
            access.step(&mut bound, kind, rows)?;
            Ok(Changes { any: !kind.read_only && access.handle.total_changes() != before })
        });
        match &outcome {
            Ok(_) => {
                statement.refresh_columns();
                let took_ns = now_ns().saturating_sub(started_ns);
                // What calls the client reads on while it waits, so only the time between two calls counts.
                statement.ran(self.asking.take_calls().map_or(took_ns, |calls| calls.stretch_ns(took_ns)));
            }
            Err(_) => statement.ran(u64::MAX),
        }
        outcome
    }

    /// Runs a statement that is already bound, to its end or until `rows` has enough.
    pub fn run_raw(&mut self, raw: &mut RawStatement, kind: Kind, rows: &mut impl Rows) -> Result<Step> {
        self.within_turn(kind, rows, |access, rows| access.step(raw, kind, rows))
    }

    /// Runs `work`, which may write if `kind` says so, in the writer turn.
    pub fn within_turn<R: Rows, T>(
        &mut self,
        kind: Kind,
        rows: &mut R,
        work: impl FnOnce(&mut Self, &mut R) -> Result<T>,
    ) -> Result<T> {
        self.enter(kind, || rows.about_to_wait())?;
        // A statement that never runs long enough for the engine to ask would otherwise outlive its deadline here.
        let outcome = self.check_stop().and_then(|()| work(self, rows));
        self.leave_statement(kind, outcome)
    }

    fn step(&mut self, raw: &mut RawStatement, kind: Kind, rows: &mut impl Rows) -> Result<Step> {
        if !self.handle.is_own() {
            self.watch.policy.begin_running(!kind.read_only, kind.keyword == Keyword::Vacuum);
        }
        let outcome = self.step_on(raw, kind, rows);
        let outcome = match outcome {
            Ok(_) if self.watch.order_is_broken() => {
                self.undo(raw, kind);
                Err(self.failure().unwrap_or_else(|| self.step_error(code::SQLITE_INTERRUPT)))
            }
            outcome => outcome,
        };
        if std::mem::take(&mut self.doubts_settled) {
            self.watch.take_settled();
        }
        outcome
    }

    #[inline]
    fn step_on(&mut self, raw: &mut RawStatement, kind: Kind, rows: &mut impl Rows) -> Result<Step> {
        loop {
            match raw.step() {
                Ok(Step::Row) => match rows.row(raw) {
                    Ok(true) => {}
                    Ok(false) if kind.cursor => return Ok(Step::Row),
                    // Ended here, in its turn: what it has written is committed by this, or is not.
                    Ok(false) => {
                        return raw
                            .reset()
                            .map(|()| Step::Row)
                            .map_err(|code| self.statement_error(raw, code));
                    }
                    Err(error) => {
                        self.undo(raw, kind);
                        return Err(error);
                    }
                },
                Ok(Step::Done) => return Ok(Step::Done),
                Err(code) if code & 0xff == code::SQLITE_AUTH && self.settled(raw)? => {}
                Err(code) => return Err(self.statement_error(raw, code)),
            }
        }
    }

    /// The engine has compiled the statement anew before its first row, and a trigger of it writes what is doubted: true if
    /// it may, and is to be stepped from its beginning.
    #[cold]
    fn settled(&mut self, raw: &mut RawStatement) -> Result<bool> {
        let Some(doubt) = self.watch.take_doubt() else { return Ok(false) };
        let _ = raw.reset();
        self.look_up(&doubt)?;
        self.watch.settle(doubt);
        self.doubts_settled = true;
        Ok(true)
    }

    /// A writing statement whose rows cannot be delivered must not be committed by its reset, nor stay in a transaction
    /// that nobody has asked about.
    #[cold]
    fn undo(&mut self, raw: &mut RawStatement, kind: Kind) {
        if kind.read_only {
            return;
        }
        if self.handle.autocommit() {
            self.without_commit(|_| {
                let _ = raw.reset();
            });
        } else if !kind.guarded {
            // Rolled back as a whole, as the engine does with an interrupted one; `tx_status` says so.
            let _ = self.control.unstopped(|| query::run(&self.handle, "ROLLBACK"));
        }
    }

    /// Whatever `work` ends is rolled back instead of committed. (`sqlite3_interrupt` would do it as well, but stops
    /// every statement of the connection as long as one is active.)
    pub fn without_commit<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.watch.refuse_commits(true);
        let outcome = work(self);
        self.watch.refuse_commits(false);
        outcome
    }

    /// Runs `work` while SQL may write what a defensive connection protects. Switching it has the engine compile every
    /// statement anew, so that none keeps the permission.
    pub fn undefended<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let failed = |error| Error::Engine(error, None);
        let before = self.handle.is_configured(code::SQLITE_DBCONFIG_DEFENSIVE);
        self.handle.configure(code::SQLITE_DBCONFIG_DEFENSIVE, false).map_err(failed)?;
        self.watch.policy.set_undefended(true);
        let outcome = work(self);
        self.watch.policy.set_undefended(!before);
        self.handle.configure(code::SQLITE_DBCONFIG_DEFENSIVE, before).map_err(failed)?;
        outcome
    }
}

impl Drop for Access {
    /// After a panic nothing else is done before.
    fn drop(&mut self) {
        self.tell_what_is_left();
    }
}

/// What a statement has changed.
#[derive(Debug, Clone, Copy)]
pub struct Changes {
    /// Anything at all.
    pub any: bool,
}
