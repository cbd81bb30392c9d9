//! When work on a connection has to stop, and how it waits: the deadline of the running request, cancellation by
//! request id, the end of the connection.
//!
//! One [`Control`] per connection. The thread that runs a request calls `begin` and `end`; any other thread may call
//! `cancel` and `close`. The engine's progress and busy callbacks and every wait of this crate (writer turn, credit)
//! look at it, so a wait ends as soon as the work has to. A cancellation names a request, and so never hits the next.
//! Asynchronous work races with [`Control::stopped`].

mod stopped;
mod wakers;

use crate::clock::{now_ns, NEVER};
use crate::held::Held;
use crate::os_thread::{self, Progress};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};
use std::time::Duration;
use wakers::Wakers;

/// Why work stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The deadline passed.
    Timeout,
    /// The client cancelled this request.
    Cancelled,
    /// The connection is closed or the program ends.
    Closed,
}

/// Why a lock was not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLock {
    /// The work has to stop.
    Stopped(Stop),
    /// The lock timeout elapsed.
    TimedOut,
}

impl From<Stop> for NoLock {
    fn from(stop: Stop) -> Self {
        NoLock::Stopped(stop)
    }
}

/// No request has this id; "nothing runs".
const NOTHING: u32 = u32::MAX;

/// How long a lock is waited for even with a busy timeout of 0. A reader that meets the header of the WAL's index while a
/// commit changes it takes SQLite's write lock, without a turn, to look again (`walIndexReadHdr`): a matter of
/// microseconds, unless the system takes the processor from it meanwhile.
const READERS_MOMENT_NS: u64 = 50_000_000;

/// The longest sleep between two looks at a foreign lock.
const BUSY_SLEEP_MAX: Duration = Duration::from_millis(10);

/// Shared by the thread that works and those that want it to stop.
pub struct Control {
    /// The transaction that the connection is held for, whose number `begin` gave it.
    pub held: Held,
    running: AtomicU32,
    thread: AtomicU32,
    cancelled: AtomicU32,
    closing: AtomicBool,
    deadline_ns: AtomicU64,
    busy_timeout_ns: AtomicU64,
    busy_since_ns: AtomicU64,
    lock_timeout_ns: AtomicU64,
    lock_timeout_default_ns: AtomicU64,
    waited_ns: AtomicU64,
    patient: AtomicBool,
    unstopped: AtomicBool,
    sending: AtomicBool,
    gate: Mutex<Wakers>,
    changed: Condvar,
}

impl Control {
    /// A control with nothing running.
    pub fn new() -> Self {
        Control {
            held: Held::default(),
            running: AtomicU32::new(NOTHING),
            thread: AtomicU32::new(0),
            cancelled: AtomicU32::new(NOTHING),
            closing: AtomicBool::new(false),
            deadline_ns: AtomicU64::new(NEVER),
            busy_timeout_ns: AtomicU64::new(0),
            busy_since_ns: AtomicU64::new(0),
            lock_timeout_ns: AtomicU64::new(NEVER),
            lock_timeout_default_ns: AtomicU64::new(NEVER),
            waited_ns: AtomicU64::new(0),
            patient: AtomicBool::new(true),
            unstopped: AtomicBool::new(false),
            sending: AtomicBool::new(false),
            gate: Mutex::new(Wakers::default()),
            changed: Condvar::new(),
        }
    }

    /// A request starts to run here, on this thread.
    pub fn begin(&self, request_id: u32, deadline_ns: u64) {
        self.deadline_ns.store(deadline_ns, Ordering::Relaxed);
        self.waited_ns.store(0, Ordering::Relaxed);
        let lock_timeout_ns = self.lock_timeout_default_ns.load(Ordering::Relaxed);
        self.lock_timeout_ns.store(lock_timeout_ns, Ordering::Relaxed);
        // An id may come again once it is answered: a cancellation of its first use is not meant for the second.
        self.cancelled.store(NOTHING, Ordering::Relaxed);
        self.thread.store(os_thread::current(), Ordering::Relaxed);
        self.running.store(request_id, Ordering::Release);
    }

    /// Nothing runs any more.
    pub fn end(&self) {
        self.running.store(NOTHING, Ordering::Release);
        self.deadline_ns.store(NEVER, Ordering::Relaxed);
    }

    /// Tells request `request_id` to stop, if it is the one that runs.
    pub fn cancel(&self, request_id: u32) -> bool {
        if !self.runs(request_id) {
            return false;
        }
        self.cancelled.store(request_id, Ordering::Release);
        self.wake();
        true
    }

    /// The request that runs.
    pub fn request(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }

