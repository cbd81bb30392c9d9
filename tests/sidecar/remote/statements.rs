//! Statements outside of transactions: values, errors, batches, scripts, descriptions.

use super::{open, open_with};
use crate::sqld::Sqld;
use crate::support::{numbers, tag, Sidecar};
use crate::term::{atom, blob, bytes, map, nil, Term};
use crate::{list, tuple};

macro_rules! connected {
    ($server:ident, $sidecar:ident, $conn:ident) => {
        let Some($server) = Sqld::start() else { return };
        let $sidecar = Sidecar::start();
        let $conn = open(&$sidecar, &$server.url());
    };
}

#[test]
fn values_come_back_as_they_were_sent() {
    connected!(server, sidecar, conn);
    let values =
        list![nil(), i64::MIN, i64::MAX, 0.1, 1.0, "a\"\u{0}é\u{1f600}", blob(&[0, 255, 1]), blob(&[]), true];
    let back = conn.query("SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?", values).unwrap();
    let expected = [
        nil(),
        i64::MIN.into(),
        i64::MAX.into(),
        0.1.into(),
        1.0.into(),
        "a\"\u{0}é\u{1f600}".into(),
        bytes(&[0, 255, 1]),
        bytes(&[]),
        1.into(),
    ];
    assert_eq!(back.rows, [expected]);
    let named = map([("a", Term::from(1)), (":b", 2.into())]);
    assert_eq!(conn.query("SELECT :b, @a AS x", named).unwrap().rows, [[Term::from(2), 1.into()]]);
    for (sql, params, code) in [
        ("SELECT ?", list![], "parameter_count"),
        ("SELECT 1", list![1], "parameter_count"),
        ("SELECT :a", map([("b", 1)]), "parameter_name"),
        ("SELECT ?", list![atom("infinity")], "invalid_parameter"),
    ] {
        assert_eq!(conn.query(sql, params).unwrap_err().code, code, "{sql}");
    }
}

#[test]
fn results_have_counters_and_columns() {
    connected!(server, sidecar, conn);
    conn.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)");
    let inserted = conn.query("INSERT INTO t(a) VALUES (?), (?)", list!["x", "y"]).unwrap();
    assert_eq!((inserted.changes, inserted.last_insert_rowid, inserted.tx_status), (2, 2, 0));
    let selected = conn.exec("SELECT id, a FROM t ORDER BY id");
    assert_eq!(
        (selected.columns, selected.num_rows, selected.changes),
        (vec!["id".into(), "a".into()], 2, 0)
    );
    assert_eq!(conn.exec("SELECT a AS b FROM t WHERE 0").columns, ["b"]);
    let returned = conn.query("INSERT INTO t(a) VALUES ('z') RETURNING id, a", list![]).unwrap();
    assert_eq!((returned.rows, returned.changes), (vec![vec![3.into(), "z".into()]], 1));
    let status = conn.status();
    assert_eq!(status.get("changes").int(), 3);
    assert_eq!(status.get("autocommit"), &true.into());
}

#[test]
fn errors_have_codes_places_and_constraints() {
    connected!(server, sidecar, conn);
    conn.script(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, u TEXT, v TEXT, n INT NOT NULL DEFAULT 1 CHECK (n > 0));
         CREATE UNIQUE INDEX p_u_v ON p(u, v); CREATE UNIQUE INDEX p_low ON p(lower(u)) WHERE v = 'low';
         CREATE TABLE c(id TEXT PRIMARY KEY, p INT REFERENCES p(id));
         CREATE TABLE s(a INTEGER) STRICT;
         INSERT INTO p VALUES (1, 'a', 'b', 1); INSERT INTO p VALUES (2, 'x', 'low', 1); INSERT INTO c VALUES ('k', 1);
         CREATE TRIGGER no BEFORE DELETE ON s BEGIN SELECT RAISE(ABORT, 'never; END'); END;
         INSERT INTO s VALUES (1)",
    )
    .unwrap();
    let columns = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    for (sql, code, table, names, index) in [
        (
            "INSERT INTO p(u, v) VALUES ('a', 'b')",
            "constraint_unique",
            Some("p"),
            columns(&["u", "v"]),
            Some("p_u_v"),
        ),
        (
            "INSERT INTO p(u, v) VALUES ('X', 'low')",
            "constraint_unique",
            Some("p"),
            columns(&[]),
            Some("p_low"),
        ),
        ("INSERT INTO p(id) VALUES (1)", "constraint_primary_key", Some("p"), columns(&["id"]), None),
        (
            "INSERT INTO c VALUES ('k', 1)",
            "constraint_primary_key",
            Some("c"),
            columns(&["id"]),
            Some("sqlite_autoindex_c_1"),
        ),
        ("INSERT INTO p(n) VALUES (NULL)", "constraint_not_null", Some("p"), columns(&["n"]), None),
        ("INSERT INTO p(n) VALUES (0)", "constraint_check", None, columns(&[]), None),
        ("INSERT INTO c VALUES ('l', 9)", "constraint_foreign_key", None, columns(&[]), None),
        ("INSERT INTO s VALUES ('x')", "constraint_datatype", Some("s"), columns(&["a"]), None),
        ("DELETE FROM s", "constraint_trigger", None, columns(&[]), None),
    ] {
        let failure = conn.query(sql, list![]).unwrap_err();
        let constraint = failure.constraint.unwrap_or_else(|| panic!("{sql}: {}", failure.message));
        assert_eq!(failure.code, code, "{sql}");
        assert_eq!((constraint.table.as_deref(), constraint.columns), (table, names), "{sql}");
        assert_eq!(constraint.index.as_deref(), index, "{sql}");
        assert_eq!(failure.tx_status, Some(0));
    }
    for (sql, code, offset) in [
        ("SELEC 1", "sql_error", Some(0)),
        ("SELECT nope", "sql_error", Some(7)),
        ("SELECT * FROM nope", "sql_error", None),
        ("SELECT 1; SELECT 2", "multiple_statements", None),
        ("-- nothing", "empty_statement", None),
        ("COMMIT", "sql_error", None),
    ] {
        let failure = conn.query(sql, list![]).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.offset), (code, offset), "{sql}: {}", failure.message);
    }
}

