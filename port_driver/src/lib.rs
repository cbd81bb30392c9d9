//! The wire of `libsql_port`: bytes in, requests out; replies in, bytes out.
//!
//! This crate owns everything that `docs/protocol.md` specifies and nothing else. It does no I/O, starts no
//! thread and knows neither SQL nor SQLite; the program around it reads, routes and writes. (The name stands
//! for the program at the far end of an Erlang port, not for an Erlang linked-in driver.)
//!
//! | module | knows |
//! |---|---|
//! | [`frame`] | lengths, request ids, tags, the size limit |
//! | [`etf`] | the External Term Format: appending to a buffer, borrowing from a buffer |
//! | [`request`] | what a client may ask, and the term that says it |
//! | [`params`], [`value`] | the values bound to a statement |
//! | [`answer`] | what a callback of the client has said |
//! | [`reply`], [`event`], [`handshake`] | what answers a request, what arrives unasked, what is said first |
//! | [`error_code`] | the closed table of error codes |
//!
//! Two kinds of fault are kept apart all the way up. A *broken wire* ([`frame::FrameError`],
//! [`etf::DecodeError`]) means that the peer is not one of ours or has lost step: the program ends. A *wrong
//! request* ([`refusal::RequestError`]) is a well-formed term that asks for something that does not exist: it
//! is answered.

pub mod answer;
pub mod error_code;
pub mod etf;
pub mod event;
pub mod frame;
pub mod handshake;
pub mod params;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod value;

pub use error_code::ErrorCode;
pub use params::{Params, ParamsKind};
pub use value::Value;
