//! What the network and what stands in it may do to a request, and what is said of it then: a read is repeated once, a write
//! never, and of what may have been committed nobody says that it was not.

use super::mock::{usual, Asked, Cutter, Mock, Says};
use super::{commit_id, open, open_with};
use crate::list;
use crate::sqld::Sqld;
use crate::support::{eventually, Conn, Sidecar, ENDLESS};
use crate::term::Term;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that answers as usual until `step` says something else of the request with this number, the opening being 0. Its
/// streams are called t… in a transaction and k… without one.
pub fn mock(mut step: impl FnMut(usize, &Asked) -> Option<Says> + Send + 'static) -> Mock {
    let mut number = 0;
    Mock::start(move |asked| {
        let said = step(number, asked);
        number += 1;
        let text = asked.body.to_string();
        let inside = asked.body["baton"].as_str().is_some_and(|baton| baton.starts_with('t'));
        let is_open =
            (inside || text.contains("BEGIN")) && !text.contains("COMMIT") && !text.contains("ROLLBACK");
        let baton = format!("{}{number}", if is_open { "t" } else { "k" });
        let closes = asked.kinds().iter().any(|kind| kind == "close");
        said.unwrap_or_else(|| usual(asked, !is_open, (!closes).then_some(baton.as_str())))
    })
}

fn html(status: u16) -> Says {
    let body = "<html><body>Bad gateway of the secret kind</body></html>";
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", body.len());
    Says::Raw((head + body).into_bytes())
}

fn ok_with(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Its name, what is said, what it makes of a read that may not be repeated, and whether it may be repeated.
type NoAnswer = (&'static str, fn() -> Says, &'static str, bool);

/// Everything that is no answer.
fn no_answers() -> Vec<NoAnswer> {
    vec![
        ("a socket that closes", || Says::Cut(vec![]), "remote_unavailable", true),
        ("half a head", || Says::Cut(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), "remote_unavailable", true),
        (
            "half a body",
            || Says::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"results\":[".to_vec()),
            "remote_unavailable",
            true,
        ),
        ("a gateway's page", || html(502), "remote_unavailable", true),
        ("a page with status 200", || Says::Raw(ok_with("<html>welcome</html>")), "remote_protocol", false),
        (
            "JSON that ends early",
            || Says::Raw(ok_with("{\"baton\":null,\"results\":[{\"ty")),
            "remote_protocol",
            false,
        ),
        (
            "JSON of another form",
            || Says::Json(200, json!({"results": [{"type": "novel"}]})),
            "remote_protocol",
            false,
        ),
        ("an internal error", || Says::Json(500, json!({"error": "Internal"})), "remote_protocol", false),
    ]
}

#[test]
fn a_read_without_an_answer_is_repeated_once() {
    for (name, says, code, again) in no_answers() {
        let server = mock(move |number, _| (number == 1).then(says));
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &server.url());
        let outcome = conn.query("SELECT 1", list![]);
        match again {
            true => assert!(outcome.is_ok(), "{name}: {outcome:?}"),
            false => assert_eq!(outcome.unwrap_err().code, code, "{name}"),
        }
        assert_eq!(server.count(), if again { 3 } else { 2 }, "{name}");
        let always = mock(move |number, _| (number > 0).then(says));
        let conn = open(&sidecar, &always.url());
        let failure = conn.query("SELECT 1", list![]).unwrap_err();
        assert_eq!(failure.code, code, "{name}: {}", failure.message);
        assert!(!failure.message.contains("secret"), "{}", failure.message);
        assert_eq!(always.count(), if again { 3 } else { 2 }, "{name}");
    }
}

#[test]
fn a_write_without_an_answer_is_unknown_and_never_repeated() {
    for (name, says, _, _) in no_answers() {
        let server = mock(move |number, _| (number == 1).then(says));
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &server.url());
        let failure = conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.tx_status), ("outcome_unknown", Some(0)), "{name}");
        assert_eq!(server.count(), 2, "{name}");
        assert!(conn.query("INSERT INTO t VALUES (2)", list![]).is_ok(), "{name}");
    }
}

