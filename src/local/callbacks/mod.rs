//! SQL functions, table functions and collations that the client answers, and decisions that it takes: which a connection has,
//! and how the engine comes to call them.

mod asking;
mod authorize;
mod commit;
mod group;
mod order;
mod scalar;
mod table;

pub use asking::Asking;
pub use authorize::ClientAuthorizer;
pub use commit::CommitHooks;

use crate::client_functions::{too_many, ClientFunction, FunctionList, SharedFunctions, FUNCTIONS_MAX};
use crate::client_hooks::{ClientHook, Hooks};
use crate::engine::client_function::Traits;
use crate::engine::{code, EngineError, Handle};
use crate::error::{Error, Result};
use crate::functions;
use port_driver::error_code::ErrorCode;
use port_driver::request::{FunctionKind, HookKind};
use std::sync::Arc;

/// Those of one connection: its own, and the program's, of which its own take the place.
pub struct ClientFunctions {
    asking: Arc<Asking>,
    own: FunctionList,
    shared: FunctionList,
    own_hooks: Hooks,
    shared_hooks: Hooks,
    hooks_changed: bool,
    authorizer: Option<Arc<ClientAuthorizer>>,
    authorizer_changed: bool,
    generation: u64,
    /// What had been in the place of something that is gone is still to be registered anew.
    restoring: bool,
    of_program: Arc<SharedFunctions>,
}

impl ClientFunctions {
    /// None yet.
    pub fn new(asking: Arc<Asking>, of_program: Arc<SharedFunctions>) -> Self {
        ClientFunctions {
            asking,
            own: FunctionList::default(),
            shared: FunctionList::default(),
            own_hooks: Hooks::default(),
            shared_hooks: Hooks::default(),
            hooks_changed: false,
            authorizer: None,
            authorizer_changed: false,
            generation: 0,
            restoring: false,
            of_program,
        }
    }

    /// Takes over what has changed for all connections. What the engine does not take while statements are open is tried
    /// again the next time.
    #[inline]
    pub fn refresh(&mut self, handle: &Handle) {
        if self.generation != self.of_program.generation() {
            self.take_over(handle);
        }
    }

    #[cold]
    fn take_over(&mut self, handle: &Handle) {
        let (list, generation) = self.of_program.now();
        let hooks = self.of_program.hooks();
        self.hooks_changed |= hooks != self.shared_hooks;
        self.shared_hooks = hooks;
        let gone: Vec<_> = self.shared.iter().filter(|known| !list.has(known)).map(Arc::clone).collect();
        let new = list.iter().filter(|function| !self.shared.iter().any(|known| known == *function));
        let new: Vec<_> = new.filter(|function| !self.own.has(function)).map(Arc::clone).collect();
        for function in gone.iter().filter(|function| !self.own.has(function)) {
            if unregister(handle, function).is_err() {
                return;
            }
        }
        for function in &new {
            if self.register(handle, function).is_err() {
                return;
            }
        }
        self.shared = list;
        self.restoring |= !gone.is_empty();
        if self.restoring {
            if self.restore(handle).is_err() {
                return;
            }
            self.restoring = false;
        }
        self.generation = generation;
    }

    /// True if the connection has it as one of its own.
    pub fn has(&self, function: &ClientFunction) -> bool {
        self.own.has(function)
    }

    /// Adds one of the connection's own, or puts it in the place of another.
    pub fn create(&mut self, handle: &Handle, function: ClientFunction) -> Result<()> {
        let function = Arc::new(function);
        if !self.own.has(&function) && self.own.iter().count() >= FUNCTIONS_MAX {
            return Err(too_many());
        }
        self.register(handle, &function).map_err(refused)?;
        self.own.put(&function);
        Ok(())
    }

    /// Drops one of the connection's own; what it was in the place of counts again. False if there is none.
    pub fn drop(&mut self, handle: &Handle, function: &ClientFunction) -> Result<bool> {
        if !self.own.has(function) {
            return Ok(false);
        }
        unregister(handle, function).map_err(refused)?;
        self.own.take(function);
        self.restore(handle).map_err(refused)?;
        Ok(true)
    }

