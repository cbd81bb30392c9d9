//! `generate_series(start, stop, step)`, the table-valued function of SQLite's shell: integers from `start` to `stop`.
//!
//! Conditions on `value` narrow the numbers that are made. The engine still checks them, so a bound may be too wide and is
//! never too narrow.
//!
//! Invariants: SQLite calls a table's functions with what `connect` and `open` have made, a box each, until `disconnect` and
//! `close` take it back. A cursor holds numbers only; no argument outlives `filter`. https://sqlite.org/series.html, vtab.html

use super::error::EngineError;
use super::handle::Handle;
use super::table_module::{refuse, TableModule, CURSOR, EPONYMOUS, TABLE};
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CStr};

/// `stop` where it is left out.
const STOP_DEFAULT: i64 = 0xffff_ffff;

/// Its hidden columns are the arguments.
const DECLARATION: &CStr = c"CREATE TABLE x(value, start hidden, stop hidden, step hidden);";
const VALUE: c_int = 0;
const START: c_int = 1;
const STEP: c_int = 3;

/// What `best_index` tells `filter`: which arguments come, in this order.
const HAS_START: c_int = 1;
const HAS_STOP: c_int = 1 << 1;
const HAS_STEP: c_int = 1 << 2;
const HAS_EQUAL: c_int = 1 << 3;
const HAS_LEAST: c_int = 1 << 4;
const HAS_MOST: c_int = 1 << 5;
const ARGUMENTS: usize = 6;
/// The order that the statement asks for, if it does.
const ASCENDING: c_int = 1 << 6;
const DESCENDING: c_int = 1 << 7;

/// Numbers from `low` to `high` with a distance of `stride`, which divides what lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progression {
    low: i64,
    high: i64,
    stride: u64,
}

impl Progression {
    /// `None` if there are no such numbers. A step of 0 counts as 1, as in SQLite's shell.
    fn new(start: i64, stop: i64, step: i64) -> Option<Self> {
        let stride = step.unsigned_abs().max(1);
        let span = if step < 0 { distance(stop, start)? } else { distance(start, stop)? };
        let length = span - span % stride;
        let end = |from: i64| {
            if step < 0 {
                from.checked_sub_unsigned(length)
            } else {
                from.checked_add_unsigned(length)
            }
        };
        let last = end(start)?;
        Some(Progression { low: start.min(last), high: start.max(last), stride })
    }

    fn at_least(self, bound: i64) -> Option<Self> {
        let Some(below) = distance(self.low, bound) else { return Some(self) };
        let skipped = below.div_ceil(self.stride).checked_mul(self.stride)?;
        let low = self.low.checked_add_unsigned(skipped).filter(|low| *low <= self.high)?;
        Some(Progression { low, ..self })
    }

    fn at_most(self, bound: i64) -> Option<Self> {
        let span = distance(self.low, bound.min(self.high))?;
        Some(Progression { high: self.low.checked_add_unsigned(span - span % self.stride)?, ..self })
    }

    /// How many numbers it has, but for 2^64.
    fn count(&self) -> u64 {
        (distance(self.low, self.high).unwrap_or(0) / self.stride).saturating_add(1)
    }
}

