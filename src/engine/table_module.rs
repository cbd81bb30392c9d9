//! What the tables that exist by their name alone have in common: SQLite's description of their functions, and their errors.
//!
//! Invariant: a module is never changed and holds no pointer but those to functions. An error message is of SQLite's
//! own memory. https://sqlite.org/vtab.html#eponymous_only_virtual_tables

use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void};

/// The functions of a table that is read and never written.
pub(super) struct TableModule(pub ffi::sqlite3_module);

// SAFETY: it is only read, and holds pointers to functions.
unsafe impl Sync for TableModule {}

/// The module of a table that exists by its name alone: it has no `xCreate`, and writes nothing.
pub(super) const EPONYMOUS: ffi::sqlite3_module = ffi::sqlite3_module {
    iVersion: 0,
    xCreate: None,
    xConnect: None,
    xBestIndex: None,
    xDisconnect: None,
    xDestroy: None,
    xOpen: None,
    xClose: None,
    xFilter: None,
    xNext: None,
    xEof: None,
    xColumn: None,
    xRowid: None,
    xUpdate: None,
    xBegin: None,
    xSync: None,
    xCommit: None,
    xRollback: None,
    xFindFunction: None,
    xRename: None,
    xSavepoint: None,
    xRelease: None,
    xRollbackTo: None,
    xShadowName: None,
    xIntegrity: None,
    reserved: [None; 5],
    xPreparedSql: None,
};

/// SQLite's part of a table and of a cursor, before it has filled in its own.
pub(super) const TABLE: ffi::sqlite3_vtab =
    ffi::sqlite3_vtab { pModule: std::ptr::null(), nRef: 0, zErrMsg: std::ptr::null_mut() };
pub(super) const CURSOR: ffi::sqlite3_vtab_cursor = ffi::sqlite3_vtab_cursor { pVtab: std::ptr::null_mut() };

/// Leaves `message` as the error of a call of `table`, in the place of one that is there, and gives `code` back.
///
/// # Safety
/// `table` must be that of the running call.
pub(super) unsafe fn refuse(table: *mut ffi::sqlite3_vtab, message: &str, code: c_int) -> c_int {
    let bytes = c_int::try_from(message.len()).unwrap_or(0);
    // SAFETY: by the contract above; SQLite frees the message, which has to be of its own memory.
    unsafe {
        ffi::sqlite3_free((*table).zErrMsg.cast::<c_void>());
        let message = message.as_ptr().cast::<c_char>();
        (*table).zErrMsg = ffi::sqlite3_mprintf(c"%.*s".as_ptr(), bytes, message);
    }
    code
}
