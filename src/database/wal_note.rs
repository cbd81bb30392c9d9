//! What the lock file says about the write-ahead log: to which database it belongs.
//!
//! A WAL does not know its database. SQLite applies every log that it finds beside a file, so a database that is restored
//! beside the log of the former one gets the former one's pages. Therefore whoever has committed notes, in its turn, which
//! file the log belongs to, which salts it has, and what the database's header was. When a database is opened, a log with
//! these very salts has to belong to it:
//!
//! * A log that is the same file as in the note, beside a database that is another file, is not this database's.
//! * The header of the database file changes by checkpoints alone, which copy page 1 out of this log. So it is either
//!   the header of the note or that of one of the log's pages 1; any other one is of a file that was written over.
//!
//! Where anything else differs (another log, other salts, no note), nothing is said.

use super::placement::beside;
use super::{file_lock, DatabaseFile};
use crate::engine::file_id::FileId;
use crate::engine::vfs::Part;
use crate::engine::Handle;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// <https://sqlite.org/fileformat2.html>
const WAL_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const DATABASE_HEADER_BYTES: usize = 100;

/// How often a look is repeated if the log was started anew meanwhile.
const LOOKS_MAX: u32 = 5;

/// A log that is not this database's.
#[derive(Debug, thiserror::Error)]
#[error(
    "{wal} is the write-ahead log of another database file than {database}, which was replaced or restored; SQLite would \
     write the log's pages into it. Stop the programs that use the database and move the -wal and -shm away, or put the \
     former file back; if all files were restored together, remove {note}, which says what belonged together before",
    wal = beside(.database, "-wal").display(),
    database = .database.display(),
    note = beside(.database, file_lock::SUFFIX).display()
)]
pub struct ForeignWal {
    database: PathBuf,
}

/// A file, and when it was made: an inode's number is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    id: FileId,
    born_ns: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|age| u64::try_from(age.as_nanos()).ok()).unwrap_or(0);
        Identity { id: FileId::of(metadata), born_ns }
    }

    fn at(path: &Path) -> Option<Self> {
        std::fs::symlink_metadata(path).ok().map(|found| Identity::of(&found))
    }

    /// Another file for certain. Only Linux keeps the time of birth whatever is done to a file.
    fn differs(&self, other: &Identity) -> bool {
        self.id != other.id || cfg!(target_os = "linux") && self.born_ns != other.born_ns
    }
}

/// The note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    database: Identity,
    wal: Identity,
    salts: u64,
    header: u64,
}

const NUMBERS: usize = 8;
/// Sixteen digits for each number and its sum, a blank in front of each, the line's end.
pub(super) const NOTE_BYTES: usize = (NUMBERS + 1) * 17 + 1;

impl Note {
    fn numbers(&self) -> [u64; NUMBERS] {
        let Note { database, wal, salts, header } = self;
        [
            database.id.device,
            database.id.inode,
            database.born_ns,
            wal.id.device,
            wal.id.inode,
            wal.born_ns,
            *salts,
            *header,
        ]
    }

    fn line(&self) -> String {
        let mut line: String = self.numbers().iter().map(|number| format!(" {number:016x}")).collect();
        let sum = hash(line.as_bytes());
        line.push_str(&format!(" {sum:016x}\n"));
        line
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let numbers: Vec<u64> =
            text.split_ascii_whitespace().map_while(|word| u64::from_str_radix(word, 16).ok()).collect();
        let [device, inode, born_ns, wal_device, wal_inode, wal_born_ns, salts, header, _sum] = numbers[..]
        else {
            return None;
        };
        let note = Note {
            database: Identity { id: FileId { device, inode }, born_ns },
            wal: Identity { id: FileId { device: wal_device, inode: wal_inode }, born_ns: wal_born_ns },
            salts,
            header,
        };
        // A line that was torn is none.
        (note.line().as_bytes() == line).then_some(note)
    }
}

/// FNV-1a: the same in every version of the program.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl DatabaseFile {
    /// Notes to which database the log belongs, if this connection has begun it: after commits, in the turn.
    pub fn note_wal(&self, handle: &Handle, schema: &str) {
        if !self.placement.has_index() {
            return;
        }
        let Some(salts) = handle.log_salts(schema) else { return };
        self.turn.note(salts, || {
            let path = handle.path(schema)?;
            let mut header = [0; DATABASE_HEADER_BYTES];
            let read = handle.read_file(schema, Part::Database, 0, &mut header);
            let note = Note {
                database: Identity::at(&path)?,
                wal: Identity::at(&beside(&path, "-wal"))?,
                salts,
                header: hash(&header),
            };
            read.then(|| note.line())
        });
    }
}

