//! SQL functions: registers Rust functions on a handle and converts their arguments and results.
//!
//! Invariants: SQLite keeps a pointer to a `&'static` definition, so it never dangles. An aggregate's state is a leaked
//! box whose address lies in SQLite's aggregate context; `finish` takes it back exactly once, because SQLite calls
//! xFinal once for every context that it allocated, also after an error. Arguments are borrowed for one call only. A
//! panic is caught before it can reach C. https://sqlite.org/c3ref/create_function.html, aggregate_context.html

use super::error::EngineError;
use super::handle::Handle;
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The most arguments that a function of this program takes.
pub const ARGUMENTS_MAX: usize = 4;

/// What a function is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument<'a> {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// TEXT, as UTF-8 bytes that nobody has checked.
    Text(&'a [u8]),
    /// BLOB
    Blob(&'a [u8]),
}

impl Argument<'_> {
    /// A copy. A text that is no UTF-8 becomes a blob of its bytes.
    pub fn to_output(self) -> Output {
        match self {
            Argument::Null => Output::Null,
            Argument::Integer(value) => Output::Integer(value),
            Argument::Real(value) => Output::Real(value),
            Argument::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Output::Text(text.to_owned()),
                Err(_) => Output::Blob(bytes.to_vec()),
            },
            Argument::Blob(bytes) => Output::Blob(bytes.to_vec()),
        }
    }
}

/// What a function returns.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// NULL
    Null,
    /// INTEGER
    Integer(i64),
    /// REAL
    Real(f64),
    /// TEXT
    Text(String),
    /// TEXT made of bytes that need not be UTF-8, where an argument was not.
    TextBytes(Vec<u8>),
    /// BLOB
    Blob(Vec<u8>),
}

/// Why a function failed. It ends the statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// An argument has no meaning here: SQLITE_MISMATCH.
    #[error("{0}")]
    Mismatch(String),
    /// An argument or the result is larger than a named limit: SQLITE_TOOBIG.
    #[error("{0}")]
    TooBig(String),
    /// An argument is written wrongly: SQLITE_ERROR.
    #[error("{0}")]
    Invalid(String),
    /// There is no memory for it: SQLITE_NOMEM.
    #[error("out of memory")]
    OutOfMemory,
    /// The watch said stop: SQLITE_INTERRUPT.
    #[error("interrupted")]
    Stopped,
}

impl FunctionError {
    pub(super) fn code(&self) -> c_int {
        match self {
            FunctionError::Mismatch(_) => ffi::SQLITE_MISMATCH,
            FunctionError::TooBig(_) => ffi::SQLITE_TOOBIG,
            FunctionError::Invalid(_) => ffi::SQLITE_ERROR,
            FunctionError::OutOfMemory => ffi::SQLITE_NOMEM,
            FunctionError::Stopped => ffi::SQLITE_INTERRUPT,
        }
    }
}

/// The result of one call.
pub type Outcome = Result<Output, FunctionError>;

/// A function of one row. It is deterministic and innocuous: it may stand in indexes, CHECKs, generated columns and views.
pub struct Scalar {
    /// As SQL calls it.
    pub name: &'static CStr,
    /// How many arguments it takes.
    pub arguments: u8,
    /// The function.
    pub call: fn(&[Argument<'_>]) -> Outcome,
}

/// The state of one aggregate of one argument, in a group or in a window's frame.
pub trait Aggregate {
    /// A row enters.
    fn step(&mut self, argument: Argument<'_>) -> Result<(), FunctionError>;
    /// The row that entered first leaves; `argument` is what it entered with.
    fn inverse(&mut self, argument: Argument<'_>) -> Result<(), FunctionError>;
    /// The value over the rows that are in.
    fn value(&self) -> Outcome;
}

/// An aggregate that may stand before OVER as well.
pub struct Window {
    /// As SQL calls it.
    pub name: &'static CStr,
    /// The state before the first row.
    pub start: fn() -> Box<dyn Aggregate>,
}

/// Deterministic and innocuous.
pub(super) const FLAGS: c_int = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;

/// What stands for a function of a virtual table where there is no such table.
unsafe extern "C" fn without_table(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    _arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite gives the context of the call; it copies the text up to its NUL.
    unsafe {
        let message = c"unable to use a function of a full-text table in the requested context";
        ffi::sqlite3_result_error(context, message.as_ptr(), -1);
    }
}

impl Handle {
    /// Lets views use a function of virtual tables: SQLite takes the flags of the one that each table brings from what is
    /// registered under its name.
    pub fn register_auxiliary(&self, name: &'static CStr, arguments: c_int) -> Result<(), EngineError> {
        // SAFETY: the handle is open and the name 'static.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                name.as_ptr(),
                arguments,
                ffi::SQLITE_UTF8 | ffi::SQLITE_INNOCUOUS,
                std::ptr::null_mut(),
                Some(without_table),
                None,
                None,
                None,
            )
        };
        self.registered(code)
    }

    /// Registers a scalar function for the life of the connection.
    pub fn register_scalar(&self, function: &'static Scalar) -> Result<(), EngineError> {
        let context = std::ptr::from_ref(function).cast_mut().cast::<c_void>();
        let name = function.name.as_ptr();
        let arguments = c_int::from(function.arguments);
        // SAFETY: the handle is open; the name and the context are 'static.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                name,
                arguments,
                FLAGS,
                context,
                Some(call_scalar),
                None,
                None,
                None,
            )
        };
        self.registered(code)
    }

