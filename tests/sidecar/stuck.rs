//! Requests that nothing can stop: the engine looks at the clock between the steps of a statement, not within a function.

use crate::list;
use crate::support::*;
use crate::term::*;

/// A full-text table, which takes minutes to read a query of so many words: the time grows with their square.
fn with_words(conn: &Conn<'_>) {
    conn.exec("CREATE VIRTUAL TABLE f USING fts5(a)");
    conn.exec("INSERT INTO f VALUES ('a b c')");
    conn.exec("CREATE TABLE found(number)");
    conn.exec("CREATE TABLE kept(a)");
}

const SEARCH: &str = "INSERT INTO found SELECT count(*) FROM f(?)";

fn many_words() -> Term {
    list![format!("{}a", "a OR ".repeat(200_000)).as_str()]
}

#[test]
fn after_stuck_limit_the_program_ends_and_the_others_are_answered() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start_with(&["--stuck-limit-ms=500"]);
    let (conn, other, idle) = (sidecar.open(&path), sidecar.open(&path), sidecar.open(&path));
    with_words(&conn);
    idle.exec("INSERT INTO kept VALUES (1)");
    let stuck = conn.within(100).send(tag::EXECUTE, [SEARCH.into(), many_words()]);
    eventually("it has the turn", || sidecar.writer("test.db") == conn.id.into());
    let running = other.start(ENDLESS);
    let queued = other.start("SELECT 1");
    // It waits for the turn that the stuck one has.
    let waiting = idle.start("INSERT INTO kept VALUES (2)");
    for id in [running, queued, waiting] {
        assert_eq!(other.outcome(id).unwrap_err().code, "connection_closed");
    }
    let (status, stderr) = sidecar.wait(BOUND);
    assert_eq!(status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("cannot be stopped") && stderr.contains("test.db"), "{stderr}");
    assert!(sidecar.receive_or_end(stuck).is_none(), "nobody knows what became of it");

    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    assert_eq!(conn.value("SELECT count(*) FROM kept"), 1.into());
    assert_eq!(conn.value("SELECT count(*) FROM found"), 0.into());
    assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
}

#[test]
fn a_client_that_reads_late_is_not_what_is_stuck() {
    let mut process = Process::start(&["--stuck-limit-ms=500"]);
    let mut frames = FrameReader::new(process.stdout.take().unwrap());
    frames.next().unwrap().unwrap();
    process.write(&frame(300, tag::OPEN, &crate::tuple![0, ":memory:", Term::Map(Vec::new())]));
    let id = frames.next().unwrap().unwrap().payload.items()[0].int();
    let rows = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r";
    let options = map([("credits", 1_000_000)]);
    process.write(&frame(301, tag::EXECUTE, &crate::tuple![id, 2000, rows, list![], options]));
    assert_eq!(frames.next().unwrap().unwrap().tag, tag::ROWS);
    // The pipe is full soon. The deadline and four times the limit: for what must not happen there is no event.
    std::thread::sleep(std::time::Duration::from_secs(4));
    while frames.next().unwrap().expect("the answer").tag == tag::ROWS {}
    drop(process.stdin.take());
    assert_eq!(process.wait(BOUND).code(), Some(0));
}

#[test]
fn what_a_slow_disk_keeps_is_not_stuck() {
    let (folder, path) = folder();
    let off = folder.path().join("fast");
    std::fs::write(&off, "").unwrap();
    let sidecar = crate::shim::start(
        &["--stuck-limit-ms=1000"],
        &[
            ("TORTURE_ROOT", folder.path().to_str().unwrap().to_owned()),
            ("TORTURE_OPS", "w".to_owned()),
            ("TORTURE_PAUSE", "20000".to_owned()),
            ("TORTURE_OFF", off.to_str().unwrap().to_owned()),
        ],
    );
    let conn = sidecar.open(&path);
    conn.exec("PRAGMA wal_autocheckpoint = 0");
    conn.exec("CREATE TABLE kept(a)");
    conn.exec(&format!("INSERT INTO kept SELECT randomblob(3000) FROM ({})", numbers(200)));
    std::fs::remove_file(&off).unwrap();
    // Four times the limit at least: a checkpoint looks at no clock.
    let checkpoint = conn.within(100).send(tag::CHECKPOINT, [atom("full")]);
    let _ = sidecar.answer(checkpoint);
    assert_eq!(conn.value("SELECT count(*) FROM kept"), 200.into());
}

#[test]
fn whoever_waits_for_what_is_stuck_is_told_who_it_is() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start_with(&["--stuck-limit-ms=3000"]);
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    with_words(&conn);
    conn.within(100).send(tag::EXECUTE, [SEARCH.into(), many_words()]);
    eventually("it has the turn", || sidecar.writer("test.db") == conn.id.into());
    let failure = other.within(200).query("INSERT INTO kept VALUES (1)", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert!(failure.message.contains(&format!("connection {}", conn.id)), "{}", failure.message);
    assert_eq!(other.value("SELECT count(*) FROM kept"), 0.into(), "readers go on");
    assert_eq!(sidecar.wait(BOUND).0.code(), Some(75));
}

#[test]
fn without_a_limit_the_program_goes_on_and_the_log_tells_of_it() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start_with(&["--stuck-limit-ms=0", "--log-to=client"]);
    let conn = sidecar.open(&path);
    with_words(&conn);
    conn.within(100).send(tag::EXECUTE, [SEARCH.into(), many_words()]);
    let told = sidecar.receive(0);
    let text = told.payload.items()[1].text();
    assert!(text.contains("runs on although it has to stop") && text.contains("test.db"), "{text}");
    assert_eq!(sidecar.open(":memory:").value("SELECT 1"), 1.into());
}
