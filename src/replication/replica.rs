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
    /// Where the file was when it was looked at last: at the opening, or at the end of a sync.
    pub index: Option<Index>,
    /// A frame up to which the file has all that this program had committed on the server by then.
    pub written: Option<Index>,
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
    // The same as in `outcome`, without its lock.
    good: AtomicU64,
    written: AtomicU64,
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

/// How soon a sync that has failed is tried again while the file lacks what was written: doubled up to the second.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The sync that has ended last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    /// Up to this ticket all have ended.
    pub ticket: u64,
    /// When it did.
    pub ended: Instant,
    /// How many have failed since one has succeeded.
    pub failures: u32,
}

impl Last {
    /// How long after it the next one begins by itself, if it does.
    fn pause(&self, interval: Duration, lacks: bool) -> Option<Duration> {
        let of_interval = Some(interval).filter(|interval| !interval.is_zero());
        let of_retry = (lacks && self.failures > 0).then(|| {
            let doubled = 2_u32.saturating_pow(self.failures - 1);
            RETRY_PAUSE_MIN.saturating_mul(doubled).min(RETRY_PAUSE_MAX)
        });
        of_interval.into_iter().chain(of_retry).min()
    }
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
        let index = Index::read(&path);
        Shared {
            path,
            source,
            progress,
            token: Mutex::default(),
            logs: AtomicU64::new(0),
            good: AtomicU64::new(0),
            written: AtomicU64::new(0),
            wishes: Mutex::default(),
            wished: Notify::new(),
            outcome: watch::channel(Outcome { index, ..Outcome::default() }).0,
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

    /// Something was committed on the server before `ticket` was given: the file has it once that sync has succeeded.
    pub fn written(&self, ticket: Ticket) {
        self.written.fetch_max(ticket.0, Ordering::AcqRel);
    }

    /// The sync that brings what this program has committed on the server last, until it has succeeded. Of all connections, because what
    /// one has written is read by another: whoever takes them from a pool does not know which one it has.
    #[inline]
    pub fn unseen(&self) -> Option<Ticket> {
        let written = self.written.load(Ordering::Acquire);
        (written > self.good.load(Ordering::Acquire)).then_some(Ticket(written))
    }

    /// The sync of `ticket`, or a later one, has ended, whichever way.
    pub fn has_ended(&self, ticket: Ticket) -> bool {
        self.outcome.borrow().served >= ticket.0
    }

    /// How the syncs have gone so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome.borrow().clone()
    }

    /// How long ago the last successful sync of this program began; `None` before that. The file may be behind by as much, and by no more.
    pub fn age(&self) -> Option<Duration> {
        self.outcome.borrow().fresh.map(|fresh| fresh.elapsed())
    }

    /// Where the file is, as of the last sync.
    pub fn index(&self) -> Option<Index> {
        self.outcome.borrow().index
    }

    /// What the sync that runs has done.
    pub fn running(&self) -> Option<Frames> {
        self.progress.running()
    }

    /// The file has something to read: a state that its server once had.
    pub fn has_data(&self) -> bool {
        self.outcome.borrow().fresh.is_some() || self.index().is_some_and(|index| index.frame.is_some())
    }

    /// What is to be done after `last`.
    pub(super) async fn next(&self, last: Last) -> Next {
        loop {
            let wishes = *self.wishes.lock();
            if wishes.users == 0 {
                return Next::End;
            }
            if wishes.wanted > last.ticket {
                return Next::Sync(wishes.wanted);
            }
            let Some(pause) = last.pause(wishes.interval, self.unseen().is_some()) else {
                self.wished.notified().await;
                continue;
            };
            tokio::select! {
                () = self.wished.notified() => {}
                () = tokio::time::sleep_until(last.ended + pause) => {
                    self.want_sync();
                }
            }
        }
    }

    /// The syncs up to `ticket` have ended. True if the last one before has ended otherwise: by a failure, or without.
    pub(super) fn ended(
        &self,
        ticket: u64,
        began: Instant,
        primary: Option<u64>,
        failure: Option<Failure>,
    ) -> bool {
        let index = Index::read(&self.path);
        let mut written = None;
        if failure.is_none() {
            if self.unseen().is_some_and(|unseen| unseen.0 <= ticket) {
                written = index;
            }
            self.good.store(ticket, Ordering::Release);
        }
        let mut turned = false;
        self.outcome.send_modify(|outcome| {
            turned = outcome.failure.is_some() != failure.is_some();
            outcome.served = ticket;
            if failure.is_none() {
                outcome.good = ticket;
                outcome.fresh = Some(began);
            }
            outcome.primary = primary.or(outcome.primary);
            outcome.index = index;
            outcome.written = written.or(outcome.written);
            outcome.failure = failure;
        });
        turned
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

    fn last(ticket: u64, ended: Instant) -> Last {
        Last { ticket, ended, failures: 0 }
    }

    fn failure() -> Option<Failure> {
        Some(Failure::new(Cause::Unavailable, "gone"))
    }

    #[tokio::test]
    async fn a_sync_serves_those_who_asked_before_it_began() {
        let shared = shared();
        let (first, second) = (shared.want_sync(), shared.want_sync());
        let began = Instant::now();
        let Next::Sync(upto) = shared.next(last(0, began)).await else { panic!("nothing to do") };
        let late = shared.want_sync();
        shared.ended(upto, began, Some(3), None);
        shared.synced(first).await.unwrap();
        shared.synced(second).await.unwrap();
        shared.written(late);
        assert_eq!(shared.unseen(), Some(late));
        let waiting = tokio::time::timeout(Duration::from_millis(10), shared.synced(late)).await;
        assert!(waiting.is_err(), "it has not begun yet");
        assert_eq!(shared.next(last(upto, began)).await, Next::Sync(late.0));
        shared.ended(late.0, began, None, failure());
        assert_eq!(shared.synced(late).await.unwrap_err().cause, Cause::Unavailable);
        shared.synced(first).await.unwrap();
        assert_eq!(shared.outcome().primary, Some(3));
        assert_eq!(shared.unseen(), Some(late), "the sync that would have brought it has failed");
        let again = shared.want_sync();
        shared.ended(again.0, began, Some(4), None);
        assert_eq!(shared.unseen(), None);
    }

    #[tokio::test]
    async fn a_replica_that_nobody_uses_ends_after_what_was_asked_for() {
        let shared = shared();
        shared.wishes.lock().users = 0;
        assert_eq!(shared.next(last(0, Instant::now())).await, Next::End);
    }

    #[tokio::test]
    async fn an_interval_counts_from_the_end_of_the_last_one() {
        let shared = shared();
        shared.wishes.lock().interval = Duration::from_millis(50);
        let began = Instant::now();
        assert_eq!(shared.next(last(0, began)).await, Next::Sync(1));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }

    #[test]
    fn what_the_file_lacks_is_tried_again_ever_more_seldom() {
        let pause = |failures, interval, lacks| {
            let last = Last { ticket: 1, ended: Instant::now(), failures };
            last.pause(Duration::from_secs(interval), lacks).map(|pause| pause.as_secs())
        };
        assert_eq!(pause(0, 0, true), None);
        assert_eq!(pause(3, 0, false), None);
        assert_eq!(
            [1, 2, 3, 5, 6, u32::MAX].map(|failures| pause(failures, 0, true)),
            [1, 2, 4, 16, 30, 30].map(Some)
        );
        assert_eq!((pause(2, 5, true), pause(4, 5, true), pause(0, 5, false)), (Some(2), Some(5), Some(5)));
    }
}
