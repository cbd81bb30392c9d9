//! The reason to stop as a future, for work that another task or another program does.

use super::{Control, Stop};
use crate::clock::{sleep_until, NEVER};
use crate::sync::atomic::Ordering;
use std::future::{poll_fn, Future};
use std::pin::pin;
use std::task::{Poll, Waker};

impl Control {
    /// Returns when the request that runs has to stop, and why: its deadline, its cancellation, or the end of the
    /// connection, be it by a close or by the end of input. Whoever runs the request awaits this beside its work, between
    /// `begin` and `end`. A deadline needs the timers of a tokio runtime.
    ///
    /// ```text
    /// runtime.block_on(async {
    ///     tokio::select! {
    ///         answer = remote.execute(…) => answer.map_err(Error::from),
    ///         stop = control.stopped() => Err(stop.into()),
    ///     }
    /// })
    /// ```
    pub async fn stopped(&self) -> Stop {
        let waiting = Waiting::new(self);
        loop {
            let alarm_ns = self.alarm_ns();
            let mut alarm = pin!(sleep_until(alarm_ns));
            let look = poll_fn(|context| match waiting.look(context.waker()) {
                Some(stop) => Poll::Ready(Some(stop)),
                // Another deadline counts now.
                None if self.alarm_ns() != alarm_ns => Poll::Ready(None),
                None => alarm.as_mut().poll(context).map(|()| None),
            });
            if let Some(stop) = look.await {
                return stop;
            }
        }
    }

    /// When the passing of time alone is a reason to look again.
    fn alarm_ns(&self) -> u64 {
        match self.unstopped.load(Ordering::Relaxed) {
            true => NEVER,
            false => self.deadline_ns(),
        }
    }

    /// Tasks that wait for a stop.
    pub fn waiting_tasks(&self) -> usize {
        self.gate.lock().len()
    }
}

/// A task that waits for a stop, until this is dropped.
struct Waiting<'c> {
    control: &'c Control,
    key: u64,
}

impl<'c> Waiting<'c> {
    fn new(control: &'c Control) -> Self {
        Waiting { control, key: control.gate.lock().key() }
    }

    /// The reason to stop; if there is none, `waker` is woken when there may be one.
    fn look(&self, waker: &Waker) -> Option<Stop> {
        let mut gate = self.control.gate.lock();
        // Within the lock: a reason that is not seen here comes with a wake-up that sees the waker.
        let stop = self.control.stop();
        let before = match stop {
            Some(_) => gate.remove(self.key),
            None => gate.insert(self.key, waker.clone()),
        };
        drop(gate);
        drop(before);
        stop
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut gate = self.control.gate.lock();
        let waker = gate.remove(self.key);
        drop(gate);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now_ns;
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};
    use std::sync::Arc;
    use std::task::{Context, Wake};
    use std::time::Duration;

    fn running(deadline_ns: u64) -> Arc<Control> {
        let control = Arc::new(Control::new());
        control.begin(300, deadline_ns);
        control
    }

    /// What a thread does that runs asynchronous work.
    fn run(control: &Control, work: impl Future<Output = u32>) -> Result<u32, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                done = work => Ok(done),
                stop = control.stopped() => Err(stop),
            }
        })
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, StdOrdering::Relaxed);
        }
    }

    #[test]
    fn every_reason_to_stop_ends_asynchronous_work() {
        let cancel: fn(&Control) = |control| assert!(control.cancel(300));
        let reasons = [(cancel, Stop::Cancelled), (Control::close, Stop::Closed)];
        for (reason, stop) in reasons {
            let control = running(NEVER);
            let other = Arc::clone(&control);
            let elsewhere = std::thread::spawn(move || reason(&other));
            assert_eq!(run(&control, pending()), Err(stop));
            elsewhere.join().unwrap();
            assert_eq!(run(&control, pending()), Err(stop), "and the next at once");
            assert_eq!(control.waiting_tasks(), 0);
        }
        let control = running(now_ns() + 3_000_000);
        assert_eq!(run(&control, pending()), Err(Stop::Timeout));
        let control = running(NEVER);
        let shorter = control.within(Duration::from_millis(1), || run(&control, pending()));
        assert_eq!(shorter, Err(Stop::Timeout));
    }

    #[test]
    fn work_that_is_done_comes_first_and_leaves_nothing_behind() {
        let control = running(now_ns() + 3_600_000_000_000);
        assert_eq!(run(&control, ready(7)), Ok(7));
        assert_eq!(
            run(&control, async {
                tokio::task::yield_now().await;
                8
            }),
            Ok(8)
        );
        assert_eq!(control.waiting_tasks(), 0);
        assert_eq!(control.stop(), None);
    }

    #[test]
    fn what_may_not_be_stopped_is_stopped_afterwards() {
        let control = running(1);
        control.unstopped(|| {
            assert_eq!(
                run(&control, async {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    9
                }),
                Ok(9)
            );
        });
        assert_eq!(run(&control, pending()), Err(Stop::Timeout));
    }

    #[test]
    fn a_task_is_woken_by_what_concerns_it() {
        let control = running(NEVER);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut stopped = Box::pin(control.stopped());
        let mut poll = |waker: &Waker| stopped.as_mut().poll(&mut Context::from_waker(waker));
        assert!(poll(&waker).is_pending() && poll(&waker).is_pending());
        assert_eq!(control.waiting_tasks(), 1, "it waits once");
        assert!(!control.cancel(299));
        assert_eq!(woken.0.load(StdOrdering::Relaxed), 0);
        control.wake();
        assert_eq!(woken.0.load(StdOrdering::Relaxed), 1);
        assert!(poll(Waker::noop()).is_pending(), "the last waker counts");
        assert!(poll(&waker).is_pending());
        control.unstopped(|| assert!(control.cancel(300)));
        assert!(woken.0.load(StdOrdering::Relaxed) > 1);
        assert_eq!(poll(&waker), Poll::Ready(Stop::Cancelled));
        drop(stopped);
        drop(waker);
        assert_eq!((Arc::strong_count(&woken), control.waiting_tasks()), (1, 0));
    }
}
