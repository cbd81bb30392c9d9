//! Every limit of the command line holds, with an error that names it.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::time::{Duration, Instant};

#[track_caller]
fn assert_limit(failure: Failure, code: &str, name: &str) {
    assert_eq!(failure.code, code, "{failure:?}");
    assert!(failure.message.contains(name), "{}", failure.message);
}

#[test]
fn connections_max() {
    let sidecar = Sidecar::start_with(&["--connections-max=3"]);
    let conns: Vec<_> = (0..3).map(|_| sidecar.open(":memory:")).collect();
    let refused = sidecar.open_with(":memory:", Term::Map(Vec::new())).map(|conn| conn.id).unwrap_err();
    assert_limit(refused, "limit_exceeded", "connections_max");
    conns[0].close();
    sidecar.open(":memory:");
}

#[test]
fn queue_requests_max() {
    let sidecar = Sidecar::start_with(&["--queue-requests-max=2"]);
    let conn = sidecar.open(":memory:");
    let running = conn.start(ENDLESS);
    eventually("it runs", || sidecar.status().get("queued_requests").int() == 0);
    let queued = [conn.start("SELECT 1"), conn.start("SELECT 1")];
    let refused = conn.query("SELECT 1", list![]).unwrap_err();
    assert_limit(refused, "limit_exceeded", "queue_requests_max");
    assert_eq!(sidecar.status().get("queued_requests").int(), 2);
    assert_eq!(conn.cancel(running), true.into());
    for id in queued {
        conn.outcome(id).unwrap();
    }
    assert_eq!(conn.outcome(running).unwrap_err().code, "cancelled");
}

#[test]
fn statements_max() {
    let sidecar = Sidecar::start_with(&["--statements-max=2"]);
    let conn = sidecar.open(":memory:");
    let prepare = || conn.call(tag::PREPARE, ["SELECT 1".into()]);
    let first = prepare().unwrap().items()[0].clone();
    prepare().unwrap();
    assert_limit(prepare().unwrap_err(), "limit_exceeded", "statements_max");
    conn.call(tag::CLOSE_STATEMENT, [first]).unwrap();
    prepare().unwrap();
}

/// Statements that take some 100 KB each: the engine's program for a SELECT of so many columns.
fn wide(number: usize) -> String {
    format!("SELECT {number}{}", ", hex(x'00')".repeat(200))
}

#[test]
fn statement_bytes_max_of_prepared_statements() {
    let sidecar = Sidecar::start_with(&["--statement-bytes-max=500000"]);
    let conn = sidecar.open(":memory:");
    let prepare = |number| conn.call(tag::PREPARE, [wide(number).as_str().into()]);
    let mut ids = Vec::new();
    let refused = loop {
        match prepare(ids.len()) {
            Ok(prepared) => ids.push(prepared.items()[0].clone()),
            Err(failure) => break failure,
        }
    };
    assert!(!ids.is_empty() && ids.len() <= 5, "{}", ids.len());
    assert_limit(refused, "limit_exceeded", "statement_bytes_max is 500000");
    conn.call(tag::CLOSE_STATEMENT, [ids[0].clone()]).unwrap();
    prepare(100).unwrap();
    conn.call(tag::RESET, []).unwrap();
    for number in 0..ids.len() {
        prepare(number).expect("reset has closed all");
    }
}

#[test]
fn the_text_of_a_prepared_statement_counts_beside_what_the_engine_keeps() {
    let text = format!("SELECT 1 AS a /*{}*/", "x".repeat(100_000));
    let prepared = |limit: i64| {
        let sidecar = Sidecar::start_with(&[&format!("--statement-bytes-max={limit}")]);
        let conn = sidecar.open(":memory:");
        let outcome = conn.call(tag::PREPARE, [text.as_str().into()]);
        (outcome, conn.status().get("memory").get("statement_bytes").int())
    };
    let (unlimited, engine_bytes) = prepared(0);
    unlimited.unwrap();
    let (refused, _) = prepared(engine_bytes + 50_000);
    assert_limit(refused.unwrap_err(), "limit_exceeded", "statement_bytes_max is ");
    let (enough, _) = prepared(engine_bytes + 150_000);
    enough.unwrap();
}

