//! What a server's errors are here: its codes and its SQLite's English become codes of this program.

use super::hrana::answer::ServerError;
use crate::engine::{code, constraint, EngineError};
use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;

/// The code with which a server says that it has given a transaction's lock to another writer.
pub const TIMED_OUT: &str = "TRANSACTION_TIMEOUT";

/// The code of an answer that the server does not make so long.
pub const TOO_LONG: &str = "RESPONSE_TOO_LARGE";

/// What is said before SQLite's own words.
const PREFIXES: [&str; 3] = ["SQLite error: ", "SQL input error: ", "SQLite input error: "];

/// What is said before those of the server's parser.
const PARSER: &str = "SQL string could not be parsed: ";

/// What the parser says of a statement that it knows, and that the server does not run.
const UNSUPPORTED: &str = "unsupported statement: ";

impl ServerError {
    /// True if its code is this one.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// True of what the server says of a statement that it does not take: it says it before it runs the first one of a batch.
    pub fn is_of_parser(&self) -> bool {
        matches!(self.code.as_deref(), Some("SQL_PARSE_ERROR" | "SQL_NO_STATEMENT" | "SQL_MANY_STATEMENTS"))
    }

    /// What the engine says of a statement that the server's parser could not read: that has a place in the text. What the
    /// parser knows and the server does not run, it says itself.
    pub fn or_compiling(self, described: Option<ServerError>) -> ServerError {
        match described {
            Some(described)
                if self.code.as_deref() == Some("SQL_PARSE_ERROR") && !self.message.contains(UNSUPPORTED) =>
            {
                described
            }
            _ => self,
        }
    }

    /// As an error of the statement that failed.
    pub fn into_error(self) -> Error {
        let code = self.code.as_deref().unwrap_or_default();
        match code {
            "ARGS_INVALID" => Error::new(ErrorCode::ParameterCount, self.message),
            "SQL_NO_STATEMENT" => Error::new(ErrorCode::EmptyStatement, self.message),
            "SQL_MANY_STATEMENTS" => Error::new(ErrorCode::MultipleStatements, self.message),
            "SQL_PARSE_ERROR" => parse_error(&self.message),
            TIMED_OUT => Error::new(
                ErrorCode::TransactionLost,
                format!("the server has given the lock of the transaction to another writer, and rolled it back: {}", self.message),
            ),
            TOO_LONG => Error::new(
                ErrorCode::ResultTooLarge,
                format!("the result is longer than the server's limit for one answer: {}; stream it, or ask for less", self.message),
            ),
            "AUTH_JWT_INVALID" | "AUTH_JWT_EXPIRED" => Error::new(ErrorCode::Unauthorized, self.message),
            "BLOCKED" | "SQL_STMT_BLOCKED" => Error::new(ErrorCode::Forbidden, self.message),
            _ if code.starts_with("SQLITE") || code == "SQL_INPUT_ERROR" => self.engine_error(),
            _ => self.unknown(),
        }
    }

    fn engine_error(&self) -> Error {
        let (message, offset) = engine_words(&self.message);
        let extended = self.extended_code.unwrap_or_else(|| extended_code(self.code.as_deref(), message));
        let mut error = EngineError::new(extended, message);
        error.offset = offset;
        let failure = constraint::read_words(&error);
        Error::Engine(error, failure.map(Box::new))
    }

    /// What a server says that this program does not know, or that has passed through another one.
    fn unknown(self) -> Error {
        if engine_words(&self.message).0.len() < self.message.len() {
            return self.engine_error();
        }
        let code = self.code.map(|code| format!(" ({code})")).unwrap_or_default();
        Error::new(ErrorCode::EngineError, format!("{}{code}", self.message))
    }
}

/// SQLite's words, and the byte of the text where it noticed.
fn engine_words(message: &str) -> (&str, Option<u64>) {
    let words = PREFIXES.iter().find_map(|prefix| message.strip_prefix(prefix)).unwrap_or(message);
    let offset = words.strip_suffix(')').and_then(|words| words.rsplit_once(" (at offset "));
    match offset.and_then(|(words, offset)| Some((words, offset.parse().ok()?))) {
        Some((words, offset)) => (words, Some(offset)),
        None => (words, None),
    }
}

