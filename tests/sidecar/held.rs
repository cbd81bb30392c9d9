//! Transactions that have a number: who is inside, who waits, and that nothing runs after their end.

use crate::list;
use crate::support::*;
use crate::term::*;
use crate::tuple;
use std::time::Duration;

/// A request to `transaction` of the connection.
fn send(conn: &Conn<'_>, transaction: u32, tag: u8, rest: impl IntoIterator<Item = Term>) -> u32 {
    let head = [tuple![conn.id, transaction], Term::from(conn.timeout_ms)];
    conn.sidecar.send(tag, &Term::Tuple(head.into_iter().chain(rest).collect()))
}

fn call(
    conn: &Conn<'_>,
    transaction: u32,
    tag: u8,
    rest: impl IntoIterator<Item = Term>,
) -> Result<Term, Failure> {
    let id = send(conn, transaction, tag, rest);
    conn.sidecar.answer(id)
}

fn execute(conn: &Conn<'_>, transaction: u32, sql: &str) -> Result<Outcome, Failure> {
    let id = send(conn, transaction, tag::EXECUTE, [sql.into(), list![]]);
    conn.outcome(id)
}

fn answers(conn: &Conn<'_>, id: u32) -> bool {
    matches!(conn.sidecar.receive_within(id, Duration::ZERO), Ok(Some(_)))
}

#[test]
fn the_requests_of_others_wait_until_the_transaction_ends() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    call(&conn, 300, tag::BEGIN, [atom("immediate")]).unwrap();
    execute(&conn, 300, "INSERT INTO t VALUES ('inside')").unwrap();
    let waiting = conn.start("INSERT INTO t VALUES ('outside')");
    let next = send(&conn, 301, tag::BEGIN, [atom("immediate")]);
    // They were sent before this, which is answered.
    assert_eq!(execute(&conn, 300, "SELECT count(*) FROM t").unwrap().value(), &1.into());
    assert_eq!(conn.status().get("autocommit"), &false.into(), "the status does not wait");
    assert!(!answers(&conn, waiting) && !answers(&conn, next));
    call(&conn, 300, tag::ROLLBACK, []).unwrap();
    conn.outcome(waiting).unwrap();
    sidecar.answer(next).unwrap();
    assert_eq!(execute(&conn, 301, "SELECT a FROM t").unwrap().value(), &"outside".into());
    call(&conn, 301, tag::COMMIT, []).unwrap();
}

#[test]
fn who_waits_keeps_its_deadline_and_can_be_cancelled() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    call(&conn, 300, tag::BEGIN, [atom("deferred")]).unwrap();
    assert_eq!(conn.within(50).query("SELECT 1", list![]).unwrap_err().code, "timeout");
    let waiting = conn.start("SELECT 1");
    assert_eq!(conn.cancel(waiting), true.into());
    assert_eq!(conn.outcome(waiting).unwrap_err().code, "cancelled");
    call(&conn, 300, tag::COMMIT, []).unwrap();
    conn.exec("SELECT 1");
}

#[test]
fn nothing_runs_in_a_transaction_that_has_ended() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    conn.exec("INSERT INTO t VALUES (1)");
    let statement = conn.call(tag::PREPARE, ["INSERT INTO t VALUES (7)".into()]).unwrap();
    let Term::Tuple(statement) = statement else { panic!() };
    let insert = "INSERT INTO t VALUES (2)";
    for (number, end) in [(300, "INSERT OR ROLLBACK INTO t VALUES (1)"), (301, "COMMIT"), (302, "ROLLBACK")] {
        call(&conn, number, tag::BEGIN, [atom("immediate")]).unwrap();
        let _ = execute(&conn, number, end);
        let requests = [
            (tag::EXECUTE, vec![insert.into(), list![]]),
            (tag::QUERY_ONE, vec!["INSERT INTO t VALUES (2) RETURNING a".into(), list![]]),
            (tag::EXECUTE_PREPARED, vec![statement[0].clone(), list![]]),
            (tag::DECLARE, vec!["INSERT INTO t VALUES (2) RETURNING a".into(), list![]]),
            (tag::SCRIPT, vec![insert.into()]),
            (tag::BATCH, vec![true.into(), list![tuple![insert, list![]]]]),
            (tag::BATCH, vec![false.into(), list![tuple![insert, list![]]]]),
            (tag::SAVEPOINT, vec!["s".into()]),
            (tag::RELEASE, vec!["s".into()]),
            (tag::PREPARE, vec![insert.into()]),
            (tag::COMMIT, vec![]),
            (tag::ROLLBACK, vec![]),
        ];
        for transaction in [number, 0] {
            for (tag, rest) in requests.clone() {
                let failure = call(&conn, transaction, tag, rest).unwrap_err();
                assert_eq!(failure.code, "no_transaction", "{end}, tag {tag} in {transaction}");
            }
        }
        assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into(), "{end}");
    }
}

#[test]
fn nothing_runs_behind_the_statement_that_ended_the_transaction() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    conn.exec("INSERT INTO t VALUES (1)");
    for (number, end) in [(300, "INSERT OR ROLLBACK INTO t VALUES (1)"), (301, "ROLLBACK"), (302, "COMMIT")] {
        call(&conn, number, tag::BEGIN, [atom("deferred")]).unwrap();
        let items = list![tuple![end, list![]], tuple!["INSERT INTO t VALUES (2)", list![]]];
        let id = send(&conn, number, tag::BATCH, [false.into(), items]);
        let Term::Tuple(reply) = sidecar.receive(id).payload else { panic!() };
        let Term::List(items) = &reply[0] else { panic!("{reply:?}") };
        let Term::Tuple(refused) = &items[1] else { panic!("{items:?}") };
        assert_eq!(Failure::of(&refused[1]).code, "no_transaction", "{end}");
        assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into(), "batch, {end}");
    }
    call(&conn, 303, tag::BEGIN, [atom("deferred")]).unwrap();
    let failure = call(&conn, 303, tag::SCRIPT, ["ROLLBACK; INSERT INTO t VALUES (2)".into()]).unwrap_err();
    assert_eq!(failure.code, "no_transaction");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into(), "script");
}

#[test]
fn a_number_means_its_own_transaction_alone() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    call(&conn, 300, tag::BEGIN, [atom("immediate")]).unwrap();
    execute(&conn, 300, "ROLLBACK").unwrap();
    call(&conn, 301, tag::BEGIN, [atom("immediate")]).unwrap();
    execute(&conn, 301, "INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(call(&conn, 300, tag::ROLLBACK, []).unwrap_err().code, "no_transaction");
    call(&conn, 301, tag::COMMIT, []).unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}

#[test]
fn a_shared_number_holds_nobody_up() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let shared = (1 << 31) + 300;
    call(&conn, shared, tag::BEGIN, [atom("immediate")]).unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    assert_eq!(call(&conn, shared + 1, tag::ROLLBACK, []).unwrap_err().code, "no_transaction");
    call(&conn, shared, tag::ROLLBACK, []).unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
}

#[test]
fn a_reset_ends_a_transaction_that_somebody_else_holds() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    call(&conn, 300, tag::BEGIN, [atom("immediate")]).unwrap();
    conn.call(tag::RESET, []).unwrap();
    conn.exec("SELECT 1");
    assert_eq!(execute(&conn, 300, "SELECT 1").unwrap_err().code, "no_transaction");
}
