//! A replica becomes a database of its own.
//!
//! Its file is a whole database already, of a state that the server once had. What makes it a replica is the index beside it, without
//! which nothing is replicated into the file any more; so nothing is copied, and there is no moment in which the file is neither.

use super::files::{engine, opened, sync_folder_of};
use super::open::absolute;
use crate::control::Control;
use crate::engine::{code, query, Handle};
use crate::error::{io_code, Error, Result};
use crate::replication::{index, Cause, Failure, Owner};
use crate::surroundings::Surroundings;
use port_driver::error_code::ErrorCode;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The pause before it is looked again whether the replica was given back whose last connection was closed just now.
const ENDING_PAUSE: Duration = Duration::from_millis(5);

/// Makes the replica at `given` a database of its own. Refused while anybody has it open.
pub fn promote(surroundings: &Surroundings, control: &Control, given: &str) -> Result<()> {
    let path = &absolute(given)?;
    if !index::path(path).exists() {
        let message = format!("{} is no replica, or none any more", path.display());
        return Err(Error::new(ErrorCode::CannotOpen, message));
    }
    while surroundings.replicas.is_ending(path) {
        control.pause(ENDING_PAUSE)?;
    }
    let owner = Owner::take(path).map_err(in_use)?;
    let text = path.to_str().ok_or_else(|| failed(path, &io::ErrorKind::InvalidInput.into()))?;
    let handle = opened(&surroundings.runtime, text, code::SQLITE_OPEN_READWRITE)?;
    leave_wal(&handle, path)?;
    drop(handle);
    become_standalone(path, owner).map_err(|error| failed(path, &error))
}

fn in_use(failure: Failure) -> Failure {
    match failure.cause {
        Cause::Owned => Failure {
            message: format!("{failure}; it is promoted when its connections are closed"),
            ..failure
        },
        _ => failure,
    }
}

/// Moves what is in the log into the file, which takes that nobody has it open.
fn leave_wal(handle: &Handle, path: &Path) -> Result<()> {
    let mut mode = String::new();
    let outcome = query::each_row(handle, "PRAGMA journal_mode = delete", None, |row| {
        mode = query::text_at(row, 0);
        false
    });
    match outcome {
        Ok(()) if mode == "delete" => Ok(()),
        Err(error) if !matches!(error.code & 0xff, code::SQLITE_BUSY | code::SQLITE_LOCKED) => Err(engine(error)),
        _ => Err(Error::new(
            ErrorCode::Busy,
            format!("{} is open, and a replica is promoted when nobody has it open any more; close its connections", path.display()),
        )),
    }
}

fn become_standalone(path: &Path, owner: Owner) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    std::fs::remove_file(index::path(path))?;
    owner.retire()?;
    sync_folder_of(path)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(io_code(error), format!("the replica {} cannot be promoted: {error}", path.display()))
}
