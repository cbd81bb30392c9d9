//! What one connection has: handle and turn, cache, prepared statements, cursors. Owned by the connection's thread, lent
//! to the reading thread for a short statement. The match on `Request` for connections is here: one call each.

use super::access::Access;
use super::cursor::{self, Cursors};
use super::prepared::{self, PreparedStatements};
use super::run::Run;
use super::statement_cache::StatementCache;
use super::transaction::{BEGIN_IMMEDIATE, COMMIT, ROLLBACK};
use super::{batch, describe, execute, maintenance, transaction};
use crate::clock::now_ns;
use crate::error::{Error, Result};
use crate::limits::Limits;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use port_driver::request::{BeginMode, Request, Target};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

/// Counts of one connection, read by its status.
#[derive(Default)]
pub struct Counters {
    /// Requests that have run.
    pub requests: AtomicU64,
    /// Rows sent.
    pub rows: AtomicU64,
    /// Error replies, of which
    pub errors: AtomicU64,
    /// … deadlines that passed, and
    pub timeouts: AtomicU64,
    /// … cancellations.
    pub cancelled: AtomicU64,
    /// Prepared statements that the client holds.
    pub statements: AtomicUsize,
    /// Cursors that it has open.
    pub cursors: AtomicUsize,
}

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
    /// Runs one request; its reply, or its error's, is in `run.out` when this returns.
    pub fn run(&mut self, run: &mut Run<'_>, request: &Request<'_>) {
        let base = run.out.len();
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.in_client_transaction = !self.access.handle.autocommit();
        if let Err(error) = self.dispatch(run, request) {
            run.out.truncate(base.min(run.out.len()));
            self.count(&error);
            run.error(&error, Some(self.access.tx_status()));
        }
        self.counters.statements.store(self.prepared.len(), Ordering::Relaxed);
        self.counters.cursors.store(self.cursors.len(), Ordering::Relaxed);
    }

    fn dispatch(&mut self, run: &mut Run<'_>, request: &Request<'_>) -> Result<()> {
        match request {
            Request::Execute(request) => execute::execute(self, run, request),
            Request::QueryOne(request) => execute::query_one(self, run, request),
            Request::ExecutePrepared(request) => execute::execute_prepared(self, run, request),
            Request::Prepare { sql } => prepared::prepare(self, run, sql),
            Request::CloseStatement { statement } => prepared::close(self, run, *statement),
            Request::Describe(target) => describe::describe(self, run, *target),
            Request::Declare { target, params } => cursor::declare(self, run, *target, params),
            Request::Fetch { cursor, rows_max, bytes_max } => {
                cursor::fetch(self, run, *cursor, *rows_max, *bytes_max)
            }
            Request::CloseCursor { cursor } => cursor::close(self, run, *cursor),
            Request::Begin(mode) => transaction::begin(self, run, *mode),
            Request::Commit => transaction::commit(self, run),
            Request::Rollback => transaction::rollback(self, run),
            Request::Savepoint { name } => transaction::savepoint(self, run, name),
            Request::Release { name } => transaction::release(self, run, name),
            Request::RollbackTo { name } => transaction::rollback_to(self, run, name),
            Request::Batch(request) => batch::batch(self, run, request),
            Request::Script { sql } => batch::script(self, run, sql),
            Request::Reset => maintenance::reset(self, run),
            Request::ConnectionStatus => maintenance::status(self, run),
            Request::Checkpoint(mode) => maintenance::checkpoint(self, run, *mode),
            // The router answers these itself.
            Request::Ping(_)
            | Request::Status
            | Request::Open(_)
            | Request::Close
            | Request::Cancel { .. }
            | Request::Credit { .. } => {
                Err(Error::new(ErrorCode::Internal, "a request that is not for a connection"))
            }
        }
    }

    /// True if `request` can run on the reading thread: its statement is compiled, was short last time (a commit that the
    /// disk has to confirm is not), and waits for no turn.
    pub fn is_short(&self, request: &Request<'_>) -> bool {
        let short = |statement: Option<&super::statement::Statement>| {
            statement.is_some_and(|statement| {
                statement.is_short() && self.access.may_enter_at_once(statement.read_only())
            })
        };
        match request {
            Request::Execute(request) => short(self.cache.peek(request.sql)),
            Request::QueryOne(request) => {
                short(self.cache.peek(request.sql).filter(|statement| statement.read_only()))
            }
            Request::ExecutePrepared(request) => short(self.prepared.peek(request.statement)),
            Request::Describe(Target::Sql(sql)) => self.cache.peek(sql).is_some(),
            Request::Describe(Target::Statement(_)) | Request::CloseStatement { .. } => true,
            Request::Begin(BeginMode::Deferred) => true,
            Request::Begin(BeginMode::Immediate) => short(self.cache.peek(BEGIN_IMMEDIATE)),
            Request::Commit => {
                !self.access.holds_turn()
                    || self.access.may_commit_at_once() && short(self.cache.peek(COMMIT))
            }
            Request::Rollback => !self.access.holds_turn() || short(self.cache.peek(ROLLBACK)),
            Request::Savepoint { .. } | Request::ConnectionStatus => true,
            _ => false,
        }
    }

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

    /// Ends everything; the handle closes when `self` is dropped.
    pub fn close(&mut self) {
        cursor::close_all(self);
        self.prepared.clear();
        self.access.roll_back();
        self.cache.clear();
        self.access.close_files();
    }

    fn count(&self, error: &Error) {
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        match error.code() {
            ErrorCode::Timeout => self.counters.timeouts.fetch_add(1, Ordering::Relaxed),
            ErrorCode::Cancelled => self.counters.cancelled.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}
