//! The requests of a connection, a file for each kind. The match on `Request` for connections is here, and beside it
//! which of them may run on the reading thread.

pub mod batch;
pub mod cursor;
pub mod describe;
pub mod execute;
pub mod function;
pub mod maintenance;
pub mod policy;
pub mod prepare;
pub mod transaction;
pub mod writes;

use super::errors::transaction_ended;
use super::session::Session;
use super::statement::Statement;
use crate::error::{Error, Result};
use crate::held::ANY;
use crate::run::Run;
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;
use port_driver::request::{BeginMode, Request, Target};
use std::sync::atomic::Ordering;
use transaction::{BEGIN_IMMEDIATE, COMMIT, ROLLBACK};

/// Runs one request; its reply, or its error's, is in `run.out` when this returns.
pub fn run(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) {
    let base = run.out.len();
    session.counters.requests.fetch_add(1, Ordering::Relaxed);
    session.access.begin(run.place);
    session.client_functions.refresh(&session.access.handle);
    session.take_over_hooks();
    let outcome = admit(session, run, request).and_then(|()| dispatch(session, run, request));
    session.access.undo_compiled();
    if let Err(error) = outcome {
        run.out.truncate(base.min(run.out.len()));
        count(session, &error);
        run.error(&error, Some(session.access.tx_status()));
    }
    let gate = &session.access.watch.policy;
    if gate.is_active() {
        // Behind the reply, whose frames are whole.
        policy::tell(session.access.id, &session.audit, gate.take_to_tell(), run.out);
    }
    // A turn that was taken to compile something which did not run then.
    session.access.leave();
    session.access.end();
    session.access.inside = false;
    let held = &session.access.control.held;
    if held.get() != ANY && session.access.handle.autocommit() {
        held.set(ANY);
    }
    session.counters.statements.store(session.prepared.len(), Ordering::Relaxed);
    session.counters.cursors.store(session.cursors.len(), Ordering::Relaxed);
}

/// Refuses a request that is to run inside a transaction which is not open any more.
#[inline]
fn admit(session: &mut Session, run: &Run<'_>, request: &Request<'_>) -> Result<()> {
    let Some(transaction) = run.transaction else { return Ok(()) };
    // Begin takes the number for what it begins; the others take nothing of a transaction.
    if matches!(
        request,
        Request::Begin(_)
            | Request::CloseCursor { .. }
            | Request::CloseStatement { .. }
            | Request::ConnectionStatus
    ) {
        return Ok(());
    }
    let access = &mut session.access;
    access.inside = true;
    if access.handle.autocommit() || !access.control.held.is(transaction) {
        return Err(transaction_ended());
    }
    Ok(())
}

/// Counts an error reply.
pub fn count(session: &Session, error: &Error) {
    session.counters.errors.fetch_add(1, Ordering::Relaxed);
    match error.code() {
        ErrorCode::Timeout => session.counters.timeouts.fetch_add(1, Ordering::Relaxed),
        ErrorCode::Cancelled => session.counters.cancelled.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    };
}

/// Whether what open cursors have yet to read may change by `request`.
fn may_write(session: &mut Session, request: &Request<'_>) -> bool {
    match request {
        // Compiled by the request alone.
        Request::Execute(request) if request.options.is_privileged() => true,
        Request::Execute(request) | Request::QueryOne(request) => text_writes(session, request.sql),
        Request::ExecutePrepared(request) => {
            session.prepared.peek(request.statement).is_some_and(Statement::changes_rows)
        }
        Request::Fetch { cursor, .. } => session.cursors.writes(*cursor),
        Request::Batch(_) | Request::Script { .. } => true,
        Request::Rollback | Request::RollbackTo { .. } => true,
        _ => false,
    }
}

/// The engine says whether a statement writes, so it is compiled first, for the run that follows. What cannot be compiled
/// does not run, and what acts as it is compiled (pragmas) changes no rows.
fn text_writes(session: &mut Session, sql: &str) -> bool {
    let Session { cache, access, .. } = session;
    !matches!(keyword::first(sql), Keyword::Pragma | Keyword::Explain)
        && cache.get(access, sql).is_ok_and(|statement| statement.changes_rows())
}

