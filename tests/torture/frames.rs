//! Mutated frames: bytes changed, added, taken out, and the tail of another frame put in. The program answers what it
//! can read, ends with status 76 at what is no frame, and never in another way. A second file is written to between,
//! by a connection that no mutant names, and stays whole.

use crate::support::{frame, framed, tag, Sidecar, BOUND};
use crate::{client, list, Counts, Round};
use fastrand::Rng;
use std::path::Path;

const BATCHES: usize = 60;
const FRAMES: usize = 100;
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

pub fn round(round: &mut Round) -> Counts {
    let corpus = corpus();
    let sidecar = Sidecar::start_with(&["--log-level=off"]);
    let canary =
        client::open(&sidecar, &round.folder.join("canary.db"), crate::term::Term::Map(Vec::new())).unwrap();
    client::run(&canary, "CREATE TABLE t(a)", list![]).rows();
    // The golden requests name connections from 1 on.
    for number in 0..9 {
        let path = round.folder.join(format!("mutant{number}.db"));
        client::open(&sidecar, &path, crate::term::Term::Map(Vec::new())).unwrap();
    }
    let (mut frames, mut written) = (0, 0);
    for _batch in 0..BATCHES {
        let mut bytes = Vec::new();
        for _frame in 0..FRAMES {
            let mut body = round.rng.choice(&corpus).unwrap().clone();
            // A word about the canary's own connection would be no accident.
            aim(&mut body, &mut round.rng);
            mutate(&mut body, &corpus, &mut round.rng);
            // What is no term ends the program, so it comes seldom.
            if !is_term(&body) && round.rng.u16(0..BROKEN_ONE_IN) > 0 {
                continue;
            }
            bytes.extend(framed(&body));
            frames += 1;
        }
        let ping = sidecar.new_id();
        bytes.extend(frame(ping, tag::PING, &1.into()));
        if !sidecar.try_send(&bytes) || sidecar.receive_or_end(ping).is_none() {
            break;
        }
        if client::run(&canary, "INSERT INTO t VALUES (1)", list![]).done() {
            written += 1;
        }
    }
    sidecar.close_stdin();
    let (status, stderr) = sidecar.wait(BOUND);
    assert!(matches!(status.code(), Some(0 | 76)), "{status}: {stderr}");
    let reader = Sidecar::start();
    let conn =
        client::open(&reader, &round.folder.join("canary.db"), crate::term::Term::Map(Vec::new())).unwrap();
    // A mutant may name the canary by chance, so rows may be more, or the table gone; the file is whole.
    let rows = client::run(&conn, "PRAGMA integrity_check", list![]).rows();
    assert_eq!(rows[0][0].text(), "ok");
    reader.end();
    vec![
        ("frames", frames),
        ("canary writes", written),
        ("ends with 76", u64::from(status.code() == Some(76))),
    ]
}

/// Whether a body has the head of a request and holds a whole term.
fn is_term(body: &[u8]) -> bool {
    matches!(body, [131, 104, 3, 98, 0..128, _, _, _, 97, ..]) && decodes(body)
}

/// Whether the crate can read it; it panics at some bytes, of which nobody needs to hear.
fn decodes(body: &[u8]) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let decoded = std::panic::catch_unwind(|| erlang_term::RawTerm::from_bytes(body).is_ok());
    std::panic::set_hook(hook);
    decoded.unwrap_or(false)
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
