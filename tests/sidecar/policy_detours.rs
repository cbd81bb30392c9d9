//! What a policy denies is not reached by a detour: by what a schema does for a statement, by another name, or by a table that keeps
//! what another one holds.

use crate::list;
use crate::policy::rule;
use crate::support::*;
use crate::term::*;
use std::path::{Path, PathBuf};

pub fn all_but(rules: impl IntoIterator<Item = Term>) -> Term {
    Term::List(rules.into_iter().chain([rule("allow", &["any"], &[])]).collect())
}

pub fn database(sidecar: &Sidecar, schema: &str) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = folder();
    sidecar.open(&path).script(schema).unwrap();
    (folder, path)
}

pub fn under<'s>(sidecar: &'s Sidecar, path: &Path, policy: Term) -> Conn<'s> {
    sidecar.open_with(path, map([("policy", policy), ("pragmas", map([("foreign_keys", true)]))])).unwrap()
}

/// Action, object and column of the denial.
#[track_caller]
pub fn denied(conn: &Conn<'_>, sql: &str) -> String {
    let failure = conn.query(sql, list![]).map(|_| panic!("{sql} is allowed")).unwrap_err();
    assert_eq!(failure.code, "not_authorized", "{sql}: {failure:?}");
    let denial = failure.denial.unwrap_or_else(|| panic!("{sql}: no denial"));
    let text = |term: &Term| if *term == nil() { String::new() } else { term.text().to_owned() };
    let [action, object, column, ..] = denial.items() else { panic!("{denial:?}") };
    format!("{} {} {}", text(action), text(object), text(column)).trim_end().to_owned()
}

#[test]
fn a_row_that_another_one_replaces_is_deleted() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b);
        CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID;
        CREATE TABLE plain(a);
        CREATE TABLE s(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, a UNIQUE ON CONFLICT REPLACE, b);
        CREATE TABLE n(a NOT NULL ON CONFLICT REPLACE DEFAULT 1, b);
        CREATE TABLE log(a);
        CREATE TRIGGER lt AFTER INSERT ON log BEGIN INSERT OR REPLACE INTO t VALUES (1, new.a, 0); END;
        CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);
        CREATE VIRTUAL TABLE f USING fts5(x);
        INSERT INTO t VALUES (1, 1, 1), (2, 2, 2);
        INSERT INTO w VALUES (1, 1), (2, 2);
        INSERT INTO s VALUES (1, 1, 1), (2, 2, 2);
        INSERT INTO r VALUES (1, 0, 1);
        INSERT INTO f VALUES ('alpha');
        INSERT INTO plain VALUES (1)",
    );
    let conn = under(&sidecar, &path, all_but([rule("deny", &["delete"], &[])]));
    for (sql, object) in [
        ("INSERT OR REPLACE INTO t VALUES (1, 5, 5)", "t"),
        ("REPLACE INTO t(a) VALUES (2)", "t"),
        ("REPLACE INTO t SELECT * FROM t", "t"),
        ("REPLACE INTO t DEFAULT VALUES", "t"),
        ("REPLACE INTO w VALUES (1, 5)", "w"),
        ("REPLACE INTO w SELECT * FROM w", "w"),
        ("REPLACE INTO plain(rowid, a) VALUES (1, 2)", "plain"),
        ("UPDATE OR REPLACE t SET a = 2 WHERE id = 1", "t"),
        ("UPDATE OR REPLACE t SET id = 2 WHERE id = 1", "t"),
        ("UPDATE OR REPLACE w SET k = 2 WHERE k = 1", "w"),
        ("UPDATE OR REPLACE t SET a = w.k FROM w WHERE t.id = 1", "t"),
        ("INSERT INTO s VALUES (1, 5, 5)", "s"),
        ("INSERT INTO s(a) VALUES (2)", "s"),
        ("UPDATE s SET a = 2 WHERE id = 1", "s"),
        ("UPDATE s SET id = 2 WHERE id = 1", "s"),
        ("INSERT OR REPLACE INTO t VALUES (5, 2, 0) ON CONFLICT(id) DO UPDATE SET b = 9", "t"),
        ("INSERT INTO log VALUES (2)", "t"),
        ("WITH x AS (SELECT 1) INSERT OR REPLACE INTO t SELECT 1, 2, 3 FROM x", "t"),
        ("EXPLAIN INSERT OR REPLACE INTO t VALUES (1, 5, 5)", "t"),
        ("REPLACE INTO r VALUES (1, 5, 6)", "r"),
        ("UPDATE OR REPLACE r SET id = 1", "r"),
        ("REPLACE INTO f(rowid, x) VALUES (1, 'beta')", "f"),
    ] {
        assert_eq!(denied(&conn, sql), format!("delete {object}"), "{sql}");
    }
    for sql in [
        "INSERT INTO t VALUES (3, 3, 3)",
        "INSERT OR IGNORE INTO t VALUES (1, 5, 5)",
        "INSERT INTO t VALUES (1, 5, 5) ON CONFLICT(id) DO UPDATE SET b = 5",
        "INSERT INTO s VALUES (1, 5, 5) ON CONFLICT(id) DO NOTHING ON CONFLICT(a) DO NOTHING",
        "INSERT OR ABORT INTO s VALUES (3, 3, 3)",
        "UPDATE s SET b = 7",
        "UPDATE t SET a = 10 WHERE id = 1",
        "INSERT INTO n(b) VALUES (1)",
        "INSERT INTO n VALUES (NULL, 1)",
        "INSERT INTO r VALUES (2, 5, 6)",
        "INSERT INTO f VALUES ('beta')",
    ] {
        conn.exec(sql);
    }
    let all = sidecar.open(&path);
    for (table, rows) in [("t", 3), ("w", 2), ("s", 3), ("plain", 1), ("r", 2), ("f", 2)] {
        assert_eq!(all.value(&format!("SELECT count(*) FROM {table}")).int(), rows, "{table}");
    }
    // Whatever the table is in.
    let own = || map([("policy", false)]);
    conn.query_with("ATTACH ':memory:' AS other", list![], own()).unwrap();
    conn.query_with("CREATE TABLE other.o(id INTEGER PRIMARY KEY)", list![], own()).unwrap();
    conn.query_with("CREATE TEMP TABLE tmp(id PRIMARY KEY)", list![], own()).unwrap();
    for (sql, object) in [("REPLACE INTO other.o VALUES (1)", "o"), ("REPLACE INTO tmp VALUES (1)", "tmp")] {
        assert_eq!(denied(&conn, sql), format!("delete {object}"), "{sql}");
    }
    // Who may delete may replace.
    let conn = under(&sidecar, &path, list![rule("allow", &["insert", "delete"], &[("table", "t")])]);
    conn.exec("INSERT OR REPLACE INTO t VALUES (1, 5, 5)");
}

