//! SIGKILL in the middle of writes, to one sidecar and to one of several on one file. What was acknowledged is there
//! afterwards, what was refused is not, nothing is there by half, and the others go on.

use crate::ledger::{self, Held, Notes};
use crate::support::Sidecar;
use crate::{client, Counts, Round};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub fn one_sidecar(round: &mut Round) -> Counts {
    rounds(round, 1)
}

pub fn several_sidecars(round: &mut Round) -> Counts {
    let count = round.rng.usize(2..=3);
    rounds(round, count)
}

/// Ten kills on one file, which grows from kill to kill.
fn rounds(round: &mut Round, sidecars: usize) -> Counts {
    let path = round.folder.join("ledger.db");
    let first = Sidecar::start();
    ledger::create(&first, &path);
    first.end();
    let (mut notes, mut commits, mut refused) = (Vec::new(), 0, 0);
    for kill in 0..10 {
        let new = kill_one(round, &path, sidecars, kill * 100);
        commits += new.iter().map(|notes| notes.acknowledged.len() as u64).sum::<u64>();
        refused += new.iter().map(|notes| notes.refused.len() as u64).sum::<u64>();
        notes.extend(new);
        let reader = Sidecar::start();
        let conn = client::open(&reader, &path, ledger::options("full")).unwrap();
        let held = Held::read(&conn);
        notes.iter().for_each(|notes| held.check(notes));
        reader.end();
    }
    vec![("kills", 10), ("acknowledged commits", commits), ("refused", refused)]
}

/// Writers on each sidecar; one of these is killed, the others write on and end in order.
fn kill_one(round: &mut Round, path: &Path, sidecars: usize, first_worker: i64) -> Vec<Notes> {
    let started: Vec<_> = (0..sidecars).map(|_| Sidecar::start()).collect();
    let stop = AtomicBool::new(false);
    let synchronous = *round.rng.choice(["normal", "full"].iter()).unwrap();
    let (before, after) = (round.rng.u64(0..120), round.rng.u64(5..60));
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for (worker, sidecar) in (first_worker..).zip(started.iter().flat_map(|sidecar| [sidecar; 4])) {
            let (mut rng, stop) = (round.rng.fork(), &stop);
            writers.push(scope.spawn(move || {
                let mut notes = Notes::of(worker);
                if let Ok(conn) = client::open(sidecar, path, ledger::options(synchronous)) {
                    while !stop.load(Ordering::Relaxed) && notes.write(&conn, &mut rng) {}
                }
                notes
            }));
        }
        thread::sleep(Duration::from_millis(before));
        started[0].signal(libc::SIGKILL);
        started[0].wait(crate::support::BOUND);
        thread::sleep(Duration::from_millis(after));
        stop.store(true, Ordering::Relaxed);
        let notes = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        started[1..].iter().for_each(|sidecar| drop(sidecar.end()));
        notes
    })
}
