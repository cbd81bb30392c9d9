//! `concat_ws` with the length of its result computed in 64 bits: the engine's own multiplies the separators' in 32, and
//! writes behind the end of its buffer.
//!
//! Invariant: texts are borrowed from the arguments of one call; the result's buffer is SQLite's, which frees it.

use super::error::EngineError;
use super::handle::Handle;
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void};

impl Handle {
    /// Replaces `concat_ws` on this connection.
    pub fn register_concat(&self) -> Result<(), EngineError> {
        // SAFETY: the handle is open and the name 'static.
        let code = unsafe {
            ffi::sqlite3_create_function_v2(
                self.raw(),
                c"concat_ws".as_ptr(),
                -1,
                ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS,
                std::ptr::null_mut(),
                Some(concat_ws),
                None,
                None,
                None,
            )
        };
        self.check(code)
    }
}

/// # Safety
/// `value` must be an argument of the call that is running.
unsafe fn text<'a>(value: *mut ffi::sqlite3_value) -> Option<&'a [u8]> {
    // SAFETY: by the contract above; the pointer is asked for before the length, as SQLite demands.
    unsafe {
        let start = ffi::sqlite3_value_text(value);
        if start.is_null() {
            return None;
        }
        let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
        Some(std::slice::from_raw_parts(start, length))
    }
}

unsafe extern "C" fn concat_ws(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: called by SQLite with `count` arguments; the buffer is as long as what is copied into it.
    unsafe {
        let count = usize::try_from(count).unwrap_or(0);
        if count < 2 {
            let message = "wrong number of arguments to function concat_ws()";
            let length = c_int::try_from(message.len()).unwrap_or(0);
            ffi::sqlite3_result_error(context, message.as_ptr().cast::<c_char>(), length);
            return;
        }
        let Some(separator) = text(*arguments) else { return };
        // An empty text counts as little as NULL.
        let parts =
            || (1..count).filter_map(|index| text(*arguments.add(index))).filter(|part| !part.is_empty());
        let (bytes, number) = parts().fold((0, 0), |(bytes, number), part| (bytes + part.len(), number + 1));
        let total = bytes.saturating_add(separator.len().saturating_mul(usize::max(number, 1) - 1));
        let db = ffi::sqlite3_context_db_handle(context);
        let most = usize::try_from(ffi::sqlite3_limit(db, ffi::SQLITE_LIMIT_LENGTH, -1)).unwrap_or(0);
        if total > most {
            ffi::sqlite3_result_error_toobig(context);
            return;
        }
        let buffer = ffi::sqlite3_malloc64(total as u64 + 1).cast::<u8>();
        if buffer.is_null() {
            ffi::sqlite3_result_error_nomem(context);
            return;
        }
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            // More than was counted: an argument was no text for want of memory then, and is one now.
            let fits = bytes.len() <= total - at;
            if fits {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.add(at), bytes.len());
                at += bytes.len();
            }
            fits
        };
        let whole = parts().enumerate().all(|(index, part)| (index == 0 || put(separator)) && put(part));
        if !whole || at < total {
            ffi::sqlite3_free(buffer.cast());
            ffi::sqlite3_result_error_nomem(context);
            return;
        }
        let free: unsafe extern "C" fn(*mut c_void) = ffi::sqlite3_free;
        ffi::sqlite3_result_text64(context, buffer.cast(), total as u64, Some(free), ffi::SQLITE_UTF8 as u8);
    }
}
