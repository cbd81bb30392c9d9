//! What arrives unasked, under the id 0 (protocol, section 5).

use crate::error_code::ErrorCode;
use crate::etf::encoder::{
    put_atom, put_binary, put_binary_head, put_fixed, put_nil, put_optional_binary, put_tuple, put_unsigned,
};
use crate::frame::{begin_frame, end_frame, end_frame_with};
use crate::reply::{put_denial, Denial};
use crate::request::tag;

/// A message is for people, and an event must fit into any frame.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A bug ended a connection; its requests have been answered with `internal`.
pub fn connection_lost(out: &mut Vec<u8>, connection: u32, code: ErrorCode, message: &str) {
    let start = begin_frame(out, 0, tag::CONNECTION_LOST);
    put_tuple(out, 3);
    put_unsigned(out, u64::from(connection));
    put_unsigned(out, u64::from(code.number()));
    put_binary(out, cut(message).as_bytes());
    end_frame(out, start, u32::MAX);
}

/// A line of the program's log, for a client that asked for its log (`--log-to client`).
pub fn log(out: &mut Vec<u8>, severity: &str, line: &str) {
    let start = begin_frame(out, 0, tag::LOG);
    put_tuple(out, 2);
    put_binary(out, severity.as_bytes());
    put_binary(out, cut(line).as_bytes());
    end_frame(out, start, u32::MAX);
}

/// A call of a callback. Its first four fields have a fixed place, so that a client can pass it on unread.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where it runs.
    pub connection: u32,
    /// Its number, for the answer; 0: nobody waits for one.
    pub call: u32,
    /// The request that runs there.
    pub request: u32,
    /// The client's number of what is called.
    pub callback: u32,
    /// What is asked of it.
    pub kind: &'a str,
    /// Ms until nobody waits any more; 0: no limit.
    pub left_ms: u32,
}

/// Appends a call whose argument `put` writes.
pub fn call(out: &mut Vec<u8>, call: &Call<'_>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_frame(out, 0, tag::CALL);
    put_tuple(out, 7);
    for number in [call.connection, call.call, call.request, call.callback] {
        put_fixed(out, number);
    }
    put_atom(out, call.kind);
    put(out);
    put_unsigned(out, u64::from(call.left_ms));
    end_frame(out, start, u32::MAX);
}

/// Nobody waits for the answer to a call any more.
pub fn abandoned(out: &mut Vec<u8>, connection: u32, call: u32) {
    let start = begin_frame(out, 0, tag::ABANDONED);
    put_tuple(out, 2);
    put_fixed(out, connection);
    put_fixed(out, call);
    end_frame(out, start, u32::MAX);
}

/// So much of what a transaction has changed travels in one frame: a client reads that in one piece.
const PIECE_BYTES: usize = 65_000;

/// What a piece has before its bytes: the frame's head, a tuple of three, the subscription, whether it is the last, the length.
const PIECE_HEAD_BYTES: usize = 14 + 2 + 5 + 2 + 5;

/// What a transaction has changed, for one subscription. Makes frames of the External Term in `body`: pieces, of which the last one
/// says that it is, that follow each other without another frame between them. In place, from the last piece backwards, because
/// what is large would have to be moved to memory that the system has to find first.
pub fn changes(body: &mut Vec<u8>, subscription: u32) {
    let bytes = body.len();
    let pieces = bytes.div_ceil(PIECE_BYTES);
    body.resize(bytes + pieces * PIECE_HEAD_BYTES, 0);
    let mut head = Vec::with_capacity(PIECE_HEAD_BYTES);
    for piece in (0..pieces).rev() {
        let from = piece * PIECE_BYTES;
        let length = PIECE_BYTES.min(bytes - from);
        let start = from + piece * PIECE_HEAD_BYTES;
        body.copy_within(from..from + length, start + PIECE_HEAD_BYTES);
        head.clear();
        let frame = begin_frame(&mut head, 0, tag::CHANGES);
        put_tuple(&mut head, 3);
        put_fixed(&mut head, subscription);
        put_unsigned(&mut head, u64::from(piece + 1 == pieces));
        put_binary_head(&mut head, length);
        end_frame_with(&mut head, frame, length);
        body[start..start + PIECE_HEAD_BYTES].copy_from_slice(&head);
    }
}

