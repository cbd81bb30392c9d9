//! What a client may ask, and the term that says it (protocol, section 3).
//!
//! [`route`] reads just enough of a request to hand it to its connection; [`decode`] reads all of it, later
//! and elsewhere. A request borrows from its frame. What is well-formed but means nothing is a
//! [`RequestError`], which is answered; a broken term is a [`crate::etf::DecodeError`], which ends the program. A term is
//! only called wrong once all of it is known to be well-formed, so which of the two a frame is does not
//! depend on where its first fault lies.

mod batch;
mod fields;
mod function;
mod hook;
mod options;
mod policy;
mod remote;
mod replica;
mod subscribe;
pub mod tag;

pub use crate::refusal::{Refusal, RequestError};
pub use batch::{Batch, Statements};
pub use function::{Function, FunctionKind};
pub use hook::{Hook, HookKind};
pub use options::{OpenMode, OpenOptions, PragmaValue, ResultOptions};
pub use policy::{Effect, Policy, PolicyElement, PolicyRule};
pub use remote::{FallbackReads, ReadFrom, RemoteOptions, Roots, Secret};
pub use replica::{Consistency, ReplicaOptions, Until, WhenStale};
pub use subscribe::{ChangeFilter, Scope, Subscribe, Values};
pub use subscribe::{
    EVENT_BUSY, EVENT_CHANGES, EVENT_COMMIT, EVENT_FREEZE, EVENT_PROGRESS, EVENT_ROLLBACK, EVENT_SYNC,
    EVENT_WAL,
};
pub use subscribe::{OPERATION_DELETE, OPERATION_INSERT, OPERATION_UPDATE};

use crate::answer::Answer;
use crate::error_code::ErrorCode;
use crate::etf::Decoder;
use crate::params::Params;
use fields::{Fields, TIMEOUT};

/// What the payloads of requests to a connection start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The id that `open` gave.
    pub connection: u32,
    /// The transaction inside of which the request is to run, of an address `{Connection, Transaction}`.
    pub transaction: Option<u32>,
    /// From reading the frame to writing its answer; 0 for no limit. Always 0 for `cancel`, `credit` and
    /// `answer`, which bear none.
    pub timeout_ms: u32,
    /// How much of it may be spent waiting for the writer turn and for locks: of a time limit `{TimeoutMs, LockTimeoutMs}`.
    pub lock_timeout_ms: Option<u32>,
}

