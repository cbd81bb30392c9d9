//! What every statement goes through, whatever its kind: an answered write is durable or undone, nothing is written
//! without the turn, and what one statement leaves behind is no other one's trouble.

use crate::list;
use crate::support::*;
use crate::term::*;

fn count(conn: &Conn<'_>) -> i64 {
    conn.value("SELECT count(*) FROM t").int()
}

/// An INSERT of so many rows of about 1 KB that gives them all back.
fn insert_returning(rows: u32) -> String {
    format!("INSERT INTO t SELECT zeroblob(1000) FROM ({}) RETURNING a", numbers(rows))
}

fn declare(conn: &Conn<'_>, sql: &str) -> Term {
    conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap().items()[0].clone()
}

fn fetch(conn: &Conn<'_>, cursor: &Term, rows: i64) -> Result<usize, Failure> {
    let id = conn.send(tag::FETCH, [cursor.clone(), rows.into(), 0.into()]);
    let frame = conn.sidecar().receive(id);
    match frame.tag {
        tag::ERROR => Err(Failure::of(&frame.payload)),
        _ => Ok(frame.payload.items().len()),
    }
}

#[test]
fn a_committed_write_is_not_called_stopped_for_want_of_a_credit() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    for rows in [200, 260, 300, 320, 500] {
        conn.exec("DELETE FROM t");
        // Four chunks of 64 KiB come without a credit, and the fifth if it is the last.
        let id = conn.start(&insert_returning(rows));
        let mut chunks = 0;
        let closing = loop {
            let frame = sidecar.receive(id);
            if frame.tag != tag::ROWS {
                break frame;
            }
            chunks += 1;
            if chunks == 4 {
                conn.cancel(id);
            }
        };
        let kept = count(&conn);
        match closing.tag {
            tag::RESULT => assert_eq!(kept, i64::from(rows)),
            _ => {
                assert_eq!(Failure::of(&closing.payload).code, "cancelled");
                assert_eq!(kept, 0, "{rows} rows");
            }
        }
        if rows == 500 {
            assert_eq!(closing.tag, tag::ERROR, "two chunks were missing");
        }
    }
}

#[test]
fn a_commit_that_a_closed_cursor_fails_to_make_is_an_error() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    let cursor = declare(&conn, "INSERT INTO t VALUES (zeroblob(300000)), (2) RETURNING length(a)");
    assert_eq!(fetch(&conn, &cursor, 1).unwrap(), 1);
    limit_file_size(sidecar.pid, 100_000);
    let failure = conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap_err();
    assert!(matches!(failure.code.as_str(), "disk_full" | "io_error"), "{failure:?}");
    limit_file_size(sidecar.pid, libc::RLIM_INFINITY);
    assert_eq!(count(&conn), 0);
    conn.exec("INSERT INTO t VALUES (1)");
    // Without a failure the same close commits.
    let cursor = declare(&conn, "INSERT INTO t VALUES (2), (3) RETURNING a");
    assert_eq!(fetch(&conn, &cursor, 1).unwrap(), 1);
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM t").int(), 3);
}

#[test]
fn reset_close_and_the_end_of_input_undo_a_half_read_write() {
    let (_folder, path) = folder();
    for ending in ["reset", "close", "end"] {
        let sidecar = Sidecar::start();
        let conn = sidecar.open(&path);
        conn.exec("CREATE TABLE IF NOT EXISTS t(a)");
        let cursor = declare(&conn, "INSERT INTO t VALUES (1), (2), (3) RETURNING a");
        assert_eq!(fetch(&conn, &cursor, 1).unwrap(), 1);
        match ending {
            "reset" => drop(conn.call(tag::RESET, []).unwrap()),
            "close" => conn.close(),
            _ => drop(sidecar.end()),
        }
        let after = Sidecar::start();
        assert_eq!(count(&after.open(&path)), 0, "{ending}");
    }
}

