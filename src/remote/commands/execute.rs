//! Execute and query_one: the statement to the server, its result to the client.

use super::prepare;
use crate::error::{no_row, Error, Result};
use crate::remote::hrana::answer::Done;
use crate::remote::machine::{Effect, State};
use crate::remote::runs::{Came, Statement};
use crate::remote::session::Session;
use crate::result_writer::{Ceiling, RowWriter};
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_binary, put_empty_list, put_list};
use port_driver::params::Params;
use port_driver::reply::Tail;
use port_driver::request::{Execute, ExecutePrepared, ResultOptions};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Runs a statement.
pub fn execute(session: &mut Session, run: &mut Run<'_>, request: &Execute<'_>) -> Result<()> {
    run_statement(session, run, request.sql, &request.params, &request.options, false)
}

/// Runs a statement that must yield exactly one row. An error leaves nothing behind.
pub fn query_one(session: &mut Session, run: &mut Run<'_>, request: &Execute<'_>) -> Result<()> {
    session.check_not_lost()?;
    let description = session.description(request.sql, true)?;
    if description.is_some_and(|description| description.columns.is_empty()) {
        return Err(Error::new(ErrorCode::NoRows, "the statement yields no rows; it was not run"));
    }
    run_statement(session, run, request.sql, &request.params, &request.options, true)
}

/// Runs a prepared statement.
pub fn execute_prepared(
    session: &mut Session,
    run: &mut Run<'_>,
    request: &ExecutePrepared<'_>,
) -> Result<()> {
    let sql = prepare::text_of(session, request.statement)?.to_owned();
    run_statement(session, run, &sql, &request.params, &request.options, false)
}

fn run_statement(
    session: &mut Session,
    run: &mut Run<'_>,
    sql: &str,
    params: &Params<'_>,
    options: &ResultOptions,
    one: bool,
) -> Result<()> {
    let statement = Statement::new(session, sql, params)?;
    let ceiling = Ceiling::new(options, &session.limits, false);
    let bounded = one || ceiling.is_below(session.link.bytes_max());
    let wrote = statement.effect() == Effect::Writes;
    let came = match bounded && statement.writes_rows() {
        // Only what has been looked at is committed.
        true => Came::Done(undone_unless(session, &statement, |done| check(done, &ceiling, one))?),
        false => session.run(&statement)?,
    };
    match came {
        Came::Done(done) => write(session, run, done, ceiling, one, wrote),
        Came::TooLong => write_flow(session, run, &statement, ceiling, one),
    }
}

/// Runs what writes and returns rows, and undoes it if `check` refuses the result: in a transaction of its own, or in a
/// savepoint of the open one.
fn undone_unless(
    session: &mut Session,
    statement: &Statement<'_>,
    check: impl FnOnce(&Done) -> Result<()>,
) -> Result<Done> {
    let run = |session: &mut Session| match session.run(statement)? {
        Came::Done(done) => check(&done).map(|()| done),
        Came::TooLong => Err(Error::new(ErrorCode::ResultTooLarge, "the server's answer is too long")),
    };
    match session.machine.state() {
        State::Closed => session.in_own_transaction(run),
        _ => session.in_own_savepoint("libsql_port_query_one", run),
    }
}

fn check(done: &Done, ceiling: &Ceiling, one: bool) -> Result<()> {
    match done.rows.len() {
        0 if one => return Err(no_row()),
        rows if one && rows > 1 => return Err(too_many_rows()),
        _ => {}
    }
    ceiling.check(done.rows.len() as u64, done.rows.bytes().len() as u64)
}

fn too_many_rows() -> Error {
    Error::new(ErrorCode::TooManyRows, "the statement yields more than one row")
}

/// A result that is here.
fn write(
    session: &Session,
    run: &mut Run<'_>,
    done: Done,
    ceiling: Ceiling,
    one: bool,
    wrote: bool,
) -> Result<()> {
    if one && done.rows.len() == 0 {
        return Err(no_row());
    }
    let control = Arc::clone(&session.control);
    let mut writer = RowWriter::new(run, &control, ceiling, one).of(session.source_term());
    if wrote {
        writer.without_credits();
    }
    for row in done.rows.iter() {
        let written = writer.row(|out| {
            out.extend_from_slice(row);
            Ok(())
        });
        if let Err(error) = written {
            writer.abandon();
            return Err(error);
        }
    }
    let rows = writer.rows();
    let tail = Tail {
        changes: done.changes,
        last_insert_rowid: done.last_insert_rowid,
        tx_status: session.machine.status(),
        ..Tail::default()
    };
    writer.finish(&column_names(&done.columns), tail, wrote)?;
    session.counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

/// A result that is read as the server sends it.
fn write_flow(
    session: &mut Session,
    run: &mut Run<'_>,
    statement: &Statement<'_>,
    ceiling: Ceiling,
    one: bool,
) -> Result<()> {
    let control = Arc::clone(&session.control);
    let mut flow = session.start(session.place(), statement.sql, &statement.args, Effect::Reads)?;
    let mut writer = RowWriter::new(run, &control, ceiling, one).of(session.source_term());
    loop {
        let written = match session.flow_row(&mut flow) {
            Ok(None) => break,
            Ok(Some(row)) => writer.row(|out| {
                out.extend_from_slice(&row);
                Ok(())
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            writer.abandon();
            return Err(error);
        }
    }
    let rows = writer.rows();
    let tail = Tail { tx_status: session.machine.status(), ..Tail::default() };
    writer.finish(&column_names(flow.columns.as_deref().unwrap_or_default()), tail, false)?;
    session.counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

/// The encoded list of a result's columns.
pub fn column_names(names: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    put_list(&mut out, u32::try_from(names.len()).unwrap_or(0));
    if !names.is_empty() {
        names.iter().for_each(|name| put_binary(&mut out, name.as_bytes()));
        put_empty_list(&mut out);
    }
    out
}
