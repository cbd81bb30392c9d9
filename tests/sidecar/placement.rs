//! Files that are removed, renamed or replaced while they are open, and databases that are restored beside an old log: no
//! write is acknowledged into a file that nobody finds again, and no log is written into a database that is not its own.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Disturb = fn(&Path);

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Something else takes the place of `path` at once, as an editor or a restore puts it there.
fn replace(path: &Path, content: &[u8]) {
    let new = beside(path, ".new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn rename_folder(path: &Path) {
    let folder = path.parent().unwrap();
    fs::rename(folder, beside(folder, "-renamed")).unwrap();
}

/// A database of another program.
fn other_database(path: &Path) {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(path);
    conn.exec("CREATE TABLE other(a)");
    conn.close();
}

fn replace_by_another_database(path: &Path) {
    let new = beside(path, ".other");
    other_database(&new);
    fs::rename(new, path).unwrap();
}

const DISTURBANCES: &[(&str, Disturb)] = &[
    ("the database removed", |path| fs::remove_file(path).unwrap()),
    ("the database renamed", |path| fs::rename(path, beside(path, ".old")).unwrap()),
    ("the database replaced", |path| replace(path, b"")),
    ("the database replaced by a copy of itself", |path| replace(path, &fs::read(path).unwrap())),
    ("another database in its place", replace_by_another_database),
    ("the database moved, and a link in its place", |path| {
        fs::rename(path, beside(path, ".old")).unwrap();
        std::os::unix::fs::symlink(beside(path, ".old"), path).unwrap();
    }),
    ("all of it removed", |path| {
        for suffix in ["", "-wal", "-shm", "-turn"] {
            fs::remove_file(beside(path, suffix)).unwrap();
        }
    }),
    ("the log removed", |path| fs::remove_file(beside(path, "-wal")).unwrap()),
    ("the log replaced", |path| replace(&beside(path, "-wal"), b"")),
    ("the log replaced by a copy", |path| {
        let wal = beside(path, "-wal");
        replace(&wal, &fs::read(&wal).unwrap());
    }),
    ("the index removed", |path| fs::remove_file(beside(path, "-shm")).unwrap()),
    ("the index replaced", |path| replace(&beside(path, "-shm"), b"")),
    ("the folder renamed", rename_folder),
];

/// How something is written: what happens before the file goes, and what must fail afterwards.
struct Form {
    name: &'static str,
    before: fn(&Conn<'_>),
    after: fn(&Conn<'_>) -> Result<(), Failure>,
}

fn nothing(_conn: &Conn<'_>) {}

fn run(conn: &Conn<'_>, sql: &str) -> Result<(), Failure> {
    conn.query(sql, list![]).map(|_| ())
}

fn begin_and_insert(conn: &Conn<'_>) {
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO t VALUES (2)");
}

const RETURNING: &str = "INSERT INTO t VALUES (2), (3) RETURNING a";

/// The first cursor of a connection has the number 1.
fn declare(conn: &Conn<'_>) {
    let declared = conn.call(tag::DECLARE, [RETURNING.into(), list![]]).unwrap();
    assert_eq!(declared.items()[0].int(), 1);
}

fn fetch(conn: &Conn<'_>, rows: i64) -> Result<usize, Failure> {
    let id = conn.send(tag::FETCH, [1.into(), rows.into(), 0.into()]);
    let frame = conn.sidecar().receive(id);
    match frame.tag {
        tag::ERROR => Err(Failure::of(&frame.payload)),
        _ => Ok(frame.payload.items().len()),
    }
}

const FORMS: &[Form] = &[
    Form { name: "by itself", before: nothing, after: |conn| run(conn, "INSERT INTO t VALUES (2)") },
    Form {
        name: "a statement known before",
        before: |conn| (0..3).for_each(|_| drop(conn.exec("UPDATE t SET a = a"))),
        after: |conn| run(conn, "UPDATE t SET a = a"),
    },
    Form { name: "a schema", before: nothing, after: |conn| run(conn, "CREATE TABLE new(a)") },
    Form { name: "a pragma", before: nothing, after: |conn| run(conn, "PRAGMA user_version = 7") },
    Form { name: "VACUUM", before: nothing, after: |conn| run(conn, "VACUUM") },
    Form { name: "begin", before: nothing, after: |conn| conn.begin("immediate").map(|_| ()) },
    Form { name: "commit", before: begin_and_insert, after: |conn| conn.commit().map(|_| ()) },
    Form { name: "COMMIT", before: begin_and_insert, after: |conn| run(conn, "COMMIT") },
    Form {
        name: "write and commit",
        before: |conn| assert_eq!(conn.begin("immediate").unwrap(), 3),
        after: |conn| {
            conn.exec("INSERT INTO t VALUES (2)");
            conn.commit().map(|_| ())
        },
    },
    Form {
        name: "a transaction that has read",
        before: |conn| {
            conn.begin("deferred").unwrap();
            conn.exec("SELECT * FROM t");
        },
        after: |conn| run(conn, "INSERT INTO t VALUES (2)"),
    },
    Form {
        name: "a savepoint",
        before: |conn| {
            conn.call(tag::SAVEPOINT, ["s".into()]).unwrap();
            conn.exec("INSERT INTO t VALUES (2)");
        },
        after: |conn| conn.call(tag::RELEASE, ["s".into()]).map(|_| ()),
    },
    Form {
        name: "a batch",
        before: nothing,
        after: |conn| conn.batch(true, &[("INSERT INTO t VALUES (2)", list![])]).map(|_| ()),
    },
    Form {
        name: "a batch in a transaction",
        before: begin_and_insert,
        after: |conn| {
            conn.batch(true, &[("INSERT INTO t VALUES (3)", list![])]).unwrap();
            conn.commit().map(|_| ())
        },
    },
    Form {
        name: "statements of a batch",
        before: nothing,
        after: |conn| {
            let (mut items, _) = conn.batch(false, &[("INSERT INTO t VALUES (2)", list![])]).unwrap();
            items.remove(0).map(|_| ())
        },
    },
    Form {
        name: "a script",
        before: nothing,
        after: |conn| conn.script("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)").map(|_| ()),
    },
    Form {
        name: "a script with a transaction",
        before: begin_and_insert,
        after: |conn| conn.script("INSERT INTO t VALUES (3); COMMIT").map(|_| ()),
    },
    Form {
        name: "a cursor that is declared",
        before: nothing,
        after: |conn| conn.call(tag::DECLARE, [RETURNING.into(), list![]]).map(|_| ()),
    },
    Form { name: "a cursor that is exhausted", before: declare, after: |conn| fetch(conn, 10).map(|_| ()) },
    Form {
        name: "a cursor that is closed",
        before: |conn| {
            declare(conn);
            fetch(conn, 1).unwrap();
        },
        after: |conn| conn.call(tag::CLOSE_CURSOR, [1.into()]).map(|_| ()),
    },
    Form {
        name: "a checkpoint",
        before: nothing,
        after: |conn| conn.call(tag::CHECKPOINT, [atom("truncate")]).map(|_| ()),
    },
];

#[test]
fn nothing_is_written_into_a_file_that_is_no_longer_at_its_path() {
    let sidecar = Sidecar::start();
    for (disturbance, disturb) in DISTURBANCES {
        for form in FORMS {
            is_refused_and_stays_so(&sidecar, &format!("{disturbance}; {}", form.name), form, *disturb);
        }
    }
}

#[test]
fn a_refused_commit_is_the_last_one_however_long_ago_the_folder_changed() {
    let sidecar = Sidecar::start();
    for (disturbance, disturb) in DISTURBANCES {
        // Those that have their turn before the disturbance, so that nothing but the commit looks at the files.
        let late = ["commit", "COMMIT", "a batch in a transaction", "a cursor that is exhausted"];
        for form in FORMS.iter().filter(|form| late.contains(&form.name)) {
            is_refused_and_stays_so(&sidecar, &format!("{disturbance}; {}", form.name), form, |path| {
                disturb(path);
                folder_is_quiet(path);
            });
        }
    }
}

/// Waits until the folder's time of change is so long ago that a look at it counts for good.
fn folder_is_quiet(path: &Path) {
    let quiet = || match fs::metadata(path.parent().unwrap()) {
        Ok(found) => found.modified().unwrap().elapsed().is_ok_and(|age| age > Duration::from_millis(60)),
        // Renamed: nothing is looked up in it.
        Err(_) => true,
    };
    eventually("the folder is quiet", quiet);
}

#[track_caller]
fn is_refused_and_stays_so(sidecar: &Sidecar, what: &str, form: &Form, disturb: impl Fn(&Path)) {
    let (folder, path) = folder();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1)");
    (form.before)(&conn);
    disturb(&path);
    let failure = (form.after)(&conn).expect_err(what);
    assert_eq!(failure.code, "file_replaced", "{what}: {failure:?}");
    assert!(failure.message.contains("test.db"), "{what}: {failure:?}");
    assert_ne!(failure.tx_status, Some(3), "{what}: nothing stays open: {failure:?}");
    // It stays so.
    let failure = run(&conn, "INSERT INTO t VALUES (9)").expect_err(what);
    assert_eq!(failure.code, "file_replaced", "{what}: {failure:?}");
    conn.close();
    let _ = fs::remove_dir_all(beside(folder.path(), "-renamed"));
}

/// Rows of `t` that a connection opened now finds; none if there is no such table.
fn rows(sidecar: &Sidecar, path: &Path) -> Option<i64> {
    let conn = sidecar.open(path);
    let tables = conn.value("SELECT count(*) FROM sqlite_schema WHERE name = 't'").int();
    let rows = (tables > 0).then(|| conn.value("SELECT count(*) FROM t").int());
    assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
    conn.close();
    rows
}

#[test]
fn connections_that_are_opened_anew_go_on_with_what_is_there() {
    // What a connection finds there afterwards.
    let expected: &[(&str, Option<i64>)] = &[
        ("the database removed", None),
        ("the database replaced", None),
        ("the database replaced by a copy of itself", Some(1)),
        ("another database in its place", None),
        ("all of it removed", None),
        // What is in it alone is written back by the last one to leave it.
        ("the log removed", Some(1)),
        ("the log replaced", Some(1)),
        ("the index removed", Some(1)),
        ("the index replaced", Some(1)),
    ];
    for (name, rows_then) in expected {
        let (_, disturb) = DISTURBANCES.iter().find(|(known, _)| known == name).unwrap();
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let conns = [sidecar.open(&path), sidecar.open(&path)];
        conns[0].exec("CREATE TABLE t(a)");
        conns[0].exec("INSERT INTO t VALUES (1)");
        conns[0].call(tag::CHECKPOINT, [atom("passive")]).unwrap();
        if name.ends_with("removed") && name.contains("log") {
            conns[0].exec("UPDATE t SET a = 5");
        }
        disturb(&path);
        for conn in &conns {
            assert_eq!(run(conn, "INSERT INTO t VALUES (2)").unwrap_err().code, "file_replaced", "{name}");
            conn.close();
        }
        assert_eq!(rows(&sidecar, &path), *rows_then, "{name}");
        let again = sidecar.open(&path);
        again.exec("CREATE TABLE u(a)");
        again.exec("INSERT INTO u VALUES (1)");
        assert_eq!(again.value("SELECT count(*) FROM u").int(), 1);
    }
}

#[test]
fn a_log_that_is_written_over_is_noticed_within_seconds_and_not_written_back() {
    let written_over: [Disturb; 2] = [
        |path| {
            let wal = beside(path, "-wal");
            let bytes = fs::metadata(&wal).unwrap().len() as usize;
            fs::write(wal, vec![0; bytes]).unwrap();
        },
        |path| fs::write(beside(path, "-wal"), b"").unwrap(),
    ];
    for disturb in written_over {
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let conn = sidecar.open(&path);
        conn.exec("CREATE TABLE t(a)");
        conn.exec("INSERT INTO t VALUES (1)");
        conn.call(tag::CHECKPOINT, [atom("passive")]).unwrap();
        disturb(&path);
        // What the pages of such a log are taken for until then is an error of its own.
        let code = |failure: Failure| failure.code == "file_replaced";
        eventually("it is noticed", || run(&conn, "UPDATE t SET a = a").is_err_and(code));
        conn.close();
        assert_eq!(rows(&sidecar, &path), Some(1));
    }
}

#[test]
fn a_renamed_folder_keeps_what_was_acknowledged() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1)");
    rename_folder(&path);
    assert_eq!(run(&conn, "INSERT INTO t VALUES (2)").unwrap_err().code, "file_replaced");
    conn.close();
    let renamed = beside(folder.path(), "-renamed");
    assert_eq!(rows(&sidecar, &renamed.join("test.db")), Some(1));
    fs::remove_dir_all(renamed).unwrap();
}

#[test]
fn every_sidecar_notices() {
    let (_folder, path) = folder();
    let sidecars = [Sidecar::start(), Sidecar::start(), Sidecar::start()];
    let conns: Vec<_> = sidecars.iter().map(|sidecar| sidecar.open(&path)).collect();
    conns[0].exec("CREATE TABLE t(a)");
    conns.iter().for_each(|conn| drop(conn.exec("INSERT INTO t VALUES (1)")));
    fs::remove_file(beside(&path, "-wal")).unwrap();
    for conn in &conns {
        assert_eq!(run(conn, "INSERT INTO t VALUES (2)").unwrap_err().code, "file_replaced");
    }
}

#[test]
fn a_connection_that_comes_later_does_not_take_a_new_log_for_the_old_one() {
    for (suffix, of_another) in [("-wal", false), ("-shm", false), ("-wal", true)] {
        let (_folder, path) = folder();
        let (sidecar, another) = (Sidecar::start(), Sidecar::start());
        let first = sidecar.open(&path);
        first.exec("CREATE TABLE t(a)");
        first.exec("INSERT INTO t VALUES (1)");
        fs::remove_file(beside(&path, suffix)).unwrap();
        let later = if of_another { &another } else { &sidecar };
        match later.open_with(&path, Term::Map(Vec::new())) {
            Err(failure) => assert!(
                matches!(failure.code.as_str(), "file_replaced" | "io_error" | "corrupt" | "not_a_database"),
                "{suffix}: {failure:?}"
            ),
            Ok(second) => {
                let failure = run(&second, "INSERT INTO t VALUES (2)").expect_err(suffix);
                assert_eq!(failure.code, "file_replaced", "{suffix}");
                second.close();
            }
        }
        assert_eq!(run(&first, "INSERT INTO t VALUES (2)").unwrap_err().code, "file_replaced");
    }
}

#[test]
fn an_attached_file_is_looked_for_as_well() {
    let other = |path: &Path| beside(path, ".attached");
    for (disturbance, disturb) in DISTURBANCES.iter().filter(|(name, _)| !name.contains("folder")) {
        for form in ["INSERT INTO o.t VALUES (2)", "INSERT INTO t VALUES (2)", "VACUUM o", "COMMIT"] {
            let (_folder, path) = folder();
            let sidecar = Sidecar::start();
            let conn = sidecar.open(&path);
            conn.exec("CREATE TABLE t(a)");
            conn.exec(&format!("ATTACH '{}' AS o", other(&path).display()));
            conn.exec("PRAGMA o.journal_mode = wal");
            conn.exec("CREATE TABLE o.t(a)");
            if form == "COMMIT" {
                conn.begin("immediate").unwrap();
                conn.exec("INSERT INTO o.t VALUES (2)");
            }
            disturb(&other(&path));
            let failure = run(&conn, form).expect_err(form);
            assert_eq!(failure.code, "file_replaced", "{disturbance}; {form}: {failure:?}");
            if form != "COMMIT" {
                conn.exec("DETACH o");
                conn.exec("INSERT INTO t VALUES (2)");
            }
        }
    }
}

#[test]
fn a_connection_that_only_reads_notices_within_seconds() {
    for mode in ["read_write", "read_only"] {
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let writer = sidecar.open(&path);
        writer.exec("CREATE TABLE t(a)");
        let reader = sidecar.open_with(&path, map([("mode", atom(mode))])).unwrap();
        reader.exec("SELECT * FROM t");
        replace_by_another_database(&path);
        let mut last = String::new();
        eventually("the reader notices", || match run(&reader, "SELECT * FROM t") {
            Ok(()) => false,
            Err(failure) => {
                last = failure.code;
                true
            }
        });
        assert_eq!(last, "file_replaced", "{mode}");
    }
}

#[test]
fn a_rollback_journal_is_not_written_for_a_file_that_is_gone() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("pragmas", map([("journal_mode", "delete")]))])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    fs::remove_file(&path).unwrap();
    assert_eq!(run(&conn, "INSERT INTO t VALUES (2)").unwrap_err().code, "file_replaced");
}