#[test]
fn nothing_else_is_committed_while_a_cursor_writes_outside_of_a_transaction() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let cursor = declare(&conn, "INSERT INTO t VALUES (1), (2) RETURNING a");
    assert_eq!(fetch(&conn, &cursor, 1).unwrap(), 1);
    // It would be answered, and be undone with the cursor.
    assert_eq!(conn.query("INSERT INTO t VALUES (3)", list![]).unwrap_err().code, "locked");
    let second = conn.call(tag::DECLARE, ["DELETE FROM t RETURNING a".into(), list![]]);
    assert_eq!(second.unwrap_err().code, "locked");
    // A transaction would take its writes along, to be rolled back after its close has been answered.
    for begin in ["BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT s"] {
        assert_eq!(conn.query(begin, list![]).unwrap_err().code, "locked", "{begin}");
        assert_eq!(conn.script(begin).unwrap_err().code, "locked", "{begin}");
    }
    for mode in ["deferred", "immediate", "exclusive", "read_only"] {
        assert_eq!(conn.begin(mode).unwrap_err().code, "locked", "{mode}");
    }
    assert_eq!(conn.call(tag::SAVEPOINT, ["s".into()]).unwrap_err().code, "locked");
    let atomic = conn.batch(true, &[("INSERT INTO t VALUES (3)", list![])]);
    assert_eq!(atomic.unwrap_err().code, "locked");
    assert_eq!(conn.value("PRAGMA query_only").int(), 0);
    assert_eq!(conn.value("SELECT 1").int(), 1);
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    conn.exec("INSERT INTO t VALUES (3)");
    assert_eq!(count(&conn), 3);
    // In a transaction it is the transaction that is committed.
    conn.begin("immediate").unwrap();
    let cursor = declare(&conn, "INSERT INTO t VALUES (4), (5) RETURNING a");
    assert_eq!(fetch(&conn, &cursor, 1).unwrap(), 1);
    conn.exec("INSERT INTO t VALUES (6)");
    assert_eq!(fetch(&conn, &cursor, 10).unwrap(), 1);
    conn.commit().unwrap();
    assert_eq!(count(&conn), 6);
}

#[test]
fn an_undone_write_stops_nothing_else() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let refused = |sql: &str| conn.query_with(sql, list![], map([("rows_max", 1)])).unwrap_err();
    let cursor = declare(&conn, &numbers(1000));
    assert_eq!(fetch(&conn, &cursor, 3).unwrap(), 3);
    assert_eq!(refused("INSERT INTO t VALUES (1), (2), (3) RETURNING a").code, "result_too_large");
    let two = conn.query_one("INSERT INTO t VALUES (1), (2) RETURNING a", list![]);
    assert_eq!(two.unwrap_err().code, "too_many_rows");
    assert_eq!(count(&conn), 0);
    assert_eq!(fetch(&conn, &cursor, 3).unwrap(), 3, "the cursor goes on");
    // Inside of a transaction the whole of it goes, and the cursor with nothing to lose stays.
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (0)");
    let failure = refused("INSERT INTO t VALUES (1), (2), (3) RETURNING a");
    assert_eq!((failure.code.as_str(), failure.tx_status), ("result_too_large", Some(0)));
    assert_eq!(count(&conn), 0);
    assert_eq!(fetch(&conn, &cursor, 3).unwrap(), 3, "the cursor still goes on");
    conn.exec("INSERT INTO t VALUES (1)");
    assert_eq!(count(&conn), 1);
}

#[test]
fn a_refused_item_of_a_batch_is_undone_as_a_statement_is() {
    let sidecar = Sidecar::start_with(&["--result-rows-max=2"]);
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let items = [("INSERT INTO t VALUES (1), (2), (3) RETURNING a", list![])];
    for atomic in [false, true] {
        assert_eq!(conn.batch(atomic, &items).unwrap_err().code, "result_too_large");
        assert_eq!(count(&conn), 0, "atomic: {atomic}");
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (0)");
        let failure = conn.batch(atomic, &items).unwrap_err();
        assert_eq!(failure.code, "result_too_large");
        if atomic {
            assert_eq!(failure.tx_status, Some(3), "its savepoint is undone, no more");
            conn.rollback().unwrap();
        } else {
            assert_eq!(failure.tx_status, Some(0));
        }
        assert_eq!(count(&conn), 0);
    }
}

#[test]
fn a_write_that_outlives_its_deadline_where_nobody_asks_is_undone() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    // It is spent within one SQL function, which never looks at the clock.
    let slow = "INSERT INTO t SELECT instr(zeroblob(2000000), ?)";
    let needle = [vec![0; 2000], vec![1]].concat();
    let needle = || list![blob(&needle)];
    let started = std::time::Instant::now();
    assert_eq!(conn.query(slow, needle()).unwrap().changes, 1);
    // Less and less than it took, since the machine may be quicker now.
    let mut timeout_ms = u32::try_from(started.elapsed().as_millis() / 8).unwrap().max(1);
    loop {
        conn.exec("DELETE FROM t");
        match conn.within(timeout_ms).query(slow, needle()) {
            Ok(_) => assert!(timeout_ms > 1, "a millisecond is enough"),
            Err(failure) => break assert_eq!(failure.code, "timeout", "{timeout_ms} ms"),
        }
        timeout_ms = (timeout_ms / 2).max(1);
    }
    assert_eq!(count(&conn), 0);
    let id = conn.send(tag::EXECUTE, [slow.into(), needle()]);
    eventually("it runs", || conn.cancel(id) == true.into());
    match conn.outcome(id) {
        Ok(_) => assert_eq!(count(&conn), 1),
        Err(failure) => {
            assert_eq!(failure.code, "cancelled");
            assert_eq!(count(&conn), 0);
        }
    }
}