/// `to - from`, if that is not negative.
fn distance(from: i64, to: i64) -> Option<u64> {
    (from <= to).then(|| to.wrapping_sub(from).cast_unsigned())
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    /// Start, stop and step as they were given.
    arguments: [i64; 3],
    current: i64,
    last: i64,
    stride: u64,
    falls: bool,
    ended: bool,
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
    /// Registers `generate_series` for the life of the connection. A module that is registered later by this name replaces it.
    pub fn register_series(&self) -> Result<(), EngineError> {
        // SAFETY: the handle is open, the name and the module are 'static.
        let code = unsafe {
            ffi::sqlite3_create_module_v2(
                self.raw(),
                c"generate_series".as_ptr(),
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
            ffi::sqlite3_vtab_config(db, ffi::SQLITE_VTAB_INNOCUOUS);
            *table = Box::into_raw(Box::new(TABLE));
        }
        code
    }
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: `connect` made it; SQLite uses it no more.
    drop(unsafe { Box::from_raw(table) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    cursor: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let made =
        Cursor { base: CURSOR, arguments: [0; 3], current: 0, last: 0, stride: 1, falls: false, ended: true };
    // SAFETY: called by SQLite, with a place for the cursor, whose table it fills in itself.
    unsafe { *cursor = Box::into_raw(Box::new(made)).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: `open` made it; SQLite uses it no more.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) });
    ffi::SQLITE_OK
}

/// Which of the arguments of `filter` a constraint is.
fn place(column: c_int, operator: c_int) -> Option<usize> {
    match (column, operator) {
        (START..=STEP, ffi::SQLITE_INDEX_CONSTRAINT_EQ) => usize::try_from(column - START).ok(),
        (VALUE | -1, ffi::SQLITE_INDEX_CONSTRAINT_EQ) => Some(3),
        (VALUE | -1, ffi::SQLITE_INDEX_CONSTRAINT_GE | ffi::SQLITE_INDEX_CONSTRAINT_GT) => Some(4),
        (VALUE | -1, ffi::SQLITE_INDEX_CONSTRAINT_LE | ffi::SQLITE_INDEX_CONSTRAINT_LT) => Some(5),
        _ => None,
    }
}

unsafe extern "C" fn best_index(table: *mut ffi::sqlite3_vtab, info: *mut ffi::sqlite3_index_info) -> c_int {
    // SAFETY: called by SQLite; the arrays have the lengths that stand beside them.
    unsafe {
        let mut chosen = [None; ARGUMENTS];
        for i in 0..usize::try_from((*info).nConstraint).unwrap_or(0) {
            let constraint = &*(*info).aConstraint.add(i);
            let Some(place) = place(constraint.iColumn, c_int::from(constraint.op)) else { continue };
            let is_argument = place < 3;
            if constraint.usable == 0 {
                if is_argument {
                    // The argument comes from a table that has to stand before this one.
                    return ffi::SQLITE_CONSTRAINT;
                }
            } else if chosen[place].is_none() {
                chosen[place] = Some(i);
            }
        }
        if chosen[0].is_none() {
            return refuse(table, "generate_series: the first argument is missing", ffi::SQLITE_ERROR);
        }
        let mut plan = 0;
        let mut number = 0;
        for (place, index) in chosen.iter().enumerate() {
            if let Some(index) = index {
                number += 1;
                plan |= 1 << place;
                let usage = &mut *(*info).aConstraintUsage.add(*index);
                usage.argvIndex = number;
                usage.omit = u8::from(place < 3);
            }
        }
        if (*info).nOrderBy == 1 {
            let order = &*(*info).aOrderBy;
            if matches!(order.iColumn, VALUE | -1) {
                plan |= if order.desc == 0 { ASCENDING } else { DESCENDING };
                (*info).orderByConsumed = 1;
            }
        }
        (*info).idxNum = plan;
        (*info).estimatedRows = i64::try_from(rows(info, &chosen)).unwrap_or(i64::MAX);
        (*info).estimatedCost = (*info).estimatedRows as f64;
    }
    ffi::SQLITE_OK
}

/// How many rows to expect: exactly, if start, stop and step are known already.
///
/// # Safety
/// `info` must be that of the running call.
unsafe fn rows(info: *mut ffi::sqlite3_index_info, chosen: &[Option<usize>; ARGUMENTS]) -> u64 {
    if chosen[3].is_some() {
        return 1;
    }
    let known = |place: usize, default: i64| match chosen[place] {
        None => Some(default),
        Some(index) => {
            let mut value = std::ptr::null_mut();
            // SAFETY: by the contract above; the value is SQLite's, and lives until the call ends.
            unsafe {
                let index = c_int::try_from(index).ok()?;
                if ffi::sqlite3_vtab_rhs_value(info, index, &mut value) != ffi::SQLITE_OK {
                    return None;
                }
                integer(value).ok().flatten()
            }
        }
    };
    match (known(0, 0), known(1, STOP_DEFAULT), known(2, 1)) {
        (Some(start), Some(stop), Some(step)) => {
            Progression::new(start, stop, step).map_or(0, |numbers| numbers.count())
        }
        _ => 1000,
    }
}

/// The integer of an argument, `None` for NULL.
///
/// # Safety
/// `value` must be an argument of the running call.
unsafe fn integer(value: *mut ffi::sqlite3_value) -> Result<Option<i64>, &'static str> {
    // SAFETY: by the contract above.
    unsafe {
        match ffi::sqlite3_value_numeric_type(value) {
            ffi::SQLITE_NULL => Ok(None),
            ffi::SQLITE_INTEGER => Ok(Some(ffi::sqlite3_value_int64(value))),
            ffi::SQLITE_FLOAT => {
                let real = ffi::sqlite3_value_double(value);
                let fits = real.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&real);
                if fits {
                    Ok(Some(real as i64))
                } else {
                    Err("generate_series: an argument is no integer of 64 bits")
                }
            }
            _ => Err("generate_series: an argument is no integer"),
        }
    }
}

