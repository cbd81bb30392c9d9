//! What a subscription asks for: of which database, and which changes in which form.

use super::fields::{check_text, names};
use super::options::{choice, for_each_option, integer, wrong};
use super::Refusal;
use crate::etf::{Decoder, Token};

/// The databases of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Every database of the program, those that are opened later included.
    All,
    /// The main database of a connection, whichever connection changes it.
    Connection(u32),
    /// The database of this name: its absolute path, or `memory:` and its name.
    Database(&'a str),
}

/// Which values of a row a subscription is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Rowid and key alone.
    None,
    /// The row after the change.
    New,
    /// The row before and after.
    OldAndNew,
}

/// Which changes are told, and what of them. Names of tables and columns are compared as SQL does, whatever the case of ASCII
/// letters.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeFilter<'a> {
    /// `None`: all tables but those of indexes and virtual tables.
    pub tables: Option<Vec<&'a str>>,
    /// A sum of the `OPERATION_` bits.
    pub operations: u8,
    /// Which values.
    pub values: Values,
    /// The columns whose values are told; `None`: all.
    pub columns: Option<Vec<&'a str>>,
    /// An UPDATE counts only if it changes one of these columns; `None`: always.
    pub changed_columns: Option<Vec<&'a str>>,
}

impl<'a> ChangeFilter<'a> {
    /// All changes, without values.
    pub(super) const ALL: Self = ChangeFilter {
        tables: None,
        operations: OPERATION_INSERT | OPERATION_UPDATE | OPERATION_DELETE,
        values: Values::None,
        columns: None,
        changed_columns: None,
    };

    /// Reads the value of one of its keys.
    pub(super) fn set(&mut self, key: &str, decoder: &mut Decoder<'a>) -> Result<(), Refusal> {
        match key {
            "tables" => self.tables = Some(texts(decoder, key)?),
            "operations" => self.operations = bits(decoder, key, OPERATIONS)?,
            "values" => self.values = choice(decoder, key, VALUES)?,
            "columns" => self.columns = Some(texts(decoder, key)?),
            _ => self.changed_columns = Some(texts(decoder, key)?),
        }
        Ok(())
    }
}

/// What `subscribe` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Where.
    pub scope: Scope<'a>,
    /// Which changes.
    pub changes: ChangeFilter<'a>,
    /// A sum of the `EVENT_` bits.
    pub events: u8,
    /// How often it is told how far a statement has come, in ms.
    pub progress_interval_ms: u32,
    /// Bytes of events that may be under way to the client.
    pub bytes_max: u32,
}

/// A bit of [`Subscribe::operations`].
pub const OPERATION_INSERT: u8 = 1;
/// A bit of [`Subscribe::operations`].
pub const OPERATION_UPDATE: u8 = 2;
/// A bit of [`Subscribe::operations`].
pub const OPERATION_DELETE: u8 = 4;
/// A bit of [`Subscribe::events`]: `changes`.
pub const EVENT_CHANGES: u8 = 1;
/// A bit of [`Subscribe::events`]: `hook` of a commit.
pub const EVENT_COMMIT: u8 = 2;
/// A bit of [`Subscribe::events`]: `hook` of a rollback.
pub const EVENT_ROLLBACK: u8 = 4;
/// A bit of [`Subscribe::events`]: `hook` of pages in the WAL.
pub const EVENT_WAL: u8 = 8;
/// A bit of [`Subscribe::events`]: `busy`.
pub const EVENT_BUSY: u8 = 16;
/// A bit of [`Subscribe::events`]: `progress`.
pub const EVENT_PROGRESS: u8 = 32;
/// A bit of [`Subscribe::events`]: `sync`.
pub const EVENT_SYNC: u8 = 64;
/// A bit of [`Subscribe::events`]: `freeze`.
pub const EVENT_FREEZE: u8 = 128;

const KEYS: &[&str] = &[
    "tables",
    "operations",
    "values",
    "columns",
    "changed_columns",
    "events",
    "bytes_max",
    "progress_interval",
];
const OPERATIONS: &[(&str, u8)] =
    &[("insert", OPERATION_INSERT), ("update", OPERATION_UPDATE), ("delete", OPERATION_DELETE)];
