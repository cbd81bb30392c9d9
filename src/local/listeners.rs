//! Who listens to what a connection may change, looked up before a statement, and what they are told after it.

use super::access::Access;
use super::feed::body::{self, Origin, Resync};
use super::feed::log::Gap;
use super::feed::recorder::{Database, State};
use super::watch::CommitGate;
use crate::client_hooks::Hooks;
use crate::database::DatabaseFile;
use crate::engine::preupdate::ChangeWatch;
use crate::feed::{Listeners, Subscription};
use crate::run::Place;
use port_driver::event::Hook;
use port_driver::request::{EVENT_CHANGES, EVENT_COMMIT, EVENT_ROLLBACK, EVENT_WAL};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// Changes of a transaction that take no more bytes than this are told before the reply to the request that commits it.
const TOLD_BEFORE_REPLY: usize = 64 << 10;

impl Access {
    /// Before a statement: who listens to what it may change?
    #[inline]
    pub(super) fn look_for_listeners(&mut self) {
        if self.feed.is_outdated() {
            self.refresh_listeners();
        }
    }

    /// Other subscriptions, or other databases.
    #[cold]
    pub(super) fn refresh_listeners(&mut self) {
        // Those who listened when it was written.
        self.tell_if_due();
        // Before the listeners: who comes meanwhile is found by the next look.
        let known = self.feed.hub.known();
        let databases = self.databases();
        let any = |event: u8| {
            let wants = |listener: &Arc<Subscription>| listener.wants(event);
            databases.iter().any(|database| database.listeners.0.iter().any(wants))
        };
        let changes = any(EVENT_CHANGES);
        self.feed.hooks = any(EVENT_COMMIT | EVENT_ROLLBACK | EVENT_WAL);
        self.watch.note_wal(any(EVENT_WAL));
        if let Some(main) = databases.first() {
            self.watch.reports.listen(&main.name, &main.listeners.0);
        }
        let listening = changes || self.feed.hooks;
        self.feed.recorder.state().listen(only_changes(&databases));
        if listening != self.feed.listening {
            let watch = listening.then(|| Arc::clone(&self.feed.recorder) as Arc<dyn ChangeWatch>);
            self.handle.watch_changes(watch);
            if !listening {
                self.feed.recorder.state().clear();
            }
            self.feed.listening = listening;
        }
        if self.handle.holds_write_lock() {
            self.feed.joined |= known.last_id > self.feed.complete_to;
        } else {
            self.feed.complete_to = known.last_id;
        }
        self.feed.seen = known;
    }

    /// These hooks decide about commits from now on.
    #[cold]
    pub(super) fn set_commit_hooks(&mut self, shared: &Hooks, own: &Hooks) {
        self.commit_hooks.set(shared, own);
        let gate: Arc<dyn CommitGate> = Arc::clone(&self.commit_hooks) as Arc<dyn CommitGate>;
        self.watch.set_gate((!self.commit_hooks.wants().is_empty()).then(|| Arc::downgrade(&gate)));
        self.refresh_listeners();
        if self.handle.holds_write_lock() {
            self.feed.recorder.state().hooks_joined = true;
        }
    }

    fn databases(&self) -> Vec<Database> {
        let schemas: Vec<_> = (0..).map_while(|index| self.handle.schema_name(index)).collect();
        let hooks = self.commit_hooks.wants();
        let database = |(schema, file): (&str, &Arc<DatabaseFile>)| {
            let index = schemas.iter().position(|name| name == schema)?;
            let mut listeners = self.feed.hub.listeners(&file.name, self.id);
            listeners.0.extend(hooks.iter().map(Arc::clone));
            Some(Database {
                index: i32::try_from(index).ok()?,
                schema: schema.to_owned(),
                name: file.name.clone(),
                listeners,
            })
        };
        self.turns.files().filter_map(database).collect()
    }

    /// After a statement, in the writer turn: tells what has been committed.
    #[inline]
    pub(super) fn tell_listeners(&mut self) {
        let committed = self.watch.take_may_have_committed();
        if self.feed.listening || self.feed.joined || committed && self.feed.is_outdated() {
            if self.tells_later() {
                self.telling_due = Some(committed);
            } else {
                self.tell_listeners_now(committed);
            }
        }
    }

    /// What is long would hold up the reply, and a transaction that is over keeps its turn until it has been told. The thread
    /// that reads requests does nothing after a reply.
    fn tells_later(&self) -> bool {
        matches!(self.place, Some(Place::Thread))
            && self.turns.is_held()
            && self.writing_cursors == 0
            && self.handle.autocommit()
            && !self.handle.holds_write_lock()
            && self.feed.recorder.state().log.size() > TOLD_BEFORE_REPLY
    }

