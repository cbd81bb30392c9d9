//! The callbacks that every connection has: progress (stops a statement), busy (waits for a foreign lock), commit (may
//! refuse it), WAL (counts pages after a commit) and the authorizer (what a statement uses), all given to one [`Watch`].
//!
//! Invariant: SQLite holds a pointer to the box in `Handle::watch`, which is set once, before the callbacks are
//! installed, and dropped after the connection is closed. A panic must not cross into C: it is caught and stops the
//! statement. https://sqlite.org/c3ref/progress_handler.html, busy_handler.html,
//! commit_hook.html, wal_hook.html, set_authorizer.html

use super::action::{self, Ask, Decision, TableOf};
use super::handle::Handle;
use super::watch::{Use, Watch};
use super::watched::Watched;
use libsql_ffi as ffi;
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::Arc;

extern "C" {
    // Of the vendored engine (vendor/README.md).
    fn libsql_authorizer_in_module(
        db: *mut ffi::sqlite3,
        schema: *const c_char,
        table: *const c_char,
    ) -> c_int;
    fn libsql_authorizer_is_nested(db: *mut ffi::sqlite3) -> c_int;
    fn libsql_authorizer_indexed_table(
        db: *mut ffi::sqlite3,
        schema: *const c_char,
        table: *const c_char,
        next: *mut c_int,
        column: *mut *const c_char,
    ) -> *const c_char;
}

/// How many of the engine's instructions run between two looks at the watch: about 20 µs of work.
pub const INSTRUCTIONS_PER_LOOK: c_int = 1000;

/// While it lives, what is compiled on the handle, also anew in a step, is this program's own.
pub struct Own<'h>(Option<&'h Cell<u32>>);

impl Drop for Own<'_> {
    fn drop(&mut self) {
        if let Some(own) = self.0 {
            own.set(own.get().saturating_sub(1));
        }
    }
}

impl Handle {
    /// What is compiled from here on is this program's own, until the guard is dropped.
    pub fn own(&self) -> Own<'_> {
        self.begin_own();
        Own(self.watch.as_deref().map(|watched| &watched.own))
    }

    /// The same without a guard; [`Self::end_own`] ends it.
    pub fn begin_own(&self) {
        if let Some(watched) = &self.watch {
            watched.own.set(watched.own.get() + 1);
        }
    }

    /// Ends what [`Self::begin_own`] began.
    pub fn end_own(&self) {
        drop(Own(self.watch.as_deref().map(|watched| &watched.own)));
    }

    /// True if what is compiled now is this program's own.
    pub fn is_own(&self) -> bool {
        self.watch.as_deref().is_some_and(|watched| watched.own.get() > 0)
    }

    /// Installs the watch and its callbacks; a second call is ignored.
    pub fn watch(&mut self, watch: Arc<dyn Watch>) {
        if self.watch.is_none() {
            self.watch = Some(Box::new(Watched { watch, own: Cell::new(0), db: self.raw() }));
            self.install_callbacks();
            self.install_lasting_callbacks();
        }
    }

    /// Those that no pragma replaces.
    fn install_lasting_callbacks(&self) {
        let Some(watch) = &self.watch else { return };
        let context = std::ptr::from_ref::<Watched>(watch).cast_mut().cast::<c_void>();
        // SAFETY: as for `install_callbacks`.
        unsafe {
            ffi::sqlite3_commit_hook(self.raw(), Some(before_commit), context);
            ffi::sqlite3_set_authorizer(self.raw(), Some(on_use), context);
        }
    }

    /// Has every statement of the connection compiled anew before its next run.
    /// https://sqlite.org/c3ref/set_authorizer.html says that setting the callback does so.
    pub fn expire_statements(&self) {
        self.install_lasting_callbacks();
    }

    /// Installs the callbacks again: `PRAGMA busy_timeout` and `PRAGMA wal_autocheckpoint` replace them as they are
    /// prepared.
    pub fn install_callbacks(&self) {
        let Some(watch) = &self.watch else { return };
        let context = std::ptr::from_ref::<Watched>(watch).cast_mut().cast::<c_void>();
        // SAFETY: the handle is open and `context` lives longer than it, by the invariant above.
        unsafe {
            ffi::sqlite3_progress_handler(self.raw(), INSTRUCTIONS_PER_LOOK, Some(on_progress), context);
            ffi::sqlite3_busy_handler(self.raw(), Some(on_busy), context);
            ffi::sqlite3_wal_hook(self.raw(), Some(on_commit), context);
        }
    }

    /// Makes `PRAGMA wal_autocheckpoint` read `pages`, at the price of the WAL callback: call
    /// [`Self::install_callbacks`] before anything commits.
    pub fn set_plain_autocheckpoint(&self, pages: u32) {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_wal_autocheckpoint(self.raw(), c_int::try_from(pages).unwrap_or(c_int::MAX)) };
    }

    /// Makes `PRAGMA busy_timeout` read `ms`, at the price of the busy callback: call [`Self::install_callbacks`] next.
    pub fn set_plain_busy_timeout(&self, ms: u32) {
        // SAFETY: the handle is open.
        unsafe { ffi::sqlite3_busy_timeout(self.raw(), c_int::try_from(ms).unwrap_or(c_int::MAX)) };
    }
}

