//! One connection as the rest of the program sees it: a queue of requests and the right to run them.
//!
//! The right belongs to nobody (`Idle`), to the connection's own thread, or, for one short statement, to the thread
//! that reads requests (`Reader`). Whoever has it may lock the session; nobody else does. Requests run in the order in
//! which they came; `cancel` and `close` overtake.

mod admission;
pub mod backend;
pub mod thread;

use crate::control::Control;
use crate::database::OpenFiles;
use crate::surroundings::Counters;
use admission::admits;
use backend::Backend;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

/// Bytes of the requests that wait, on all connections together.
#[derive(Debug)]
pub struct QueuedBytes {
    now: AtomicU64,
    max: u64,
}

impl QueuedBytes {
    /// None, of `max`.
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(QueuedBytes { now: AtomicU64::new(0), max })
    }

    /// How many there are.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Room for `bytes`, until what is returned is dropped. One request always has room.
    fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let add =
            |now: u64| (now == 0 || now.saturating_add(bytes) <= self.max).then(|| now.saturating_add(bytes));
        self.now.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add).ok()?;
        Some(Reserved { of: Arc::clone(self), bytes })
    }
}

#[derive(Debug)]
struct Reserved {
    of: Arc<QueuedBytes>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.now.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A waiting request up to this size is copied: a slice would keep the whole buffer that it was read into.
const COPIED_BYTES: usize = 16 << 10;

/// A request that waits or runs.
#[derive(Debug)]
pub struct Job {
    /// Its id on the wire.
    pub request_id: u32,
    /// Which request.
    pub tag: u8,
    /// Its payload.
    pub payload: Bytes,
    /// The transaction inside of which it is to run.
    pub transaction: Option<u32>,
    /// When its frame was read.
    pub received_ns: u64,
    /// When it has to be answered.
    pub deadline_ns: u64,
    /// How long it may wait for turns and locks, if it says so.
    pub lock_timeout_ms: Option<u32>,
    /// Row chunks that were granted to it while it waited.
    pub credits: u32,
    /// Its share of what may wait.
    reserved: Option<Reserved>,
}

impl Job {
    /// A request that has just been read.
    pub fn new(request_id: u32, tag: u8, payload: Bytes, received_ns: u64, deadline_ns: u64) -> Self {
        Job {
            request_id,
            tag,
            payload,
            transaction: None,
            received_ns,
            deadline_ns,
            lock_timeout_ms: None,
            credits: 0,
            reserved: None,
        }
    }
}

/// Why a request cannot wait here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// The queues of all connections together hold too many bytes.
    Bytes,
    /// The connection is being closed.
    Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Idle,
    Reader,
    Thread,
}

struct Inbox {
    queue: VecDeque<Job>,
    owner: Owner,
    idle_checkpoint: bool,
    closing: bool,
    /// The request to close, until it is answered, and when it has to be.
    close_request: Option<(u32, u64)>,
}

/// What waited too long.
pub struct Expired {
    /// Requests that wait no more.
    pub queued: Vec<Job>,
    /// The request to close, which goes on all the same.
    pub close: Option<u32>,
    /// The next deadline.
    pub next_ns: Option<u64>,
}

/// What the connection's thread is to do next.
pub enum Next {
    /// Run this.
    Run(Job),
    /// Nobody uses the file: checkpoint it.
    IdleCheckpoint,
    /// Close.
    Close,
}

/// An open connection, shared by the router and the connection's thread.
pub struct Connection {
    /// Its id on the wire.
    pub id: u32,
    /// What makes running work stop.
    pub control: Arc<Control>,
    /// Counts.
    pub counters: Arc<Counters>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    backend: Mutex<Option<Backend>>,
    /// The files that it has open.
    pub files: Arc<OpenFiles>,
    queue_requests_max: u32,
    queued_bytes: Arc<QueuedBytes>,
}

impl Connection {
    /// A connection whose thread is about to open the database.
    pub fn new(id: u32, queue_requests_max: u32, queued_bytes: Arc<QueuedBytes>) -> Self {
        Connection {
            id,
            control: Arc::new(Control::new()),
            counters: Arc::new(Counters::default()),
            inbox: Mutex::new(Inbox {
                queue: VecDeque::new(),
                owner: Owner::Thread,
                idle_checkpoint: false,
                closing: false,
                close_request: None,
            }),
            arrived: Condvar::new(),
            backend: Mutex::new(None),
            files: Arc::default(),
            queue_requests_max,
            queued_bytes,
        }
    }

