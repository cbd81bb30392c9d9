//! Violated constraints as data: kind, table, columns, index, name.

use crate::list;
use crate::support::*;

/// Code, kind, table, columns, index, name of the failure of `sql`.
fn failure(conn: &Conn<'_>, sql: &str) -> (String, String, String, String, String, String) {
    let failure = conn.query(sql, list![]).expect_err(sql);
    shown(failure)
}

fn shown(failure: Failure) -> (String, String, String, String, String, String) {
    let constraint = failure.constraint.clone().unwrap_or_else(|| panic!("{failure:?}"));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    (
        failure.code,
        constraint.kind,
        or_dash(constraint.table),
        constraint.columns.join(","),
        or_dash(constraint.index),
        or_dash(constraint.name),
    )
}

fn expected(words: [&str; 6]) -> (String, String, String, String, String, String) {
    let [code, kind, table, columns, index, name] = words.map(str::to_owned);
    (code, kind, table, columns, index, name)
}

#[test]
fn every_kind_is_told_with_what_is_known_about_it() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b NOT NULL DEFAULT 1, c CHECK (c > 0), \
             d, e, f, g, CONSTRAINT d_is_small CHECK (d < 10), UNIQUE (e, f));\
         CREATE UNIQUE INDEX by_lower ON t(lower(b), d);\
         CREATE UNIQUE INDEX by_g ON t(g);\
         CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;\
         CREATE TABLE two(x, y, PRIMARY KEY (x, y));\
         CREATE TABLE s(n INTEGER, m TEXT) STRICT;\
         CREATE TABLE \"odd.name\"(\"a b\" UNIQUE);\
         CREATE TRIGGER no_99 BEFORE INSERT ON t WHEN new.a = 99 BEGIN SELECT RAISE(ABORT, 'no ninety-nine'); END;\
         INSERT INTO t(id, a, b, d, e, f, g) VALUES (1, 1, 'Q', 1, 1, 1, 1);\
         INSERT INTO w VALUES ('k', 1); INSERT INTO two VALUES (1, 1); INSERT INTO \"odd.name\" VALUES (1);",
    )
    .unwrap();
    for (sql, words) in [
        ("INSERT INTO t(id) VALUES (1)", ["constraint_primary_key", "primary_key", "t", "id", "-", "-"]),
        (
            "INSERT INTO t(a) VALUES (1)",
            ["constraint_unique", "unique", "t", "a", "sqlite_autoindex_t_1", "sqlite_autoindex_t_1"],
        ),
        (
            "INSERT INTO t(b, e, f) VALUES (7, 1, 1)",
            ["constraint_unique", "unique", "t", "e,f", "sqlite_autoindex_t_2", "sqlite_autoindex_t_2"],
        ),
        ("INSERT INTO t(b, g) VALUES (8, 1)", ["constraint_unique", "unique", "t", "g", "by_g", "by_g"]),
        (
            "INSERT INTO t(b, d) VALUES ('q', 1)",
            ["constraint_unique", "unique", "t", "d", "by_lower", "by_lower"],
        ),
        ("INSERT INTO t(b) VALUES (NULL)", ["constraint_not_null", "not_null", "t", "b", "-", "-"]),
        ("INSERT INTO t(c) VALUES (-1)", ["constraint_check", "check", "-", "", "-", "c > 0"]),
        ("INSERT INTO t(d) VALUES (11)", ["constraint_check", "check", "-", "", "-", "d_is_small"]),
        (
            "INSERT INTO w VALUES ('k', 2)",
            [
                "constraint_primary_key",
                "primary_key",
                "w",
                "k",
                "sqlite_autoindex_w_1",
                "sqlite_autoindex_w_1",
            ],
        ),
        (
            "INSERT INTO two VALUES (1, 1)",
            [
                "constraint_primary_key",
                "primary_key",
                "two",
                "x,y",
                "sqlite_autoindex_two_1",
                "sqlite_autoindex_two_1",
            ],
        ),
        ("INSERT INTO s VALUES ('x', 'y')", ["constraint_datatype", "datatype", "s", "n", "-", "-"]),
        ("INSERT INTO t(a) VALUES (99)", ["constraint_trigger", "trigger", "-", "", "-", "no ninety-nine"]),
        (
            "INSERT INTO \"odd.name\" VALUES (1)",
            [
                "constraint_unique",
                "unique",
                "odd.name",
                "a b",
                "sqlite_autoindex_odd.name_1",
                "sqlite_autoindex_odd.name_1",
            ],
        ),
    ] {
        assert_eq!(failure(&conn, sql), expected(words), "{sql}");
        let again = conn.query(sql, list![]).unwrap_err();
        assert_eq!(again.sqlite_code.unwrap() & 0xff, 19, "{sql}");
        assert_eq!(again.tx_status, Some(0), "{sql}");
    }
}