/// # Safety
/// `context` must be the pointer that `install_callbacks` gave.
unsafe fn watched_of<'a>(context: *mut c_void) -> &'a Watched {
    // SAFETY: by the contract above it points to what the box holds.
    unsafe { &*context.cast::<Watched>() }
}

/// # Safety
/// As for [`watched_of`].
unsafe fn watch_of<'a>(context: *mut c_void) -> &'a Arc<dyn Watch> {
    // SAFETY: by the same contract.
    unsafe { &watched_of(context).watch }
}

/// # Safety
/// `name` must be null or NUL-ended, and live as long as it is used.
unsafe fn bytes<'a>(name: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: by the contract above.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

unsafe extern "C" fn on_progress(context: *mut c_void) -> c_int {
    // SAFETY: SQLite hands back the context of the installation.
    let watch = unsafe { watch_of(context) };
    c_int::from(catch_unwind(AssertUnwindSafe(|| watch.should_stop())).unwrap_or(true))
}

unsafe extern "C" fn on_busy(context: *mut c_void, tries: c_int) -> c_int {
    // SAFETY: SQLite hands back the context of the installation.
    let watch = unsafe { watch_of(context) };
    let tries = u32::try_from(tries).unwrap_or(u32::MAX);
    c_int::from(catch_unwind(AssertUnwindSafe(|| watch.wait_for_lock(tries))).unwrap_or(false))
}

unsafe extern "C" fn before_commit(context: *mut c_void) -> c_int {
    // SAFETY: SQLite hands back the context of the installation.
    let watch = unsafe { watch_of(context) };
    c_int::from(!catch_unwind(AssertUnwindSafe(|| watch.may_commit())).unwrap_or(false))
}

/// The authorizer: the connection's policy, and then the rules that hold on every connection.
unsafe extern "C" fn on_use(
    context: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    schema: *const c_char,
    through: *const c_char,
) -> c_int {
    // SAFETY: SQLite hands back the context of the installation.
    let watched = unsafe { watched_of(context) };
    // The policy comes first: what it denies takes no turn, and nothing is looked up for it.
    let decided = if watched.own.get() == 0 && watched.watch.has_policy() {
        // SAFETY: SQLite hands over null or NUL-ended names that live through the call.
        let ask = unsafe { action::ask(code, bytes(first), bytes(second), bytes(schema), bytes(through)) };
        let is_engines = || {
            // SAFETY: the connection is open while it asks.
            if unsafe { libsql_authorizer_is_nested(watched.db) } != 0 {
                return true;
            }
            through.is_null()
                && (code != ffi::SQLITE_PRAGMA || ask.is_pragma_of_modules())
                // SAFETY: these are the arguments of this call.
                && unsafe { is_by_module(watched, code, first, second, schema) }
        };
        let decide = |ask: &Ask<'_>| {
            catch_unwind(AssertUnwindSafe(|| watched.watch.decide(ask, &is_engines)))
                .unwrap_or(Decision::Deny)
        };
        let mut decided = decide(&ask);
        let mut next = is_of_index(code, &ask).then_some(0);
        // What a vector index keeps is shown to those alone who may read the columns that it tells of.
        while let (Decision::Allow, Some(number)) = (decided, next) {
            // SAFETY: these are the arguments of this call.
            let Some((names, after)) = (unsafe { indexed(watched, number, first, schema) }) else { break };
            decided = decide(&Ask { names: names.map(Some), ..ask });
            next = after;
        }
        decided
    } else {
        Decision::Allow
    };
    if decided == Decision::Deny {
        return ffi::SQLITE_DENY;
    }
    if matches!(code, ffi::SQLITE_READ | ffi::SQLITE_SELECT) {
        // The most frequent ones, about which there is no other rule.
        return if decided == Decision::Ignore { ffi::SQLITE_IGNORE } else { ffi::SQLITE_OK };
    }
    // SAFETY: these are the arguments of this call.
    let rules = unsafe { on_use_by_rule(context, code, first, second, through) };
    match (rules, decided) {
        (ffi::SQLITE_OK, Decision::Ignore) => ffi::SQLITE_IGNORE,
        (rules, _) => rules,
    }
}

