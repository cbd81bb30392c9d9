//! Open cursors by id.

use super::statement::Statement;
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
    // An encoded row that was one too many for the last chunk.
    pub(super) left_over: Vec<u8>,
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

    /// Closes all.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}
