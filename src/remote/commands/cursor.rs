//! Cursors: the server sends rows while the client fetches them, and waits else.
//!
//! Outside of a transaction a cursor has a stream of its own. Inside of one its rows come over the transaction's stream, in one
//! answer if they are no more than that. A longer result keeps the stream busy: before another request needs it, and before
//! the server gives it up, the rest of the rows is read ahead, in memory and beyond a limit in a temporary file.

use super::execute::column_names;
use super::prepare;
use crate::ahead::Ahead;
use crate::clock::now_ns;
use crate::error::{io_code, Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::remote::cursors::{Cursor, Source};
use crate::remote::errors::unsupported;
use crate::remote::machine::{Effect, State};
use crate::remote::places::Place;
use crate::remote::runs::{Came, Statement};
use crate::remote::session::Session;
use crate::run::Run;
use crate::sql::keyword;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{begin_list, end_list, put_nil, put_tuple, put_unsigned};
use port_driver::frame::{begin_frame, end_frame, HEADER_BYTES};
use port_driver::params::Params;
use port_driver::request::{tag, Target};
use std::sync::Arc;

/// A server gives a stream up after 10 s without a request on it, whatever a cursor still sends. No option: those 10 s have none.
const INSIDE_NS_MAX: u64 = 6_000_000_000;

/// From a frame's start: the length, then the last byte of the header.
const TAG_OFFSET: usize = 4 + HEADER_BYTES - 1;

/// Opens a cursor: describes the statement, but does not run it yet.
pub fn declare(
    session: &mut Session,
    run: &mut Run<'_>,
    target: Target<'_>,
    params: &Params<'_>,
) -> Result<()> {
    session.check_not_lost()?;
    if session.cursors.len() >= session.limits.cursors_max as usize {
        return Err(Error::new(
            ErrorCode::LimitExceeded,
            format!(
                "the connection has {} open cursors, which is cursors_max; close some",
                session.cursors.len()
            ),
        ));
    }
    let sql: Box<str> = match target {
        Target::Sql(sql) => sql.into(),
        Target::Statement(id) => prepare::text_of(session, id)?.into(),
    };
    let description = match session.description(&sql, true)? {
        Some(description) => description,
        None => session.describe(&sql)?,
    };
    if !description.read_only && !session.in_transaction() {
        return unsupported("a cursor of a statement that writes, outside of a transaction");
    }
    let args = session.args(&sql, params)?;
    session.cursors.last = session.cursors.last.wrapping_add(1) & 0x7fff_ffff;
    let id = session.cursors.last;
    let names: Vec<String> = description.columns.iter().map(|(name, _)| name.clone()).collect();
    run.ok(|out| {
        put_tuple(out, 2);
        put_unsigned(out, u64::from(id));
        out.extend_from_slice(&column_names(&names));
    });
    let cursor =
        Cursor { sql, args, description, rows: Source::Unread, left_over: Vec::new(), inside: false };
    session.cursors.by_id.insert(id, cursor);
    Ok(())
}

/// Reads the rest of the cursor whose rows come over the transaction's stream, unless it is `but`.
pub fn read_ahead_inside(session: &mut Session, but: Option<u32>) -> Result<()> {
    match session.cursors.flowing_inside() {
        Some(id) if Some(id) != but => read_ahead(session, id),
        _ => Ok(()),
    }
}

/// One that cannot be read to its end is closed.
fn read_ahead(session: &mut Session, id: u32) -> Result<()> {
    let Some(mut cursor) = session.cursors.by_id.remove(&id) else { return Ok(()) };
    if let Source::Flow(flow) = &mut cursor.rows {
        let mut ahead = Ahead::default();
        while let Some(row) = session.flow_row(flow)? {
            ahead.put(&row).map_err(|error| not_kept(&error))?;
        }
        cursor.rows = Source::Ahead(Box::new(ahead));
    }
    session.cursors.by_id.insert(id, cursor);
    Ok(())
}

fn not_kept(error: &std::io::Error) -> Error {
    Error::new(io_code(error), format!("the rows of a cursor cannot be kept in a temporary file: {error}"))
}

/// Sends up to `rows_max` rows or `bytes_max` bytes of body, at least one row if there is one.
pub fn fetch(session: &mut Session, run: &mut Run<'_>, id: u32, rows_max: u32, bytes_max: u32) -> Result<()> {
    if !session.cursors.by_id.contains_key(&id) {
        return Err(Error::new(ErrorCode::UnknownCursor, format!("this connection has no cursor {id}")));
    }
    begin(session, id)?;
    // Out of the table while it is read; one that fails is closed.
    let Some(mut cursor) = session.cursors.by_id.remove(&id) else { return Ok(()) };
    let rows_max = if rows_max == 0 { u32::MAX } else { rows_max };
    let bytes_max = if bytes_max == 0 { CHUNK_BYTES } else { bytes_max };
    let bytes_max = bytes_max.min(session.limits.reply_bytes_max()) as usize;
    let base = run.out.len();
    let frame = begin_frame(run.out, run.request_id, tag::MORE_ROWS);
    let list = begin_list(run.out);
    let mut rows = 0;
    if !cursor.left_over.is_empty() {
        run.out.append(&mut cursor.left_over);
        rows = 1;
    }
    let mut exhausted = false;
    while rows < rows_max {
        let start = run.out.len();
        if !next_row(session, &mut cursor.rows, run.out)? {
            exhausted = true;
            break;
        }
        // One byte for the list's end; the four of the length are not part of the body.
        if rows > 0 && run.out.len() + 1 - base - 4 > bytes_max {
            cursor.left_over = run.out.split_off(start);
            break;
        }
        rows += 1;
        if run.out.len() + 1 - base - 4 > bytes_max {
            break;
        }
    }
    end_list(run.out, list, rows);
    if exhausted {
        run.out[base + TAG_OFFSET] = tag::LAST_ROWS;
    } else {
        session.cursors.by_id.insert(id, cursor);
    }
    end_frame(run.out, frame, run.reply_bytes_max);
    session.counters.rows.fetch_add(u64::from(rows), std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Has the statement of a cursor begin, and what cannot be left on the stream read ahead.
fn begin(session: &mut Session, id: u32) -> Result<()> {
    let (unread, expires) = match session.cursors.by_id.get(&id).map(|cursor| &cursor.rows) {
        Some(Source::Unread) => (true, false),
        Some(Source::Flow(flow)) => (false, flow.inside && now_ns() - flow.since_ns > INSIDE_NS_MAX),
        _ => (false, false),
    };
    if expires {
        return read_ahead(session, id);
    }
    if !unread {
        return Ok(());
    }
    session.check_not_lost()?;
    read_ahead_inside(session, Some(id))?;
    let Some(mut cursor) = session.cursors.by_id.remove(&id) else { return Ok(()) };
    let effect = if cursor.description.read_only { Effect::Reads } else { Effect::Writes };
    if effect == Effect::Writes && session.machine.state() == &State::Closed {
        return unsupported("a cursor of a statement that writes, outside of a transaction");
    }
    if session.in_transaction() {
        cursor.inside = true;
        if let Some(ahead) = read_at_once(session, &cursor)? {
            cursor.rows = Source::Ahead(Box::new(ahead));
            session.cursors.by_id.insert(id, cursor);
            return Ok(());
        }
    }
    cursor.rows = Source::Flow(Box::new(session.start(Place::Primary, &cursor.sql, &cursor.args, effect)?));
    session.cursors.by_id.insert(id, cursor);
    Ok(())
}

/// All rows of a cursor of the transaction in one answer, many times as fast as a cursor of the server's, which its stream
/// would wait for; `None` if they are more than the server sends at once.
fn read_at_once(session: &mut Session, cursor: &Cursor) -> Result<Option<Ahead>> {
    let statement = Statement {
        sql: &cursor.sql,
        keyword: keyword::first(&cursor.sql),
        args: cursor.args.clone(),
        description: Some(Arc::clone(&cursor.description)),
    };
    let Came::Done(done) = session.run(&statement)? else { return Ok(None) };
    let mut ahead = Ahead::default();
    for row in done.rows.iter() {
        ahead.put(row).map_err(|error| not_kept(&error))?;
    }
    Ok(Some(ahead))
}

/// Appends the next row; false after the last one.
fn next_row(session: &mut Session, rows: &mut Source, out: &mut Vec<u8>) -> Result<bool> {
    match rows {
        Source::Unread => Ok(false),
        Source::Ahead(ahead) => ahead.take(out).map_err(|error| not_kept(&error)),
        Source::Flow(flow) => match session.flow_row(flow)? {
            Some(row) => {
                out.extend_from_slice(&row);
                Ok(true)
            }
            None => Ok(false),
        },
    }
}

/// Closes a cursor; one that is exhausted or was never there is no error, since a client cannot know.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    session.cursors.by_id.remove(&id);
    run.ok(put_nil);
    Ok(())
}
