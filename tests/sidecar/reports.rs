//! Subscribers hear that a connection waits for a lock of another program, and how far a statement has come.

use crate::feed::Events;
use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::time::Instant;

const BUSY: u8 = 105;
const PROGRESS: u8 = 106;

fn wanting(events: Term) -> Term {
    map([("events", events), ("progress_interval", 10.into())])
}

fn endless() -> String {
    format!("SELECT count(*) FROM ({})", numbers(u32::MAX))
}

#[test]
fn a_wait_for_a_lock_is_told_when_it_begins_and_when_it_ends() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(conn.id.into(), wanting(list![atom("busy")]));

    let lock = ForeignLock::take(&path);
    let request = conn.start("INSERT INTO t VALUES (1)");
    let began = sidecar.receive(0);
    let database = path.to_str().unwrap();
    assert_eq!(
        (began.tag, began.payload),
        (BUSY, tuple![subscription, atom("began"), database, conn.id, request, 0])
    );
    lock.release();
    conn.outcome(request).unwrap();
    let got = events.frames(subscription);
    let [got] = got.as_slice() else { panic!("{got:?}") };
    let fields = got.payload.items();
    assert_eq!((got.tag, &fields[1], fields[4].int()), (BUSY, &atom("got"), i64::from(request)));
    assert!((1..60_000_000).contains(&fields[5].int()), "{fields:?}");

    let lock = ForeignLock::take(&path);
    let error = conn.lock_timeout(60).query("INSERT INTO t VALUES (2)", list![]).unwrap_err();
    assert_eq!(error.code, "busy");
    let frames = events.frames(subscription);
    let phases: Vec<_> = frames.iter().map(|frame| frame.payload.items()[1].clone()).collect();
    assert_eq!(phases, [atom("began"), atom("gave_up")]);
    assert!(frames[1].payload.items()[5].int() >= 50_000, "{frames:?}");
    lock.release();
    conn.exec("INSERT INTO t VALUES (3)");
    assert_eq!(events.frames(subscription).len(), 0, "nothing is waited for, nothing is told");
    sidecar.end();
}

#[test]
fn a_statement_that_runs_tells_how_far_it_has_come() {
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(":memory:"), sidecar.open(":memory:"));
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(conn.id.into(), wanting(list![atom("progress")]));
    conn.exec("SELECT 1");
    let unheard = other.start(&endless());
    let request = conn.start(&endless());
    let mut before = (0, 0);
    for _ in 0..3 {
        let frame = sidecar.receive(0);
        let fields = frame.payload.items();
        assert_eq!((frame.tag, fields.len()), (PROGRESS, 6));
        let head = (fields[0].int(), fields[1].text(), fields[2].int(), fields[3].int());
        assert_eq!(head, (subscription, ":memory:", conn.id, i64::from(request)));
        let now = (fields[4].int(), fields[5].int());
        assert!(now.0 >= before.0 + 10 && now.1 > before.1, "{now:?} after {before:?}");
        before = now;
    }
    assert_eq!((conn.cancel(request), other.cancel(unheard)), (atom("true"), atom("true")));
    assert_eq!(conn.outcome(request).unwrap_err().code, "cancelled");
    assert_eq!(other.outcome(unheard).unwrap_err().code, "cancelled");
    // Another request begins at nothing.
    drop(events.frames(subscription));
    let started = Instant::now();
    let request = conn.start(&endless());
    let frame = sidecar.receive(0);
    let fields = frame.payload.items();
    assert_eq!(fields[3].int(), i64::from(request));
    assert!(fields[4].int() <= started.elapsed().as_millis() as i64, "{fields:?}");
    conn.cancel(request);
    sidecar.end();
}

#[test]
fn who_does_not_take_reports_gets_no_more_of_them_and_misses_no_change_by_it() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let events = Events::of(&sidecar);
    let options = map([
        ("events", list![atom("progress"), atom("changes")]),
        ("progress_interval", 10.into()),
        ("bytes_max", 400.into()),
    ]);
    let subscription = events.subscribe(conn.id.into(), options);
    let request = conn.start(&endless());
    let (first, second) = (sidecar.receive(0), sidecar.receive(0));
    assert_eq!((first.tag, second.tag), (PROGRESS, PROGRESS));
    // Half of the room is taken. A third one would have come before the answer of what ends by its time.
    conn.cancel(request);
    assert_eq!(conn.outcome(request).unwrap_err().code, "cancelled");
    assert_eq!(conn.within(60).query(&endless(), list![]).unwrap_err().code, "timeout");
    assert_eq!(events.frames(subscription).len(), 0);
    conn.exec("INSERT INTO t VALUES (1)");
    assert_eq!(events.texts(subscription), ["insert t 1"], "no transaction was missed");
    sidecar.end();
}

#[test]
fn an_interval_that_would_be_a_burden_is_refused() {
    let sidecar = Sidecar::start();
    let refused = |ms: i64| {
        let options = map([("events", list![atom("progress")]), ("progress_interval", ms.into())]);
        sidecar.call(28, &tuple![nil(), options]).map_err(|error| error.code)
    };
    assert_eq!(refused(9), Err("invalid_option".to_owned()));
    assert!(refused(10).is_ok());
    sidecar.end();
}
