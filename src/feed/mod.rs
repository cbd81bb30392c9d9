//! Who is told of what commits change: the subscriptions of the program, and how much of what they are told may be under way.
//!
//! Connections ask for those that concern their files ([`Hub::listeners`]) and hand over what they are to be told; the router
//! adds, ends and credits them. Nobody waits here: events are posted, and a subscriber that does not take them is told later
//! which ones it has missed. Knows no rows and no tables; `local/feed` makes the bodies.

mod events;
mod subscription;

pub use events::Events;
pub use subscription::{Filter, Scope, Subscription, Terms, PRIVATE};

use crate::limits::SUBSCRIPTIONS_MAX;
use port_driver::event::Hook;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// The subscriptions of the program.
pub struct Hub {
    out: Arc<dyn Events>,
    /// Moves whenever a subscription comes or goes: what a connection compares before and after each statement.
    generation: AtomicU64,
    sequence: AtomicU64,
    state: parking_lot::Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u32,
    by_id: BTreeMap<u32, Arc<Subscription>>,
}

/// Those who listen to one database.
#[derive(Default, Clone)]
pub struct Listeners(pub Vec<Arc<Subscription>>);

/// What the hub knew at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// As [`Hub::generation`].
    pub generation: u64,
    /// The youngest subscription that there has been.
    pub last_id: u32,
}

impl Hub {
    /// Nobody listens; events go to `out`.
    pub fn new(out: Arc<dyn Events>) -> Self {
        Hub { out, generation: AtomicU64::new(0), sequence: AtomicU64::new(0), state: Default::default() }
    }

    /// The number that moves whenever a subscription comes or goes.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Generation and youngest id of the same moment.
    pub fn known(&self) -> Known {
        let state = self.state.lock();
        Known { generation: self.generation(), last_id: state.last_id }
    }

    /// The next transaction's number. Taken in the writer turn of its file, so the numbers of a file grow as it commits.
    pub fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The number of the last transaction that was told to anybody.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// Adds a subscription, from now on: what commits after this is told. `None` if there are too many.
    pub fn subscribe(&self, scope: Scope, filter: Filter, terms: Terms) -> Option<Arc<Subscription>> {
        let mut state = self.state.lock();
        if state.by_id.len() >= SUBSCRIPTIONS_MAX {
            return None;
        }
        // Not used again: whoever was told of an ended one does not take its events for another's.
        state.last_id += 1;
        let id = state.last_id;
        let subscription = Arc::new(Subscription::new(id, scope, filter, terms));
        state.by_id.insert(id, Arc::clone(&subscription));
        self.generation.fetch_add(1, Ordering::AcqRel);
        Some(subscription)
    }

    /// Ends a subscription: when this returns, nothing more is posted for it. False if there is none.
    pub fn unsubscribe(&self, id: u32) -> bool {
        let mut state = self.state.lock();
        let Some(subscription) = state.by_id.remove(&id) else { return false };
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(state);
        subscription.end();
        true
    }

    /// The client has taken so many bytes of a subscription's events.
    pub fn credit(&self, id: u32, bytes: u32) {
        let subscription = self.state.lock().by_id.get(&id).map(Arc::clone);
        if let Some(subscription) = subscription {
            subscription.credit(bytes, &*self.out);
        }
    }