/// What is done to a database in the course of its life. After each the connections go on.
#[test]
fn whatever_sqlite_does_by_itself_is_no_replacement() {
    let (_folder, path) = folder();
    let (one, two) = (Sidecar::start(), Sidecar::start());
    let conn = one.open(&path);
    conn.exec("CREATE TABLE t(a)");
    let insert = |conn: &Conn<'_>| drop(conn.exec("INSERT INTO t VALUES (1)"));
    let other = two.open(&path);
    for mode in ["passive", "full", "restart", "truncate"] {
        insert(&conn);
        conn.call(tag::CHECKPOINT, [atom(mode)]).unwrap();
        insert(&conn);
        insert(&other);
    }
    conn.exec("VACUUM");
    insert(&other);
    // Another program commits, and checkpoints as it closes.
    ForeignLock::take(&path).release();
    insert(&conn);
    other.close();
    insert(&conn);
    // Back and forth between the modes: the log and its index go and come.
    for _ in 0..3 {
        for mode in ["delete", "wal", "truncate", "wal"] {
            assert_eq!(conn.value(&format!("PRAGMA journal_mode = {mode}")), mode.into());
            insert(&conn);
        }
    }
    conn.script("PRAGMA journal_mode = delete; INSERT INTO t VALUES (1); PRAGMA journal_mode = wal; INSERT INTO t VALUES (1)")
        .unwrap();
    insert(&conn);
    conn.exec("PRAGMA locking_mode = exclusive");
    insert(&conn);
    conn.exec("PRAGMA locking_mode = normal");
    insert(&conn);
    conn.close();
    // The last one to close, a program that removes the log, and the next one.
    for _ in 0..3 {
        ForeignLock::take(&path).release();
        assert!(!beside(&path, "-wal").exists(), "SQLite removes it with the last connection");
        let conn = one.open(&path);
        insert(&conn);
        let other = two.open(&path);
        insert(&other);
        insert(&conn);
        conn.close();
        insert(&other);
        other.close();
    }
    rows(&one, &path).unwrap();
}

