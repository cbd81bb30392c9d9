//! Storage that fails: one call, or all calls from one on, of a kind and with an error by chance. Every request is
//! answered, the program lives, and once the storage is well again the ledger is true.

use crate::client::{self, Answer};
use crate::ledger::{self, Held, Notes};
use crate::support::{eventually, tag};
use crate::term::atom;
use crate::{list, shim, Counts, Round};
use std::path::Path;

const ERRORS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::EDQUOT, -1];
const OPS: [&str; 10] = ["w", "r", "s", "t", "o", "u", "l", "m", "ws", "wrstoulm"];

/// Time limit of a request while the storage fails.
const WAIT_MS: u32 = 300;

pub fn round(round: &mut Round) -> Counts {
    // Mostly early, where files are made and opened, but everywhere in the end.
    let reach = 1 << round.rng.u32(1..=9);
    let (at, lasts) = (round.rng.u32(1..=reach), round.rng.u8(0..2));
    let off = round.folder.join("off");
    // Not below the root, whose files fail.
    let root = round.folder.join("data");
    std::fs::create_dir(&root).unwrap();
    let (hit, path) = (round.folder.join("hit"), root.join("ledger.db"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let sidecar = shim::start(
        &[],
        &[
            ("TORTURE_ROOT", text(&root)),
            ("TORTURE_OPS", round.rng.choice(OPS).unwrap().to_owned()),
            ("TORTURE_AT", at.to_string()),
            ("TORTURE_ERRNO", round.rng.choice(ERRORS).unwrap().to_string()),
            ("TORTURE_LASTS", lasts.to_string()),
            ("TORTURE_OFF", text(&off)),
            ("TORTURE_HIT", text(&hit)),
        ],
    );
    let mut notes = [Notes::of(1), Notes::of(2)];
    let mut refusals = 0;
    for _visit in 0..3 {
        let opened: Vec<_> = notes
            .iter()
            .map(|_| client::open_within(&sidecar, &path, ledger::options("full"), WAIT_MS))
            .collect();
        refusals += opened.iter().filter(|opened| opened.is_err()).count() as u64;
        let [Ok(one), Ok(two)] = &opened[..] else {
            for opened in opened {
                lives(opened.map_or_else(|refusal| refusal, |conn| client::request(&conn, tag::CLOSE, [])));
            }
            continue;
        };
        // The engine takes a lock that cannot be had for a busy one, and waits.
        let (one, two) = (&one.within(WAIT_MS), &two.within(WAIT_MS));
        lives(ledger::schema(one));
        for _write in 0..8 {
            for (notes, conn) in notes.iter_mut().zip([one, two]) {
                assert!(notes.write(conn, &mut round.rng), "the program is gone");
                lives(client::run(conn, "SELECT count(*) FROM ledger", list![]));
            }
        }
        lives(client::request(one, tag::CHECKPOINT, [atom("truncate")]));
        lives(client::request(one, tag::CLOSE, []));
        lives(client::request(two, tag::CLOSE, []));
    }
    std::fs::write(&off, "").unwrap();
    // Whatever is left from the fault is gone as soon as a new connection asks.
    eventually("a write after the fault", || {
        let Ok(conn) = client::open(&sidecar, &path, ledger::options("full")) else { return false };
        let well = ledger::schema(&conn).done();
        let written = well
            && notes[0].write(&conn, &mut round.rng)
            && notes[0].acknowledged.last() == Some(&notes[0].last);
        conn.close();
        written
    });
    sidecar.end();
    let reader = crate::support::Sidecar::start();
    let conn = client::open(&reader, &path, ledger::options("full")).unwrap();
    let held = Held::read(&conn);
    notes.iter().for_each(|notes| held.check(notes));
    reader.end();
    let (acknowledged, refused) = notes.iter().fold((0, refusals), |(acknowledged, refused), notes| {
        (acknowledged + notes.acknowledged.len() as u64, refused + notes.refused.len() as u64)
    });
    let hits = u64::from(hit.exists());
    vec![("with a fault", hits), ("acknowledged commits", acknowledged), ("refusals", refused)]
}

/// Done or refused, but not by a program that has ended.
#[track_caller]
fn lives(answer: Answer) {
    assert!(!matches!(answer, Answer::Gone), "the program is gone");
}
