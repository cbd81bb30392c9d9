//! Opens databases. libsql must come first: it configures SQLite once, inside a `Once` that panics if somebody initialised
//! the library before.

use super::error::EngineError;
use super::handle::{error_string, Handle};
use libsql::Builder;
use libsql_ffi as ffi;
use std::ffi::{c_int, CString};
use std::sync::OnceLock;
use tokio::runtime::Handle as Runtime;

/// The engine could not be set up, or refused to open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// libsql could not set the engine up.
    #[error("{0}")]
    Libsql(#[from] libsql::Error),
    /// `sqlite3_vfs_register` failed.
    #[error("SQLite could not be set up (sqlite3_vfs_register): code {0}")]
    SetUp(c_int),
    /// Something that this program uses was left out of the engine.
    #[error(
        "the engine was compiled without {0}; build where .cargo/config.toml of libsql_port sets its flags"
    )]
    LeftOut(&'static str),
    /// The path has a NUL byte inside.
    #[error("a path has no NUL byte")]
    Nul,
    /// `sqlite3_open_v2` failed, with the system's error number if it was a call of the system that failed.
    #[error("{}", .0.message)]
    Refused(EngineError, Option<c_int>),
}

/// Initialises libsql, then SQLite, then its VFS: once, in this order. Later calls give the first one's result.
pub fn initialise(runtime: &Runtime) -> Result<(), OpenError> {
    static DONE: OnceLock<c_int> = OnceLock::new();
    if DONE.get().is_none() {
        runtime.block_on(Builder::new_local(":memory:").build())?.connect()?;
    }
    let code = *DONE.get_or_init(super::vfs::register);
    // One stands for all that .cargo/config.toml asks for: a build that has missed it lacks what the documents promise.
    let option = c"ENABLE_BYTECODE_VTAB";
    // SAFETY: a NUL-ended string that lives through the call.
    let complete = unsafe { ffi::sqlite3_compileoption_used(option.as_ptr()) } != 0;
    match code {
        ffi::SQLITE_OK if !complete => Err(OpenError::LeftOut("ENABLE_BYTECODE_VTAB")),
        ffi::SQLITE_OK => Ok(()),
        code => Err(OpenError::SetUp(code)),
    }
}

/// Opens `path` (a file, a `file:` URI, `":memory:"`) with `SQLITE_OPEN_*` bits. The handle has no mutex of its own:
/// whoever holds it uses it from one thread at a time.
pub fn open(runtime: &Runtime, path: &str, flags: c_int) -> Result<Handle, OpenError> {
    initialise(runtime)?;
    let path = CString::new(path).map_err(|_| OpenError::Nul)?;
    let flags = flags | ffi::SQLITE_OPEN_NOMUTEX | ffi::SQLITE_OPEN_EXRESCODE;
    let mut raw = std::ptr::null_mut();
    // SAFETY: a NUL-ended string and a place for the handle, which live through the call; a null VFS is the default one.
    let code = unsafe { ffi::sqlite3_open_v2(path.as_ptr(), &mut raw, flags, std::ptr::null()) };
    // A handle comes with most failures too, for their message, and must be closed like any other.
    // SAFETY: what was opened just now is null or a handle that nobody else has.
    let handle = unsafe { Handle::new(raw) };
    match (code, handle) {
        (ffi::SQLITE_OK, Some(handle)) => Ok(handle),
        (code, Some(handle)) => Err(OpenError::Refused(handle.error(code), handle.system_error(code))),
        (code, None) => Err(OpenError::Refused(EngineError::new(code, error_string(code)), None)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    /// Bytes that the engine has allocated for the whole process.
    fn allocated() -> i64 {
        // SAFETY: reads a counter.
        unsafe { ffi::sqlite3_memory_used() }
    }

    #[test]
    fn what_could_not_be_opened_leaves_nothing_and_says_why() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let missing = folder.path().join("none/none.db");
        let refuse =
            || open(runtime.handle(), missing.to_str().unwrap(), ffi::SQLITE_OPEN_READWRITE).err().unwrap();
        let error = refuse();
        assert!(
            matches!(&error, OpenError::Refused(refused, Some(libc::ENOENT)) if refused.code & 0xff == ffi::SQLITE_CANTOPEN)
        );
        assert_eq!(error.to_string(), "unable to open database file");
        let before = allocated();
        for _ in 0..10_000 {
            refuse();
        }
        // Other tests of this process allocate too, though not thirteen megabytes.
        assert!(allocated() - before < 4 << 20, "{before}, then {}", allocated());
    }

    #[test]
    fn a_path_with_a_nul_byte_is_refused() {
        let error = open(runtime().handle(), "a\0b", ffi::SQLITE_OPEN_READWRITE).err().unwrap();
        assert!(matches!(error, OpenError::Nul));
    }
}
