//! Deadlines and cancellation, wherever a request may be waiting. After each the connection works as before.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::time::{Duration, Instant};

/// A deadline of 300 ms must not take longer than this, however slow the machine is.
const GENEROUS: Duration = Duration::from_secs(10);

#[test]
fn an_endless_query_stops_at_its_deadline() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let endless_rows =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0";
    let cross = "SELECT count(*) FROM (WITH n(i) AS (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9)) \
                 SELECT 1 FROM n a, n b, n c, n d, n e, n f, n g, n h, n i, n j, n k, n l)";
    for sql in [ENDLESS, endless_rows, cross] {
        let started = Instant::now();
        let failure = conn.within(300).query(sql, list![]).unwrap_err();
        let took = started.elapsed();
        assert_eq!(failure.code, "timeout", "{sql}");
        assert!(took >= Duration::from_millis(299) && took < GENEROUS, "{took:?}");
        assert_eq!(conn.value("SELECT 1"), 1.into());
    }
    let status = conn.status();
    assert_eq!((status.get("timeouts").int(), status.get("errors").int()), (3, 3));
}

#[test]
fn an_endless_query_can_be_cancelled() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for _ in 0..5 {
        let id = conn.start(ENDLESS);
        eventually("the request runs", || conn.cancel(id) == true.into());
        assert_eq!(conn.outcome(id).unwrap_err().code, "cancelled");
        assert_eq!(conn.value("SELECT 1"), 1.into());
        assert_eq!(conn.cancel(id), false.into(), "it is over");
    }
    assert_eq!(conn.status().get("cancelled").int(), 5);
}

#[test]
fn what_is_queued_can_be_cancelled() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let running = conn.start(ENDLESS);
    let queued: Vec<_> = (0..3).map(|_| conn.start("SELECT 1")).collect();
    assert_eq!(conn.cancel(queued[1]), true.into());
    assert_eq!(conn.outcome(queued[1]).unwrap_err().code, "cancelled", "at once, before the one that runs");
    assert_eq!(conn.cancel(999_999), false.into());
    assert_eq!(conn.cancel(running), true.into());
    assert_eq!(conn.outcome(running).unwrap_err().code, "cancelled");
    for id in [queued[0], queued[2]] {
        assert_eq!(conn.outcome(id).unwrap().value(), &1.into());
    }
}

#[test]
fn a_cancellation_never_hits_the_next_statement() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let short = format!("SELECT max(i) FROM ({})", numbers(300));
    let mut cancelled = 0;
    for _ in 0..500 {
        let (victim, cancel, next) = (sidecar.new_id(), sidecar.new_id(), sidecar.new_id());
        // In one write: the cancellation comes while the first one runs, or after it.
        sidecar.send_bytes(
            &[
                frame(victim, tag::EXECUTE, &conn.payload([short.as_str().into(), list![]])),
                frame(cancel, tag::CANCEL, &tuple![conn.id, victim]),
                frame(next, tag::EXECUTE, &conn.payload([short.as_str().into(), list![]])),
            ]
            .concat(),
        );
        match conn.outcome(victim) {
            Ok(outcome) => assert_eq!(outcome.value(), &300.into()),
            Err(failure) => {
                assert_eq!(failure.code, "cancelled");
                cancelled += 1;
            }
        }
        sidecar.answer(cancel).unwrap();
        let outcome =
            conn.outcome(next).unwrap_or_else(|failure| panic!("the next one was hit: {failure:?}"));
        assert_eq!(outcome.value(), &300.into());
    }
    assert_eq!(conn.status().get("cancelled").int(), cancelled);
}

#[test]
fn a_request_id_may_be_used_again_after_a_cancellation() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for _ in 0..3 {
        sidecar.send_as(5000, tag::EXECUTE, &conn.payload([ENDLESS.into(), list![]]));
        eventually("the request runs", || conn.cancel(5000) == true.into());
        assert_eq!(conn.outcome(5000).unwrap_err().code, "cancelled");
        sidecar.send_as(5000, tag::EXECUTE, &conn.payload(["SELECT 1".into(), list![]]));
        assert_eq!(conn.outcome(5000).unwrap().value(), &1.into());
    }
}

