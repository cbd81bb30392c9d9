//! Where a request runs: on the file, or on the server. The engine says which statements write.

use super::open::SERVERS_IDS;
use super::session::Session;
use crate::error::{Error, Result};
use crate::local::commands::writes;
use crate::run::Run;
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;
use port_driver::request::{BeginMode, Request, Target, WhenStale};
use std::time::Duration;

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It reads what the file has, as new as it has to be.
    File,
    /// By the file's connection, whatever that has: its own affairs, and what goes on there.
    Here,
    /// On the server, because what the file has is too old for it.
    Stale,
    /// On the server.
    Server,
}

/// Where `request` runs.
pub fn of(session: &mut Session, run: &Run<'_>, request: &Request<'_>) -> Result<Place> {
    if let Some(refused) = refusal(session, request) {
        return Err(refused);
    }
    match request {
        Request::Fetch { cursor: id, .. }
        | Request::CloseCursor { cursor: id }
        | Request::CloseStatement { statement: id } => Ok(of_id(*id)),
        // A transaction that only reads: a snapshot of the file.
        _ if !session.local.access.handle.autocommit() => Ok(Place::Here),
        Request::Prepare { sql } | Request::Describe(Target::Sql(sql)) => {
            match writes::text(&mut session.local, run, sql)? {
                Some(_) => Ok(Place::Here),
                None => Ok(unless_read_only(session)),
            }
        }
        Request::Describe(Target::Statement(id)) => Ok(of_id(*id)),
        Request::CreateFunction(_)
        | Request::DropFunction(_)
        | Request::RemoveHook(_)
        | Request::SetPolicy(_) => Ok(Place::Here),
        Request::Begin(BeginMode::ReadOnly) if !session.server.in_transaction() => Ok(Place::File),
        _ if session.server.in_transaction() => Ok(Place::Server),
        Request::Execute(execute) | Request::QueryOne(execute) => of_text(session, run, execute.sql),
        Request::ExecutePrepared(execute) => of_statement(session, execute.statement),
        Request::Declare { target: Target::Sql(sql), .. } => of_text(session, run, sql),
        Request::Declare { target: Target::Statement(id), .. } => of_statement(session, *id),
        Request::Batch(batch) => {
            for item in batch.statements() {
                let (sql, _) = item?;
                if of_text(session, run, sql)? == Place::Server {
                    return Ok(Place::Server);
                }
            }
            Ok(Place::File)
        }
        Request::ConnectionStatus => Ok(Place::Here),
        _ => Ok(unless_read_only(session)),
    }
}

fn of_id(id: u32) -> Place {
    if id > SERVERS_IDS {
        Place::Server
    } else {
        Place::Here
    }
}

/// On the server, unless nothing may be written: then the file's connection says so.
fn unless_read_only(session: &Session) -> Place {
    if session.writes {
        Place::Server
    } else {
        Place::File
    }
}

/// Where a statement of this text runs. One that cannot be compiled here may be about what the file has not got yet.
fn of_text(session: &mut Session, run: &Run<'_>, sql: &str) -> Result<Place> {
    match keyword::first(sql) {
        Keyword::Attach => Err(unsupported("ATTACH", "a transaction would be in two places")),
        _ if !session.writes => Ok(Place::File),
        word if keyword::is_transaction(word) => Ok(Place::Server),
        _ => Ok(match writes::text(&mut session.local, run, sql)? {
            Some(false) => Place::File,
            Some(true) | None => Place::Server,
        }),
    }
}

fn of_statement(session: &Session, id: u32) -> Result<Place> {
    Ok(match session.local.prepared.peek(id) {
        Some(statement) if statement.read_only() || !session.writes => Place::File,
        Some(_) => Place::Server,
        // Prepared there, or nowhere.
        None => of_id(id),
    })
}

/// What a replica cannot do.
fn refusal(session: &Session, request: &Request<'_>) -> Option<Error> {
    match request {
        Request::Checkpoint(_) => Some(unsupported("a checkpoint", "the replicator makes them by itself")),
        Request::SetHook(_) => Some(unsupported("a hook", "what writes runs on the server")),
        Request::SetPolicy(Some(_)) if session.writes => Some(unsupported(
            "a policy",
            "the server knows nothing of it, and runs what writes; open the replica with mode read_only",
        )),
        _ => None,
    }
}

fn unsupported(what: &str, why: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("{what} is not for a replica: {why}"))
}

/// The place of a read on the file, unless what that has is older than `max_lag_ms`.
pub fn if_stale(session: &Session, max_lag_ms: Option<u32>) -> Result<Place> {
    let Some(max) = max_lag_ms.map(|ms| Duration::from_millis(u64::from(ms))) else { return Ok(Place::File) };
    let age = session.replica.age();
    if age.is_some_and(|age| age <= max) {
        return Ok(Place::File);
    }
    // It may become new enough for the next one.
    if session.replica.running().is_none() {
        session.replica.want_sync();
    }
    // The server does not know what a connection that only reads may not do.
    match session.when_stale {
        WhenStale::Server if session.writes => Ok(Place::Stale),
        _ => Err(Error::new(ErrorCode::TooStale, stale(session, age, max))),
    }
}

fn stale(session: &Session, age: Option<Duration>, max: Duration) -> String {
    let age = match age {
        Some(age) => format!("was last synced {} ms ago", age.as_millis()),
        None => "was not synced by this program yet".to_owned(),
    };
    let why = match session.replica.outcome().failure {
        Some(failure) => format!("; the last sync failed: {failure}"),
        None => String::new(),
    };
    format!("the replica {age}, and the read allows for {} ms (max_lag_ms){why}", max.as_millis())
}
