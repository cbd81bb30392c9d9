//! Random programs of requests on one connection, beside a model of one table with transactions. After each request its
//! reply, the transaction status, the holder of the writer turn and what another connection sees are the model's.

use crate::list;
use crate::model::{inserted, pairs_of, Cursor, Model, Or, Sql, Writing, CONFLICT};
use crate::seeds::{each_seed, one_of};
use crate::support::*;
use crate::term::*;
use fastrand::Rng;
use std::cell::Cell;

const STEPS: usize = 60;

type Expected = Result<i64, &'static str>;

/// A program that runs.
struct Program<'s> {
    conn: Conn<'s>,
    other: Conn<'s>,
    path: String,
    model: Model,
}

impl Program<'_> {
    fn step(&mut self, rng: &mut Rng) {
        if self.model.writing.is_some() && rng.bool() {
            return match rng.u32(..8) {
                0 => self.close_writing(),
                _ => self.fetch_writing(rng),
            };
        }
        match rng.u32(..20) {
            0..=6 => self.execute(&Sql::random(rng)),
            7..=9 => self.command(rng),
            10 => self.batch(rng),
            11 => self.atomic_batch(rng),
            12 => self.script(rng),
            13..=14 => self.prepared(rng),
            15 => self.declare(),
            16..=17 => self.fetch(rng),
            18 if self.model.transaction.is_none() => self.declare_writing(rng),
            19 if rng.u32(..8) == 0 => self.reset(),
            _ => self.close_cursor(rng),
        }
    }

    fn assert_outcome(&self, sql: &Sql, expected: Expected, outcome: Result<Outcome, Failure>) {
        match (expected, outcome) {
            (Ok(changes), Ok(outcome)) => {
                assert_eq!((outcome.changes, outcome.tx_status), (changes, self.model.status()), "{sql:?}");
                if let Sql::Select = sql {
                    assert_eq!(pairs(&outcome.rows), pairs_of(&self.model.rows));
                }
            }
            (Err(code), Err(failure)) => self.assert_failure(code, &failure),
            (expected, outcome) => panic!("{expected:?} was expected: {outcome:?}"),
        }
    }

    fn assert_failure(&self, code: &str, failure: &Failure) {
        assert_eq!(
            (failure.code.as_str(), failure.tx_status),
            (code, Some(self.model.status())),
            "{failure:?}"
        );
    }

    fn assert_status(&self, expected: Expected, answer: Result<i64, Failure>) {
        match (expected, answer) {
            (Ok(_), Ok(status)) => assert_eq!(status, self.model.status()),
            (Err(code), Err(failure)) => self.assert_failure(code, &failure),
            (expected, answer) => panic!("{expected:?} was expected: {answer:?}"),
        }
    }

    fn execute(&mut self, sql: &Sql) {
        eprintln!("{sql:?}");
        let expected = self.model.execute(sql);
        let outcome = self.conn.query(&sql.text(), list![]);
        self.assert_outcome(sql, expected, outcome);
    }

    fn command(&mut self, rng: &mut Rng) {
        if self.model.transaction.is_none() && self.model.writing.is_none() && rng.bool() {
            let mode = one_of(rng, &["deferred", "immediate", "exclusive", "read_only"]);
            eprintln!("begin {mode}");
            self.model.begin(
                if matches!(mode, "deferred" | "read_only") { 1 } else { 3 },
                mode == "read_only",
                None,
            );
            assert_eq!(self.conn.begin(mode).unwrap(), self.model.status());
            return;
        }
        let sql = loop {
            let sql = Sql::random(rng);
            if sql.is_transaction() {
                break sql;
            }
        };
        eprintln!("command {sql:?}");
        let expected = self.model.command(&sql);
        let named = |tag: u8, name: &str| self.conn.call(tag, [name.into()]).map(|status| status.int());
        let answer = match &sql {
            Sql::Begin => self.conn.begin("deferred"),
            Sql::BeginImmediate => self.conn.begin("immediate"),
            Sql::Commit => self.conn.commit(),
            Sql::Rollback => self.conn.rollback(),
            Sql::Savepoint(name) => named(tag::SAVEPOINT, name),
            Sql::Release(name) => named(tag::RELEASE, name),
            Sql::RollbackTo(name) => named(tag::ROLLBACK_TO, name),
            _ => unreachable!(),
        };
        self.assert_status(expected, answer);
    }

    fn batch(&mut self, rng: &mut Rng) {
        let items: Vec<_> = (0..rng.usize(..5)).map(|_| Sql::random(rng)).collect();
        eprintln!("batch {items:?}");
        self.model.read_ahead();
        let expected: Vec<_> = items.iter().map(|sql| self.model.run(sql)).collect();
        let (results, status) = self.send_batch(false, &items).unwrap();
        assert_eq!(results.len(), items.len());
        for (expected, result) in expected.iter().zip(&results) {
            match (expected, result) {
                (Ok(changes), Ok((_, counted, _))) => assert_eq!(changes, counted),
                (Err(code), Err(failure)) => assert_eq!(code, &failure.code),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(status, self.model.status());
    }

    fn atomic_batch(&mut self, rng: &mut Rng) {
        let mut items: Vec<_> = (0..rng.usize(..4)).map(|_| Sql::random_row_sql(rng)).collect();
        if rng.u32(..8) == 0 {
            items.push(Sql::Commit);
        }
        eprintln!("atomic batch {items:?}");
        self.model.read_ahead();
        let expected = self.model.atomic(&items);
        match (expected, self.send_batch(true, &items)) {
            (Ok(changes), Ok((results, status))) => {
                let counted: Vec<_> = results.into_iter().map(|result| result.unwrap().1).collect();
                assert_eq!((counted, status), (changes, self.model.status()));
            }
            (Err((index, code)), Err(failure)) => {
                assert_eq!(failure.index, index);
                self.assert_failure(code, &failure);
            }
            (expected, answer) => panic!("{expected:?} was expected: {answer:?}"),
        }
    }

    fn send_batch(&self, atomic: bool, items: &[Sql]) -> Result<(Vec<Item>, i64), Failure> {
        let texts: Vec<_> = items.iter().map(Sql::text).collect();
        let items: Vec<_> = texts.iter().map(|text| (text.as_str(), list![])).collect();
        self.conn.batch(atomic, &items)
    }

    fn script(&mut self, rng: &mut Rng) {
        let statements: Vec<_> = (0..rng.usize(1..5)).map(|_| Sql::random(rng)).collect();
        eprintln!("script {statements:?}");
        self.model.read_ahead();
        let expected = statements.iter().try_for_each(|sql| self.model.run(sql).map(|_| ()));
        let texts: Vec<_> = statements.iter().map(Sql::text).collect();
        match (expected, self.conn.script(&texts.join("; "))) {
            (Ok(()), Ok(answer)) => {
                assert_eq!(answer.items()[0].int(), statements.len() as i64);
                assert_eq!(answer.items()[2].int(), self.model.status());
            }
            (Err(code), Err(failure)) => self.assert_failure(code, &failure),
            (expected, answer) => panic!("{expected:?} was expected: {answer:?}"),
        }
    }

    fn prepared(&mut self, rng: &mut Rng) {
        if self.model.prepared.is_empty() || rng.u32(..4) == 0 {
            let sql = Sql::random(rng);
            eprintln!("prepare {sql:?}");
            // The schema is compared with the file's first.
            self.model.touch(2);
            match self.conn.call(tag::PREPARE, [sql.text().as_str().into()]) {
                Ok(answer) => self.model.prepared.push((answer.items()[0].clone(), sql)),
                Err(failure) => {
                    assert!(matches!(sql, Sql::Broken));
                    self.assert_failure("sql_error", &failure);
                }
            }
            return;
        }
        let at = rng.usize(..self.model.prepared.len());
        let (id, sql) = self.model.prepared[at].clone();
        if rng.u32(..4) == 0 {
            eprintln!("close prepared {sql:?}");
            self.conn.call(tag::CLOSE_STATEMENT, [id.clone()]).unwrap();
            self.model.prepared.remove(at);
            let id = self.conn.send(tag::EXECUTE_PREPARED, [id, list![]]);
            self.assert_failure("unknown_statement", &self.conn.outcome(id).unwrap_err());
            return;
        }
        eprintln!("prepared {sql:?}");
        let expected = self.model.execute(&sql);
        let id = self.conn.send(tag::EXECUTE_PREPARED, [id, list![]]);
        let outcome = self.conn.outcome(id);
        self.assert_outcome(&sql, expected, outcome);
    }

    fn declare(&mut self) {
        if self.model.cursors.len() >= 2 {
            return;
        }
        eprintln!("declare");
        let answer = self.conn.call(tag::DECLARE, [Sql::Select.text().as_str().into(), list![]]).unwrap();
        let left = pairs_of(&self.model.rows);
        let cursor = Cursor { id: answer.items()[0].clone(), left, stepped: false, ahead: false };
        self.model.cursors.push(cursor);
    }

    fn fetch(&mut self, rng: &mut Rng) {
        if self.model.cursors.is_empty() {
            return;
        }
        let at = rng.usize(..self.model.cursors.len());
        let count = rng.usize(1..4);
        eprintln!("fetch {count} of cursor {at}");
        let cursor = &mut self.model.cursors[at];
        let rows: Vec<_> = cursor.left.drain(..count.min(cursor.left.len())).collect();
        let (id, last, ahead) = (cursor.id.clone(), rows.len() < count, cursor.ahead);
        cursor.stepped = true;
        if !ahead {
            self.model.touch(2);
        }
        if last {
            self.model.cursors.remove(at);
        }
        let (fetched, was_last) = self.send_fetch(&id, count).unwrap();
        assert_eq!((fetched, was_last), (rows, last));
        if last {
            self.assert_failure("unknown_cursor", &self.send_fetch(&id, count).unwrap_err());
        }
    }

    fn send_fetch(&self, id: &Term, count: usize) -> Result<(Vec<(i64, i64)>, bool), Failure> {
        let request = self.conn.send(tag::FETCH, [id.clone(), count.into(), 0.into()]);
        let frame = self.conn.sidecar().receive(request);
        match frame.tag {
            tag::MORE_ROWS | tag::LAST_ROWS => {
                Ok((pairs(&rows_of(&frame.payload)), frame.tag == tag::LAST_ROWS))
            }
            tag::ERROR => Err(Failure::of(&frame.payload)),
            other => panic!("tag {other} in a fetch"),
        }
    }

    fn close_cursor(&mut self, rng: &mut Rng) {
        if self.model.cursors.is_empty() {
            return;
        }
        let at = rng.usize(..self.model.cursors.len());
        eprintln!("close cursor {at}");
        let cursor = self.model.cursors.remove(at);
        self.conn.call(tag::CLOSE_CURSOR, [cursor.id]).unwrap();
    }

    fn declare_writing(&mut self, rng: &mut Rng) {
        if self.model.writing.is_some() {
            return;
        }
        let rows = (0..rng.usize(1..4)).map(|_| (rng.i64(0..8), rng.i64(0..100))).collect();
        let sql = Sql::Insert(one_of(rng, &[Or::Abort, Or::Replace]), rows);
        eprintln!("declare {sql:?} RETURNING");
        let text = format!("{} RETURNING id, v", sql.text());
        let answer = self.conn.call(tag::DECLARE, [text.as_str().into(), list![]]).unwrap();
        self.model.writing = Some(Writing { id: answer.items()[0].clone(), sql, left: None });
    }

    fn fetch_writing(&mut self, rng: &mut Rng) {
        let Some(mut writing) = self.model.writing.take() else { return };
        let count = rng.usize(1..4);
        eprintln!("fetch {count} of the cursor that writes");
        // It has not written yet: it does so before it returns its first row.
        self.model.read_ahead();
        if writing.left.is_none() {
            let Sql::Insert(or, new) = &writing.sql else { unreachable!() };
            let (rows, _, conflict) = inserted(&self.model.rows, *or, new);
            if conflict {
                self.assert_failure(CONFLICT, &self.send_fetch(&writing.id, count).unwrap_err());
                return;
            }
            self.model.rows = rows;
            writing.left = Some(new.clone());
        }
        let left = writing.left.as_mut().unwrap();
        let rows: Vec<_> = left.drain(..count.min(left.len())).collect();
        let last = rows.len() < count;
        assert_eq!(self.send_fetch(&writing.id, count).unwrap(), (rows, last));
        if last {
            self.model.committed = self.model.rows.clone();
        } else {
            self.model.writing = Some(writing);
        }
    }

    fn close_writing(&mut self) {
        let Some(writing) = self.model.writing.take() else { return };
        eprintln!("close the cursor that writes");
        self.conn.call(tag::CLOSE_CURSOR, [writing.id]).unwrap();
        self.model.committed = self.model.rows.clone();
    }

    fn reset(&mut self) {
        eprintln!("reset");
        self.conn.call(tag::RESET, []).unwrap();
        self.model.end(false);
        self.model.cursors.clear();
        self.model.writing = None;
        self.model.prepared.clear();
    }

    /// What can be seen from outside.
    fn check(&self) {
        let status = self.conn.status();
        assert_eq!(status.get("tx_status").int(), self.model.status());
        assert_eq!(status.get("autocommit"), &Term::from(self.model.transaction.is_none()));
        let cursors = self.model.cursors.len() + usize::from(self.model.writing.is_some());
        assert_eq!(status.get("cursors").int(), cursors as i64);
        assert_eq!(status.get("statements").int(), self.model.prepared.len() as i64);
        let status = self.conn.sidecar().status();
        let file = status.get("files").items().iter().find(|file| file.get("path").text() == self.path);
        let holder = if self.model.holds_turn() { self.conn.id.into() } else { nil() };
        assert_eq!(file.unwrap().get("writer"), &holder);
        let seen = self.other.exec(&Sql::Select.text());
        assert_eq!(pairs(&seen.rows), pairs_of(&self.model.committed), "what another connection sees");
    }
}

fn pairs(rows: &[Vec<Term>]) -> Vec<(i64, i64)> {
    rows.iter().map(|row| (row[0].int(), row[1].int())).collect()
}

#[test]
fn a_connection_does_what_the_model_does() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::start();
    let programs = Cell::new(0);
    each_seed(40, |rng| {
        let path = folder.path().join(format!("{}.db", programs.replace(programs.get() + 1)));
        // No checkpoint takes the turn by itself.
        let options = || map([("checkpoint_idle", 0)]);
        let conn = sidecar.open_with(&path, options()).unwrap();
        let other = sidecar.open_with(&path, options()).unwrap();
        conn.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v INTEGER NOT NULL)");
        let path = conn.info.get("path").text().to_owned();
        let mut program = Program { conn, other, path, model: Model::default() };
        for _ in 0..STEPS {
            program.step(rng);
            program.check();
        }
        program.conn.close();
        let seen = program.other.exec(&Sql::Select.text());
        assert_eq!(pairs(&seen.rows), pairs_of(&program.model.committed), "after the close");
        program.other.close();
    });
}
