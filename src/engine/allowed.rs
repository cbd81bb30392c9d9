//! Which further databases SQL may open.
//!
//! SQLite asks its VFS for every file that it opens, with the path made absolute and its links resolved, whether the name
//! stood in the SQL text, was bound, or was made by an expression. The VFS does not learn for whom: so the thread that runs a
//! request says so before it.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders, absolute and with their links resolved; none of them: no file at all.
pub type Folders = Arc<[PathBuf]>;

thread_local! {
    static RUNS_SQL: Cell<bool> = const { Cell::new(false) };
    static FOLDERS: RefCell<Option<Folders>> = const { RefCell::new(None) };
    static REFUSED: Cell<Option<(&'static str, PathBuf)>> = const { Cell::new(None) };
}

/// Endings of files that belong to a database. Opened as a database, and closed, one takes away the locks that this program
/// has on the file (POSIX drops them), or is played back as another database's journal.
const ENDINGS: &[&[u8]] = &[b"-journal", b"-wal", b"-shm", b"-turn"];

/// A VFS through which a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    /// The default one.
    Default,
    /// One of SQLite's that opens files, by its name.
    Named,
    /// Databases in memory that all connections of the program share by name.
    Memory,
}

/// A request begins on this thread: its SQL may open files in these folders alone; `None`: every file.
#[inline]
pub fn begin(folders: Option<&Folders>) {
    RUNS_SQL.set(true);
    FOLDERS.with_borrow_mut(|current| {
        if current.is_some() || folders.is_some() {
            *current = folders.cloned();
        }
    });
}

/// It has ended: what this thread opens until the next one begins is not SQL's.
#[inline]
pub fn end() {
    RUNS_SQL.set(false);
}

/// Why a database was refused since the last call on this thread, and its path.
pub fn take_refused() -> Option<(&'static str, PathBuf)> {
    REFUSED.take()
}

/// True if SQL may not open the database at `path`, as SQLite has resolved it; the reason is noted then. What is no SQL's
/// (a connection that is opened) may.
pub(super) fn refuses(path: &Path, through: Through) -> bool {
    if !RUNS_SQL.get() {
        return false;
    }
    let name = path.as_os_str().as_encoded_bytes();
    let reason = FOLDERS.with_borrow(|folders| match (folders, through) {
        (_, Through::Named) => Some("SQL opens files by the default VFS alone: leave `vfs` out of the URI"),
        (None, Through::Memory) => None,
        (Some(_), Through::Memory) => {
            Some("allowed_directories: databases in memory that have a name are none of its files")
        }
        (_, Through::Default)
            if ENDINGS.iter().any(|ending| name.ends_with(ending)) || is_super_journal(path) =>
        {
            Some("SQL opens no journal, log, index or lock file of a database as a database")
        }
        (Some(folders), Through::Default) if !folders.iter().any(|folder| path.starts_with(folder)) => {
            Some("the file is not in one of the connection's allowed_directories")
        }
        (_, Through::Default) => None,
    });
    REFUSED.set(reason.map(|reason| (reason, path.to_owned())));
    reason.is_some()
}

/// The name that SQLite gives a super-journal: that of a database, and `-mj`, six digits, a 9 and two more. What a journal
/// names otherwise, in place of one, SQLite would remove.
pub(super) fn is_super_journal(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    let Some((_, ending)) = name.split_at_checked(name.len().saturating_sub(12)) else { return false };
    ending.strip_prefix(b"-mj").is_some_and(|digits| {
        digits.len() == 9 && digits.iter().all(u8::is_ascii_hexdigit) && digits[6] == b'9'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_folder_is_allowed_and_its_neighbours_are_not() {
        let folders: Folders = ["/data/a", "/backup"].map(PathBuf::from).into();
        let none = Folders::from([]);
        for (folders, path, through, refused) in [
            (Some(&folders), "/data/a/x.db", Through::Default, false),
            (Some(&folders), "/data/a/b/c/x.db", Through::Default, false),
            (Some(&folders), "/backup/x.db", Through::Default, false),
            (Some(&folders), "/data/ab/x.db", Through::Default, true),
            (Some(&folders), "/data/x.db", Through::Default, true),
            (Some(&folders), "x.db", Through::Default, true),
            (Some(&folders), "/data/a/x.db", Through::Named, true),
            (Some(&folders), "/data/a/x.db", Through::Memory, true),
            (Some(&none), "/data/a/x.db", Through::Default, true),
            (None, "/etc/passwd", Through::Default, false),
            (None, "/tenant", Through::Memory, false),
            (None, "/x.db", Through::Named, true),
            (None, "/x.db-journal", Through::Default, true),
            (None, "/x.db-wal", Through::Default, true),
            (None, "/x.db-shm", Through::Default, true),
            (None, "/x.db-turn", Through::Default, true),
            (None, "/x.db-mj0A1B2C9D4", Through::Default, true),
            (None, "/journal", Through::Default, false),
        ] {
            begin(folders);
            assert_eq!(refuses(Path::new(path), through), refused, "{path} {through:?}");
            assert_eq!(take_refused().is_some(), refused);
            end();
            assert!(!refuses(Path::new(path), through), "{path}: not by SQL");
        }
    }

    #[test]
    fn super_journals_have_names_of_one_form() {
        for (name, is_one) in [
            ("/a/x.db-mj0A1B2C9D4", true),
            ("x-mjFFFFFF9FF", true),
            ("/a/x.db-mj0A1B2C8D4", false),
            ("/a/x.db-mj0A1B2C9D", false),
            ("/a/x.db-mj0A1B2G9D4", false),
            ("/etc/passwd", false),
            ("-mj", false),
            ("", false),
        ] {
            assert_eq!(is_super_journal(Path::new(name)), is_one, "{name}");
        }
    }
}
