//! Whether the files that connections have open are those that stand at their paths.
//!
//! A database that is removed, renamed or replaced under an open connection stays open: SQLite goes on writing into a file
//! that nobody finds again, and so does a WAL. So do a database and its WAL under a WAL index that was removed, for which
//! the next program makes another one. Each look costs one `lstat` for each of the three files.

use crate::engine::file_id::FileId;
use crate::engine::vfs::Opened;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A file that is open no longer stands at its path.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{path} was {what} after this connection had opened the database, so nothing is committed to it any more; close the \
     connection and open another one",
    path = .path.display()
)]
pub struct Displaced {
    /// Where it stood.
    pub path: PathBuf,
    what: &'static str,
}

/// Where the files of one database stand, and which they are.
#[derive(Default)]
pub struct Placement {
    paths: OnceLock<Paths>,
    known: Mutex<Option<Known>>,
}

struct Paths {
    database: PathBuf,
    wal: PathBuf,
    shm: PathBuf,
}

/// What connections of this program found beside one database. They share the WAL index, by the identity of the database,
/// and a connection that opens later must not read another WAL by it.
#[derive(Clone, Copy)]
struct Known {
    database: FileId,
    wal: FileId,
    /// None: the index is in memory (`locking_mode = exclusive`), or nothing has been read yet.
    shm: Option<FileId>,
}

impl Placement {
    /// The path of the database.
    pub fn stands_at(&self, database: PathBuf) {
        self.paths.get_or_init(|| Paths::of(database));
    }

    /// An error if a file that a connection has open does not stand at its path. `alone` says that no other connection of this
    /// program has it open.
    pub fn check(&self, opened: &Opened, alone: bool) -> Result<(), Displaced> {
        let Some(paths) = self.paths.get() else { return Ok(()) };
        compare(&paths.database, opened.database)?;
        let mut known = self.known.lock();
        let Some(wal) = opened.wal else {
            // A connection that was the only one may have left WAL mode.
            if known.is_some() && (alone || !exists(&paths.wal) && !exists(&paths.shm)) {
                *known = None;
            }
            return Ok(());
        };
        match *known {
            Some(Known { database, wal: first, shm }) if database == opened.database => {
                if first != wal {
                    return Err(Displaced { path: paths.wal.clone(), what: REPLACED });
                }
                compare(&paths.wal, wal)?;
                match shm {
                    Some(shm) => compare(&paths.shm, shm),
                    None => {
                        *known = Some(Known { database, wal: first, shm: FileId::at(&paths.shm).ok() });
                        Ok(())
                    }
                }
            }
            _ => {
                compare(&paths.wal, wal)?;
                *known = Some(Known { database: opened.database, wal, shm: FileId::at(&paths.shm).ok() });
                Ok(())
            }
        }
    }

    /// The log that is open may be written back. Not if there is another log or index by now: whoever made it may have
    /// written. One that was removed is the only one, and all that is in it would be lost. A database that was replaced
    /// is written to where it is now.
    pub fn may_write_back(&self) -> bool {
        let (Some(paths), Some(known)) = (self.paths.get(), *self.known.lock()) else { return true };
        let is_only = |path: &Path, open: FileId| FileId::at(path).map_or(true, |found| found == open);
        let is_empty = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.len() == 0);
        (is_only(&paths.wal, known.wal) || is_empty(&paths.wal))
            && known.shm.is_none_or(|shm| is_only(&paths.shm, shm))
    }

    /// The log has an index in shared memory.
    pub fn has_index(&self) -> bool {
        self.known.lock().is_some_and(|known| known.shm.is_some())
    }

    /// The error of a log that is not the one that its index speaks of.
    pub fn other_log(&self) -> Displaced {
        let path = self.paths.get().map(|paths| paths.wal.clone()).unwrap_or_default();
        Displaced { path, what: REPLACED }
    }

    /// No connection of this program has the database open any more: SQLite may remove and make the other files anew.
    pub fn forget(&self) {
        *self.known.lock() = None;
    }
}

impl Paths {
    fn of(database: PathBuf) -> Self {
        Paths { wal: beside(&database, "-wal"), shm: beside(&database, "-shm"), database }
    }
}

/// The path of a file whose name is that of `database` with `suffix` behind it.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

const REPLACED: &str = "replaced";

