//! What can go wrong with a request, and how it becomes an error reply: a code, SQLite's extended code, the
//! constraint, the byte offset. Messages are for people.

use crate::control::Stop;
use crate::database::placement::Displaced;
use crate::database::wal_note::ForeignWal;
use crate::database::writer_turn::TurnError;
use crate::denial::Denial;
use crate::engine::constraint::ConstraintFailure;
use crate::engine::open::OpenError;
use crate::engine::{code, EngineError};
use crate::remedy;
use crate::replication::Failure;
use port_driver::error_code::ErrorCode;
use port_driver::reply::{self, Constraint, ConstraintKind, ErrorReply};
use port_driver::request::{Refusal, RequestError};

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request, or the values in it.
    #[error("{}", .0.message)]
    Request(RequestError),
    /// The engine, with the constraint that was violated if it was one.
    #[error("{}", engine_words(.0))]
    Engine(EngineError, Option<Box<ConstraintFailure>>),
    /// The connection's policy denies it.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// The work was stopped.
    #[error("{}", stop_words(*.0))]
    Stopped(Stop),
    /// The writer turn was not to be had.
    #[error("{0}")]
    Turn(#[from] TurnError),
    /// A file is not where the connection opened it.
    #[error("{0}")]
    Displaced(Displaced),
    /// The log beside the database is not its own.
    #[error("{0}")]
    ForeignWal(#[from] ForeignWal),
    /// A replica was not brought up to its server, or could not be taken.
    #[error("{0}")]
    Replication(#[from] Failure),
    /// The database could not be opened.
    #[error("cannot open the database {path}: {source}{}", in_brackets(.cause.as_deref()))]
    Open {
        /// As the client gave it.
        path: String,
        /// What the engine said.
        source: OpenError,
        /// What the file system says of the path.
        cause: Option<String>,
    },
    /// Statement `0` of a batch failed.
    #[error("statement {0} of the batch: {1}")]
    InBatch(u32, Box<Error>),
}

/// SQLite's words, and what to do if they tell of a limit or of a function.
fn engine_words(error: &EngineError) -> String {
    match remedy::of(error) {
        Some(remedy) => format!("{}; {remedy}", error.message),
        None => error.message.clone(),
    }
}

fn in_brackets(cause: Option<&str>) -> String {
    cause.map_or_else(String::new, |cause| format!(" ({cause})"))
}

fn stop_words(stop: Stop) -> &'static str {
    match stop {
        Stop::Timeout => "the deadline passed; the statement was stopped",
        Stop::Cancelled => "the request was cancelled",
        Stop::Closed => "the connection was closed",
    }
}

/// What a failed write is, whoever made it.
pub fn io_code(error: &std::io::Error) -> ErrorCode {
    match error.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => ErrorCode::DiskFull,
        _ => ErrorCode::IoError,
    }
}

impl Error {
    /// An error of the request's own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Error::Request(RequestError { code, message: message.into() })
    }

    /// The row of the closed table that this error is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Request(error) => error.code,
            // RESTRICT comes with the engine's code of a trigger.
            Error::Engine(_, Some(failure)) if failure.kind == ConstraintKind::ForeignKey => {
                ErrorCode::ConstraintForeignKey
            }
            // Of a database in which nothing is wrong.
            Error::Engine(error, _) if remedy::is_limited_schema(error) => ErrorCode::InvalidOption,
            Error::Engine(error, _) if remedy::is_missing_function(error) => ErrorCode::UnknownFunction,
            Error::Engine(error, _) => engine_code(error.code),
            Error::Denied(_) => ErrorCode::NotAuthorized,
            Error::Stopped(stop) => stop_code(*stop),
            Error::Turn(TurnError::Stopped { stop, .. }) => stop_code(*stop),
            Error::Turn(TurnError::Busy(_)) => ErrorCode::Busy,
            Error::Turn(TurnError::LockFile { source, .. }) => match source.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorCode::ReadOnly
                }
                std::io::ErrorKind::NotFound => ErrorCode::CannotOpen,
                _ => io_code(source),
            },
            Error::Displaced(_) => ErrorCode::FileReplaced,
            Error::ForeignWal(_) => ErrorCode::ForeignWal,
            Error::Replication(failure) => failure.cause.code(),
            Error::Open { .. } => ErrorCode::CannotOpen,
            Error::InBatch(_, error) => error.code(),
        }
    }

    /// True if the deadline or a cancellation ended the work, so that what comes after it must not run either.
    pub fn is_stop(&self) -> bool {
        matches!(self, Error::Stopped(_) | Error::Turn(TurnError::Stopped { .. }))
    }

    /// Appends the `error` reply to request `request_id`, of at most `reply_bytes_max` bytes.
    pub fn reply(&self, out: &mut Vec<u8>, request_id: u32, reply_bytes_max: u32, tx_status: Option<u8>) {
        self.with_fields(tx_status, |fields| reply::error(out, request_id, reply_bytes_max, fields));
    }

    /// Hands the reply's fields to `f`; a visitor, since it borrows from parts of `self` that are made on the way.
    pub fn with_fields<T>(&self, tx_status: Option<u8>, f: impl FnOnce(&ErrorReply<'_>) -> T) -> T {
        let message = self.to_string();
        let (index, inner) = match self {
            Error::InBatch(index, inner) => (Some(*index), inner.as_ref()),
            other => (None, other),
        };
        let (sqlite_code, offset, constraint) = match inner {
            Error::Engine(error, constraint) => (Some(error.code), error.offset, constraint.as_deref()),
            Error::Open { source: OpenError::Refused(error, _), .. } => (Some(error.code), None, None),
            Error::Denied(_) => (Some(code::SQLITE_AUTH), None, None),
            _ => (None, None, None),
        };
        let constraint = constraint.map(|failure| Constraint {
            kind: failure.kind,
            table: failure.table.as_deref(),
            columns: &failure.columns,
            index: failure.index.as_deref(),
            name: failure.name.as_deref(),
        });
        let reply = ErrorReply {
            code: self.code(),
            message: &message,
            sqlite_code,
            constraint,
            denial: None,
            offset,
            tx_status,
            index,
        };
        match inner {
            Error::Denied(denial) => {
                denial.with_fields(|denial| f(&ErrorReply { denial: Some(denial), ..reply }))
            }
            _ => f(&reply),
        }
    }
}

