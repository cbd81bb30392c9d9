//! Mutated frames: bytes changed, added, taken out, and the tail of another frame put in. The program answers what it
//! can read, ends with status 76 at what is no frame, and never in another way. A second file is written to between,
//! by a connection that no mutant names, and stays whole.

use crate::support::{frame, framed, tag, Process, Sidecar, BOUND};
use crate::term::Term;
use crate::{client, list, Counts, Round};
use fastrand::Rng;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};

const BATCHES: usize = 60;
const FRAMES: usize = 100;
/// Request ids below it are the mutants'.
const OWN_IDS: u32 = 1 << 24;
const BROKEN_ONE_IN: u16 = 1_500;

/// The bodies of the requests among the golden frames.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("request_") && !name.starts_with("value_") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let digits = text.lines().filter(|line| !line.starts_with('#') && !line.contains(':'));
        let bytes: Vec<u8> =
            digits.flat_map(str::split_whitespace).map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
        bodies.push(bytes[4..].to_vec());
    }
    bodies.sort();
    assert!(bodies.len() > 50, "the golden requests");
    bodies
}

/// The program, of whose replies only the ids and tags of the requests that are no mutants matter: mutants may be
/// answered with terms that no decoder here reads.
struct Wire {
    process: Process,
    replies: Receiver<(u32, u8, Vec<u8>)>,
    next_id: u32,
}

impl Wire {
    /// In `folder`: a mutant may open a database under any relative path.
    fn start(folder: &Path) -> Wire {
        let mut command = Command::new(env!("CARGO_BIN_EXE_libsql_port"));
        command.arg("--log-level=off").current_dir(folder);
        let mut process = Process::spawn(&mut command, Stdio::piped());
        let mut stdout = process.stdout.take().unwrap();
        let (told, replies) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut length = [0; 4];
            while stdout.read_exact(&mut length).is_ok() {
                let mut body = vec![0; u32::from_be_bytes(length) as usize];
                if stdout.read_exact(&mut body).is_err() {
                    return;
                }
                let id = u32::from_be_bytes(body[4..8].try_into().unwrap());
                if id >= OWN_IDS && told.send((id, body[9], body)).is_err() {
                    return;
                }
            }
        });
        Wire { process, replies, next_id: OWN_IDS }
    }

    /// Sends bytes and a request behind them; the tag and body of its reply, `None` if the program ended.
    fn call(&mut self, mut bytes: Vec<u8>, tag: u8, payload: &Term) -> Option<(u8, Vec<u8>)> {
        self.next_id += 1;
        bytes.extend(frame(self.next_id, tag, payload));
        self.process.stdin.as_mut().unwrap().write_all(&bytes).ok()?;
        loop {
            match self.replies.recv_timeout(BOUND) {
                Ok((id, tag, body)) if id == self.next_id => return Some((tag, body)),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("no reply within {BOUND:?}"),
            }
        }
    }

    fn open(&mut self, path: &Path) -> i64 {
        let payload = crate::tuple![10_000, path.to_str().unwrap(), Term::Map(Vec::new())];
        let (tag, body) = self.call(Vec::new(), tag::OPEN, &payload).unwrap();
        assert_eq!(tag, tag::OK);
        Term::decode(&body).unwrap().items()[2].items()[0].int()
    }
}

pub fn round(round: &mut Round) -> Counts {
    let corpus = corpus();
    let mut wire = Wire::start(&round.folder);
    let canary_path = round.folder.join("canary.db");
    let canary = wire.open(&canary_path);
    let write = |sql: &str| crate::tuple![canary, 10_000, sql, list![]];
    wire.call(Vec::new(), tag::EXECUTE, &write("CREATE TABLE t(a)")).unwrap();
    // The golden requests name low connections.
    for number in 0..9 {
        wire.open(&round.folder.join(format!("mutant{number}.db")));
    }
    let (mut frames, mut written) = (0, 0);
    for _batch in 0..BATCHES {
        let mut bytes = Vec::new();
        for _frame in 0..FRAMES {
            let mut body = round.rng.choice(&corpus).unwrap().clone();
            aim(&mut body, &mut round.rng);
            mutate(&mut body, &corpus, &mut round.rng);
            // What is no term ends the program, so it comes seldom.
            if !is_term(&body) && round.rng.u16(0..BROKEN_ONE_IN) > 0 {
                continue;
            }
            if body.len() > 8 {
                body[4] = 0;
            }
            bytes.extend(framed(&body));
            frames += 1;
        }
        match wire.call(bytes, tag::EXECUTE, &write("INSERT INTO t VALUES (1)")) {
            Some((tag::RESULT, _)) => written += 1,
            // A mutant named the canary's connection by chance.
            Some(_) => {}
            None => break,
        }
    }
    drop(wire.process.stdin.take());
    let status = wire.process.wait(BOUND);
    assert!(matches!(status.code(), Some(0 | 76)), "{status}: {}", wire.process.stderr());
    let reader = Sidecar::start();
    let conn = client::open(&reader, &canary_path, Term::Map(Vec::new())).unwrap();
    let rows = client::run(&conn, "PRAGMA integrity_check", list![]).rows();
    assert_eq!(rows[0][0].text(), "ok");
    reader.end();
    vec![
        ("frames", frames),
        ("canary writes", written),
        ("ends with 76", u64::from(status.code() == Some(76))),
    ]
}

