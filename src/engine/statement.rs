//! One `sqlite3_stmt*`: prepare, bind, step, read columns.
//!
//! Invariants: a `RawStatement` is finalized exactly once, when dropped. Parameters bound without a copy are only
//! reachable through [`Bound`], which borrows them and resets and clears the statement before the borrow ends. What
//! `column` returns borrows the statement, and stepping needs it mutably, so no value outlives its row.

use super::error::EngineError;
use super::handle::{text, Handle};
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A compiled statement.
pub struct RawStatement {
    pub(super) raw: *mut ffi::sqlite3_stmt,
}

// SAFETY: as for `Handle`: a statement is used by one thread at a time, the one that holds its connection.
unsafe impl Send for RawStatement {}

/// What a step gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A row can be read with `column`.
    Row,
    /// The statement has run to its end.
    Done,
}

/// One value of the current row; text and blobs are the engine's own bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Column<'a> {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// TEXT or BLOB: the wire does not tell them apart.
    Bytes(&'a [u8]),
}

/// The statement that a text starts with, and where the text goes on.
pub struct Prepared {
    /// `None` if the text holds white space and comments only.
    pub statement: Option<RawStatement>,
    /// Bytes of the text that belong to it.
    pub consumed: usize,
}

/// Which of a column's names to read.
#[derive(Debug, Clone, Copy)]
pub enum ColumnText {
    /// Its name in the result.
    Name,
    /// Its declared type.
    DeclaredType,
    /// The schema of the table it comes from.
    Database,
    /// That table.
    Table,
    /// The column of that table.
    Origin,
}

impl RawStatement {
    /// Compiles the first statement of `sql` (`sqlite3_prepare_v3`); `kept` tells the engine that it will be used often.
    pub fn prepare(handle: &Handle, sql: &str, kept: bool) -> Result<Prepared, EngineError> {
        let flags = if kept { ffi::SQLITE_PREPARE_PERSISTENT as u32 } else { 0 };
        let start = sql.as_ptr().cast::<c_char>();
        let Ok(length) = c_int::try_from(sql.len()) else {
            return Err(EngineError::new(ffi::SQLITE_TOOBIG, "SQL text of 2 GiB or more"));
        };
        // SAFETY: `start` points to `length` bytes that live through the call.
        unsafe { Self::compile(handle, start, length, flags) }
    }

    /// Compiles the statement at byte `at` of `text`; `consumed` counts from there. The NUL at the text's end spares the
    /// engine a copy of all that is left of it, which for a long script would be one of the whole for each statement.
    pub fn prepare_at(handle: &Handle, text: &CStr, at: usize) -> Result<Prepared, EngineError> {
        let rest = &text.to_bytes_with_nul()[at.min(text.count_bytes())..];
        // SAFETY: `rest` ends with a NUL, as the length −1 promises, and lives through the call.
        unsafe { Self::compile(handle, rest.as_ptr().cast::<c_char>(), -1, 0) }
    }

    /// # Safety
    /// `start` must point to `length` bytes, or for a negative length to a NUL-ended string, that live through the call.
    unsafe fn compile(
        handle: &Handle,
        start: *const c_char,
        length: c_int,
        flags: u32,
    ) -> Result<Prepared, EngineError> {
        let mut raw = std::ptr::null_mut();
        let mut tail = std::ptr::null::<c_char>();
        // SAFETY: the handle is open, the text is as the contract says, the out-pointers live through the call.
        let code =
            unsafe { ffi::sqlite3_prepare_v3(handle.raw(), start, length, flags, &mut raw, &mut tail) };
        handle.check(code)?;
        // `tail` points into the text, at its end at most.
        let consumed = (tail as usize).saturating_sub(start as usize);
        let statement = if raw.is_null() { None } else { Some(RawStatement { raw }) };
        Ok(Prepared { statement, consumed })
    }

    /// The text that it was compiled from.
    pub fn sql(&self) -> Option<String> {
        // SAFETY: `raw` is a statement that was not finalized; the text is copied.
        unsafe { text(ffi::sqlite3_sql(self.raw)) }
    }

    /// Runs on to the next row or to the end. After an error the statement must be reset.
    pub fn step(&mut self) -> Result<Step, c_int> {
        // SAFETY: `raw` is a statement that was not finalized.
        match unsafe { ffi::sqlite3_step(self.raw) } {
            ffi::SQLITE_ROW => Ok(Step::Row),
            ffi::SQLITE_DONE => Ok(Step::Done),
            code => Err(code),
        }
    }

    /// Back to before the first row; ends the statement's read or write. Between two rows of a statement that writes,
    /// outside of a transaction, this is what commits, and the error is the commit's. After a failed step it repeats
    /// that step's error.
    pub fn reset(&mut self) -> Result<(), c_int> {
        // SAFETY: `raw` is a statement that was not finalized.
        check(unsafe { ffi::sqlite3_reset(self.raw) })
    }

