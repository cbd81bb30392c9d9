//! What a policy denies leaves nothing behind, wherever in a statement it is denied: when it is compiled, when the module of a
//! virtual table works, or in one of the steps that a statement is made of.

use crate::list;
use crate::policy::rule;
use crate::policy_attack::{look, Seen, SETUP, STATEMENTS};
use crate::support::*;
use crate::term::*;
use std::path::{Path, PathBuf};

/// Virtual tables of the other kinds, and one that other rows than its own are shown by.
const MORE: &str = "CREATE VIRTUAL TABLE g3 USING fts3(x);
    CREATE VIRTUAL TABLE r2 USING rtree(id, x0, x1, +note);
    CREATE VIRTUAL TABLE p USING geopoly(note);
    CREATE VIRTUAL TABLE fv USING fts5vocab(f, 'row');
    CREATE VIRTUAL TABLE outside USING fts5(b, content='t', content_rowid='a');
    CREATE TABLE marks(a);
    INSERT INTO g3 VALUES ('alpha beta');
    INSERT INTO r2 VALUES (1, 0, 1, 'n');
    INSERT INTO p(_shape, note) VALUES ('[[0,0],[1,0],[1,1],[0,0]]', 'n');
    INSERT INTO outside(outside) VALUES ('rebuild');";

const REBUILD_OF_OTHER_ROWS: &str = "INSERT INTO outside(outside) VALUES ('rebuild')";

/// Statements of which parts are asked about while they run.
const IN_PARTS: &[&str] = &[
    "ALTER TABLE f RENAME TO renamed",
    "ALTER TABLE g RENAME TO renamed",
    "ALTER TABLE g3 RENAME TO renamed",
    "ALTER TABLE r RENAME TO renamed",
    "ALTER TABLE r2 RENAME TO renamed",
    "ALTER TABLE p RENAME TO renamed",
    "ALTER TABLE fv RENAME TO renamed",
    "ALTER TABLE outside RENAME TO renamed",
    "ALTER TABLE vec RENAME TO renamed",
    "ALTER TABLE vec RENAME COLUMN e TO renamed",
    "DROP TABLE f",
    "DROP TABLE g",
    "DROP TABLE g3",
    "DROP TABLE r",
    "DROP TABLE r2",
    "DROP TABLE p",
    "DROP TABLE fv",
    "DROP TABLE outside",
    "CREATE VIRTUAL TABLE made USING fts5(a)",
    "CREATE VIRTUAL TABLE made USING fts5(b, content='t')",
    "CREATE VIRTUAL TABLE made USING fts4(a)",
    "CREATE VIRTUAL TABLE made USING fts3(a)",
    "CREATE VIRTUAL TABLE made USING rtree(id, a, b)",
    "CREATE VIRTUAL TABLE made USING rtree(id, a, b, +c)",
    "CREATE VIRTUAL TABLE made USING geopoly(a)",
    "CREATE VIRTUAL TABLE made USING fts5vocab(f, 'col')",
    "CREATE VIRTUAL TABLE temp.made USING rtree(id, a, b)",
    "INSERT INTO f VALUES ('gamma')",
    "INSERT INTO f(f) VALUES ('rebuild')",
    "INSERT INTO f(f) VALUES ('optimize')",
    "INSERT INTO f(f, rank) VALUES ('pgsz', 64)",
    "INSERT INTO f(f) VALUES ('integrity-check')",
    "UPDATE f SET x = 'delta'",
    "DELETE FROM f",
    REBUILD_OF_OTHER_ROWS,
    "INSERT INTO g VALUES ('gamma')",
    "INSERT INTO g(g) VALUES ('rebuild')",
    "INSERT INTO g(g) VALUES ('optimize')",
    "INSERT INTO g(g) VALUES ('merge=1,2')",
    "UPDATE g SET x = 'delta'",
    "DELETE FROM g",
    "SELECT optimize(g) FROM g",
    "INSERT INTO g3 VALUES ('gamma')",
    "DELETE FROM g3",
    "INSERT INTO r VALUES (2, 5, 6)",
    "INSERT OR REPLACE INTO r VALUES (1, 5, 6)",
    "UPDATE r SET x0 = 0.5",
    "DELETE FROM r",
    "INSERT INTO r2 VALUES (2, 5, 6, 'm')",
    "UPDATE r2 SET note = 'm'",
    "DELETE FROM r2",
    "UPDATE p SET note = 'm'",
    "DELETE FROM p",
    "INSERT INTO marks SELECT x FROM f",
    "INSERT INTO marks SELECT note FROM r2 WHERE x0 < 5",
    "INSERT INTO marks SELECT b FROM outside WHERE outside MATCH 'one'",
    "SELECT id FROM r2 WHERE x0 < 5",
    "SELECT b FROM outside WHERE outside MATCH 'one'",
    "SELECT * FROM fv",
    "PRAGMA integrity_check",
    "PRAGMA quick_check",
    "PRAGMA optimize(0xfffe)",
    "PRAGMA incremental_vacuum",
    "ANALYZE",
    "REINDEX",
    "VACUUM",
    "VACUUM INTO '{folder}/copy.db'",
];

