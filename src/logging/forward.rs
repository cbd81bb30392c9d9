//! Log lines on their way to the client. Whoever logs only appends to a bounded queue, since it may hold the very lock
//! that sending needs; a thread of its own sends.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Lines that wait for the client. A client that takes no frames must not make the program hold more.
const LINES_MAX: usize = 256;

/// A line, and its severity.
pub type Line = (&'static str, String);

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    /// Lines that found no room since the last one that was taken.
    dropped: u64,
    /// Lines taken and not yet sent.
    sending: usize,
}

/// The queue. Until [`Forward::open`] it accepts nothing: the first frame that a client gets is the hello.
#[derive(Default)]
pub struct Forward {
    open: AtomicBool,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Forward {
    /// From now on lines are accepted: somebody takes them.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Lines go elsewhere from now on: there is no client any more.
    pub fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Whether lines are accepted.
    pub fn accepts(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Appends a line, or counts it if there is no room.
    pub fn push(&self, severity: &'static str, line: &str) {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() < LINES_MAX {
            waiting.lines.push_back((severity, line.to_owned()));
            self.changed.notify_all();
        } else {
            waiting.dropped += 1;
        }
    }

    /// Waits for lines and takes all of them. Returning here again says that they were sent.
    pub fn take(&self) -> Vec<Line> {
        let mut waiting = self.waiting.lock();
        waiting.sending = 0;
        self.changed.notify_all();
        while waiting.lines.is_empty() {
            self.changed.wait(&mut waiting);
        }
        let mut lines: Vec<Line> = waiting.lines.drain(..).collect();
        if waiting.dropped > 0 {
            let dropped = std::mem::take(&mut waiting.dropped);
            lines.push(("warn", format!("{dropped} log lines were dropped: the client took none")));
        }
        waiting.sending = lines.len();
        lines
    }

    /// Waits until every line is sent, no longer than `limit`.
    pub fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut waiting = self.waiting.lock();
        while self.accepts() && (!waiting.lines.is_empty() || waiting.sending > 0) {
            if self.changed.wait_until(&mut waiting, deadline).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let forward = Forward::default();
        for _ in 0..LINES_MAX + 3 {
            forward.push("info", "line");
        }
        let lines = forward.take();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines[LINES_MAX], ("warn", "3 log lines were dropped: the client took none".to_owned()));
    }

    #[test]
    fn drain_waits_for_the_sender() {
        let forward = Arc::new(Forward::default());
        forward.open();
        forward.push("error", "last words");
        let taker = Arc::clone(&forward);
        let (sent, was_sent) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for _ in 0..2 {
                let lines = taker.take();
                let _ = sent.send(lines.len());
            }
        });
        forward.drain(Duration::from_secs(60));
        assert_eq!(was_sent.try_recv(), Ok(1));
    }

    #[test]
    fn a_closed_queue_keeps_nobody_waiting() {
        let forward = Forward::default();
        forward.open();
        forward.push("error", "nobody takes this");
        forward.close();
        forward.drain(Duration::from_secs(60));
        assert!(!forward.accepts());
    }
}
