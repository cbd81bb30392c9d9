//! Decisions that the client is asked for, of one connection or of all. What asks for them is in `local/callbacks/`.

use crate::feed::Filter;
use port_driver::error_code::ErrorCode;
use port_driver::request::{Hook, HookKind};
use std::sync::Arc;

/// What the client answers.
pub trait Callee {
    /// The client's number for it.
    fn callback(&self) -> u32;
    /// How messages call it.
    fn name(&self) -> &str;
    /// How long one call may take; 0: as long as its request.
    fn timeout_ms(&self) -> u32;
    /// The error of a call that was not answered in time.
    fn late(&self) -> ErrorCode {
        ErrorCode::CallbackTimeout
    }
    /// The error of one that has failed.
    fn failed(&self) -> ErrorCode {
        ErrorCode::CallbackFailed
    }
}

/// A decision of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHook {
    kind: HookKind,
    callback: u32,
    timeout_ms: u32,
    /// Which changes it is asked about, and what it is told of them.
    pub filter: Filter,
}

impl From<&Hook<'_>> for ClientHook {
    fn from(hook: &Hook<'_>) -> Self {
        ClientHook {
            kind: hook.kind,
            callback: hook.callback,
            timeout_ms: hook.timeout_ms,
            // Whoever writes to a virtual table writes to those.
            filter: Filter { keepers: true, ..Filter::of(&hook.changes) },
        }
    }
}

impl Callee for ClientHook {
    fn callback(&self) -> u32 {
        self.callback
    }

    fn name(&self) -> &str {
        match self.kind {
            HookKind::Commit => "the commit hook",
            HookKind::Authorizer => "the authorizer",
        }
    }

    fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }

    fn late(&self) -> ErrorCode {
        self.failed()
    }

    fn failed(&self) -> ErrorCode {
        match self.kind {
            HookKind::Commit => ErrorCode::CommitHookFailed,
            HookKind::Authorizer => ErrorCode::NotAuthorized,
        }
    }
}

/// Those of one connection, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Decides about commits.
    pub commit: Option<Arc<ClientHook>>,
    /// Decides what statements may do. Of one connection alone.
    pub authorizer: Option<Arc<ClientHook>>,
}

impl Hooks {
    /// Puts one in the place of what is there of its kind.
    pub fn set(&mut self, hook: ClientHook) {
        let kind = hook.kind;
        *self.place(kind) = Some(Arc::new(hook));
    }

    /// Takes the one of this kind away. False if there is none.
    pub fn remove(&mut self, kind: HookKind) -> bool {
        self.place(kind).take().is_some()
    }

    fn place(&mut self, kind: HookKind) -> &mut Option<Arc<ClientHook>> {
        match kind {
            HookKind::Commit => &mut self.commit,
            HookKind::Authorizer => &mut self.authorizer,
        }
    }
}
