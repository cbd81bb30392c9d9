//! Prepare and close_statement.

use super::describe;
use crate::error::Result;
use crate::local::session::Session;
use crate::run::Run;
use port_driver::etf::encoder::{put_nil, put_tuple, put_unsigned};

/// Prepares a statement and describes it.
pub fn prepare(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    let Session { prepared, access, limits, .. } = session;
    // A failure is found again by what follows.
    let _ = access.refresh_schemas();
    let (id, statement) = prepared.prepare(access, sql, limits)?;
    run.ok(|out| {
        put_tuple(out, 2);
        put_unsigned(out, u64::from(id));
        describe::put_description(out, statement);
    });
    Ok(())
}

/// Finalizes a prepared statement.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    session.prepared.close(id)?;
    run.ok(put_nil);
    Ok(())
}
