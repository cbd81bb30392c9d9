//! Everything at once for the whole time: writes, reads, streams that are left, cancels, timeouts, connections that
//! come and go. At the end nothing is left and nothing has grown.

use crate::client::{self, Answer};
use crate::ledger::{self, Held, Notes};
use crate::support::{frame, tag, Conn, Sidecar, ENDLESS};
use crate::{list, tuple, Counts, Round};
use fastrand::Rng;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CALLERS: i64 = 12;

pub fn round(round: &mut Round) -> Counts {
    let path = round.folder.join("ledger.db");
    let sidecar = Sidecar::start();
    ledger::create(&sidecar, &path);
    let span = round.end.saturating_duration_since(Instant::now()).max(Duration::from_secs(2));
    // The first fifth fills pools and caches.
    let first = Instant::now() + span / 5;
    let (requests, commits) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut notes = phase(round, &sidecar, &path, first, 0, (&requests, &commits));
    let before = footprint(&sidecar);
    notes.extend(phase(round, &sidecar, &path, first + span * 4 / 5, CALLERS, (&requests, &commits)));
    let after = footprint(&sidecar);
    for ((what, before), (_, after)) in before.iter().zip(&after) {
        // Heaps breathe; a leak grows with the requests.
        assert!(*after <= before + before / 2 + 32, "{what}: {before}, then {after}");
    }
    let status = sidecar.status();
    for key in ["connections", "statements", "cursors", "queued_requests"] {
        assert_eq!(status.get(key).int(), 0, "{key}");
    }
    let conn = sidecar.open(&path);
    let held = Held::read(&conn);
    notes.iter().for_each(|notes| held.check(notes));
    conn.close();
    sidecar.end();
    let count = |count: AtomicU64| count.into_inner();
    vec![
        ("requests", count(requests)),
        ("acknowledged commits", count(commits)),
        ("MiB at the end", after[2].1),
    ]
}

/// Descriptors, threads, resident MiB.
fn footprint(sidecar: &Sidecar) -> [(&'static str, u64); 3] {
    let entries =
        |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", sidecar.pid)).unwrap().count() as u64;
    let rss = sidecar.status().get("rss_bytes").int() >> 20;
    [("descriptors", entries("fd")), ("threads", entries("task")), ("MiB", rss.unsigned_abs())]
}

fn phase(
    round: &mut Round,
    sidecar: &Sidecar,
    path: &Path,
    end: Instant,
    first_worker: i64,
    (requests, commits): (&AtomicU64, &AtomicU64),
) -> Vec<Notes> {
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let mut rng = round.rng.fork();
                scope.spawn(move || {
                    let mut notes = Notes::of(first_worker + caller);
                    while Instant::now() < end {
                        let conn = client::open(sidecar, path, ledger::options("normal")).unwrap();
                        for _request in 0..rng.u32(1..300) {
                            step(&conn, &mut notes, &mut rng);
                            requests.fetch_add(1, Ordering::Relaxed);
                        }
                        conn.close();
                    }
                    commits.fetch_add(notes.acknowledged.len() as u64, Ordering::Relaxed);
                    notes
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

/// One request of a kind by chance.
fn step(conn: &Conn, notes: &mut Notes, rng: &mut Rng) {
    let answer = match rng.u8(0..20) {
        0..8 => {
            assert!(notes.write(conn, rng), "the program is gone");
            return;
        }
        8..14 => client::run(conn, "SELECT parts FROM totals WHERE worker = ?", list![notes.worker]),
        14 => client::run(conn, "SELECT txn, filler FROM ledger LIMIT 2000", list![]),
        15 => client::run(conn, "SELECT nothing", list![]),
        16 => client::run(&conn.within(rng.u32(1..20)), ENDLESS, list![]),
        17 => {
            let id = conn.start(ENDLESS);
            conn.cancel(id);
            client::answer(conn.sidecar(), id, &conn.payload([]))
        }
        18 => {
            // A stream whose reader loses interest after the first chunk.
            let options = crate::term::map([("credits", 1), ("rows_max", 10)]);
            let id = conn.send(tag::EXECUTE, ["SELECT * FROM ledger".into(), list![], options]);
            let first = conn.sidecar().receive(id);
            if first.tag != tag::ROWS {
                return;
            }
            conn.sidecar().try_send(&frame(conn.sidecar().new_id(), tag::CANCEL, &tuple![conn.id, id]));
            client::answer(conn.sidecar(), id, &conn.payload([]))
        }
        _ => client::request(conn, tag::PREPARE, ["SELECT count(*) FROM totals".into()]),
    };
    assert!(!matches!(answer, Answer::Gone), "the program is gone");
}
