//! Memory that goes back to the system. glibc keeps what was freed for the next allocation, which after a large result may
//! never come.
//!
//! Invariant: `malloc_trim` takes a number, gives unused pages back, and may be called on any thread at any time.

/// Gives memory that is not used back to the system. Takes some milliseconds after gigabytes, else microseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: by the invariant above.
    unsafe {
        libc::malloc_trim(0);
    }
}
