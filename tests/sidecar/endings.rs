//! How the program ends: at the end of input, whatever it is doing, within 2 s (here with the patience that a loaded
//! machine needs), with everything rolled back that was not acknowledged.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::io::Write;
use std::time::Duration;

/// The promise is 2 s; a machine that runs other things as well gets a little more.
const GONE: Duration = Duration::from_secs(4);

#[track_caller]
fn ends(sidecar: &Sidecar) {
    sidecar.close_stdin();
    let (status, stderr) = sidecar.wait(GONE);
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[test]
fn in_the_middle_of_a_query() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conns: Vec<_> = (0..4).map(|_| sidecar.open(&path)).collect();
    conns[0].exec("CREATE TABLE t(a)");
    for conn in &conns[1..3] {
        conn.start(ENDLESS);
    }
    conns[3].start(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n",
    );
    let file = || sidecar.status().get("files").items()[0].clone();
    eventually("the third one writes", || file().get("writer") == &conns[3].id.into());
    // Queued behind it, and waiting for the turn.
    conns[3].start("SELECT 1");
    conns[0].start("INSERT INTO t VALUES (1)");
    eventually("all of it runs", || {
        sidecar.status().get("files").items()[0].get("waiting").int() == 1
            && sidecar.status().get("queued_requests").int() == 1
    });
    ends(&sidecar);
    let after = Sidecar::start();
    assert_eq!(after.open(&path).value("SELECT count(*) FROM t"), 0.into());
}

#[test]
fn in_the_middle_of_a_transaction() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES ('kept')");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES ('lost')");
    ends(&sidecar);
    let after = Sidecar::start();
    let conn = after.open(&path);
    assert_eq!(conn.exec("SELECT a FROM t").rows, [[Term::from("kept")]]);
    conn.exec("INSERT INTO t VALUES (1)");
}

#[test]
fn with_a_standard_output_that_nobody_reads() {
    let mut process = Process::start(&[]);
    let mut frames = FrameReader::new(process.stdout.take().unwrap());
    frames.next().unwrap().unwrap();
    // More replies than the pipe holds, and nobody reads them.
    let ping = frame(300, tag::PING, &"x".repeat(30_000).as_str().into());
    let mut stdin = process.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..20 {
            if stdin.write_all(&ping).is_err() {
                break;
            }
        }
    });
    writer.join().unwrap();
    assert_eq!(process.wait(GONE).code(), Some(0));
    drop(frames);
}

#[test]
fn with_a_stream_that_nobody_reads() {
    let (_folder, path) = folder();
    let mut process = Process::start(&[]);
    let mut frames = FrameReader::new(process.stdout.take().unwrap());
    frames.next().unwrap().unwrap();
    let open = crate::tuple![0, path.to_str().unwrap(), Term::Map(Vec::new())];
    process.write(&frame(300, tag::OPEN, &open));
    let id = frames.next().unwrap().unwrap().payload.items()[0].int();
    let options = map([("credits", 1_000_000)]);
    process.write(&frame(301, tag::EXECUTE, &crate::tuple![id, 0, numbers(5_000_000), list![], options]));
    // The first chunk is read, so it runs; the pipe is full soon after.
    assert_eq!(frames.next().unwrap().unwrap().tag, tag::ROWS);
    drop(process.stdin.take());
    assert_eq!(process.wait(GONE).code(), Some(0));
    drop(frames);
}

#[test]
fn with_fifty_connections() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conns: Vec<_> = (0..50).map(|_| sidecar.open(&path)).collect();
    conns[0].exec("CREATE TABLE t(a)");
    conns[0].exec("INSERT INTO t VALUES (1)");
    for conn in &conns[..10] {
        conn.start(ENDLESS);
    }
    conns[20].begin("immediate").unwrap();
    for conn in &conns[30..40] {
        conn.start("INSERT INTO t VALUES (2)");
    }
    ends(&sidecar);
    assert_eq!(Sidecar::start().open(&path).value("SELECT count(*) FROM t"), 1.into());
}

