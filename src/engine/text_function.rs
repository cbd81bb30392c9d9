//! SQL functions of texts. One call may take long, so they ask the connection's watch whether they have to stop.
//!
//! Invariants: SQLite owns the registration and frees it with the function. A connection runs one function at a time and no
//! function here runs SQL, so that a registration is never entered twice. Texts are borrowed from the arguments of one call.
//! A panic is caught before it can reach C. https://sqlite.org/c3ref/create_function.html, value_blob.html

use super::client_function::{boxed, free};
use super::error::EngineError;
use super::function::{guarded, Outcome, Output, ARGUMENTS_MAX, FLAGS};
use super::handle::Handle;
use super::matcher::{text, Pace, WORK_PER_LOOK};
use super::watch::Watch;
use libsql_ffi as ffi;
use std::ffi::{c_int, CStr};
use std::sync::Arc;

/// Whether equal arguments give equal results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purity {
    /// They do: the function may stand in indexes, CHECKs and generated columns.
    Deterministic,
    /// Each call gives another result. SQLite refuses it there, and takes it as a DEFAULT and in triggers.
    Volatile,
}

/// A function of texts. It is innocuous. NULL for any argument gives NULL, without a call.
pub struct TextFunction {
    /// As SQL calls it.
    pub name: &'static CStr,
    /// How many arguments it takes.
    pub arguments: u8,
    /// Whether it is deterministic.
    pub purity: Purity,
    /// The function. Numbers come as the engine writes them, blobs as their bytes; nobody has checked that they are UTF-8.
    pub call: fn(&[&[u8]], &mut Call<'_>) -> Outcome,
}

/// What a call may ask and tell of its connection.
pub struct Call<'c> {
    /// Counts work, and says whether to stop.
    pub pace: Pace<'c>,
}

/// What SQLite keeps for a function.
struct Registration {
    function: &'static TextFunction,
    watch: Option<Arc<dyn Watch>>,
    left: usize,
}

impl Handle {
    /// Registers a function for the life of the connection, which is watched already. A function that is registered later
    /// by the same name and number of arguments replaces it.
    pub fn register_text_function(&self, function: &'static TextFunction) -> Result<(), EngineError> {
        let watch = self.watch.as_deref().map(|watched| Arc::clone(&watched.watch));
        let registration = boxed(Registration { function, watch, left: WORK_PER_LOOK });
        let flags = match function.purity {
            Purity::Deterministic => FLAGS,
            Purity::Volatile => FLAGS & !ffi::SQLITE_DETERMINISTIC,
        };
        // SAFETY: the handle is open and the name 'static; SQLite calls `free` once, also where it refuses the function.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                function.name.as_ptr(),
                c_int::from(function.arguments),
                flags,
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
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: the context of such a function is its registration, which nothing else uses meanwhile, and SQLite gives `count`
    // arguments, which outlive the call.
    unsafe {
        let registration = &mut *ffi::sqlite3_user_data(context).cast::<Registration>();
        let mut texts: [&[u8]; ARGUMENTS_MAX] = [&[]; ARGUMENTS_MAX];
        let count = usize::try_from(count).unwrap_or(0).min(ARGUMENTS_MAX);
        let mut missing = None;
        for (i, slot) in texts.iter_mut().enumerate().take(count) {
            match text(*values.add(i)) {
                Ok(Some(bytes)) => *slot = bytes,
                Ok(None) => missing = missing.or(Some(Ok(Output::Null))),
                Err(error) => missing = Some(Err(error)),
            }
        }
        guarded(context, || missing.or_else(|| Some(registration.answer(&texts[..count]))));
    }
}

impl Registration {
    fn answer(&mut self, texts: &[&[u8]]) -> Outcome {
        let pace = Pace::new(self.watch.as_deref(), &mut self.left);
        (self.function.call)(texts, &mut Call { pace })
    }
}
