//! Waits and what ends them: a wait ends when, and only when, it has a reason to.

use libsql_port_model::clock::{self, NEVER};
use libsql_port_model::control::{Control, NoLock, Stop};
use libsql_port_model::{beside, explore, running};
use loom::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

#[test]
fn a_cancellation_ends_the_wait_of_its_request() {
    explore("cancel", 4, || {
        let control = running(NEVER);
        let canceller = beside(&control, |control| assert!(control.cancel(300)));
        assert_eq!(control.wait_until(|| false), Err(Stop::Cancelled));
        canceller.join().unwrap();
    });
}

#[test]
fn a_close_ends_every_wait() {
    explore("close", 4, || {
        let control = running(NEVER);
        let closer = beside(&control, Control::close);
        assert_eq!(control.wait_for_turn(|| false), Err(NoLock::Stopped(Stop::Closed)));
        assert_eq!(control.wait_until(|| false), Err(Stop::Closed));
        closer.join().unwrap();
    });
}

#[test]
fn a_deadline_and_a_lock_timeout_end_a_wait() {
    explore("deadline", 4, || {
        let control = running(10);
        let time = beside(&control, |control| {
            clock::advance(10);
            control.wake();
        });
        assert_eq!(control.wait_until(|| false), Err(Stop::Timeout));
        time.join().unwrap();
    });
    explore("lock timeout", 4, || {
        let control = running(NEVER);
        control.set_lock_timeout_ms(Some(1));
        let time = beside(&control, |control| {
            clock::advance(1_000_001);
            control.wake();
        });
        assert_eq!(control.wait_for_turn(|| false), Err(NoLock::TimedOut));
        time.join().unwrap();
    });
}

#[test]
fn what_is_waited_for_is_seen() {
    explore("ready", 4, || {
        let control = running(NEVER);
        let ready = Arc::new(AtomicBool::new(false));
        let maker = {
            let ready = Arc::clone(&ready);
            beside(&control, move |control| {
                ready.store(true, Ordering::Release);
                control.wake();
            })
        };
        assert_eq!(control.wait_until(|| ready.load(Ordering::Acquire)), Ok(()));
        maker.join().unwrap();
    });
}

#[test]
fn what_is_meant_for_one_request_never_reaches_another() {
    explore("next request", 4, || {
        let control = running(NEVER);
        let canceller = beside(&control, |control| {
            control.cancel(300);
        });
        control.end();
        control.begin(301, NEVER);
        assert_eq!(control.stop(), None);
        assert_eq!(control.wait_until(|| true), Ok(()));
        control.end();
        canceller.join().unwrap();
    });
}
