//! What writes goes to the server, and is seen.

use super::*;
use crate::list;
use crate::support::tag as wire;

#[test]
fn what_is_written_is_read_at_once_by_whoever_reads_the_file() {
    let Some(server) = server_with(0) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let writer = open(&sidecar, &server, &path, &[]).unwrap();
    let reader = open(&sidecar, &server, &path, &[("consistency", atom("local"))]).unwrap();
    for row in 1..50 {
        let inserted = writer.query("INSERT INTO t VALUES (?)", list![row]).unwrap();
        assert_eq!((inserted.changes, inserted.last_insert_rowid, inserted.tx_status), (1, row, 0));
        assert_eq!((count(&writer), count(&reader)), (row, row));
    }
    let returned = writer.query("DELETE FROM t WHERE a > 40 RETURNING a", list![]).unwrap();
    assert_eq!((returned.rows.len(), count(&writer)), (9, 40));
    let failure = writer.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    assert_eq!(failure.code, "constraint_primary_key", "{failure:?}");
}

#[test]
fn a_transaction_is_the_servers_with_its_own_writes_in_sight() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let conn = open(&sidecar, &server, &path, &[]).unwrap();
    let other = open(&sidecar, &server, &path, &[]).unwrap();
    conn.begin("immediate").unwrap();
    conn.exec("CREATE TABLE made(b)");
    conn.exec("INSERT INTO made VALUES (5)");
    conn.exec("INSERT INTO t VALUES (2)");
    assert_eq!(conn.value("SELECT b FROM made").int(), 5);
    assert_eq!((count(&conn), count(&other)), (2, 1));
    // Prepared while only the server knows the table, and run.
    let prepared = conn.call(wire::PREPARE, [Term::from("INSERT INTO made VALUES (?)")]).unwrap();
    let id = conn.send(wire::EXECUTE_PREPARED, [prepared.items()[0].clone(), list![6]]);
    assert_eq!(conn.outcome(id).unwrap().changes, 1);
    conn.rollback().unwrap();
    assert_eq!((count(&conn), count(&other)), (1, 1));
    conn.exec("BEGIN");
    conn.exec("INSERT INTO t VALUES (3)");
    assert_eq!(conn.commit().unwrap(), 0);
    assert_eq!((count(&conn), count(&other)), (2, 2));
    assert_eq!(conn.commit().unwrap_err().code, "no_transaction");
    conn.call(wire::SAVEPOINT, [Term::from("s")]).unwrap();
    conn.exec("INSERT INTO t VALUES (4)");
    conn.call(wire::RELEASE, [Term::from("s")]).unwrap();
    assert_eq!(count(&other), 3);
}

#[test]
fn statements_prepared_here_run_there() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let prepare = |sql: &str| conn.call(wire::PREPARE, [Term::from(sql)]).unwrap();
    let (insert, select) = (prepare("INSERT INTO t VALUES (?)"), prepare("SELECT max(a) FROM t"));
    assert_eq!(insert.items()[1].get("read_only"), &Term::from(false));
    let run = |statement: &Term, params: Term| {
        conn.outcome(conn.send(wire::EXECUTE_PREPARED, [statement.items()[0].clone(), params])).unwrap()
    };
    assert_eq!(run(&insert, list![7]).changes, 1);
    assert_eq!(run(&select, list![]).value().int(), 7);
    conn.begin("deferred").unwrap();
    run(&insert, list![8]);
    assert_eq!(run(&select, list![]).value().int(), 8, "inside it sees its own");
    conn.rollback().unwrap();
    assert_eq!(run(&select, list![]).value().int(), 7);
    for statement in [insert, select] {
        conn.call(wire::CLOSE_STATEMENT, [statement.items()[0].clone()]).unwrap();
    }
    assert_eq!(conn.status().get("statements").int(), 0);
}

