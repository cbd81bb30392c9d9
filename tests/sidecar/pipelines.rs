//! Random pipelines: requests on several connections of one program, sent without waiting, with cancellations, closes,
//! deadlines and lock timeouts among them. Every request is answered once, by an answer that what was done to it allows;
//! in the end the file holds what was acknowledged, and nothing that was refused.

use crate::list;
use crate::seeds::{each_seed, one_of};
use crate::support::*;
use crate::term::*;
use crate::tuple;
use fastrand::Rng;
use std::collections::{BTreeSet, HashMap, HashSet};

const REQUESTS: usize = 80;
const CONNECTIONS: usize = 3;

/// What a request is, for the one that judges its answer.
#[derive(Debug, Clone)]
enum Kind {
    /// Writes this row by itself.
    Insert(i64),
    /// Begins a transaction, writes a row in it, or tries to end it whatever became of it.
    Inside,
    /// Commits these rows.
    Commit(Vec<i64>),
    /// Yields so many rows.
    Stream(u32),
    /// Has to be stopped.
    Endless,
    /// Stops that request.
    Cancel(u32),
    Close,
}

#[derive(Debug)]
struct Sent {
    id: u32,
    connection: usize,
    kind: Kind,
    deadline: bool,
    lock_timeout: bool,
}

/// What came for one request.
struct Answer {
    rows: Vec<i64>,
    closing: Result<Term, Failure>,
}

struct Pipeline<'s> {
    sidecar: &'s Sidecar,
    path: std::path::PathBuf,
    /// Ids of connections as they were opened; the last ones are open.
    opened: Vec<i64>,
    open: Vec<usize>,
    closed: HashSet<usize>,
    sent: Vec<Sent>,
    next_row: i64,
    next_transaction: u32,
}

impl<'s> Pipeline<'s> {
    fn new(sidecar: &'s Sidecar, path: &std::path::Path) -> Self {
        let mut pipeline = Pipeline {
            sidecar,
            path: path.to_owned(),
            opened: Vec::new(),
            open: Vec::new(),
            closed: HashSet::new(),
            sent: Vec::new(),
            next_row: 1,
            next_transaction: 1,
        };
        for _ in 0..CONNECTIONS {
            let connection = pipeline.connect();
            pipeline.open.push(connection);
        }
        pipeline
    }

    fn connect(&mut self) -> usize {
        self.opened.push(self.sidecar.open(&self.path).id);
        self.opened.len() - 1
    }

    fn new_row(&mut self) -> i64 {
        self.next_row += 1;
        self.next_row
    }

    fn send(&mut self, connection: usize, kind: Kind, tag: u8, payload: &Term) -> u32 {
        let id = self.sidecar.send(tag, payload);
        eprintln!("{id} to {connection}: {kind:?}");
        self.sent.push(Sent { id, connection, kind, deadline: false, lock_timeout: false });
        id
    }

    /// Within a time that may pass, and with a wait for locks that may.
    fn send_impatient(
        &mut self,
        rng: &mut Rng,
        connection: usize,
        kind: Kind,
        sql: &str,
        options: Term,
    ) -> u32 {
        let deadline_ms = one_of(rng, &[0, 0, 0, 1, 2, 5, 20]);
        let lock_timeout_ms = one_of(rng, &[None, None, None, Some(0), Some(3)]);
        let timeout = match lock_timeout_ms {
            Some(lock_timeout_ms) => tuple![deadline_ms, lock_timeout_ms],
            None => Term::from(deadline_ms),
        };
        let payload = tuple![self.opened[connection], timeout, sql, list![], options];
        let id = self.send(connection, kind, tag::EXECUTE, &payload);
        let sent = self.sent.last_mut().unwrap();
        sent.deadline = deadline_ms > 0;
        sent.lock_timeout = lock_timeout_ms.is_some();
        id
    }

