//! Readers and writers of a replica while its server is killed, stopped and cut off: what is read was committed once, whole, has all
//! that was acknowledged before, and never goes back.

use super::gate::Gate;
use super::*;
use crate::list;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

/// A fault in each.
const ROUNDS: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    Failed,
    Unknown,
}

/// Writes two rows in a transaction or a batch, and says what was told of it.
fn write(conn: &Conn<'_>, n: i64) -> Told {
    let outcome = if n % 2 == 0 {
        let half = "INSERT INTO ledger VALUES (?, ?)";
        conn.batch(true, &[(half, list![n, 0]), (half, list![n, 1])]).map(|_| ())
    } else {
        in_transaction(conn, n)
    };
    match outcome {
        Ok(()) => Told::Committed,
        Err(failure) => {
            if failure.tx_status != Some(0) {
                let _ = conn.rollback();
            }
            match &*failure.code {
                "outcome_unknown" => Told::Unknown,
                "transaction_lost" | "remote_unavailable" | "busy" | "timeout" => Told::Failed,
                _ => panic!("{n}: {failure:?}"),
            }
        }
    }
}

fn in_transaction(conn: &Conn<'_>, n: i64) -> Result<(), Failure> {
    conn.begin("immediate")?;
    for half in 0..2 {
        conn.query("INSERT INTO ledger VALUES (?, ?)", list![n, half])?;
    }
    conn.commit().map(|_| ())
}

/// Halves, and transactions that are there.
fn state(conn: &Conn<'_>, consistency: &str) -> Result<(i64, i64), Failure> {
    let options = map([("consistency", consistency)]);
    let sql = "SELECT count(*), count(DISTINCT n) FROM ledger";
    let outcome = conn.query_with(sql, list![], options)?;
    Ok((outcome.rows[0][0].int(), outcome.rows[0][1].int()))
}

#[test]
fn what_is_read_was_committed_whole_and_never_goes_back() {
    let Some(mut server) = Sqld::start() else { return };
    server.execute(&["CREATE TABLE ledger(n INT, half INT, PRIMARY KEY (n, half))"]);
    let gate = Gate::before(server.address);
    let (sidecar, folder) = (Sidecar::start(), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.db");
    let options = [("connect_timeout_ms", Term::from(2000)), ("sync_silence_ms", Term::from(2000))];
    let opened = || open_at(&sidecar, &gate.url(), &path, &options).unwrap().within(10_000);
    let writers: Vec<_> = (0..2).map(|_| opened()).collect();
    let readers: Vec<_> = (0..2).map(|_| opened()).collect();
    let (acknowledged, reads, over) = (AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false));
    let mut told = BTreeMap::new();
    thread::scope(|scope| {
        let (acknowledged, reads, over) = (&acknowledged, &reads, &over);
        let writing: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(which, conn)| {
                scope.spawn(move || {
                    let mut told = Vec::new();
                    let mut n = 1_000_000 * which as i64;
                    while !over.load(Ordering::SeqCst) {
                        n += 1;
                        told.push((n, write(conn, n)));
                        if told.last().is_some_and(|last| last.1 == Told::Committed) {
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    told
                })
            })
            .collect();
        for (which, conn) in readers.iter().enumerate() {
            scope.spawn(move || {
                let mut last = 0;
                while !over.load(Ordering::SeqCst) {
                    let before = acknowledged.load(Ordering::SeqCst);
                    let consistency = if which == 0 { "read_your_writes" } else { "local" };
                    let (halves, whole) = match state(conn, consistency) {
                        Ok(state) => state,
                        Err(failure) => {
                            assert_eq!(which, 0, "whoever reads the file needs no server: {failure:?}");
                            assert!(
                                ["remote_unavailable", "timeout"].contains(&&*failure.code),
                                "{failure:?}"
                            );
                            continue;
                        }
                    };
                    assert_eq!(halves, 2 * whole, "half of a transaction");
                    assert!(whole >= last, "backwards, from {last} to {whole}");
                    if which == 0 {
                        assert!(whole >= before, "{before} were acknowledged, {whole} are there");
                    }
                    last = whole;
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..ROUNDS {
            let (written, read) = (acknowledged.load(Ordering::SeqCst), reads.load(Ordering::SeqCst));
            eventually("some more commits and reads", || {
                acknowledged.load(Ordering::SeqCst) > written + 2 && reads.load(Ordering::SeqCst) > read + 2
            });
            match round % 4 {
                0 => {
                    server.kill();
                    server.go();
                }
                1 => gate.cut_after(i64::from(round) * 997),
                2 => {
                    server.stop();
                    thread::sleep(Duration::from_millis(300));
                    server.go_on();
                }
                _ => {
                    gate.shut();
                    thread::sleep(Duration::from_millis(300));
                    gate.open();
                }
            }
        }
        over.store(true, Ordering::SeqCst);
        for writing in writing {
            told.extend(writing.join().unwrap());
        }
    });
    // The replica and its server are one again.
    let conn = open_at(&sidecar, &gate.url(), &path, &[]).unwrap();
    sync(&conn).unwrap();
    assert_eq!(conn.value("PRAGMA integrity_check").text(), "ok");
    let rows = conn.exec("SELECT n, count(*) FROM ledger GROUP BY n").rows;
    let there: BTreeMap<i64, i64> = rows.iter().map(|row| (row[0].int(), row[1].int())).collect();
    for (&n, &told) in &told {
        let halves = there.get(&n).copied().unwrap_or(0);
        match told {
            Told::Committed => assert_eq!(halves, 2, "{n} was acknowledged"),
            Told::Failed => assert_eq!(halves, 0, "{n} has failed, and is there"),
            Told::Unknown => assert!(halves == 0 || halves == 2, "{n} is there by half"),
        }
    }
    let remote = sidecar.open_with("", map([("url", &*server.url())])).unwrap();
    assert_eq!(remote.exec("SELECT n, count(*) FROM ledger GROUP BY n").rows, rows);
    let counted = |wanted| told.values().filter(|told| **told == wanted).count();
    assert!(counted(Told::Committed) > 0 && counted(Told::Failed) > 0, "{told:?}");
}
