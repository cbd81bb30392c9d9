//! The writer turn: the right to write to a file, or to checkpoint it. Connections of this program get it first come,
//! first served; the program as a whole shares it with others through [`super::file_lock`].
//!
//! Two promises rest on it. No connection of this program sees SQLITE_BUSY because of another one. And a commit never
//! overlaps a checkpoint, which keeps SQLite's WAL-reset bug (fixed in 3.51.3, this engine is 3.47) out of reach:
//! https://sqlite.org/wal.html, "The WAL-Reset Bug".

use super::file_lock::FileLock;
use crate::clock::now_ns;
use crate::control::{Control, NoLock, Stop};
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Pauses between two looks at a lock that another program holds.
const FOREIGN_PAUSE_MIN: Duration = Duration::from_micros(100);
const FOREIGN_PAUSE_MAX: Duration = Duration::from_millis(2);

/// The turn of one file.
pub struct WriterTurn {
    line: Mutex<Line>,
    lock: Mutex<Lock>,
}

struct Line {
    /// Who has the turn in this program, and since when.
    holder: Option<(u32, u64)>,
    waiting: VecDeque<(u32, Arc<Control>)>,
}

struct Lock {
    path: Option<PathBuf>,
    open: Option<FileLock>,
    /// How many lock files were opened.
    opened: u64,
}

/// Why a turn was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The deadline passed, or the work was cancelled, while waiting.
    #[error("stopped while waiting for the writer turn held by {}", holder_words(.holder))]
    Stopped {
        /// Why.
        stop: Stop,
        /// Who had it then.
        holder: Holder,
    },
    /// The lock timeout elapsed.
    #[error("the writer turn is held by {}; lock_timeout elapsed", holder_words(.0))]
    Busy(Holder),
    /// The lock file cannot be used.
    #[error("the lock file {path} cannot be used: {source}", path = .path.display())]
    LockFile {
        /// Where it should lie.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Who has a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A connection of this program, and for how long it has had it.
    Connection(u32, Duration),
    /// Another program, with its pid if the lock file tells.
    Program(Option<u32>),
}

fn holder_words(holder: &Holder) -> String {
    match holder {
        Holder::Connection(id, time) => {
            format!("connection {id} of this program (for {} ms)", time.as_millis())
        }
        Holder::Program(Some(pid)) => format!("another program (pid {pid})"),
        Holder::Program(None) => "another program".to_owned(),
    }
}

impl WriterTurn {
    /// A turn that nobody has; `lock_path` is `None` for what no other program can open.
    pub fn new(lock_path: Option<PathBuf>) -> Self {
        WriterTurn {
            line: Mutex::new(Line { holder: None, waiting: VecDeque::new() }),
            lock: Mutex::new(Lock { path: lock_path, open: None, opened: 0 }),
        }
    }

    /// Waits for the turn until the deadline of `control`. `before_waiting` is called once if it is not to be had at
    /// once.
    pub(super) fn acquire(
        &self,
        connection: u32,
        control: &Arc<Control>,
        mut before_waiting: impl FnMut(),
    ) -> Result<(), TurnError> {
        if !self.stand_in_line(connection, control) {
            before_waiting();
            let mine = || self.holder() == Some(connection);
            if let Err(end) = control.wait_for_turn(mine) {
                return Err(self.leave_line(connection, end));
            }
        }
        self.acquire_from_programs(control, &mut before_waiting).inspect_err(|_| self.pass_on())
    }

    /// Takes the turn if that needs no wait at all.
    pub(super) fn try_acquire(&self, connection: u32) -> Result<bool, TurnError> {
        let mut line = self.line.lock();
        if line.holder.is_some() || !line.waiting.is_empty() {
            return Ok(false);
        }
        line.holder = Some((connection, now_ns()));
        drop(line);
        let taken = self.try_acquire_from_programs();
        if !matches!(taken, Ok(true)) {
            self.pass_on();
        }
        taken
    }

    /// Gives the turn to whoever is next.
    pub(super) fn release(&self) {
        let mut lock = self.lock.lock();
        if let Some(Err(error)) = lock.open.as_mut().map(FileLock::release) {
            // An unlock can only fail if the descriptor is broken; a new one is opened for the next turn, and
            // closing this one frees the lock.
            tracing::warn!(%error, "the lock file could not be unlocked; it is opened anew");
            lock.open = None;
        }
        drop(lock);
        self.pass_on();
    }

    /// A number that changes whenever names in the database's folder may have changed: as seen now if `look`, or when the turn
    /// was taken. None if nothing is known of it, also because somebody waits for another program's turn: who only reads does not
    /// wait for that.
    pub(super) fn folder_changes(&self, look: bool) -> Option<(u64, u64)> {
        let mut lock = self.lock.try_lock()?;
        let opened = lock.opened;
        lock.open.as_mut().map(|file| (opened, file.changes(look)))
    }

