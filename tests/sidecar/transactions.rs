//! Transactions, savepoints, read-only ones, reset.

use crate::list;
use crate::support::*;
use crate::term::*;

#[test]
fn transaction_status_is_the_engines() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    assert_eq!(conn.exec("CREATE TABLE t(a)").tx_status, 0);
    assert_eq!(conn.begin("deferred").unwrap(), 1);
    assert_eq!(conn.exec("SELECT * FROM t").tx_status, 2);
    assert_eq!(conn.exec("INSERT INTO t VALUES (1)").tx_status, 3);
    assert_eq!(conn.exec("SELECT * FROM t").tx_status, 3);
    assert_eq!(conn.status().get("tx_status").int(), 3);
    assert_eq!(conn.status().get("autocommit"), &false.into());
    assert_eq!(conn.query("SELEC", list![]).unwrap_err().tx_status, Some(3));
    assert_eq!(conn.commit().unwrap(), 0);
    assert_eq!(conn.begin("immediate").unwrap(), 3);
    assert_eq!(conn.rollback().unwrap(), 0);
    assert_eq!(conn.begin("exclusive").unwrap(), 3);
    assert_eq!(conn.rollback().unwrap(), 0);
    assert_eq!(conn.begin("read_only").unwrap(), 1);
    assert_eq!(conn.exec("SELECT * FROM t").tx_status, 2);
    assert_eq!(conn.commit().unwrap(), 0);
    // Begun by SQL text, it is a transaction like any other.
    assert_eq!(conn.exec("BEGIN IMMEDIATE").tx_status, 3);
    assert_eq!(conn.commit().unwrap(), 0);
}

#[test]
fn transactions_keep_and_undo() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    assert_eq!(other.value("SELECT count(*) FROM t"), 0.into(), "not committed");
    conn.rollback().unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    conn.begin("deferred").unwrap();
    conn.exec("INSERT INTO t VALUES (2)");
    conn.commit().unwrap();
    assert_eq!(other.value("SELECT a FROM t"), 2.into());
    for (code, result) in [
        ("no_transaction", conn.commit()),
        ("no_transaction", conn.rollback()),
        ("no_transaction", conn.call(tag::RELEASE, ["s".into()]).map(|_| 0)),
        ("no_transaction", conn.call(tag::ROLLBACK_TO, ["s".into()]).map(|_| 0)),
    ] {
        assert_eq!(result.unwrap_err().code, code);
    }
    conn.begin("deferred").unwrap();
    assert_eq!(conn.begin("immediate").unwrap_err().code, "transaction_open");
    assert_eq!(conn.call(tag::CHECKPOINT, [atom("full")]).unwrap_err().code, "transaction_open");
    conn.rollback().unwrap();
}

#[test]
fn savepoints_nest_under_any_name() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let run = |tag: u8, name: &str| conn.call(tag, [name.into()]).map(|status| status.int());
    assert_eq!(run(tag::SAVEPOINT, "outer").unwrap(), 1, "outside of a transaction it begins one");
    conn.exec("INSERT INTO t VALUES (1)");
    for name in ["a b", "\"; DROP TABLE t; --", "ü", "commit", ""] {
        run(tag::SAVEPOINT, name).unwrap();
        conn.exec("INSERT INTO t VALUES (2)");
        assert_eq!(run(tag::ROLLBACK_TO, name).unwrap(), 3);
        assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into(), "{name:?}");
        conn.exec("INSERT INTO t VALUES (3)");
        run(tag::RELEASE, name).unwrap();
        conn.exec("DELETE FROM t WHERE a = 3");
    }
    assert_eq!(run(tag::RELEASE, "unknown").unwrap_err().code, "sql_error");
    assert_eq!(run(tag::RELEASE, "outer").unwrap(), 0, "the outermost one commits");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
}

#[test]
fn a_read_only_transaction_writes_nothing() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    for end in ["commit", "rollback"] {
        conn.begin("read_only").unwrap();
        let before = conn.value("SELECT count(*) FROM t");
        for sql in [
            "INSERT INTO t VALUES (1)",
            "DROP TABLE t",
            "PRAGMA user_version = 9",
            "CREATE TABLE u(a)",
            "DELETE FROM t",
        ] {
            assert_eq!(conn.query(sql, list![]).unwrap_err().code, "read_only", "{sql}");
        }
        // Nor is there a way out of it by SQL.
        let _ = conn.query("PRAGMA query_only = OFF", list![]);
        assert_eq!(conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "read_only");
        // Another connection is not in the way and not in its way.
        other.exec("INSERT INTO t VALUES (5)");
        assert_eq!(conn.value("SELECT count(*) FROM t"), before);
        match end {
            "commit" => conn.commit().unwrap(),
            _ => conn.rollback().unwrap(),
        };
        assert_eq!(conn.value("PRAGMA query_only"), 0.into());
        assert_eq!(conn.exec("INSERT INTO t VALUES (2)").changes, 1, "after {end}");
    }
}

#[test]
fn a_connection_that_is_query_only_stays_so_after_a_read_only_transaction() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.exec("PRAGMA query_only = ON");
    conn.begin("read_only").unwrap();
    conn.commit().unwrap();
    assert_eq!(conn.query("INSERT INTO t VALUES (2)", list![]).unwrap_err().code, "read_only");
}

