//! Rows on their way out: into one `result` frame if they fit, else into `rows` chunks against credits. Never holds
//! more than one chunk.

use crate::control::Control;
use crate::error::{Error, Result};
use crate::limits::{Limits, CHUNK_BYTES};
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{begin_list, end_list, put_tuple, ListStart};
use port_driver::frame::{begin_frame, end_frame, FrameStart, HEADER_BYTES};
use port_driver::reply::{put_result_tail, Tail};
use port_driver::request::{tag, ResultOptions};

/// Elements of a `result` payload.
const RESULT_ARITY: u32 = 9;
/// And of what says whence it comes.
const SOURCE_ARITY: u32 = 3;
/// Chunks that may be sent before the first credit comes, unless the request says otherwise.
const CREDITS: u32 = 4;

/// Rows of a result of SQL of strangers, and its bytes, unless the request says otherwise.
const UNTRUSTED_ROWS_MAX: u64 = 10_000;
const UNTRUSTED_BYTES_MAX: u64 = 16 << 20;

/// How large a result may get, and in which pieces it goes out.
pub struct Ceiling {
    rows_max: u64,
    bytes_max: u64,
    chunk_bytes: usize,
    credits: u32,
}

impl Ceiling {
    /// The request's wishes; what it leaves open is as the program's limits say.
    pub fn new(options: &ResultOptions, limits: &Limits, untrusted: bool) -> Self {
        let lesser = |limit: u64, most: u64| match (untrusted, limit) {
            (false, _) => limit,
            (true, 0) => most,
            (true, _) => limit.min(most),
        };
        let (rows_max, bytes_max) = (
            lesser(limits.result_rows_max, UNTRUSTED_ROWS_MAX),
            lesser(limits.result_bytes_max, UNTRUSTED_BYTES_MAX),
        );
        let none_is_all = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        let chunk_bytes = options.chunk_bytes.unwrap_or(CHUNK_BYTES).min(limits.reply_bytes_max()).max(1);
        Ceiling {
            rows_max: none_is_all(options.rows_max.unwrap_or(rows_max)),
            bytes_max: none_is_all(options.bytes_max.unwrap_or(bytes_max)),
            chunk_bytes: chunk_bytes as usize,
            credits: options.credits.unwrap_or(CREDITS),
        }
    }

    /// True if what stands in so many bytes of JSON, as a server sends it, may be more than this; 0: any number of bytes.
    pub fn is_below(&self, json_bytes: u64) -> bool {
        /// The shortest row of a server: `[{"type":"null"}],`. No value is longer on this program's wire than in JSON.
        const ROW_BYTES: u64 = 18;
        let bytes = if json_bytes == 0 { u64::MAX } else { json_bytes };
        self.rows_max < bytes / ROW_BYTES || self.bytes_max < bytes
    }

    /// An error if a result of so many rows and bytes is too large.
    pub fn check(&self, rows: u64, bytes: u64) -> Result<()> {
        let (what, limit) = if rows > self.rows_max {
            ("rows", self.rows_max)
        } else if bytes > self.bytes_max {
            ("bytes", self.bytes_max)
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorCode::ResultTooLarge,
            format!(
                "the result has more than {limit} {what}; stream it, or raise {what}_max of the request or result_{what}_max of \
                 the program"
            ),
        ))
    }
}

/// Writes one result.
pub struct RowWriter<'w, 'r> {
    run: &'w mut Run<'r>,
    control: &'w Control,
    ceiling: Ceiling,
    /// Where the unsent part of the result starts in `run.out`.
    base: usize,
    /// The frame and its list of rows. None only while one is exchanged for the next.
    open: Option<(FrameStart, ListStart)>,
    rows_in_frame: u32,
    rows: u64,
    bytes: u64,
    in_chunks: bool,
    one: bool,
    source: Vec<u8>,
    spill: Vec<u8>,
    /// Chunks wait for credits.
    waits: bool,
}

impl<'w, 'r> RowWriter<'w, 'r> {
    /// Starts a result, of one row at most if `one`.
    pub fn new(run: &'w mut Run<'r>, control: &'w Control, ceiling: Ceiling, one: bool) -> Self {
        let base = run.out.len();
        let frame = begin_frame(run.out, run.request_id, tag::RESULT);
        put_tuple(run.out, RESULT_ARITY);
        let list = begin_list(run.out);
        RowWriter {
            run,
            control,
            ceiling,
            base,
            open: Some((frame, list)),
            rows_in_frame: 0,
            rows: 0,
            bytes: 0,
            in_chunks: false,
            one,
            source: Vec::new(),
            spill: Vec::new(),
            waits: true,
        }
    }

    /// The rows are of what has been committed, and must not be answered with an error any more: no chunk waits for a credit.
    pub fn without_credits(&mut self) {
        self.waits = false;
    }

    /// The rows come from where the result would not be expected to: three encoded terms that say whence, behind the others.
    pub fn of(mut self, source: Option<Vec<u8>>) -> Self {
        if let Some(source) = source {
            self.source = source;
            if let Some(arity) = self.run.out.get_mut(self.base + ARITY_OFFSET) {
                *arity = (RESULT_ARITY + SOURCE_ARITY) as u8;
            }
        }
        self
    }

