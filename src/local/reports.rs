//! What subscribers are told of a connection while it runs: that it waits for a lock of another program, and how far its
//! statement has come. Whoever listens to nothing costs a look at a flag where the engine asks whether to stop.

use crate::clock::now_ns;
use crate::engine::callbacks::INSTRUCTIONS_PER_LOOK;
use crate::feed::{Hub, Subscription};
use parking_lot::Mutex;
use port_driver::event::{self, Busy};
use port_driver::request::{EVENT_BUSY, EVENT_PROGRESS};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The reports of one connection. Its lock is never waited for: all is called on the thread that runs the connection.
pub struct Reports {
    connection: u32,
    hub: Arc<Hub>,
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    database: String,
    busy: Vec<Arc<Subscription>>,
    progress: Vec<(Arc<Subscription>, u64)>,
    began_ns: u64,
    looks: u64,
    waiting: Option<Waiting>,
}

/// A wait for a lock: of which request, since when, and when it was last looked for.
#[derive(Clone, Copy)]
struct Waiting {
    request: u32,
    since_ns: u64,
    until_ns: u64,
}

impl Reports {
    /// Nobody listens.
    pub fn new(connection: u32, hub: Arc<Hub>) -> Self {
        Reports { connection, hub, on: AtomicBool::new(false), state: Mutex::default() }
    }

    /// These listen from now on, those of them who want to hear of it.
    pub fn listen(&self, database: &str, listeners: &[Arc<Subscription>]) {
        let wanting =
            |event: u8| listeners.iter().filter(move |listener| listener.wants(event)).map(Arc::clone);
        let mut state = self.state.lock();
        let now_ns = now_ns();
        let known = std::mem::take(&mut state.progress);
        // One that is known goes on at its pace.
        let next_ns = |listener: &Arc<Subscription>| {
            let known = known.iter().find(|(known, _)| known.id == listener.id);
            known.map_or(now_ns + listener.progress_interval_ns, |(_, next_ns)| *next_ns)
        };
        state.busy = wanting(EVENT_BUSY).collect();
        state.progress =
            wanting(EVENT_PROGRESS).map(|listener| (Arc::clone(&listener), next_ns(&listener))).collect();
        database.clone_into(&mut state.database);
        self.on.store(!state.busy.is_empty() || !state.progress.is_empty(), Ordering::Relaxed);
    }

    #[inline]
    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// A request begins.
    #[inline]
    pub fn begin(&self) {
        if self.is_on() {
            self.begin_now();
        }
    }

    #[cold]
    fn begin_now(&self) {
        let mut state = self.state.lock();
        (state.began_ns, state.looks) = (now_ns(), 0);
        let began_ns = state.began_ns;
        state
            .progress
            .iter_mut()
            .for_each(|(listener, next_ns)| *next_ns = began_ns + listener.progress_interval_ns);
    }

    /// It has ended.
    #[inline]
    pub fn end(&self) {
        if self.is_on() {
            self.got(&mut self.state.lock());
        }
    }

    /// The engine asks whether `request` has to stop.
    #[inline]
    pub fn look(&self, request: u32, now_ns: u64) {
        if self.is_on() {
            self.look_now(request, now_ns);
        }
    }

    #[cold]
    fn look_now(&self, request: u32, now_ns: u64) {
        let mut state = self.state.lock();
        self.got(&mut state);
        state.looks += 1;
        let State { database, progress, began_ns, looks, .. } = &mut *state;
        let run_ms = now_ns.saturating_sub(*began_ns) / 1_000_000;
        let steps = *looks * u64::try_from(INSTRUCTIONS_PER_LOOK).unwrap_or(0);
        for (listener, next_ns) in progress.iter_mut().filter(|(_, next_ns)| now_ns >= *next_ns) {
            *next_ns = now_ns + listener.progress_interval_ns;
            self.hub.tell_now(listener, |out| {
                event::progress(out, listener.id, database, self.connection, request, run_ms, steps);
            });
        }
    }

    /// Runs `wait`, which sleeps between two looks at a lock and gives false if there is to be no other. `tries` counts from 0.
    #[inline]
    pub fn wait(&self, request: u32, tries: u32, wait: impl FnOnce() -> bool) -> bool {
        if !self.is_on() {
            return wait();
        }
        let mut state = self.state.lock();
        if tries == 0 || state.waiting.is_none() {
            self.got(&mut state);
            let since_ns = now_ns();
            state.waiting = Some(Waiting { request, since_ns, until_ns: since_ns });
            self.tell(&state, Busy::Began);
        }
        drop(state);
        let again = wait();
        let mut state = self.state.lock();
        if let Some(waiting) = &mut state.waiting {
            waiting.until_ns = now_ns();
        }
        if !again {
            self.tell(&state, Busy::GaveUp);
            state.waiting = None;
        }
        again
    }

    /// The engine goes on: what it may have waited for is there.
    fn got(&self, state: &mut State) {
        if state.waiting.is_some() {
            self.tell(state, Busy::Got);
            state.waiting = None;
        }
    }

    fn tell(&self, state: &State, busy: Busy) {
        let Some(waiting) = state.waiting else { return };
        let waited_us = waiting.until_ns.saturating_sub(waiting.since_ns) / 1000;
        for listener in &state.busy {
            self.hub.tell_now(listener, |out| {
                let request = waiting.request;
                event::busy(out, listener.id, &state.database, self.connection, request, busy, waited_us);
            });
        }
    }
}
