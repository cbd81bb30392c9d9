//! What subscribers are told of commits. An event is posted before the reply to the request that has committed, so that whoever
//! has the reply has the events; what is long, before the reply to the next request of that connection.

use crate::support::{folder, tag, Conn, Frame, Sidecar};
use crate::term::{atom, map, nil, Term};
use crate::{list, tuple};
use std::cell::RefCell;
use std::time::Duration;

const SUBSCRIBE: u8 = 28;
const UNSUBSCRIBE: u8 = 29;
const CHANGES_CREDIT: u8 = 30;
const CHANGES: u8 = 101;
const LAGGED: u8 = 102;
const HOOK: u8 = 103;

/// The events of a program.
pub struct Events<'s> {
    pub sidecar: &'s Sidecar,
    frames: RefCell<Vec<Frame>>,
}

/// A transaction as a subscriber is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    pub database: String,
    pub schema: String,
    pub connection: i64,
    pub sequence: i64,
    pub changes: Vec<Change>,
    pub bytes: usize,
}

/// A change; `[]` where there is nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub operation: &'static str,
    pub table: String,
    pub columns: Vec<String>,
    pub rowid: Term,
    pub old_rowid: Term,
    pub key: Term,
    pub old_key: Term,
    pub old: Term,
    pub new: Term,
}

impl Change {
    /// For comparisons: the operation, the table, the rowid, and the values.
    pub fn text(&self) -> String {
        let mut text = match self.operation {
            "resync" => return format!("resync {}", shown(&self.rowid)),
            "schema" => return "schema".to_owned(),
            operation => format!("{operation} {}", self.table),
        };
        let parts = [
            ("", &self.rowid),
            ("from ", &self.old_rowid),
            ("key ", &self.key),
            ("from key ", &self.old_key),
            ("old ", &self.old),
            ("new ", &self.new),
        ];
        for (name, part) in parts {
            if *part != Term::List(Vec::new()) {
                text += &format!(" {name}{}", shown(part));
            }
        }
        text
    }
}

fn shown(term: &Term) -> String {
    match term {
        Term::Int(value) => value.to_string(),
        Term::Float(value) => format!("{value:?}"),
        Term::Atom(name) => name.clone(),
        Term::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Term::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        other => format!("{other:?}"),
    }
}

impl<'s> Events<'s> {
    pub fn of(sidecar: &'s Sidecar) -> Self {
        Events { sidecar, frames: RefCell::default() }
    }

    /// Everything that the program has sent unasked by now to `subscription`.
    pub fn frames(&self, subscription: i64) -> Vec<Frame> {
        // The reply comes after whatever was posted before it was asked for.
        self.sidecar.call(tag::PING, &nil()).unwrap();
        while let Ok(Some(frame)) = self.sidecar.receive_within(0, Duration::ZERO) {
            self.frames.borrow_mut().push(frame);
        }
        let is_own = |frame: &Frame| frame.payload.items()[0].int() == subscription;
        let (own, others) = self.frames.take().into_iter().partition(is_own);
        *self.frames.borrow_mut() = others;
        own
    }

    /// The transactions that `subscription` was told of since this was last asked.
    #[track_caller]
    pub fn transactions(&self, subscription: i64) -> Vec<Transaction> {
        let mut body = Vec::new();
        let mut transactions = Vec::new();
        for frame in self.frames(subscription) {
            assert_eq!(frame.tag, CHANGES);
            let [_, last, Term::Binary(piece)] = frame.payload.items() else { panic!("{frame:?}") };
            body.extend_from_slice(piece);
            if last.int() == 1 {
                transactions.push(transaction(&std::mem::take(&mut body)));
            }
        }
        assert!(body.is_empty(), "a transaction ends");
        transactions
    }

    /// The changes of those, as texts.
    #[track_caller]
    pub fn texts(&self, subscription: i64) -> Vec<String> {
        let transactions = self.transactions(subscription);
        transactions.iter().flat_map(|one| one.changes.iter().map(Change::text)).collect()
    }

    pub fn subscribe(&self, scope: Term, options: Term) -> i64 {
        let reply = self.sidecar.call(SUBSCRIBE, &tuple![scope, options]).unwrap();
        reply.items()[0].int()
    }

    fn unsubscribe(&self, subscription: i64) -> bool {
        self.sidecar.call(UNSUBSCRIBE, &tuple![subscription]).unwrap() == true.into()
    }

    fn credit(&self, subscription: i64, bytes: usize) {
        self.sidecar.send(CHANGES_CREDIT, &tuple![subscription, bytes]);
    }
}

fn transaction(body: &[u8]) -> Transaction {
    transaction_of(&Term::decode(body).unwrap(), body.len())
}