/// Transactions of `database` that a subscription was not told of: those numbered `from` to `to`.
pub fn lagged(out: &mut Vec<u8>, subscription: u32, database: &str, from: u64, to: u64) {
    let start = begin_frame(out, 0, tag::LAGGED);
    put_tuple(out, 4);
    put_fixed(out, subscription);
    put_binary(out, database.as_bytes());
    put_unsigned(out, from);
    put_unsigned(out, to);
    end_frame(out, start, u32::MAX);
}

/// What a connection's hook has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// A transaction that may have written has committed.
    Commit,
    /// A transaction was rolled back.
    Rollback,
    /// A commit has left so many pages in the WAL.
    Wal(u32),
}

/// Word of a commit, a rollback or the WAL of `database`, by `connection`, which knows it as `schema`.
pub fn hook(out: &mut Vec<u8>, subscription: u32, database: &str, schema: &str, connection: u32, hook: Hook) {
    let (kind, pages) = match hook {
        Hook::Commit => ("commit", 0),
        Hook::Rollback => ("rollback", 0),
        Hook::Wal(pages) => ("wal", pages),
    };
    let start = begin_frame(out, 0, tag::HOOK);
    put_tuple(out, 6);
    put_fixed(out, subscription);
    put_atom(out, kind);
    put_binary(out, database.as_bytes());
    put_binary(out, schema.as_bytes());
    put_unsigned(out, u64::from(connection));
    put_unsigned(out, u64::from(pages));
    end_frame(out, start, u32::MAX);
}

/// What becomes of a wait for a lock that another program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// It begins.
    Began,
    /// The lock was free at last.
    Got,
    /// It was not, and the statement fails.
    GaveUp,
}

/// Word of such a wait of `connection`, in its request `request`, which has lasted for `waited_us`.
pub fn busy(
    out: &mut Vec<u8>,
    subscription: u32,
    database: &str,
    connection: u32,
    request: u32,
    busy: Busy,
    waited_us: u64,
) {
    let phase = match busy {
        Busy::Began => "began",
        Busy::Got => "got",
        Busy::GaveUp => "gave_up",
    };
    let start = begin_frame(out, 0, tag::BUSY);
    put_tuple(out, 6);
    put_fixed(out, subscription);
    put_atom(out, phase);
    put_binary(out, database.as_bytes());
    put_unsigned(out, u64::from(connection));
    put_unsigned(out, u64::from(request));
    put_unsigned(out, waited_us);
    end_frame(out, start, u32::MAX);
}

/// Word of request `request`, which runs on `connection` since `run_ms` and has done `steps` of the engine's instructions.
pub fn progress(
    out: &mut Vec<u8>,
    subscription: u32,
    database: &str,
    connection: u32,
    request: u32,
    run_ms: u64,
    steps: u64,
) {
    let start = begin_frame(out, 0, tag::PROGRESS);
    put_tuple(out, 6);
    put_fixed(out, subscription);
    put_binary(out, database.as_bytes());
    put_unsigned(out, u64::from(connection));
    put_unsigned(out, u64::from(request));
    put_unsigned(out, run_ms);
    put_unsigned(out, steps);
    end_frame(out, start, u32::MAX);
}

/// Word of the sync of the replica `database`: so many frames have come, of so many that its server had at its beginning and it
/// had not.
pub fn sync(out: &mut Vec<u8>, subscription: u32, database: &str, done: u64, known: u64) {
    counted(out, tag::SYNC_EVENT, subscription, database, done, known);
}

/// Word of the copy of the replica `database` into a database of its own: so many of its pages are copied.
pub fn freeze(out: &mut Vec<u8>, subscription: u32, database: &str, done: u64, known: u64) {
    counted(out, tag::FREEZE_EVENT, subscription, database, done, known);
}

