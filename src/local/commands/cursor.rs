//! Cursors: a statement that stays open between requests and gives one chunk of rows for each fetch. A cursor holds at
//! most one row that did not fit into the last chunk.

use crate::engine::Step;
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::local::cursors::Cursor;
use crate::local::session::Session;
use crate::row_encoder::encode_row;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{begin_list, end_list, put_nil, put_tuple, put_unsigned};
use port_driver::frame::{begin_frame, end_frame, HEADER_BYTES};
use port_driver::params::Params;
use port_driver::request::{tag, Target};

/// Opens a cursor: compiles and binds, but does not step yet.
pub fn declare(
    session: &mut Session,
    run: &mut Run<'_>,
    target: Target<'_>,
    params: &Params<'_>,
) -> Result<()> {
    let Session { prepared, cursors, access, limits, .. } = session;
    if cursors.len() >= limits.cursors_max as usize {
        return Err(Error::new(
            ErrorCode::LimitExceeded,
            format!("the connection has {} open cursors, which is cursors_max; close some", cursors.len()),
        ));
    }
    // A statement of its own: one of the cache may be wanted for something else while the cursor is open.
    let sql = match target {
        Target::Sql(sql) => sql,
        Target::Statement(id) => prepared.sql(id)?,
    };
    let mut statement = access.prepare(sql, false)?;
    statement.bind(params)?;
    let writes = !statement.read_only();
    if writes {
        access.enter(false, run)?;
        access.writing_cursors += 1;
    }
    cursors.next = cursors.next.wrapping_add(1) & 0x7fff_ffff;
    let id = cursors.next;
    run.ok(|out| {
        put_tuple(out, 2);
        put_unsigned(out, u64::from(id));
        out.extend_from_slice(statement.columns());
    });
    cursors.by_id.insert(id, Cursor { statement, writes, left_over: Vec::new() });
    Ok(())
}

/// Sends up to `rows_max` rows or `bytes_max` bytes of body, at least one row if there is one.
pub fn fetch(session: &mut Session, run: &mut Run<'_>, id: u32, rows_max: u32, bytes_max: u32) -> Result<()> {
    let Session { cursors, access, limits, .. } = session;
    let Some(cursor) = cursors.by_id.get_mut(&id) else { return Err(unknown(id)) };
    access.check_stop()?;
    let rows_max = if rows_max == 0 { u32::MAX } else { rows_max };
    let bytes_max = if bytes_max == 0 { CHUNK_BYTES } else { bytes_max };
    let bytes_max = bytes_max.min(limits.reply_bytes_max()) as usize;

    let base = run.out.len();
    let frame = begin_frame(run.out, run.request_id, tag::MORE_ROWS);
    let list = begin_list(run.out);
    let filled = fill(cursor, run.out, base, rows_max, bytes_max);
    let (rows, exhausted) = match filled {
        Ok(filled) => filled,
        Err(code) => {
            run.out.truncate(base);
            let error = access.step_error(code);
            session.close_cursor(id);
            return Err(error);
        }
    };
    end_list(run.out, list, rows);
    if exhausted {
        run.out[base + TAG_OFFSET] = tag::LAST_ROWS;
    }
    end_frame(run.out, frame, run.reply_bytes_max);
    if exhausted {
        session.close_cursor(id);
    }
    Ok(())
}

/// From a frame's start: the length, then the last byte of the header.
const TAG_OFFSET: usize = 4 + HEADER_BYTES - 1;

/// Rows until the chunk is full or the statement has ended. One row more than fits is kept for the next time.
fn fill(
    cursor: &mut Cursor,
    out: &mut Vec<u8>,
    base: usize,
    rows_max: u32,
    bytes_max: usize,
) -> std::result::Result<(u32, bool), i32> {
    let mut rows = 0;
    if !cursor.left_over.is_empty() {
        out.append(&mut cursor.left_over);
        rows = 1;
    }
    while rows < rows_max {
        match cursor.statement.raw_mut().step()? {
            Step::Done => return Ok((rows, true)),
            Step::Row => {}
        }
        let start = out.len();
        let columns = cursor.statement.raw().column_count();
        encode_row(out, cursor.statement.raw(), columns);
        // One byte for the list's end; the four of the length are not part of the body.
        if rows > 0 && out.len() + 1 - base - 4 > bytes_max {
            cursor.left_over = out.split_off(start);
            return Ok((rows, false));
        }
        rows += 1;
    }
    Ok((rows, false))
}

/// Closes a cursor; one that is exhausted or was never there is no error, since a client cannot know.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    session.close_cursor(id);
    run.ok(put_nil);
    Ok(())
}

fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownCursor, format!("this connection has no open cursor {id}"))
}
