//! What one connection to a replica has.

use super::fresh::Waiting;
use crate::error::{Error, Result};
use crate::local;
use crate::remote;
use crate::replication::{Failure, Replica};
use port_driver::request::{Consistency, ReplicaOptions, WhenStale};
use tokio::runtime::Handle as Runtime;

/// One open connection.
pub struct Session {
    /// What reads the file. Before `replica`, which is given back when nothing reads it any more.
    pub local: Box<local::session::Session>,
    /// What writes.
    pub server: Box<remote::session::Session>,
    /// The file's task.
    pub replica: Replica,
    /// How new what is read has to be, unless a request says otherwise.
    pub consistency: Consistency,
    /// How old it may be, unless a request says otherwise.
    pub max_lag_ms: Option<u32>,
    /// What becomes of a read for which it is older.
    pub when_stale: WhenStale,
    /// It may write.
    pub writes: bool,
    /// For libsql.
    pub runtime: Runtime,
    /// As [`Replica::logs`] when the schema was read last.
    pub logs: u64,
}

impl Session {
    /// A session of a handle on the file of `replica`.
    pub fn new(
        local: local::session::Session,
        server: remote::session::Session,
        replica: Replica,
        options: &ReplicaOptions,
        writes: bool,
        runtime: Runtime,
    ) -> Self {
        let logs = replica.logs();
        Session {
            local: Box::new(local),
            server: Box::new(server),
            replica,
            consistency: options.consistency,
            max_lag_ms: options.max_lag_ms,
            when_stale: options.when_stale,
            writes,
            runtime,
            logs,
        }
    }

    /// What waits for its syncs.
    pub fn waiting(&mut self) -> Waiting<'_> {
        Waiting { replica: &self.replica, control: &self.local.access.control, token: &mut self.server.token }
    }

    /// Brings the file to where `consistency` wants it before a read.
    pub fn freshen(&mut self, consistency: Consistency, about_to_wait: impl FnOnce()) -> Result<()> {
        match (consistency, self.replica.unseen()) {
            (Consistency::ReadYourWrites, Some(ticket)) => {
                about_to_wait();
                self.waiting().caught_up(ticket).map_err(lacking)?;
            }
            (Consistency::Latest, _) => {
                about_to_wait();
                self.waiting().sync()?;
            }
            _ => {}
        }
        self.take_over_log();
        Ok(())
    }

    /// Ends everything; the handle closes when `self` is dropped.
    pub fn close(&mut self) {
        self.server.close();
        self.local.close();
    }

    /// The file may have got the data of another log, whose schema may have the version of the one that is known.
    #[inline]
    pub fn take_over_log(&mut self) {
        let logs = self.replica.logs();
        if logs != self.logs {
            self.logs = logs;
            self.local.forget_schema();
        }
    }
}

/// Why a read does not see what was written, and how it can do without.
fn lacking(error: Error) -> Error {
    match error {
        Error::Replication(failure) => Error::Replication(Failure {
            message: format!(
                "{failure}. What was written last is on the server and not in the replica's file yet; reads with consistency local have what \
                 the file has"
            ),
            ..failure
        }),
        error => error,
    }
}
