//! Reset and the connection's status.

use crate::error::Result;
use crate::info::Status;
use crate::remote::session::Session;
use crate::run::Run;
use port_driver::etf::encoder::put_nil;

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
    let status = Status {
        changes: u64::try_from(session.changes).unwrap_or(0),
        tx_status: session.machine.status(),
        autocommit: !session.in_transaction(),
        cache: session.descriptions.sizes(),
        lookups: (session.descriptions.hits, session.descriptions.misses),
        statements: session.prepared.len(),
        cursors: session.cursors.len(),
        memory: [0; 3],
        servers: session.server_status(),
    };
    run.ok(|out| status.put(&session.counters, out));
    Ok(())
}
