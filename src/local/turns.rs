//! The files that a connection has open, and the writer turns of them that it holds.
//!
//! A connection takes the turns of all its files at once, in the order of their names, so that two connections cannot
//! wait for each other. A file that was attached while turns were held comes too late for that order: its turn is only
//! taken if it is free. The turns are guards: whatever drops them gives them back.

use crate::control::Control;
use crate::database::{DatabaseFile, FileShare, Files, HeldTurn, OpenFiles};
use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;
use std::sync::Arc;

/// Files and turns of one connection.
pub struct Turns {
    connection: u32,
    files: Arc<Files>,
    open: Arc<OpenFiles>,
    main: FileShare,
    attached: Vec<(String, FileShare)>,
    held: Vec<HeldTurn>,
}

impl Turns {
    /// No turn, and `main` alone.
    pub fn new(connection: u32, files: Arc<Files>, open: Arc<OpenFiles>, main: FileShare) -> Self {
        open.set(vec![Arc::clone(main.file())]);
        Turns { connection, files, open, main, attached: Vec::new(), held: Vec::new() }
    }

    /// The main database's file.
    pub fn main(&self) -> &Arc<DatabaseFile> {
        self.main.file()
    }

    /// Every schema that has a file, with it.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Arc<DatabaseFile>)> {
        let attached = self.attached.iter().map(|(schema, share)| (schema.as_str(), share.file()));
        std::iter::once(("main", self.main.file())).chain(attached)
    }

    /// Attached files by schema; checkpointed as the main one unless somebody has said otherwise.
    pub fn set_attached(&mut self, paths: Vec<(String, String)>) {
        let share = |(schema, path): (String, String)| (schema, FileShare::new(self.files.on_disk(&path)));
        self.attached = paths.into_iter().map(share).collect();
        for (_, share) in &self.attached {
            share.file().inherit_checkpoints(self.main.file());
        }
        self.open.set(self.files().map(|(_, file)| Arc::clone(file)).collect());
    }

    /// Some turn is held.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// The turn of every file is held.
    #[inline]
    pub fn is_complete(&self) -> bool {
        self.is_held() && (self.attached.is_empty() || self.files().all(|(_, file)| self.holds(file)))
    }

    fn holds(&self, file: &Arc<DatabaseFile>) -> bool {
        self.held.iter().any(|turn| Arc::ptr_eq(turn.file(), file))
    }

    /// Takes every turn that is missing, waiting for it if none is held yet.
    pub fn take(&mut self, control: &Arc<Control>, mut before_waiting: impl FnMut()) -> Result<()> {
        if self.is_held() {
            return self.take_missing();
        }
        for file in self.in_order() {
            match HeldTurn::wait(&file, self.connection, control, &mut before_waiting) {
                Ok(turn) => self.held.push(turn),
                Err(error) => {
                    self.release();
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    fn take_missing(&mut self) -> Result<()> {
        for file in self.in_order() {
            if self.holds(&file) {
                continue;
            }
            match HeldTurn::try_take(&file, self.connection)? {
                Some(turn) => self.held.push(turn),
                None => {
                    return Err(Error::new(
                        ErrorCode::Busy,
                        format!(
                            "{} was attached while this connection was writing, and {} writes to it; end the \
                             transaction, or attach before it begins",
                            file.name,
                            file.turn.held_by().unwrap_or_else(|| "another program".to_owned())
                        ),
                    ))
                }
            }
        }
        Ok(())
    }

    /// Takes every turn if none of them has to be waited for; else takes none and returns false.
    pub fn take_now(&mut self) -> bool {
        for file in self.in_order() {
            match HeldTurn::try_take(&file, self.connection) {
                Ok(Some(turn)) => self.held.push(turn),
                _ => {
                    self.release();
                    return false;
                }
            }
        }
        true
    }

    /// Gives all turns back.
    pub fn release(&mut self) {
        while self.held.pop().is_some() {}
    }

    /// Leaves the files. Returns the schemas of those that no other connection of this program has open.
    pub fn leave_files(&mut self) -> Vec<String> {
        let mut last = Vec::new();
        if self.main.leave() {
            last.push("main".to_owned());
        }
        for (schema, share) in &mut self.attached {
            if share.leave() {
                last.push(schema.clone());
            }
        }
        last
    }

    /// Each file once, in an order that is the same for all connections.
    fn in_order(&self) -> Vec<Arc<DatabaseFile>> {
        let mut files: Vec<_> = self.files().map(|(_, file)| Arc::clone(file)).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup_by(|a, b| Arc::ptr_eq(a, b));
        files
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;

    fn turns(connection: u32, files: &Arc<Files>, path: &std::path::Path) -> Turns {
        std::fs::write(path, "").unwrap();
        let share = FileShare::new(files.on_disk(path.to_str().unwrap()));
        Turns::new(connection, Arc::clone(files), Arc::default(), share)
    }

    fn control() -> Arc<Control> {
        let control = Arc::new(Control::new());
        control.begin(300, NEVER);
        control
    }

    #[test]
    fn dropping_gives_every_turn_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = Arc::new(Files::default());
        let mut one = turns(1, &files, &folder.path().join("a.db"));
        let two = turns(2, &files, &folder.path().join("a.db"));
        one.take(&control(), || ()).unwrap();
        assert_eq!(two.main().turn.holder(), Some(1));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = one;
            panic!("a bug");
        }));
        assert!(panicked.is_err());
        assert_eq!(two.main().turn.holder(), None);
    }

    #[test]
    fn a_file_attached_late_is_taken_only_if_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let files = Arc::new(Files::default());
        let (mut one, mut two) = (turns(1, &files, &a), turns(2, &files, &b));
        two.take(&control(), || ()).unwrap();
        one.take(&control(), || ()).unwrap();
        one.set_attached(vec![("b".to_owned(), b.to_str().unwrap().to_owned())]);
        assert!(!one.is_complete());
        assert_eq!(one.take(&control(), || ()).unwrap_err().code(), ErrorCode::Busy);
        assert!(one.is_held(), "what was held stays held");
        two.release();
        one.take(&control(), || ()).unwrap();
        assert!(one.is_complete());
        assert_eq!(two.main().turn.holder(), Some(1));
    }
}