#[test]
fn dropping_a_table_does_to_the_rows_that_refer_to_it_what_deleting_its_rows_does() {
    let sidecar = Sidecar::start();
    let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY, up REFERENCES p(id) ON DELETE SET NULL);
        CREATE TABLE gone(p REFERENCES p(id) ON DELETE CASCADE, x);
        CREATE TABLE nulled(p REFERENCES p(id) ON DELETE SET NULL);
        CREATE TABLE filled(p DEFAULT (abs(-9)) REFERENCES p(id) ON DELETE SET DEFAULT);
        CREATE TABLE alone(a PRIMARY KEY, b UNIQUE);
        INSERT INTO p VALUES (1, NULL), (9, 1); INSERT INTO gone VALUES (1, 'x');
        INSERT INTO nulled VALUES (1); INSERT INTO alone VALUES (1, 1)";
    for (rules, denial) in [
        (rule("deny", &["delete"], &[("table", "gone")]), "delete gone"),
        (rule("deny", &["update"], &[("table", "nulled"), ("column", "p")]), "update nulled p"),
        (rule("deny", &["update"], &[("table", "filled")]), "update filled p"),
        (rule("deny", &["read"], &[("table", "gone"), ("column", "p")]), "read gone p"),
        (rule("deny", &["function"], &[("function", "abs")]), "function abs"),
    ] {
        let (_folder, path) = database(&sidecar, schema);
        let conn = under(&sidecar, &path, all_but([rules]));
        assert_eq!(denied(&conn, "DROP TABLE p"), denial);
        let all = sidecar.open(&path);
        for (table, rows) in [("p", 2), ("gone", 1), ("nulled", 1)] {
            assert_eq!(all.value(&format!("SELECT count(*) FROM {table}")).int(), rows, "{table}");
        }
        conn.exec("DROP TABLE alone");
        // Without foreign keys nothing becomes of them.
        let options = map([("policy", all_but([rule("deny", &["delete"], &[("table", "gone")])]))]);
        let off = sidecar.open_with(&path, options).unwrap();
        off.query_with("PRAGMA foreign_keys = 0", list![], map([("policy", false)])).unwrap();
        off.exec("DROP TABLE p");
    }
    // Its own rows are a part of it.
    let (_folder, path) = database(&sidecar, schema);
    let children = ["gone", "nulled", "filled"];
    let children = children.map(|table| rule("allow", &["read", "update", "delete"], &[("table", table)]));
    let function = rule("allow", &["function", "drop_table"], &[]);
    let conn = under(&sidecar, &path, Term::List(children.into_iter().chain([function]).collect()));
    conn.exec("DROP TABLE alone");
    conn.exec("DROP TABLE p");
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM gone").int(), 0);
}

