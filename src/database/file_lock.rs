//! The advisory lock by which programs take turns in writing one database: the file `<database>-turn`.
//!
//! Linux: open-file-description locks on two bytes of it. Byte `TURN` is the right to write. Byte `NEXT` is the right
//! to wait for it: whoever wants the turn takes `NEXT` first, keeps it until it has `TURN` and then lets go of it. A
//! program that has just written therefore cannot slip in again before the one that waits. Elsewhere: `flock` on the
//! whole file, without that fairness. Both end with the process that holds them, however it ends. The file holds the
//! pid of the last holder, for messages, and behind it the note of [`super::wal_note`]. It is never removed: a removed lock
//! file would let two programs each lock their own.

use super::folder::Folder;
use crate::engine::file_id::FileId;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{fchown, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is appended to a database's name.
pub const SUFFIX: &str = "-turn";

/// How long the line with the pid is.
pub const PID_LINE_BYTES: u64 = 11;

/// The database beside which the lock at `path` lies.
pub fn database_of(path: &Path) -> PathBuf {
    let name = path.to_string_lossy();
    PathBuf::from(name.strip_suffix(SUFFIX).unwrap_or(&name))
}

/// The lock of one database as this program sees it: one open file description.
pub struct FileLock {
    file: File,
    path: PathBuf,
    id: FileId,
    folder: Folder,
    /// How often names in the folder may have changed.
    changes: u64,
    next_held: bool,
    pid_line: [u8; PID_LINE_BYTES as usize],
    /// The salts of the WAL that the note speaks of.
    noted: Option<u64>,
}

impl FileLock {
    /// Opens the lock file, creating it if there is none, with the owner of the database at `database`, and for those who may
    /// write it: whoever may only read could stop all writers by a lock. A symbolic link is not followed, and a file that is
    /// something else, such as a database of this name, is left as it is. Beside a database that is not there none is made.
    pub fn open(path: &Path, database: &Path) -> io::Result<Self> {
        let model = std::fs::metadata(database)?;
        let file = match options().open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, &model)?,
            opened => opened?,
        };
        let found = file.metadata()?;
        if !begins_as_lock(&file)? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no lock file has this name; one of the two needs another name",
            ));
        }
        if found.mode() & 0o777 & !writers(&model) != 0 {
            // One of an older version, or of before the database's mode was changed. Refused to all but the owner.
            let _ = file.set_permissions(Permissions::from_mode(writers(&model)));
        }
        let mut pid_line = *b"          \n";
        let pid = std::process::id().to_string();
        pid_line[..pid.len()].copy_from_slice(pid.as_bytes());
        Ok(FileLock {
            id: FileId::of(&found),
            path: path.to_owned(),
            file,
            folder: Folder::of(path),
            changes: 0,
            next_held: false,
            pid_line,
            noted: None,
        })
    }

    /// Takes the turn if nobody else holds it or waits ahead of this program. Call again until it is true, or
    /// [`Self::give_up`]. After an error nothing is held.
    pub fn try_acquire(&mut self) -> io::Result<bool> {
        let taken = self.take();
        if taken.is_err() {
            // Whatever of it was had. A lock that cannot be let go of goes with the descriptor, which the caller closes.
            let _ = region::unlock(&self.file, region::TURN);
            let _ = self.give_up();
        }
        taken
    }

    fn take(&mut self) -> io::Result<bool> {
        if !self.next_held {
            self.next_held = region::try_lock(&self.file, region::NEXT)?;
        }
        if !self.next_held || !region::try_lock(&self.file, region::TURN)? {
            return Ok(false);
        }
        self.give_up()?;
        if self.look_at_folder() && FileId::at(&self.path)? != self.id {
            // Another program would open, or create, and lock another file.
            return Err(io::Error::new(io::ErrorKind::StaleNetworkFileHandle, "the lock file was replaced"));
        }
        // It is only read for messages: a full disk does not take the turn away.
        let _ = self.sign();
        Ok(true)
    }

    /// True if names in the folder may have changed since this was last asked.
    fn look_at_folder(&mut self) -> bool {
        let has_changed = self.folder.has_changed();
        self.changes += u64::from(has_changed);
        has_changed
    }

    /// How often names in the folder may have changed: as seen now if `look`, or when the turn was taken.
    pub fn changes(&mut self, look: bool) -> u64 {
        if look {
            self.look_at_folder();
        }
        self.changes
    }

    /// Stops waiting.
    pub fn give_up(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.next_held) {
            region::unlock(&self.file, region::NEXT)?;
        }
        Ok(())
    }

    /// Ends the turn.
    pub fn release(&mut self) -> io::Result<()> {
        region::unlock(&self.file, region::TURN)
    }

    /// The pid of the program that last had the turn.
    pub fn last_holder(&self) -> Option<u32> {
        let mut line = [0; PID_LINE_BYTES as usize];
        self.file.read_exact_at(&mut line, 0).ok()?;
        std::str::from_utf8(&line).ok()?.trim().parse().ok()
    }

    /// Writes this program's pid, unless it stands there already: a page left clean is one less to write back.
    fn sign(&self) -> io::Result<()> {
        let mut line = [0; PID_LINE_BYTES as usize];
        if self.file.read_exact_at(&mut line, 0).is_ok() && line == self.pid_line {
            return Ok(());
        }
        self.file.write_all_at(&self.pid_line, 0)
    }

    /// Writes a note on the WAL with these salts, unless it stands there. Only in the turn.
    pub fn note(&mut self, salts: u64, line: impl FnOnce() -> Option<String>) {
        if self.noted == Some(salts) {
            return;
        }
        // It is only for what may happen later: a full disk does not undo the commit that it is about.
        if line().is_some_and(|line| self.file.write_all_at(line.as_bytes(), PID_LINE_BYTES).is_ok()) {
            self.noted = Some(salts);
        }
    }
}

