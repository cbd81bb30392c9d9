//! What the program counts of a connection.

use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Counts of one connection, read by its status.
#[derive(Default)]
pub struct Counters {
    /// Requests that have run.
    pub requests: AtomicU64,
    /// Rows sent.
    pub rows: AtomicU64,
    /// Error replies, of which
    pub errors: AtomicU64,
    /// … deadlines that passed, and
    pub timeouts: AtomicU64,
    /// … cancellations.
    pub cancelled: AtomicU64,
    /// Prepared statements that the client holds.
    pub statements: AtomicUsize,
    /// Cursors that it has open.
    pub cursors: AtomicUsize,
}
