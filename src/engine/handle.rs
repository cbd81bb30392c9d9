//! One `sqlite3*`: status, errors, limits, checkpoints. Statements are in [`super::statement`].
//!
//! Invariant: `raw` is open as long as the handle lives, and only the thread that holds the `&Handle` calls into it
//! (NOMUTEX). It is closed with `sqlite3_close_v2`, so a statement that outlives the handle keeps it as a zombie instead
//! of dangling.

use super::error::{EngineError, ForeignKey};
use super::watched::Watched;
use libsql_ffi as ffi;
use std::any::Any;
use std::ffi::{c_char, c_int, CStr, CString};

/// An open database connection of the engine.
pub struct Handle {
    raw: *mut ffi::sqlite3,
    // Dropped after the handle is closed: SQLite holds a pointer to this box.
    pub(super) watch: Option<Box<Watched>>,
    // What the hooks of `preupdate` point to, which knows its type.
    pub(super) changes: Option<Box<dyn Any + Send>>,
}

// SAFETY: SQLite is compiled with THREADSAFE=1 and the handle opened NOMUTEX ("multi-thread"): it may move between
// threads as long as only one uses it at a time, which `&mut`/`Mutex` ownership outside this folder grants.
// https://sqlite.org/threadsafe.html
unsafe impl Send for Handle {}

/// What a transaction has done so far, as the wire numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TxStatus {
    /// Autocommit.
    Idle = 0,
    /// BEGIN has run, nothing else.
    Open = 1,
    /// It holds a read snapshot.
    Read = 2,
    /// It holds the write lock.
    Write = 3,
}

/// Memory of one connection, in bytes (`sqlite3_db_status`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// SQLITE_DBSTATUS_CACHE_USED
    pub page_cache_bytes: i64,
    /// SQLITE_DBSTATUS_SCHEMA_USED
    pub schema_bytes: i64,
    /// SQLITE_DBSTATUS_STMT_USED
    pub statement_bytes: i64,
}

/// `sqlite3_wal_checkpoint_v2`'s outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpointed {
    /// A reader or writer was in the way, so that not all was done.
    pub busy: bool,
    /// Frames in the WAL, −1 if there is none.
    pub log_frames: i32,
    /// Frames copied to the database, −1 if there is no WAL.
    pub checkpointed_frames: i32,
}

impl Handle {
    /// Takes over `raw` and closes it when dropped.
    ///
    /// # Safety
    /// `raw` must be null or what `sqlite3_open_v2` has given, and nobody else may have it.
    pub(super) unsafe fn new(raw: *mut ffi::sqlite3) -> Option<Self> {
        (!raw.is_null()).then(|| Handle { raw, watch: None, changes: None })
    }

    pub(super) fn raw(&self) -> *mut ffi::sqlite3 {
        self.raw
    }

    /// The error of the call that just failed with `code`.
    pub fn error(&self, code: c_int) -> EngineError {
        // SAFETY: `raw` is open; the text is copied before the next call on this handle can change it.
        unsafe {
            let extended = ffi::sqlite3_extended_errcode(self.raw);
            let message = text(ffi::sqlite3_errmsg(self.raw)).unwrap_or_default();
            let offset = u64::try_from(ffi::sqlite3_error_offset(self.raw)).ok();
            // MISUSE and NOMEM may come without having been noted on the handle.
            if extended & 0xff == code & 0xff {
                let (message, foreign_key) = ForeignKey::read(extended, message);
                EngineError { code: extended, message, offset, foreign_key }
            } else {
                EngineError::new(code, error_string(code))
            }
        }
    }

    /// Where the transaction stands.
    pub fn tx_status(&self) -> TxStatus {
        // SAFETY: `raw` is open; a null name asks for the highest state of all attached databases.
        let (autocommit, state) = unsafe {
            (ffi::sqlite3_get_autocommit(self.raw) != 0, ffi::sqlite3_txn_state(self.raw, std::ptr::null()))
        };
        match (autocommit, state) {
            (true, _) => TxStatus::Idle,
            (false, ffi::SQLITE_TXN_WRITE) => TxStatus::Write,
            (false, ffi::SQLITE_TXN_READ) => TxStatus::Read,
            (false, _) => TxStatus::Open,
        }
    }

