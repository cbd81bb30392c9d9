//! The table of connections. Only the router adds to it; a connection's thread takes itself out.

use super::time::Time;
use crate::connection::thread::Registry;
use crate::connection::Connection;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Connections by id, those that are still opening included.
pub struct Table {
    by_id: Mutex<FxHashMap<u32, Arc<Connection>>>,
    time: Time,
}

impl Table {
    /// An empty table that tells `time` when it becomes so again.
    pub fn new(time: Time) -> Self {
        Table { by_id: Mutex::default(), time }
    }

    /// The connection with this id.
    #[inline]
    pub fn get(&self, id: u32) -> Option<Arc<Connection>> {
        self.by_id.lock().get(&id).map(Arc::clone)
    }

    /// Adds a connection unless there are `most` already.
    pub fn insert(&self, connection: &Arc<Connection>, most: u32) -> bool {
        let mut by_id = self.by_id.lock();
        let room = by_id.len() < most as usize;
        if room {
            by_id.insert(connection.id, Arc::clone(connection));
        }
        room
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        self.by_id.lock().values().map(Arc::clone).collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Registry for Table {
    fn closed(&self, connection: &Connection) {
        let mut by_id = self.by_id.lock();
        by_id.remove(&connection.id);
        if by_id.is_empty() {
            self.time.table_is_empty();
        }
    }
}
