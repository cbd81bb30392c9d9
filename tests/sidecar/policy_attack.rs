//! Every kind of statement in SQLite's grammar under each ready-made policy, beside what it really changed: the schema, the
//! rows, the header, the files in the folder, the connection's pragmas and its temporary schema.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::collections::BTreeSet;
use std::path::Path;

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Reads.
    Read,
    /// Tells of the connection, not of the data.
    Tell,
    /// Writes rows.
    Write,
    /// Changes the schema.
    Schema,
    /// Changes the temporary schema.
    Temp,
    /// Is for its own connection: a pragma.
    Connection,
    /// Changes the header or the form of the file.
    File,
    /// Writes the file anew, or its log, or its statistics.
    Tidy,
    /// Opens or writes another file.
    OtherFile,
    /// Begins and ends transactions.
    Transaction,
    /// Uses a function that acts, or makes large values.
    Function,
    /// Makes or drops a virtual table.
    Virtual,
}

use Does::*;

pub const SETUP: &str = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT UNIQUE, c);
    CREATE TABLE u(a REFERENCES t(a) ON DELETE CASCADE, b);
    CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID;
    CREATE INDEX tc ON t(c);
    CREATE VIEW v AS SELECT a, b FROM t;
    CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t(b) VALUES (new.b); END;
    CREATE TRIGGER ti AFTER UPDATE ON t BEGIN INSERT INTO u VALUES (new.a, 'log'); END;
    CREATE VIRTUAL TABLE f USING fts5(x);
    CREATE VIRTUAL TABLE g USING fts4(x);
    CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);
    CREATE TABLE vec(e F32_BLOB(2));
    CREATE INDEX veci ON vec(libsql_vector_idx(e));
    INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2);
    INSERT INTO u VALUES (1, 'x');
    INSERT INTO w VALUES (1, 1);
    INSERT INTO f VALUES ('alpha beta');
    INSERT INTO g VALUES ('alpha beta');
    INSERT INTO r VALUES (1, 0, 1);
    INSERT INTO vec VALUES (vector32('[1,2]'));";