/// The extended code, from the server's code and SQLite's words.
fn extended_code(name: Option<&str>, message: &str) -> i32 {
    match name.unwrap_or_default() {
        "SQLITE_CONSTRAINT" => constraint_code(message),
        // What is behind it says which one it was.
        name if name == "SQLITE_UNKNOWN" || !name.starts_with("SQLITE_") => {
            let words = [
                ("database is locked", code::SQLITE_BUSY),
                ("attempt to write a readonly database", code::SQLITE_READONLY),
                ("database or disk is full", code::SQLITE_FULL),
                ("disk I/O error", code::SQLITE_IOERR),
                ("database disk image is malformed", code::SQLITE_CORRUPT),
                ("string or blob too big", code::SQLITE_TOOBIG),
                ("datatype mismatch", code::SQLITE_MISMATCH),
                ("out of memory", code::SQLITE_NOMEM),
                ("not authorized", code::SQLITE_AUTH),
                ("interrupted", code::SQLITE_INTERRUPT),
            ];
            if message.contains(" constraint failed") {
                return constraint_code(message);
            }
            words
                .iter()
                .find(|(words, _)| message.starts_with(words))
                .map_or(code::SQLITE_ERROR, |(_, code)| *code)
        }
        name => {
            let codes = [
                ("SQLITE_BUSY_SNAPSHOT", code::SQLITE_BUSY_SNAPSHOT),
                ("SQLITE_BUSY", code::SQLITE_BUSY),
                ("SQLITE_LOCKED", code::SQLITE_LOCKED),
                ("SQLITE_READONLY", code::SQLITE_READONLY),
                ("SQLITE_INTERRUPT", code::SQLITE_INTERRUPT),
                ("SQLITE_IOERR", code::SQLITE_IOERR),
                ("SQLITE_CORRUPT", code::SQLITE_CORRUPT),
                ("SQLITE_FULL", code::SQLITE_FULL),
                ("SQLITE_CANTOPEN", code::SQLITE_CANTOPEN),
                ("SQLITE_SCHEMA", code::SQLITE_SCHEMA),
                ("SQLITE_TOOBIG", code::SQLITE_TOOBIG),
                ("SQLITE_MISMATCH", code::SQLITE_MISMATCH),
                ("SQLITE_AUTH", code::SQLITE_AUTH),
                ("SQLITE_NOMEM", code::SQLITE_NOMEM),
                ("SQLITE_PERM", code::SQLITE_PERM),
                ("SQLITE_NOTADB", code::SQLITE_NOTADB),
                ("SQLITE_CONSTRAINT_UNIQUE", code::SQLITE_CONSTRAINT_UNIQUE),
                ("SQLITE_CONSTRAINT_PRIMARYKEY", code::SQLITE_CONSTRAINT_PRIMARYKEY),
                ("SQLITE_CONSTRAINT_NOTNULL", code::SQLITE_CONSTRAINT_NOTNULL),
                ("SQLITE_CONSTRAINT_CHECK", code::SQLITE_CONSTRAINT_CHECK),
                ("SQLITE_CONSTRAINT_FOREIGNKEY", code::SQLITE_CONSTRAINT_FOREIGNKEY),
                ("SQLITE_CONSTRAINT_TRIGGER", code::SQLITE_CONSTRAINT_TRIGGER),
                ("SQLITE_CONSTRAINT_ROWID", code::SQLITE_CONSTRAINT_ROWID),
                ("SQLITE_CONSTRAINT_DATATYPE", code::SQLITE_CONSTRAINT_DATATYPE),
            ];
            codes.iter().find(|(known, _)| *known == name).map_or(code::SQLITE_ERROR, |(_, code)| *code)
        }
    }
}

/// UNIQUE and PRIMARY KEY have the same words; the schema tells them apart (`constraint`).
fn constraint_code(message: &str) -> i32 {
    let kinds = [
        ("UNIQUE constraint failed", code::SQLITE_CONSTRAINT_UNIQUE),
        ("NOT NULL constraint failed", code::SQLITE_CONSTRAINT_NOTNULL),
        ("CHECK constraint failed", code::SQLITE_CONSTRAINT_CHECK),
        ("FOREIGN KEY constraint failed", code::SQLITE_CONSTRAINT_FOREIGNKEY),
        ("cannot store ", code::SQLITE_CONSTRAINT_DATATYPE),
    ];
    let known = kinds.iter().find(|(words, _)| message.starts_with(words)).map(|(_, code)| *code);
    // What no constraint says is what a trigger says.
    known.unwrap_or(code::SQLITE_CONSTRAINT_TRIGGER)
}

