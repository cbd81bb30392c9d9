//! A connection's way into its database: the handle, and the rule that nothing is written without the writer turn.
//!
//! `enter` comes before a statement's first step, `leave` after its reset. A statement that may write enters with the
//! turn of every file that the handle has open (main and attached ones, in the order of their names, so that two
//! connections cannot wait for each other); the turns stay until the engine is back in autocommit and no open cursor
//! writes. What ends a transaction is the engine's word, not the SQL text.

use super::foreign_key;
use super::statement::Statement;
use super::watch::ConnectionWatch;
use crate::clock::now_ns;
use crate::control::{Control, Stop};
use crate::database::{DatabaseFile, FileShare, Files};
use crate::engine::constraint;
use crate::engine::handle::TxStatus;
use crate::engine::{code, query, EngineError, Handle, RawStatement};
use crate::error::{Error, Result};
use crate::run::Run;
use crate::sql::keyword::{self, Keyword};
use port_driver::reply::ConstraintKind;
use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

/// When a commit that has made the WAL too long is followed by a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoints {
    /// At once.
    AtOnce,
    /// In the same turn, but after the reply: whoever runs the connection calls [`Access::checkpoint_if_due`].
    AfterReply,
    /// Not here: the next writer finds that one is wanted and runs where it may take its time.
    Elsewhere,
}

/// The handle with its turn.
pub struct Access {
    /// The connection's id, by which it stands in line for turns.
    pub id: u32,
    /// The engine's connection.
    pub handle: Handle,
    /// Deadline and cancellation of what runs.
    pub control: Arc<Control>,
    watch: Arc<ConnectionWatch>,
    files: Arc<Files>,
    share: FileShare,
    attached: Vec<(String, FileShare)>,
    turns: Vec<Arc<DatabaseFile>>,
    /// Open cursors of statements that write.
    pub writing_cursors: u32,
    /// A read-only transaction is open, for which `PRAGMA query_only` is on until it ends; what it was before.
    pub query_only: Option<bool>,
    /// When a commit that has made the WAL too long is followed by a checkpoint.
    pub checkpoints: Checkpoints,
    checkpoint_due: bool,
}

impl Access {
    /// A handle on `share`'s file.
    pub fn new(
        id: u32,
        handle: Handle,
        control: Arc<Control>,
        watch: Arc<ConnectionWatch>,
        files: Arc<Files>,
        share: FileShare,
    ) -> Self {
        Access {
            id,
            handle,
            control,
            watch,
            files,
            share,
            attached: Vec::new(),
            turns: Vec::new(),
            writing_cursors: 0,
            query_only: None,
            checkpoints: Checkpoints::AtOnce,
            checkpoint_due: false,
        }
    }

    /// What the engine asks while it runs.
    pub fn watch(&self) -> &ConnectionWatch {
        &self.watch
    }

    /// The main database's file.
    pub fn file(&self) -> &Arc<DatabaseFile> {
        self.share.file()
    }

