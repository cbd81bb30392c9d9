//! Tables whose rows somebody outside of the engine gives, for parameters: `SELECT * FROM name(1, 2)`.
//!
//! Such a table exists by its name alone, in every schema, with the parameters as hidden columns. A parameter that is not
//! given is NULL.
//!
//! Invariants: SQLite owns the box that a module was made with and frees it once; tables and cursors live shorter than it.
//! A table's and a cursor's memory is a box of ours that starts with SQLite's part; SQLite hands its address back until
//! `disconnect` and `close`, which free it, once. A panic is caught before it can reach C.
//! https://sqlite.org/vtab.html#eponymous_only_virtual_tables, c3ref/vtab_config.html

use super::client_function::{arguments, boxed, c_name, free};
use super::error::EngineError;
use super::function::{guarded, Argument, FunctionError, Outcome, Output};
use super::handle::Handle;
use super::table_module::{refuse, TableModule, CURSOR, EPONYMOUS, TABLE};
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

/// Gives rows.
pub trait TableFunction: Send {
    /// As SQLite declares it, with each parameter as a hidden column behind the others.
    fn declaration(&self) -> &str;
    /// How many columns it has without the parameters.
    fn columns(&self) -> c_int;
    /// How many parameters.
    fn parameters(&self) -> c_int;
    /// Not for what is in a schema.
    fn directonly(&self) -> bool;
    /// The rows for these arguments, one for each parameter.
    fn open(&self, arguments: &[Argument<'_>]) -> Result<Box<dyn TableRows>, FunctionError>;
}

/// The rows of one scan.
pub trait TableRows {
    /// Goes to the next row; false if there is none. The first call goes to the first one.
    fn advance(&mut self) -> Result<bool, FunctionError>;
    /// A column of that row.
    fn column(&self, index: usize) -> Outcome;
}

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    function: *const Box<dyn TableFunction>,
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    rows: Option<Box<dyn TableRows>>,
    /// What the scan was given, to be read as columns.
    arguments: Vec<Output>,
    at_end: bool,
    rowid: i64,
}

static MODULE: TableModule = TableModule(ffi::sqlite3_module {
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    ..EPONYMOUS
});

impl Handle {
    /// Registers a table function.
    pub fn register_table_function(
        &self,
        name: &str,
        function: Box<dyn TableFunction>,
    ) -> Result<(), EngineError> {
        let name = c_name(name)?;
        // SAFETY: the handle is open, the module 'static, SQLite copies the name; it frees the box also where it refuses.
        let code = unsafe {
            ffi::sqlite3_create_module_v2(
                self.raw(),
                name.as_ptr(),
                &MODULE.0,
                boxed(function),
                Some(free::<Box<dyn TableFunction>>),
            )
        };
        self.check(code)
    }

