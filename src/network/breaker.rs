//! When a server is asked nothing for a while: a circuit breaker. Pure: whoever has a clock and a server tells it what happened.
//!
//! ```text
//! Closed ── so many failures, one after the other ──▶ Open       nothing is sent
//! Open ──── its time has come ──────────────────────▶ Half open   one probe is sent, and nothing else
//! Half open ── the probe is answered ───────────────▶ Closed
//! Half open ── it is not ───────────────────────────▶ Open        for twice as long
//! ```
//!
//! A failure is a server that is not reached, or that has not answered within a deadline. What a server answers is none, whatever
//! it says. A deadline may be the statement's own fault: so a breaker that one has opened sends its first probe at once.

use std::time::Duration;

/// Further doublings than these make no difference to any delay.
const TURNS_MAX: u32 = 20;

/// How patient a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Patience {
    /// So many failures, one after the other, open it; 0: none do.
    pub failures: u32,
    /// How long it is open before the first probe.
    pub delay: Duration,
    /// The longest that this grows to.
    pub delay_max: Duration,
    /// How long a probe is waited for.
    pub probe_time: Duration,
}

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are sent.
    Closed,
    /// They fail at once.
    Open,
    /// A probe is under way; they fail at once.
    HalfOpen,
}

impl State {
    /// As the wire calls it.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// How a request has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The server was not reached, or the socket broke.
    Transport,
    /// No answer came in time.
    Deadline,
}

/// What may be sent, until its outcome is told. One that was given out in another period than the present one counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// A breaker.
#[derive(Debug)]
pub struct Breaker {
    patience: Patience,
    state: State,
    /// Of those behind each other, in this period; and those that have opened it.
    failures: u32,
    why: Option<String>,
    opened_ns: u64,
    probe_ns: u64,
    turn: u32,
    period: u64,
}

/// What is known of one, for people and for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it does.
    pub state: State,
    /// Failures behind each other.
    pub failures: u32,
    /// The last one's words, unless it is closed.
    pub why: Option<String>,
    /// For how long it has not been closed.
    pub since_ns: Option<u64>,
    /// In how long it sends the next probe; 0: one is under way.
    pub probe_in_ns: Option<u64>,
}

impl Breaker {
    /// Closed.
    pub fn new(patience: Patience) -> Self {
        Breaker {
            patience,
            state: State::Closed,
            failures: 0,
            why: None,
            opened_ns: 0,
            probe_ns: 0,
            turn: 0,
            period: 0,
        }
    }

    /// Leave to send something; none unless it is closed.
    pub fn admit(&self) -> Option<Ticket> {
        (self.state == State::Closed).then_some(Ticket(self.period))
    }

    /// The server has answered.
    pub fn answered(&mut self, ticket: Ticket) {
        if ticket.0 == self.period && self.state == State::Closed {
            self.failures = 0;
        }
    }

