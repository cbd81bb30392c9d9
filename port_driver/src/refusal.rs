//! Why a payload is not a request: the wire is broken, or the request is wrong.

use crate::error_code::ErrorCode;
use crate::etf::DecodeError;
use thiserror::Error;

/// A well-formed term that is not a request, or asks for what does not exist. It is answered with this code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {message}", .code.name())]
pub struct RequestError {
    /// For the client's program.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl RequestError {
    pub(crate) fn new(code: ErrorCode, message: String) -> Self {
        Self { code, message }
    }
}

/// Why a payload is not a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The wire is broken: the program ends.
    #[error(transparent)]
    Fatal(#[from] DecodeError),
    /// The request is wrong: it is answered.
    #[error(transparent)]
    Answer(#[from] RequestError),
}
