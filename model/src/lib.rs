//! The state that the sidecar's threads share, compiled from the sidecar's own files with loom's locks and atomics in
//! the place of [`sync`], and with a clock that the models move. The models are in `tests/`.

pub mod clock;
pub mod sync;

#[path = "../../src/control/mod.rs"]
pub mod control;
#[path = "../../src/counters.rs"]
pub mod counters;
#[path = "../../src/held.rs"]
pub mod held;
#[path = "../../src/os_thread.rs"]
pub mod os_thread;
#[path = "../../src/questions.rs"]
pub mod questions;

#[path = "../../src/database"]
pub mod database {
    // The models call what is about interleavings, not the notes about files.
    #[allow(dead_code)]
    pub mod writer_turn;

    use crate::control::Control;
    use std::sync::Arc;
    use writer_turn::{TurnError, WriterTurn};

    /// The turn while a connection has it, as the sidecar's `HeldTurn`.
    pub struct Held<'t>(&'t WriterTurn);

    impl<'t> Held<'t> {
        pub fn wait(turn: &'t WriterTurn, id: u32, control: &Arc<Control>) -> Result<Self, TurnError> {
            turn.acquire(id, control, || ())?;
            Ok(Held(turn))
        }

        pub fn try_take(turn: &'t WriterTurn, id: u32) -> Option<Self> {
            turn.try_acquire(id).is_ok_and(|taken| taken).then(|| Held(turn))
        }
    }

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.release();
        }
    }

    /// There is no other program.
    pub mod file_lock {
        use std::io;
        use std::path::{Path, PathBuf};

        pub struct FileLock;

        impl FileLock {
            pub fn open(_path: &Path, _database: &Path) -> io::Result<Self> {
                Ok(FileLock)
            }

            pub fn try_acquire(&mut self) -> io::Result<bool> {
                Ok(true)
            }

            pub fn give_up(&mut self) -> io::Result<()> {
                Ok(())
            }

            pub fn release(&mut self) -> io::Result<()> {
                Ok(())
            }

            pub fn last_holder(&self) -> Option<u32> {
                None
            }

            pub fn changes(&mut self, _look: bool) -> u64 {
                0
            }

            pub fn note(&mut self, _salts: u64, _line: impl FnOnce() -> Option<String>) {}
        }

        pub fn database_of(path: &Path) -> PathBuf {
            path.to_owned()
        }
    }
}

#[path = "../../src/feed"]
pub mod feed {
    mod events;
    pub use events::Events;
}

#[path = "../../src/connection"]
pub mod connection {
    mod admission;
    pub mod inbox;
    pub mod job;
}

#[path = "../../src/server"]
pub mod server {
    // Public here alone.
    #[allow(clippy::new_without_default)]
    pub mod handover;
    pub mod output;
}

/// A pipe that always has room.
pub mod descriptors {
    use std::time::Duration;

    pub enum Readiness {
        Write,
    }

    pub fn poll(_pipe: &impl std::os::fd::AsRawFd, _readiness: Readiness, _time: Duration) -> bool {
        true
    }
}

pub mod run {
    pub type Lead = u64;
}

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Runs `model` in all interleavings in which a thread loses the processor at most `preemptions` times before it waits,
/// and with every value that memory orders let an atomic have. LOOM_MAX_PREEMPTIONS raises the bound for all models.
pub fn explore(name: &str, preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 20_000;
    let executions = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&executions);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        clock::restart();
        model();
    });
    println!("{name}: {} executions", executions.load(Ordering::Relaxed));
}

/// A control on which request 300 runs.
pub fn running(deadline_ns: u64) -> Arc<control::Control> {
    let control = Arc::new(control::Control::new());
    control.begin(300, deadline_ns);
    control
}

/// Does `work` with the control in a thread of the model.
pub fn beside(
    control: &Arc<control::Control>,
    work: impl FnOnce(&control::Control) + 'static,
) -> loom::thread::JoinHandle<()> {
    let control = Arc::clone(control);
    loom::thread::spawn(move || work(&control))
}
