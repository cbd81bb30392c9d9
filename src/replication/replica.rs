//! A replica as its connections see it, and what its task shares with them.

use super::failure::{Cause, Failure};
use super::index::Index;
use super::progress::{Frames, Progress};
use crate::network::connector::Connector;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{watch, Notify};
use tokio::time::Instant;

/// Where a replica's data come from.
pub struct Source {
    /// The server: scheme, host and port.
    pub origin: String,
    /// Which of its databases.
    pub namespace: String,
    /// How it is reached.
    pub connector: Connector,
    /// How long the server may be silent in the midst of a sync.
    pub silence: Duration,
}

impl Source {
    /// The same database, whichever way it is reached.
    pub fn is_that_of(&self, other: &Source) -> bool {
        (&self.origin, &self.namespace) == (&other.origin, &other.namespace)
    }
}

/// A sync that has been asked for: a later one has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// How the syncs have gone.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Up to this ticket all have ended.
    served: u64,
    /// Up to this one the file has what its server had when it was asked for.
    good: u64,
    /// When the last successful one began: from then on the file may be behind.
    pub fresh: Option<Instant>,
    /// The last frame that the server had at the last handshake.
    pub primary: Option<u64>,
    /// Why the last one failed, if it did.
    pub failure: Option<Failure>,
}

/// What a replica's connections and its task share.
pub struct Shared {
    /// The file.
    pub path: PathBuf,
    /// Its server.
    pub source: Source,
    /// How far the sync that runs has come.
    pub progress: Progress,
    token: Mutex<Option<Arc<str>>>,
    logs: AtomicU64,
    pub(super) wishes: Mutex<Wishes>,
    pub(super) wished: Notify,
    outcome: watch::Sender<Outcome>,
}

/// What the connections want of the task.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wishes {
    pub wanted: u64,
    pub users: u32,
    pub interval: Duration,
}

/// What its task has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Sync, for everybody up to this ticket.
    Sync(u64),
    /// Nobody uses the replica.
    End,
}

impl Shared {
    pub(super) fn new(path: PathBuf, source: Source, progress: Progress) -> Self {
        Shared {
            path,
            source,
            progress,
            token: Mutex::default(),
            logs: AtomicU64::new(0),
            wishes: Mutex::default(),
            wished: Notify::new(),
            outcome: watch::channel(Outcome::default()).0,
        }
    }

    /// The token that calls are made with.
    pub fn token(&self) -> Option<Arc<str>> {
        self.token.lock().clone()
    }

    /// From now on calls are made with this one.
    pub fn set_token(&self, token: &str) {
        *self.token.lock() = Some(Arc::from(token));
    }

