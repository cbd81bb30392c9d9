//! The writer turn: no connection of one sidecar ever sees SQLITE_BUSY because of another, several sidecars take turns,
//! checkpoints never lose a row, and a dead process keeps nothing.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const MODES: [&str; 4] = ["passive", "full", "restart", "truncate"];

/// Writes `count` rows marked `writer`, half by themselves, half in transactions of five.
fn write_rows(conn: &Conn<'_>, writer: i64, count: i64) {
    for number in (0..count).step_by(10) {
        for row in number..number + 5 {
            insert(conn, writer, row);
        }
        conn.begin("immediate").unwrap();
        for row in number + 5..number + 10 {
            insert(conn, writer, row);
        }
        conn.commit().unwrap();
    }
}

fn insert(conn: &Conn<'_>, writer: i64, row: i64) {
    let outcome = conn.query("INSERT INTO t VALUES (?, ?, randomblob(300))", list![writer, row]);
    assert_eq!(outcome.unwrap_or_else(|failure| panic!("writer {writer}: {failure:?}")).changes, 1);
}

fn checkpoint(conn: &Conn<'_>, round: usize) {
    let done = conn.call(tag::CHECKPOINT, [atom(MODES[round % 4])]);
    done.unwrap_or_else(|failure| panic!("a checkpoint failed: {failure:?}"));
}

/// Every row of every writer is there once, and the file is sound.
fn assert_complete(conn: &Conn<'_>, writers: i64, count: i64) {
    assert_eq!(conn.value("SELECT count(*) FROM t").int(), writers * count);
    assert_eq!(conn.value("SELECT count(*) FROM (SELECT DISTINCT w, n FROM t)").int(), writers * count);
    assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
}

#[test]
fn sixteen_connections_of_one_sidecar_write_and_checkpoint() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    // A checkpoint follows every few commits, so that those that nobody asks for take part.
    let options = || map([("checkpoint_pages", 20), ("checkpoint_idle", 1), ("busy_timeout", 0)]);
    let setup = sidecar.open(&path);
    setup.exec("CREATE TABLE t(w, n, b)");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let conn = sidecar.open_with(&path, options()).unwrap();
                scope.spawn(move || write_rows(&conn, writer, 60))
            })
            .collect();
        let reading = sidecar.open(&path);
        scope.spawn(|| {
            // Readers come and go; they are the ones that a checkpoint has to mind.
            let reading = reading;
            while !done.load(Ordering::Relaxed) {
                reading.exec("SELECT count(*), max(n) FROM t");
            }
        });
        let checkpointing = sidecar.open(&path);
        scope.spawn(|| {
            let checkpointing = checkpointing;
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                checkpoint(&checkpointing, round);
            }
        });
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    assert_complete(&setup, 16, 60);
}

#[test]
fn three_sidecars_write_and_checkpoint_one_file() {
    let (_folder, path) = folder();
    let sidecars: Vec<_> = (0..3).map(|_| Sidecar::start()).collect();
    let setup = sidecars[0].open(&path);
    setup.exec("CREATE TABLE t(w, n, b)");
    thread::scope(|scope| {
        for (sidecar, number) in sidecars.iter().zip(0i64..) {
            for writer in [number * 2, number * 2 + 1] {
                // Nobody waits for a lock of SQLite: only the turn keeps the programs apart.
                let options = map([("checkpoint_pages", 20), ("busy_timeout", 0)]);
                let conn = sidecar.open_with(&path, options).unwrap();
                scope.spawn(move || write_rows(&conn, writer, 50));
            }
            let conn = sidecar.open(&path);
            scope.spawn(move || (0..20).for_each(|round| checkpoint(&conn, round)));
        }
    });
    for sidecar in &sidecars {
        assert_complete(&sidecar.open(&path), 6, 50);
    }
    drop(sidecars);
    assert_complete(&Sidecar::start().open(&path), 6, 50);
}

#[test]
fn a_killed_sidecar_frees_the_turn() {
    let (_folder, path) = folder();
    let (victim, survivor) = (Sidecar::start(), Sidecar::start());
    let (one, two) = (victim.open(&path), survivor.open(&path));
    one.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    one.exec("INSERT INTO t VALUES ('lost')");
    assert_eq!(two.within(100).query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "timeout");
    let waiting = two.start("INSERT INTO t VALUES ('kept')");
    victim.signal(libc::SIGKILL);
    assert_eq!(two.outcome(waiting).unwrap().changes, 1);
    assert_eq!(two.exec("SELECT a FROM t").rows, [[Term::from("kept")]]);
    assert_eq!(victim.wait(BOUND).0.code(), None);
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let (_folder, path) = folder();
    for round in 0..10i64 {
        let sidecar = Sidecar::start();
        let options = map([("checkpoint_pages", 10)]);
        let conn = sidecar.open_with(&path, options).unwrap();
        conn.exec("CREATE TABLE IF NOT EXISTS t(round, number, batch, filler)");
        // The next row whether or not the one before was acknowledged, so that the kill comes in the middle of work.
        let (acknowledged, sent) = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(std::time::Duration::from_millis(30 + (round as u64 * 37) % 120));
                sidecar.signal(libc::SIGKILL);
            });
            let mut acknowledged = 0;
            for number in 0.. {
                let batch = Term::List(
                    (0..3)
                        .map(|part| {
                            let row = list![round, number, part];
                            crate::tuple!["INSERT INTO t VALUES (?, ?, ?, randomblob(500))", row]
                        })
                        .collect(),
                );
                let request = frame(1000 + number as u32, tag::BATCH, &conn.payload([true.into(), batch]));
                if !sidecar.try_send(&request) || sidecar.receive_or_end(1000 + number as u32).is_none() {
                    return (acknowledged, number + 1);
                }
                acknowledged = number + 1;
            }
            unreachable!("the loop ends with the program")
        });
        let (status, _) = sidecar.wait(BOUND);
        assert_eq!(status.code(), None);
        let after = Sidecar::start();
        let conn = after.open(&path);
        let count = |sql: &str| conn.query(sql, list![round]).unwrap().value().int();
        let kept = count("SELECT count(DISTINCT number) FROM t WHERE round = ?");
        assert!(
            kept >= acknowledged && kept <= sent,
            "round {round}: {acknowledged} acknowledged, {kept} there"
        );
        assert_eq!(count("SELECT count(*) FROM t WHERE round = ?"), kept * 3, "whole batches only");
        assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
    }
}

