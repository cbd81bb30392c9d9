//! What SQL means before it runs: what a server does not take, what only reads, and what a result may be.

use super::mock::{usual, Mock, Says};
use super::{open, open_with};
use crate::sqld::Sqld;
use crate::support::{tag, Sidecar};
use crate::term::{map, Term};
use crate::{list, tuple};

/// A server looks at all statements of a batch before it runs the first one, and does not say which one it does not take.
#[test]
fn a_statement_that_does_not_compile_is_told_by_its_place() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    let items = |bad: &'static str| {
        [("INSERT INTO t VALUES (1)", list![]), (bad, list![]), ("INSERT INTO t VALUES (?)", list![2])]
    };
    let bad = [
        ("SELEKT 1", "sql_error"),
        ("VACUUM", "unsupported"),
        ("SELECT 1; SELECT 2", "multiple_statements"),
        ("SELECT nope FROM t", "sql_error"),
    ];
    let count = |expected: i64| assert_eq!(conn.value("SELECT count(*) FROM t"), expected.into());
    for (sql, code) in bad {
        for inside in [false, true] {
            if inside {
                conn.begin("immediate").unwrap();
                conn.exec("INSERT INTO t VALUES (0)");
            }
            let status = if inside { 3 } else { 0 };
            let failure = conn.batch(true, &items(sql)).unwrap_err();
            assert_eq!(
                (failure.code.as_str(), failure.index, failure.tx_status),
                (code, Some(1), Some(status)),
                "{sql}: {}",
                failure.message
            );
            assert!(!failure.message.contains("savepoint"), "{}", failure.message);
            count(if inside { 1 } else { 0 });
            let (each, after) = conn.batch(false, &items(sql)).unwrap();
            let codes: Vec<_> =
                each.iter().map(|item| item.as_ref().err().map(|failure| failure.code.as_str())).collect();
            assert_eq!((codes, after), (vec![None, Some(code), None], status), "{sql}");
            count(if inside { 3 } else { 2 });
            // Two statements are what a script may hold.
            if code != "multiple_statements" {
                let script = format!("INSERT INTO t VALUES (3); {sql}; INSERT INTO t VALUES (4)");
                let failure = conn.script(&script).unwrap_err();
                assert_eq!((failure.code.as_str(), failure.tx_status), (code, Some(status)), "{sql}");
                if sql == "SELEKT 1" {
                    assert_eq!(failure.offset, Some(26), "{}", failure.message);
                }
                count(if inside { 4 } else { 3 });
            }
            if inside {
                assert_eq!(conn.rollback(), Ok(0));
            }
            conn.exec("DELETE FROM t");
        }
    }
}

#[test]
fn a_batch_may_use_what_it_makes() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    let named = map([("a", 7)]);
    let items = [
        ("CREATE TABLE m(a)", list![]),
        ("INSERT INTO m VALUES (:a) RETURNING a", named),
        ("WITH x AS (SELECT a FROM m) SELECT * FROM x", list![]),
    ];
    let (done, _) = conn.batch(true, &items).unwrap();
    for item in &done[1..] {
        assert_eq!(item.clone().unwrap().0, [[7.into()]]);
    }
    conn.script("CREATE TABLE n(a); WITH x AS (SELECT 1) INSERT INTO n SELECT * FROM x").unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM n"), 1.into());
}

#[test]
fn the_first_statement_of_a_transaction_may_fail() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    for sql in ["SELEKT", "VACUUM", "INSERT INTO nope VALUES (1)"] {
        conn.begin("immediate").unwrap();
        let failure = conn.query(sql, list![]).unwrap_err();
        assert!(failure.tx_status > Some(0), "{sql}: {failure:?}");
        assert!(conn.exec("INSERT INTO t VALUES (1)").tx_status == 3, "{sql}");
        assert_eq!(conn.rollback(), Ok(0));
        assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into(), "{sql}: it would have run by itself");
    }
}