/// An error if the log beside `schema` is not its own. Before the first read, which takes the log for granted.
pub fn check(handle: &Handle, schema: &str) -> Result<(), ForeignWal> {
    let Some(database) = handle.path(schema) else { return Ok(()) };
    for _ in 0..LOOKS_MAX {
        // What cannot be read says nothing.
        match look(handle, schema, &database).unwrap_or(Look::Fits) {
            Look::Fits => return Ok(()),
            Look::Foreign => return Err(ForeignWal { database }),
            Look::Changed => {}
        }
    }
    Ok(())
}

enum Look {
    Fits,
    Foreign,
    /// The log was started anew, or another note written, while it was looked at.
    Changed,
}

fn look(handle: &Handle, schema: &str, database: &Path) -> io::Result<Look> {
    let lock = beside(database, file_lock::SUFFIX);
    let Some(note) = read_note(&lock) else { return Ok(Look::Fits) };
    let wal = Wal::open(&beside(database, "-wal"))?;
    let mut header = [0; DATABASE_HEADER_BYTES];
    let whole = handle.read_file(schema, Part::Database, 0, &mut header);
    if wal.salts != note.salts || !wal.has_frames()? || !whole || !header.starts_with(b"SQLite format 3\0") {
        return Ok(Look::Fits);
    }
    let other_file = Identity::of(&wal.file.metadata()?) == note.wal
        && Identity::at(database).is_some_and(|found| found.differs(&note.database));
    let fits = !other_file && (hash(&header) == note.header || wal.has_page_one(&header)?);
    Ok(match fits {
        true => Look::Fits,
        false if wal.is_unchanged()? && read_note(&lock) == Some(note) => Look::Foreign,
        false => Look::Changed,
    })
}

fn read_note(lock: &Path) -> Option<Note> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(lock).ok()?;
    let mut line = [0; NOTE_BYTES];
    file.read_exact_at(&mut line, file_lock::PID_LINE_BYTES).ok()?;
    Note::parse(&line)
}

/// A write-ahead log as a file.
struct Wal {
    file: File,
    salts: u64,
    page_bytes: u64,
}

impl Wal {
    fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        let mut header = [0; WAL_HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0)?;
        let page_bytes = u64::from(big_endian(&header[8..]));
        Ok(Wal { file, salts: salts_of(&header[16..]), page_bytes })
    }

    /// The header of frame `index`, if it is one of this log and not of one before it in the same file.
    fn frame(&self, index: u64) -> io::Result<Option<[u8; FRAME_HEADER_BYTES as usize]>> {
        let mut frame = [0; FRAME_HEADER_BYTES as usize];
        match self.file.read_exact_at(&mut frame, self.frame_at(index)) {
            Ok(()) => Ok((salts_of(&frame[8..]) == self.salts).then_some(frame)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn frame_at(&self, index: u64) -> u64 {
        WAL_HEADER_BYTES + index * (FRAME_HEADER_BYTES + self.page_bytes)
    }

    fn has_frames(&self) -> io::Result<bool> {
        Ok(self.page_bytes > 0 && self.frame(0)?.is_some())
    }

    /// Some frame holds page 1 with this header.
    fn has_page_one(&self, header: &[u8; DATABASE_HEADER_BYTES]) -> io::Result<bool> {
        for index in 0.. {
            let Some(frame) = self.frame(index)? else { break };
            let mut page = [0; DATABASE_HEADER_BYTES];
            if big_endian(&frame) == 1
                && self.file.read_exact_at(&mut page, self.frame_at(index) + FRAME_HEADER_BYTES).is_ok()
                && page == *header
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_unchanged(&self) -> io::Result<bool> {
        let mut salts = [0; 8];
        self.file.read_exact_at(&mut salts, 16)?;
        Ok(salts_of(&salts) == self.salts)
    }
}

fn salts_of(bytes: &[u8]) -> u64 {
    u64::from(big_endian(bytes)) << 32 | u64::from(big_endian(&bytes[4..]))
}

fn big_endian(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        let identity = |inode| Identity { id: FileId { device: 1, inode }, born_ns: u64::MAX };
        Note { database: identity(2), wal: identity(3), salts: 4, header: 5 }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let line = note().line();
        assert_eq!(line.len(), NOTE_BYTES);
        assert_eq!(Note::parse(line.as_bytes()), Some(note()));
    }

    #[test]
    fn a_torn_note_is_none() {
        let line = note().line().into_bytes();
        for at in 0..line.len() {
            let mut torn = line.clone();
            torn[at] = if torn[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(Note::parse(&torn), None, "byte {at}");
            assert_eq!(Note::parse(&line[..at]), None, "cut at {at}");
        }
    }
}
