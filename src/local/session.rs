//! What one connection has: handle and turn, cache, prepared statements, cursors. Owned by the connection's thread, lent
//! to the reading thread for a short statement.

use super::access::Access;
use super::callbacks::ClientFunctions;
use super::cursors::Cursors;
use super::limit;
use super::policy::gate::Authorizer;
use super::policy::Policy;
use super::prepared::PreparedStatements;
use super::rows::NoRows;
use super::statement_cache::StatementCache;
use crate::audit::Audit;
use crate::counters::Counters;
use crate::engine::query;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use port_driver::request::PragmaValue;
use std::sync::{Arc, Weak};

/// One open connection. Field order is drop order: statements before the handle in `access`.
pub struct Session {
    /// Open cursors.
    pub cursors: Cursors,
    /// Statements that the client holds.
    pub prepared: PreparedStatements,
    /// Statements by text.
    pub cache: StatementCache,
    /// The functions that the client answers.
    pub client_functions: ClientFunctions,
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
    /// The limits that `open` was given.
    pub limits_given: Vec<(String, PragmaValue<'static>)>,
    /// The policy of `open`, for reset.
    pub policy: Option<Arc<Policy>>,
    /// Which denials are told.
    pub audit: Arc<Audit>,
}

impl Session {
    /// Has the hooks decide that are set now.
    #[inline]
    pub fn take_over_hooks(&mut self) {
        if let Some((shared, own)) = self.client_functions.take_changed_hooks() {
            self.access.set_commit_hooks(shared, own);
        }
        if let Some(authorizer) = self.client_functions.take_changed_authorizer() {
            let weak = authorizer.map(|authorizer| Arc::downgrade(authorizer) as Weak<dyn Authorizer>);
            self.access.watch.policy.set_authorizer(weak);
            // Whatever was compiled is compiled anew.
            self.access.handle.expire_statements();
            self.cache.clear();
        }
    }

    /// Runs a statement of this program's own, without parameters and rows, through the cache.
    pub fn run_cached(&mut self, run: &mut Run<'_>, sql: &str) -> Result<()> {
        let Session { cache, access, .. } = self;
        access.handle.begin_own();
        let outcome = cache.get(access, sql).and_then(|statement| {
            access.run(statement, &Params::empty(), true, &mut NoRows(run)).map(|_| ())
        });
        access.handle.end_own();
        outcome
    }

    /// An error while a cursor is open: it has been allowed what it reads, and cannot be compiled anew halfway.
    pub fn check_no_cursor(&self, what_changes: &str) -> Result<()> {
        if self.cursors.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the connection has {} open cursors; close them before {what_changes} changes",
            self.cursors.len()
        );
        Err(Error::new(ErrorCode::Locked, message))
    }

    /// Another policy, and the limits that go with it. Whatever was compiled is compiled anew.
    pub fn set_policy(&mut self, policy: Option<Arc<Policy>>) -> Result<()> {
        let access = &mut self.access;
        let untrusted = policy.as_ref().is_some_and(|policy| policy.is_untrusted());
        if untrusted != access.untrusted {
            limit::apply(&access.handle, &self.limits_given, untrusted)?;
            access.untrusted = untrusted;
        }
        access.watch.policy.set(policy);
        access.handle.expire_statements();
        self.cache.clear();
        Ok(())
    }

    /// The file has got another database's data: whatever is known of its schema is read anew, also if that has the same version.
    #[cold]
    pub fn forget_schema(&mut self) {
        self.cache.clear();
        // Switches nothing on, writes nothing and needs no lock.
        let _ = query::run(&self.access.handle, "PRAGMA writable_schema = RESET");
        self.access.handle.expire_statements();
    }

    /// Closes a cursor; one that is exhausted or was never there is no error, since a client cannot know. Outside of a
    /// transaction this commits what a half-read RETURNING has written.
    pub fn close_cursor(&mut self, id: u32) -> Result<()> {
        let Some(mut cursor) = self.cursors.by_id.remove(&id) else { return Ok(()) };
        let reset = cursor.statement.raw_mut().reset();
        // Read before anything else runs on the handle.
        let outcome = reset.map_err(|code| self.access.step_error(code));
        if cursor.writes {
            self.access.writing_cursors -= 1;
        }
        self.access.leave();
        outcome
    }

    /// Closes every cursor, and undoes what a half-read RETURNING has written outside of a transaction.
    pub fn drop_cursors(&mut self) {
        let cursors = &mut self.cursors;
        self.access.without_commit(|_| cursors.clear());
        self.access.writing_cursors = 0;
        self.access.leave();
    }

    /// Ends everything; the handle closes when `self` is dropped.
    pub fn close(&mut self) {
        self.drop_cursors();
        self.prepared.clear();
        self.cache.clear();
        self.access.close_files();
    }
}