#[test]
fn a_transaction_that_only_reads_does_not_write() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    let writes = [
        "INSERT INTO t VALUES (2)",
        "DELETE FROM t RETURNING a",
        "WITH x AS (SELECT 3) INSERT INTO t SELECT * FROM x",
        "REPLACE INTO t VALUES (4)",
        "CREATE TABLE u(a)",
        "DROP TABLE t",
        "/* SELECT */ UPDATE t SET a = 5",
    ];
    for first_reads in [false, true] {
        for sql in writes {
            assert_eq!(conn.begin("read_only"), Ok(1));
            if first_reads {
                assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
            }
            let refused = |failure: crate::support::Failure| {
                assert_eq!(failure.code, "read_only", "{sql}: {}", failure.message);
            };
            refused(conn.query(sql, list![]).unwrap_err());
            refused(conn.script(sql).unwrap_err());
            refused(conn.script(&format!("SELECT 1; {sql}")).unwrap_err());
            refused(conn.batch(true, &[("SELECT 1", list![]), (sql, list![])]).unwrap_err());
            let (each, _) = conn.batch(false, &[("SELECT 1", list![]), (sql, list![])]).unwrap();
            assert!(each[0].is_ok());
            refused(each[1].clone().unwrap_err());
            if sql.contains("RETURNING") {
                refused(conn.query_one(sql, list![]).unwrap_err());
                let cursor = conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap().items()[0].clone();
                let id = conn.send(tag::FETCH, [cursor, 0.into(), 0.into()]);
                refused(crate::support::Failure::of(&sidecar.receive(id).payload));
            }
            assert_eq!(conn.exec("WITH x AS (SELECT a FROM t) SELECT * FROM x").rows, [[Term::from(1)]]);
            assert_eq!(conn.call(tag::SAVEPOINT, ["s".into()]).map(|status| status.int()), Ok(2));
            assert_eq!(conn.commit(), Ok(0), "{sql}");
        }
    }
    conn.exec("INSERT INTO t VALUES (6)");
    conn.begin("read_only").unwrap();
    assert_eq!(conn.rollback(), Ok(0));
    assert!(conn.batch(true, &[("INSERT INTO t VALUES (7) RETURNING a", list![])]).is_ok());
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (8)");
    assert_eq!(conn.commit(), Ok(0));
    for sql in ["BEGIN", "INSERT INTO t VALUES (9)", "COMMIT"] {
        conn.exec(sql);
    }
    assert_eq!(conn.value("SELECT count(*) FROM t"), 5.into());
}

/// A server that describes, begins and is silent then.
fn silent() -> Mock {
    let mut opened = false;
    Mock::start(move |asked| {
        let is_begin = asked.body.to_string().contains("BEGIN");
        match std::mem::replace(&mut opened, true) && asked.kinds()[0] != "describe" && !is_begin {
            true => Says::Nothing,
            false if asked.kinds().iter().any(|kind| kind == "execute") => Says::Nothing,
            false => usual(asked, !is_begin, Some("b")),
        }
    })
}

#[test]
fn of_what_only_reads_nothing_is_in_doubt() {
    let server = silent();
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &server.url(), &[("breaker_failures", 0.into())]).unwrap();
    let short = conn.within(150);
    let reads = ["SELECT 1", "WITH x AS (SELECT 1) SELECT * FROM x", "PRAGMA table_info(t)", "VALUES (1)"];
    for sql in reads {
        for _ in 0..2 {
            assert_eq!(short.query(sql, list![]).unwrap_err().code, "timeout", "{sql}");
        }
        assert_eq!(short.query_one(sql, list![]).unwrap_err().code, "timeout", "{sql}");
        assert_eq!(short.script(&format!("{sql}; {sql}")).unwrap_err().code, "timeout", "{sql}");
        for atomic in [true, false] {
            // The batch that is atomic begins a transaction, which this server answers.
            let outcome = short.batch(atomic, &[(sql, list![]), (sql, list![])]);
            assert!(outcome.map_or_else(|failure| failure.code == "timeout", |_| atomic), "{sql}");
        }
    }
    let cancelled = conn.start("WITH y AS (SELECT 2) SELECT * FROM y");
    crate::support::eventually("it runs", || conn.cancel(cancelled) == true.into());
    assert_eq!(conn.outcome(cancelled).unwrap_err().code, "cancelled");
    for writes in ["INSERT INTO t VALUES (1)", "CREATE TABLE t(a)"] {
        assert_eq!(short.query(writes, list![]).unwrap_err().code, "outcome_unknown", "{writes}");
        let script = format!("SELECT 1; {writes}");
        assert_eq!(short.script(&script).unwrap_err().code, "outcome_unknown", "{writes}");
        let batch = short.batch(false, &[("SELECT 1", list![]), (writes, list![])]);
        assert_eq!(batch.unwrap_err().code, "outcome_unknown", "{writes}");
    }
}

