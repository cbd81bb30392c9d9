//! How far a sync has come, and who is told of it.

use super::failure::Failure;
use crate::clock::now_ns;
use crate::feed::Hub;
use parking_lot::Mutex;
use port_driver::event;
use port_driver::request::{EVENT_FREEZE, EVENT_SYNC};
use std::sync::Arc;

/// How often listeners are told while a sync runs.
const TELL_NS: u64 = 100_000_000;

/// What a sync has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frames {
    /// Frames that have come.
    pub done: u64,
    /// Frames that the server had when the sync began and this file had not. A snapshot has fewer: each page once.
    pub known: u64,
}

/// The progress of the syncs of one file.
pub struct Progress {
    database: String,
    hub: Arc<Hub>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: Frames,
    running: bool,
    told_ns: u64,
    told: Frames,
}

impl Progress {
    /// Nothing runs. `database` is what listeners know the file as.
    pub fn new(database: String, hub: Arc<Hub>) -> Self {
        Progress { database, hub, state: Mutex::default() }
    }

    /// A sync begins.
    pub fn begin(&self) {
        *self.state.lock() = State { running: true, told_ns: now_ns(), ..State::default() };
    }

    /// The server has so many frames that this file has not, as of now.
    pub fn know(&self, missing: u64) {
        let mut state = self.state.lock();
        state.frames.known = state.frames.done + missing;
    }

    /// So many have come.
    pub fn came(&self, frames: u64) {
        let mut state = self.state.lock();
        state.frames.done += frames;
        let now_ns = now_ns();
        if now_ns >= state.told_ns + TELL_NS {
            state.told_ns = now_ns;
            self.tell(&mut state);
        }
    }

    /// The sync has ended.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.running = false;
        if state.frames != state.told {
            self.tell(&mut state);
        }
    }

    /// What the sync that runs has done.
    pub fn running(&self) -> Option<Frames> {
        let state = self.state.lock();
        state.running.then_some(state.frames)
    }

    /// Its syncs fail from now on, for this reason, or succeed again.
    pub fn turned(&self, failure: Option<&Failure>) {
        let failure = failure.map(|failure| (failure.cause.code(), failure.message.as_str()));
        let mut frame = Vec::new();
        event::replica(&mut frame, &self.database, failure);
        self.hub.post(&mut frame);
    }

    /// So many pages of it are copied into a database of its own.
    pub fn frozen(&self, done: u64, known: u64) {
        let listeners = self.hub.listeners(&self.database, 0).0;
        for listener in listeners.iter().filter(|listener| listener.wants(EVENT_FREEZE)) {
            self.hub.tell_now(listener, |out| event::freeze(out, listener.id, &self.database, done, known));
        }
    }

    fn tell(&self, state: &mut State) {
        state.told = state.frames;
        let Frames { done, known } = state.frames;
        let listeners = self.hub.listeners(&self.database, 0).0;
        for listener in listeners.iter().filter(|listener| listener.wants(EVENT_SYNC)) {
            self.hub.tell_now(listener, |out| event::sync(out, listener.id, &self.database, done, known));
        }
    }
}
