//! Temporary files of the engine, as the VFS opens them: they count to the program's space for such files, and a write
//! beyond it fails as on a full disk (<https://sqlite.org/c3ref/io_methods.html>).
//!
//! Invariant: a counted file has the methods of [`table`], which are those of the VFS below but for the three here; behind
//! its memory lies a [`Note`](super::file_note::Note) whose `temp` is a `Box<TempFile>` from its opening to the end of its
//! closing. The VFS below keeps the pointer to the name that it was opened by, if that was given, and reads it until then.

use super::file_note::{temp_of, Name};
use crate::temp_space;
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// Kinds of files that are temporary.
pub const KINDS: c_int = ffi::SQLITE_OPEN_TEMP_DB
    | ffi::SQLITE_OPEN_TEMP_JOURNAL
    | ffi::SQLITE_OPEN_TRANSIENT_DB
    | ffi::SQLITE_OPEN_SUBJOURNAL;

/// The name of the next one, if the client has said where they are to lie. What SQLite opens by a name ends with more than
/// one NUL: behind the first it looks for the parameters of a URI.
pub fn new_name() -> Option<Name> {
    let path = temp_space::new_path()?;
    let bytes = path.as_os_str().as_bytes().iter().chain(&[0; 3]);
    Some(bytes.map(|byte| c_char::from_ne_bytes([*byte])).collect())
}

/// The methods of the VFS below, and those of counted files.
struct Methods {
    below_at: usize,
    below: ffi::sqlite3_io_methods,
    counted: ffi::sqlite3_io_methods,
}

static METHODS: OnceLock<Methods> = OnceLock::new();

/// The methods for a counted file whose own are `below`; none if they are others than those of the first one, which does not
/// happen: the VFS below has one set for files that nobody locks.
///
/// # Safety
/// `below` must be the methods of an open file, which are static.
pub unsafe fn table(below: *const ffi::sqlite3_io_methods) -> Option<*const ffi::sqlite3_io_methods> {
    let below_at = below as usize;
    let methods = METHODS.get_or_init(|| {
        // SAFETY: by the contract above.
        let below = unsafe { *below };
        let counted = ffi::sqlite3_io_methods {
            xClose: Some(close),
            xWrite: Some(write),
            xTruncate: Some(truncate),
            ..below
        };
        Methods { below_at, below, counted }
    });
    (methods.below_at == below_at).then_some(&methods.counted as *const _)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite calls with a file that has these methods, see the invariant.
    let space = unsafe { &mut (*temp_of(file)).space };
    let end = u64::try_from(offset.saturating_add(i64::from(count))).unwrap_or(0);
    if end > space.bytes() && !space.resize(end) {
        return ffi::SQLITE_FULL;
    }
    match METHODS.get().and_then(|methods| methods.below.xWrite) {
        // SAFETY: what SQLite gave, to the method of the file's own VFS.
        Some(write) => unsafe { write(file, bytes, count, offset) },
        None => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let code = match METHODS.get().and_then(|methods| methods.below.xTruncate) {
        // SAFETY: as in `write`.
        Some(truncate) => unsafe { truncate(file, size) },
        None => ffi::SQLITE_IOERR_TRUNCATE,
    };
    // SAFETY: as in `write`.
    let space = unsafe { &mut (*temp_of(file)).space };
    let size = u64::try_from(size).unwrap_or(0);
    if code == ffi::SQLITE_OK && size < space.bytes() {
        space.resize(size);
    }
    code
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: as in `write`; nobody uses the file after this, so the box is taken back once.
    let _closed_before = unsafe { Box::from_raw(temp_of(file)) };
    match METHODS.get().and_then(|methods| methods.below.xClose) {
        // SAFETY: as in `write`.
        Some(close) => unsafe { close(file) },
        None => ffi::SQLITE_OK,
    }
}
