//! Sync, status, freeze and flush.

use super::Session;
use crate::error::{Error, Result};
use crate::replica::freeze::Freezing;
use crate::replica::status::{self, put_optional};
use crate::replication::Index;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::put_unsigned;
use port_driver::request::Until;
use std::time::Duration;

/// The pause before a server that has not got a frame yet is asked again.
const UNTIL_PAUSE_MIN: Duration = Duration::from_millis(10);
const UNTIL_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Brings the file up to what the server has now, and on until it has the frame of `until`.
pub fn sync(session: &mut Session, run: &mut Run<'_>, until: Option<Until<'_>>) -> Result<()> {
    let mut pause = UNTIL_PAUSE_MIN;
    loop {
        session.waiting().sync()?;
        let Some(until) = until else { break };
        let index = session.replica.index();
        if reaches(index, until)? {
            break;
        }
        session.waiting().pause(pause)?;
        pause = (pause * 2).min(UNTIL_PAUSE_MAX);
    }
    session.take_over_log();
    status(session, run)
}

/// Numbers of different logs say nothing of each other.
fn reaches(index: Option<Index>, until: Until<'_>) -> Result<bool> {
    let Some(index) = index else { return Ok(false) };
    match until.log {
        Some(log) if log != status::log_name(index.log) => Err(Error::new(
            ErrorCode::InvalidOption,
            format!(
                "frame {} is of the server's former log; a sync without until has all of the new one",
                until.frame
            ),
        )),
        _ => Ok(index.frame.is_some_and(|frame| frame >= until.frame)),
    }
}

/// Where the replica is.
pub fn status(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let replica = &session.replica;
    run.ok(|out| status::put(replica, out));
    Ok(())
}

/// Copies what the file has into a database of its own at `path`.
pub fn freeze(session: &mut Session, run: &mut Run<'_>, path: &str) -> Result<()> {
    if !session.local.access.handle.autocommit() || session.server.in_transaction() {
        let message = "a replica is not frozen inside a transaction; commit or roll back";
        return Err(Error::new(ErrorCode::TransactionOpen, message));
    }
    let freezing = Freezing {
        replica: &session.replica,
        control: &session.local.access.control,
        runtime: &session.runtime,
        id: session.local.access.id,
    };
    let bytes = freezing.make(path)?;
    run.ok(|out| put_unsigned(out, bytes));
    Ok(())
}

/// There is nothing to flush: each transaction is committed to the file as it comes. Answers the last one's frame.
pub fn flush(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let frame = session.replica.index().and_then(|index| index.frame);
    run.ok(|out| put_optional(out, frame));
    Ok(())
}
