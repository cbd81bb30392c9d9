//! Passes the input from thread to thread, so that exactly one of them reads at any time.
//!
//! The leader has the input. It lays it open before it runs a statement and takes it back afterwards, unless it was
//! relieved meanwhile: then a thread that stands by has it, or one that was started for this. Who is relieved stands by
//! itself as soon as its statement has ended. Knows neither what the input is nor how threads are started.

use crate::clock::now_ns;
use crate::run::Lead;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// Threads that stand by; more than these end when they are no longer needed.
pub const STANDBY_MAX: u32 = 2;

/// Who has the input `I`.
pub struct Handover<I> {
    /// The leader's input while it runs a statement. `busy_since_ns` changes together with it, under this lock, which is
    /// taken within the one of `standby` or alone.
    slot: Mutex<Slot<I>>,
    standby: Mutex<Standby<I>>,
    handed_over: Condvar,
    busy_since_ns: AtomicU64,
}

struct Slot<I> {
    input: Option<I>,
    /// Whose input it is: counts the times that one was laid here.
    lead: Lead,
}

struct Standby<I> {
    waiting: u32,
    input: Option<I>,
}

impl<I> Handover<I> {
    /// Nobody leads yet, nobody stands by.
    pub fn new() -> Self {
        Handover {
            slot: Mutex::new(Slot { input: None, lead: 0 }),
            standby: Mutex::new(Standby { waiting: 0, input: None }),
            handed_over: Condvar::new(),
            busy_since_ns: AtomicU64::new(0),
        }
    }

    /// Since when the leader has run a statement; 0 if it does not.
    pub fn busy_since_ns(&self) -> u64 {
        self.busy_since_ns.load(Ordering::SeqCst)
    }

    /// The lead that is on, or was the last one.
    pub fn lead(&self) -> Lead {
        self.slot.lock().lead
    }

    /// Lays the input open before a statement runs. Returns the lead that it stands for.
    #[inline]
    pub fn lay_open(&self, input: I) -> Lead {
        let mut slot = self.slot.lock();
        slot.input = Some(input);
        slot.lead += 1;
        self.busy_since_ns.store(now_ns(), Ordering::SeqCst);
        slot.lead
    }

    /// Takes the input if it is still the one of `lead`.
    #[inline]
    pub fn take_back(&self, lead: Lead) -> Option<I> {
        let mut slot = self.slot.lock();
        if slot.lead != lead {
            return None;
        }
        let input = slot.input.take()?;
        self.busy_since_ns.store(0, Ordering::SeqCst);
        Some(input)
    }

    /// Lays the input of `lead` open again, which was taken back while its statement still runs.
    #[inline]
    pub fn put_back(&self, lead: Lead, input: I) {
        let mut slot = self.slot.lock();
        debug_assert!(slot.lead == lead && slot.input.is_none(), "who has the input is the one who leads");
        slot.input = Some(input);
        self.busy_since_ns.store(now_ns(), Ordering::SeqCst);
    }

    /// Hands the input of `lead` to a thread that stands by, if that lead is still on. False if nobody stands by: the
    /// input stays where it is, for a new thread to [`Self::join`]. Safe to call at any time.
    #[must_use]
    pub fn relieve(&self, lead: Lead) -> bool {
        let mut standby = self.standby.lock();
        // One that stands by and has not been handed the input of an earlier relief.
        if standby.waiting > 0 && standby.input.is_none() {
            standby.input = self.take_back(lead);
            if standby.input.is_some() {
                drop(standby);
                self.handed_over.notify_one();
            }
            return true;
        }
        drop(standby);
        !self.is_on(lead)
    }

    /// What a thread starts with that was started to relieve `lead`. Its leader may have come back, or another thread
    /// have been faster: then it stands by.
    pub fn join(&self, lead: Lead) -> Option<I> {
        self.take_back(lead).or_else(|| self.stand_by())
    }

    /// Waits to be handed the input; `None` if enough others wait.
    pub fn stand_by(&self) -> Option<I> {
        let mut standby = self.standby.lock();
        if standby.waiting >= STANDBY_MAX {
            return None;
        }
        standby.waiting += 1;
        loop {
            if let Some(input) = standby.input.take() {
                standby.waiting -= 1;
                return Some(input);
            }
            self.handed_over.wait(&mut standby);
        }
    }

    fn is_on(&self, lead: Lead) -> bool {
        let slot = self.slot.lock();
        slot.lead == lead && slot.input.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_takes_its_own_input_back() {
        let handover = Handover::new();
        let first = handover.lay_open("input");
        assert_ne!(handover.busy_since_ns(), 0);
        assert_eq!(handover.take_back(first), Some("input"));
        assert_eq!(handover.busy_since_ns(), 0);
        let second = handover.lay_open("input");
        assert_eq!(handover.take_back(first), None, "a former leader has no claim on the present one's");
        assert_eq!(handover.take_back(second), Some("input"));
    }

    #[test]
    fn a_leader_may_read_in_the_midst_of_its_statement() {
        let handover = Handover::new();
        let lead = handover.lay_open("input");
        assert_eq!(handover.take_back(lead), Some("input"));
        assert_eq!(handover.busy_since_ns(), 0);
        assert!(handover.relieve(lead), "who reads is not relieved, and nobody has to be started for it");
        handover.put_back(lead, "input");
        assert_ne!(handover.busy_since_ns(), 0);
        assert!(!handover.relieve(lead), "who runs its statement again is");
        assert_eq!(handover.join(lead), Some("input"));
        assert_eq!(handover.take_back(lead), None);
    }

    #[test]
    fn without_a_standby_a_new_thread_takes_the_input_where_it_lies() {
        let handover = Handover::new();
        let lead = handover.lay_open("input");
        assert!(!handover.relieve(lead), "somebody has to be started");
        assert_eq!(handover.join(lead), Some("input"));
        assert!(handover.relieve(lead), "a lead that is over needs nobody");
        assert_eq!(handover.take_back(lead), None);
    }
}
