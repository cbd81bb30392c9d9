//! Sync, status, freeze and flush.

use super::Session;
use crate::error::{Error, Result};
use crate::replica::freeze;
use crate::replication::{Index, Replica};
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{
    put_binary, put_bool, put_key, put_map, put_nil, put_optional_binary, put_tuple, put_unsigned,
};
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
    session.unseen = None;
    session.take_over_log();
    status(session, run)
}

/// Numbers of different logs say nothing of each other.
fn reaches(index: Option<Index>, until: Until<'_>) -> Result<bool> {
    let Some(index) = index else { return Ok(false) };
    match until.log {
        Some(log) if log != name(index.log) => Err(Error::new(
            ErrorCode::InvalidOption,
            format!(
                "frame {} is of the server's former log; a sync without until has all of the new one",
                until.frame
            ),
        )),
        _ => Ok(index.frame.is_some_and(|frame| frame >= until.frame)),
    }
}

/// A log as clients know it.
fn name(log: u128) -> String {
    format!("{log:032x}")
}

/// Where the replica is.
pub fn status(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let status = Status::of(&session.replica);
    run.ok(|out| status.put(out));
    Ok(())
}

struct Status<'s> {
    replica: &'s Replica,
}

impl<'s> Status<'s> {
    fn of(replica: &'s Replica) -> Self {
        Status { replica }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let (outcome, index, running) =
            (self.replica.outcome(), self.replica.index(), self.replica.running());
        put_map(out, 9);
        put_key(out, "path");
        put_binary(out, self.replica.path.as_os_str().as_encoded_bytes());
        put_key(out, "log");
        put_optional_binary(out, index.map(|index| name(index.log)).as_ref().map(|log| log.as_bytes()));
        put_key(out, "index");
        put_optional(out, index.and_then(|index| index.frame));
        put_key(out, "server_index");
        put_optional(out, outcome.primary);
        put_key(out, "age_ms");
        let age = outcome.fresh.map(|fresh| fresh.elapsed().as_millis());
        put_optional(out, age.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)));
        put_key(out, "syncing");
        put_bool(out, running.is_some());
        put_key(out, "frames_done");
        put_optional(out, running.map(|frames| frames.done));
        put_key(out, "frames_known");
        put_optional(out, running.map(|frames| frames.known));
        put_key(out, "error");
        match &outcome.failure {
            None => put_nil(out),
            Some(failure) => {
                let error = Error::from(failure.clone());
                put_tuple(out, 2);
                put_unsigned(out, u64::from(error.code().number()));
                put_binary(out, failure.message.as_bytes());
            }
        }
    }
}

fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => put_unsigned(out, number),
        None => put_nil(out),
    }
}

/// Copies what the file has into a database of its own at `path`.
pub fn freeze(session: &mut Session, run: &mut Run<'_>, path: &str) -> Result<()> {
    session.take_over_log();
    let bytes = freeze::into(&mut session.local.access, run.place, path)?;
    run.ok(|out| put_unsigned(out, bytes));
    Ok(())
}

/// There is nothing to flush: each transaction is committed to the file as it comes. Answers the last one's frame.
pub fn flush(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let frame = session.replica.index().and_then(|index| index.frame);
    run.ok(|out| put_optional(out, frame));
    Ok(())
}
