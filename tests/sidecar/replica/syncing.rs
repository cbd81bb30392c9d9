//! Syncs: shared, given up without harm, by themselves, and told of.

use super::*;
use crate::tuple;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_sync_that_nobody_waits_for_any_more_goes_on_and_harms_nothing() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    for row in 2..40 {
        server.execute(&[&format!("INSERT INTO t VALUES ({row})")]);
        // Whether it is over by then or not: the next one is whole.
        let hasty = conn.within(1);
        if let Err(failure) = sync(&hasty) {
            assert_eq!(failure.code, "timeout");
        }
        sync(&conn).unwrap();
        assert_eq!(count(&conn), row);
    }
}

#[test]
fn a_silent_server_is_given_up_by_whoever_waits_and_in_time_by_the_sync() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let options = [("sync_silence_ms", Term::from(2_000))];
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &options).unwrap();
    sync(&conn).unwrap();
    server.stop();
    assert_eq!(sync(&conn.within(50)).unwrap_err().code, "timeout");
    let failure = sync(&conn).unwrap_err();
    assert_eq!(failure.code, "remote_unavailable");
    assert!(failure.message.contains("2000 ms"), "{failure:?}");
    assert_eq!(count(&conn), 1);
    server.go_on();
    server.execute(&["INSERT INTO t VALUES (2)"]);
    // A busy machine may make the server silent for as long once more.
    eventually("the server answers again", || sync(&conn).is_ok());
    assert_eq!(count(&conn), 2);
}

#[test]
fn a_cancelled_sync_is_cancelled_for_its_caller() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    sync(&conn).unwrap();
    server.stop();
    let request = conn.send(tag::SYNC, [Term::Map(Vec::new())]);
    eventually("the sync runs", || conn.cancel(request) == Term::from(true));
    assert_eq!(sidecar.answer(request).unwrap_err().code, "cancelled");
    server.go_on();
    sync(&conn).unwrap();
}

#[test]
fn an_interval_follows_the_server_by_itself() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let options = [("sync_interval_ms", Term::from(20))];
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &options).unwrap();
    server.execute(&["INSERT INTO t VALUES (2)"]);
    eventually("the row comes", || count(&conn) == 2);
}

#[test]
fn until_waits_for_a_frame_and_no_longer_than_its_time() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let now = sync(&conn).unwrap();
    let (log, index) = (now.get("log").clone(), now.get("index").int());
    let until = |conn: &Conn<'_>, until: Term| conn.call(tag::SYNC, [map([("until", until)])]);
    until(&conn, Term::from(index)).unwrap();
    let beyond = tuple![log, index + 1];
    assert_eq!(until(&conn.within(200), beyond.clone()).unwrap_err().code, "timeout");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| until(&conn, beyond).unwrap());
        server.execute(&["INSERT INTO t VALUES (2)"]);
        assert!(waiting.join().unwrap().get("index").int() > index);
    });
    assert_eq!(count(&conn), 2);
}

#[test]
fn readers_see_whole_transactions_while_frames_come_in() {
    let Some(server) = server_with(0) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    server.execute(&["CREATE TABLE pairs(a, b)"]);
    let options = [("sync_interval_ms", Term::from(1)), ("consistency", atom("local"))];
    let readers: Vec<_> = (0..3).map(|_| open(&sidecar, &server, &path, &options).unwrap()).collect();
    let late = Instant::now() + Duration::from_secs(3);
    thread::scope(|scope| {
        for reader in &readers {
            scope.spawn(move || {
                let mut last = 0;
                while Instant::now() < late {
                    let sums = reader.query(
                        "SELECT count(*), coalesce(sum(a), 0) - coalesce(sum(b), 0) FROM pairs",
                        crate::list![],
                    );
                    let row = sums.unwrap().rows[0].clone();
                    assert_eq!(row[1].int(), 0, "half of a transaction");
                    assert!(row[0].int() >= last, "backwards");
                    last = row[0].int();
                }
                assert!(last > 0);
            });
        }
        scope.spawn(|| {
            while Instant::now() < late {
                server.execute(&[
                    "BEGIN",
                    "INSERT INTO pairs VALUES (1, 0)",
                    "INSERT INTO pairs VALUES (0, 1)",
                    "COMMIT",
                ]);
            }
        });
    });
}

#[test]
fn a_first_sync_tells_how_far_it_has_come() {
    let Some(server) = server_with(200_000) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let wanted = Term::Map(vec![(Term::from("events"), crate::list![atom("sync")])]);
    sidecar.call(28, &tuple![nil(), wanted]).unwrap();
    let conn = open(&sidecar, &server, &path, &[]).unwrap();
    assert_eq!(count(&conn), 200_000);
    let mut last = None;
    while let Ok(Some(event)) = sidecar.receive_within(0, Duration::from_secs(5)) {
        assert_eq!(event.tag, 107);
        let [_, database, done, known] = event.payload.items() else { panic!("{event:?}") };
        assert_eq!(database.text(), path.canonicalize().unwrap().to_str().unwrap());
        let (done, known) = (done.int(), known.int());
        assert!(last.is_none_or(|(before, _)| done > before), "{event:?} after {last:?}");
        last = Some((done, known));
        if done >= known {
            break;
        }
    }
    let (done, known) = last.expect("an event");
    assert!(done > 0 && known >= done, "{done} of {known}");
}