#[test]
fn reset_is_as_good_as_new() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let options = map([("pragmas", map([("cache_size", -100)])), ("busy_timeout", 1234.into())]);
    let conn = sidecar.open_with(&path, options).unwrap();
    let other = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.exec("CREATE TEMP TABLE temporary(a)");
    conn.exec("CREATE TEMP VIEW viewed AS SELECT 1");
    conn.exec("CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO temporary VALUES (1); END");
    conn.exec("CREATE INDEX temp.i ON temporary(a)");
    conn.exec("CREATE VIRTUAL TABLE temp.f USING fts5(a)");
    let attached = folder.path().join("attached.db");
    conn.query("ATTACH ? AS at", list![attached.to_str().unwrap()]).unwrap();
    conn.exec("ATTACH ':memory:' AS \"odd \"\"name\"");
    for pragma in [
        "foreign_keys = OFF",
        "cache_size = 7",
        "synchronous = OFF",
        "busy_timeout = 1",
        "query_only = OFF",
        "max_page_count = 50",
    ] {
        conn.exec(&format!("PRAGMA {pragma}"));
    }
    let prepared = conn.call(tag::PREPARE, ["SELECT 1".into()]).unwrap().items()[0].clone();
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    let cursor = conn.call(tag::DECLARE, [numbers(10).into(), list![]]).unwrap().items()[0].clone();
    let fetched = conn.send(tag::FETCH, [cursor.clone(), 1.into(), 0.into()]);
    sidecar.receive(fetched);
    let used = conn.status().get("cache_used").int();

    assert_eq!(conn.call(tag::RESET, []), Ok(nil()));
    assert_eq!(conn.status().get("tx_status").int(), 0);
    assert_eq!(conn.status().get("statements").int(), 0);
    assert_eq!(conn.status().get("cursors").int(), 0);
    assert!(conn.status().get("cache_used").int() >= used, "the cache stays");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    assert_eq!(conn.value("SELECT count(*) FROM sqlite_temp_schema"), 0.into());
    assert_eq!(conn.value("SELECT count(*) FROM pragma_database_list WHERE seq > 1"), 0.into());
    for (pragma, value) in [
        ("foreign_keys", 1),
        ("cache_size", -100),
        ("synchronous", 1),
        ("busy_timeout", 1234),
        ("max_page_count", 4_294_967_294),
    ] {
        assert_eq!(conn.value(&format!("PRAGMA {pragma}")).int(), value, "{pragma}");
    }
    let id = conn.send(tag::EXECUTE_PREPARED, [prepared, list![]]);
    assert_eq!(conn.outcome(id).unwrap_err().code, "unknown_statement");
    let gone = conn.call(tag::FETCH, [cursor, 0.into(), 0.into()]).unwrap_err();
    assert_eq!(gone.code, "unknown_cursor");
    other.exec("INSERT INTO t VALUES (2)");
    conn.exec("INSERT INTO t VALUES (3)");
    conn.call(tag::RESET, []).unwrap();
}

#[test]
fn reset_ends_a_read_only_transaction() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.begin("read_only").unwrap();
    conn.call(tag::RESET, []).unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
}

#[test]
fn attached_files_are_written_in_their_own_turns() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let second = folder.path().join("second.db");
    let (one, two) = (sidecar.open(&path), sidecar.open(&second));
    two.exec("CREATE TABLE t(a)");
    one.query("ATTACH ? AS second", list![second.to_str().unwrap()]).unwrap();
    let options = map([("pragmas", map([("journal_mode", "wal")]))]);
    drop(options);
    one.begin("immediate").unwrap();
    one.exec("INSERT INTO second.t VALUES (1)");
    let failure = two.within(200).query("INSERT INTO t VALUES (2)", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    one.commit().unwrap();
    two.exec("INSERT INTO t VALUES (2)");
    assert_eq!(one.value("SELECT count(*) FROM second.t"), 2.into());
    // Both attach the other's file: turns are taken in one order, so nobody waits for ever.
    two.query("ATTACH ? AS first", list![path.to_str().unwrap()]).unwrap();
    one.exec("CREATE TABLE main.u(a)");
    std::thread::scope(|scope| {
        for (conn, tables) in [(&one, ["u", "second.t"]), (&two, ["first.u", "t"])] {
            scope.spawn(move || {
                for number in 0..30 {
                    conn.begin("immediate").unwrap();
                    for table in tables {
                        conn.query(&format!("INSERT INTO {table} VALUES (?)"), list![number]).unwrap();
                    }
                    conn.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(one.value("SELECT count(*) FROM u"), 60.into());
    one.exec("DETACH second");
    two.exec("INSERT INTO t VALUES (3)");
}

#[test]
fn a_transaction_that_read_before_another_wrote_is_told_so() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open(&path));
    one.exec("CREATE TABLE t(a)");
    one.begin("deferred").unwrap();
    one.exec("SELECT * FROM t");
    two.exec("INSERT INTO t VALUES (1)");
    let failure = one.query("INSERT INTO t VALUES (2)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.sqlite_code), ("busy", Some(517)));
    assert!(failure.message.contains("immediate"), "{}", failure.message);
    // It has not kept the turn.
    two.exec("INSERT INTO t VALUES (3)");
    one.rollback().unwrap();
    one.exec("INSERT INTO t VALUES (4)");
}
