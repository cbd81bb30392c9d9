//! The way out for events.

/// Implemented by the server.
pub trait Events: Send + Sync {
    /// Has whole frames written without waiting for it, and empties the buffer.
    fn post(&self, frames: &mut Vec<u8>);
}