pub const STATEMENTS: &[(Does, &str)] = &[
    (Read, "SELECT * FROM t"),
    (Read, "SELECT DISTINCT c, count(*), sum(a) OVER (ORDER BY a) FROM t GROUP BY c HAVING c > 0 ORDER BY 1 LIMIT 5 OFFSET 0"),
    (Read, "SELECT * FROM t LEFT JOIN u USING (a) CROSS JOIN w"),
    (Read, "SELECT a FROM t UNION SELECT a FROM u INTERSECT SELECT 1 EXCEPT SELECT 2"),
    (Read, "VALUES (1, 2), (3, 4)"),
    (Read, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3) SELECT * FROM n"),
    (Read, "SELECT * FROM v, json_each('[1]')"),
    (Read, "SELECT x FROM f WHERE f MATCH 'alpha'"),
    (Read, "SELECT x FROM g WHERE g MATCH 'alpha'"),
    (Read, "SELECT id FROM r WHERE x0 < 5"),
    (Read, "SELECT id FROM vector_top_k('veci', vector32('[1,2]'), 1)"),
    (Read, "SELECT name FROM sqlite_schema"),
    (Read, "SELECT name FROM pragma_table_info('t')"),
    (Read, "EXPLAIN SELECT * FROM t"),
    (Read, "EXPLAIN QUERY PLAN SELECT * FROM t"),
    (Read, "PRAGMA table_info(t)"),
    (Read, "PRAGMA foreign_key_check"),
    (Read, "PRAGMA quick_check"),
    (Read, "PRAGMA user_version"),
    (Read, "PRAGMA journal_mode"),
    (Tell, "PRAGMA database_list"),
    (Tell, "SELECT file FROM pragma_database_list"),
    (Tell, "SELECT count(*) FROM dbstat"),
    (Tell, "SELECT count(*) FROM sqlite_stmt"),
    (Tell, "SELECT count(*) FROM bytecode('SELECT 1')"),
    (Tell, "SELECT count(*) FROM tables_used('SELECT 1')"),
    (Write, "INSERT INTO t(b) VALUES ('new')"),
    (Write, "INSERT INTO t DEFAULT VALUES"),
    (Write, "INSERT INTO t(b) SELECT 'sel' FROM t"),
    (Write, "INSERT OR REPLACE INTO t VALUES (1, 'uno', 1)"),
    (Write, "REPLACE INTO w VALUES (1, 2)"),
    (Write, "INSERT INTO t VALUES (1, 'x', 1) ON CONFLICT(a) DO UPDATE SET c = c + 1 RETURNING *"),
    (Write, "INSERT INTO v(b) VALUES ('via')"),
    (Write, "INSERT INTO f VALUES ('gamma')"),
    (Write, "INSERT INTO f(f) VALUES ('rebuild')"),
    (Write, "INSERT INTO g VALUES ('gamma')"),
    (Write, "INSERT INTO r VALUES (2, 5, 6)"),
    (Write, "INSERT INTO vec VALUES (vector32('[3,4]'))"),
    (Write, "UPDATE t SET c = 9 WHERE a = 1"),
    (Write, "UPDATE OR IGNORE t SET b = 'two' FROM u WHERE t.a = u.a"),
    (Write, "WITH x AS (SELECT 1 AS a) UPDATE t SET c = 7 WHERE a IN x RETURNING c"),
    (Write, "DELETE FROM t"),
    (Write, "DELETE FROM t WHERE a = 2 RETURNING *"),
    (Write, "DELETE FROM f"),
    (Schema, "CREATE TABLE x(a)"),
    (Schema, "CREATE TABLE IF NOT EXISTS main.x(a PRIMARY KEY) STRICT, WITHOUT ROWID"),
    (Schema, "CREATE TABLE x AS SELECT * FROM t"),
    (Schema, "CREATE TABLE x(a INTEGER PRIMARY KEY AUTOINCREMENT)"),
    (Schema, "CREATE UNIQUE INDEX x ON t(c, a DESC) WHERE c > 0"),
    (Schema, "CREATE INDEX x ON t(upper(b))"),
    (Schema, "CREATE VIEW x AS SELECT 1"),
    (Schema, "CREATE TRIGGER x AFTER DELETE ON t BEGIN DELETE FROM u; END"),
    (Schema, "ALTER TABLE t RENAME TO x"),
    (Schema, "ALTER TABLE t RENAME COLUMN c TO x"),
    (Schema, "ALTER TABLE t ADD COLUMN x DEFAULT 1"),
    (Schema, "ALTER TABLE w DROP COLUMN v"),
    (Schema, "ALTER TABLE t ALTER COLUMN c TO c INTEGER"),
    (Schema, "DROP TABLE u"),
    (Schema, "DROP TABLE vec"),
    (Schema, "DROP INDEX tc"),
    (Schema, "DROP INDEX veci"),
    (Schema, "DROP VIEW v"),
    (Schema, "DROP TRIGGER IF EXISTS ti"),
    (Virtual, "CREATE VIRTUAL TABLE x USING fts5(a)"),
    (Virtual, "CREATE VIRTUAL TABLE temp.x USING fts5(a)"),
    (Virtual, "CREATE VIRTUAL TABLE x USING fts5vocab(f, 'row')"),
    (Virtual, "CREATE VIRTUAL TABLE x USING rtree(id, a, b)"),
    (Virtual, "DROP TABLE f"),
    (Virtual, "ALTER TABLE f RENAME TO y"),
    (Temp, "CREATE TEMP TABLE x(a)"),
    (Temp, "CREATE TABLE temp.x(a)"),
    (Temp, "CREATE TEMP TABLE x AS SELECT * FROM t"),
    (Temp, "CREATE TEMP VIEW x AS SELECT 1"),
    (Temp, "CREATE TEMP TRIGGER x AFTER INSERT ON main.t BEGIN SELECT 1; END"),
    (Temp, "CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN SELECT 1; END"),
    (Connection, "PRAGMA foreign_keys = 0"),
    (Connection, "PRAGMA cache_size = 100"),
    (Connection, "PRAGMA synchronous = off"),
    (Connection, "PRAGMA busy_timeout = 1"),
    (Connection, "PRAGMA case_sensitive_like = 1"),
    (Connection, "PRAGMA trusted_schema(1)"),
    (Connection, "PRAGMA shrink_memory"),
    (Connection, "EXPLAIN PRAGMA recursive_triggers = 1"),
    (File, "PRAGMA user_version = 5"),
    (File, "PRAGMA application_id = 5"),
    (File, "PRAGMA schema_version = 50"),
    (File, "PRAGMA journal_mode = delete"),
    (File, "PRAGMA auto_vacuum = full"),
    (File, "PRAGMA page_size = 8192"),
    (File, "PRAGMA encoding = 'UTF-16'"),
    (File, "PRAGMA writable_schema = 1"),
    (File, "PRAGMA temp_store_directory = '/tmp'"),
    (File, "PRAGMA no_such_pragma"),
    (Tidy, "PRAGMA wal_checkpoint(TRUNCATE)"),
    (Tidy, "PRAGMA incremental_vacuum"),
    (Tidy, "PRAGMA optimize"),
    (Tidy, "ANALYZE"),
    (Tidy, "ANALYZE t"),
    (Tidy, "REINDEX"),
    (Tidy, "REINDEX tc"),
    (Tidy, "VACUUM"),
    (Tidy, "VACUUM main"),
    (OtherFile, "VACUUM INTO '{folder}/copy.db'"),
    (OtherFile, "VACUUM main INTO '{folder}/' || 'copy.db'"),
    (OtherFile, "/* */ -- \n VACUUM INTO '{folder}/copy.db'"),
    (OtherFile, "ATTACH '{folder}/other.db' AS other"),
    (OtherFile, "ATTACH DATABASE 'file:{folder}/other.db?mode=rwc' AS other"),
    (OtherFile, "ATTACH '{folder}/' || 'other.db' AS other"),
    (OtherFile, "ATTACH ':memory:' AS other"),
    (OtherFile, "DETACH main"),
    (Transaction, "BEGIN"),
    (Transaction, "BEGIN IMMEDIATE"),
    (Transaction, "BEGIN EXCLUSIVE"),
    (Transaction, "SAVEPOINT s"),
    (Function, "SELECT load_extension('x')"),
    (Function, "SELECT fts3_tokenizer('simple')"),
    (Function, "SELECT optimize(g) FROM g LIMIT 1"),
];