#[test]
fn a_file_attached_inside_a_transaction_is_not_written_without_its_turn() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let sidecar = Sidecar::start();
    let one = sidecar.open(&path);
    let two = sidecar.open_with(&other, map([("busy_timeout", 0)])).unwrap();
    two.exec("CREATE TABLE t(a)");
    one.begin("immediate").unwrap();
    one.query("ATTACH ? AS o", list![other.to_str().unwrap()]).unwrap();
    one.exec("INSERT INTO o.t VALUES (1)");
    assert_eq!(sidecar.writer("other.db"), one.id.into());
    // It waits in line, and never sees SQLITE_BUSY.
    assert_eq!(two.within(100).query("INSERT INTO t VALUES (2)", list![]).unwrap_err().code, "timeout");
    let waiting = two.start("INSERT INTO t VALUES (2)");
    one.commit().unwrap();
    two.outcome(waiting).unwrap();
    one.exec("DETACH o");
    // If another one has the turn, it is not waited for: that one might wait for ours.
    two.begin("immediate").unwrap();
    one.begin("immediate").unwrap();
    one.query("ATTACH ? AS o", list![other.to_str().unwrap()]).unwrap();
    let failure = one.query("INSERT INTO o.t VALUES (3)", list![]).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.tx_status), ("busy", Some(3)));
    two.commit().unwrap();
    one.exec("INSERT INTO o.t VALUES (3)");
    one.commit().unwrap();
    assert_eq!(count(&two), 3);
}

#[test]
fn a_file_attached_in_any_way_is_known() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let sidecar = Sidecar::start();
    let one = sidecar.open(&path);
    let two = sidecar.open(&other);
    two.exec("CREATE TABLE t(a)");
    let attach = format!("ATTACH '{}' AS o", other.display());
    let ways: [&dyn Fn(); 4] = [
        &|| assert_eq!(fetch(&one, &declare(&one, &attach), 0), Ok(0)),
        &|| drop(one.script(&format!("SELECT 1; /* x */ {attach}; SELECT 2")).unwrap()),
        &|| drop(one.batch(false, &[(attach.as_str(), list![])]).unwrap()),
        &|| {
            let prepared = one.call(tag::PREPARE, [attach.as_str().into()]).unwrap().items()[0].clone();
            let id = one.send(tag::EXECUTE_PREPARED, [prepared, list![]]);
            one.outcome(id).unwrap();
        },
    ];
    for (number, attach) in ways.iter().enumerate() {
        attach();
        one.begin("immediate").unwrap();
        assert_eq!(sidecar.writer("other.db"), one.id.into(), "way {number}");
        one.rollback().unwrap();
        one.exec("DETACH o");
        one.begin("immediate").unwrap();
        assert_eq!(sidecar.writer("other.db"), nil(), "way {number}");
        one.rollback().unwrap();
    }
}

#[test]
fn an_attached_file_is_checkpointed_as_the_main_one() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("checkpoint_pages", 20)])).unwrap();
    conn.query("ATTACH ? AS o", list![other.to_str().unwrap()]).unwrap();
    conn.exec("PRAGMA o.journal_mode = wal");
    conn.exec("CREATE TABLE o.t(a)");
    for _ in 0..100 {
        conn.exec("INSERT INTO o.t VALUES (randomblob(3000))");
    }
    let pages = || {
        let status = sidecar.status();
        let files = status.get("files").items().to_vec();
        files
            .iter()
            .find(|file| file.get("path").text().ends_with("other.db"))
            .unwrap()
            .get("wal_pages")
            .int()
    };
    assert!(pages() < 40, "{} pages", pages());
    conn.exec("INSERT INTO o.t VALUES (1)");
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    assert_eq!(pages(), 0);
    conn.exec("INSERT INTO o.t VALUES (1)");
    conn.close();
    assert_eq!(std::fs::metadata(folder.path().join("other.db-wal")).map_or(0, |file| file.len()), 0);
}

#[test]
fn an_idle_file_that_is_only_attached_is_checkpointed() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("checkpoint_idle", 20)])).unwrap();
    conn.query("ATTACH ? AS o", list![other.to_str().unwrap()]).unwrap();
    conn.exec("PRAGMA o.journal_mode = wal");
    conn.exec("CREATE TABLE o.t(a)");
    eventually("all of it is in the database", || {
        sidecar.status().get("files").items().iter().all(|file| file.get("wal_pages").int() == 0)
    });
}

