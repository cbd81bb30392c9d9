//! Many statements in one round trip: a batch (with parameters and the results of each) and a script (a text).

use super::execute::tail;
use crate::engine::RawStatement;
use crate::error::{Error, Result};
use crate::local::access::{Access, Rows};
use crate::local::rows::NoRows;
use crate::local::session::Session;
use crate::local::statement::{keyword_of, Kind};
use crate::result_writer::Ceiling;
use crate::row_encoder::encode_row;
use crate::run::Run;
use crate::sql::keyword;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{begin_list, end_list, put_integer, put_tuple, put_unsigned};
use port_driver::frame::{begin_frame, end_frame};
use port_driver::params::Params;
use port_driver::reply::{put_error_item, Tail};
use port_driver::request::{tag, Batch, ResultOptions};
use std::ffi::{CStr, CString};

/// Runs the statements of a batch, all or none of them if it is atomic.
pub fn batch(session: &mut Session, run: &mut Run<'_>, batch: &Batch<'_>) -> Result<()> {
    if !batch.atomic {
        return run_items(session, run, batch, false);
    }
    let nested = !session.access.handle.autocommit();
    let (begin, commit, undo): (_, _, &[&str]) = if nested {
        (
            "SAVEPOINT libsql_port_batch",
            "RELEASE libsql_port_batch",
            &["ROLLBACK TO libsql_port_batch", "RELEASE libsql_port_batch"],
        )
    } else {
        ("BEGIN IMMEDIATE", "COMMIT", &["ROLLBACK"])
    };
    session.run_cached(run, begin)?;
    let base = run.out.len();
    let outcome = run_items(session, run, batch, !nested).and_then(|()| session.run_cached(run, commit));
    if outcome.is_err() {
        run.out.truncate(base);
        // An interrupted write has rolled back by itself.
        if !session.access.handle.autocommit() {
            session.access.run_unstopped(undo)?;
        }
    }
    outcome
}

/// `commit_follows`: in the transaction that ends with these items.
fn run_items(
    session: &mut Session,
    run: &mut Run<'_>,
    batch: &Batch<'_>,
    commit_follows: bool,
) -> Result<()> {
    let ceiling = Ceiling::new(&ResultOptions::default(), &session.limits, session.access.untrusted);
    let frame = begin_frame(run.out, run.request_id, tag::BATCH_REPLY);
    put_tuple(run.out, 5);
    let list = begin_list(run.out);
    let base = run.out.len();
    let mut rows = 0;
    for (index, item) in (0..).zip(batch.statements()) {
        let start = run.out.len();
        let outcome = item.map_err(Error::from).and_then(|(sql, params)| {
            let room = Room { ceiling: &ceiling, rows, base };
            rows += run_item(session, run, batch.atomic, sql, &params, &room)?;
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(error) if batch.atomic || error.is_stop() || error.code() == ErrorCode::ResultTooLarge => {
                return Err(Error::InBatch(index, Box::new(error)));
            }
            Err(error) => {
                run.out.truncate(start);
                let status = Some(session.access.tx_status());
                Error::InBatch(index, Box::new(error))
                    .with_fields(status, |reply| put_error_item(run.out, reply));
            }
        }
    }
    end_list(run.out, list, batch.len());
    let mut times = Tail::default();
    run.times(&session.access.control, &mut times);
    // The reply is written before the commit.
    let status = if commit_follows { 0 } else { session.access.tx_status() };
    put_unsigned(run.out, u64::from(status));
    put_unsigned(run.out, times.queue_us);
    put_unsigned(run.out, times.lock_us);
    put_unsigned(run.out, times.run_us);
    end_frame(run.out, frame, run.reply_bytes_max);
    Ok(())
}

/// What the results so far leave to the next one.
struct Room<'r> {
    ceiling: &'r Ceiling,
    /// Rows before it.
    rows: u64,
    /// Where the results start in the reply.
    base: usize,
}

