//! Embedded replicas: files that are kept what a database on a server is.
//!
//! A replica has one task, which alone writes the file ([`task`]); connections read it by ordinary handles and ask for syncs
//! ([`replica::Shared`]). A file is replicated by one program ([`owner`]). Knows no requests and no SQL.

mod client;
mod failure;
pub mod index;
mod owner;
mod progress;
mod replica;
mod task;

pub use failure::{Cause, Failure};
pub use index::Index;
pub use owner::Owner;
pub use replica::{Shared, Source, Ticket};

use crate::feed::Hub;
use parking_lot::Mutex;
use progress::Progress;
use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads on which frames are written, for all replicas together.
const WRITING_THREADS_MAX: usize = 16;

/// The replicas that are open; owned by the server, known to the connections' threads.
#[derive(Default)]
pub struct Replicas {
    // With the right to replicate, which is given back as the replica is taken out.
    files: Mutex<HashMap<PathBuf, (Arc<Shared>, Owner)>>,
    runtime: Mutex<Option<Runtime>>,
    // The same ones, under a lock that nobody holds while the disk is asked.
    listed: Mutex<Vec<Arc<Shared>>>,
}

/// A replica as long as a connection has it.
pub struct Replica {
    shared: Arc<Shared>,
    runtime: Handle,
}

impl Replicas {
    /// Joins the replica at `path`, of which `path` is absolute, or begins to replicate into it. The newest connection's wish for
    /// an interval (zero: no syncs but those that are asked for) counts.
    pub fn open(
        self: &Arc<Self>,
        path: &Path,
        source: Source,
        interval: Duration,
        hub: &Arc<Hub>,
    ) -> Result<Replica, Failure> {
        let mut files = self.files.lock();
        if let Some((shared, _)) = files.get(path) {
            if !shared.source.is_that_of(&source) {
                return Err(Failure::new(
                    Cause::OtherFile,
                    format!(
                        "{} is a replica of {} (namespace {}) in this program; give another path",
                        path.display(),
                        shared.source.origin,
                        shared.source.namespace
                    ),
                ));
            }
            return Ok(Replica::join(shared, interval, self.runtime()?));
        }
        let runtime = self.runtime()?;
        let owner = Owner::take(path)?;
        let progress = Progress::new(path.display().to_string(), Arc::clone(hub));
        let shared = Arc::new(Shared::new(path.to_owned(), source, progress));
        let replica = Replica::join(&shared, interval, runtime);
        // Not waited for: it ends when nobody uses the replica.
        drop(replica.runtime.spawn(task::run(Arc::clone(&shared), Arc::downgrade(self))));
        self.listed.lock().push(Arc::clone(&shared));
        files.insert(path.to_owned(), (shared, owner));
        Ok(replica)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Shared>> {
        self.listed.lock().clone()
    }

    /// Nobody uses the replica at `path` any more, and its task has not ended yet.
    pub fn is_ending(&self, path: &Path) -> bool {
        self.files.lock().get(path).is_some_and(|(shared, _)| shared.wishes.lock().users == 0)
    }

    /// Takes a replica that nobody uses out; false if somebody does again.
    fn forget(&self, shared: &Arc<Shared>) -> bool {
        let mut files = self.files.lock();
        let unused = shared.wishes.lock().users == 0;
        if unused {
            files.remove(&shared.path);
            self.listed.lock().retain(|listed| !Arc::ptr_eq(listed, shared));
        }
        unused
    }

    /// The runtime of the replicas, which is made for the first one.
    fn runtime(&self) -> Result<Handle, Failure> {
        let mut runtime = self.runtime.lock();
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let made = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(WRITING_THREADS_MAX)
            .thread_name("libsql-replica")
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Cause::Disk, format!("no threads to replicate with: {error}")))?;
        Ok(runtime.insert(made).handle().clone())
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        // Without waiting: the end of the program, which no replica needs to see.
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl Replica {
    fn join(shared: &Arc<Shared>, interval: Duration, runtime: Handle) -> Self {
        let mut wishes = shared.wishes.lock();
        wishes.users += 1;
        wishes.interval = interval;
        shared.wished.notify_one();
        drop(wishes);
        Replica { shared: Arc::clone(shared), runtime }
    }

    /// Waits for `work` on this thread.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Deref for Replica {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shared.wishes.lock().users -= 1;
        self.shared.wished.notify_one();
    }
}