pub fn transaction_of(term: &Term, bytes: usize) -> Transaction {
    let [database, schema, connection, sequence, tables, changes] = term.items() else { panic!("{term:?}") };
    let change = |change: &Term| {
        let items = change.items();
        let operation = ["insert", "update", "delete", "schema", "resync"][items[0].int() as usize - 1];
        let empty = || Term::List(Vec::new());
        if items.len() < 8 {
            let reason = items.get(1).cloned().unwrap_or_else(empty);
            return Change {
                operation,
                table: String::new(),
                columns: Vec::new(),
                rowid: reason,
                old_rowid: empty(),
                key: empty(),
                old_key: empty(),
                old: empty(),
                new: empty(),
            };
        }
        let [name, columns, _key] = tables.items()[items[1].int() as usize].items() else {
            panic!("{tables:?}")
        };
        Change {
            operation,
            table: name.text().to_owned(),
            columns: columns.items().iter().map(|name| name.text().to_owned()).collect(),
            rowid: items[2].clone(),
            old_rowid: items[3].clone(),
            key: items[4].clone(),
            old_key: items[5].clone(),
            old: items[6].clone(),
            new: items[7].clone(),
        }
    };
    Transaction {
        database: database.text().to_owned(),
        schema: schema.text().to_owned(),
        connection: connection.int(),
        sequence: sequence.int(),
        changes: changes.items().iter().map(change).collect(),
        bytes,
    }
}

pub fn all_values() -> Term {
    map([("values", atom("old_and_new"))])
}

/// Runs `sql` on a fresh database after `schema`; what a subscriber to all values is told, a text for each change.
#[track_caller]
fn told(schema: &str, sql: &str) -> Vec<String> {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script(schema).unwrap();
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(db.id.into(), all_values());
    // Statements that fail are part of what is tried.
    for statement in sql.split(";;") {
        let _ = db.query(statement, list![]);
    }
    events.texts(subscription)
}

const T: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b UNIQUE);";

#[test]
fn a_row_is_told_with_its_values_before_and_after() {
    let sql = "INSERT INTO t VALUES (1, 'x', 2.5), (2, NULL, x'00ff');; UPDATE t SET a = 3 WHERE id = 1;; DELETE FROM t WHERE id = 1";
    assert_eq!(
        told(T, sql),
        [
            "insert t 1 key [1] new [1 x 2.5]",
            "insert t 2 key [2] new [2 nil \u{0}\u{fffd}]",
            "update t 1 key [1] old [1 x 2.5] new [1 3 2.5]",
            "delete t 1 key [1] old [1 3 2.5]",
        ]
    );
}

#[test]
fn nothing_is_told_of_what_is_rolled_back() {
    assert_eq!(told(T, "BEGIN;; INSERT INTO t VALUES (1, 1, 1);; ROLLBACK"), [""; 0]);
    let sql = "BEGIN;; INSERT INTO t VALUES (1, 1, 1);; SAVEPOINT s;; INSERT INTO t VALUES (2, 2, 2);; SAVEPOINT S;; \
               INSERT INTO t VALUES (3, 3, 3);; ROLLBACK TO s;; INSERT INTO t VALUES (4, 4, 4);; RELEASE s;; ROLLBACK TO s;; \
               INSERT INTO t VALUES (5, 5, 5);; RELEASE s;; COMMIT";
    assert_eq!(told(T, sql), ["insert t 1 key [1] new [1 1 1]", "insert t 5 key [5] new [5 5 5]"]);
    // A savepoint that began the transaction.
    let sql = "SAVEPOINT s;; INSERT INTO t VALUES (1, 1, 1);; ROLLBACK TO s;; INSERT INTO t VALUES (2, 2, 2);; RELEASE s";
    assert_eq!(told(T, sql), ["insert t 2 key [2] new [2 2 2]"]);
}

#[test]
fn a_statement_that_fails_is_told_as_far_as_it_stays() {
    let before = "BEGIN;; INSERT INTO t VALUES (1, 1, 1);;";
    let first = "insert t 1 key [1] new [1 1 1]";
    let second = "insert t 2 key [2] new [2 2 2]";
    let values = "INTO t VALUES (2, 2, 2), (3, 3, 1), (4, 4, 4)";
    let with = |or: &str| told(T, &format!("{before} INSERT {or} {values};; COMMIT"));
    assert_eq!(with("OR ABORT"), [first]);
    assert_eq!(with("OR FAIL"), [first, second]);
    assert_eq!(with("OR IGNORE"), [first, second, "insert t 4 key [4] new [4 4 4]"]);
    assert_eq!(with("OR ROLLBACK"), [""; 0]);
    assert_eq!(told(T, &format!("INSERT INTO t VALUES (1, 1, 1);; INSERT {values}")), [first]);
}