/// The integers that a bound on `value` lies between; `None` if it does not narrow anything, or does so by its type.
///
/// # Safety
/// `value` must be an argument of the running call.
unsafe fn bound(value: *mut ffi::sqlite3_value) -> Option<(i64, i64)> {
    // SAFETY: by the contract above.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => {
                let integer = ffi::sqlite3_value_int64(value);
                Some((integer, integer))
            }
            ffi::SQLITE_FLOAT => {
                // Casts saturate, which is too wide at most.
                let real = ffi::sqlite3_value_double(value);
                Some((real.floor() as i64, real.ceil() as i64))
            }
            _ => None,
        }
    }
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    plan: c_int,
    _plan_text: *const c_char,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open` and the arguments that `best_index` asked for.
    unsafe {
        let cursor = &mut *cursor.cast::<Cursor>();
        cursor.ended = true;
        let mut given = (0..usize::try_from(count).unwrap_or(0)).map(|i| *values.add(i));
        let mut take = |wanted: c_int| if plan & wanted != 0 { given.next() } else { None };
        let arguments = [(HAS_START, 0), (HAS_STOP, STOP_DEFAULT), (HAS_STEP, 1)];
        for (slot, (wanted, default)) in cursor.arguments.iter_mut().zip(arguments) {
            match take(wanted).map_or(Ok(Some(default)), |value| integer(value)) {
                Ok(Some(integer)) => *slot = integer,
                Ok(None) => return ffi::SQLITE_OK,
                Err(message) => return refuse(cursor.base.pVtab, message, ffi::SQLITE_MISMATCH),
            }
        }
        let [start, stop, step] = cursor.arguments;
        let mut numbers = Progression::new(start, stop, step);
        if let Some((floor, ceiling)) = take(HAS_EQUAL).and_then(|value| bound(value)) {
            numbers = numbers.and_then(|numbers| numbers.at_least(floor)?.at_most(ceiling));
        }
        if let Some((floor, _)) = take(HAS_LEAST).and_then(|value| bound(value)) {
            numbers = numbers.and_then(|numbers| numbers.at_least(floor));
        }
        if let Some((_, ceiling)) = take(HAS_MOST).and_then(|value| bound(value)) {
            numbers = numbers.and_then(|numbers| numbers.at_most(ceiling));
        }
        if let Some(Progression { low, high, stride }) = numbers {
            cursor.falls = plan & DESCENDING != 0 || (plan & ASCENDING == 0 && step < 0);
            (cursor.current, cursor.last) = if cursor.falls { (high, low) } else { (low, high) };
            cursor.stride = stride;
            cursor.ended = false;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open`.
    let cursor = unsafe { &mut *cursor.cast::<Cursor>() };
    if cursor.current == cursor.last {
        cursor.ended = true;
    } else if cursor.falls {
        // The last number is met exactly, so neither passes the ends of 64 bits.
        cursor.current = cursor.current.wrapping_sub_unsigned(cursor.stride);
    } else {
        cursor.current = cursor.current.wrapping_add_unsigned(cursor.stride);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open`.
    c_int::from(unsafe { (*cursor.cast::<Cursor>()).ended })
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open` that stands on a row.
    unsafe {
        let cursor = &*cursor.cast::<Cursor>();
        let argument = usize::try_from(index - START).ok().and_then(|index| cursor.arguments.get(index));
        ffi::sqlite3_result_int64(context, *argument.unwrap_or(&cursor.current));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: called by SQLite with a cursor of `open` that stands on a row, and a place for its number.
    unsafe { *rowid = (*cursor.cast::<Cursor>()).current };
    ffi::SQLITE_OK
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(progression: Option<Progression>) -> Vec<i128> {
        let Some(Progression { low, high, stride }) = progression else { return Vec::new() };
        (0..)
            .map(|i| i128::from(low) + i * i128::from(stride))
            .take_while(|n| *n <= i128::from(high))
            .collect()
    }

    fn naive(start: i64, stop: i64, step: i64) -> Vec<i128> {
        let step = if step == 0 { 1 } else { i128::from(step) };
        let (start, stop) = (i128::from(start), i128::from(stop));
        let mut numbers: Vec<_> = (0..)
            .map(|i| start + i * step)
            .take_while(|n| if step > 0 { *n <= stop } else { *n >= stop })
            .collect();
        numbers.sort_unstable();
        numbers
    }

    fn ends() -> impl Strategy<Value = i64> {
        prop_oneof![-20i64..20, (i64::MAX - 20)..=i64::MAX, i64::MIN..(i64::MIN + 20)]
    }

    proptest! {
        #[test]
        fn the_numbers_are_those_of_a_loop(
            start in ends(), span in -40i64..40, step in -7i64..7, least in ends(), most in ends()
        ) {
            let stop = start.saturating_add(span);
            let made = Progression::new(start, stop, step);
            let expected = naive(start, stop, step);
            prop_assert_eq!(made.map_or(0, |made| made.count()), expected.len() as u64);
            prop_assert_eq!(numbers(made), expected.clone());
            let narrowed = made.and_then(|made| made.at_least(least)?.at_most(most));
            let kept = |n: &i128| (i128::from(least)..=i128::from(most)).contains(n);
            prop_assert_eq!(numbers(narrowed), expected.into_iter().filter(kept).collect::<Vec<_>>());
        }

        #[test]
        fn steps_of_any_size_stay_within_64_bits(start in any::<i64>(), stop in any::<i64>(), step in any::<i64>()) {
            if let Some(made) = Progression::new(start, stop, step) {
                prop_assert!(made.low <= made.high);
                prop_assert_eq!(made.high.wrapping_sub(made.low).cast_unsigned() % made.stride, 0);
                let (first, within) =
                    if step < 0 { (made.high, made.low >= stop) } else { (made.low, made.high <= stop) };
                prop_assert!(first == start && within);
            }
        }
    }
}
