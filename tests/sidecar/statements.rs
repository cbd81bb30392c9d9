//! Execute, query_one, prepare, describe, cursors; the counters of a reply.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};

#[test]
fn unknown_ids_are_errors_of_their_own() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let nobody = Conn { sidecar: &sidecar, id: 1, info: nil(), timeout_ms: 0, lock_timeout_ms: None };
    let code = |result: Result<Term, Failure>| result.unwrap_err().code;
    assert_eq!(nobody.query("SELECT 1", list![]).unwrap_err().code, "unknown_connection");
    for tag in [tag::CONNECTION_STATUS, tag::CLOSE, tag::COMMIT, tag::ROLLBACK, tag::RESET] {
        assert_eq!(code(nobody.call(tag, [])), "unknown_connection", "{tag}");
    }
    assert_eq!(code(sidecar.call(tag::CANCEL, &tuple![1, 300])), "unknown_connection");
    let no_statement = conn.send(tag::EXECUTE_PREPARED, [99.into(), list![]]);
    assert_eq!(conn.outcome(no_statement).unwrap_err().code, "unknown_statement");
    assert_eq!(code(conn.call(tag::CLOSE_STATEMENT, [99.into()])), "unknown_statement");
    assert_eq!(code(conn.call(tag::DESCRIBE, [99.into()])), "unknown_statement");
    assert_eq!(code(conn.call(tag::DECLARE, [99.into(), list![]])), "unknown_statement");
    assert_eq!(code(conn.call(tag::FETCH, [99.into(), 0.into(), 0.into()])), "unknown_cursor");
    assert_eq!(conn.call(tag::CLOSE_CURSOR, [99.into()]), Ok(nil()));
    conn.close();
    assert_eq!(conn.query("SELECT 1", list![]).unwrap_err().code, "unknown_connection");
    assert_eq!(code(conn.call(tag::CLOSE, [])), "unknown_connection");
}

#[test]
fn what_sql_text_may_be() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, code) in [
        ("", "empty_statement"),
        (" ;; -- nothing", "empty_statement"),
        ("/* nothing", "empty_statement"),
        ("SELECT 1; SELECT 2", "multiple_statements"),
        ("SELECT 1; x", "multiple_statements"),
        ("SELEC 1", "sql_error"),
        ("SELECT * FROM nowhere", "sql_error"),
    ] {
        assert_eq!(conn.query(sql, list![]).unwrap_err().code, code, "{sql:?}");
    }
    for sql in [
        "SELECT 1;",
        "SELECT 1 ; ; -- done",
        "-- first\nSELECT 1",
        "/* a */ SELECT 1 /* b */",
        "\u{feff}SELECT 1",
    ] {
        assert_eq!(conn.value(sql), 1.into(), "{sql:?}");
    }
    let nul = conn.query("SELECT 1\0", list![]).unwrap_err();
    assert_eq!(nul.code, "invalid_request");
    let invalid = conn.call(tag::EXECUTE, [bytes(b"SELECT '\xff'"), list![]]).unwrap_err();
    assert_eq!(invalid.code, "invalid_request");
}

#[test]
fn syntax_errors_have_their_place() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, at) in [("SELECT 1 FRM t", 13), ("SELECT 'ü', nocolumn", 13), ("SELECT 1 WHERE (", 16)] {
        let failure = conn.query(sql, list![]).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.sqlite_code), ("sql_error", Some(1)), "{sql}");
        // The last one is the end of the text, for which the engine has no place.
        if failure.offset.is_some() || at < 16 {
            assert!((at - 1..=at).contains(&failure.offset.unwrap()), "{sql}: {failure:?}");
        }
        assert_eq!(failure.tx_status, Some(0));
    }
}