    /// True outside of BEGIN … COMMIT.
    pub fn autocommit(&self) -> bool {
        // SAFETY: `raw` is open.
        unsafe { ffi::sqlite3_get_autocommit(self.raw) != 0 }
    }

    /// True while some attached database holds its write lock.
    pub fn holds_write_lock(&self) -> bool {
        // SAFETY: `raw` is open.
        unsafe { ffi::sqlite3_txn_state(self.raw, std::ptr::null()) == ffi::SQLITE_TXN_WRITE }
    }

    /// True while some attached database is read or written.
    #[inline]
    pub fn holds_any_lock(&self) -> bool {
        // SAFETY: `raw` is open.
        unsafe { ffi::sqlite3_txn_state(self.raw, std::ptr::null()) != ffi::SQLITE_TXN_NONE }
    }

    /// True while `schema` is read or written.
    pub fn holds_lock(&self, schema: &str) -> bool {
        let Ok(schema) = CString::new(schema) else { return false };
        // SAFETY: `raw` is open; the name ends with a NUL, and an unknown one gives -1.
        unsafe { ffi::sqlite3_txn_state(self.raw, schema.as_ptr()) > ffi::SQLITE_TXN_NONE }
    }

    /// Rows that the last INSERT, UPDATE or DELETE changed itself.
    pub fn changes(&self) -> i64 {
        // SAFETY: `raw` is open.
        unsafe { ffi::sqlite3_changes64(self.raw) }
    }

    /// Rows changed since the connection was opened, by triggers too.
    pub fn total_changes(&self) -> i64 {
        // SAFETY: `raw` is open.
        unsafe { ffi::sqlite3_total_changes64(self.raw) }
    }

    /// The rowid of the last row inserted on this connection.
    pub fn last_insert_rowid(&self) -> i64 {
        // SAFETY: `raw` is open.
        unsafe { ffi::sqlite3_last_insert_rowid(self.raw) }
    }

    /// The file behind a schema name ("main", "temp", an attached one): absolute and with links resolved; `None` for
    /// a temporary or in-memory one.
    pub fn file_name(&self, schema: &str) -> Option<String> {
        let schema = CString::new(schema).ok()?;
        // SAFETY: `raw` is open; SQLite owns the name, which is copied.
        unsafe { text(ffi::sqlite3_db_filename(self.raw, schema.as_ptr())) }.filter(|name| !name.is_empty())
    }

    /// The schema name of database number `index`: 0 main, 1 temp, then attached ones.
    pub fn schema_name(&self, index: c_int) -> Option<String> {
        // SAFETY: `raw` is open; an index past the end gives null.
        unsafe { text(ffi::sqlite3_db_name(self.raw, index)) }
    }

    /// True if there are exactly `count` schemas: main, temp and the attached ones.
    #[inline]
    pub fn has_schemas(&self, count: c_int) -> bool {
        // SAFETY: `raw` is open; an index past the end gives null.
        unsafe {
            !ffi::sqlite3_db_name(self.raw, count - 1).is_null()
                && ffi::sqlite3_db_name(self.raw, count).is_null()
        }
    }

    /// True if `schema` cannot be written.
    pub fn read_only(&self) -> bool {
        // SAFETY: `raw` is open and "main" exists on every handle.
        unsafe { ffi::sqlite3_db_readonly(self.raw, c"main".as_ptr()) == 1 }
    }

    /// Switches one of the boolean `SQLITE_DBCONFIG_*` options.
    pub fn configure(&self, option: c_int, on: bool) -> Result<(), EngineError> {
        // SAFETY: the boolean options take an int and a pointer to int, which may be null.
        let code = unsafe {
            ffi::sqlite3_db_config(self.raw, option, c_int::from(on), std::ptr::null_mut::<c_int>())
        };
        self.check(code)
    }

    /// Whether one of these options is on.
    pub fn is_configured(&self, option: c_int) -> bool {
        let mut on: c_int = 0;
        // SAFETY: the boolean options take an int, of which -1 changes nothing, and a pointer to int that lives through
        // the call.
        let code = unsafe { ffi::sqlite3_db_config(self.raw, option, -1, std::ptr::from_mut(&mut on)) };
        code == ffi::SQLITE_OK && on != 0
    }

