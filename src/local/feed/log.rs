//! The changes of one transaction, in the order in which they were made, without those that were undone.
//!
//! The engine tells of every savepoint, its own for single statements included, by its level. A mark is where the log stood
//! when a level began. What is rolled back to a level goes back to the mark of exactly that level. If there is no mark, the
//! savepoint is older than the log, and all of it goes. If there are marks of lower levels alone, a savepoint below was released
//! and this one with it, as happens to statements that run side by side: the engine undoes nothing then, and neither does the log.

use super::plan::{bit, Plan};
use crate::engine::preupdate::{Operation, RowChange, Savepoint, When};
use crate::error::Result;
use crate::row_encoder::encode_value;
use parking_lot::Mutex;
use port_driver::etf::encoder::{put_empty_list, put_list};
use port_driver::request::OPERATION_UPDATE;
use std::ffi::c_int;

/// An entry of the log.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The database, as the connection numbers it.
    pub database: c_int,
    /// The plan of its table, by its place; [`SCHEMA`] for a change of the schema.
    pub plan: u32,
    /// The bit of the operation.
    pub operation: u8,
    /// Which of the tracked columns an UPDATE changes.
    pub changed: u64,
    /// The row's rowid, after the change unless it goes.
    pub rowid: i64,
    /// Its rowid before the change; of a new row, as `rowid`.
    pub old_rowid: i64,
    start: u32,
    old_at: u32,
    new_at: u32,
}

/// Instead of a plan: the schema of the database has changed.
pub const SCHEMA: u32 = u32::MAX;

/// What a log holds of a row, each a list of values as an External Term or two of them; nothing for what was not noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Noted<'l> {
    /// The key and, behind it, the key before, if that was another one, or an empty list. Not of a key that is the rowid.
    pub keys: &'l [u8],
    /// The values before the change.
    pub old: &'l [u8],
    /// Those after it.
    pub new: &'l [u8],
}

/// Why the log does not hold all changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// They are more than are kept.
    TooLarge,
    /// One of them could not be read.
    Unreadable,
}

/// A log.
pub struct Log {
    buffers: Buffers,
    marks: Vec<(c_int, usize)>,
    gap: Option<Gap>,
    bytes_max: usize,
    /// For keys that are compared.
    spare: Vec<u8>,
}

/// So much memory a log keeps when it has been told.
const BYTES_KEPT: usize = 256 << 10;

/// The largest memory that is kept for the next long transaction, of whichever connection: having it anew from the system costs
/// as much as what is noted in it.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// The memory of the last long log, while no log has it.
static SPARE: Mutex<Option<Buffers>> = Mutex::new(None);

#[derive(Default)]
struct Buffers {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Buffers {
    fn capacity(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * std::mem::size_of::<Entry>()
    }
}

impl Log {
    /// An empty log that keeps at most `bytes_max`.
    pub fn new(bytes_max: u32) -> Self {
        let bytes_max = bytes_max as usize;
        Log { buffers: Buffers::default(), marks: Vec::new(), gap: None, bytes_max, spare: Vec::new() }
    }

    /// Nothing has changed, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.buffers.entries.is_empty() && self.gap.is_none()
    }

