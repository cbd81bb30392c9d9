//! What answers a request (protocol, section 4).
//!
//! Each function appends one whole frame to a buffer, or the parts of it if it is too long. Rows are not
//! here: they are written value by value by whoever holds them, between [`crate::frame::begin_frame`] and
//! [`put_result_tail`].

use crate::error_code::ErrorCode;
use crate::etf::encoder::{
    put_atom, put_binary, put_bool, put_empty_list, put_integer, put_list, put_nil, put_optional_binary,
    put_tuple, put_unsigned,
};
use crate::frame::{begin_frame, end_frame};
use crate::request::tag;

/// What an error reply says.
#[derive(Clone, Debug)]
pub struct ErrorReply<'a> {
    /// For the client's program.
    pub code: ErrorCode,
    /// For people.
    pub message: &'a str,
    /// SQLite's extended result code.
    pub sqlite_code: Option<i32>,
    /// Which constraint refused.
    pub constraint: Option<Constraint<'a>>,
    /// What the connection's policy denied, of an error that has no constraint.
    pub denial: Option<Denial<'a>>,
    /// The byte of the SQL text where the error was seen.
    pub offset: Option<u64>,
    /// The transaction status after the error, if a connection was involved.
    pub tx_status: Option<u8>,
    /// The place in a batch, from 0.
    pub index: Option<u32>,
}

impl<'a> ErrorReply<'a> {
    /// An error of which no more is known than this.
    pub fn new(code: ErrorCode, message: &'a str) -> Self {
        Self {
            code,
            message,
            sqlite_code: None,
            constraint: None,
            denial: None,
            offset: None,
            tx_status: None,
            index: None,
        }
    }
}

/// A constraint that refused a row.
#[derive(Clone, Debug)]
pub struct Constraint<'a> {
    /// What it demands.
    pub kind: ConstraintKind,
    /// On which table.
    pub table: Option<&'a str>,
    /// On which of its columns.
    pub columns: &'a [String],
    /// Kept by which index.
    pub index: Option<&'a str>,
    /// Its name.
    pub name: Option<&'a str>,
}

/// What a policy denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// The action's name in the protocol.
    pub action: &'a str,
    /// On what: a table, a function, a pragma…
    pub object: Option<&'a str>,
    /// On which of its columns.
    pub column: Option<&'a str>,
    /// In which database.
    pub database: Option<&'a str>,
    /// In the text of which view or trigger.
    pub through: Option<&'a str>,
    /// By what.
    pub rule: DenyingRule<'a>,
}

/// What of a policy denied something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyingRule<'a> {
    /// The element at this place, from 0.
    Element(u32),
    /// A ready-made policy.
    Ready(&'a str),
    /// Nothing allows it.
    None,
}

/// What a constraint demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    /// UNIQUE.
    Unique,
    /// PRIMARY KEY.
    PrimaryKey,
    /// NOT NULL.
    NotNull,
    /// CHECK.
    Check,
    /// FOREIGN KEY.
    ForeignKey,
    /// A rowid of its own.
    Rowid,
    /// RAISE() in a trigger.
    Trigger,
    /// A STRICT table's type.
    Datatype,
    /// Anything else.
    Other,
}

impl ConstraintKind {
    /// Every kind, in the order of the protocol.
    pub const ALL: &'static [ConstraintKind] = &[
        Self::Unique,
        Self::PrimaryKey,
        Self::NotNull,
        Self::Check,
        Self::ForeignKey,
        Self::Rowid,
        Self::Trigger,
        Self::Datatype,
        Self::Other,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::PrimaryKey => "primary_key",
            Self::NotNull => "not_null",
            Self::Check => "check",
            Self::ForeignKey => "foreign_key",
            Self::Rowid => "rowid",
            Self::Trigger => "trigger",
            Self::Datatype => "datatype",
            Self::Other => "other",
        }
    }
}

/// What follows the rows and columns in a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Rows of the whole result.
    pub num_rows: u64,
    /// Rows that the statement changed.
    pub changes: i64,
    /// The engine's last insert rowid.
    pub last_insert_rowid: i64,
    /// The transaction status after the statement.
    pub tx_status: u8,
    /// Before its turn on its connection came.
    pub queue_us: u64,
    /// Waiting for the writer turn and for locks.
    pub lock_us: u64,
    /// The rest.
    pub run_us: u64,
}

