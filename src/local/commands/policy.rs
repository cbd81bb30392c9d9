//! Another policy for a connection, and what its policy has denied.

use crate::audit::Audit;
use crate::denial::Denial;
use crate::engine::code;
use crate::error::Result;
use crate::local::errors::needs_defence;
use crate::local::policy::Policy;
use crate::local::session::Session;
use crate::run::Run;
use port_driver::etf::encoder::put_nil;
use port_driver::event;
use port_driver::request::PolicyElement;
use std::sync::Arc;

/// Sets it; `None` for none.
pub fn set(session: &mut Session, run: &mut Run<'_>, elements: Option<&[PolicyElement<'_>]>) -> Result<()> {
    session.check_no_cursor("its policy")?;
    let policy = elements.map(Policy::new).transpose()?.map(Arc::new);
    if policy.is_some() && !session.access.handle.is_configured(code::SQLITE_DBCONFIG_DEFENSIVE) {
        return Err(needs_defence("open the connection with defensive: true, the default"));
    }
    session.set_policy(policy)?;
    run.ok(put_nil);
    Ok(())
}

/// Tells the client and the log what was denied, within the limit for the whole program.
pub fn tell(connection: u32, audit: &Audit, (denials, left_out): (Vec<Denial>, u64), out: &mut Vec<u8>) {
    for denial in denials {
        let Some(left_out) = audit.admit() else { continue };
        tracing::info!(connection, left_out, "{denial}");
        denial.with_fields(|denial| event::policy_denied(out, connection, &denial, left_out));
    }
    if left_out > 0 {
        audit.leave_out(left_out);
    }
}
