//! What statements do besides what they say: statistics, transactions that end by a conflict, rows that are counted, and rowids that
//! are columns.

use crate::list;
use crate::policy::rule;
use crate::policy_detours::{all_but, database, denied, under};
use crate::support::*;
use crate::term::*;

#[test]
fn analyze_asks_also_where_there_is_nothing_to_gather() {
    let sidecar = Sidecar::start();
    let schema = "CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t; CREATE VIRTUAL TABLE f USING fts5(a)";
    let (_folder, path) = database(&sidecar, schema);
    let no_analyze = all_but([rule("deny", &["analyze"], &[])]);
    for policy in [list![atom("read_only")], no_analyze] {
        let conn = under(&sidecar, &path, policy);
        for name in ["", "v", "f", "t", "sqlite_schema", "main", "temp", "main.v"] {
            let asked = denied(&conn, &format!("ANALYZE {name}"));
            assert!(asked.starts_with("analyze"), "{name}: {asked}");
        }
        let made = "SELECT count(*) FROM pragma_table_list WHERE name LIKE 'sqlite_stat%'";
        assert_eq!(sidecar.open(&path).value(made), 0.into());
    }
    for policy in [list![atom("untrusted_sql")], all_but([rule("deny", &["temp_schema"], &[])])] {
        denied(&under(&sidecar, &path, policy), "ANALYZE temp");
    }
    let conn = under(&sidecar, &path, all_but([]));
    ["", "v", "t"].iter().for_each(|name| assert!(conn.exec(&format!("ANALYZE {name}")).rows.is_empty()));
}

#[test]
fn what_may_end_the_transaction_asks_for_that() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE t(a PRIMARY KEY, b); INSERT INTO t VALUES (1, 1); CREATE TABLE w(a);
         CREATE TABLE u(a UNIQUE ON CONFLICT ROLLBACK); CREATE TABLE n(a NOT NULL ON CONFLICT ROLLBACK);
         CREATE TABLE c(a, CHECK (a > 0)); CREATE VIRTUAL TABLE f USING fts5(a);
         CREATE TRIGGER r BEFORE INSERT ON w WHEN new.a = 'stop' BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    );
    for policy in
        [list![atom("untrusted_sql")], all_but([rule("deny", &["transaction"], &[("name", "ROLLBACK")])])]
    {
        let conn = under(&sidecar, &path, policy);
        for sql in [
            "INSERT OR ROLLBACK INTO t VALUES (1, 1)",
            "UPDATE OR ROLLBACK t SET a = 1",
            "INSERT OR ROLLBACK INTO c VALUES (0)",
            "INSERT OR ROLLBACK INTO f VALUES ('a')",
            "UPDATE OR ROLLBACK f SET a = 'b'",
            "INSERT INTO u VALUES (1)",
            "UPDATE u SET a = 1",
            "INSERT INTO n VALUES (NULL)",
            "INSERT INTO w VALUES ('stop')",
        ] {
            assert_eq!(denied(&conn, sql), "transaction ROLLBACK", "{sql}");
        }
        conn.exec("INSERT OR REPLACE INTO t VALUES (1, 1)");
        conn.exec("INSERT OR IGNORE INTO t VALUES (1, 2)");
    }
}

