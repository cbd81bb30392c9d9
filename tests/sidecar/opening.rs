//! Options of `open`: each does what it says, and none is ignored.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::os::unix::fs::PermissionsExt;

fn option(key: &str, value: impl Into<Term>) -> Term {
    map([(key, value.into())])
}

#[test]
fn a_new_file_has_the_defaults_that_are_documented() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    assert_eq!(conn.info.get("path").text(), path.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(conn.info.get("journal_mode").text(), "wal");
    assert_eq!(conn.info.get("read_only"), &false.into());
    for (pragma, value) in [
        ("journal_mode", Term::from("wal")),
        ("synchronous", 1.into()),
        ("foreign_keys", 1.into()),
        ("temp_store", 1.into()),
        ("cache_size", (-32000).into()),
        ("busy_timeout", 5000.into()),
        ("query_only", 0.into()),
    ] {
        assert_eq!(conn.value(&format!("PRAGMA {pragma}")), value, "{pragma}");
    }
}

#[test]
fn options_are_atoms_or_binaries() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let options = Term::Map(vec![
        (atom("mode"), "read_write_create".into()),
        ("busy_timeout".into(), 77.into()),
        (atom("statement_cache"), 3.into()),
        ("open_flags".into(), 0x8040.into()),
        ("checkpoint_pages".into(), 10.into()),
        ("checkpoint_idle".into(), 0.into()),
        ("memory".into(), false.into()),
        (
            atom("pragmas"),
            Term::Map(vec![(atom("synchronous"), atom("full")), ("cache_size".into(), (-500).into())]),
        ),
    ]);
    let conn = sidecar.open_with(&path, options).unwrap();
    assert_eq!(conn.value("PRAGMA synchronous"), 2.into());
    assert_eq!(conn.value("PRAGMA cache_size"), (-500).into());
    assert_eq!(conn.value("PRAGMA busy_timeout"), 77.into());
    assert_eq!(conn.status().get("cache_size").int(), 3);
}

#[test]
fn pragmas_can_be_read_back() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    for (name, given, read) in [
        ("page_size", Term::from(8192), Term::from(8192)),
        ("auto_vacuum", atom("incremental"), 2.into()),
        ("journal_mode", "wal".into(), "wal".into()),
        ("synchronous", "off".into(), 0.into()),
        ("foreign_keys", false.into(), 0.into()),
        ("temp_store", 1.into(), 1.into()),
        ("cache_size", 123.into(), 123.into()),
        ("cache_spill", 50_000.into(), 50_000.into()),
        ("mmap_size", 1_048_576.into(), 1_048_576.into()),
        ("journal_size_limit", 4096.into(), 4096.into()),
        ("max_page_count", 5000.into(), 5000.into()),
        ("secure_delete", "fast".into(), 2.into()),
        ("automatic_index", false.into(), 0.into()),
        ("cell_size_check", true.into(), 1.into()),
        ("checkpoint_fullfsync", true.into(), 1.into()),
        ("fullfsync", true.into(), 1.into()),
        ("ignore_check_constraints", true.into(), 1.into()),
        ("legacy_alter_table", true.into(), 1.into()),
        ("query_only", true.into(), 1.into()),
        ("read_uncommitted", true.into(), 1.into()),
        ("recursive_triggers", true.into(), 1.into()),
        ("reverse_unordered_selects", true.into(), 1.into()),
        ("trusted_schema", false.into(), 0.into()),
        ("analysis_limit", 400.into(), 400.into()),
        ("threads", 2.into(), 2.into()),
    ] {
        let path = path.with_extension(name);
        let conn = sidecar.open_with(&path, option("pragmas", map([(name, given)]))).unwrap();
        assert_eq!(conn.value(&format!("PRAGMA {name}")), read, "{name}");
        conn.close();
    }
    for mode in ["delete", "truncate", "persist", "memory", "off"] {
        let path = path.with_extension(mode);
        let conn = sidecar.open_with(&path, option("pragmas", map([("journal_mode", mode)]))).unwrap();
        assert_eq!(conn.info.get("journal_mode").text(), mode);
        conn.exec("CREATE TABLE t(a)");
        conn.exec("INSERT INTO t VALUES (1)");
        conn.close();
    }
}