#[test]
fn batches_and_scripts_run_where_they_have_to() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let (items, _) = conn.batch(true, &[("SELECT 1", list![]), ("SELECT max(a) FROM t", list![])]).unwrap();
    assert_eq!(items.len(), 2);
    conn.batch(true, &[("INSERT INTO t VALUES (2)", list![]), ("INSERT INTO t VALUES (3)", list![])])
        .unwrap();
    assert_eq!(count(&conn), 3);
    let failure = conn
        .batch(true, &[("INSERT INTO t VALUES (4)", list![]), ("INSERT INTO t VALUES (2)", list![])])
        .unwrap_err();
    assert_eq!(failure.code, "constraint_primary_key", "{failure:?}");
    conn.script("CREATE TABLE u(b); INSERT INTO u VALUES (1);").unwrap();
    assert_eq!((count(&conn), conn.value("SELECT b FROM u").int()), (3, 1));
}

#[test]
fn what_the_file_has_not_got_yet_is_asked_of_the_server() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    sync(&conn).unwrap();
    server.execute(&["CREATE TABLE late(b)", "INSERT INTO late VALUES (9)"]);
    assert_eq!(conn.value("SELECT b FROM late").int(), 9);
    let failure = conn.query("SELECT * FROM never", list![]).unwrap_err();
    assert_eq!(failure.code, "sql_error", "{failure:?}");
}

#[test]
fn without_a_server_reads_go_on_and_writes_fail_at_once_and_typed() {
    let Some(mut server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    server.kill();
    assert_eq!(conn.query("INSERT INTO t VALUES (9)", list![]).unwrap_err().code, "remote_unavailable");
    assert_eq!(count(&conn.within(5_000)), 3, "nothing was written that it would have to see");
    server.go();
    conn.exec("INSERT INTO t VALUES (9)");
    assert_eq!(count(&conn), 4);
}

#[test]
fn a_read_only_replica_sends_nothing_to_the_server() {
    let Some(server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[("mode", atom("read_only"))]).unwrap();
    assert_eq!(conn.info.get("read_only"), &Term::from(true));
    assert_eq!(conn.query("INSERT INTO t VALUES (9)", list![]).unwrap_err().code, "read_only");
    assert_eq!(conn.query("CREATE TABLE u(b)", list![]).unwrap_err().code, "read_only");
    conn.begin("deferred").unwrap();
    assert_eq!(count(&conn), 3);
    conn.rollback().unwrap();
    sync(&conn).unwrap();
}

#[test]
fn cursors_of_both_places_are_told_apart() {
    let Some(server) = server_with(100) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let declare =
        || conn.call(wire::DECLARE, [Term::from("SELECT a FROM t"), list![]]).unwrap().items()[0].clone();
    let fetch = |cursor: &Term| {
        sidecar.receive(conn.send(wire::FETCH, [cursor.clone(), Term::from(7), Term::from(0)]))
    };
    let here = declare();
    assert_eq!(fetch(&here).payload.items().len(), 7);
    conn.begin("deferred").unwrap();
    let there = declare();
    assert_ne!(here, there);
    assert_eq!((fetch(&there).payload.items().len(), fetch(&here).payload.items().len()), (7, 7));
    conn.call(wire::CLOSE_CURSOR, [there]).unwrap();
    conn.commit().unwrap();
    assert_eq!(fetch(&here).payload.items().len(), 7);
    conn.call(wire::RESET, []).unwrap();
    assert_eq!(conn.status().get("cursors").int(), 0);
}

#[test]
fn read_your_writes_holds_across_crashes_of_the_server() {
    let Some(mut server) = server_with(0) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    let mut acknowledged = 0;
    for round in 0..4 {
        for _ in 0..5 {
            acknowledged += 1;
            conn.query("INSERT INTO t VALUES (?)", list![acknowledged]).unwrap();
            assert_eq!(count(&conn), acknowledged, "in round {round}");
        }
        server.kill();
        server.go();
    }
}
