//! Requests that nothing can stop: the engine looks at the clock between the steps of a statement, not within a function.

use crate::list;
use crate::support::*;
use crate::term::*;

/// A sidecar in which one statement never ends, once it is sent by [`Never::end`]: its first read of the file computes for ever.
struct Never {
    folder: tempfile::TempDir,
    path: std::path::PathBuf,
    sidecar: Sidecar,
}

const SEARCH: &str = "INSERT INTO found SELECT sum(a) FROM read";

impl Never {
    fn start(arguments: &[&str]) -> Never {
        let (folder, path) = folder();
        std::fs::write(folder.path().join("off"), "").unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let sidecar = crate::shim::start(
            arguments,
            &[
                ("TORTURE_ROOT", folder.path().to_str().unwrap().to_owned()),
                ("TORTURE_OPS", "r".to_owned()),
                ("TORTURE_SPIN", "1".to_owned()),
                ("TORTURE_OFF", at("off")),
                ("TORTURE_HIT", at("hit")),
            ],
        );
        Never { folder, path, sidecar }
    }

    /// A connection with the tables, whose cache has none of the rows that [`SEARCH`] reads.
    fn open(&self) -> Conn<'_> {
        let conn = self.sidecar.open(&self.path);
        conn.script("CREATE TABLE found(number); CREATE TABLE kept(a); CREATE TABLE read(a)").unwrap();
        conn.exec(SEARCH);
        conn.exec("DELETE FROM found");
        self.sidecar.open(&self.path).exec("INSERT INTO read VALUES (1)");
        conn
    }

    /// Runs it and waits until nothing can stop it any more.
    fn end(&self, conn: &Conn<'_>) -> u32 {
        std::fs::remove_file(self.folder.path().join("off")).unwrap();
        let id = conn.within(100).send(tag::EXECUTE, [SEARCH.into(), list![]]);
        eventually("it reads", || self.folder.path().join("hit").exists());
        assert_eq!(self.sidecar.writer("test.db"), conn.id.into(), "it has the turn");
        id
    }
}

#[test]
fn after_stuck_limit_the_program_ends_and_the_others_are_answered() {
    let never = Never::start(&["--stuck-limit-ms=500"]);
    let sidecar = &never.sidecar;
    let (conn, other, idle) = (never.open(), sidecar.open(&never.path), sidecar.open(&never.path));
    idle.exec("INSERT INTO kept VALUES (1)");
    let stuck = never.end(&conn);
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
    let conn = sidecar.open(&never.path);
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
    let never = Never::start(&["--stuck-limit-ms=3000"]);
    let sidecar = &never.sidecar;
    let (conn, other) = (never.open(), sidecar.open(&never.path));
    never.end(&conn);
    let failure = other.within(200).query("INSERT INTO kept VALUES (1)", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert!(failure.message.contains(&format!("connection {}", conn.id)), "{}", failure.message);
    assert_eq!(other.value("SELECT count(*) FROM kept"), 0.into(), "readers go on");
    assert_eq!(sidecar.wait(BOUND).0.code(), Some(75));
}

#[test]
fn without_a_limit_the_program_goes_on_and_the_log_tells_of_it() {
    let never = Never::start(&["--stuck-limit-ms=0", "--log-to=client"]);
    let sidecar = &never.sidecar;
    let conn = never.open();
    never.end(&conn);
    let told = sidecar.receive(0);
    let text = told.payload.items()[1].text();
    assert!(text.contains("runs on although it has to stop") && text.contains("test.db"), "{text}");
    assert_eq!(sidecar.open(":memory:").value("SELECT 1"), 1.into());
}
