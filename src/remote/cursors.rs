//! Open cursors by id.

use super::flow::Flow;
use super::hrana::describe::Description;
use super::hrana::stmt::Args;
use crate::ahead::Ahead;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The cursors of one connection.
#[derive(Default)]
pub struct Cursors {
    /// Each of them.
    pub by_id: FxHashMap<u32, Cursor>,
    /// The last id.
    pub last: u32,
}

/// One of them.
pub struct Cursor {
    /// Its statement.
    pub sql: Box<str>,
    /// Its parameters.
    pub args: Args,
    /// What the server says of it.
    pub description: Arc<Description>,
    /// Where its rows are.
    pub rows: Source,
    /// An encoded row that was one too many for the last chunk.
    pub left_over: Vec<u8>,
    /// It was begun in the open transaction.
    pub inside: bool,
}

/// Where the rows of a cursor are.
pub enum Source {
    /// The statement has not begun.
    Unread,
    /// They come from the server.
    Flow(Box<Flow>),
    /// They are here.
    Ahead(Box<Ahead>),
}

impl Cursors {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Closes those that were begun in the transaction, which has been rolled back.
    pub fn drop_inside(&mut self) {
        self.by_id.retain(|_, cursor| !cursor.inside);
    }

    /// The cursor for whose rows the transaction's stream waits.
    pub fn flowing_inside(&self) -> Option<u32> {
        self.by_id
            .iter()
            .find(|(_, cursor)| matches!(&cursor.rows, Source::Flow(flow) if flow.inside))
            .map(|(&id, _)| id)
    }
}
