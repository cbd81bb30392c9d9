//! What the callbacks of a connection are given.

use super::watch::Watch;
use libsql_ffi as ffi;
use std::cell::Cell;
use std::sync::Arc;

/// A watch, and what the callbacks know of the connection besides.
pub(super) struct Watched {
    /// Whom they ask and tell.
    pub watch: Arc<dyn Watch>,
    /// How many statements of this program's own are under way, one within the other: no policy is asked about them.
    pub own: Cell<u32>,
    /// The connection that it is the watch of.
    pub db: *mut ffi::sqlite3,
}