/// What has to yield a row has yielded none.
pub fn no_row() -> Error {
    Error::new(ErrorCode::NoRows, "the statement yields no row")
}

/// The error of what is to run inside a transaction that is over.
#[cold]
pub fn transaction_ended() -> Error {
    Error::new(
        ErrorCode::NoTransaction,
        "the transaction has ended, by COMMIT or ROLLBACK or because the engine rolled it back; nothing more runs in it",
    )
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        Error::Stopped(stop)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Error::Request(error)
    }
}

/// A term that cannot be read has been refused by the reader; here it can only be one that is wrong for its place.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Answer(error) => Error::Request(error),
            Refusal::Fatal(error) => Error::new(ErrorCode::InvalidRequest, error.to_string()),
        }
    }
}

fn stop_code(stop: Stop) -> ErrorCode {
    match stop {
        Stop::Timeout => ErrorCode::Timeout,
        Stop::Cancelled => ErrorCode::Cancelled,
        Stop::Closed => ErrorCode::ConnectionClosed,
    }
}

/// The row of the table for one of SQLite's extended result codes (<https://sqlite.org/rescode.html>).
pub fn engine_code(code: i32) -> ErrorCode {
    match code {
        code::SQLITE_CONSTRAINT_UNIQUE => ErrorCode::ConstraintUnique,
        code::SQLITE_CONSTRAINT_PRIMARYKEY => ErrorCode::ConstraintPrimaryKey,
        code::SQLITE_CONSTRAINT_NOTNULL => ErrorCode::ConstraintNotNull,
        code::SQLITE_CONSTRAINT_CHECK => ErrorCode::ConstraintCheck,
        code::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorCode::ConstraintForeignKey,
        code::SQLITE_CONSTRAINT_TRIGGER => ErrorCode::ConstraintTrigger,
        code::SQLITE_CONSTRAINT_ROWID => ErrorCode::ConstraintRowid,
        code::SQLITE_CONSTRAINT_DATATYPE => ErrorCode::ConstraintDatatype,
        code::SQLITE_READONLY_DBMOVED => ErrorCode::FileReplaced,
        _ => match code & 0xff {
            code::SQLITE_CONSTRAINT => ErrorCode::Constraint,
            code::SQLITE_ERROR => ErrorCode::SqlError,
            code::SQLITE_BUSY => ErrorCode::Busy,
            code::SQLITE_LOCKED => ErrorCode::Locked,
            code::SQLITE_READONLY => ErrorCode::ReadOnly,
            code::SQLITE_CORRUPT => ErrorCode::Corrupt,
            code::SQLITE_NOTADB => ErrorCode::NotADatabase,
            code::SQLITE_FULL => ErrorCode::DiskFull,
            code::SQLITE_IOERR => ErrorCode::IoError,
            code::SQLITE_CANTOPEN => ErrorCode::CannotOpen,
            code::SQLITE_NOMEM => ErrorCode::OutOfMemory,
            code::SQLITE_TOOBIG => ErrorCode::TooBig,
            code::SQLITE_MISMATCH => ErrorCode::TypeMismatch,
            code::SQLITE_SCHEMA => ErrorCode::SchemaChanged,
            code::SQLITE_AUTH => ErrorCode::NotAuthorized,
            code::SQLITE_PERM => ErrorCode::PermissionDenied,
            _ => ErrorCode::EngineError,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_come_before_their_families() {
        assert_eq!(engine_code(code::SQLITE_CONSTRAINT_UNIQUE), ErrorCode::ConstraintUnique);
        assert_eq!(engine_code(code::SQLITE_CONSTRAINT | 9 << 8), ErrorCode::Constraint);
        assert_eq!(engine_code(code::SQLITE_BUSY_SNAPSHOT), ErrorCode::Busy);
        assert_eq!(engine_code(code::SQLITE_IOERR | 3 << 8), ErrorCode::IoError);
        assert_eq!(engine_code(9999), ErrorCode::EngineError);
    }

    #[test]
    fn a_batch_error_keeps_the_fields_of_its_statement() {
        let inner =
            EngineError { offset: Some(3), ..EngineError::new(code::SQLITE_BUSY, "database is locked") };
        let error = Error::InBatch(2, Box::new(Error::Engine(inner, None)));
        error.with_fields(Some(1), |reply| {
            assert_eq!((reply.code, reply.index, reply.offset), (ErrorCode::Busy, Some(2), Some(3)));
            assert_eq!((reply.sqlite_code, reply.tx_status), (Some(code::SQLITE_BUSY), Some(1)));
        });
    }

    #[test]
    fn a_stop_says_why_it_came() {
        let message = |stop| Error::Stopped(stop).to_string();
        assert_eq!(message(Stop::Timeout), "the deadline passed; the statement was stopped");
        assert_eq!(message(Stop::Cancelled), "the request was cancelled");
        assert_eq!(message(Stop::Closed), "the connection was closed");
    }
}
