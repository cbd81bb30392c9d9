//! How long a request waits for the writer turn and for locks, and what it is told then.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::time::Instant;

#[test]
fn a_request_with_a_lock_timeout_of_0_tries_at_once_and_names_the_holder() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open(&path));
    one.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    let impatient = two.lock_timeout(0);
    let busy = |failure: Failure| {
        assert_eq!(failure.code, "busy", "{failure:?}");
        assert!(
            failure.message.contains(&format!("connection {} of this program (for ", one.id)),
            "{failure:?}"
        );
        assert!(failure.message.contains("lock_timeout"), "{failure:?}");
    };
    busy(impatient.begin("immediate").unwrap_err());
    busy(impatient.query("INSERT INTO t VALUES (1)", list![]).unwrap_err());
    busy(impatient.query_one("INSERT INTO t VALUES (1) RETURNING a", list![]).unwrap_err());
    busy(impatient.script("INSERT INTO t VALUES (1)").unwrap_err());
    busy(impatient.batch(true, &[("INSERT INTO t VALUES (1)", list![])]).unwrap_err());
    busy(impatient.call(tag::CHECKPOINT, [atom("passive")]).unwrap_err());
    busy(impatient.call(tag::DECLARE, ["DELETE FROM t RETURNING a".into(), list![]]).unwrap_err());
    // An item of a batch that is not atomic is busy, and the next one runs.
    let items = [("INSERT INTO t VALUES (1)", list![]), ("SELECT 7", list![])];
    let (items, _) = impatient.batch(false, &items).unwrap();
    busy(items[0].clone().unwrap_err());
    assert_eq!(items[1].clone().unwrap().0, [[7.into()]]);
    // What needs no turn does not care, nor does the holder itself.
    assert_eq!(impatient.value("SELECT count(*) FROM t").int(), 0);
    one.lock_timeout(0).exec("INSERT INTO t VALUES (1)");
    one.lock_timeout(0).commit().unwrap();
    impatient.exec("INSERT INTO t VALUES (2)");
    assert_eq!(two.value("SELECT count(*) FROM t").int(), 2);
}

#[test]
fn it_is_the_default_of_a_connection_and_each_request_may_say_otherwise() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let one = sidecar.open(&path);
    one.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    // Opening a database that is in WAL mode needs no turn.
    let two = sidecar.open_with(&path, map([("lock_timeout", 0)])).unwrap();
    assert_eq!(two.query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "busy");
    let started = Instant::now();
    assert_eq!(two.lock_timeout(150).query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "busy");
    assert!(started.elapsed().as_millis() >= 150);
    // The deadline comes first.
    let late = two.lock_timeout(60_000).within(50).query("INSERT INTO t VALUES (1)", list![]);
    assert_eq!(late.unwrap_err().code, "timeout");
    // The turn comes in time.
    let waiting = two.lock_timeout(60_000).start("INSERT INTO t VALUES (1)");
    eventually("it waits", || sidecar.status().get("files").items()[0].get("waiting").int() == 1);
    one.commit().unwrap();
    two.outcome(waiting).unwrap();
    let refused = sidecar.open_with(&path, map([("lock_timeout", -1)])).map(|_| ());
    assert_eq!(refused.unwrap_err().code, "invalid_option");
}

#[test]
fn another_program_is_named_by_its_pid() {
    let (_folder, path) = folder();
    let (here, there) = (Sidecar::start(), Sidecar::start());
    let (one, two) = (here.open(&path), there.open(&path));
    one.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    for lock_timeout_ms in [0, 30] {
        let failure =
            two.lock_timeout(lock_timeout_ms).query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
        assert_eq!(failure.code, "busy");
        assert!(failure.message.contains(&format!("pid {}", here.pid)), "{failure:?}");
    }
    one.commit().unwrap();
    two.lock_timeout(0).exec("INSERT INTO t VALUES (1)");
}

#[test]
fn it_bounds_the_wait_for_a_lock_of_a_program_that_takes_no_turns() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("busy_timeout", 60_000)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    let foreign = ForeignLock::take(&path);
    let failure = conn.lock_timeout(0).query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.sqlite_code), ("busy", Some(5)), "{failure:?}");
    foreign.release();
    conn.lock_timeout(0).exec("INSERT INTO t VALUES (1)");
}

