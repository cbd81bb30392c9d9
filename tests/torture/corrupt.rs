//! Files that are damaged: bytes, pages, the header, the length, the log. Every statement on them is answered, and the
//! program lives and serves a good file beside them.

use crate::client::{self, Answer};
use crate::support::{tag, Sidecar};
use crate::term::{atom, Term};
use crate::{list, Counts, Round};
use fastrand::Rng;
use std::path::Path;

const FILES: u64 = 40;

/// Vector indexes are left out: damage to theirs is known to crash the engine (docs/architecture.md).
const SCHEMA: &str = "
CREATE TABLE people(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, age, note TEXT,
  upper_name TEXT AS (upper(name)) STORED, CHECK (length(name) > 0));
CREATE INDEX people_age ON people(age DESC, name) WHERE age > 3;
CREATE TABLE pairs(a, b, c, PRIMARY KEY(b, a)) WITHOUT ROWID;
CREATE TABLE strict_one(a INTEGER, b REAL, c BLOB) STRICT;
CREATE TABLE child(id INTEGER PRIMARY KEY, person REFERENCES people(id) ON DELETE CASCADE);
CREATE VIEW grown AS SELECT * FROM people WHERE age > 17;
CREATE TRIGGER people_pairs AFTER INSERT ON people BEGIN INSERT OR REPLACE INTO pairs VALUES (new.id, new.age, new.name); END;
CREATE VIRTUAL TABLE words USING fts5(body);
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
";

const STATEMENTS: [&str; 16] = [
    "SELECT count(*), sum(length(note)) FROM people",
    "SELECT * FROM people WHERE name = 'name 17'",
    "SELECT * FROM people WHERE age > 5 ORDER BY age DESC LIMIT 50",
    "SELECT p.name, count(*) FROM people p JOIN child c ON c.person = p.id GROUP BY 1 ORDER BY 2",
    "SELECT * FROM pairs WHERE b > 10",
    "SELECT sum(a), sum(b), max(length(c)) FROM strict_one",
    "SELECT count(*) FROM grown",
    "SELECT rowid, snippet(words, 0, '[', ']', '…', 5) FROM words WHERE words MATCH 'word7 OR word8'",
    "SELECT * FROM boxes WHERE x0 > 3 AND x1 < 40",
    "INSERT INTO people(name, age, note) VALUES ('new one', 40, zeroblob(9000))",
    "INSERT INTO words VALUES ('word7 and more')",
    "UPDATE people SET age = age + 1 WHERE id % 3 = 0",
    "DELETE FROM people WHERE id % 5 = 0",
    "PRAGMA integrity_check(5)",
    "VACUUM",
    "REINDEX",
];

pub fn round(round: &mut Round) -> Counts {
    let (good, log) = original(round);
    let sidecar = Sidecar::start_with(&["--log-level=error"]);
    let beside = client::open(&sidecar, &round.folder.join("beside.db"), Term::Map(Vec::new())).unwrap();
    client::run(&beside, "CREATE TABLE t(a)", list![]).rows();
    let (mut answered, mut refused, mut log_count) = (0, 0, 0);
    for number in 0..FILES {
        // The last one stays if the program does not.
        let path = round.folder.join(format!("damaged{number}.db"));
        let mut bytes = good.clone();
        if round.rng.u8(0..4) == 0 {
            let mut log = log.clone();
            damage(&mut log, &mut round.rng);
            std::fs::write(format!("{}-wal", path.display()), log).unwrap();
            log_count += 1;
        } else {
            damage(&mut bytes, &mut round.rng);
        }
        std::fs::write(&path, bytes).unwrap();
        for answer in visit(&sidecar, &path) {
            match answer {
                Answer::Done(_) => answered += 1,
                Answer::Refused(_) => refused += 1,
                Answer::Gone => {
                    panic!("{} ended the program: {:?}", path.display(), sidecar.wait(crate::support::BOUND))
                }
            }
        }
        client::run(&beside, "INSERT INTO t VALUES (1)", list![]).rows();
        for end in ["", "-wal", "-shm", "-turn"] {
            let _ = std::fs::remove_file(format!("{}{end}", path.display()));
        }
    }
    sidecar.end();
    vec![("files", FILES), ("of them logs", log_count), ("answers", answered), ("typed errors", refused)]
}

