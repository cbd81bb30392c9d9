//! The client decides what a statement may do, behind the connection's policy.
//!
//! It is asked while a statement is compiled, in the engine's authorizer; what it has said is kept by the policy's gate, so that it is
//! asked once about each thing.

use super::asking::Asking;
use crate::client_hooks::ClientHook;
use crate::engine::action::Decision;
use crate::engine::function::FunctionError;
use crate::local::policy::gate::{Authorizer, Verdict};
use port_driver::answer;
use port_driver::etf::encoder::{put_binary, put_optional_binary, put_tuple};
use port_driver::reply::Denial;
use std::sync::Arc;

/// The client's authorizer of one connection.
pub struct ClientAuthorizer {
    asking: Arc<Asking>,
    hook: Arc<ClientHook>,
}

impl ClientAuthorizer {
    pub fn new(asking: Arc<Asking>, hook: Arc<ClientHook>) -> Self {
        ClientAuthorizer { asking, hook }
    }

    pub fn hook(&self) -> &Arc<ClientHook> {
        &self.hook
    }
}

impl Authorizer for ClientAuthorizer {
    fn decide(&self, what: &Denial<'_>) -> Verdict {
        let answered = self.asking.ask(
            &*self.hook,
            "authorize",
            |out| {
                put_tuple(out, 5);
                put_binary(out, what.action.as_bytes());
                for name in [what.object, what.column, what.database, what.through] {
                    put_optional_binary(out, name.map(str::as_bytes));
                }
            },
            |term| answer::choice(term, DECISIONS),
        );
        match answered {
            Ok(decision) => Verdict::Decided(decision),
            Err(FunctionError::Stopped) => Verdict::Stopped,
            Err(error) => {
                // Told by the denial.
                self.asking.forget_failure();
                Verdict::Failed(error.to_string())
            }
        }
    }
}

const DECISIONS: &[(&str, Decision)] =
    &[("ok", Decision::Allow), ("deny", Decision::Deny), ("ignore", Decision::Ignore)];