/// Whether `policy` lets it run.
fn allows(policy: &str, does: Does, sql: &str) -> bool {
    match policy {
        "read_only" => {
            matches!(does, Read | Tell | Transaction)
                && !["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"].contains(&sql)
        }
        "no_schema_changes" => {
            matches!(does, Read | Tell | Write | Connection | Tidy | Transaction)
                || sql.contains("optimize(g)")
        }
        // Its tables of full text and of rows in space were made by somebody else, and the tables below them are ordinary ones.
        "untrusted_sql" => {
            let runs_as_others = ["CREATE VIEW", "CREATE TRIGGER", "DROP VIEW", "DROP TRIGGER"];
            matches!(does, Read | Write | Schema) && !runs_as_others.iter().any(|words| sql.starts_with(words))
                || sql.starts_with("ANALYZE")
                || sql.starts_with("REINDEX")
                // An index that the file has, of which the table goes.
                || sql.starts_with("ALTER TABLE f")
        }
        _ => unreachable!(),
    }
}

/// What can be seen of the database from another connection, and of the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    schema: Vec<Vec<Term>>,
    rows: Vec<Vec<Vec<Term>>>,
    header: Vec<Term>,
    files: BTreeSet<String>,
}

pub fn look(conn: &Conn<'_>, folder: &Path) -> Seen {
    let schema = conn.exec("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name, type").rows;
    let tables = schema.iter().filter(|row| row[0].text() == "table").map(|row| row[1].text().to_owned());
    let rows = tables.map(|table| conn.exec(&format!("SELECT * FROM \"{table}\"")).rows).collect();
    let header = ["user_version", "application_id", "journal_mode", "auto_vacuum", "page_size", "encoding"];
    let header = header.iter().map(|name| conn.value(&format!("PRAGMA {name}"))).collect();
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let files = names.map(|name| name.to_str().unwrap().to_owned()).collect();
    Seen { schema, rows, header, files }
}

/// The pragmas of the connection itself, and its databases. Read as the application, without a policy.
fn of_connection(conn: &Conn<'_>) -> Vec<Vec<Vec<Term>>> {
    let names = [
        "foreign_keys",
        "cache_size",
        "synchronous",
        "busy_timeout",
        "trusted_schema",
        "recursive_triggers",
        "database_list",
        "writable_schema",
        "query_only",
    ];
    // Reading it makes the temporary database one of the list.
    let temporary = conn.exec("SELECT type, name FROM sqlite_temp_schema").rows;
    let mut all: Vec<_> = names.iter().map(|name| conn.exec(&format!("PRAGMA {name}")).rows).collect();
    all.push(temporary);
    all.push(conn.exec("SELECT 'a' LIKE 'A'").rows);
    all
}

