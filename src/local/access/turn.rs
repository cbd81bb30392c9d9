//! Into the door and out of it: the writer turns that a statement needs, and what it leaves behind.

use super::Access;
use crate::engine::query;
use crate::error::{Error, Result};
use crate::local::errors::{cursor_writes, read_only_transaction, transaction_ended};
use crate::local::statement::Kind;
use crate::run::Place;
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;

impl Access {
    /// Before the first step of a statement: takes the writer turns if it may write.
    #[inline]
    pub(in crate::local) fn enter(&mut self, kind: Kind, before_waiting: impl FnMut()) -> Result<()> {
        if self.inside && self.handle.autocommit() {
            return Err(transaction_ended());
        }
        // One more write in the same turn (a script): what it changes is not told together with what came before, and the WAL must
        // not grow for as long as the script takes.
        self.finish_turn();
        // What changes a schema may do so while it is compiled, and is not to be compiled twice.
        if kind.keyword != Keyword::Schema && !self.is_compiled_within() {
            self.look_for_listeners();
        }
        let autocommit = self.handle.autocommit();
        let writes_or_begins = !kind.read_only || keyword::begins(kind.keyword);
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
            let taken = match self.read_in_rollback_mode() {
                Some(schema) => self.take_without_waiting(&schema),
                None => self.turns.take(&self.control, before_waiting),
            };
            if let Err(error) = taken {
                return Err(self.cause(error));
            }
            self.watch.set_turn_held(true);
            self.check_in_turn()?;
        }
        self.watch.set_pragma_runs(kind.keyword == Keyword::Pragma);
        Ok(())
    }

    /// A database that is being read, and that has no WAL. Whoever has its turn cannot commit before that ends, since a commit
    /// takes every such file of its transaction for itself: so the turn is not waited for.
    #[inline]
    fn read_in_rollback_mode(&self) -> Option<String> {
        if self.turns.is_held() || !self.handle.holds_any_lock() {
            return None;
        }
        let without_wal = |schema: &str| self.handle.opened(schema).is_none_or(|opened| opened.wal.is_none());
        let mut schemas = self.turns.files().map(|(schema, _)| schema);
        schemas.find(|schema| self.handle.holds_lock(schema) && without_wal(schema)).map(str::to_owned)
    }

    #[cold]
    fn take_without_waiting(&mut self, schema: &str) -> Result<()> {
        if self.turns.take_now() {
            return Ok(());
        }
        let holder = self.turns.files().find_map(|(_, file)| file.turn.held_by());
        let holder = holder.unwrap_or_else(|| "another program".to_owned());
        Err(Error::new(
            ErrorCode::Busy,
            format!(
                "the writer turn is held by {holder}, which cannot commit while this connection reads {schema}, a database \
                 that is not in WAL mode: roll back or close the cursor, and begin with mode immediate what is going to write"
            ),
        ))
    }

    /// After a statement: what it has left.
    #[inline]
    pub(super) fn leave_statement<T>(&mut self, kind: Kind, outcome: Result<T>) -> Result<T> {
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
        let outcome = match self.compiled_within {
            None => outcome,
            Some(_) => self.end_compiled(kind.keyword, outcome),
        };
        if self.watch.take_commit_refused() && !self.handle.autocommit() {
            // The release of a savepoint that began the transaction: all of it is undone, but SQLite goes on with the transaction.
            let _ = self.control.unstopped(|| query::run(&self.handle, "ROLLBACK"));
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
        self.tell_listeners();
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
            if !self.checkpoint_due && self.telling_due.is_none() {
                self.release_turns();
            } else if self.place.is_none() {
                self.finish_turn();
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

    pub(super) fn release_turns(&mut self) {
        self.tell_if_due();
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
}
