//! How many denials the client and the log are told of, one by one, from all connections together.

use crate::clock::now_ns;
use parking_lot::Mutex;

const SECOND_NS: u64 = 1_000_000_000;

/// Denials within a second; those beyond a limit are counted.
pub struct Audit {
    per_second_max: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    since_ns: u64,
    told: u32,
    left_out: u64,
}

impl Audit {
    /// At most `per_second_max` in a second; 0: all are only counted.
    pub fn new(per_second_max: u32) -> Self {
        Audit { per_second_max, state: Mutex::default() }
    }

    /// One more. How many were left out since the last one that was told, if this one is to be told.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(now_ns())
    }

    fn admit_at(&self, now_ns: u64) -> Option<u64> {
        let mut state = self.state.lock();
        if now_ns.saturating_sub(state.since_ns) >= SECOND_NS {
            state.since_ns = now_ns;
            state.told = 0;
        }
        if state.told >= self.per_second_max {
            state.left_out += 1;
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.left_out))
    }

    /// So many more that are not told.
    pub fn leave_out(&self, count: u64) {
        self.state.lock().left_out += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_limit_is_counted_and_told_with_the_next() {
        let audit = Audit::new(2);
        let at = |ms: u64| audit.admit_at(10 * SECOND_NS + ms * 1_000_000);
        assert_eq!([at(0), at(1), at(2), at(999)], [Some(0), Some(0), None, None]);
        audit.leave_out(3);
        assert_eq!([at(1000), at(1001), at(1002)], [Some(5), Some(0), None]);
        assert_eq!(at(9000), Some(1));
        assert_eq!(Audit::new(0).admit(), None);
    }
}