#[test]
fn with_requests_that_have_just_been_sent() {
    let (_folder, path) = folder();
    for _ in 0..5 {
        let sidecar = Sidecar::start();
        let conn = sidecar.open(&path);
        conn.exec("CREATE TABLE IF NOT EXISTS t(a)");
        for number in 0..50 {
            conn.send(tag::EXECUTE, ["INSERT INTO t VALUES (?)".into(), list![number]]);
        }
        ends(&sidecar);
    }
    assert_eq!(Sidecar::start().open(&path).value("PRAGMA integrity_check"), "ok".into());
}

#[test]
fn signals_do_not_end_it() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let id = conn.start(&format!("SELECT sum(i) FROM ({})", numbers(500_000)));
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        sidecar.signal(signal);
    }
    assert_eq!(conn.outcome(id).unwrap().value(), &125_000_250_000i64.into());
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        sidecar.signal(signal);
        assert_eq!(sidecar.call(tag::PING, &1.into()).unwrap(), 1.into());
    }
    ends(&sidecar);
}

#[test]
fn a_closed_connection_answers_what_it_had() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let running = conn.start(ENDLESS);
    let queued: Vec<_> = (0..3).map(|_| conn.start("SELECT 1")).collect();
    conn.close();
    for id in queued.into_iter().chain([running]) {
        assert_eq!(conn.outcome(id).unwrap_err().code, "connection_closed");
    }
    other.exec("INSERT INTO t VALUES (2)");
    assert_eq!(other.value("SELECT count(*) FROM t"), 1.into());
    assert_eq!(sidecar.status().get("connections").int(), 1);
}

#[test]
fn a_close_that_takes_longer_than_its_time_is_answered_and_goes_on() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    // Ends with one SQL function that never looks at the clock; the chunk before it tells that it runs.
    let rows = "SELECT randomblob(70000) UNION ALL SELECT randomblob(70000)";
    let sql = format!("{rows} UNION ALL SELECT length(quote(zeroblob(120000000)))");
    let slow = conn.send(tag::EXECUTE, [sql.as_str().into(), list![]]);
    assert_eq!(sidecar.receive(slow).tag, tag::ROWS);
    match conn.within(20).call(tag::CLOSE, []) {
        Err(failure) => {
            assert_eq!(failure.code, "timeout", "{failure:?}");
            assert!(failure.message.contains("goes on closing"), "{failure:?}");
        }
        Ok(_) => panic!("the statement ended within the time of the close"),
    }
    assert_eq!(conn.query("SELECT 1", list![]).unwrap_err().code, "unknown_connection");
    eventually("it is closed", || sidecar.status().get("connections").int() == 0);
}

#[test]
fn the_end_writes_the_log_of_a_killed_program_back() {
    let (_folder, path) = folder();
    let killed = Sidecar::start();
    let conn = killed.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1)");
    killed.signal(libc::SIGKILL);
    killed.wait(BOUND);
    let log = std::path::PathBuf::from(format!("{}-wal", path.display()));
    assert!(log.metadata().unwrap().len() > 0, "the log holds the rows");
    let reader = Sidecar::start();
    assert_eq!(reader.open(&path).value("SELECT count(*) FROM t"), 1.into());
    reader.end();
    assert!(log.metadata().map_or(true, |log| log.len() == 0));
}

#[test]
fn a_connection_that_opens_while_others_close_leaves_no_log() {
    for _ in 0..30 {
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let conn = sidecar.open(&path);
        conn.exec("CREATE TABLE t(a)");
        let opening = tuple![10_000, path.to_str().unwrap(), Term::Map(Vec::new())];
        for _ in 0..4 {
            sidecar.send(tag::OPEN, &opening);
        }
        let err = sidecar.end();
        let log = std::path::PathBuf::from(format!("{}-wal", path.display()));
        assert!(log.metadata().map_or(true, |log| log.len() == 0), "{err}");
    }
}