    /// What is missing.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.buffers.bytes.len() + self.buffers.entries.len() * std::mem::size_of::<Entry>()
    }

    /// How many bytes are noted of rows.
    pub fn bytes(&self) -> usize {
        self.buffers.bytes.len()
    }

    /// The entries.
    #[inline]
    pub fn entries(&self) -> &[Entry] {
        &self.buffers.entries
    }

    /// What is noted of the entry at a place.
    #[inline]
    pub fn noted(&self, at: usize) -> Noted<'_> {
        let Buffers { entries, bytes } = &self.buffers;
        let Some(entry) = entries.get(at) else { return Noted::default() };
        let end = entries.get(at + 1).map_or(bytes.len(), |next| next.start as usize);
        let start = entry.start as usize;
        // Mostly, where a rowid says all that is wanted.
        if start == end {
            return Noted::default();
        }
        let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
        let (old_at, new_at) = (entry.old_at as usize, entry.new_at as usize);
        Noted { keys: part(start, old_at), old: part(old_at, new_at), new: part(new_at, end) }
    }

    /// Forgets everything, after a commit or a rollback.
    pub fn clear(&mut self) {
        self.buffers.entries.clear();
        self.buffers.bytes.clear();
        let capacity = self.buffers.capacity();
        if capacity > BYTES_KEPT {
            let buffers = std::mem::take(&mut self.buffers);
            if capacity <= SPARE_BYTES_MAX {
                *SPARE.lock() = Some(buffers);
            }
        }
        self.marks.clear();
        self.gap = None;
    }

    /// From here on the log is not complete; what it held is of no use.
    pub fn give_up(&mut self, gap: Gap) {
        let marks = std::mem::take(&mut self.marks);
        self.clear();
        self.marks = marks.into_iter().map(|(level, _)| (level, 0)).collect();
        self.gap = Some(gap);
    }

    /// What becomes of a savepoint.
    pub fn savepoint(&mut self, savepoint: Savepoint) {
        let pop_from = |marks: &mut Vec<(c_int, usize)>, least: c_int| {
            while marks.last().is_some_and(|(level, _)| *level >= least) {
                marks.pop();
            }
        };
        match savepoint {
            Savepoint::Begin(level) => {
                pop_from(&mut self.marks, level);
                self.marks.push((level, self.buffers.entries.len()));
            }
            Savepoint::Release(level) => pop_from(&mut self.marks, level),
            Savepoint::RollBackTo(level) => {
                pop_from(&mut self.marks, level.saturating_add(1));
                let entries = match self.marks.last() {
                    Some((of, entries)) if *of == level => *entries,
                    Some(_released) => return,
                    None => 0,
                };
                if let Some(undone) = self.buffers.entries.get(entries) {
                    self.buffers.bytes.truncate(undone.start as usize);
                    self.buffers.entries.truncate(entries);
                }
            }
        }
    }

    /// The schema of database number `database` changes.
    pub fn schema(&mut self, database: c_int) {
        if self.gap.is_none() {
            let start = u32::try_from(self.buffers.bytes.len()).unwrap_or(u32::MAX);
            self.buffers.entries.push(Entry {
                database,
                plan: SCHEMA,
                operation: 0,
                changed: 0,
                rowid: 0,
                old_rowid: 0,
                start,
                old_at: start,
                new_at: start,
            });
        }
    }

    /// A row changes, whose table has this plan.
    pub fn row(&mut self, database: c_int, number: u32, plan: &Plan, change: &RowChange<'_>) {
        let operation = bit(change.operation);
        if self.gap.is_some() || plan.operations & operation == 0 {
            return;
        }
        if self.buffers.entries.capacity() == 0 {
            if let Some(spare) = SPARE.lock().take() {
                self.buffers = spare;
            }
        }
        let changed = match change.operation {
            Operation::Update if !plan.tracked.is_empty() => changed_columns(plan, change),
            _ => u64::MAX,
        };
        if changed != u64::MAX && !plan.views.iter().any(|view| view.sees(changed)) {
            return;
        }
        let base = self.buffers.bytes.len();
        let Ok((old_at, new_at)) = self.put(plan, change) else {
            self.give_up(Gap::Unreadable);
            return;
        };
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let stays = matches!(change.operation, Operation::Insert | Operation::Update);
        self.buffers.entries.push(Entry {
            database,
            plan: number,
            operation,
            changed,
            rowid: if stays { change.new_rowid } else { change.rowid },
            old_rowid: if change.operation == Operation::Insert { change.new_rowid } else { change.rowid },
            start: at(base),
            old_at: at(old_at),
            new_at: at(new_at),
        });
        if self.size() > self.bytes_max {
            self.give_up(Gap::TooLarge);
        }
    }

    /// Notes what the plan wants of the row's values. Returns where those before the change begin, and those after it.
    #[inline]
    fn put(&mut self, plan: &Plan, change: &RowChange<'_>) -> Result<(usize, usize)> {
        let out = &mut self.buffers.bytes;
        let base = out.len();
        if change.operation == Operation::BlobWrite {
            // Where it is, and nothing of what it holds: the engine is in the midst of it.
            return Ok((base, base));
        }
        let gone = change.operation == Operation::Delete;
        if !plan.key_is_rowid && !plan.key.indices.is_empty() {
            put_values(out, &plan.key.indices, change, if gone { When::Before } else { When::After })?;
            if change.operation == Operation::Update {
                self.spare.clear();
                put_values(&mut self.spare, &plan.key.indices, change, When::Before)?;
                if self.spare == out[base..] {
                    put_empty_list(out);
                } else {
                    out.extend_from_slice(&self.spare);
                }
            } else {
                put_empty_list(out);
            }
        }
        let old_at = out.len();
        if plan.old && change.operation != Operation::Insert {
            put_values(out, &plan.columns.indices, change, When::Before)?;
        }
        let new_at = out.len();
        if plan.new && !gone {
            put_values(out, &plan.columns.indices, change, When::After)?;
        }
        Ok((old_at, new_at))
    }
}

