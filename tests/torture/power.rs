//! Power loss, by replaying what the program wrote. Up to a point by chance, what was synced is on the disk; of what
//! was written since a file's last sync, any part may be, by whole writes or by sectors. With `synchronous=full` each
//! acknowledged commit is there; with `normal` the newest may be missing, but what is there is a beginning of the
//! whole, undamaged.

use crate::ledger::{self, Held, Notes};
use crate::support::Sidecar;
use crate::{client, list, shim, Counts, Round};
use fastrand::Rng;
use std::collections::HashMap;
use std::path::Path;

const SECTOR: usize = 512;
const IMAGES: u64 = 25;

/// A call as the shim wrote it down.
struct Record {
    /// Bytes of the trace up to its end.
    end: u64,
    op: u8,
    name: String,
    offset: usize,
    data: Vec<u8>,
}

pub fn round(round: &mut Round) -> Counts {
    let (root, trace) = (round.folder.join("data"), round.folder.join("trace"));
    std::fs::create_dir(&root).unwrap();
    let full = round.rng.bool();
    let (notes, told) = traced(round, &root, &trace, if full { "full" } else { "normal" });
    let records = records(&std::fs::read(&trace).unwrap());
    let reader = Sidecar::start();
    let mut missing_max = 0;
    for number in 0..IMAGES {
        let folder = round.folder.join(format!("image{number}"));
        std::fs::create_dir(&folder).unwrap();
        let point = round.rng.usize(0..=records.len());
        image(&records[..point], &mut round.rng, &folder);
        let reached = point.checked_sub(1).map_or(0, |last| records[last].end);
        let due: Vec<_> = notes.iter().zip(&told).map(|(notes, told)| due(notes, told, reached)).collect();
        let missing = missing(&reader, &folder.join("ledger.db"), &notes, &due);
        assert!(
            !full || missing == 0,
            "{missing} acknowledged commits are lost at record {point} of {}",
            records.len()
        );
        missing_max = missing_max.max(missing);
        std::fs::remove_dir_all(&folder).unwrap();
    }
    reader.end();
    let kind = if full { "images of full" } else { "images of normal" };
    vec![(kind, IMAGES), ("missing at most with normal, summed", missing_max)]
}

/// Two writers beside each other, one checkpoint. What they were told, and for each acknowledged transaction how long
/// the trace was when it was.
fn traced(round: &mut Round, root: &Path, trace: &Path, synchronous: &str) -> ([Notes; 2], [Vec<u64>; 2]) {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let sidecar = shim::start(&[], &[("TORTURE_ROOT", text(root)), ("TORTURE_TRACE", text(trace))]);
    let path = root.join("ledger.db");
    ledger::create(&sidecar, &path);
    let mut notes = [Notes::of(1), Notes::of(2)];
    let mut told = [Vec::new(), Vec::new()];
    let conns = [(); 2].map(|()| client::open(&sidecar, &path, ledger::options(synchronous)).unwrap());
    let checkpoint = round.rng.u32(0..60);
    // Small enough that the log starts again from its beginning.
    client::run(&conns[0], "PRAGMA wal_autocheckpoint = 20", list![]).rows();
    for write in 0..60 {
        for ((notes, conn), told) in notes.iter_mut().zip(&conns).zip(&mut told) {
            assert!(notes.write(conn, &mut round.rng));
            if notes.acknowledged.last() == Some(&notes.last) {
                told.push(std::fs::metadata(trace).unwrap().len());
            }
        }
        if write == checkpoint {
            conns[1].call(crate::support::tag::CHECKPOINT, [crate::term::atom("truncate")]).unwrap();
        }
    }
    conns.iter().for_each(crate::support::Conn::close);
    sidecar.end();
    (notes, told)
}

fn records(trace: &[u8]) -> Vec<Record> {
    let (mut records, mut at) = (Vec::new(), 0);
    while at < trace.len() {
        let number = |range: std::ops::Range<usize>| {
            trace[range].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        let (name, size) = (at + 14, number(at + 10..at + 14));
        let data = name + usize::from(trace[at + 1]);
        records.push(Record {
            end: (data + size) as u64,
            op: trace[at],
            name: String::from_utf8(trace[name..data].to_vec()).unwrap(),
            offset: number(at + 2..at + 10),
            data: trace[data..data + size].to_vec(),
        });
        at = data + size;
    }
    records
}

/// Writes the files as a disk may hold them after these calls. Removals count at once: SQLite does not wait for theirs.
fn image(records: &[Record], rng: &mut Rng, folder: &Path) {
    let mut synced: HashMap<&str, usize> = HashMap::new();
    for (number, record) in records.iter().enumerate() {
        if record.op == b's' {
            synced.insert(&record.name, number);
        }
    }
    let keeps = rng.f64();
    let mut files: HashMap<&str, Vec<u8>> = HashMap::new();
    for (number, record) in records.iter().enumerate() {
        let safe = synced.get(record.name.as_str()).is_some_and(|sync| number < *sync);
        if record.op == b'u' {
            files.remove(record.name.as_str());
            continue;
        }
        let file = files.entry(&record.name).or_default();
        match record.op {
            b't' if safe || rng.f64() < keeps => file.resize(record.offset, 0),
            b'w' if safe || rng.f64() < keeps => store(file, record.offset, &record.data),
            b'w' => {
                // Some sectors of a write reach the disk without the others.
                for (sector, data) in record.data.chunks(SECTOR).enumerate() {
                    if rng.f64() < keeps / 2.0 {
                        store(file, record.offset + sector * SECTOR, data);
                    }
                }
            }
            _ => {}
        }
    }
    for (name, bytes) in files {
        // What a new start makes anew: the index of the log, and the turn.
        if !name.ends_with("-shm") && !name.ends_with("-turn") {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

fn store(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if file.len() < offset + data.len() {
        file.resize(offset + data.len(), 0);
    }
    file[offset..offset + data.len()].copy_from_slice(data);
}

/// The transactions that were acknowledged when the trace was this long.
fn due<'n>(notes: &'n Notes, told: &[u64], reached: u64) -> &'n [i64] {
    &notes.acknowledged[..told.iter().take_while(|length| **length <= reached).count()]
}

/// How many of the due transactions are not there. Fails if what is there is damaged, or leaves one out.
#[track_caller]
fn missing(reader: &Sidecar, path: &Path, notes: &[Notes; 2], due: &[&[i64]]) -> u64 {
    let all = due.iter().map(|due| due.len() as u64).sum();
    let conn = client::open(reader, path, ledger::options("full")).unwrap();
    let tables = client::run(&conn, "SELECT count(*) FROM sqlite_schema", list![]).rows();
    if tables[0][0].int() < ledger::SCHEMA.len() as i64 {
        conn.close();
        return all;
    }
    let held = Held::read(&conn);
    let mut missing = 0;
    for (notes, due) in notes.iter().zip(due) {
        let there = notes.acknowledged.iter().take_while(|txn| held.holds(notes.worker, **txn)).count();
        let beyond = notes.acknowledged[there..].iter().filter(|txn| held.holds(notes.worker, **txn)).count();
        assert_eq!(beyond, 0, "worker {}: a commit is there, an older one is not", notes.worker);
        missing += (due.len() as u64).saturating_sub(there as u64);
    }
    conn.close();
    missing
}