#[test]
fn the_deadline_counts_from_the_frame_and_covers_the_queue() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let long = conn.start(ENDLESS);
    let started = Instant::now();
    let queued = conn.within(200).start("SELECT 1");
    assert_eq!(conn.outcome(queued).unwrap_err().code, "timeout");
    assert!(started.elapsed() < GENEROUS);
    assert_eq!(conn.cancel(long), true.into());
    assert_eq!(conn.outcome(long).unwrap_err().code, "cancelled");
    assert_eq!(conn.value("SELECT 1"), 1.into());
}

#[test]
fn a_wait_for_the_writer_turn_ends_at_the_deadline_and_names_the_holder() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open(&path));
    one.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    for attempt in 0..3 {
        let failure = match attempt {
            0 => two.within(200).query("INSERT INTO t VALUES (1)", list![]).unwrap_err(),
            1 => two.within(200).begin("immediate").unwrap_err(),
            _ => two.within(200).call(tag::CHECKPOINT, [atom("passive")]).unwrap_err(),
        };
        assert_eq!(failure.code, "timeout");
        assert!(failure.message.contains(&format!("connection {}", one.id)), "{}", failure.message);
        assert_eq!(two.value("SELECT count(*) FROM t"), 0.into(), "reading needs no turn");
    }
    let waiting = two.start("INSERT INTO t VALUES (2)");
    eventually("it stands in line", || sidecar.status().get("files").items()[0].get("waiting").int() == 1);
    assert_eq!(sidecar.status().get("files").items()[0].get("writer").int(), one.id);
    assert_eq!(two.cancel(waiting), true.into());
    assert_eq!(two.outcome(waiting).unwrap_err().code, "cancelled");
    let waiting = two.start("INSERT INTO t VALUES (3)");
    one.commit().unwrap();
    assert_eq!(two.outcome(waiting).unwrap().changes, 1);
    assert_eq!(sidecar.status().get("files").items()[0].get("writer"), &nil());
}

#[test]
fn a_wait_for_another_sidecars_turn_ends_at_the_deadline_and_names_its_pid() {
    let (_folder, path) = folder();
    let (first, second) = (Sidecar::start(), Sidecar::start());
    let (one, two) = (first.open(&path), second.open(&path));
    one.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    let failure = two.within(300).query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert!(failure.message.contains(&format!("pid {}", first.pid)), "{}", failure.message);
    let waiting = two.start("INSERT INTO t VALUES (2)");
    eventually("it waits", || second.status().get("files").items()[0].get("writer") == &two.id.into());
    assert_eq!(two.cancel(waiting), true.into());
    assert_eq!(two.outcome(waiting).unwrap_err().code, "cancelled");
    let waiting = two.start("INSERT INTO t VALUES (3)");
    eventually("it waits", || second.status().get("files").items()[0].get("writer") == &two.id.into());
    one.commit().unwrap();
    assert!(two.outcome(waiting).unwrap().lock_us > 0);
    assert_eq!(one.value("SELECT a FROM t"), 3.into());
}

#[test]
fn a_foreign_programs_lock_is_waited_for_until_the_deadline_or_the_busy_timeout() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    let impatient = sidecar.open_with(&path, map([("busy_timeout", 100)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    let foreign = ForeignLock::take(&path);
    assert_eq!(conn.within(300).query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "timeout");
    let failure = impatient.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.sqlite_code), ("busy", Some(5)));
    let waiting = conn.start("INSERT INTO t VALUES (2)");
    eventually("it has the turn", || {
        sidecar.status().get("files").items()[0].get("writer") == &conn.id.into()
    });
    assert_eq!(conn.cancel(waiting), true.into());
    assert_eq!(conn.outcome(waiting).unwrap_err().code, "cancelled");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    let waiting = conn.start("INSERT INTO t VALUES (3)");
    foreign.release();
    assert_eq!(conn.outcome(waiting).unwrap().changes, 1);
    assert_eq!(impatient.exec("INSERT INTO t VALUES (4)").changes, 1);
}