    /// Sets all parameters to NULL.
    pub fn clear_bindings(&mut self) {
        // SAFETY: `raw` is a statement that was not finalized.
        unsafe { ffi::sqlite3_clear_bindings(self.raw) };
    }

    /// Borrows the statement for one run with parameters that live for `'p`.
    pub fn bound<'p>(&mut self) -> Bound<'_, 'p> {
        Bound { statement: self, parameters: PhantomData }
    }

    /// True if it writes no database file (`sqlite3_stmt_readonly`; BEGIN IMMEDIATE and EXCLUSIVE count as writing).
    pub fn read_only(&self) -> bool {
        // SAFETY: `raw` is a statement that was not finalized.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw) != 0 }
    }

    /// 0 for a plain statement, 1 for EXPLAIN, 2 for EXPLAIN QUERY PLAN.
    pub fn explain(&self) -> u8 {
        // SAFETY: `raw` is a statement that was not finalized.
        u8::try_from(unsafe { ffi::sqlite3_stmt_isexplain(self.raw) }).unwrap_or(0)
    }

    /// How often the engine compiled it again since then: its columns may have changed.
    pub fn recompilations(&self) -> c_int {
        // SAFETY: `raw` is a statement that was not finalized.
        unsafe { ffi::sqlite3_stmt_status(self.raw, ffi::SQLITE_STMTSTATUS_REPREPARE, 0) }
    }

    /// What it takes of the engine's memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        // SAFETY: `raw` is a statement that was not finalized.
        let bytes = unsafe { ffi::sqlite3_stmt_status(self.raw, ffi::SQLITE_STMTSTATUS_MEMUSED, 0) };
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Columns of a row, 0 for a statement that yields none.
    pub fn column_count(&self) -> c_int {
        // SAFETY: `raw` is a statement that was not finalized.
        unsafe { ffi::sqlite3_column_count(self.raw) }
    }

    /// One of the names of column `index`.
    pub fn column_text(&self, index: c_int, which: ColumnText) -> Option<String> {
        // SAFETY: `raw` is a statement that was not finalized; an index out of range gives null; the text is copied.
        unsafe {
            text(match which {
                ColumnText::Name => ffi::sqlite3_column_name(self.raw, index),
                ColumnText::DeclaredType => ffi::sqlite3_column_decltype(self.raw, index),
                ColumnText::Database => ffi::sqlite3_column_database_name(self.raw, index),
                ColumnText::Table => ffi::sqlite3_column_table_name(self.raw, index),
                ColumnText::Origin => ffi::sqlite3_column_origin_name(self.raw, index),
            })
        }
    }

    /// The largest parameter number.
    pub fn parameter_count(&self) -> c_int {
        // SAFETY: `raw` is a statement that was not finalized.
        unsafe { ffi::sqlite3_bind_parameter_count(self.raw) }
    }

    /// The name of parameter `index` (from 1) with its prefix, `None` for a plain `?`.
    pub fn parameter_name(&self, index: c_int) -> Option<String> {
        // SAFETY: `raw` is a statement that was not finalized; the text is copied.
        unsafe { text(ffi::sqlite3_bind_parameter_name(self.raw, index)) }
    }

    /// Value `index` (from 0, below `column_count`) of the row that the last step gave.
    #[inline]
    pub fn column(&self, index: c_int) -> Column<'_> {
        // SAFETY: `raw` is a statement that was not finalized. On a NOMUTEX handle `sqlite3_column_value` gives the
        // engine's own value, whose bytes stay until the next step, reset or conversion; the borrow of `self` forbids
        // the first two.
        unsafe { value_of(ffi::sqlite3_column_value(self.raw, index)) }
    }

    /// Binds NULL.
    pub fn bind_null(&mut self, index: c_int) -> Result<(), c_int> {
        // SAFETY: `raw` is a statement that was not finalized; a bad index is an error code.
        check(unsafe { ffi::sqlite3_bind_null(self.raw, index) })
    }

    /// Binds an integer.
    pub fn bind_integer(&mut self, index: c_int, value: i64) -> Result<(), c_int> {
        // SAFETY: as for `bind_null`.
        check(unsafe { ffi::sqlite3_bind_int64(self.raw, index, value) })
    }

    /// Binds a float; the engine turns NaN into NULL.
    pub fn bind_real(&mut self, index: c_int, value: f64) -> Result<(), c_int> {
        // SAFETY: as for `bind_null`.
        check(unsafe { ffi::sqlite3_bind_double(self.raw, index, value) })
    }

    /// Binds text of which the engine keeps a copy.
    pub fn bind_text_copied(&mut self, index: c_int, value: &[u8]) -> Result<(), c_int> {
        // SAFETY: the engine copies the bytes before the call returns.
        unsafe { self.bind_text(index, value, ffi::SQLITE_TRANSIENT()) }
    }

    /// Binds a blob of which the engine keeps a copy.
    pub fn bind_blob_copied(&mut self, index: c_int, value: &[u8]) -> Result<(), c_int> {
        // SAFETY: the engine copies the bytes before the call returns.
        unsafe { self.bind_blob(index, value, ffi::SQLITE_TRANSIENT()) }
    }

    /// # Safety
    /// With a null destructor (SQLITE_STATIC) the bytes must live until the parameter is bound anew or cleared.
    unsafe fn bind_text(&mut self, index: c_int, value: &[u8], keep: Destructor) -> Result<(), c_int> {
        // SAFETY: `raw` is a statement that was not finalized; pointer and length belong together.
        check(unsafe {
            ffi::sqlite3_bind_text64(
                self.raw,
                index,
                value.as_ptr().cast::<c_char>(),
                value.len() as u64,
                keep,
                ffi::SQLITE_UTF8 as u8,
            )
        })
    }

    /// # Safety
    /// As for `bind_text`.
    unsafe fn bind_blob(&mut self, index: c_int, value: &[u8], keep: Destructor) -> Result<(), c_int> {
        // SAFETY: as for `bind_text`. An empty slice has a dangling, but not a null pointer: it binds an empty blob.
        check(unsafe {
            ffi::sqlite3_bind_blob64(
                self.raw,
                index,
                value.as_ptr().cast::<c_void>(),
                value.len() as u64,
                keep,
            )
        })
    }
}

