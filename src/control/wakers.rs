//! The tasks that wait for a change.

use std::task::Waker;

/// One waker for each task that waits. Whoever removes or replaces one drops it outside of the lock that guards this: it
/// may be the last that holds its task, whose end comes back here.
#[derive(Default)]
pub struct Wakers {
    waiting: Vec<(u64, Waker)>,
    last_key: u64,
}

impl Wakers {
    /// A key that no other task has.
    pub fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// From now on the task `key` waits. Returns the waker that it waited with before.
    pub fn insert(&mut self, key: u64, waker: Waker) -> Option<Waker> {
        match self.waiting.iter_mut().find(|(task, _)| *task == key) {
            Some((_, before)) => Some(std::mem::replace(before, waker)),
            None => {
                self.waiting.push((key, waker));
                None
            }
        }
    }

    /// The task `key` waits no more.
    pub fn remove(&mut self, key: u64) -> Option<Waker> {
        let at = self.waiting.iter().position(|(task, _)| *task == key)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// All that wait. They have to come again to wait on.
    pub fn take(&mut self) -> Vec<(u64, Waker)> {
        std::mem::take(&mut self.waiting)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
