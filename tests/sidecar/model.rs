//! A table with transactions, savepoints and cursors: what the program is compared with. It knows nothing of the program's
//! code, and as much of SQLite's documentation as it needs.

use crate::seeds::one_of;
use crate::term::Term;
use fastrand::Rng;
use std::collections::BTreeMap;

pub type Rows = BTreeMap<i64, i64>;
pub type Outcome<T = i64> = Result<T, &'static str>;

/// What an INSERT does about a key that is there.
#[derive(Debug, Clone, Copy)]
pub enum Or {
    Abort,
    Fail,
    Ignore,
    Replace,
    Rollback,
}

#[derive(Debug, Clone)]
pub enum Sql {
    Insert(Or, Vec<(i64, i64)>),
    Update(i64, i64),
    Delete(i64),
    Select,
    Broken,
    Begin,
    BeginImmediate,
    Commit,
    Rollback,
    Savepoint(&'static str),
    Release(&'static str),
    RollbackTo(&'static str),
}

impl Sql {
    pub fn random(rng: &mut Rng) -> Self {
        let id = |rng: &mut Rng| rng.i64(0..8);
        let name = |rng: &mut Rng| one_of(rng, &["a", "b"]);
        match rng.u32(..24) {
            0..=6 => {
                let or =
                    one_of(rng, &[Or::Abort, Or::Abort, Or::Fail, Or::Ignore, Or::Replace, Or::Rollback]);
                Sql::Insert(or, (0..rng.usize(1..4)).map(|_| (id(rng), rng.i64(0..100))).collect())
            }
            7..=8 => Sql::Update(id(rng), rng.i64(0..100)),
            9..=10 => Sql::Delete(id(rng)),
            11..=13 => Sql::Select,
            14 => Sql::Broken,
            15 => Sql::Begin,
            16 => Sql::BeginImmediate,
            17 => Sql::Commit,
            18 => Sql::Rollback,
            19..=20 => Sql::Savepoint(name(rng)),
            21 => Sql::Release(name(rng)),
            _ => Sql::RollbackTo(name(rng)),
        }
    }

    pub fn random_row_sql(rng: &mut Rng) -> Self {
        loop {
            let sql = Sql::random(rng);
            if !sql.is_transaction() {
                return sql;
            }
        }
    }

    pub fn text(&self) -> String {
        match self {
            Sql::Insert(or, rows) => {
                let or = format!("{or:?}").to_uppercase();
                let rows: Vec<_> = rows.iter().map(|(id, v)| format!("({id}, {v})")).collect();
                format!("INSERT OR {or} INTO t VALUES {}", rows.join(", "))
            }
            Sql::Update(id, v) => format!("UPDATE t SET v = {v} WHERE id = {id}"),
            Sql::Delete(id) => format!("DELETE FROM t WHERE id = {id}"),
            Sql::Select => "SELECT id, v FROM t ORDER BY id".to_owned(),
            Sql::Broken => "SELECT FROM".to_owned(),
            Sql::Begin => "BEGIN".to_owned(),
            Sql::BeginImmediate => "BEGIN IMMEDIATE".to_owned(),
            Sql::Commit => "COMMIT".to_owned(),
            Sql::Rollback => "ROLLBACK".to_owned(),
            Sql::Savepoint(name) => format!("SAVEPOINT {name}"),
            Sql::Release(name) => format!("RELEASE {name}"),
            Sql::RollbackTo(name) => format!("ROLLBACK TO {name}"),
        }
    }

    pub fn is_transaction(&self) -> bool {
        !matches!(self, Sql::Insert(..) | Sql::Update(..) | Sql::Delete(_) | Sql::Select | Sql::Broken)
    }

    /// Rows that open cursors have yet to read may change by it.
    pub fn changes_rows(&self) -> bool {
        let writes = matches!(self, Sql::Insert(..) | Sql::Update(..) | Sql::Delete(_));
        writes || matches!(self, Sql::BeginImmediate | Sql::Rollback | Sql::RollbackTo(_))
    }
}

/// What the database and the connection are in.
#[derive(Default)]
pub struct Model {
    pub rows: Rows,
    pub committed: Rows,
    pub transaction: Option<Transaction>,
    pub cursors: Vec<Cursor>,
    pub writing: Option<Writing>,
    pub prepared: Vec<(Term, Sql)>,
}

pub struct Transaction {
    pub status: i64,
    pub read_only: bool,
    /// Its first savepoint has begun it.
    pub by_savepoint: bool,
    pub savepoints: Vec<(&'static str, Rows)>,
}

/// One that reads; it sees what was there when it was declared.
pub struct Cursor {
    pub id: Term,
    pub left: Vec<(i64, i64)>,
    pub stepped: bool,
    /// The program has read the rest of it.
    pub ahead: bool,
}

/// One that writes, outside of a transaction.
pub struct Writing {
    pub id: Term,
    pub sql: Sql,
    /// What it has yet to return, once it has written.
    pub left: Option<Vec<(i64, i64)>>,
}

pub const CONFLICT: &str = "constraint_primary_key";

impl Model {
    pub fn status(&self) -> i64 {
        self.transaction.as_ref().map_or(0, |transaction| transaction.status)
    }

    pub fn holds_turn(&self) -> bool {
        self.status() == 3 || self.writing.is_some()
    }

    pub fn touch(&mut self, status: i64) {
        if let Some(transaction) = &mut self.transaction {
            transaction.status = transaction.status.max(status);
        }
    }

    pub fn begin(&mut self, status: i64, read_only: bool, savepoint: Option<&'static str>) {
        let reading = self.cursors.iter().any(|cursor| cursor.stepped && !cursor.ahead);
        let savepoints: Vec<_> = savepoint.into_iter().map(|name| (name, self.rows.clone())).collect();
        self.transaction = Some(Transaction {
            status: if reading { status.max(2) } else { status },
            read_only,
            by_savepoint: !savepoints.is_empty(),
            savepoints,
        });
    }

    pub fn end(&mut self, commit: bool) {
        self.transaction = None;
        if commit {
            self.committed = self.rows.clone();
        } else {
            self.rows = self.committed.clone();
        }
    }

    /// Before rows change, the rest of every cursor is read.
    pub fn read_ahead(&mut self) {
        let mut any = false;
        for cursor in self.cursors.iter_mut().filter(|cursor| !cursor.ahead) {
            cursor.ahead = true;
            any = true;
        }
        if any {
            self.touch(2);
        }
    }

    /// A cursor writes, in a transaction of its own.
    fn writing_alone(&self) -> bool {
        self.writing.is_some() && self.transaction.is_none()
    }

    /// A writing statement starts.
    pub fn write(&mut self) -> Outcome<()> {
        match &self.transaction {
            Some(transaction) if transaction.read_only => return Err("read_only"),
            None if self.writing_alone() => return Err("locked"),
            _ => self.touch(3),
        }
        Ok(())
    }

    pub fn done(&mut self, rows: Rows) {
        self.rows = rows;
        if self.transaction.is_none() {
            self.committed = self.rows.clone();
        }
    }

    /// What a statement does; its changes.
    pub fn run(&mut self, sql: &Sql) -> Outcome {
        match sql {
            Sql::Insert(or, new) => {
                self.write()?;
                let (rows, changes, conflict) = inserted(&self.rows, *or, new);
                match (conflict, or) {
                    (false, _) => self.done(rows),
                    (true, Or::Fail) => self.done(rows),
                    (true, Or::Rollback) => self.end(false),
                    (true, _) => {}
                }
                if conflict {
                    return Err(CONFLICT);
                }
                Ok(changes)
            }
            Sql::Update(id, v) => {
                self.write()?;
                let mut rows = self.rows.clone();
                let changes = rows.get_mut(id).map_or(0, |old| {
                    *old = *v;
                    1
                });
                self.done(rows);
                Ok(changes)
            }
            Sql::Delete(id) => {
                self.write()?;
                let mut rows = self.rows.clone();
                let changes = i64::from(rows.remove(id).is_some());
                self.done(rows);
                Ok(changes)
            }
            Sql::Select => {
                self.touch(2);
                Ok(0)
            }
            Sql::Broken => {
                // Whether another connection has made it right is looked up in the file.
                self.touch(2);
                Err("sql_error")
            }
            Sql::Begin | Sql::BeginImmediate | Sql::Savepoint(_) if self.writing_alone() => Err("locked"),
            Sql::Begin | Sql::BeginImmediate => match &self.transaction {
                Some(transaction) if transaction.read_only && matches!(sql, Sql::BeginImmediate) => {
                    Err("read_only")
                }
                Some(_) => {
                    // Its first step takes the lock; the next finds that a transaction is open.
                    self.touch(if matches!(sql, Sql::Begin) { 1 } else { 3 });
                    Err("sql_error")
                }
                None => {
                    self.begin(if matches!(sql, Sql::Begin) { 1 } else { 3 }, false, None);
                    Ok(0)
                }
            },
            Sql::Commit | Sql::Rollback if self.transaction.is_none() => Err("sql_error"),
            Sql::Commit => {
                self.end(true);
                Ok(0)
            }
            Sql::Rollback => {
                self.end(false);
                Ok(0)
            }
            Sql::Savepoint(name) => {
                match &mut self.transaction {
                    Some(transaction) => transaction.savepoints.push((name, self.rows.clone())),
                    None => self.begin(1, false, Some(name)),
                }
                Ok(0)
            }
            Sql::Release(name) => {
                let (transaction, at) = self.savepoint(name)?;
                transaction.savepoints.truncate(at);
                if at == 0 && transaction.by_savepoint {
                    self.end(true);
                }
                Ok(0)
            }
            Sql::RollbackTo(name) => {
                let (transaction, at) = self.savepoint(name)?;
                transaction.savepoints.truncate(at + 1);
                self.rows = transaction.savepoints[at].1.clone();
                Ok(0)
            }
        }
    }

    pub fn savepoint(&mut self, name: &str) -> Outcome<(&mut Transaction, usize)> {
        let transaction = self.transaction.as_mut().ok_or("sql_error")?;
        let at = transaction.savepoints.iter().rposition(|(other, _)| *other == name).ok_or("sql_error")?;
        Ok((transaction, at))
    }

    /// The same as a request of its own.
    pub fn command(&mut self, sql: &Sql) -> Outcome {
        if matches!(sql, Sql::Rollback | Sql::RollbackTo(_)) {
            self.read_ahead();
        }
        match (sql, self.transaction.is_some()) {
            (Sql::Begin | Sql::BeginImmediate, true) => Err("transaction_open"),
            (Sql::Begin | Sql::BeginImmediate | Sql::Savepoint(_), _) | (_, true) => self.run(sql),
            (_, false) => Err("no_transaction"),
        }
    }

    /// The same as SQL text.
    pub fn execute(&mut self, sql: &Sql) -> Outcome {
        if sql.changes_rows() {
            self.read_ahead();
        }
        self.run(sql)
    }

    /// An atomic batch: which item failed, if it was one, and why.
    pub fn atomic(&mut self, items: &[Sql]) -> Result<Vec<i64>, (Option<i64>, &'static str)> {
        if self.writing_alone() {
            return Err((None, "locked"));
        }
        let (before, nested) = (self.rows.clone(), self.transaction.is_some());
        if !nested {
            self.begin(3, false, None);
        }
        let mut changes = Vec::new();
        for (index, sql) in (0..).zip(items) {
            let outcome = if sql.is_transaction() { Err("invalid_request") } else { self.run(sql) };
            match outcome {
                Ok(count) => changes.push(count),
                Err(code) => {
                    if !nested || self.transaction.is_none() {
                        self.end(false);
                    } else {
                        self.rows = before;
                    }
                    return Err((Some(index), code));
                }
            }
        }
        if !nested {
            self.end(true);
        }
        Ok(changes)
    }
}

/// The table after an INSERT, the changes, and whether it ended at a key that is there.
pub fn inserted(before: &Rows, or: Or, new: &[(i64, i64)]) -> (Rows, i64, bool) {
    let (mut rows, mut changes) = (before.clone(), 0);
    for &(id, v) in new {
        match (rows.contains_key(&id), or) {
            (true, Or::Ignore) => continue,
            (true, Or::Abort | Or::Rollback) => return (before.clone(), 0, true),
            (true, Or::Fail) => return (rows, changes, true),
            (false, _) | (true, Or::Replace) => {}
        }
        rows.insert(id, v);
        changes += 1;
    }
    (rows, changes, false)
}

/// The rows in the order of their keys.
pub fn pairs_of(rows: &Rows) -> Vec<(i64, i64)> {
    rows.iter().map(|(id, v)| (*id, *v)).collect()
}