#[test]
fn counters_are_those_of_this_very_statement() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let check = |sql: &str, changes: i64, rowid: i64| {
        let outcome = conn.exec(sql);
        assert_eq!((outcome.changes, outcome.last_insert_rowid), (changes, rowid), "{sql}");
        assert_eq!(outcome.tx_status, 0, "{sql}");
    };
    check("CREATE TABLE t(id INTEGER PRIMARY KEY, a)", 0, 0);
    check("INSERT INTO t VALUES (10, 'a'), (20, 'b'), (30, 'c')", 3, 30);
    check("SELECT * FROM t", 0, 30);
    check("UPDATE t SET a = 'x' WHERE id > 10", 2, 30);
    check("UPDATE t SET a = 'x' WHERE id > 100", 0, 30);
    check("CREATE INDEX i ON t(a)", 0, 30);
    check("INSERT INTO t(a) VALUES ('d')", 1, 31);
    check("DELETE FROM t WHERE id = 31", 1, 31);
    check("INSERT OR IGNORE INTO t VALUES (10, 'z')", 0, 31);
    check("REPLACE INTO t VALUES (10, 'z')", 1, 10);
    check("PRAGMA user_version = 4", 0, 10);
    check("CREATE TABLE log(a)", 0, 10);
    check("CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1), (2); END", 0, 10);
    check("INSERT INTO t VALUES (40, 'e')", 1, 40);
    check("ALTER TABLE t ADD COLUMN b", 0, 40);
    check("DROP TABLE log", 0, 40);
    check("DROP TRIGGER r", 0, 40);
    check("DELETE FROM t", 4, 40);
    check("VACUUM", 0, 40);
    let returned = conn.exec("INSERT INTO t VALUES (50, 'f', 1), (51, 'g', 2) RETURNING id, b");
    assert_eq!(returned.rows, [[Term::from(50), 1.into()], [51.into(), 2.into()]]);
    assert_eq!((returned.changes, returned.last_insert_rowid), (2, 51));
    assert_eq!(returned.columns, ["id", "b"]);
    assert_eq!(conn.status().get("changes").int(), 3 + 2 + 1 + 1 + 1 + 3 + 4 + 2);
}

#[test]
fn columns_are_named_and_none_means_none() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let outcome = conn.exec("SELECT 1 AS a, 2 AS \"b c\", 3, 4 AS 'ü' WHERE 0");
    assert_eq!((outcome.columns.join("|"), outcome.num_rows), ("a|b c|3|ü".to_owned(), 0));
    let none = conn.exec("CREATE TABLE t(a)");
    assert!(none.columns.is_empty() && none.rows.is_empty());
    let wide = format!("SELECT {}", (0..2000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    assert_eq!(conn.exec(&wide).rows[0].len(), 2000);
}

#[test]
fn query_one_wants_exactly_one_row() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a UNIQUE)");
    conn.exec("INSERT INTO t VALUES (1), (2), (3)");
    assert_eq!(conn.query_one("SELECT a FROM t WHERE a = ?", list![2]).unwrap().value(), &2.into());
    let code = |sql: &str| conn.query_one(sql, list![]).unwrap_err().code;
    assert_eq!(code("SELECT a FROM t WHERE a > 5"), "no_rows");
    assert_eq!(code("SELECT a FROM t WHERE a > 1"), "too_many_rows");
    assert_eq!(code("INSERT INTO t VALUES (9)"), "no_rows");
    assert_eq!(conn.value("SELECT count(*) FROM t WHERE a = 9"), 0.into(), "what yields no rows is not run");
    // It stops at the second row of a text that has no end.
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    assert_eq!(code(endless), "too_many_rows");
}

#[test]
fn a_query_one_that_fails_leaves_nothing() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    let other = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    let two = "INSERT INTO t VALUES (1), (2) RETURNING a";
    let none = "UPDATE t SET a = 5 WHERE a = 77 RETURNING a";
    let count = || conn.value("SELECT count(*) FROM t").int();
    for within_transaction in [false, true] {
        if within_transaction {
            conn.begin("immediate").unwrap();
            conn.exec("INSERT INTO t VALUES (100)");
        }
        let before = count();
        let failure = conn.query_one(two, list![]).unwrap_err();
        assert_eq!(failure.code, "too_many_rows");
        assert_eq!(failure.tx_status, Some(if within_transaction { 3 } else { 0 }));
        assert_eq!(conn.query_one(none, list![]).unwrap_err().code, "no_rows");
        assert_eq!(count(), before, "within a transaction: {within_transaction}");
        assert_eq!(
            conn.query_one("INSERT INTO t VALUES (3) RETURNING a", list![]).unwrap().value(),
            &3.into()
        );
        assert_eq!(count(), before + 1);
        if within_transaction {
            conn.commit().unwrap();
        }
    }
    assert_eq!(count(), 3);
    other.exec("INSERT INTO t VALUES (4)");
}

