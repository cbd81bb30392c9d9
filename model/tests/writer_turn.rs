//! The writer turn: one holder at a time, and everybody who waits gets it or stops.

use libsql_port_model::clock::{self, NEVER};
use libsql_port_model::control::{Control, Stop};
use libsql_port_model::database::writer_turn::{TurnError, WriterTurn};
use libsql_port_model::database::Held;
use libsql_port_model::explore;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// A file, and who writes it.
struct File {
    turn: WriterTurn,
    writer: AtomicU32,
}

const NOBODY: u32 = 0;

impl File {
    fn new() -> Arc<Self> {
        Arc::new(File { turn: WriterTurn::new(None), writer: AtomicU32::new(NOBODY) })
    }

    /// Waits for the turn, writes, gives it back.
    fn write(&self, id: u32, control: &Arc<Control>) -> Result<(), TurnError> {
        let turn = Held::wait(&self.turn, id, control)?;
        self.hold(id, turn);
        Ok(())
    }

    /// The same if it is free.
    fn write_if_free(&self, id: u32) -> bool {
        let turn = Held::try_take(&self.turn, id);
        let taken = turn.is_some();
        turn.into_iter().for_each(|turn| self.hold(id, turn));
        taken
    }

    fn hold(&self, id: u32, turn: Held<'_>) {
        // Relaxed: the turn itself has to make one writer's work visible to the next.
        assert_eq!(self.writer.load(Ordering::Relaxed), NOBODY, "{id} is not alone");
        self.writer.store(id, Ordering::Relaxed);
        assert_eq!(self.turn.holder(), Some(id));
        assert_eq!(self.writer.load(Ordering::Relaxed), id);
        self.writer.store(NOBODY, Ordering::Relaxed);
        drop(turn);
    }
}

fn control(deadline_ns: u64) -> Arc<Control> {
    let control = Arc::new(Control::new());
    control.begin(300, deadline_ns);
    control
}

fn writer(file: &Arc<File>, id: u32) -> JoinHandle<()> {
    let file = Arc::clone(file);
    thread::spawn(move || file.write(id, &control(NEVER)).unwrap())
}

#[test]
fn one_writes_at_a_time_and_everybody_gets_the_turn() {
    explore("three writers", 3, || {
        let file = File::new();
        let others = [2, 3].map(|id| writer(&file, id));
        file.write(1, &control(NEVER)).unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert!(file.turn.is_free());
    });
}

#[test]
fn a_try_holds_nobody_up() {
    explore("a try", 3, || {
        let file = File::new();
        let others = [writer(&file, 2), {
            let file = Arc::clone(&file);
            thread::spawn(move || {
                file.write_if_free(3);
            })
        }];
        file.write(1, &control(NEVER)).unwrap();
        for other in others {
            other.join().unwrap();
        }
        assert!(file.turn.is_free());
    });
}

/// 1 has the turn; 2 waits for it and is stopped; 3 waits behind it.
fn one_who_waits_is_stopped(name: &str, expected: Stop, stop: fn(&Control)) {
    explore(name, 3, move || {
        let file = File::new();
        let stopped = control(10);
        let second = {
            let (file, stopped) = (Arc::clone(&file), Arc::clone(&stopped));
            thread::spawn(move || match file.write(2, &stopped) {
                Ok(()) => {}
                Err(TurnError::Stopped { stop, .. }) => assert_eq!(stop, expected),
                Err(error) => panic!("{error}"),
            })
        };
        let third = writer(&file, 3);
        file.write(1, &control(NEVER)).unwrap();
        stop(&stopped);
        second.join().unwrap();
        third.join().unwrap();
        assert!(file.turn.is_free());
    });
}

#[test]
fn who_is_stopped_passes_on_a_turn_that_came_meanwhile() {
    one_who_waits_is_stopped("cancelled", Stop::Cancelled, |control| {
        control.cancel(300);
    });
    one_who_waits_is_stopped("closed", Stop::Closed, Control::close);
    one_who_waits_is_stopped("late", Stop::Timeout, |control| {
        clock::advance(10);
        control.wake();
    });
}
