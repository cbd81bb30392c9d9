//! A clock that stands until a model moves it. All threads of an execution run on one thread of the system.

use std::cell::Cell;
use std::time::Duration;

pub const NEVER: u64 = u64::MAX;

const START_NS: u64 = 1;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(START_NS) };
}

pub fn now_ns() -> u64 {
    NOW.get()
}

pub fn until(at_ns: u64) -> Duration {
    Duration::from_nanos(at_ns.saturating_sub(now_ns()))
}

pub fn restart() {
    NOW.set(START_NS);
}

/// It is `now_ns` from here on. Whoever waits for a time notices when its `Condvar` is notified: the model does that.
pub fn advance(now_ns: u64) {
    NOW.set(now_ns);
}
