//! Collations: registers the order of two texts on a handle.
//!
//! Invariants: SQLite keeps a pointer to a `&'static` definition, so it never dangles. Texts are borrowed for one comparison.
//! The comparison cannot fail; one that panicked would end the program, because C cannot unwind and an index that is
//! ordered by guesses is worse. https://sqlite.org/c3ref/create_collation.html

use super::error::EngineError;
use super::handle::Handle;
use libsql_ffi as ffi;
use std::cmp::Ordering;
use std::ffi::{c_int, c_void, CStr};

/// An order of texts.
pub struct Collation {
    /// As SQL calls it.
    pub name: &'static CStr,
    /// A total order of all sequences of bytes, also of those that are not UTF-8.
    pub compare: fn(&[u8], &[u8]) -> Ordering,
}

impl Handle {
    /// Registers a collation for the life of the connection. One that is registered later by the same name replaces it.
    pub fn register_collation(&self, collation: &'static Collation) -> Result<(), EngineError> {
        // SAFETY: the handle is open; the name and the context are 'static.
        let code = unsafe {
            ffi::sqlite3_create_collation_v2(
                self.raw(),
                collation.name.as_ptr(),
                ffi::SQLITE_UTF8,
                std::ptr::from_ref(collation).cast_mut().cast::<c_void>(),
                Some(compare),
                None,
            )
        };
        self.check(code)
    }
}

unsafe extern "C" fn compare(
    context: *mut c_void,
    left_bytes: c_int,
    left: *const c_void,
    right_bytes: c_int,
    right: *const c_void,
) -> c_int {
    // SAFETY: the context is the `&'static Collation` of the registration; SQLite gives two texts with their lengths.
    unsafe {
        let collation = &*context.cast::<Collation>();
        (collation.compare)(bytes(left, left_bytes), bytes(right, right_bytes)) as c_int
    }
}

/// # Safety
/// `start` must point to `length` bytes that outlive what is returned, or the length be 0.
pub(super) unsafe fn bytes<'a>(start: *const c_void, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        Ok(length) if length > 0 => {
            // SAFETY: by the contract above.
            unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }
        }
        _ => &[],
    }
}
