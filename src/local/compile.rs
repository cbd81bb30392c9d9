//! Compiling: what some statements do while they are compiled, and what is learned of them then.

use super::access::Access;
use super::shadow::Doubt;
use super::statement::{Kind, Statement};
use crate::engine::statement::Prepared;
use crate::engine::{code, query, EngineError, Handle, RawStatement};
use crate::error::{Error, Result};
use crate::sql::keyword::{self, Keyword};
use crate::sql::quote::quoted;
use std::ffi::CStr;
use std::sync::Arc;

impl Access {
    /// Compiles `sql`. Some pragmas replace the callbacks while they are compiled; they are put back at once.
    pub fn prepare(&mut self, sql: &str, kept: bool) -> Result<Statement> {
        let keyword = keyword::first(sql);
        let statement = self.with_schema(keyword, |access| {
            let statement = access.with_callbacks(keyword, |handle| Statement::prepare(handle, sql, kept))?;
            access.check_ignored(statement.raw())?;
            Ok(statement)
        })?;
        Ok(statement
            .writing_if(self.watch.uses_writer())
            .once_if(self.watch.changes_schema())
            .doubting(self.watch.take_settled())
            .own_if(self.handle.is_own()))
    }

    /// Compiles the first statement of a longer text; also says how many bytes it takes up.
    pub fn prepare_first(&mut self, sql: &str) -> Result<(Option<RawStatement>, usize)> {
        let keyword = keyword::first(sql);
        self.with_schema(keyword, |access| {
            let prepared = access.with_callbacks(keyword, |handle| RawStatement::prepare(handle, sql, false));
            access.checked(prepared)
        })
    }

    /// Compiles the statement at byte `at` of a script, whose first word is `keyword`.
    pub fn prepare_at(
        &mut self,
        text: &CStr,
        at: usize,
        keyword: Keyword,
    ) -> Result<(Option<RawStatement>, usize)> {
        self.with_schema(keyword, |access| {
            let prepared =
                access.with_callbacks(keyword, |handle| RawStatement::prepare_at(handle, text, at));
            access.checked(prepared)
        })
    }

    fn checked(
        &self,
        prepared: std::result::Result<Prepared, EngineError>,
    ) -> Result<(Option<RawStatement>, usize)> {
        let Prepared { statement, consumed } = prepared.map_err(|error| Error::Engine(error, None))?;
        if let Some(statement) = &statement {
            self.check_ignored(statement)?;
        }
        Ok((statement, consumed))
    }

    /// What the policy makes NULL may be shown, and not be stored. Which of the two it is, is known when all of the statement
    /// has been read.
    fn check_ignored(&self, statement: &RawStatement) -> Result<()> {
        match self.watch.policy.take_ignored() {
            Some(denial) if !statement.read_only() => {
                self.watch.policy.refuse(&denial);
                Err(Error::Denied(Box::new(denial)))
            }
            _ => Ok(()),
        }
    }

    /// Compiles, and believes an error only of a schema that has been compared with the database's. The engine compares it
    /// too after "no such table", but takes a lock that it does not get for equality, and not after others, such as that of
    /// an ON CONFLICT whose index another connection has created.
    fn with_schema<T>(&mut self, keyword: Keyword, compile: impl Fn(&mut Self) -> Result<T>) -> Result<T> {
        self.undo_compiled();
        self.watch.take_settled();
        self.watch.allow_changes(self.temporary);
        let outcome = self.in_turn_if_wanted(keyword, compile);
        self.watch.allow_changes(false);
        self.watch.set_compiled_within(false);
        if outcome.is_err() {
            self.undo_compiled();
        } else if self.is_compiled_within() && self.handle.autocommit() {
            // A full disk or the like has ended the transaction, and libSQL has gone on.
            self.undo_compiled();
            return Err(self.step_error(code::SQLITE_IOERR));
        }
        outcome
    }

    fn in_turn_if_wanted<T>(
        &mut self,
        keyword: Keyword,
        compile: impl Fn(&mut Self) -> Result<T>,
    ) -> Result<T> {
        // Looks up what is doubted of the statement, each of which refuses it once.
        let compile = |access: &mut Self| loop {
            let compiled = compile(access);
            match access.watch.take_doubt() {
                Some(doubt) if access.watch.doubt_is_own() => {
                    // Settled for this one compilation.
                    access.watch.settle(doubt.clone());
                    let compiled = compile(access);
                    access.watch.unsettle(&doubt);
                    return compiled;
                }
                Some(doubt) if compiled.is_err() => {
                    access.look_up(&doubt)?;
                    if let Doubt::NewIndex(index) = &doubt {
                        access.begin_compiled()?;
                        access.drop_remains(index)?;
                    }
                    access.watch.settle(doubt);
                }
                _ => return compiled,
            }
        };
        // Each of the two may be found only after the other: an index that another connection has dropped already exists, and
        // only then is it a matter of the turn. Neither arises twice: within the turn none is wanted, and what has been
        // compared is believed.
        let mut compared = false;
        loop {
            match compile(self) {
                Err(_) if self.watch.wants_turn() => self.enter_to_compile(keyword)?,
                Err(Error::Engine(error, _)) if error.code & 0xff == code::SQLITE_ERROR && !compared => {
                    compared = true;
                    self.refresh_schemas()?;
                }
                outcome => return outcome.map_err(|error| self.compile_error(error)),
            }
        }
    }

