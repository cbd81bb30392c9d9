//! A clock that stands until a model moves it. All threads of an execution run on one thread of the system.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

pub const NEVER: u64 = u64::MAX;

const START_NS: u64 = 1;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(START_NS) };
    static ALARMS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

pub fn now_ns() -> u64 {
    NOW.get()
}

pub fn until(at_ns: u64) -> Duration {
    Duration::from_nanos(at_ns.saturating_sub(now_ns()))
}

pub async fn sleep_until(at_ns: u64) {
    poll_fn(|context| {
        if now_ns() >= at_ns {
            return Poll::Ready(());
        }
        if at_ns != NEVER {
            ALARMS.with_borrow_mut(|alarms| alarms.push(context.waker().clone()));
        }
        Poll::Pending
    })
    .await;
}

pub fn restart() {
    NOW.set(START_NS);
    ALARMS.take();
}

/// It is `now_ns` from here on, which tasks that sleep are told. A thread that waits for a time notices when its `Condvar`
/// is notified: the model does that.
pub fn advance(now_ns: u64) {
    NOW.set(now_ns);
    ALARMS.take().into_iter().for_each(Waker::wake);
}
