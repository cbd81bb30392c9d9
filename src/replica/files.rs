//! Handles of this program's own on a replica's file, and names that are on the disk.

use crate::engine::{self, EngineError, Handle};
use crate::error::{Error, Result};
use std::fs::File;
use std::io;
use std::path::Path;
use tokio::runtime::Handle as Runtime;

/// A handle on `path`.
pub fn opened(runtime: &Runtime, path: &str, flags: i32) -> Result<Handle> {
    engine::open::open(runtime, path, flags).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
        cause: None,
    })
}

/// The engine's error, of no statement of a client's.
pub fn engine(error: EngineError) -> Error {
    Error::Engine(error, None)
}

/// What was named, renamed or removed beside `path` is so after a loss of power.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
