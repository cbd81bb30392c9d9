//! The task that replicates into one file. It runs each sync to its end: one that is dropped halfway leaves the replicator with
//! frames that it takes for received and that are nowhere.

use super::client::Client;
use super::failure::{Cause, Failure};
use super::replica::{Last, Next, Shared};
use super::Replicas;
use libsql_replication::injector::SqliteInjector;
use libsql_replication::meta;
use libsql_replication::replicator::{Error, Replicator, ReplicatorClient};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{sleep, Instant};

/// Pages in the replica's log after which it is copied into the file. The connection that injects is the only one that does.
const CHECKPOINT_PAGES: u32 = 1000;

/// How long a server that makes a snapshot is asked again, and how soon.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);
const SNAPSHOT_PAUSE_MIN: Duration = Duration::from_millis(100);
const SNAPSHOT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How often a server that has more frames than this file may send none, and the pause before it is asked again.
const EMPTY_ANSWERS_MAX: u32 = 20;
const EMPTY_ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// The server, and what injects its frames into the file.
type Link = Replicator<Client, SqliteInjector>;

/// Replicates for as long as somebody uses the replica.
pub async fn run(shared: Arc<Shared>, replicas: Weak<Replicas>) {
    let mut link = None;
    let mut last = Last { ticket: 0, ended: Instant::now(), failures: 0 };
    loop {
        match shared.next(last).await {
            Next::Sync(ticket) => {
                let began = Instant::now();
                shared.progress.begin();
                // A task of its own, so that a panic in the crates below ends one sync.
                let synced = tokio::spawn(sync(link.take(), Arc::clone(&shared))).await;
                let (kept, outcome) = synced.unwrap_or_else(|_| (None, Err(panicked())));
                link = kept;
                shared.progress.end();
                let (primary, failure) = match outcome {
                    Ok(primary) => (primary, None),
                    Err(failure) => (None, Some(failure)),
                };
                let failures = if failure.is_some() { last.failures.saturating_add(1) } else { 0 };
                last = Last { ticket, ended: Instant::now(), failures };
                if shared.ended(ticket, began, primary, failure) {
                    tell_turn(&shared);
                }
            }
            Next::End => {
                // Closing the connection that injects copies its log into the file.
                let closing = link.take();
                let _ = tokio::task::spawn_blocking(move || drop(closing)).await;
                match replicas.upgrade() {
                    Some(replicas) if !replicas.forget(&shared) => {}
                    _ => return,
                }
            }
        }
    }
}

/// Syncs fail from now on, or succeed again.
fn tell_turn(shared: &Shared) {
    let failure = shared.outcome().failure;
    shared.progress.turned(failure.as_ref());
    match failure {
        Some(failure) => tracing::warn!("{} is not synced: {failure}", shared.path.display()),
        None => tracing::info!("{} is synced again", shared.path.display()),
    }
}

fn panicked() -> Failure {
    Failure::new(Cause::Bug, "a bug ended the sync (panic); see the log of libsql_port")
}

/// Brings the file up to what the server has now. Returns the server's last frame, and the link, unless it is not to be used
/// again.
async fn sync(link: Option<Link>, shared: Arc<Shared>) -> (Option<Link>, Result<Option<u64>, Failure>) {
    let mut link = match link {
        Some(link) => link,
        None => match connect(&shared).await {
            Ok(link) => link,
            Err(failure) => return (None, Err(failure)),
        },
    };
    let started = Instant::now();
    let mut pause = SNAPSHOT_PAUSE_MIN;
    loop {
        match catch_up(&mut link).await {
            Err(failure)
                if failure.cause == Cause::SnapshotPending && started.elapsed() < SNAPSHOT_PATIENCE =>
            {
                sleep(pause).await;
                pause = (pause * 2).min(SNAPSHOT_PAUSE_MAX);
            }
            // The connection that injects may be in any state.
            Err(failure) if failure.cause == Cause::Disk => return (None, Err(failure)),
            outcome => return (Some(link), outcome),
        }
    }
}

async fn connect(shared: &Arc<Shared>) -> Result<Link, Failure> {
    let client = Client::new(Arc::clone(shared)).await?;
    let mut link = Replicator::new_sqlite(client, shared.path.clone(), CHECKPOINT_PAGES, None).await?;
    // How often, and why, is said here.
    link.set_primary_handshake_retries(1);
    Ok(link)
}

async fn catch_up(link: &mut Link) -> Result<Option<u64>, Failure> {
    // The server says what it has only then.
    link.force_handshake();
    let (mut begun_anew, mut empty_answers) = (false, 0);
    loop {
        let before = link.frames_synced();
        match link.replicate().await {
            // The server has another log than the one this file is of: the next handshake begins with its first frame.
            Err(Error::Meta(meta::Error::LogIncompatible)) if !begun_anew => {
                begun_anew = true;
                continue;
            }
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
        let client = link.client_mut();
        match (client.primary(), client.committed_frame_no()) {
            (None, _) => return Ok(None),
            (Some(primary), Some(here)) if here >= primary => return Ok(Some(primary)),
            _ => {}
        }
        if link.frames_synced() == before {
            empty_answers += 1;
            if empty_answers > EMPTY_ANSWERS_MAX {
                return Err(Failure::new(Cause::Protocol, "the server does not send the frames that it has"));
            }
            // Frames of a transaction whose end has not come: from its beginning again.
            link.client_mut().rollback();
            link.force_handshake();
            sleep(EMPTY_ANSWER_PAUSE).await;
        }
    }
}