/// Runs one statement and appends its `{Rows, Columns, NumRows, Changes, LastInsertRowid}`; returns the rows.
fn run_item(
    session: &mut Session,
    run: &mut Run<'_>,
    atomic: bool,
    sql: &str,
    params: &Params<'_>,
    room: &Room<'_>,
) -> Result<u64> {
    let Session { cache, access, .. } = session;
    let statement = cache.get(access, sql)?;
    if atomic && keyword::is_transaction(statement.keyword()) {
        return Err(Error::new(
            ErrorCode::InvalidRequest,
            "an atomic batch is one transaction; it must not hold BEGIN, COMMIT, ROLLBACK or savepoints",
        ));
    }
    put_tuple(run.out, 5);
    let list = begin_list(run.out);
    let mut item = Item { run, room, rows: 0 };
    let changes = access.run(statement, params, atomic, &mut item)?;
    let rows = item.rows;
    end_list(run.out, list, rows);
    run.out.extend_from_slice(statement.columns());
    let tail = tail(access, changes);
    put_unsigned(run.out, u64::from(rows));
    put_integer(run.out, tail.changes);
    put_integer(run.out, tail.last_insert_rowid);
    Ok(u64::from(rows))
}

/// The rows of one statement of a batch.
struct Item<'i, 'r> {
    run: &'i mut Run<'r>,
    room: &'i Room<'i>,
    rows: u32,
}

impl Rows for Item<'_, '_> {
    fn about_to_wait(&mut self) {
        self.run.outlet.about_to_wait();
    }

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        encode_row(self.run.out, row, row.column_count())?;
        self.rows = self.rows.saturating_add(1);
        let bytes = (self.run.out.len() - self.room.base) as u64;
        self.room.ceiling.check(self.room.rows + u64::from(self.rows), bytes)?;
        Ok(true)
    }
}

/// Runs every statement of a text. An error's offset counts from the start of the whole text.
pub fn script(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    let changes_before = session.access.handle.total_changes();
    let mut statements: u64 = 0;
    let mut at = 0;
    // One copy that ends with a NUL; otherwise the engine would copy all that is left of the text for each statement.
    let text = CString::new(sql)
        .map_err(|error| Error::new(ErrorCode::InvalidRequest, format!("the script holds a NUL: {error}")))?;
    while at < sql.len() {
        let next = Next { text: &text, sql, at };
        let consumed = run_next(&mut session.access, run, &next, &mut statements)
            .map_err(|error| moved(error, at as u64))?;
        // The engine consumes at least the statement's end; a text it cannot read is an error.
        at += consumed.max(1);
        while !sql.is_char_boundary(at) {
            at += 1;
        }
    }
    let changes = session.access.handle.total_changes() - changes_before;
    let status = session.access.tx_status();
    run.ok(|out| {
        put_tuple(out, 3);
        put_unsigned(out, statements);
        put_integer(out, changes);
        put_unsigned(out, u64::from(status));
    });
    Ok(())
}

/// A script and the place in it where the next statement starts.
struct Next<'s> {
    text: &'s CStr,
    sql: &'s str,
    at: usize,
}

fn run_next(access: &mut Access, run: &mut Run<'_>, next: &Next<'_>, statements: &mut u64) -> Result<usize> {
    access.check_stop()?;
    let keyword = keyword::first(&next.sql[next.at..]);
    let (statement, consumed) = access.prepare_at(next.text, next.at, keyword)?;
    let Some(mut statement) = statement else { return Ok(consumed) };
    let keyword = keyword_of(&statement, keyword);
    *statements += 1;
    if statement.parameter_count() > 0 {
        return Err(Error::new(
            ErrorCode::ParameterCount,
            format!("statement {statements} of the script has parameters; run it with a batch"),
        ));
    }
    let kind = Kind {
        read_only: statement.read_only() && !keyword::may_write(keyword) && !access.uses_writer(),
        keyword,
        guarded: false,
        cursor: false,
    };
    access.run_raw(&mut statement, kind, &mut NoRows(run))?;
    Ok(consumed)
}

fn moved(error: Error, by: u64) -> Error {
    match error {
        Error::Engine(mut engine, constraint) => {
            engine.offset = engine.offset.map(|offset| offset + by);
            Error::Engine(engine, constraint)
        }
        other => other,
    }
}