#[test]
fn every_statement_under_every_ready_made_policy_does_what_the_policy_says() {
    let sidecar = Sidecar::start();
    for policy in ["read_only", "no_schema_changes", "untrusted_sql"] {
        for (does, sql) in STATEMENTS {
            let (folder, path) = folder();
            let watcher = sidecar.open_with(&path, map([("defensive", atom("false"))])).unwrap();
            watcher.script(SETUP).unwrap();
            let before = look(&watcher, folder.path());
            let sql = sql.replace("{folder}", folder.path().to_str().unwrap());
            for way in ["execute", "script"] {
                let conn = sidecar.open(&path);
                let own = of_connection(&conn);
                conn.call(tag::SET_POLICY, [list![atom(policy)]]).unwrap();
                let outcome = match way {
                    "execute" => conn.query(&sql, list![]).map(|_| ()),
                    _ => conn.script(&sql).map(|_| ()),
                };
                let at = format!("{policy}, {way}: {sql} ({does:?}): {outcome:?}");
                let denied = outcome.as_ref().is_err_and(|failure| failure.denial.is_some());
                if way == "execute" {
                    assert_eq!(denied, !allows(policy, *does, &sql), "{at}");
                }
                let _ = conn.rollback();
                conn.call(tag::SET_POLICY, [nil()]).unwrap();
                let (after, own_after) = (look(&watcher, folder.path()), of_connection(&conn));
                if denied || policy == "read_only" {
                    assert_eq!(after, before, "{at}");
                    assert_eq!(own_after, own, "{at}");
                }
                match policy {
                    "no_schema_changes" => {
                        let without_statistics = |seen: &Seen| -> Vec<Vec<Term>> {
                            let is_statistics = |row: &&Vec<Term>| row[1].text().starts_with("sqlite_stat");
                            seen.schema.iter().filter(|row| !is_statistics(row)).cloned().collect()
                        };
                        assert_eq!(without_statistics(&after), without_statistics(&before), "{at}");
                        assert_eq!((&after.header, &after.files), (&before.header, &before.files), "{at}");
                        assert_eq!(own_after[6], own[6], "{at}: databases");
                        assert_eq!(own_after[9], own[9], "{at}: temporary schema");
                    }
                    "untrusted_sql" => {
                        assert_eq!((&after.header, &after.files), (&before.header, &before.files), "{at}");
                        assert_eq!(own_after, own, "{at}");
                    }
                    _ => {}
                }
                if !denied {
                    break;
                }
            }
        }
    }
}

#[test]
fn no_ready_made_policy_lets_the_text_of_the_schema_be_written() {
    let sidecar = Sidecar::start();
    for policy in ["read_only", "no_schema_changes", "untrusted_sql"] {
        let (folder, path) = folder();
        let watcher = sidecar.open(&path);
        watcher.script(SETUP).unwrap();
        let before = look(&watcher, folder.path());
        let options = map([("policy", list![atom(policy)])]);
        let conn = sidecar.open_with(&path, options).unwrap();
        for sql in [
            "PRAGMA writable_schema = 1",
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a)' WHERE name = 't'",
            "DELETE FROM sqlite_master WHERE name = 'v'",
            "INSERT INTO sqlite_master VALUES ('view', 'x', 'x', 0, 'CREATE VIEW x AS SELECT 1')",
            "PRAGMA schema_version = 7",
        ] {
            // The defence refuses some of them before anybody is asked.
            let failure = conn.query(sql, list![]).unwrap_err();
            let denied = failure.code == "not_authorized" && failure.denial.is_some();
            assert!(denied || failure.code == "sql_error", "{policy}: {sql}: {failure:?}");
        }
        assert_eq!(look(&watcher, folder.path()), before, "{policy}");
    }
}

#[test]
fn a_policy_holds_only_where_the_defence_does() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let refused = |outcome: Result<(), Failure>| {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.code, "invalid_option", "{failure:?}");
        assert!(failure.message.contains("defensive"), "{failure:?}");
    };
    let policy = || list![atom("no_schema_changes")];
    let undefended = || map([("defensive", atom("false"))]);
    let both = map([("defensive", atom("false")), ("policy", policy())]);
    refused(sidecar.open_with(&path, both).map(|_| ()));
    let conn = sidecar.open_with(&path, undefended()).unwrap();
    refused(conn.call(tag::SET_POLICY, [policy()]).map(|_| ()));

    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE vec(e F32_BLOB(2))");
    conn.exec("CREATE INDEX veci ON vec(libsql_vector_idx(e))");
    conn.call(tag::SET_POLICY, [policy()]).unwrap();
    let drop = "DROP INDEX veci";
    assert!(conn.query(drop, list![]).unwrap_err().denial.is_some());
    assert!(conn.query_with(drop, list![], undefended()).unwrap_err().denial.is_some());
    // What it allows is refused, unless it only reads.
    conn.call(tag::SET_POLICY, [list![crate::policy::rule("allow", &["any"], &[])]]).unwrap();
    refused(conn.query_with(drop, list![], undefended()).map(|_| ()));
    assert_eq!(conn.query_with("SELECT 1", list![], undefended()).unwrap().value(), &1.into());
    assert_eq!(
        conn.value("SELECT count(*) FROM libsql_vector_meta_shadow"),
        1.into(),
        "nothing of it is gone"
    );
    let own = map([("defensive", atom("false")), ("policy", atom("false"))]);
    conn.query_with(drop, list![], own).unwrap();
    sidecar.end();
}