#[test]
fn rows_are_counted_under_the_names_of_the_table_and_through_the_view() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE documents(title, owner); INSERT INTO documents VALUES ('a', 1), ('b', 2);
         CREATE VIEW titles AS SELECT title FROM documents;
         CREATE VIEW one AS SELECT 1 AS x FROM documents;
         CREATE VIEW twice AS SELECT x FROM one;
         CREATE VIEW both AS SELECT title FROM documents UNION ALL SELECT title FROM documents;
         CREATE VIEW few AS SELECT title FROM documents LIMIT 1",
    );
    let views = ["titles", "one", "twice", "both", "few"];
    let count = |view: &str| format!("SELECT count(*) FROM {view}");
    // Through the views alone.
    let own = views.iter().map(|view| rule("allow", &["read"], &[("table", *view)]));
    let within =
        views.iter().map(|view| rule("allow", &["read"], &[("table", "documents"), ("through", *view)]));
    let rest = [rule("deny", &["read"], &[("table", "documents")]), rule("allow", &["any"], &[])];
    let conn = under(&sidecar, &path, Term::List(own.chain(within).chain(rest).collect()));
    for view in views {
        conn.value(&count(view)).int();
        conn.value(&format!("SELECT 1 FROM {view} LIMIT 1")).int();
        conn.value(&format!("SELECT count(*) FROM {view} AS p, {view} AS q")).int();
    }
    denied(&conn, "SELECT count(*) FROM documents");
    denied(&conn, "SELECT count(*) FROM titles, documents");
    // A name that a stranger gives is no view.
    denied(&conn, "WITH titles AS (SELECT 1 FROM documents) SELECT count(*) FROM titles");
    denied(&conn, "WITH titles AS MATERIALIZED (SELECT 1 AS x FROM documents) SELECT x FROM titles");
    denied(&conn, "SELECT count(*) FROM (SELECT 1 FROM documents) AS titles");
    // Not through one of them.
    let conn = under(
        &sidecar,
        &path,
        all_but([rule("deny", &["read"], &[("table", "documents"), ("through", "one")])]),
    );
    assert_eq!(denied(&conn, &count("one")), "read documents");
    assert_eq!(denied(&conn, &count("twice")), "read documents");
    assert_eq!(conn.value(&count("titles")), 2.into());
    assert_eq!(conn.value(&count("documents")), 2.into());
    // Of another database.
    for name in ["temp", "other"] {
        let conn = under(&sidecar, &path, all_but([rule("deny", &["any"], &[("database", name)])]));
        assert_eq!(conn.value(&count("documents")), 2.into(), "{name}");
    }
    let main = rule("allow", &["read"], &[("database", "main")]);
    let conn = under(&sidecar, &path, list![main, rule("allow", &["select", "function"], &[])]);
    assert_eq!(conn.value(&count("documents")), 2.into());
    // The temporary schema, by its other name.
    let conn = under(&sidecar, &path, all_but([rule("deny", &["read"], &[("table", "sqlite_temp_master")])]));
    denied(&conn, "SELECT count(*) FROM temp.sqlite_master");
    denied(&conn, "SELECT 1 FROM temp.sqlite_schema");
}

#[test]
fn the_rowid_of_an_r_tree_is_its_first_column() {
    let sidecar = Sidecar::start();
    for module in ["rtree", "rtree_i32"] {
        let (_folder, path) = database(
            &sidecar,
            &format!("CREATE VIRTUAL TABLE r USING {module}(id, x0, x1); INSERT INTO r VALUES (42, 1, 2)"),
        );
        let no_id = rule("deny", &["read", "update"], &[("table", "r"), ("column", "id")]);
        let conn = under(&sidecar, &path, all_but([no_id]));
        for sql in [
            "SELECT rowid FROM r",
            "SELECT oid FROM r",
            "SELECT x0 FROM r WHERE _rowid_ = 42",
            "SELECT x0 FROM r ORDER BY oid",
            "SELECT count(*) FROM r AS p JOIN r AS q ON p.rowid = q.rowid",
        ] {
            assert_eq!(denied(&conn, sql), "read r id", "{sql}");
        }
        assert_eq!(denied(&conn, "UPDATE r SET rowid = 9"), "update r id");
        assert_eq!(
            conn.value("SELECT x0 FROM r"),
            if module == "rtree" { Term::Float(1.0) } else { 1.into() }
        );
        let ignored = rule("ignore", &["read", "update"], &[("table", "r"), ("column", "id")]);
        let conn = under(&sidecar, &path, all_but([ignored]));
        assert_eq!(conn.exec("SELECT rowid, id FROM r").rows, [[nil(), nil()]]);
        conn.exec("UPDATE r SET rowid = 7, x0 = 1");
        assert_eq!(sidecar.open(&path).value("SELECT id FROM r"), 42.into());
    }
}