/// What is read may be kept by a vector index, by the name of its table.
fn is_of_index(code: c_int, ask: &Ask<'_>) -> bool {
    const SHADOW: &[u8] = b"_shadow";
    let name = ask.names[0].filter(|_| code == ffi::SQLITE_READ).unwrap_or_default();
    let end = name.len().checked_sub(SHADOW.len()).and_then(|start| name.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(SHADOW))
}

/// The table of which a vector index keeps what is read, if it is that, a column that it tells of, and the number of the next one;
/// that of the first is 0.
///
/// # Safety
/// The arguments must be those of a call of the authorizer.
unsafe fn indexed<'a>(
    watched: &Watched,
    number: c_int,
    table: *const c_char,
    schema: *const c_char,
) -> Option<([&'a [u8]; 2], Option<c_int>)> {
    let (mut column, mut next) = (ptr::null(), number);
    // SAFETY: the connection is open while it asks; what is returned is of its schema, which does not change meanwhile.
    unsafe {
        let of = libsql_authorizer_indexed_table(watched.db, schema, table, &mut next, &mut column);
        Some(([bytes(of)?, bytes(column)?], (next != 0).then_some(next)))
    }
}

/// Whether the module of a virtual table does it, to a table of its own.
///
/// # Safety
/// The arguments must be those of a call of the authorizer.
unsafe fn is_by_module(
    watched: &Watched,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    schema: *const c_char,
) -> bool {
    let (schema, table) = match action::done_by_modules(code) {
        None => return false,
        Some(TableOf::None) => (ptr::null(), ptr::null()),
        Some(TableOf::First) if !first.is_null() => (schema, first),
        Some(TableOf::Second) if !second.is_null() => (schema, second),
        Some(TableOf::SecondOfFirst) if !second.is_null() => (first, second),
        Some(_) => return false,
    };
    // SAFETY: the connection is open while it asks, and the names are null or NUL-ended.
    unsafe { libsql_authorizer_in_module(watched.db, schema, table) != 0 }
}

/// What this program's own rules say.
///
/// # Safety
/// The arguments must be those of a call of the authorizer.
unsafe fn on_use_by_rule(
    context: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    trigger: *const c_char,
) -> c_int {
    let (what, name) = match action {
        ffi::SQLITE_PRAGMA if second.is_null() => (Use::PragmaRead, first),
        ffi::SQLITE_PRAGMA => (Use::PragmaCall, first),
        ffi::SQLITE_FUNCTION => (Use::Function, second),
        ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE if trigger.is_null() => {
            (Use::Rows, first)
        }
        ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE => (Use::RowsOfTrigger, first),
        ffi::SQLITE_CREATE_INDEX => (Use::NewIndex, first),
        ffi::SQLITE_CREATE_TEMP_INDEX => (Use::NewTemporaryIndex, first),
        ffi::SQLITE_CREATE_TEMP_TABLE | ffi::SQLITE_DROP_TEMP_INDEX | ffi::SQLITE_DROP_TEMP_TABLE => {
            (Use::TemporarySchema, first)
        }
        ffi::SQLITE_CREATE_TABLE => (Use::NewTable, first),
        ffi::SQLITE_CREATE_TRIGGER
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_CREATE_VTABLE
        | ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_DROP_TRIGGER
        | ffi::SQLITE_DROP_VIEW
        | ffi::SQLITE_DROP_VTABLE
        | ffi::SQLITE_REINDEX => (Use::Schema, first),
        ffi::SQLITE_ALTER_TABLE => (Use::Schema, second),
        ffi::SQLITE_CREATE_TEMP_TRIGGER => (Use::TableOfNew, second),
        ffi::SQLITE_ATTACH if first.is_null() => (Use::AttachUnknown, c"".as_ptr()),
        ffi::SQLITE_ATTACH => (Use::Attach, first),
        _ => return ffi::SQLITE_OK,
    };
    if name.is_null() {
        return ffi::SQLITE_OK;
    }
    let table = match action {
        ffi::SQLITE_CREATE_INDEX | ffi::SQLITE_CREATE_TEMP_INDEX | ffi::SQLITE_CREATE_TRIGGER => second,
        _ => ptr::null(),
    };
    // SAFETY: SQLite hands back the context of the installation, and NUL-ended names that live through the call.
    let (watch, name, table) = unsafe {
        let table = if table.is_null() { None } else { Some(CStr::from_ptr(table)) };
        (watch_of(context), CStr::from_ptr(name), table)
    };
    // SAFETY: these are the names of this call.
    let asked = unsafe { action::ask(action, bytes(first), bytes(second), None, None) }.action;
    let allowed = catch_unwind(AssertUnwindSafe(|| {
        table.is_none_or(|table| watch.may_use(Use::TableOfNew, asked, &table.to_string_lossy()))
            && watch.may_use(what, asked, &name.to_string_lossy())
    }));
    match allowed {
        Ok(true) => ffi::SQLITE_OK,
        _ => ffi::SQLITE_DENY,
    }
}

unsafe extern "C" fn on_commit(
    context: *mut c_void,
    _db: *mut ffi::sqlite3,
    schema: *const c_char,
    pages: c_int,
) -> c_int {
    // SAFETY: SQLite hands back the context of the installation, and a NUL-ended schema name.
    let (watch, schema) = unsafe { (watch_of(context), CStr::from_ptr(schema)) };
    let pages = u32::try_from(pages).unwrap_or(0);
    // The commit has happened: nothing that fails here may turn it into an error.
    let _ = catch_unwind(AssertUnwindSafe(|| watch.committed(&schema.to_string_lossy(), pages)));
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{code, open, query};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Stops whatever still runs once it has let a commit happen.
    #[derive(Default)]
    struct StopsBehindCommits(AtomicBool);

    impl Watch for StopsBehindCommits {
        fn should_stop(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }

        fn wait_for_lock(&self, _tries: u32) -> bool {
            false
        }

        fn committed(&self, _schema: &str, _pages: u32) {}

        fn may_commit(&self) -> bool {
            self.0.store(true, Ordering::Relaxed);
            true
        }

        fn may_use(&self, _what: Use, _action: action::Action, _name: &str) -> bool {
            true
        }
    }

    #[test]
    fn what_has_committed_is_not_stopped_any_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flags = code::SQLITE_OPEN_READWRITE | code::SQLITE_OPEN_CREATE;
        let mut handle = open::open(runtime.handle(), ":memory:", flags).unwrap();
        // More instructions without a jump than between two looks, so that a look is due as the statement ends.
        let (names, values): (Vec<_>, Vec<_>) = (0..1500).map(|n| (format!("c{n}"), n.to_string())).unzip();
        query::run(&handle, &format!("CREATE TABLE t({})", names.join(", "))).unwrap();
        handle.watch(Arc::new(StopsBehindCommits::default()));
        query::run(&handle, &format!("INSERT INTO t VALUES ({})", values.join(", "))).unwrap();
    }
}