    /// Tells what was put off.
    #[inline]
    pub(super) fn tell_if_due(&mut self) {
        if let Some(committed) = self.telling_due.take() {
            self.tell_listeners_now(committed);
        }
    }

    fn tell_listeners_now(&mut self, committed: bool) {
        if self.handle.holds_write_lock() {
            if committed {
                // A commit that waits for the last statement, or that failed and may be tried again.
                self.watch.keep_may_have_committed();
            }
            return;
        }
        let recorder = Arc::clone(&self.feed.recorder);
        let mut state = recorder.state();
        if std::mem::replace(&mut self.feed.telling, true) {
            // Who was told before the panic, and who was not, is not known.
            state.log.give_up(Gap::Unreadable);
        }
        let outdated = self.feed.is_outdated();
        if !state.log.is_empty() || committed && (outdated || self.feed.joined) {
            let databases =
                if outdated { only_changes(&self.databases()) } else { state.databases().to_vec() };
            databases.iter().for_each(|database| self.tell_changes(database, &state));
        }
        if self.feed.hooks {
            self.tell_hooks(committed, state.rolled_back);
        }
        state.clear();
        self.feed.telling = false;
        self.feed.joined = false;
        if !outdated {
            self.feed.complete_to = self.feed.seen.last_id;
        }
    }

    /// The connection ends: what was committed and could not be told before is told now. A panic on the way makes the second try
    /// one that needs nothing of the transaction.
    pub(super) fn tell_what_is_left(&mut self) {
        let is_left = |access: &Self| access.feed.telling || !access.feed.recorder.state().log.is_empty();
        for _ in 0..2 {
            if !is_left(self) {
                break;
            }
            self.telling_due = None;
            let told = catch_unwind(AssertUnwindSafe(|| self.tell_listeners_now(true)));
            if told.is_ok() {
                break;
            }
            tracing::error!(connection = self.id, "a panic while telling what was committed");
        }
    }

    fn tell_changes(&self, database: &Database, state: &State) {
        let hub = &self.feed.hub;
        let has_changes = state.log.gap().is_some()
            || state.log.entries().iter().any(|entry| entry.database == database.index);
        let old = |listener: &Subscription| listener.id <= self.feed.complete_to;
        let concerned = |listener: &&Arc<Subscription>| listener.is_told() && (has_changes || !old(listener));
        let listeners: Vec<_> = database.listeners.0.iter().filter(concerned).collect();
        if listeners.is_empty() {
            return;
        }
        let sequence = hub.next_sequence();
        let origin = Origin {
            database: &database.name,
            schema: &database.schema,
            index: database.index,
            connection: self.id,
            sequence,
        };
        for listener in listeners {
            hub.tell(listener, &database.name, sequence, || {
                if !old(listener) {
                    return Some(body::resync(origin, Resync::Joined));
                }
                match state.log.gap() {
                    Some(gap) => Some(body::resync(origin, Resync::Gap(gap))),
                    None => body::changes(origin, &state.log, &state.plans, listener),
                }
            });
        }
    }

    fn tell_hooks(&self, committed: bool, rolled_back: bool) {
        let tell = |database: &Database, event: u8, hook: Hook| {
            let those = database.listeners.0.iter().filter(|listener| listener.wants(event));
            for listener in those {
                self.feed.hub.tell_hook(listener, &database.name, &database.schema, self.id, hook);
            }
        };
        let wal = self.watch.take_wal_notes();
        for database in self.databases() {
            if rolled_back && database.index == 0 {
                tell(&database, EVENT_ROLLBACK, Hook::Rollback);
            }
            if committed && !rolled_back && database.index == 0 {
                tell(&database, EVENT_COMMIT, Hook::Commit);
            }
            for (_, pages) in wal.iter().filter(|(schema, _)| *schema == database.schema) {
                tell(&database, EVENT_WAL, Hook::Wal(*pages));
            }
        }
    }
}

/// The databases with those alone who listen to changes.
fn only_changes(databases: &[Database]) -> Vec<Database> {
    let only = |database: &Database| {
        let wants = |listener: &&Arc<Subscription>| listener.wants(EVENT_CHANGES);
        let listeners = database.listeners.0.iter().filter(wants).map(Arc::clone).collect();
        Database { listeners: Listeners(listeners), ..database.clone() }
    };
    databases.iter().map(only).collect()
}
