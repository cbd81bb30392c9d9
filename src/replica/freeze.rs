//! A copy of a replica that is a database of its own.

use super::files::{engine, opened, sync_folder_of};
use crate::clock::now_ns;
use crate::control::Control;
use crate::engine::backup::{Backup, Copied, Pages};
use crate::engine::{code, query, Handle};
use crate::error::{io_code, Error, Result};
use crate::replication::Replica;
use port_driver::error_code::ErrorCode;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle as Runtime;

/// Pages that are copied between two looks at whether the request has to stop.
const STEP_PAGES: u16 = 256;

/// The pause before a step is tried again that met a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// How often listeners are told how far it is.
const TELL_NS: u64 = 100_000_000;

/// A replica that is to be copied.
pub struct Freezing<'f> {
    /// Which.
    pub replica: &'f Replica,
    /// Why it has to stop.
    pub control: &'f Control,
    /// For libsql.
    pub runtime: &'f Runtime,
    /// A number that no other connection has.
    pub id: u32,
}

impl Freezing<'_> {
    /// Copies one state of it to `path`, where nothing may be. The copy is there whole or not at all. Returns its size in bytes.
    pub fn make(&self, path: &str) -> Result<u64> {
        let path = &std::path::absolute(path).map_err(|error| failed(Path::new(path), &error))?;
        if path.symlink_metadata().is_ok() {
            return Err(failed(path, &io::ErrorKind::AlreadyExists.into()));
        }
        let partial = Partial(partial(path, self.id));
        // What a program of this pid that was killed has left.
        let _ = std::fs::remove_file(&partial.0);
        self.copy(&partial.0)?;
        finish(&partial.0, path).map_err(|error| failed(path, &error))
    }

    fn copy(&self, to: &Path) -> Result<()> {
        let mut source = self.open(&self.replica.path, code::SQLITE_OPEN_READONLY)?;
        let flags = code::SQLITE_OPEN_READWRITE | code::SQLITE_OPEN_CREATE | code::SQLITE_OPEN_NOFOLLOW;
        let mut target = self.open(to, flags)?;
        // The state that is copied, whatever is replicated meanwhile.
        query::run(&source, "BEGIN").map_err(engine)?;
        query::run(&source, "SELECT count(*) FROM sqlite_schema").map_err(engine)?;
        let mut backup = Backup::begin(&mut source, &mut target).map_err(engine)?;
        let mut told_ns = now_ns();
        loop {
            if let Some(stop) = self.control.stop() {
                return Err(stop.into());
            }
            let copied = backup.step(STEP_PAGES).map_err(engine)?;
            let now_ns = now_ns();
            if copied == Copied::All || now_ns >= told_ns + TELL_NS {
                told_ns = now_ns;
                let Pages { done, known } = backup.pages();
                self.replica.progress.frozen(done, known);
            }
            match copied {
                Copied::All => break,
                Copied::Part => {}
                Copied::Nothing => self.control.pause(LOCK_PAUSE)?,
            }
        }
        drop(backup);
        // The pages say that there is a write-ahead log, which a copy has not.
        query::run(&target, "PRAGMA journal_mode = delete").map_err(engine)
    }

    fn open(&self, path: &Path, flags: i32) -> Result<Handle> {
        let path = path.to_str().ok_or_else(|| failed(path, &io::ErrorKind::InvalidInput.into()))?;
        opened(self.runtime, path, flags)
    }
}

/// A file that is removed unless it has got its name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn partial(path: &Path, connection: u32) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!("-freezing-{}-{connection}", std::process::id()));
    PathBuf::from(partial)
}

/// Gives the copy its name once it is on the disk, and never another file's.
fn finish(partial: &Path, path: &Path) -> io::Result<u64> {
    let file = File::open(partial)?;
    file.sync_all()?;
    let bytes = file.metadata()?.len();
    std::fs::hard_link(partial, path)?;
    sync_folder_of(path)?;
    Ok(bytes)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
            ErrorCode::CannotOpen
        }
        io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
        _ => io_code(error),
    };
    Error::new(code, format!("the replica cannot be frozen as {}: {error}", path.display()))
}
