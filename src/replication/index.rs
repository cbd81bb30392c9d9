//! The file beside a replica that says how far it is: which log of its server it follows, and the last frame of it that was
//! committed here. `libsql_replication` writes it after each transaction; here it is read.

use crate::database::placement::beside;
use std::path::{Path, PathBuf};

/// What is appended to the replica's name.
pub const SUFFIX: &str = "-client_wal_index";

/// Where a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Which log. Frame numbers of different logs have nothing to do with each other.
    pub log: u128,
    /// The last frame that was committed here; `None`: none of this log yet.
    pub frame: Option<u64>,
}

impl Index {
    /// The index of the replica at `database`; `None` if there is none, or nothing has been replicated yet.
    pub fn read(database: &Path) -> Option<Self> {
        Self::parse(&std::fs::read(path(database)).ok()?)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let log = u128::from_le_bytes(bytes.get(..16)?.try_into().ok()?);
        let frame = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
        Some(Index { log, frame: Some(frame).filter(|frame| *frame != u64::MAX) })
    }
}

/// The path of the index of the replica at `database`.
pub fn path(database: &Path) -> PathBuf {
    beside(database, SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_index() {
        let mut bytes = vec![0; 32];
        bytes[0] = 7;
        bytes[16] = 3;
        assert_eq!(Index::parse(&bytes), Some(Index { log: 7, frame: Some(3) }));
        bytes[16..24].fill(0xff);
        assert_eq!(Index::parse(&bytes), Some(Index { log: 7, frame: None }));
        for cut in 0..24 {
            assert_eq!(Index::parse(&bytes[..cut]), None, "{cut}");
        }
    }
}
