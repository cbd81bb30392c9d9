//! The hooks that tell of each row that changes, of savepoints, of schemas and of rollbacks, all given to one [`ChangeWatch`].
//!
//! Invariants: SQLite holds a pointer to the box in `Handle::changes`, which is replaced or dropped only after the hooks are
//! taken away; a [`RowChange`] lives within its callback, in which alone the engine answers what it is asked. A panic must
//! not cross into C: it is caught and told as [`ChangeWatch::lost`].
//! <https://sqlite.org/c3ref/preupdate_blobwrite.html>. The functions named `libsql_…` are of `vendor/libsql-ffi.patch`.

use super::handle::Handle;
use super::row::{column_of, is_same, RawColumn, RawColumns, AT_ONCE};
use super::statement::Column;
use libsql_ffi as ffi;
use std::any::Any;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

type RowHook =
    unsafe extern "C" fn(*mut c_void, *mut ffi::sqlite3, c_int, *const c_char, *const c_char, i64, i64);

extern "C" {
    fn sqlite3_preupdate_hook(
        db: *mut ffi::sqlite3,
        hook: Option<RowHook>,
        context: *mut c_void,
    ) -> *mut c_void;
    fn sqlite3_preupdate_blobwrite(db: *mut ffi::sqlite3) -> c_int;
    fn libsql_savepoint_hook(
        db: *mut ffi::sqlite3,
        hook: Option<unsafe extern "C" fn(*mut c_void, c_int, c_int)>,
        context: *mut c_void,
    );
    fn libsql_preupdate_row(
        db: *mut ffi::sqlite3,
        after: c_int,
        count: c_int,
        columns: *const c_int,
        values: *mut RawColumn,
    ) -> c_int;
    fn libsql_preupdate_version(db: *mut ffi::sqlite3) -> i64;
    fn libsql_preupdate_table(db: *mut ffi::sqlite3, schema: *const c_char) -> c_int;
    fn libsql_preupdate_column(db: *mut ffi::sqlite3, column: c_int, flags: *mut c_int) -> *const c_char;
}

/// What a connection is told while its statements write. Called on the thread that steps the statement.
pub trait ChangeWatch: Send + Sync {
    /// A row is about to change.
    fn row(&self, change: &RowChange<'_>);
    /// Something becomes of a savepoint, one of SQL or one of the engine for a single statement.
    fn savepoint(&self, savepoint: Savepoint);
    /// The schema of database number `index` changes.
    fn schema(&self, index: c_int);
    /// The transaction is rolled back.
    fn rolled_back(&self);
    /// Something of the above could not be told.
    fn lost(&self);
}

/// What becomes of the savepoint of a level. Levels grow from 0; −1 stands for the transaction as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Savepoint {
    /// It begins.
    Begin(c_int),
    /// It ends, and what was done since stays. So do those of higher levels.
    Release(c_int),
    /// What was done since it began is undone; it stays.
    RollBackTo(c_int),
}

/// What happens to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Insert,
    /// Some of its values change, or its rowid.
    Update,
    /// It goes.
    Delete,
    /// A part of a blob is written in place: an update whose new value is not to be had.
    BlobWrite,
}

/// Which values of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Those that it has, of which there are none if it is new.
    Before,
    /// Those that it will have, of which there are none if it goes.
    After,
}

/// A row that is about to change.
pub struct RowChange<'c> {
    db: *mut ffi::sqlite3,
    /// What happens to it.
    pub operation: Operation,
    schema: *const c_char,
    table: *const c_char,
    names: PhantomData<&'c CStr>,
    /// Its rowid before the change; of a new row, after it. 0 in a table WITHOUT ROWID.
    pub rowid: i64,
    /// Its rowid after the change.
    pub new_rowid: i64,
}

/// What is known of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableKind {
    /// It belongs to a virtual table or a vector index.
    pub is_shadow: bool,
    /// It has no rowids.
    pub without_rowid: bool,
}

/// What is known of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnKind {
    /// Its name.
    pub name: String,
    /// It is of the primary key.
    pub in_key: bool,
    /// It is the rowid.
    pub is_rowid: bool,
    /// It is computed when it is read.
    pub is_virtual: bool,
}

