//! A replica that cannot follow while its server commits: what reads then have, and how old it may be.

use super::gate::Gate;
use super::*;
use crate::list;
use std::time::Duration;

/// A replica behind a gate, with the row 1, and the row 2 on the server alone, told as committed.
struct Lagging<'s> {
    gate: Gate,
    writer: Conn<'s>,
    path: std::path::PathBuf,
}

impl<'s> Lagging<'s> {
    fn new(sidecar: &'s Sidecar, server: &Sqld, folder: &Path) -> Self {
        let gate = Gate::before(server.address);
        let path = folder.join("r.db");
        let writer = open_at(sidecar, &gate.url(), &path, &[]).unwrap();
        sync(&writer).unwrap();
        gate.shut();
        assert_eq!(writer.query("INSERT INTO t VALUES (2)", list![]).unwrap().changes, 1);
        Lagging { gate, writer, path }
    }

    fn open(&self, options: &[(&str, Term)]) -> Conn<'s> {
        open_at(self.writer.sidecar(), &self.gate.url(), &self.path, options).unwrap()
    }
}

fn counted(conn: &Conn<'_>, options: &[(&str, Term)]) -> Result<i64, Failure> {
    let options = options.iter().map(|(key, value)| (Term::from(*key), value.clone())).collect();
    Ok(conn.query_with("SELECT count(*) FROM t", list![], Term::Map(options))?.value().int())
}

#[test]
fn what_one_connection_has_written_another_one_does_not_read_without() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let lagging = Lagging::new(&sidecar, &server, folder.path());
    let reader = lagging.open(&[]);
    for conn in [&reader, &lagging.writer] {
        let failure = counted(conn, &[]).unwrap_err();
        assert_eq!(failure.code, "remote_unavailable", "{failure:?}");
        assert!(failure.message.contains("consistency local"), "{failure:?}");
        assert_eq!(counted(conn, &[("consistency", atom("local"))]).unwrap(), 1);
    }
    lagging.gate.open();
    assert_eq!((counted(&reader, &[]).unwrap(), counted(&lagging.writer, &[]).unwrap()), (2, 2));
}

#[test]
fn what_is_missing_comes_by_itself_when_the_way_is_free_again() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let lagging = Lagging::new(&sidecar, &server, folder.path());
    assert!(!status(&lagging.writer).get("error").is_nil());
    lagging.gate.open();
    let local = [("consistency", atom("local"))];
    eventually("the row comes", || counted(&lagging.writer, &local).unwrap() == 2);
}

#[test]
fn clients_are_told_when_a_replica_is_not_synced_any_more_and_when_it_is_again() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let lagging = Lagging::new(&sidecar, &server, folder.path());
    let told = || {
        let event = sidecar.receive_within(0, Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(event.tag, 110);
        let [database, failure] = event.payload.items() else { panic!("{event:?}") };
        assert_eq!(Path::new(database.text()), lagging.path.canonicalize().unwrap());
        failure.clone()
    };
    assert_eq!(told().items()[0].int(), 95);
    // Once for however many that fail.
    sync(&lagging.writer).unwrap_err();
    lagging.gate.open();
    sync(&lagging.writer).unwrap();
    assert!(told().is_nil());
}

#[test]
fn a_read_that_allows_for_less_goes_to_the_server_or_fails() {
    let Some(server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let lagging = Lagging::new(&sidecar, &server, folder.path());
    let local = ("consistency", atom("local"));
    let (short, long) = (("max_lag_ms", Term::from(1)), ("max_lag_ms", Term::from(86_400_000)));
    eventually("it gets older", || status(&lagging.writer).get("age_ms").int() > 1);
    assert_eq!(counted(&lagging.writer, &[local.clone(), short.clone()]).unwrap(), 2, "of the server");
    assert_eq!(counted(&lagging.writer, &[local.clone(), long.clone()]).unwrap(), 1, "of the file");
    let strict = lagging.open(&[local.clone(), short.clone(), ("when_stale", atom("error"))]);
    let failure = counted(&strict, &[]).unwrap_err();
    assert_eq!(failure.code, "too_stale", "{failure:?}");
    assert!(failure.message.contains("last sync failed"), "{failure:?}");
    assert_eq!(counted(&strict, &[long]).unwrap(), 1, "a query says otherwise");
    assert_eq!(strict.begin("read_only").unwrap_err().code, "too_stale");
    let reader = lagging.open(&[local, short, ("mode", atom("read_only"))]);
    assert_eq!(counted(&reader, &[]).unwrap_err().code, "too_stale", "which never asks the server");
    lagging.gate.open();
    assert_eq!(counted(&strict, &[("consistency", atom("latest"))]).unwrap(), 2);
}

#[test]
fn what_was_written_is_known_by_its_frame_in_its_log() {
    let Some(mut server) = server_with(1) else { return };
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let conn = open(&sidecar, &server, &folder.path().join("r.db"), &[]).unwrap();
    assert!(sync(&conn).unwrap().get("write_index").is_nil());
    conn.exec("INSERT INTO t VALUES (2)");
    let written = status(&conn);
    assert_eq!(written.get("write_index"), written.get("index"));
    server.execute(&["INSERT INTO t VALUES (3)"]);
    let later = sync(&conn).unwrap();
    assert_eq!(later.get("write_index"), written.get("write_index"));
    assert!(later.get("index").int() > later.get("write_index").int());
    server.kill();
    server.go();
    let of_another_log = sync(&conn).unwrap();
    assert_ne!(of_another_log.get("log"), later.get("log"));
    assert!(of_another_log.get("write_index").is_nil());
}
