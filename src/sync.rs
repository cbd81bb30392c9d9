//! The locks and atomics of the state that threads share. `model/` compiles the files that take them from here with
//! loom's in their place, and goes through the interleavings.

pub use parking_lot::{Condvar, Mutex, MutexGuard};
pub use std::sync::atomic;
