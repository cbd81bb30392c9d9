//! Transactions: what ends them, and that nothing of one that was ended by somebody else is ever called committed.

use super::{open, open_with};
use crate::sqld::Sqld;
use crate::support::{tag, Sidecar};
use crate::term::Term;
use crate::{list, tuple};
use std::time::{Duration, Instant};

#[test]
fn begin_to_savepoint() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let (conn, other) = (open(&sidecar, &server.url()), open(&sidecar, &server.url()));
    conn.exec("CREATE TABLE t(a)");
    // The server hears of it with the first statement.
    assert_eq!(conn.begin("immediate"), Ok(1));
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(conn.begin("immediate"), Ok(1));
    assert_eq!(conn.exec("SELECT count(*) FROM t").tx_status, 2);
    assert_eq!(conn.exec("INSERT INTO t VALUES (1)").tx_status, 3);
    assert_eq!(other.value("SELECT count(*) FROM t"), 0.into());
    let status = |tag, name: &str| conn.call(tag, [name.into()]).map(|status| status.int());
    assert_eq!(status(tag::SAVEPOINT, "a\"b"), Ok(3));
    conn.exec("INSERT INTO t VALUES (2)");
    assert_eq!(status(tag::ROLLBACK_TO, "a\"b"), Ok(3));
    assert_eq!(status(tag::RELEASE, "a\"b"), Ok(3));
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(other.value("SELECT count(*) FROM t"), 1.into());
    // A savepoint outside of a transaction begins one, whose release commits.
    assert_eq!(status(tag::SAVEPOINT, "s"), Ok(2));
    conn.exec("INSERT INTO t VALUES (3)");
    assert_eq!(status(tag::RELEASE, "s"), Ok(0));
    // As statements.
    for sql in ["BEGIN", "INSERT INTO t VALUES (4)"] {
        conn.exec(sql);
    }
    assert_eq!(conn.begin("deferred").unwrap_err().code, "transaction_open");
    assert_eq!(conn.exec("COMMIT").tx_status, 0);
    for sql in ["BEGIN IMMEDIATE", "INSERT INTO t VALUES (5)"] {
        conn.exec(sql);
    }
    assert_eq!(conn.exec("ROLLBACK").tx_status, 0);
    assert_eq!(other.value("SELECT count(*) FROM t"), 3.into());
    assert_eq!(conn.commit().unwrap_err().code, "no_transaction");
    assert_eq!(conn.rollback().unwrap_err().code, "no_transaction");
}

#[test]
fn a_commit_that_fails_leaves_the_transaction_open() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.script(
        "CREATE TABLE p(id INTEGER PRIMARY KEY);
         CREATE TABLE c(p INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)",
    )
    .unwrap();
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO c VALUES (1)");
    let failure = conn.commit().unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("constraint_foreign_key", Some(3)));
    conn.exec("INSERT INTO p VALUES (1)");
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM c"), 1.into());
}

#[test]
fn an_error_in_a_transaction_leaves_it_open_unless_the_engine_ends_it() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a UNIQUE)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let failure = conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("constraint_unique", Some(3)));
    let failure = conn.query("INSERT OR ROLLBACK INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("constraint_unique", Some(0)));
    assert_eq!(conn.commit().unwrap_err().code, "no_transaction");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    // What the server does not take is not what ends it, whether it is the first statement or a later one.
    assert_eq!(conn.begin("immediate"), Ok(1));
    for (sql, status) in [("VACUUM", 1), ("INSERT INTO t VALUES (1)", 3), ("VACUUM", 3)] {
        match conn.query(sql, list![]) {
            Ok(outcome) => assert_eq!(outcome.tx_status, status, "{sql}"),
            Err(failure) => {
                assert_eq!((failure.code.as_str(), failure.tx_status), ("unsupported", Some(status)));
            }
        }
    }
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}

#[test]
fn requests_of_a_transaction_that_has_ended_do_not_run() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    let inside = |rest: Vec<Term>| {
        let mut fields = vec![tuple![conn.id, 7], 30_000.into()];
        fields.extend(rest);
        Term::Tuple(fields)
    };
    sidecar.call(tag::BEGIN, &inside(vec![crate::term::atom("immediate")])).unwrap();
    let id = sidecar.send(tag::EXECUTE, &inside(vec!["INSERT INTO t VALUES (1)".into(), list![]]));
    assert_eq!(conn.outcome(id).unwrap().tx_status, 3);
    sidecar.call(tag::COMMIT, &inside(vec![])).unwrap();
    let id = sidecar.send(tag::EXECUTE, &inside(vec!["INSERT INTO t VALUES (2)".into(), list![]]));
    assert_eq!(conn.outcome(id).unwrap_err().code, "no_transaction");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}

