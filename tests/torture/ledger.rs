//! A ledger: what an answered write promised, kept outside of the database. Each worker writes transactions of one to
//! three rows in the forms that clients use, and notes how each was answered.

use crate::client::{self, Answer};
use crate::support::{tag, Conn, Sidecar};
use crate::term::{atom, map, Term};
use crate::{list, tuple};
use fastrand::Rng;
use std::collections::HashSet;
use std::path::Path;

/// The tables. The trigger makes every row two writes, the index a third.
pub const SCHEMA: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS ledger(worker INTEGER, txn INTEGER, part INTEGER, size INTEGER, filler BLOB,
       PRIMARY KEY(worker, txn, part))",
    "CREATE TABLE IF NOT EXISTS totals(worker INTEGER PRIMARY KEY, parts INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS ledger_filler ON ledger(length(filler), txn)",
    "CREATE TRIGGER IF NOT EXISTS ledger_total AFTER INSERT ON ledger BEGIN
       INSERT INTO totals VALUES (new.worker, 1) ON CONFLICT DO UPDATE SET parts = parts + 1; END",
];

const INSERT: &str = "INSERT INTO ledger VALUES (?, ?, ?, ?, randomblob(?))";

/// SQLITE_IOERR_FSYNC. The engine has undone a commit whose sync failed, but its frames are in the log: if no other
/// commit overwrites them before the log is read anew, the transaction is there. docs/guides/errors.md says so.
const SYNC_FAILED: i64 = 1034;

/// What one worker was told about its transactions, which are numbered from 1 without a gap.
#[derive(Debug, Default)]
pub struct Notes {
    pub worker: i64,
    pub last: i64,
    pub acknowledged: Vec<i64>,
    pub refused: Vec<i64>,
}

impl Notes {
    pub fn of(worker: i64) -> Self {
        Notes { worker, ..Notes::default() }
    }

    /// One transaction, its form by chance. False if the program is gone.
    pub fn write(&mut self, conn: &Conn, rng: &mut Rng) -> bool {
        self.last += 1;
        let (worker, txn) = (self.worker, self.last);
        let size = rng.i64(1..=3);
        let row = |part: i64, rng: &mut Rng| {
            let filler = if rng.u8(..) == 0 { rng.i64(20_000..60_000) } else { rng.i64(0..600) };
            list![worker, txn, part, size, filler]
        };
        let answer = match rng.u8(0..3) {
            0 if size == 1 => client::run(conn, INSERT, row(1, rng)),
            0 | 1 => {
                let items = (1..=size).map(|part| tuple![INSERT, row(part, rng)]).collect();
                batch(client::request(conn, tag::BATCH, [true.into(), Term::List(items)]))
            }
            _ => explicit(conn, (1..=size).map(|part| row(part, rng)).collect()),
        };
        match answer {
            Answer::Done(_) => self.acknowledged.push(txn),
            Answer::Refused(failure) if failure.sqlite_code == Some(SYNC_FAILED) => {}
            Answer::Refused(_) => self.refused.push(txn),
            Answer::Gone => return false,
        }
        true
    }
}

/// A batch answers with its items' errors inside.
fn batch(answer: Answer) -> Answer {
    let Answer::Done(rows) = &answer else { return answer };
    let items = rows[0][0].items()[0].items();
    let failed = items.iter().find_map(|item| match item.items() {
        [Term::Atom(error), payload] if error == "error" => Some(crate::support::Failure::of(payload)),
        _ => None,
    });
    failed.map_or(answer, Answer::Refused)
}

fn explicit(conn: &Conn, rows: Vec<Term>) -> Answer {
    let begun = client::request(conn, tag::BEGIN, [atom("immediate")]);
    if !begun.done() {
        return begun;
    }
    for row in rows {
        let answer = client::run(conn, INSERT, row);
        if !answer.done() {
            return undone(conn, answer);
        }
    }
    match client::request(conn, tag::COMMIT, []) {
        refused @ Answer::Refused(_) => undone(conn, refused),
        other => other,
    }
}

/// The answer after which a transaction is rolled back, if the engine has not done so itself.
fn undone(conn: &Conn, answer: Answer) -> Answer {
    match client::request(conn, tag::ROLLBACK, []) {
        Answer::Gone => Answer::Gone,
        _ => answer,
    }
}

/// Options of a connection that syncs each commit, or does not.
pub fn options(synchronous: &str) -> Term {
    map([("pragmas", map([("synchronous", synchronous)]))])
}

/// Makes the tables of a new file.
pub fn create(sidecar: &Sidecar, path: &Path) {
    let conn = client::open(sidecar, path, options("full")).unwrap();
    schema(&conn).rows();
    conn.close();
}

/// Makes the tables that are missing: all or none.
pub fn schema(conn: &Conn) -> Answer {
    let items = SCHEMA.iter().map(|sql| tuple![*sql, list![]]).collect();
    batch(client::request(conn, tag::BATCH, [true.into(), Term::List(items)]))
}

/// What the file holds, as far as the ledger is concerned.
pub struct Held {
    transactions: HashSet<(i64, i64)>,
}

impl Held {
    /// Reads a file; fails if it is damaged, or holds a part of a transaction.
    #[track_caller]
    pub fn read(conn: &Conn) -> Held {
        let rows = |sql: &str| client::run(conn, sql, list![]).rows();
        assert_eq!(rows("PRAGMA integrity_check"), [[Term::from("ok")]]);
        let half = rows(
            "SELECT worker, txn, count(*), max(size) FROM ledger GROUP BY worker, txn HAVING count(*) <> max(size)",
        );
        assert!(half.is_empty(), "half of a transaction: {half:?}");
        let totals = rows(
            "SELECT worker, t.parts, l.parts FROM totals t
               FULL JOIN (SELECT worker, count(*) AS parts FROM ledger GROUP BY worker) l USING (worker)
             WHERE t.parts IS NOT l.parts",
        );
        assert!(totals.is_empty(), "the trigger's total is another: {totals:?}");
        let transactions = rows("SELECT DISTINCT worker, txn FROM ledger");
        Held { transactions: transactions.iter().map(|row| (row[0].int(), row[1].int())).collect() }
    }

    /// Each acknowledged transaction is there, and none that was refused.
    #[track_caller]
    pub fn check(&self, notes: &Notes) {
        for txn in &notes.acknowledged {
            assert!(self.holds(notes.worker, *txn), "worker {}: acknowledged {txn} is lost", notes.worker);
        }
        for txn in &notes.refused {
            assert!(!self.holds(notes.worker, *txn), "worker {}: refused {txn} is there", notes.worker);
        }
    }

    pub fn holds(&self, worker: i64, txn: i64) -> bool {
        self.transactions.contains(&(worker, txn))
    }
}
