//! The door to one server, for all connections of the program that reach it the same way: what is sent goes through it, and what
//! became of it is told here, so that nobody waits for a server that others have found to be gone.

use super::breaker::{Breaker, Cause, Patience, State, Ticket, View};
use super::slots::Slots;
use super::transport::{ConnectError, Step};
use crate::clock::{now_ns, sleep_until};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::runtime::Runtime;

/// The share that a new measurement has of the latency: one in so many. No option: `measure_interval_ms` says how fast it follows.
const LATENCY_SHARE: u64 = 4;

/// Who is told of each change of a breaker, in the order of the changes.
pub type Listener = Box<dyn Fn(&str, &View) + Send + Sync>;

/// What can find out whether a server answers.
pub trait Prober: Send + Sync {
    /// Sends a statement that costs nothing; the words of what went wrong.
    fn probe(&self, leave: Leave) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
}

/// Leave to send something. Only the door gives it.
pub struct Leave(());

/// The door to a server.
pub struct Gate {
    url: String,
    probe_time: Duration,
    breaker: Mutex<Breaker>,
    /// When it has last answered; 0: never.
    answered_ns: AtomicU64,
    /// How long a statement that costs nothing takes; 0: not known.
    latency_ns: AtomicU64,
    measured: AtomicBool,
    marks: Mutex<HashMap<Box<str>, Weak<Mark>>>,
    slots: Slots,
    listener: Arc<OnceLock<Listener>>,
}

/// How far a database has come on its primary, as far as this program has seen: the number of a log, and a place in it.
#[derive(Debug, Default)]
pub struct Mark(Mutex<(u64, u64)>);

impl Mark {
    /// Log and place; 0: nothing was seen.
    pub fn known(&self) -> (u64, u64) {
        *self.0.lock()
    }

    /// The primary has answered with `place` to what was sent when `before` was known. Places grow; where the answer to a later
    /// question has a smaller one, the server has begun another log.
    pub fn seen(&self, before: (u64, u64), place: u64, alone: bool) {
        let mut mark = self.0.lock();
        if alone && mark.0 == before.0 && place < before.1 {
            *mark = (mark.0 + 1, place);
        } else if mark.0 == before.0 {
            mark.1 = mark.1.max(place);
        }
    }
}

/// Leave to send one request, whose outcome is told to it. Dropped, it tells nothing.
pub struct Pass<'g> {
    gate: &'g Arc<Gate>,
    ticket: Ticket,
    /// For the client.
    pub leave: Leave,
}

impl Gate {
    /// To the server of `url`, which `patience` has with it.
    pub fn new(url: &str, patience: Patience, listener: Arc<OnceLock<Listener>>) -> Self {
        Gate {
            url: url.to_owned(),
            probe_time: patience.probe_time,
            breaker: Mutex::new(Breaker::new(patience)),
            answered_ns: AtomicU64::new(0),
            latency_ns: AtomicU64::new(0),
            measured: AtomicBool::new(false),
            marks: Mutex::default(),
            slots: Slots::default(),
            listener,
        }
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Room for what is kept there.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Leave to send a request, unless the breaker is open.
    pub fn enter(self: &Arc<Self>) -> Result<Pass<'_>, ConnectError> {
        // Not within the match, which would hold the lock to its end.
        let admitted = self.breaker.lock().admit();
        match admitted {
            Some(ticket) => Ok(Pass { gate: self, ticket, leave: Leave(()) }),
            None => Err(ConnectError::new(Step::Breaker, shut(&self.url, &self.view()))),
        }
    }

    /// An error if the breaker is open.
    pub fn check(self: &Arc<Self>) -> Result<(), ConnectError> {
        self.enter().map(|_| ())
    }

    /// What is known of it.
    pub fn view(&self) -> View {
        self.breaker.lock().view(now_ns())
    }

    /// True if nothing keeps requests from being sent.
    pub fn is_closed(&self) -> bool {
        self.view().state == State::Closed
    }

    /// How long ago it has last answered.
    pub fn answered_ago_ns(&self) -> Option<u64> {
        match self.answered_ns.load(Ordering::Relaxed) {
            0 => None,
            at => Some(now_ns().saturating_sub(at)),
        }
    }

    /// How long a statement that costs nothing takes, if that was measured.
    pub fn latency_ns(&self) -> Option<u64> {
        match self.latency_ns.load(Ordering::Relaxed) {
            0 => None,
            latency => Some(latency),
        }
    }

