//! Database files, each one object that all connections of this program share: who may write, how full the WAL is,
//! when to checkpoint. Knows no requests and no statements.

pub mod file_lock;
mod folder;
pub mod placement;
pub mod wal_note;
pub mod writer_turn;

use crate::clock::now_ns;
use crate::control::Control;
use crate::engine::vfs::Opened;
use crate::engine::Handle;
use crate::sync::Mutex;
use placement::{Displaced, Placement};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use writer_turn::{TurnError, WriterTurn};

/// Nobody has said yet when the file is to be checkpointed.
const UNSET: u32 = u32::MAX;

/// A database file, or a database in memory that connections share by name.
pub struct DatabaseFile {
    /// Absolute path, or `memory:` and the name.
    pub name: String,
    /// Who may write and checkpoint.
    pub turn: WriterTurn,
    placement: Placement,
    connections: AtomicU32,
    wal_pages: AtomicU32,
    written_ns: AtomicU64,
    was_written: AtomicBool,
    checkpoint_pages: AtomicU32,
    checkpoint_idle_ms: AtomicU32,
}

/// The folder of a file as it was at one time. A connection keeps the one at which its files were found at their paths: a later
/// one, at which they were not, would say from then on that nothing has changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct FolderState(Option<(u64, u64)>);

impl FolderState {
    /// No name in the folder has changed until `later`. False if nothing is known of one of them.
    pub fn is_that_of(self, later: FolderState) -> bool {
        self.0.is_some() && self.0 == later.0
    }
}

impl DatabaseFile {
    fn new(name: String, lock_path: Option<PathBuf>) -> Self {
        DatabaseFile {
            turn: WriterTurn::new(lock_path),
            placement: Placement::default(),
            name,
            connections: AtomicU32::new(0),
            wal_pages: AtomicU32::new(0),
            written_ns: AtomicU64::new(0),
            was_written: AtomicBool::new(false),
            checkpoint_pages: AtomicU32::new(UNSET),
            checkpoint_idle_ms: AtomicU32::new(0),
        }
    }

    /// A database that one connection has for itself.
    pub fn private() -> Arc<Self> {
        Arc::new(Self::new(":memory:".to_owned(), None))
    }

    /// From how many WAL pages, and after how many idle milliseconds, the WAL is checkpointed; the newest connection's
    /// wish counts.
    pub fn set_checkpoints(&self, pages: u32, idle_ms: u32) {
        self.checkpoint_pages.store(pages, Ordering::Relaxed);
        self.checkpoint_idle_ms.store(idle_ms, Ordering::Relaxed);
    }

