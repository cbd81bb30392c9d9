//! What libSQL does while a statement is compiled: it creates and drops the tables of vector indexes, by statements of its own
//! that commit. A statement that does not run then, or not to its end, would leave an index without tables, or tables without
//! an index. So such a statement is compiled and run within one transaction, or within one savepoint of the client's.

use super::within::Within;
use super::Access;
use crate::engine::query;
use crate::error::Result;
use crate::sql::keyword::Keyword;

impl Access {
    /// What is compiled from here on is undone by [`Self::undo_compiled`], or kept together with what it does when it runs.
    /// In the turn.
    pub(in crate::local) fn begin_compiled(&mut self) -> Result<()> {
        if self.compiled_within.is_some() {
            return Ok(());
        }
        let within = match self.handle.autocommit() {
            true => Within::Transaction,
            false => Within::Savepoint,
        };
        query::run(&self.handle, within.begin()).map_err(|error| self.step_error(error.code))?;
        self.compiled_within = Some(within);
        self.watch.set_compiled_within(true);
        Ok(())
    }

    /// The statement that was compiled last is to run before anything else does.
    pub(in crate::local) fn is_compiled_within(&self) -> bool {
        self.compiled_within.is_some()
    }

    /// A statement has run, with this outcome. EXPLAIN compiles what it does not run.
    #[cold]
    pub(super) fn end_compiled<T>(&mut self, keyword: Keyword, outcome: Result<T>) -> Result<T> {
        let Some(within) = self.compiled_within.filter(|_| outcome.is_ok() && keyword != Keyword::Explain)
        else {
            self.undo_compiled();
            return outcome;
        };
        let kept = query::run(&self.handle, within.keep()).map_err(|error| self.step_error(error.code));
        if kept.is_err() {
            self.undo_compiled();
        }
        self.compiled_within = None;
        kept.and(outcome)
    }

    /// Undoes what was done while a statement was compiled that has not run.
    pub(in crate::local) fn undo_compiled(&mut self) {
        let Some(within) = self.compiled_within.take() else { return };
        // The engine has rolled back already if a write was interrupted.
        if !self.handle.autocommit() {
            for sql in within.undo() {
                let _ = self.control.unstopped(|| query::run(&self.handle, sql));
            }
        }
    }
}
