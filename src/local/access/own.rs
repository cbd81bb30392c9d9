//! Statements of this program's own.

use super::{Access, Rows};
use crate::engine::{query, RawStatement};
use crate::error::Result;
use crate::local::statement::Kind;
use crate::sql::keyword;
use std::sync::Arc;

impl Access {
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
        self.handle.begin_own();
        let outcome = self.each_row_of(sql, each);
        self.handle.end_own();
        outcome
    }

    fn each_row_of(&mut self, sql: &str, each: impl FnMut(&RawStatement) -> bool) -> Result<()> {
        let (statement, _) = self.prepare_first(sql)?;
        let Some(mut statement) = statement else { return Ok(()) };
        let kind = Kind {
            read_only: statement.read_only(),
            keyword: keyword::first(sql),
            guarded: true,
            cursor: false,
        };
        self.run_raw(&mut statement, kind, &mut Each(each)).map(|_| ())
    }

    /// From now on nothing writes here: what changes a schema is compiled for what it is, without the writer turn, and run elsewhere.
    pub fn compile_for_elsewhere(&mut self) {
        self.temporary = true;
    }

    /// Runs a statement of this program's own that writes temporary objects or another file alone, without a turn.
    pub fn run_temporary(&mut self, sql: &str) -> Result<()> {
        let held = self.turns.is_held();
        self.watch.set_turn_held(true);
        let temporary = std::mem::replace(&mut self.temporary, true);
        self.handle.begin_own();
        let outcome = self.prepare_first(sql).and_then(|(statement, _)| {
            let Some(mut statement) = statement else { return Ok(()) };
            query::rows(&mut statement, |_| true).map_err(|code| self.step_error(code))
        });
        self.handle.end_own();
        self.temporary = temporary;
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
}

/// The rows of this program's own statements.
struct Each<F>(F);

impl<F: FnMut(&RawStatement) -> bool> Rows for Each<F> {
    fn about_to_wait(&mut self) {}

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        Ok((self.0)(row))
    }
}
