//! Standard output: whole frames, from whichever thread made them, one lock. Writing a reply where it was made is faster
//! than handing it to a writer; the lock is given up fairly, so that a small reply passes between two chunks of a
//! stream.

use parking_lot::{Mutex, MutexGuard};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::descriptors::{poll, Readiness};

/// How long a write waits for the pipe before it looks whether the program is ending.
const LOOK: Duration = Duration::from_millis(100);

/// The way out.
pub struct Output {
    pipe: Mutex<File>,
    broken: AtomicBool,
    ending: AtomicBool,
    bytes: AtomicU64,
}

impl Output {
    /// Takes over a non-blocking descriptor.
    pub fn new(pipe: OwnedFd) -> Self {
        Output {
            pipe: Mutex::new(File::from(pipe)),
            broken: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
        }
    }

    /// Writes `frames` and empties it; waits while the pipe is full. What cannot be written any more is dropped.
    pub fn send(&self, frames: &mut Vec<u8>) {
        if frames.is_empty() {
            return;
        }
        let mut pipe = self.pipe.lock();
        let mut written = 0;
        while written < frames.len() && !self.broken.load(Ordering::Relaxed) {
            written += self.write_some(&mut pipe, &frames[written..]);
            if written < frames.len() && self.wait_for_room(&pipe) {
                self.broken.store(true, Ordering::Relaxed);
            }
        }
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        frames.clear();
        MutexGuard::unlock_fair(pipe);
    }

    /// The other end is gone.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// From now on a write that has to wait gives up.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// One write; 0 if there was no room. Marks the output as broken on any other error.
    fn write_some(&self, pipe: &mut File, bytes: &[u8]) -> usize {
        loop {
            match pipe.write(bytes) {
                Ok(written) => return written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
                Err(error) => {
                    if !self.broken.swap(true, Ordering::Relaxed) {
                        tracing::info!(%error, "standard output is gone");
                    }
                    return 0;
                }
            }
        }
    }

    /// Waits for room; true if it will never come.
    fn wait_for_room(&self, pipe: &File) -> bool {
        while !self.broken.load(Ordering::Relaxed) {
            if poll(pipe, Readiness::Write, LOOK) {
                return false;
            }
            if self.ending.load(Ordering::Relaxed) {
                return true;
            }
        }
        true
    }
}
