//! Reset and the connection's status.

use crate::error::Result;
use crate::remote::session::Session;
use crate::run::Run;
use port_driver::etf::encoder::{put_bool, put_integer, put_key, put_map, put_nil, put_unsigned};
use std::sync::atomic::Ordering;

/// Makes the connection as if it had just been opened, but for what it knows of statements.
pub fn reset(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    session.cursors.clear();
    session.prepared.clear();
    session.roll_back();
    run.ok(put_nil);
    Ok(())
}

/// The counters of this connection. What is of an engine in this program is 0.
pub fn status(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let counters = &session.counters;
    let (cache_size, cache_used) = session.descriptions.sizes();
    let numbers = [
        ("requests", counters.requests.load(Ordering::Relaxed)),
        ("rows", counters.rows.load(Ordering::Relaxed)),
        ("changes", u64::try_from(session.changes).unwrap_or(0)),
        ("errors", counters.errors.load(Ordering::Relaxed)),
        ("timeouts", counters.timeouts.load(Ordering::Relaxed)),
        ("cancelled", counters.cancelled.load(Ordering::Relaxed)),
        ("tx_status", u64::from(session.machine.status())),
        ("cache_size", cache_size as u64),
        ("cache_used", cache_used as u64),
        ("cache_hits", session.descriptions.hits),
        ("cache_misses", session.descriptions.misses),
        ("statements", session.prepared.len() as u64),
        ("cursors", session.cursors.len() as u64),
    ];
    let autocommit = !session.in_transaction();
    run.ok(|out| {
        put_map(out, u32::try_from(numbers.len()).unwrap_or(0) + 2);
        for (key, number) in numbers {
            put_key(out, key);
            put_unsigned(out, number);
        }
        put_key(out, "autocommit");
        put_bool(out, autocommit);
        put_key(out, "memory");
        put_map(out, 3);
        for key in ["page_cache_bytes", "schema_bytes", "statement_bytes"] {
            put_key(out, key);
            put_integer(out, 0);
        }
    });
    Ok(())
}