#[test]
fn a_query_one_without_a_row_undoes_what_triggers_wrote() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(
        "CREATE TABLE t(a); CREATE TABLE log(a); CREATE TRIGGER r BEFORE INSERT ON t WHEN new.a < 0 \
         BEGIN INSERT INTO log VALUES (new.a); SELECT RAISE(IGNORE); END",
    )
    .unwrap();
    let insert = |a: i32| conn.query_one("INSERT INTO t VALUES (?) RETURNING a", list![a]);
    for within_transaction in [false, true] {
        if within_transaction {
            conn.begin("immediate").unwrap();
        }
        assert_eq!(insert(-1).unwrap_err().code, "no_rows");
        assert_eq!(
            conn.value("SELECT count(*) FROM log"),
            0.into(),
            "in a transaction: {within_transaction}"
        );
        assert_eq!(insert(1).unwrap().value(), &1.into());
        conn.exec("INSERT INTO t VALUES (-2)");
        assert_eq!(conn.value("SELECT count(*) FROM log"), 1.into(), "without query_one it stays");
        conn.exec("DELETE FROM log");
    }
    conn.commit().unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
}

#[test]
fn a_result_above_its_ceiling_is_an_error_and_is_not_kept() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let with = |sql: &str, options: Term| conn.query_with(sql, list![], options);
    assert_eq!(with(&numbers(11), map([("rows_max", 10)])).unwrap_err().code, "result_too_large");
    assert_eq!(with(&numbers(10), map([("rows_max", 10)])).unwrap().num_rows, 10);
    assert_eq!(
        with("SELECT zeroblob(2000)", map([("bytes_max", 1000)])).unwrap_err().code,
        "result_too_large"
    );
    assert_eq!(with(&numbers(100_000), map([("bytes_max", 100_000)])).unwrap_err().code, "result_too_large");
    conn.exec("CREATE TABLE t(a)");
    let insert = format!("INSERT INTO t {} RETURNING a", numbers(20));
    assert_eq!(with(&insert, map([("rows_max", 10)])).unwrap_err().code, "result_too_large");
    assert_eq!(
        conn.value("SELECT count(*) FROM t"),
        0.into(),
        "rows that cannot be delivered are not written"
    );
    assert_eq!(conn.exec(&insert).changes, 20);
    for options in [map([("rows", 1)]), map([("credits", -1)])] {
        assert_eq!(with("SELECT 1", options).unwrap_err().code, "invalid_option");
    }
}

#[test]
fn descriptions_name_origins_and_parameters() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE people(id INTEGER PRIMARY KEY, name VARCHAR(20))");
    conn.exec("ATTACH ':memory:' AS other");
    conn.exec("CREATE TABLE other.t(x BLOB)");
    let sql =
        "SELECT p.id, name AS n, x, 1 + 1 FROM people p, other.t WHERE id = :id AND x > ?4 AND name = $n";
    let description = conn.call(tag::DESCRIBE, [sql.into()]).unwrap();
    assert_eq!(
        description.get("columns"),
        &list![
            tuple!["id", "INTEGER", "main", "people", "id"],
            tuple!["n", "VARCHAR(20)", "main", "people", "name"],
            tuple!["x", "BLOB", "other", "t", "x"],
            tuple!["1 + 1", nil(), nil(), nil(), nil()],
        ]
    );
    assert_eq!(description.get("parameters"), &list![":id", nil(), nil(), "?4", "$n"]);
    assert_eq!((description.get("read_only"), description.get("explain")), (&true.into(), &0.into()));
    let prepared = conn.call(tag::PREPARE, ["INSERT INTO people VALUES (?, ?)".into()]).unwrap();
    let [statement, description] = prepared.items() else { panic!("{prepared:?}") };
    assert_eq!(description.get("columns"), &list![]);
    assert_eq!(description.get("parameters"), &list![nil(), nil()]);
    assert_eq!(description.get("read_only"), &false.into());
    assert_eq!(&conn.call(tag::DESCRIBE, [statement.clone()]).unwrap(), description);
    assert_eq!(conn.value("SELECT count(*) FROM people"), 0.into(), "describing does not run");
    for (sql, explain) in [("EXPLAIN SELECT 1", 1), ("EXPLAIN QUERY PLAN SELECT 1", 2)] {
        let description = conn.call(tag::DESCRIBE, [sql.into()]).unwrap();
        assert_eq!(description.get("explain"), &explain.into());
    }
}

