//! Functions, table functions and collations that the client answers, as it has described them, and those that every
//! connection of the program is to have. What calls them is in `local/callbacks/`.

use crate::client_hooks::{Callee, ClientHook, Hooks};
use crate::error::Error;
use parking_lot::Mutex;
use port_driver::error_code::ErrorCode;
use port_driver::request::{Function, FunctionKind, HookKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// How many of them a connection has at most, and the program for all of its connections.
pub const FUNCTIONS_MAX: usize = 1000;

/// What the client answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFunction {
    /// The client's number for it.
    pub callback: u32,
    /// As SQL calls it.
    pub name: String,
    /// How it is called.
    pub kind: FunctionKind,
    /// How many arguments it takes; `None`: any number.
    pub arguments: Option<u8>,
    /// The same arguments give the same result.
    pub deterministic: bool,
    /// Not for what is in a schema.
    pub directonly: bool,
    /// How long one call may take; 0: as long as its request.
    pub timeout_ms: u32,
    /// The columns of a table function.
    pub columns: Vec<String>,
    /// Its parameters.
    pub parameters: Vec<String>,
}

impl From<&Function<'_>> for ClientFunction {
    fn from(function: &Function<'_>) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ClientFunction {
            callback: function.callback,
            name: function.name.to_owned(),
            kind: function.kind,
            arguments: function.arguments,
            deterministic: function.deterministic,
            directonly: function.directonly,
            timeout_ms: function.timeout_ms,
            columns: owned(&function.columns),
            parameters: owned(&function.parameters),
        }
    }
}

impl Callee for ClientFunction {
    fn callback(&self) -> u32 {
        self.callback
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }
}

impl ClientFunction {
    /// True if one of the two takes the other's place: both are tables, or collations, or functions of as many arguments, and
    /// SQL calls them by the same name.
    pub fn replaces(&self, other: &ClientFunction) -> bool {
        let same = match (self.kind, other.kind) {
            (FunctionKind::Table, FunctionKind::Table)
            | (FunctionKind::Collation, FunctionKind::Collation) => true,
            (FunctionKind::Table | FunctionKind::Collation, _) => false,
            (_, FunctionKind::Table | FunctionKind::Collation) => false,
            _ => self.arguments == other.arguments,
        };
        same && self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// A list in which each has its place once.
#[derive(Debug, Default, Clone)]
pub struct FunctionList(Vec<Arc<ClientFunction>>);

impl FunctionList {
    /// Puts one in the place of what it replaces. False if the list is full.
    pub fn put(&mut self, function: &Arc<ClientFunction>) -> bool {
        self.take(function);
        let room = self.0.len() < FUNCTIONS_MAX;
        if room {
            self.0.push(Arc::clone(function));
        }
        room
    }

    /// Takes out what is in the place of `function`.
    pub fn take(&mut self, function: &ClientFunction) -> Option<Arc<ClientFunction>> {
        let at = self.0.iter().position(|known| known.replaces(function))?;
        Some(self.0.swap_remove(at))
    }

    /// Whether the place of `function` is taken.
    pub fn has(&self, function: &ClientFunction) -> bool {
        self.0.iter().any(|known| known.replaces(function))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ClientFunction>> {
        self.0.iter()
    }
}

/// Those of all connections, and the hooks of all, which each takes over before its next request.
#[derive(Debug, Default)]
pub struct SharedFunctions {
    generation: AtomicU64,
    list: Mutex<FunctionList>,
    hooks: Mutex<Hooks>,
}

impl SharedFunctions {
    /// Changes with every change of the list.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The list, and its generation.
    pub fn now(&self) -> (FunctionList, u64) {
        let list = self.list.lock();
        (list.clone(), self.generation())
    }

    /// The hooks. To be asked after [`Self::now`], so that none is older than the generation.
    pub fn hooks(&self) -> Hooks {
        self.hooks.lock().clone()
    }

    /// Adds one, or puts it in the place of another.
    pub fn set_hook(&self, hook: ClientHook) {
        self.hooks.lock().set(hook);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Removes the one of this kind. False if there is none.
    pub fn remove_hook(&self, kind: HookKind) -> bool {
        let removed = self.hooks.lock().remove(kind);
        self.generation.fetch_add(u64::from(removed), Ordering::Release);
        removed
    }

    /// Adds one, or puts it in the place of another. False if there are too many.
    pub fn put(&self, function: ClientFunction) -> bool {
        let mut list = self.list.lock();
        let put = list.put(&Arc::new(function));
        self.generation.fetch_add(1, Ordering::Release);
        put
    }

    /// Removes one. False if there is none.
    pub fn remove(&self, function: &ClientFunction) -> bool {
        let mut list = self.list.lock();
        let removed = list.take(function).is_some();
        self.generation.fetch_add(u64::from(removed), Ordering::Release);
        removed
    }
}

/// Another one has no place.
pub fn too_many() -> Error {
    Error::new(
        ErrorCode::LimitExceeded,
        format!(
            "there are {FUNCTIONS_MAX} functions and collations already, which is functions_max; drop some"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, kind: FunctionKind, arguments: Option<u8>) -> ClientFunction {
        ClientFunction {
            callback: 1,
            name: name.to_owned(),
            kind,
            arguments,
            deterministic: false,
            directonly: true,
            timeout_ms: 0,
            columns: Vec::new(),
            parameters: Vec::new(),
        }
    }

    #[test]
    fn each_has_one_place() {
        use FunctionKind::{Aggregate, Collation, Scalar, Table};
        let one = function("f", Scalar, Some(1));
        assert!(one.replaces(&function("F", Aggregate, Some(1))));
        for other in [
            function("f", Scalar, Some(2)),
            function("f", Scalar, None),
            function("g", Scalar, Some(1)),
            function("f", Table, Some(1)),
            function("f", Collation, Some(1)),
        ] {
            assert!(!one.replaces(&other) && !other.replaces(&one), "{other:?}");
        }
        assert!(function("f", Table, None).replaces(&function("F", Table, Some(3))));
    }

    #[test]
    fn a_list_is_no_longer_than_its_limit() {
        let shared = SharedFunctions::default();
        for number in 0..FUNCTIONS_MAX {
            assert!(shared.put(function(&format!("f{number}"), FunctionKind::Scalar, None)));
        }
        assert!(!shared.put(function("more", FunctionKind::Scalar, None)));
        assert!(shared.put(function("f0", FunctionKind::Scalar, None)), "in its own place");
        let before = shared.generation();
        assert!(!shared.remove(&function("more", FunctionKind::Scalar, None)));
        assert_eq!(shared.generation(), before);
        assert!(shared.remove(&function("F7", FunctionKind::Scalar, None)));
        assert_ne!(shared.generation(), before);
    }
}
