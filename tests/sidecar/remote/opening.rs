//! Where a server is, who asks, and what is refused before anything is sent.

use super::mock::{usual, Mock, Says};
use super::{open, open_with};
use crate::sqld::Sqld;
use crate::support::{tag, Sidecar};
use crate::term::{atom, nil, Term};
use crate::{list, tuple};
use serde_json::json;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

#[test]
fn the_info_says_where_the_database_is() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    assert_eq!(conn.info.get("path").text(), server.url());
    assert_eq!(conn.info.get("mode").text(), "remote");
    assert_eq!((conn.info.get("journal_mode"), conn.info.get("read_only")), (&nil(), &false.into()));
    assert_eq!(conn.value("SELECT 1"), 1.into());
    let folder = tempfile::tempdir().unwrap();
    let local = sidecar.open(folder.path().join("a.db"));
    assert_eq!(local.info.get("mode").text(), "local");
}

#[test]
fn what_cannot_be_reached_says_at_which_step() {
    let sidecar = Sidecar::start();
    // Bound and not listening any more.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = open_with(&sidecar, &format!("http://{free}"), &[]).err().unwrap();
    assert_eq!(refused.code, "remote_unavailable");
    assert!(refused.message.contains("is the server running"), "{}", refused.message);
    let unknown = open_with(&sidecar, "https://no-such-host.invalid", &[]).err().unwrap();
    assert_eq!(unknown.code, "remote_unavailable");
    assert!(unknown.message.contains("its name is not found"), "{}", unknown.message);
    // A server that speaks no TLS.
    let plain = Mock::start(|asked| usual(asked, true, None));
    let tls = open_with(&sidecar, &format!("https://{}", plain.address), &[]).err().unwrap();
    assert_eq!(tls.code, "remote_unavailable");
    assert!(tls.message.contains("TLS failed"), "{}", tls.message);
    // One that takes the socket and says nothing to a handshake.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let late = open_with(&sidecar, &url, &[("connect_timeout_ms", 100.into())]).err().unwrap();
    assert_eq!(late.code, "remote_unavailable");
    assert!(late.message.contains("connect_timeout_ms"), "{}", late.message);
}

#[test]
fn options_that_mean_nothing_to_a_server_are_refused_by_name() {
    let sidecar = Sidecar::start();
    for (key, value) in
        [("memory", Term::from(true)), ("mode", atom("read_only")), ("untrusted_sql", true.into())]
    {
        let failure = open_with(&sidecar, "http://127.0.0.1:1", &[(key, value)]).err().unwrap();
        assert_eq!(failure.code, "unsupported");
        assert!(failure.message.contains(key), "{}", failure.message);
    }
    for (url, words) in [("ftp://h", "libsql://"), ("http://10.0.0.1", "tls: false")] {
        let failure = open_with(&sidecar, url, &[]).err().unwrap();
        assert_eq!(failure.code, "invalid_option");
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    let failure = open_with(&sidecar, "http://127.0.0.1:1", &[("ca_file", "/no/such".into())]).err().unwrap();
    assert_eq!(failure.code, "invalid_option");
}

#[test]
fn the_token_and_the_namespace_travel_in_headers() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mock = {
        let seen = Arc::clone(&seen);
        Mock::start(move |asked| {
            assert_eq!(asked.path, "/v3/pipeline");
            let header = |name| asked.header(name).unwrap_or_default().to_owned();
            seen.lock().unwrap().push([
                header("authorization"),
                header("x-namespace"),
                header("x-namespace-bin"),
            ]);
            usual(asked, true, None)
        })
    };
    let sidecar = Sidecar::start();
    let options = [("auth_token", "ey.J".into()), ("namespace", "tenant".into())];
    open_with(&sidecar, &mock.url(), &options).unwrap();
    open_with(&sidecar, &format!("{}?authToken=a.b", mock.url()), &[]).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], ["Bearer ey.J", "tenant", "dGVuYW50"]);
    assert_eq!(seen[1], ["Bearer a.b", "", ""]);
}

/// Answers the next call of the connection with a token; returns the request that waits.
fn answer_call(sidecar: &Sidecar, token: &str) -> i64 {
    let call = sidecar.receive(0);
    assert_eq!(call.tag, tag::CALL);
    let fields = call.payload.items();
    assert_eq!((fields[3].int(), &fields[4]), (9, &atom("auth_token")));
    let answer = tuple![fields[0].clone(), fields[1].clone(), tuple![atom("ok"), token]];
    sidecar.send(tag::ANSWER, &answer);
    fields[2].int()
}

