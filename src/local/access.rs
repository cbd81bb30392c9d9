//! The one door through which statements run.
//!
//! [`Access::run`] and its neighbours do for every statement what must not be forgotten at any: take the writer turn if
//! it may write, look whether the work has to stop, step, undo what cannot be answered, and, when it has ended, put the
//! callbacks back, notice attached files, and give the turn back if the transaction is over. What ends a transaction is
//! the engine's word, not the SQL text.

use super::errors::{cursor_writes, read_only_transaction, transaction_ended};
use super::statement::Statement;
use super::turns::Turns;
use super::watch::ConnectionWatch;
use crate::clock::now_ns;
use crate::control::Control;
use crate::database::DatabaseFile;
use crate::engine::handle::{Checkpointed, TxStatus};
use crate::engine::{code, query, Handle, RawStatement, Step};
use crate::error::{Error, Result};
use crate::run::Place;
use crate::sql::keyword::Keyword;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use std::sync::Arc;

/// Takes the rows of a statement while it runs.
pub trait Rows {
    /// The statement has to wait for a turn.
    fn about_to_wait(&mut self);
    /// The current row. False: enough for now. After an error the statement is undone.
    fn row(&mut self, row: &RawStatement) -> Result<bool>;
}

/// What the door has to know of a statement before it runs.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// It writes no database file.
    pub read_only: bool,
    /// Its first word.
    pub keyword: Keyword,
    /// Inside of a transaction, whoever runs it undoes it by a savepoint or the transaction as a whole.
    pub guarded: bool,
    /// A cursor goes on.
    pub cursor: bool,
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
    place: Option<Place>,
    checkpoint_due: bool,
    /// When the files were last found at their paths.
    pub(super) placed_ns: u64,
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
    ) -> Self {
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
            place: None,
            checkpoint_due: false,
            placed_ns: 0,
            schemas: 2,
        }
    }

    /// A request starts, on this thread.
    pub fn begin(&mut self, place: Place) {
        self.place = Some(place);
        self.watch.set_place(place);
        self.watch.forget_placement();
    }

    /// It has ended.
    pub fn end(&mut self) {
        self.place = None;
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
            access.step(&mut bound, kind, started_ns, rows)?;
            Ok(Changes { any: !kind.read_only && access.handle.total_changes() != before })
        });
        match &outcome {
            Ok(_) => {
                statement.refresh_columns();
                statement.ran(now_ns().saturating_sub(started_ns));
            }
            Err(_) => statement.ran(u64::MAX),
        }
        outcome
    }

    /// Runs a statement that is already bound, to its end or until `rows` has enough.
    pub fn run_raw(&mut self, raw: &mut RawStatement, kind: Kind, rows: &mut impl Rows) -> Result<Step> {
        self.within_turn(kind, rows, |access, rows| access.step(raw, kind, now_ns(), rows))
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

    fn step(
        &mut self,
        raw: &mut RawStatement,
        kind: Kind,
        started_ns: u64,
        rows: &mut impl Rows,
    ) -> Result<Step> {
        let outcome = self.step_on(raw, kind, started_ns, rows);
        if std::mem::take(&mut self.doubts_settled) {
            self.watch.take_settled();
        }
        outcome
    }

    #[inline]
    fn step_on(
        &mut self,
        raw: &mut RawStatement,
        kind: Kind,
        started_ns: u64,
        rows: &mut impl Rows,
    ) -> Result<Step> {
        loop {
            match raw.step() {
                Ok(Step::Row) => match rows.row(raw) {
                    Ok(true) => {}
                    Ok(false) if kind.cursor => return Ok(Step::Row),
                    // Ended here, in its turn: what it has written is committed by this, or is not.
                    Ok(false) => {
                        return raw.reset().map(|()| Step::Row).map_err(|code| self.step_error(code));
                    }
                    Err(error) => {
                        self.undo(raw, kind);
                        return Err(error);
                    }
                },
                Ok(Step::Done) => return Ok(Step::Done),
                Err(code) if code & 0xff == code::SQLITE_AUTH && self.settled(raw)? => {}
                Err(code) => return Err(self.statement_error(raw, code, started_ns)),
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
        let outcome = work(self);
        self.handle.configure(code::SQLITE_DBCONFIG_DEFENSIVE, before).map_err(failed)?;
        outcome
    }

    /// Before the first step of a statement: takes the writer turns if it may write.
    #[inline]
    pub(super) fn enter(&mut self, kind: Kind, before_waiting: impl FnMut()) -> Result<()> {
        if self.inside && self.handle.autocommit() {
            return Err(transaction_ended());
        }
        if self.checkpoint_due {
            // One more write in the same turn (a script): the WAL must not grow for as long as that takes.
            self.checkpoint_if_due();
        }
        let autocommit = self.handle.autocommit();
        let writes_or_begins = !kind.read_only || kind.keyword == Keyword::Begin;
        if self.writing_cursors > 0 && autocommit && writes_or_begins && !kind.cursor {
            return Err(cursor_writes());
        }
        if kind.read_only {
            return self.look_at_times(kind);
        }
        if self.query_only.is_some() && !autocommit {
            // `PRAGMA query_only` says the same, but the client can switch that off.
            return Err(read_only_transaction());
        }
        if !self.turns.is_complete() {
            if let Err(error) = self.turns.take(&self.control, before_waiting) {
                return Err(self.cause(error));
            }
            self.watch.set_turn_held(true);
            self.check_in_turn()?;
        }
        self.watch.set_pragma_runs(kind.keyword == Keyword::Pragma);
        Ok(())
    }

    /// After a statement: what it has left.
    #[inline]
    fn leave_statement<T>(&mut self, kind: Kind, outcome: Result<T>) -> Result<T> {
        if kind.keyword == Keyword::Pragma && self.turns.is_held() {
            self.watch.set_pragma_runs(false);
            // It may have left WAL mode.
            let _ = self.check_placement();
        }
        if matches!(kind.keyword, Keyword::Pragma | Keyword::Explain) {
            // Compiled anew in its first step, a pragma may have taken the callbacks away.
            self.handle.install_callbacks();
            self.compile_anew |= !self.handle.autocommit();
        }
        let outcome = match self.handle.has_schemas(self.schemas) {
            true => outcome,
            false => self.refresh_attached().and(outcome),
        };
        let outcome = match outcome {
            Ok(_) if self.writes_without_turn() => {
                let taken = self.turns.take_now();
                self.watch.set_turn_held(taken);
                if taken {
                    outcome
                } else {
                    let _ = self.control.unstopped(|| query::run(&self.handle, "ROLLBACK"));
                    Err(Error::new(
                        ErrorCode::Busy,
                        "the statement writes although the engine calls it read-only, and another connection has the \
                         writer turn; the transaction was rolled back: begin it as immediate",
                    ))
                }
            }
            outcome => outcome,
        };
        self.leave();
        outcome
    }

    /// A statement that the engine calls read-only has taken the write lock inside a transaction.
    #[inline]
    fn writes_without_turn(&self) -> bool {
        !self.turns.is_held() && !self.handle.autocommit() && self.handle.holds_write_lock()
    }

    /// When nothing runs: gives the turns back if the transaction has ended.
    #[inline]
    pub fn leave(&mut self) {
        if !self.turns.is_held() && self.query_only.is_none() && !self.compile_anew {
            return;
        }
        let ended = self.handle.autocommit();
        if ended && std::mem::take(&mut self.compile_anew) {
            // Cannot fail: it sets a flag that the end of the transaction has cleared already.
            let _ = query::run(&self.handle, "PRAGMA defer_foreign_keys = 0");
        }
        // A write that failed before it had the lock (its snapshot was too old) leaves a transaction that only reads.
        if !ended && (!self.turns.is_held() || self.handle.holds_write_lock()) {
            return;
        }
        if self.writing_cursors == 0 {
            // A leader does not checkpoint: the next writer finds that one is wanted and runs where it may take its time.
            let elsewhere = matches!(self.place, Some(Place::Reader(_)));
            self.checkpoint_due = ended
                && self.turns.is_held()
                && !elsewhere
                && self.turns.files().any(|(_, file)| file.wants_checkpoint());
            if !self.checkpoint_due {
                self.release_turns();
            } else if self.place.is_none() {
                self.checkpoint_if_due();
            }
        }
        if !ended {
            return;
        }
        if let Some(before) = self.query_only.take() {
            // Switching it cannot fail: it writes nothing and needs no lock.
            let _ = query::run(&self.handle, &format!("PRAGMA query_only = {}", u8::from(before)));
        }
    }

    fn release_turns(&mut self) {
        if self.watch.take_commits() {
            for (schema, file) in self.turns.files() {
                file.note_wal(&self.handle, schema);
            }
        }
        self.turns.release();
        self.watch.set_turn_held(false);
    }

    /// True if a statement could run now: it needs no turn, or has it, or would get it without waiting, and the commit that
    /// comes with the last would not have to be followed by a checkpoint.
    pub fn may_enter_at_once(&self, read_only: bool) -> bool {
        read_only
            || self.turns.is_complete()
            || self.turns.files().all(|(_, file)| file.turn.is_free() && !file.wants_checkpoint())
    }

    /// True if a commit would not be followed by a checkpoint that is wanted already.
    pub fn may_commit_at_once(&self) -> bool {
        !self.holds_turn() || !self.turns.files().any(|(_, file)| file.wants_checkpoint())
    }

    /// A turn is held.
    pub fn holds_turn(&self) -> bool {
        self.turns.is_held()
    }

    /// What the engine says about the transaction, as the wire numbers it.
    #[inline]
    pub fn tx_status(&self) -> u8 {
        self.handle.tx_status() as u8
    }

    /// The integer that a statement without parameters yields.
    pub fn pragma_value(&self, sql: &str) -> Option<i64> {
        query::integer(&self.handle, sql)
    }

    /// Runs a statement of this program's own that yields nothing of interest.
    pub fn run_plain(&mut self, sql: &str) -> Result<()> {
        self.each_row(sql, |_| true)
    }

    /// Runs a statement of this program's own and calls `each` with every row until it returns false.
    pub fn each_row(&mut self, sql: &str, each: impl FnMut(&RawStatement) -> bool) -> Result<()> {
        let (statement, _) = self.prepare_first(sql)?;
        let Some(mut statement) = statement else { return Ok(()) };
        let kind = Kind {
            read_only: statement.read_only(),
            keyword: crate::sql::keyword::first(sql),
            guarded: true,
            cursor: false,
        };
        self.run_raw(&mut statement, kind, &mut Each(each)).map(|_| ())
    }

    /// Runs a statement of this program's own that writes temporary objects alone, without a turn.
    pub fn run_temporary(&mut self, sql: &str) -> Result<()> {
        let held = self.turns.is_held();
        self.watch.set_turn_held(true);
        let outcome = self.prepare_first(sql).and_then(|(statement, _)| {
            let Some(mut statement) = statement else { return Ok(()) };
            query::rows(&mut statement, |_| true).map_err(|code| self.step_error(code))
        });
        self.watch.set_turn_held(held);
        outcome
    }

    /// Runs several statements of this program's own, which set right what was stopped and so are not stopped.
    pub fn run_unstopped(&mut self, statements: &[&str]) -> Result<()> {
        let control = Arc::clone(&self.control);
        control.unstopped(|| statements.iter().try_for_each(|sql| self.run_plain(sql)))
    }

    /// Ends an open transaction, whatever state it is in, also after its deadline.
    pub fn roll_back(&mut self) {
        if !self.handle.autocommit() {
            // Fails only if there is nothing to roll back.
            let _ = self.control.unstopped(|| query::run(&self.handle, "ROLLBACK"));
        }
        self.leave();
    }

    /// Checkpoints in the turn, on behalf of a client. Returns what became of the main database.
    pub fn checkpoint(&mut self, mode: i32) -> Result<Checkpointed> {
        let done = self.handle.checkpoint("main", mode).map_err(|error| Error::Engine(error, None))?;
        note_checkpoint(self.file(), done);
        self.check_stop()?;
        for (schema, file) in self.turns.files().skip(1) {
            let done = self.handle.checkpoint(schema, mode).map_err(|error| Error::Engine(error, None))?;
            note_checkpoint(file, done);
            self.check_stop()?;
        }
        Ok(done)
    }

    /// Checkpoints each file whose WAL has grown past its size, in the turn of the commit that made it so.
    pub fn checkpoint_if_due(&mut self) {
        if std::mem::take(&mut self.checkpoint_due) {
            self.checkpoint_in_turn(|_, file| file.wants_checkpoint(), code::SQLITE_CHECKPOINT_PASSIVE);
            self.release_turns();
        }
    }

    /// A checkpoint that nobody asked for, of the files that `wanted` names: only if no turn and no reader has to be
    /// waited for.
    pub fn checkpoint_if_free(&mut self, wanted: impl Fn(&str, &DatabaseFile) -> bool, mode: i32) {
        if self.holds_turn() || self.handle.tx_status() != TxStatus::Idle || !self.turns.take_now() {
            return;
        }
        self.checkpoint_in_turn(wanted, mode);
        self.release_turns();
    }

    fn checkpoint_in_turn(&mut self, wanted: impl Fn(&str, &DatabaseFile) -> bool, mode: i32) {
        self.control.set_patient(false);
        for (schema, file) in self.turns.files().filter(|(schema, file)| wanted(schema, file)) {
            if !file.may_write_back(&self.handle, schema) {
                tracing::warn!(
                    connection = self.id,
                    "the log of {} is not written back: it was replaced",
                    file.name
                );
                file.checkpointed(0);
                continue;
            }
            match self.handle.checkpoint(schema, mode) {
                Ok(done) => note_checkpoint(file, done),
                // A cursor of this very connection reads.
                Err(error) if error.code & 0xff == code::SQLITE_LOCKED => {}
                Err(error) => {
                    tracing::warn!(connection = self.id, code = error.code, "checkpoint: {}", error.message);
                }
            }
        }
        self.control.set_patient(true);
    }

    /// Puts off the idle checkpoint of every file: one has just been tried.
    pub fn postpone_idle_checkpoints(&self) {
        self.turns.files().for_each(|(_, file)| file.postpone_idle_checkpoint());
    }

    /// Rolls back what is open and leaves the files; the last connection of this program checkpoints what is in a WAL, in a turn, as SQLite would
    /// do without one.
    pub fn close_files(&mut self) {
        // Before it leaves: whoever is the last of two that end together must not find the turn taken.
        self.roll_back();
        self.release_turns();
        let last = self.turns.leave_files();
        if !last.is_empty() && !self.handle.read_only() {
            let left = |schema: &str| last.iter().any(|left| left == schema);
            // Also if nothing is left to copy: the WAL is as long as it ever was.
            let wanted = |schema: &str, file: &DatabaseFile| left(schema) && file.has_wal();
            // A connection that was stopped while it opened has not seen yet that there is a WAL, and would pass it over.
            let _ = self.control.unstopped(|| query::integer(&self.handle, "PRAGMA schema_version"));
            self.checkpoint_if_free(wanted, code::SQLITE_CHECKPOINT_TRUNCATE);
        }
    }
}

/// What a statement has changed.
#[derive(Debug, Clone, Copy)]
pub struct Changes {
    /// Anything at all.
    pub any: bool,
}

/// The rows of this program's own statements.
struct Each<F>(F);

impl<F: FnMut(&RawStatement) -> bool> Rows for Each<F> {
    fn about_to_wait(&mut self) {}

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        Ok((self.0)(row))
    }
}

fn note_checkpoint(file: &DatabaseFile, done: Checkpointed) {
    let left = done.log_frames.saturating_sub(done.checkpointed_frames);
    file.checkpointed(u32::try_from(left).unwrap_or(0));
}
