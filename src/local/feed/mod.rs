//! What a connection tells those who listen to its databases.
//!
//! A connection asks the hub before a statement whether the listeners are still those that it knows. Only while there are
//! any, the engine's hooks are there ([`recorder`]). What a transaction changes is taken down in a [`log`], told when the
//! transaction has been committed, in the writer turn, and forgotten when it was rolled back.
//!
//! A subscription that comes while a transaction writes is told of that one to read anew: what was changed before is not
//! in the log. So is one that comes between the last look before a commit and the commit.

pub(super) mod body;
pub(super) mod log;
mod plan;
pub(super) mod recorder;

use crate::feed::{Hub, Known};
use recorder::Recorder;
use std::sync::Arc;

/// A connection's part in the feed.
pub struct Feed {
    pub(super) hub: Arc<Hub>,
    pub(super) recorder: Arc<Recorder>,
    /// What the hub knew when the listeners were looked up.
    pub(super) seen: Known,
    /// The youngest subscription that is told of the whole of what the open transaction changes.
    pub(super) complete_to: u32,
    pub(super) listening: bool,
    /// Somebody wants to hear of commits, rollbacks or the WAL.
    pub(super) hooks: bool,
    /// Subscriptions came while a transaction was writing.
    pub(super) joined: bool,
    /// They are being told; if it is still so the next time, a panic has broken that off.
    pub(super) telling: bool,
}

impl Feed {
    /// Nobody is known to listen.
    pub fn new(hub: Arc<Hub>, bytes_max: u32) -> Self {
        Feed {
            hub,
            recorder: Arc::new(Recorder::new(bytes_max)),
            seen: Known::default(),
            complete_to: 0,
            listening: false,
            hooks: false,
            joined: false,
            telling: false,
        }
    }

    /// Subscriptions have come or gone since the listeners were looked up.
    #[inline]
    pub(super) fn is_outdated(&self) -> bool {
        self.hub.generation() != self.seen.generation
    }
}