#[test]
fn query_one_leaves_nothing_behind_when_it_fails() {
    connected!(server, sidecar, conn);
    conn.exec("CREATE TABLE t(a)");
    assert_eq!(conn.query_one("SELECT 7", list![]).unwrap().value(), &7.into());
    assert_eq!(conn.query_one("SELECT 1 WHERE 0", list![]).unwrap_err().code, "no_rows");
    assert_eq!(conn.query_one("SELECT 1 UNION ALL SELECT 2", list![]).unwrap_err().code, "too_many_rows");
    assert_eq!(conn.query_one("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "no_rows");
    let two = "INSERT INTO t VALUES (1), (2) RETURNING a";
    let one = "INSERT INTO t VALUES (3) RETURNING a";
    assert_eq!(conn.query_one(two, list![]).unwrap_err().code, "too_many_rows");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    assert_eq!(conn.query_one(one, list![]).unwrap().value(), &3.into());
    conn.begin("immediate").unwrap();
    assert_eq!(conn.query_one(two, list![]).unwrap_err().tx_status, Some(3));
    assert_eq!(conn.query_one(one, list![]).unwrap().tx_status, 3);
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
    // A ceiling of the request's own undoes what was written, too.
    let refused = conn.query_with(two, list![], map([("rows_max", 1)])).unwrap_err();
    assert_eq!(refused.code, "result_too_large");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
}

#[test]
fn batches_are_all_or_nothing_or_each_by_itself() {
    connected!(server, sidecar, conn);
    conn.exec("CREATE TABLE t(a UNIQUE)");
    let items = [("INSERT INTO t VALUES (?)", list![1]), ("SELECT count(*) FROM t", list![])];
    let (done, status) = conn.batch(true, &items).unwrap();
    assert_eq!(
        (done[0].clone().unwrap().1, done[1].clone().unwrap().0, status),
        (1, vec![vec![1.into()]], 0)
    );
    let bad = [("INSERT INTO t VALUES (2)", list![]), ("INSERT INTO t VALUES (1)", list![])];
    let failure = conn.batch(true, &bad).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.index), ("constraint_unique", Some(1)));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
    let (each, _) = conn.batch(false, &bad).unwrap();
    assert!(each[0].is_ok());
    assert_eq!(each[1].clone().unwrap_err().code, "constraint_unique");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 2.into());
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (3)");
    let failure =
        conn.batch(true, &[("INSERT INTO t VALUES (4)", list![]), ("INSERT INTO t VALUES (1)", list![])]);
    let failure = failure.unwrap_err();
    assert_eq!((failure.index, failure.tx_status), (Some(1), Some(3)));
    assert!(conn.batch(true, &[("INSERT INTO t VALUES (5)", list![])]).is_ok());
    assert_eq!(conn.commit(), Ok(0));
    assert_eq!(
        conn.exec("SELECT a FROM t ORDER BY a").rows,
        [[1], [2], [3], [5]].map(|row| row.map(Term::from))
    );
    assert_eq!(conn.batch(true, &[("COMMIT", list![])]).unwrap_err().code, "invalid_request");
    assert_eq!(conn.batch(true, &[]).unwrap(), (vec![], 0));
}

