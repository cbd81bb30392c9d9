//! When a statement that computes lets other threads of this program have the processor. With more endless statements than
//! processors, a short one elsewhere would else wait for a whole time slice of each. With fewer of them there is a processor
//! for it, and to give one's own away would be a present to other programs.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::OnceLock;

/// How long a statement computes before it counts, and between two times that it gives way.
const SLICE_NS: u64 = 500_000;

/// How many statements of this program have computed for longer than that, and go on.
static COMPUTING: AtomicUsize = AtomicUsize::new(0);

/// The slices of one connection.
#[derive(Debug, Default)]
pub struct Slices {
    ends_ns: AtomicU64,
    counted: AtomicBool,
}

impl Slices {
    /// The statement has come so far: gives way if it should.
    #[inline]
    pub fn look(&self, now_ns: u64) {
        let ends_ns = self.ends_ns.load(Ordering::Relaxed);
        if now_ns < ends_ns {
            return;
        }
        self.ends_ns.store(now_ns + SLICE_NS, Ordering::Relaxed);
        // Long past is the end of what ran before, or the processor was away in between.
        if now_ns - ends_ns < SLICE_NS && self.gives_way(processors()) {
            std::thread::yield_now();
        }
    }

    fn gives_way(&self, processors: usize) -> bool {
        if !self.counted.swap(true, Ordering::Relaxed) {
            COMPUTING.fetch_add(1, Ordering::Relaxed);
        }
        COMPUTING.load(Ordering::Relaxed) >= processors
    }

    /// What ran has ended.
    #[inline]
    pub fn end(&self) {
        if self.counted.load(Ordering::Relaxed) && self.counted.swap(false, Ordering::Relaxed) {
            COMPUTING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        self.end();
    }
}

fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_gives_way_while_as_many_compute_as_there_are_processors() {
        // More than other tests of this process may have at a time.
        let processors = 1000;
        let computing: Vec<_> = (0..processors).map(|_| Slices::default()).collect();
        let gave_way = computing.iter().filter(|slices| slices.gives_way(processors)).count();
        assert!((1..100).contains(&gave_way), "{gave_way}: the last ones");
        assert!(computing[0].gives_way(processors), "it is counted once, and sees the others");
        computing[1..].iter().for_each(Slices::end);
        computing[1].end();
        assert!(!computing[0].gives_way(processors));
        drop(computing);
        assert!(COMPUTING.load(Ordering::Relaxed) < 100);
    }

    #[test]
    fn what_has_only_begun_does_not_count() {
        let slices = Slices::default();
        slices.look(10 * SLICE_NS);
        slices.look(10 * SLICE_NS + 1);
        assert!(!slices.counted.load(Ordering::Relaxed));
        slices.look(11 * SLICE_NS);
        assert!(slices.counted.load(Ordering::Relaxed));
        slices.end();
        assert!(!slices.counted.load(Ordering::Relaxed));
    }
}
