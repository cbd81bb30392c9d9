//! The changes of one transaction, in the order in which they were made, without those that were undone.
//!
//! The engine tells of every savepoint, its own for single statements included, by its level. A mark is where the log stood
//! when a level began. What is rolled back to a level goes back to the mark of exactly that level. If there is no mark, the
//! savepoint is older than the log, and all of it goes. If there are marks of lower levels alone, a savepoint below was released
//! and this one with it, as happens to statements that run side by side: the engine undoes nothing then, and neither does the log.

use super::plan::{bit, Plan};
use crate::engine::preupdate::{Operation, RowChange, Savepoint};
use crate::engine::statement::Column;
use crate::error::Result;
use crate::row_encoder::encode_value;
use port_driver::etf::encoder::{put_empty_list, put_integer, put_list, put_tuple};
use port_driver::etf::tag::{INTEGER, SMALL_INTEGER};
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
    start: u32,
    old_at: u32,
    new_at: u32,
}

/// Instead of a plan: the schema of the database has changed.
pub const SCHEMA: u32 = u32::MAX;

/// Where the number of the table stands in an entry's bytes, so that it can be replaced: after `{8 fields, 97 op, 98`.
pub const TABLE_AT: usize = 5;

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
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    marks: Vec<(c_int, usize)>,
    gap: Option<Gap>,
    bytes_max: usize,
    /// For keys that are compared.
    spare: Vec<u8>,
}

/// Of a log that has been told; a larger buffer goes back.
const BYTES_KEPT: usize = 256 << 10;

impl Log {
    /// An empty log that keeps at most `bytes_max`.
    pub fn new(bytes_max: u32) -> Self {
        let bytes_max = bytes_max as usize;
        Log {
            entries: Vec::new(),
            bytes: Vec::new(),
            marks: Vec::new(),
            gap: None,
            bytes_max,
            spare: Vec::new(),
        }
    }

    /// Nothing has changed, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.gap.is_none()
    }

    /// What is missing.
    pub fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// The entries with their bytes: head, old values, new values.
    pub fn entries(&self) -> impl Iterator<Item = (&Entry, [&[u8]; 3])> {
        let ends = self.entries.iter().skip(1).map(|next| next.start as usize);
        let ends = ends.chain(std::iter::once(self.bytes.len()));
        self.entries.iter().zip(ends).map(|(entry, end)| {
            let (start, old_at, new_at) =
                (entry.start as usize, entry.old_at as usize, entry.new_at as usize);
            let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
            (entry, [part(start, old_at), part(old_at, new_at), part(new_at, end)])
        })
    }

    /// Forgets everything, after a commit or a rollback.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > BYTES_KEPT {
            self.bytes = Vec::new();
            self.entries = Vec::new();
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
                self.marks.push((level, self.entries.len()));
            }
            Savepoint::Release(level) => pop_from(&mut self.marks, level),
            Savepoint::RollBackTo(level) => {
                pop_from(&mut self.marks, level.saturating_add(1));
                let entries = match self.marks.last() {
                    Some((of, entries)) if *of == level => *entries,
                    Some(_released) => return,
                    None => 0,
                };
                if let Some(undone) = self.entries.get(entries) {
                    self.bytes.truncate(undone.start as usize);
                    self.entries.truncate(entries);
                }
            }
        }
    }

    /// The schema of database number `database` changes.
    pub fn schema(&mut self, database: c_int) {
        if self.gap.is_none() {
            let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
            let (old_at, new_at) = (start, start);
            let entry = Entry { database, plan: SCHEMA, operation: 0, changed: 0, start, old_at, new_at };
            self.entries.push(entry);
        }
    }

    /// A row changes, whose table has this plan.
    pub fn row(&mut self, database: c_int, number: u32, plan: &Plan, change: &RowChange<'_>) {
        let operation = bit(change.operation);
        if self.gap.is_some() || plan.operations & operation == 0 {
            return;
        }
        let base = self.bytes.len();
        match self.put(plan, change, number) {
            Ok(Some((old_at, new_at, changed))) => {
                let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
                let (start, old_at, new_at) = (at(base), at(old_at), at(new_at));
                self.entries.push(Entry {
                    database,
                    plan: number,
                    operation,
                    changed,
                    start,
                    old_at,
                    new_at,
                });
            }
            Ok(None) => self.bytes.truncate(base),
            Err(_) => self.give_up(Gap::Unreadable),
        }
        if self.bytes.len() + self.entries.len() * std::mem::size_of::<Entry>() > self.bytes_max {
            self.give_up(Gap::TooLarge);
        }
    }

    /// `{Operation, Table, Rowid, OldRowid, Key, OldKey, Old, New}`; `[]` stands for what there is not. `None`: an UPDATE that
    /// nobody wants.
    fn put(
        &mut self,
        plan: &Plan,
        change: &RowChange<'_>,
        number: u32,
    ) -> Result<Option<(usize, usize, u64)>> {
        let out = &mut self.bytes;
        let changed = match change.operation {
            Operation::Update if !plan.tracked.is_empty() => {
                let changed = changed_columns(plan, change);
                let wanted = |view: &super::plan::View| view.changed.is_none_or(|bits| bits & changed != 0);
                if !plan.views.iter().any(wanted) {
                    return Ok(None);
                }
                changed
            }
            _ => u64::MAX,
        };
        put_tuple(out, 8);
        out.extend_from_slice(&[SMALL_INTEGER, number_of(change.operation), INTEGER]);
        out.extend_from_slice(&number.to_be_bytes());
        let gone = change.operation == Operation::Delete;
        if plan.without_rowid {
            put_empty_list(out);
            put_empty_list(out);
        } else {
            let before = gone || change.operation == Operation::BlobWrite;
            put_integer(out, if before { change.rowid } else { change.new_rowid });
            match change.operation {
                Operation::Update if change.rowid != change.new_rowid => put_integer(out, change.rowid),
                _ => put_empty_list(out),
            }
        }
        if change.operation == Operation::BlobWrite {
            // Where it is, and nothing of what it holds: the engine is in the midst of it.
            (0..2).for_each(|_| put_empty_list(out));
            let old_at = out.len();
            put_empty_list(out);
            let new_at = out.len();
            put_empty_list(out);
            return Ok(Some((old_at, new_at, changed)));
        }
        let key_at = out.len();
        put_values(out, &plan.key, change, !gone)?;
        if change.operation == Operation::Update && !plan.key.is_empty() {
            self.spare.clear();
            put_values(&mut self.spare, &plan.key, change, false)?;
            if self.spare == out[key_at..] {
                put_empty_list(out);
            } else {
                out.extend_from_slice(&self.spare);
            }
        } else {
            put_empty_list(out);
        }
        let old_at = out.len();
        if plan.old && change.operation != Operation::Insert {
            put_values(out, &plan.columns, change, false)?;
        } else {
            put_empty_list(out);
        }
        let new_at = out.len();
        if plan.new && !gone {
            put_values(out, &plan.columns, change, true)?;
        } else {
            put_empty_list(out);
        }
        Ok(Some((old_at, new_at, changed)))
    }
}

