//! Execute and query_one: bind, step, rows out, counters and transaction status in the same reply.

use crate::clock::now_ns;
use crate::engine::{Bound, Step};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::local::access::Access;
use crate::local::rows::{Ceiling, RowWriter};
use crate::local::session::Session;
use crate::local::statement::Statement;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use port_driver::reply::Tail;
use port_driver::request::{Execute, ExecutePrepared, ResultOptions};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// How many rows a statement may yield.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    One,
}

/// Runs a statement of the cache.
pub fn execute(session: &mut Session, run: &mut Run<'_>, request: &Execute<'_>) -> Result<()> {
    let Session { cache, access, limits, counters, .. } = session;
    let statement = cache.get(access, request.sql)?;
    let rows = run_statement(access, statement, limits, run, &request.params, &request.options, Wanted::All)?;
    counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

/// Runs a statement that must yield exactly one row. An error leaves nothing behind: a write outside of a transaction
/// is undone with its implicit one, inside of one it runs in a savepoint.
pub fn query_one(session: &mut Session, run: &mut Run<'_>, request: &Execute<'_>) -> Result<()> {
    let Session { cache, access, limits, counters, .. } = session;
    let statement = cache.get(access, request.sql)?;
    if statement.column_count() == 0 {
        return Err(Error::new(ErrorCode::NoRows, "the statement yields no rows; it was not run"));
    }
    let guarded = !statement.read_only() && !access.handle.autocommit();
    if guarded {
        access.enter(false, run)?;
        access.run_plain("SAVEPOINT libsql_port_query_one")?;
    }
    let outcome =
        run_statement(access, statement, limits, run, &request.params, &request.options, Wanted::One);
    if guarded && !access.handle.autocommit() {
        if outcome.is_err() {
            access.run_plain("ROLLBACK TO libsql_port_query_one")?;
        }
        access.run_plain("RELEASE libsql_port_query_one")?;
    }
    counters.rows.fetch_add(outcome?, Ordering::Relaxed);
    Ok(())
}

/// Runs a prepared statement.
pub fn execute_prepared(
    session: &mut Session,
    run: &mut Run<'_>,
    request: &ExecutePrepared<'_>,
) -> Result<()> {
    let Session { prepared, access, limits, counters, .. } = session;
    let statement = prepared.statement(access, request.statement)?;
    let rows = run_statement(access, statement, limits, run, &request.params, &request.options, Wanted::All)?;
    counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

fn run_statement(
    access: &mut Access,
    statement: &mut Statement,
    limits: &Limits,
    run: &mut Run<'_>,
    params: &Params<'_>,
    options: &ResultOptions,
    wanted: Wanted,
) -> Result<u64> {
    let ceiling = Ceiling::new(options, limits);
    access.enter(statement.read_only(), run)?;
    let started_ns = now_ns();
    let changes_before = access.handle.total_changes();
    let control = Arc::clone(&access.control);
    let base = run.out.len();
    let mut writer = RowWriter::new(run, &control, ceiling);
    let outcome = step_all(access, statement, params, &mut writer, wanted, started_ns);
    access.leave();
    access.refresh_attached(statement.keyword());
    match outcome {
        Ok(()) => {
            statement.refresh_columns();
            statement.ran(now_ns().saturating_sub(started_ns));
            let tail = tail(access, statement.read_only(), changes_before);
            let rows = writer.rows();
            match writer.finish(statement.columns(), tail) {
                Ok(()) => Ok(rows),
                Err(error) => {
                    run.out.truncate(base.min(run.out.len()));
                    Err(error)
                }
            }
        }
        Err(error) => {
            statement.ran(u64::MAX);
            writer.abandon();
            Err(error)
        }
    }
}

/// Steps to the end. The statement is reset and its parameters cleared when this returns.
fn step_all(
    access: &Access,
    statement: &mut Statement,
    params: &Params<'_>,
    writer: &mut RowWriter<'_, '_>,
    wanted: Wanted,
    started_ns: u64,
) -> Result<()> {
    let read_only = statement.read_only();
    let mut bound = statement.bind_for_run(params)?;
    // A statement that never runs long enough for the engine to ask would otherwise outlive its deadline here.
    access.check_stop()?;
    let mut columns = 0;
    loop {
        match bound.step() {
            Ok(Step::Row) => {
                if writer.rows() == 0 {
                    // Asked for only now, since the first step may have compiled the statement anew.
                    columns = bound.column_count();
                } else if wanted == Wanted::One {
                    undo(access, &mut bound, read_only || !access.handle.autocommit());
                    return Err(Error::new(ErrorCode::TooManyRows, "the statement yields more than one row"));
                }
                if let Err(error) = writer.row(&bound, columns) {
                    undo(access, &mut bound, read_only);
                    return Err(error);
                }
            }
            Ok(Step::Done) if wanted == Wanted::One && writer.rows() == 0 => {
                return Err(Error::new(ErrorCode::NoRows, "the statement yields no row"));
            }
            Ok(Step::Done) => return Ok(()),
            Err(code) => return Err(access.statement_error(&mut bound, code, started_ns)),
        }
    }
}

/// A writing statement whose rows cannot be delivered must not be committed by its reset: interrupted in mid-run, it
/// is rolled back (https://sqlite.org/c3ref/interrupt.html).
#[cold]
pub fn undo(access: &Access, bound: &mut Bound<'_, '_>, harmless: bool) {
    if !harmless {
        access.handle.interrupt();
        let _ = bound.step();
    }
}

/// What follows the rows, but for times.
pub fn tail(access: &Access, read_only: bool, changes_before: i64) -> Tail {
    let changed = !read_only && access.handle.total_changes() != changes_before;
    Tail {
        changes: if changed { access.handle.changes() } else { 0 },
        last_insert_rowid: access.handle.last_insert_rowid(),
        tx_status: access.tx_status(),
        ..Tail::default()
    }
}