    /// Takes the right to run `job` at once, if nothing else waits or runs.
    #[inline]
    pub fn try_lead(&self, job: &Job) -> bool {
        let mut inbox = self.inbox.lock();
        if inbox.owner != Owner::Idle
            || inbox.closing
            || !admits(&self.control.held, job)
            || self.has_work(&inbox)
        {
            return false;
        }
        inbox.owner = Owner::Reader;
        self.begin(job);
        true
    }

    fn begin(&self, job: &Job) {
        self.control.begin(job.request_id, job.deadline_ns);
        self.control.set_lock_timeout_ms(job.lock_timeout_ms);
    }

    /// Gives the right of [`Self::try_lead`] back.
    #[inline]
    pub fn end_lead(&self) {
        self.control.end();
        let mut inbox = self.inbox.lock();
        inbox.owner = Owner::Idle;
        if inbox.closing || self.has_work(&inbox) {
            self.wake_thread(inbox);
        }
    }

    /// Something waits that may run; while a transaction is held, the requests of others may not.
    #[inline]
    fn has_work(&self, inbox: &Inbox) -> bool {
        inbox.queue.iter().any(|job| admits(&self.control.held, job))
    }

    /// Gives the right of [`Self::try_lead`] to the connection's thread, with the job.
    pub fn pass_lead(&self, job: Job) {
        self.control.end();
        let mut inbox = self.inbox.lock();
        inbox.queue.push_front(job);
        self.wake_thread(inbox);
    }

    /// Leaves `job` to the connection's thread.
    pub fn submit(&self, mut job: Job) -> Result<(), Refused> {
        let mut inbox = self.inbox.lock();
        if inbox.closing {
            return Err(Refused::Closing);
        }
        if inbox.queue.len() >= self.queue_requests_max as usize {
            return Err(Refused::Full);
        }
        job.reserved = Some(self.queued_bytes.reserve(job.payload.len() as u64).ok_or(Refused::Bytes)?);
        if job.payload.len() <= COPIED_BYTES {
            job.payload = Bytes::copy_from_slice(&job.payload);
        }
        let admitted = admits(&self.control.held, &job);
        inbox.queue.push_back(job);
        if inbox.owner == Owner::Idle && admitted {
            self.wake_thread(inbox);
        }
        Ok(())
    }

