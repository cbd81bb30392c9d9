//! The servers that follow the one of a connection.

use super::kept::Kept;
use super::places::Place;
use super::stream::Link;

/// One of them.
pub struct Replica {
    /// The way to it.
    pub link: Link,
    /// A stream there for the next statement.
    pub kept: Kept,
    /// How far it has come, as its last answer said: log and place, as the primary's mark has them.
    pub seen: (u64, u64),
}

/// Where a request has read, if not on the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// On which server.
    pub place: Place,
    /// It was asked because the primary is not there.
    pub stale: bool,
}