    /// The file holds another log's data from here on.
    pub(super) fn log_changed(&self) {
        self.logs.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that moves when the file gets the data of another log.
    #[inline]
    pub fn logs(&self) -> u64 {
        self.logs.load(Ordering::Acquire)
    }

    /// Asks for a sync that begins after this. Whoever waits for one that is under way, or for an earlier one, does not wait for
    /// this.
    pub fn want_sync(&self) -> Ticket {
        let mut wishes = self.wishes.lock();
        wishes.wanted += 1;
        self.wished.notify_one();
        Ticket(wishes.wanted)
    }

    /// Waits until the sync of `ticket` has ended. Giving up this wait does nothing to the sync.
    pub async fn synced(&self, ticket: Ticket) -> Result<(), Failure> {
        let mut outcome = self.outcome.subscribe();
        let ended = outcome.wait_for(|outcome| outcome.served >= ticket.0).await;
        match ended {
            Ok(outcome) if outcome.good >= ticket.0 => Ok(()),
            Ok(outcome) => Err(outcome.failure.clone().unwrap_or_else(ended_early)),
            Err(_) => Err(ended_early()),
        }
    }

    /// True once a sync that was asked for with `ticket`, or later, has brought the file up to its server.
    pub fn is_synced(&self, ticket: Ticket) -> bool {
        self.outcome.borrow().good >= ticket.0
    }

    /// How the syncs have gone so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }

    /// Where the file is.
    pub fn index(&self) -> Option<Index> {
        Index::read(&self.path)
    }

    /// What the sync that runs has done.
    pub fn running(&self) -> Option<Frames> {
        self.progress.running()
    }

    /// The file has something to read: a state that its server once had.
    pub fn has_data(&self) -> bool {
        self.outcome.borrow().fresh.is_some() || self.index().is_some_and(|index| index.frame.is_some())
    }

    /// What is to be done after everything up to `served`, the last of which ended at `ended`.
    pub(super) async fn next(&self, served: u64, ended: Instant) -> Next {
        loop {
            let wishes = *self.wishes.lock();
            if wishes.users == 0 {
                return Next::End;
            }
            if wishes.wanted > served {
                return Next::Sync(wishes.wanted);
            }
            if wishes.interval.is_zero() {
                self.wished.notified().await;
                continue;
            }
            tokio::select! {
                () = self.wished.notified() => {}
                () = tokio::time::sleep_until(ended + wishes.interval) => {
                    self.want_sync();
                }
            }
        }
    }

    pub(super) fn ended(&self, ticket: u64, began: Instant, primary: Option<u64>, failure: Option<Failure>) {
        self.outcome.send_modify(|outcome| {
            outcome.served = ticket;
            if failure.is_none() {
                outcome.good = ticket;
                outcome.fresh = Some(began);
            }
            outcome.primary = primary.or(outcome.primary);
            outcome.failure = failure;
        });
    }
}

fn ended_early() -> Failure {
    Failure::new(Cause::Bug, "the replicator has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{Events, Hub};
    use crate::network::proxy::Proxies;
    use crate::network::transport::Transport;

    struct NoEvents;

    impl Events for NoEvents {
        fn post(&self, _frames: &mut Vec<u8>) {}
    }

    fn connector() -> Connector {
        let transport = Transport { proxy: Some(String::new()), ..Transport::of_a_test() };
        Connector::new(&transport, Proxies::from_environment()).unwrap()
    }

    fn shared() -> Arc<Shared> {
        let source = Source {
            origin: "http://127.0.0.1:1".to_owned(),
            namespace: "default".to_owned(),
            connector: connector(),
            silence: Duration::from_secs(1),
        };
        let progress = Progress::new("a.db".to_owned(), Arc::new(Hub::new(Arc::new(NoEvents))));
        let shared = Shared::new(PathBuf::from("a.db"), source, progress);
        shared.wishes.lock().users = 1;
        Arc::new(shared)
    }

    fn failure() -> Option<Failure> {
        Some(Failure::new(Cause::Unavailable, "gone"))
    }

    #[tokio::test]
    async fn a_sync_serves_those_who_asked_before_it_began() {
        let shared = shared();
        let (first, second) = (shared.want_sync(), shared.want_sync());
        let began = Instant::now();
        let Next::Sync(upto) = shared.next(0, began).await else { panic!("nothing to do") };
        let late = shared.want_sync();
        shared.ended(upto, began, Some(3), None);
        shared.synced(first).await.unwrap();
        shared.synced(second).await.unwrap();
        assert!(!shared.is_synced(late));
        let waiting = tokio::time::timeout(Duration::from_millis(10), shared.synced(late)).await;
        assert!(waiting.is_err(), "it has not begun yet");
        assert_eq!(shared.next(upto, began).await, Next::Sync(late.0));
        shared.ended(late.0, began, None, failure());
        assert_eq!(shared.synced(late).await.unwrap_err().cause, Cause::Unavailable);
        shared.synced(first).await.unwrap();
        assert_eq!(shared.outcome().primary, Some(3));
    }

    #[tokio::test]
    async fn a_replica_that_nobody_uses_ends_after_what_was_asked_for() {
        let shared = shared();
        shared.wishes.lock().users = 0;
        assert_eq!(shared.next(0, Instant::now()).await, Next::End);
    }

    #[tokio::test]
    async fn an_interval_counts_from_the_end_of_the_last_one() {
        let shared = shared();
        shared.wishes.lock().interval = Duration::from_millis(50);
        let began = Instant::now();
        assert_eq!(shared.next(0, began).await, Next::Sync(1));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
