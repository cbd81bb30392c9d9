//! What one connection has: handle and turn, cache, prepared statements, cursors. Owned by the connection's thread, lent
//! to the reading thread for a short statement.

use super::access::Access;
use super::cursors::Cursors;
use super::prepared::PreparedStatements;
use super::statement_cache::StatementCache;
use crate::clock::now_ns;
use crate::error::Result;
use crate::limits::Limits;
use crate::run::Run;
use crate::surroundings::Counters;
use port_driver::params::Params;
use std::sync::Arc;

/// One open connection. Field order is drop order: statements before the handle in `access`.
pub struct Session {
    /// Open cursors.
    pub cursors: Cursors,
    /// Statements that the client holds.
    pub prepared: PreparedStatements,
    /// Statements by text.
    pub cache: StatementCache,
    /// The handle and its turn.
    pub access: Access,
    /// The program's limits.
    pub limits: Arc<Limits>,
    /// Counts.
    pub counters: Arc<Counters>,
    /// The pragmas of `open`, for reset.
    pub pragmas: Vec<(String, String)>,
    /// The busy timeout of `open`, for reset.
    pub busy_timeout_ms: u32,
    /// A transaction of the client's own was open when the running request began.
    pub in_client_transaction: bool,
}

impl Session {
    /// Runs a statement without parameters and rows through the cache.
    pub fn run_cached(&mut self, run: &mut Run<'_>, sql: &str) -> Result<()> {
        let Session { cache, access, .. } = self;
        let statement = cache.get(access, sql)?;
        access.enter(statement.read_only(), run)?;
        let started_ns = now_ns();
        let outcome = access.check_stop().and_then(|()| {
            let mut bound = statement.bind_for_run(&Params::empty())?;
            bound.step().map_err(|code| access.statement_error(&mut bound, code, started_ns))
        });
        statement.ran(now_ns().saturating_sub(started_ns));
        access.leave();
        outcome.map(|_| ())
    }

    /// Work that follows a reply: a checkpoint if the WAL has grown.
    pub fn after_reply(&mut self) {
        self.access.checkpoint_if_due();
    }

    /// Closes a cursor; one that is exhausted or was never there is no error, since a client cannot know.
    pub fn close_cursor(&mut self, id: u32) {
        if let Some(cursor) = self.cursors.by_id.remove(&id) {
            let writes = cursor.writes;
            drop(cursor);
            if writes {
                self.access.writing_cursors -= 1;
            }
            self.access.leave();
        }
    }

    /// Closes every cursor.
    pub fn close_cursors(&mut self) {
        self.cursors.clear();
        self.access.writing_cursors = 0;
        self.access.leave();
    }

    /// Ends everything; the handle closes when `self` is dropped.
    pub fn close(&mut self) {
        self.close_cursors();
        self.prepared.clear();
        self.access.roll_back();
        self.cache.clear();
        self.access.close_files();
    }
}
