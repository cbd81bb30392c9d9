//! Vector indexes come and go as a whole: libSQL creates and drops their tables while it compiles.

use crate::list;
use crate::support::*;
use crate::term::*;

const CREATE: &str = "CREATE INDEX vi ON v(libsql_vector_idx(e))";
const ROWS: u32 = 200;

fn with_rows(conn: &Conn<'_>) {
    conn.exec("CREATE TABLE v(id INTEGER PRIMARY KEY, e F32_BLOB(64))");
    let digits = "abs(random() % 1000)";
    let vector = format!("vector('[' || {} || ']')", [digits; 64].join(" || ',' || "));
    conn.exec(&format!("INSERT INTO v(e) SELECT {vector} FROM ({})", numbers(ROWS)));
}

fn names(conn: &Conn<'_>) -> String {
    let names = "SELECT coalesce(group_concat(name), '') FROM (SELECT name FROM sqlite_schema ORDER BY name)";
    conn.value(names).text().to_owned()
}

/// The index has every row, and finds one by its own vector.
#[track_caller]
fn assert_whole(conn: &Conn<'_>) {
    assert_eq!(
        conn.value("SELECT count(*) FROM vi_shadow").int(),
        conn.value("SELECT count(*) FROM v").int()
    );
    let found = "SELECT id FROM vector_top_k('vi', (SELECT e FROM v WHERE id = 7), 1)";
    assert_eq!(conn.value(found), 7.into());
    conn.exec("INSERT INTO v SELECT NULL, e FROM v WHERE id = 7");
    conn.exec("DELETE FROM v WHERE id = last_insert_rowid()");
}

#[test]
fn an_index_whose_creation_is_stopped_leaves_nothing() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    with_rows(&conn);
    let mut stopped = 0;
    let mut timeout_ms = 1;
    loop {
        match conn.within(timeout_ms).query(CREATE, list![]) {
            Ok(_) => break,
            Err(failure) => {
                assert_eq!(failure.code, "timeout", "{failure:?}");
                stopped += 1;
            }
        }
        let left = names(&sidecar.open(&path));
        assert!(left == "v" || left == "libsql_vector_meta_shadow,v", "{left}");
        timeout_ms *= 2;
    }
    assert!(stopped > 0);
    assert_whole(&conn);
    assert_whole(&sidecar.open(&path));
}

#[test]
fn an_index_whose_drop_is_stopped_is_there_or_gone() {
    let sidecar = Sidecar::start();
    for sql in ["DROP INDEX vi", "DROP TABLE v"] {
        for timeout_ms in (1..=4).cycle().take(24) {
            let conn = sidecar.open(":memory:");
            with_rows(&conn);
            conn.exec(CREATE);
            match conn.within(timeout_ms).query(sql, list![]) {
                Ok(_) => assert!(!names(&conn).contains("vi"), "{}", names(&conn)),
                Err(failure) => {
                    assert_eq!(failure.code, "timeout", "{failure:?}");
                    assert_whole(&conn);
                }
            }
            conn.close();
        }
    }
}

#[test]
fn what_is_not_run_neither_creates_nor_drops_an_index() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    with_rows(&conn);
    let ways: [fn(&Conn<'_>, &str); 9] = [
        |conn, sql| drop(conn.call(tag::DESCRIBE, [sql.into()]).unwrap()),
        |conn, sql| {
            let prepared = conn.call(tag::PREPARE, [sql.into()]).unwrap().items()[0].clone();
            conn.call(tag::CLOSE_STATEMENT, [prepared]).unwrap();
        },
        |conn, sql| drop(conn.exec(&format!("EXPLAIN {sql}"))),
        |conn, sql| drop(conn.exec(&format!("/* plan */ EXPLAIN QUERY PLAN {sql}"))),
        |conn, sql| drop(conn.exec(&format!("\u{c}\u{b}EXPLAIN {sql}"))),
        |conn, sql| drop(conn.script(&format!(" \u{b}EXPLAIN {sql}")).unwrap()),
        |conn, sql| assert_eq!(conn.query(sql, list![1]).unwrap_err().code, "parameter_count"),
        |conn, sql| assert_eq!(conn.query_one(sql, list![]).unwrap_err().code, "no_rows"),
        |conn, sql| {
            assert_eq!(conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap_err().code, "invalid_request");
        },
    ];
    let try_all = |sqls: &[&str]| {
        for in_transaction in [false, true] {
            for (number, way) in ways.iter().enumerate() {
                for sql in sqls {
                    let before = names(&conn);
                    if in_transaction {
                        conn.begin("immediate").unwrap();
                        conn.exec("CREATE TABLE other(a)");
                    }
                    way(&conn, sql);
                    if in_transaction {
                        assert_eq!(conn.value("SELECT count(*) FROM other"), 0.into(), "it is still there");
                        conn.exec("DROP TABLE other");
                        conn.commit().unwrap();
                    }
                    assert_eq!(
                        names(&conn),
                        before,
                        "way {number} of {sql}, in a transaction: {in_transaction}"
                    );
                    assert_eq!(conn.status().get("tx_status"), &0.into());
                }
            }
        }
    };
    conn.exec("CREATE INDEX first ON v(libsql_vector_idx(e))");
    conn.exec("DROP INDEX first");
    try_all(&[CREATE]);
    conn.exec(CREATE);
    try_all(&["DROP INDEX vi", "DROP TABLE v", "CREATE INDEX vj ON v(libsql_vector_idx(e))"]);
    assert_whole(&conn);
    assert_whole(&sidecar.open(&path));
}

