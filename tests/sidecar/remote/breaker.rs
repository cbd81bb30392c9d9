//! A server that is gone: after some failures nobody waits for it any more, and one probe finds out when it is back.

use super::mock::{usual, Asked, Mock, Says};
use super::open_with;
use crate::list;
use crate::sqld::Sqld;
use crate::support::{eventually, tag, Conn, Sidecar, BOUND};
use crate::term::{atom, nil, Term};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// Longer than any test: a breaker that is to be probed by nobody.
const NEVER_MS: i64 = 3_600_000;

/// What a server does that is not well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ill {
    Well,
    Gone,
    Silent,
    Slow,
}

/// A server whose health can be changed. `Slow`: it answers nothing but probes.
struct Patient {
    mock: Mock,
    health: Arc<Mutex<Ill>>,
    probes: Arc<AtomicUsize>,
    others: Arc<AtomicUsize>,
}

fn is_probe(asked: &Asked) -> bool {
    asked.kinds() == ["execute", "close"]
}

fn patient() -> Patient {
    let health = Arc::new(Mutex::new(Ill::Well));
    let (probes, others) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mock = {
        let (health, probes, others) = (Arc::clone(&health), Arc::clone(&probes), Arc::clone(&others));
        Mock::start(move |asked| {
            if asked.kinds() == ["close"] {
                return usual(asked, true, None);
            }
            let counted = if is_probe(asked) { &probes } else { &others };
            counted.fetch_add(1, Ordering::SeqCst);
            match *health.lock().unwrap() {
                Ill::Gone => Says::Cut(vec![]),
                Ill::Silent => Says::Nothing,
                Ill::Slow if !is_probe(asked) => Says::Nothing,
                Ill::Well | Ill::Slow => usual(asked, true, None),
            }
        })
    };
    Patient { mock, health, probes, others }
}

impl Patient {
    fn becomes(&self, health: Ill) {
        *self.health.lock().unwrap() = health;
    }

    fn counts(&self) -> (usize, usize) {
        (self.probes.load(Ordering::SeqCst), self.others.load(Ordering::SeqCst))
    }
}

fn options(delay_ms: i64) -> Vec<(&'static str, Term)> {
    let max = delay_ms.max(20);
    vec![
        ("stream_idle_ms", 0.into()),
        ("breaker_failures", 3.into()),
        ("breaker_delay_ms", delay_ms.into()),
        ("breaker_delay_max_ms", max.into()),
    ]
}

fn breaker(conn: &Conn<'_>) -> Term {
    conn.status().get("servers").items()[0].clone()
}

/// The next change that the client is told of: state, failures, reason.
fn change(sidecar: &Sidecar) -> (Term, i64, Option<String>) {
    let frame = sidecar.receive(0);
    assert_eq!(frame.tag, tag::BREAKER);
    let fields = frame.payload.items();
    (fields[1].clone(), fields[2].int(), fields[3].some_text())
}

