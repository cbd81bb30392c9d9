//! Random programs: each is a function of its seed, which is printed when it fails.
//!
//! `LIBSQL_PORT_PROGRAMS` sets how many run in each test, `LIBSQL_PORT_SEED` runs the one of that seed alone.

use fastrand::Rng;

/// Runs `program` with `count` seeds, or with what the environment says.
pub fn each_seed(count: u64, program: impl Fn(&mut Rng)) {
    let (first, count) = match number("LIBSQL_PORT_SEED") {
        Some(seed) => (seed, 1),
        None => (fastrand::u64(..u64::MAX / 2), number("LIBSQL_PORT_PROGRAMS").unwrap_or(count)),
    };
    for seed in first..first + count {
        let _named = Named(seed);
        program(&mut Rng::with_seed(seed));
    }
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("that was LIBSQL_PORT_SEED={}", self.0);
        }
    }
}

/// One of `choices`.
pub fn one_of<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())].clone()
}