    /// Every schema that has a file, with it.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Arc<DatabaseFile>)> {
        let attached = self.attached.iter().map(|(schema, share)| (schema.as_str(), share.file()));
        std::iter::once(("main", self.share.file())).chain(attached)
    }

    /// Each file once, in an order that is the same for all connections.
    fn files_in_order(&self) -> Vec<Arc<DatabaseFile>> {
        let mut files: Vec<_> = self.files().map(|(_, file)| Arc::clone(file)).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup_by(|a, b| Arc::ptr_eq(a, b));
        files
    }

    /// Compiles `sql`. Some pragmas replace the callbacks while they are compiled; they are put back at once.
    pub fn prepare(&mut self, sql: &str, kept: bool) -> Result<Statement> {
        self.with_callbacks(keyword::first(sql), |handle| Statement::prepare(handle, sql, kept))
            .map_err(|error| self.stopped_or(error))
    }

    /// Compiles the first statement of a longer text; also says how many bytes it takes up.
    pub fn prepare_first(&mut self, sql: &str) -> Result<(Option<RawStatement>, usize)> {
        self.with_callbacks(keyword::first(sql), |handle| RawStatement::prepare(handle, sql, false))
            .map(|prepared| (prepared.statement, prepared.consumed))
            .map_err(|error| self.stopped_or(Error::Engine(error, None)))
    }

    /// Compiles the statement at byte `at` of a script, whose first word is `keyword`.
    pub fn prepare_at(
        &mut self,
        text: &CStr,
        at: usize,
        keyword: Keyword,
    ) -> Result<(Option<RawStatement>, usize)> {
        self.with_callbacks(keyword, |handle| RawStatement::prepare_at(handle, text, at))
            .map(|prepared| (prepared.statement, prepared.consumed))
            .map_err(|error| self.stopped_or(Error::Engine(error, None)))
    }

    /// Lets the engine see whether another connection has changed the schema, which it does not do to compile, only to
    /// run.
    pub fn refresh_schema(&self) {
        // A failure is found again by whatever is done next.
        let _ = self.pragma_value("SELECT 1 FROM sqlite_schema LIMIT 0");
    }

    /// `PRAGMA busy_timeout` and `PRAGMA wal_autocheckpoint` act while they are compiled and would replace this
    /// program's callbacks: their values are taken over instead.
    fn with_callbacks<T>(&mut self, keyword: Keyword, compile: impl FnOnce(&Handle) -> T) -> T {
        // Any of them, not only those two: which one it is would be known to SQLite's parser alone.
        if !matches!(keyword, Keyword::Pragma | Keyword::Explain) {
            return compile(&self.handle);
        }
        if keyword == Keyword::Explain {
            // EXPLAIN never runs what it explains, so the engine would not notice that the plan is one of the past.
            self.refresh_schema();
        }
        self.handle.set_plain_busy_timeout(self.control.busy_timeout_ms());
        self.handle.set_plain_autocheckpoint(self.file().checkpoint_pages());
        let compiled = compile(&self.handle);
        if let Some(ms) = self.pragma_value("PRAGMA busy_timeout") {
            self.control.set_busy_timeout_ms(u32::try_from(ms).unwrap_or(0));
        }
        if let Some(pages) = self.pragma_value("PRAGMA wal_autocheckpoint") {
            self.file().set_checkpoint_pages(u32::try_from(pages).unwrap_or(0));
        }
        self.handle.install_callbacks();
        compiled
    }

    /// The integer that a statement without parameters yields.
    pub fn pragma_value(&self, sql: &str) -> Option<i64> {
        query::integer(&self.handle, sql)
    }

    /// Before the first step of a statement: takes the writer turn if it may write.
    #[inline]
    pub fn enter(&mut self, read_only: bool, run: &mut Run<'_>) -> Result<()> {
        if self.checkpoint_due {
            // One more write in the same turn (a script): the WAL must not grow for as long as that takes.
            self.checkpoint_if_due();
        }
        if read_only {
            return Ok(());
        }
        if self.query_only.is_some() && !self.handle.autocommit() {
            // `PRAGMA query_only` says the same, but the client can switch that off.
            return Err(read_only_transaction());
        }
        if !self.turns.is_empty() {
            return Ok(());
        }
        self.take_turns(|| run.outlet.about_to_wait())
    }

    /// True if a statement could run now: it needs no turn, or has it, or would get it without waiting, and the commit that
    /// comes with the last would not have to be followed by a checkpoint.
    pub fn may_enter_at_once(&self, read_only: bool) -> bool {
        read_only
            || !self.turns.is_empty()
            || self.files().all(|(_, file)| file.turn.is_free() && !file.wants_checkpoint())
    }

    /// True if a commit would not be followed by a checkpoint that is wanted already.
    pub fn may_commit_at_once(&self) -> bool {
        !self.holds_turn() || !self.files().any(|(_, file)| file.wants_checkpoint())
    }

    /// The turn is held.
    pub fn holds_turn(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Takes the turns of all files.
    pub fn take_turns(&mut self, mut before_waiting: impl FnMut()) -> Result<()> {
        for file in self.files_in_order() {
            if let Err(error) = file.turn.acquire(self.id, &self.control, &mut before_waiting) {
                self.release_turns();
                return Err(error.into());
            }
            self.turns.push(file);
        }
        Ok(())
    }

    /// After a statement was reset: gives the turn back if the transaction has ended.
    #[inline]
    pub fn leave(&mut self) {
        if self.turns.is_empty() && self.query_only.is_none() {
            return;
        }
        let ended = self.handle.autocommit();
        // A write that failed before it had the lock (its snapshot was too old) leaves a transaction that only reads.
        if !ended && (self.turns.is_empty() || self.handle.holds_write_lock()) {
            return;
        }
        if self.writing_cursors == 0 {
            self.checkpoint_due = ended
                && self.holds_turn()
                && self.checkpoints != Checkpoints::Elsewhere
                && self.files().any(|(_, file)| file.wants_checkpoint());
            if !self.checkpoint_due {
                self.release_turns();
            } else if self.checkpoints == Checkpoints::AtOnce {
                self.checkpoint_if_due();
            }
        }
        if !ended {
            return;
        }
        if let Some(before) = self.query_only.take() {
            // Switching it cannot fail: it writes nothing and needs no lock.
            let _ = self.pragma_value(&format!("PRAGMA query_only = {}", u8::from(before)));
        }
    }

    /// Gives all turns back.
    pub fn release_turns(&mut self) {
        for file in self.turns.drain(..).rev() {
            file.turn.release();
        }
    }

    /// After a statement that may have attached or detached a file.
    pub fn refresh_attached(&mut self, keyword: Keyword) {
        if keyword != Keyword::Attach {
            return;
        }
        // 0 is main, 1 temp.
        let schemas: Vec<_> = (2..).map_while(|index| self.handle.schema_name(index)).collect();
        let attached = schemas
            .into_iter()
            .filter_map(|schema| {
                let path = self.handle.file_name(&schema)?;
                Some((schema, FileShare::new(self.files.on_disk(&path))))
            })
            .collect();
        self.attached = attached;
        self.watch.set_attached(
            self.attached.iter().map(|(schema, share)| (schema.clone(), Arc::clone(share.file()))).collect(),
        );
    }

    /// What the engine says about the transaction, as the wire numbers it.
    #[inline]
    pub fn tx_status(&self) -> u8 {
        self.handle.tx_status() as u8
    }

    /// The error of a step of a client's statement that failed with `code`. A violated foreign key, of which the
    /// engine says nothing more, is looked for.
    #[cold]
    pub fn statement_error(&self, statement: &mut RawStatement, code: i32, started_ns: u64) -> Error {
        match self.step_error(code) {
            Error::Engine(error, Some(mut failure)) if failure.kind == ConstraintKind::ForeignKey => {
                let ran = Duration::from_nanos(now_ns().saturating_sub(started_ns));
                if self.writing_cursors == 0 {
                    foreign_key::complete(
                        &self.handle,
                        &self.control,
                        statement,
                        (error.code, ran),
                        &mut failure,
                    );
                }
                Error::Engine(error, Some(failure))
            }
            error => error,
        }
    }

    /// The error of a step that failed with `code`.
    #[cold]
    pub fn step_error(&self, code: i32) -> Error {
        let error = self.handle.error(code);
        match code & 0xff {
            code::SQLITE_CONSTRAINT => {
                let failure = constraint::read(&self.handle, &error);
                Error::Engine(error, failure.map(Box::new))
            }
            _ => self.stopped_or(Error::Engine(error, None)),
        }
    }

    /// An interrupted or busy engine means, if the work had to stop, that it did.
    fn stopped_or(&self, error: Error) -> Error {
        match &error {
            Error::Engine(engine, _)
                if matches!(engine.code & 0xff, code::SQLITE_INTERRUPT | code::SQLITE_BUSY) =>
            {
                match self.control.stop() {
                    Some(stop) => stop.into(),
                    None if engine.code == code::SQLITE_BUSY_SNAPSHOT => snapshot_error(error),
                    None => error,
                }
            }
            _ => error,
        }
    }

    /// Runs a statement of this program's own that yields nothing of interest.
    pub fn run_plain(&mut self, sql: &str) -> Result<()> {
        self.each_row(sql, |_| true)
    }

    /// Runs a statement of this program's own and calls `each` with every row until it returns false.
    pub fn each_row(&mut self, sql: &str, each: impl FnMut(&RawStatement) -> bool) -> Result<()> {
        let (statement, _) = self.prepare_first(sql)?;
        let Some(mut statement) = statement else { return Ok(()) };
        query::rows(&mut statement, each).map_err(|code| self.step_error(code))
    }

    /// Runs several statements of this program's own, separated by `; `.
    pub fn run_plain_all(&mut self, sql: &str) -> Result<()> {
        sql.split("; ").try_for_each(|sql| self.run_plain(sql))
    }

    /// Ends an open transaction, whatever state it is in.
    pub fn roll_back(&mut self) {
        if !self.handle.autocommit() {
            // Fails only if there is nothing to roll back.
            let _ = self.run_plain("ROLLBACK");
        }
        self.leave();
    }

    /// Checkpoints each file whose WAL has grown past its size, in the turn of the commit that made it so.
    pub fn checkpoint_if_due(&mut self) {
        if std::mem::take(&mut self.checkpoint_due) {
            self.checkpoint_in_turn(DatabaseFile::wants_checkpoint, code::SQLITE_CHECKPOINT_PASSIVE);
            self.release_turns();
        }
    }

    /// A checkpoint that nobody asked for: only if no turn and no reader has to be waited for.
    pub fn checkpoint_if_free(&mut self, mode: i32) {
        if self.holds_turn() || self.handle.tx_status() != TxStatus::Idle {
            return;
        }
        for file in self.files_in_order() {
            if !matches!(file.turn.try_acquire(self.id), Ok(true)) {
                self.release_turns();
                return;
            }
            self.turns.push(file);
        }
        self.checkpoint_in_turn(|file| file.wal_pages() > 0, mode);
        self.release_turns();
    }

    fn checkpoint_in_turn(&mut self, wanted: impl Fn(&DatabaseFile) -> bool, mode: i32) {
        self.control.set_patient(false);
        for (schema, file) in self.files().filter(|(_, file)| wanted(file)) {
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

    /// Leaves the files; the last connection of this program checkpoints what is in the WAL, in a turn, as SQLite would
    /// do without one.
    pub fn close_files(&mut self) {
        let last = self.share.leave();
        if last && !self.handle.read_only() {
            self.checkpoint_if_free(code::SQLITE_CHECKPOINT_TRUNCATE);
        }
        self.release_turns();
    }

    /// Why the running work has to stop, if it has to.
    pub fn check_stop(&self) -> Result<()> {
        match self.control.stop() {
            Some(Stop::Closed) => Err(Stop::Closed.into()),
            Some(stop) => Err(stop.into()),
            None => Ok(()),
        }
    }
}

/// Notes what a checkpoint left.
pub fn note_checkpoint(file: &DatabaseFile, done: crate::engine::handle::Checkpointed) {
    let left = done.log_frames.saturating_sub(done.checkpointed_frames);
    file.checkpointed(u32::try_from(left).unwrap_or(0));
}

fn snapshot_error(error: Error) -> Error {
    match error {
        Error::Engine(mut engine, constraint) => {
            engine.message.push_str(
                ": this transaction began by reading, and another one has committed since; roll back and begin again, \
                 with mode immediate if it is going to write",
            );
            Error::Engine(engine, constraint)
        }
        other => other,
    }
}

fn read_only_transaction() -> Error {
    let message = "attempt to write in a read-only transaction".to_owned();
    Error::Engine(EngineError { code: code::SQLITE_READONLY, message, offset: None }, None)
}
