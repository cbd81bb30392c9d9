//! Time as every part of the program counts it: nanoseconds since the program started, in a `u64` that atomics can
//! hold. [`NEVER`] stands for "no deadline".

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The deadline of a request without one.
pub const NEVER: u64 = u64::MAX;

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the program's first look at the clock. Never 0, so that 0 may mean "not set".
pub fn now_ns() -> u64 {
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(NEVER - 1) + 1
}

/// The instant that lies `timeout_ms` after `from_ns`; 0 means no deadline, as on the wire.
pub fn deadline_ns(from_ns: u64, timeout_ms: u32) -> u64 {
    match timeout_ms {
        0 => NEVER,
        ms => from_ns.saturating_add(u64::from(ms) * 1_000_000),
    }
}

/// How long from now to `at_ns`: zero if it has passed.
pub fn until(at_ns: u64) -> Duration {
    Duration::from_nanos(at_ns.saturating_sub(now_ns()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_timeout_is_never() {
        assert_eq!(deadline_ns(5, 0), NEVER);
        assert_eq!(deadline_ns(5, 2), 2_000_005);
        assert_eq!(deadline_ns(NEVER - 1, 2), NEVER);
    }

    #[test]
    fn the_clock_is_never_zero() {
        assert!(now_ns() > 0);
        assert_eq!(until(1), Duration::ZERO);
    }
}
