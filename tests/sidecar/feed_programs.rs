//! Random programs beside a subscriber: what it is told, applied to a copy, gives the tables, after each commit; and it is told of
//! exactly those rows that triggers have noted in a table of their own, within the same transactions.

use crate::feed::{all_values, Change, Events};
use crate::list;
use crate::seeds::{each_seed, one_of};
use crate::support::{folder, tag, Conn, Sidecar};
use crate::term::Term;
use fastrand::Rng;
use std::collections::BTreeMap;

const STATEMENTS: usize = 120;
const TABLES: &[&str] = &["t", "c", "w"];

/// Rows by their key, each a list of values.
type Copy = BTreeMap<(String, String), Term>;

const SCHEMA: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, v, u UNIQUE, g AS (v + 1) VIRTUAL, s AS (u * 2) STORED, r REAL DEFAULT 1);
    CREATE TABLE c(id INTEGER PRIMARY KEY, t REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED, v);
    CREATE TABLE w(k TEXT PRIMARY KEY, v, u UNIQUE) WITHOUT ROWID;
    CREATE TABLE audit(tab, op, key, old_key);
    CREATE TRIGGER raise_abort BEFORE INSERT ON t WHEN new.v = 90 BEGIN SELECT RAISE(ABORT, 'no'); END;
    CREATE TRIGGER raise_fail AFTER INSERT ON t WHEN new.v = 91 BEGIN SELECT RAISE(FAIL, 'no'); END;
    CREATE TRIGGER raise_ignore BEFORE UPDATE ON t WHEN new.v = 92 BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER raise_rollback AFTER UPDATE ON t WHEN new.v = 93 BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
    CREATE TRIGGER copies AFTER INSERT ON t WHEN new.v > 60 BEGIN INSERT OR IGNORE INTO w VALUES ('t' || new.id, new.v, NULL); END;
    CREATE TRIGGER counts AFTER DELETE ON t BEGIN UPDATE w SET v = coalesce(v, 0) + 1 WHERE k < 'k3'; END;
";

fn audits() -> String {
    let of = |(table, key): (&str, &str)| {
        format!(
            "CREATE TRIGGER audit_i_{table} AFTER INSERT ON {table} BEGIN INSERT INTO audit VALUES ('{table}', 'insert', new.{key}, new.{key}); END;
             CREATE TRIGGER audit_u_{table} AFTER UPDATE ON {table} BEGIN INSERT INTO audit VALUES ('{table}', 'update', new.{key}, old.{key}); END;
             CREATE TRIGGER audit_d_{table} AFTER DELETE ON {table} BEGIN INSERT INTO audit VALUES ('{table}', 'delete', old.{key}, old.{key}); END;"
        )
    };
    [("t", "id"), ("c", "id"), ("w", "k")].into_iter().map(of).collect()
}

fn statement(rng: &mut Rng) -> String {
    let or = |rng: &mut Rng| {
        one_of(rng, &["", "", "OR ABORT", "OR FAIL", "OR IGNORE", "OR REPLACE", "OR ROLLBACK"])
    };
    let id = |rng: &mut Rng| rng.u32(1..9);
    let v = |rng: &mut Rng| rng.u32(0..100);
    let name = |rng: &mut Rng| one_of(rng, &["a", "b", "A", "c"]);
    let rows = |rng: &mut Rng, row: &dyn Fn(&mut Rng) -> String| {
        (0..rng.usize(1..4)).map(|_| row(rng)).collect::<Vec<_>>().join(", ")
    };
    let t_row = |rng: &mut Rng| format!("({}, {}, {}, {})", id(rng), v(rng), id(rng), v(rng));
    match rng.u32(..34) {
        0..=5 => format!("INSERT {} INTO t(id, v, u, r) VALUES {}", or(rng), rows(rng, &t_row)),
        6..=7 => {
            let row = |rng: &mut Rng| format!("({}, {}, {})", id(rng), id(rng), v(rng));
            format!("INSERT {} INTO c VALUES {}", or(rng), rows(rng, &row))
        }
        8..=10 => {
            let row = |rng: &mut Rng| format!("('k{}', {}, {})", id(rng), v(rng), id(rng));
            format!("INSERT {} INTO w VALUES {}", or(rng), rows(rng, &row))
        }
        11..=12 => format!("UPDATE {} t SET v = {}, u = u + 1 WHERE id > {}", or(rng), v(rng), id(rng)),
        13 => format!("UPDATE {} t SET id = id + {} WHERE id < {}", or(rng), rng.u32(0..3), id(rng)),
        14 => format!(
            "UPDATE {} w SET k = 'k' || {}, v = {} WHERE k > 'k{}'",
            or(rng),
            id(rng),
            v(rng),
            id(rng)
        ),
        15 => format!("UPDATE c SET v = {} WHERE t = {}", v(rng), id(rng)),
        16 => format!("DELETE FROM t WHERE id > {}", id(rng)),
        17 => one_of(rng, &["DELETE FROM t", "DELETE FROM w", "DELETE FROM c"]).to_owned(),
        18 => format!(
            "INSERT INTO t(id, v, u) VALUES ({}, {}, {}) ON CONFLICT DO UPDATE SET v = excluded.v + 1",
            id(rng),
            v(rng),
            id(rng)
        ),
        19 => format!("INSERT {} INTO w SELECT 'c' || id, v, NULL FROM c", or(rng)),
        20 => format!(
            "INSERT INTO t(id, v) SELECT id + 1, abs(-9223372036854775808 + (id < {})) FROM t",
            id(rng)
        ),
        21..=22 => one_of(rng, &["BEGIN", "BEGIN IMMEDIATE"]).to_owned(),
        23..=24 => "COMMIT".to_owned(),
        25 => "ROLLBACK".to_owned(),
        26..=28 => format!("SAVEPOINT {}", name(rng)),
        29..=30 => format!("RELEASE {}", name(rng)),
        31..=32 => format!("ROLLBACK TO {}", name(rng)),
        _ => format!("DELETE FROM t WHERE v = {} RETURNING id", v(rng)),
    }
}

