//! The values of a row, read by one call of C for up to [`AT_ONCE`] of them. Reading them one by one takes four calls for each,
//! which was a quarter of the instructions of a large result.
//!
//! Invariants: the bytes of a [`Column`] stay until the next step or reset of its statement, which the borrow of the statement
//! forbids, or until the callback ends, as long as which a changing row is borrowed. The functions are of
//! `vendor/libsql-ffi.patch`; they take no mutex, and a handle is used by one thread at a time.

use super::statement::{bytes, Column, RawStatement};
use libsql_ffi as ffi;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// So many values are read by one call.
pub(super) const AT_ONCE: usize = 16;

/// Room for values that C writes.
pub(super) type RawColumns = [MaybeUninit<RawColumn>; AT_ONCE];

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct RawColumn {
    kind: c_int,
    length: c_int,
    value: RawValue,
}

#[repr(C)]
#[derive(Clone, Copy)]
union RawValue {
    integer: i64,
    real: f64,
    bytes: *const c_void,
}

extern "C" {
    fn libsql_row(statement: *mut ffi::sqlite3_stmt, first: c_int, count: c_int, columns: *mut RawColumn);
}

impl RawStatement {
    /// Gives the first `count` values of the row that the last step gave to `each`, in their order, until one is an error. Values
    /// that the row does not have are NULL.
    #[inline]
    pub fn for_each_column<E>(
        &self,
        count: c_int,
        mut each: impl FnMut(Column<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut columns = [MaybeUninit::<RawColumn>::uninit(); AT_ONCE];
        let mut first = 0;
        while first < count {
            let some = (count - first).min(AT_ONCE as c_int);
            // SAFETY: `raw` is a statement that was not finalized; `columns` has room for `some` of them.
            unsafe { libsql_row(self.raw, first, some, columns.as_mut_ptr().cast()) };
            for column in columns.iter().take(some.unsigned_abs() as usize) {
                // SAFETY: the call above has written the kind and, but for NULL, the value of so many.
                each(unsafe { column_of(column.as_ptr()) })?;
            }
            first += some;
        }
        Ok(())
    }
}

/// Whether two values are stored alike: the same type, and the same bytes. So text is no blob, and 0.0 not −0.0.
///
/// # Safety
/// As for [`column_of`], for both.
pub(super) unsafe fn is_same(old: *const RawColumn, new: *const RawColumn) -> bool {
    // SAFETY: by the contract above.
    unsafe {
        (*old).kind == (*new).kind
            && match (column_of(old), column_of(new)) {
                (Column::Null, Column::Null) => true,
                (Column::Integer(old), Column::Integer(new)) => old == new,
                (Column::Real(old), Column::Real(new)) => old.to_bits() == new.to_bits(),
                (Column::Bytes(old), Column::Bytes(new)) => old == new,
                _ => false,
            }
    }
}

/// # Safety
/// `column` must have been written by one of the functions above, and during `'a` its statement be neither stepped nor reset, or
/// its callback not end.
#[inline]
pub(super) unsafe fn column_of<'a>(column: *const RawColumn) -> Column<'a> {
    // SAFETY: by the contract above; `kind` tells which field of the union was written.
    unsafe {
        match (*column).kind {
            ffi::SQLITE_INTEGER => Column::Integer((*column).value.integer),
            ffi::SQLITE_FLOAT => Column::Real((*column).value.real),
            ffi::SQLITE_TEXT | ffi::SQLITE_BLOB => {
                Column::Bytes(bytes((*column).value.bytes.cast(), (*column).length))
            }
            _ => Column::Null,
        }
    }
}