    fn step(&mut self, rng: &mut Rng) {
        let slot = rng.usize(..self.open.len());
        let connection = self.open[slot];
        match rng.u32(..20) {
            0..=6 => {
                let row = self.new_row();
                let sql = format!("INSERT INTO t VALUES ({row})");
                self.send_impatient(rng, connection, Kind::Insert(row), &sql, Term::Map(Vec::new()));
            }
            7..=8 => self.stream(rng, connection),
            9..=10 => self.transaction(rng, connection),
            11..=12 => {
                self.send_impatient(rng, connection, Kind::Endless, ENDLESS, Term::Map(Vec::new()));
            }
            13..=17 => self.cancel_one(rng),
            18 => {
                self.close(connection);
                self.open[slot] = self.connect();
            }
            // One that has been closed.
            _ if !self.closed.is_empty() => {
                let closed: Vec<_> = self.closed.iter().copied().collect();
                let row = self.new_row();
                let sql = format!("INSERT INTO t VALUES ({row})");
                let connection = one_of(rng, &closed);
                self.send_impatient(rng, connection, Kind::Insert(row), &sql, Term::Map(Vec::new()));
            }
            _ => {}
        }
    }

    fn stream(&mut self, rng: &mut Rng, connection: usize) {
        let rows = one_of(rng, &[10, 300]);
        let options = map([("credits", rng.i32(0..3)), ("chunk_bytes", 100)]);
        let id = self.send_impatient(rng, connection, Kind::Stream(rows), &numbers(rows), options);
        if rng.bool() {
            let credit = tuple![self.opened[connection], 1000];
            self.sidecar.send_as(id, tag::CREDIT, &credit);
        }
    }

    /// Its rows are there if and only if the commit is acknowledged: the rollback behind it ends it in any case.
    fn transaction(&mut self, rng: &mut Rng, connection: usize) {
        let number = self.next_transaction;
        self.next_transaction += 1;
        let address = tuple![self.opened[connection], number];
        let begin = tuple![address.clone(), one_of(rng, &[0, 0, 5]), atom("immediate")];
        self.send(connection, Kind::Inside, tag::BEGIN, &begin);
        self.sent.last_mut().unwrap().deadline = true;
        let rows: Vec<_> = (0..rng.usize(1..3)).map(|_| self.new_row()).collect();
        for row in &rows {
            let insert =
                tuple![address.clone(), 0, format!("INSERT INTO t VALUES ({row})").as_str(), list![]];
            self.send(connection, Kind::Inside, tag::EXECUTE, &insert);
        }
        self.send(connection, Kind::Commit(rows), tag::COMMIT, &tuple![address.clone(), 0]);
        self.send(connection, Kind::Inside, tag::ROLLBACK, &tuple![address, 0]);
    }

    fn cancel_one(&mut self, rng: &mut Rng) {
        let recent = self.sent.len().saturating_sub(12);
        let Some(sent) = self.sent[recent..].get(rng.usize(..12)) else { return };
        // What ends a transaction has to run.
        let kept = matches!(sent.kind, Kind::Inside | Kind::Cancel(_) | Kind::Close);
        let (connection, request) = (sent.connection, sent.id);
        if !kept {
            self.cancel(connection, request);
        }
    }

    fn cancel(&mut self, connection: usize, request: u32) {
        let payload = tuple![self.opened[connection], request];
        self.send(connection, Kind::Cancel(request), tag::CANCEL, &payload);
    }

    fn close(&mut self, connection: usize) {
        self.send(connection, Kind::Close, tag::CLOSE, &tuple![self.opened[connection], 0]);
        self.closed.insert(connection);
    }

