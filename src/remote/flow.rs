//! The rows of one statement as the server sends them, which waits while nobody reads.

use super::hrana::answer::{entry, Entry, ServerError};
use super::machine::{Baton, Cut};
use super::places::Place;
use super::stream::{Lines, Link, NoAnswer, OwnStream};
use crate::clock::now_ns;
use crate::control::Control;

/// The rows that are yet to come.
pub struct Flow {
    // Before the stream, so that its socket is closed when the stream is to end: the server interrupts the statement.
    lines: Lines,
    /// Its own one, outside of a transaction.
    stream: Option<OwnStream>,
    /// From which server.
    pub place: Place,
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
    /// Of `lines`: on a stream of their own, or on that of the open transaction.
    pub fn new(lines: Lines, place: Place, stream: Option<OwnStream>) -> Self {
        let inside = stream.is_none();
        Flow { lines, stream, place, inside, since_ns: now_ns(), columns: None, ended: false }
    }

    /// Its own stream, for others, once the last row has come.
    pub fn take_stream(&mut self) -> Option<Baton> {
        self.stream.as_mut().filter(|_| self.ended)?.take()
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