#[test]
fn columns_are_told_whatever_dots_the_names_have() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(
        "CREATE TABLE v(\"a.b\" NOT NULL); CREATE TABLE \"v.w\"(c NOT NULL, \"d.e\" NOT NULL DEFAULT 1);\
         CREATE TABLE s(\"n.m\" INTEGER) STRICT;",
    )
    .unwrap();
    for (sql, kind, table, column) in [
        ("INSERT INTO v VALUES (NULL)", "not_null", "v", "a.b"),
        ("INSERT INTO \"v.w\"(c) VALUES (NULL)", "not_null", "v.w", "c"),
        ("INSERT INTO \"v.w\" VALUES (1, NULL)", "not_null", "v.w", "d.e"),
        ("INSERT INTO s VALUES ('x')", "datatype", "s", "n.m"),
    ] {
        let code = format!("constraint_{kind}");
        assert_eq!(failure(&conn, sql), expected([&code, kind, table, column, "-", "-"]), "{sql}");
    }
}

const FAMILY: &str = "CREATE TABLE p(id INTEGER PRIMARY KEY, k UNIQUE);\
     CREATE TABLE q(a, b, PRIMARY KEY (a, b));\
     CREATE TABLE c(id INTEGER PRIMARY KEY, p CONSTRAINT to_p REFERENCES p, x, y, l REFERENCES p(k) \
         DEFERRABLE INITIALLY DEFERRED, CONSTRAINT \"to q\" FOREIGN KEY (x, y) REFERENCES q(a, b));\
     CREATE TABLE r(id INTEGER PRIMARY KEY, q CONSTRAINT restricted REFERENCES p ON DELETE RESTRICT, other REFERENCES c);\
     INSERT INTO p VALUES (1, 'one'), (2, 'two'), (3, 'three'); INSERT INTO q VALUES (1, 2);\
     INSERT INTO c VALUES (1, 1, 1, 2, 'three'); INSERT INTO r VALUES (1, 2, 1);";

#[test]
fn violated_foreign_keys_are_found() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(FAMILY).unwrap();
    let key = |table: &str, columns: &str, name: &str| {
        expected(["constraint_foreign_key", "foreign_key", table, columns, "-", name])
    };
    for within_transaction in [false, true] {
        if within_transaction {
            conn.begin("immediate").unwrap();
            conn.exec("INSERT INTO p VALUES (10, 'ten')");
        }
        let before = conn
            .exec("SELECT (SELECT count(*) FROM p), (SELECT count(*) FROM c), (SELECT count(*) FROM r)")
            .rows;
        let total = conn.status().get("changes").int();
        for (sql, wanted) in [
            ("INSERT INTO c(p) VALUES (77)", key("c", "p", "to_p")),
            ("INSERT INTO c(id, p, x, y) VALUES (5, 1, 1, 1)", key("c", "x,y", "to q")),
            ("INSERT INTO c(p) VALUES (1), (2), (77) RETURNING id", key("c", "p", "to_p")),
            ("UPDATE c SET p = 77", key("c", "p", "to_p")),
            ("INSERT INTO r(other) VALUES (99)", key("r", "other", "-")),
            ("DELETE FROM p WHERE id = 1", key("c", "p", "to_p")),
            ("DELETE FROM q", key("c", "x,y", "to q")),
            ("DELETE FROM c", key("r", "other", "-")),
        ] {
            let rowid = conn.value("SELECT last_insert_rowid()");
            let failed = conn.query(sql, list![]).unwrap_err();
            assert_eq!(failed.tx_status, Some(if within_transaction { 3 } else { 0 }), "{sql}");
            assert_eq!(shown(failed), wanted, "{sql}");
            // The engine keeps the rowids of rows that were inserted before the one that failed.
            if !sql.contains("), (") {
                assert_eq!(conn.value("SELECT last_insert_rowid()"), rowid, "{sql}");
            }
            assert_eq!(conn.value("SELECT changes()"), 0.into(), "{sql}");
        }
        let after = conn
            .exec("SELECT (SELECT count(*) FROM p), (SELECT count(*) FROM c), (SELECT count(*) FROM r)")
            .rows;
        assert_eq!(after, before, "looking has changed nothing");
        assert_eq!(conn.status().get("changes").int(), total);
        assert_eq!(conn.value("PRAGMA defer_foreign_keys"), 0.into());
        // Parameters are those of the statement that failed.
        let failed = conn.query("INSERT INTO c(p, x, y) VALUES (?, ?, ?)", list![1, 5, 6]).unwrap_err();
        assert_eq!(shown(failed), key("c", "x,y", "to q"));
        if within_transaction {
            conn.commit().unwrap();
        }
    }
    assert_eq!(conn.value("SELECT k FROM p WHERE id = 10"), "ten".into(), "the transaction has survived");
    conn.exec("INSERT INTO c(p) VALUES (2)");
}

