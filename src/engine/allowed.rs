//! Which further files a connection may open: only those in or below its folders.
//!
//! SQLite asks its VFS for every database that it opens, with the path made absolute and its links resolved, whether the
//! name stood in the SQL text, was bound, or was made by an expression. The VFS does not learn for whom: so the thread that
//! runs a request says so before it.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders, absolute and with their links resolved; none of them: no file at all.
pub type Folders = Arc<[PathBuf]>;

thread_local! {
    static FOLDERS: RefCell<Option<Folders>> = const { RefCell::new(None) };
    static REFUSED: Cell<Option<PathBuf>> = const { Cell::new(None) };
}

/// What this thread runs next may open files in these folders alone; `None`: every file.
#[inline]
pub fn only_in(folders: Option<&Folders>) {
    FOLDERS.with_borrow_mut(|current| {
        if current.is_some() || folders.is_some() {
            *current = folders.cloned();
        }
    });
}

/// The file that was refused since the last call on this thread.
pub fn take_refused() -> Option<PathBuf> {
    REFUSED.take()
}

/// True if `path`, as SQLite has resolved it, may not be opened; it is noted then.
pub(super) fn refuses(path: &Path) -> bool {
    let refused = FOLDERS.with_borrow(|folders| match folders {
        Some(folders) => !folders.iter().any(|folder| path.starts_with(folder)),
        None => false,
    });
    if refused {
        REFUSED.set(Some(path.to_owned()));
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_folder_is_allowed_and_its_neighbours_are_not() {
        let folders: Folders = ["/data/a", "/backup"].map(PathBuf::from).into();
        for (folders, path, refused) in [
            (Some(&folders), "/data/a/x.db", false),
            (Some(&folders), "/data/a/b/c/x.db", false),
            (Some(&folders), "/backup/x.db", false),
            (Some(&folders), "/data/ab/x.db", true),
            (Some(&folders), "/data/x.db", true),
            (Some(&folders), "x.db", true),
            (Some(&Folders::from([])), "/data/a/x.db", true),
            (None, "/etc/passwd", false),
        ] {
            only_in(folders);
            assert_eq!(refuses(Path::new(path)), refused, "{path}");
            assert_eq!(take_refused().as_deref(), refused.then_some(Path::new(path)));
        }
        assert_eq!(take_refused(), None);
    }
}
