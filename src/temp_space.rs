//! The temporary files of the program: the engine's (sorting, grouping, VACUUM, materialized views) and those that keep what
//! is left of cursors. They hold no more than `temp_bytes_max` together, have no name, and so go with the program.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

static USED: AtomicU64 = AtomicU64::new(0);
/// 0: no limit.
static MAX: AtomicU64 = AtomicU64::new(0);

/// The only folder for temporary files, if the client has named one.
static NAMED: OnceLock<PathBuf> = OnceLock::new();

thread_local! {
    static REFUSED: Cell<bool> = const { Cell::new(false) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// From now on temporary files lie in `folder` and nowhere else: whoever names one means it. An error if none can be made there.
pub fn set_folder(folder: &Path) -> io::Result<()> {
    let folder = folder.canonicalize()?;
    nameless_file_in(&folder)?;
    let _ = NAMED.set(folder);
    Ok(())
}

/// Where the engine is to make its next temporary file; `None`: it looks for a folder itself, as [`folders`] does.
pub fn new_path() -> Option<PathBuf> {
    NAMED.get().map(|folder| new_path_in(folder))
}

/// The engine could not make a temporary file on this thread.
pub fn note_failed() {
    FAILED.set(true);
}

/// Whether it could not since this was last asked.
pub fn take_failed() -> bool {
    FAILED.replace(false)
}

/// Where temporary files should lie, in words.
pub fn place() -> String {
    match NAMED.get() {
        Some(folder) => format!("temp_directory, which is {}", folder.display()),
        None => "any of the usual folders; name one by temp_directory".to_owned(),
    }
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
fn folders() -> Vec<PathBuf> {
    if let Some(folder) = NAMED.get() {
        return vec![folder.clone()];
    }
    let set = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    set.chain(["/var/tmp", "/usr/tmp", "/tmp", "."].into_iter().map(PathBuf::from)).collect()
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

/// A name that nobody can guess, in a folder where others may write too.
fn new_path_in(folder: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SECRET: OnceLock<RandomState> = OnceLock::new();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let random = SECRET.get_or_init(RandomState::new).hash_one(number);
    folder.join(format!("libsql_port-{}-{number}-{random:016x}", std::process::id()))
}

fn nameless_file_in(folder: &Path) -> io::Result<File> {
    loop {
        let path = new_path_in(folder);
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
    fn names_differ_in_what_cannot_be_guessed() {
        let random = || {
            let path = new_path_in(Path::new("/folder"));
            path.to_str().and_then(|name| name.rsplit('-').next().map(str::to_owned)).unwrap()
        };
        let names: std::collections::HashSet<_> = (0..1000).map(|_| random()).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 16));
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