fn number_of(operation: Operation) -> u8 {
    match operation {
        Operation::Insert => 1,
        Operation::Update | Operation::BlobWrite => 2,
        Operation::Delete => 3,
    }
}

/// A list of the values after the change, or before it.
fn put_values(
    out: &mut Vec<u8>,
    columns: &[super::plan::Told],
    change: &RowChange<'_>,
    after: bool,
) -> Result<()> {
    put_list(out, u32::try_from(columns.len()).unwrap_or(0));
    for column in columns {
        if column.is_rowid {
            put_integer(out, if after { change.new_rowid } else { change.rowid });
            continue;
        }
        let value = if after { change.after(column.index) } else { change.before(column.index) };
        match value {
            Some(value) => encode_value(out, value)?,
            None => return Err(unreadable()),
        }
    }
    if !columns.is_empty() {
        put_empty_list(out);
    }
    Ok(())
}

#[cold]
fn unreadable() -> crate::error::Error {
    crate::error::Error::new(port_driver::ErrorCode::Internal, "a value of a changed row cannot be read")
}

fn changed_columns(plan: &Plan, change: &RowChange<'_>) -> u64 {
    let bits = (0..).zip(&plan.tracked).map(|(at, column): (u32, &c_int)| {
        let same = match (change.before(*column), change.after(*column)) {
            (Some(old), Some(new)) => is_same(&old, &new),
            _ => false,
        };
        u64::from(!same) << at
    });
    bits.fold(0, |all, bit| all | bit)
}

fn is_same(old: &Column<'_>, new: &Column<'_>) -> bool {
    match (old, new) {
        (Column::Null, Column::Null) => true,
        (Column::Integer(old), Column::Integer(new)) => old == new,
        (Column::Real(old), Column::Real(new)) => old == new,
        (Column::Bytes(old), Column::Bytes(new)) => old == new,
        _ => false,
    }
}

/// Whether a listener with this view gets this entry.
pub fn is_wanted(entry: &Entry, view: &super::plan::View) -> bool {
    view.subscription.filter.operations & entry.operation != 0
        && (entry.operation != OPERATION_UPDATE || view.changed.is_none_or(|bits| bits & entry.changed != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Savepoint::{Begin, Release, RollBackTo};

    /// Changes are told apart by the number of their database.
    fn changes(log: &Log) -> Vec<c_int> {
        log.entries().map(|(entry, _)| entry.database).collect()
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