#[test]
fn a_token_is_asked_for_when_it_is_needed_and_a_transaction_goes_on_with_a_fresh_one() {
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let mock = {
        let tokens = Arc::clone(&tokens);
        let mut batons = 0;
        Mock::start(move |asked| {
            let token = asked.header("authorization").unwrap_or_default().to_owned();
            let baton = asked.body["baton"].as_str().map(str::to_owned);
            let mut tokens = tokens.lock().unwrap();
            tokens.push((token.clone(), baton));
            // The first token is good for the opening and for one statement.
            if token == "Bearer one" && tokens.len() > 2 {
                return Says::Json(401, json!({"error": "Unauthorized: `The JWT has expired`"}));
            }
            batons += 1;
            usual(asked, asked.body["baton"].is_null() && tokens.len() < 2, Some(&format!("b{batons}")))
        })
    };
    let sidecar = Sidecar::start();
    let request =
        tuple![30_000, "", crate::term::map([("url", Term::from(mock.url())), ("ask_auth_token", 9.into())])];
    let opening = sidecar.send(tag::OPEN, &request);
    assert_eq!(answer_call(&sidecar, "one"), i64::from(opening));
    let opened = sidecar.answer(opening).unwrap();
    let id = opened.items()[0].int();
    let conn = crate::support::Conn {
        sidecar: &sidecar,
        id,
        info: nil(),
        timeout_ms: 30_000,
        lock_timeout_ms: None,
    };
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let second = conn.start("INSERT INTO t VALUES (2)");
    assert_eq!(answer_call(&sidecar, "two"), i64::from(second));
    assert_eq!(conn.outcome(second).unwrap().tx_status, 3);
    let tokens = tokens.lock().unwrap();
    let told: Vec<_> = tokens.iter().map(|(token, baton)| (token.as_str(), baton.as_deref())).collect();
    let (one, two) = ("Bearer one", "Bearer two");
    // The opening leaves no stream; what was refused is sent again with the same baton.
    assert_eq!(told[2..], [(one, Some("b2")), (two, Some("b2"))], "{told:?}");
    drop(tokens);
    // Refused again, it is an error, and the transaction still there.
    assert_eq!(conn.call(tag::SAVEPOINT, ["a".into()]).map(|status| status.int()), Ok(3));
}

#[test]
fn no_token_is_an_error_of_the_request_that_needed_it() {
    let mock = Mock::start(|asked| usual(asked, true, None));
    let sidecar = Sidecar::start();
    let options = crate::term::map([("url", Term::from(mock.url())), ("ask_auth_token", true.into())]);
    let opening = sidecar.send(tag::OPEN, &tuple![30_000, "", options.clone()]);
    let call = sidecar.receive(0);
    let fields = call.payload.items();
    let refused = tuple![fields[0].clone(), fields[1].clone(), tuple![atom("error"), "the vault is shut"]];
    sidecar.send(tag::ANSWER, &refused);
    let failure = sidecar.answer(opening).unwrap_err();
    assert_eq!(failure.code, "callback_failed");
    assert!(failure.message.contains("the vault is shut"));
    let late = sidecar.send(tag::OPEN, &tuple![50, "", options]);
    assert_eq!(sidecar.answer(late).unwrap_err().code, "timeout");
    assert_eq!(mock.count(), 0);
}

#[test]
fn a_token_that_is_refused_is_unauthorized_and_never_told() {
    let mock = Mock::start(|_| Says::Json(401, json!({"error": "Unauthorized"})));
    let sidecar = Sidecar::start_with(&["--log-level", "debug"]);
    let failure = open_with(&sidecar, &mock.url(), &[("auth_token", "s3cret".into())]).err().unwrap();
    assert_eq!(failure.code, "unauthorized");
    assert!(!failure.message.contains("s3cret"));
    let url = format!("{}?authToken=s3cret", mock.url());
    let failure = open_with(&sidecar, &url, &[]).err().unwrap();
    assert!(failure.code == "unauthorized" && !failure.message.contains("s3cret"));
    assert!(!sidecar.end().contains("s3cret"));
}

#[test]
fn what_a_server_has_not_is_unsupported_by_name() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    let failure = conn.call(tag::CHECKPOINT, [atom("passive")]).unwrap_err();
    assert_eq!(failure.code, "unsupported");
    assert!(failure.message.contains("checkpoint"), "{}", failure.message);
    for sql in ["VACUUM", "CREATE TEMP TABLE z(a)", "PRAGMA journal_mode = delete"] {
        let failure = conn.query(sql, list![]).unwrap_err();
        assert_eq!(failure.code, "unsupported", "{sql}: {}", failure.message);
    }
    conn.begin("immediate").unwrap();
    conn.exec("CREATE TABLE t(a)");
    assert_eq!(conn.query("ATTACH 'x.db' AS x", list![]).unwrap_err().code, "unsupported");
    assert_eq!(conn.script("SELECT 1; DETACH x").unwrap_err().code, "unsupported");
    assert_eq!(conn.commit(), Ok(0), "the server would have ended the transaction");
    assert_eq!(conn.value("SELECT 1"), 1.into(), "the connection works on");
}