/// A server gives the lock of a transaction to a writer that has waited, five seconds after it was taken. What follows in
/// the first transaction would run by itself, and its commit would say that all is well.
#[test]
fn a_transaction_whose_lock_was_given_away_is_lost_as_a_whole() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let (first, second) = (open(&sidecar, &server.url()), open(&sidecar, &server.url()));
    first.exec("CREATE TABLE t(a)");
    first.begin("immediate").unwrap();
    first.exec("INSERT INTO t VALUES ('first')");
    // Waits until the lock is its own.
    second.exec("INSERT INTO t VALUES ('second')");
    let failure = first.query("INSERT INTO t VALUES ('later')", list![]).unwrap_err();
    assert_eq!(failure.code, "transaction_lost", "{}", failure.message);
    assert_eq!(first.query("INSERT INTO t VALUES ('last')", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(first.query("SELECT 1", list![]).unwrap_err().code, "transaction_lost");
    assert_eq!(first.commit().unwrap_err().code, "transaction_lost");
    assert_eq!(first.rollback(), Ok(0));
    assert_eq!(first.exec("SELECT a FROM t").rows, [["second".into()]]);
    first.exec("INSERT INTO t VALUES ('again')");
}

#[test]
fn a_commit_after_the_lock_was_given_away_is_not_one() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let (first, second) = (open(&sidecar, &server.url()), open(&sidecar, &server.url()));
    first.exec("CREATE TABLE t(a)");
    first.begin("immediate").unwrap();
    first.exec("INSERT INTO t VALUES ('first')");
    second.exec("INSERT INTO t VALUES ('second')");
    let failure = first.commit().unwrap_err();
    assert_eq!(failure.code, "transaction_lost", "{}", failure.message);
    assert_eq!(first.rollback(), Ok(0));
    assert_eq!(first.exec("SELECT a FROM t").rows, [["second".into()]]);
}

#[test]
fn a_server_that_was_killed_has_lost_the_transaction() {
    let Some(mut server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    server.kill();
    // Whether it is sent depends on who is quicker, the end of the socket or the statement: if not, nothing is known yet.
    let code = conn.query("INSERT INTO t VALUES (2)", list![]).unwrap_err().code;
    assert!(["remote_unavailable", "transaction_lost"].contains(&&*code), "{code}");
    server.go();
    let failure = conn.query("INSERT INTO t VALUES (3)", list![]).unwrap_err();
    assert_eq!(failure.code, "transaction_lost", "{}", failure.message);
    assert_eq!(conn.commit().unwrap_err().code, "transaction_lost");
    assert_eq!(conn.call(tag::RESET, []), Ok(crate::term::nil()));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
}

#[test]
fn a_stream_that_has_expired_has_lost_the_transaction() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    conn.begin("deferred").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    // The server gives a stream up after ten seconds without a request.
    std::thread::sleep(Duration::from_secs(13));
    let failure = conn.commit().unwrap_err();
    assert_eq!(failure.code, "transaction_lost", "{}", failure.message);
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
}

#[test]
fn a_busy_begin_is_an_error_of_the_first_statement() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let (first, second) = (open(&sidecar, &server.url()), open(&sidecar, &server.url()));
    first.exec("CREATE TABLE t(a)");
    first.begin("immediate").unwrap();
    first.exec("INSERT INTO t VALUES (1)");
    second.begin("immediate").unwrap();
    let started = Instant::now();
    // It waits for the lock as long as its time allows, and the transaction is lost with it.
    let failure = second.within(300).query("INSERT INTO t VALUES (2)", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout", "{}", failure.message);
    assert!(started.elapsed() < Duration::from_secs(4), "the server gives the lock away after five");
    assert_eq!(second.commit().unwrap_err().code, "transaction_lost");
    assert_eq!(second.rollback(), Ok(0));
    assert_eq!(first.commit(), Ok(0));
    assert_eq!(second.value("SELECT count(*) FROM t"), 1.into());
}

#[test]
fn closing_a_connection_ends_its_transaction_on_the_server() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let options = [("stream_idle_ms", Term::from(0))];
    let first = open_with(&sidecar, &server.url(), &options).unwrap();
    first.exec("CREATE TABLE t(a)");
    first.begin("immediate").unwrap();
    first.exec("INSERT INTO t VALUES (1)");
    let started = Instant::now();
    first.close();
    let second = open_with(&sidecar, &server.url(), &options).unwrap();
    second.exec("INSERT INTO t VALUES (2)");
    assert!(started.elapsed() < Duration::from_secs(4), "it waited for the lock to be given away");
    assert_eq!(second.exec("SELECT a FROM t").rows, [[Term::from(2)]]);
}