#[test]
fn every_request_that_runs_it_creates_and_drops_an_index() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    with_rows(&conn);
    let without = |conn: &Conn<'_>| assert_eq!(names(conn), "libsql_vector_meta_shadow,v");
    let run_prepared = |sql: &str| {
        let prepared = conn.call(tag::PREPARE, [sql.into()]).unwrap().items()[0].clone();
        let id = conn.send(tag::EXECUTE_PREPARED, [prepared, list![]]);
        conn.outcome(id).unwrap();
    };
    for _ in 0..2 {
        assert_eq!(conn.exec(CREATE).tx_status, 0);
        assert_whole(&conn);
        assert_eq!(conn.exec("DROP INDEX vi").tx_status, 0);
        without(&conn);
        conn.batch(false, &[(CREATE, list![]), ("SELECT 1", list![])]).unwrap();
        assert_whole(&conn);
        conn.batch(false, &[("DROP INDEX vi", list![]), ("DROP INDEX vi", list![])]).unwrap();
        without(&conn);
        conn.batch(true, &[(CREATE, list![])]).unwrap();
        assert_whole(&conn);
        conn.script("DROP INDEX vi; SELECT 1").unwrap();
        without(&conn);
        run_prepared(CREATE);
        assert_whole(&conn);
        conn.begin("immediate").unwrap();
        conn.exec("DROP INDEX vi");
        conn.rollback().unwrap();
        assert_whole(&conn);
        run_prepared("DROP INDEX vi");
        without(&conn);
    }
    // A writer elsewhere goes on afterwards: no turn was kept.
    conn.exec(CREATE);
    let other = sidecar.open(&path);
    other.exec("CREATE TABLE w(a)");
    other.exec("DROP TABLE v");
    assert_eq!(names(&conn), "libsql_vector_meta_shadow,w");
}

#[test]
fn an_index_that_was_not_created_to_its_end_is_created_anew() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let open = |defensive: bool| sidecar.open_with(&path, map([("defensive", defensive)])).unwrap();
    let conn = open(false);
    with_rows(&conn);
    conn.exec(CREATE);
    conn.exec("DELETE FROM vi_shadow");
    conn.exec("PRAGMA writable_schema = ON");
    conn.exec("DELETE FROM sqlite_schema WHERE name = 'vi'");
    conn.close();
    let conn = open(true);
    assert!(names(&conn).contains("vi_shadow"), "{}", names(&conn));
    let failure = conn.query("DROP TABLE vi_shadow", list![]).unwrap_err();
    assert!(failure.code == "not_authorized" && failure.message.contains("create that again"), "{failure:?}");
    conn.exec(CREATE);
    assert_whole(&conn);
}

#[test]
fn a_vacuum_copies_an_index_as_it_is() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    with_rows(&conn);
    conn.exec(CREATE);
    let copy = folder.path().join("copy.db");
    conn.query("VACUUM INTO ?", list![copy.to_str().unwrap()]).unwrap();
    conn.exec("VACUUM");
    conn.exec("VACUUM");
    for conn in [conn, sidecar.open(&copy)] {
        assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
        assert_eq!(conn.value("SELECT count(*) FROM libsql_vector_meta_shadow"), 1.into());
        assert_whole(&conn);
        conn.exec("REINDEX");
        conn.exec("DROP TABLE v");
        assert_eq!(conn.value("SELECT count(*) FROM libsql_vector_meta_shadow"), 0.into());
    }
}

#[test]
fn a_table_of_a_long_select_stops_while_it_is_compiled_beside_an_index_too() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    with_rows(&conn);
    conn.exec(CREATE);
    let doubled = |table: usize| {
        let level = |n: usize| {
            format!(
                "t{table}_{n}(x) AS (SELECT x FROM t{table}_{p} UNION ALL SELECT x + 1 FROM t{table}_{p})",
                p = n - 1
            )
        };
        let levels: Vec<_> = (1..16).map(level).collect();
        format!("t{table}_0(x) AS (SELECT 1), {}", levels.join(", "))
    };
    let tables: Vec<_> = (0..12).map(doubled).collect();
    let joined: Vec<_> = (0..12).map(|table| format!("t{table}_15")).collect();
    let sql = format!("CREATE TABLE r AS WITH {} SELECT * FROM {}", tables.join(", "), joined.join(", "));
    conn.assert_stops(300, &sql, list![]);
    assert_eq!(names(&conn), "libsql_vector_meta_shadow,v,vi,vi_shadow,vi_shadow_idx");
}
