//! How new what is read has to be, and how it gets so.

use crate::control::Control;
use crate::error::{Error, Result};
use crate::remote::token::Token;
use crate::replication::{Cause, Failure, Replica, Ticket};
use std::time::Duration;

/// What waits for syncs of a replica, on the thread of a request.
pub struct Waiting<'w> {
    /// The replica.
    pub replica: &'w Replica,
    /// Why the request has to stop.
    pub control: &'w Control,
    /// Who the client is.
    pub token: &'w mut Token,
}

impl Waiting<'_> {
    /// Asks for a sync, with a token that may have been asked for.
    pub fn begin(&mut self) -> Result<Ticket> {
        self.take_token()?;
        Ok(self.replica.want_sync())
    }

    /// Waits for a sync that begins after this.
    pub fn sync(&mut self) -> Result<()> {
        let ticket = self.begin()?;
        self.synced(ticket)
    }

    /// Waits until the file has what was committed before `ticket` was given: by its sync, or by a new one if that has failed.
    pub fn caught_up(&mut self, ticket: Ticket) -> Result<()> {
        match self.replica.has_ended(ticket) {
            true => self.sync(),
            false => self.synced(ticket),
        }
    }

    /// Waits until the sync of `ticket` has ended, or the request has to stop; the sync itself goes on in any case. One whose token was
    /// not accepted is asked for again, if there may be another token.
    pub fn synced(&mut self, ticket: Ticket) -> Result<()> {
        match self.wait(ticket)? {
            Err(failure) if failure.cause == Cause::Unauthorized && self.token.refuse() => {
                let again = self.begin()?;
                self.wait(again)?.map_err(Error::from)
            }
            synced => synced.map_err(Error::from),
        }
    }

    fn take_token(&mut self) -> Result<()> {
        if let Some(token) = self.token.get()? {
            self.replica.set_token(&token);
        }
        Ok(())
    }

    fn wait(&self, ticket: Ticket) -> Result<std::result::Result<(), Failure>> {
        let waited = self.replica.block_on(async {
            tokio::select! {
                biased;
                synced = self.replica.synced(ticket) => Ok(synced),
                stop = self.control.stopped() => Err(stop),
            }
        });
        waited.map_err(Error::from)
    }

    /// Sleeps, unless the request has to stop.
    pub fn pause(&self, time: Duration) -> Result<()> {
        self.control.pause(time).map_err(Error::from)
    }
}
