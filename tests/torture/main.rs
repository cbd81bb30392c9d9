//! Load and faults at length, against the real program: `make torture`. Each kind of work runs rounds of its own until its
//! share of the time is over, and prints what it has done. A round is a function of its seed, so a failure names the
//! seed and keeps the files; `--seed` runs that round again.
//!
//! This is no part of `cargo test`: scripts/torture runs it, for as long as it is told to.

// The harness unwraps as the tests themselves do, its report goes to standard output, and the size of a failure matters
// to nobody here.
#![allow(clippy::unwrap_used, clippy::result_large_err, clippy::large_enum_variant, clippy::print_stdout)]

mod client;
mod corrupt;
mod frames;
mod kills;
mod ledger;
mod power;
mod shim;
mod soak;
mod storage;
// Shared with the tests, which use more of them.
#[allow(dead_code)]
#[path = "../sidecar/support.rs"]
mod support;
#[allow(dead_code)]
#[path = "../sidecar/term.rs"]
mod term;

use clap::Parser;
use fastrand::Rng;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One kind of work: a round that is repeated with other seeds.
struct Work {
    name: &'static str,
    round: fn(&mut Round) -> Counts,
}

/// What a round may use.
pub struct Round {
    /// All chance comes from here.
    pub rng: Rng,
    /// An empty folder, removed after a round that went well.
    pub folder: PathBuf,
    /// When the work's time is over; a round that is long by nature looks at it.
    pub end: Instant,
}

/// What was done, by name, in the order in which it is printed.
pub type Counts = Vec<(&'static str, u64)>;

const WORKS: [Work; 7] = [
    Work { name: "kills", round: kills::one_sidecar },
    Work { name: "several", round: kills::several_sidecars },
    Work { name: "storage", round: storage::round },
    Work { name: "power", round: power::round },
    Work { name: "frames", round: frames::round },
    Work { name: "corrupt", round: corrupt::round },
    Work { name: "soak", round: soak::round },
];

/// Kills, several sidecars, storage faults, power loss, mutated frames, corrupt files and a soak, for a given time.
#[derive(Parser)]
struct Arguments {
    /// Seconds for all works together, in equal shares.
    #[arg(long, default_value_t = 1800)]
    seconds: u64,
    /// The seed of the first round; each further round's follows from it. Default: by chance.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends after so many rounds of each work; 1 with --seed runs a failed round again.
    #[arg(long)]
    rounds: Option<u64>,
    /// Where the databases live. Default: the system's temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// kills, several, storage, power, frames, corrupt, soak; default: all.
    works: Vec<String>,
}

fn main() {
    let arguments = Arguments::parse();
    for name in &arguments.works {
        if !WORKS.iter().any(|work| work.name == name) {
            let names: Vec<_> = WORKS.iter().map(|work| work.name).collect();
            eprintln!("there is no work {name}: {}", names.join(", "));
            std::process::exit(2);
        }
    }
    let chosen =
        |work: &&Work| arguments.works.is_empty() || arguments.works.iter().any(|name| name == work.name);
    let works: Vec<_> = WORKS.iter().filter(chosen).collect();
    let share = Duration::from_secs(arguments.seconds) / u32::try_from(works.len()).unwrap();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let folder = arguments.folder.unwrap_or_else(std::env::temp_dir);
    for work in works {
        run(work, seed, share, arguments.rounds.unwrap_or(u64::MAX), &folder);
    }
}

/// Rounds of one work until its time is over; a round that fails ends the program.
fn run(work: &Work, first_seed: u64, share: Duration, rounds_max: u64, parent: &std::path::Path) {
    let (begin, mut told) = (Instant::now(), Instant::now());
    let end = begin + share;
    let (mut rounds, mut total, mut seed) = (0, Counts::new(), first_seed);
    while rounds < rounds_max && (rounds == 0 || Instant::now() < end) {
        let folder = tempfile::Builder::new().prefix("torture-").tempdir_in(parent).unwrap();
        let mut round = Round { rng: Rng::with_seed(seed), folder: folder.path().to_owned(), end };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (work.round)(&mut round)));
        let Ok(counts) = outcome else {
            println!("{}: FAILED, seed {seed}, files in {}", work.name, folder.keep().display());
            println!("again: scripts/torture --rounds 1 --seed {seed} {}", work.name);
            std::process::exit(1);
        };
        rounds += 1;
        for (name, count) in counts {
            match total.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => total.push((name, count)),
            }
        }
        seed = Rng::with_seed(seed).u64(..);
        if told.elapsed() >= Duration::from_secs(30) {
            told = Instant::now();
            println!("  {}", line(work.name, rounds, &total, begin.elapsed()));
        }
    }
    println!("{} (first seed {first_seed})", line(work.name, rounds, &total, begin.elapsed()));
}

fn line(name: &str, rounds: u64, counts: &Counts, time: Duration) -> String {
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("{name}: {rounds} rounds in {} s, {}", time.as_secs(), counts.join(", "))
}