#[test]
fn a_plan_is_explained_by_the_schema_of_now() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (explains, changes) = (sidecar.open(&path), sidecar.open(&path));
    changes.exec("CREATE TABLE t(a)");
    let plan = || {
        let outcome = explains.query("EXPLAIN QUERY PLAN SELECT * FROM t WHERE a = 1", list![]).unwrap();
        outcome.rows[0][3].clone()
    };
    assert_eq!(plan(), "SCAN t".into());
    changes.exec("CREATE INDEX t_a ON t(a)");
    assert_eq!(plan(), "SEARCH t USING COVERING INDEX t_a (a=?)".into());
}

#[test]
fn prepared_statements_run_until_they_are_closed() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let prepare = |sql: &str| conn.call(tag::PREPARE, [sql.into()]).unwrap().items()[0].clone();
    let run = |statement: &Term, params: Term| {
        let id = conn.send(tag::EXECUTE_PREPARED, [statement.clone(), params]);
        conn.outcome(id)
    };
    let (insert, select) = (prepare("INSERT INTO t VALUES (?)"), prepare("SELECT * FROM t ORDER BY 1"));
    for number in 1..=5 {
        assert_eq!(run(&insert, list![number]).unwrap().changes, 1);
    }
    assert_eq!(run(&insert, list![]).unwrap_err().code, "parameter_count");
    assert_eq!(run(&select, list![]).unwrap().num_rows, 5);
    conn.exec("ALTER TABLE t ADD COLUMN b DEFAULT 7");
    let outcome = run(&select, list![]).unwrap();
    assert_eq!((outcome.columns.join(","), outcome.rows[0].len()), ("a,b".to_owned(), 2));
    assert_eq!(conn.status().get("statements").int(), 2);
    assert_eq!(sidecar.status().get("statements").int(), 2);
    conn.call(tag::CLOSE_STATEMENT, [insert.clone()]).unwrap();
    assert_eq!(run(&insert, list![1]).unwrap_err().code, "unknown_statement");
    assert_ne!(prepare("SELECT 1"), insert, "ids are not used again");
    let pragma = prepare("PRAGMA foreign_keys = OFF");
    for _ in 0..2 {
        conn.exec("PRAGMA foreign_keys = ON");
        run(&pragma, list![]).unwrap();
        assert_eq!(conn.value("PRAGMA foreign_keys"), 0.into());
    }
}

/// Fetches to the end; the rows of each frame.
fn fetch_all(
    conn: &Conn<'_>,
    cursor: &Term,
    rows_max: i32,
    bytes_max: i32,
    mut between: impl FnMut(),
) -> Vec<Vec<Term>> {
    let mut rows = Vec::new();
    loop {
        let id = conn.send(tag::FETCH, [cursor.clone(), rows_max.into(), bytes_max.into()]);
        let frame = conn.sidecar.receive(id);
        let count = frame.payload.items().len();
        rows.extend(frame.payload.items().iter().map(|row| row.items().to_vec()));
        if rows_max > 0 {
            assert!(count <= rows_max as usize);
        }
        match frame.tag {
            tag::MORE_ROWS => assert!(count > 0, "no progress"),
            tag::LAST_ROWS => return rows,
            other => panic!("tag {other}: {:?}", frame.payload),
        }
        between();
    }
}

#[test]
fn cursors_give_every_row_once_whatever_happens_between() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE other(a)");
    let expected: Vec<Vec<Term>> = (1..=3000i64).map(|number| vec![number.into()]).collect();
    for (rows_max, bytes_max) in [(0, 0), (7, 0), (0, 100), (1, 1), (1000, 333)] {
        let declared = conn.call(tag::DECLARE, [numbers(3000).into(), list![]]).unwrap();
        let [cursor, columns] = declared.items() else { panic!("{declared:?}") };
        assert_eq!(columns, &list!["i"]);
        let mut queries = 0;
        let rows = fetch_all(&conn, cursor, rows_max, bytes_max, || {
            if queries < 20 {
                queries += 1;
                assert_eq!(conn.exec(&numbers(3000)).num_rows, 3000);
                conn.exec("INSERT INTO other VALUES (1)");
            }
        });
        assert!(rows == expected, "rows_max {rows_max}, bytes_max {bytes_max}: {} rows", rows.len());
        let gone = conn.call(tag::FETCH, [cursor.clone(), 0.into(), 0.into()]).unwrap_err();
        assert_eq!(gone.code, "unknown_cursor", "an exhausted cursor is closed");
    }
    assert_eq!(conn.status().get("cursors").int(), 0);
}