    /// True while request `request_id` runs.
    pub fn runs(&self, request_id: u32) -> bool {
        self.running.load(Ordering::Acquire) == request_id
    }

    /// Everything on this connection has to stop, now and later.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// Runs `work` under a deadline of its own, at most `time` from now; the request's own one counts as well.
    pub fn within<T>(&self, time: Duration, work: impl FnOnce() -> T) -> T {
        let before = self.deadline_ns();
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(NEVER);
        self.deadline_ns.store(before.min(now_ns().saturating_add(time_ns)), Ordering::Relaxed);
        self.wake();
        let outcome = work();
        self.deadline_ns.store(before, Ordering::Relaxed);
        self.wake();
        outcome
    }

    /// Runs `work` that neither the deadline nor a cancellation may stop, only the end of the connection: because what
    /// it does would be undone by a rollback of more than itself.
    pub fn unstopped<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.unstopped.swap(true, Ordering::Relaxed);
        let outcome = work();
        self.unstopped.store(before, Ordering::Relaxed);
        // Who waits for a stop did not hear of one that came meanwhile.
        self.wake();
        outcome
    }

    /// Runs `send`, which may wait for the client to read: that is no work that cannot be stopped.
    pub fn sending<T>(&self, send: impl FnOnce() -> T) -> T {
        self.sending.store(true, Ordering::Relaxed);
        let outcome = send();
        self.sending.store(false, Ordering::Relaxed);
        outcome
    }

    /// The deadline of what runs.
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns.load(Ordering::Relaxed)
    }

    /// The reason to stop, if there is one.
    pub fn stop(&self) -> Option<Stop> {
        let running = self.running.load(Ordering::Relaxed);
        if self.closing.load(Ordering::Relaxed) {
            Some(Stop::Closed)
        } else if self.unstopped.load(Ordering::Relaxed) {
            None
        } else if running != NOTHING && self.cancelled.load(Ordering::Relaxed) == running {
            Some(Stop::Cancelled)
        } else if now_ns() >= self.deadline_ns.load(Ordering::Relaxed) {
            Some(Stop::Timeout)
        } else {
            None
        }
    }

    /// The request that still runs although it has to stop, or is over its time where nothing may stop it. One whose reply
    /// the client does not read is none.
    pub fn overdue(&self) -> Option<u32> {
        let running = self.running.load(Ordering::Acquire);
        if self.sending.load(Ordering::Relaxed) {
            return None;
        }
        let over = self.closing.load(Ordering::Relaxed)
            || self.cancelled.load(Ordering::Relaxed) == running
            || now_ns() >= self.deadline_ns.load(Ordering::Relaxed);
        (running != NOTHING && over).then_some(running)
    }

    /// What the thread that runs the request has done so far, if the system tells.
    pub fn progress(&self) -> Option<Progress> {
        os_thread::progress(self.thread.load(Ordering::Relaxed))
    }

    /// Waits until `ready` holds. `ready` must become true together with a call of [`Self::wake`]. Counts for no lock's
    /// time.
    pub fn wait_until(&self, ready: impl FnMut() -> bool) -> Result<(), Stop> {
        match self.wait(NEVER, ready) {
            Ok(()) => Ok(()),
            Err(NoLock::Stopped(stop)) => Err(stop),
            // The end of time does not come.
            Err(NoLock::TimedOut) => Err(Stop::Timeout),
        }
    }

    /// The same, but no longer than until `until_ns`: false if that has passed.
    pub fn wait_until_at_most(&self, until_ns: u64, ready: impl FnMut() -> bool) -> Result<bool, Stop> {
        match self.wait(until_ns, ready) {
            Ok(()) => Ok(true),
            Err(NoLock::Stopped(stop)) => Err(stop),
            Err(NoLock::TimedOut) => Ok(false),
        }
    }

    /// The same for a lock: the lock timeout ends it too.
    pub fn wait_for_turn(&self, ready: impl FnMut() -> bool) -> Result<(), NoLock> {
        let started = now_ns();
        let outcome = self.wait(self.lock_wait_ends_ns(), ready);
        self.add_wait(started);
        outcome
    }

    fn wait(&self, until_ns: u64, mut ready: impl FnMut() -> bool) -> Result<(), NoLock> {
        let mut gate = self.gate.lock();
        loop {
            if ready() {
                return Ok(());
            }
            if let Some(stop) = self.stop() {
                return Err(stop.into());
            }
            if now_ns() >= until_ns {
                return Err(NoLock::TimedOut);
            }
            match self.deadline_ns().min(until_ns) {
                NEVER => self.changed.wait(&mut gate),
                at => {
                    self.changed.wait_for(&mut gate, crate::clock::until(at));
                }
            }
        }
    }

    /// Sleeps between two looks at a lock, as [`Self::pause`] does, but not beyond the lock timeout.
    pub fn pause_for_lock(&self, time: Duration) -> Result<(), NoLock> {
        let until_ns = self.lock_wait_ends_ns();
        if now_ns() >= until_ns {
            return Err(self.stop().map_or(NoLock::TimedOut, NoLock::Stopped));
        }
        Ok(self.pause(time.min(crate::clock::until(until_ns)))?)
    }

    /// When the request that runs has waited for locks as long as it may.
    fn lock_wait_ends_ns(&self) -> u64 {
        match self.lock_timeout_ns.load(Ordering::Relaxed) {
            NEVER => NEVER,
            // What sets something right is not to fail for want of time.
            _ if self.unstopped.load(Ordering::Relaxed) => NEVER,
            time_ns => now_ns().saturating_add(time_ns.saturating_sub(self.waited_ns())),
        }
    }

    /// Sleeps at most `time`; a stop or a [`Self::wake`] ends it.
    pub fn pause(&self, time: Duration) -> Result<(), Stop> {
        let started = now_ns();
        let mut gate = self.gate.lock();
        if self.stop().is_none() {
            let time = time.min(crate::clock::until(self.deadline_ns()));
            self.changed.wait_for(&mut gate, time);
        }
        drop(gate);
        self.add_wait(started);
        match self.stop() {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    /// Lets whoever waits look again.
    pub fn wake(&self) {
        // Within the lock, so that no wake-up falls between a waiter's look and its sleep; a task is woken outside of it,
        // since that runs what is not ours.
        let waiting = self.gate.lock().take();
        self.changed.notify_all();
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Time spent waiting for turns and locks since `begin`.
    pub fn waited_ns(&self) -> u64 {
        self.waited_ns.load(Ordering::Relaxed)
    }

    /// How long each request waits for turns and locks, all together; `None`: until its deadline. Counts for the present
    /// one too.
    pub fn set_default_lock_timeout_ms(&self, ms: Option<u32>) {
        let time_ns = ms.map_or(NEVER, |ms| u64::from(ms) * 1_000_000);
        self.lock_timeout_default_ns.store(time_ns, Ordering::Relaxed);
        self.lock_timeout_ns.store(time_ns, Ordering::Relaxed);
    }

    /// The same for the request that has just begun; `None` leaves the default.
    pub fn set_lock_timeout_ms(&self, ms: Option<u32>) {
        if let Some(ms) = ms {
            self.lock_timeout_ns.store(u64::from(ms) * 1_000_000, Ordering::Relaxed);
        }
    }

    /// How long `wait_for_lock` waits for one lock at most.
    pub fn set_busy_timeout_ms(&self, ms: u32) {
        self.busy_timeout_ns.store(u64::from(ms) * 1_000_000, Ordering::Relaxed);
    }

    /// The same, to be read.
    pub fn busy_timeout_ms(&self) -> u32 {
        u32::try_from(self.busy_timeout_ns.load(Ordering::Relaxed) / 1_000_000).unwrap_or(u32::MAX)
    }

    /// With `false` a foreign lock is not waited for at all: for work that nobody asked for.
    pub fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }

    /// True if a foreign lock is worth a wait; see [`Self::set_patient`].
    pub fn is_patient(&self) -> bool {
        self.patient.load(Ordering::Relaxed)
    }

    /// The engine's busy callback: sleeps a little longer each time, until the busy timeout or the lock timeout (but for a
    /// moment in any case, see [`READERS_MOMENT_NS`]) or a stop.
    pub fn wait_for_lock(&self, tries: u32) -> bool {
        let now = now_ns();
        if tries == 0 {
            self.busy_since_ns.store(now, Ordering::Relaxed);
        }
        let waited = now.saturating_sub(self.busy_since_ns.load(Ordering::Relaxed));
        let enough =
            waited >= self.busy_timeout_ns.load(Ordering::Relaxed) || self.lock_wait_ends_ns() <= now_ns();
        if waited >= READERS_MOMENT_NS && enough {
            return false;
        }
        let sleep = Duration::from_micros(100 << tries.min(7)).min(BUSY_SLEEP_MAX);
        self.pause(sleep).is_ok()
    }

    fn add_wait(&self, since_ns: u64) {
        self.waited_ns.fetch_add(now_ns().saturating_sub(since_ns), Ordering::Relaxed);
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_cancellation_hits_its_request_alone() {
        let control = Control::new();
        control.begin(300, NEVER);
        assert!(!control.cancel(299));
        assert_eq!(control.stop(), None);
        assert!(control.cancel(300));
        assert_eq!(control.stop(), Some(Stop::Cancelled));
        control.end();
        assert_eq!(control.stop(), None);
        control.begin(301, NEVER);
        assert_eq!(control.stop(), None);
        assert!(!control.cancel(300));
    }

    #[test]
    fn an_id_may_come_again_after_a_cancellation() {
        let control = Control::new();
        control.begin(300, NEVER);
        assert!(control.cancel(300));
        control.end();
        control.begin(300, NEVER);
        assert_eq!(control.stop(), None);
    }

    #[test]
    fn work_can_have_a_deadline_of_its_own_or_none() {
        let control = Control::new();
        control.begin(300, NEVER);
        control.within(Duration::ZERO, || assert_eq!(control.stop(), Some(Stop::Timeout)));
        assert_eq!(control.stop(), None);
        control.begin(301, 1);
        control.unstopped(|| {
            assert_eq!(control.stop(), None);
            assert!(control.cancel(301), "it has been told, and stops afterwards");
            assert_eq!(control.stop(), None);
        });
        assert_eq!(control.stop(), Some(Stop::Cancelled));
        control.unstopped(|| {
            control.close();
            assert_eq!(control.stop(), Some(Stop::Closed));
        });
    }

    #[test]
    fn what_waits_for_the_client_to_read_is_not_overdue() {
        let control = Control::new();
        control.begin(300, 1);
        assert_eq!(control.overdue(), Some(300));
        control.sending(|| assert_eq!(control.overdue(), None));
        assert_eq!(control.overdue(), Some(300));
    }

    #[test]
    fn a_passed_deadline_stops_and_a_close_stays() {
        let control = Control::new();
        control.begin(300, 1);
        assert_eq!(control.stop(), Some(Stop::Timeout));
        control.end();
        control.close();
        control.begin(301, NEVER);
        assert_eq!(control.stop(), Some(Stop::Closed));
    }

    #[test]
    fn a_cancellation_ends_a_wait() {
        let control = Arc::new(Control::new());
        control.begin(300, NEVER);
        let waiter = {
            let control = Arc::clone(&control);
            std::thread::spawn(move || control.wait_until(|| false))
        };
        assert!(control.cancel(300));
        assert_eq!(waiter.join().unwrap(), Err(Stop::Cancelled));
    }

    #[test]
    fn only_waits_for_locks_count_as_such() {
        let control = Control::new();
        let ready_after_a_while = || {
            let from_ns = now_ns();
            while now_ns() < from_ns + 1000 {}
            true
        };
        control.begin(300, NEVER);
        assert_eq!(control.wait_until(ready_after_a_while), Ok(()));
        assert_eq!(control.waited_ns(), 0);
        assert_eq!(control.wait_for_turn(ready_after_a_while), Ok(()));
        assert!(control.waited_ns() >= 1000);
    }

    #[test]
    fn the_lock_timeout_ends_waits_for_locks_alone() {
        let control = Control::new();
        control.set_default_lock_timeout_ms(Some(0));
        control.begin(300, NEVER);
        assert_eq!(control.wait_for_turn(|| true), Ok(()));
        assert_eq!(control.wait_for_turn(|| false), Err(NoLock::TimedOut));
        assert_eq!(control.pause_for_lock(Duration::from_secs(9)), Err(NoLock::TimedOut));
        assert_eq!(control.wait_until(|| true), Ok(()));
        assert_eq!(control.stop(), None);
        // What a request has waited already counts.
        control.begin(301, NEVER);
        control.set_lock_timeout_ms(Some(60_000));
        assert_eq!(control.pause_for_lock(Duration::from_millis(1)), Ok(()));
        control.set_lock_timeout_ms(Some(1));
        assert_eq!(control.wait_for_turn(|| false), Err(NoLock::TimedOut));
        // A deadline comes first, and the next request has the default again.
        control.begin(302, 1);
        assert_eq!(control.wait_for_turn(|| false), Err(NoLock::Stopped(Stop::Timeout)));
        control.set_default_lock_timeout_ms(None);
        control.begin(303, NEVER);
        assert!(control.cancel(303));
        assert_eq!(control.wait_for_turn(|| false), Err(NoLock::Stopped(Stop::Cancelled)));
    }

    #[test]
    fn a_busy_wait_ends_at_its_timeout() {
        let control = Control::new();
        control.begin(300, NEVER);
        let started_ns = now_ns();
        let tries = (0..).take_while(|&tries| control.wait_for_lock(tries)).count();
        assert!(tries > 0 && now_ns() - started_ns >= READERS_MOMENT_NS, "0 is a moment");
        control.set_busy_timeout_ms(60_000);
        assert!(control.wait_for_lock(0));
        control.close();
        assert!(!control.wait_for_lock(1));
    }
}
