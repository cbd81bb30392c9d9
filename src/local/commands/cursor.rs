//! Cursors: a statement that stays open between requests and gives one chunk of rows for each fetch. A cursor holds at
//! most one row that did not fit into the last chunk.
//!
//! What an open statement has yet to read changes with what the same connection writes meanwhile: a row whose key moves is
//! seen twice or never (<https://sqlite.org/isolation.html>). So before another statement writes, the rest of each cursor is
//! read ahead, unless it was declared live. A cursor beside which nothing is written costs nothing.

use crate::ahead::Ahead;
use crate::engine::{RawStatement, Step};
use crate::error::{io_code, Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::local::access::{Access, Rows};
use crate::local::cursors::Cursor;
use crate::local::errors::no_temp_space;
use crate::local::rows::NoRows;
use crate::local::session::Session;
use crate::local::statement::Kind;
use crate::row_encoder::encode_row;
use crate::run::Run;
use crate::temp_space;
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
    live: bool,
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
    if access.is_compiled_within() {
        return Err(Error::new(
            ErrorCode::InvalidRequest,
            "a statement that changes the schema of a database with vector indexes cannot be declared as a cursor; execute it",
        ));
    }
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
    cursors.by_id.insert(id, Cursor { statement, writes, live, left_over: Vec::new(), ahead: None });
    Ok(())
}

/// Reads the rest of every open cursor, before something is written. One that cannot be read to its end is closed: what
/// it would go on with is not what it began with.
#[cold]
pub fn read_ahead(session: &mut Session) -> Result<()> {
    let Session { cursors, access, .. } = session;
    let open = |cursor: &Cursor| !cursor.live && !cursor.writes && cursor.ahead.is_none();
    for (&id, cursor) in cursors.by_id.iter_mut().filter(|(_, cursor)| open(cursor)) {
        if let Err(error) = rest_of(access, cursor) {
            // The step has said what its reset repeats.
            let _ = session.close_cursor(id);
            return Err(not_read_ahead(id, error));
        }
    }
    Ok(())
}

/// A write that had its cursor read ahead says so: what has not run is not its own statement.
fn not_read_ahead(id: u32, error: Error) -> Error {
    if !error.is_stop() {
        return error;
    }
    let message = format!(
        "{error}, while the rest of the open cursor {id} was read, without which nothing is written on its connection; the \
         cursor is closed. Close cursors that are not read to their end, declare them live, or write on another connection"
    );
    Error::new(error.code(), message)
}

fn rest_of(access: &mut Access, cursor: &mut Cursor) -> Result<()> {
    let kind = Kind { cursor: true, ..cursor.statement.kind() };
    let mut rest = Rest { ahead: Ahead::default(), row: Vec::new() };
    access.run_raw(cursor.statement.raw_mut(), kind, &mut rest)?;
    // It has run to its end: there is nothing left to fail.
    let _ = cursor.statement.raw_mut().reset();
    cursor.ahead = Some(rest.ahead);
    Ok(())
}

/// All rows that are left.
struct Rest {
    ahead: Ahead,
    row: Vec<u8>,
}

impl Rows for Rest {
    fn about_to_wait(&mut self) {}

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        self.row.clear();
        encode_row(&mut self.row, row, row.column_count())?;
        self.ahead.put(&self.row).map_err(|error| not_kept(&error))?;
        Ok(true)
    }
}

fn not_kept(error: &std::io::Error) -> Error {
    if temp_space::take_refused() {
        return no_temp_space();
    }
    Error::new(io_code(error), format!("the rows of a cursor cannot be kept in a temporary file: {error}"))
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
    let Cursor { statement, left_over, ahead, .. } = cursor;
    let row_bytes_max = limits.result_bytes_max;
    let mut chunk = Chunk { run, base, rows: 0, rows_max, bytes_max, row_bytes_max, left_over };
    let outcome = match (chunk.begin(), ahead) {
        (true, _) => Ok(Step::Row),
        (false, Some(ahead)) => chunk.fill(ahead),
        (false, None) => {
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
    /// 0: none.
    row_bytes_max: u64,
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

    /// Rows that were read ahead.
    fn fill(&mut self, ahead: &mut Ahead) -> Result<Step> {
        loop {
            let start = self.run.out.len();
            if !ahead.take(self.run.out).map_err(|error| not_kept(&error))? {
                return Ok(Step::Done);
            }
            if !self.keep(start) {
                return Ok(Step::Row);
            }
        }
    }

    /// Counts the row that was written from `start` on, or puts it by if it is too long. False: enough for now.
    fn keep(&mut self, start: usize) -> bool {
        // One byte for the list's end; the four of the length are not part of the body.
        if self.rows > 0 && self.run.out.len() + 1 - self.base - 4 > self.bytes_max {
            *self.left_over = self.run.out.split_off(start);
            return false;
        }
        self.rows += 1;
        self.rows < self.rows_max
    }
}

impl Rows for Chunk<'_, '_> {
    fn about_to_wait(&mut self) {
        self.run.outlet.about_to_wait();
    }

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        let start = self.run.out.len();
        encode_row(self.run.out, row, row.column_count())?;
        let bytes = (self.run.out.len() - start) as u64;
        if self.row_bytes_max > 0 && bytes > self.row_bytes_max {
            return Err(Error::new(
                ErrorCode::ResultTooLarge,
                format!("a row of {bytes} bytes is more than result_bytes_max, {}", self.row_bytes_max),
            ));
        }
        Ok(self.keep(start))
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
    let message = format!(
        "this connection has no open cursor {id}: it was read to its end or closed, perhaps by a write that was stopped while it \
         read the cursor ahead"
    );
    Error::new(ErrorCode::UnknownCursor, message)
}
