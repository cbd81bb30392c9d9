//! What a statement leaves on its server: no stream, however it ends. A server has room for some hundred of them.

use super::mock::{usual, Asked, Mock, Says};
use super::{open, open_with};
use crate::list;
use crate::sqld::Sqld;
use crate::support::{eventually, numbers, rows_of, tag, Conn, Failure, Sidecar};
use crate::term::Term;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Lines of a cursor's answer: its head, two rows, and what follows.
fn lines(baton: &str, rest: &str) -> String {
    format!(
        "{{\"baton\":\"{baton}\",\"base_url\":null}}\n{{\"type\":\"step_begin\",\"step\":0,\"cols\":[{{\"name\":\"a\"}}]}}\n\
         {{\"type\":\"row\",\"row\":[{{\"type\":\"integer\",\"value\":\"1\"}}]}}\n\
         {{\"type\":\"row\",\"row\":[{{\"type\":\"integer\",\"value\":\"2\"}}]}}\n{rest}"
    )
}

/// An answer of so many bytes, of which these come.
fn answer(length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The streams that a server has, by the batons that lead to them.
type Streams = Arc<Mutex<HashSet<String>>>;

/// A server that knows its streams. What a cursor does, its statement says.
fn server() -> (Mock, Streams) {
    let streams = Streams::default();
    let known = Arc::clone(&streams);
    let mut number = 0;
    let mock = Mock::start(move |asked: &Asked| {
        let mut streams = known.lock().unwrap();
        if let Some(baton) = asked.body["baton"].as_str() {
            assert!(streams.remove(baton), "a baton is good once");
        }
        number += 1;
        let baton = format!("b{number}");
        if asked.path == "/v3/cursor" {
            streams.insert(baton.clone());
            let end = lines(&baton, "{\"type\":\"step_end\",\"affected_row_count\":0}\n");
            let failed = lines(&baton, "{\"type\":\"step_error\",\"step\":0,\"error\":{\"message\":\"m\",\"code\":\"SQLITE_ERROR\"}}\n");
            return match asked.body["batch"]["steps"][0]["stmt"]["sql"].as_str().unwrap() {
                "SELECT 'ends'" => Says::Raw(answer(end.len(), &end)),
                "SELECT 'fails'" => Says::Raw(answer(failed.len(), &failed)),
                "SELECT 'hangs'" => Says::Raw(answer(9999, &lines(&baton, ""))),
                "SELECT 'breaks'" => Says::Cut(answer(9999, &lines(&baton, ""))),
                other => panic!("{other}"),
            };
        }
        if asked.kinds().iter().any(|kind| kind == "close") {
            return usual(asked, true, None);
        }
        streams.insert(baton.clone());
        usual(asked, true, Some(&baton))
    });
    (mock, streams)
}

fn declare(conn: &Conn<'_>, sql: &str) -> Term {
    conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap().items()[0].clone()
}

fn fetch(conn: &Conn<'_>, cursor: &Term, rows: u32) -> Result<usize, Failure> {
    let frame = conn.sidecar.receive(conn.send(tag::FETCH, [cursor.clone(), rows.into(), 0.into()]));
    match frame.tag {
        tag::ERROR => Err(Failure::of(&frame.payload)),
        _ => Ok(rows_of(&frame.payload).len()),
    }
}

#[test]
fn a_cursor_leaves_no_stream_whatever_ends_it() {
    for idle_ms in [0, 2000] {
        let (mock, streams) = server();
        let sidecar = Sidecar::start();
        let conn = open_with(&sidecar, &mock.url(), &[("stream_idle_ms", idle_ms.into())]).unwrap();
        let none_is_left = |what: &str| eventually(what, || streams.lock().unwrap().is_empty());
        for _ in 0..3 {
            assert_eq!(fetch(&conn, &declare(&conn, "SELECT 'ends'"), 0), Ok(2));
            assert!(streams.lock().unwrap().len() <= 2, "one that is kept, and one that is about to go");
        }
        none_is_left("its last row");
        let hanging = declare(&conn, "SELECT 'hangs'");
        assert_eq!(fetch(&conn, &hanging, 1), Ok(1));
        conn.call(tag::CLOSE_CURSOR, [hanging]).unwrap();
        none_is_left("its close");
        let failing = declare(&conn, "SELECT 'fails'");
        assert_eq!(fetch(&conn, &failing, 0).unwrap_err().code, "sql_error");
        none_is_left("its failure");
        let late = declare(&conn, "SELECT 'hangs'");
        assert_eq!(fetch(&conn.within(100), &late, 0).unwrap_err().code, "timeout");
        none_is_left("its deadline");
        let cancelled = declare(&conn, "SELECT 'hangs'");
        assert_eq!(fetch(&conn, &cancelled, 1), Ok(1));
        let waiting = conn.send(tag::FETCH, [cancelled.clone(), 0.into(), 0.into()]);
        eventually("it waits or runs", || conn.cancel(waiting) == true.into());
        assert_eq!(Failure::of(&sidecar.receive(waiting).payload).code, "cancelled");
        // One that was cancelled before its turn has left the cursor as it was.
        conn.call(tag::CLOSE_CURSOR, [cancelled]).unwrap();
        none_is_left("its cancellation");
        let broken = declare(&conn, "SELECT 'breaks'");
        assert_eq!(fetch(&conn, &broken, 0).unwrap_err().code, "remote_unavailable");
        none_is_left("its socket");
        let reset = declare(&conn, "SELECT 'hangs'");
        assert_eq!(fetch(&conn, &reset, 1), Ok(1));
        conn.call(tag::RESET, []).unwrap();
        none_is_left("a reset");
        let open = declare(&conn, "SELECT 'hangs'");
        assert_eq!(fetch(&conn, &open, 1), Ok(1));
        conn.close();
        none_is_left("the end of its connection");
    }
}

#[test]
fn hundreds_of_cursors_do_not_starve_a_server() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    for n in 0..200 {
        assert_eq!(fetch(&conn, &declare(&conn, &numbers(3)), 0), Ok(3), "{n} read to their ends");
        let left = declare(&conn, &numbers(1_000_000));
        assert_eq!(fetch(&conn, &left, 1), Ok(1), "{n} left in the middle");
        conn.call(tag::CLOSE_CURSOR, [left]).unwrap();
    }
    assert_eq!(conn.value("SELECT 1"), 1.into());
}

#[test]
fn a_cursor_begins_no_transaction() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    for sql in ["BEGIN", "SAVEPOINT a"] {
        let cursor = declare(&conn, sql);
        assert_eq!(fetch(&conn, &cursor, 0).unwrap_err().code, "unsupported", "{sql}");
        assert_eq!(conn.exec("SELECT 1").tx_status, 0);
    }
}