    /// Drops one.
    pub fn drop_table_function(&self, name: &str) -> Result<(), EngineError> {
        let name = c_name(name)?;
        // SAFETY: the handle is open; without a module SQLite deletes what is there.
        let code = unsafe {
            ffi::sqlite3_create_module_v2(self.raw(), name.as_ptr(), ptr::null(), ptr::null_mut(), None)
        };
        self.check(code)
    }
}

unsafe extern "C" fn connect(
    db: *mut ffi::sqlite3,
    context: *mut c_void,
    _count: c_int,
    _arguments: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    _error: *mut *mut c_char,
) -> c_int {
    let function = context.cast::<Box<dyn TableFunction>>().cast_const();
    // SAFETY: the context is the module's box, which lives longer than its tables; the declaration ends with a NUL.
    unsafe {
        let Ok(declaration) = CString::new((*function).declaration()) else { return ffi::SQLITE_ERROR };
        let code = ffi::sqlite3_declare_vtab(db, declaration.as_ptr());
        if code != ffi::SQLITE_OK {
            return code;
        }
        let place =
            if (*function).directonly() { ffi::SQLITE_VTAB_DIRECTONLY } else { ffi::SQLITE_VTAB_INNOCUOUS };
        ffi::sqlite3_vtab_config(db, place);
        *table = Box::into_raw(Box::new(Table { base: TABLE, function })).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`, and freed here alone.
    drop(unsafe { Box::from_raw(table.cast::<Table>()) });
    ffi::SQLITE_OK
}

/// Which parameters are given is told to `filter` by `idxNum`, a bit for each; their values come in their order.
unsafe extern "C" fn best_index(table: *mut ffi::sqlite3_vtab, info: *mut ffi::sqlite3_index_info) -> c_int {
    // SAFETY: SQLite gives a table of `connect` and as many constraints and usages as it says.
    unsafe {
        let table = &*table.cast::<Table>();
        let (columns, parameters) = ((*table.function).columns(), (*table.function).parameters());
        let count = usize::try_from((*info).nConstraint).unwrap_or(0);
        // The constraint on each parameter: the first that is usable.
        let mut given = vec![None; usize::try_from(parameters).unwrap_or(0)];
        for index in 0..count {
            let constraint = &*(*info).aConstraint.add(index);
            let Ok(parameter) = usize::try_from(constraint.iColumn - columns) else { continue };
            if c_int::from(constraint.op) != ffi::SQLITE_INDEX_CONSTRAINT_EQ || parameter >= given.len() {
                continue;
            }
            if constraint.usable == 0 {
                // The value is not known in this order of the join; another one has it.
                return ffi::SQLITE_CONSTRAINT;
            }
            given[parameter].get_or_insert(index);
        }
        let (mut mask, mut number) = (0, 0);
        for (parameter, index) in given.iter().enumerate() {
            if let Some(index) = index {
                mask |= 1 << parameter;
                number += 1;
                let usage = &mut *(*info).aConstraintUsage.add(*index);
                usage.argvIndex = number;
                usage.omit = 1;
            }
        }
        (*info).idxNum = mask;
        // Fewer parameters, more rows: what is joined by them is to come first.
        (*info).estimatedRows = 1000;
        (*info).estimatedCost = 1000.0 * f64::from(1 + parameters - number);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    cursor: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let new = Box::new(Cursor { base: CURSOR, rows: None, arguments: Vec::new(), at_end: true, rowid: 0 });
    // SAFETY: SQLite gives a place for the cursor's address.
    unsafe { *cursor = Box::into_raw(new).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, and freed here alone.
    let cursor = unsafe { Box::from_raw(cursor.cast::<Cursor>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(cursor)));
    ffi::SQLITE_OK
}

unsafe extern "C" fn filter(
    raw: *mut ffi::sqlite3_vtab_cursor,
    mask: c_int,
    _name: *const c_char,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: a cursor of `open` on a table of `connect`, with `count` values.
    unsafe {
        let function = &*(*(*raw).pVtab.cast::<Table>()).function;
        let cursor = &mut *raw.cast::<Cursor>();
        // The scan before ends first.
        cursor.rows = None;
        cursor.rowid = 0;
        cursor.at_end = true;
        let mut given = arguments(count, values).into_iter();
        let arguments: Vec<_> = (0..function.parameters())
            .map(|parameter| match mask & (1 << parameter) {
                0 => Argument::Null,
                _ => given.next().unwrap_or(Argument::Null),
            })
            .collect();
        cursor.arguments = arguments.iter().map(|argument| argument.to_output()).collect();
        checked(raw, || {
            let rows = cursor.rows.insert(function.open(&arguments)?);
            cursor.at_end = !rows.advance()?;
            Ok(())
        })
    }
}

unsafe extern "C" fn next(raw: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    unsafe {
        let cursor = &mut *raw.cast::<Cursor>();
        cursor.rowid += 1;
        checked(raw, || {
            cursor.at_end = match &mut cursor.rows {
                Some(rows) => !rows.advance()?,
                None => true,
            };
            Ok(())
        })
    }
}

/// # Safety
/// `cursor` must be one of `open` on a table of `connect`.
unsafe fn checked(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    work: impl FnOnce() -> Result<(), FunctionError>,
) -> c_int {
    let (message, code) = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return ffi::SQLITE_OK,
        Ok(Err(error)) => (error.to_string(), error.code()),
        Err(_) => ("a table function of the sidecar panicked".to_owned(), ffi::SQLITE_INTERNAL),
    };
    // SAFETY: by the contract above.
    unsafe { refuse((*cursor).pVtab, &message, code) }
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    unsafe { c_int::from((*cursor.cast::<Cursor>()).at_end) }
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: a cursor of `open` on a table of `connect`, and the context of the call.
    unsafe {
        let columns = (*(*(*cursor).pVtab.cast::<Table>()).function).columns();
        let cursor = &*cursor.cast::<Cursor>();
        guarded(context, || match usize::try_from(index - columns) {
            Ok(parameter) => cursor.arguments.get(parameter).cloned().map(Ok),
            Err(_) => Some(cursor.rows.as_ref()?.column(usize::try_from(index).unwrap_or(0))),
        });
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: a cursor of `open`, and a place for the number.
    unsafe { *rowid = (*cursor.cast::<Cursor>()).rowid };
    ffi::SQLITE_OK
}