    /// It has not. True if that has opened the breaker. `jitter` is from 0 to 1.
    pub fn failed(&mut self, ticket: Ticket, cause: Cause, why: &str, now_ns: u64, jitter: f64) -> bool {
        if ticket.0 != self.period || self.state != State::Closed {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.patience.failures == 0 || self.failures < self.patience.failures {
            return false;
        }
        self.period += 1;
        self.turn = 0;
        self.opened_ns = now_ns;
        self.why = Some(why.to_owned());
        self.open(now_ns, jitter);
        if cause == Cause::Deadline {
            self.probe_ns = now_ns;
        }
        true
    }

    /// When the next probe is due.
    pub fn probe_ns(&self) -> Option<u64> {
        (self.state == State::Open).then_some(self.probe_ns)
    }

    /// Leave to send the probe that is due.
    pub fn probe(&mut self, now_ns: u64) -> Option<Ticket> {
        if self.state != State::Open || now_ns < self.probe_ns {
            return None;
        }
        self.state = State::HalfOpen;
        self.period += 1;
        Some(Ticket(self.period))
    }

    /// What became of the probe; `why` it was not answered.
    pub fn probed(&mut self, ticket: Ticket, why: Option<&str>, now_ns: u64, jitter: f64) {
        if ticket.0 != self.period || self.state != State::HalfOpen {
            return;
        }
        self.period += 1;
        match why {
            None => {
                self.state = State::Closed;
                self.failures = 0;
                self.why = None;
            }
            Some(why) => {
                self.why = Some(why.to_owned());
                self.failures = self.failures.saturating_add(1);
                self.turn = (self.turn + 1).min(TURNS_MAX);
                self.open(now_ns, jitter);
            }
        }
    }

    /// What is known of it.
    pub fn view(&self, now_ns: u64) -> View {
        let is_closed = self.state == State::Closed;
        View {
            state: self.state,
            failures: self.failures,
            why: self.why.clone(),
            since_ns: (!is_closed).then(|| now_ns.saturating_sub(self.opened_ns)),
            probe_in_ns: match self.state {
                State::Closed => None,
                State::Open => Some(self.probe_ns.saturating_sub(now_ns)),
                State::HalfOpen => Some(0),
            },
        }
    }

    fn open(&mut self, now_ns: u64, jitter: f64) {
        self.state = State::Open;
        self.probe_ns = now_ns.saturating_add(nanoseconds(self.delay(jitter)));
    }

    /// Between half of the turn's delay and all of it, so that the programs that have lost a server do not come back together.
    fn delay(&self, jitter: f64) -> Duration {
        let doubled = self.patience.delay.saturating_mul(1 << self.turn).min(self.patience.delay_max);
        doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn patience(failures: u32) -> Patience {
        Patience {
            failures,
            delay: Duration::from_secs(1),
            delay_max: Duration::from_secs(30),
            probe_time: Duration::from_secs(2),
        }
    }

    fn fail(breaker: &mut Breaker, now_ns: u64) -> bool {
        let ticket = breaker.admit().unwrap();
        breaker.failed(ticket, Cause::Transport, "refused", now_ns, 1.0)
    }

    #[test]
    fn failures_behind_each_other_open_it_and_an_answer_between_them_does_not() {
        let mut breaker = Breaker::new(patience(3));
        for _ in 0..5 {
            assert!(!fail(&mut breaker, 1) && !fail(&mut breaker, 2));
            let ticket = breaker.admit().unwrap();
            breaker.answered(ticket);
        }
        assert!(!fail(&mut breaker, 3) && !fail(&mut breaker, 4) && fail(&mut breaker, 5));
        assert_eq!(breaker.admit(), None);
        let view = breaker.view(5 + 400 * MS);
        assert_eq!((view.state, view.failures, view.why.as_deref()), (State::Open, 3, Some("refused")));
        assert_eq!((view.since_ns, view.probe_in_ns), (Some(400 * MS), Some(600 * MS)));
    }

    #[test]
    fn one_probe_at_a_time_closes_it_or_doubles_the_delay() {
        let mut breaker = Breaker::new(patience(1));
        fail(&mut breaker, 0);
        let mut now = 0;
        for expected_s in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(breaker.probe_ns(), Some(now + expected_s * 1000 * MS));
            now += expected_s * 1000 * MS;
            assert_eq!(breaker.probe(now - 1), None, "not yet");
            let probe = breaker.probe(now).unwrap();
            assert_eq!((breaker.probe(now), breaker.admit(), breaker.probe_ns()), (None, None, None));
            assert_eq!(breaker.view(now).state, State::HalfOpen);
            breaker.probed(probe, Some("still refused"), now, 1.0);
        }
        assert_eq!(breaker.view(now).why.as_deref(), Some("still refused"));
        let probe = breaker.probe(now + 30_000 * MS).unwrap();
        breaker.probed(probe, None, now + 30_000 * MS, 1.0);
        assert_eq!(
            breaker.view(0),
            View { state: State::Closed, failures: 0, why: None, since_ns: None, probe_in_ns: None }
        );
        // The next time begins with the first delay again.
        fail(&mut breaker, now);
        assert_eq!(breaker.probe_ns(), Some(now + 1000 * MS));
    }

    #[test]
    fn what_a_deadline_has_opened_is_probed_at_once() {
        let mut breaker = Breaker::new(patience(1));
        let ticket = breaker.admit().unwrap();
        assert!(breaker.failed(ticket, Cause::Deadline, "no answer", 7, 1.0));
        let probe = breaker.probe(7).unwrap();
        breaker.probed(probe, Some("no answer"), 8, 1.0);
        assert_eq!(breaker.probe_ns(), Some(8 + 2000 * MS));
    }

    #[test]
    fn outcomes_of_an_earlier_period_count_for_nothing() {
        let mut breaker = Breaker::new(patience(1));
        let early = breaker.admit().unwrap();
        fail(&mut breaker, 0);
        breaker.answered(early);
        assert!(!breaker.failed(early, Cause::Transport, "late", 1, 0.0));
        assert_eq!(breaker.view(1).state, State::Open);
        let probe = breaker.probe(2000 * MS).unwrap();
        breaker.probed(probe, None, 2000 * MS, 0.0);
        assert!(!breaker.failed(early, Cause::Transport, "late", 1, 0.0));
        breaker.probed(probe, Some("twice"), 1, 0.0);
        assert_eq!(breaker.view(1).state, State::Closed);
    }

    #[test]
    fn one_that_is_switched_off_never_opens() {
        let mut breaker = Breaker::new(patience(0));
        assert!((0..100).all(|now| !fail(&mut breaker, now)));
    }

    #[derive(Debug, Clone)]
    enum Happens {
        Admit,
        Answered(usize),
        Failed(usize, bool),
        Probe,
        Probed(bool),
        Time(u64),
    }

    fn anything() -> impl Strategy<Value = Happens> {
        prop_oneof![
            3 => Just(Happens::Admit),
            2 => (0..4_usize).prop_map(Happens::Answered),
            4 => (0..4_usize, any::<bool>()).prop_map(|(which, deadline)| Happens::Failed(which, deadline)),
            2 => Just(Happens::Probe),
            2 => any::<bool>().prop_map(Happens::Probed),
            2 => (0..40_000 * MS).prop_map(Happens::Time),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: while it is not closed nothing but one probe goes out, a probe comes no later
        /// than after the longest delay, and only a probe that is answered closes it.
        #[test]
        fn no_history_sends_more_than_it_may(
            history in prop::collection::vec(anything(), 1..200), failures in 1..4_u32, jitter in 0.0..1.0_f64
        ) {
            let mut breaker = Breaker::new(patience(failures));
            let (mut out, mut probe, mut now): (Vec<Ticket>, Option<Ticket>, u64) = (vec![], None, 1);
            for happens in history {
                let before = breaker.view(now).state;
                let mut closes = false;
                match happens {
                    Happens::Time(passed) => now += passed,
                    Happens::Admit => {
                        let ticket = breaker.admit();
                        prop_assert_eq!(ticket.is_some(), before == State::Closed);
                        out.extend(ticket);
                    }
                    Happens::Answered(which) if which < out.len() => breaker.answered(out.swap_remove(which)),
                    Happens::Failed(which, deadline) if which < out.len() => {
                        let cause = if deadline { Cause::Deadline } else { Cause::Transport };
                        let opened = breaker.failed(out.swap_remove(which), cause, "x", now, jitter);
                        prop_assert_eq!(opened, before == State::Closed && breaker.view(now).state == State::Open);
                    }
                    Happens::Probe => {
                        let due = breaker.probe_ns().is_some_and(|at| at <= now);
                        let leave = breaker.probe(now);
                        prop_assert_eq!(leave.is_some(), due);
                        prop_assert!(leave.is_none() || before == State::Open);
                        probe = leave.or(probe);
                    }
                    Happens::Probed(good) => {
                        closes = good;
                        if let Some(ticket) = probe.take() {
                            breaker.probed(ticket, (!good).then_some("x"), now, jitter);
                        }
                    }
                    _ => {}
                }
                let after = breaker.view(now).state;
                prop_assert!(after != State::Closed || before == State::Closed || closes);
                if let Some(at) = breaker.probe_ns() {
                    prop_assert!(at <= now + 30_000 * MS);
                }
                prop_assert_eq!(probe.is_some(), after == State::HalfOpen, "a probe is under way");
            }
        }
    }
}
