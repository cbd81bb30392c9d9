//! Checkpoints: those that a client asks for, those that a grown WAL asks for, and the last one.

use super::Access;
use crate::database::DatabaseFile;
use crate::engine::handle::{Checkpointed, TxStatus};
use crate::engine::{code, query};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// How often the last connection tries to write the log back, and how long it waits in between.
const LAST_CHECKPOINT_TRIES: u32 = 25;
const LAST_CHECKPOINT_PAUSE: Duration = Duration::from_millis(2);

impl Access {
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

    /// What a commit has left for after its reply, in its turn: tells a long transaction to those who listen, and checkpoints
    /// each file whose WAL has grown past its size.
    #[inline]
    pub fn finish_turn(&mut self) {
        if self.checkpoint_due || self.telling_due.is_some() {
            self.finish_turn_now();
        }
    }

    #[cold]
    fn finish_turn_now(&mut self) {
        self.tell_if_due();
        if std::mem::take(&mut self.checkpoint_due) {
            self.checkpoint_in_turn(|_, file| file.wants_checkpoint(), code::SQLITE_CHECKPOINT_PASSIVE);
        }
        self.release_turns();
    }

    /// A checkpoint that nobody asked for, of the files that `wanted` names: only if no turn and no reader has to be
    /// waited for.
    pub fn checkpoint_if_free(&mut self, wanted: impl Fn(&str, &DatabaseFile) -> bool, mode: i32) {
        // The turn of a file makes its lock file, which has no place beside what is not a database.
        if !self.turns.files().any(|(schema, file)| wanted(schema, file)) {
            return;
        }
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

    /// Rolls back what is open and leaves the files; the last connection of this program checkpoints what is in a WAL, in a
    /// turn, as SQLite would do without one.
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
            for _ in 0..LAST_CHECKPOINT_TRIES {
                self.checkpoint_if_free(wanted, code::SQLITE_CHECKPOINT_TRUNCATE);
                let is_left =
                    |(schema, file): (&str, &Arc<DatabaseFile>)| left(schema) && file.wal_has_content();
                if !self.turns.files().any(is_left) {
                    break;
                }
                // A connection that has only begun to open reads the header, and counts as none yet.
                std::thread::sleep(LAST_CHECKPOINT_PAUSE);
            }
        }
    }
}

fn note_checkpoint(file: &DatabaseFile, done: Checkpointed) {
    let left = done.log_frames.saturating_sub(done.checkpointed_frames);
    file.checkpointed(u32::try_from(left).unwrap_or(0));
}
