//! The stop as a future: whoever awaits it is woken by every reason to stop, and who no longer does leaves nothing behind.

use libsql_port_model::clock::{self, NEVER};
use libsql_port_model::control::{Control, Stop};
use libsql_port_model::{beside, explore, running};
use loom::sync::{Condvar, Mutex};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A thread that sleeps until it is woken. A wake-up that comes before the sleep ends that at once.
struct Sleeper {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Sleeper { woken: Mutex::new(false), changed: Condvar::new() })
    }

    fn sleep(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let sleeper = Sleeper::new();
    let waker = Waker::from(Arc::clone(&sleeper));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => sleeper.sleep(),
        }
    }
}

/// `reason` comes at any moment of a task that awaits the stop.
fn assert_stops(name: &str, deadline_ns: u64, reason: fn(&Control), stop: Stop) {
    explore(name, 4, move || {
        let control = running(deadline_ns);
        let other = beside(&control, reason);
        assert_eq!(block_on(control.stopped()), stop);
        other.join().unwrap();
        assert_eq!(control.waiting_tasks(), 0);
    });
}

#[test]
fn every_reason_to_stop_is_heard() {
    assert_stops("cancel a task", NEVER, |control| assert!(control.cancel(300)), Stop::Cancelled);
    assert_stops("close a task", NEVER, Control::close, Stop::Closed);
    assert_stops("deadline of a task", 10, |_| clock::advance(10), Stop::Timeout);
}

#[test]
fn what_came_while_nothing_might_stop_is_heard_afterwards() {
    let cancel = |control: &Control| control.unstopped(|| assert!(control.cancel(300)));
    assert_stops("cancel an unstopped task", NEVER, cancel, Stop::Cancelled);
    let expire = |control: &Control| control.unstopped(|| clock::advance(10));
    assert_stops("deadline of an unstopped task", 10, expire, Stop::Timeout);
}

#[test]
fn two_tasks_and_a_thread_hear_of_one_stop() {
    explore("two tasks and a thread", 3, || {
        let control = running(NEVER);
        let task = beside(&control, |control| assert_eq!(block_on(control.stopped()), Stop::Closed));
        let waiter = beside(&control, |control| assert_eq!(control.wait_until(|| false), Err(Stop::Closed)));
        control.close();
        assert_eq!(block_on(control.stopped()), Stop::Closed);
        task.join().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn a_task_that_gives_up_leaves_nothing_behind() {
    explore("a task that gives up", 4, || {
        let control = running(NEVER);
        let canceller = beside(&control, |control| assert!(control.cancel(300)));
        let sleeper = Sleeper::new();
        {
            let waker = Waker::from(Arc::clone(&sleeper));
            let mut stopped = pin!(control.stopped());
            let _ = stopped.as_mut().poll(&mut Context::from_waker(&waker));
        }
        canceller.join().unwrap();
        assert_eq!(control.waiting_tasks(), 0);
        assert_eq!(Arc::strong_count(&sleeper), 1, "nobody holds its waker");
        assert_eq!(control.stop(), Some(Stop::Cancelled));
    });
}
