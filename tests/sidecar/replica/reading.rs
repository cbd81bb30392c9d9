//! Reads of a replica are those of a local database.

use super::*;
use crate::{list, tuple};

#[test]
fn a_snapshot_stays_while_the_replica_goes_on() {
    let Some(server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let reader = open(&sidecar, &server, &path, &[]).unwrap();
    let other = open(&sidecar, &server, &path, &[]).unwrap();
    assert_eq!(reader.begin("read_only").unwrap(), 1);
    assert_eq!(count(&reader), 3);
    server.execute(&["INSERT INTO t VALUES (4)"]);
    sync(&other).unwrap();
    assert_eq!((count(&reader), count(&other)), (3, 4));
    let failure = reader.query("INSERT INTO t VALUES (5)", list![]).unwrap_err();
    assert_eq!(failure.code, "read_only");
    assert_eq!(reader.commit().unwrap(), 0);
    assert_eq!(count(&reader), 4);
}

#[test]
fn cursors_deadlines_and_functions_work_as_in_any_local_database() {
    let Some(server) = server_with(5000) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let declared = conn.call(crate::support::tag::DECLARE, [Term::from("SELECT a FROM t"), list![]]).unwrap();
    let cursor = declared.items()[0].clone();
    let id = conn.send(crate::support::tag::FETCH, [cursor.clone(), Term::from(10), Term::from(0)]);
    assert_eq!(sidecar.receive(id).payload.items().len(), 10);
    server.execute(&["DELETE FROM t WHERE a > 5"]);
    sync(&conn).unwrap();
    let mut rest = 0;
    loop {
        let id = conn.send(crate::support::tag::FETCH, [cursor.clone(), Term::from(0), Term::from(0)]);
        let frame = sidecar.receive(id);
        rest += frame.payload.items().len();
        if frame.tag == crate::support::tag::LAST_ROWS {
            break;
        }
    }
    assert_eq!(rest, 4990, "the cursor reads what was there when it began");
    let endless = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert_eq!(conn.within(100).query(endless, list![]).unwrap_err().code, "timeout");
    let id = conn.start(endless);
    eventually("it is cancelled", || conn.cancel(id) == Term::from(true));
    assert_eq!(conn.outcome(id).unwrap_err().code, "cancelled");
    assert_eq!(count(&conn), 5);
    let prepared =
        conn.call(crate::support::tag::PREPARE, [Term::from("SELECT a FROM t WHERE a = ?")]).unwrap();
    let id = conn.send(crate::support::tag::EXECUTE_PREPARED, [prepared.items()[0].clone(), list![2]]);
    assert_eq!(conn.outcome(id).unwrap().rows, [[Term::from(2)]]);
}

#[test]
fn latest_reads_what_the_server_has_and_local_what_is_there() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let local = open(&sidecar, &server, &path, &[("consistency", atom("local"))]).unwrap();
    let latest = open(&sidecar, &server, &path, &[("consistency", atom("latest"))]).unwrap();
    // Both have asked for a sync of their own as they were opened.
    sync(&local).unwrap();
    server.execute(&["INSERT INTO t VALUES (2)"]);
    assert_eq!(count(&local), 1);
    assert_eq!(count(&latest), 2);
    server.execute(&["INSERT INTO t VALUES (3)"]);
    let options = map([("consistency", atom("latest"))]);
    let newest = local.query_with("SELECT count(*) FROM t", list![], options).unwrap();
    assert_eq!(newest.value().int(), 3);
}

#[test]
fn a_schema_that_changes_is_followed_also_by_a_log_that_begins_anew() {
    let Some(mut server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    assert_eq!(count(&conn), 3);
    let before = status(&conn);
    // As many changes of the schema, so that its version is the same, and a table at the same place with other columns.
    server.kill();
    server.empty();
    server.go();
    server.execute(&["CREATE TABLE t(b TEXT, c TEXT)", "INSERT INTO t VALUES ('x', 'y'), ('z', NULL)"]);
    let after = sync(&conn).unwrap();
    assert_ne!(before.get("log"), after.get("log"));
    assert_eq!(count(&conn), 2);
    let outcome = conn.query("SELECT * FROM t ORDER BY b", list![]).unwrap();
    assert_eq!(outcome.columns, ["b", "c"]);
    assert_eq!(outcome.rows[0], [Term::from("x"), Term::from("y")]);
    let frame = tuple![before.get("log").clone(), before.get("index").clone()];
    let failure = conn.call(tag::SYNC, [map([("until", frame)])]).unwrap_err();
    assert_eq!(failure.code, "invalid_option", "a frame of another log: {failure:?}");
}

#[test]
fn a_crash_of_the_server_leaves_a_replica_that_follows_it() {
    let Some(mut server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    for rows in 4..8 {
        server.kill();
        server.go();
        server.execute(&[&format!("INSERT INTO t VALUES ({rows})")]);
        sync(&conn).unwrap();
        assert_eq!(count(&conn), i64::from(rows));
        assert_eq!(conn.value("PRAGMA integrity_check").text(), "ok");
    }
}

#[test]
fn a_frozen_replica_is_a_database_of_its_own() {
    let Some(server) = server_with(300) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let copy = folder.path().join("it's a copy.db");
    let freeze = || conn.call(tag::FREEZE, [Term::from(copy.to_str().unwrap())]);
    let bytes = freeze().unwrap().int();
    assert_eq!(u64::try_from(bytes).unwrap(), copy.metadata().unwrap().len());
    assert_eq!(freeze().unwrap_err().code, "cannot_open", "it is not written over");
    let copied = sidecar.open(&copy);
    copied.exec("INSERT INTO t VALUES (0)");
    assert_eq!((count(&copied), count(&conn)), (301, 300));
    let tables = copied.query("SELECT name FROM sqlite_schema", list![]).unwrap().rows;
    assert_eq!(tables, [[Term::from("t")]]);
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("freezing")), "{left:?}");
    assert!(conn.call(tag::FLUSH, []).unwrap().int() > 0);
}