#[test]
fn restrict_is_a_foreign_key_too() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(FAMILY).unwrap();
    let failed = conn.query("DELETE FROM p WHERE id = 2", list![]).unwrap_err();
    assert_eq!(failed.code, "constraint_foreign_key");
    let wanted = ["constraint_foreign_key", "foreign_key", "r", "q", "-", "restricted"];
    assert_eq!(shown(failed), expected(wanted));
    conn.begin("immediate").unwrap();
    let failed = conn.query("DELETE FROM p WHERE id = 2", list![]).unwrap_err();
    assert_eq!((failed.code.as_str(), failed.tx_status), ("constraint_foreign_key", Some(3)));
    conn.commit().unwrap();
}

#[test]
fn a_deferred_foreign_key_is_found_at_the_commit() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.script(FAMILY).unwrap();
    let wanted = expected(["constraint_foreign_key", "foreign_key", "c", "l", "-", "-"]);
    for by_sql in [false, true] {
        conn.begin("immediate").unwrap();
        assert_eq!(conn.exec("INSERT INTO c(p, l) VALUES (1, 'nobody')").tx_status, 3);
        let failed = match by_sql {
            true => conn.query("COMMIT", list![]).unwrap_err(),
            false => conn.commit().unwrap_err(),
        };
        assert_eq!(failed.tx_status, Some(3), "the transaction stays open");
        assert_eq!(shown(failed), wanted);
        conn.rollback().unwrap();
    }
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO c(p, l) VALUES (1, 'nobody')");
    assert!(conn.commit().is_err());
    conn.exec("INSERT INTO p VALUES (20, 'nobody')");
    conn.commit().unwrap();
    // Without a transaction the statement itself fails.
    let failed = conn.query("INSERT INTO c(p, l) VALUES (1, 'no one')", list![]).unwrap_err();
    assert_eq!(failed.tx_status, Some(0));
    assert_eq!(shown(failed), wanted);
    other.exec("INSERT INTO c(p) VALUES (1)");
}

#[test]
fn batches_and_scripts_name_the_foreign_key() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(FAMILY).unwrap();
    let wanted = expected(["constraint_foreign_key", "foreign_key", "c", "x,y", "-", "to q"]);
    for atomic in [true, false] {
        let items = [
            ("INSERT INTO c(p) VALUES (?)", list![1]),
            ("INSERT INTO c(p, x, y) VALUES (?, 9, 9)", list![1]),
        ];
        match conn.batch(atomic, &items) {
            Err(failed) => assert_eq!(shown(failed), wanted),
            Ok((items, _)) => assert_eq!(shown(items[1].clone().unwrap_err()), wanted),
        }
    }
    assert_eq!(conn.value("SELECT count(*) FROM c"), 2.into(), "one more by the batch that is not atomic");
    let failed = conn.script("SELECT 1; INSERT INTO c(p, x, y) VALUES (1, 9, 9); SELECT 2").unwrap_err();
    assert_eq!(shown(failed), wanted);
}