/// Runs a statement with RETURNING as a cursor that is left after a row.
fn half_read(db: &Conn<'_>, sql: &str) {
    let Ok(declared) = db.call(tag::DECLARE, [sql.into(), list![]]) else { return };
    let cursor = declared.items()[0].clone();
    let id = db.send(tag::FETCH, [cursor.clone(), 1.into(), 0.into()]);
    db.sidecar().receive(id);
    let _ = db.call(tag::CLOSE_CURSOR, [cursor]);
}

fn key(table: &str, key: &Term) -> (String, String) {
    (table.to_owned(), format!("{:?}", key.items()[0]))
}

fn apply(copy: &mut Copy, change: &Change) {
    let none = Term::List(Vec::new());
    match change.operation {
        "insert" => {
            let before = copy.insert(key(&change.table, &change.key), change.new.clone());
            assert_eq!(before, None, "{change:?}");
        }
        "update" => {
            let old_key = if change.old_key == none { &change.key } else { &change.old_key };
            let before = copy.remove(&key(&change.table, old_key));
            assert_eq!(before.as_ref(), Some(&change.old), "{change:?}");
            let before = copy.insert(key(&change.table, &change.key), change.new.clone());
            assert_eq!(before, None, "{change:?}");
        }
        "delete" => {
            let before = copy.remove(&key(&change.table, &change.key));
            assert_eq!(before.as_ref(), Some(&change.old), "{change:?}");
        }
        other => panic!("{other}"),
    }
}

fn read(db: &Conn<'_>) -> Copy {
    let mut copy = Copy::new();
    for (table, columns, at) in [("t", "id, v, u, s, r", 0), ("c", "id, t, v", 0), ("w", "k, v, u", 0)] {
        for row in db.exec(&format!("SELECT {columns} FROM {table}")).rows {
            copy.insert((table.to_owned(), format!("{:?}", row[at])), Term::List(row));
        }
    }
    copy
}

#[test]
fn what_is_told_is_what_has_been_committed() {
    each_seed(16, |rng| {
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let db = sidecar.open(&path);
        let other = sidecar.open(&path).lock_timeout(0);
        db.script(SCHEMA).unwrap();
        db.script(&audits()).unwrap();
        db.exec("PRAGMA recursive_triggers = 1");
        other.exec("PRAGMA recursive_triggers = 1");
        let events = Events::of(&sidecar);
        let options = |tables: Term| {
            let Term::Map(mut pairs) = all_values() else { panic!() };
            pairs.push(("tables".into(), tables));
            pairs.push(("bytes_max".into(), 1_000_000_000.into()));
            Term::Map(pairs)
        };
        let subscription = events
            .subscribe(db.id.into(), options(Term::List(TABLES.iter().map(|name| (*name).into()).collect())));
        let mut copy = Copy::new();
        let mut audited = 0;
        let mut told: Vec<String> = Vec::new();
        for _ in 0..STATEMENTS {
            let sql = statement(rng);
            let on = if rng.u32(..5) == 0 { &other } else { &db };
            if sql.contains("RETURNING") && rng.bool() {
                half_read(on, &sql);
            } else if on.id == db.id || !is_transaction(&sql) {
                let _ = on.query(&sql, list![]);
            }
            let transactions = events.transactions(subscription);
            let changes: Vec<&Change> = transactions.iter().flat_map(|one| &one.changes).collect();
            changes.iter().for_each(|change| apply(&mut copy, change));
            told.extend(changes.iter().map(|change| told_as(change)));
            if db.status().get("autocommit") == &true.into() {
                assert_eq!(copy, read(&db), "after {sql}");
                let rows = db.query(
                    "SELECT tab, op, key, old_key FROM audit WHERE rowid > ? ORDER BY rowid",
                    list![audited],
                );
                let mut noted: Vec<String> =
                    rows.unwrap().rows.iter().map(|row| format!("{row:?}")).collect();
                audited = db.value("SELECT coalesce(max(rowid), 0) FROM audit").int();
                told.sort();
                noted.sort();
                assert_eq!(told, noted, "after {sql}");
                told.clear();
            } else if on.id == db.id {
                assert_eq!(changes.len(), 0, "{sql} has not committed");
            }
        }
    });
}

fn is_transaction(sql: &str) -> bool {
    ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|word| sql.starts_with(word))
}

fn told_as(change: &Change) -> String {
    let key = &change.key.items()[0];
    let old_key = change.old_key.items().first().unwrap_or(key);
    format!("{:?}", vec![change.table.as_str().into(), change.operation.into(), key.clone(), old_key.clone()])
}
