//! The queue of a connection and the right to run: every request is run once or comes back once, one runs at a time, and
//! nothing waits while nobody is awake.

use bytes::Bytes;
use libsql_port_model::clock::NEVER;
use libsql_port_model::connection::inbox::{Inbox, Next};
use libsql_port_model::connection::job::{Job, QueuedBytes};
use libsql_port_model::control::{Control, Stop};
use libsql_port_model::counters::Counters;
use libsql_port_model::explore;
use libsql_port_model::questions::Questions;
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};
use port_driver::request::tag;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A request, and what its run does.
type Run = fn(&Connection, &Job);

struct Connection {
    inbox: Inbox,
    control: Arc<Control>,
    questions: Arc<Questions>,
    queued_bytes: Arc<QueuedBytes>,
    run: Run,
    running: AtomicBool,
    ledger: Mutex<Ledger>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct Ledger {
    ran: Vec<u32>,
    came_back: Vec<u32>,
    checkpoints: usize,
    close_answered: usize,
}

impl Ledger {
    fn settled(&self) -> usize {
        self.ran.len() + self.came_back.len()
    }
}

impl Connection {
    fn new(run: Run) -> Arc<Self> {
        let control = Arc::new(Control::new());
        let queued_bytes = QueuedBytes::new(1000);
        let questions = Arc::new(Questions::new(Arc::clone(&control)));
        let counters = Arc::new(Counters::default());
        Arc::new(Connection {
            inbox: Inbox::new(
                Arc::clone(&control),
                Arc::clone(&questions),
                counters,
                10,
                Arc::clone(&queued_bytes),
            ),
            control,
            questions,
            queued_bytes,
            run,
            running: AtomicBool::new(false),
            ledger: Mutex::new(Ledger::default()),
            changed: Condvar::new(),
        })
    }

    /// Starts its thread, which has opened the database.
    fn start(self: &Arc<Self>) -> JoinHandle<()> {
        self.beside(|me| loop {
            match me.inbox.next() {
                Next::Run(job) => me.run(&job),
                Next::IdleCheckpoint => me.note(|ledger| ledger.checkpoints += 1),
                Next::Close => {
                    if me.inbox.take_close_request().is_some() {
                        me.note(|ledger| ledger.close_answered += 1);
                    }
                    return;
                }
            }
        })
    }

    fn beside(self: &Arc<Self>, work: impl FnOnce(&Self) + 'static) -> JoinHandle<()> {
        let me = Arc::clone(self);
        thread::spawn(move || work(&me))
    }

    fn note(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.lock().unwrap());
        self.changed.notify_all();
    }

    fn came_back(&self, jobs: impl IntoIterator<Item = Job>) {
        self.note(|ledger| ledger.came_back.extend(jobs.into_iter().map(|job| job.request_id)));
    }

    fn run(&self, job: &Job) {
        assert!(!self.running.swap(true, Ordering::Relaxed), "two run at a time");
        (self.run)(self, job);
        self.running.store(false, Ordering::Relaxed);
        self.note(|ledger| ledger.ran.push(job.request_id));
    }

    /// What the reading thread does with a request that is short.
    fn read(&self, job: Job) {
        if self.inbox.try_lead(&job) {
            self.run(&job);
            self.inbox.end_lead();
        } else {
            self.submit(job);
        }
    }

    /// What it does with one that is not.
    fn read_long(&self, job: Job) {
        if self.inbox.try_lead(&job) {
            self.came_back(self.inbox.pass_lead(job));
        } else {
            self.submit(job);
        }
    }

    fn submit(&self, job: Job) {
        let request_id = job.request_id;
        if self.inbox.submit(job).is_err() {
            self.note(|ledger| ledger.came_back.push(request_id));
        }
    }

    /// Waits until so many requests have been run or come back: a wake-up that is lost ends here.
    fn settle(&self, requests: usize) {
        let mut ledger = self.ledger.lock().unwrap();
        while ledger.settled() < requests {
            ledger = self.changed.wait(ledger).unwrap();
        }
    }

    /// Closes, and waits for the thread.
    fn end(&self, thread: JoinHandle<()>) {
        self.came_back(self.inbox.close(None).into_iter().flatten());
        thread.join().unwrap();
    }

