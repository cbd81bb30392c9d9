//! A replica becomes a database of its own, or a copy of it does.

use super::*;
use crate::list;
use std::time::Duration;

fn promote<'s>(sidecar: &'s Sidecar, path: &Path) -> Result<Conn<'s>, Failure> {
    sidecar.open_with(path, map([("promote", true)]))
}

#[test]
fn a_promoted_replica_is_written_here() {
    let Some(server) = server_with(300) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    open(&sidecar, &server, &path, &[]).unwrap().close();
    let mut local = None;
    eventually("it is closed", || match promote(&sidecar, &path) {
        Ok(conn) => {
            local = Some(conn);
            true
        }
        Err(failure) => {
            assert_eq!(failure.code, "busy", "{failure:?}");
            false
        }
    });
    let local = local.unwrap();
    assert_eq!(local.info.get("mode").text(), "local");
    local.exec("INSERT INTO t VALUES (0)");
    assert_eq!((count(&local), local.value("PRAGMA integrity_check").text()), (301, "ok"));
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| !["r.db", "r.db-wal", "r.db-shm", "r.db-turn"].contains(&name.to_str().unwrap()));
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
    let failure = promote(&sidecar, &path).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "cannot_open", "{failure:?}");
    local.close();
    let failure = open(&sidecar, &server, &path, &[]).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "cannot_open", "it is no replica any more: {failure:?}");
    assert_eq!(count(&sidecar.open(&path)), 301);
}

#[test]
fn a_replica_is_not_promoted_while_anybody_has_it_open() {
    let Some(server) = server_with(3) else { return };
    let (sidecar, other, folder) = (Sidecar::start(), Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let conn = open(&sidecar, &server, &path, &[]).unwrap();
    for program in [&sidecar, &other] {
        let failure = promote(program, &path).map(|_| ()).unwrap_err();
        assert_eq!(failure.code, "busy", "{failure:?}");
        assert!(failure.message.contains(&sidecar.pid.to_string()), "{failure:?}");
    }
    // One that reads it without being a replica.
    let reader = other.open_with(&path, map([("mode", "read_only")])).unwrap();
    assert_eq!(count(&reader), 3);
    conn.close();
    let mut message = String::new();
    eventually("the replica is given back", || {
        message = promote(&sidecar, &path).map(|_| ()).unwrap_err().message;
        message.contains("nobody has it open")
    });
    let conn = open(&sidecar, &server, &path, &[]).unwrap();
    server.execute(&["INSERT INTO t VALUES (4)"]);
    sync(&conn).unwrap();
    assert_eq!((count(&conn), count(&reader)), (4, 4), "a refusal changes nothing");
    conn.close();
    reader.close();
    eventually("everything is closed", || promote(&sidecar, &path).is_ok());
}

#[test]
fn what_is_no_replica_is_not_promoted() {
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("local.db");
    sidecar.open(&path).exec("CREATE TABLE t(a)");
    let failure = promote(&sidecar, &path).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "cannot_open", "{failure:?}");
    let failure = promote(&sidecar, &folder.path().join("none.db")).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "cannot_open", "{failure:?}");
    assert!(!folder.path().join("none.db").exists());
    let with_url = Term::Map(vec![
        (Term::from("url"), Term::from("http://127.0.0.1:1")),
        (Term::from("promote"), Term::from(true)),
    ]);
    assert_eq!(sidecar.open_with(&path, with_url).map(|_| ()).unwrap_err().code, "invalid_option");
}

#[test]
fn a_copy_tells_how_far_it_has_come_and_stops_when_it_has_to() {
    let Some(server) = server_with(100_000) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let wanted = Term::Map(vec![(Term::from("events"), list![atom("freeze")])]);
    sidecar.call(28, &crate::tuple![nil(), wanted]).unwrap();
    let conn = open(&sidecar, &server, &path, &[]).unwrap();
    let freeze = |conn: &Conn<'_>, name: &str| {
        conn.call(tag::FREEZE, [Term::from(folder.path().join(name).to_str().unwrap())])
    };
    freeze(&conn, "copy.db").unwrap();
    loop {
        let event = sidecar.receive_within(0, Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(event.tag, 109);
        let [_, database, done, known] = event.payload.items() else { panic!("{event:?}") };
        assert_eq!(Path::new(database.text()), path.canonicalize().unwrap());
        assert!(done.int() > 0 && known.int() > 100 && done.int() <= known.int(), "{event:?}");
        if done == known {
            break;
        }
    }
    conn.begin("read_only").unwrap();
    assert_eq!(freeze(&conn, "other.db").unwrap_err().code, "transaction_open");
    conn.rollback().unwrap();
    assert!(!folder.path().join("other.db").exists());
}
