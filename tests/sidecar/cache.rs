//! The statement cache: its size, its counters, and that nobody notices it otherwise.

use crate::list;
use crate::support::*;
use crate::term::*;

fn with_cache(sidecar: &Sidecar, size: i32) -> Conn<'_> {
    sidecar.open_with(":memory:", map([("statement_cache", size)])).unwrap()
}

/// Size, use, hits, misses.
fn counters(conn: &Conn<'_>) -> [i64; 4] {
    let status = conn.status();
    ["cache_size", "cache_used", "cache_hits", "cache_misses"].map(|key| status.get(key).int())
}

#[test]
fn the_least_recently_used_statement_leaves_first() {
    let sidecar = Sidecar::start();
    let conn = with_cache(&sidecar, 3);
    assert_eq!(counters(&conn), [3, 0, 0, 0]);
    for sql in ["SELECT 1", "SELECT 2", "SELECT 3", "SELECT 1"] {
        conn.exec(sql);
    }
    assert_eq!(counters(&conn), [3, 3, 1, 3]);
    conn.exec("SELECT 4");
    conn.exec("SELECT 1");
    assert_eq!(counters(&conn), [3, 3, 2, 4], "1 was used after 2");
    conn.exec("SELECT 2");
    assert_eq!(counters(&conn), [3, 3, 2, 5], "2 had to leave");
}

/// A long text that comes once must not hold megabytes, one that comes again must not be compiled each time.
#[test]
fn a_long_text_is_kept_when_it_comes_again() {
    let sidecar = Sidecar::start();
    let conn = with_cache(&sidecar, 10);
    let long = |word: &str| format!("SELECT '{word}{}'", "x".repeat(16 << 10));
    let [first, second] = [long("first"), long("second")];
    conn.exec(&first);
    conn.exec(&second);
    assert_eq!(counters(&conn), [10, 0, 0, 2], "neither is kept");
    conn.exec(&first);
    assert_eq!(counters(&conn), [10, 1, 0, 3], "known again, though another came in between");
    conn.exec(&first);
    assert_eq!(counters(&conn), [10, 1, 1, 3]);
    for number in 0..8 {
        conn.exec(&long(&number.to_string()));
    }
    conn.exec(&second);
    assert_eq!(counters(&conn), [10, 1, 1, 12], "forgotten behind eight others");
}

#[test]
fn a_cache_of_nothing_keeps_nothing() {
    let sidecar = Sidecar::start();
    let conn = with_cache(&sidecar, 0);
    for _ in 0..3 {
        assert_eq!(conn.query("SELECT ?", list![5]).unwrap().value(), &5.into());
    }
    assert_eq!(counters(&conn), [0, 0, 0, 3]);
}

#[test]
fn every_use_counts_once() {
    let sidecar = Sidecar::start();
    let conn = with_cache(&sidecar, 10);
    for _ in 0..4 {
        conn.query_one("SELECT 1", list![]).unwrap();
    }
    assert_eq!(counters(&conn), [10, 1, 3, 1]);
    conn.call(tag::DESCRIBE, ["SELECT 1".into()]).unwrap();
    conn.batch(false, &[("SELECT 1", list![]), ("SELECT 2", list![])]).unwrap();
    assert_eq!(counters(&conn), [10, 2, 4, 2]);
    assert!(conn.query("SELEC", list![]).is_err());
    assert_eq!(counters(&conn), [10, 2, 4, 3], "what does not compile is not kept");
}

#[test]
fn a_changed_schema_is_seen_through_the_cache() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1)");
    let all = "SELECT * FROM t";
    assert_eq!(conn.exec(all).columns, ["a"]);
    conn.exec("ALTER TABLE t ADD COLUMN b DEFAULT 2");
    let outcome = conn.exec(all);
    assert_eq!((outcome.columns.join(","), outcome.rows), ("a,b".to_owned(), vec![vec![1.into(), 2.into()]]));
    other.exec("ALTER TABLE t RENAME COLUMN b TO c");
    assert_eq!(conn.exec(all).columns, ["a", "c"]);
    // Through the other ways to the same statement.
    other.exec("ALTER TABLE t ADD COLUMN d DEFAULT 3");
    let (items, _) = conn.batch(false, &[(all, list![])]).unwrap();
    assert_eq!(items[0].as_ref().unwrap().0[0].len(), 3);
    other.exec("ALTER TABLE t ADD COLUMN e DEFAULT 4");
    let one = conn.query_one(all, list![]).unwrap();
    assert_eq!((one.columns.len(), one.rows[0].len()), (4, 4));
    other.exec("ALTER TABLE t ADD COLUMN f DEFAULT 5");
    assert_eq!(conn.call(tag::DESCRIBE, [all.into()]).unwrap().get("columns").items().len(), 5);
    other.exec("DROP TABLE t");
    assert_eq!(conn.query(all, list![]).unwrap_err().code, "sql_error");
    other.exec("CREATE TABLE t(z)");
    assert_eq!(conn.exec(all).columns, ["z"]);
    let empty = conn.query_one(all, list![]).unwrap_err();
    assert_eq!(empty.code, "no_rows");
}