    /// How far `database` has come, which all who use it share.
    pub fn mark(&self, database: &str) -> Arc<Mark> {
        let mut marks = self.marks.lock();
        if let Some(mark) = marks.get(database).and_then(Weak::upgrade) {
            return mark;
        }
        marks.retain(|_, mark| mark.strong_count() > 0);
        let mark = Arc::new(Mark::default());
        marks.insert(database.into(), Arc::downgrade(&mark));
        mark
    }

    /// Has the latency measured every `time`, as long as anybody has this door.
    pub fn measure(self: &Arc<Self>, time: Duration, runtime: &Runtime, prober: Arc<dyn Prober>) {
        if !self.measured.swap(true, Ordering::Relaxed) {
            runtime.spawn(measure(Arc::downgrade(self), time, prober));
        }
    }

    fn answered(&self) {
        self.answered_ns.store(now_ns(), Ordering::Relaxed);
    }

    fn took(&self, began_ns: u64) {
        let took = now_ns().saturating_sub(began_ns).max(1);
        let before = self.latency_ns.load(Ordering::Relaxed);
        let latency = match before {
            0 => took,
            before => (before * (LATENCY_SHARE - 1) + took) / LATENCY_SHARE,
        };
        self.latency_ns.store(latency, Ordering::Relaxed);
    }

    /// Changes the breaker, and tells of it if its state is another one then. What is told is posted, so it is told under the lock,
    /// for the sake of its order.
    fn change<T>(&self, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock();
        let before = breaker.view(0).state;
        let changed = change(&mut breaker);
        let view = breaker.view(now_ns());
        if view.state == before {
            return changed;
        }
        match view.state {
            State::Open if before == State::Closed => tracing::warn!("{}", shut(&self.url, &view)),
            State::Closed => tracing::info!("the server at {} answers again", self.url),
            _ => {}
        }
        if let Some(listener) = self.listener.get() {
            listener(&self.url, &view);
        }
        changed
    }
}

impl Pass<'_> {
    /// The server has answered, whatever it said.
    pub fn answered(self) {
        self.gate.answered();
        self.gate.change(|breaker| breaker.answered(self.ticket));
    }

    /// It has not. If that opens the breaker, `prober` finds out when it answers again.
    pub fn failed(
        self,
        cause: Cause,
        why: &str,
        runtime: &Runtime,
        prober: impl FnOnce() -> Arc<dyn Prober>,
    ) {
        let opened =
            self.gate.change(|breaker| breaker.failed(self.ticket, cause, why, now_ns(), fastrand::f64()));
        if opened {
            runtime.spawn(watch(Arc::downgrade(self.gate), prober()));
        }
    }
}

/// Probes until the server answers, or nobody has the door any more.
async fn watch(gate: Weak<Gate>, prober: Arc<dyn Prober>) {
    loop {
        let due = gate.upgrade().and_then(|gate| gate.breaker.lock().probe_ns());
        let Some(due) = due else { return };
        sleep_until(due).await;
        let Some(gate) = gate.upgrade() else { return };
        let Some(ticket) = gate.change(|breaker| breaker.probe(now_ns())) else { return };
        let outcome = probed(&gate, &prober).await;
        let why = outcome.as_ref().err().map(String::as_str);
        gate.change(|breaker| breaker.probed(ticket, why, now_ns(), fastrand::f64()));
    }
}

/// One probe, and how long its answer took.
async fn probed(gate: &Gate, prober: &Arc<dyn Prober>) -> Result<(), String> {
    let began_ns = now_ns();
    // In a task of its own: one that panics has failed.
    let mut task = tokio::spawn(prober.probe(Leave(())));
    let outcome = match tokio::time::timeout(gate.probe_time, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("the probe has failed".to_owned()),
        Err(_) => {
            task.abort();
            Err(format!("no answer to a probe within {} ms (probe_timeout_ms)", gate.probe_time.as_millis()))
        }
    };
    if outcome.is_ok() {
        gate.answered();
        gate.took(began_ns);
    }
    outcome
}