#[test]
fn what_is_replaced_is_deleted() {
    let sql = "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2);; REPLACE INTO t VALUES (1, 'n', 2);; UPDATE OR REPLACE t SET b = 9";
    assert_eq!(
        told(T, sql)[2..],
        [
            "delete t 1 key [1] old [1 1 1]",
            "delete t 2 key [2] old [2 2 2]",
            "insert t 1 key [1] new [1 n 2]",
            "update t 1 key [1] old [1 n 2] new [1 n 9]",
        ]
    );
    let without_rowid = "CREATE TABLE t(k TEXT PRIMARY KEY, v) WITHOUT ROWID;";
    let sql =
        "REPLACE INTO t VALUES ('a', 1);; REPLACE INTO t VALUES ('a', 2);; INSERT INTO t VALUES ('a', 3) \
               ON CONFLICT DO UPDATE SET v = 4;; INSERT INTO t VALUES ('a', 5) ON CONFLICT DO NOTHING";
    assert_eq!(
        told(without_rowid, sql),
        [
            "insert t key [a] new [a 1]",
            "delete t key [a] old [a 1]",
            "insert t key [a] new [a 2]",
            "update t key [a] old [a 2] new [a 4]",
        ]
    );
}

#[test]
fn a_key_that_moves_is_told_with_the_one_before() {
    let sql = "INSERT INTO t VALUES (1, 1, 1);; UPDATE t SET id = 7";
    assert_eq!(told(T, sql)[1], "update t 7 from 1 key [7] from key [1] old [1 1 1] new [7 1 1]");
    let schema = "CREATE TABLE t(a, k TEXT, n INT, PRIMARY KEY (n, k)) WITHOUT ROWID;";
    let sql = "INSERT INTO t VALUES (1, 'k', 2);; UPDATE t SET k = 'l'";
    assert_eq!(told(schema, sql)[1], "update t key [l 2] from key [k 2] old [1 k 2] new [1 l 2]");
    let schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v);";
    let sql = "INSERT INTO t VALUES ('a', 1);; UPDATE t SET v = 2;; UPDATE t SET k = 'b';; DELETE FROM t";
    assert_eq!(
        told(schema, sql),
        [
            "insert t 1 key [a] new [a 1]",
            "update t 1 key [a] old [a 1] new [a 2]",
            "update t 1 key [b] from key [a] old [a 2] new [b 2]",
            "delete t 1 key [b] old [b 2]",
        ]
    );
}

#[test]
fn deletes_without_where_cascades_triggers_and_copies_are_told_row_by_row() {
    let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE);\
                  CREATE TABLE log(text); CREATE TRIGGER after AFTER INSERT ON p BEGIN INSERT INTO log VALUES (new.id); END;\
                  CREATE TABLE copy(id INTEGER PRIMARY KEY);";
    let sql = "INSERT INTO p VALUES (1), (2);; INSERT INTO c VALUES (5, 1);; DELETE FROM log;; DELETE FROM p WHERE id = 1;; \
               INSERT INTO copy SELECT * FROM p;; DELETE FROM copy";
    assert_eq!(
        told(schema, sql),
        [
            "insert p 1 key [1] new [1]",
            "insert log 1 new [1]",
            "insert p 2 key [2] new [2]",
            "insert log 2 new [2]",
            "insert c 5 key [5] new [5 1]",
            "delete log 1 old [1]",
            "delete log 2 old [2]",
            "delete p 1 key [1] old [1]",
            "delete c 5 key [5] old [5 1]",
            "insert copy 2 key [2] new [2]",
            "delete copy 2 key [2] old [2]",
        ]
    );
}

#[test]
fn statements_that_were_compiled_before_the_subscription_are_told_too() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script(&format!("{T} CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID; CREATE TABLE u(id INTEGER PRIMARY KEY, a, b UNIQUE)")).unwrap();
    let statements = [
        "DELETE FROM t",
        "DELETE FROM w",
        "DELETE FROM u",
        "INSERT INTO t VALUES (1, 1, 1)",
        "REPLACE INTO t VALUES (1, 2, 2)",
        "UPDATE t SET a = 3",
        "REPLACE INTO w VALUES (1, 1)",
        "REPLACE INTO w VALUES (1, 2)",
        "INSERT INTO u SELECT * FROM t",
    ];
    statements.iter().for_each(|sql| drop(db.exec(sql)));
    let prepared = db.call(tag::PREPARE, ["DELETE FROM t".into()]).unwrap().items()[0].clone();
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(nil(), map([("values", atom("new"))]));
    statements.iter().for_each(|sql| drop(db.exec(sql)));
    assert_eq!(
        events.texts(subscription),
        [
            "delete t 1 key [1]",
            "delete w key [1]",
            "delete u 1 key [1]",
            "insert t 1 key [1] new [1 1 1]",
            "delete t 1 key [1]",
            "insert t 1 key [1] new [1 2 2]",
            "update t 1 key [1] new [1 3 2]",
            "insert w key [1] new [1 1]",
            "delete w key [1]",
            "insert w key [1] new [1 2]",
            "insert u 1 key [1] new [1 3 2]",
        ]
    );
    let id = db.send(tag::EXECUTE_PREPARED, [prepared, list![]]);
    db.outcome(id).unwrap();
    assert_eq!(events.texts(subscription), ["delete t 1 key [1]"]);
    assert!(events.unsubscribe(subscription) && !events.unsubscribe(subscription));
    statements.iter().for_each(|sql| drop(db.exec(sql)));
    assert_eq!(events.frames(subscription).len(), 0);
}

