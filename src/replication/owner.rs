//! Who replicates into a file: one program at a time, since two that inject frames damage it.

use super::failure::{Cause, Failure};
use crate::database::placement::beside;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is appended to the replica's name.
const SUFFIX: &str = "-replica";

/// A pid and a line feed.
const PID_BYTES_MAX: u64 = 11;

/// The right to replicate into a file, until this is dropped or the program ends.
pub struct Owner {
    lock: File,
    path: PathBuf,
}

impl Owner {
    /// Takes it, or says who has it. The lock file stays when it is given back.
    pub fn take(database: &Path) -> Result<Self, Failure> {
        let path = beside(database, SUFFIX);
        let failed = |error: io::Error| {
            Failure::new(Cause::Disk, format!("the lock file {} cannot be used: {error}", path.display()))
        };
        loop {
            let owner = Self::try_take(database, &path, &failed)?;
            // One that was removed meanwhile is not the one that a third program locks.
            if owner.is_there().map_err(failed)? {
                return Ok(owner);
            }
        }
    }

    fn try_take(
        database: &Path,
        path: &Path,
        failed: &dyn Fn(io::Error) -> Failure,
    ) -> Result<Self, Failure> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(owned(&mut file, database)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // It is for messages alone: a full disk does not take the right away.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Owner { lock: file, path: path.to_owned() })
    }

    fn is_there(&self) -> io::Result<bool> {
        let locked = self.lock.metadata()?;
        match self.path.symlink_metadata() {
            Ok(found) => Ok((found.dev(), found.ino()) == (locked.dev(), locked.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives it back, with the lock file removed: the file is no replica any more.
    pub fn retire(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn owned(file: &mut File, database: &Path) -> Failure {
    let mut text = String::new();
    let _ = file.take(PID_BYTES_MAX).read_to_string(&mut text);
    let who = match text.trim().parse::<u32>() {
        Ok(pid) if pid == std::process::id() => format!("this program (pid {pid})"),
        Ok(pid) => format!("the program with the pid {pid}"),
        Err(_) => "another program".to_owned(),
    };
    Failure::new(
        Cause::Owned,
        format!(
            "{who} replicates into {}; a replica has one program, so share that one's sidecar or give another path",
            database.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_which_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("a.db");
        let first = Owner::take(&database).unwrap();
        let refused = Owner::take(&database).err().unwrap();
        assert_eq!(refused.cause, Cause::Owned);
        assert!(refused.message.contains(&format!("(pid {})", std::process::id())), "{refused}");
        drop(first);
        let second = Owner::take(&database).unwrap();
        // Who had opened the file before it was removed has locked nothing.
        let path = beside(&database, SUFFIX);
        let stale =
            Owner::try_take(&folder.path().join("b.db"), &folder.path().join("b.db-replica"), &|error| {
                Failure::new(Cause::Disk, error.to_string())
            });
        let stale = stale.unwrap();
        assert!(second.is_there().unwrap() && stale.is_there().unwrap());
        std::fs::rename(&stale.path, &path).unwrap();
        assert!(!second.is_there().unwrap() && !stale.is_there().unwrap());
        second.retire().unwrap();
        Owner::take(&database).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, database) = (folder.path().join("target"), folder.path().join("a.db"));
        std::fs::write(&target, "keep").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("a.db-replica")).unwrap();
        assert_eq!(Owner::take(&database).err().unwrap().cause, Cause::Disk);
        assert_eq!(std::fs::read(&target).unwrap(), b"keep");
    }
}
