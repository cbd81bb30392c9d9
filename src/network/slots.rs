//! Room for what all connections together keep on one server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Counts what is kept on one server.
#[derive(Debug, Clone, Default)]
pub struct Slots(Arc<AtomicUsize>);

/// Room for one of them, until it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Slots {
    /// Room for one more, unless there are `most`.
    pub fn take(&self, most: usize) -> Option<Slot> {
        let more = |count: usize| (count < most).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot(Arc::clone(&self.0)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_on_each_server() {
        let slots = Slots::default();
        let mut taken: Vec<_> = (0..3).map(|_| slots.take(3).unwrap()).collect();
        assert!(slots.take(3).is_none());
        taken.pop();
        taken.push(slots.take(3).unwrap());
        assert!(slots.clone().take(3).is_none(), "a clone counts the same");
        assert!(Slots::default().take(3).is_some(), "another server has its own");
        taken.clear();
        assert!(slots.take(1).is_some());
    }
}
