//! What the VFS notes about a file that SQLite has open.
//!
//! Invariant: SQLite gives `szOsFile` bytes, aligned to 8, for each file of a VFS
//! (<https://sqlite.org/c3ref/vfs.html>), so a note fits behind the `szOsFile` bytes of the VFS below; a note counts only
//! while the file's methods are those that it was opened with.

use super::file_id::FileId;
use crate::temp_space::TempSpace;
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The VFS once it is registered, which it stays.
pub(super) static REGISTERED: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// What stands behind an open file.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Note {
    pub methods: *const ffi::sqlite3_io_methods,
    pub kind: c_int,
    pub id: FileId,
    /// What belongs to a temporary file; null for others.
    pub temp: *mut TempFile,
}

/// What belongs to a temporary file that is open.
#[derive(Default)]
pub struct TempFile {
    pub(super) space: TempSpace,
    _name: Option<Name>,
}

impl TempFile {
    /// An empty file, opened by this name if it was given one.
    pub fn new(name: Option<Name>) -> Self {
        TempFile { space: TempSpace::default(), _name: name }
    }
}

/// What a file is opened by.
pub type Name = Box<[c_char]>;

/// Where the note stands behind a file of `file_bytes`.
pub(super) fn note_offset(file_bytes: c_int) -> c_int {
    (file_bytes + 7) & !7
}

/// # Safety
/// `vfs` must be the one that `vfs::register` made, and `file` a file of it, open or not.
pub(super) unsafe fn note_of(vfs: *mut ffi::sqlite3_vfs, file: *mut ffi::sqlite3_file) -> *mut Note {
    // SAFETY: by the contract above, `pAppData` is the VFS below, and the file's memory reaches behind the note.
    unsafe {
        let below = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        file.cast::<u8>().offset(note_offset((*below).szOsFile) as isize).cast::<Note>()
    }
}

/// What belongs to the temporary file `file`.
///
/// # Safety
/// `file` must be an open file of the registered VFS.
pub(super) unsafe fn temp_of(file: *mut ffi::sqlite3_file) -> *mut TempFile {
    // SAFETY: by the contract above, there is a note behind the file.
    unsafe { note_of(REGISTERED.load(Ordering::Acquire), file).read_unaligned().temp }
}