/// Whether a body has the head of a request and is a term of the kinds that the protocol accepts (section 1).
fn is_term(body: &[u8]) -> bool {
    matches!(body, [131, 104, 3, 98, 0..128, _, _, _, 97, ..]) && after_term(&body[1..], 0) == Some(&[])
}

/// What comes behind one term; `None` if there is none, or one of another kind.
fn after_term(bytes: &[u8], depth: usize) -> Option<&[u8]> {
    let (tag, rest) = bytes.split_first().filter(|_| depth < 60)?;
    let number = |size: usize| {
        let digits = rest.get(..size)?;
        Some((digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), &rest[size..]))
    };
    // So many bytes, or so many terms, behind a length.
    let skip = |size: usize, more: usize| number(size).and_then(|(length, rest)| rest.get(length + more..));
    let terms = |count: usize, rest| (0..count).try_fold(rest, |rest, _| after_term(rest, depth + 1));
    match tag {
        97 => rest.get(1..),
        98 => rest.get(4..),
        70 if f64::from_be_bytes(rest.get(..8)?.try_into().ok()?).is_finite() => rest.get(8..),
        110 => skip(1, 1),
        109 => skip(4, 0),
        100 | 107 => skip(2, 0),
        118 => number(2).filter(|(length, rest)| utf8(rest, *length)).and_then(|_| skip(2, 0)),
        115 => skip(1, 0),
        119 => number(1).filter(|(length, rest)| utf8(rest, *length)).and_then(|_| skip(1, 0)),
        106 => Some(rest),
        104 => number(1).and_then(|(count, rest)| terms(count, rest)),
        105 => number(4).and_then(|(count, rest)| terms(count, rest)),
        108 => {
            let rest = number(4).and_then(|(count, rest)| terms(count, rest))?;
            rest.strip_prefix(&[106])
        }
        116 => number(4).and_then(|(count, rest)| terms(count.checked_mul(2)?, rest)),
        _ => None,
    }
}

fn utf8(bytes: &[u8], length: usize) -> bool {
    bytes.get(..length).is_some_and(|text| std::str::from_utf8(text).is_ok())
}

/// Lets most requests meet a connection that is open.
fn aim(body: &mut [u8], rng: &mut Rng) {
    // A request to a connection: the first element of the payload's tuple is a small integer.
    if let [_, _, _, _, _, _, _, _, _, _, 104, _, 97, conn, ..] = body {
        *conn = rng.u8(2..=10);
    }
}

fn mutate(body: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    // Half of them keep their head, so that they reach further in.
    let from = if rng.bool() { 10 } else { 0 };
    for _change in 0..rng.usize(0..4) {
        let at = rng.usize(from.min(body.len() - 1)..body.len());
        match rng.u8(0..6) {
            0 => body[at] = rng.u8(..),
            1 => body[at] ^= 1 << rng.u32(0..8),
            2 => body.insert(at, rng.u8(..)),
            3 if body.len() > 11 => drop(body.remove(at)),
            4 => {
                let other = rng.choice(corpus).unwrap();
                let cut = rng.usize(0..other.len());
                body.truncate(at);
                body.extend_from_slice(&other[cut..]);
            }
            _ => {
                body[at] = *rng
                    .choice([0, 1, 97, 98, 100, 104, 105, 106, 107, 108, 109, 110, 111, 116, 255].iter())
                    .unwrap()
            }
        }
        if body.is_empty() {
            body.push(131);
        }
    }
}