#[test]
fn a_function_is_asked_about_where_the_schema_calls_it() {
    let sidecar = Sidecar::start();
    let schema = "CREATE TABLE d(a, b DEFAULT (upper('x')));
        CREATE TABLE nn(a, b NOT NULL ON CONFLICT REPLACE DEFAULT (upper('x')));
        CREATE TABLE c(a CHECK (a <> upper('x')));
        CREATE TABLE ct(a, CHECK (length(upper(a)) < 5));
        CREATE TABLE g(a, v AS (upper(a)), s AS (upper(a)) STORED);
        CREATE TABLE gx(a, v AS (upper(a)));
        CREATE INDEX gxi ON gx(v);
        CREATE TABLE i(a, b); CREATE INDEX ii ON i(upper(a));
        CREATE TABLE q(a, b); CREATE UNIQUE INDEX qi ON q(a) WHERE upper(b) = 'X';
        CREATE TABLE free(a);
        CREATE VIEW lit AS SELECT upper(a) AS u FROM free;
        CREATE TRIGGER ft AFTER DELETE ON free BEGIN INSERT INTO d(a) VALUES (old.a); END;
        INSERT INTO d VALUES ('a', 'b'); INSERT INTO c VALUES ('a'); INSERT INTO ct VALUES ('a');
        INSERT INTO g VALUES ('a'); INSERT INTO i VALUES ('a', 'b'); INSERT INTO q VALUES ('a', 'b');
        INSERT INTO free VALUES ('a'); INSERT INTO nn VALUES ('a', 'b'); INSERT INTO gx VALUES ('a')";
    let (_folder, path) = database(&sidecar, schema);
    let upper = || rule("deny", &["function"], &[("function", "upper")]);
    let conn = under(&sidecar, &path, all_but([upper()]));
    for sql in [
        "INSERT INTO d(a) VALUES (1)",
        "INSERT INTO d DEFAULT VALUES",
        "INSERT INTO d(a) SELECT a FROM free",
        "INSERT INTO d(a) VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO nn VALUES (1, NULL)",
        "UPDATE OR REPLACE nn SET b = NULL",
        "INSERT INTO c VALUES ('y')",
        "UPDATE c SET a = 'y'",
        "INSERT INTO ct VALUES ('y')",
        "INSERT INTO g VALUES ('y')",
        "UPDATE g SET a = 'y'",
        "SELECT v FROM g",
        "SELECT * FROM g",
        "SELECT a FROM g WHERE v = 'A'",
        "CREATE INDEX more ON g(v)",
        "DELETE FROM gx WHERE a = 'a'",
        "INSERT INTO gx VALUES (1)",
        "INSERT INTO i VALUES (1, 2)",
        "UPDATE i SET a = 2",
        "DELETE FROM i WHERE b = 'b'",
        "INSERT INTO q VALUES (1, 2)",
        "UPDATE q SET b = 2",
        "DELETE FROM q WHERE a = 'a'",
        "DELETE FROM free",
        "SELECT u FROM lit",
        "REINDEX ii",
        "REINDEX",
        "EXPLAIN INSERT INTO d(a) VALUES (1)",
        "PRAGMA integrity_check(c)",
        // As it is made, too.
        "CREATE TABLE x(a DEFAULT (upper('x')))",
        "CREATE TABLE x(a CHECK (a <> upper('x')))",
        "CREATE TABLE x(a, b AS (upper(a)))",
        "CREATE TEMP TABLE x(a DEFAULT (1 + length(upper('x'))))",
        "CREATE INDEX x ON free(upper(a))",
        "CREATE INDEX x ON free(a) WHERE upper(a) = 'A'",
        "ALTER TABLE free ADD COLUMN x AS (upper(a))",
        "ALTER TABLE free ADD COLUMN x CHECK (x IS NULL OR upper(x) = 'X')",
        "ALTER TABLE nn ADD COLUMN x DEFAULT (upper('x'))",
    ] {
        assert_eq!(denied(&conn, sql), "function upper", "{sql}");
    }
    for sql in [
        "INSERT INTO d VALUES (1, 2)",
        "UPDATE d SET b = 5",
        "UPDATE i SET b = 5 WHERE b = 'b'",
        "SELECT a FROM g",
        "SELECT a, b FROM i ORDER BY a",
        "UPDATE nn SET a = 5",
        "SELECT * FROM q",
        "INSERT INTO free VALUES (2)",
    ] {
        conn.exec(sql);
    }
    let all = sidecar.open(&path);
    assert_eq!(all.value("PRAGMA integrity_check").text(), "ok");
    assert_eq!(all.value("SELECT count(*) FROM d").int(), 2);
    // As NULL where it is shown, and not where it is stored.
    let ignored = rule("ignore", &["function"], &[("function", "upper")]);
    let conn = under(&sidecar, &path, all_but([ignored]));
    assert_eq!(conn.exec("SELECT v, a FROM g").rows, [[nil(), "a".into()]]);
    assert_eq!(denied(&conn, "INSERT INTO g VALUES ('y')"), "function upper");
    assert_eq!(denied(&conn, "INSERT INTO d(a) VALUES (1)"), "function upper");
    // A view's is the view's, and asked about where that is used.
    let through = rule("allow", &["function"], &[("function", "upper"), ("through", "lit")]);
    let conn = under(&sidecar, &path, all_but([through, upper()]));
    assert_eq!(conn.value("SELECT u FROM lit WHERE u = 'A'").text(), "A");
    denied(&conn, "SELECT upper(u) FROM lit");
}

