//! The requests of a connection to a server, a file for each kind.

pub mod batch;
pub mod cursor;
pub mod execute;
pub mod prepare;
pub mod script;
pub mod status;
pub mod transaction;

use crate::error::{transaction_ended, Error, Result};
use crate::held::ANY;
use crate::remote::session::Session;
use crate::remote::unsupported;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::put_nil;
use port_driver::request::Request;
use std::sync::atomic::Ordering;

/// Runs one request; its reply, or its error's, is in `run.out` when this returns.
pub fn run(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) {
    let base = run.out.len();
    session.source = None;
    session.counters.requests.fetch_add(1, Ordering::Relaxed);
    // A server may take its time.
    run.outlet.about_to_wait();
    let outcome = admit(session, run, request).and_then(|()| dispatch(session, run, request));
    if let Err(error) = outcome {
        run.out.truncate(base.min(run.out.len()));
        count(session, &error);
        run.error(&error, Some(session.machine.status()));
    }
    let held = &session.control.held;
    if held.get() != ANY && !session.in_transaction() {
        held.set(ANY);
    }
    session.counters.statements.store(session.prepared.len(), Ordering::Relaxed);
    session.counters.cursors.store(session.cursors.len(), Ordering::Relaxed);
}

/// Refuses a request that is to run inside a transaction which is not open any more.
fn admit(session: &Session, run: &Run<'_>, request: &Request<'_>) -> Result<()> {
    let Some(transaction) = run.transaction else { return Ok(()) };
    if matches!(
        request,
        Request::Begin(_)
            | Request::CloseCursor { .. }
            | Request::CloseStatement { .. }
            | Request::ConnectionStatus
    ) {
        return Ok(());
    }
    match session.in_transaction() && session.control.held.is(transaction) {
        true => Ok(()),
        false => Err(transaction_ended()),
    }
}

fn count(session: &Session, error: &Error) {
    session.counters.errors.fetch_add(1, Ordering::Relaxed);
    match error.code() {
        ErrorCode::Timeout => session.counters.timeouts.fetch_add(1, Ordering::Relaxed),
        ErrorCode::Cancelled => session.counters.cancelled.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    };
}

/// Whether the stream of the open transaction is needed for `request`, for which a cursor on it must not wait.
fn needs_stream(request: &Request<'_>) -> bool {
    !matches!(
        request,
        Request::Fetch { .. }
            | Request::CloseCursor { .. }
            | Request::CloseStatement { .. }
            | Request::ConnectionStatus
            | Request::Rollback
            | Request::Reset
    )
}

/// One call for each.
fn dispatch(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) -> Result<()> {
    unsupported::check_request(request)?;
    if needs_stream(request) {
        cursor::read_ahead_inside(session, None)?;
    }
    match request {
        Request::Execute(request) => execute::execute(session, run, request),
        Request::QueryOne(request) => execute::query_one(session, run, request),
        Request::ExecutePrepared(request) => execute::execute_prepared(session, run, request),
        Request::Prepare { sql } => prepare::prepare(session, run, sql),
        Request::CloseStatement { statement } => prepare::close(session, run, *statement),
        Request::Describe(target) => prepare::describe(session, run, *target),
        Request::Declare { target, params, .. } => cursor::declare(session, run, *target, params),
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
        Request::Script { sql } => script::script(session, run, sql),
        Request::Reset => status::reset(session, run),
        Request::ConnectionStatus => status::status(session, run),
        // There is no policy to take away.
        Request::SetPolicy(_) => {
            run.ok(put_nil);
            Ok(())
        }
        _ => Err(Error::new(ErrorCode::Internal, "a request that is not for a connection to a server")),
    }
}
