//! Open cursors by id.

use super::statement::Statement;
use crate::ahead::Ahead;
use rustc_hash::FxHashMap;

/// The cursors of one connection.
#[derive(Default)]
pub struct Cursors {
    pub(super) by_id: FxHashMap<u32, Cursor>,
    pub(super) next: u32,
}

/// One of them.
pub(super) struct Cursor {
    pub(super) statement: Statement,
    // Its statement may write: the turns stay until it is closed.
    pub(super) writes: bool,
    // What it has yet to read may be changed by other statements of the connection.
    pub(super) live: bool,
    // An encoded row that was one too many for the last chunk.
    pub(super) left_over: Vec<u8>,
    // All that was left of the result when another statement was about to write.
    pub(super) ahead: Option<Ahead>,
}

impl Cursors {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if none is open.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether the statement of one may write.
    pub fn writes(&self, id: u32) -> bool {
        self.by_id.get(&id).is_some_and(|cursor| cursor.writes)
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}