/// A database file that is copied for whatever changes it.
struct Original {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Original {
    fn new(sidecar: &Sidecar) -> Self {
        let (folder, path) = folder();
        let conn = sidecar.open(&path);
        conn.script(SETUP).unwrap();
        conn.script(MORE).unwrap();
        conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
        conn.close();
        Original { _folder: folder, path }
    }
}

/// A copy, the connection that is told a policy, and one that has none and sees what has become of it.
struct Copy<'s> {
    folder: tempfile::TempDir,
    conn: Conn<'s>,
    watcher: Conn<'s>,
    before: Seen,
}

impl<'s> Copy<'s> {
    fn of(original: &Original, sidecar: &'s Sidecar) -> Self {
        let (folder, path) = folder();
        std::fs::copy(&original.path, &path).unwrap();
        let conn = sidecar.open(&path);
        let watcher = sidecar.open(&path);
        let before = whole(&watcher, folder.path(), "at first");
        Copy { folder, conn, watcher, before }
    }

    fn close(self) {
        self.conn.close();
        self.watcher.close();
    }
}

/// What is seen of a database in which nothing is damaged. Every table is read for it.
fn whole(conn: &Conn<'_>, folder: &Path, at: &str) -> Seen {
    assert_eq!(conn.value("PRAGMA integrity_check").text(), "ok", "{at}");
    for check in [
        "INSERT INTO f(f, rank) VALUES ('integrity-check', 1)",
        "INSERT INTO g(g) VALUES ('integrity-check')",
        "INSERT INTO g3(g3) VALUES ('integrity-check')",
        "SELECT 1 WHERE rtreecheck('r') = 'ok' AND rtreecheck('r2') = 'ok'",
        "SELECT count(*) FROM vector_top_k('veci', vector32('[1,2]'), 1)",
    ] {
        conn.query(check, list![]).unwrap_or_else(|failure| panic!("{at}: {check}: {failure:?}"));
    }
    look(conn, folder)
}

/// Every ready-made policy, and those that forbid one action alone.
fn policies() -> Vec<(String, Term)> {
    let ready = ["read_only", "no_schema_changes", "untrusted_sql"];
    let ready = ready.iter().map(|name| ((*name).to_owned(), list![atom(name)]));
    let actions = include_str!("../../src/engine/action.rs")
        .lines()
        .filter_map(|line| line.trim().split_once(" = \"")?.1.split_once("\", ["))
        .map(|(name, _)| name);
    let one_less = actions.map(|name| {
        let rules = list![rule("deny", &[name], &[]), rule("allow", &["any"], &[])];
        (format!("all but {name}"), rules)
    });
    ready.chain(one_less).collect()
}

#[test]
fn a_denial_leaves_the_database_as_it_was() {
    let sidecar = Sidecar::start();
    let original = Original::new(&sidecar);
    let policies = policies();
    assert!(policies.len() > 30, "{}", policies.len());
    let whole_statements = STATEMENTS.iter().map(|(_, sql)| (*sql, false));
    let statements: Vec<_> = whole_statements.chain(IN_PARTS.iter().map(|sql| (*sql, true))).collect();
    let mut denials = 0;
    let mut copy = Copy::of(&original, &sidecar);
    for (name, policy) in &policies {
        for (sql, in_parts) in &statements {
            for in_transaction in [false, true] {
                let sql = sql.replace("{folder}", copy.folder.path().to_str().unwrap());
                let at = format!("{name}, in a transaction: {in_transaction}: {sql}");
                let conn = &copy.conn;
                conn.call(tag::SET_POLICY, [policy.clone()]).unwrap();
                // What is asked about when it is compiled alone, need not run to be known as allowed.
                if !in_parts && conn.call(tag::DESCRIBE, [sql.as_str().into()]).is_ok() {
                    break;
                }
                // Whatever stops it leaves the index empty until the transaction is rolled back, as in SQLite without a policy:
                // FTS5 deletes first, and one row has no statement journal.
                if in_transaction && sql == REBUILD_OF_OTHER_ROWS {
                    break;
                }
                if in_transaction {
                    conn.begin("immediate").unwrap();
                }
                let outcome = conn.query(&sql, list![]);
                let denied = outcome.as_ref().is_err_and(|failure| failure.code == "not_authorized");
                if in_transaction && denied {
                    // The transaction goes on, and is committed.
                    conn.call(tag::SET_POLICY, [nil()]).unwrap();
                    conn.query("SAVEPOINT a; ", list![])
                        .unwrap_or_else(|failure| panic!("{at}: {failure:?}"));
                    conn.query("RELEASE a", list![]).unwrap();
                    conn.commit().unwrap_or_else(|failure| panic!("{at}: {failure:?}"));
                }
                let _ = conn.rollback();
                if denied {
                    denials += 1;
                    let after = whole(&copy.watcher, copy.folder.path(), &at);
                    assert!(after == copy.before, "{at}: {outcome:?}: {after:?}");
                } else {
                    copy.close();
                    copy = Copy::of(&original, &sidecar);
                    break;
                }
            }
        }
    }
    assert!(denials > 1000, "{denials}");
}

