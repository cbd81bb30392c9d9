//! Prepare and close_statement.

use super::describe;
use crate::error::{Error, Result};
use crate::local::prepared::unknown;
use crate::local::session::Session;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_nil, put_tuple, put_unsigned};

/// Prepares a statement and describes it.
pub fn prepare(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    let Session { prepared, access, limits, .. } = session;
    if prepared.len() >= limits.statements_max as usize {
        return Err(Error::new(
            ErrorCode::LimitExceeded,
            format!(
                "the connection has {} prepared statements, which is statements_max; close some",
                prepared.len()
            ),
        ));
    }
    // A failure is found again by what follows.
    let _ = access.refresh_schemas();
    let statement = access.prepare(sql, true)?;
    // Ids are not used again, so that one of a closed statement is never taken for another's.
    prepared.next = prepared.next.wrapping_add(1) & 0x7fff_ffff;
    let id = prepared.next;
    run.ok(|out| {
        put_tuple(out, 2);
        put_unsigned(out, u64::from(id));
        describe::put_description(out, &statement);
    });
    prepared.by_id.insert(id, (sql.into(), statement));
    Ok(())
}

/// Finalizes a prepared statement.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    match session.prepared.by_id.remove(&id) {
        Some(_) => {
            run.ok(put_nil);
            Ok(())
        }
        None => Err(unknown(id)),
    }
}
