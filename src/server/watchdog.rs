//! What cannot be stopped: the engine looks at the clock between the steps of a statement, not within most functions.
//! A request that runs on beyond its deadline may keep a writer turn, and all writers wait.
//!
//! No thread can be ended from outside without what it holds. So it is told who holds what, and after a limit the program
//! ends: whoever supervises it starts a new one, and the journal undoes what was not committed.

use super::table::Table;
use crate::connection::Connection;
use crate::database::Files;
use crate::os_thread::Progress;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this time the log tells of it. Whatever looks at the clock at all has stopped by then.
const TOLD_AFTER: Duration = Duration::from_secs(2);

/// As much time passes between two looks at most. If more did, this program itself did not run: it was stopped.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

/// A request that runs although it has to stop.
#[derive(Debug, Clone, Copy)]
struct Overdue {
    running: Running,
    /// For how long.
    time: Duration,
    /// For how long it has neither written to a file nor waited for a disk. Who does is slow and comes to an end: a
    /// checkpoint, a rollback, the recovery of a journal.
    motionless: Duration,
    told: Told,
}

/// One that runs beyond its time now.
#[derive(Debug, Clone, Copy)]
struct Running {
    connection: u32,
    request: u32,
    progress: Option<Progress>,
}

impl Running {
    fn is(&self, other: &Running) -> bool {
        (self.connection, self.request) == (other.connection, other.request)
    }

    fn moves_on_since(&self, before: &Running) -> bool {
        matches!((self.progress, before.progress), (Some(now), Some(then)) if now.moves_on_since(&then))
    }
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
    looked: Instant,
    overdue: Vec<Overdue>,
}

impl Watchdog {
    /// Ends the program after `limit`; never if it is zero.
    pub fn new(limit: Duration) -> Self {
        Watchdog { limit, looked: Instant::now(), overdue: Vec::new() }
    }

    /// The connections whose requests cannot be stopped. One that is only just overdue may be in its commit.
    pub fn stuck(&self) -> Vec<u32> {
        let is_stuck = |overdue: &&Overdue| overdue.time >= TOLD_AFTER.min(self.limit);
        self.overdue.iter().filter(is_stuck).map(|overdue| overdue.running.connection).collect()
    }

    /// Looks at all requests that run; true if the program has to end.
    pub fn look(&mut self, table: &Table, files: &Files) -> bool {
        let running = |connection: &Arc<Connection>| {
            let control = &connection.control;
            Some(Running {
                connection: connection.id,
                request: control.overdue()?,
                progress: control.progress(),
            })
        };
        let running: Vec<_> = table.all().iter().filter_map(running).collect();
        let now = Instant::now();
        let time = now.saturating_duration_since(self.looked).min(LOOK_EVERY_MAX);
        self.looked = now;
        self.update(&running, time);
        for overdue in self.overdue.iter_mut().filter(|overdue| overdue.told == Told::Due) {
            overdue.told = Told::Yes;
            tracing::warn!(
                connection = overdue.running.connection,
                request = overdue.running.request,
                writer_of = turns_of(files, overdue.running.connection),
                "a request runs on although it has to stop: it is where the engine does not look at the clock"
            );
        }
        let ending = self.overdue.iter().find(|overdue| self.ends_by(overdue));
        if let Some(overdue) = ending {
            tracing::error!(
                connection = overdue.running.connection,
                request = overdue.running.request,
                writer_of = turns_of(files, overdue.running.connection),
                "a request cannot be stopped, and stuck_limit is over: the program ends so that a new one takes its place"
            );
        }
        ending.is_some()
    }

    fn ends_by(&self, overdue: &Overdue) -> bool {
        !self.limit.is_zero() && overdue.motionless >= self.limit
    }

    /// Compares what is overdue with what was, `time` ago.
    fn update(&mut self, running: &[Running], time: Duration) {
        let before = std::mem::take(&mut self.overdue);
        let ended = before.iter().filter(|overdue| !running.iter().any(|now| now.is(&overdue.running)));
        for overdue in ended.filter(|overdue| overdue.told == Told::Yes) {
            tracing::warn!(
                connection = overdue.running.connection,
                request = overdue.running.request,
                "the request that could not be stopped has ended"
            );
        }
        let with_past = |now: &Running| match before.iter().find(|overdue| now.is(&overdue.running)) {
            None => {
                Overdue { running: *now, time: Duration::ZERO, motionless: Duration::ZERO, told: Told::No }
            }
            Some(overdue) => {
                let motionless = if now.moves_on_since(&overdue.running) {
                    Duration::ZERO
                } else {
                    overdue.motionless + time
                };
                let is_due = overdue.told == Told::No && overdue.time + time >= TOLD_AFTER;
                let told = if is_due { Told::Due } else { overdue.told };
                Overdue { running: *now, time: overdue.time + time, motionless, told }
            }
        };
        self.overdue = running.iter().map(with_past).collect();
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

    const SECOND: Duration = Duration::from_secs(1);

    fn running(connection: u32, request: u32) -> Running {
        Running { connection, request, progress: None }
    }

    fn told(watchdog: &Watchdog) -> Vec<Told> {
        watchdog.overdue.iter().map(|overdue| overdue.told).collect()
    }

    #[test]
    fn a_request_is_told_of_once_and_the_next_of_its_connection_is_another() {
        let mut watchdog = Watchdog::new(Duration::ZERO);
        watchdog.update(&[running(1, 300), running(2, 301)], SECOND);
        assert_eq!(told(&watchdog), [Told::No, Told::No]);
        watchdog.update(&[running(1, 300), running(2, 302)], TOLD_AFTER);
        assert_eq!(told(&watchdog), [Told::Due, Told::No]);
        watchdog.overdue[0].told = Told::Yes;
        watchdog.update(&[running(1, 300)], TOLD_AFTER);
        assert_eq!(told(&watchdog), [Told::Yes]);
        assert_eq!(watchdog.stuck(), [1]);
        watchdog.update(&[], TOLD_AFTER);
        assert!(watchdog.stuck().is_empty());
    }

    #[test]
    fn only_time_without_a_write_counts_to_the_limit() {
        let written = |written_bytes| Running {
            progress: Some(Progress { written_bytes, waits_for_disk: false }),
            ..running(1, 300)
        };
        let mut watchdog = Watchdog::new(3 * SECOND);
        let ends = |watchdog: &Watchdog| watchdog.overdue.iter().any(|overdue| watchdog.ends_by(overdue));
        for bytes in 0..10 {
            watchdog.update(&[written(bytes)], SECOND);
            assert!(!ends(&watchdog), "it writes");
        }
        assert_eq!(watchdog.stuck(), [1], "it is told of all the same, and not waited for");
        watchdog.update(&[written(9)], SECOND);
        watchdog.update(&[written(9)], SECOND);
        assert!(!ends(&watchdog));
        watchdog.update(&[written(9)], SECOND);
        assert!(ends(&watchdog));
    }
}
