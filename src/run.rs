//! One request while it runs: who asked, since when, where the reply goes, what it asks of its client.

use crate::clock::now_ns;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::questions::Questions;
use port_driver::reply::{self, Tail};

/// The way out for replies, and for word that the running thread is about to wait. Implemented by the server, once for
/// a connection's own thread and once for the thread that reads requests.
pub trait Outlet {
    /// Writes whole frames and empties the buffer. Blocks while the pipe is full.
    fn send(&mut self, frames: &mut Vec<u8>);
    /// What runs may take a while from here: whoever reads requests on this thread lets another one go on.
    fn about_to_wait(&mut self);
}

/// On which kind of thread a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that reads requests, in the lead that has this number: whoever relieves it names it, so that a former
    /// leader cannot take the lead from the present one.
    Reader(Lead),
    /// The connection's own, or one that has been relieved.
    Thread,
}

/// A lead among those that read requests; no two have the same number.
pub type Lead = u64;

/// A request that runs.
pub struct Run<'r> {
    /// Its id on the wire.
    pub request_id: u32,
    /// The transaction inside of which it is to run.
    pub transaction: Option<u32>,
    /// When its frame was read.
    pub received_ns: u64,
    /// When its turn on the connection came.
    pub started_ns: u64,
    /// Where it runs.
    pub place: Place,
    /// The longest frame to send.
    pub reply_bytes_max: u32,
    /// The reply, whole frames only between calls.
    pub out: &'r mut Vec<u8>,
    /// Where it goes.
    pub outlet: &'r mut dyn Outlet,
    /// What it asks of its client.
    pub questions: &'r Questions,
}

impl Run<'_> {
    /// Appends an `ok` reply whose payload `put` writes.
    pub fn ok(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        reply::ok(self.out, self.request_id, self.reply_bytes_max, put);
    }

    /// Appends an `error` reply.
    pub fn error(&mut self, error: &Error, tx_status: Option<u8>) {
        error.reply(self.out, self.request_id, self.reply_bytes_max, tx_status);
    }

    /// Waits until the client grants another chunk of rows.
    pub fn wait_for_credit(&mut self) -> Result<()> {
        // A chunk means that more come: this is not a short statement any more.
        self.outlet.about_to_wait();
        self.questions.wait_for_credit()?;
        Ok(())
    }

    /// Completes `tail` with the times of this run.
    pub fn times(&self, control: &Control, tail: &mut Tail) {
        let lock_ns = control.waited_ns();
        let total_ns = now_ns().saturating_sub(self.started_ns);
        tail.queue_us = self.started_ns.saturating_sub(self.received_ns) / 1000;
        tail.lock_us = lock_ns / 1000;
        tail.run_us = total_ns.saturating_sub(lock_ns) / 1000;
    }
}