#[test]
fn statements_do_what_only_a_subscriber_needs_while_there_is_one() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE u(id INTEGER PRIMARY KEY, a); CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID")
        .unwrap();
    // Whether the engine's program has these instructions.
    let has = || {
        let uses = |sql: &str, instruction: &str| {
            let program = db.exec(&format!("EXPLAIN {sql}"));
            program.rows.iter().any(|row| row[1].text() == instruction)
        };
        [
            uses("UPDATE t SET a = a + 1", "Delete"),
            uses("REPLACE INTO t VALUES (1, 1)", "Delete"),
            uses("REPLACE INTO w VALUES (1, 1)", "NoConflict"),
            uses("INSERT INTO u SELECT * FROM t", "RowData"),
            !uses("DELETE FROM t", "Clear"),
        ]
    };
    let events = Events::of(&sidecar);
    assert_eq!(has(), [false; 5]);
    let subscription = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    assert_eq!(has(), [true; 5]);
    events.unsubscribe(subscription);
    assert_eq!(has(), [false; 5]);
    // One to another database is none of this connection's.
    events.subscribe("/elsewhere.db".into(), map::<&str, Term, 0>([]));
    assert_eq!(has(), [false; 5]);
}

#[test]
fn generated_columns_and_real_columns_have_their_own_values() {
    let columns = "r REAL, v AS (a + 1) VIRTUAL, a, s AS (a * 2) STORED, z REAL";
    let sql = |key: &str| {
        format!(
            "INSERT INTO t(k, r, a, z) VALUES ({key}, 1, 2, 3);; UPDATE t SET a = 5, z = 4;; DELETE FROM t"
        )
    };
    let rowid = told(&format!("CREATE TABLE t(k INTEGER PRIMARY KEY, {columns});"), &sql("7"));
    assert_eq!(
        rowid,
        [
            "insert t 7 key [7] new [7 1.0 2 4 3.0]",
            "update t 7 key [7] old [7 1.0 2 4 3.0] new [7 1.0 5 10 4.0]",
            "delete t 7 key [7] old [7 1.0 5 10 4.0]",
        ]
    );
    let without = told(&format!("CREATE TABLE t({columns}, k TEXT PRIMARY KEY) WITHOUT ROWID;"), &sql("'x'"));
    assert_eq!(
        without,
        [
            "insert t key [x] new [1.0 2 4 3.0 x]",
            "update t key [x] old [1.0 2 4 3.0 x] new [1.0 5 10 4.0 x]",
            "delete t key [x] old [1.0 5 10 4.0 x]",
        ]
    );
    // Rows that are older than a column have its default.
    let schema = "CREATE TABLE t(a, g AS (a + 1) VIRTUAL); INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN d REAL DEFAULT 3;";
    assert_eq!(told(schema, "UPDATE t SET a = 2"), ["update t 1 old [1 3.0] new [2 3.0]"]);
}

#[test]
fn a_subscription_says_which_tables_operations_and_columns_it_wants() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script("CREATE TABLE a(id INTEGER PRIMARY KEY, x, y, z); CREATE TABLE b(id INTEGER PRIMARY KEY, x)")
        .unwrap();
    let events = Events::of(&sidecar);
    let subscribe = |options: &[(&str, Term)]| {
        let options = options.iter().map(|(key, value)| (atom(key), value.clone())).collect();
        events.subscribe(db.id.into(), Term::Map(options))
    };
    let keys = subscribe(&[]);
    let one = subscribe(&[("tables", list!["B"])]);
    let deletes = subscribe(&[("operations", list![atom("delete")]), ("values", atom("old_and_new"))]);
    let columns = subscribe(&[("columns", list!["z", "X"]), ("values", atom("old_and_new"))]);
    let none_of = subscribe(&[("columns", list!["nothing"]), ("values", atom("new"))]);
    let changed = subscribe(&[("changed_columns", list!["y"]), ("values", atom("new"))]);
    db.exec("INSERT INTO a VALUES (1, 'x', 'y', 'z')");
    db.exec("UPDATE a SET x = 'X'");
    db.exec("UPDATE a SET y = 'Y'");
    db.exec("UPDATE a SET y = 'Y'");
    db.exec("INSERT INTO b VALUES (2, 'x')");
    db.exec("DELETE FROM a");
    let of_a = ["insert a 1 key [1]", "update a 1 key [1]", "update a 1 key [1]", "update a 1 key [1]"];
    assert_eq!(events.texts(keys), [&of_a[..], &["insert b 2 key [2]", "delete a 1 key [1]"]].concat());
    assert_eq!(events.texts(one), ["insert b 2 key [2]"]);
    assert_eq!(events.texts(deletes), ["delete a 1 key [1] old [1 X Y z]"]);
    assert_eq!(
        events.texts(columns),
        [
            "insert a 1 key [1] new [x z]",
            "update a 1 key [1] old [x z] new [X z]",
            "update a 1 key [1] old [X z] new [X z]",
            "update a 1 key [1] old [X z] new [X z]",
            "insert b 2 key [2] new [x]",
            "delete a 1 key [1] old [X z]",
        ]
    );
    assert_eq!(events.texts(none_of)[0], "insert a 1 key [1]");
    assert_eq!(
        events.texts(changed),
        [
            "insert a 1 key [1] new [1 x y z]",
            "update a 1 key [1] new [1 X Y z]",
            "insert b 2 key [2] new [2 x]",
            "delete a 1 key [1]",
        ]
    );
}