    /// Registers an aggregate for the life of the connection.
    pub fn register_window(&self, function: &'static Window) -> Result<(), EngineError> {
        let context = std::ptr::from_ref(function).cast_mut().cast::<c_void>();
        let name = function.name.as_ptr();
        // SAFETY: the handle is open; the name and the context are 'static.
        let code = unsafe {
            ffi::sqlite3_create_window_function(
                self.raw(),
                name,
                1,
                FLAGS,
                context,
                Some(step),
                Some(finish),
                Some(value),
                Some(inverse),
                None,
            )
        };
        self.registered(code)
    }

    fn registered(&self, code: c_int) -> Result<(), EngineError> {
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(self.error(code))
        }
    }
}

/// # Safety
/// `value` must be an argument of the call that is running.
pub(super) unsafe fn argument<'a>(value: *mut ffi::sqlite3_value) -> Argument<'a> {
    // SAFETY: by the contract above. The pointer is asked for before the length, as SQLite demands; it may be null only
    // where the length is 0.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => Argument::Integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => Argument::Real(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => Argument::Text(bytes(ffi::sqlite3_value_text(value), value)),
            ffi::SQLITE_BLOB => Argument::Blob(bytes(ffi::sqlite3_value_blob(value).cast(), value)),
            _ => Argument::Null,
        }
    }
}

/// # Safety
/// `start` must be what SQLite gave for the bytes of `value`, which stays unchanged during the call.
unsafe fn bytes<'a>(start: *const u8, value: *mut ffi::sqlite3_value) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: by the contract above `start` points to as many bytes.
    unsafe {
        std::slice::from_raw_parts(start, usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0))
    }
}

/// # Safety
/// `context` must be that of the call that is running.
unsafe fn reply(context: *mut ffi::sqlite3_context, outcome: Outcome) {
    // SAFETY: by the contract above. SQLITE_TRANSIENT makes SQLite copy the bytes before the call returns.
    unsafe {
        match outcome {
            Ok(Output::Null) => ffi::sqlite3_result_null(context),
            Ok(Output::Integer(value)) => ffi::sqlite3_result_int64(context, value),
            Ok(Output::Real(value)) => ffi::sqlite3_result_double(context, value),
            Ok(Output::Text(text)) => put_text(context, text.as_bytes()),
            Ok(Output::TextBytes(text)) => put_text(context, &text),
            Ok(Output::Blob(bytes)) => ffi::sqlite3_result_blob64(
                context,
                bytes.as_ptr().cast::<c_void>(),
                bytes.len() as u64,
                ffi::SQLITE_TRANSIENT(),
            ),
            Err(FunctionError::OutOfMemory) => ffi::sqlite3_result_error_nomem(context),
            Err(error) => fail(context, &error.to_string(), error.code()),
        }
    }
}

/// # Safety
/// `context` must be that of the call that is running.
unsafe fn put_text(context: *mut ffi::sqlite3_context, text: &[u8]) {
    // SAFETY: by the contract above. SQLITE_TRANSIENT makes SQLite copy the bytes before the call returns.
    unsafe {
        ffi::sqlite3_result_text64(
            context,
            text.as_ptr().cast::<c_char>(),
            text.len() as u64,
            ffi::SQLITE_TRANSIENT(),
            ffi::SQLITE_UTF8 as u8,
        );
    }
}

