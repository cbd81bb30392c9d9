//! SQL functions that match a text with a pattern. They keep a state for the life of their connection, and ask its watch
//! whether they have to stop, since one call may take long.
//!
//! Invariants: the registration owns the function and is freed by SQLite with it. A connection runs one function at a time
//! and no function here runs SQL, so that a registration is never entered twice. What a call borrows is what SQLite gave for
//! it. A panic is caught before it can reach C. https://sqlite.org/c3ref/create_function.html, value_blob.html

use super::client_function::{boxed, free};
use super::error::EngineError;
use super::function::{guarded, FunctionError, Outcome, Output, FLAGS};
use super::handle::Handle;
use super::watch::Watch;
use libsql_ffi as ffi;
use std::ffi::{c_int, CStr};
use std::sync::Arc;

/// How much work is done between two looks at the watch, in steps of some nanoseconds each.
pub const WORK_PER_LOOK: usize = 1 << 16;

/// A function of a pattern and a text. It is deterministic and innocuous; NULL for either argument gives NULL.
pub trait Matcher: Send {
    /// Answers one call. Numbers come as the engine writes them, blobs as their bytes; nobody has checked that they are UTF-8.
    /// The pattern is no longer than the connection's `like_pattern_length`.
    fn matches(&mut self, pattern: &[u8], text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError>;
}

/// Counts work, over all calls of a function, and asks the watch whether to stop.
pub struct Pace<'w> {
    watch: Option<&'w dyn Watch>,
    left: &'w mut usize,
}

impl<'w> Pace<'w> {
    /// A pace that `watch` may stop, with so much work left before it is asked.
    pub fn new(watch: Option<&'w dyn Watch>, left: &'w mut usize) -> Self {
        Pace { watch, left }
    }

    /// `work` was done, or is about to be. Returns an error if the call has to stop.
    #[inline]
    pub fn spend(&mut self, work: usize) -> Result<(), FunctionError> {
        match self.left.checked_sub(work) {
            Some(left) => {
                *self.left = left;
                Ok(())
            }
            None => self.look(),
        }
    }

    /// Asks now.
    #[cold]
    pub fn look(&mut self) -> Result<(), FunctionError> {
        *self.left = WORK_PER_LOOK;
        match self.watch {
            Some(watch) if watch.should_stop() => Err(FunctionError::Stopped),
            _ => Ok(()),
        }
    }
}

/// What SQLite keeps for a function.
struct Registration {
    matcher: Box<dyn Matcher>,
    watch: Option<Arc<dyn Watch>>,
    left: usize,
}

impl Handle {
    /// Registers a function for the life of the connection, which is watched already.
    pub fn register_matcher(
        &self,
        name: &'static CStr,
        matcher: Box<dyn Matcher>,
    ) -> Result<(), EngineError> {
        let watch = self.watch.as_deref().map(|watched| Arc::clone(&watched.watch));
        let registration = boxed(Registration { matcher, watch, left: WORK_PER_LOOK });
        // SAFETY: the handle is open and the name 'static; SQLite calls `free` once, also where it refuses the function.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                name.as_ptr(),
                2,
                FLAGS,
                registration,
                Some(run),
                None,
                None,
                Some(free::<Registration>),
            )
        };
        self.check(code)
    }
}

unsafe extern "C" fn run(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the context of such a function is its registration, which nothing else uses meanwhile, and SQLite gives two
    // arguments, which outlive the call; −1 changes no limit.
    unsafe {
        let registration = &mut *ffi::sqlite3_user_data(context).cast::<Registration>();
        let (pattern, text) = (text(*arguments), text(*arguments.add(1)));
        let most = ffi::sqlite3_limit(
            ffi::sqlite3_context_db_handle(context),
            ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
            -1,
        );
        guarded(context, || Some(registration.answer(pattern, text, most)));
    }
}

impl Registration {
    fn answer(&mut self, pattern: Bytes<'_>, text: Bytes<'_>, pattern_bytes_max: c_int) -> Outcome {
        let (Some(pattern), Some(text)) = (pattern?, text?) else { return Ok(Output::Null) };
        check_length(pattern, pattern_bytes_max)?;
        let mut pace = Pace::new(self.watch.as_deref(), &mut self.left);
        let matches = self.matcher.matches(pattern, text, &mut pace)?;
        Ok(Output::Integer(i64::from(matches)))
    }
}

/// An argument, or that there is no memory for it.
pub(super) type Bytes<'a> = Result<Option<&'a [u8]>, FunctionError>;

/// The bytes of a text or a blob, or a number as the engine writes it; `None` for NULL.
///
/// # Safety
/// `value` must be an argument of the call that is running, and `'a` no longer than the call.
pub(super) unsafe fn text<'a>(value: *mut ffi::sqlite3_value) -> Bytes<'a> {
    // SAFETY: by the contract above; the pointer is asked for before the length, as SQLite demands.
    unsafe {
        let kind = ffi::sqlite3_value_type(value);
        let start = match kind {
            ffi::SQLITE_NULL => return Ok(None),
            ffi::SQLITE_BLOB => ffi::sqlite3_value_blob(value).cast::<u8>(),
            _ => ffi::sqlite3_value_text(value),
        };
        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
        match (start.is_null(), kind) {
            (false, _) => Ok(Some(std::slice::from_raw_parts(start, length))),
            // An empty blob has no address.
            (true, ffi::SQLITE_BLOB) if length == 0 => Ok(Some(&[])),
            (true, _) => Err(FunctionError::OutOfMemory),
        }
    }
}

/// Refuses a pattern that is longer than the connection allows.
pub(super) fn check_length(pattern: &[u8], most: c_int) -> Result<(), FunctionError> {
    if pattern.len() <= usize::try_from(most).unwrap_or(0) {
        return Ok(());
    }
    Err(FunctionError::TooBig(format!(
        "the pattern has {} bytes: the limit like_pattern_length is {most}",
        pattern.len()
    )))
}
