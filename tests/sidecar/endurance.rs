//! Many connections, many queries, and nothing that grows.

use crate::list;
use crate::support::*;
use crate::term::*;

fn entries(pid: i32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

/// Descriptors, threads, resident bytes.
fn footprint(sidecar: &Sidecar) -> (usize, usize, i64) {
    let rss = sidecar.status().get("rss_bytes").int();
    (entries(sidecar.pid, "fd"), entries(sidecar.pid, "task"), rss)
}

#[test]
fn two_hundred_connections_at_once() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    sidecar.open(&path).exec("CREATE TABLE t(a)");
    let conns: Vec<_> = (0..200).map(|_| sidecar.open(&path)).collect();
    let ids: Vec<_> = conns
        .iter()
        .zip(0i64..)
        .map(|(conn, number)| conn.send(tag::EXECUTE, ["INSERT INTO t VALUES (?)".into(), list![number]]))
        .collect();
    for (conn, id) in conns.iter().zip(ids) {
        assert_eq!(conn.outcome(id).unwrap().changes, 1);
    }
    assert_eq!(conns[199].value("SELECT count(DISTINCT a) FROM t"), 200.into());
    let status = sidecar.status();
    assert_eq!(status.get("connections").int(), 201);
    assert!(status.get("threads").int() >= 202);
    for conn in &conns {
        conn.close();
    }
    assert_eq!(sidecar.status().get("connections").int(), 1);
}

#[test]
fn ten_thousand_queries_leave_nothing_behind() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    let round = |number: i64| {
        let params = list![number % 100, "some text"];
        conn.query("INSERT OR REPLACE INTO t VALUES (?, ?)", params).unwrap();
        conn.query("SELECT a FROM t WHERE id = ?", list![number % 100]).unwrap();
        // Never the same text twice, and an error.
        conn.query(&format!("SELECT {number}"), list![]).unwrap();
        conn.query("SELECT nothing", list![]).unwrap_err();
    };
    (0..500).for_each(round);
    let (fds, threads, rss) = footprint(&sidecar);
    (500..2_500).for_each(round);
    let after = footprint(&sidecar);
    assert!(after.0 <= fds + 2 && after.1 <= threads + 2, "{after:?} after {:?}", (fds, threads));
    assert!(after.2 < rss + (8 << 20), "resident: {rss}, then {}", after.2);
    let status = conn.status();
    assert_eq!((status.get("statements").int(), status.get("cursors").int()), (0, 0));
    assert!(status.get("requests").int() >= 10_000);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let round = |_| {
        let conn = sidecar.open(&path);
        conn.exec("CREATE TABLE IF NOT EXISTS t(a)");
        conn.exec("INSERT INTO t VALUES (1)");
        conn.call(tag::PREPARE, ["SELECT * FROM t".into()]).unwrap();
        conn.call(tag::DECLARE, ["SELECT * FROM t".into(), list![]]).unwrap();
        conn.close();
        assert!(sidecar.open_with("/no/such/folder/a.db", Term::Map(Vec::new())).is_err());
    };
    (0..50).for_each(round);
    let (fds, threads, rss) = footprint(&sidecar);
    (0..200).for_each(round);
    eventually("threads end", || footprint(&sidecar).1 <= threads + 2);
    let after = footprint(&sidecar);
    assert!(after.0 <= fds + 2, "{} descriptors, then {}", fds, after.0);
    // A failed open leaks about 1.3 KB in the engine's crate.
    assert!(after.2 < rss + (8 << 20), "resident: {rss}, then {}", after.2);
    let status = sidecar.status();
    for key in ["connections", "statements", "cursors", "queued_requests"] {
        assert_eq!(status.get(key).int(), 0, "{key}");
    }
    assert_eq!(status.get("files"), &list![]);
}

#[test]
fn a_long_stream_takes_no_memory() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let before = footprint(&sidecar).2;
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) SELECT i, zeroblob(1000) FROM n";
    let id = conn.start(sql);
    let mut bytes = 0;
    loop {
        let frame = sidecar.receive(id);
        bytes += frame.body_bytes;
        if frame.tag == tag::RESULT {
            break;
        }
        conn.credit(id, 1);
    }
    assert!(bytes > 40_000_000);
    let after = footprint(&sidecar).2;
    assert!(after < before + (8 << 20), "resident: {before}, then {after}");
}

#[test]
fn status_counts_what_goes_in_and_out() {
    let sidecar = Sidecar::start();
    let before = sidecar.status();
    assert_eq!(before.get("os_pid").int(), i64::from(sidecar.pid));
    sidecar.call(tag::PING, &"x".repeat(100_000).as_str().into()).unwrap();
    let after = sidecar.status();
    let grown = |key: &str| after.get(key).int() - before.get(key).int();
    assert_eq!(grown("requests"), 2);
    assert!(grown("bytes_in") > 100_000 && grown("bytes_out") > 100_000, "{before:?} {after:?}");
    assert!(grown("uptime_ms") >= 0);
    assert!(after.get("memory_bytes").int() >= 0);
}