/// One call for each.
fn dispatch(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) -> Result<()> {
    if !session.cursors.is_empty() && may_write(session, request) {
        cursor::read_ahead(session)?;
    }
    match request {
        Request::Execute(request) => execute::execute(session, run, request),
        Request::QueryOne(request) => execute::query_one(session, run, request),
        Request::ExecutePrepared(request) => execute::execute_prepared(session, run, request),
        Request::Prepare { sql } => prepare::prepare(session, run, sql),
        Request::CloseStatement { statement } => prepare::close(session, run, *statement),
        Request::Describe(target) => describe::describe(session, run, *target),
        Request::Declare { target, params, live } => cursor::declare(session, run, *target, params, *live),
        Request::Fetch { cursor, rows_max, bytes_max } => {
            cursor::fetch(session, run, *cursor, *rows_max, *bytes_max)
        }
        Request::CloseCursor { cursor } => cursor::close(session, run, *cursor),
        Request::Begin(mode) => transaction::begin(session, run, *mode),
        Request::Commit => transaction::commit(session, run),
        Request::Rollback => transaction::rollback(session, run),
        Request::Savepoint { name } => transaction::savepoint(session, run, name),
        Request::Release { name } => transaction::release(session, run, name),
        Request::RollbackTo { name } => transaction::rollback_to(session, run, name),
        Request::Batch(request) => batch::batch(session, run, request),
        Request::Script { sql } => batch::script(session, run, sql),
        Request::Reset => maintenance::reset(session, run),
        Request::ConnectionStatus => maintenance::status(session, run),
        Request::Checkpoint(mode) => maintenance::checkpoint(session, run, *mode),
        Request::CreateFunction(function) => function::create(session, run, function),
        Request::DropFunction(function) => function::drop(session, run, function),
        Request::SetHook(hook) => function::set_hook(session, run, hook),
        Request::RemoveHook(kind) => function::remove_hook(session, run, *kind),
        Request::SetPolicy(elements) => policy::set(session, run, elements.as_deref()),
        Request::Sync(_) | Request::ReplicationStatus | Request::Freeze { .. } | Request::Flush => {
            Err(Error::new(
                ErrorCode::Unsupported,
                "the connection is to a database that is no replica; open it with a url and a path",
            ))
        }
        // The router answers these itself.
        Request::Ping(_)
        | Request::Status
        | Request::Open(_)
        | Request::Close
        | Request::Cancel { .. }
        | Request::Credit { .. }
        | Request::Answer { .. }
        | Request::Subscribe(_)
        | Request::Unsubscribe { .. }
        | Request::ChangesCredit { .. } => {
            Err(Error::new(ErrorCode::Internal, "a request that is not for a connection"))
        }
    }
}

/// True if `request` can run on the reading thread: its statement is compiled, was short last time (a commit that the
/// disk has to confirm is not), and waits for no turn.
pub fn is_short(session: &Session, request: &Request<'_>) -> bool {
    let short = |statement: Option<&Statement>| {
        statement.is_some_and(|statement| {
            statement.is_short() && session.access.may_enter_at_once(statement.read_only())
        })
    };
    match request {
        Request::Execute(request) if request.options.is_privileged() => false,
        Request::Execute(request) => short(session.cache.peek(request.sql)),
        Request::QueryOne(request) => {
            short(session.cache.peek(request.sql).filter(|statement| statement.read_only()))
        }
        Request::ExecutePrepared(request) => short(session.prepared.peek(request.statement)),
        Request::Describe(Target::Sql(sql)) => session.cache.peek(sql).is_some(),
        Request::Describe(Target::Statement(_)) | Request::CloseStatement { .. } => true,
        Request::Begin(BeginMode::Deferred) => true,
        Request::Begin(BeginMode::Immediate) => short(session.cache.peek(BEGIN_IMMEDIATE)),
        Request::Commit => {
            !session.access.holds_turn()
                || session.access.may_commit_at_once() && short(session.cache.peek(COMMIT))
        }
        Request::Rollback => !session.access.holds_turn() || short(session.cache.peek(ROLLBACK)),
        Request::Savepoint { .. } | Request::ConnectionStatus => true,
        _ => false,
    }
}
