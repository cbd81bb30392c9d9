//! What is said of a transaction is true: nothing that was promised, lost or begun by this program runs by itself, and what may
//! have been committed is never told as if it had not been.

use super::faults::mock;
use super::mock::{relay, usual, Asked, Mischief, Mock, Says};
use super::open;
use crate::list;
use crate::sqld::Sqld;
use crate::support::{numbers, tag, Conn, Sidecar};
use crate::term::map;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A switch: what the relay does while it is on.
fn switched(
    server: &Sqld,
    word: &'static str,
    mischief: impl Fn() -> Mischief + Send + 'static,
) -> (Mock, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let is_on = Arc::clone(&on);
    let relay = relay(server.address, move |asked: &Asked| {
        (is_on.load(Ordering::SeqCst) && asked.body.to_string().contains(word)).then(&mischief)
    });
    (relay, on)
}

fn count(conn: &Conn<'_>, table: &str) -> i64 {
    conn.value(&format!("SELECT count(*) FROM {table}")).int()
}

#[test]
fn a_transaction_of_the_programs_own_never_outlives_its_request() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct
        .script(
            "CREATE TABLE p(id INTEGER PRIMARY KEY);
             CREATE TABLE c(p INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TABLE t(a)",
        )
        .unwrap();
    let violates = "INSERT INTO c VALUES (99) RETURNING p";
    let conn = open(&sidecar, &server.url());
    let failures = [
        conn.query_one(violates, list![]).unwrap_err(),
        conn.query_with(violates, list![], map([("rows_max", 5)])).unwrap_err(),
    ];
    for failure in failures {
        assert_eq!((failure.code.as_str(), failure.tx_status), ("constraint_foreign_key", Some(0)));
    }
    assert_eq!(conn.exec("INSERT INTO t VALUES (1)").tx_status, 0);
    assert_eq!(count(&direct, "t"), 1, "what was answered as done is there");
    for status in [401, 429] {
        let (relay, on) = switched(&server, "COMMIT", move || {
            Mischief::Before(Says::Json(status, json!({"error": "not now"})))
        });
        let conn = open(&sidecar, &relay.url());
        on.store(true, Ordering::SeqCst);
        let before = count(&direct, "t");
        let failure = conn.query_one("INSERT INTO t VALUES (2) RETURNING a", list![]).unwrap_err();
        assert_eq!(failure.tx_status, Some(0), "{status}: {}", failure.code);
        on.store(false, Ordering::SeqCst);
        assert_eq!(conn.exec("INSERT INTO t VALUES (3)").tx_status, 0, "{status}");
        assert_eq!(count(&direct, "t"), before + 1, "{status}");
    }
}

#[test]
fn a_statement_that_cannot_be_undone_loses_the_transaction_around_it() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct.exec("CREATE TABLE t(a)");
    let cut = || Mischief::After(Says::Cut(vec![]));
    let busy = || Mischief::Before(Says::Json(429, json!({"error": "not now"})));
    for says in [cut as fn() -> Mischief, busy] {
        let (relay, on) = switched(&server, "RELEASE libsql_port_query_one", says);
        let conn = open(&sidecar, &relay.url());
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (1)");
        on.store(true, Ordering::SeqCst);
        conn.query_one("INSERT INTO t VALUES (2) RETURNING a", list![]).unwrap_err();
        on.store(false, Ordering::SeqCst);
        let failure = conn.query("INSERT INTO t VALUES (3)", list![]).unwrap_err();
        assert_eq!(failure.code, "transaction_lost", "{}", failure.message);
        assert_eq!(conn.rollback(), Ok(0));
        assert_eq!(count(&direct, "t"), 0);
    }
}

