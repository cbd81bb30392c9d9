//! The rows of one statement as the server sends them, which waits while nobody reads.

use super::hrana::answer::{entry, Entry, ServerError};
use super::machine::Cut;
use super::stream::{Lines, Link, NoAnswer};
use crate::clock::now_ns;
use crate::control::Control;

/// The rows that are yet to come.
pub struct Flow {
    lines: Lines,
    /// They are of the open transaction, whose stream waits for them.
    pub inside: bool,
    /// When they began to come.
    pub since_ns: u64,
    /// The names of the columns, once the statement has begun.
    pub columns: Option<Vec<String>>,
    ended: bool,
}

/// Why no row comes.
pub enum Dry {
    /// The answer has broken off.
    Missing(NoAnswer),
    /// The statement has failed.
    Failed(ServerError),
    /// No transaction is open.
    Skipped,
}

impl Flow {
    /// Of `lines`.
    pub fn new(lines: Lines, inside: bool) -> Self {
        Flow { lines, inside, since_ns: now_ns(), columns: None, ended: false }
    }

    /// The next row, encoded; `None` after the last one.
    pub fn next(&mut self, link: &Link, control: &Control) -> std::result::Result<Option<Vec<u8>>, Dry> {
        loop {
            let line = self.lines.next(link, control).map_err(Dry::Missing)?;
            let Some(line) = line else {
                return match (self.ended, self.columns.is_some()) {
                    (true, _) => Ok(None),
                    (false, false) if self.inside => Err(Dry::Skipped),
                    (false, _) => Err(Dry::Missing(NoAnswer::Cut(
                        Cut::Broken,
                        "the server's answer ends before the last row".to_owned(),
                    ))),
                };
            };
            let entry = entry(line).map_err(|error| {
                let message = format!("a line of the server's answer is not of Hrana 3 ({error})");
                Dry::Missing(NoAnswer::Cut(Cut::Garbage, message))
            })?;
            match entry {
                Entry::Begin(_, columns) => self.columns = Some(columns),
                Entry::Row(row) => return Ok(Some(row)),
                Entry::End(..) => self.ended = true,
                Entry::StepFailed(error) | Entry::Failed(error) => return Err(Dry::Failed(error)),
                Entry::Other => {}
            }
        }
    }
}
