//! Copies of a database page by page: `sqlite3_backup` (https://sqlite.org/backup.html).
//!
//! Invariant: a `Backup` borrows both handles, so neither is used or closed by anybody else while `raw` is there.

use super::error::EngineError;
use super::handle::Handle;
use libsql_ffi as ffi;
use std::ffi::c_int;
use std::marker::PhantomData;

/// A copy that is being made.
pub struct Backup<'h> {
    raw: *mut ffi::sqlite3_backup,
    target: &'h Handle,
    source: PhantomData<&'h Handle>,
}

/// What a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// There is more to copy.
    Part,
    /// A lock was in the way: nothing was copied, and the step may be tried again.
    Nothing,
    /// The copy is whole.
    All,
}

/// Pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// That were copied.
    pub done: u64,
    /// That there are; 0 before the first step.
    pub known: u64,
}

impl<'h> Backup<'h> {
    /// Begins to copy the main database of `source` over that of `target`. Copied is one state of it if `source` keeps a read
    /// transaction open meanwhile; else what others write begins the copy anew.
    pub fn begin(source: &'h mut Handle, target: &'h mut Handle) -> Result<Self, EngineError> {
        let main = c"main".as_ptr();
        // SAFETY: both handles are open and borrowed for as long as the backup lives; the name is a static string.
        let raw = unsafe { ffi::sqlite3_backup_init(target.raw(), main, source.raw(), main) };
        match raw.is_null() {
            // The error is the target's.
            true => Err(target.error(ffi::SQLITE_ERROR)),
            false => Ok(Backup { raw, target, source: PhantomData }),
        }
    }

    /// Copies up to `pages` pages.
    pub fn step(&mut self, pages: u16) -> Result<Copied, EngineError> {
        // SAFETY: `raw` is what `sqlite3_backup_init` has given, and not finished.
        let code = unsafe { ffi::sqlite3_backup_step(self.raw, c_int::from(pages)) };
        match code & 0xff {
            ffi::SQLITE_OK => Ok(Copied::Part),
            ffi::SQLITE_DONE => Ok(Copied::All),
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Ok(Copied::Nothing),
            _ => Err(self.target.error(code)),
        }
    }

    /// How far the copy is, as of the last step.
    pub fn pages(&self) -> Pages {
        // SAFETY: `raw` is what `sqlite3_backup_init` has given, and not finished.
        let (known, remaining) =
            unsafe { (ffi::sqlite3_backup_pagecount(self.raw), ffi::sqlite3_backup_remaining(self.raw)) };
        let (known, remaining) = (u64::try_from(known).unwrap_or(0), u64::try_from(remaining).unwrap_or(0));
        Pages { done: known.saturating_sub(remaining), known }
    }
}

impl Drop for Backup<'_> {
    fn drop(&mut self) {
        // SAFETY: `raw` is finished here alone. Its code repeats what a step has said.
        unsafe { ffi::sqlite3_backup_finish(self.raw) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::engine::open::open;
    use crate::engine::{code, query};

    #[test]
    fn a_copy_is_made_in_steps() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let flags = code::SQLITE_OPEN_READWRITE | code::SQLITE_OPEN_CREATE;
        let mut source = open(runtime.handle(), &path("a.db"), flags).unwrap();
        let mut target = open(runtime.handle(), &path("b.db"), flags).unwrap();
        let sql = "CREATE TABLE t AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 9) \
                   SELECT i, zeroblob(4096) z FROM n";
        query::run(&source, sql).unwrap();
        let mut backup = Backup::begin(&mut source, &mut target).unwrap();
        assert_eq!(backup.pages(), Pages { done: 0, known: 0 });
        assert_eq!(backup.step(4).unwrap(), Copied::Part);
        let Pages { done, known } = backup.pages();
        assert!(done == 4 && known > 9, "{done} of {known}");
        assert_eq!(backup.step(u16::MAX).unwrap(), Copied::All);
        drop(backup);
        assert_eq!(query::integer(&target, "SELECT count(*) FROM t"), Some(9));
    }
}