#[test]
fn alter_table_leads_around_no_name_that_is_denied() {
    let sidecar = Sidecar::start();
    let schema = "CREATE TABLE people(id INTEGER PRIMARY KEY, name, password);
        CREATE TABLE keys(a, b);
        CREATE TABLE mine(a, b);
        CREATE VIRTUAL TABLE f USING fts5(x);
        INSERT INTO people VALUES (1, 'Ada', 'p1')";
    let column = |action: &str| rule("deny", &[action], &[("table", "people"), ("column", "password")]);
    let table = |action: &str, table: &str| rule("deny", &[action], &[("table", table)]);
    let hidden = "read people password";
    for (rules, denials) in [
        (
            column("read"),
            vec![
                ("ALTER TABLE people RENAME TO free", hidden),
                ("ALTER TABLE people RENAME COLUMN password TO free", hidden),
                ("ALTER TABLE people ADD COLUMN free AS (password)", hidden),
                ("ALTER TABLE people ADD COLUMN free AS (name || people.\"PassWord\") VIRTUAL", hidden),
                ("ALTER TABLE people ADD COLUMN free AS (CASE WHEN id THEN password END)", hidden),
                ("ALTER TABLE people ADD COLUMN free CHECK (free IS NULL OR password > free)", hidden),
                ("ALTER TABLE people ADD COLUMN free CONSTRAINT n CHECK ([password] IN (1, 2))", hidden),
                ("ALTER TABLE people ALTER COLUMN name TO name CHECK (password > 'a')", hidden),
                ("ALTER TABLE mine RENAME TO people", ""),
                ("ALTER TABLE keys RENAME COLUMN b TO password", ""),
            ],
        ),
        (
            column("update"),
            vec![
                ("ALTER TABLE people RENAME TO free", "update people password"),
                ("ALTER TABLE people RENAME COLUMN password TO free", "update people password"),
            ],
        ),
        (table("delete", "people"), vec![("ALTER TABLE people RENAME TO free", "delete people")]),
        (table("insert", "people"), vec![("ALTER TABLE people RENAME TO free", "insert people")]),
        (
            table("read", "later"),
            vec![
                ("ALTER TABLE mine RENAME TO later", "read later ROWID"),
                ("ALTER TABLE f RENAME TO later", "read later ROWID"),
            ],
        ),
        (table("delete", "Later"), vec![("ALTER TABLE mine RENAME TO LATER", "delete LATER")]),
        (
            rule("deny", &["read"], &[("column", "later")]),
            vec![("ALTER TABLE mine RENAME COLUMN a TO later", "read mine later")],
        ),
        (
            rule("ignore", &["read"], &[("table", "people"), ("column", "password")]),
            vec![
                ("ALTER TABLE people ADD COLUMN free AS (password)", hidden),
                ("ALTER TABLE people ALTER COLUMN name TO name CHECK (password > 'a')", hidden),
            ],
        ),
    ] {
        for (sql, denial) in denials {
            let (_folder, path) = database(&sidecar, schema);
            let conn = under(&sidecar, &path, all_but([rules.clone()]));
            if denial.is_empty() {
                let _ = conn.query(sql, list![]);
            } else {
                assert_eq!(denied(&conn, sql), denial, "{sql}");
            }
            assert_eq!(sidecar.open(&path).exec("SELECT * FROM people").rows.len(), 1, "{sql}");
            for sql in [
                "ALTER TABLE mine ADD COLUMN c DEFAULT 5",
                "ALTER TABLE mine ADD COLUMN d AS (a || b) CHECK (d <> a)",
                "ALTER TABLE people ADD COLUMN n AS (name)",
                "ALTER TABLE mine DROP COLUMN b",
            ] {
                let outcome = conn.query(sql, list![]);
                assert!(
                    !outcome.as_ref().is_err_and(|failure| failure.denial.is_some()),
                    "{sql}: {outcome:?}"
                );
            }
        }
    }
    // What is ignored is refused: nothing would be ignored under another name.
    for action in ["read", "update"] {
        let (_folder, path) = database(&sidecar, schema);
        let ignored = rule("ignore", &[action], &[("table", "people"), ("column", "password")]);
        let conn = under(&sidecar, &path, all_but([ignored]));
        for sql in ["ALTER TABLE people RENAME TO free", "ALTER TABLE people RENAME password TO free"] {
            assert_eq!(conn.query(sql, list![]).unwrap_err().code, "not_authorized", "{sql}");
        }
    }
}

