//! Standard output: whole frames, from whichever thread made them, one lock. Writing a reply where it was made is faster
//! than handing it to a writer; the lock is given up fairly, so that a small reply passes between two chunks of a
//! stream.
//!
//! A thread that must not wait posts its frames instead: whoever has the lock next, or has it now, writes them.

use crate::descriptors::{poll, Readiness};
use crate::feed::Events;
use crate::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a write waits for the pipe before it looks whether the program is ending.
const LOOK: Duration = Duration::from_millis(100);

/// The way out.
pub struct Output {
    pipe: Mutex<Pipe>,
    /// Frames of threads that must not wait. Taken for moments only, and never while the pipe is written.
    posted: Mutex<Vec<u8>>,
    any_posted: AtomicBool,
    broken: AtomicBool,
    ending: AtomicBool,
    bytes: AtomicU64,
}

struct Pipe {
    file: File,
    /// What is left of posted frames, of which the first may have been written in part: it comes before anything else.
    rest: Vec<u8>,
}

impl Output {
    /// Takes over a non-blocking descriptor.
    pub fn new(pipe: OwnedFd) -> Self {
        Output {
            pipe: Mutex::new(Pipe { file: File::from(pipe), rest: Vec::new() }),
            posted: Mutex::default(),
            any_posted: AtomicBool::new(false),
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
        if !pipe.rest.is_empty() || self.any_posted.load(Ordering::SeqCst) {
            self.collect(&mut pipe);
            let rest = std::mem::take(&mut pipe.rest);
            self.write_all(&mut pipe.file, &rest);
        }
        self.write_all(&mut pipe.file, frames);
        frames.clear();
        MutexGuard::unlock_fair(pipe);
        if self.was_posted_meanwhile() {
            self.flush();
        }
    }

    /// Has `frames` written without waiting for it, and empties it.
    pub fn post(&self, frames: &mut Vec<u8>) {
        if frames.is_empty() {
            return;
        }
        self.posted.lock().append(frames);
        self.any_posted.swap(true, Ordering::SeqCst);
        // Here, and in `was_posted_meanwhile`: one stores and then looks at the lock, the other unlocks and then looks at
        // what was stored. A lock orders nothing for who does not get it, so each could miss the other without the fences.
        fence(Ordering::SeqCst);
        self.flush();
    }

    /// Writes what was posted, as far as that needs no wait: neither for the lock, whose holder will see to it, nor for the
    /// pipe.
    pub fn flush(&self) {
        while let Some(pipe) = self.pipe.try_lock() {
            self.write_what_fits(pipe);
            if !self.was_posted_meanwhile() {
                return;
            }
        }
    }

    /// After the pipe was unlocked: what was posted before that has found it taken.
    fn was_posted_meanwhile(&self) -> bool {
        fence(Ordering::SeqCst);
        self.any_posted.load(Ordering::SeqCst)
    }

    fn write_what_fits(&self, mut pipe: MutexGuard<'_, Pipe>) {
        self.collect(&mut pipe);
        let Pipe { file, rest } = &mut *pipe;
        let mut written = 0;
        while written < rest.len() && !self.is_broken() {
            match self.write_some(file, &rest[written..]) {
                0 => break,
                count => written += count,
            }
        }
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        rest.drain(..written);
    }

    fn collect(&self, pipe: &mut Pipe) {
        if self.any_posted.swap(false, Ordering::SeqCst) {
            pipe.rest.append(&mut self.posted.lock());
        }
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

    fn write_all(&self, file: &mut File, bytes: &[u8]) {
        let mut written = 0;
        while written < bytes.len() && !self.is_broken() {
            written += self.write_some(file, &bytes[written..]);
            if written < bytes.len() && self.wait_for_room(file) {
                self.broken.store(true, Ordering::Relaxed);
            }
        }
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
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
        while !self.is_broken() {
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

impl Events for Output {
    fn post(&self, frames: &mut Vec<u8>) {
        Output::post(self, frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::set_non_blocking;
    use std::io::Read;

    fn pipe() -> (std::io::PipeReader, Output) {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        set_non_blocking(&writer).unwrap();
        (reader, Output::new(writer))
    }

    fn read(reader: &mut std::io::PipeReader, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_post_does_not_wait_and_comes_whole_before_the_next_frame() {
        let (mut reader, output) = pipe();
        // As long as two pipes: the first part of it goes out, the rest has to wait.
        let mut long = vec![1; 128 << 10];
        output.post(&mut long);
        assert!(long.is_empty());
        output.post(&mut vec![2; 10]);
        std::thread::scope(|scope| {
            scope.spawn(|| output.send(&mut vec![3; 10]));
            assert_eq!(read(&mut reader, 128 << 10), vec![1; 128 << 10]);
            assert_eq!(read(&mut reader, 20), [[2; 10], [3; 10]].concat());
        });
    }

    #[test]
    fn what_is_posted_while_the_pipe_is_taken_follows_by_itself() {
        let (mut reader, output) = pipe();
        std::thread::scope(|scope| {
            let guard = output.pipe.lock();
            scope.spawn(|| output.send(&mut vec![1; 10]));
            // Returns although another thread has the pipe.
            output.post(&mut vec![2; 10]);
            drop(guard);
            let mut bytes = read(&mut reader, 20);
            bytes.sort_unstable();
            assert_eq!(bytes, [[1; 10], [2; 10]].concat());
        });
    }
}