/// An `ok` frame, whose payload `put` appends.
pub fn ok(out: &mut Vec<u8>, request_id: u32, frame_bytes_max: u32, put: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_frame(out, request_id, tag::OK);
    put(out);
    end_frame(out, start, frame_bytes_max);
}

/// An `error` frame.
pub fn error(out: &mut Vec<u8>, request_id: u32, frame_bytes_max: u32, error: &ErrorReply<'_>) {
    let start = begin_frame(out, request_id, tag::ERROR);
    put_error(out, error);
    end_frame(out, start, frame_bytes_max);
}

/// An error's term alone, as it stands in an `error` frame and in a batch's items.
pub fn put_error(out: &mut Vec<u8>, error: &ErrorReply<'_>) {
    put_tuple(out, 7);
    put_unsigned(out, u64::from(error.code.number()));
    put_binary(out, error.message.as_bytes());
    put_optional(out, error.sqlite_code, |out, code| put_integer(out, i64::from(code)));
    match &error.denial {
        Some(denial) => put_denial(out, denial),
        None => put_optional(out, error.constraint.as_ref(), put_constraint),
    }
    put_optional(out, error.offset, put_unsigned);
    put_optional(out, error.tx_status, |out, status| put_unsigned(out, u64::from(status)));
    put_optional(out, error.index, |out, index| put_unsigned(out, u64::from(index)));
}

/// An item of a batch that failed: `{error, Error}`.
pub fn put_error_item(out: &mut Vec<u8>, error: &ErrorReply<'_>) {
    put_tuple(out, 2);
    put_atom(out, "error");
    put_error(out, error);
}

/// What follows the rows in a result's tuple of nine. `columns` is the encoded list of their names, which a
/// statement keeps.
#[inline]
pub fn put_result_tail(out: &mut Vec<u8>, columns: &[u8], tail: &Tail) {
    out.extend_from_slice(columns);
    put_unsigned(out, tail.num_rows);
    put_integer(out, tail.changes);
    put_integer(out, tail.last_insert_rowid);
    put_unsigned(out, u64::from(tail.tx_status));
    put_unsigned(out, tail.queue_us);
    put_unsigned(out, tail.lock_us);
    put_unsigned(out, tail.run_us);
}

/// Where a result comes from, if not from the server of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'s> {
    /// The server that has answered, without a query.
    pub url: &'s str,
    /// It was asked because the other one does not answer.
    pub stale: bool,
    /// For how long that one has not.
    pub age_ms: Option<u64>,
}

/// The three terms that follow the tail of a result with twelve.
pub fn put_source(out: &mut Vec<u8>, source: &Source<'_>) {
    put_binary(out, source.url.as_bytes());
    put_bool(out, source.stale);
    put_optional(out, source.age_ms, put_unsigned);
}

fn put_constraint(out: &mut Vec<u8>, constraint: &Constraint<'_>) {
    put_tuple(out, 5);
    put_binary(out, constraint.kind.name().as_bytes());
    put_optional_binary(out, constraint.table.map(str::as_bytes));
    put_list(out, constraint.columns.len() as u32);
    if !constraint.columns.is_empty() {
        constraint.columns.iter().for_each(|column| put_binary(out, column.as_bytes()));
        put_empty_list(out);
    }
    put_optional_binary(out, constraint.index.map(str::as_bytes));
    put_optional_binary(out, constraint.name.map(str::as_bytes));
}

/// `{Action, Object, Column, Database, Through, Rule}`.
pub(crate) fn put_denial(out: &mut Vec<u8>, denial: &Denial<'_>) {
    put_tuple(out, 6);
    put_binary(out, denial.action.as_bytes());
    for name in [denial.object, denial.column, denial.database, denial.through] {
        put_optional_binary(out, name.map(str::as_bytes));
    }
    match denial.rule {
        DenyingRule::Element(index) => put_unsigned(out, u64::from(index)),
        DenyingRule::Ready(name) => put_binary(out, name.as_bytes()),
        DenyingRule::None => put_nil(out),
    }
}

fn put_optional<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => put(out, value),
        None => put_nil(out),
    }
}
