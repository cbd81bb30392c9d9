//! Databases on a server: what is promised of local ones holds, and what the network does to a request is told as it is.

mod breaker;
mod cursors;
mod failover;
mod faults;
mod guards;
mod ledger;
mod mock;
mod opening;
mod statements;
mod streams;
mod texts;
mod tls;
mod transactions;
mod truth;

use crate::support::{tag, Conn, Failure, Sidecar};
use crate::term::Term;

/// Opens the database at `url`, with further options.
#[track_caller]
fn open_with<'s>(sidecar: &'s Sidecar, url: &str, options: &[(&str, Term)]) -> Result<Conn<'s>, Failure> {
    let url = [(Term::from("url"), Term::from(url))];
    let options = options.iter().map(|(key, value)| (Term::from(*key), value.clone()));
    sidecar.open_with("", Term::Map(url.into_iter().chain(options).collect()))
}

#[track_caller]
fn open<'s>(sidecar: &'s Sidecar, url: &str) -> Conn<'s> {
    open_with(sidecar, url, &[]).unwrap()
}

/// Sends a request whose reply is not looked at yet.
fn commit_id(conn: &Conn<'_>) -> u32 {
    conn.send(tag::COMMIT, [])
}
