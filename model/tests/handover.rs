//! The threads that read requests: the input is never lost, reading never waits for work, and a lead that nobody relieved
//! comes back to its leader.

use libsql_port_model::explore;
use libsql_port_model::run::Lead;
use libsql_port_model::server::handover::Handover;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Clone, Copy)]
enum Statement {
    /// Ends by itself.
    Short,
    /// Says that it is about to wait, and ends when the request behind it has been read.
    Waits,
}

/// Not `Clone`: there is one.
struct Input {
    requests: std::vec::IntoIter<Statement>,
}

struct World {
    handover: Handover<Input>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    read: usize,
    /// Threads that read or stand by, and reliefs that may start one.
    threads: usize,
    /// Those that stand by, or are about to.
    standing: usize,
    relieved: HashSet<Lead>,
}

impl World {
    fn new(requests: &[Statement]) -> (Arc<Self>, Input) {
        let world = World {
            handover: Handover::new(),
            seen: Mutex::new(Seen { threads: 1, ..Seen::default() }),
            changed: Condvar::new(),
        };
        (Arc::new(world), Input { requests: Vec::from(requests).into_iter() })
    }

    fn see<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let seen = change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
        seen
    }

    fn relieve(self: &Arc<Self>, lead: Lead) {
        self.see(|seen| {
            seen.relieved.insert(lead);
            seen.threads += 1;
        });
        if self.handover.relieve(lead) {
            self.see(|seen| seen.threads -= 1);
            return;
        }
        let world = Arc::clone(self);
        thread::spawn(move || {
            let input = world.standing(|handover| handover.join(lead));
            world.lead_and_stand_by(input);
        });
    }

    fn standing(&self, stand_by: impl FnOnce(&Handover<Input>) -> Option<Input>) -> Option<Input> {
        self.see(|seen| seen.standing += 1);
        let input = stand_by(&self.handover);
        self.see(|seen| seen.standing -= 1);
        input
    }

    /// As `Reading::lead_and_stand_by`, with statements of the model.
    fn lead_and_stand_by(self: &Arc<Self>, mut next: Option<Input>) {
        while let Some(input) = next {
            next = self.lead(input);
        }
        self.see(|seen| seen.threads -= 1);
    }

    fn lead(self: &Arc<Self>, mut input: Input) -> Option<Input> {
        while let Some(statement) = input.requests.next() {
            let number = self.see(|seen| {
                seen.read += 1;
                seen.read
            });
            let lead = self.handover.lay_open(input);
            if let Statement::Waits = statement {
                self.relieve(lead);
                let mut seen = self.seen.lock().unwrap();
                while seen.read == number {
                    seen = self.changed.wait(seen).unwrap();
                }
            }
            match self.handover.take_back(lead) {
                Some(back) => input = back,
                None => {
                    assert!(self.see(|seen| seen.relieved.contains(&lead)), "nobody relieved {lead}");
                    return self.standing(Handover::stand_by);
                }
            }
        }
        self.send_home(input)
    }

    /// The program would end now; here the input goes round until every thread that stands by has had it.
    fn send_home(&self, mut input: Input) -> Option<Input> {
        loop {
            let mut seen = self.seen.lock().unwrap();
            while seen.threads > seen.standing + 1 {
                seen = self.changed.wait(seen).unwrap();
            }
            if seen.threads == 1 {
                return None;
            }
            drop(seen);
            let lead = self.handover.lay_open(input);
            self.see(|seen| seen.relieved.insert(lead));
            let _ = self.handover.relieve(lead);
            input = self.handover.take_back(lead)?;
            thread::yield_now();
        }
    }
}

fn model(name: &str, preemptions: usize, reliefs: usize, requests: &'static [Statement]) {
    explore(name, preemptions, move || {
        let (world, input) = World::new(requests);
        let leader = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.lead_and_stand_by(Some(input)))
        };
        // The timekeeper, or a progress callback.
        for _ in 0..reliefs {
            let lead = world.handover.lead();
            world.relieve(lead);
        }
        leader.join().unwrap();
        let mut seen = world.seen.lock().unwrap();
        while seen.threads > 0 {
            seen = world.changed.wait(seen).unwrap();
        }
        assert_eq!(seen.read, requests.len());
    });
}

use Statement::{Short, Waits};

#[test]
fn reading_goes_on_while_a_statement_waits() {
    model("a wait", 3, 0, &[Waits, Short]);
    model("waits", 2, 0, &[Waits, Waits, Short]);
}

#[test]
fn a_relief_from_outside_takes_the_input_from_nobody_else() {
    model("a relief", 3, 1, &[Short, Short]);
    model("a relief and a wait", 2, 1, &[Waits, Short]);
}
