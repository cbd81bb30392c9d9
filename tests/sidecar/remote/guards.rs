//! A transaction that its server has ended without a word: nothing of what is sent for it may run by itself.

use super::mock::{usual, Asked, Mock, Says};
use super::open;
use crate::list;
use crate::support::{tag, Conn, Failure, Sidecar};
use crate::term::{nil, Term};
use serde_json::{json, Value};
use std::sync::{Arc, Mutex};

/// Texts that ran outside of the transaction they were sent for.
type Ran = Arc<Mutex<Vec<String>>>;

/// A server that ends each transaction behind its first request, and goes on by the conditions that it is sent.
fn forgetful() -> (Mock, Ran) {
    let ran = Ran::default();
    let seen = Arc::clone(&ran);
    let mut number = 0;
    let mock = Mock::start(move |asked: &Asked| {
        number += 1;
        let baton = format!("b{number}");
        let closes = asked.kinds().iter().any(|kind| kind == "close");
        if asked.body["baton"].is_null() {
            let begins = asked.body.to_string().contains("BEGIN");
            return usual(asked, !begins, (!closes).then_some(&*baton));
        }
        if asked.path == "/v3/cursor" {
            for step in asked.body["batch"]["steps"].as_array().unwrap() {
                skip_or_run(step, &seen);
            }
            let body = format!("{{\"baton\":\"{baton}\",\"base_url\":null}}\n");
            return Says::Raw(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
            );
        }
        let Says::Json(status, mut answer) = usual(asked, true, (!closes).then_some(&*baton)) else {
            panic!()
        };
        for (request, result) in
            asked.body["requests"].as_array().unwrap().iter().zip(answer["results"].as_array_mut().unwrap())
        {
            match request["type"].as_str().unwrap() {
                "execute" => seen.lock().unwrap().push(request["stmt"]["sql"].to_string()),
                "batch" => {
                    let done = &mut result["response"]["result"]["step_results"];
                    for (step, done) in
                        request["batch"]["steps"].as_array().unwrap().iter().zip(done.as_array_mut().unwrap())
                    {
                        if !skip_or_run(step, &seen) {
                            *done = Value::Null;
                        }
                    }
                }
                _ => {}
            }
        }
        Says::Json(status, answer)
    });
    (mock, ran)
}

/// Whether the step runs, now that no transaction is open.
fn skip_or_run(step: &Value, ran: &Ran) -> bool {
    let in_transaction = json!({"type": "not", "cond": {"type": "is_autocommit"}});
    let condition = &step["condition"];
    let conditions = condition["conds"].as_array().cloned().unwrap_or_else(|| vec![condition.clone()]);
    let runs = !conditions.contains(&in_transaction) && condition["type"] != "or";
    if runs {
        ran.lock().unwrap().push(step["stmt"]["sql"].to_string());
    }
    runs
}

/// Its name, and what it does.
type Way = (&'static str, fn(&Conn<'_>) -> Result<Term, Failure>);

#[test]
fn nothing_runs_by_itself_that_was_sent_for_a_transaction() {
    let ways: [Way; 11] = [
        ("a statement", |conn| conn.query("INSERT INTO t VALUES (2)", list![]).map(|_| nil())),
        ("one again", |conn| {
            let first = conn.query("INSERT INTO t VALUES (2)", list![]);
            assert!(first.is_err());
            conn.query("INSERT INTO t VALUES (2)", list![]).map(|_| nil())
        }),
        ("one that returns rows", |conn| conn.query("DELETE FROM t RETURNING a", list![]).map(|_| nil())),
        ("query_one", |conn| {
            conn.query_one("WITH x AS (SELECT 1) DELETE FROM t RETURNING a", list![]).map(|_| nil())
        }),
        ("a savepoint", |conn| conn.call(tag::SAVEPOINT, ["a".into()])),
        ("a release", |conn| conn.call(tag::RELEASE, ["a".into()])),
        ("an atomic batch", |conn| conn.batch(true, &[("INSERT INTO t VALUES (2)", list![])]).map(|_| nil())),
        ("a batch", |conn| conn.batch(false, &[("INSERT INTO t VALUES (2)", list![])]).map(|_| nil())),
        ("a script", |conn| conn.script("INSERT INTO t VALUES (2); DELETE FROM t")),
        ("a script that commits", |conn| conn.script("COMMIT; DELETE FROM t")),
        ("a commit", |conn| conn.commit().map(Term::from)),
    ];
    for (name, way) in ways {
        let (mock, ran) = forgetful();
        let sidecar = Sidecar::start();
        let conn = open(&sidecar, &mock.url());
        conn.begin("immediate").unwrap();
        assert_eq!(conn.exec("INSERT INTO t VALUES (1)").tx_status, 3);
        let failure = way(&conn).unwrap_err();
        assert_eq!(failure.code, "transaction_lost", "{name}: {}", failure.message);
        assert_eq!(*ran.lock().unwrap(), [""; 0], "{name}");
        assert_eq!(conn.commit().unwrap_err().code, "transaction_lost", "{name}");
        assert_eq!(conn.rollback(), Ok(0));
    }
}

#[test]
fn the_rows_of_a_cursor_are_not_read_by_themselves() {
    let (mock, ran) = forgetful();
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &mock.url());
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let declared = conn.call(tag::DECLARE, ["SELECT a FROM t".into(), list![]]);
    // Described, on the same stream, which says that the transaction is gone.
    assert_eq!(declared.unwrap_err().code, "transaction_lost");
    assert_eq!(*ran.lock().unwrap(), [""; 0]);
}