#[test]
fn a_virtual_table_takes_no_table_that_is_there_already_for_a_part_of_it() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE docs_stat(a); CREATE TABLE docs_docsize(a); CREATE TABLE Later_Docsize(a);
        CREATE TABLE other_content(body); CREATE TABLE unlike_x(a); CREATE VIRTUAL TABLE f3 USING fts3(x);
        CREATE VIRTUAL TABLE f5 USING fts5(x); INSERT INTO docs_stat VALUES (1)",
    );
    let kept = ["docs_stat", "docs_docsize", "later_docsize"];
    let kept = kept.map(|table| rule("deny", &["write", "drop_table", "alter_table"], &[("table", table)]));
    let conn = under(&sidecar, &path, all_but(kept));
    for sql in [
        "CREATE VIRTUAL TABLE docs USING fts4(x)",
        "CREATE VIRTUAL TABLE docs USING fts3(x)",
        "CREATE VIRTUAL TABLE IF NOT EXISTS main.Docs USING fts3(x)",
        "CREATE VIRTUAL TABLE docs USING fts5(x)",
        "CREATE VIRTUAL TABLE other USING fts5(x)",
        "ALTER TABLE f3 RENAME TO docs",
        "ALTER TABLE f5 RENAME TO later",
    ] {
        let failure = conn.query(sql, list![]).unwrap_err();
        assert_eq!(failure.code, "sql_error", "{sql}: {failure:?}");
        assert!(failure.message.contains("would become a part of"), "{sql}: {failure:?}");
    }
    // A table that it names is nobody's but its owner's.
    conn.exec("CREATE VIRTUAL TABLE other USING fts5(body, content='other_content')");
    conn.exec("CREATE VIRTUAL TABLE unlike USING fts4(x)");
    conn.exec("ALTER TABLE f3 RENAME TO f3_stat_x");
    conn.exec("ALTER TABLE f5 RENAME TO f5_more");
    for table in ["f3_stat_x", "f5_more", "other", "unlike"] {
        conn.exec(&format!("INSERT INTO {table} VALUES ('a')"));
        conn.exec(&format!("DROP TABLE {table}"));
    }
    let all = sidecar.open(&path);
    assert_eq!(all.value("SELECT count(*) FROM docs_stat").int(), 1);
    assert_eq!(all.value("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").int(), 5);
}