    /// Each of `requests` has been run or has come back, once.
    fn assert_settled(&self, requests: &[u32]) {
        let ledger = self.ledger.lock().unwrap();
        let mut settled = [&ledger.ran[..], &ledger.came_back[..]].concat();
        settled.sort_unstable();
        assert_eq!(settled, requests, "{ledger:?}");
        assert_eq!(self.queued_bytes.now(), 0);
    }

    fn ran(&self) -> Vec<u32> {
        self.ledger.lock().unwrap().ran.clone()
    }
}

fn job(request_id: u32) -> Job {
    job_until(request_id, NEVER)
}

fn job_until(request_id: u32, deadline_ns: u64) -> Job {
    Job::new(request_id, tag::EXECUTE, Bytes::from_static(b"payload"), 1, deadline_ns)
}

fn nothing(connection: &Connection, _job: &Job) {
    assert_eq!(connection.control.stop(), None);
}

#[test]
fn requests_run_in_their_order_whoever_runs_them() {
    explore("short ones", 3, || {
        let connection = Connection::new(nothing);
        let thread = connection.start();
        for id in [300, 301, 302] {
            connection.read(job(id));
        }
        connection.settle(3);
        connection.end(thread);
        assert_eq!(connection.ran(), [300, 301, 302]);
        connection.assert_settled(&[300, 301, 302]);
    });
    explore("long ones", 3, || {
        let connection = Connection::new(nothing);
        let thread = connection.start();
        connection.read_long(job(300));
        connection.read(job(301));
        connection.read_long(job(302));
        connection.settle(3);
        connection.end(thread);
        assert_eq!(connection.ran(), [300, 301, 302]);
        connection.assert_settled(&[300, 301, 302]);
    });
}

#[test]
fn what_comes_while_a_former_leader_finishes_its_statement_is_run() {
    explore("two readers", 3, || {
        let connection = Connection::new(nothing);
        let thread = connection.start();
        let former = connection.beside(|me| me.read(job(300)));
        connection.read(job(301));
        connection.settle(2);
        former.join().unwrap();
        connection.end(thread);
        connection.assert_settled(&[300, 301]);
    });
}

#[test]
fn a_close_from_elsewhere_leaves_no_request_behind() {
    explore("close beside requests", 3, || {
        let connection = Connection::new(|connection, _| {
            let _ = connection.control.stop();
        });
        let thread = connection.start();
        let closer = connection.beside(|me| me.came_back(me.inbox.close(None).into_iter().flatten()));
        connection.read(job(300));
        connection.read_long(job(301));
        closer.join().unwrap();
        thread.join().unwrap();
        connection.assert_settled(&[300, 301]);
    });
}

#[test]
fn a_close_ends_what_waits_and_is_answered_once() {
    explore("close", 3, || {
        let connection = Connection::new(|connection, _| {
            assert_eq!(connection.questions.wait_for_credit(), Err(Stop::Closed));
        });
        let thread = connection.start();
        connection.submit(job(300));
        connection.submit(job(301));
        connection.came_back(connection.inbox.close(Some((302, 10))).into_iter().flatten());
        // The timekeeper.
        if connection.inbox.expired(10).close.is_some() {
            connection.note(|ledger| ledger.close_answered += 1);
        }
        thread.join().unwrap();
        connection.assert_settled(&[300, 301]);
        assert_eq!(connection.ledger.lock().unwrap().close_answered, 1);
    });
}

#[test]
fn a_cancellation_hits_its_request_alone() {
    explore("cancel", 3, || {
        let connection = Connection::new(|connection, job| {
            let expected = (job.request_id == 300).then_some(Stop::Cancelled);
            let stop = connection.control.stop();
            assert!(stop.is_none() || stop == expected, "{} sees {stop:?}", job.request_id);
        });
        let thread = connection.start();
        connection.read_long(job(300));
        let canceller = connection.beside(|me| {
            if let Ok(job) = me.inbox.cancel(300) {
                me.came_back([job]);
            }
        });
        connection.read(job(301));
        canceller.join().unwrap();
        connection.settle(2);
        connection.end(thread);
        connection.assert_settled(&[300, 301]);
    });
}