#[test]
fn a_result_has_the_limits_of_the_program_and_nothing_is_kept_behind_an_error() {
    let Some(server) = Sqld::start() else { return };
    for (limit, rows) in [("--result-rows-max", 3), ("--result-bytes-max", 30)] {
        let sidecar = Sidecar::start_with(&[limit, &rows.to_string()]);
        let conn = open(&sidecar, &server.url());
        conn.script("DROP TABLE IF EXISTS t; CREATE TABLE t(a)").unwrap();
        let four = "INSERT INTO t VALUES (1), (2), (3), (4) RETURNING a";
        let one = "INSERT INTO t VALUES (1) RETURNING a";
        let count =
            |expected: i64| assert_eq!(conn.value("SELECT count(*) FROM t"), expected.into(), "{limit}");
        assert_eq!(conn.query(four, list![]).unwrap_err().code, "result_too_large");
        count(0);
        for items in
            [vec![(four, list![])], vec![(one, list![]), ("SELECT 1 UNION SELECT 2 UNION SELECT 3", list![])]]
        {
            let failure = conn.batch(true, &items).unwrap_err();
            assert_eq!(
                (failure.code.as_str(), failure.index, failure.tx_status),
                ("result_too_large", Some(items.len() as i64 - 1), Some(0))
            );
            count(0);
            conn.begin("immediate").unwrap();
            conn.exec("INSERT INTO t VALUES (0)");
            let failure = conn.batch(true, &items).unwrap_err();
            assert_eq!((failure.code.as_str(), failure.tx_status), ("result_too_large", Some(3)));
            count(1);
            assert_eq!(conn.rollback(), Ok(0));
        }
        let failure = conn.batch(false, &[("SELECT 1", list![]), (four, list![])]).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.index), ("result_too_large", Some(1)));
        // What is within them is kept, in a transaction and by itself.
        conn.exec("DELETE FROM t");
        assert!(conn.batch(true, &[(one, list![]), ("DELETE FROM t WHERE 0", list![])]).is_ok());
        conn.begin("immediate").unwrap();
        assert!(conn.batch(true, &[(one, list![])]).is_ok());
        assert_eq!(conn.commit(), Ok(0));
        count(2);
        assert_eq!(
            conn.script("SELECT 1 FROM t, t AS u, t AS v").unwrap(),
            tuple![1, 0, 0],
            "rows that are dropped"
        );
    }
}

#[test]
fn a_batch_that_is_too_long_for_one_answer_leaves_its_transaction_to_the_client() {
    let Some(server) = Sqld::start_with(&["--max-response-size", "100KB"]) else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    let long = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c";
    let begun = conn.batch(false, &[("BEGIN", list![]), (long, list![])]).unwrap_err();
    assert_eq!((begun.code.as_str(), begun.tx_status), ("result_too_large", Some(2)));
    conn.exec("INSERT INTO t VALUES (1)");
    let inside = conn.batch(false, &[(long, list![])]).unwrap_err();
    assert_eq!((inside.code.as_str(), inside.tx_status), ("result_too_large", Some(3)));
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
    let written = conn.batch(false, &[("DELETE FROM t", list![]), (long, list![])]).unwrap_err();
    assert_eq!(written.code, "outcome_unknown");
}

#[test]
fn what_libraries_log_is_not_told() {
    let server = Mock::start(|asked| usual(asked, true, None));
    let sidecar = Sidecar::start_with(&["--log-level", "debug"]);
    let conn = open(&sidecar, &server.url());
    conn.exec("SELECT 1");
    conn.close();
    let log = sidecar.end();
    assert!(!log.contains("idle connection") && !log.contains("connecting to"), "{log}");
}
