//! What happens because time passes, on tokio's timers and the main thread: a leader is relieved, queued requests
//! expire, idle files are checkpointed, the client's end is noticed, the program ends within its grace.

use super::exit::Exit;
use super::output::Output;
use super::reader::Reading;
use super::table::Table;
use super::time::{Shared, Time};
use super::watchdog::Watchdog;
use crate::clock::{self, now_ns, NEVER};
use crate::control::Stop;
use crate::database::Files;
use crate::descriptors;
use crate::error::Error;
use crate::limits::Limits;
use port_driver::error_code::ErrorCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, Notify};
use tokio::time::{sleep, sleep_until, Instant};

/// A leader that has run a statement for longer is relieved. (The engine's progress callback does so earlier; this is
/// for what does not come to it: a slow disk.)
const LEADER_BUSY: Duration = Duration::from_micros(1000);
/// How often to look at the leader while statements run.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a statement after which nobody looks any more until the next one.
const IDLE_TICKS: u32 = 50;
/// How often to look at files and at the client.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Runs on the main thread until the program ends.
pub struct Timekeeper {
    shared: Arc<Shared>,
    shut_down: mpsc::UnboundedReceiver<Exit>,
    output: Arc<Output>,
    grace: Duration,
    stuck_limit: Duration,
    reply_bytes_max: u32,
}

impl Timekeeper {
    /// The timekeeper and its handle.
    pub fn new(output: Arc<Output>, limits: &Limits) -> (Time, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            parked: AtomicBool::new(false),
            leads: AtomicU64::new(0),
            unpark: Notify::new(),
            next_deadline_ns: AtomicU64::new(NEVER),
            deadline_set: Notify::new(),
            table_empty: Notify::new(),
            shut_down: sender,
        });
        let time = Time(Arc::clone(&shared));
        let timekeeper = Timekeeper {
            shared,
            shut_down: receiver,
            output,
            grace: limits.shutdown_grace,
            stuck_limit: limits.stuck_limit,
            reply_bytes_max: limits.reply_bytes_max(),
        };
        (time, timekeeper)
    }

    /// Keeps time until the program is to end, then ends what runs; returns why.
    pub async fn run(mut self, reading: &Reading, table: &Table, files: &Files) -> Exit {
        let shared = Arc::clone(&self.shared);
        let mut watchdog = Watchdog::new(self.stuck_limit);
        let exit = tokio::select! {
            exit = self.shut_down.recv() => exit.unwrap_or(Exit::Bug),
            () = watch_leader(&shared, reading) => Exit::Bug,
            () = expire_queued(&shared, table, &self.output, self.reply_bytes_max) => Exit::Bug,
            exit = heartbeat(reading, table, files, &self.output, &mut watchdog) => exit,
        };
        tracing::debug!(?exit, "ending");
        if exit == Exit::Stuck {
            // The one that is stuck is not waited for.
            self.close_others(table, &watchdog.stuck()).await;
            self.output.end();
        } else {
            self.output.end();
            self.close_all(table).await;
        }
        exit
    }

    /// Ends what is not `stuck` while the client still gets its answers: a commit that is under way is told, what had not
    /// come to it is undone.
    async fn close_others(&self, table: &Table, stuck: &[u32]) {
        let late = Instant::now() + self.grace;
        loop {
            let others: Vec<_> =
                table.all().into_iter().filter(|connection| !stuck.contains(&connection.id)).collect();
            if others.is_empty() || Instant::now() >= late {
                return;
            }
            let mut out = Vec::new();
            for job in others.iter().filter_map(|connection| connection.inbox.close(None)).flatten() {
                Error::from(Stop::Closed).reply(&mut out, job.request_id, self.reply_bytes_max, None);
            }
            self.output.post(&mut out);
            sleep(TICK).await;
        }
    }

    /// Interrupts everything and waits for the connections to be closed, within the grace.
    async fn close_all(&self, table: &Table) {
        let late = Instant::now() + self.grace;
        // All are told before the first one closes, lest its turn fall to a writer that has not heard of the end.
        for connection in table.all() {
            connection.control.close();
        }
        loop {
            for connection in table.all() {
                // Nobody is there any more to be told about what was queued.
                drop(connection.inbox.close(None));
            }
            if table.is_empty() {
                return;
            }
            tokio::select! {
                () = self.shared.table_empty.notified() => {}
                () = sleep_until(late) => {
                    tracing::warn!(connections = table.len(), "the grace is over; what still runs is ended hard");
                    return;
                }
            }
        }
    }
}