#[test]
fn a_batch_that_holds_its_own_commit_is_in_doubt_without_an_answer() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct.exec("CREATE TABLE t(a)");
    for (begin, end) in [("BEGIN", "COMMIT"), ("SAVEPOINT a", "RELEASE a")] {
        let (relay, on) = switched(&server, "INSERT", || Mischief::After(Says::Cut(vec![])));
        let conn = open(&sidecar, &relay.url());
        conn.exec(begin);
        conn.exec("SELECT 1");
        on.store(true, Ordering::SeqCst);
        let items = [("INSERT INTO t VALUES (77)", list![]), (end, list![])];
        let failure = conn.batch(false, &items).unwrap_err();
        assert_eq!(failure.code, "outcome_unknown", "{end}: {}", failure.message);
        let _ = conn.rollback();
    }
    assert_eq!(count(&direct, "t"), 2, "they were committed");
}

#[test]
fn what_says_nothing_of_the_request_leaves_it_in_doubt() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct.exec("CREATE TABLE t(a)");
    for status in [202, 206, 303, 400, 404, 408, 410, 499] {
        let (relay, on) = switched(&server, "TABLE_T", move || {
            Mischief::After(Says::Json(status, json!({"error": "nope"})))
        });
        let conn = open(&sidecar, &relay.url());
        conn.exec("INSERT INTO t VALUES (0)");
        on.store(true, Ordering::SeqCst);
        let before = count(&direct, "t");
        let failure = conn.query("INSERT INTO t VALUES (1) -- TABLE_T", list![]).unwrap_err();
        assert_eq!(failure.code, "outcome_unknown", "{status}: {}", failure.message);
        assert_eq!(count(&direct, "t"), before + 1, "{status}: it ran once");
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (2)");
        let failure = conn.query("COMMIT -- TABLE_T", list![]).unwrap_err();
        assert_eq!(failure.code, "outcome_unknown", "{status}: {}", failure.message);
        assert_eq!(count(&direct, "t"), before + 2, "{status}: it was committed");
    }
}

/// As proxies do that send a request once more when their own connection to the server broke.
#[test]
fn a_baton_that_was_used_already_says_that_somebody_ran_the_request() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct.exec("CREATE TABLE t(a)");
    let (relay, on) = switched(&server, "AGAIN", || Mischief::Twice);
    let conn = open(&sidecar, &relay.url());
    on.store(true, Ordering::SeqCst);
    conn.exec("INSERT INTO t VALUES (0)");
    conn.exec("INSERT INTO t VALUES (0)");
    // On a kept stream by now.
    let failure = conn.query("INSERT INTO t VALUES (1) -- AGAIN", list![]).unwrap_err();
    assert_eq!(failure.code, "outcome_unknown", "{}", failure.message);
    assert_eq!(count(&direct, "t"), 3, "it ran once");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (2)");
    let failure = conn.query("COMMIT -- AGAIN", list![]).unwrap_err();
    assert_eq!(failure.code, "outcome_unknown", "{}", failure.message);
    assert_eq!(count(&direct, "t"), 4, "it was committed");
}