#[test]
fn who_is_told_to_stop_stops() {
    explore("cancel a wait", 3, || {
        let connection = Connection::new(|connection, _| {
            assert_eq!(connection.questions.wait_for_credit(), Err(Stop::Cancelled));
        });
        let thread = connection.start();
        connection.submit(job(300));
        match connection.inbox.cancel(300) {
            Ok(job) => connection.came_back([job]),
            Err(told) => assert!(told, "it is in the queue or runs"),
        }
        connection.settle(1);
        connection.end(thread);
        connection.assert_settled(&[300]);
    });
}

#[test]
fn an_id_may_come_again_after_a_cancellation_of_its_first_use() {
    explore("an id again", 3, || {
        let connection = Connection::new(|connection, _| {
            let stop = connection.control.stop();
            let first = connection.ledger.lock().unwrap().settled() == 0;
            assert!(stop.is_none() || first, "{stop:?}");
        });
        let thread = connection.start();
        connection.submit(job(300));
        if let Ok(job) = connection.inbox.cancel(300) {
            connection.came_back([job]);
        }
        connection.settle(1);
        // Whoever answered the first one has let go of it, though its thread may not have looked for more yet.
        connection.submit(job(300));
        connection.settle(2);
        connection.end(thread);
        connection.assert_settled(&[300, 300]);
    });
}

#[test]
fn a_request_that_expires_while_it_waits_is_answered_once() {
    explore("expired", 3, || {
        let connection = Connection::new(nothing);
        let thread = connection.start();
        let timekeeper = connection.beside(|me| me.came_back(me.inbox.expired(10).queued));
        connection.submit(job_until(300, 10));
        connection.submit(job(301));
        timekeeper.join().unwrap();
        connection.settle(2);
        connection.end(thread);
        connection.assert_settled(&[300, 301]);
    });
}

#[test]
fn credits_reach_their_request_wherever_it_is() {
    explore("credits", 3, || {
        let connection = Connection::new(|connection, job| {
            let credits = if job.request_id == 300 { 2 } else { 0 };
            for _ in 0..credits {
                assert_eq!(connection.questions.wait_for_credit(), Ok(()));
            }
            if job.request_id == 301 {
                connection.control.close();
                assert_eq!(connection.questions.wait_for_credit(), Err(Stop::Closed), "they are 300's");
            }
        });
        let thread = connection.start();
        connection.submit(job(300));
        connection.submit(job(301));
        let client = connection.beside(|me| me.inbox.grant_credits(300, 1));
        connection.inbox.grant_credits(300, 1);
        client.join().unwrap();
        connection.settle(2);
        connection.end(thread);
        connection.assert_settled(&[300, 301]);
    });
}

#[test]
fn while_a_transaction_is_held_the_requests_of_others_wait_and_then_run() {
    explore("held", 3, || {
        let connection = Connection::new(|connection, job| {
            let held = &connection.control.held;
            match job.request_id {
                300 => held.set(7),
                301 => assert_eq!(held.get(), 0, "inside of another's transaction"),
                _ => held.set(0),
            }
        });
        let thread = connection.start();
        connection.read(job(300));
        connection.read(job(301));
        let mut inside = job(302);
        inside.transaction = Some(7);
        connection.read(inside);
        connection.settle(3);
        connection.end(thread);
        connection.assert_settled(&[300, 301, 302]);
        assert_eq!(connection.ran()[0], 300);
    });
}

#[test]
fn an_idle_checkpoint_that_was_taken_on_is_done_and_holds_nobody_up() {
    explore("idle checkpoint", 3, || {
        let connection = Connection::new(nothing);
        let thread = connection.start();
        let timekeeper = connection.beside(|me| {
            if me.inbox.checkpoint_when_idle() {
                let mut ledger = me.ledger.lock().unwrap();
                while ledger.checkpoints == 0 {
                    ledger = me.changed.wait(ledger).unwrap();
                }
            }
        });
        connection.read(job(300));
        timekeeper.join().unwrap();
        connection.settle(1);
        connection.end(thread);
        connection.assert_settled(&[300]);
    });
}