async fn watch_leader(shared: &Shared, reading: &Reading) {
    let mut leads = 0;
    let mut idle_ticks = 0;
    loop {
        let busy_since = reading.busy_since_ns();
        if busy_since != 0 && u128::from(now_ns().saturating_sub(busy_since)) > LEADER_BUSY.as_nanos() {
            reading.relieve_leader();
        }
        let now = shared.leads.load(Ordering::Relaxed);
        idle_ticks = if now == leads { idle_ticks + 1 } else { 0 };
        leads = now;
        if idle_ticks < IDLE_TICKS {
            sleep(TICK).await;
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        if reading.busy_since_ns() == 0 {
            shared.unpark.notified().await;
        }
        shared.parked.store(false, Ordering::SeqCst);
        idle_ticks = 0;
    }
}

async fn expire_queued(shared: &Shared, table: &Table, output: &Output, reply_bytes_max: u32) {
    loop {
        tokio::select! {
            () = clock::sleep_until(shared.next_deadline_ns.load(Ordering::SeqCst)) => {}
            () = shared.deadline_set.notified() => continue,
        }
        shared.next_deadline_ns.store(NEVER, Ordering::SeqCst);
        let mut out = Vec::new();
        for connection in table.all() {
            let expired = connection.inbox.expired(now_ns());
            for job in &expired.queued {
                Error::from(Stop::Timeout).reply(&mut out, job.request_id, reply_bytes_max, None);
            }
            if let Some(request_id) = expired.close {
                let message = "the deadline passed before the connection was closed; it goes on closing";
                Error::new(ErrorCode::Timeout, message).reply(&mut out, request_id, reply_bytes_max, None);
            }
            if let Some(next) = expired.next_ns {
                shared.next_deadline_ns.fetch_min(next, Ordering::SeqCst);
            }
        }
        // Never waits: this thread has to see the end of input, whatever stands in the pipe.
        output.post(&mut out);
    }
}

async fn heartbeat(
    reading: &Reading,
    table: &Table,
    files: &Files,
    output: &Output,
    watchdog: &mut Watchdog,
) -> Exit {
    let parent = descriptors::parent();
    let mut abandoned = 0;
    loop {
        sleep(HEARTBEAT).await;
        if output.is_broken() {
            return Exit::OutputFailed;
        }
        // A process may hold our stdin open by mistake after the VM is gone; a new parent tells.
        if descriptors::parent() != parent {
            tracing::info!("the parent process is gone");
            return Exit::EndOfInput;
        }
        // Twice, so that a leader that is only just between two reads can read to the end first.
        abandoned = if reading.is_abandoned() { abandoned + 1 } else { 0 };
        if abandoned >= 2 {
            return Exit::EndOfInput;
        }
        if watchdog.look(table, files) {
            return Exit::Stuck;
        }
        checkpoint_idle_files(table, files);
    }
}

fn checkpoint_idle_files(table: &Table, files: &Files) {
    let due: Vec<_> = files.all().into_iter().filter(|file| file.idle_checkpoint_due()).collect();
    if due.is_empty() {
        return;
    }
    let connections = table.all();
    for file in due {
        let found = connections
            .iter()
            .find(|connection| connection.files.contains(&file) && connection.inbox.checkpoint_when_idle());
        if found.is_none() {
            file.postpone_idle_checkpoint();
        }
    }
}