    /// Reads everything that is owed, judges it, and returns the rows that have been acknowledged.
    fn judge(&mut self) -> BTreeSet<i64> {
        let endless: Vec<_> = self.sent.iter().filter(|sent| matches!(sent.kind, Kind::Endless)).collect();
        for (connection, id) in endless.iter().map(|sent| (sent.connection, sent.id)).collect::<Vec<_>>() {
            self.cancel(connection, id);
        }
        let answers: HashMap<u32, Answer> =
            self.sent.iter().map(|sent| (sent.id, self.receive(sent))).collect();
        let told = |request: u32| {
            self.sent.iter().any(|sent| {
                matches!(sent.kind, Kind::Cancel(cancelled) if cancelled == request)
                    && answers[&sent.id].closing == Ok(true.into())
            })
        };
        let mut acknowledged = BTreeSet::new();
        for sent in &self.sent {
            let Answer { rows, closing } = &answers[&sent.id];
            let closed = self.closed.contains(&sent.connection);
            match closing {
                Ok(_) => match &sent.kind {
                    Kind::Insert(row) => acknowledged.extend([*row]),
                    Kind::Commit(rows) => acknowledged.extend(rows),
                    Kind::Stream(count) => {
                        assert!((1..=i64::from(*count)).eq(rows.iter().copied()), "{rows:?}")
                    }
                    Kind::Endless => panic!("{sent:?} has no end"),
                    Kind::Inside | Kind::Cancel(_) | Kind::Close => {}
                },
                Err(failure) => {
                    let inside = matches!(sent.kind, Kind::Inside | Kind::Commit(_));
                    let allowed = match failure.code.as_str() {
                        "timeout" => sent.deadline,
                        "busy" => sent.lock_timeout,
                        "cancelled" => told(sent.id),
                        "connection_closed" | "unknown_connection" => closed,
                        "no_transaction" => inside,
                        _ => false,
                    };
                    assert!(allowed, "{sent:?} was answered {failure:?}");
                }
            }
        }
        acknowledged
    }

    /// All frames of one request; each chunk earns a credit.
    fn receive(&self, sent: &Sent) -> Answer {
        let credit = || {
            let credit = tuple![self.opened[sent.connection], 1];
            self.sidecar.send_as(sent.id, tag::CREDIT, &credit);
        };
        if let Kind::Stream(_) = sent.kind {
            // It may have begun without any.
            credit();
        }
        let mut rows = Vec::new();
        let mut add = |list: &Term| rows.extend(rows_of(list).iter().map(|row| row[0].int()));
        loop {
            let frame = self.sidecar.receive(sent.id);
            let closing = match frame.tag {
                tag::ROWS => {
                    add(&frame.payload);
                    credit();
                    continue;
                }
                tag::RESULT => {
                    add(&frame.payload.items()[0]);
                    Ok(nil())
                }
                tag::OK => Ok(frame.payload),
                tag::ERROR => Err(Failure::of(&frame.payload)),
                other => panic!("tag {other} for {sent:?}"),
            };
            return Answer { rows, closing };
        }
    }
}

#[test]
fn every_request_is_answered_once_and_the_file_holds_what_was_acknowledged() {
    each_seed(12, |rng| {
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let conn = sidecar.open(&path);
        conn.exec("CREATE TABLE t(a INTEGER PRIMARY KEY)");
        let mut pipeline = Pipeline::new(&sidecar, &path);
        for _ in 0..REQUESTS {
            pipeline.step(rng);
        }
        let acknowledged = pipeline.judge();
        let rows = conn.exec("SELECT a FROM t ORDER BY a").rows;
        let there: BTreeSet<_> = rows.iter().map(|row| row[0].int()).collect();
        assert_eq!(
            there,
            acknowledged,
            "acknowledged, but not there: {:?}; there, but refused: {:?}",
            acknowledged.difference(&there),
            there.difference(&acknowledged)
        );
        assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
        let status = sidecar.status();
        assert_eq!(status.get("connections").int(), 1 + CONNECTIONS as i64);
        assert_eq!(status.get("queued_requests").int(), 0);
        for file in status.get("files").items() {
            assert_eq!((file.get("writer"), file.get("waiting").int()), (&nil(), 0));
        }
        sidecar.end();
        assert_eq!(sidecar.unread(), [0; 0], "requests that were answered again");
    });
}
