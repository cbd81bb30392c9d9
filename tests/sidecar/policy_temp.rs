//! The temporary schema, however a statement names it, and rules about it, by whichever action.

use crate::list;
use crate::policy::rule;
use crate::policy_detours::{all_but, database, denied, under};
use crate::support::*;
use crate::term::*;

const SCHEMA: &str =
    "CREATE TABLE docs(id INTEGER PRIMARY KEY, owner, t); INSERT INTO docs VALUES (1, 1, 'mine');
    CREATE TABLE plain(a)";

/// Statements that make something temporary, and the action and object that they are asked about with.
const MAKES: &[(&str, &str)] = &[
    ("CREATE TABLE temp.x(a)", "create_temp_table x"),
    ("CREATE TABLE \"TEMP\".x(a)", "create_temp_table x"),
    ("CREATE TABLE IF NOT EXISTS 'Temp'.x(a)", "create_temp_table x"),
    ("CREATE TABLE [temp].x AS SELECT * FROM docs", "create_temp_table x"),
    ("CREATE TABLE temp.x(a PRIMARY KEY) WITHOUT ROWID", "create_temp_table x"),
    ("CREATE TEMP TABLE x(a)", "create_temp_table x"),
    ("CREATE TEMPORARY TABLE temp.x(a)", "create_temp_table x"),
    ("EXPLAIN CREATE TABLE temp.x(a)", "create_temp_table x"),
    ("CREATE VIEW temp.x AS SELECT 1", "create_temp_view x"),
    ("CREATE VIEW IF NOT EXISTS Temp.x(a) AS SELECT 1", "create_temp_view x"),
    ("CREATE TEMP VIEW x AS SELECT 1", "create_temp_view x"),
    ("CREATE TRIGGER temp.x AFTER INSERT ON docs BEGIN SELECT 1; END", "create_temp_trigger x"),
    ("CREATE TRIGGER x AFTER INSERT ON made BEGIN SELECT 1; END", "create_temp_trigger x"),
    ("CREATE TEMP TRIGGER x AFTER INSERT ON main.docs BEGIN SELECT 1; END", "create_temp_trigger x"),
    ("CREATE INDEX temp.x ON made(a)", "create_temp_index x"),
    ("CREATE UNIQUE INDEX TEMP.x ON made(a)", "create_temp_index x"),
    ("DROP TABLE made", "drop_temp_table made"),
    ("DROP TABLE temp.made", "drop_temp_table made"),
    ("DROP VIEW made_view", "drop_temp_view made_view"),
    ("DROP INDEX made_index", "drop_temp_index made_index"),
    ("DROP TRIGGER made_trigger", "drop_temp_trigger made_trigger"),
    ("CREATE VIRTUAL TABLE temp.x USING fts5(a)", "create_virtual_table x"),
    ("DROP TABLE made_text", "drop_virtual_table made_text"),
    ("ALTER TABLE made RENAME TO x", "alter_table made"),
    ("ALTER TABLE temp.made ADD COLUMN x", "alter_table made"),
    ("ALTER TABLE made RENAME COLUMN a TO x", "alter_table made"),
    ("ALTER TABLE made DROP COLUMN b", "alter_table made"),
    ("ALTER TABLE made_text RENAME TO x", "alter_table made_text"),
    ("REINDEX made_index", "reindex made_index"),
];

fn with_made<'s>(sidecar: &'s Sidecar, path: &std::path::Path, policy: Term) -> Conn<'s> {
    let conn = under(sidecar, path, policy);
    for sql in [
        "CREATE TEMP TABLE made(a, b)",
        "CREATE VIEW temp.made_view AS SELECT 1",
        "CREATE INDEX temp.made_index ON made(a)",
        "CREATE TEMP TRIGGER made_trigger AFTER INSERT ON plain BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE temp.made_text USING fts5(a)",
    ] {
        conn.query_with(sql, list![], map([("policy", false)])).unwrap();
    }
    conn
}

