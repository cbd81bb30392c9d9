//! Cursors over the network: rows come as they are fetched, and a transaction goes on beside them.

use super::open;
use crate::list;
use crate::sqld::Sqld;
use crate::support::{numbers, rows_of, tag, Conn, Failure, Sidecar};
use crate::term::{nil, Term};

#[track_caller]
fn declare(conn: &Conn<'_>, sql: &str) -> Result<(Term, Term), Failure> {
    let declared = conn.call(tag::DECLARE, [sql.into(), list![]])?;
    Ok((declared.items()[0].clone(), declared.items()[1].clone()))
}

/// A chunk, and whether it was the last one.
#[track_caller]
fn fetch(conn: &Conn<'_>, cursor: &Term, rows: u32) -> Result<(Vec<Vec<Term>>, bool), Failure> {
    let id = conn.send(tag::FETCH, [cursor.clone(), rows.into(), 0.into()]);
    let frame = conn.sidecar.receive(id);
    match frame.tag {
        tag::MORE_ROWS => Ok((rows_of(&frame.payload), false)),
        tag::LAST_ROWS => Ok((rows_of(&frame.payload), true)),
        tag::ERROR => Err(Failure::of(&frame.payload)),
        other => panic!("tag {other}"),
    }
}

#[track_caller]
fn fetch_all(conn: &Conn<'_>, cursor: &Term, rows: u32) -> Vec<Vec<Term>> {
    let mut all = Vec::new();
    loop {
        let (chunk, last) = fetch(conn, cursor, rows).unwrap();
        all.extend(chunk);
        if last {
            return all;
        }
    }
}

fn up_to(last: u32) -> Vec<Vec<Term>> {
    (1..=last).map(|n| vec![n.into()]).collect()
}

#[test]
fn rows_come_in_chunks_and_other_statements_run_beside() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    let (cursor, columns) = declare(&conn, &numbers(10_000)).unwrap();
    assert_eq!(columns, list!["i"]);
    assert_eq!(fetch(&conn, &cursor, 3).unwrap(), (up_to(3), false));
    assert_eq!(conn.value("SELECT 1"), 1.into());
    assert_eq!(fetch_all(&conn, &cursor, 0).len(), 9_997);
    assert_eq!(fetch(&conn, &cursor, 1).unwrap_err().code, "unknown_cursor");
    let (cursor, _) = declare(&conn, &numbers(3)).unwrap();
    assert_eq!(fetch(&conn, &cursor, 3).unwrap(), (up_to(3), false));
    assert_eq!(fetch(&conn, &cursor, 3).unwrap(), (vec![], true));
    let (cursor, _) = declare(&conn, &numbers(100_000_000)).unwrap();
    assert_eq!(fetch(&conn, &cursor, 2).unwrap(), (up_to(2), false));
    assert_eq!(conn.call(tag::CLOSE_CURSOR, [cursor]), Ok(nil()));
    assert_eq!(declare(&conn, "SELEC").unwrap_err().code, "sql_error");
    assert_eq!(conn.status().get("cursors").int(), 0);
}

#[test]
fn a_cursor_of_a_transaction_is_read_ahead_before_the_stream_is_used() {
    // What is longer than one answer comes by a cursor of the server's.
    let Some(server) = Sqld::start_with(&["--max-response-size", "100KB"]) else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.script(&format!("CREATE TABLE t(a); INSERT INTO t {}", numbers(10_000))).unwrap();
    conn.begin("immediate").unwrap();
    let (cursor, _) = declare(&conn, "SELECT a FROM t ORDER BY a").unwrap();
    assert_eq!(fetch(&conn, &cursor, 2).unwrap(), (up_to(2), false));
    assert_eq!(conn.exec("DELETE FROM t").changes, 10_000);
    assert_eq!(fetch_all(&conn, &cursor, 0).len(), 9_998);
    let (cursor, _) = declare(&conn, "INSERT INTO t VALUES (7), (8) RETURNING a").unwrap();
    assert_eq!(fetch(&conn, &cursor, 1).unwrap(), (vec![vec![7.into()]], false));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(fetch(&conn, &cursor, 9).unwrap(), (vec![vec![8.into()]], true));
    let failure = declare(&conn, "INSERT INTO t VALUES (9) RETURNING a").unwrap_err();
    assert_eq!(failure.code, "unsupported", "outside of a transaction it would commit by itself");
    // A rollback ends those that were begun in it.
    conn.begin("deferred").unwrap();
    let (cursor, _) = declare(&conn, "SELECT a FROM t").unwrap();
    fetch(&conn, &cursor, 1).unwrap();
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(fetch(&conn, &cursor, 1).unwrap_err().code, "unknown_cursor");
}

#[test]
fn an_abandoned_cursor_leaves_its_transaction_alone() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let (cursor, _) = declare(&conn, &numbers(100_000_000)).unwrap();
    fetch(&conn, &cursor, 10).unwrap();
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    conn.exec("INSERT INTO t VALUES (2)");
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
}

#[test]
fn the_server_waits_while_nobody_fetches() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    // Far more than any buffer on the way.
    let (cursor, _) =
        declare(&conn, &format!("SELECT i, zeroblob(10000) FROM ({})", numbers(1_000_000))).unwrap();
    fetch(&conn, &cursor, 1).unwrap();
    let rss = || sidecar.status().get("rss_bytes").int();
    let before = rss();
    for _ in 0..20 {
        assert_eq!(conn.value("SELECT 1"), 1.into());
    }
    assert!(rss() - before < 64 << 20, "{before} bytes before, {} after", rss());
    assert_eq!(fetch(&conn, &cursor, 5).unwrap().0[4][0], 6.into());
}