/// The engine takes a LIKE that a pragma has set for one that is not deterministic.
#[test]
fn like_stays_deterministic() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    for given in [Term::Map(vec![]), map([("case_sensitive_like", false)])] {
        let conn = sidecar.open_with(&path, option("pragmas", given)).unwrap();
        conn.exec("CREATE TABLE IF NOT EXISTS t(a TEXT, b AS (a LIKE 'x%'), CHECK (a NOT GLOB '*y'))");
        conn.exec("DROP INDEX IF EXISTS t_a");
        conn.exec("CREATE INDEX t_a ON t(a) WHERE a LIKE 'x%'");
        conn.exec("PRAGMA case_sensitive_like = off");
        conn.call(tag::RESET, []).unwrap();
        conn.close();
    }
    let conn = sidecar.open(&path);
    conn.exec("INSERT INTO t (a) VALUES ('Xa'), ('b')");
    let plan = conn.exec("EXPLAIN QUERY PLAN SELECT a FROM t WHERE a LIKE 'x%'");
    assert_eq!(plan.rows[0][3].text(), "SCAN t USING COVERING INDEX t_a");
    assert_eq!(conn.value("SELECT count(*) FROM t WHERE a LIKE 'x%'"), 1.into());
    conn.exec("PRAGMA case_sensitive_like = on");
    assert_eq!(conn.value("SELECT 'a' LIKE 'A'"), 0.into());
    conn.close();
    let conn =
        sidecar.open_with(":memory:", option("pragmas", map([("case_sensitive_like", true)]))).unwrap();
    assert_eq!(conn.value("SELECT 'a' LIKE 'A'"), 0.into());
}

#[test]
fn unknown_names_and_values_are_refused() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    for options in [
        option("mod", atom("read_only")),
        option("mode", atom("readonly")),
        option("mode", 1),
        option("memory", 1),
        option("memory", nil()),
        option("busy_timeout", -1),
        option("busy_timeout", 1i64 << 31),
        option("busy_timeout", "5000"),
        option("statement_cache", 10_001),
        option("statement_cache", -1),
        option("checkpoint_pages", atom("many")),
        option("checkpoint_idle", 1.5),
        option("open_flags", 1),
        option("open_flags", 0x80),
        option("open_flags", -1),
        option("pragmas", list![]),
        option("pragmas", map([("no_such_pragma", 1)])),
        option("pragmas", map([("synchronous", "fastest")])),
        option("pragmas", map([("cache_size", 1.5)])),
        option("pragmas", map([("page_size", 1000)])),
        option("pragmas", map([("wal_autocheckpoint", 1)])),
        option("pragmas", map([("busy_timeout", 1)])),
        option("pragmas", map([("synchronous", "off; DROP TABLE t")])),
        Term::Map(vec![(atom("mode"), atom("read_only")), ("mode".into(), atom("read_only"))]),
    ] {
        let failure = sidecar.open_with(&path, options.clone()).map(|conn| conn.id).unwrap_err();
        assert_eq!(failure.code, "invalid_option", "{options:?}: {failure:?}");
        assert_eq!(failure.tx_status, None);
    }
    assert!(!path.exists(), "a refused open makes no file");
    assert_eq!(sidecar.status().get("connections").int(), 0);
}

#[test]
fn paths_that_cannot_be_opened() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let code = |path: &str, options: Term| {
        sidecar.open_with(path, options).map(|conn| conn.id).map_err(|failure| failure.code).unwrap_err()
    };
    let none = || Term::Map(Vec::new());
    assert_eq!(code(folder.path().to_str().unwrap(), none()), "cannot_open");
    assert_eq!(code("/no/such/folder/a.db", none()), "cannot_open");
    let failure = sidecar.open_with("/no/such/folder/a.db", none()).map(|conn| conn.id).unwrap_err();
    assert_eq!(failure.sqlite_code, Some(14), "{failure:?}");
    assert_eq!(
        failure.message,
        "cannot open the database /no/such/folder/a.db: unable to open database file (the folder /no/such/folder does not \
         exist; create it, or correct the path)"
    );
    assert_eq!(code(path.to_str().unwrap(), option("mode", atom("read_write"))), "cannot_open");
    assert_eq!(code(path.to_str().unwrap(), option("mode", atom("read_only"))), "cannot_open");
    assert!(!path.exists());
    for (refused, code) in [
        (bytes(b"a\0b"), "invalid_option"),
        (bytes(b"\xff"), "invalid_option"),
        (5.into(), "invalid_request"),
    ] {
        let failure = sidecar.call(tag::OPEN, &tuple![1000, refused, none()]).unwrap_err();
        assert_eq!(failure.code, code, "{failure:?}");
    }
    assert_eq!(sidecar.status().get("connections").int(), 0);
    assert_eq!(sidecar.status().get("files"), &list![]);
}