#[test]
fn looking_for_a_foreign_key_does_not_take_long() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(FAMILY).unwrap();
    conn.exec(&format!("INSERT INTO c(p) SELECT 1 FROM ({})", numbers(300_000)));
    // Deferred over a large table, it may or may not be found in its time; the error comes either way.
    conn.begin("immediate").unwrap();
    conn.exec("UPDATE c SET l = 'nobody' WHERE id > 250000");
    let started = std::time::Instant::now();
    let failed = conn.commit().unwrap_err();
    assert_eq!((failed.code.as_str(), failed.tx_status), ("constraint_foreign_key", Some(3)));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    conn.rollback().unwrap();
    // A statement that violates a key itself knows which one, however large the table is.
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO p VALUES (50, 'fifty')");
    let failed = conn.query("UPDATE c SET p = 77", list![]).unwrap_err();
    assert_eq!(failed.tx_status, Some(3));
    assert_eq!(shown(failed), expected(["constraint_foreign_key", "foreign_key", "c", "p", "-", "to_p"]));
    conn.commit().unwrap();
    assert_eq!(conn.value("SELECT k FROM p WHERE id = 50"), "fifty".into());
    let failed = conn.query("UPDATE c SET l = 'nobody'", list![]).unwrap_err();
    assert_eq!(shown(failed), expected(["constraint_foreign_key", "foreign_key", "c", "l", "-", "-"]));
}

#[test]
fn the_key_that_is_left_violated_is_named_whatever_violates_it() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    let other = folder.path().join("other.db");
    conn.query("ATTACH ? AS \"an: other 4\"", list![other.to_str().unwrap()]).unwrap();
    conn.script(FAMILY).unwrap();
    conn.script(
        "CREATE TABLE \"an: other 4\".p(id INTEGER PRIMARY KEY);
         CREATE TABLE \"an: other 4\".\"1 2 c\"(a CONSTRAINT \"of: it\" REFERENCES p, b REFERENCES p);
         CREATE TABLE own(id INTEGER PRIMARY KEY, \"the\"\"one\" REFERENCES own, other REFERENCES own(id));
         CREATE TABLE pair(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
         CREATE TABLE kid(a, b, up REFERENCES own, CONSTRAINT both FOREIGN KEY (a, b) REFERENCES pair) ;
         CREATE TABLE late(a REFERENCES own, b CONSTRAINT at_last REFERENCES own DEFERRABLE INITIALLY DEFERRED);
         CREATE VIEW v AS SELECT 1 AS x;
         CREATE TRIGGER by_view INSTEAD OF INSERT ON v BEGIN
           INSERT INTO kid(a, b) VALUES (8, 8); INSERT INTO kid(up) VALUES (new.x); INSERT INTO pair VALUES (8, 8); END;
         CREATE TABLE cascading(id INTEGER PRIMARY KEY, up REFERENCES own ON DELETE CASCADE);
         CREATE TABLE below(a REFERENCES own, up CONSTRAINT held REFERENCES cascading);
         INSERT INTO own VALUES (1, NULL, NULL), (2, 1, NULL), (4, NULL, NULL); INSERT INTO pair VALUES (1, 1);
         INSERT INTO cascading VALUES (9, 4); INSERT INTO below VALUES (NULL, 9);",
    )
    .unwrap();
    for (sql, table, columns, name) in [
        ("INSERT INTO \"1 2 c\" VALUES (5, NULL)", "1 2 c", "a", "of: it"),
        ("INSERT INTO \"1 2 c\" VALUES (NULL, 5), (NULL, 6)", "1 2 c", "b", "-"),
        ("INSERT INTO own(\"the\"\"one\") VALUES (77)", "own", "the\"one", "-"),
        ("INSERT INTO own(other) VALUES (77), (78)", "own", "other", "-"),
        ("DELETE FROM own WHERE id = 1", "own", "the\"one", "-"),
        ("UPDATE own SET id = 7 WHERE id = 1", "own", "the\"one", "-"),
        ("INSERT INTO kid(a, b) VALUES (2, 2)", "kid", "a,b", "both"),
        // The first key is violated by its first statement and no longer by its last.
        ("INSERT INTO v VALUES (99)", "kid", "up", "-"),
        ("INSERT INTO late VALUES (NULL, 66)", "late", "b", "at_last"),
        ("INSERT INTO late VALUES (55, 66)", "late", "a", "-"),
        ("DELETE FROM own WHERE id = 4", "below", "up", "held"),
        ("INSERT OR REPLACE INTO cascading VALUES (9, 77)", "cascading", "up", "-"),
        ("INSERT INTO cascading VALUES (9, 4) ON CONFLICT DO UPDATE SET id = 10", "below", "up", "held"),
        ("WITH x AS (SELECT 9) DELETE FROM cascading WHERE id IN x RETURNING id", "below", "up", "held"),
        ("DROP TABLE cascading", "below", "up", "held"),
        ("UPDATE OR IGNORE kid SET up = 1 WHERE 0; INSERT INTO kid(up) VALUES (3)", "kid", "up", "-"),
    ] {
        let wanted = expected(["constraint_foreign_key", "foreign_key", table, columns, "-", name]);
        for _twice in 0..2 {
            let failed = conn.script(sql).unwrap_err();
            assert_eq!(failed.message, "FOREIGN KEY constraint failed", "{sql}");
            assert_eq!(shown(failed), wanted, "{sql}");
            assert_eq!(conn.value("SELECT changes()"), 0.into(), "{sql}");
        }
    }
    conn.exec("INSERT INTO v VALUES (2)");
    assert_eq!(conn.value("SELECT count(*) FROM kid"), 2.into());
    // Words of a trigger are its own.
    let words = "FOREIGN KEY constraint failed: 0 4 mainc";
    conn.exec(&format!("CREATE TRIGGER says INSERT ON own BEGIN SELECT RAISE(ABORT, '{words}'); END"));
    let failed = conn.query("INSERT INTO own(id) VALUES (100)", list![]).unwrap_err();
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("constraint_trigger", words));
}

