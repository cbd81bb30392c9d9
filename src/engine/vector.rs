//! `vector_top_k` with its arguments checked: replaces libSQL's table-valued function, which ends the program where k is 0
//! or does not fit into an int.
//!
//! Invariants: SQLite calls a table's functions with what `connect` and `open` have made, a box each, until `disconnect`
//! and `close` take it back; the rows of a cursor are libSQL's own, zeroed before the first search and freed before the
//! next one. The three functions of libSQL have these prototypes in the version that `Cargo.lock` names.
//! https://sqlite.org/vtab.html

use super::error::EngineError;
use super::handle::Handle;
use super::table_module::{refuse, TableModule, CURSOR, EPONYMOUS, TABLE};
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CStr};

/// The most neighbours of one search.
pub const NEIGHBOURS_MAX: i64 = 100_000;

/// libSQL's `VectorOutRows`.
#[repr(C)]
struct OutRows {
    rows: c_int,
    columns: c_int,
    integers: *mut i64,
    values: *mut *mut ffi::sqlite3_value,
}

extern "C" {
    fn vectorIndexSearch(
        db: *mut ffi::sqlite3,
        count: c_int,
        arguments: *mut *mut ffi::sqlite3_value,
        rows: *mut OutRows,
        reads: *mut c_int,
        writes: *mut c_int,
        message: *mut *mut c_char,
    ) -> c_int;
    fn vectorOutRowsGet(context: *mut ffi::sqlite3_context, rows: *const OutRows, row: c_int, column: c_int);
    fn vectorOutRowsFree(db: *mut ffi::sqlite3, rows: *mut OutRows);
}

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    db: *mut ffi::sqlite3,
}

/// libSQL reads the two counts of every such cursor.
#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    reads: c_int,
    writes: c_int,
    found: OutRows,
    row: c_int,
}

const NO_ROWS: OutRows =
    OutRows { rows: 0, columns: 0, integers: std::ptr::null_mut(), values: std::ptr::null_mut() };

/// Its hidden columns are the arguments: index, vector, k.
const DECLARATION: &CStr = c"CREATE TABLE x(idx hidden, vector hidden, k hidden, id);";
const ARGUMENTS: c_int = 3;

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
    /// Replaces `vector_top_k` on this connection.
    pub fn register_vector_search(&self) -> Result<(), EngineError> {
        // SAFETY: the handle is open, the name and the module are 'static.
        let code = unsafe {
            ffi::sqlite3_create_module_v2(
                self.raw(),
                c"vector_top_k".as_ptr(),
                &MODULE.0,
                std::ptr::null_mut(),
                None,
            )
        };
        self.check(code)
    }
}