fn compare(path: &Path, open: FileId) -> Result<(), Displaced> {
    let what = match FileId::at(path) {
        Ok(found) if found == open => return Ok(()),
        Ok(_) => REPLACED,
        Err(error) if is_absent(&error) => "removed or renamed",
        // It may still be there.
        Err(_) => return Ok(()),
    };
    Err(Displaced { path: path.to_owned(), what })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn exists(path: &Path) -> bool {
    FileId::at(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Files {
        _folder: tempfile::TempDir,
        database: PathBuf,
        placement: Placement,
    }

    impl Files {
        fn new(suffixes: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let database = folder.path().join("a.db");
            for suffix in suffixes {
                fs::write(beside(&database, suffix), "").unwrap();
            }
            let placement = Placement::default();
            placement.stands_at(database.clone());
            Files { _folder: folder, database, placement }
        }

        fn opened(&self) -> Opened {
            let wal = FileId::at(&beside(&self.database, "-wal")).ok();
            Opened { database: FileId::at(&self.database).unwrap(), wal }
        }

        fn check(&self, opened: &Opened) -> Result<(), String> {
            let checked = self.placement.check(opened, false);
            checked.map_err(|displaced| displaced.path.to_string_lossy().into_owned())
        }

        fn fails(&self, opened: &Opened, suffix: &str) -> bool {
            self.check(opened) == Err(beside(&self.database, suffix).to_string_lossy().into_owned())
        }
    }

    const ALL: &[&str] = &["", "-wal", "-shm"];

    #[test]
    fn each_of_the_three_is_missed() {
        for suffix in ALL {
            let files = Files::new(ALL);
            let opened = files.opened();
            assert_eq!(files.check(&opened), Ok(()));
            assert_eq!(files.check(&opened), Ok(()), "nothing has changed");
            let path = beside(&files.database, suffix);
            let aside = beside(&files.database, ".aside");
            fs::rename(&path, &aside).unwrap();
            assert!(files.fails(&opened, suffix), "{suffix} renamed");
            fs::write(&path, "").unwrap();
            assert!(files.fails(&opened, suffix), "{suffix} replaced");
            std::os::unix::fs::symlink(&aside, beside(&files.database, ".link")).unwrap();
            fs::rename(beside(&files.database, ".link"), &path).unwrap();
            assert!(files.fails(&opened, suffix), "{suffix} is a link to what it was");
            fs::rename(&aside, &path).unwrap();
            assert_eq!(files.check(&opened), Ok(()), "{suffix} is back");
        }
    }

    #[test]
    fn a_connection_that_comes_later_must_have_the_same_log() {
        let files = Files::new(ALL);
        let first = files.opened();
        files.check(&first).unwrap();
        fs::rename(beside(&files.database, "-wal"), beside(&files.database, ".aside")).unwrap();
        fs::write(beside(&files.database, "-wal"), "").unwrap();
        let second = files.opened();
        assert!(files.fails(&second, "-wal"));
        files.placement.forget();
        assert_eq!(files.check(&second), Ok(()), "nobody has the first one open");
    }

    #[test]
    fn a_log_is_written_back_unless_there_is_another_one() {
        for suffix in ALL {
            let files = Files::new(ALL);
            files.check(&files.opened()).unwrap();
            assert!(files.placement.may_write_back());
            let path = beside(&files.database, suffix);
            fs::rename(&path, beside(&files.database, ".aside")).unwrap();
            assert!(files.placement.may_write_back(), "{suffix} removed");
            fs::write(&path, "something").unwrap();
            assert_eq!(files.placement.may_write_back(), suffix.is_empty(), "{suffix} replaced");
        }
    }

    #[test]
    fn what_leaves_wal_mode_may_come_back_to_it() {
        let files = Files::new(ALL);
        files.check(&files.opened()).unwrap();
        for suffix in ["-wal", "-shm"] {
            fs::remove_file(beside(&files.database, suffix)).unwrap();
        }
        files.check(&files.opened()).unwrap();
        for suffix in ["-wal", "-shm"] {
            fs::write(beside(&files.database, suffix), "").unwrap();
        }
        assert_eq!(files.check(&files.opened()), Ok(()));
    }

    #[test]
    fn a_database_without_a_log_or_index_has_none_to_miss() {
        let files = Files::new(&[""]);
        assert_eq!(files.check(&files.opened()), Ok(()));
        let files = Files::new(&["", "-wal"]);
        assert_eq!(files.check(&files.opened()), Ok(()));
        assert_eq!(files.check(&files.opened()), Ok(()));
    }
}
