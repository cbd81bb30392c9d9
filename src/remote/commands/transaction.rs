//! Begin to savepoint. The server hears of a begin with the first statement after it.

use crate::error::{Error, Result};
use crate::held::ANY;
use crate::remote::machine::State;
use crate::remote::session::Session;
use crate::run::Run;
use crate::sql::quote::quoted;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::put_unsigned;
use port_driver::request::BeginMode;

/// Promises a transaction.
pub fn begin(session: &mut Session, run: &mut Run<'_>, mode: BeginMode) -> Result<()> {
    session.check_not_lost()?;
    if session.in_transaction() {
        return Err(Error::new(
            ErrorCode::TransactionOpen,
            "a transaction is open already; nest with savepoints",
        ));
    }
    // It would fail with its first statement.
    session.check_primary()?;
    let begin = match mode {
        BeginMode::Deferred => "BEGIN",
        BeginMode::Immediate => "BEGIN IMMEDIATE",
        BeginMode::Exclusive => "BEGIN EXCLUSIVE",
        // A server lets it write.
        BeginMode::ReadOnly => "BEGIN READONLY",
    };
    session.promise(begin, mode == BeginMode::ReadOnly);
    session.control.held.set(run.transaction.unwrap_or(ANY));
    answer(session, run)
}

/// Commits. A commit that fails (a deferred foreign key, say) leaves the transaction open.
pub fn commit(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    session.require_transaction()?;
    session.run_own("COMMIT")?;
    answer(session, run)
}

/// Rolls back; a lost transaction is over with this.
pub fn rollback(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    session.require_transaction()?;
    session.roll_back();
    answer(session, run)
}

/// Sets a savepoint; outside of a transaction it begins a deferred one.
pub fn savepoint(session: &mut Session, run: &mut Run<'_>, name: &str) -> Result<()> {
    session.run_own(&format!("SAVEPOINT {}", quoted(name)))?;
    answer(session, run)
}

/// Releases a savepoint; the outermost one commits.
pub fn release(session: &mut Session, run: &mut Run<'_>, name: &str) -> Result<()> {
    session.require_transaction()?;
    begin_promised(session)?;
    session.run_own(&format!("RELEASE SAVEPOINT {}", quoted(name)))?;
    answer(session, run)
}

/// Rolls back to a savepoint, which stays.
pub fn rollback_to(session: &mut Session, run: &mut Run<'_>, name: &str) -> Result<()> {
    session.require_transaction()?;
    begin_promised(session)?;
    session.run_own(&format!("ROLLBACK TO SAVEPOINT {}", quoted(name)))?;
    answer(session, run)
}

/// A savepoint of a transaction that the server does not know yet does not exist: it is to say so itself.
fn begin_promised(session: &mut Session) -> Result<()> {
    match *session.machine.state() {
        State::Promised(begin) => session.begin_now(begin),
        _ => Ok(()),
    }
}

fn answer(session: &Session, run: &mut Run<'_>) -> Result<()> {
    let status = session.machine.status();
    run.ok(|out| put_unsigned(out, u64::from(status)));
    Ok(())
}
