//! Standard output: whole frames, from whichever thread made them, one lock. Writing a reply where it was made is faster
//! than handing it to a writer; the lock is given up fairly, so that a small reply passes between two chunks of a
//! stream.
//!
//! A thread that must not wait posts its frames instead: whoever has the lock next, or has it now, writes them. What the
//! pipe has no room for then is written by a thread of the output's own, as soon as there is room.

use crate::descriptors::{poll, Readiness};
use crate::feed::Events;
use crate::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a write waits for the pipe before it looks whether the program is ending.
const LOOK: Duration = Duration::from_millis(100);

/// Frames longer than this change their owner and are not copied; shorter ones leave each buffer where it is.
const MOVED: usize = 4 << 10;

/// Memory for posted frames that is kept for the next ones.
const REST_KEPT: usize = 64 << 10;

/// The way out.
pub struct Output {
    pipe: Mutex<Pipe>,
    /// Frames of threads that must not wait. Taken for moments only, and never while the pipe is written.
    posted: Mutex<Vec<u8>>,
    any_posted: AtomicBool,
    /// Another descriptor of the pipe, for who waits for room without the lock.
    room: OwnedFd,
    /// Posted frames are left for want of room, and the thread that writes them has not seen it yet.
    left: Mutex<bool>,
    left_some: Condvar,
    broken: AtomicBool,
    ending: AtomicBool,
    bytes: AtomicU64,
}

struct Pipe {
    file: File,
    /// What is left of posted frames, of which the first may have been written in part: it comes before anything else.
    rest: Rest,
}

impl Output {
    /// Takes over a non-blocking descriptor.
    ///
    /// # Errors
    /// If the descriptor cannot be duplicated.
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Output {
            room: pipe.try_clone()?,
            pipe: Mutex::new(Pipe { file: File::from(pipe), rest: Rest::default() }),
            posted: Mutex::default(),
            any_posted: AtomicBool::new(false),
            left: Mutex::new(false),
            left_some: Condvar::new(),
            broken: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
        })
    }

    /// Starts the thread that writes what posts left for want of room. It ends with the process.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(output: &Arc<Self>) -> io::Result<()> {
        let output = Arc::clone(output);
        thread::Builder::new().name("libsql-output".to_owned()).spawn(move || output.write_rests()).map(drop)
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
            self.write_all(&mut pipe.file, rest.unwritten());
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
        append(&mut self.posted.lock(), frames);
        self.any_posted.swap(true, Ordering::SeqCst);
        // Here, and in `was_posted_meanwhile`: one stores and then looks at the lock, the other unlocks and then looks at
        // what was stored. A lock orders nothing for who does not get it, so each could miss the other without the fences.
        fence(Ordering::SeqCst);
        self.flush();
    }

    /// Writes what was posted, as far as that needs no wait: neither for the lock, whose holder will see to it, nor for the
    /// pipe.
    fn flush(&self) {
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
        while !rest.is_empty() && !self.is_broken() {
            match self.write_some(file, rest.unwritten()) {
                0 => return self.leave(),
                count => {
                    rest.advance(count);
                    self.bytes.fetch_add(count as u64, Ordering::Relaxed);
                }
            }
        }
    }

    fn collect(&self, pipe: &mut Pipe) {
        if self.any_posted.swap(false, Ordering::SeqCst) {
            pipe.rest.append(&mut self.posted.lock());
        }
    }

    fn leave(&self) {
        *self.left.lock() = true;
        self.left_some.notify_one();
    }

    /// Waits for room without the lock, so that nobody else waits for this thread.
    fn write_rests(&self) {
        while !self.is_broken() {
            self.wait_until_left();
            if self.wait_for_room(&self.room) {
                return;
            }
            self.flush();
        }
    }

    fn wait_until_left(&self) {
        let mut left = self.left.lock();
        while !*left {
            self.left_some.wait(&mut left);
        }
        *left = false;
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
    fn wait_for_room(&self, pipe: &impl AsRawFd) -> bool {
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

/// Moves what is long instead of copying it, where that can be.
fn append(bytes: &mut Vec<u8>, more: &mut Vec<u8>) {
    if bytes.is_empty() && more.len() > MOVED {
        std::mem::swap(bytes, more);
    } else {
        bytes.append(more);
    }
}

/// Bytes of which a first part has been written.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    written: usize,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.unwritten().is_empty()
    }

    fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.is_empty() && self.bytes.capacity() > REST_KEPT {
            *self = Rest::default();
        }
    }

    fn append(&mut self, more: &mut Vec<u8>) {
        // Moving what is left costs no more than writing what is gone did.
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        append(&mut self.bytes, more);
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
        (reader, Output::new(writer).unwrap())
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
    fn what_a_post_leaves_goes_on_as_soon_as_there_is_room() {
        let (mut reader, output) = pipe();
        let output = Arc::new(output);
        Output::start(&output).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || sender.send(read(&mut reader, 3 << 20)));
        // Nobody else writes or flushes; the frames are read in the order of the posts.
        for byte in 0..3 {
            output.post(&mut vec![byte; 1 << 20]);
        }
        let bytes = receiver.recv_timeout(Duration::from_secs(20)).expect("all of it comes by itself");
        assert!(bytes.chunks(1 << 20).zip(0..3).all(|(chunk, byte)| chunk.iter().all(|&read| read == byte)));
        assert_eq!(output.bytes(), 3 << 20);
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
