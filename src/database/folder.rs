//! The folder of a database, asked whether any name in it has changed: one `fstat` in place of an `lstat` for each file.
//!
//! A folder's time of change moves with every file in it that is made, removed or renamed, and with its own renaming. Clocks
//! of file systems tick (10 ms at worst), so a folder that changed just now counts as changed until it has been quiet for
//! longer than that.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer than any tick.
const SETTLED_NS: i128 = 50_000_000;

/// A folder that is open.
pub struct Folder {
    /// None: it could not be opened, so nothing is known of it.
    file: Option<File>,
    changed_ns: i128,
    is_settled: bool,
}

impl Folder {
    /// The folder in which `path` stands.
    pub fn of(path: &Path) -> Self {
        Folder { file: path.parent().and_then(open), changed_ns: 0, is_settled: false }
    }

    /// True if names in it may have changed since this was last asked.
    pub fn has_changed(&mut self) -> bool {
        let Some(found) = self.file.as_ref().and_then(|file| file.metadata().ok()) else { return true };
        let changed_ns = i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
        if self.is_settled && changed_ns == self.changed_ns {
            return false;
        }
        self.changed_ns = changed_ns;
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        self.is_settled = is_settled(changed_ns, now_ns);
        true
    }
}

/// A further change would have another time.
fn is_settled(changed_ns: i128, now_ns: i128) -> bool {
    now_ns - changed_ns > SETTLED_NS
}

/// Only to be asked about: the right to read it is not needed.
fn open(folder: &Path) -> Option<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = libc::O_DIRECTORY | libc::O_PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = libc::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags).open(folder).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    fn settled(folder: &mut Folder) {
        let late = Instant::now() + Duration::from_secs(60);
        while folder.has_changed() {
            assert!(Instant::now() < late, "it stays as it is, and is never settled");
        }
    }

    #[test]
    fn every_name_that_changes_is_a_change() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let (a, b) = (inside.join("a"), inside.join("b"));
        let mut folder = Folder::of(&a);
        let changes: [(&str, &dyn Fn()); 5] = [
            ("made", &|| fs::write(&a, "").unwrap()),
            ("renamed", &|| fs::rename(&a, &b).unwrap()),
            ("linked", &|| fs::hard_link(&b, &a).unwrap()),
            ("replaced", &|| fs::rename(&b, inside.join("c")).unwrap()),
            ("removed", &|| fs::remove_file(&a).unwrap()),
        ];
        for (what, change) in changes {
            settled(&mut folder);
            assert!(!folder.has_changed());
            change();
            assert!(folder.has_changed(), "{what}");
        }
        settled(&mut folder);
        fs::rename(&inside, root.path().join("outside")).unwrap();
        assert!(folder.has_changed(), "the folder itself");
    }

    #[test]
    fn a_change_right_after_another_is_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let mut folder = Folder::of(&path);
        for _ in 0..100 {
            fs::write(&path, "").unwrap();
            assert!(folder.has_changed());
            fs::remove_file(&path).unwrap();
            assert!(folder.has_changed());
        }
    }

    #[test]
    fn a_change_is_settled_once_the_clock_has_ticked() {
        let changed_ns = 1_000_000_000;
        for (later_ns, expected) in [(0, false), (SETTLED_NS, false), (SETTLED_NS + 1, true), (-1, false)] {
            assert_eq!(is_settled(changed_ns, changed_ns + later_ns), expected, "{later_ns}");
        }
    }

    #[test]
    fn of_a_folder_that_is_not_there_nothing_is_known() {
        let mut folder = Folder::of(&PathBuf::from("/nowhere/at/all"));
        assert!(folder.has_changed() && folder.has_changed());
    }
}