#[test]
fn failures_open_it_for_all_and_a_probe_closes_it() {
    let server = patient();
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &server.mock.url(), &options(10)).unwrap();
    let other = open_with(&sidecar, &server.mock.url(), &options(10)).unwrap();
    assert_eq!(breaker(&conn).get("breaker").text(), "closed");
    server.becomes(Ill::Gone);
    // A write is not repeated, so each is one failure.
    for n in 1..=3 {
        let failure = conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
        assert_eq!(failure.code, "outcome_unknown", "{n}: {}", failure.message);
    }
    let (_, others) = server.counts();
    for conn in [&conn, &other] {
        for sql in ["SELECT 1", "INSERT INTO t VALUES (1)"] {
            let failure = conn.query(sql, list![]).unwrap_err();
            assert_eq!(failure.code, "remote_unavailable", "{sql}");
            for words in ["circuit breaker is open since", "nothing was sent", "probe"] {
                assert!(failure.message.contains(words), "{}", failure.message);
            }
        }
        assert_eq!(conn.begin("immediate").unwrap_err().code, "remote_unavailable");
        let batch = conn.batch(true, &[("DELETE FROM t", list![])]).unwrap_err();
        assert_eq!(batch.code, "remote_unavailable", "nothing was sent, so nothing is unknown");
    }
    let status = breaker(&conn);
    assert!(matches!(status.get("breaker").text(), "open" | "half_open"));
    assert!(status.get("failures").int() >= 3 && status.get("since_ms").int() >= 0);
    assert!(status.get("reason").text().contains("broke"), "{status:?}");
    let (state, failures, reason) = change(&sidecar);
    assert_eq!((state, failures), (atom("open"), 3));
    assert!(reason.unwrap().contains("broke"));
    eventually("it is probed again and again", || server.counts().0 >= 3);
    assert_eq!(server.counts().1, others, "nothing but probes is sent");
    server.becomes(Ill::Well);
    loop {
        let (state, failures, reason) = change(&sidecar);
        if state == atom("closed") {
            assert_eq!((failures, reason), (0, None));
            break;
        }
    }
    for conn in [&conn, &other] {
        conn.exec("INSERT INTO t VALUES (1)");
    }
    assert_eq!(breaker(&other).get("breaker").text(), "closed");
    assert_eq!(breaker(&other).get("reason"), &nil());
}

#[test]
fn what_a_server_answers_is_no_failure() {
    for (status, body) in [
        (401, json!({"error": "Unauthorized"})),
        (403, json!({"error": "Forbidden"})),
        (404, json!({"error": "nothing there"})),
        (429, json!({"error": "busy"})),
        (500, json!({"error": "Internal"})),
        (200, json!({"message": "database is locked", "code": "SQLITE_BUSY"})),
    ] {
        let mut opened = false;
        let mock = Mock::start(move |asked| match std::mem::replace(&mut opened, true) {
            true if status == 200 => {
                let Says::Json(_, mut answer) = usual(asked, true, None) else { panic!() };
                for (kind, result) in asked.kinds().iter().zip(answer["results"].as_array_mut().unwrap()) {
                    if kind == "execute" {
                        *result = json!({"type": "error", "error": body.clone()});
                    }
                }
                Says::Json(200, answer)
            }
            true => Says::Json(status, body.clone()),
            false => usual(asked, true, None),
        });
        let sidecar = Sidecar::start();
        let conn = open_with(&sidecar, &mock.url(), &options(NEVER_MS)).unwrap();
        for _ in 0..10 {
            assert!(conn.query("DELETE FROM t", list![]).is_err());
        }
        assert_eq!(breaker(&conn).get("breaker").text(), "closed", "{status}");
        assert_eq!(mock.count(), 11, "{status}");
    }
}

#[test]
fn a_gateway_that_cannot_reach_the_server_is_a_failure() {
    let mut opened = false;
    let mock = Mock::start(move |asked| match std::mem::replace(&mut opened, true) {
        true => Says::Json(503, json!({"error": "no upstream"})),
        false => usual(asked, true, None),
    });
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &mock.url(), &options(NEVER_MS)).unwrap();
    for _ in 0..3 {
        assert_eq!(conn.query("DELETE FROM t", list![]).unwrap_err().code, "outcome_unknown");
    }
    assert_eq!(conn.query("DELETE FROM t", list![]).unwrap_err().code, "remote_unavailable");
}

/// Statements that take longer than they may are not a server that is gone: the probe is sent at once.
#[test]
fn slow_statements_do_not_shut_a_server_out() {
    let server = patient();
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &server.mock.url(), &options(NEVER_MS)).unwrap();
    server.becomes(Ill::Slow);
    for _ in 0..3 {
        assert_eq!(conn.within(50).query("SELECT 1", list![]).unwrap_err().code, "timeout");
    }
    let states: Vec<_> = (0..3).map(|_| change(&sidecar).0).collect();
    assert_eq!(states, [atom("open"), atom("half_open"), atom("closed")]);
    server.becomes(Ill::Well);
    conn.exec("SELECT 1");
}