#[test]
fn what_others_keep_in_tables_is_told_by_name_alone() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    let events = Events::of(&sidecar);
    let all = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    let named = events.subscribe(db.id.into(), map([("tables", list!["f_content", "sqlite_sequence"])]));
    db.exec("CREATE VIRTUAL TABLE f USING fts5(text)");
    db.exec("CREATE TABLE v(id INTEGER PRIMARY KEY AUTOINCREMENT, e F32_BLOB(2))");
    db.exec("CREATE INDEX i ON v(libsql_vector_idx(e))");
    db.exec("CREATE TABLE mine_shadow(a)");
    events.texts(all);
    events.texts(named);
    db.exec("INSERT INTO f VALUES ('words')");
    db.exec("INSERT INTO v VALUES (1, vector32('[1,2]'))");
    db.exec("INSERT INTO mine_shadow VALUES (1)");
    db.exec("ANALYZE");
    let told = events.texts(all);
    assert_eq!(told[..2], ["insert v 1 key [1]", "insert mine_shadow 1"], "{told:?}");
    assert!(told[2..].iter().all(|change| change == "schema"), "{told:?}");
    assert_eq!(events.texts(named)[0], "insert f_content 1 key [1]");
    db.exec("CREATE TEMP TABLE private(a)");
    db.exec("INSERT INTO private VALUES (1)");
    assert_eq!(events.texts(all), [""; 0]);
}

/// By its type and its bytes, whatever compares as equal.
#[test]
fn a_column_changes_if_it_holds_another_type_or_other_bytes() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v, w, r REAL)");
    db.exec("INSERT INTO t VALUES (1, NULL, 0, 1)");
    let events = Events::of(&sidecar);
    let changed = events.subscribe(db.id.into(), map([("changed_columns", list!["v"])]));
    let values = [
        "NULL",
        "''",
        "x''",
        "zeroblob(0)",
        "'1'",
        "x'31'",
        "1",
        "1.0",
        "'1.0'",
        "0.0",
        "-0.0",
        "0",
        "'a'",
        "'A'",
        "'a' || char(0)",
        "x'6100'",
        "x'610000'",
        "zeroblob(3)",
        "x'000000'",
        "9007199254740993",
        "9007199254740992.0",
        "1e999",
        "-1e999",
    ];
    // What is stored alike.
    let same = ["zeroblob(0)", "x'000000'"];
    for value in values {
        db.exec(&format!("UPDATE t SET v = {value}, w = w + 1"));
        let told = usize::from(!same.contains(&value) && value != "NULL");
        assert_eq!(events.texts(changed).len(), told, "{value}");
        db.exec(&format!("UPDATE t SET v = {value}, w = w + 1"));
        assert_eq!(events.texts(changed).len(), 0, "{value} again");
        db.exec("UPDATE t SET v = v, w = w + 1");
        assert_eq!(events.texts(changed).len(), 0, "{value} kept");
    }
    let real = events.subscribe(db.id.into(), map([("changed_columns", list!["r"])]));
    for (value, told) in [("1.0", 0), ("'1'", 0), ("1.5", 1), ("1", 1), ("0.0", 1), ("0", 0)] {
        db.exec(&format!("UPDATE t SET r = {value}, w = w + 1"));
        assert_eq!(events.texts(real).len(), told, "{value}");
    }
}

#[test]
fn what_changes_a_schema_says_that_rows_may_have_changed() {
    let schema = |sql: &str| told(T, sql);
    assert_eq!(schema("CREATE TABLE c AS SELECT 1"), ["schema"]);
    assert_eq!(schema("DROP TABLE t"), ["schema"]);
    assert_eq!(schema("ALTER TABLE t DROP COLUMN a"), ["schema"]);
    assert_eq!(schema("BEGIN;; CREATE TABLE u(a);; ROLLBACK"), [""; 0]);
    assert_eq!(schema("BEGIN;; SAVEPOINT s;; CREATE TABLE u(a);; ROLLBACK TO s;; COMMIT"), [""; 0]);
    assert_eq!(schema("VACUUM"), ["schema"]);
    let told = schema(
        "INSERT INTO t VALUES (1, 2, 3);; BEGIN;; ALTER TABLE t ADD COLUMN d DEFAULT 4;; UPDATE t SET a = 5;; ROLLBACK;; \
         UPDATE t SET a = 6;; ALTER TABLE t RENAME COLUMN a TO e;; DELETE FROM t",
    );
    assert_eq!(
        told,
        [
            "insert t 1 key [1] new [1 2 3]",
            "update t 1 key [1] old [1 2 3] new [1 6 3]",
            "schema",
            "delete t 1 key [1] old [1 6 3]",
        ]
    );
}