#[test]
fn statement_bytes_max_of_the_cache() {
    let sidecar = Sidecar::start_with(&["--statement-bytes-max=500000"]);
    let conn = sidecar.open(":memory:");
    let used = |name| conn.status().get(name).int();
    let bytes = || conn.status().get("memory").get("statement_bytes").int();
    for number in 0..50 {
        conn.exec(&wide(number));
        assert!(bytes() < 1_000_000, "those that leave are finalized");
    }
    let kept = used("cache_used");
    assert!((1..=5).contains(&kept), "{kept}");
    let hits = used("cache_hits");
    conn.exec(&wide(49));
    assert_eq!(used("cache_hits"), hits + 1);
    // One alone is too large: it runs, and the others stay.
    let sidecar = Sidecar::start_with(&["--statement-bytes-max=20000"]);
    let conn = sidecar.open(":memory:");
    conn.exec("SELECT 1");
    conn.exec(&wide(1));
    assert_eq!(conn.status().get("cache_used").int(), 1);
}

#[test]
fn cursors_max() {
    let sidecar = Sidecar::start_with(&["--cursors-max=2"]);
    let conn = sidecar.open(":memory:");
    let declare = || conn.call(tag::DECLARE, ["SELECT 1".into(), list![]]);
    let first = declare().unwrap().items()[0].clone();
    declare().unwrap();
    assert_limit(declare().unwrap_err(), "limit_exceeded", "cursors_max");
    conn.call(tag::CLOSE_CURSOR, [first]).unwrap();
    declare().unwrap();
}

#[test]
fn result_rows_max_and_result_bytes_max() {
    let sidecar = Sidecar::start_with(&["--result-rows-max=100", "--result-bytes-max=5000"]);
    let conn = sidecar.open(":memory:");
    assert_eq!(conn.exec(&numbers(100)).num_rows, 100);
    assert_limit(conn.query(&numbers(101), list![]).unwrap_err(), "result_too_large", "100 rows");
    assert_limit(conn.query("SELECT zeroblob(6000)", list![]).unwrap_err(), "result_too_large", "5000 bytes");
    // The request's own wish counts more, and 0 lifts the limit.
    let options = map([("rows_max", 0), ("bytes_max", 0)]);
    assert_eq!(conn.query_with(&numbers(5000), list![], options).unwrap().num_rows, 5000);
}

#[test]
fn queue_bytes_max() {
    let sidecar = Sidecar::start_with(&["--queue-bytes-max=1000000"]);
    let (one, two) = (sidecar.open(":memory:"), sidecar.open(":memory:"));
    let large = "x".repeat(400_000);
    let length =
        |conn: &Conn<'_>| conn.send(tag::EXECUTE, ["SELECT length(?)".into(), list![large.as_str()]]);
    let endless = [one.start(ENDLESS), two.start(ENDLESS)];
    let waiting = [length(&one), length(&two)];
    // It counts on all connections together.
    for conn in [&one, &two] {
        let refused = length(conn);
        assert_limit(conn.outcome(refused).unwrap_err(), "limit_exceeded", "queue_bytes_max");
    }
    for (conn, endless) in [&one, &two].into_iter().zip(endless) {
        conn.cancel(endless);
        conn.outcome(endless).unwrap_err();
    }
    for (conn, waiting) in [&one, &two].into_iter().zip(waiting) {
        assert_eq!(conn.outcome(waiting).unwrap().value().int(), 400_000);
    }
}

#[test]
fn frame_bytes_max() {
    let sidecar = Sidecar::start_with(&["--frame-bytes-max=70000"]);
    assert!(sidecar.call(tag::PING, &"x".repeat(60_000).as_str().into()).is_ok());
    let refused = sidecar.call(tag::PING, &"x".repeat(70_000).as_str().into()).unwrap_err();
    assert_limit(refused, "frame_too_large", "frame_bytes_max");
}

#[test]
fn shutdown_grace_ms() {
    let sidecar = Sidecar::start_with(&["--shutdown-grace-ms=100"]);
    let conn = sidecar.open(":memory:");
    conn.start(ENDLESS);
    let started = Instant::now();
    sidecar.end();
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn spin_us_max() {
    for window in ["0", "10000"] {
        let sidecar = Sidecar::start_with(&["--spin-us-max", window]);
        let conn = sidecar.open(":memory:");
        conn.exec("CREATE TABLE t(a)");
        for number in 1..=200 {
            assert_eq!(conn.query("INSERT INTO t VALUES (?)", list![number]).unwrap().changes, 1);
            assert_eq!(conn.value("SELECT count(*) FROM t").int(), number);
        }
        // A cancellation is seen whether or not somebody looks for requests.
        let endless = conn.start(ENDLESS);
        conn.cancel(endless);
        assert_eq!(conn.outcome(endless).unwrap_err().code, "cancelled");
    }
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_libsql_port"))
        .arg("--spin-us-max=10001")
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("10001"));
}
