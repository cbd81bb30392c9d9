//! Embedded replicas: a file that follows a real server, read by the connections of a sidecar.

mod gate;
mod lagging;
mod ledger;
mod opening;
mod reading;
mod standalone;
mod syncing;
mod writing;

use crate::sqld::Sqld;
use crate::support::*;
use crate::term::*;
use std::path::Path;

/// Numbers of protocol, section 3, that are for replicas alone.
mod tag {
    pub const SYNC: u8 = 40;
    pub const REPLICATION_STATUS: u8 = 41;
    pub const FREEZE: u8 = 42;
    pub const FLUSH: u8 = 43;
}

/// A replica of `server` at `path`, with further options.
fn open<'s>(
    sidecar: &'s Sidecar,
    server: &Sqld,
    path: &Path,
    options: &[(&str, Term)],
) -> Result<Conn<'s>, Failure> {
    open_at(sidecar, &server.url(), path, options)
}

/// The same for whatever stands before it.
fn open_at<'s>(
    sidecar: &'s Sidecar,
    url: &str,
    path: &Path,
    options: &[(&str, Term)],
) -> Result<Conn<'s>, Failure> {
    let url = ("url", Term::from(url));
    let pairs = std::iter::once(&url).chain(options).map(|(key, value)| (Term::from(*key), value.clone()));
    sidecar.open_with(path, Term::Map(pairs.collect()))
}

/// Syncs; the status afterwards.
fn sync(conn: &Conn<'_>) -> Result<Term, Failure> {
    conn.call(tag::SYNC, [Term::Map(Vec::new())])
}

fn status(conn: &Conn<'_>) -> Term {
    conn.call(tag::REPLICATION_STATUS, []).unwrap()
}

/// A server with rows 1 to `rows` in the table `t(a)`.
fn server_with(rows: u32) -> Option<Sqld> {
    let server = Sqld::start()?;
    server.execute(&["CREATE TABLE t(a INTEGER PRIMARY KEY)"]);
    if rows > 0 {
        server.execute(&[&format!(
            "INSERT INTO t WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT i FROM n"
        )]);
    }
    Some(server)
}

fn count(conn: &Conn<'_>) -> i64 {
    conn.value("SELECT count(*) FROM t").int()
}
