//! Batches, atomic or not, and scripts.

use crate::list;
use crate::support::*;
use crate::term::*;

#[test]
fn an_atomic_batch_is_all_or_nothing() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    let count = || conn.value("SELECT count(*) FROM t").int();
    let (items, status) = conn
        .batch(
            true,
            &[
                ("INSERT INTO t VALUES (?)", list![1]),
                ("INSERT INTO t VALUES (:a), (:b) RETURNING a", map([("a", 2), ("b", 3)])),
                ("SELECT a FROM t ORDER BY a", list![]),
                ("UPDATE t SET a = a + 10", list![]),
            ],
        )
        .unwrap();
    let rows = |numbers: &[i64]| numbers.iter().map(|n| vec![Term::from(*n)]).collect::<Vec<_>>();
    assert_eq!(items[0], Ok((vec![], 1, 1)));
    assert_eq!(items[1], Ok((rows(&[2, 3]), 2, 3)));
    assert_eq!(items[2], Ok((rows(&[1, 2, 3]), 0, 3)));
    assert_eq!(items[3], Ok((vec![], 3, 3)));
    assert_eq!((status, count()), (0, 3));
    let failure = conn
        .batch(
            true,
            &[
                ("INSERT INTO t VALUES (20)", list![]),
                ("DELETE FROM t", list![]),
                ("INSERT INTO t VALUES (1), (1)", list![]),
            ],
        )
        .unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.index, failure.tx_status),
        ("constraint_unique", Some(2), Some(0))
    );
    assert_eq!(failure.constraint.unwrap().columns, ["a"]);
    assert_eq!(count(), 3);
    let failure =
        conn.batch(true, &[("INSERT INTO t VALUES (20)", list![]), ("INSERT INTO t VALUES (?)", list![])]);
    assert_eq!(failure.unwrap_err().code, "parameter_count");
    assert_eq!(count(), 3);
    assert_eq!(conn.batch(true, &[]).unwrap(), (vec![], 0));
}

#[test]
fn inside_a_transaction_an_atomic_batch_is_a_savepoint() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    conn.begin("deferred").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let failure =
        conn.batch(true, &[("INSERT INTO t VALUES (2)", list![]), ("INSERT INTO t VALUES (1)", list![])]);
    let failure = failure.unwrap_err();
    assert_eq!((failure.index, failure.tx_status), (Some(1), Some(3)));
    let (_, status) = conn.batch(true, &[("INSERT INTO t VALUES (3)", list![])]).unwrap();
    assert_eq!(status, 3);
    conn.commit().unwrap();
    assert_eq!(conn.exec("SELECT a FROM t ORDER BY a").rows, [[Term::from(1)], [3.into()]]);
}

#[test]
fn a_batch_that_is_not_atomic_goes_on_after_an_error() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    let (items, status) = conn
        .batch(
            false,
            &[
                ("INSERT INTO t VALUES (1)", list![]),
                ("INSERT INTO t VALUES (1)", list![]),
                ("INSERT INTO t VALUES (?)", list![atom("wrong")]),
                ("SELEC", list![]),
                ("BEGIN", list![]),
                ("INSERT INTO t VALUES (2)", list![]),
            ],
        )
        .unwrap();
    let codes: Vec<_> =
        items.iter().map(|item| item.as_ref().err().map(|failure| failure.code.as_str())).collect();
    let expected =
        [None, Some("constraint_unique"), Some("invalid_parameter"), Some("sql_error"), None, None];
    assert_eq!(codes, expected);
    assert_eq!(items[1].as_ref().unwrap_err().index, Some(1));
    assert_eq!(status, 3);
    conn.rollback().unwrap();
    assert_eq!(conn.exec("SELECT a FROM t").rows, [[Term::from(1)]]);
}

#[test]
fn an_atomic_batch_cannot_end_its_own_transaction() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    for sql in [
        "COMMIT",
        "commit",
        "  -- now\n CoMmIt ;",
        "END",
        "eNd TRANSACTION",
        "ROLLBACK",
        "rollback TO s",
        "BEGIN",
        "begin IMMEDIATE",
        "SAVEPOINT s",
        "release s",
        "/* */COMMIT",
    ] {
        let failure = conn.batch(true, &[("INSERT INTO t VALUES (1)", list![]), (sql, list![])]).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.index), ("invalid_request", Some(1)), "{sql}");
        assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into(), "{sql}");
        assert_eq!(conn.status().get("autocommit"), &true.into());
    }
}

#[test]
fn conflict_clauses_that_roll_back_do_not_confuse_a_batch() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    let items = [
        ("INSERT INTO t VALUES (1)", list![]),
        ("INSERT OR ROLLBACK INTO t VALUES (1)", list![]),
        ("INSERT INTO t VALUES (2)", list![]),
    ];
    let failure = conn.batch(true, &items).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.index, failure.tx_status),
        ("constraint_unique", Some(1), Some(0))
    );
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    conn.begin("immediate").unwrap();
    assert_eq!(conn.batch(true, &items).unwrap_err().tx_status, Some(0));
    assert_eq!(conn.rollback().unwrap_err().code, "no_transaction");
    conn.exec("INSERT INTO t VALUES (5)");
}