/// # Safety
/// `value` must be a value of the engine that stays as it is for `'a`: it is not read in another form meanwhile.
#[inline]
pub(super) unsafe fn value_of<'a>(value: *mut ffi::sqlite3_value) -> Column<'a> {
    // SAFETY: by the contract above. `sqlite3_value_text` before `_bytes` is the order that converts only once
    // (https://sqlite.org/c3ref/column_blob.html).
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => Column::Integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => Column::Real(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => {
                let start = ffi::sqlite3_value_text(value).cast::<u8>();
                Column::Bytes(bytes(start, ffi::sqlite3_value_bytes(value)))
            }
            ffi::SQLITE_BLOB => {
                let start = ffi::sqlite3_value_blob(value).cast::<u8>();
                Column::Bytes(bytes(start, ffi::sqlite3_value_bytes(value)))
            }
            _ => Column::Null,
        }
    }
}

type Destructor = Option<unsafe extern "C" fn(*mut c_void)>;

impl Drop for RawStatement {
    fn drop(&mut self) {
        // SAFETY: finalized here and nowhere else. Who wants to know how a statement ended resets it before.
        unsafe { ffi::sqlite3_finalize(self.raw) };
    }
}

/// A statement in use with borrowed parameters. Dropping it resets the statement and clears its parameters.
pub struct Bound<'s, 'p> {
    statement: &'s mut RawStatement,
    parameters: PhantomData<&'p [u8]>,
}

impl<'p> Bound<'_, 'p> {
    /// Binds text without copying it.
    pub fn bind_text_borrowed(&mut self, index: c_int, value: &'p [u8]) -> Result<(), c_int> {
        // SAFETY: `'p` outlives `self`, whose drop clears the parameters. (A forgotten `Bound` would keep the statement
        // borrowed for as long as its own lifetime lasts; this crate forgets none.)
        unsafe { self.statement.bind_text(index, value, None) }
    }

    /// Binds a blob without copying it.
    pub fn bind_blob_borrowed(&mut self, index: c_int, value: &'p [u8]) -> Result<(), c_int> {
        // SAFETY: as for `bind_text_borrowed`.
        unsafe { self.statement.bind_blob(index, value, None) }
    }
}

impl Deref for Bound<'_, '_> {
    type Target = RawStatement;
    fn deref(&self) -> &RawStatement {
        self.statement
    }
}

impl DerefMut for Bound<'_, '_> {
    fn deref_mut(&mut self) -> &mut RawStatement {
        self.statement
    }
}

impl Drop for Bound<'_, '_> {
    fn drop(&mut self) {
        // Whoever runs a statement to its end or undoes it has had its outcome.
        let _ = self.statement.reset();
        self.statement.clear_bindings();
    }
}

fn check(code: c_int) -> Result<(), c_int> {
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(code)
    }
}

/// # Safety
/// `start` must be null or point to `length` bytes that live for `'a`.
pub(super) unsafe fn bytes<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        Ok(length) if !start.is_null() && length > 0 => {
            // SAFETY: by the contract above.
            unsafe { std::slice::from_raw_parts(start, length) }
        }
        _ => &[],
    }
}