fn counted(out: &mut Vec<u8>, tag: u8, subscription: u32, database: &str, done: u64, known: u64) {
    let start = begin_frame(out, 0, tag);
    put_tuple(out, 4);
    put_fixed(out, subscription);
    put_binary(out, database.as_bytes());
    put_unsigned(out, done);
    put_unsigned(out, known);
    end_frame(out, start, u32::MAX);
}

/// What becomes of requests to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker<'b> {
    /// Where it is, without a query.
    pub url: &'b str,
    /// `closed`, `open` or `half_open`.
    pub state: &'b str,
    /// Failures, one after the other.
    pub failures: u32,
    /// The last one's words, unless it is closed.
    pub reason: Option<&'b str>,
    /// For how long it has not been closed.
    pub since_ms: Option<u64>,
    /// Until the next probe; 0: one is under way.
    pub probe_ms: Option<u64>,
}

/// The breaker of a server has changed.
pub fn breaker(out: &mut Vec<u8>, breaker: &Breaker<'_>) {
    let start = begin_frame(out, 0, tag::BREAKER);
    put_tuple(out, 6);
    put_binary(out, breaker.url.as_bytes());
    put_atom(out, breaker.state);
    put_unsigned(out, u64::from(breaker.failures));
    put_optional_binary(out, breaker.reason.map(|reason| cut(reason).as_bytes()));
    for time in [breaker.since_ms, breaker.probe_ms] {
        match time {
            Some(ms) => put_unsigned(out, ms),
            None => put_nil(out),
        }
    }
    end_frame(out, start, u32::MAX);
}

/// The replica `database` is not brought up to its server any more, for this reason; `None`: it is again.
pub fn replica(out: &mut Vec<u8>, database: &str, failure: Option<(ErrorCode, &str)>) {
    let start = begin_frame(out, 0, tag::REPLICA);
    put_tuple(out, 2);
    put_binary(out, database.as_bytes());
    match failure {
        None => put_nil(out),
        Some((code, message)) => {
            put_tuple(out, 2);
            put_unsigned(out, u64::from(code.number()));
            put_binary(out, message.as_bytes());
        }
    }
    end_frame(out, start, u32::MAX);
}

/// The policy of a connection has denied something, and `left_out` more that the client is not told of one by one.
pub fn policy_denied(out: &mut Vec<u8>, connection: u32, denial: &Denial<'_>, left_out: u64) {
    let start = begin_frame(out, 0, tag::POLICY_DENIED);
    put_tuple(out, 3);
    put_unsigned(out, u64::from(connection));
    let cut = Denial {
        object: denial.object.map(cut),
        column: denial.column.map(cut),
        database: denial.database.map(cut),
        through: denial.through.map(cut),
        ..*denial
    };
    put_denial(out, &cut);
    put_unsigned(out, left_out);
    end_frame(out, start, u32::MAX);
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut out = Vec::new();
        connection_lost(&mut out, 7, ErrorCode::Internal, &"é".repeat(2000));
        assert!(out.len() < 1100);
        assert_eq!(cut(&format!("x{}", "é".repeat(2000))).len(), 1023);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn pieces_are_the_frames_that_a_copy_of_them_would_be() {
        for bytes in [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 7]
        {
            let body: Vec<u8> = (0..bytes).map(|at| at.to_le_bytes()[at % 3]).collect();
            let mut copied = Vec::new();
            let mut pieces = body.chunks(PIECE_BYTES).peekable();
            while let Some(piece) = pieces.next() {
                let start = begin_frame(&mut copied, 0, tag::CHANGES);
                put_tuple(&mut copied, 3);
                put_fixed(&mut copied, 300);
                put_unsigned(&mut copied, u64::from(pieces.peek().is_none()));
                put_binary(&mut copied, piece);
                end_frame(&mut copied, start, u32::MAX);
            }
            let mut in_place = body;
            changes(&mut in_place, 300);
            assert!(in_place == copied, "{bytes} bytes");
        }
    }
}