#[test]
fn after_an_inner_release_without_an_answer_nothing_runs_by_itself() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let direct = open(&sidecar, &server.url());
    direct.exec("CREATE TABLE t(a)");
    let (relay, on) = switched(&server, "RELEASE", || Mischief::After(Says::Cut(vec![])));
    let conn = open(&sidecar, &relay.url());
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    conn.call(tag::SAVEPOINT, ["a".into()]).unwrap();
    conn.exec("INSERT INTO t VALUES (2)");
    on.store(true, Ordering::SeqCst);
    let failure = conn.call(tag::RELEASE, ["a".into()]).unwrap_err();
    assert_eq!(failure.code, "transaction_lost", "{}", failure.message);
    assert_eq!(conn.query("INSERT INTO t VALUES (3)", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(conn.commit().unwrap_err().code, "transaction_lost");
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(count(&direct, "t"), 0);
    // The release of the savepoint that began it may have committed it, and nothing runs by itself until it is ended.
    on.store(false, Ordering::SeqCst);
    conn.call(tag::SAVEPOINT, ["a".into()]).unwrap();
    conn.exec("INSERT INTO t VALUES (4)");
    on.store(true, Ordering::SeqCst);
    let failure = conn.call(tag::RELEASE, ["a".into()]).unwrap_err();
    assert_eq!(failure.code, "outcome_unknown", "{}", failure.message);
    assert_eq!(conn.query("INSERT INTO t VALUES (5)", list![]).unwrap_err().code, "outcome_unknown");
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(direct.exec("SELECT a FROM t").rows, [[4.into()]]);
}

#[test]
fn a_begin_whose_stream_is_not_kept_is_none() {
    // Open by its own word, and no baton.
    let server = Mock::start(|asked| usual(asked, !asked.body.to_string().contains("BEGIN"), None));
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    assert_eq!(conn.query("BEGIN", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(conn.rollback(), Ok(0));
    // A commit after which the transaction is open, by the server's word.
    let server = Mock::start(|asked| {
        let is_opening = !asked.body.to_string().contains("INSERT") && asked.body["baton"].is_null();
        usual(asked, is_opening, Some("b"))
    });
    let conn = open(&sidecar, &server.url());
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    assert_eq!(conn.commit().unwrap_err().code, "outcome_unknown");
}

#[test]
fn after_a_promised_begin_that_fails_nothing_runs_by_itself() {
    let server = mock(|_, asked| {
        asked.body.to_string().contains("BEGIN IMMEDIATE").then(|| {
            let busy = json!({"message": "SQLite error: database is locked", "code": "SQLITE_BUSY"});
            let batch = json!({"type": "batch", "result":
                {"step_results": [null, null], "step_errors": [busy, null]}});
            let autocommit = json!({"type": "get_autocommit", "is_autocommit": true});
            let ok = |response| json!({"type": "ok", "response": response});
            Says::Json(200, json!({"baton": "b", "base_url": null, "results": [ok(batch), ok(autocommit)]}))
        })
    });
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    assert_eq!(conn.begin("immediate"), Ok(1));
    let failure = conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("busy", Some(1)));
    assert_eq!(conn.query("INSERT INTO t VALUES (2)", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(conn.rollback(), Ok(0));
    assert!(conn.query("INSERT INTO t VALUES (3)", list![]).is_ok());
}

#[test]
fn what_ends_a_transaction_is_told_from_what_ends_a_savepoint() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    for sql in ["RELEASE nope", "ROLLBACK/**/TO nope", "ROLLBACK TRANSACTION /* x */ TO nope"] {
        conn.begin("immediate").unwrap();
        let failure = conn.query(sql, list![]).unwrap_err();
        assert_eq!(failure.code, "sql_error", "{sql}: {}", failure.message);
        assert!(failure.tx_status.is_some_and(|status| status >= 2), "{sql}");
        conn.exec("INSERT INTO t VALUES (1)");
        assert_eq!(conn.commit(), Ok(0), "{sql}");
    }
    assert_eq!(count(&conn, "t"), 3);
    let (relay, on) = switched(&server, "INSERT", || Mischief::Before(Says::Cut(vec![])));
    let conn = open(&sidecar, &relay.url());
    conn.begin("immediate").unwrap();
    conn.exec("SELECT 1");
    on.store(true, Ordering::SeqCst);
    assert_eq!(conn.query("INSERT INTO t VALUES (2)", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(conn.query("ROLLBACK/**/TO x", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(conn.exec("ROLLBACK /* back to the start */").tx_status, 0);
}

/// The client gives no credit, and what has been committed is answered as done.
#[test]
fn what_has_been_committed_waits_for_nobody() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    let sql = format!("INSERT INTO t SELECT hex(randomblob(200)) FROM ({}) RETURNING a", numbers(3000));
    let options = map([("credits", 1), ("chunk_bytes", 10_000)]);
    let id = conn.within(3000).send(tag::EXECUTE, [sql.as_str().into(), list![], options]);
    let mut frames = 0;
    let last = loop {
        let frame = sidecar.receive(id);
        frames += 1;
        if frame.tag != tag::ROWS {
            break frame;
        }
    };
    assert_eq!(last.tag, tag::RESULT, "{:?}", last.payload);
    assert!(frames > 10, "it came in chunks");
    assert_eq!(count(&conn, "t"), 3000);
}