/// A list of the values of these columns.
#[inline]
fn put_values(out: &mut Vec<u8>, columns: &[c_int], change: &RowChange<'_>, when: When) -> Result<()> {
    put_list(out, u32::try_from(columns.len()).unwrap_or(0));
    change.for_each_value(when, columns, unreadable, |value| encode_value(out, value))?;
    if !columns.is_empty() {
        put_empty_list(out);
    }
    Ok(())
}

#[cold]
fn unreadable() -> crate::error::Error {
    crate::error::Error::new(port_driver::ErrorCode::Internal, "a value of a changed row cannot be read")
}

/// A bit for each tracked column whether it changes; all of them if that cannot be told.
fn changed_columns(plan: &Plan, change: &RowChange<'_>) -> u64 {
    let (mut bits, mut at) = (0, 0);
    let read = change.compare(&plan.tracked, |is_same| {
        bits |= u64::from(!is_same) << at;
        at += 1;
    });
    if read {
        bits
    } else {
        u64::MAX
    }
}

/// Whether a listener with this view gets this entry.
#[inline]
pub fn is_wanted(entry: &Entry, view: &super::plan::View) -> bool {
    view.subscription.filter.operations & entry.operation != 0
        && (entry.operation != OPERATION_UPDATE || view.sees(entry.changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Savepoint::{Begin, Release, RollBackTo};

    /// Changes are told apart by the number of their database.
    fn changes(log: &Log) -> Vec<c_int> {
        log.entries().iter().map(|entry| entry.database).collect()
    }

    #[test]
    fn a_savepoint_goes_back_to_its_own_mark() {
        let mut log = Log::new(1 << 20);
        for level in 0..3 {
            log.savepoint(Begin(level));
            log.schema(level);
        }
        log.savepoint(RollBackTo(1));
        assert_eq!(changes(&log), [0]);
        log.schema(7);
        log.savepoint(RollBackTo(1));
        assert_eq!(changes(&log), [0], "it stays, and may be rolled back to again");
    }

    #[test]
    fn one_that_is_older_than_the_log_undoes_all_of_it() {
        let mut log = Log::new(1 << 20);
        log.schema(1);
        log.savepoint(Begin(2));
        log.schema(2);
        log.savepoint(Release(2));
        log.savepoint(RollBackTo(1));
        assert_eq!(changes(&log), [0; 0]);
    }

    #[test]
    fn one_that_was_released_with_another_below_it_undoes_nothing() {
        let mut log = Log::new(1 << 20);
        log.schema(1);
        log.savepoint(Begin(0));
        log.schema(2);
        // Two statements side by side, of which the first ends first.
        log.savepoint(Begin(1));
        log.schema(3);
        log.savepoint(Begin(2));
        log.schema(4);
        log.savepoint(Release(1));
        log.savepoint(RollBackTo(2));
        assert_eq!(changes(&log), [1, 2, 3, 4]);
        log.savepoint(RollBackTo(0));
        assert_eq!(changes(&log), [1]);
    }
}
