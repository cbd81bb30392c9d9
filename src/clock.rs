//! Time as every part of the program counts it: nanoseconds since the program started, in a `u64` that atomics can
//! hold. [`NEVER`] stands for "no deadline".

use std::sync::OnceLock;
use std::time::Duration;

/// The deadline of a request without one.
pub const NEVER: u64 = u64::MAX;

static START_NS: OnceLock<u64> = OnceLock::new();

/// Nanoseconds since the program's first look at the clock. Never 0, so that 0 may mean "not set".
pub fn now_ns() -> u64 {
    let now = monotonic_ns();
    now.saturating_sub(*START_NS.get_or_init(|| now)) + 1
}

/// What the system's monotonic clock says. A request looks at it about ten times, and `Instant` spends more on its
/// arithmetic than the clock itself costs.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that the call writes. It cannot fail: every system here has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
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

/// Waits until `at_ns`, on the timers of a tokio runtime; for ever, and without one, if it is [`NEVER`].
pub async fn sleep_until(at_ns: u64) {
    match at_ns {
        NEVER => std::future::pending().await,
        at => tokio::time::sleep(until(at)).await,
    }
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

    #[test]
    fn the_clock_runs_as_the_standard_library_s() {
        // Looked at before and after ours, and so longer whatever comes in between; the other, within, is shorter.
        let (longer, start_ns, shorter) = (std::time::Instant::now(), now_ns(), std::time::Instant::now());
        while shorter.elapsed() < Duration::from_millis(3) {}
        let (ours, theirs) = (now_ns() - start_ns, longer.elapsed().as_nanos() as u64);
        assert!((3_000_000..=theirs).contains(&ours), "{ours} of {theirs} ns");
    }
}
