//! Opens databases through the `libsql` builder and captures the raw handle, which that crate does not give away.
//!
//! `sqlite3_auto_extension` calls [`capture`] on the thread that opens, inside `Database::connect`; the handle waits in
//! a thread-local until [`open`] picks it up. libsql must come first: it configures SQLite once, inside a `Once` that
//! panics if somebody initialised the library before.

use super::handle::Handle;
use libsql::{Builder, OpenFlags};
use libsql_ffi as ffi;
use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::sync::OnceLock;
use tokio::runtime::Handle as Runtime;

thread_local! {
    static CAPTURED: Cell<*mut ffi::sqlite3> = const { Cell::new(std::ptr::null_mut()) };
}

unsafe extern "C" fn capture(
    db: *mut ffi::sqlite3,
    _error: *mut *const c_char,
    _api: *const ffi::sqlite3_api_routines,
) -> c_int {
    CAPTURED.with(|slot| slot.set(db));
    ffi::SQLITE_OK
}

/// The engine could not be set up, or refused to open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// libsql's own words; what SQLite said is in there as a result code.
    #[error("{0}")]
    Libsql(#[from] libsql::Error),
    /// `sqlite3_vfs_register` or `sqlite3_auto_extension` failed, so that no handle can be had.
    #[error("SQLite could not be set up (sqlite3_vfs_register or sqlite3_auto_extension): code {0}")]
    SetUp(c_int),
    /// Something that this program uses was left out of the engine.
    #[error(
        "the engine was compiled without {0}; build where .cargo/config.toml of libsql_port sets its flags"
    )]
    LeftOut(&'static str),
    /// libsql connected without opening a handle on this thread.
    #[error("libsql opened no handle on this thread")]
    NoHandle,
}

/// Initialises libsql, then SQLite, then its VFS and the capture: once, in this order. Later calls give the first one's result.
pub fn initialise(runtime: &Runtime) -> Result<(), OpenError> {
    static DONE: OnceLock<c_int> = OnceLock::new();
    if DONE.get().is_none() {
        runtime.block_on(Builder::new_local(":memory:").build())?.connect()?;
    }
    let code = *DONE.get_or_init(|| {
        let registered = super::vfs::register();
        if registered != ffi::SQLITE_OK {
            return registered;
        }
        // SAFETY: `capture` has the prototype of an entry point, touches only its arguments and a thread-local, and
        // stays loaded for as long as the program runs (https://sqlite.org/c3ref/auto_extension.html).
        unsafe { ffi::sqlite3_auto_extension(Some(capture)) }
    });
    // `tables_used`, by which a violated foreign key is found.
    let option = c"ENABLE_BYTECODE_VTAB";
    // SAFETY: a NUL-ended string that lives through the call.
    let complete = unsafe { ffi::sqlite3_compileoption_used(option.as_ptr()) } != 0;
    match code {
        ffi::SQLITE_OK if !complete => Err(OpenError::LeftOut("ENABLE_BYTECODE_VTAB")),
        ffi::SQLITE_OK => Ok(()),
        code => Err(OpenError::SetUp(code)),
    }
}

/// Opens `path` (a file, a `file:` URI, `":memory:"`) with `SQLITE_OPEN_*` bits and returns the handle with its owner.
/// The handle has no mutex of its own: whoever holds it uses it from one thread at a time.
pub fn open(runtime: &Runtime, path: &str, flags: c_int) -> Result<Handle, OpenError> {
    initialise(runtime)?;
    let flags = OpenFlags::from_bits_retain(flags | ffi::SQLITE_OPEN_NOMUTEX);
    let database = runtime.block_on(Builder::new_local(path).flags(flags).build())?;
    CAPTURED.with(|slot| slot.set(std::ptr::null_mut()));
    let connection = database.connect()?;
    let raw = CAPTURED.with(|slot| slot.replace(std::ptr::null_mut()));
    // SAFETY: `raw` was opened just now by `connection`, which closes it when it is dropped and which goes with it.
    unsafe { Handle::new(raw, connection, database) }.ok_or(OpenError::NoHandle)
}