#[test]
fn a_pragma_that_is_compiled_anew_while_it_runs_takes_no_callback_away() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("checkpoint_idle", 0)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    let cursor = declare(&conn, "PRAGMA wal_autocheckpoint = 1000");
    conn.exec("ATTACH ':memory:' AS m");
    conn.exec("DETACH m");
    fetch(&conn, &cursor, 0).unwrap();
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    assert!(sidecar.status().get("files").items()[0].get("wal_pages").int() > 0);
}

#[test]
fn a_read_that_writes_from_within_takes_the_turn() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let one = sidecar.open(&path);
    let two = sidecar.open_with(&path, map([("busy_timeout", 0)])).unwrap();
    one.exec("CREATE TABLE t(a)");
    one.exec("CREATE VIRTUAL TABLE g USING fts4(x)");
    for number in 0..20 {
        one.query("INSERT INTO g VALUES (?)", list![format!("word{number} alpha").as_str()]).unwrap();
    }
    one.begin("immediate").unwrap();
    for sql in ["SELECT optimize(g) FROM g LIMIT 1", "PRAGMA optimize(0xfffe)", "PRAGMA main . /**/ optimize"]
    {
        let failure = two.within(50).query(sql, list![]).unwrap_err();
        assert_eq!(failure.code, "timeout", "{sql}: {failure:?}");
        assert!(failure.message.contains("writer turn"), "{failure:?}");
    }
    one.rollback().unwrap();
    two.exec("SELECT optimize(g) FROM g LIMIT 1");
    // In a deferred transaction it comes when the lock is taken.
    two.begin("deferred").unwrap();
    two.exec("SELECT count(*) FROM g");
    two.exec("INSERT INTO t VALUES (1)");
    two.commit().unwrap();
}

#[test]
fn a_pragma_of_the_whole_program_is_refused() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let refused = |failure: Failure| {
        assert_eq!(failure.code, "not_authorized", "{failure:?}");
        assert!(failure.message.contains("heap_limit"), "{failure:?}");
    };
    for sql in ["PRAGMA hard_heap_limit = 1", "PRAGMA soft_heap_limit(1)", "/**/ pragma Hard_Heap_Limit=1"] {
        refused(conn.query(sql, list![]).unwrap_err());
        refused(conn.script(sql).unwrap_err());
        refused(conn.call(tag::PREPARE, [sql.into()]).unwrap_err());
        refused(conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap_err());
    }
    conn.exec("PRAGMA hard_heap_limit");
    assert_eq!(sidecar.open(":memory:").value("SELECT length(zeroblob(1000000))").int(), 1_000_000);
}

#[test]
fn an_index_of_vectors_is_created_and_dropped() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    for path in [path.to_str().unwrap(), ":memory:"] {
        let conn = sidecar.open(path);
        conn.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
        // libSQL writes the index's own tables while these statements are compiled.
        for (begin, drop) in [(false, "DROP INDEX tv"), (true, "DROP INDEX tv"), (false, "DROP TABLE t")] {
            if begin {
                conn.begin("immediate").unwrap();
            }
            conn.exec("CREATE INDEX tv ON t (libsql_vector_idx(v))");
            conn.exec("INSERT OR REPLACE INTO t VALUES (7, vector32('[1,2,3]'))");
            let nearest = "SELECT id FROM vector_top_k('tv', vector32('[1,2,4]'), 1)";
            assert_eq!(conn.value(nearest).int(), 7);
            conn.exec(drop);
            assert_eq!(conn.value("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'tv%'").int(), 0);
            if begin {
                conn.commit().unwrap();
            }
        }
    }
    assert_eq!(sidecar.writer("test.db"), nil());
}

#[test]
fn an_error_of_a_schema_of_the_past_is_not_believed() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let attach = format!("ATTACH '{}' AS other", folder.path().join("other.db").display());
    let (here, there) = (sidecar.open(&path), sidecar.open(&path));
    for conn in [&here, &there] {
        conn.exec(&attach);
    }
    for (number, schema) in ["main", "other"].into_iter().enumerate() {
        here.exec(&format!("CREATE TABLE {schema}.t{number}(a)"));
        there.exec(&format!("SELECT * FROM {schema}.t{number}"));
        here.exec(&format!("CREATE UNIQUE INDEX {schema}.i{number} ON t{number}(a)"));
        // The engine looks at the schema again after "no such table", not after what it says of a missing index.
        there.exec(&format!("INSERT INTO {schema}.t{number} VALUES (1) ON CONFLICT (a) DO NOTHING"));
    }
    let failure = there.query("INSERT INTO t0 VALUES (1) ON CONFLICT (b) DO NOTHING", list![]).unwrap_err();
    assert_eq!(failure.code, "sql_error");
}