    /// Sets one of the `SQLITE_LIMIT_*`; above what the engine was compiled for it gets that. Returns what it is then.
    pub fn set_limit(&self, limit: c_int, value: c_int) -> c_int {
        // SAFETY: `raw` is open; an unknown limit gives -1.
        unsafe {
            ffi::sqlite3_limit(self.raw, limit, value);
            ffi::sqlite3_limit(self.raw, limit, -1)
        }
    }

    /// The system's error number of the call that just failed with `code`, if the file could not be opened.
    pub fn system_error(&self, code: c_int) -> Option<c_int> {
        // A link that is not followed is refused before the system is asked.
        if code & 0xff != ffi::SQLITE_CANTOPEN || code == ffi::SQLITE_CANTOPEN_SYMLINK {
            return None;
        }
        // SAFETY: `raw` is open.
        Some(unsafe { ffi::sqlite3_system_errno(self.raw) }).filter(|errno| *errno > 0)
    }

    /// Checkpoints the WAL of `schema`. A busy answer is a result, not an error.
    pub fn checkpoint(&self, schema: &str, mode: c_int) -> Result<Checkpointed, EngineError> {
        let schema = CString::new(schema).unwrap_or_default();
        let (mut log, mut done) = (-1, -1);
        // SAFETY: `raw` is open; the out-pointers live through the call.
        let code =
            unsafe { ffi::sqlite3_wal_checkpoint_v2(self.raw, schema.as_ptr(), mode, &mut log, &mut done) };
        match code & 0xff {
            ffi::SQLITE_OK => Ok(Checkpointed { busy: false, log_frames: log, checkpointed_frames: done }),
            ffi::SQLITE_BUSY => Ok(Checkpointed { busy: true, log_frames: log, checkpointed_frames: done }),
            _ => Err(self.error(code)),
        }
    }

    /// Bytes that this connection holds.
    pub fn memory(&self) -> Memory {
        let status = |operation| {
            let (mut current, mut high) = (0, 0);
            // SAFETY: `raw` is open; the out-pointers live through the call.
            unsafe { ffi::sqlite3_db_status(self.raw, operation, &mut current, &mut high, 0) };
            i64::from(current)
        };
        Memory {
            page_cache_bytes: status(ffi::SQLITE_DBSTATUS_CACHE_USED),
            schema_bytes: status(ffi::SQLITE_DBSTATUS_SCHEMA_USED),
            statement_bytes: status(ffi::SQLITE_DBSTATUS_STMT_USED),
        }
    }

    pub(super) fn check(&self, code: c_int) -> Result<(), EngineError> {
        match code {
            ffi::SQLITE_OK => Ok(()),
            code => Err(self.error(code)),
        }
    }
}

/// Bytes that SQLite has allocated in the whole program.
pub fn memory_used() -> i64 {
    // SAFETY: may be called at any time.
    unsafe { ffi::sqlite3_memory_used() }
}

/// Limits what SQLite allocates in the whole program, in bytes; 0: not.
pub fn set_heap_limit(bytes: u64) {
    // SAFETY: may be called at any time.
    unsafe { ffi::sqlite3_hard_heap_limit64(i64::try_from(bytes).unwrap_or(i64::MAX)) };
}

/// SQLite's version, its source id and libSQL's version.
pub fn versions() -> (String, String, String) {
    // SAFETY: all three return static strings and may be called at any time.
    unsafe {
        (
            text(ffi::sqlite3_libversion()).unwrap_or_default(),
            text(ffi::sqlite3_sourceid()).unwrap_or_default(),
            text(ffi::libsql_libversion()).unwrap_or_default(),
        )
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: `raw` is this handle's alone, and nothing calls into it from here on. The code is always OK.
        unsafe { ffi::sqlite3_close_v2(self.raw) };
    }
}

/// `sqlite3_errstr`: what a result code means.
pub fn error_string(code: c_int) -> String {
    // SAFETY: returns a static string for every number.
    unsafe { text(ffi::sqlite3_errstr(code)).unwrap_or_default() }
}

/// # Safety
/// `pointer` must be null or point to a NUL-ended string that lives through the call.
pub(super) unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: by the contract above.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}