#[test]
fn a_batch_stops_at_its_deadline() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    for atomic in [true, false] {
        let items = [
            ("INSERT INTO t VALUES (1)", list![]),
            (ENDLESS, list![]),
            ("INSERT INTO t VALUES (2)", list![]),
        ];
        let failure = conn.within(300).batch(atomic, &items).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.index, failure.tx_status), ("timeout", Some(1), Some(0)));
    }
    assert_eq!(
        conn.value("SELECT count(*) FROM t"),
        1.into(),
        "what ran before in the one that is not atomic"
    );
}

#[test]
fn a_batch_has_a_ceiling_while_it_runs() {
    let sidecar = Sidecar::start_with(&["--result-rows-max=1000", "--result-bytes-max=100000"]);
    let conn = sidecar.open(":memory:");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let wide =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT zeroblob(10000) FROM n";
    conn.exec("CREATE TABLE t(a)");
    for atomic in [true, false] {
        for sql in [endless, wide] {
            let failure = conn.batch(atomic, &[("SELECT 1", list![]), (sql, list![])]).unwrap_err();
            assert_eq!((failure.code.as_str(), failure.index), ("result_too_large", Some(1)));
        }
        let insert = format!("INSERT INTO t {} RETURNING a", numbers(1001));
        assert_eq!(conn.batch(atomic, &[(&insert, list![])]).unwrap_err().code, "result_too_large");
        assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into(), "atomic {atomic}");
        let both = [(&*numbers(600), list![]), (&*numbers(600), list![])];
        assert_eq!(
            conn.batch(atomic, &both).unwrap_err().index,
            Some(1),
            "the ceiling is that of the whole batch"
        );
    }
}

#[test]
fn large_batches_come_back_whole() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let items: Vec<_> = (0..10_000).map(|number| ("INSERT INTO t VALUES (?)", list![number])).collect();
    assert_eq!(conn.batch(true, &items).unwrap().0.len(), 10_000);
    let long = vec![("SELECT zeroblob(100000)", list![]); 30];
    let (results, _) = conn.batch(true, &long).unwrap();
    for result in results {
        assert_eq!(result.unwrap().0, [[bytes(&[0; 100_000])]]);
    }
}

#[test]
fn a_script_runs_every_statement() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let done = conn
        .script(
            "-- a script\nCREATE TABLE t(a, b TEXT); ;;\n\
             CREATE TRIGGER r AFTER INSERT ON t BEGIN UPDATE t SET b = 'x;y' WHERE a = new.a; END;\n\
             INSERT INTO t(a) VALUES (1), (2); /* ; */ SELECT * FROM t; INSERT INTO t(a) VALUES (3) -- end",
        )
        .unwrap();
    // Statements, changes (those of the trigger too), status.
    assert_eq!(done.items(), [5.into(), 6.into(), 0.into()]);
    assert_eq!(conn.value("SELECT count(*) FROM t WHERE b = 'x;y'"), 3.into());
    assert_eq!(conn.script("").unwrap().items()[0], 0.into());
    assert_eq!(conn.script(" ; -- nothing").unwrap().items()[0], 0.into());
    assert_eq!(conn.script("BEGIN; INSERT INTO t(a) VALUES (9)").unwrap().items()[2], 3.into());
    conn.rollback().unwrap();
}

#[test]
fn an_error_in_a_script_has_its_place_in_the_whole_text() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let before = "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES ('ü');\n";
    let failure = conn.script(&format!("{before}SELECT FRM; INSERT INTO t VALUES (2)")).unwrap_err();
    assert_eq!(failure.code, "sql_error");
    let at = failure.offset.unwrap();
    assert!((before.len() as i64 + 7..=before.len() as i64 + 10).contains(&at), "{failure:?}");
    assert_eq!(
        conn.value("SELECT count(*) FROM t"),
        1.into(),
        "what ran before stays, what follows does not run"
    );
    let failure = conn.script("INSERT INTO t VALUES (3); INSERT INTO t VALUES (3); SELECT 1").unwrap_err();
    assert_eq!(failure.code, "constraint_unique");
    assert_eq!(failure.constraint.unwrap().table.as_deref(), Some("t"));
    let failure = conn.script("SELECT 1; SELECT ?").unwrap_err();
    assert_eq!(failure.code, "parameter_count");
    let failure =
        conn.script("BEGIN; INSERT INTO t VALUES (4); INSERT INTO t VALUES (4); COMMIT").unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("constraint_unique", Some(3)));
    conn.rollback().unwrap();
    assert_eq!(conn.script("SELECT 'unclosed").unwrap_err().code, "sql_error");
}

#[test]
fn a_script_of_many_statements_takes_time_in_proportion() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a, b)");
    let statement =
        "INSERT INTO t VALUES (1, 'some text that makes the statement as long as they are in a dump');\n";
    let script = format!("BEGIN;\n{}COMMIT;", statement.repeat(40_000));
    // 3.6 MB. If each statement looked at all that follow it this would take minutes.
    let done = conn.within(20_000).script(&script).unwrap();
    assert_eq!(done.items(), [40_002.into(), 40_000.into(), 0.into()]);
}

#[test]
fn a_script_stops_at_its_deadline() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let failure =
        conn.within(300).script(&format!("INSERT INTO t VALUES (1); {ENDLESS}; SELECT 1")).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}