#[test]
fn a_schema_is_changed_in_the_turn_from_its_compiling_on() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open(&path));
    one.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
    one.exec("CREATE TABLE u(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
    one.exec("INSERT INTO t VALUES (7, vector32('[1,2,3]'))");
    one.exec("CREATE INDEX tv ON t (libsql_vector_idx(v))");
    one.begin("immediate").unwrap();
    // libSQL writes, and commits, while these are compiled.
    let statements =
        ["CREATE INDEX uv ON u (libsql_vector_idx(v))", "DROP INDEX tv", "DROP TABLE t", "REINDEX tv"];
    let impatient = two.lock_timeout(0);
    for sql in statements {
        let failures = [
            impatient.query(sql, list![]).unwrap_err(),
            impatient.script(&format!("SELECT 1; {sql}")).unwrap_err(),
            impatient.call(tag::PREPARE, [sql.into()]).unwrap_err(),
            impatient.call(tag::DESCRIBE, [sql.into()]).unwrap_err(),
            impatient.call(tag::DECLARE, [sql.into(), list![]]).unwrap_err(),
        ];
        assert!(failures.iter().all(|failure| failure.code == "busy"), "{sql}: {failures:?}");
    }
    let schema = "SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema ORDER BY name)";
    let before = two.value(schema);
    one.commit().unwrap();
    assert_eq!(two.value(schema), before, "nothing was left half done");
    let nearest = "SELECT id FROM vector_top_k('tv', vector32('[1,2,4]'), 1)";
    assert_eq!(two.value(nearest).int(), 7);
    // A statement that was only described gives the turn back.
    impatient.call(tag::DESCRIBE, ["CREATE TABLE w(a)".into()]).unwrap();
    one.lock_timeout(0).exec("DROP INDEX tv");
    // Inside of a read-only transaction it is refused before anything is written.
    two.begin("read_only").unwrap();
    assert_eq!(
        two.query("CREATE INDEX uv ON u (libsql_vector_idx(v))", list![]).unwrap_err().code,
        "read_only"
    );
    two.rollback().unwrap();
    impatient.exec("CREATE INDEX uv ON u (libsql_vector_idx(v))");
    impatient.exec("DROP TABLE u");
    assert_eq!(sidecar.end(), "");
}

#[test]
fn who_reads_a_file_without_a_wal_does_not_wait_for_the_turn_of_who_has_to_commit() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let attached = folder.path().join("attached.db");
    let open = |pragmas: Term| {
        let conn = sidecar.open_with(&path, map([("pragmas", pragmas)])).unwrap();
        conn.query("ATTACH ? AS other", list![attached.to_str().unwrap()]).unwrap();
        conn
    };
    let rollback_mode = || map([("journal_mode", "delete")]);
    // Both files without a WAL; then the attached one alone.
    for (pragmas, read) in [(rollback_mode(), "main"), (map([("journal_mode", "wal")]), "other")] {
        let (reader, writer) = (open(pragmas.clone()), open(pragmas));
        for table in ["main.t", "other.t"] {
            writer.exec(&format!("CREATE TABLE IF NOT EXISTS {table}(a)"));
        }
        reader.begin("deferred").unwrap();
        reader.exec(&format!("SELECT * FROM {read}.t"));
        writer.begin("immediate").unwrap();
        writer.exec("INSERT INTO main.t VALUES (1)");
        let failure = reader.query("INSERT INTO main.t VALUES (2)", list![]).unwrap_err();
        assert_eq!(failure.code, "busy", "{failure:?}");
        for words in [format!("connection {}", writer.id), format!("reads {read}"), "immediate".to_owned()] {
            assert!(failure.message.contains(&words), "{failure:?}");
        }
        reader.rollback().unwrap();
        writer.commit().unwrap();
        // Where nobody has the turn, it writes.
        reader.begin("deferred").unwrap();
        reader.exec(&format!("SELECT * FROM {read}.t"));
        reader.exec("INSERT INTO main.t VALUES (2)");
        reader.commit().unwrap();
        reader.close();
        writer.close();
    }
}

#[test]
fn a_schema_change_that_got_no_turn_refuses_nothing_afterwards() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    let insert = "INSERT INTO t VALUES (1)";
    conn.exec(insert);
    let prepared = conn.call(tag::PREPARE, [insert.into()]).unwrap().items()[0].clone();
    other.begin("immediate").unwrap();
    assert_eq!(conn.within(100).query("CREATE TABLE u(a)", list![]).unwrap_err().code, "timeout");
    other.exec("CREATE TABLE w(a)");
    other.commit().unwrap();
    // Compiled anew while they run, since the schema has changed.
    conn.exec(insert);
    let id = conn.send(tag::EXECUTE_PREPARED, [prepared, list![]]);
    conn.outcome(id).unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM t"), 3.into());
}
