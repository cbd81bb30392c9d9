//! Which file a file is: its device and inode, whatever its name.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
}

impl FileId {
    /// No file's.
    pub const NOWHERE: FileId = FileId { device: 0, inode: 0 };

    /// Of what stands at `path`. A symbolic link there is not followed: SQLite would name the files beside by what it leads to.
    pub fn at(path: &Path) -> io::Result<Self> {
        std::fs::symlink_metadata(path).map(|found| FileId::of(&found))
    }

    /// Of an open file.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}