/// True if the file is empty or begins with a pid, or with zeros, which may be there after a loss of power.
fn begins_as_lock(file: &File) -> io::Result<bool> {
    let mut line = [0; PID_LINE_BYTES as usize];
    let read = file.read_at(&mut line, 0)?;
    Ok(line[..read].iter().all(|byte| matches!(byte, b'0'..=b'9' | b' ' | b'\n' | 0)))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW);
    options
}

/// The mode that lets those read and write who may write what `model` is of.
fn writers(model: &Metadata) -> u32 {
    let write = model.mode() & 0o222;
    write | write << 1
}

/// Another program may create it at the same time: then that one is opened.
fn create(path: &Path, model: &Metadata) -> io::Result<File> {
    let mode = writers(model);
    match options().create_new(true).mode(mode).open(path) {
        Ok(file) => {
            // Past the umask, and for root: neither can be refused to an owner, and what is refused changes nothing.
            let _ = file.set_permissions(Permissions::from_mode(mode));
            let _ = fchown(&file, Some(model.uid()), Some(model.gid()));
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options().open(path),
        Err(error) => Err(error),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod region {
    //! `fcntl` with `F_OFD_SETLK` (fcntl_locking(2)); invariant: the descriptor is open, since the `File` is borrowed.
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    // Far behind the pid, so that no content is ever locked.
    pub const TURN: libc::off_t = 1 << 30;
    pub const NEXT: libc::off_t = TURN + 1;

    pub fn try_lock(file: &File, start: libc::off_t) -> io::Result<bool> {
        match set(file, start, libc::F_WRLCK) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn unlock(file: &File, start: libc::off_t) -> io::Result<()> {
        set(file, start, libc::F_UNLCK)
    }

    fn set(file: &File, start: libc::off_t, kind: libc::c_int) -> io::Result<()> {
        // SAFETY: `flock` is plain data for which zero is valid; open-file-description locks want `l_pid` 0.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = start;
        lock.l_len = 1;
        // SAFETY: the descriptor is open and `lock` lives through the call.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod region {
    use std::fs::{File, TryLockError};
    use std::io;

    pub const TURN: u8 = 0;
    pub const NEXT: u8 = 1;

    pub fn try_lock(file: &File, region: u8) -> io::Result<bool> {
        if region == NEXT {
            return Ok(true);
        }
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub fn unlock(file: &File, region: u8) -> io::Result<()> {
        if region == NEXT {
            return Ok(());
        }
        file.unlock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_path(folder: &tempfile::TempDir) -> PathBuf {
        std::fs::write(folder.path().join("a.db"), "").unwrap();
        folder.path().join("a.db-turn")
    }

    #[test]
    fn one_description_at_a_time_has_the_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = lock_path(&folder);
        let mut first = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        let mut second = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        assert!(first.try_acquire().unwrap());
        assert!(!second.try_acquire().unwrap());
        assert_eq!(second.last_holder(), Some(std::process::id()));
        first.release().unwrap();
        assert!(second.try_acquire().unwrap());
        drop(second);
        assert!(first.try_acquire().unwrap(), "a closed description frees its lock");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_waits_comes_before_who_had_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = lock_path(&folder);
        let mut first = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        let mut second = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        assert!(first.try_acquire().unwrap());
        assert!(!second.try_acquire().unwrap());
        first.release().unwrap();
        assert!(!first.try_acquire().unwrap(), "the second one waits");
        assert!(second.try_acquire().unwrap());
        second.release().unwrap();
        assert!(first.try_acquire().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_gives_up_no_longer_stands_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = lock_path(&folder);
        let mut first = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        let mut second = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        assert!(first.try_acquire().unwrap());
        assert!(!second.try_acquire().unwrap());
        second.give_up().unwrap();
        first.release().unwrap();
        assert!(first.try_acquire().unwrap());
    }

    #[test]
    fn it_is_for_those_who_may_write_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let (database, path) = (folder.path().join("a.db"), folder.path().join("a.db-turn"));
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        for (of_database, of_lock) in
            [(0o600, 0o600), (0o660, 0o660), (0o666, 0o666), (0o644, 0o600), (0o664, 0o660), (0o755, 0o600)]
        {
            File::create(&database).unwrap().set_permissions(Permissions::from_mode(of_database)).unwrap();
            drop(FileLock::open(&path, &database).unwrap());
            assert_eq!(mode(), of_lock, "{of_database:o}");
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            drop(FileLock::open(&path, &database).unwrap());
            assert_eq!(mode() & !of_lock, 0, "{of_database:o}: nobody keeps more");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            drop(FileLock::open(&path, &database).unwrap());
            assert_eq!(mode(), 0o600, "{of_database:o}: nobody is let in who was kept out");
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn none_is_made_beside_a_database_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db-turn");
        let refused = FileLock::open(&path, &folder.path().join("a.db")).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_something_else_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = lock_path(&folder);
        let database = folder.path().join("a.db");
        std::fs::write(&path, b"SQLite format 3\0 and so on").unwrap();
        assert!(FileLock::open(&path, &database).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"SQLite format 3\0 and so on");
        std::fs::write(&path, [0; 200]).unwrap();
        assert!(FileLock::open(&path, &database).unwrap().try_acquire().unwrap());
        assert!(FileLock::open(&path, &database).is_ok(), "one that was signed");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, path) = (folder.path().join("target"), folder.path().join("a.db-turn"));
        std::fs::write(&target, "keep").unwrap();
        std::fs::write(folder.path().join("a.db"), "").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(FileLock::open(&path, &folder.path().join("a.db")).is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"keep");
    }

    #[test]
    fn a_removed_lock_file_is_noticed_and_nothing_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = lock_path(&folder);
        let mut first = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        assert!(first.try_acquire().unwrap());
        first.release().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(first.try_acquire().is_err());
        let mut second = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        assert!(second.try_acquire().unwrap());
        second.release().unwrap();
        std::fs::rename(&path, folder.path().join("aside")).unwrap();
        assert!(second.try_acquire().is_err(), "it has a name, but not this one");
        let mut third = FileLock::open(&path, &folder.path().join("a.db")).unwrap();
        assert!(third.try_acquire().unwrap());
    }
}