    /// Takes the writer turn for what changes a schema. It stays until the statement has run, or the request has ended: what
    /// libSQL has created by then must be there when it runs. Which of them drop a vector index, libSQL alone knows.
    fn enter_to_compile(&mut self, keyword: Keyword) -> Result<()> {
        let watch = Arc::clone(&self.watch);
        let kind = Kind { read_only: false, keyword, guarded: false, cursor: false };
        self.enter(kind, || watch.about_to_wait())?;
        self.check_stop()?;
        if self.has_vector_indexes()? {
            self.begin_compiled()?;
        }
        self.watch.allow_changes(true);
        Ok(())
    }

    /// Lets the engine see whether another connection has changed a schema, which it does not do to compile, only to run.
    pub fn refresh_schemas(&self) -> Result<()> {
        // 1 is temp, which no other connection sees.
        let schemas = (0..).filter(|index| *index != 1).map_while(|index| self.handle.schema_name(index));
        for schema in schemas {
            query::run(&self.handle, &format!("SELECT 1 FROM {}.sqlite_schema LIMIT 0", quoted(&schema)))
                .map_err(|error| self.stopped_or(Error::Engine(error, None)))?;
        }
        Ok(())
    }

    /// `PRAGMA busy_timeout` and `PRAGMA wal_autocheckpoint` act while they are compiled and would replace this
    /// program's callbacks: their values are taken over instead.
    fn with_callbacks<T>(&mut self, keyword: Keyword, compile: impl FnOnce(&Handle) -> T) -> T {
        // Any of them, not only those two: which one it is would be known to SQLite's parser alone.
        if !matches!(keyword, Keyword::Pragma | Keyword::Explain) {
            return self.compiling(compile);
        }
        if keyword == Keyword::Explain {
            // EXPLAIN never runs what it explains, so the engine would not notice that the plan is one of the past. A failure
            // is found again by whatever is done next.
            let _ = self.refresh_schemas();
        }
        let (ms_before, pages_before) = (self.control.busy_timeout_ms(), self.file().checkpoint_pages());
        self.handle.set_plain_busy_timeout(ms_before);
        self.handle.set_plain_autocheckpoint(pages_before);
        let compiled = self.compiling(compile);
        let now = |sql| self.pragma_value(sql).map(|value| u32::try_from(value).unwrap_or(0));
        // Only what this pragma has changed: the file's value belongs to all of its connections.
        if let Some(ms) = now("PRAGMA busy_timeout").filter(|ms| *ms != ms_before) {
            self.control.set_busy_timeout_ms(ms);
        }
        if let Some(pages) = now("PRAGMA wal_autocheckpoint").filter(|pages| *pages != pages_before) {
            self.file().set_checkpoint_pages(pages);
        }
        self.handle.install_callbacks();
        compiled
    }

    fn compiling<T>(&self, compile: impl FnOnce(&Handle) -> T) -> T {
        self.watch.begin_compiling();
        if !self.handle.is_own() {
            self.watch.policy.begin_compiling();
        }
        let compiled = compile(&self.handle);
        self.watch.end_compiling();
        compiled
    }

    /// What the statement that was compiled last uses writes, whatever the engine says of the statement.
    pub fn uses_writer(&self) -> bool {
        self.watch.uses_writer()
    }

    fn compile_error(&self, error: Error) -> Error {
        if let Some(denial) = self.denied() {
            return denial;
        }
        match (self.watch.take_refused(), error) {
            (Some(refused), _) => Error::Denied(refused),
            // A deterministic function of constants may be called to compile, and may fail there.
            (None, error) => match (self.failure(), error) {
                (Some(failure), _) => failure,
                (None, Error::Engine(error, constraint)) => {
                    self.ignored(&error).unwrap_or_else(|| self.stopped_or(Error::Engine(error, constraint)))
                }
                (None, error) => self.stopped_or(error),
            },
        }
    }
}
