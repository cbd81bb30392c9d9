//! The VFS through which SQLite opens files here: its own for this system, whose databases and WALs remember which file they
//! are. A connection can then compare what it has open with what stands at the path, which SQLite does not do in WAL mode.
//!
//! Only `xOpen` is replaced: it opens by SQLite's own and writes a [`Note`] behind the file's memory. Reading and writing go
//! to SQLite's functions without a detour, but for [temporary files](super::temp_file). Other VFSes (`file:…?vfs=…`,
//! databases in memory) take no notes, but ask whether they [may](super::allowed), as this one does.
//!
//! Invariant: see [the notes](super::file_note). Files of another VFS are never looked at.

use super::allowed::{self, Through};
use super::file_id::FileId;
use super::file_note::{note_of, note_offset, Note, TempFile, REGISTERED};
use super::handle::Handle;
use super::temp_file;
use crate::temp_space;
use libsql_ffi as ffi;
use std::ffi::{c_char, c_int, c_void, CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::Ordering;

/// How much of a log's index is mapped at a time, and how long the header in it is in words of four bytes, of which there
/// are two copies.
const INDEX_PAGE_BYTES: c_int = 32_768;
const INDEX_HEADER_WORDS: usize = 12;

/// How often a look at index and log is repeated if they change meanwhile.
const INDEX_LOOKS_MAX: u32 = 5;

/// The files of one database that a connection has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The database itself.
    pub database: FileId,
    /// Its write-ahead log, once the connection has opened one.
    pub wal: Option<FileId>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The database itself.
    Database,
    /// Its write-ahead log.
    Wal,
}