#[test]
fn a_stopped_write_is_undone() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    let endless_insert =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO t SELECT i FROM n";
    assert_eq!(conn.within(300).query(endless_insert, list![]).unwrap_err().code, "timeout");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    other.exec("INSERT INTO t VALUES (1)");
    // In a transaction the engine rolls all of it back, and the reply says so.
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (2)");
    let failure = conn.within(300).query(endless_insert, list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("timeout", Some(0)));
    other.exec("INSERT INTO t VALUES (3)");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
}

#[test]
fn a_timed_out_read_leaves_its_transaction_open() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let failure = conn.within(200).query(ENDLESS, list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("timeout", Some(3)));
    conn.commit().unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}

#[test]
fn a_busy_connection_does_not_hold_up_the_others() {
    let sidecar = Sidecar::start();
    let conns: Vec<_> = (0..11).map(|_| sidecar.open(":memory:")).collect();
    let endless: Vec<_> = conns.iter().map(|conn| conn.start(ENDLESS)).collect();
    let asking = sidecar.open(":memory:");
    for number in 0..50 {
        assert_eq!(asking.query("SELECT ?", list![number]).unwrap().value(), &number.into());
    }
    for (conn, id) in conns.iter().zip(endless) {
        assert_eq!(conn.cancel(id), true.into());
        assert_eq!(conn.outcome(id).unwrap_err().code, "cancelled");
    }
}

#[test]
fn a_connection_does_not_wait_for_a_checkpoint_that_nobody_asked_for() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    // Every commit is followed by a checkpoint, and every idle moment by another.
    let options = || map([("checkpoint_pages", 1), ("checkpoint_idle", 1)]);
    let (one, two) =
        (sidecar.open_with(&path, options()).unwrap(), sidecar.open_with(&path, options()).unwrap());
    one.exec("CREATE TABLE t(a)");
    for _ in 0..10 {
        // The turn goes from one to two and stays there; one reads meanwhile.
        one.begin("immediate").unwrap();
        let waiting = two.send(tag::BEGIN, [atom("immediate")]);
        eventually("two stands in line", || {
            sidecar.status().get("files").items()[0].get("waiting").int() == 1
        });
        one.exec("INSERT INTO t VALUES (1)");
        one.commit().unwrap();
        sidecar.answer(waiting).unwrap();
        one.within(5_000).query("SELECT count(*) FROM t", list![]).unwrap();
        two.commit().unwrap();
    }
    one.begin("immediate").unwrap();
    // Past the idle time: nothing may be asked of two that waits for the turn of one.
    std::thread::sleep(Duration::from_millis(600));
    two.within(5_000).query("SELECT count(*) FROM t", list![]).unwrap();
    one.rollback().unwrap();
}

#[test]
fn nothing_takes_part_of_a_deadline_that_is_past() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (0)");
    let long = conn.start(&format!("SELECT max(i) FROM ({})", numbers(1_000_000)));
    let ids: Vec<_> = (0..20).map(|_| conn.within(1).start("INSERT INTO t VALUES (1)")).collect();
    conn.outcome(long).unwrap();
    for id in ids {
        assert_eq!(conn.outcome(id).unwrap_err().code, "timeout");
    }
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}

/// Before a write, the cursors of its connection are read to their ends.
#[test]
fn a_write_that_waits_for_the_end_of_a_cursor_names_the_cursor() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.exec("CREATE TABLE t(a)");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let cursor = db.call(tag::DECLARE, [endless.into(), list![]]).unwrap().items()[0].clone();
    let request = db.send(tag::FETCH, [cursor.clone(), 1.into(), 0.into()]);
    assert_eq!(sidecar.receive(request).tag, tag::MORE_ROWS);
    let error = db.within(300).query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!(error.code, "timeout");
    assert!(error.message.contains(&format!("open cursor {}", cursor.int())), "{error:?}");
    let error = db.call(tag::FETCH, [cursor, 1.into(), 0.into()]).unwrap_err();
    assert_eq!(error.code, "unknown_cursor");
    assert!(error.message.contains("by a write"), "{error:?}");
    db.exec("INSERT INTO t VALUES (1)");
    assert_eq!(db.value("SELECT count(*) FROM t"), 1.into());
}