#[test]
fn each_file_has_its_transactions_in_the_order_in_which_they_commit() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let sidecar = Sidecar::start();
    let connections: Vec<Conn<'_>> = (0..4).map(|_| sidecar.open(&path)).collect();
    connections[0].exec("CREATE TABLE n(i INTEGER PRIMARY KEY, at)");
    connections[0].exec("INSERT INTO n VALUES (0, 0)");
    let events = Events::of(&sidecar);
    let options = map([("values", atom("new")), ("bytes_max", 100_000_000.into())]);
    let subscription = events.subscribe(nil(), options);
    std::thread::scope(|scope| {
        for db in &connections {
            scope.spawn(|| {
                for _ in 0..100 {
                    db.exec("UPDATE n SET at = at + 1");
                }
            });
        }
    });
    let told = events.transactions(subscription);
    let values: Vec<_> = told.iter().map(|one| one.changes[0].new.items()[1].int()).collect();
    assert_eq!(values, (1..=400).collect::<Vec<_>>());
    assert!(told.windows(2).all(|two| two[0].sequence < two[1].sequence));

    let db = &connections[0];
    db.query("ATTACH ? AS o", list![other.to_str().unwrap()]).unwrap();
    db.exec("CREATE TABLE o.t(a)");
    events.texts(subscription);
    db.exec("BEGIN");
    db.exec("INSERT INTO o.t VALUES (1)");
    db.exec("UPDATE n SET at = -1");
    assert_eq!(events.texts(subscription), [""; 0]);
    db.exec("COMMIT");
    let mut told = events.transactions(subscription);
    told.sort_by(|a, b| a.schema.cmp(&b.schema));
    assert_eq!((told[0].schema.as_str(), told[1].schema.as_str()), ("main", "o"));
    assert!(told[0].database.ends_with("/test.db") && told[1].database.ends_with("/other.db"));
    assert_eq!(told[0].changes[0].text(), "update n 0 key [0] new [0 -1]");
    assert_eq!(told[1].changes[0].text(), "insert t 1 new [1]");
    assert_eq!(told[0].connection, db.id);
}

/// What is long is told after the reply, in the turn still.
#[test]
fn long_transactions_are_told_by_themselves_and_in_the_order_of_commits() {
    const ROWS: usize = 3000;
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (long, short) = (sidecar.open(&path), sidecar.open(&path));
    long.script("CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE n(i)").unwrap();
    long.query("INSERT INTO t SELECT value, 0 FROM generate_series(1, ?)", list![ROWS]).unwrap();
    let events = Events::of(&sidecar);
    let options = map([("values", atom("new")), ("bytes_max", 100_000_000.into())]);
    let subscription = events.subscribe(nil(), options);
    for round in 1..=20 {
        let update = long.send(tag::EXECUTE, ["UPDATE t SET a = a + 1".into(), list![]]);
        let insert = short.send(tag::EXECUTE, ["INSERT INTO n VALUES (1)".into(), list![]]);
        sidecar.receive(update);
        sidecar.receive(insert);
        // Two in one request, of which the first has to be told before the second begins.
        long.script("UPDATE t SET a = a + 1; INSERT INTO n VALUES (2); UPDATE t SET a = a - 1").unwrap();
        long.exec("SELECT 1");
        let told = events.transactions(subscription);
        let sizes: Vec<_> = told.iter().map(|one| one.changes.len()).collect();
        assert!(sizes[2..] == [ROWS, 1, ROWS] && sizes[0] + sizes[1] == ROWS + 1, "{sizes:?}");
        assert!(told.windows(2).all(|two| two[0].sequence < two[1].sequence));
        let last = &told[4].changes[ROWS - 1];
        assert_eq!(last.text(), format!("update t {ROWS} key [{ROWS}] new [{ROWS} {round}]"));
    }
}

