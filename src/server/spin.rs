//! Spin, then park: how long the reading thread looks for the next request before it sleeps.
//!
//! A thread that sleeps has to be woken, and so has the VM's scheduler, which went to sleep meanwhile: on a virtual
//! machine with idle processors that is most of a round trip (ten times the work, docs/benchmarks.md). So a client that
//! asks again and again in short intervals is awaited with open eyes.
//!
//! It costs processor time, therefore: only after a reply of this thread's own, not while another one works on it; only as
//! long as requests do come within the window, which a few looks in vain disprove, after which it is tried again ever more
//! rarely; and not where processors are wanted by others, which shows when the system has given this one to somebody else
//! during a look: then nobody looks for a while, longer each time. What a look takes from a busy machine is taken from the VM,
//! or from this program's own share of the next milliseconds. (To yield between two looks is worse: who yields may wait for
//! milliseconds while requests lie there.)
//!
//! The time that passes between a reply and the next request is no measure of the client's pace: being woken is part of it.

use std::time::{Duration, Instant};

/// Looks in vain, one after the other, that end the spinning.
const VAIN_MAX: u32 = 4;
/// Waits without a look after that. Each time doubles them.
const PAUSE_MIN: u32 = 16;
const PAUSE_MAX: u32 = 256;
/// Requests found in a row after which the pauses are short again.
const FOUND_WELL: u32 = 16;
/// Between two looks that are further apart somebody else has run.
const PREEMPTED: Duration = Duration::from_micros(25);
/// How long nobody looks after that. Each time doubles it, until looks are found well again.
const CONTENDED_MIN: Duration = Duration::from_millis(20);
const CONTENDED_MAX: Duration = Duration::from_secs(1);

/// What is known of the client's pace.
#[derive(Debug)]
pub struct Spin {
    window: Duration,
    answered: bool,
    vain: u32,
    found: u32,
    pause: u32,
    paused: u32,
    contended: Duration,
    contended_until: Option<Instant>,
}

impl Spin {
    /// Looks for at most `window`; never if it is zero.
    pub fn new(window: Duration) -> Self {
        Spin {
            window,
            answered: false,
            vain: 0,
            found: 0,
            pause: PAUSE_MIN,
            paused: 0,
            contended: CONTENDED_MIN,
            contended_until: None,
        }
    }

    /// The reading thread itself has answered the last request.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// Another thread will answer, later.
    pub fn passed_on(&mut self) {
        self.answered = false;
    }

    /// Looks until `ready` or the window has passed. Whoever finds nothing sleeps.
    pub fn look(&mut self, ready: impl FnMut() -> bool) {
        self.look_by(Instant::now, ready);
    }

    fn look_by(&mut self, mut clock: impl FnMut() -> Instant, mut ready: impl FnMut() -> bool) {
        if self.window.is_zero() || !self.answered {
            return;
        }
        if self.paused > 0 {
            self.paused -= 1;
            return;
        }
        let start = clock();
        if self.contended_until.is_some_and(|until| start < until) {
            return;
        }
        let mut now = start;
        while now - start < self.window {
            let ready = ready();
            let after = clock();
            if after - now > PREEMPTED {
                return self.preempted(after);
            }
            if ready {
                return self.found();
            }
            std::hint::spin_loop();
            now = after;
        }
        self.in_vain();
    }

    fn preempted(&mut self, now: Instant) {
        self.found = 0;
        self.contended_until = Some(now + self.contended);
        self.contended = (self.contended * 2).min(CONTENDED_MAX);
    }

    fn found(&mut self) {
        self.vain = 0;
        self.found += 1;
        if self.found >= FOUND_WELL {
            self.pause = PAUSE_MIN;
            self.contended = CONTENDED_MIN;
        }
    }

