//! Begin to savepoint. What state a transaction is in is always the engine's word.

use crate::error::{Error, Result};
use crate::held::ANY;
use crate::local::session::Session;
use crate::run::Run;
use crate::sql::quote::quoted;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::put_unsigned;
use port_driver::request::BeginMode;

/// Begins a transaction that writes; [`Session::is_short`] looks it up, as the next two.
pub const BEGIN_IMMEDIATE: &str = "BEGIN IMMEDIATE";
/// Commits.
pub const COMMIT: &str = "COMMIT";
/// Rolls back.
pub const ROLLBACK: &str = "ROLLBACK";

/// Begins a transaction; an immediate or exclusive one takes the writer turn first.
pub fn begin(session: &mut Session, run: &mut Run<'_>, mode: BeginMode) -> Result<()> {
    if !session.access.handle.autocommit() {
        return Err(Error::new(
            ErrorCode::TransactionOpen,
            "a transaction is open already; nest with savepoints",
        ));
    }
    match mode {
        BeginMode::Deferred => plain(session, run, "BEGIN"),
        BeginMode::Immediate => plain(session, run, BEGIN_IMMEDIATE),
        BeginMode::Exclusive => plain(session, run, "BEGIN EXCLUSIVE"),
        BeginMode::ReadOnly => begin_read_only(session, run),
    }?;
    session.access.control.held.set(run.transaction.unwrap_or(ANY));
    Ok(())
}

/// `BEGIN READONLY` of libSQL writes all the same on a local file; `PRAGMA query_only` does not.
fn begin_read_only(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let before = session.access.pragma_value("PRAGMA query_only") == Some(1);
    session.access.run_plain("PRAGMA query_only = 1")?;
    session.access.query_only = Some(before);
    let begun = plain(session, run, "BEGIN");
    session.access.leave();
    begun
}

/// Commits. A commit that fails (a deferred foreign key, say) leaves the transaction open.
pub fn commit(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    require_transaction(session)?;
    plain(session, run, COMMIT)
}

/// Rolls back.
pub fn rollback(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    require_transaction(session)?;
    plain(session, run, ROLLBACK)
}

/// Sets a savepoint; outside of a transaction it begins a deferred one.
pub fn savepoint(session: &mut Session, run: &mut Run<'_>, name: &str) -> Result<()> {
    plain(session, run, &format!("SAVEPOINT {}", quoted(name)))
}

/// Releases a savepoint; the outermost one commits.
pub fn release(session: &mut Session, run: &mut Run<'_>, name: &str) -> Result<()> {
    require_transaction(session)?;
    plain(session, run, &format!("RELEASE SAVEPOINT {}", quoted(name)))
}

/// Rolls back to a savepoint, which stays.
pub fn rollback_to(session: &mut Session, run: &mut Run<'_>, name: &str) -> Result<()> {
    require_transaction(session)?;
    plain(session, run, &format!("ROLLBACK TO SAVEPOINT {}", quoted(name)))
}

fn require_transaction(session: &Session) -> Result<()> {
    if session.access.handle.autocommit() {
        return Err(Error::new(ErrorCode::NoTransaction, "no transaction is open"));
    }
    Ok(())
}

/// Runs a statement of the cache without parameters and answers with the transaction status.
fn plain(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    session.run_cached(run, sql)?;
    let status = session.access.tx_status();
    run.ok(|out| put_unsigned(out, u64::from(status)));
    Ok(())
}