/// A good file, and the log that a killed program leaves beside one.
fn original(round: &mut Round) -> (Vec<u8>, Vec<u8>) {
    let sidecar = Sidecar::start();
    let path = round.folder.join("original.db");
    let conn = client::open(&sidecar, &path, Term::Map(Vec::new())).unwrap();
    let page_size = 512u32 << round.rng.u32(0..5);
    client::request(&conn, tag::SCRIPT, [format!("PRAGMA journal_mode = delete; PRAGMA page_size = {page_size}; VACUUM; PRAGMA journal_mode = wal; {SCHEMA}").into()]).rows();
    fill(&conn, 0);
    client::request(&conn, tag::CHECKPOINT, [atom("truncate")]).rows();
    let good = std::fs::read(&path).unwrap();
    fill(&conn, 1_000);
    let log = std::fs::read(round.folder.join("original.db-wal")).unwrap();
    assert!(!log.is_empty(), "the log holds the second half");
    sidecar.end();
    (good, log)
}

fn fill(conn: &crate::support::Conn, from: i64) {
    let fill = format!(
        "BEGIN;
         WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {from} + 299)
         INSERT INTO people(name, age, note) SELECT 'name ' || i, i % 90, CASE i % 7 WHEN 0 THEN zeroblob(3000) ELSE 'note ' || i END FROM n;
         INSERT INTO strict_one SELECT id, id * 1.5, randomblob(id % 60) FROM people;
         INSERT INTO child(person) SELECT id FROM people;
         INSERT INTO words SELECT 'word' || (id % 20) || ' in a sentence of ' || name FROM people;
         INSERT OR REPLACE INTO boxes SELECT id, id % 50, id % 50 + 2 FROM people;
         COMMIT"
    );
    client::request(conn, tag::SCRIPT, [fill.into()]).rows();
}

/// Every statement, as far as the program lives.
fn visit(sidecar: &Sidecar, path: &Path) -> Vec<Answer> {
    let conn = match client::open(sidecar, path, Term::Map(Vec::new())) {
        Ok(conn) => conn,
        Err(answer) => return vec![answer],
    };
    let mut answers: Vec<_> = STATEMENTS.iter().map(|sql| client::run(&conn, sql, list![])).collect();
    answers.push(client::request(&conn, tag::CLOSE, []));
    answers
}

fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _change in 0..1 << rng.u32(0..6) {
        let at = rng.usize(0..bytes.len());
        match rng.u8(0..8) {
            // The first pages say where everything is.
            0 => {
                let first = bytes.len().min(100);
                bytes[rng.usize(0..first)] = rng.u8(..);
            }
            1 => {
                let first = bytes.len().min(4096);
                bytes[rng.usize(0..first)] ^= 1 << rng.u32(0..8);
            }
            2 | 3 => bytes[at] = rng.u8(..),
            4 => bytes[at] = *rng.choice([0, 1, 127, 128, 255].iter()).unwrap(),
            5 => {
                let (from, size) = (rng.usize(0..bytes.len()), rng.usize(1..600));
                let part = bytes[from..(from + size).min(bytes.len())].to_vec();
                let room = bytes.len() - at;
                let size = part.len().min(room);
                bytes[at..at + size].copy_from_slice(&part[..size]);
            }
            6 => {
                let until = (at + rng.usize(1..2000)).min(bytes.len());
                bytes[at..until].fill(rng.choice([0, 255].iter()).copied().unwrap());
            }
            _ if rng.u8(0..8) == 0 && bytes.len() > 2000 => bytes.truncate(at.max(600)),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
}