/// Registers the VFS and makes it the default. Once, after SQLite is initialised.
pub fn register() -> c_int {
    // SAFETY: null asks for the default one, which is static.
    let below = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    if below.is_null() {
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: a registered VFS is readable; all its functions take the VFS below as well as a copy of it.
    let mut vfs = unsafe { *below };
    vfs.szOsFile = note_offset(vfs.szOsFile) + c_int::try_from(size_of::<Note>()).unwrap_or(c_int::MAX / 2);
    vfs.pNext = ptr::null_mut();
    vfs.zName = c"libsql_port".as_ptr();
    vfs.pAppData = below.cast();
    vfs.xOpen = Some(open);
    let vfs = Box::into_raw(Box::new(vfs));
    REGISTERED.store(vfs, Ordering::Release);
    // SAFETY: the list holds registered VFSes; `vfs` lives for as long as the program does, and nobody else changes it.
    unsafe {
        match ffi::sqlite3_vfs_register(vfs, 1) {
            ffi::SQLITE_OK => register_guards(below),
            code => code,
        }
    }
}

/// A VFS of SQLite's own under its own name, so that a name in a URI (`vfs=unix-none`) finds this one.
#[repr(C)]
struct Guard {
    vfs: ffi::sqlite3_vfs,
    guarded: *mut ffi::sqlite3_vfs,
    through: Through,
}

/// Puts a guard before each of SQLite's own VFSes. A new one stands behind the default alone, and so is
/// found before the one that it guards.
///
/// # Safety
/// `first` must be the first of SQLite's own, behind the default.
unsafe fn register_guards(first: *mut ffi::sqlite3_vfs) -> c_int {
    // SAFETY: registered VFSes are static, and their names end with a NUL. The list is read before any is added to it.
    let all: Vec<_> = unsafe {
        std::iter::successors(Some(first), |vfs| Some((**vfs).pNext).filter(|next| !next.is_null())).collect()
    };
    for guarded in all {
        // SAFETY: as above. All functions but `xOpen` take the guard as well as what it is a copy of.
        let code = unsafe {
            let through = match CStr::from_ptr((*guarded).zName) == c"memdb" {
                true => Through::Memory,
                false => Through::Named,
            };
            let mut vfs = *guarded;
            vfs.pNext = ptr::null_mut();
            vfs.xOpen = Some(open_guarded);
            let guard = Box::into_raw(Box::new(Guard { vfs, guarded, through }));
            ffi::sqlite3_vfs_register(guard.cast(), 0)
        };
        if code != ffi::SQLITE_OK {
            return code;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn open_guarded(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the VFS that this function is of, which is the beginning of a guard.
    unsafe {
        let Guard { guarded, through, .. } = *vfs.cast::<Guard>();
        open_below(guarded, through, name, file, flags, out_flags)
    }
}

/// Opens by a VFS of SQLite's own, unless this may not be opened.
///
/// # Safety
/// `below` must be registered, the others what SQLite gave to `xOpen`; `name` may be another one that is null or ends with a NUL.
unsafe fn open_below(
    below: *mut ffi::sqlite3_vfs,
    through: Through,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: by the contract above.
    unsafe {
        if let Some(code) = refusal(name, flags, through) {
            // Or SQLite would close it.
            (*file).pMethods = ptr::null();
            return code;
        }
        match (*below).xOpen {
            Some(open) => open(below, name, file, flags, out_flags),
            None => ffi::SQLITE_CANTOPEN,
        }
    }
}

/// Whether this may not be opened: a database that is not for the SQL which runs on this thread; and for nobody, in place of a
/// super-journal, a file of another name: SQLite would remove it.
///
/// # Safety
/// `name` must be null or end with a NUL.
unsafe fn refusal(name: ffi::sqlite3_filename, flags: c_int, through: Through) -> Option<c_int> {
    if name.is_null() || flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_SUPER_JOURNAL) == 0 {
        return None;
    }
    // SAFETY: by the contract above.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
    if flags & ffi::SQLITE_OPEN_SUPER_JOURNAL != 0 {
        return (!allowed::is_super_journal(path)).then_some(ffi::SQLITE_CANTOPEN);
    }
    allowed::refuses(path, through).then_some(ffi::SQLITE_AUTH)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls with the registered VFS and with memory for a file of it; the VFS below has an `xOpen`, as every
    // VFS has, and gets what SQLite would have given it.
    unsafe {
        let below = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
        let is_temporary = flags & temp_file::KINDS != 0;
        // Without a name the engine looks for a folder itself.
        let own_name = if is_temporary && name.is_null() { temp_file::new_name() } else { None };
        let opened_as = own_name.as_ref().map_or(name, |name| name.as_ptr());
        let code = open_below(below, Through::Default, opened_as, file, flags, out_flags);
        if is_temporary && code != ffi::SQLITE_OK {
            temp_space::note_failed();
        }
        let methods = if code == ffi::SQLITE_OK { (*file).pMethods } else { ptr::null() };
        let kind = flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL);
        let id = if methods.is_null() || name.is_null() || kind == 0 || is_immutable(kind, name) {
            None
        } else {
            Some(identify(file, name))
        };
        let counted = match !methods.is_null() && is_temporary {
            true => temp_file::table(methods),
            false => None,
        };
        let temp = match counted {
            Some(_) => Box::into_raw(Box::new(TempFile::new(own_name))),
            None => {
                if !methods.is_null() {
                    // Open, though not counted: the VFS below may read its name later.
                    std::mem::forget(own_name);
                }
                ptr::null_mut()
            }
        };
        let kind = if id.is_some() { kind } else { 0 };
        note_of(vfs, file).write_unaligned(Note { methods, kind, id: id.unwrap_or(FileId::NOWHERE), temp });
        if let Some(counted) = counted {
            (*file).pMethods = counted;
        }
        code
    }
}

/// The client has said that nothing changes the file.
///
/// # Safety
/// `name` must be what SQLite gave to `xOpen` together with `kind`.
unsafe fn is_immutable(kind: c_int, name: ffi::sqlite3_filename) -> bool {
    // SAFETY: the name of a database carries its URI's parameters (<https://sqlite.org/c3ref/uri_boolean.html>).
    kind == ffi::SQLITE_OPEN_MAIN_DB
        && unsafe { ffi::sqlite3_uri_boolean(name, c"immutable".as_ptr(), 0) } != 0
}

/// Which file was opened just now. One that has been moved since is none that stands at any path.
///
/// # Safety
/// `file` must be open, and `name` be its NUL-ended name.
unsafe fn identify(file: *mut ffi::sqlite3_file, name: *const c_char) -> FileId {
    // SAFETY: by the contract above.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()));
    let id = FileId::at(path).unwrap_or(FileId::NOWHERE);
    let mut moved: c_int = 0;
    // SAFETY: an open file has methods; this operation writes an int (SQLITE_FCNTL_HAS_MOVED). It knows databases alone and
    // answers 0 for a WAL.
    unsafe {
        if let Some(control) = (*(*file).pMethods).xFileControl {
            control(file, ffi::SQLITE_FCNTL_HAS_MOVED, ptr::from_mut(&mut moved).cast());
        }
    }
    if moved == 0 {
        id
    } else {
        FileId::NOWHERE
    }
}

impl Handle {
    /// Which files of `schema` are open. `None` if it has none that can be moved: it is temporary, in memory, immutable, or
    /// of another VFS.
    pub fn opened(&self, schema: &str) -> Option<Opened> {
        self.with_schema(schema, |schema| {
            let (_, database) = self.noted(schema, Part::Database)?;
            Some(Opened { database, wal: self.noted(schema, Part::Wal).map(|(_, id)| id) })
        })
    }

    /// The path of `schema`, as SQLite has it: absolute, with links resolved.
    pub fn path(&self, schema: &str) -> Option<PathBuf> {
        self.with_schema(schema, |schema| {
            // SAFETY: `raw` is open; SQLite owns the name, which is copied.
            let name = unsafe { ffi::sqlite3_db_filename(self.raw(), schema.as_ptr()) };
            if name.is_null() {
                return None;
            }
            // SAFETY: not null, so NUL-ended.
            let name = unsafe { CStr::from_ptr(name) }.to_bytes();
            (!name.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(name)))
        })
    }

    /// Reads from an open file of `schema` as it is on disk. False if there are not so many bytes.
    pub fn read_file(&self, schema: &str, part: Part, offset: u64, buffer: &mut [u8]) -> bool {
        let bytes = c_int::try_from(buffer.len()).unwrap_or(0);
        self.with_schema(schema, |schema| {
            let (file, _) = self.noted(schema, part)?;
            // SAFETY: a noted file is open and has methods; the buffer has `bytes` bytes.
            let code = unsafe {
                let read = (*(*file).pMethods).xRead?;
                read(file, buffer.as_mut_ptr().cast::<c_void>(), bytes, i64::try_from(offset).ok()?)
            };
            (code == ffi::SQLITE_OK).then_some(())
        })
        .is_some()
    }

    /// False if the log of `schema` is not the one that its index speaks of: it was written over, or is another file. Only
    /// where there is an index in shared memory, which is the case as soon as the connection has read, but for
    /// `locking_mode = exclusive`.
    pub fn log_fits_index(&self, schema: &str) -> bool {
        for _ in 0..INDEX_LOOKS_MAX {
            let Some(index) = self.log_index(schema) else { return true };
            let mut header = [0; 24];
            let whole = self.read_file(schema, Part::Wal, 0, &mut header);
            if whole && header[16..] == index {
                return true;
            }
            // A program without turns may have begun the log anew in between.
            if self.log_index(schema) == Some(index) {
                return false;
            }
        }
        true
    }

    /// The salts of the log of `schema`, if it has frames, without reading it. See [`Self::log_fits_index`].
    pub fn log_salts(&self, schema: &str) -> Option<u64> {
        self.log_index(schema).map(u64::from_be_bytes)
    }

    /// The salts of the log as its index has them (<https://sqlite.org/walformat.html>, section 2.1), if it has frames.
    fn log_index(&self, schema: &str) -> Option<[u8; 8]> {
        let (file, _) = self.with_schema(schema, |schema| self.noted(schema, Part::Database))?;
        let mut page: *mut c_void = ptr::null_mut();
        // SAFETY: a noted file is open and has methods. The first page of the index is mapped since the first read, and this
        // gives its address; it is not made where there is none.
        let copies = unsafe {
            let map = (*(*file).pMethods).xShmMap?;
            if map(file, 0, INDEX_PAGE_BYTES, 0, &mut page) != ffi::SQLITE_OK || page.is_null() {
                return None;
            }
            // Shared with other programs: read once, and used only if both copies say the same.
            ptr::read_volatile(page.cast::<[[u32; INDEX_HEADER_WORDS]; 2]>())
        };
        let header = copies[0];
        let is_initialised = header[3].to_ne_bytes()[0] != 0;
        let frames = header[4];
        let mut salts = [0; 8];
        salts[..4].copy_from_slice(&header[8].to_ne_bytes());
        salts[4..].copy_from_slice(&header[9].to_ne_bytes());
        (copies[0] == copies[1] && is_initialised && frames > 0).then_some(salts)
    }

    fn with_schema<T>(&self, schema: &str, look: impl FnOnce(&CStr) -> Option<T>) -> Option<T> {
        match schema {
            "main" => look(c"main"),
            other => look(&CString::new(other).ok()?),
        }
    }

    /// The open file of `schema`, and which it is.
    fn noted(&self, schema: &CStr, part: Part) -> Option<(*mut ffi::sqlite3_file, FileId)> {
        let registered = REGISTERED.load(Ordering::Acquire);
        let vfs: *mut ffi::sqlite3_vfs = self.pointer(schema, ffi::SQLITE_FCNTL_VFS_POINTER)?;
        if registered.is_null() || vfs != registered {
            return None;
        }
        let (operation, kind) = match part {
            Part::Database => (ffi::SQLITE_FCNTL_FILE_POINTER, ffi::SQLITE_OPEN_MAIN_DB),
            Part::Wal => (ffi::SQLITE_FCNTL_JOURNAL_POINTER, ffi::SQLITE_OPEN_WAL),
        };
        let file: *mut ffi::sqlite3_file = self.pointer(schema, operation)?;
        // SAFETY: a file of the registered VFS, since that is the database's; its memory is there whether it is open or not.
        let (methods, note) = unsafe { ((*file).pMethods, note_of(registered, file).read_unaligned()) };
        (!methods.is_null() && methods == note.methods && kind == note.kind).then_some((file, note.id))
    }

    /// What `sqlite3_file_control` says to an operation that gives a pointer.
    fn pointer<T>(&self, schema: &CStr, operation: c_int) -> Option<*mut T> {
        let mut pointer: *mut T = ptr::null_mut();
        // A null pointer is the main database, which then is not looked up by its name.
        let name = if schema == c"main" { ptr::null() } else { schema.as_ptr() };
        // SAFETY: `raw` is open; these operations write a pointer and call nothing.
        let code = unsafe {
            ffi::sqlite3_file_control(self.raw(), name, operation, ptr::from_mut(&mut pointer).cast())
        };
        (code == ffi::SQLITE_OK && !pointer.is_null()).then_some(pointer)
    }
}