    /// Sets a hook of the connection's own.
    pub fn set_hook(&mut self, hook: ClientHook) {
        self.own_hooks.set(hook);
        self.note_changed_hooks();
    }

    /// Removes one. False if there is none.
    pub fn remove_hook(&mut self, kind: HookKind) -> bool {
        let removed = self.own_hooks.remove(kind);
        if removed {
            self.note_changed_hooks();
        }
        removed
    }

    fn note_changed_hooks(&mut self) {
        self.hooks_changed = true;
        let new = |hook: &Arc<ClientHook>| ClientAuthorizer::new(Arc::clone(&self.asking), Arc::clone(hook));
        let authorizer = self.own_hooks.authorizer.as_ref();
        // One that is the same in all it says may be another function of the client.
        let known = self.authorizer.as_ref().map(|known| Arc::as_ptr(known.hook()));
        if known != authorizer.map(Arc::as_ptr) {
            self.authorizer = authorizer.map(new).map(Arc::new);
            self.authorizer_changed = true;
        }
    }

    /// The authorizer, if it is another one than when this was last asked.
    #[inline]
    pub fn take_changed_authorizer(&mut self) -> Option<Option<&Arc<ClientAuthorizer>>> {
        std::mem::take(&mut self.authorizer_changed).then_some(self.authorizer.as_ref())
    }

    /// The hooks of the program and the connection's own, if they are others than when this was last asked.
    #[inline]
    pub fn take_changed_hooks(&mut self) -> Option<(&Hooks, &Hooks)> {
        std::mem::take(&mut self.hooks_changed).then_some((&self.shared_hooks, &self.own_hooks))
    }

    /// This program's own functions, and what takes their place.
    fn restore(&self, handle: &Handle) -> std::result::Result<(), EngineError> {
        functions::register(handle)?;
        let shared = self.shared.iter().filter(|function| !self.own.has(function));
        shared.chain(self.own.iter()).try_for_each(|function| self.register(handle, function))
    }

    fn register(
        &self,
        handle: &Handle,
        function: &Arc<ClientFunction>,
    ) -> std::result::Result<(), EngineError> {
        let (asking, owned) = (Arc::clone(&self.asking), Arc::clone(function));
        let traits = Traits {
            arguments: function.arguments,
            deterministic: function.deterministic,
            directonly: function.directonly,
        };
        let name = &function.name;
        match function.kind {
            FunctionKind::Scalar => {
                let scalar = scalar::ClientScalar::new(asking, owned);
                handle.register_row_function(name, traits, Box::new(scalar))
            }
            FunctionKind::Aggregate | FunctionKind::Window => {
                let window = function.kind == FunctionKind::Window;
                let aggregate = group::ClientAggregate::new(asking, owned);
                handle.register_group_function(name, traits, window, Box::new(aggregate))
            }
            FunctionKind::Table => {
                let table = table::ClientTable::new(asking, owned);
                handle.register_table_function(name, Box::new(table))?;
                // SQLite has what is compiled keep the table that was there before.
                handle.expire_statements();
                Ok(())
            }
            FunctionKind::Collation => {
                handle.register_order(name, Box::new(order::ClientOrder::new(asking, owned)))
            }
        }
    }
}

fn unregister(handle: &Handle, function: &ClientFunction) -> std::result::Result<(), EngineError> {
    match function.kind {
        FunctionKind::Table => {
            handle.drop_table_function(&function.name)?;
            handle.expire_statements();
            Ok(())
        }
        FunctionKind::Collation => handle.drop_order(&function.name),
        _ => handle.drop_function(&function.name, function.arguments),
    }
}

fn refused(error: EngineError) -> Error {
    if error.code & 0xff == code::SQLITE_BUSY {
        return Error::new(
            ErrorCode::Locked,
            "a function cannot be replaced or dropped while a cursor of its connection is open; close the cursors first",
        );
    }
    Error::Engine(error, None)
}