#[test]
fn what_is_temporary_is_so_by_whatever_name() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, SCHEMA);
    let deny = |actions: &[&str], names: &[(&str, &str)]| rule("deny", actions, names);
    for rules in [deny(&["temp_schema"], &[]), deny(&["schema"], &[("database", "temp")])] {
        let conn = with_made(&sidecar, &path, all_but([rules]));
        for (sql, denial) in MAKES {
            assert_eq!(denied(&conn, sql), *denial, "{sql}");
        }
        for sql in [
            "CREATE TABLE other(a)",
            "ALTER TABLE other RENAME TO another",
            "CREATE INDEX i ON another(a)",
            "REINDEX i",
            "CREATE VIEW w AS SELECT 1",
            "CREATE VIRTUAL TABLE g USING fts5(a)",
            "DROP VIEW w",
            "DROP TABLE g",
            "DROP TABLE another",
        ] {
            conn.exec(sql);
        }
    }
    // One action in that database is the action that has the name of it.
    for (actions, sql) in [
        ("create_table", "CREATE TABLE temp.x(a)"),
        ("create_table", "CREATE TEMP TABLE x(a)"),
        ("create_view", "CREATE TEMP VIEW x AS SELECT 1"),
        ("drop_table", "DROP TABLE made"),
        ("create_trigger", "CREATE TRIGGER temp.x AFTER INSERT ON docs BEGIN SELECT 1; END"),
    ] {
        let conn = with_made(&sidecar, &path, all_but([deny(&[actions], &[("database", "Temp")])]));
        assert_eq!(denied(&conn, sql).split(' ').next(), Some(&*actions.replace('_', "_temp_")), "{sql}");
        conn.exec("CREATE TABLE other(a)");
        conn.exec("DROP TABLE other");
    }
    // What is allowed of the main database alone is not allowed of this one.
    let main = rule("allow", &["schema", "query", "write"], &[]);
    let conn = with_made(
        &sidecar,
        &path,
        list![rule("deny", &["alter_table", "reindex"], &[("database", "temp")]), main],
    );
    for (sql, denial) in MAKES.iter().filter(|(_, denial)| !denial.contains("virtual")) {
        assert_eq!(denied(&conn, sql), *denial, "{sql}");
    }
}

#[test]
fn what_the_temporary_schema_allows_is_its_own() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, SCHEMA);
    let policy = list![rule("allow", &["temp_schema", "query", "write"], &[])];
    for (sql, _) in MAKES {
        with_made(&sidecar, &path, policy.clone()).exec(sql);
    }
    let conn = under(&sidecar, &path, policy);
    for (sql, denial) in [
        ("CREATE TABLE x(a)", "create_table x"),
        ("CREATE TABLE main.temp(a)", "create_table temp"),
        ("ALTER TABLE docs RENAME TO x", "alter_table docs"),
        ("CREATE VIRTUAL TABLE x USING fts5(a)", "create_virtual_table x"),
        ("CREATE INDEX main.i ON docs(t)", "create_index i"),
    ] {
        assert_eq!(denied(&conn, sql), denial, "{sql}");
    }
}

/// A table that is temporary is no table of the application.
#[test]
fn a_view_that_rows_are_read_through_is_no_temporary_one_of_its_name() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, SCHEMA);
    let policy = list![
        rule("allow", &["read"], &[("table", "docs"), ("through", "my_docs")]),
        rule("deny", &["read"], &[("table", "docs")]),
        rule("deny", &["create_temp_view", "create_temp_table"], &[]),
        rule("allow", &["any"], &[]),
    ];
    let conn = under(&sidecar, &path, policy);
    for sql in [
        "CREATE VIEW temp.my_docs AS SELECT * FROM main.docs",
        "CREATE TEMP VIEW my_docs AS SELECT * FROM docs",
    ] {
        assert_eq!(denied(&conn, sql), "create_temp_view my_docs", "{sql}");
    }
}

/// What a table was made with before there was a policy is asked about as it is used.
#[test]
fn a_temporary_table_that_is_older_than_the_policy_calls_nothing_that_is_denied() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, SCHEMA);
    let conn = sidecar.open(&path);
    conn.script(
        "CREATE TEMP TABLE d(a, b DEFAULT (upper('x'))); CREATE TEMP TABLE c(a CHECK (upper(a) <> 'B'));
        CREATE TEMP TABLE g(a, v AS (upper(a))); CREATE TEMP TABLE i(a); CREATE INDEX temp.ii ON i(upper(a));
        CREATE TEMP VIEW w AS SELECT upper(t) AS u FROM docs; INSERT INTO g VALUES ('a')",
    )
    .unwrap();
    let upper = rule("deny", &["function"], &[("function", "upper")]);
    conn.call(tag::SET_POLICY, [all_but([upper])]).unwrap();
    for sql in [
        "INSERT INTO d(a) VALUES (1)",
        "INSERT INTO d DEFAULT VALUES",
        "INSERT INTO c VALUES ('a')",
        "INSERT INTO g VALUES ('b')",
        "SELECT v FROM g",
        "INSERT INTO i VALUES ('a')",
        "SELECT u FROM w",
    ] {
        assert_eq!(denied(&conn, sql), "function upper", "{sql}");
    }
}
