//! Requests to a program that may be killed, or refuse, at any moment. A program that does not answer at all fails the
//! round.

use crate::support::{frame, rows_of, tag, Conn, Failure, Sidecar};
use crate::term::Term;
use std::path::Path;

/// How a request ended.
#[derive(Debug)]
pub enum Answer {
    /// Rows of a statement; one row with the payload for any other request.
    Done(Vec<Vec<Term>>),
    /// With the error, for the report of a round that fails.
    Refused(#[allow(dead_code)] Failure),
    /// The program ended first: whether the request was carried out is unknown.
    Gone,
}

impl Answer {
    pub fn done(&self) -> bool {
        matches!(self, Answer::Done(_))
    }

    /// Rows of a request that has no reason to fail.
    #[track_caller]
    pub fn rows(self) -> Vec<Vec<Term>> {
        match self {
            Answer::Done(rows) => rows,
            other => panic!("{other:?}"),
        }
    }
}

/// Sends a request and reads up to its closing reply.
pub fn call(sidecar: &Sidecar, tag: u8, payload: &Term) -> Answer {
    let id = sidecar.new_id();
    if !sidecar.try_send(&frame(id, tag, payload)) {
        return Answer::Gone;
    }
    answer(sidecar, id, payload)
}

/// The closing reply to `id`, whose request had this payload; its connection is given credit for all rows.
pub fn answer(sidecar: &Sidecar, id: u32, payload: &Term) -> Answer {
    let mut rows = Vec::new();
    loop {
        let Some(frame) = sidecar.receive_or_end(id) else { return Answer::Gone };
        match frame.tag {
            tag::ROWS => {
                rows.extend(rows_of(&frame.payload));
                let credit = crate::tuple![payload.items()[0].clone(), 1];
                sidecar.try_send(&crate::support::frame(id, tag::CREDIT, &credit));
            }
            tag::RESULT => {
                rows.extend(rows_of(&frame.payload.items()[0]));
                return Answer::Done(rows);
            }
            tag::ERROR => return Answer::Refused(Failure::of(&frame.payload)),
            _ => return Answer::Done(vec![vec![frame.payload]]),
        }
    }
}

/// Opens a database with these options.
pub fn open<'s>(sidecar: &'s Sidecar, path: &Path, options: Term) -> Result<Conn<'s>, Answer> {
    open_within(sidecar, path, options, 10_000)
}

/// The same with a time limit.
pub fn open_within<'s>(
    sidecar: &'s Sidecar,
    path: &Path,
    options: Term,
    timeout_ms: u32,
) -> Result<Conn<'s>, Answer> {
    let path = path.to_str().unwrap();
    match call(sidecar, tag::OPEN, &crate::tuple![timeout_ms, path, options]) {
        Answer::Done(rows) => {
            let opened = rows[0][0].items();
            Ok(Conn {
                sidecar,
                id: opened[0].int(),
                info: opened[1].clone(),
                timeout_ms: 10_000,
                lock_timeout_ms: None,
            })
        }
        other => Err(other),
    }
}

/// Runs a statement.
pub fn run(conn: &Conn, sql: &str, params: Term) -> Answer {
    request(conn, tag::EXECUTE, [sql.into(), params])
}

/// Any request to a connection.
pub fn request(conn: &Conn, tag: u8, rest: impl IntoIterator<Item = Term>) -> Answer {
    call(conn.sidecar(), tag, &conn.payload(rest))
}