    /// Writes a note on the WAL with these salts into the lock file, unless it stands there. Only in the turn.
    pub(super) fn note(&self, salts: u64, line: impl FnOnce() -> Option<String>) {
        if let Some(file) = &mut self.lock.lock().open {
            file.note(salts, line);
        }
    }

    /// The connection of this program that has the turn.
    pub fn holder(&self) -> Option<u32> {
        self.line.lock().holder.map(|(id, _)| id)
    }

    /// Who of this program has the turn, for a message.
    pub fn held_by(&self) -> Option<String> {
        self.line.lock().holder.map(|holder| holder_words(&connection_since(holder)))
    }

    /// Nobody of this program has the turn or waits for it.
    pub fn is_free(&self) -> bool {
        let line = self.line.lock();
        line.holder.is_none() && line.waiting.is_empty()
    }

    /// Connections of this program that wait.
    pub fn waiting(&self) -> usize {
        self.line.lock().waiting.len()
    }

    fn stand_in_line(&self, connection: u32, control: &Arc<Control>) -> bool {
        let mut line = self.line.lock();
        if line.holder.is_none() && line.waiting.is_empty() {
            line.holder = Some((connection, now_ns()));
            return true;
        }
        line.waiting.push_back((connection, Arc::clone(control)));
        false
    }

    fn leave_line(&self, connection: u32, end: NoLock) -> TurnError {
        let mut line = self.line.lock();
        let holder = line.holder;
        line.waiting.retain(|(id, _)| *id != connection);
        drop(line);
        if holder.is_some_and(|(id, _)| id == connection) {
            // It came between the stop and this look.
            self.pass_on();
        }
        not_taken(end, holder.map_or(Holder::Program(None), connection_since))
    }

    fn pass_on(&self) {
        let mut line = self.line.lock();
        let next = line.waiting.pop_front();
        line.holder = next.as_ref().map(|(id, _)| (*id, now_ns()));
        drop(line);
        if let Some((_, control)) = next {
            control.wake();
        }
    }

    fn try_acquire_from_programs(&self) -> Result<bool, TurnError> {
        let mut lock = self.lock.lock();
        let Lock { path: Some(path), open, opened: count } = &mut *lock else { return Ok(true) };
        let file = opened(path, open, count)?;
        let taken = match file.try_acquire() {
            Ok(taken) => taken,
            Err(_) => {
                // The file may have been removed, or its descriptor be broken.
                *open = None;
                opened(path, open, count)?.try_acquire().map_err(|source| unusable(path, source))?
            }
        };
        let file = opened(path, open, count)?;
        if !taken {
            file.give_up().map_err(|source| unusable(path, source))?;
        }
        Ok(taken)
    }

    fn acquire_from_programs(
        &self,
        control: &Control,
        before_waiting: &mut impl FnMut(),
    ) -> Result<(), TurnError> {
        let mut lock = self.lock.lock();
        let Lock { path: Some(path), open, opened: count } = &mut *lock else { return Ok(()) };
        let failed = |source| unusable(path, source);
        match opened(path, open, count)?.try_acquire() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // The file may have been removed, or its descriptor be broken.
            Err(_) => *open = None,
        }
        before_waiting();
        let file = opened(path, open, count)?;
        let mut pause = FOREIGN_PAUSE_MIN;
        loop {
            if let Err(end) = control.pause_for_lock(pause) {
                file.give_up().map_err(failed)?;
                return Err(not_taken(end, Holder::Program(file.last_holder())));
            }
            if file.try_acquire().map_err(failed)? {
                return Ok(());
            }
            pause = (pause * 2).min(FOREIGN_PAUSE_MAX);
        }
    }
}

fn connection_since((id, since_ns): (u32, u64)) -> Holder {
    Holder::Connection(id, Duration::from_nanos(now_ns().saturating_sub(since_ns)))
}

fn not_taken(end: NoLock, holder: Holder) -> TurnError {
    match end {
        NoLock::Stopped(stop) => TurnError::Stopped { stop, holder },
        NoLock::TimedOut => TurnError::Busy(holder),
    }
}

fn opened<'l>(
    path: &Path,
    open: &'l mut Option<FileLock>,
    count: &mut u64,
) -> Result<&'l mut FileLock, TurnError> {
    match open {
        Some(file) => Ok(file),
        empty => {
            *count += 1;
            let database = super::file_lock::database_of(path);
            Ok(empty.insert(FileLock::open(path, &database).map_err(|source| unusable(path, source))?))
        }
    }
}