#[test]
fn two_cursors_and_a_prepared_statement_do_not_disturb_each_other() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let prepared = conn.call(tag::PREPARE, [format!("{} ORDER BY i LIMIT :n", numbers(100)).into()]).unwrap();
    let statement = prepared.items()[0].clone();
    let declare = |n: i32| {
        let declared = conn.call(tag::DECLARE, [statement.clone(), map([("n", n)])]).unwrap();
        declared.items()[0].clone()
    };
    let (one, two) = (declare(50), declare(60));
    assert_eq!(conn.status().get("cursors").int(), 2);
    let fetch = |cursor: &Term| conn.send(tag::FETCH, [cursor.clone(), 10.into(), 0.into()]);
    // Under way together, as a client that streams does.
    let ids: Vec<_> = (0..4).flat_map(|_| [fetch(&one), fetch(&two)]).collect();
    for (id, step) in ids.into_iter().zip(0i64..) {
        let rows = rows_of(&sidecar.receive(id).payload);
        assert_eq!(rows[0][0].int(), step / 2 * 10 + 1);
    }
    let id = conn.send(tag::EXECUTE_PREPARED, [statement.clone(), map([("n", 3)])]);
    assert_eq!(conn.outcome(id).unwrap().num_rows, 3);
    conn.call(tag::CLOSE_STATEMENT, [statement]).unwrap();
    assert_eq!(fetch_all(&conn, &two, 0, 0, || ()).len(), 20, "a cursor outlives its statement");
    conn.call(tag::CLOSE_CURSOR, [one.clone()]).unwrap();
    conn.call(tag::CLOSE_CURSOR, [one]).unwrap();
    assert_eq!(conn.status().get("cursors").int(), 0);
}

#[test]
fn a_cursor_keeps_its_parameters_and_its_snapshot() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (reading, writing) = (sidecar.open(&path), sidecar.open(&path));
    writing.exec("CREATE TABLE t(a)");
    writing.exec(&format!("INSERT INTO t {}", numbers(100)));
    let declared = reading.call(tag::DECLARE, ["SELECT a, ? FROM t".into(), list!["kept"]]).unwrap();
    let cursor = declared.items()[0].clone();
    let first = reading.send(tag::FETCH, [cursor.clone(), 10.into(), 0.into()]);
    assert_eq!(sidecar.receive(first).tag, tag::MORE_ROWS);
    writing.exec("DELETE FROM t");
    reading.query("SELECT ?", list!["another"]).unwrap();
    let rows = fetch_all(&reading, &cursor, 0, 0, || ());
    assert_eq!((rows.len(), &rows[89][1]), (90, &"kept".into()));
}

#[test]
fn a_cursor_that_writes_holds_the_turn_until_it_is_closed() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open(&path));
    one.exec("CREATE TABLE t(a)");
    let sql = format!("INSERT INTO t {} RETURNING a", numbers(100));
    let declared = one.call(tag::DECLARE, [sql.as_str().into(), list![]]).unwrap();
    let cursor = declared.items()[0].clone();
    let first = one.send(tag::FETCH, [cursor.clone(), 10.into(), 0.into()]);
    assert_eq!(sidecar.receive(first).payload.items().len(), 10);
    assert_eq!(two.within(200).query("INSERT INTO t VALUES (0)", list![]).unwrap_err().code, "timeout");
    assert_eq!(fetch_all(&one, &cursor, 0, 0, || ()).len(), 90);
    two.exec("INSERT INTO t VALUES (0)");
    assert_eq!(two.value("SELECT count(*) FROM t"), 101.into());
}

#[test]
fn a_fetch_that_fails_closes_its_cursor() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let declared = conn.call(tag::DECLARE, [ENDLESS.into(), list![]]).unwrap();
    let cursor = declared.items()[0].clone();
    let failure = conn.within(200).call(tag::FETCH, [cursor.clone(), 0.into(), 0.into()]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert_eq!(conn.call(tag::FETCH, [cursor, 0.into(), 0.into()]).unwrap_err().code, "unknown_cursor");
    assert_eq!(conn.status().get("cursors").int(), 0);
    assert_eq!(conn.status().get("timeouts").int(), 1);
}