/// A request, borrowed from its payload. Connection and time limit are in its [`Route`].
#[derive(Clone, Debug, PartialEq)]
pub enum Request<'a> {
    /// Send this very term back.
    Ping(&'a [u8]),
    /// The program's counters.
    Status,
    /// The connection's counters.
    ConnectionStatus,
    /// Open a database.
    Open(Open<'a>),
    /// Close the connection.
    Close,
    /// Run a statement.
    Execute(Execute<'a>),
    /// Run a statement that yields exactly one row.
    QueryOne(Execute<'a>),
    /// Prepare a statement.
    Prepare {
        /// Its text.
        sql: &'a str,
    },
    /// Columns and parameters of a statement.
    Describe(Target<'a>),
    /// Run a prepared statement.
    ExecutePrepared(ExecutePrepared<'a>),
    /// Close a prepared statement.
    CloseStatement {
        /// The id that `prepare` gave.
        statement: u32,
    },
    /// Open a cursor.
    Declare {
        /// On which statement.
        target: Target<'a>,
        /// Its parameters.
        params: Params<'a>,
        /// Rows that it has yet to read may be changed by other statements of the connection.
        live: bool,
    },
    /// Rows of a cursor.
    Fetch {
        /// The id that `declare` gave.
        cursor: u32,
        /// 0: the default.
        rows_max: u32,
        /// 0: the default.
        bytes_max: u32,
    },
    /// Close a cursor.
    CloseCursor {
        /// The id that `declare` gave.
        cursor: u32,
    },
    /// Begin a transaction.
    Begin(BeginMode),
    /// Commit it.
    Commit,
    /// Roll it back.
    Rollback,
    /// Set a savepoint.
    Savepoint {
        /// Its name.
        name: &'a str,
    },
    /// Release a savepoint.
    Release {
        /// Its name.
        name: &'a str,
    },
    /// Roll back to a savepoint.
    RollbackTo {
        /// Its name.
        name: &'a str,
    },
    /// Many statements.
    Batch(Batch<'a>),
    /// A text of many statements.
    Script {
        /// The text.
        sql: &'a str,
    },
    /// A connection as if just opened.
    Reset,
    /// Stop another request.
    Cancel {
        /// Which.
        request_id: u32,
    },
    /// More chunks may be sent.
    Credit {
        /// How many.
        credits: u32,
    },
    /// Checkpoint the WAL.
    Checkpoint(CheckpointMode),
    /// What a callback has said.
    Answer {
        /// To which call.
        call: u32,
        /// What.
        answer: Answer<'a>,
    },
    /// A function that the client answers.
    CreateFunction(Function<'a>),
    /// One less.
    DropFunction(Function<'a>),
    /// The client decides about commits.
    SetHook(Box<Hook<'a>>),
    /// It does so no more.
    RemoveHook(HookKind),
    /// Be told of what commits change.
    Subscribe(Box<Subscribe<'a>>),
    /// End a subscription.
    Unsubscribe {
        /// The id that `subscribe` gave.
        subscription: u32,
    },
    /// Events of a subscription were taken.
    ChangesCredit {
        /// The id that `subscribe` gave.
        subscription: u32,
        /// Their size.
        bytes: u32,
    },
    /// What SQL may do on the connection from now on; `None`: everything.
    SetPolicy(Option<Policy<'a>>),
    /// Bring a replica up to its server, or at least to a frame.
    Sync(Option<Until<'a>>),
    /// Where a replica is.
    ReplicationStatus,
    /// Copy a replica into a database of its own.
    Freeze {
        /// The file to make.
        path: &'a str,
    },
    /// Have a replica hold nothing back.
    Flush,
}

/// What `open` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Open<'a> {
    /// For the opening itself; 0 for no limit.
    pub timeout_ms: u32,
    /// File, `:memory:`, empty, or the name of a shared database in memory.
    pub path: &'a str,
    /// How.
    pub options: OpenOptions<'a>,
}

/// A statement's text or the id of a prepared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Its text.
    Sql(&'a str),
    /// The id that `prepare` gave.
    Statement(u32),
}

/// What `execute` and `query_one` ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Execute<'a> {
    /// The statement's text.
    pub sql: &'a str,
    /// Its parameters.
    pub params: Params<'a>,
    /// How its result travels.
    pub options: ResultOptions,
}

/// What `execute_prepared` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExecutePrepared<'a> {
    /// The id that `prepare` gave.
    pub statement: u32,
    /// Its parameters.
    pub params: Params<'a>,
    /// How its result travels.
    pub options: ResultOptions,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginMode {
    /// Locks when they are needed.
    Deferred,
    /// The right to write at once.
    Immediate,
    /// As `Immediate`, and outside of WAL mode no readers either.
    Exclusive,
    /// Writes are errors.
    ReadOnly,
}

/// How far a checkpoint goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// What is possible without waiting.
    Passive,
    /// All of it.
    Full,
    /// All of it, and the next writer starts the WAL anew.
    Restart,
    /// All of it, and the WAL file is emptied.
    Truncate,
}

const BEGIN_MODES: &[(&str, BeginMode)] = &[
    ("deferred", BeginMode::Deferred),
    ("immediate", BeginMode::Immediate),
    ("exclusive", BeginMode::Exclusive),
    ("read_only", BeginMode::ReadOnly),
];

const CHECKPOINT_MODES: &[(&str, CheckpointMode)] = &[
    ("passive", CheckpointMode::Passive),
    ("full", CheckpointMode::Full),
    ("restart", CheckpointMode::Restart),
    ("truncate", CheckpointMode::Truncate),
];

/// Reads what a request to a connection starts with, and nothing more. `ping`, `status` and `open` address
/// none: they are refused here and meant for [`decode`].
#[inline]
pub fn route(tag: u8, payload: &[u8]) -> Result<Route, Refusal> {
    well_formed_or_fatal(payload, read_route(tag, payload))
}

/// Reads a whole request.
#[inline]
pub fn decode(tag: u8, payload: &[u8]) -> Result<Request<'_>, Refusal> {
    well_formed_or_fatal(payload, read_request(tag, payload))
}

/// A wrong request may also be a broken term further on, and that comes first. Only refused requests pay for
/// the look.
#[inline]
fn well_formed_or_fatal<T>(payload: &[u8], read: Result<T, Refusal>) -> Result<T, Refusal> {
    if let Err(Refusal::Answer(_)) = &read {
        let mut decoder = Decoder::new(payload);
        decoder.skip_term()?;
        decoder.finish()?;
    }
    read
}

#[inline]
fn read_route(tag: u8, payload: &[u8]) -> Result<Route, Refusal> {
    let mut fields = Fields::new(tag, payload);
    match tag {
        tag::CONNECTION_STATUS
        | tag::CLOSE..=tag::RESET
        | tag::CHECKPOINT
        | tag::CREATE_FUNCTION
        | tag::DROP_FUNCTION
        | tag::SET_HOOK
        | tag::REMOVE_HOOK
        | tag::SET_POLICY
        | tag::SYNC..=tag::FLUSH => {
            fields.tuple(2, u32::MAX)?;
            let (connection, transaction) = fields.address()?;
            let (timeout_ms, lock_timeout_ms) = fields.timeout()?;
            Ok(Route { connection, transaction, timeout_ms, lock_timeout_ms })
        }
        tag::CANCEL | tag::CREDIT | tag::ANSWER => {
            let arity = if tag == tag::ANSWER { 3 } else { 2 };
            fields.tuple(arity, arity)?;
            let (connection, transaction) = fields.address()?;
            Ok(Route { connection, transaction, timeout_ms: 0, lock_timeout_ms: None })
        }
        tag::PING | tag::STATUS | tag::OPEN | tag::SUBSCRIBE..=tag::CHANGES_CREDIT => Err(RequestError::new(
            ErrorCode::InvalidRequest,
            format!("a request of tag {tag} addresses no connection"),
        )
        .into()),
        _ => Err(unknown(tag)),
    }
}

fn read_request(tag: u8, payload: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut fields = Fields::new(tag, payload);
    match tag {
        tag::PING => read_ping(payload),
        tag::STATUS => {
            fields.nil()?;
            fields.end(Request::Status)
        }
        tag::OPEN => {
            fields.tuple(3, 3)?;
            let timeout_ms = fields.u32(TIMEOUT)?;
            let path = fields.path()?;
            let options = fields.open_options()?;
            if options.replica.is_some() && (options.remote.is_none() || path.is_empty()) {
                return Err(RequestError::new(
                    ErrorCode::InvalidOption,
                    "options: what is for a replica needs both the url of a server and the path of a file"
                        .to_owned(),
                )
                .into());
            }
            if options.promote && options.remote.is_some() {
                return Err(RequestError::new(
                    ErrorCode::InvalidOption,
                    "options: a replica that is promoted has no server any more; leave out the url"
                        .to_owned(),
                )
                .into());
            }
            fields.end(Request::Open(Open { timeout_ms, path, options }))
        }
        tag::EXECUTE | tag::QUERY_ONE => {
            let more = fields.addressed(2, 3)?;
            let sql = fields.sql()?;
            let params = fields.params()?;
            let options = fields.result_options(more == 3)?;
            let execute = Execute { sql, params, options };
            fields.end(if tag == tag::EXECUTE {
                Request::Execute(execute)
            } else {
                Request::QueryOne(execute)
            })
        }
        tag::EXECUTE_PREPARED => {
            let more = fields.addressed(2, 3)?;
            let statement = fields.u32("the statement")?;
            let params = fields.params()?;
            let options = fields.result_options(more == 3)?;
            fields.end(Request::ExecutePrepared(ExecutePrepared { statement, params, options }))
        }
        tag::DECLARE => {
            let more = fields.addressed(2, 3)?;
            let target = fields.target()?;
            let params = fields.params()?;
            let live = fields.live(more == 3)?;
            fields.end(Request::Declare { target, params, live })
        }
        tag::FETCH => {
            fields.addressed(3, 3)?;
            let cursor = fields.u32("the cursor")?;
            let rows_max = fields.u32("the number of rows")?;
            let bytes_max = fields.u32("the number of bytes")?;
            fields.end(Request::Fetch { cursor, rows_max, bytes_max })
        }
        tag::BATCH => {
            fields.addressed(2, 2)?;
            let batch = fields.batch()?;
            fields.end(Request::Batch(batch))
        }
        tag::CANCEL => {
            fields.tuple(2, 2)?;
            fields.address()?;
            let request_id = fields.u32("the request id")?;
            fields.end(Request::Cancel { request_id })
        }
        tag::CREDIT => {
            fields.tuple(2, 2)?;
            fields.address()?;
            let credits = fields.u32("the credits")?;
            fields.end(Request::Credit { credits })
        }
        tag::ANSWER => {
            fields.tuple(3, 3)?;
            fields.address()?;
            let call = fields.u32("the call")?;
            let answer = fields.answer()?;
            fields.end(Request::Answer { call, answer })
        }
        tag::CREATE_FUNCTION | tag::DROP_FUNCTION => {
            fields.addressed(1, 1)?;
            let function = fields.function()?;
            fields.end(if tag == tag::CREATE_FUNCTION {
                Request::CreateFunction(function)
            } else {
                Request::DropFunction(function)
            })
        }
        tag::SET_HOOK => {
            fields.addressed(1, 1)?;
            let hook = fields.hook()?;
            fields.end(Request::SetHook(Box::new(hook)))
        }
        tag::SUBSCRIBE => {
            fields.tuple(2, 2)?;
            let subscribe = fields.subscribe()?;
            fields.end(Request::Subscribe(Box::new(subscribe)))
        }
        tag::UNSUBSCRIBE => {
            fields.tuple(1, 1)?;
            let subscription = fields.u32("the subscription")?;
            fields.end(Request::Unsubscribe { subscription })
        }
        tag::CHANGES_CREDIT => {
            fields.tuple(2, 2)?;
            let subscription = fields.u32("the subscription")?;
            let bytes = fields.u32("the bytes")?;
            fields.end(Request::ChangesCredit { subscription, bytes })
        }
        tag::CONNECTION_STATUS
        | tag::CLOSE
        | tag::COMMIT
        | tag::ROLLBACK
        | tag::RESET
        | tag::REPLICATION_STATUS
        | tag::FLUSH => {
            fields.addressed(0, 0)?;
            fields.end(match tag {
                tag::REPLICATION_STATUS => Request::ReplicationStatus,
                tag::FLUSH => Request::Flush,
                tag::CONNECTION_STATUS => Request::ConnectionStatus,
                tag::CLOSE => Request::Close,
                tag::COMMIT => Request::Commit,
                tag::ROLLBACK => Request::Rollback,
                _ => Request::Reset,
            })
        }
        _ => read_with_one_field(tag, payload),
    }
}

/// Requests of the form `{Connection, TimeoutMs, Field}`.
fn read_with_one_field(tag: u8, payload: &[u8]) -> Result<Request<'_>, Refusal> {
    if !matches!(tag, tag::PREPARE | tag::DESCRIBE | tag::CLOSE_STATEMENT | tag::CLOSE_CURSOR | tag::BEGIN)
        && !matches!(tag, tag::SAVEPOINT | tag::RELEASE | tag::ROLLBACK_TO | tag::SCRIPT | tag::CHECKPOINT)
        && tag != tag::REMOVE_HOOK
        && !matches!(tag, tag::SET_POLICY | tag::SYNC | tag::FREEZE)
    {
        return Err(unknown(tag));
    }
    let mut fields = Fields::new(tag, payload);
    fields.addressed(1, 1)?;
    let request = match tag {
        tag::PREPARE => Request::Prepare { sql: fields.sql()? },
        tag::DESCRIBE => Request::Describe(fields.target()?),
        tag::CLOSE_STATEMENT => Request::CloseStatement { statement: fields.u32("the statement")? },
        tag::CLOSE_CURSOR => Request::CloseCursor { cursor: fields.u32("the cursor")? },
        tag::BEGIN => Request::Begin(fields.choice("the mode", BEGIN_MODES)?),
        tag::SAVEPOINT => Request::Savepoint { name: fields.name()? },
        tag::RELEASE => Request::Release { name: fields.name()? },
        tag::ROLLBACK_TO => Request::RollbackTo { name: fields.name()? },
        tag::SCRIPT => Request::Script { sql: fields.sql()? },
        tag::REMOVE_HOOK => Request::RemoveHook(fields.choice("the kind", hook::KINDS)?),
        tag::SET_POLICY => Request::SetPolicy(fields.policy()?),
        tag::SYNC => Request::Sync(fields.sync()?),
        tag::FREEZE => Request::Freeze { path: fields.path()? },
        _ => Request::Checkpoint(fields.choice("the mode", CHECKPOINT_MODES)?),
    };
    fields.end(request)
}

fn read_ping(payload: &[u8]) -> Result<Request<'_>, Refusal> {
    let mut decoder = Decoder::new(payload);
    let term = decoder.skip_term()?;
    decoder.finish()?;
    Ok(Request::Ping(term))
}

#[cold]
fn unknown(tag: u8) -> Refusal {
    RequestError::new(ErrorCode::Unsupported, format!("this program knows no request of tag {tag}")).into()
}
