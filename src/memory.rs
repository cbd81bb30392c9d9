//! Memory that goes back to the system. glibc keeps what was freed for the next allocation, which after a large result may
//! never come.
//!
//! Invariant: `malloc_trim` takes a number, gives unused pages back, and may be called on any thread at any time.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes beside the engine's memory that were freed since memory was last given back.
static FREED: AtomicUsize = AtomicUsize::new(0);

/// So many bytes that the engine does not count are about to be freed.
pub fn freed(bytes: usize) {
    FREED.fetch_add(bytes, Ordering::Relaxed);
}

/// Gives memory back if that, and what the engine has freed, is more than `most`.
pub fn give_back_after(freed_by_engine: usize, most: usize) {
    if freed_by_engine.saturating_add(FREED.load(Ordering::Relaxed)) > most {
        FREED.store(0, Ordering::Relaxed);
        give_back();
    }
}

/// Gives memory that is not used back to the system. Takes some milliseconds after gigabytes, else microseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: by the invariant above.
    unsafe {
        libc::malloc_trim(0);
    }
}
