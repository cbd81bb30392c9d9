//! What a running request asks of its client, and waits for: today the credit for another chunk of rows.
//!
//! One [`Questions`] per connection, beside its [`Control`]. The thread that runs the request asks and waits; the client's
//! answer comes as a request that overtakes the queue (`connection/inbox.rs`, from the router). Whatever else a request
//! is to ask has its state here and waits the same way: until the answer is there, or the request has to stop.

use crate::control::{Control, Stop};
use crate::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// The open questions of one connection, all of the request that runs.
pub struct Questions {
    control: Arc<Control>,
    credits: AtomicU32,
}

impl Questions {
    /// Nothing is asked.
    pub fn new(control: Arc<Control>) -> Self {
        Questions { control, credits: AtomicU32::new(0) }
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
    fn credits_do_not_overflow() {
        let (_, questions) = running(NEVER);
        questions.grant(300, u32::MAX);
        questions.grant(300, u32::MAX);
        assert_eq!(questions.wait_for_credit(), Ok(()));
        assert!(questions.has_credit());
    }
}