    fn arity(&self) -> u32 {
        if self.source.is_empty() {
            RESULT_ARITY
        } else {
            RESULT_ARITY + SOURCE_ARITY
        }
    }

    /// What is written from here on may take a while.
    pub fn about_to_wait(&mut self) {
        self.run.outlet.about_to_wait();
    }

    /// Appends the row that `encode` writes, a list of values; sends a chunk if it does not fit any more.
    #[inline]
    pub fn row(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        if self.one && self.rows > 0 {
            return Err(Error::new(ErrorCode::TooManyRows, "the statement yields more than one row"));
        }
        let start = self.run.out.len();
        encode(self.run.out)?;
        self.rows += 1;
        self.bytes += (self.run.out.len() - start) as u64;
        self.ceiling.check(self.rows, self.bytes)?;
        self.rows_in_frame += 1;
        // One byte more for the list's end, four less for the length that is not part of the body.
        if self.run.out.len() + 1 - self.base - 4 > self.ceiling.chunk_bytes {
            self.spill_row(start)?;
        }
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Closes the result. `tail` is completed with rows and times. What `wrote` has been committed, and must not be answered
    /// with an error any more: its last chunk does not wait for a credit.
    pub fn finish(mut self, columns: &[u8], mut tail: Tail, wrote: bool) -> Result<()> {
        if self.in_chunks {
            if !wrote && self.waits {
                self.run.wait_for_credit()?;
            }
            self.send_chunk();
            let frame = begin_frame(self.run.out, self.run.request_id, tag::RESULT);
            put_tuple(self.run.out, self.arity());
            self.open = Some((frame, begin_list(self.run.out)));
        }
        tail.num_rows = self.rows;
        self.run.times(self.control, &mut tail);
        if let Some((frame, list)) = self.open.take() {
            end_list(self.run.out, list, self.rows_in_frame);
            put_result_tail(self.run.out, columns, &tail);
            self.run.out.extend_from_slice(&self.source);
            end_frame(self.run.out, frame, self.run.reply_bytes_max);
        }
        Ok(())
    }

    /// Takes back what has not been sent; an error follows.
    pub fn abandon(self) {
        self.run.out.truncate(self.base);
    }

    /// The row at `start` is one too many: the rows before it go as a chunk, and another starts with it.
    #[cold]
    fn spill_row(&mut self, start: usize) -> Result<()> {
        if self.rows_in_frame == 1 {
            // A row longer than a chunk goes alone, with the next row's spill.
            if !self.in_chunks {
                self.turn_into_chunk();
            }
            return Ok(());
        }
        self.spill.clear();
        self.spill.extend_from_slice(&self.run.out[start..]);
        self.run.out.truncate(start);
        self.rows_in_frame -= 1;
        if !self.in_chunks {
            self.turn_into_chunk();
        }
        if self.waits {
            self.run.wait_for_credit()?;
        }
        self.send_chunk();
        self.begin_chunk();
        self.run.out.extend_from_slice(&self.spill);
        self.rows_in_frame = 1;
        Ok(())
    }

    /// The frame was begun as a `result`; its rows move into a `rows` frame.
    fn turn_into_chunk(&mut self) {
        let rows = self.run.out.split_off(self.base + RESULT_HEAD_BYTES);
        self.run.out.truncate(self.base);
        let count = self.rows_in_frame;
        self.begin_chunk();
        self.run.out.extend_from_slice(&rows);
        self.rows_in_frame = count;
        self.in_chunks = true;
        self.run.questions.allow(self.ceiling.credits);
    }

    fn begin_chunk(&mut self) {
        self.base = self.run.out.len();
        let frame = begin_frame(self.run.out, self.run.request_id, tag::ROWS);
        self.open = Some((frame, begin_list(self.run.out)));
        self.rows_in_frame = 0;
    }

    fn send_chunk(&mut self) {
        if let Some((frame, list)) = self.open.take() {
            end_list(self.run.out, list, std::mem::take(&mut self.rows_in_frame));
            end_frame(self.run.out, frame, self.run.reply_bytes_max);
        }
        self.run.outlet.send(self.run.out);
        self.base = self.run.out.len();
    }
}

/// Bytes from the start of a `result` frame to the arity of its tuple: length, header, the tuple's tag.
const ARITY_OFFSET: usize = 4 + HEADER_BYTES + 1;

/// Bytes from the start of a `result` frame to its first row: length, header, tuple of nine, list of `Count:32`.
const RESULT_HEAD_BYTES: usize = 4 + HEADER_BYTES + 2 + 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_more_than_the_ceiling_need_not_be_looked_at() {
        let limits = Limits::default();
        let below = |rows_max, bytes_max, json_bytes| {
            let options = ResultOptions { rows_max, bytes_max, ..ResultOptions::default() };
            Ceiling::new(&options, &limits, false).is_below(json_bytes)
        };
        assert!(!below(None, None, 64 << 20), "an answer of the default length is below the default limits");
        assert!(below(Some(9), None, 64 << 20) && below(None, Some(1000), 64 << 20));
        assert!(!below(Some(10), Some(180), 180) && below(Some(9), None, 180) && below(None, Some(179), 180));
        assert!(below(None, None, 0), "an answer of any length");
        assert!(!below(Some(0), Some(0), 0), "no ceiling");
    }
}
