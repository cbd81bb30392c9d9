//! A copy of a replica that is a database of its own.

use crate::error::{io_code, Error, Result};
use crate::local::access::Access;
use crate::run::Place;
use crate::sql::quote::quoted_text;
use port_driver::error_code::ErrorCode;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Copies the database of `access` to `path`, where nothing may be. The copy is there whole or not at all. Returns its size in
/// bytes.
pub fn into(access: &mut Access, place: Place, path: &str) -> Result<u64> {
    let path = &std::path::absolute(path).map_err(|error| failed(Path::new(path), &error))?;
    if !access.handle.autocommit() {
        let message = "a replica is not frozen inside a transaction; commit or roll back";
        return Err(Error::new(ErrorCode::TransactionOpen, message));
    }
    if path.symlink_metadata().is_ok() {
        return Err(failed(path, &io::ErrorKind::AlreadyExists.into()));
    }
    let partial = Partial(partial(path, access.id));
    let text = partial.0.to_str().ok_or_else(|| failed(path, &io::ErrorKind::InvalidInput.into()))?;
    // What a program of this pid that was killed has left.
    let _ = std::fs::remove_file(text);
    access.begin(place);
    let copied = access.run_temporary(&format!("VACUUM main INTO {}", quoted_text(text)));
    access.end();
    copied?;
    finish(&partial.0, path).map_err(|error| failed(path, &error))
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
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
