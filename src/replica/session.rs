//! What one connection to a replica has.

use super::fresh::Waiting;
use crate::error::Result;
use crate::local;
use crate::remote;
use crate::replication::{Replica, Ticket};
use port_driver::request::Consistency;

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
    /// It may write.
    pub writes: bool,
    /// The sync that brings what this connection has written last, while nobody has waited for it to its end.
    pub unseen: Option<Ticket>,
    /// As [`Replica::logs`] when the schema was read last.
    pub logs: u64,
}

impl Session {
    /// A session of a handle on the file of `replica`.
    pub fn new(
        local: local::session::Session,
        server: remote::session::Session,
        replica: Replica,
        consistency: Consistency,
        writes: bool,
    ) -> Self {
        let logs = replica.logs();
        Session {
            local: Box::new(local),
            server: Box::new(server),
            replica,
            consistency,
            writes,
            unseen: None,
            logs,
        }
    }

    /// What waits for its syncs.
    pub fn waiting(&mut self) -> Waiting<'_> {
        Waiting { replica: &self.replica, control: &self.local.access.control, token: &mut self.server.token }
    }

    /// Brings the file to where `consistency` wants it before a read.
    pub fn freshen(&mut self, consistency: Consistency, about_to_wait: impl FnOnce()) -> Result<()> {
        match (consistency, self.unseen) {
            (Consistency::ReadYourWrites, Some(ticket)) if !self.replica.is_synced(ticket) => {
                about_to_wait();
                self.waiting().synced(ticket)?;
            }
            (Consistency::Latest, _) => {
                about_to_wait();
                self.waiting().sync()?;
            }
            _ => {}
        }
        if consistency != Consistency::Local {
            self.unseen = None;
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
