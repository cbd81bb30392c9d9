//! Cursors: a statement that stays open between requests and gives one chunk of rows for each fetch. A cursor holds at
//! most one row that did not fit into the last chunk.

use crate::engine::{RawStatement, Step};
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::local::access::{Kind, Rows};
use crate::local::cursors::Cursor;
use crate::local::rows::NoRows;
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
    // The turns stay from here until the cursor is closed: what it writes ends with it.
    access.within_turn(statement.kind(), &mut NoRows(run), |access, _| {
        access.writing_cursors += u32::from(writes);
        Ok(())
    })?;
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
    let Cursor { statement, left_over, .. } = cursor;
    let mut chunk = Chunk { run, base, rows: 0, rows_max, bytes_max, left_over };
    let outcome = match chunk.begin() {
        true => Ok(Step::Row),
        false => {
            let kind = Kind { cursor: true, ..statement.kind() };
            access.run_raw(statement.raw_mut(), kind, &mut chunk)
        }
    };
    let rows = chunk.rows;
    let exhausted = match outcome {
        Ok(step) => step == Step::Done,
        Err(error) => {
            run.out.truncate(base);
            // The step has said what its reset repeats.
            let _ = session.close_cursor(id);
            return Err(error);
        }
    };
    end_list(run.out, list, rows);
    if exhausted {
        run.out[base + TAG_OFFSET] = tag::LAST_ROWS;
    }
    end_frame(run.out, frame, run.reply_bytes_max);
    if exhausted {
        // It has run to its end: there is nothing left to fail.
        let _ = session.close_cursor(id);
    }
    Ok(())
}

/// From a frame's start: the length, then the last byte of the header.
const TAG_OFFSET: usize = 4 + HEADER_BYTES - 1;

/// Rows until the chunk is full. One row more than fits is kept for the next time.
struct Chunk<'c, 'r> {
    run: &'c mut Run<'r>,
    base: usize,
    rows: u32,
    rows_max: u32,
    bytes_max: usize,
    left_over: &'c mut Vec<u8>,
}

impl Chunk<'_, '_> {
    /// Starts with the row that the last chunk had no room for. True if that fills it.
    fn begin(&mut self) -> bool {
        if !self.left_over.is_empty() {
            self.run.out.append(self.left_over);
            self.rows = 1;
        }
        self.rows >= self.rows_max
    }
}

impl Rows for Chunk<'_, '_> {
    fn about_to_wait(&mut self) {
        self.run.outlet.about_to_wait();
    }

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        let start = self.run.out.len();
        encode_row(self.run.out, row, row.column_count());
        // One byte for the list's end; the four of the length are not part of the body.
        if self.rows > 0 && self.run.out.len() + 1 - self.base - 4 > self.bytes_max {
            *self.left_over = self.run.out.split_off(start);
            return Ok(false);
        }
        self.rows += 1;
        Ok(self.rows < self.rows_max)
    }
}

/// Closes a cursor; one that is exhausted or was never there is no error, since a client cannot know. A half-read one that
/// writes is committed, and an error of that commit is the answer.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    session.close_cursor(id)?;
    run.ok(put_nil);
    Ok(())
}

fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownCursor, format!("this connection has no open cursor {id}"))
}
