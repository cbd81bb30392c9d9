//! What a failed statement's code becomes.

use super::access::Access;
use super::foreign_key;
use crate::denial::Denial;
use crate::engine::action::Action;
use crate::engine::{allowed, code, constraint, EngineError, RawStatement};
pub use crate::error::{no_row, transaction_ended};
use crate::error::{Error, Result};
use crate::temp_space;
use port_driver::error_code::ErrorCode;
use port_driver::reply::ConstraintKind;
use std::path::Path;

impl Access {
    /// The error of a step of a client's statement that failed with `code`. What the engine does not say of a violated
    /// foreign key is looked up.
    #[cold]
    pub fn statement_error(&self, statement: &RawStatement, code: i32) -> Error {
        match self.step_error(code) {
            Error::Engine(error, Some(mut failure)) if failure.kind == ConstraintKind::ForeignKey => {
                let key = error.foreign_key.as_deref();
                foreign_key::complete(&self.handle, &self.control, key, statement.read_only(), &mut failure);
                Error::Engine(error, Some(failure))
            }
            error => error,
        }
    }

    /// The error of a step that failed with `code`.
    #[cold]
    pub fn step_error(&self, code: i32) -> Error {
        if let Some(failure) = self.failure() {
            return failure;
        }
        let error = self.handle.error(code);
        // A virtual table makes an error of its own of what it was denied.
        if matches!(code & 0xff, code::SQLITE_AUTH | code::SQLITE_ERROR | code::SQLITE_CORRUPT) {
            if let Some(denied) = self.denied() {
                return denied;
            }
        }
        match code & 0xff {
            code::SQLITE_CONSTRAINT if error.code == code::SQLITE_CONSTRAINT_COMMITHOOK => self.refused(),
            code::SQLITE_CONSTRAINT => {
                let failure = constraint::read(&self.handle, &error);
                Error::Engine(error, failure.map(Box::new))
            }
            code::SQLITE_CANTOPEN if temp_space::take_failed() => no_temp_file(),
            code::SQLITE_FULL if temp_space::take_refused() => no_temp_space(),
            // VACUUM INTO attaches its file while it runs.
            code::SQLITE_AUTH => match (self.watch.take_refused(), allowed::take_refused()) {
                (Some(refused), _) => Error::Denied(refused),
                (None, Some((reason, path))) => self.not_allowed(reason, &path),
                (None, None) => {
                    self.ignored(&error).unwrap_or_else(|| self.stopped_or(Error::Engine(error, None)))
                }
            },
            _ => self.stopped_or(Error::Engine(error, None)),
        }
    }

    /// What the client's callback has said, if one has failed.
    pub(super) fn failure(&self) -> Option<Error> {
        self.watch.take_failure().map(|(code, message)| Error::new(code, message))
    }

    /// What the policy denied of the statement that has just failed.
    pub(super) fn denied(&self) -> Option<Error> {
        if !self.watch.policy.is_active() || self.handle.is_own() {
            return None;
        }
        self.watch.policy.take_denied().map(|denial| Error::Denied(Box::new(denial)))
    }

    /// The engine refuses a statement that does something with a value which the policy makes NULL, but show it.
    pub(super) fn ignored(&self, error: &EngineError) -> Option<Error> {
        if error.code & 0xff != code::SQLITE_AUTH || self.handle.is_own() {
            return None;
        }
        let denial = self.watch.policy.take_ignored()?;
        self.watch.policy.refuse(&denial);
        Some(Error::Denied(Box::new(denial)))
    }

    fn not_allowed(&self, reason: &str, path: &Path) -> Error {
        let folders = self.allowed.iter().flat_map(|folders| folders.iter());
        let folders: Vec<_> = folders.map(|folder| format!("{folder:?}")).collect();
        let of = if folders.is_empty() { String::new() } else { format!(" ({})", folders.join(", ")) };
        let why = format!("{reason}{of}");
        Error::Denied(Box::new(Denial::by_program(Action::Attach, &path.to_string_lossy(), why)))
    }

    /// An interrupted or busy engine means, if the work had to stop, that it did. libSQL makes errors of its own of those that
    /// end its statements.
    pub(super) fn stopped_or(&self, error: Error) -> Error {
        match &error {
            Error::Engine(engine, _)
                if matches!(
                    engine.code & 0xff,
                    code::SQLITE_INTERRUPT | code::SQLITE_BUSY | code::SQLITE_ERROR | code::SQLITE_AUTH
                ) =>
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

    /// The commit was refused, and all of it rolled back.
    fn refused(&self) -> Error {
        if let Some(displaced) = self.watch.take_displaced() {
            return Error::Displaced(displaced);
        }
        match self.control.stop() {
            Some(stop) => stop.into(),
            // Only a statement that has to yield a row ends so.
            None if self.watch.refuses_commits() => no_row(),
            None => Error::new(
                ErrorCode::Unsupported,
                "the statement writes although the engine calls it read-only; it was undone: run it in an immediate \
                 transaction",
            ),
        }
    }

    /// Why the running work has to stop, if it has to.
    pub fn check_stop(&self) -> Result<()> {
        self.control.stop().map_or(Ok(()), |stop| Err(stop.into()))
    }
}

/// libSQL writes the tables of a vector index before it asks whether it may drop the index. What defends those tables has such a
/// statement refused whole.
pub(super) fn needs_defence(remedy: &str) -> Error {
    let message = format!("a policy holds only on a connection that is defensive; {remedy}");
    Error::new(ErrorCode::InvalidOption, message)
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

pub(super) fn read_only_transaction() -> Error {
    let message = "attempt to write in a read-only transaction";
    Error::Engine(EngineError::new(code::SQLITE_READONLY, message), None)
}

/// Temporary files hold all that they may.
fn no_temp_file() -> Error {
    let place = temp_space::place();
    Error::new(ErrorCode::CannotOpen, format!("the engine cannot make a temporary file in {place}"))
}

pub(super) fn no_temp_space() -> Error {
    let message = format!(
        "the temporary files of this program would hold more than {} bytes (temp_bytes_max); sort or group fewer rows, read \
         cursors to their end before writing, or raise the limit",
        temp_space::max()
    );
    Error::new(ErrorCode::LimitExceeded, message)
}

/// Outside of a transaction a statement is committed with the last one that writes, so that an answer would say more than
/// is true as long as a writing cursor is open.
pub(super) fn cursor_writes() -> Error {
    Error::new(
        ErrorCode::Locked,
        "a cursor of this connection is writing outside of a transaction; nothing else can write or begin a transaction \
         before it is exhausted or closed",
    )
}