#[test]
fn a_server_that_hangs_is_given_up_and_a_cancellation_is_no_failure() {
    let server = patient();
    let sidecar = Sidecar::start();
    let mut given = options(NEVER_MS);
    given.push(("probe_timeout_ms", 50.into()));
    let conn = open_with(&sidecar, &server.mock.url(), &given).unwrap();
    server.becomes(Ill::Silent);
    for _ in 0..5 {
        let (_, before) = server.counts();
        let id = conn.start("SELECT 1");
        eventually("it is sent", || server.counts().1 > before);
        conn.cancel(id);
        assert_eq!(conn.outcome(id).unwrap_err().code, "cancelled");
    }
    assert_eq!(breaker(&conn).get("failures").int(), 0);
    for _ in 0..3 {
        assert_eq!(conn.within(50).query("SELECT 1", list![]).unwrap_err().code, "timeout");
    }
    eventually("the probe was waited for", || {
        breaker(&conn).get("reason").some_text().is_some_and(|reason| reason.contains("probe_timeout_ms"))
    });
    let asked = Instant::now();
    let failure = conn.query("SELECT 1", list![]).unwrap_err();
    assert_eq!(failure.code, "remote_unavailable");
    assert!(asked.elapsed() < BOUND / 2, "at once");
}

/// Many who wait for a server are not many who come back to it at once: while it is gone nobody waits, and one asks.
#[test]
fn nobody_storms_a_server_that_comes_back() {
    let server = patient();
    let sidecar = Sidecar::start();
    let conns: Vec<_> =
        (0..8).map(|_| open_with(&sidecar, &server.mock.url(), &options(5)).unwrap()).collect();
    server.becomes(Ill::Gone);
    for _ in 0..3 {
        let _ = conns[0].query("DELETE FROM t", list![]);
    }
    let (_, others) = server.counts();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for conn in &conns {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let failure = conn.query("DELETE FROM t", list![]).unwrap_err();
                    assert_eq!(failure.code, "remote_unavailable");
                }
            });
        }
        let (probes, _) = server.counts();
        eventually("it is probed", || server.counts().0 >= probes + 3);
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(server.counts().1, others, "nothing but probes has come");
}

#[test]
fn connections_with_other_options_have_one_of_their_own_and_zero_is_none() {
    let server = patient();
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &server.mock.url(), &options(NEVER_MS)).unwrap();
    let never = open_with(&sidecar, &server.mock.url(), &[("breaker_failures", 0.into())]).unwrap();
    server.becomes(Ill::Gone);
    for _ in 0..10 {
        assert_eq!(never.query("DELETE FROM t", list![]).unwrap_err().code, "outcome_unknown");
    }
    assert_eq!(breaker(&conn).get("failures").int(), 0);
    server.becomes(Ill::Well);
    never.exec("DELETE FROM t");
}

#[test]
fn a_real_server_that_is_killed_stands_still_and_comes_back() {
    let Some(mut server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &server.url(), &options(20)).unwrap();
    conn.exec("CREATE TABLE t(a)");
    let given_up = |what: &str| {
        eventually(what, || {
            let failure = conn.within(300).query("DELETE FROM t", list![]);
            failure.is_err_and(|failure| failure.message.contains("circuit breaker"))
        });
    };
    let back = |what: &str| {
        eventually(what, || conn.within(5000).query("INSERT INTO t VALUES (1)", list![]).is_ok());
        conn.exec("DELETE FROM t");
    };
    server.kill();
    given_up("it is gone");
    server.go();
    back("it was started again");
    server.stop();
    given_up("it stands still");
    server.go_on();
    back("it goes on");
}
