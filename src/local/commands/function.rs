//! Create and drop functions that the client answers.

use crate::client_functions::ClientFunction;
use crate::error::Result;
use crate::local::session::Session;
use crate::run::Run;
use port_driver::etf::encoder::{put_bool, put_nil};
use port_driver::request::Function;

/// Adds one.
pub fn create(session: &mut Session, run: &mut Run<'_>, function: &Function<'_>) -> Result<()> {
    session.client_functions.create(&session.access.handle, ClientFunction::from(function))?;
    run.ok(put_nil);
    Ok(())
}

/// Drops one.
pub fn drop(session: &mut Session, run: &mut Run<'_>, function: &Function<'_>) -> Result<()> {
    let dropped = session.client_functions.drop(&session.access.handle, &ClientFunction::from(function))?;
    run.ok(|out| put_bool(out, dropped));
    Ok(())
}
