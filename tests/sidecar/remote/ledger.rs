//! Acknowledged commits across kills of the server: each is there exactly once, none is there by half, and what failed is not
//! there, but for what was called unknown.

use super::open_with;
use crate::sqld::Sqld;
use crate::support::{Conn, Sidecar};
use crate::term::Term;
use crate::list;
use std::collections::HashMap;

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
    let mut n = 0;
    for round in 0..ROUNDS {
        std::thread::scope(|scope| {
            let writers: Vec<_> = conns
                .iter()
                .zip([n + 1, n + 1001])
                .map(|(conn, first)| scope.spawn(move || (first..first + 8).map(|n| (n, write(conn, n))).collect::<Vec<_>>()))
                .collect();
            std::thread::sleep(std::time::Duration::from_millis(u64::from(5 + 7 * round)));
            server.kill();
            writers.into_iter().for_each(|writer| told.extend(writer.join().unwrap()));
        });
        server.go();
        n += 2000;
    }
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