    /// Those who listen to the database `name`, the main one of `connection` if it is a private one.
    pub fn listeners(&self, name: &str, connection: u32) -> Listeners {
        let state = self.state.lock();
        let those = state.by_id.values().filter(|subscription| subscription.concerns(name, connection));
        Listeners(those.map(Arc::clone).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state.lock().by_id.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells `subscription` of transaction `sequence` of `database`, unless it has to be told later that it missed it.
    /// `body` is not called then.
    pub fn tell(
        &self,
        subscription: &Subscription,
        database: &str,
        sequence: u64,
        body: impl FnOnce() -> Option<Vec<u8>>,
    ) {
        subscription.tell(database, sequence, body, &*self.out);
    }

    /// Tells `subscription` of a commit, a rollback or the WAL.
    pub fn tell_hook(
        &self,
        subscription: &Subscription,
        database: &str,
        schema: &str,
        connection: u32,
        hook: Hook,
    ) {
        subscription.tell_hook(database, schema, connection, self.sequence(), hook, &*self.out);
    }

    /// Tells the client, whoever listens.
    pub fn post(&self, frames: &mut Vec<u8>) {
        self.out.post(frames);
    }

    /// Tells `subscription` something of the moment: what `write` writes, or nothing if there is no room for it.
    pub fn tell_now(&self, subscription: &Subscription, write: impl FnOnce(&mut Vec<u8>)) {
        subscription.tell_now(write, &*self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use port_driver::request::{Values, EVENT_CHANGES};

    #[derive(Default)]
    struct Posted(Mutex<Vec<Vec<u8>>>);

    impl Events for Posted {
        fn post(&self, frames: &mut Vec<u8>) {
            self.0.lock().push(std::mem::take(frames));
        }
    }

    impl Posted {
        fn tags(&self) -> Vec<u8> {
            self.0.lock().drain(..).map(|frame| frame[13]).collect()
        }
    }

    fn hub() -> (Arc<Posted>, Hub) {
        let posted = Arc::new(Posted::default());
        (Arc::clone(&posted), Hub::new(posted))
    }

    fn terms(bytes_max: u32) -> Terms {
        Terms { events: EVENT_CHANGES, progress_interval_ms: 1000, bytes_max }
    }

    fn subscribe(hub: &Hub, scope: Scope, bytes_max: u32) -> Arc<Subscription> {
        let filter = Filter {
            tables: None,
            operations: 7,
            values: Values::None,
            columns: None,
            changed_columns: None,
            keepers: false,
        };
        hub.subscribe(scope, filter, terms(bytes_max)).unwrap()
    }

    fn tell(hub: &Hub, subscription: &Subscription, bytes: usize) -> u64 {
        let sequence = hub.next_sequence();
        hub.tell(subscription, "/a.db", sequence, || Some(vec![0; bytes]));
        sequence
    }

    #[test]
    fn a_subscriber_listens_to_what_it_asked_for() {
        let (_, hub) = hub();
        subscribe(&hub, Scope::All, 1);
        subscribe(&hub, Scope::Named("/a.db".to_owned()), 1);
        subscribe(&hub, Scope::Private(7), 1);
        let ids = |name, connection| -> Vec<u32> {
            hub.listeners(name, connection).0.iter().map(|subscription| subscription.id).collect()
        };
        assert_eq!(ids("/a.db", 7), [1, 2]);
        assert_eq!(ids("/b.db", 7), [1]);
        assert_eq!(ids(":memory:", 7), [1, 3]);
        assert_eq!(ids(":memory:", 8), [1]);
    }

    #[test]
    fn who_falls_behind_is_told_what_it_missed_before_anything_else() {
        let (posted, hub) = hub();
        let subscription = subscribe(&hub, Scope::All, 100);
        // Whatever its size, the first one goes.
        tell(&hub, &subscription, 1000);
        let from = tell(&hub, &subscription, 1);
        let to = tell(&hub, &subscription, 1);
        assert_eq!(posted.tags(), [101]);
        hub.credit(subscription.id, 900);
        assert_eq!(posted.tags(), [0; 0], "not before half of the room is there again");
        hub.credit(subscription.id, 200);
        let frame = posted.0.lock().pop().unwrap();
        let lagged = [102, 104, 4, 98, 0, 0, 0, 1, 109, 0, 0, 0, 5];
        assert_eq!(frame[13..26], lagged);
        assert_eq!(frame[26..], [&b"/a.db"[..], &[97, from as u8, 97, to as u8]].concat());
        tell(&hub, &subscription, 1);
        assert_eq!(posted.tags(), [101]);
    }

    /// A client gives credit for what it has taken a part of the room at a time, not for each event.
    #[test]
    fn who_has_taken_all_but_not_told_so_yet_is_told_of_a_large_one_and_of_what_follows() {
        let (posted, hub) = hub();
        let subscription = subscribe(&hub, Scope::All, 100);
        tell(&hub, &subscription, 50);
        tell(&hub, &subscription, 90);
        assert_eq!(posted.tags(), [101, 101]);
        tell(&hub, &subscription, 1);
        assert_eq!(posted.tags(), [0; 0]);
        hub.credit(subscription.id, 140);
        assert_eq!(posted.tags(), [102]);
        tell(&hub, &subscription, 1);
        assert_eq!(posted.tags(), [101]);
    }

    #[test]
    fn an_ended_one_is_told_nothing() {
        let (posted, hub) = hub();
        let subscription = subscribe(&hub, Scope::All, 100);
        let before = hub.generation();
        assert!(hub.unsubscribe(subscription.id) && !hub.unsubscribe(subscription.id));
        assert_ne!(hub.generation(), before);
        tell(&hub, &subscription, 1);
        assert_eq!(posted.tags(), [0; 0]);
    }

    #[test]
    fn no_more_than_the_limit() {
        let (_, hub) = hub();
        (0..SUBSCRIPTIONS_MAX).for_each(|_| drop(subscribe(&hub, Scope::All, 1)));
        let filter = Filter {
            tables: None,
            operations: 7,
            values: Values::None,
            columns: None,
            changed_columns: None,
            keepers: false,
        };
        assert!(hub.subscribe(Scope::All, filter, terms(1)).is_none());
        assert!(hub.unsubscribe(1));
        subscribe(&hub, Scope::All, 1);
    }
}
