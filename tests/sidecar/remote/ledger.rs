//! Acknowledged commits across kills of the server: each is there exactly once, none is there by half, and what failed is not
//! there, but for what was called unknown.

use super::open_with;
use crate::list;
use crate::sqld::Sqld;
use crate::support::{eventually, Conn, Sidecar};
use crate::term::Term;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Rounds of a run; a kill in each.
const ROUNDS: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    Failed,
    Unknown,
}

/// Writes two rows in a transaction, and says what was told of it.
fn write(conn: &Conn<'_>, n: i64) -> Told {
    let told = |code: &str| match code {
        "outcome_unknown" => Told::Unknown,
        "transaction_lost" | "remote_unavailable" => Told::Failed,
        other => panic!("{n}: {other}"),
    };
    if conn.begin("immediate").is_err() {
        return Told::Failed;
    }
    let outcome = conn
        .query("INSERT INTO ledger VALUES (?, 'a')", list![n])
        .and_then(|_| conn.query("INSERT INTO ledger VALUES (?, 'b')", list![n]))
        .and_then(|_| conn.commit());
    match outcome {
        Ok(_) => Told::Committed,
        Err(failure) => {
            if failure.tx_status != Some(0) {
                conn.rollback().unwrap();
            }
            told(&failure.code)
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_once_and_whole() {
    let Some(mut server) = Sqld::start() else { return };
    let sidecar = Sidecar::start();
    let options = [("connect_timeout_ms", Term::from(5000))];
    let conns: Vec<_> = (0..2).map(|_| open_with(&sidecar, &server.url(), &options).unwrap()).collect();
    conns[0].exec("CREATE TABLE ledger(n INT, half TEXT, PRIMARY KEY (n, half))");
    let mut told = HashMap::new();
    let mut first = 1;
    for round in 0..ROUNDS {
        let (committed, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let conns = &conns;
        std::thread::scope(|scope| {
            let (committed, over) = (&committed, &over);
            let write_on = move |conn: usize| {
                let mut told = Vec::new();
                let mut n = first + 100_000 * conn as i64;
                while !over.load(Ordering::SeqCst) {
                    told.push((n, write(&conns[conn], n)));
                    committed.fetch_add(
                        u32::from(told.last().map(|last| last.1) == Some(Told::Committed)),
                        Ordering::SeqCst,
                    );
                    n += 1;
                }
                told
            };
            let writers: Vec<_> = (0..conns.len()).map(|conn| scope.spawn(move || write_on(conn))).collect();
            eventually("some commits", || committed.load(Ordering::SeqCst) > round % 4);
            server.kill();
            over.store(true, Ordering::SeqCst);
            writers.into_iter().for_each(|writer| told.extend(writer.join().unwrap()));
        });
        server.go();
        first += 1000;
    }
    // The circuit breaker lets nothing through before its next probe is answered.
    eventually("an answer", || conns[0].query("SELECT 1", list![]).is_ok());
    let rows = conns[0].exec("SELECT n, count(*) FROM ledger GROUP BY n").rows;
    let there: HashMap<i64, i64> = rows.iter().map(|row| (row[0].int(), row[1].int())).collect();
    for (&n, &told) in &told {
        let halves = there.get(&n).copied().unwrap_or(0);
        match told {
            Told::Committed => assert_eq!(halves, 2, "{n} was acknowledged"),
            Told::Failed => assert_eq!(halves, 0, "{n} has failed, and is there"),
            Told::Unknown => assert!(halves == 0 || halves == 2, "{n} is there by half"),
        }
    }
    let count = |wanted| told.values().filter(|told| **told == wanted).count();
    assert!(count(Told::Committed) > 0 && count(Told::Failed) > 0, "{told:?}");
}
