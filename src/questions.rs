//! What a running request asks of its client, and waits for: the credit for another chunk of rows, and the answers of
//! callbacks.
//!
//! One [`Questions`] per connection, beside its [`Control`]. The thread that runs the request asks and waits; the client's
//! answer comes as a request that overtakes the queue (`connection/inbox.rs`, from the router). Whatever else a request
//! is to ask has its state here and waits the same way: until the answer is there, or the request has to stop.

use crate::control::{Control, Stop};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::Mutex;
use bytes::Bytes;
use std::sync::Arc;

/// The open questions of one connection, all of the request that runs.
pub struct Questions {
    control: Arc<Control>,
    credits: AtomicU32,
    calls: Mutex<Calls>,
}

/// The calls of callbacks. One at most is open: the engine waits for it.
#[derive(Default)]
struct Calls {
    last: u32,
    open: bool,
    answer: Option<Bytes>,
}

/// Numbers of calls are smaller than this, so that they travel in four bytes.
const CALLS: u32 = 1 << 31;

impl Questions {
    /// Nothing is asked.
    pub fn new(control: Arc<Control>) -> Self {
        Questions { control, credits: AtomicU32::new(0), calls: Mutex::default() }
    }

    /// Another request is about to run, to which the client has granted `credits` chunks already. What was granted to the
    /// one before is not for this.
    pub fn begin(&self, credits: u32) {
        self.credits.store(credits, Ordering::Relaxed);
    }

    /// The client's answer: request `request_id` may send so many chunks more, if it is the one that runs.
    pub fn grant(&self, request_id: u32, credits: u32) {
        if self.control.runs(request_id) {
            self.allow(credits);
            self.control.wake();
        }
    }

    /// The request that runs may send so many chunks more, by its own thread's word.
    pub fn allow(&self, credits: u32) {
        let more = |now: u32| Some(now.saturating_add(credits));
        let _ = self.credits.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
    }

    /// Takes the credit for one chunk, and waits for it.
    pub fn wait_for_credit(&self) -> Result<(), Stop> {
        if self.take_credit() {
            return Ok(());
        }
        self.control.wait_until(|| self.take_credit())
    }

    /// A call of a callback is about to be sent: its number.
    pub fn open_call(&self) -> u32 {
        let mut calls = self.calls.lock();
        calls.last = (calls.last + 1) % CALLS;
        // 0 is no number.
        calls.last = calls.last.max(1);
        calls.open = true;
        calls.answer = None;
        calls.last
    }

    /// The client's answer to a call, whose meaning is for whoever waits. Dropped if nobody does.
    pub fn answer(&self, call: u32, payload: Bytes) {
        let mut calls = self.calls.lock();
        if !calls.open || calls.last != call {
            return;
        }
        calls.open = false;
        calls.answer = Some(payload);
        drop(calls);
        self.control.wake();
    }

    /// Waits for the answer to the call that was opened last; `None` if there is none until `until_ns`. The call is closed
    /// afterwards, however it ends.
    pub fn wait_for_answer(&self, until_ns: u64) -> Result<Option<Bytes>, Stop> {
        let mut answer = None;
        let waited = self.control.wait_until_at_most(until_ns, || {
            answer = self.calls.lock().answer.take();
            answer.is_some()
        });
        self.calls.lock().open = false;
        waited.map(|_| answer)
    }

    /// The call that was opened last has its answer.
    pub fn is_answered(&self) -> bool {
        self.calls.lock().answer.is_some()
    }

    fn take_credit(&self) -> bool {
        let less = |now: u32| now.checked_sub(1);
        self.credits.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less).is_ok()
    }

    /// True if a chunk could be sent without waiting.
    #[cfg(test)]
    pub fn has_credit(&self) -> bool {
        self.credits.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;

    fn running(deadline_ns: u64) -> (Arc<Control>, Arc<Questions>) {
        let control = Arc::new(Control::new());
        control.begin(300, deadline_ns);
        (Arc::clone(&control), Arc::new(Questions::new(control)))
    }

    #[test]
    fn credits_belong_to_the_running_request() {
        let (control, questions) = running(NEVER);
        questions.grant(299, 5);
        assert!(!questions.has_credit());
        questions.grant(300, 1);
        questions.allow(1);
        assert_eq!(questions.wait_for_credit(), Ok(()));
        assert_eq!(questions.wait_for_credit(), Ok(()));
        assert!(!questions.has_credit());
        questions.grant(300, 1);
        questions.begin(0);
        control.begin(301, 1);
        assert_eq!(questions.wait_for_credit(), Err(Stop::Timeout));
    }

    #[test]
    fn a_wait_for_the_client_ends_by_its_answer_or_a_stop_and_is_no_wait_for_a_lock() {
        let (control, questions) = running(NEVER);
        let wait = |questions: &Arc<Questions>| {
            let questions = Arc::clone(questions);
            std::thread::spawn(move || questions.wait_for_credit())
        };
        let waiter = wait(&questions);
        questions.grant(300, 1);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        let waiter = wait(&questions);
        assert!(control.cancel(300));
        assert_eq!(waiter.join().unwrap(), Err(Stop::Cancelled));
        assert_eq!(control.waited_ns(), 0);
    }

    #[test]
    fn an_answer_reaches_the_call_that_waits_and_no_other() {
        let (control, questions) = running(NEVER);
        let first = questions.open_call();
        let other = Arc::clone(&questions);
        let waiter = std::thread::spawn(move || other.wait_for_answer(NEVER));
        questions.answer(first + 1, Bytes::from_static(b"wrong"));
        questions.answer(first, Bytes::from_static(b"right"));
        questions.answer(first, Bytes::from_static(b"late"));
        assert_eq!(waiter.join().unwrap(), Ok(Some(Bytes::from_static(b"right"))));
        let second = questions.open_call();
        assert_eq!(questions.wait_for_answer(1), Ok(None), "its time is up");
        questions.answer(second, Bytes::from_static(b"late"));
        let third = questions.open_call();
        assert_ne!(third, second);
        assert!(control.cancel(300));
        assert_eq!(questions.wait_for_answer(NEVER), Err(Stop::Cancelled));
    }

    #[test]
    fn a_calls_number_is_never_0() {
        let (_, questions) = running(NEVER);
        questions.calls.lock().last = CALLS - 2;
        assert_eq!([questions.open_call(), questions.open_call(), questions.open_call()], [CALLS - 1, 1, 2]);
    }

    #[test]
    fn credits_do_not_overflow() {
        let (_, questions) = running(NEVER);
        questions.grant(300, u32::MAX);
        questions.grant(300, u32::MAX);
        assert_eq!(questions.wait_for_credit(), Ok(()));
        assert!(questions.has_credit());
    }
}