#[test]
fn the_tables_of_a_virtual_table_are_decided_by_the_statement_that_uses_it() {
    let sidecar = Sidecar::start();
    let original = Original::new(&sidecar);
    let copy = Copy::of(&original, &sidecar);
    let conn = &copy.conn;
    let set = |policy: Term| conn.call(tag::SET_POLICY, [policy]).unwrap();
    let denied = |sql: &str| {
        let failure = conn.query(sql, list![]).map(|_| panic!("{sql} is allowed")).unwrap_err();
        assert_eq!(failure.code, "not_authorized", "{sql}: {failure:?}");
        failure.denial.unwrap().items()[1].clone()
    };
    // They are opened for the first time under a policy that forbids all writing.
    set(list![atom("read_only")]);
    for sql in [
        "SELECT id FROM r WHERE x0 < 5",
        "SELECT note FROM r2 WHERE x0 < 5",
        "SELECT note FROM p WHERE geopoly_overlap(_shape, '[[0,0],[1,0],[1,1],[0,0]]')",
        "PRAGMA quick_check",
    ] {
        assert_eq!(conn.exec(sql).rows.len(), 1, "{sql}");
    }
    for sql in ["INSERT INTO r VALUES (2, 5, 6)", "DELETE FROM r", "UPDATE r2 SET note = 'm'"] {
        denied(sql);
    }
    // Named are only the tables that the client uses. What they are made of cannot be read by itself.
    let of = |action: &str, table: &str| rule("allow", &[action], &[("table", table)]);
    let mut rules = vec![rule("allow", &["select", "function"], &[])];
    for table in ["f", "g", "r", "r2"] {
        rules.extend(["read", "insert", "update", "delete"].map(|action| of(action, table)));
    }
    set(Term::List(rules));
    for (sql, rows) in [
        ("SELECT x FROM f WHERE f MATCH 'alpha'", 1),
        ("SELECT x FROM g WHERE g MATCH 'alpha'", 1),
        ("SELECT note FROM r2", 1),
        ("INSERT INTO f VALUES ('gamma')", 0),
        ("INSERT INTO g VALUES ('gamma')", 0),
        ("INSERT INTO r2 VALUES (3, 5, 6, 'm')", 0),
        ("UPDATE r2 SET note = 'o' WHERE id = 3", 0),
        ("DELETE FROM r WHERE id = 1", 0),
        ("DELETE FROM f WHERE rowid = 1", 0),
    ] {
        assert_eq!(conn.exec(sql).rows.len(), rows, "{sql}");
    }
    for table in ["f_content", "f_data", "g_segdir", "r_node", "r2_rowid"] {
        assert_eq!(denied(&format!("SELECT * FROM {table}")), Term::from(table));
    }
    // Another's table is asked about: that whose rows a full-text table shows, also if it is called like one of its own.
    copy.watcher
        .script(
            "CREATE TABLE hidden_docsize(b); INSERT INTO hidden_docsize VALUES ('one');
            CREATE VIRTUAL TABLE hidden USING fts5(b, columnsize=0, content= \"hidden_docsize\");
            INSERT INTO hidden(hidden) VALUES ('rebuild')",
        )
        .unwrap();
    set(list![
        rule("deny", &["read"], &[("table", "t")]),
        rule("deny", &["read"], &[("table", "hidden_docsize")]),
        rule("allow", &["any"], &[])
    ]);
    assert_eq!(denied("SELECT b FROM outside WHERE outside MATCH 'one'"), Term::from("t"));
    assert_eq!(denied("SELECT b FROM hidden WHERE hidden MATCH 'one'"), Term::from("hidden_docsize"));
    // So is what a trigger does with them, and a view over them whose rows a full-text table shows.
    copy.watcher
        .script(
            "CREATE TRIGGER spy AFTER INSERT ON marks BEGIN INSERT INTO u SELECT 1, c0 FROM f_content; END;
            CREATE VIEW shown AS SELECT id AS a, c0 AS b FROM f_content;
            CREATE VIRTUAL TABLE seen USING fts5(b, content='shown', content_rowid='a');
            INSERT INTO seen(seen) VALUES ('rebuild')",
        )
        .unwrap();
    set(list![rule("deny", &["read"], &[("table", "f_content")]), rule("allow", &["any"], &[])]);
    assert_eq!(conn.value("SELECT x FROM f").text(), "gamma");
    assert_eq!(denied("INSERT INTO marks VALUES (1)"), Term::from("f_content"));
    assert_eq!(denied("SELECT b FROM seen WHERE seen MATCH 'gamma'"), Term::from("f_content"));
    // So is a full-text table whose words another one shows.
    set(list![rule("deny", &["read"], &[("table", "f")]), rule("allow", &["any"], &[])]);
    assert_eq!(denied("SELECT * FROM fv"), Term::from("f"));
    // So are pragmas that a client reads as tables, those that modules read among them.
    let no_pragma = list![rule("deny", &["pragma"], &[]), rule("allow", &["any"], &[])];
    set(no_pragma);
    for pragma in ["page_size", "data_version", "user_version", "database_list", "table_list"] {
        assert_eq!(denied(&format!("SELECT * FROM pragma_{pragma}")), Term::from(pragma));
        assert_eq!(denied(&format!("SELECT 1 FROM Pragma_{pragma}")), Term::from(pragma));
    }
    assert_eq!(denied("SELECT * FROM pragma_page_size('main')"), Term::from("page_size"));
    // So are functions.
    set(list![rule("deny", &["function"], &[("function", "zeroblob")]), rule("allow", &["any"], &[])]);
    assert_eq!(denied("CREATE VIRTUAL TABLE made USING rtree(id, a, b)"), Term::from("zeroblob"));
}

#[test]
fn what_a_module_asks_the_engine_for_needs_no_rule() {
    let sidecar = Sidecar::start();
    let original = Original::new(&sidecar);
    let statements = [
        "SELECT x FROM f WHERE f MATCH 'alpha'",
        "SELECT x FROM g WHERE g MATCH 'alpha'",
        "SELECT id FROM r WHERE x0 < 5",
        "SELECT * FROM fv",
        "SELECT b FROM outside WHERE outside MATCH 'one'",
        "SELECT id FROM vector_top_k('veci', vector32('[1,2]'), 1)",
        "INSERT INTO f VALUES ('gamma')",
        "INSERT INTO r VALUES (2, 5, 6)",
        "CREATE VIRTUAL TABLE made USING fts4(a)",
        "CREATE VIRTUAL TABLE made_too USING rtree(id, a, b)",
        "ALTER TABLE f RENAME TO renamed",
        "ALTER TABLE t ADD COLUMN d DEFAULT 1",
        "CREATE INDEX made_index ON t(c)",
        "DROP TABLE r2",
        "DROP TABLE g",
        "ANALYZE",
        "VACUUM",
    ];
    let all_but = |rule: Term| list![rule, crate::policy::rule("allow", &["any"], &[])];
    for policy in [
        all_but(rule("deny", &["pragma"], &[])),
        all_but(rule("deny", &["transaction"], &[])),
        all_but(rule("deny", &["savepoint"], &[])),
        all_but(rule("deny", &["attach"], &[])),
        all_but(rule("deny", &["read"], &[("table", "sqlite_master")])),
        all_but(rule("deny", &["write"], &[("table", "sqlite_master")])),
    ] {
        let copy = Copy::of(&original, &sidecar);
        copy.conn.call(tag::SET_POLICY, [policy.clone()]).unwrap();
        for sql in statements {
            copy.conn.query(sql, list![]).unwrap_or_else(|failure| panic!("{policy:?}: {sql}: {failure:?}"));
        }
        assert_eq!(copy.watcher.value("PRAGMA integrity_check").text(), "ok");
        copy.close();
    }
}

#[test]
fn a_full_text_table_is_not_renamed_to_one_of_its_columns() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    for (module, names) in [("fts5", vec!["x", "rank"]), ("fts4", vec!["x", "docid"]), ("fts3", vec!["X"])] {
        conn.exec(&format!("CREATE VIRTUAL TABLE f USING {module}(x)"));
        conn.exec("INSERT INTO f VALUES ('alpha')");
        for name in names {
            let failure = conn.query(&format!("ALTER TABLE f RENAME TO {name}"), list![]).unwrap_err();
            assert!(failure.message.contains("has a column of this name"), "{module}: {failure:?}");
            assert_eq!(conn.value("SELECT x FROM f").text(), "alpha");
        }
        conn.exec("ALTER TABLE f RENAME TO other");
        assert_eq!(
            sidecar.open(&path).value("SELECT x FROM other WHERE other MATCH 'alpha'").text(),
            "alpha"
        );
        conn.exec("DROP TABLE other");
    }
}
