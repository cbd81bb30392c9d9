//! SQL functions that match a text with a pattern which is compiled once for a statement, where it is the same for all rows.
//! They ask the connection's watch whether they have to stop, since one call may take long.
//!
//! Invariants: SQLite owns the registration and frees it with the function. A connection runs one function at a time and no
//! function here runs SQL, so that a registration is never entered twice. The auxiliary data of the first argument is set here
//! alone, to a `P` for the function of `P`; SQLite keeps it for calls of the same place in the same statement, whose function
//! is the same, and frees it not before a call has ended. What a call borrows is what SQLite gave for it. A panic is caught before it
//! can reach C. https://sqlite.org/c3ref/get_auxdata.html, create_function.html, value_blob.html

use super::client_function::{boxed, free};
use super::error::EngineError;
use super::function::{guarded, FunctionError, Outcome, Output, FLAGS};
use super::handle::Handle;
use super::matcher::{check_length, text, Pace, WORK_PER_LOOK};
use super::watch::Watch;
use libsql_ffi as ffi;
use std::ffi::{c_int, CStr};
use std::sync::Arc;

/// A pattern, compiled. Patterns, texts and escapes come as the engine writes them, blobs as their bytes; nobody has checked that
/// they are UTF-8.
pub trait Pattern: Sized + Send + 'static {
    /// Compiles a pattern, which is no longer than the connection's `like_pattern_length`.
    ///
    /// # Errors
    /// If the pattern or the escape has no meaning.
    fn compile(pattern: &[u8], escape: Option<&[u8]>) -> Result<Self, FunctionError>;

    /// True if it was compiled with this escape: it may be another one in each row where the pattern is the same.
    fn has_escape(&self, escape: Option<&[u8]>) -> bool;

    /// Whether all of the text matches.
    ///
    /// # Errors
    /// `Stopped` if the pace says so.
    fn matches(&self, text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError>;
}

/// The argument that auxiliary data belongs to.
const PATTERN: c_int = 0;

/// What SQLite keeps for a function.
struct Registration {
    watch: Option<Arc<dyn Watch>>,
    left: usize,
}

impl Handle {
    /// Registers `name(pattern, text)` and `name(pattern, text, escape)` for the life of the connection, which is watched already.
    /// They are deterministic and innocuous; NULL for any argument gives NULL.
    pub fn register_pattern<P: Pattern>(&self, name: &'static CStr) -> Result<(), EngineError> {
        [2, 3].into_iter().try_for_each(|arguments| {
            let watch = self.watch.as_deref().map(|watched| Arc::clone(&watched.watch));
            let registration = boxed(Registration { watch, left: WORK_PER_LOOK });
            // SAFETY: the handle is open and the name 'static; SQLite calls `free` once, also where it refuses the function.
            let code = unsafe {
                ffi::sqlite3_create_function_v2(
                    self.raw(),
                    name.as_ptr(),
                    arguments,
                    FLAGS,
                    registration,
                    Some(run::<P>),
                    None,
                    None,
                    Some(free::<Registration>),
                )
            };
            self.check(code)
        })
    }
}

unsafe extern "C" fn run<P: Pattern>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls this for a function of `P` alone, with two or three arguments, which outlive the call.
    unsafe { guarded(context, || Some(answer::<P>(context, count, values))) }
}

/// # Safety
/// As for [`run`].
unsafe fn answer<P: Pattern>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) -> Outcome {
    // SAFETY: by the contract above; the context of such a function is its registration, which nothing else uses meanwhile.
    let (found, escape, registration) = unsafe {
        let escape = if count > 2 { Some(text(*values.add(2))?) } else { None };
        (text(*values.add(1))?, escape, &mut *ffi::sqlite3_user_data(context).cast::<Registration>())
    };
    let (Some(found), Some(escape)) = (found, escape.map_or(Some(None), |given| given.map(Some))) else {
        return Ok(Output::Null);
    };
    let mut pace = Pace::new(registration.watch.as_deref(), &mut registration.left);
    let answer = |matches| Output::Integer(i64::from(matches));
    // SAFETY: null, or the `P` that was set below, which nobody frees before this call has ended or replaces it.
    let kept = unsafe { ffi::sqlite3_get_auxdata(context, PATTERN).cast::<P>().as_ref() };
    if let Some(compiled) = kept.filter(|compiled| compiled.has_escape(escape)) {
        return compiled.matches(found, &mut pace).map(answer);
    }
    // SAFETY: by the contract above.
    let Some(pattern) = (unsafe { text(*values)? }) else { return Ok(Output::Null) };
    // SAFETY: as above; −1 changes no limit.
    let most = unsafe {
        let db = ffi::sqlite3_context_db_handle(context);
        ffi::sqlite3_limit(db, ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, -1)
    };
    check_length(pattern, most)?;
    let compiled = P::compile(pattern, escape)?;
    let matches = compiled.matches(found, &mut pace)?;
    // SAFETY: as above; SQLite takes the box over, and frees it also where it does not keep it.
    unsafe { ffi::sqlite3_set_auxdata(context, PATTERN, boxed(compiled), Some(free::<P>)) };
    Ok(answer(matches))
}
