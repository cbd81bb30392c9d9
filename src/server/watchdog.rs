//! What cannot be stopped: the engine looks at the clock between the steps of a statement, not within most functions.
//! A request that runs on beyond its deadline may keep a writer turn, and all writers wait.
//!
//! No thread can be ended from outside without what it holds. So it is told who holds what, and after a limit the program
//! ends: whoever supervises it starts a new one, and the journal undoes what was not committed.

use super::table::Table;
use crate::connection::Connection;
use crate::database::Files;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this time the log tells of it. Whatever looks at the clock at all has stopped by then.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// A request that runs although it has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Overdue {
    connection: u32,
    request: u32,
    since: Instant,
    told: Told,
}

/// Whether the log has told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Due,
    Yes,
}

/// Looks at running requests now and then.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    overdue: Vec<Overdue>,
}

impl Watchdog {
    /// Ends the program after `limit`; never if it is zero.
    pub fn new(limit: Duration) -> Self {
        Watchdog { limit, overdue: Vec::new() }
    }

    /// The connections whose requests cannot be stopped. One that is only just overdue may be in its commit.
    pub fn stuck(&self) -> Vec<u32> {
        let is_stuck = |overdue: &&Overdue| overdue.since.elapsed() >= TOLD_AFTER.min(self.limit);
        self.overdue.iter().filter(is_stuck).map(|overdue| overdue.connection).collect()
    }

    /// Looks at all requests that run; true if the program has to end.
    pub fn look(&mut self, table: &Table, files: &Files) -> bool {
        let of_connection =
            |connection: &Arc<Connection>| Some((connection.id, connection.control.overdue()?));
        let running: Vec<_> = table.all().iter().filter_map(of_connection).collect();
        self.update(&running, Instant::now());
        for overdue in self.overdue.iter_mut().filter(|overdue| overdue.told == Told::Due) {
            overdue.told = Told::Yes;
            tracing::warn!(
                connection = overdue.connection,
                request = overdue.request,
                writer_of = turns_of(files, overdue.connection),
                "a request runs on although it has to stop: it is where the engine does not look at the clock"
            );
        }
        let ends = |overdue: &&Overdue| !self.limit.is_zero() && overdue.since.elapsed() >= self.limit;
        let ending = self.overdue.iter().find(ends);
        if let Some(overdue) = ending {
            tracing::error!(
                connection = overdue.connection,
                request = overdue.request,
                writer_of = turns_of(files, overdue.connection),
                "a request cannot be stopped, and stuck_limit is over: the program ends so that a new one takes its place"
            );
        }
        ending.is_some()
    }

    /// What runs now is compared with what ran before.
    fn update(&mut self, running: &[(u32, u32)], now: Instant) {
        let (still, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.overdue)
            .into_iter()
            .partition(|overdue| running.contains(&(overdue.connection, overdue.request)));
        for overdue in ended.iter().filter(|overdue| overdue.told == Told::Yes) {
            tracing::warn!(
                connection = overdue.connection,
                request = overdue.request,
                "the request that could not be stopped has ended"
            );
        }
        self.overdue = still;
        for &(connection, request) in running {
            if !self.overdue.iter().any(|known| (known.connection, known.request) == (connection, request)) {
                self.overdue.push(Overdue { connection, request, since: now, told: Told::No });
            }
        }
        for overdue in &mut self.overdue {
            if overdue.told == Told::No && now.saturating_duration_since(overdue.since) >= TOLD_AFTER {
                overdue.told = Told::Due;
            }
        }
    }
}

/// The files whose writer turn `connection` has.
fn turns_of(files: &Files, connection: u32) -> String {
    let held = files.all().into_iter().filter(|file| file.turn.holder() == Some(connection));
    held.map(|file| file.name.clone()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_of_once_and_the_next_of_its_connection_is_another() {
        let mut watchdog = Watchdog::new(Duration::ZERO);
        let start = Instant::now();
        let told =
            |watchdog: &Watchdog| watchdog.overdue.iter().map(|overdue| overdue.told).collect::<Vec<_>>();
        watchdog.update(&[(1, 300), (2, 301)], start);
        assert_eq!(told(&watchdog), [Told::No, Told::No]);
        watchdog.update(&[(1, 300), (2, 302)], start + TOLD_AFTER);
        assert_eq!(told(&watchdog), [Told::Due, Told::No]);
        watchdog.overdue[0].told = Told::Yes;
        watchdog.update(&[(1, 300)], start + 2 * TOLD_AFTER);
        assert_eq!(told(&watchdog), [Told::Yes]);
        assert_eq!(watchdog.stuck(), [1]);
        watchdog.update(&[], start + 3 * TOLD_AFTER);
        assert!(watchdog.stuck().is_empty());
    }
}
