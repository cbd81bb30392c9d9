//! Whether the files that a connection has open are still those at their paths, asked at each turn, at each commit, and now
//! and then before a read; and which files those are once one was attached.

use super::access::Access;
use super::policy::gate::SameFiles;
use super::statement::Kind;
use super::watch::{InTurn, PLACEMENT_LOOK_NS};
use crate::clock::now_ns;
use crate::database::placement::Displaced;
use crate::database::writer_turn::TurnError;
use crate::database::{wal_note, FolderState};
use crate::engine::file_id::FileId;
use crate::engine::query;
use crate::error::{Error, Result};
use crate::sql::keyword::Keyword;
use crate::sql::quote::quoted;
use std::path::PathBuf;
use std::sync::Arc;

impl Access {
    /// Before a statement that reads, outside of a transaction: now and then, what it reads has to be what others write to.
    #[inline]
    pub(super) fn look_at_times(&mut self, kind: Kind) -> Result<()> {
        // A file that is gone may be detached; a cursor goes on with what it reads.
        if kind.cursor
            || kind.keyword == Keyword::Attach
            || !self.handle.autocommit()
            || now_ns() < self.placed_ns + PLACEMENT_LOOK_NS
        {
            return Ok(());
        }
        self.check_placement().map_err(|displaced| self.give_up(displaced))
    }

    /// With the turns, which have looked at the folders: an error if a file is not at its path. The files themselves are looked
    /// at if their folders have changed, and once a second: a folder does not tell of those above it, nor of what is written
    /// over a file.
    #[inline]
    pub(super) fn check_in_turn(&mut self) -> Result<()> {
        if now_ns() < self.placed_ns + PLACEMENT_LOOK_NS && self.watch.is_still_placed() {
            return Ok(());
        }
        self.check_placement().map_err(|displaced| self.give_up(displaced))
    }

    /// An error if a file that the connection has open is not at its path any more.
    pub fn check_placement(&mut self) -> std::result::Result<(), Displaced> {
        let mut checked = Ok(());
        self.watch.set_in_turn(|in_turn| {
            for (schema, file) in self.turns.files() {
                let Some(opened) = self.handle.opened(schema) else { continue };
                // Before the look at the files: what changes after it is seen the next time.
                let folder = file.folder(true);
                let look = || {
                    file.check_placement(&opened)?;
                    if opened.wal.is_some() {
                        file.check_log(&self.handle, schema)
                    } else {
                        Ok(())
                    }
                };
                if checked.is_ok() {
                    checked = look();
                }
                let folder = if checked.is_ok() { folder } else { FolderState::default() };
                in_turn.push(InTurn { file: Arc::clone(file), opened, folder });
            }
        });
        self.placed_ns = now_ns();
        if checked.is_err() {
            // The next statement, and the next commit, look again.
            self.placed_ns = 0;
            self.watch.forget_placement();
        }
        checked
    }

    /// Nothing can be written any more, so what is open is rolled back.
    #[cold]
    pub(super) fn give_up(&mut self, displaced: Displaced) -> Error {
        self.roll_back();
        Error::Displaced(displaced)
    }

    /// A turn that cannot be taken may be that of a file whose folder is gone.
    #[cold]
    pub(super) fn cause(&mut self, error: Error) -> Error {
        match (&error, self.check_placement()) {
            (Error::Turn(TurnError::LockFile { .. }), Err(displaced)) => self.give_up(displaced),
            _ => error,
        }
    }

    /// The engine has attached or detached a database.
    #[cold]
    pub(super) fn refresh_attached(&mut self) -> Result<()> {
        // 0 is main, 1 temp.
        let known: Vec<_> = self.turns.files().map(|(schema, _)| schema.to_owned()).collect();
        let mut schemas: Vec<_> = (2..).map_while(|index| self.handle.schema_name(index)).collect();
        let mut checked = Ok(());
        for schema in schemas.iter().filter(|schema| !known.contains(schema)) {
            if let Err(foreign) = wal_note::check(&self.handle, schema) {
                self.detach(schema);
                checked = Err(Error::ForeignWal(foreign));
            }
        }
        if checked.is_err() {
            schemas = (2..).map_while(|index| self.handle.schema_name(index)).collect();
        }
        self.schemas = 2 + i32::try_from(schemas.len()).unwrap_or(0);
        let path = |schema: String| self.handle.file_name(&schema).map(|path| (schema, path));
        self.turns.set_attached(schemas.into_iter().filter_map(path).collect());
        let files = self.turns.files().skip(1);
        let attached: Vec<_> = files.map(|(schema, file)| (schema.to_owned(), Arc::clone(file))).collect();
        for (schema, file) in &attached {
            if let Some(path) = self.handle.path(schema) {
                file.stands_at(path);
            }
        }
        self.watch.set_attached(attached);
        self.watch.policy.set_same_files(self.same_files());
        self.refresh_listeners();
        // What is to be looked at before a commit that needs no turn; the next turn says what is missing.
        let _ = self.check_placement();
        checked
    }

    /// The names of attached databases whose file had other names before, with those.
    fn same_files(&self) -> SameFiles {
        let mut known: Vec<(&str, PathBuf, Option<FileId>)> = Vec::new();
        let mut same_files = Vec::new();
        for (schema, _) in self.turns.files() {
            // One in memory has none, and is another one by each name, even if it is shared.
            let Some(path) = self.handle.path(schema) else { continue };
            let opened = self.handle.opened(schema).map(|opened| opened.database);
            let id = opened.or_else(|| FileId::at(&path).ok());
            let before = known.iter().filter(|(_, other, of)| *other == path || id.is_some() && id == *of);
            let before: Vec<_> = before.map(|(name, ..)| Box::from(name.as_bytes())).collect();
            if !before.is_empty() {
                same_files.push((schema.as_bytes().into(), before));
            }
            known.push((schema, path, id));
        }
        same_files
    }

    /// Detaches what may not be used, at the price of an open transaction in which that is not possible.
    fn detach(&mut self, schema: &str) {
        let detach = format!("DETACH DATABASE {}", quoted(schema));
        let _ = self.control.unstopped(|| {
            query::run(&self.handle, &detach).or_else(|_| {
                let _ = query::run(&self.handle, "ROLLBACK");
                query::run(&self.handle, &detach)
            })
        });
    }
}