#[test]
fn a_statement_of_a_transaction_without_an_answer_loses_it() {
    for (name, says, _, _) in no_answers() {
        let server = mock(move |number, _| (number == 2).then(says));
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &server.url());
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (1)");
        let failure = conn.query("SELECT 1", list![]).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.tx_status), ("transaction_lost", Some(3)), "{name}");
        assert_eq!(conn.commit().unwrap_err().code, "transaction_lost", "{name}");
        assert_eq!(conn.rollback(), Ok(0));
        assert_eq!(server.count(), 3, "{name}: nothing is sent for a lost one");
    }
}

#[test]
fn a_commit_without_an_answer_is_unknown() {
    for (name, says, _, _) in no_answers() {
        let server = mock(move |number, _| (number == 2).then(says));
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &server.url());
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (1)");
        let failure = conn.commit().unwrap_err();
        assert_eq!((failure.code.as_str(), failure.tx_status), ("outcome_unknown", Some(0)), "{name}");
        assert_eq!(server.count(), 3, "{name}");
        assert_eq!(conn.rollback().unwrap_err().code, "no_transaction");
    }
}

#[test]
fn refusals_have_codes_of_their_own() {
    for (status, body, code) in [
        (403, json!({"error": "Authorization forbidden"}), "forbidden"),
        (404, json!({"error": "Namespace `x` doesn't exist"}), "cannot_open"),
        (429, json!({"error": "slow down"}), "remote_unavailable"),
        (413, json!({"error": "too large"}), "remote_protocol"),
    ] {
        let server = {
            let body = body.clone();
            mock(move |number, _| (number > 0).then(|| Says::Json(status, body.clone())))
        };
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &server.url());
        // Of none of these has anything come.
        let failure = conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
        assert_eq!(failure.code, code, "{status}: {}", failure.message);
        assert_eq!(server.count(), 2);
    }
    let elsewhere = mock(|_, _| {
        Some(Says::Raw(b"HTTP/1.1 307 X\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n".to_vec()))
    });
    let sidecar = Sidecar::start();
    let failure = open_with(&sidecar, &elsewhere.url(), &[]).err().unwrap();
    assert_eq!(failure.code, "remote_protocol");
    assert!(failure.message.contains("redirections are not followed"), "{}", failure.message);
}

#[test]
fn a_kept_stream_that_is_gone_costs_nobody_anything() {
    for gone in ["Received an invalid baton", "STREAM_EXPIRED"] {
        let mut streams = 0;
        let server = mock(move |_, asked| {
            streams += usize::from(!asked.body["baton"].is_null());
            // The first one that comes again is gone.
            (!asked.body["baton"].is_null() && streams == 1)
                .then(|| Says::Json(400, json!({"message": gone, "code": gone})))
        });
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &server.url());
        conn.exec("INSERT INTO t VALUES (0)");
        // A busy caller's stream is kept from here on.
        conn.exec("INSERT INTO t VALUES (1)");
        conn.exec("INSERT INTO t VALUES (2)");
        conn.exec("INSERT INTO t VALUES (3)");
    }
}