const VALUES: &[(&str, Values)] =
    &[("none", Values::None), ("new", Values::New), ("old_and_new", Values::OldAndNew)];
const EVENTS: &[(&str, u8)] = &[
    ("changes", EVENT_CHANGES),
    ("commit", EVENT_COMMIT),
    ("rollback", EVENT_ROLLBACK),
    ("wal", EVENT_WAL),
    ("busy", EVENT_BUSY),
    ("progress", EVENT_PROGRESS),
    ("sync", EVENT_SYNC),
    ("freeze", EVENT_FREEZE),
];

/// More would not be a filter but an attack.
const NAMES_MAX: u32 = 1000;
/// A client that grants nothing is told nothing, so there is always something.
const BYTES_MAX_DEFAULT: u32 = 1 << 20;
const PROGRESS_INTERVAL_MS: u32 = 1000;
/// More often would be a burden on what runs.
const PROGRESS_INTERVAL_MIN_MS: u32 = 10;

impl<'a> Subscribe<'a> {
    pub(super) fn decode(scope: Scope<'a>, decoder: &mut Decoder<'a>) -> Result<Self, Refusal> {
        let mut subscribe = Subscribe {
            scope,
            changes: ChangeFilter::ALL,
            events: EVENT_CHANGES,
            progress_interval_ms: PROGRESS_INTERVAL_MS,
            bytes_max: BYTES_MAX_DEFAULT,
        };
        for_each_option(decoder, KEYS, |key, decoder| {
            match key {
                "events" => subscribe.events = bits(decoder, key, EVENTS)?,
                "bytes_max" => subscribe.bytes_max = integer(decoder, key, u64::from(u32::MAX))? as u32,
                "progress_interval" => subscribe.progress_interval_ms = interval(decoder, key)?,
                _ => subscribe.changes.set(key, decoder)?,
            }
            Ok(())
        })?;
        Ok(subscribe)
    }
}

fn interval(decoder: &mut Decoder<'_>, key: &str) -> Result<u32, Refusal> {
    match decoder.next()? {
        Token::Integer(ms) if (i64::from(PROGRESS_INTERVAL_MIN_MS)..=i64::from(i32::MAX)).contains(&ms) => {
            Ok(ms as u32)
        }
        token => {
            Err(wrong(key, token, format_args!("an integer from {PROGRESS_INTERVAL_MIN_MS} to {}", i32::MAX)))
        }
    }
}

fn texts<'a>(decoder: &mut Decoder<'a>, key: &str) -> Result<Vec<&'a str>, Refusal> {
    let allowed =
        format_args!("a list of at most {NAMES_MAX} names, which are binaries of UTF-8 without NUL");
    list(decoder, key, allowed, |token| match token {
        Token::Binary(name) => check_text(name).ok(),
        _ => None,
    })
}

fn bits(decoder: &mut Decoder<'_>, key: &str, choices: &[(&str, u8)]) -> Result<u8, Refusal> {
    let allowed = format_args!("a list of some of {}", names(choices));
    let bits = list(decoder, key, allowed, |token| match token {
        Token::Atom(name) | Token::Binary(name) => {
            choices.iter().find(|(choice, _)| choice.as_bytes() == name).map(|(_, bit)| *bit)
        }
        _ => None,
    })?;
    Ok(bits.into_iter().fold(0, |all, bit| all | bit))
}

fn list<'a, T>(
    decoder: &mut Decoder<'a>,
    key: &str,
    allowed: std::fmt::Arguments<'_>,
    element: impl Fn(Token<'a>) -> Option<T>,
) -> Result<Vec<T>, Refusal> {
    let count = match decoder.next()? {
        Token::EmptyList => return Ok(Vec::new()),
        Token::List(count) if count <= NAMES_MAX => count,
        token => return Err(wrong(key, token, allowed)),
    };
    let mut elements = Vec::new();
    for _ in 0..count {
        let token = decoder.next()?;
        match element(token) {
            Some(element) => elements.push(element),
            None => return Err(wrong(key, token, allowed)),
        }
    }
    decoder.list_end()?;
    Ok(elements)
}