#[test]
fn a_wal_is_checkpointed_by_size_and_when_idle() {
    let (_folder, path) = folder();
    let wal = path.with_file_name("test.db-wal");
    let sidecar = Sidecar::start();
    let options = map([("checkpoint_pages", 50), ("checkpoint_idle", 0)]);
    let conn = sidecar.open_with(&path, options).unwrap();
    conn.exec("CREATE TABLE t(w, n, b)");
    for number in 0..300 {
        insert(&conn, 1, number);
    }
    let length = std::fs::metadata(&wal).unwrap().len();
    assert!(length < 120 * 4120, "the WAL has {length} bytes");
    conn.close();
    let options = map([("checkpoint_pages", 0), ("checkpoint_idle", 50)]);
    let conn = sidecar.open_with(&path, options).unwrap();
    conn.exec("INSERT INTO t VALUES (2, 2, 2)");
    let pages = || sidecar.status().get("files").items()[0].get("wal_pages").int();
    eventually("an idle checkpoint", || pages() == 0);
}

#[test]
fn checkpoints_say_what_they_did() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("checkpoint_idle", 0)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    for mode in ["passive", "full", "restart"] {
        conn.exec("INSERT INTO t VALUES (1)");
        let done = conn.call(tag::CHECKPOINT, [atom(mode)]).unwrap();
        let [busy, log, checkpointed] = done.items() else { panic!("{done:?}") };
        assert_eq!(busy.int(), 0, "{mode}");
        assert!(log.int() > 0 && log == checkpointed, "{mode}: {done:?}");
    }
    let done = conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    assert_eq!(done, crate::tuple![0, 0, 0]);
    let memory = sidecar.open(":memory:");
    assert_eq!(memory.call(tag::CHECKPOINT, [atom("full")]).unwrap(), crate::tuple![0, -1, -1]);
}

#[test]
fn a_reader_in_the_way_makes_a_checkpoint_busy_and_nothing_worse() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let options = map([("busy_timeout", 100), ("checkpoint_idle", 0)]);
    let (conn, reader) = (sidecar.open_with(&path, options).unwrap(), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    reader.begin("deferred").unwrap();
    reader.exec("SELECT * FROM t");
    conn.exec("INSERT INTO t VALUES (1)");
    let done = conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    assert_eq!(done.items()[0].int(), 1, "{done:?}");
    conn.exec("INSERT INTO t VALUES (2)");
    reader.commit().unwrap();
    assert_eq!(conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap().items()[0].int(), 0);
}

#[test]
fn statements_that_write_in_disguise_take_the_turn_too() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open_with(&path, map([("busy_timeout", 0)])).unwrap());
    one.exec("CREATE TABLE t(a)");
    one.exec(&format!("INSERT INTO t {}", numbers(2000)));
    one.exec("CREATE INDEX i ON t(a)");
    one.exec("CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END");
    one.exec("CREATE VIRTUAL TABLE f USING fts5(a)");
    one.begin("immediate").unwrap();
    for sql in [
        "VACUUM",
        "ANALYZE",
        // This connection has not seen the trigger yet.
        "DROP TRIGGER IF EXISTS r",
        "REINDEX",
        "PRAGMA user_version = 2",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA optimize(0x10002)",
        "PRAGMA journal_mode = delete",
        "PRAGMA incremental_vacuum",
        "INSERT INTO f(f) VALUES ('optimize')",
        "CREATE TABLE u(a)",
        "BEGIN IMMEDIATE",
        "BEGIN EXCLUSIVE",
    ] {
        match two.within(150).query(sql, list![]) {
            // With the turn in another's hands it may only wait or have nothing to write.
            Ok(_) => assert!(sql.starts_with("PRAGMA incremental"), "{sql} ran without the turn"),
            Err(failure) => assert_eq!(failure.code, "timeout", "{sql}: {failure:?}"),
        }
    }
    one.commit().unwrap();
    two.exec("PRAGMA optimize");
}