impl<'c> RowChange<'c> {
    /// The database of its table, as the connection calls it.
    pub fn schema(&self) -> &'c CStr {
        // SAFETY: SQLite hands over NUL-ended names that live through the callback.
        unsafe { CStr::from_ptr(self.schema) }
    }

    /// Its table.
    pub fn table(&self) -> &'c CStr {
        // SAFETY: as above.
        unsafe { CStr::from_ptr(self.table) }
    }

    /// Where the engine keeps the two names: the same as long as they are those of the same table of the same version.
    #[inline]
    pub fn places_of_names(&self) -> (usize, usize) {
        (self.schema as usize, self.table as usize)
    }

    /// Another number whenever the definition of the table may have changed.
    pub fn version(&self) -> i64 {
        // SAFETY: within the callback, `db` is the connection that called it.
        unsafe { libsql_preupdate_version(self.db) }
    }

    /// The table's kind.
    pub fn table_kind(&self) -> TableKind {
        // SAFETY: as above; the name ends with a NUL and lives through the call.
        let flags = unsafe { libsql_preupdate_table(self.db, self.schema) };
        TableKind { is_shadow: flags & 1 != 0, without_rowid: flags & 2 != 0 }
    }

    /// The table's columns.
    pub fn columns(&self) -> Vec<ColumnKind> {
        let column = |index| {
            let mut flags = 0;
            // SAFETY: as above; the name ends with a NUL and lives until the table's definition changes.
            let name = unsafe {
                let name = libsql_preupdate_column(self.db, index, &mut flags);
                if name.is_null() {
                    return None;
                }
                CStr::from_ptr(name)
            };
            Some(ColumnKind {
                name: name.to_string_lossy().into_owned(),
                in_key: flags & 1 != 0,
                is_rowid: flags & 2 != 0,
                is_virtual: flags & 4 != 0,
            })
        };
        (0..).map_while(column).collect()
    }

    /// Gives the values of `columns` to `each`, in their order, until one is an error: after the change, or before it.
    ///
    /// # Errors
    /// The first of `each`, or `unreadable` if the engine does not give a value.
    #[inline]
    pub fn for_each_value<E>(
        &self,
        when: When,
        columns: &[c_int],
        unreadable: impl Fn() -> E,
        mut each: impl FnMut(Column<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for some in columns.chunks(AT_ONCE) {
            for value in self.read(when, some).ok_or_else(&unreadable)?.iter().take(some.len()) {
                // SAFETY: so many were written, and the callback lasts as long as `self` is borrowed.
                each(unsafe { column_of(value.as_ptr()) })?;
            }
        }
        Ok(())
    }

    /// Tells `each` of `columns`, in their order, whether an update leaves it as it is. False if the engine does not give a value.
    pub fn compare(&self, columns: &[c_int], mut each: impl FnMut(bool)) -> bool {
        columns.chunks(AT_ONCE).all(|some| {
            let (Some(old), Some(new)) = (self.read(When::Before, some), self.read(When::After, some)) else {
                return false;
            };
            for (old, new) in old.iter().zip(&new).take(some.len()) {
                // SAFETY: as above.
                each(unsafe { is_same(old.as_ptr(), new.as_ptr()) });
            }
            true
        })
    }

    /// The values of up to [`AT_ONCE`] columns. `None` if one is not to be had.
    #[inline]
    fn read(&self, when: When, columns: &[c_int]) -> Option<RawColumns> {
        let mut values: RawColumns = [MaybeUninit::uninit(); AT_ONCE];
        let count = columns.len().min(AT_ONCE) as c_int;
        let after = c_int::from(when == When::After);
        // SAFETY: within the callback, `db` is the connection that called it; `values` has room for so many.
        let code = unsafe {
            libsql_preupdate_row(self.db, after, count, columns.as_ptr(), values.as_mut_ptr().cast())
        };
        (code == ffi::SQLITE_OK).then_some(values)
    }
}

impl Handle {
    /// Tells `watch` of changes from now on, or nobody. Statements that were compiled before are compiled anew when they
    /// are run next, because the engine leaves out what nobody listens to.
    pub fn watch_changes(&mut self, watch: Option<Arc<dyn ChangeWatch>>) {
        let watch = watch.map(Box::new);
        let context = watch.as_deref().map_or(std::ptr::null_mut(), |watch| {
            std::ptr::from_ref::<Arc<dyn ChangeWatch>>(watch).cast_mut().cast::<c_void>()
        });
        let on = watch.is_some();
        // SAFETY: the handle is open and `context` points into the box that is kept below for as long as the hooks are
        // there; the former box is dropped after they have gone.
        unsafe {
            sqlite3_preupdate_hook(self.raw(), on.then_some(on_row as RowHook), context);
            libsql_savepoint_hook(self.raw(), on.then_some(on_savepoint as _), context);
            ffi::sqlite3_rollback_hook(self.raw(), on.then_some(on_rollback as _), context);
        }
        self.changes = watch.map(|watch| watch as Box<dyn Any + Send>);
    }
}

/// # Safety
/// `context` must be the pointer that `watch_changes` gave.
unsafe fn watch_of<'a>(context: *mut c_void) -> &'a Arc<dyn ChangeWatch> {
    // SAFETY: by the contract above it points to the box's Arc.
    unsafe { &*context.cast::<Arc<dyn ChangeWatch>>() }
}

fn told(watch: &Arc<dyn ChangeWatch>, tell: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(tell)).is_err() {
        let _ = catch_unwind(AssertUnwindSafe(|| watch.lost()));
    }
}

unsafe extern "C" fn on_row(
    context: *mut c_void,
    db: *mut ffi::sqlite3,
    operation: c_int,
    schema: *const c_char,
    table: *const c_char,
    rowid: i64,
    new_rowid: i64,
) {
    // SAFETY: SQLite hands back the context of the installation.
    let watch = unsafe { watch_of(context) };
    let operation = match operation {
        ffi::SQLITE_INSERT => Operation::Insert,
        ffi::SQLITE_UPDATE => Operation::Update,
        // SAFETY: within the callback it tells where a blob is written, which is reported as a deletion.
        _ if unsafe { sqlite3_preupdate_blobwrite(db) } >= 0 => Operation::BlobWrite,
        _ => Operation::Delete,
    };
    let names = PhantomData;
    told(watch, || watch.row(&RowChange { db, operation, schema, table, names, rowid, new_rowid }));
}

unsafe extern "C" fn on_savepoint(context: *mut c_void, what: c_int, level: c_int) {
    // SAFETY: SQLite hands back the context of the installation.
    let watch = unsafe { watch_of(context) };
    told(watch, || match what {
        0 => watch.savepoint(Savepoint::Begin(level)),
        1 => watch.savepoint(Savepoint::Release(level)),
        2 => watch.savepoint(Savepoint::RollBackTo(level)),
        _ => watch.schema(level),
    });
}

unsafe extern "C" fn on_rollback(context: *mut c_void) {
    // SAFETY: SQLite hands back the context of the installation.
    let watch = unsafe { watch_of(context) };
    told(watch, || watch.rolled_back());
}