    /// What it is connected to, for whoever has the right to run.
    pub fn backend(&self) -> MutexGuard<'_, Option<Backend>> {
        self.backend.lock()
    }

    /// Waits for work; called by the connection's thread alone, after it has done what came before.
    pub fn next(&self) -> Next {
        self.control.end();
        let mut inbox = self.inbox.lock();
        loop {
            if inbox.owner != Owner::Reader {
                if inbox.closing {
                    inbox.owner = Owner::Thread;
                    return Next::Close;
                }
                let next = inbox.queue.iter().position(|job| admits(&self.control.held, job));
                if let Some(mut job) = next.and_then(|at| inbox.queue.remove(at)) {
                    // It waits no longer. Its answer must not be there before its place is free.
                    job.reserved = None;
                    inbox.owner = Owner::Thread;
                    // Within the lock, so that a cancellation finds the job either queued or running.
                    self.begin(&job);
                    self.control.add_credits(job.request_id, job.credits);
                    return Next::Run(job);
                }
                if std::mem::take(&mut inbox.idle_checkpoint) {
                    inbox.owner = Owner::Thread;
                    return Next::IdleCheckpoint;
                }
                inbox.owner = Owner::Idle;
            }
            self.arrived.wait(&mut inbox);
        }
    }

    /// Stops request `request_id`. A queued one comes back, to be answered; `Err(true)` means that it runs and has been
    /// told.
    pub fn cancel(&self, request_id: u32) -> Result<Job, bool> {
        let mut inbox = self.inbox.lock();
        match inbox.queue.iter().position(|job| job.request_id == request_id) {
            Some(at) => {
                self.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                inbox.queue.remove(at).ok_or(false)
            }
            None => Err(self.control.cancel(request_id)),
        }
    }

    /// Grants row chunks to request `request_id`, be it running or still waiting. One that has ended needs none.
    pub fn add_credits(&self, request_id: u32, credits: u32) {
        let mut inbox = self.inbox.lock();
        match inbox.queue.iter_mut().find(|job| job.request_id == request_id) {
            Some(job) => job.credits = job.credits.saturating_add(credits),
            None => self.control.add_credits(request_id, credits),
        }
    }

    /// Starts to close: what runs is stopped, what was queued comes back to be answered. `None` if that has happened
    /// before. `request` is the id and the deadline of the request that asks for it.
    pub fn close(&self, request: Option<(u32, u64)>) -> Option<Vec<Job>> {
        let mut inbox = self.inbox.lock();
        if inbox.closing {
            return None;
        }
        inbox.closing = true;
        inbox.close_request = request;
        let dropped = inbox.queue.drain(..).collect();
        if inbox.owner == Owner::Idle {
            self.wake_thread(inbox);
        } else {
            drop(inbox);
        }
        self.control.close();
        Some(dropped)
    }

    /// The request to close, for whoever answers it.
    pub fn take_close_request(&self) -> Option<u32> {
        self.inbox.lock().close_request.take().map(|(request_id, _)| request_id)
    }

    /// Requests whose deadline has passed before they ran or before the connection was closed, to be answered, and the
    /// next deadline among the others.
    pub fn expired(&self, now_ns: u64) -> Expired {
        let mut inbox = self.inbox.lock();
        let close = inbox.close_request.take_if(|(_, deadline_ns)| *deadline_ns <= now_ns);
        let mut expired = Vec::new();
        let mut at = 0;
        while at < inbox.queue.len() {
            if inbox.queue[at].deadline_ns <= now_ns {
                expired.extend(inbox.queue.remove(at));
            } else {
                at += 1;
            }
        }
        self.counters.errors.fetch_add(expired.len() as u64, Ordering::Relaxed);
        self.counters.timeouts.fetch_add(expired.len() as u64, Ordering::Relaxed);
        let closes_at = inbox.close_request.map(|(_, deadline_ns)| deadline_ns);
        Expired {
            queued: expired,
            close: close.map(|(request_id, _)| request_id),
            next_ns: inbox.queue.iter().map(|job| job.deadline_ns).chain(closes_at).min(),
        }
    }

    /// Asks the thread for a checkpoint if it has nothing else to do.
    pub fn checkpoint_when_idle(&self) -> bool {
        let mut inbox = self.inbox.lock();
        let idle = inbox.owner == Owner::Idle && !inbox.closing;
        if idle {
            inbox.idle_checkpoint = true;
            self.wake_thread(inbox);
        }
        idle
    }

    /// Prepared statements and cursors that its client holds.
    pub fn held(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (read(&self.counters.statements), read(&self.counters.cursors))
    }

    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.inbox.lock().queue.len()
    }

    fn wake_thread(&self, mut inbox: MutexGuard<'_, Inbox>) {
        inbox.owner = Owner::Thread;
        drop(inbox);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;

    fn job(request_id: u32, deadline_ns: u64) -> Job {
        Job::new(request_id, 6, Bytes::new(), 1, deadline_ns)
    }

    /// A connection whose thread has nothing to do: nothing waits, nobody has the right.
    fn idle(queue_requests_max: u32) -> Connection {
        let connection = Connection::new(1, queue_requests_max, QueuedBytes::new(1000));
        connection.inbox.lock().owner = Owner::Idle;
        connection
    }

    #[test]
    fn the_reader_leads_only_an_idle_connection() {
        let connection = idle(10);
        assert!(connection.try_lead(&job(300, NEVER)));
        assert!(!connection.try_lead(&job(301, NEVER)));
        connection.submit(job(302, NEVER)).unwrap();
        connection.end_lead();
        assert!(!connection.try_lead(&job(303, NEVER)), "302 came before");
        assert!(matches!(connection.next(), Next::Run(job) if job.request_id == 302));
    }

    #[test]
    fn a_full_queue_refuses() {
        let connection = idle(1);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(job(301, NEVER)).unwrap();
        assert!(matches!(connection.submit(job(302, NEVER)), Err(Refused::Full)));
    }

    #[test]
    fn bytes_that_wait_are_limited_and_come_back() {
        let connection = idle(10);
        let large = |request_id, bytes| Job::new(request_id, 6, Bytes::from(vec![0; bytes]), 1, NEVER);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(large(301, 600)).unwrap();
        assert!(matches!(connection.submit(large(302, 600)), Err(Refused::Bytes)));
        connection.submit(large(303, 400)).unwrap();
        assert_eq!(connection.queued_bytes.now(), 1000);
        drop(connection.cancel(301).unwrap());
        connection.submit(large(304, 600)).unwrap();
        drop(connection.close(None));
        assert_eq!(connection.queued_bytes.now(), 0);
        // One that is larger than all still runs, alone.
        let connection = idle(10);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(large(305, 2000)).unwrap();
    }

    #[test]
    fn a_request_that_runs_takes_no_room_from_those_that_wait() {
        let connection = idle(10);
        let large = |request_id| Job::new(request_id, 6, Bytes::from(vec![0; 2000]), 1, NEVER);
        connection.submit(large(301)).unwrap();
        let Next::Run(running) = connection.next() else { panic!("301 runs") };
        assert_eq!(connection.queued_bytes.now(), 0);
        connection.submit(large(302)).unwrap();
        drop(running);
    }

    #[test]
    fn cancellations_find_queued_and_running_requests() {
        let connection = idle(10);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(job(301, NEVER)).unwrap();
        assert_eq!(connection.cancel(301).unwrap().request_id, 301);
        assert_eq!(connection.counters.cancelled.load(Ordering::Relaxed), 1);
        assert!(matches!(connection.cancel(300), Err(true)));
        assert!(matches!(connection.cancel(301), Err(false)));
    }

    #[test]
    fn credits_reach_a_request_that_still_waits() {
        let connection = idle(10);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(job(301, NEVER)).unwrap();
        connection.add_credits(301, 2);
        assert!(!connection.control.has_credit(), "they are not 300's");
        connection.end_lead();
        assert!(matches!(connection.next(), Next::Run(job) if job.request_id == 301));
        assert_eq!(connection.control.take_credit(), Ok(()));
        assert_eq!(connection.control.take_credit(), Ok(()));
        assert!(!connection.control.has_credit());
    }

    #[test]
    fn while_a_transaction_is_held_the_requests_of_others_wait() {
        let inside = |request_id| Job { transaction: Some(7), ..job(request_id, NEVER) };
        let connection = idle(10);
        connection.control.held.set(7);
        assert!(!connection.try_lead(&job(300, NEVER)));
        connection.submit(job(300, NEVER)).unwrap();
        assert!(connection.inbox.lock().owner == Owner::Idle, "there is nothing for the thread to do");
        assert!(connection.try_lead(&inside(301)), "300 waits for others than this");
        connection.submit(inside(302)).unwrap();
        connection.end_lead();
        assert!(matches!(connection.next(), Next::Run(job) if job.request_id == 302));
        connection.control.held.set(0);
        assert!(matches!(connection.next(), Next::Run(job) if job.request_id == 300));
    }

    #[test]
    fn a_close_returns_what_was_queued_and_comes_next() {
        let connection = idle(10);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(job(301, NEVER)).unwrap();
        assert_eq!(connection.close(Some((302, 50))).unwrap().len(), 1);
        assert!(connection.close(None).is_none());
        assert!(matches!(connection.submit(job(303, NEVER)), Err(Refused::Closing)));
        connection.end_lead();
        assert!(matches!(connection.next(), Next::Close));
        let early = connection.expired(10);
        assert_eq!((early.close, early.next_ns), (None, Some(50)));
        assert_eq!(connection.expired(50).close, Some(302));
        assert_eq!(connection.take_close_request(), None, "it is answered once");
    }

    #[test]
    fn expired_requests_come_back() {
        let connection = idle(10);
        assert!(connection.try_lead(&job(300, NEVER)));
        connection.submit(job(301, 5)).unwrap();
        connection.submit(job(302, 50)).unwrap();
        let expired = connection.expired(10);
        assert_eq!(expired.queued.iter().map(|job| job.request_id).collect::<Vec<_>>(), [301]);
        assert_eq!(expired.next_ns, Some(50));
        assert_eq!(connection.counters.timeouts.load(Ordering::Relaxed), 1);
    }
}