/// # Safety
/// `context` must be that of the call that is running.
unsafe fn fail(context: *mut ffi::sqlite3_context, message: &str, code: c_int) {
    let length = c_int::try_from(message.len()).unwrap_or(0);
    // SAFETY: by the contract above; SQLite copies the message. The code is set last, since the message sets its own.
    unsafe {
        ffi::sqlite3_result_error(context, message.as_ptr().cast::<c_char>(), length);
        ffi::sqlite3_result_error_code(context, code);
    }
}

/// # Safety
/// As for [`fail`].
pub(super) unsafe fn guarded(context: *mut ffi::sqlite3_context, work: impl FnOnce() -> Option<Outcome>) {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Some(outcome)) => {
            // SAFETY: by the contract above.
            unsafe { reply(context, outcome) }
        }
        Ok(None) => {}
        Err(_) => {
            // SAFETY: by the contract above.
            unsafe { fail(context, "a SQL function of the sidecar panicked", ffi::SQLITE_INTERNAL) }
        }
    }
}

unsafe extern "C" fn call_scalar(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the context of a scalar is the `&'static Scalar` that it was registered with, and SQLite gives `count`
    // arguments.
    unsafe {
        let function = &*ffi::sqlite3_user_data(context).cast::<Scalar>();
        let mut arguments = [Argument::Null; ARGUMENTS_MAX];
        let count = usize::try_from(count).unwrap_or(0).min(ARGUMENTS_MAX);
        for (i, slot) in arguments.iter_mut().enumerate().take(count) {
            *slot = argument(*values.add(i));
        }
        guarded(context, || Some((function.call)(&arguments[..count])));
    }
}

/// The state of the aggregate, made at its first row; `None` if SQLite has no memory for it.
///
/// # Safety
/// `context` must be that of a running call of a function registered by `register_window`, and the returned reference
/// must not outlive that call.
unsafe fn state<'a>(context: *mut ffi::sqlite3_context) -> Option<&'a mut Box<dyn Aggregate>> {
    // SAFETY: SQLite gives the same zeroed memory to every call for one group; it holds nothing but our pointer.
    unsafe {
        let slot = ffi::sqlite3_aggregate_context(context, size_of::<*mut Box<dyn Aggregate>>() as c_int)
            .cast::<*mut Box<dyn Aggregate>>();
        if slot.is_null() {
            return None;
        }
        if (*slot).is_null() {
            let function = &*ffi::sqlite3_user_data(context).cast::<Window>();
            *slot = Box::into_raw(Box::new((function.start)()));
        }
        Some(&mut **slot)
    }
}

/// # Safety
/// As for [`state`], with one argument.
unsafe fn change(
    context: *mut ffi::sqlite3_context,
    values: *mut *mut ffi::sqlite3_value,
    change: fn(&mut dyn Aggregate, Argument<'_>) -> Result<(), FunctionError>,
) {
    // SAFETY: by the contract above.
    unsafe {
        guarded(context, || {
            let Some(state) = state(context) else {
                return Some(Err(FunctionError::OutOfMemory));
            };
            change(state.as_mut(), argument(*values)).err().map(Err)
        });
    }
}

unsafe extern "C" fn step(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: called by SQLite for a function of `register_window`, which has one argument.
    unsafe { change(context, values, |state, argument| state.step(argument)) }
}

unsafe extern "C" fn inverse(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: called by SQLite for a function of `register_window`, which has one argument.
    unsafe { change(context, values, |state, argument| state.inverse(argument)) }
}

unsafe extern "C" fn value(context: *mut ffi::sqlite3_context) {
    // SAFETY: called by SQLite for a function of `register_window`.
    unsafe { guarded(context, || Some(state(context).map_or(Ok(Output::Null), |state| state.value()))) }
}

unsafe extern "C" fn finish(context: *mut ffi::sqlite3_context) {
    // SAFETY: called by SQLite once for a function of `register_window`. With 0 bytes it gives back what is there, null if
    // no row came. The pointer is taken out before the box is rebuilt, so that nothing can free it again.
    unsafe {
        let slot = ffi::sqlite3_aggregate_context(context, 0).cast::<*mut Box<dyn Aggregate>>();
        let state = if slot.is_null() {
            std::ptr::null_mut()
        } else {
            std::mem::replace(&mut *slot, std::ptr::null_mut())
        };
        if state.is_null() {
            let function = &*ffi::sqlite3_user_data(context).cast::<Window>();
            guarded(context, || Some((function.start)().value()));
        } else {
            let state = Box::from_raw(state);
            guarded(context, move || Some(state.value()));
        }
    }
}
