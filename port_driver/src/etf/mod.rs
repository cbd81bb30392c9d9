//! Erlang's External Term Format, the part of it that the protocol accepts and writes.
//!
//! Terms are never built in memory: the encoder appends to a buffer, the decoder borrows from one.

pub mod decoder;
pub mod encoder;
pub mod tag;

pub use decoder::{DecodeError, Decoder, Token};