#[test]
fn a_pragma_takes_effect_each_time() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for _ in 0..3 {
        conn.exec("PRAGMA foreign_keys = OFF");
        assert_eq!(conn.value("PRAGMA foreign_keys"), 0.into());
        conn.exec(" /* x */ pragma foreign_keys = on");
        assert_eq!(conn.value("PRAGMA foreign_keys"), 1.into());
    }
    assert_eq!(conn.status().get("cache_used").int(), 0);
}

#[test]
fn the_autocheckpoint_pragma_means_the_option() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("checkpoint_pages", 77)])).unwrap();
    let other = sidecar.open_with(&path, map([("checkpoint_pages", 77)])).unwrap();
    assert_eq!(conn.value("PRAGMA wal_autocheckpoint"), 77.into());
    assert_eq!(conn.value("PRAGMA wal_autocheckpoint = 5"), 5.into());
    assert_eq!(other.value("PRAGMA wal_autocheckpoint"), 5.into(), "it is the file's");
    conn.exec("PRAGMA wal_autocheckpoint = 0");
    assert_eq!(conn.value("PRAGMA wal_autocheckpoint"), 0.into());
}

#[test]
fn pragmas_cannot_take_the_programs_callbacks_away() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    for sql in [
        "PRAGMA busy_timeout = 60000",
        "PRAGMA wal_autocheckpoint = 1",
        "EXPLAIN PRAGMA busy_timeout = 60000",
        "PRAGMA main.wal_autocheckpoint(5)",
    ] {
        let _ = conn.query(sql, list![]);
        assert_eq!(conn.within(200).query(ENDLESS, list![]).unwrap_err().code, "timeout", "{sql}");
    }
    assert_eq!(conn.value("PRAGMA busy_timeout"), 60_000.into());
    conn.exec("CREATE TABLE t(a)");
    // Were SQLite to checkpoint by itself after each page, these pages would be counted nowhere.
    assert!(sidecar.status().get("files").items()[0].get("wal_pages").int() > 0);
    let foreign = ForeignLock::take(&path);
    let failure = conn.within(300).query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout", "the busy wait looks at the deadline");
    foreign.release();
    conn.exec("INSERT INTO t VALUES (1)");
}

#[test]
fn parameters_do_not_outlive_their_run() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let secret = "s".repeat(1_000_000);
    for _ in 0..3 {
        conn.query("SELECT length(?)", list![secret.as_str()]).unwrap();
    }
    assert_eq!(conn.query("SELECT length(?)", list![nil()]).unwrap().value(), &nil());
    let memory = conn.status();
    let used = memory.get("memory").get("statement_bytes").int();
    assert!(used < 100_000, "{used} bytes held by statements");
    for _ in 0..2 {
        assert!(conn.query("SELECT :a, :b", map([("a", 1)])).is_err());
    }
}

/// Objects of a schema: what is there before, how each is made, and how it is dropped.
const OBJECTS: [(&str, &str); 10] = [
    ("CREATE TABLE o(a)", "DROP TABLE o"),
    ("CREATE TABLE o AS SELECT * FROM t", "DROP TABLE o"),
    ("CREATE VIRTUAL TABLE o USING fts5(a)", "DROP TABLE o"),
    ("CREATE VIEW o AS SELECT * FROM t", "DROP VIEW o"),
    ("CREATE INDEX o ON t(a)", "DROP INDEX o"),
    ("CREATE UNIQUE INDEX o ON t(a, b) WHERE a > 0", "DROP INDEX o"),
    ("CREATE INDEX o ON t(libsql_vector_idx(v))", "DROP INDEX o"),
    ("CREATE TRIGGER o AFTER INSERT ON t BEGIN SELECT 1; END", "DROP TRIGGER o"),
    ("ALTER TABLE t ADD COLUMN o", "ALTER TABLE t DROP COLUMN o"),
    ("ALTER TABLE t RENAME TO o", "ALTER TABLE o RENAME TO t"),
];

#[test]
fn what_another_connection_has_made_or_dropped_is_known_to_what_changes_the_schema() {
    type Run = fn(&Conn<'_>, &str) -> Result<(), Failure>;
    let ways: [(&str, Run); 4] = [
        ("execute", |conn, sql| conn.query(sql, list![]).map(drop)),
        ("script", |conn, sql| conn.script(sql).map(drop)),
        ("batch", |conn, sql| conn.batch(true, &[(sql, list![])]).map(drop)),
        ("prepared", |conn, sql| {
            let prepared = conn.call(tag::PREPARE, [sql.into()])?;
            let statement = prepared.items()[0].clone();
            conn.outcome(conn.send(tag::EXECUTE_PREPARED, [statement, list![]])).map(drop)
        }),
    ];
    let sidecar = Sidecar::start();
    for (create, drop) in OBJECTS {
        for (way, run) in ways {
            let (_folder, path) = folder();
            let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
            conn.exec("CREATE TABLE t(a, b, v F32_BLOB(2))");
            // Each has read the schema before the other changes it.
            for round in 0..3 {
                other.exec("SELECT * FROM t");
                run(&conn, create).unwrap_or_else(|error| panic!("{way} {create}, {round}: {error:?}"));
                run(&other, drop).unwrap_or_else(|error| panic!("{way} {drop}, {round}: {error:?}"));
            }
            conn.close();
            other.close();
        }
    }
}
