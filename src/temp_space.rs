//! The temporary files of the program: the engine's (sorting, grouping, VACUUM, materialized views) and those that keep what
//! is left of cursors. They hold no more than `temp_bytes_max` together, have no name, and so go with the program.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

static USED: AtomicU64 = AtomicU64::new(0);
/// 0: no limit.
static MAX: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// Sets the limit; 0: none.
pub fn set_max(bytes: u64) {
    MAX.store(bytes, Ordering::Relaxed);
}

/// The limit; 0: none.
pub fn max() -> u64 {
    MAX.load(Ordering::Relaxed)
}

/// Whether this thread was refused space since it last asked.
pub fn take_refused() -> bool {
    REFUSED.replace(false)
}

/// Where temporary files may lie, in SQLite's order (<https://sqlite.org/tempfiles.html>, section 5).
fn folders() -> impl Iterator<Item = PathBuf> {
    let named = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    named.chain(["/var/tmp", "/usr/tmp", "/tmp", "."].into_iter().map(PathBuf::from))
}

/// A file that goes with its last descriptor, also if the program is killed, and that nobody else may read before its name is
/// gone.
pub fn nameless_file() -> io::Result<File> {
    let mut refused = None;
    for folder in folders() {
        match nameless_file_in(&folder) {
            Ok(file) => return Ok(file),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn nameless_file_in(folder: &Path) -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("libsql_port-{}-{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file could be made when this was first asked, as the program started.
pub fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(|| nameless_file().is_ok())
}

/// What one file holds. Given back when it is dropped.
#[derive(Debug, Default)]
pub struct TempSpace(u64);

impl TempSpace {
    /// The file is to hold so many bytes. False if that is too much for all together.
    pub fn resize(&mut self, bytes: u64) -> bool {
        if bytes <= self.0 {
            USED.fetch_sub(self.0 - bytes, Ordering::Relaxed);
        } else {
            let more = bytes - self.0;
            let used = USED.fetch_add(more, Ordering::Relaxed);
            let max = MAX.load(Ordering::Relaxed);
            if max != 0 && used.saturating_add(more) > max {
                USED.fetch_sub(more, Ordering::Relaxed);
                REFUSED.set(true);
                return false;
            }
        }
        self.0 = bytes;
        true
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.0
    }
}

impl Drop for TempSpace {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> u64 {
        USED.load(Ordering::Relaxed)
    }

    #[test]
    fn space_is_counted_given_back_and_limited() {
        // Other tests of this process may write temporary files of their own.
        let before = used();
        let (mut one, mut other) = (TempSpace::default(), TempSpace::default());
        assert!(one.resize(1 << 50) && other.resize(1 << 50));
        assert!(used() - before >= 2 << 50);
        set_max(3 << 50);
        assert!(!one.resize(3 << 50) && take_refused() && !take_refused());
        assert_eq!(one.bytes(), 1 << 50, "as before");
        assert!(one.resize(5) && other.resize(1 << 51));
        set_max(0);
        drop((one, other));
        assert!(used() < 1 << 50);
    }
}