unsafe extern "C" fn connect(
    db: *mut ffi::sqlite3,
    _context: *mut c_void,
    _count: c_int,
    _arguments: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    _message: *mut *mut c_char,
) -> c_int {
    // SAFETY: called by SQLite, with a place for the table.
    unsafe {
        let code = ffi::sqlite3_declare_vtab(db, DECLARATION.as_ptr());
        if code == ffi::SQLITE_OK {
            // It reads an index and nothing else: views may search, whether the schema is trusted or not.
            ffi::sqlite3_vtab_config(db, ffi::SQLITE_VTAB_INNOCUOUS);
            *table = Box::into_raw(Box::new(Table { base: TABLE, db })).cast();
        }
        code
    }
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: `connect` made it; SQLite uses it no more.
    drop(unsafe { Box::from_raw(table.cast::<Table>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    cursor: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let made = Box::new(Cursor { base: CURSOR, reads: 0, writes: 0, found: NO_ROWS, row: 0 });
    // SAFETY: called by SQLite, with a place for the cursor, whose table it fills in itself.
    unsafe { *cursor = Box::into_raw(made).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: `open` made it; SQLite uses it no more.
    unsafe {
        let mut cursor = Box::from_raw(cursor.cast::<Cursor>());
        forget_rows(&mut cursor);
    }
    ffi::SQLITE_OK
}

/// # Safety
/// `cursor` must be one of `open`, with its table.
unsafe fn forget_rows(cursor: &mut Cursor) {
    // SAFETY: by the contract above; what was freed is forgotten.
    unsafe {
        let table = cursor.base.pVtab.cast::<Table>();
        vectorOutRowsFree((*table).db, &mut cursor.found);
    }
    cursor.found = NO_ROWS;
}

/// All three arguments must be there: a search without them has no meaning.
unsafe extern "C" fn best_index(_table: *mut ffi::sqlite3_vtab, info: *mut ffi::sqlite3_index_info) -> c_int {
    // SAFETY: SQLite gives as many constraints, and places for their use, as it says.
    unsafe {
        let info = &mut *info;
        let count = usize::try_from(info.nConstraint).unwrap_or(0);
        for index in 0..count {
            let constraint = &*info.aConstraint.add(index);
            let argument = constraint.iColumn;
            if i32::from(constraint.op) == ffi::SQLITE_INDEX_CONSTRAINT_EQ
                && (0..ARGUMENTS).contains(&argument)
            {
                if constraint.usable == 0 {
                    // Not in this order of the join: the argument is not known yet.
                    return ffi::SQLITE_CONSTRAINT;
                }
                let usage = &mut *info.aConstraintUsage.add(index);
                usage.argvIndex = argument + 1;
                usage.omit = 1;
            }
        }
        info.estimatedCost = 1.0;
        info.estimatedRows = 100;
        info.idxNum = 1;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _plan: c_int,
    _plan_text: *const c_char,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open` and `count` arguments.
    unsafe {
        let cursor = &mut *cursor.cast::<Cursor>();
        let table = cursor.base.pVtab.cast::<Table>();
        forget_rows(cursor);
        cursor.row = 0;
        // Another count is refused by the search itself.
        if count == ARGUMENTS && !is_count(*arguments.add(2)) {
            let message = format!("vector_top_k: k is an integer from 1 to {NEIGHBOURS_MAX}");
            return refuse(cursor.base.pVtab, &message, ffi::SQLITE_ERROR);
        }
        let code = vectorIndexSearch(
            (*table).db,
            count,
            arguments,
            &mut cursor.found,
            &mut cursor.reads,
            &mut cursor.writes,
            &mut (*table).base.zErrMsg,
        );
        if code == ffi::SQLITE_OK {
            ffi::SQLITE_OK
        } else {
            forget_rows(cursor);
            ffi::SQLITE_ERROR
        }
    }
}

/// # Safety
/// `value` must be an argument of the call that is running.
unsafe fn is_count(value: *mut ffi::sqlite3_value) -> bool {
    // SAFETY: by the contract above.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => (1..=NEIGHBOURS_MAX).contains(&ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => {
                let count = ffi::sqlite3_value_double(value);
                count.fract() == 0.0 && (1.0..=NEIGHBOURS_MAX as f64).contains(&count)
            }
            _ => false,
        }
    }
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open`.
    unsafe { (*cursor.cast::<Cursor>()).row += 1 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open`.
    let cursor = unsafe { &*cursor.cast::<Cursor>() };
    c_int::from(cursor.row >= cursor.found.rows)
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open` that stands on a row. A hidden column, which libSQL would look for
    // outside of its rows, is NULL.
    unsafe {
        let cursor = &*cursor.cast::<Cursor>();
        if (ARGUMENTS..ARGUMENTS + cursor.found.columns).contains(&index) {
            vectorOutRowsGet(context, &cursor.found, cursor.row, index - ARGUMENTS);
        } else {
            ffi::sqlite3_result_null(context);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open` that stands on a row, and a place for its number.
    unsafe {
        let cursor = &*cursor.cast::<Cursor>();
        let row = usize::try_from(cursor.row).unwrap_or(0);
        *rowid = if cursor.found.integers.is_null() {
            i64::from(cursor.row)
        } else {
            *cursor.found.integers.add(row)
        };
    }
    ffi::SQLITE_OK
}
