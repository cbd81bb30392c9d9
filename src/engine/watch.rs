//! What the engine asks and tells while it runs. Implemented by whoever owns a connection.

/// What the engine asks while it runs on a connection. Called on the thread that steps the statement.
pub trait Watch: Send + Sync {
    /// True stops the running statement with SQLITE_INTERRUPT.
    fn should_stop(&self) -> bool;
    /// Another program holds a lock. May sleep; false gives up with SQLITE_BUSY. `tries` counts from 0.
    fn wait_for_lock(&self, tries: u32) -> bool;
    /// A commit left `pages` pages in the WAL of `schema`.
    fn committed(&self, schema: &str, pages: u32);
}