/// A statement that fails for a foreign key leaves nothing behind, whatever the statement's compiled form was made for:
/// the engine compiles a writer of one row without a journal, and defers the check if the connection defers them.
mod compiled_while_deferred {
    use super::*;

    const WRITES: &str = "INSERT INTO kid(a) VALUES (99)";

    fn family(conn: &Conn<'_>) {
        conn.script(
            "CREATE TABLE parent(id INTEGER PRIMARY KEY);
             CREATE TABLE kid(id INTEGER PRIMARY KEY, a REFERENCES parent, b REFERENCES parent);",
        )
        .unwrap();
    }

    /// In a transaction of its own, the statement fails and the table stays empty.
    fn leaves_nothing(conn: &Conn<'_>, what: &str) {
        conn.begin("immediate").unwrap();
        let failure = conn.query(WRITES, list![]).unwrap_err();
        assert_eq!(failure.code, "constraint_foreign_key", "{what}");
        assert_eq!(conn.value("SELECT count(*) FROM kid"), 0.into(), "{what}");
        conn.commit().unwrap();
        assert_eq!(conn.value("SELECT count(*) FROM kid"), 0.into(), "{what}");
    }

    #[test]
    fn after_the_search_for_the_key() {
        let sidecar = Sidecar::start();
        let conn = sidecar.open(":memory:");
        family(&conn);
        conn.query(WRITES, list![]).unwrap_err();
        leaves_nothing(&conn, "a search outside of a transaction");
        leaves_nothing(&conn, "a search in a transaction");
        conn.begin("immediate").unwrap();
        conn.query(WRITES, list![]).unwrap_err();
        conn.rollback().unwrap();
        leaves_nothing(&conn, "a search in a transaction that was rolled back");
    }

    #[test]
    fn after_a_transaction_that_deferred_its_keys() {
        let sidecar = Sidecar::start();
        for (way, ending) in [
            ("execute", "commit"),
            ("execute", "rollback"),
            ("execute", "COMMIT"),
            ("script", "commit"),
            ("script", "ROLLBACK"),
            ("batch", "commit"),
            ("batch", "rollback"),
        ] {
            let conn = sidecar.open(":memory:");
            family(&conn);
            conn.begin("immediate").unwrap();
            let pragma = " /* x */ PRAGMA main.defer_foreign_keys = on";
            match way {
                "script" => drop(conn.script(pragma).unwrap()),
                "batch" => drop(conn.batch(false, &[(pragma, list![])]).unwrap()),
                _ => drop(conn.exec(pragma)),
            }
            // Deferred, it succeeds; and so the violation must go before the commit.
            conn.query(WRITES, list![]).unwrap();
            conn.exec("DELETE FROM kid");
            match ending {
                "commit" => drop(conn.commit().unwrap()),
                "rollback" => drop(conn.rollback().unwrap()),
                sql => drop(conn.exec(sql)),
            }
            leaves_nothing(&conn, &format!("{way}, {ending}"));
        }
    }
}