#[test]
fn what_a_virtual_table_keeps_is_read_by_no_other_one() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE VIRTUAL TABLE own5 USING fts5(x); INSERT INTO own5 VALUES ('alpha secret');
        CREATE VIRTUAL TABLE own4 USING fts4(x, y); INSERT INTO own4 VALUES ('hello', 'secret');
        CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1, +note); INSERT INTO rt VALUES (1, 0, 1, 'secret');
        CREATE VIRTUAL TABLE made USING fts5(c0, content='own5_content');
        CREATE VIRTUAL TABLE terms USING fts4aux(own4);
        CREATE TABLE t(a)",
    );
    let of = |table: &str, parts: &[&str]| {
        let parts = parts.iter().map(|part| format!("{table}_{part}"));
        std::iter::once(table.to_owned()).chain(parts).collect::<Vec<_>>()
    };
    let hidden = [
        of("own5", &["content", "data", "idx", "docsize", "config"]),
        of("own4", &["content", "segments", "segdir", "docsize", "stat"]),
        of("rt", &["node", "rowid", "parent"]),
    ];
    let hidden =
        hidden.concat().iter().map(|table| rule("deny", &["read"], &[("table", table)])).collect::<Vec<_>>();
    let conn = under(&sidecar, &path, all_but(hidden));
    conn.exec("CREATE VIRTUAL TABLE l1 USING fts5(c0, content='own5_content')");
    conn.exec("CREATE VIRTUAL TABLE l2 USING fts4(c0, content='own5_content')");
    conn.exec("CREATE VIRTUAL TABLE l3 USING fts5(c0x, content='own4_content')");
    conn.exec("CREATE VIRTUAL TABLE l4 USING fts5(a0, content='rt_rowid')");
    conn.exec("CREATE VIRTUAL TABLE temp.l5 USING fts4aux(main, own4)");
    for sql in [
        "SELECT * FROM made",
        "SELECT term FROM terms",
        "SELECT * FROM l1",
        "SELECT * FROM l2",
        "SELECT * FROM l3",
        "SELECT * FROM l4",
        "SELECT term FROM l5",
        "INSERT INTO l1(l1) VALUES ('rebuild')",
        "INSERT INTO t SELECT c0 FROM l1",
    ] {
        assert!(denied(&conn, sql).starts_with("read "), "{sql}");
        // Nor beside one that may be used, in a statement or in a transaction.
        conn.exec("BEGIN");
        conn.exec("INSERT INTO own5 VALUES ('more')");
        conn.exec("SAVEPOINT s");
        conn.exec("INSERT INTO own4 VALUES ('x', 'y')");
        conn.exec("RELEASE s");
        conn.exec("COMMIT");
    }
    // Whoever is denied nothing reads them all, every column of them.
    let all = under(&sidecar, &path, all_but([]));
    assert_eq!(all.value("SELECT c0 FROM made LIMIT 1"), "alpha secret".into());
    assert_eq!(all.value("SELECT group_concat(term || ' ' || col) FROM terms WHERE col <> '*' AND term > 'h' AND term < 't'"),
        "hello 0,secret 1".into());
}