fn unusable(path: &Path, source: io::Error) -> TurnError {
    TurnError::LockFile { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use std::sync::mpsc;
    use std::thread;

    fn control(deadline_ns: u64) -> Arc<Control> {
        let control = Arc::new(Control::new());
        control.begin(300, deadline_ns);
        control
    }

    #[test]
    fn turns_go_in_the_order_of_arrival() {
        let turn = Arc::new(WriterTurn::new(None));
        turn.acquire(0, &control(NEVER), || ()).unwrap();
        let (order, arrivals) = mpsc::channel();
        let (waiting, in_line) = mpsc::channel();
        let threads: Vec<_> = (1..=5)
            .map(|id| {
                let (turn, order, waiting) = (Arc::clone(&turn), order.clone(), waiting.clone());
                let thread = thread::spawn(move || {
                    turn.acquire(id, &control(NEVER), || waiting.send(()).unwrap()).unwrap();
                    order.send(id).unwrap();
                    turn.release();
                });
                in_line.recv().unwrap();
                thread
            })
            .collect();
        turn.release();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(order);
        assert_eq!(arrivals.iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(turn.holder(), None);
    }

    #[test]
    fn a_passed_deadline_leaves_the_line_and_names_the_holder() {
        let turn = WriterTurn::new(None);
        turn.acquire(7, &control(NEVER), || ()).unwrap();
        let error = turn.acquire(8, &control(1), || ()).unwrap_err();
        assert!(
            matches!(error, TurnError::Stopped { stop: Stop::Timeout, holder: Holder::Connection(7, _) }),
            "{error}"
        );
        assert_eq!(turn.waiting(), 0);
        // The lock timeout does so before the deadline.
        let impatient = control(NEVER);
        impatient.set_lock_timeout_ms(Some(0));
        let error = turn.acquire(8, &impatient, || ()).unwrap_err();
        assert!(matches!(error, TurnError::Busy(Holder::Connection(7, _))), "{error}");
        assert_eq!(turn.waiting(), 0);
        turn.release();
        turn.acquire(8, &control(NEVER), || ()).unwrap();
    }

    #[test]
    fn another_program_in_the_way_is_named_by_its_pid() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.db"), "").unwrap();
        let path = folder.path().join("a.db-turn");
        let (here, there) = (WriterTurn::new(Some(path.clone())), WriterTurn::new(Some(path)));
        here.acquire(1, &control(NEVER), || ()).unwrap();
        let error = there.acquire(1, &control(1), || ()).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, TurnError::Stopped { holder: Holder::Program(Some(p)), .. } if p == pid));
        let impatient = control(NEVER);
        impatient.set_lock_timeout_ms(Some(0));
        let error = there.acquire(1, &impatient, || ()).unwrap_err();
        assert!(matches!(error, TurnError::Busy(Holder::Program(Some(p))) if p == pid), "{error}");
        here.release();
        there.acquire(1, &control(NEVER), || ()).unwrap();
    }

    #[test]
    fn who_asks_about_the_folder_does_not_wait_for_another_program() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.db"), "").unwrap();
        let path = folder.path().join("a.db-turn");
        let (here, there) = (Arc::new(WriterTurn::new(Some(path.clone()))), WriterTurn::new(Some(path)));
        there.acquire(1, &control(NEVER), || ()).unwrap();
        let (waiting, waits) = mpsc::channel();
        let waiter = {
            let here = Arc::clone(&here);
            thread::spawn(move || here.acquire(1, &control(NEVER), || waiting.send(()).unwrap()).unwrap())
        };
        waits.recv().unwrap();
        assert_eq!(here.folder_changes(true), None);
        there.release();
        waiter.join().unwrap();
        assert!(here.folder_changes(false).is_some());
    }

    #[test]
    fn a_try_neither_waits_nor_stays_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.db"), "").unwrap();
        let path = folder.path().join("a.db-turn");
        let (here, there) = (WriterTurn::new(Some(path.clone())), WriterTurn::new(Some(path)));
        assert!(here.try_acquire(1).unwrap());
        assert!(!here.try_acquire(2).unwrap());
        assert!(!there.try_acquire(1).unwrap());
        here.release();
        here.acquire(1, &control(NEVER), || ()).unwrap();
        here.release();
        assert!(there.try_acquire(1).unwrap());
    }

    #[test]
    fn an_unusable_lock_file_is_an_error_and_frees_the_line() {
        let turn = WriterTurn::new(Some(PathBuf::from("/nowhere/at/all-turn")));
        for _ in 0..2 {
            let error = turn.acquire(1, &control(NEVER), || ()).unwrap_err();
            assert!(matches!(error, TurnError::LockFile { .. }), "{error}");
        }
    }
}