#[test]
fn the_error_of_a_path_that_cannot_be_opened_names_the_cause() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let (folder, file) = (folder.path().to_str().unwrap(), format!("{}/file", folder.path().display()));
    std::fs::write(&file, "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(format!("{folder}/socket")).unwrap();
    let none = || Term::Map(Vec::new());
    let read_only = || option("mode", atom("read_only"));
    let path = path.to_str().unwrap();
    for (given, options, cause) in [
        (folder.to_owned(), none(), "it is a folder".to_owned()),
        (format!("{folder}/"), none(), "it is a folder".to_owned()),
        (format!("file:{folder}?mode=rwc"), none(), "it is a folder".to_owned()),
        (format!("{folder}/a/b.db"), none(), format!("the folder {folder}/a does not exist")),
        (format!("file://{folder}/%61/b.db"), none(), format!("the folder {folder}/a does not exist")),
        ("not there/b.db".to_owned(), none(), "the folder not there does not exist".to_owned()),
        (format!("{file}/b.db"), none(), format!("{file} is not a folder")),
        (format!("{file}/a/b.db"), none(), format!("the folder {file}/a cannot be used: Not a directory")),
        (path.to_owned(), read_only(), "there is no such file, and this mode creates none".to_owned()),
        (format!("{folder}/socket"), none(), "it is not a regular file".to_owned()),
    ] {
        let failure = sidecar.open_with(&given, options).map(|conn| conn.id).unwrap_err();
        assert_eq!(failure.code, "cannot_open", "{given}: {failure:?}");
        let begin = format!("cannot open the database {given}: unable to open database file (");
        assert!(failure.message.starts_with(&begin) && failure.message.contains(&cause), "{failure:?}");
    }
}

#[test]
fn links_are_not_followed_if_so_asked() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let first = sidecar.open(&path);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let through = sidecar.open(&link);
    assert_eq!(through.info.get("path"), first.info.get("path"), "one file is one object");
    assert_eq!(sidecar.status().get("files").items().len(), 1);
    let failure =
        sidecar.open_with(&link, option("open_flags", 0x0100_0000)).map(|conn| conn.id).unwrap_err();
    assert_eq!(failure.code, "cannot_open");
}

#[test]
fn read_only_is_read_only() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let writing = sidecar.open(&path);
    writing.exec("CREATE TABLE t(a)");
    writing.exec("INSERT INTO t VALUES (1)");
    let reading = sidecar.open_with(&path, option("mode", atom("read_only"))).unwrap();
    assert_eq!(reading.info.get("read_only"), &true.into());
    assert_eq!(reading.value("SELECT a FROM t"), 1.into());
    for sql in ["INSERT INTO t VALUES (2)", "DROP TABLE t", "PRAGMA user_version = 3", "CREATE TABLE u(a)"] {
        assert_eq!(reading.query(sql, list![]).unwrap_err().code, "read_only", "{sql}");
    }
    writing.exec("INSERT INTO t VALUES (3)");
    assert_eq!(reading.value("SELECT count(*) FROM t"), 2.into());
}

#[test]
fn a_folder_without_write_permission_can_be_read() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, option("pragmas", map([("journal_mode", "delete")]))).unwrap();
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1)");
    conn.close();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let conn = sidecar.open_with(&path, option("mode", atom("read_only"))).unwrap();
    assert_eq!(conn.value("SELECT a FROM t"), 1.into());
    assert_eq!(conn.query("INSERT INTO t VALUES (2)", list![]).unwrap_err().code, "read_only");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn foreign_and_corrupt_files_are_told_apart() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let open = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        sidecar.open_with(&path, Term::Map(Vec::new()))
    };
    let foreign =
        open(&b"This is a letter and no database at all. ".repeat(100)).map(|conn| conn.id).unwrap_err();
    assert_eq!((foreign.code.as_str(), foreign.sqlite_code), ("not_a_database", Some(26)));
    assert_eq!(foreign.message, format!("file is not a database (opening {})", path.display()));
    let beside: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(beside, std::slice::from_ref(&path), "nothing is left beside it");
    std::fs::remove_file(&path).unwrap();

    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.query(&format!("INSERT INTO t SELECT randomblob(500) FROM ({})", numbers(200)), list![]).unwrap();
    conn.close();
    let mut content = std::fs::read(&path).unwrap();
    assert!(content.len() > 8192, "the last connection has copied its WAL into the file");
    content[4096..].fill(0xee);
    let conn = open(&content).unwrap();
    let failure = conn.query("SELECT sum(length(a)) FROM t", list![]).unwrap_err();
    assert_eq!(failure.code, "corrupt", "{failure:?}");
    assert_eq!(conn.value("SELECT 1"), 1.into());
    conn.close();
    assert_eq!(sidecar.status().get("connections").int(), 0);
}