/// The values of an UPDATE are read where the engine has them, unless they stand there in another form.
#[test]
fn what_an_update_writes_is_told_as_it_is_read() {
    let columns = (0..20).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        for options in ["", " WITHOUT ROWID"] {
            let sidecar = Sidecar::start();
            let db = sidecar.open(":memory:");
            let schema = format!(
                "PRAGMA encoding = '{encoding}'; CREATE TABLE t(r REAL, g AS (r + 1), id INTEGER PRIMARY KEY, a TEXT, z, {columns}){options}"
            );
            db.script(&schema).unwrap();
            db.exec("INSERT INTO t(id, a) VALUES (1, 'a')");
            let events = Events::of(&sidecar);
            let subscription = events.subscribe(db.id.into(), all_values());
            let mut before = db.query("SELECT r, id, a, z, c0, c15, c19 FROM t", list![]).unwrap();
            for set in [
                "r = 3, a = 'ä' || a, z = zeroblob(40), c0 = 1.5, c15 = x'00ff', c19 = '€'",
                "r = '7', a = 12, z = NULL, c0 = CAST(x'e282ac' AS TEXT), c15 = '', c19 = x''",
                "id = 2, r = -0.0, a = zeroblob(3), z = r, c0 = -9223372036854775808, c15 = 9007199254740993, c19 = a",
                "r = 'no number', a = (SELECT group_concat(a) FROM t), z = r, c0 = id",
            ] {
                db.exec(&format!("UPDATE t SET {set}"));
                let after = db.query("SELECT r, id, a, z, c0, c15, c19 FROM t", list![]).unwrap();
                let told = events.transactions(subscription);
                let picked = |values: &Term, columns: &[String]| -> Vec<Term> {
                    let value = |name: &&str| values.items()[columns.iter().position(|one| one == name).unwrap()].clone();
                    ["r", "id", "a", "z", "c0", "c15", "c19"].iter().map(value).collect()
                };
                let change = &told[0].changes[0];
                let row = |outcome: &crate::support::Outcome| outcome.rows[0].clone();
                assert_eq!(picked(&change.new, &change.columns), row(&after), "{encoding}{options}: {set}");
                assert_eq!(picked(&change.old, &change.columns), row(&before), "{encoding}{options}: {set}");
                before = after;
            }
        }
    }
}

#[test]
fn a_returning_statement_is_told_when_it_commits() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script(T).unwrap();
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    let sql = "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2) RETURNING id";
    let declare = |sql: &str| db.call(tag::DECLARE, [sql.into(), list![]]).unwrap().items()[0].clone();
    let cursor = declare(sql);
    let id = db.send(tag::FETCH, [cursor.clone(), 1.into(), 0.into()]);
    assert_eq!(sidecar.receive(id).tag, tag::MORE_ROWS);
    assert_eq!(events.texts(subscription), [""; 0]);
    db.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    assert_eq!(events.texts(subscription), ["insert t 1 key [1]", "insert t 2 key [2]"]);
    // What `reset` undoes is not told.
    let cursor = declare("DELETE FROM t RETURNING id");
    let id = db.send(tag::FETCH, [cursor, 1.into(), 0.into()]);
    sidecar.receive(id);
    db.call(tag::RESET, []).unwrap();
    assert_eq!(db.value("SELECT count(*) FROM t"), 2.into());
    assert_eq!(events.texts(subscription), [""; 0]);
    assert_eq!(db.query_one("UPDATE t SET a = 1 RETURNING id", list![]).unwrap_err().code, "too_many_rows");
    assert_eq!(events.texts(subscription), [""; 0]);
}

#[test]
fn a_commit_that_fails_is_told_when_it_succeeds() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
        .unwrap();
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    db.exec("BEGIN");
    db.exec("INSERT INTO c VALUES (1)");
    assert_eq!(db.query("COMMIT", list![]).unwrap_err().code, "constraint_foreign_key");
    assert_eq!(events.texts(subscription), [""; 0]);
    db.exec("INSERT INTO p VALUES (1)");
    db.exec("COMMIT");
    assert_eq!(events.texts(subscription), ["insert c 1", "insert p 1 key [1]"]);
    assert!(db.query("INSERT INTO c VALUES (7)", list![]).is_err());
    assert_eq!(events.texts(subscription), [""; 0]);
}

#[test]
fn who_comes_while_a_transaction_writes_reads_anew() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let db = sidecar.open(&path);
    db.script(T).unwrap();
    let events = Events::of(&sidecar);
    let early = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    db.exec("BEGIN");
    db.exec("INSERT INTO t VALUES (1, 1, 1)");
    let late = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    db.exec("INSERT INTO t VALUES (2, 2, 2)");
    db.exec("COMMIT");
    assert_eq!(events.texts(early), ["insert t 1 key [1]", "insert t 2 key [2]"]);
    assert_eq!(events.texts(late), ["resync joined"]);
    db.exec("DELETE FROM t WHERE id = 1");
    assert_eq!(events.texts(late), ["delete t 1 key [1]"]);
    assert!(events.unsubscribe(early) && events.unsubscribe(late));
    // Nobody had listened before.
    db.exec("BEGIN");
    db.exec("INSERT INTO t VALUES (3, 3, 3)");
    let late = events.subscribe("memory:none".into(), map::<&str, Term, 0>([]));
    let latest = events.subscribe(nil(), map::<&str, Term, 0>([]));
    db.exec("COMMIT");
    assert_eq!(events.texts(late), [""; 0]);
    assert_eq!(events.texts(latest), ["resync joined"]);
    // One that only reads, or is rolled back, is nothing to hear of.
    db.exec("BEGIN");
    db.exec("SELECT * FROM t");
    let reader = events.subscribe(nil(), map::<&str, Term, 0>([]));
    db.exec("INSERT INTO t VALUES (4, 4, 4)");
    let rolled_back = events.subscribe(nil(), map::<&str, Term, 0>([]));
    db.exec("ROLLBACK");
    db.exec("INSERT INTO t VALUES (5, 5, 5)");
    assert_eq!(events.texts(reader), ["insert t 5 key [5]"]);
    assert_eq!(events.texts(rolled_back), ["insert t 5 key [5]"]);
}