#[test]
fn scripts_stop_at_the_first_error_with_its_place() {
    connected!(server, sidecar, conn);
    let many: String = (0..300).map(|n| format!("INSERT INTO t VALUES ({n});\n")).collect();
    let script = format!("CREATE TABLE t(a); BEGIN; {many} COMMIT; SELECT ';'; -- the end");
    assert_eq!(conn.script(&script).unwrap(), tuple![304, 300, 0]);
    let sql = "INSERT INTO t VALUES ('é'); SELECT nope; INSERT INTO t VALUES (2)";
    let failure = conn.script(sql).unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.offset),
        ("sql_error", Some(sql.find("nope").unwrap() as i64))
    );
    assert_eq!(conn.value("SELECT count(*) FROM t"), 301.into(), "what ran before stays");
    let failure = conn.script("BEGIN; DELETE FROM t; nonsense").unwrap_err();
    assert_eq!(failure.tx_status, Some(3), "its transaction is open");
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 301.into());
}

#[test]
fn prepared_statements_and_descriptions() {
    connected!(server, sidecar, conn);
    conn.exec("CREATE TABLE t(a INTEGER, b TEXT)");
    let prepared = conn.call(tag::PREPARE, ["SELECT a, b FROM t WHERE a = :a".into()]).unwrap();
    let (id, description) = (prepared.items()[0].clone(), &prepared.items()[1]);
    assert_eq!(description.get("parameters"), &list![":a"]);
    assert_eq!(description.get("read_only"), &true.into());
    let column = |name: &str, kind: &str| tuple![name, kind, nil(), nil(), nil()];
    assert_eq!(description.get("columns"), &list![column("a", "INTEGER"), column("b", "TEXT")]);
    conn.exec("INSERT INTO t VALUES (1, 'x')");
    let run = conn.send(tag::EXECUTE_PREPARED, [id.clone(), list![1]]);
    assert_eq!(conn.outcome(run).unwrap().rows, [[Term::from(1), "x".into()]]);
    let described = conn.call(tag::DESCRIBE, ["DELETE FROM t RETURNING a".into()]).unwrap();
    assert_eq!(described.get("read_only"), &false.into());
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into(), "it was not run");
    conn.call(tag::CLOSE_STATEMENT, [id.clone()]).unwrap();
    let run = conn.send(tag::EXECUTE_PREPARED, [id, list![1]]);
    assert_eq!(conn.outcome(run).unwrap_err().code, "unknown_statement");
    assert_eq!(conn.call(tag::PREPARE, ["SELEC".into()]).unwrap_err().code, "sql_error");
}

#[test]
fn a_result_longer_than_the_server_sends_at_once_is_read_in_pieces() {
    let Some(server) = Sqld::start_with(&["--max-response-size", "200KB"]) else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    let sql = format!("SELECT i, hex(randomblob(50)) FROM ({})", numbers(20_000));
    let all = conn.exec(&sql);
    assert_eq!((all.num_rows, all.columns.len()), (20_000, 2));
    assert_eq!(all.rows[19_999][0], 20_000.into());
    assert!(all.chunks.len() > 10, "it came in chunks");
    assert_eq!(conn.exec(&sql).num_rows, 20_000, "the second time as well");
    conn.begin("deferred").unwrap();
    assert_eq!(conn.exec(&sql).num_rows, 20_000);
    assert_eq!(conn.exec("SELECT 1").tx_status, 2);
    assert_eq!(conn.rollback(), Ok(0));
    let refused = conn.query_with(&sql, list![], map([("rows_max", 10_000)])).unwrap_err();
    assert_eq!(refused.code, "result_too_large");
    assert_eq!(conn.value("SELECT 1"), 1.into());
}

#[test]
fn what_returns_more_than_that_as_it_writes_is_undone() {
    let Some(server) = Sqld::start_with(&["--max-response-size", "200KB"]) else { return };
    let sidecar = Sidecar::start();
    let conn = open(&sidecar, &server.url());
    conn.exec("CREATE TABLE t(a)");
    let sql = format!("INSERT INTO t SELECT hex(randomblob(500)) FROM ({}) RETURNING a", numbers(2000));
    for _ in 0..2 {
        assert_eq!(conn.query(&sql, list![]).unwrap_err().code, "result_too_large");
        assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    }
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    assert_eq!(conn.query(&sql, list![]).unwrap_err().code, "result_too_large");
    assert_eq!(conn.commit().unwrap_err().code, "transaction_lost");
    assert_eq!(conn.rollback(), Ok(0));
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
}

#[test]
fn the_answer_of_a_server_has_a_limit() {
    let Some(server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let conn = open_with(&sidecar, &server.url(), &[("response_bytes_max", 100_000.into())]).unwrap();
    let sql = format!("SELECT hex(randomblob(50)) FROM ({})", numbers(10_000));
    let failure = conn.query(&sql, list![]).unwrap_err();
    assert_eq!(failure.code, "result_too_large");
    assert!(failure.message.contains("response_bytes_max"), "{}", failure.message);
    let with = format!("WITH x AS ({sql}) SELECT * FROM x");
    assert_eq!(conn.query(&with, list![]).unwrap_err().code, "result_too_large", "it only reads");
    assert_eq!(conn.value("SELECT 1"), 1.into());
}
