//! Create and drop functions that the client answers, and the hooks by which it decides.

use crate::client_functions::ClientFunction;
use crate::client_hooks::ClientHook;
use crate::engine::code;
use crate::error::Result;
use crate::local::errors::needs_defence;
use crate::local::session::Session;
use crate::run::Run;
use port_driver::etf::encoder::{put_bool, put_nil};
use port_driver::request::{Function, Hook, HookKind};

/// Adds one.
pub fn create(session: &mut Session, run: &mut Run<'_>, function: &Function<'_>) -> Result<()> {
    session.client_functions.create(&session.access.handle, ClientFunction::from(function))?;
    run.ok(put_nil);
    Ok(())
}

/// Drops one.
pub fn drop(session: &mut Session, run: &mut Run<'_>, function: &Function<'_>) -> Result<()> {
    let function = ClientFunction::from(function);
    // What takes its place, and what stands beside it, is registered anew, which the engine refuses while something runs.
    if session.client_functions.has(&function) {
        session.check_no_cursor("one of its functions")?;
    }
    let dropped = session.client_functions.drop(&session.access.handle, &function)?;
    run.ok(|out| put_bool(out, dropped));
    Ok(())
}

/// Sets a hook.
pub fn set_hook(session: &mut Session, run: &mut Run<'_>, hook: &Hook<'_>) -> Result<()> {
    let defensive = session.access.handle.is_configured(code::SQLITE_DBCONFIG_DEFENSIVE);
    if hook.kind == HookKind::Authorizer {
        if !defensive {
            return Err(needs_defence("open the connection with defensive: true, the default"));
        }
        session.check_no_cursor("its authorizer")?;
    }
    session.client_functions.set_hook(ClientHook::from(hook));
    session.take_over_hooks();
    run.ok(put_nil);
    Ok(())
}

/// Removes one.
pub fn remove_hook(session: &mut Session, run: &mut Run<'_>, kind: HookKind) -> Result<()> {
    if kind == HookKind::Authorizer {
        session.check_no_cursor("its authorizer")?;
    }
    let removed = session.client_functions.remove_hook(kind);
    session.take_over_hooks();
    run.ok(|out| put_bool(out, removed));
    Ok(())
}