    /// A file that was only ever attached is checkpointed as `other` is.
    pub fn inherit_checkpoints(&self, other: &DatabaseFile) {
        let pages = other.checkpoint_pages();
        if self.checkpoint_pages.compare_exchange(UNSET, pages, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.checkpoint_idle_ms
                .store(other.checkpoint_idle_ms.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// A commit left so many pages in the WAL.
    pub fn committed(&self, wal_pages: u32) {
        self.wal_pages.store(wal_pages, Ordering::Relaxed);
        self.was_written.store(true, Ordering::Relaxed);
        self.written_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// This program has committed to it, or it has a WAL with something in it: of a program that was killed, or of
    /// connections of this one that had left it before.
    pub fn has_wal(&self) -> bool {
        self.was_written.load(Ordering::Relaxed) || self.wal_has_content()
    }

    /// Its WAL is there and not empty.
    pub fn wal_has_content(&self) -> bool {
        std::fs::metadata(format!("{}-wal", self.name)).is_ok_and(|wal| wal.len() > 0)
    }

    /// Pages in the WAL that no checkpoint of this program has copied.
    pub fn wal_pages(&self) -> u32 {
        self.wal_pages.load(Ordering::Relaxed)
    }

    /// A checkpoint left so many frames uncopied.
    pub fn checkpointed(&self, frames_left: u32) {
        self.wal_pages.store(frames_left, Ordering::Relaxed);
    }

    /// The WAL is long enough for a checkpoint after this commit.
    pub fn wants_checkpoint(&self) -> bool {
        let threshold = self.checkpoint_pages();
        threshold > 0 && self.wal_pages() >= threshold
    }

    /// The size from which a checkpoint follows a commit; 0: never.
    pub fn checkpoint_pages(&self) -> u32 {
        match self.checkpoint_pages.load(Ordering::Relaxed) {
            UNSET => 0,
            pages => pages,
        }
    }

    /// Sets that size: what `PRAGMA wal_autocheckpoint` means here, for all connections of the file.
    pub fn set_checkpoint_pages(&self, pages: u32) {
        self.checkpoint_pages.store(pages, Ordering::Relaxed);
    }

    /// The file has been left alone long enough for a checkpoint.
    pub fn idle_checkpoint_due(&self) -> bool {
        let idle_ms = self.checkpoint_idle_ms.load(Ordering::Relaxed);
        let quiet_ns = now_ns().saturating_sub(self.written_ns.load(Ordering::Relaxed));
        idle_ms > 0 && self.wal_pages() > 0 && quiet_ns >= u64::from(idle_ms) * 1_000_000
    }

    /// Not before another idle time: a reader was in the way.
    pub fn postpone_idle_checkpoint(&self) {
        self.written_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// The file's folder: by a look of now, or by the one that came with the turn.
    pub fn folder(&self, look: bool) -> FolderState {
        FolderState(self.turn.folder_changes(look))
    }

    /// Says where the file stands, as the engine has it: the name may be a text that only comes near to it.
    pub fn stands_at(&self, path: PathBuf) {
        self.placement.stands_at(path);
    }

    /// An error if what a connection has open of this file does not stand at its paths.
    pub fn check_placement(&self, opened: &Opened) -> Result<(), Displaced> {
        self.placement.check(opened, self.connections() <= 1)
    }

    /// An error if `handle` has another log open than the one that its index speaks of. After [`Self::check_placement`].
    pub fn check_log(&self, handle: &Handle, schema: &str) -> Result<(), Displaced> {
        match !self.placement.has_index() || handle.log_fits_index(schema) {
            true => Ok(()),
            false => Err(self.placement.other_log()),
        }
    }

    /// What `handle` has in the log of this file may be copied into the database.
    pub fn may_write_back(&self, handle: &Handle, schema: &str) -> bool {
        self.placement.may_write_back() && self.check_log(handle, schema).is_ok()
    }

    /// Connections of this program that have the file open.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The turn of one file while a connection has it. Dropping it passes the turn on, so that no way out leaks it.
pub struct HeldTurn {
    file: Arc<DatabaseFile>,
}

impl HeldTurn {
    /// Waits for the turn of `file` until the deadline of `control`. `before_waiting` is called once if it is not to be
    /// had at once.
    pub fn wait(
        file: &Arc<DatabaseFile>,
        connection: u32,
        control: &Arc<Control>,
        before_waiting: impl FnMut(),
    ) -> Result<Self, TurnError> {
        file.turn.acquire(connection, control, before_waiting)?;
        Ok(HeldTurn { file: Arc::clone(file) })
    }

    /// Takes the turn of `file` if that needs no wait at all.
    pub fn try_take(file: &Arc<DatabaseFile>, connection: u32) -> Result<Option<Self>, TurnError> {
        Ok(file.turn.try_acquire(connection)?.then(|| HeldTurn { file: Arc::clone(file) }))
    }

    /// Whose turn it is.
    pub fn file(&self) -> &Arc<DatabaseFile> {
        &self.file
    }
}

impl Drop for HeldTurn {
    fn drop(&mut self) {
        self.file.turn.release();
    }
}

/// A connection's share in a file; counts until it leaves or is dropped.
pub struct FileShare {
    file: Arc<DatabaseFile>,
    left: bool,
}

impl FileShare {
    /// Joins the connections of `file`.
    pub fn new(file: Arc<DatabaseFile>) -> Self {
        file.connections.fetch_add(1, Ordering::AcqRel);
        FileShare { file, left: false }
    }

    /// The file.
    pub fn file(&self) -> &Arc<DatabaseFile> {
        &self.file
    }

    /// Ends the share. True if it was the last one: of two that leave together, exactly one is.
    pub fn leave(&mut self) -> bool {
        let last = !std::mem::replace(&mut self.left, true)
            && self.file.connections.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            self.file.placement.forget();
        }
        last
    }
}

impl Drop for FileShare {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The files that one connection has open, main and attached, for those who look from outside.
#[derive(Default)]
pub struct OpenFiles(Mutex<Vec<Arc<DatabaseFile>>>);

impl OpenFiles {
    /// These, from now on.
    pub fn set(&self, files: Vec<Arc<DatabaseFile>>) {
        *self.0.lock() = files;
    }

    /// The main one, once it is open.
    pub fn main(&self) -> Option<Arc<DatabaseFile>> {
        self.0.lock().first().map(Arc::clone)
    }

    /// True if `file` is one of them.
    pub fn contains(&self, file: &Arc<DatabaseFile>) -> bool {
        self.0.lock().iter().any(|open| Arc::ptr_eq(open, file))
    }
}

/// The files that are open; owned by the server, known to the connections' threads.
#[derive(Default)]
pub struct Files {
    by_name: Mutex<HashMap<String, Weak<DatabaseFile>>>,
}

impl Files {
    /// The object of the file at `path`, as the engine names it (absolute, links resolved).
    pub fn on_disk(&self, path: &str) -> Arc<DatabaseFile> {
        self.get(path.to_owned(), || Some(placement::beside(Path::new(path), file_lock::SUFFIX)))
    }

    /// The object of the shared in-memory database `name`.
    pub fn in_memory(&self, name: &str) -> Arc<DatabaseFile> {
        self.get(format!("memory:{name}"), || None)
    }

    /// All files that some connection has open, by name.
    pub fn all(&self) -> Vec<Arc<DatabaseFile>> {
        let mut files: Vec<_> = self.by_name.lock().values().filter_map(Weak::upgrade).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    fn get(&self, name: String, lock_path: impl FnOnce() -> Option<PathBuf>) -> Arc<DatabaseFile> {
        let mut by_name = self.by_name.lock();
        if let Some(file) = by_name.get(&name).and_then(Weak::upgrade) {
            return file;
        }
        by_name.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(DatabaseFile::new(name.clone(), lock_path()));
        by_name.insert(name, Arc::downgrade(&file));
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_object_while_it_is_open() {
        let files = Files::default();
        let first = FileShare::new(files.on_disk("/nowhere/a.db"));
        let second = FileShare::new(files.on_disk("/nowhere/a.db"));
        assert!(Arc::ptr_eq(first.file(), second.file()));
        assert_eq!(first.file().connections(), 2);
        assert_eq!(files.all().len(), 1);
        let (mut first, mut second) = (first, second);
        assert!(!first.leave());
        assert!(second.leave());
        assert!(!second.leave(), "a share ends once");
        drop((first, second));
        assert_eq!(files.all().len(), 0);
    }

    #[test]
    fn a_name_in_memory_is_no_path() {
        let files = Files::default();
        let memory = files.in_memory("/nowhere/a.db");
        let disk = files.on_disk("/nowhere/a.db");
        assert!(!Arc::ptr_eq(&memory, &disk));
    }

    #[test]
    fn checkpoints_are_due_by_size_and_by_idleness() {
        let file = DatabaseFile::private();
        file.set_checkpoints(100, 0);
        file.committed(99);
        assert!(!file.wants_checkpoint());
        file.committed(100);
        assert!(file.wants_checkpoint());
        assert!(!file.idle_checkpoint_due(), "0 switches it off");
        file.set_checkpoints(0, 1);
        assert!(!file.wants_checkpoint(), "0 switches it off");
        file.written_ns.store(0, Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(file.idle_checkpoint_due());
        file.checkpointed(0);
        assert!(!file.idle_checkpoint_due());
    }
}