#[test]
fn who_falls_behind_is_told_what_it_missed_and_holds_nobody_up() {
    let sidecar = Sidecar::start();
    let db = sidecar.open(":memory:");
    db.script(T).unwrap();
    let events = Events::of(&sidecar);
    let slow = events.subscribe(db.id.into(), map([("bytes_max", 1)]));
    let quick = events.subscribe(db.id.into(), map::<&str, Term, 0>([]));
    for id in 1..=5 {
        db.exec(&format!("INSERT INTO t(id) VALUES ({id})"));
    }
    let quick = events.transactions(quick);
    assert_eq!(quick.len(), 5);
    let first = events.transactions(slow);
    assert_eq!(first, quick[..1]);
    events.credit(slow, first[0].bytes);
    let frames = events.frames(slow);
    assert_eq!((frames.len(), frames[0].tag), (1, LAGGED));
    let [_, database, from, to] = frames[0].payload.items() else { panic!("{frames:?}") };
    assert_eq!((database.text(), from.int(), to.int()), (":memory:", quick[1].sequence, quick[4].sequence));
    db.exec("DELETE FROM t WHERE id = 5");
    assert_eq!(events.texts(slow), ["delete t 5 key [5]"]);
}

#[test]
fn a_transaction_that_is_too_large_says_to_read_anew() {
    let sidecar = Sidecar::start_with(&["--changes-bytes-max", "100000"]);
    let db = sidecar.open(":memory:");
    db.script(T).unwrap();
    let events = Events::of(&sidecar);
    let subscription = events.subscribe(db.id.into(), all_values());
    db.query("INSERT INTO t(id, a) VALUES (1, ?)", list!["x".repeat(200_000)]).unwrap();
    db.exec("SELECT 1");
    assert_eq!(events.texts(subscription), ["resync too_large"]);
    db.exec("BEGIN");
    db.query("UPDATE t SET a = ?", list!["y".repeat(200_000)]).unwrap();
    db.exec("ROLLBACK");
    assert_eq!(events.texts(subscription), [""; 0]);
    // One that is long, but not too long, comes in pieces.
    db.query("INSERT INTO t(id, a) VALUES (2, ?)", list!["z".repeat(90_000)]).unwrap();
    db.exec("SELECT 1");
    assert_eq!(events.transactions(subscription)[0].changes[0].new.items()[1], "z".repeat(90_000).into());
}

#[test]
fn hooks_tell_of_commits_rollbacks_and_the_log() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let db = sidecar.open(&path);
    db.script(T).unwrap();
    let events = Events::of(&sidecar);
    let wanted = list![atom("commit"), atom("rollback"), atom("wal")];
    let subscription = events.subscribe(db.id.into(), map([("events", wanted)]));
    let heard = || -> Vec<String> {
        let frames = events.frames(subscription);
        assert!(frames.iter().all(|frame| frame.tag == HOOK));
        frames.iter().map(|frame| shown(&frame.payload.items()[1])).collect()
    };
    db.exec("INSERT INTO t VALUES (1, 1, 1)");
    assert_eq!(heard(), ["commit", "wal"]);
    db.exec("BEGIN");
    db.exec("INSERT INTO t VALUES (2, 2, 2)");
    assert_eq!(heard(), [""; 0]);
    db.exec("ROLLBACK");
    assert_eq!(heard(), ["rollback"]);
    assert!(db.query("INSERT INTO t VALUES (1, 1, 1)", list![]).is_err());
    assert_eq!(heard(), ["rollback"]);
    db.exec("SELECT * FROM t");
    assert_eq!(heard(), [""; 0]);
}

#[test]
fn a_subscription_that_makes_no_sense_is_refused() {
    let sidecar = Sidecar::start();
    let refused = |scope: Term, options: Term| sidecar.call(SUBSCRIBE, &tuple![scope, options]).unwrap_err();
    let none = || map::<&str, Term, 0>([]);
    assert_eq!(refused(12345.into(), none()).code, "unknown_connection");
    assert_eq!(refused(atom("all"), none()).code, "invalid_request");
    assert_eq!(refused(nil(), map([("tables", "t")])).code, "invalid_option");
    assert_eq!(refused(nil(), map([("operations", list![atom("truncate")])])).code, "invalid_option");
    assert_eq!(refused(nil(), map([("values", atom("all"))])).code, "invalid_option");
    assert_eq!(refused(nil(), map([("table", list!["t"])])).code, "invalid_option");
}