#[test]
fn an_index_in_memory_is_not_missed() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let pragmas = map([("locking_mode", "exclusive"), ("journal_mode", "delete")]);
    let conn = sidecar.open_with(&path, map([("pragmas", pragmas)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    assert_eq!(conn.value("PRAGMA journal_mode = wal"), "wal".into());
    conn.exec("INSERT INTO t VALUES (1)");
    assert!(!beside(&path, "-shm").exists());
    conn.exec("INSERT INTO t VALUES (1)");
}

#[test]
fn a_link_to_a_database_is_the_database() {
    let (folder, path) = folder();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let sidecar = Sidecar::start();
    let (by_link, by_name) = (sidecar.open(&link), sidecar.open(&path));
    by_link.exec("CREATE TABLE t(a)");
    by_name.exec("INSERT INTO t VALUES (1)");
    // SQLite has followed it once: the file that it led to is still there.
    fs::remove_file(&link).unwrap();
    by_link.exec("INSERT INTO t VALUES (1)");
    fs::remove_file(&path).unwrap();
    assert_eq!(run(&by_link, "INSERT INTO t VALUES (1)").unwrap_err().code, "file_replaced");
}

#[test]
fn databases_without_a_file_have_none_to_miss() {
    let sidecar = Sidecar::start();
    for (path, memory) in [(":memory:", false), ("", false), ("shared", true)] {
        let conn = sidecar.open_with(path, map([("memory", Term::from(memory))])).unwrap();
        conn.exec("CREATE TABLE t(a)");
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (1)");
        conn.commit().unwrap();
    }
}

#[test]
fn an_immutable_file_is_not_looked_for() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    other_database(&path);
    let main = sidecar.open(folder.path().join("main.db"));
    let conn = sidecar
        .open_with(format!("file:{}?immutable=1", path.display()), map([("open_flags", 0x40)]))
        .unwrap();
    main.exec("CREATE TABLE t(a)");
    conn.exec("SELECT * FROM other");
    replace(&path, b"");
    conn.exec("SELECT * FROM other");
}

/// A database with a log of 500 rows that are in it alone, of a program that was killed; and a copy of the database from
/// before.
fn killed_with_a_log(path: &Path) -> PathBuf {
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(path, map([("checkpoint_pages", 0)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t SELECT zeroblob(2000) FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)");
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    let backup = beside(path, ".backup");
    fs::copy(path, &backup).unwrap();
    // One log has been checkpointed since; the next one is what is left.
    conn.exec(&format!("INSERT INTO t SELECT zeroblob(2000) FROM ({})", numbers(100)));
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    for _ in 0..5 {
        conn.exec(&format!("INSERT INTO t SELECT zeroblob(2000) FROM ({})", numbers(100)));
    }
    sidecar.signal(libc::SIGKILL);
    sidecar.wait(BOUND);
    backup
}

type Restore = fn(&Path, &Path);

const RESTORES: &[(&str, Restore)] = &[
    ("by rename", |backup, path| fs::rename(backup, path).unwrap()),
    ("over the file", |backup, path| fs::write(path, fs::read(backup).unwrap()).unwrap()),
    ("removed and written", |backup, path| {
        fs::remove_file(path).unwrap();
        fs::copy(backup, path).unwrap();
    }),
];

#[test]
fn a_database_that_is_restored_beside_an_old_log_is_not_opened() {
    for (how, restore) in RESTORES {
        let (_folder, path) = folder();
        let backup = killed_with_a_log(&path);
        let keep = beside(&path, ".keep");
        fs::copy(&backup, &keep).unwrap();
        restore(&backup, &path);
        let sidecar = Sidecar::start();
        for mode in ["read_write_create", "read_write", "read_only"] {
            let failure = sidecar.open_with(&path, map([("mode", atom(mode))])).map(|_| ()).expect_err(how);
            assert_eq!(failure.code, "foreign_wal", "{how}: {failure:?}");
            assert!(failure.message.contains("-wal") && failure.message.contains("away"), "{failure:?}");
        }
        let main = sidecar.open(":memory:");
        let failure = run(&main, &format!("ATTACH '{}' AS o", path.display())).expect_err(how);
        assert_eq!(failure.code, "foreign_wal", "{how}: {failure:?}");
        assert_eq!(main.exec("PRAGMA database_list").rows.len(), 1, "{how}: it is not attached");
        assert_eq!(fs::read(&path).unwrap(), fs::read(&keep).unwrap(), "{how}: nothing was written");
        // What the message says.
        for suffix in ["-wal", "-shm"] {
            fs::rename(beside(&path, suffix), beside(&path, &format!(".aside{suffix}"))).unwrap();
        }
        assert_eq!(rows(&sidecar, &path), Some(3), "{how}");
    }
}

#[test]
fn the_former_file_may_be_put_back() {
    let (_folder, path) = folder();
    let backup = killed_with_a_log(&path);
    let former = beside(&path, ".former");
    fs::rename(&path, &former).unwrap();
    fs::rename(&backup, &path).unwrap();
    let sidecar = Sidecar::start();
    assert!(sidecar.open_with(&path, Term::Map(Vec::new())).is_err());
    fs::rename(&former, &path).unwrap();
    assert_eq!(rows(&sidecar, &path), Some(603));
}

#[test]
fn what_belongs_together_is_opened_wherever_it_was_copied() {
    for turn in [true, false] {
        let (folder, path) = folder();
        killed_with_a_log(&path);
        let there = folder.path().join("copy");
        fs::create_dir(&there).unwrap();
        for suffix in ["", "-wal", "-shm", "-turn"].into_iter().filter(|suffix| turn || *suffix != "-turn") {
            fs::copy(beside(&path, suffix), beside(&there.join("test.db"), suffix)).unwrap();
        }
        let sidecar = Sidecar::start();
        assert_eq!(rows(&sidecar, &there.join("test.db")), Some(603));
        // And back, over what has changed since.
        assert_eq!(rows(&sidecar, &path), Some(603));
    }
}

#[test]
fn a_log_of_which_a_part_was_written_back_is_opened() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("checkpoint_pages", 0)])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    for round in 1..=6 {
        conn.exec(&format!("INSERT INTO t SELECT zeroblob(2000) FROM ({})", numbers(100)));
        if round % 2 == 0 {
            // Page 1 of the file is now one of the log's, which goes on.
            conn.call(tag::CHECKPOINT, [atom("passive")]).unwrap();
        }
        let other = Sidecar::start();
        assert_eq!(rows(&other, &path), Some(round * 100));
    }
    conn.exec("INSERT INTO t VALUES (1)");
    sidecar.signal(libc::SIGKILL);
    sidecar.wait(BOUND);
    assert_eq!(rows(&Sidecar::start(), &path), Some(601));
}

#[test]
fn an_open_database_that_is_restored_is_opened_once_all_have_left_it() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    fs::copy(&path, beside(&path, ".backup")).unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
    fs::rename(beside(&path, ".backup"), &path).unwrap();
    assert_eq!(run(&conn, "INSERT INTO t VALUES (2)").unwrap_err().code, "file_replaced");
    let failure = sidecar.open_with(&path, Term::Map(Vec::new())).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "foreign_wal", "the log is in use by the former one");
    conn.close();
    assert_eq!(rows(&sidecar, &path), Some(0), "its last connection has emptied the log");
}

#[test]
fn who_may_only_read_a_database_cannot_stop_its_writers() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = folder();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    // As an older version made it.
    fs::write(beside(&path, "-turn"), "").unwrap();
    fs::set_permissions(beside(&path, "-turn"), fs::Permissions::from_mode(0o644)).unwrap();
    let sidecar = Sidecar::start();
    sidecar.open(&path).exec("CREATE TABLE t(a)");
    let mode = fs::metadata(beside(&path, "-turn")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "nobody else can open it, and so lock it");
}