/// Deadlines, cancellations and closes while the server says nothing.
#[test]
fn what_waits_for_a_silent_server_stops_when_it_has_to() {
    let server = mock(|number, _| (number > 0).then_some(Says::Nothing));
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    assert_eq!(conn.within(50).query("SELECT 1", list![]).unwrap_err().code, "timeout");
    let write = conn.within(50).query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!(write.code, "outcome_unknown");
    assert!(write.message.contains("the deadline passed"), "{}", write.message);
    let asked = server.count();
    let read = conn.start("SELECT 2");
    eventually("it is sent", || server.count() > asked);
    assert_eq!(conn.cancel(read), true.into());
    assert_eq!(conn.outcome(read).unwrap_err().code, "cancelled");
    let closed = conn.start("SELECT 3");
    eventually("it is sent", || server.count() > asked + 1);
    conn.close();
    assert_eq!(conn.outcome(closed).unwrap_err().code, "connection_closed");
    // The opening is under its deadline as well.
    let silent = Mock::start(|_| Says::Nothing);
    let request = crate::tuple![50, "", crate::term::map([("url", Term::from(silent.url()))])];
    assert_eq!(sidecar.call(crate::support::tag::OPEN, &request).unwrap_err().code, "timeout");
}

#[test]
fn the_end_of_input_waits_for_no_server() {
    let server = mock(|number, _| (number > 0).then_some(Says::Nothing));
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    let asked = server.count();
    conn.start("SELECT 1");
    eventually("it is sent", || server.count() > asked);
    let started = Instant::now();
    sidecar.end();
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_statement_that_is_stopped_stops_on_the_server() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    assert_eq!(conn.within(100).query(ENDLESS, list![]).unwrap_err().code, "timeout", "WITH that reads");
    let endless = format!("SELECT * FROM ({ENDLESS})");
    assert_eq!(conn.within(100).query(&endless, list![]).unwrap_err().code, "timeout");
    let running = conn.start(&endless);
    std::thread::sleep(Duration::from_millis(50));
    conn.cancel(running);
    assert_eq!(conn.outcome(running).unwrap_err().code, "cancelled");
    assert_eq!(conn.value("SELECT 1"), 1.into());
}

#[test]
fn a_server_that_hangs_is_left_by_the_deadline() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    server.stop();
    let failure = conn.within(200).query("INSERT INTO t VALUES (2)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("timeout", Some(3)));
    server.go_on();
    assert_eq!(conn.commit().unwrap_err().code, "transaction_lost");
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
}

/// A socket that is cut after each number of bytes in either direction: what is said of the commit is true.
#[test]
fn a_cut_socket_never_makes_a_lie_of_a_commit() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct.exec("CREATE TABLE t(a)");
    let unknown = Arc::new(AtomicUsize::new(0));
    let (mut committed, mut not) = (0, 0);
    for n in 0..24_u64 {
        let cutter = Cutter::before(server.address);
        let conn = open(&sidecar, &cutter.url());
        conn.begin("immediate").unwrap();
        conn.query("INSERT INTO t VALUES (?)", list![n]).unwrap();
        if n % 2 == 0 {
            cutter.up.store(n * 30 + 1, Ordering::SeqCst);
        } else {
            cutter.down.store(n * 30 + 1, Ordering::SeqCst);
        }
        let id = commit_id(&conn);
        let outcome = sidecar.answer(id);
        cutter.heal();
        let there = || is_there(&direct, n);
        match outcome.as_ref().map_err(|failure| failure.code.as_str()) {
            Ok(_) => {
                committed += 1;
                assert!(there(), "{n} was acknowledged");
            }
            Err("outcome_unknown") => {
                unknown.fetch_add(1, Ordering::SeqCst);
            }
            Err("transaction_lost" | "remote_unavailable") => {
                not += 1;
                let _ = conn.rollback();
                assert!(!there(), "{n} is there although it failed");
            }
            Err(other) => panic!("{n}: {other}"),
        }
        conn.close();
    }
    assert!(unknown.load(Ordering::SeqCst) > 0, "{committed} committed, {not} not");
}

/// Whether the row is there, once the server has let go of whatever it was in.
fn is_there(conn: &Conn<'_>, n: u64) -> bool {
    conn.exec("BEGIN IMMEDIATE");
    let found = conn.query("SELECT count(*) FROM t WHERE a = ?", list![n]).unwrap().value().int();
    conn.exec("ROLLBACK");
    assert!(found <= 1);
    found == 1
}