#[test]
fn a_private_database_has_the_mode_that_it_was_opened_with() {
    let sidecar = Sidecar::start();
    for path in [":memory:", ""] {
        let reading = sidecar.open_with(path, option("mode", atom("read_only"))).unwrap();
        let failure = reading.query("CREATE TABLE t(a)", list![]).unwrap_err();
        assert_eq!(failure.code, "read_only", "{path:?}: {failure:?}");
    }
}

#[test]
fn private_databases_are_private() {
    let sidecar = Sidecar::start();
    for path in [":memory:", ""] {
        let (one, two) = (sidecar.open(path), sidecar.open(path));
        one.exec("CREATE TABLE t(a)");
        assert_eq!(two.query("SELECT * FROM t", list![]).unwrap_err().code, "sql_error");
    }
}

#[test]
fn a_database_in_memory_is_shared_by_name_while_it_is_open() {
    let sidecar = Sidecar::start();
    let open = |name: &str| sidecar.open_with(name, option("memory", true)).unwrap();
    let (one, two, other) = (open("a name/with ?marks"), open("a name/with ?marks"), open("another"));
    one.exec("CREATE TABLE t(a)");
    one.exec("INSERT INTO t VALUES (5)");
    assert_eq!(two.value("SELECT a FROM t"), 5.into());
    assert!(other.query("SELECT a FROM t", list![]).is_err());
    // The engine knows that none of them is a file, however it was asked for.
    let by_uri = sidecar.open("file:own?vfs=memdb");
    for conn in [&one, &other, &by_uri] {
        assert_eq!(conn.value("SELECT max(file) FROM pragma_database_list"), "".into());
    }
    one.close();
    two.exec("INSERT INTO t VALUES (6)");
    assert_eq!(two.value("SELECT count(*) FROM t"), 2.into());
    two.close();
    let again = open("a name/with ?marks");
    assert!(again.query("SELECT a FROM t", list![]).is_err(), "gone when all have closed");
    let nameless = sidecar.open_with("", option("memory", true)).map(|conn| conn.id).unwrap_err();
    assert_eq!(nameless.code, "invalid_option");
    let elsewhere = Sidecar::start();
    let conn = elsewhere.open_with("another", option("memory", true)).unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM sqlite_schema"), 0.into());
}

#[test]
fn many_connections_open_one_new_file_together() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let payload = tuple![30_000, path.to_str().unwrap(), Term::Map(Vec::new())];
    let ids: Vec<_> = (0..30).map(|_| sidecar.send(tag::OPEN, &payload)).collect();
    for id in ids {
        let opened = sidecar.answer(id).unwrap();
        assert_eq!(opened.items()[1].get("journal_mode").text(), "wal");
    }
    let status = sidecar.status();
    assert_eq!(status.get("connections").int(), 30);
    assert_eq!(status.get("files").items()[0].get("connections").int(), 30);
}

#[test]
fn the_last_connection_leaves_no_wal_behind() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (one, two) = (sidecar.open(&path), sidecar.open(&path));
    one.exec("CREATE TABLE t(a)");
    two.exec("INSERT INTO t VALUES (1)");
    one.close();
    two.close();
    let wal = path.with_file_name("test.db-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).unwrap().len() == 0);
    let conn = sidecar.open(&path);
    assert_eq!(conn.value("SELECT a FROM t"), 1.into());
}

#[test]
fn the_last_connection_writes_nothing_back_in_the_turn_of_another_program() {
    let (_folder, path) = folder();
    let (one, two) = (Sidecar::start(), Sidecar::start());
    let (last, writer) = (one.open(&path), two.open(&path));
    last.exec("CREATE TABLE t(a)");
    last.exec("INSERT INTO t VALUES (zeroblob(100000))");
    let bytes = || std::fs::metadata(&path).unwrap().len();
    let before = bytes();
    writer.begin("immediate").unwrap();
    last.close();
    assert_eq!(bytes(), before);
    writer.rollback().unwrap();
    // The last one of all does it.
    writer.close();
    assert!(bytes() >= before + 100_000, "{} bytes, {before} before", bytes());
}

#[test]
fn opening_resetting_and_closing_do_not_wait_for_a_writer() {
    let (_folder, path) = folder();
    let (one, two) = (Sidecar::start(), Sidecar::start());
    let writer = one.open(&path);
    writer.exec("CREATE TABLE t(a)");
    writer.begin("immediate").unwrap();
    writer.exec("INSERT INTO t VALUES (1)");
    for sidecar in [&one, &two] {
        let conn = sidecar.open(&path);
        assert_eq!(conn.value("SELECT count(*) FROM t").int(), 0);
        // Nor does what gives a connection back to its pool.
        conn.begin("read_only").unwrap();
        conn.call(tag::RESET, []).unwrap();
        conn.close();
    }
    writer.commit().unwrap();
}
