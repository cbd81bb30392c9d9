//! A replica is opened: first data, without a server, twice, and what it is not.

use super::*;
use crate::list;

#[test]
fn the_first_opening_brings_all_that_the_server_has() {
    let Some(server) = server_with(1000) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let conn = open(&sidecar, &server, &path, &[]).unwrap();
    assert_eq!(conn.info.get("mode").text(), "replica");
    assert_eq!(conn.info.get("path").text(), path.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(count(&conn), 1000);
    let of_conn = status(&conn);
    assert_eq!(of_conn.get("index"), of_conn.get("server_index"));
    assert!(of_conn.get("error").is_nil() && of_conn.get("age_ms").int() >= 0, "{of_conn:?}");
    let of_program = sidecar.status().get("replicas").items()[0].clone();
    assert_eq!((of_program.get("path"), of_program.get("log")), (of_conn.get("path"), of_conn.get("log")));
    conn.close();
    eventually("it is forgotten", || sidecar.status().get("replicas").items().is_empty());
}

#[test]
fn without_a_server_there_is_what_was_there_and_no_more() {
    let Some(mut server) = server_with(3) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.db");
    let first = Sidecar::start();
    open(&first, &server, &path, &[]).unwrap();
    first.end();
    server.kill();
    let sidecar = Sidecar::start();
    for options in [vec![], vec![("offline", Term::from(true))]] {
        let conn = open(&sidecar, &server, &path, &options).unwrap();
        assert_eq!(count(&conn), 3);
        let failure = sync(&conn).unwrap_err();
        assert_eq!(failure.code, "remote_unavailable");
        assert!(failure.message.contains(&server.address.to_string()), "{failure:?}");
        assert_eq!(count(&conn), 3, "it can still be read");
        let error = status(&conn).get("error").items()[1].text().to_owned();
        assert_eq!(error, failure.message);
        conn.close();
    }
    server.go();
    server.execute(&["INSERT INTO t VALUES (4)"]);
    let conn = open(&sidecar, &server, &path, &[("offline", Term::from(true))]).unwrap();
    assert_eq!(count(&conn), 3, "nobody has asked the server");
    sync(&conn).unwrap();
    assert_eq!(count(&conn), 4);
}

#[test]
fn a_first_opening_without_a_server_is_an_error_that_says_so() {
    let Some(mut server) = server_with(0) else { return };
    server.kill();
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    for options in [vec![], vec![("offline", Term::from(true))]] {
        let failure = open(&sidecar, &server, &path, &options).map(|_| ()).unwrap_err();
        assert_eq!(failure.code, "remote_unavailable", "{failure:?}");
    }
    server.go();
    assert_eq!(count(&open(&sidecar, &server, &path, &[]).unwrap()), 0, "and is mended by the server");
}

#[test]
fn connections_of_a_program_share_a_replica_and_another_program_is_told_whose_it_is() {
    let Some(server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let first = open(&sidecar, &server, &path, &[]).unwrap();
    let second = open(&sidecar, &server, &path, &[]).unwrap();
    let other = Sidecar::start();
    let refused = || open(&other, &server, &path, &[]).map(|_| ()).unwrap_err();
    let failure = refused();
    assert_eq!(failure.code, "busy");
    assert!(failure.message.contains(&format!("the pid {} ", sidecar.pid)), "{failure:?}");
    first.close();
    assert_eq!(refused().code, "busy", "the second one is still there");
    second.close();
    eventually("the replica is given back", || open(&other, &server, &path, &[]).is_ok());
}

#[test]
fn what_is_no_replica_is_left_alone() {
    let Some(server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("local.db");
    let local = sidecar.open(&path);
    local.exec("CREATE TABLE mine(a)");
    let failure = open(&sidecar, &server, &path, &[]).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "cannot_open", "{failure:?}");
    assert!(failure.message.contains("no replica"), "{failure:?}");
    assert_eq!(local.query("SELECT * FROM mine", list![]).unwrap().rows.len(), 0);
}

#[test]
fn a_replica_is_not_opened_as_a_local_database_that_could_write_it() {
    let Some(server) = server_with(3) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    open(&sidecar, &server, &path, &[]).unwrap().close();
    let failure = sidecar.open_with(&path, Term::Map(Vec::new())).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "cannot_open", "{failure:?}");
    let reader = sidecar.open_with(&path, map([("mode", "read_only")])).unwrap();
    assert_eq!(count(&reader), 3);
}

#[test]
fn other_protocols_and_what_a_replica_has_not_are_refused_with_a_reason() {
    let Some(server) = server_with(0) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let policy = list![atom("read_only")];
    for (key, value, word) in [
        ("sync_protocol", atom("v2"), "local database"),
        ("sync_protocol", atom("auto"), "without it"),
        ("policy", policy, "read_only"),
        ("untrusted_sql", Term::from(true), "read_only"),
        ("pragmas", map([("journal_mode", "delete")]), "write-ahead log"),
    ] {
        let failure = open(&sidecar, &server, &path, &[(key, value)]).map(|_| ()).unwrap_err();
        assert_eq!(failure.code, "unsupported", "{failure:?}");
        assert!(failure.message.contains(word), "{failure:?}");
    }
    let options = [("policy", list![atom("read_only")]), ("mode", atom("read_only"))];
    open(&sidecar, &server, &path, &options).unwrap();
}

#[test]
fn replica_options_need_a_server_and_a_file() {
    let sidecar = Sidecar::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let failure = sidecar.open_with(&path, map([("offline", true)])).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "invalid_option", "{failure:?}");
    let options = Term::Map(vec![
        (Term::from("url"), Term::from("http://127.0.0.1:1")),
        (Term::from("offline"), Term::from(true)),
    ]);
    let failure = sidecar.open_with("", options).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "invalid_option", "{failure:?}");
}