fn parse_error(message: &str) -> Error {
    let words = message.strip_prefix(PARSER).unwrap_or(message);
    match words.strip_prefix(UNSUPPORTED) {
        Some(sql) => {
            let kind: Vec<_> = sql.split_whitespace().take(3).collect();
            let message = format!("the server does not run statements of this kind: {}", kind.join(" "));
            Error::new(ErrorCode::Unsupported, message)
        }
        None => Error::Engine(EngineError::new(code::SQLITE_ERROR, words), None),
    }
}

/// What the transaction was lost for.
pub fn lost(reason: &str) -> Error {
    Error::new(
        ErrorCode::TransactionLost,
        format!("the transaction is lost: {reason}. Nothing of it was committed; roll back, and run the whole of it again"),
    )
}

/// Refuses what a server has not.
pub fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::new(
        ErrorCode::Unsupported,
        format!("{what}: a database on a server has it not; see docs/modes.md"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str) -> Error {
        ServerError { message: message.to_owned(), code: Some(code.to_owned()), extended_code: None }
            .into_error()
    }

    #[test]
    fn codes_and_words_of_a_server() {
        use ErrorCode as C;
        for (code, message, expected) in [
            ("SQLITE_CONSTRAINT", "SQLite error: UNIQUE constraint failed: t.a", C::ConstraintUnique),
            ("SQLITE_CONSTRAINT", "SQLite error: NOT NULL constraint failed: t.a", C::ConstraintNotNull),
            ("SQLITE_CONSTRAINT", "SQLite error: CHECK constraint failed: n>0", C::ConstraintCheck),
            ("SQLITE_CONSTRAINT", "SQLite error: FOREIGN KEY constraint failed", C::ConstraintForeignKey),
            ("SQLITE_CONSTRAINT", "SQLite error: no more", C::ConstraintTrigger),
            (
                "SQLITE_CONSTRAINT",
                "SQLite error: cannot store TEXT value in INTEGER column t.n",
                C::ConstraintDatatype,
            ),
            ("SQLITE_BUSY", "SQLite error: database is locked", C::Busy),
            ("SQLITE_UNKNOWN", "SQLite error: attempt to write a readonly database", C::ReadOnly),
            ("SQLITE_UNKNOWN", "SQLite error: no such table: nope", C::SqlError),
            ("SQLITE_NOVEL", "SQLite error: novel", C::SqlError),
            ("SQL_INPUT_ERROR", "SQL input error: no such column: x (at offset 23)", C::SqlError),
            (
                "SQL_PARSE_ERROR",
                "SQL string could not be parsed: syntax error around L1:6: `selec`",
                C::SqlError,
            ),
            (
                "SQL_PARSE_ERROR",
                "SQL string could not be parsed: unsupported statement: vacuum",
                C::Unsupported,
            ),
            ("ARGS_INVALID", "Arguments do not match", C::ParameterCount),
            ("SQL_MANY_STATEMENTS", "m", C::MultipleStatements),
            ("SQL_NO_STATEMENT", "m", C::EmptyStatement),
            (TIMED_OUT, "m", C::TransactionLost),
            (TOO_LONG, "m", C::ResultTooLarge),
            ("NOVEL", "m", C::EngineError),
            ("PROXY_ERROR", "SQLite error: UNIQUE constraint failed: t.a", C::ConstraintUnique),
        ] {
            assert_eq!(error(code, message).code(), expected, "{code} {message}");
        }
    }

    #[test]
    fn the_offset_and_the_constraint_are_read_from_the_words() {
        error("SQL_INPUT_ERROR", "SQL input error: no such column: x (at offset 23)").with_fields(
            None,
            |reply| {
                assert_eq!((reply.offset, reply.message), (Some(23), "no such column: x"));
            },
        );
        error("SQLITE_CONSTRAINT", "SQLite error: UNIQUE constraint failed: t.a, t.b").with_fields(
            None,
            |reply| {
                let constraint = reply.constraint.as_ref().unwrap();
                assert_eq!(
                    (constraint.table, constraint.columns),
                    (Some("t"), &["a".to_owned(), "b".to_owned()][..])
                );
                assert_eq!(reply.sqlite_code, Some(2067));
            },
        );
        let extended = ServerError {
            message: "SQLite error: UNIQUE constraint failed: t.id".to_owned(),
            code: Some("SQLITE_CONSTRAINT".to_owned()),
            extended_code: Some(1555),
        };
        assert_eq!(extended.into_error().code(), ErrorCode::ConstraintPrimaryKey);
    }
}
