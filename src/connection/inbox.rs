//! The queue of a connection's requests, and the right to run them.
//!
//! The right belongs to nobody (`Idle`), to the connection's own thread, or, for one short statement, to the thread
//! that reads requests (`Reader`). Whoever has it may lock the session; nobody else does. Requests run in the order in
//! which they came; `cancel` and `close` overtake. Each request that comes here is run once or returned once.

use super::admission::admits;
use super::job::{Job, QueuedBytes};
use crate::control::Control;
use crate::counters::Counters;
use crate::questions::Questions;
use crate::sync::atomic::Ordering;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;

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

struct State {
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

/// The inbox of one connection.
pub struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    control: Arc<Control>,
    questions: Arc<Questions>,
    counters: Arc<Counters>,
    queue_requests_max: u32,
    queued_bytes: Arc<QueuedBytes>,
}

impl Inbox {
    /// An empty one; the connection's thread has the right, and is about to open the database.
    pub fn new(
        control: Arc<Control>,
        questions: Arc<Questions>,
        counters: Arc<Counters>,
        queue_requests_max: u32,
        queued_bytes: Arc<QueuedBytes>,
    ) -> Self {
        Inbox {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                owner: Owner::Thread,
                idle_checkpoint: false,
                closing: false,
                close_request: None,
            }),
            arrived: Condvar::new(),
            control,
            questions,
            counters,
            queue_requests_max,
            queued_bytes,
        }
    }

    /// Takes the right to run `job` at once, if nothing else waits or runs.
    #[inline]
    pub fn try_lead(&self, job: &Job) -> bool {
        let mut state = self.state.lock();
        if state.owner != Owner::Idle
            || state.closing
            || !admits(&self.control.held, job)
            || self.has_work(&state)
        {
            return false;
        }
        state.owner = Owner::Reader;
        self.begin(job);
        true
    }

    fn begin(&self, job: &Job) {
        self.questions.begin(job.credits);
        self.control.begin(job.request_id, job.deadline_ns);
        self.control.set_lock_timeout_ms(job.lock_timeout_ms);
    }

    /// Gives the right of [`Self::try_lead`] back.
    #[inline]
    pub fn end_lead(&self) {
        self.control.end();
        let mut state = self.state.lock();
        state.owner = Owner::Idle;
        if state.closing || self.has_work(&state) {
            self.wake_thread(state);
        }
    }

    /// Something waits that may run; while a transaction is held, the requests of others may not.
    #[inline]
    fn has_work(&self, state: &State) -> bool {
        state.queue.iter().any(|job| admits(&self.control.held, job))
    }

    /// Gives the right of [`Self::try_lead`] to the connection's thread, with the job. It comes back, to be answered, if
    /// the connection has been closed meanwhile: its thread runs nothing more.
    pub fn pass_lead(&self, job: Job) -> Option<Job> {
        self.control.end();
        let mut state = self.state.lock();
        let refused = if state.closing {
            Some(job)
        } else {
            state.queue.push_front(job);
            None
        };
        self.wake_thread(state);
        refused
    }

    /// Leaves `job` to the connection's thread.
    pub fn submit(&self, mut job: Job) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closing {
            return Err(Refused::Closing);
        }
        if state.queue.len() >= self.queue_requests_max as usize {
            return Err(Refused::Full);
        }
        if !job.reserve(&self.queued_bytes) {
            return Err(Refused::Bytes);
        }
        let admitted = admits(&self.control.held, &job);
        state.queue.push_back(job);
        if state.owner == Owner::Idle && admitted {
            self.wake_thread(state);
        }
        Ok(())
    }

    /// Waits for work; called by the connection's thread alone, after it has done what came before.
    pub fn next(&self) -> Next {
        self.control.end();
        let mut state = self.state.lock();
        loop {
            if state.owner != Owner::Reader {
                if state.closing {
                    state.owner = Owner::Thread;
                    return Next::Close;
                }
                let next = state.queue.iter().position(|job| admits(&self.control.held, job));
                if let Some(mut job) = next.and_then(|at| state.queue.remove(at)) {
                    // It waits no longer. Its answer must not be there before its place is free.
                    job.free();
                    state.owner = Owner::Thread;
                    // Within the lock, so that a cancellation finds the job either queued or running.
                    self.begin(&job);
                    return Next::Run(job);
                }
                if std::mem::take(&mut state.idle_checkpoint) {
                    state.owner = Owner::Thread;
                    return Next::IdleCheckpoint;
                }
                state.owner = Owner::Idle;
            }
            self.arrived.wait(&mut state);
        }
    }

    /// Stops request `request_id`. A queued one comes back, to be answered; `Err(true)` means that it runs and has been
    /// told.
    pub fn cancel(&self, request_id: u32) -> Result<Job, bool> {
        let mut state = self.state.lock();
        match state.queue.iter().position(|job| job.request_id == request_id) {
            Some(at) => {
                self.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.counters.cancelled.fetch_add(1, Ordering::Relaxed);
                state.queue.remove(at).ok_or(false)
            }
            None => Err(self.control.cancel(request_id)),
        }
    }

    /// Grants row chunks to request `request_id`, be it running or still waiting. One that has ended needs none.
    pub fn grant_credits(&self, request_id: u32, credits: u32) {
        let mut state = self.state.lock();
        match state.queue.iter_mut().find(|job| job.request_id == request_id) {
            Some(job) => job.credits = job.credits.saturating_add(credits),
            None => self.questions.grant(request_id, credits),
        }
    }

    /// Starts to close: what runs is stopped, what was queued comes back to be answered. `None` if that has happened
    /// before. `request` is the id and the deadline of the request that asks for it.
    pub fn close(&self, request: Option<(u32, u64)>) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        if state.closing {
            return None;
        }
        state.closing = true;
        state.close_request = request;
        let dropped = state.queue.drain(..).collect();
        if state.owner == Owner::Idle {
            self.wake_thread(state);
        } else {
            drop(state);
        }
        self.control.close();
        Some(dropped)
    }

    /// The request to close, for whoever answers it.
    pub fn take_close_request(&self) -> Option<u32> {
        self.state.lock().close_request.take().map(|(request_id, _)| request_id)
    }

    /// Requests whose deadline has passed before they ran or before the connection was closed, to be answered, and the
    /// next deadline among the others.
    pub fn expired(&self, now_ns: u64) -> Expired {
        let mut state = self.state.lock();
        let close = state.close_request.take_if(|(_, deadline_ns)| *deadline_ns <= now_ns);
        let mut expired = Vec::new();
        let mut at = 0;
        while at < state.queue.len() {
            if state.queue[at].deadline_ns <= now_ns {
                expired.extend(state.queue.remove(at));
            } else {
                at += 1;
            }
        }
        self.counters.errors.fetch_add(expired.len() as u64, Ordering::Relaxed);
        self.counters.timeouts.fetch_add(expired.len() as u64, Ordering::Relaxed);
        let closes_at = state.close_request.map(|(_, deadline_ns)| deadline_ns);
        Expired {
            queued: expired,
            close: close.map(|(request_id, _)| request_id),
            next_ns: state.queue.iter().map(|job| job.deadline_ns).chain(closes_at).min(),
        }
    }

    /// Asks the thread for a checkpoint if it has nothing else to do.
    pub fn checkpoint_when_idle(&self) -> bool {
        let mut state = self.state.lock();
        let idle = state.owner == Owner::Idle && !state.closing;
        if idle {
            state.idle_checkpoint = true;
            self.wake_thread(state);
        }
        idle
    }

    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.state.lock().queue.len()
    }

    fn wake_thread(&self, mut state: MutexGuard<'_, State>) {
        state.owner = Owner::Thread;
        drop(state);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use bytes::Bytes;

    fn job(request_id: u32, deadline_ns: u64) -> Job {
        Job::new(request_id, 6, Bytes::new(), 1, deadline_ns)
    }

    /// The inbox of a connection whose thread has nothing to do: nothing waits, nobody has the right.
    fn idle(queue_requests_max: u32) -> Inbox {
        let control = Arc::new(Control::new());
        let questions = Arc::new(Questions::new(Arc::clone(&control)));
        let inbox =
            Inbox::new(control, questions, Arc::default(), queue_requests_max, QueuedBytes::new(1000));
        inbox.state.lock().owner = Owner::Idle;
        inbox
    }

    #[test]
    fn the_reader_leads_only_an_idle_connection() {
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        assert!(!inbox.try_lead(&job(301, NEVER)));
        inbox.submit(job(302, NEVER)).unwrap();
        inbox.end_lead();
        assert!(!inbox.try_lead(&job(303, NEVER)), "302 came before");
        assert!(matches!(inbox.next(), Next::Run(job) if job.request_id == 302));
    }

    #[test]
    fn a_full_queue_refuses() {
        let inbox = idle(1);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(job(301, NEVER)).unwrap();
        assert!(matches!(inbox.submit(job(302, NEVER)), Err(Refused::Full)));
    }

    #[test]
    fn bytes_that_wait_are_limited_and_come_back() {
        let inbox = idle(10);
        let large = |request_id, bytes| Job::new(request_id, 6, Bytes::from(vec![0; bytes]), 1, NEVER);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(large(301, 600)).unwrap();
        assert!(matches!(inbox.submit(large(302, 600)), Err(Refused::Bytes)));
        inbox.submit(large(303, 400)).unwrap();
        assert_eq!(inbox.queued_bytes.now(), 1000);
        drop(inbox.cancel(301).unwrap());
        inbox.submit(large(304, 600)).unwrap();
        drop(inbox.close(None));
        assert_eq!(inbox.queued_bytes.now(), 0);
        // One that is larger than all still runs, alone.
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(large(305, 2000)).unwrap();
    }

    #[test]
    fn a_request_that_runs_takes_no_room_from_those_that_wait() {
        let inbox = idle(10);
        let large = |request_id| Job::new(request_id, 6, Bytes::from(vec![0; 2000]), 1, NEVER);
        inbox.submit(large(301)).unwrap();
        let Next::Run(running) = inbox.next() else { panic!("301 runs") };
        assert_eq!(inbox.queued_bytes.now(), 0);
        inbox.submit(large(302)).unwrap();
        drop(running);
    }

    #[test]
    fn cancellations_find_queued_and_running_requests() {
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(job(301, NEVER)).unwrap();
        assert_eq!(inbox.cancel(301).unwrap().request_id, 301);
        assert_eq!(inbox.counters.cancelled.load(Ordering::Relaxed), 1);
        assert!(matches!(inbox.cancel(300), Err(true)));
        assert!(matches!(inbox.cancel(301), Err(false)));
    }

    #[test]
    fn credits_reach_a_request_that_still_waits() {
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(job(301, NEVER)).unwrap();
        inbox.grant_credits(301, 2);
        assert!(!inbox.questions.has_credit(), "they are not 300's");
        inbox.end_lead();
        assert!(matches!(inbox.next(), Next::Run(job) if job.request_id == 301));
        assert_eq!(inbox.questions.wait_for_credit(), Ok(()));
        assert_eq!(inbox.questions.wait_for_credit(), Ok(()));
        assert!(!inbox.questions.has_credit());
    }

    #[test]
    fn while_a_transaction_is_held_the_requests_of_others_wait() {
        let inside = |request_id| {
            let mut inside = job(request_id, NEVER);
            inside.transaction = Some(7);
            inside
        };
        let inbox = idle(10);
        inbox.control.held.set(7);
        assert!(!inbox.try_lead(&job(300, NEVER)));
        inbox.submit(job(300, NEVER)).unwrap();
        assert!(inbox.state.lock().owner == Owner::Idle, "there is nothing for the thread to do");
        assert!(inbox.try_lead(&inside(301)), "300 waits for others than this");
        inbox.submit(inside(302)).unwrap();
        inbox.end_lead();
        assert!(matches!(inbox.next(), Next::Run(job) if job.request_id == 302));
        inbox.control.held.set(0);
        assert!(matches!(inbox.next(), Next::Run(job) if job.request_id == 300));
    }

    #[test]
    fn a_close_returns_what_was_queued_and_comes_next() {
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(job(301, NEVER)).unwrap();
        assert_eq!(inbox.close(Some((302, 50))).unwrap().len(), 1);
        assert!(inbox.close(None).is_none());
        assert!(matches!(inbox.submit(job(303, NEVER)), Err(Refused::Closing)));
        inbox.end_lead();
        assert!(matches!(inbox.next(), Next::Close));
        let early = inbox.expired(10);
        assert_eq!((early.close, early.next_ns), (None, Some(50)));
        assert_eq!(inbox.expired(50).close, Some(302));
        assert_eq!(inbox.take_close_request(), None, "it is answered once");
    }

    #[test]
    fn a_request_that_is_passed_on_to_a_closed_connection_comes_back() {
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        assert!(inbox.close(None).unwrap().is_empty());
        assert_eq!(inbox.pass_lead(job(300, NEVER)).map(|job| job.request_id), Some(300));
        assert!(matches!(inbox.next(), Next::Close));
    }

    #[test]
    fn expired_requests_come_back() {
        let inbox = idle(10);
        assert!(inbox.try_lead(&job(300, NEVER)));
        inbox.submit(job(301, 5)).unwrap();
        inbox.submit(job(302, 50)).unwrap();
        let expired = inbox.expired(10);
        assert_eq!(expired.queued.iter().map(|job| job.request_id).collect::<Vec<_>>(), [301]);
        assert_eq!(expired.next_ns, Some(50));
        assert_eq!(inbox.counters.timeouts.load(Ordering::Relaxed), 1);
    }
}
