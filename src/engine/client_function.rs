//! SQL functions and collations that somebody outside of the engine answers: registered by name while the connection lives,
//! replaced and dropped at any time.
//!
//! Invariants: SQLite owns the box that a registration was made with, hands its address to each call, and frees it by
//! [`free`], once: when it is replaced or dropped, when the connection closes, and where it refuses the registration (which a
//! collation's does not: there it is freed here). A group's state is a box whose address lies in SQLite's aggregate context
//! from its first row on; `finish` takes it back exactly once, because SQLite calls xFinal once for every context that it
//! allocated, also after an error. What a call borrows is what SQLite gave for it. A panic is caught before it can reach C.
//! https://sqlite.org/c3ref/create_function.html, create_collation.html, aggregate_context.html

use super::collation::bytes;
use super::error::EngineError;
use super::function::{argument, guarded, Argument, FunctionError, Outcome, Output};
use super::handle::Handle;
use libsql_ffi as ffi;
use std::cmp::Ordering;
use std::ffi::{c_int, c_void, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

/// A function of the values of a row.
pub trait RowFunction: Send {
    /// Answers one call.
    fn call(&self, arguments: &[Argument<'_>]) -> Outcome;
}

/// A function of the rows of a group.
pub trait GroupFunction: Send {
    /// A group without rows.
    fn start(&self) -> Box<dyn Group>;
}

/// The rows of one group, or of a window's frame.
pub trait Group {
    /// A row enters.
    fn step(&mut self, arguments: &[Argument<'_>]) -> Result<(), FunctionError>;
    /// The row that entered first leaves; these are its arguments.
    fn inverse(&mut self, arguments: &[Argument<'_>]) -> Result<(), FunctionError>;
    /// The value over the rows that are in.
    fn value(&mut self) -> Outcome;
    /// The last value.
    fn finish(self: Box<Self>) -> Outcome;
}

/// An order of texts.
pub trait Order: Send {
    /// Compares two texts, as bytes that nobody has checked.
    fn compare(&self, left: &[u8], right: &[u8]) -> Ordering;
}

/// What SQLite may do with a function.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// How many arguments it takes; `None`: any number.
    pub arguments: Option<u8>,
    /// The same arguments give the same result.
    pub deterministic: bool,
    /// Not for what is in a schema.
    pub directonly: bool,
}

impl Traits {
    fn count(&self) -> c_int {
        self.arguments.map_or(-1, c_int::from)
    }

    fn flags(&self) -> c_int {
        let deterministic = if self.deterministic { ffi::SQLITE_DETERMINISTIC } else { 0 };
        // What may stand in a schema has to be innocuous, since the schema is not trusted.
        let place = if self.directonly { ffi::SQLITE_DIRECTONLY } else { ffi::SQLITE_INNOCUOUS };
        ffi::SQLITE_UTF8 | deterministic | place
    }
}

impl Handle {
    /// Registers a function of a row.
    pub fn register_row_function(
        &self,
        name: &str,
        traits: Traits,
        function: Box<dyn RowFunction>,
    ) -> Result<(), EngineError> {
        let name = c_name(name)?;
        // SAFETY: the handle is open, SQLite copies the name, and the box is its own from here on.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                name.as_ptr(),
                traits.count(),
                traits.flags(),
                boxed(function),
                Some(call_row_function),
                None,
                None,
                Some(free::<Box<dyn RowFunction>>),
            )
        };
        self.check(code)
    }

    /// Registers a function of a group; one that may stand before OVER too if `window`.
    pub fn register_group_function(
        &self,
        name: &str,
        traits: Traits,
        window: bool,
        function: Box<dyn GroupFunction>,
    ) -> Result<(), EngineError> {
        let name = c_name(name)?;
        // SAFETY: as for `register_row_function`.
        let code = unsafe {
            if window {
                ffi::sqlite3_create_window_function(
                    self.raw(),
                    name.as_ptr(),
                    traits.count(),
                    traits.flags(),
                    boxed(function),
                    Some(step),
                    Some(finish),
                    Some(value),
                    Some(inverse),
                    Some(free::<Box<dyn GroupFunction>>),
                )
            } else {
                ffi::sqlite3_create_function_v2(
                    self.raw(),
                    name.as_ptr(),
                    traits.count(),
                    traits.flags(),
                    boxed(function),
                    None,
                    Some(step),
                    Some(finish),
                    Some(free::<Box<dyn GroupFunction>>),
                )
            }
        };
        self.check(code)
    }

    /// Drops a function that was registered with so many arguments. The engine's own one of that name counts again.
    pub fn drop_function(&self, name: &str, arguments: Option<u8>) -> Result<(), EngineError> {
        let name = c_name(name)?;
        let count = arguments.map_or(-1, c_int::from);
        // SAFETY: the handle is open; without any function SQLite deletes what is there.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                name.as_ptr(),
                count,
                ffi::SQLITE_UTF8,
                ptr::null_mut(),
                None,
                None,
                None,
                None,
            )
        };
        self.check(code)
    }

    /// Registers an order of texts.
    pub fn register_order(&self, name: &str, order: Box<dyn Order>) -> Result<(), EngineError> {
        let name = c_name(name)?;
        let order = boxed(order);
        // SAFETY: as for `register_row_function`; what SQLite refuses it does not free.
        let code = unsafe {
            let code = ffi::sqlite3_create_collation_v2(
                self.raw(),
                name.as_ptr(),
                ffi::SQLITE_UTF8,
                order,
                Some(compare),
                Some(free::<Box<dyn Order>>),
            );
            if code != ffi::SQLITE_OK {
                free::<Box<dyn Order>>(order);
            }
            code
        };
        self.check(code)
    }

    /// Drops an order of texts.
    pub fn drop_order(&self, name: &str) -> Result<(), EngineError> {
        let name = c_name(name)?;
        // SAFETY: the handle is open; without a function SQLite deletes what is there.
        let code = unsafe {
            ffi::sqlite3_create_collation_v2(
                self.raw(),
                name.as_ptr(),
                ffi::SQLITE_UTF8,
                ptr::null_mut(),
                None,
                None,
            )
        };
        self.check(code)
    }
}

pub(super) fn c_name(name: &str) -> Result<CString, EngineError> {
    CString::new(name).map_err(|_| EngineError::new(ffi::SQLITE_MISUSE, "the name contains a NUL"))
}

pub(super) fn boxed<T>(value: T) -> *mut c_void {
    Box::into_raw(Box::new(value)).cast()
}

/// # Safety
/// `context` must be what [`boxed`] made of a `T`, and not be used afterwards.
pub(super) unsafe extern "C" fn free<T>(context: *mut c_void) {
    // SAFETY: by the contract above. A panic while it is dropped must not reach C.
    let value = unsafe { Box::from_raw(context.cast::<T>()) };
    let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
}

/// # Safety
/// SQLite must have given `count` values for the call that is running.
pub(super) unsafe fn arguments<'a>(count: c_int, values: *mut *mut ffi::sqlite3_value) -> Vec<Argument<'a>> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: by the contract above.
    (0..count).map(|index| unsafe { argument(*values.add(index)) }).collect()
}

unsafe extern "C" fn call_row_function(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the context of such a function is the box that it was registered with.
    unsafe {
        let function = &*ffi::sqlite3_user_data(context).cast::<Box<dyn RowFunction>>();
        guarded(context, || Some(function.call(&arguments(count, values))));
    }
}

/// The state of the group, made at its first row; `None` if SQLite has no memory for it.
///
/// # Safety
/// `context` must be that of a running call of a function registered by `register_group_function`, and the returned
/// reference must not outlive that call.
unsafe fn group<'a>(context: *mut ffi::sqlite3_context) -> Option<&'a mut Box<dyn Group>> {
    // SAFETY: SQLite gives the same zeroed memory to every call for one group; it holds nothing but our pointer.
    unsafe {
        let size = size_of::<*mut Box<dyn Group>>() as c_int;
        let slot = ffi::sqlite3_aggregate_context(context, size).cast::<*mut Box<dyn Group>>();
        if slot.is_null() {
            return None;
        }
        if (*slot).is_null() {
            let function = &*ffi::sqlite3_user_data(context).cast::<Box<dyn GroupFunction>>();
            *slot = Box::into_raw(Box::new(function.start()));
        }
        Some(&mut **slot)
    }
}

/// # Safety
/// As for [`group`] and [`arguments`].
unsafe fn change(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
    change: fn(&mut dyn Group, &[Argument<'_>]) -> Result<(), FunctionError>,
) {
    // SAFETY: by the contract above.
    unsafe {
        guarded(context, || match group(context) {
            Some(group) => change(group.as_mut(), &arguments(count, values)).err().map(Err),
            None => Some(Err(FunctionError::OutOfMemory)),
        });
    }
}

unsafe extern "C" fn step(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: called by SQLite for a function of `register_group_function`.
    unsafe { change(context, count, values, |group, arguments| group.step(arguments)) }
}

unsafe extern "C" fn inverse(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: called by SQLite for a function of `register_group_function`.
    unsafe { change(context, count, values, |group, arguments| group.inverse(arguments)) }
}

unsafe extern "C" fn value(context: *mut ffi::sqlite3_context) {
    // SAFETY: called by SQLite for a function of `register_group_function`.
    unsafe { guarded(context, || Some(group(context).map_or(Ok(Output::Null), |group| group.value()))) }
}

unsafe extern "C" fn finish(context: *mut ffi::sqlite3_context) {
    // SAFETY: called by SQLite once for a function of `register_group_function`. With 0 bytes it gives back what is there,
    // null if no row came. The pointer is taken out before the box is rebuilt, so that nothing can free it again.
    unsafe {
        let slot = ffi::sqlite3_aggregate_context(context, 0).cast::<*mut Box<dyn Group>>();
        let state = if slot.is_null() { ptr::null_mut() } else { ptr::replace(slot, ptr::null_mut()) };
        guarded(context, || {
            let group = if state.is_null() {
                (*ffi::sqlite3_user_data(context).cast::<Box<dyn GroupFunction>>()).start()
            } else {
                *Box::from_raw(state)
            };
            Some(group.finish())
        });
    }
}

unsafe extern "C" fn compare(
    context: *mut c_void,
    left_bytes: c_int,
    left: *const c_void,
    right_bytes: c_int,
    right: *const c_void,
) -> c_int {
    // SAFETY: the context is the box of the registration, and SQLite gives so many bytes of each text.
    let (order, left, right) =
        unsafe { (&*context.cast::<Box<dyn Order>>(), bytes(left, left_bytes), bytes(right, right_bytes)) };
    catch_unwind(AssertUnwindSafe(|| order.compare(left, right))).unwrap_or(Ordering::Equal) as c_int
}