    fn in_vain(&mut self) {
        self.found = 0;
        self.vain += 1;
        if self.vain >= VAIN_MAX {
            self.vain = 0;
            self.paused = self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const WINDOW: Duration = Duration::from_micros(200);

    fn answering(window: Duration) -> Spin {
        let mut spin = Spin::new(window);
        spin.answered();
        spin
    }

    thread_local! {
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    fn now() -> Instant {
        let now = NOW.get().unwrap_or_else(Instant::now);
        NOW.set(Some(now));
        now
    }

    fn pass(time: Duration) {
        NOW.set(Some(now() + time));
    }

    /// How often it looked, by a clock on which each look takes `time`.
    fn looked(spin: &mut Spin, time: Duration, ready: bool) -> u32 {
        let mut count = 0;
        spin.look_by(now, || {
            count += 1;
            pass(time);
            ready
        });
        count
    }

    /// Whether it looked at all.
    fn looks(spin: &mut Spin, ready: bool) -> bool {
        looked(spin, Duration::from_micros(1), ready) > 0
    }

    /// A look during which somebody else has run.
    fn interrupted(spin: &mut Spin, ready: bool) -> u32 {
        looked(spin, PREEMPTED * 2, ready)
    }

    /// Waits in vain until it looks no more.
    fn disappoint(spin: &mut Spin) -> u32 {
        (0..).take_while(|_| looks(spin, false)).count() as u32
    }

    /// Waits without a look; the look after them finds something.
    fn pause(spin: &mut Spin) -> u32 {
        (0..).take_while(|_| !looks(spin, true)).count() as u32
    }

    #[test]
    fn a_quick_client_is_awaited() {
        let mut spin = answering(WINDOW);
        assert!((0..1000).all(|_| looks(&mut spin, true)));
    }

    #[test]
    fn for_a_slow_one_looks_become_rare() {
        let mut spin = answering(WINDOW);
        let mut expected = PAUSE_MIN;
        assert_eq!(disappoint(&mut spin), VAIN_MAX);
        while expected < PAUSE_MAX {
            // The look that ended `disappoint` was the first one that was not made.
            assert_eq!(pause(&mut spin) + 1, expected);
            assert_eq!(disappoint(&mut spin), VAIN_MAX);
            expected *= 2;
        }
        pause(&mut spin);
        disappoint(&mut spin);
        assert_eq!(pause(&mut spin) + 1, PAUSE_MAX, "and no rarer than that");
    }

    #[test]
    fn a_client_that_becomes_quick_is_awaited_like_one_that_was() {
        let mut spin = answering(WINDOW);
        for _ in 0..6 {
            disappoint(&mut spin);
            pause(&mut spin);
        }
        assert!((0..FOUND_WELL).all(|_| looks(&mut spin, true)));
        disappoint(&mut spin);
        assert_eq!(pause(&mut spin) + 1, PAUSE_MIN);
    }

    #[test]
    fn a_few_looks_in_vain_between_others_do_not_end_it() {
        let mut spin = answering(WINDOW);
        for _ in 0..10 {
            assert!((1..VAIN_MAX).all(|_| looks(&mut spin, false)));
            assert!(looks(&mut spin, true));
        }
    }

    #[test]
    fn what_others_work_on_is_awaited_asleep() {
        let mut spin = answering(WINDOW);
        assert!(looks(&mut spin, true));
        spin.passed_on();
        assert!(!looks(&mut spin, true));
        spin.answered();
        assert!(looks(&mut spin, true));
    }

    #[test]
    fn no_window_no_look() {
        let mut spin = answering(Duration::ZERO);
        assert!(!(0..100).any(|_| looks(&mut spin, true)));
    }

    #[test]
    fn a_look_ends_with_its_window() {
        let mut spin = answering(WINDOW);
        assert_eq!(looked(&mut spin, PREEMPTED, false), 8);
    }

    #[test]
    fn who_needs_the_processor_has_it() {
        for ready in [false, true] {
            let mut spin = answering(Duration::from_secs(3600));
            assert_eq!(interrupted(&mut spin, ready), 1);
            pass(CONTENDED_MIN - PREEMPTED);
            assert!(!looks(&mut spin, true), "nor does anybody look soon");
            pass(PREEMPTED);
            assert!(looks(&mut spin, true));
        }
    }

    #[test]
    fn the_more_often_the_processor_is_wanted_the_longer_it_is_left() {
        let mut spin = answering(Duration::from_secs(3600));
        let mut expected = CONTENDED_MIN;
        for _ in 0..8 {
            assert_eq!(interrupted(&mut spin, true), 1);
            assert_eq!(spin.contended_until, Some(now() + expected));
            pass(expected);
            expected = (expected * 2).min(CONTENDED_MAX);
        }
        // A machine that is left alone again.
        assert!((0..FOUND_WELL).all(|_| looks(&mut spin, true)));
        interrupted(&mut spin, true);
        assert_eq!(spin.contended_until, Some(now() + CONTENDED_MIN));
    }
}