async fn measure(gate: Weak<Gate>, time: Duration, prober: Arc<dyn Prober>) {
    loop {
        {
            let Some(gate) = gate.upgrade() else { return };
            // One whose breaker is open is being probed.
            let ticket = gate.breaker.lock().admit();
            if let Some(ticket) = ticket {
                if probed(&gate, &prober).await.is_ok() {
                    gate.change(|breaker| breaker.answered(ticket));
                }
            }
        }
        tokio::time::sleep(time.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
    }
}

fn shut(url: &str, view: &View) -> String {
    let seconds = |ns: u64| format!("{:.1} s", ns as f64 / 1e9);
    let why = view.why.as_deref().unwrap_or("it did not answer");
    let next = match view.probe_in_ns {
        Some(0) | None => "a probe is under way".to_owned(),
        Some(ns) => format!("the next probe is in {}", seconds(ns)),
    };
    format!(
        "the server at {url} is not asked: its circuit breaker is open since {}, after {} failures (the last one: {why}); {next}",
        seconds(view.since_ns.unwrap_or(0)),
        view.failures
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A server that answers as it is told.
    struct Told(Arc<AtomicBool>, mpsc::Sender<()>);

    impl Prober for Told {
        fn probe(&self, _leave: Leave) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
            let _ = self.1.send(());
            let there = self.0.load(Ordering::SeqCst);
            Box::pin(async move {
                if there {
                    Ok(())
                } else {
                    Err("gone".to_owned())
                }
            })
        }
    }

    fn patience(failures: u32) -> Patience {
        Patience {
            failures,
            delay: Duration::from_millis(2),
            delay_max: Duration::from_millis(4),
            probe_time: Duration::from_secs(60),
        }
    }

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
    }

    #[test]
    fn all_who_use_it_stop_and_go_on_together_and_each_change_is_told() {
        let runtime = runtime();
        let (told, changes) = mpsc::channel();
        let listener: Arc<OnceLock<Listener>> = Arc::default();
        let told = Mutex::new(told);
        let _ = listener.set(Box::new(move |url: &str, view: &View| {
            told.lock().send((url.to_owned(), view.state, view.failures)).unwrap();
        }));
        let gate = Arc::new(Gate::new("http://h", patience(2), listener));
        let there = Arc::new(AtomicBool::new(false));
        let (probed, probes) = mpsc::channel();
        for _ in 0..2 {
            let pass = gate.enter().unwrap();
            let there = Arc::clone(&there);
            let probed = probed.clone();
            pass.failed(Cause::Transport, "refused", &runtime, || Arc::new(Told(there, probed)));
        }
        let error = gate.enter().err().unwrap();
        assert_eq!(error.step, Step::Breaker);
        assert!(error.message.contains("http://h") && error.message.contains("refused"), "{}", error.message);
        for _ in 0..3 {
            probes.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        there.store(true, Ordering::SeqCst);
        let mut states = vec![];
        loop {
            let (url, state, failures) = changes.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!((url.as_str(), failures == 0), ("http://h", state == State::Closed));
            states.push(state);
            if state == State::Closed {
                break;
            }
        }
        // Open and half open by turns.
        let by_turns = [State::Open, State::HalfOpen].into_iter().cycle();
        let before_the_last = states.len() - 1;
        assert!(
            states.iter().take(before_the_last).copied().eq(by_turns.take(before_the_last)),
            "{states:?}"
        );
        assert_eq!(before_the_last % 2, 0, "a probe has closed it");
        assert!(gate.enter().is_ok() && gate.answered_ago_ns().is_some() && gate.latency_ns().is_some());
    }

    #[test]
    fn nobody_probes_for_nobody() {
        let runtime = runtime();
        let gate = Arc::new(Gate::new("http://h", patience(1), Arc::default()));
        let (probed, probes) = mpsc::channel();
        let told = || -> Arc<dyn Prober> { Arc::new(Told(Arc::default(), probed)) };
        gate.enter().unwrap().failed(Cause::Transport, "refused", &runtime, told);
        probes.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(gate);
        // The task has gone, and its prober with it.
        while probes.recv_timeout(Duration::from_secs(60)).is_ok() {}
        assert_eq!(probes.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }

    #[test]
    fn what_is_dropped_tells_nothing() {
        let gate = Arc::new(Gate::new("http://h", patience(1), Arc::default()));
        let _ = gate.enter().unwrap();
        assert_eq!((gate.view().failures, gate.answered_ago_ns()), (0, None));
        gate.enter().unwrap().answered();
        assert!(gate.answered_ago_ns().is_some());
    }

    #[test]
    fn a_mark_grows_until_the_log_is_another_one() {
        let mark = Mark::default();
        mark.seen((0, 0), 5, true);
        // Two answers that overtake each other.
        mark.seen((0, 5), 8, true);
        mark.seen((0, 5), 7, true);
        assert_eq!(mark.known(), (0, 8));
        // Inside of a transaction an answer may have the place at which that began.
        mark.seen((0, 8), 6, false);
        assert_eq!(mark.known(), (0, 8));
        mark.seen((0, 8), 3, true);
        assert_eq!(mark.known(), (1, 3));
        mark.seen((0, 8), 9, true);
        assert_eq!(mark.known(), (1, 3), "of the log before");
        let gate = Gate::new("http://h", patience(1), Arc::default());
        let first = gate.mark("a");
        assert!(Arc::ptr_eq(&first, &gate.mark("a")) && !Arc::ptr_eq(&first, &gate.mark("b")));
    }
}
