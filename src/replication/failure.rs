//! Why a replica was not brought up to its server's state.

use crate::network::transport::ConnectError;
use libsql_replication::{injector, meta, replicator};
use port_driver::error_code::ErrorCode;
use std::error::Error as _;
use tonic::{Code, Status};

/// Which of the two sides, and what it takes to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The server does not accept the token.
    Unauthorized,
    /// The token does not allow to read this database.
    Forbidden,
    /// The server was not reached, or was silent for too long.
    Unavailable,
    /// What the server says makes no sense here.
    Protocol,
    /// The server is making a snapshot, without which it cannot say what is missing.
    SnapshotPending,
    /// The file at the path is something else, or a replica of something else.
    OtherFile,
    /// Another program has the replica.
    Owned,
    /// The file could not be written.
    Disk,
    /// A bug, here or in the crates that replicate.
    Bug,
}

impl Cause {
    /// As clients know it.
    pub fn code(self) -> ErrorCode {
        match self {
            Cause::Unauthorized => ErrorCode::Unauthorized,
            Cause::Forbidden => ErrorCode::Forbidden,
            Cause::Unavailable | Cause::SnapshotPending => ErrorCode::RemoteUnavailable,
            Cause::Protocol => ErrorCode::RemoteProtocol,
            Cause::OtherFile => ErrorCode::CannotOpen,
            Cause::Owned => ErrorCode::Busy,
            Cause::Disk => ErrorCode::IoError,
            Cause::Bug => ErrorCode::Internal,
        }
    }
}

/// Why, in words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub cause: Cause,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Failure { cause, message: message.into() }
    }

    /// What the server's answer means, or that there was none.
    pub fn of(status: &Status) -> Self {
        let said = status.message();
        // The one thing that the server says in words alone: it has begun to make a snapshot, and recovers by itself.
        if said.contains("snapshot not found") {
            return Failure::new(Cause::SnapshotPending, "the server has no snapshot of its log yet");
        }
        match status.code() {
            Code::Unauthenticated => Failure::new(
                Cause::Unauthorized,
                format!("the server does not accept the auth token: {said}"),
            ),
            Code::PermissionDenied => {
                Failure::new(Cause::Forbidden, format!("the auth token does not allow to replicate: {said}"))
            }
            // Without an answer there is no more than what failed on the way.
            Code::Unknown | Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => {
                Failure::new(Cause::Unavailable, unreached(status))
            }
            // Said by tonic-web, of an answer that ended halfway.
            Code::Internal if said.starts_with("tonic-web: ") => {
                Failure::new(Cause::Unavailable, format!("the server's answer broke off: {said}"))
            }
            Code::Unimplemented | Code::NotFound => Failure::new(
                Cause::Protocol,
                format!("the server does not serve replicas (sync protocol V1): {said}"),
            ),
            code => Failure::new(Cause::Protocol, format!("the server answers {code:?}: {said}")),
        }
    }
}

fn unreached(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return error.message.clone();
        }
        cause = error.source();
    }
    let why = status.source().map_or_else(|| status.message().to_owned(), error_chain);
    format!("the server cannot be reached: {why}")
}

/// An error and what it comes from, in one line.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Some say the words of their source as their own.
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    texts.join(": ")
}

impl From<replicator::Error> for Failure {
    fn from(error: replicator::Error) -> Self {
        use replicator::Error;
        match error {
            Error::Fatal(inner) | Error::Client(inner) | Error::Internal(inner) => {
                match inner.downcast::<Failure>() {
                    Ok(failure) => *failure,
                    Err(inner) => Failure::new(Cause::Protocol, error_chain(&*inner)),
                }
            }
            Error::Meta(error) => error.into(),
            Error::Injector(error) => error.into(),
            Error::NamespaceDoesntExist => {
                Failure::new(Cause::Protocol, "the server has no database of this namespace")
            }
            error => Failure::new(Cause::Protocol, error.to_string()),
        }
    }
}

impl From<meta::Error> for Failure {
    fn from(error: meta::Error) -> Self {
        use meta::Error;
        match error {
            Error::RequiresCleanDatabase => Failure::new(
                Cause::OtherFile,
                "there is a database at this path that is no replica; give another path, or remove the file",
            ),
            Error::Io(error) | Error::FailedToCommit(error) => {
                Failure::new(Cause::Disk, format!("the replica's index cannot be written: {error}"))
            }
            error => Failure::new(Cause::Protocol, error.to_string()),
        }
    }
}

impl From<injector::Error> for Failure {
    fn from(error: injector::Error) -> Self {
        Failure::new(Cause::Disk, format!("the replica cannot be written: {}", error_chain(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_server_have_their_causes() {
        for (status, cause) in [
            (Status::unauthenticated("expired"), Cause::Unauthorized),
            (Status::permission_denied("no"), Cause::Forbidden),
            (Status::unavailable("snapshot not found"), Cause::SnapshotPending),
            (Status::unavailable("gone"), Cause::Unavailable),
            (Status::unknown("reset"), Cause::Unavailable),
            (Status::unimplemented(""), Cause::Protocol),
            (Status::invalid_argument("what"), Cause::Protocol),
            (Status::internal("tonic-web: error reading a body"), Cause::Unavailable),
            (Status::internal("no"), Cause::Protocol),
        ] {
            assert_eq!(Failure::of(&status).cause, cause, "{status:?}");
        }
    }

    #[test]
    fn a_failure_passes_through_the_replicator() {
        let failure = Failure::new(Cause::Forbidden, "no");
        let back = Failure::from(replicator::Error::Fatal(Box::new(failure)));
        assert_eq!((back.cause, back.message.as_str()), (Cause::Forbidden, "no"));
    }
}