#[test]
fn a_vector_index_is_decided_by_the_table_that_it_is_of() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE vt(id INTEGER PRIMARY KEY, v F32_BLOB(2), x);
        CREATE INDEX vi ON vt(libsql_vector_idx(v));
        INSERT INTO vt VALUES (1, vector32('[1,2]'), 'x');
        CREATE TABLE near_shadow(a); INSERT INTO near_shadow VALUES (1)",
    );
    let near = "SELECT id FROM vector_top_k('vi', vector32('[1,2]'), 1)";
    let hidden = rule("deny", &["read"], &[("table", "vt"), ("column", "v")]);
    let conn = under(&sidecar, &path, all_but([hidden]));
    for sql in [
        near,
        "SELECT id FROM vector_top_k('main.vi', vector32('[1,2]'), 1)",
        "SELECT x FROM vector_top_k('v' || 'i', vector32('[1,2]'), 1) JOIN vt USING (id)",
        "SELECT * FROM vi_shadow",
        "SELECT data FROM main.VI_SHADOW",
        "SELECT count(*) FROM vi_shadow",
        "CREATE TABLE copy AS SELECT * FROM vi_shadow",
    ] {
        assert_eq!(denied(&conn, sql), "read vt v", "{sql}");
    }
    assert_eq!(conn.value("SELECT x FROM vt").text(), "x");
    assert_eq!(conn.value("SELECT a FROM near_shadow").int(), 1);
    // Nor by a view of the application, or a full-text table that shows what the index keeps.
    sidecar
        .open(&path)
        .script(
            "CREATE VIEW found AS SELECT id FROM vector_top_k('vi', vector32('[1,2]'), 1);
            CREATE VIRTUAL TABLE spy USING fts5(data, content='vi_shadow')",
        )
        .unwrap();
    for sql in ["SELECT * FROM found", "SELECT data FROM spy"] {
        assert_eq!(denied(&conn, sql), "read vt v", "{sql}");
    }
    // Who may use the table needs no rule about what the index is made of.
    let of = |action: &str| rule("allow", &[action], &[("table", "vt")]);
    let top = rule("allow", &["read"], &[("table", "vector_top_k")]);
    let plain = rule("allow", &["select", "function"], &[]);
    let policy = list![of("read"), of("insert"), of("update"), of("delete"), top.clone(), plain.clone()];
    let conn = under(&sidecar, &path, policy);
    conn.exec("INSERT INTO vt VALUES (2, vector32('[3,4]'), 'y')");
    conn.exec("UPDATE vt SET v = vector32('[5,6]') WHERE id = 2");
    assert_eq!(conn.value(near).int(), 1);
    conn.exec("DELETE FROM vt WHERE id = 1");
    assert_eq!(conn.value(near).int(), 2);
    denied(&conn, "SELECT * FROM vi_shadow");
    denied(&conn, "SELECT * FROM libsql_vector_meta_shadow");
    // Nor who makes and drops one.
    let policy =
        list![of("read"), plain, top, rule("allow", &["create_index", "drop_index", "reindex"], &[])];
    let conn = under(&sidecar, &path, policy);
    conn.exec("CREATE INDEX vj ON vt(libsql_vector_idx(v))");
    conn.exec("REINDEX vj");
    assert_eq!(conn.value(&near.replace("vi", "vj")).int(), 2);
    conn.exec("DROP INDEX vj");
    conn.exec("DROP INDEX vi");
    assert_eq!(sidecar.open(&path).value("PRAGMA integrity_check").text(), "ok");
}

#[test]
fn a_transaction_that_locks_at_once_is_asked_about_by_its_name_too() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, "CREATE TABLE t(a)");
    let conn = under(&sidecar, &path, list![atom("read_only")]);
    let writer = sidecar.open(&path);
    writer.begin("immediate").unwrap();
    // It does not wait for the writer's turn either.
    for (sql, name) in [
        ("BEGIN IMMEDIATE", "BEGIN IMMEDIATE"),
        ("begin immediate transaction", "BEGIN IMMEDIATE"),
        ("BEGIN EXCLUSIVE", "BEGIN EXCLUSIVE"),
        ("/* */ BEGIN EXCLUSIVE TRANSACTION", "BEGIN EXCLUSIVE"),
    ] {
        assert_eq!(denied(&conn.within(20_000), sql), format!("transaction {name}"), "{sql}");
    }
    writer.rollback().unwrap();
    for sql in [
        "BEGIN",
        "SELECT * FROM t",
        "COMMIT",
        "BEGIN DEFERRED TRANSACTION",
        "ROLLBACK",
        "SAVEPOINT a",
        "RELEASE a",
    ] {
        conn.exec(sql);
    }
    // The application's own.
    conn.begin("immediate").unwrap();
    conn.rollback().unwrap();
    let conn = under(&sidecar, &path, all_but([rule("deny", &["transaction"], &[("name", "BEGIN")])]));
    assert_eq!(denied(&conn, "BEGIN IMMEDIATE"), "transaction BEGIN");
}
