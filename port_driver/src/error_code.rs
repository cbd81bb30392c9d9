//! The closed table of error codes. Its twin is `tests/fixtures/error_codes.txt`, which the tests of both
//! languages compare with their own table. Append only: a number never changes its meaning.

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a request failed, as a number on the wire and a snake_case name for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)+];

            /// The number that travels.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The name in the table, which is also the client's atom.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)+
                }
            }

            /// The code of a number, if this version knows it.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(ErrorCode::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// The request's time was up.
    Timeout = 1, "timeout";
    /// Stopped by a `cancel` request.
    Cancelled = 2, "cancelled";
    /// Another program holds the lock, and did so until the time was up.
    Busy = 3, "busy";
    /// A table is locked within this program (shared cache).
    Locked = 4, "locked";
    /// The connection was closed while the request was queued or running.
    ConnectionClosed = 5, "connection_closed";
    /// No connection has this id.
    UnknownConnection = 6, "unknown_connection";
    /// No prepared statement of this connection has this id.
    UnknownStatement = 7, "unknown_statement";
    /// No cursor of this connection has this id.
    UnknownCursor = 8, "unknown_cursor";
    /// One of the program's own limits (connections, queue, cursors, statements) is reached.
    LimitExceeded = 9, "limit_exceeded";
    /// A bug in the program.
    Internal = 10, "internal";
    /// This program does not have what was asked for.
    Unsupported = 11, "unsupported";
    /// A well-formed term that is not a request.
    InvalidRequest = 20, "invalid_request";
    /// An option's key or value is not known.
    InvalidOption = 21, "invalid_option";
    /// A term that is no SQL value.
    InvalidParameter = 22, "invalid_parameter";
    /// An integer beyond 64 bits.
    IntegerOutOfRange = 23, "integer_out_of_range";
    /// Too many or too few parameters.
    ParameterCount = 24, "parameter_count";
    /// An unknown or a missing parameter name.
    ParameterName = 25, "parameter_name";
    /// The request's frame is above the limit.
    FrameTooLarge = 26, "frame_too_large";
    /// The result is above its ceiling of rows or bytes.
    ResultTooLarge = 27, "result_too_large";
    /// `query_one` found no row.
    NoRows = 28, "no_rows";
    /// `query_one` found a second row.
    TooManyRows = 29, "too_many_rows";
    /// The SQL text holds no statement.
    EmptyStatement = 30, "empty_statement";
    /// The SQL text holds more than one statement.
    MultipleStatements = 31, "multiple_statements";
    /// The request needs that no transaction is open.
    TransactionOpen = 32, "transaction_open";
    /// The request needs an open transaction.
    NoTransaction = 33, "no_transaction";
    /// UNIQUE.
    ConstraintUnique = 40, "constraint_unique";
    /// PRIMARY KEY.
    ConstraintPrimaryKey = 41, "constraint_primary_key";
    /// NOT NULL.
    ConstraintNotNull = 42, "constraint_not_null";
    /// CHECK.
    ConstraintCheck = 43, "constraint_check";
    /// FOREIGN KEY.
    ConstraintForeignKey = 44, "constraint_foreign_key";
    /// RAISE() in a trigger.
    ConstraintTrigger = 45, "constraint_trigger";
    /// A rowid that exists already.
    ConstraintRowid = 46, "constraint_rowid";
    /// A STRICT table's column type.
    ConstraintDatatype = 47, "constraint_datatype";
    /// Any other constraint.
    Constraint = 48, "constraint";
    /// The engine refuses the SQL text.
    SqlError = 60, "sql_error";
    /// A write to what is read-only.
    ReadOnly = 61, "read_only";
    /// The file is damaged.
    Corrupt = 62, "corrupt";
    /// The file is something else.
    NotADatabase = 63, "not_a_database";
    /// No space left.
    DiskFull = 64, "disk_full";
    /// The system failed to read or write.
    IoError = 65, "io_error";
    /// The file cannot be opened.
    CannotOpen = 66, "cannot_open";
    /// No memory left.
    OutOfMemory = 67, "out_of_memory";
    /// A value or a statement above the engine's own limits.
    TooBig = 68, "too_big";
    /// A value of a type that its place does not take.
    TypeMismatch = 69, "type_mismatch";
    /// The schema changed under a running statement.
    SchemaChanged = 70, "schema_changed";
    /// An authorizer said no.
    NotAuthorized = 71, "not_authorized";
    /// The system said no.
    PermissionDenied = 72, "permission_denied";
    /// Any other failure of the engine.
    EngineError = 73, "engine_error";
    /// A file was removed, renamed or replaced while a connection had it open.
    FileReplaced = 74, "file_replaced";
    /// The write-ahead log beside the database belongs to another file.
    ForeignWal = 75, "foreign_wal";
    /// A callback of the client failed: it raised, or returned what is no value.
    CallbackFailed = 76, "callback_failed";
    /// A callback of the client did not answer in time.
    CallbackTimeout = 77, "callback_timeout";
    /// The database needs a function, module or collation that this connection has not.
    UnknownFunction = 78, "unknown_function";
    /// A callback used a connection that waits for it. Made by the client.
    CallbackReentered = 79, "callback_reentered";
    /// The commit hook of the client has said no: the transaction was rolled back.
    CommitVetoed = 90, "commit_vetoed";
    /// The commit hook of the client gave no answer, or none that says yes or no: the transaction was rolled back.
    CommitHookFailed = 91, "commit_hook_failed";
    /// The server has ended the transaction, and what it had written is undone.
    TransactionLost = 92, "transaction_lost";
    /// The server does not accept the token.
    Unauthorized = 93, "unauthorized";
    /// The server does not allow this to who the token names.
    Forbidden = 94, "forbidden";
    /// The server cannot be reached.
    RemoteUnavailable = 95, "remote_unavailable";
    /// The server answers with what is no answer.
    RemoteProtocol = 96, "remote_protocol";
    /// What a replica's file has is older than the read allows.
    TooStale = 97, "too_stale";
    /// Client only: the program is gone.
    SidecarDown = 100, "sidecar_down";
    /// A write was sent, and no answer came: it may have been committed or not.
    OutcomeUnknown = 101, "outcome_unknown";
    /// Client only: the two sides speak different versions.
    ProtocolMismatch = 102, "protocol_mismatch";
    /// Client only: there is no program to start.
    ExecutableNotFound = 103, "executable_not_found";
    /// Client only: the request never left.
    NotSent = 104, "not_sent";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_equals_the_fixture() {
        let fixture = include_str!("../../tests/fixtures/error_codes.txt");
        let expected: Vec<(u8, &str)> = fixture
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (number, name) = line.split_once(' ').expect("number and name");
                (number.parse().expect("a number"), name)
            })
            .collect();
        let actual: Vec<(u8, &str)> =
            ErrorCode::ALL.iter().map(|code| (code.number(), code.name())).collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn numbers_lead_back_to_their_codes() {
        for number in 0..=u8::MAX {
            match ErrorCode::from_number(number) {
                Some(code) => assert_eq!(code.number(), number),
                None => assert!(ErrorCode::ALL.iter().all(|code| code.number() != number)),
            }
        }
    }
}
