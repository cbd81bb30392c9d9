//! Which transaction a connection is held for: one that was begun under a number, in the address
//! `{Connection, Transaction}`. Until it ends, requests that do not bear its number wait in the queue, so that nobody
//! else's statement becomes a part of it. One of a shared number lets others in, and is only told apart from the next.

use crate::sync::atomic::{AtomicU32, Ordering};

/// The number of no transaction. In an address it stands for whichever is open.
pub const ANY: u32 = 0;

/// The bit of a number whose transaction everybody may join.
const SHARED: u32 = 1 << 31;

/// The held transaction. Written by whoever runs the connection, read within the lock of its queue.
#[derive(Debug, Default)]
pub struct Held(AtomicU32);

impl Held {
    /// The number of the transaction, 0 for none.
    #[inline]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// The number of the transaction that keeps the requests of others waiting.
    #[inline]
    pub fn exclusive(&self) -> Option<u32> {
        let held = self.get();
        (held != 0 && held & SHARED == 0).then_some(held)
    }

    /// Takes a transaction's number; 0 when it has ended.
    pub fn set(&self, transaction: u32) {
        self.0.store(transaction, Ordering::Release);
    }

    /// True if the open transaction is the one that an address names.
    pub fn is(&self, transaction: u32) -> bool {
        transaction == ANY || transaction == self.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_own_transaction_or_any() {
        let held = Held::default();
        held.set(7);
        assert!(held.is(7) && held.is(ANY) && !held.is(6));
        assert_eq!(held.exclusive(), Some(7));
        held.set(SHARED | 7);
        assert!(held.is(SHARED | 7) && !held.is(7));
        assert_eq!(held.exclusive(), None);
        held.set(ANY);
        assert_eq!(held.exclusive(), None);
    }
}
