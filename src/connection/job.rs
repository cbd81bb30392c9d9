//! A request as it waits or runs, and the bytes that waiting ones hold.

use crate::sync::atomic::{AtomicU64, Ordering};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of the requests that wait, on all connections together.
#[derive(Debug)]
pub struct QueuedBytes {
    now: AtomicU64,
    max: u64,
}

impl QueuedBytes {
    /// None, of `max`.
    pub fn new(max: u64) -> Arc<Self> {
        Arc::new(QueuedBytes { now: AtomicU64::new(0), max })
    }

    /// How many there are.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Room for `bytes`, until what is returned is dropped. One request always has room.
    fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let add =
            |now: u64| (now == 0 || now.saturating_add(bytes) <= self.max).then(|| now.saturating_add(bytes));
        self.now.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add).ok()?;
        Some(Reserved { of: Arc::clone(self), bytes })
    }
}

#[derive(Debug)]
struct Reserved {
    of: Arc<QueuedBytes>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.of.now.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A waiting request up to this size is copied: a slice would keep the whole buffer that it was read into.
const COPIED_BYTES: usize = 16 << 10;

/// A request that waits or runs.
#[derive(Debug)]
pub struct Job {
    /// Its id on the wire.
    pub request_id: u32,
    /// Which request.
    pub tag: u8,
    /// Its payload.
    pub payload: Bytes,
    /// The transaction inside of which it is to run.
    pub transaction: Option<u32>,
    /// When its frame was read.
    pub received_ns: u64,
    /// When it has to be answered.
    pub deadline_ns: u64,
    /// How long it may wait for turns and locks, if it says so.
    pub lock_timeout_ms: Option<u32>,
    /// Row chunks that were granted to it while it waited.
    pub credits: u32,
    /// Its share of what may wait.
    reserved: Option<Reserved>,
}

impl Job {
    /// A request that has just been read.
    pub fn new(request_id: u32, tag: u8, payload: Bytes, received_ns: u64, deadline_ns: u64) -> Self {
        Job {
            request_id,
            tag,
            payload,
            transaction: None,
            received_ns,
            deadline_ns,
            lock_timeout_ms: None,
            credits: 0,
            reserved: None,
        }
    }

    /// Takes its share of what may wait; false if there is no room for it.
    pub(super) fn reserve(&mut self, of: &Arc<QueuedBytes>) -> bool {
        self.reserved = of.reserve(self.payload.len() as u64);
        if self.reserved.is_some() && self.payload.len() <= COPIED_BYTES {
            self.payload = Bytes::copy_from_slice(&self.payload);
        }
        self.reserved.is_some()
    }

    /// It waits no longer.
    pub(super) fn free(&mut self) {
        self.reserved = None;
    }
}
