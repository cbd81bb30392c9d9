//! One SQL value as a client sends it (protocol, section 2).
//!
//! The only reader of value terms. Called while parameters are bound, so the usual cases come first and touch
//! nothing but the bytes.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use crate::refusal::RequestError;

/// A value to bind, borrowed from the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `nil`.
    Null,
    /// An integer, `true` (1) or `false` (0).
    Integer(i64),
    /// A float, `infinity` or `neg_infinity`.
    Real(f64),
    /// A binary.
    Text(&'a str),
    /// `{blob, Binary}`.
    Blob(&'a [u8]),
}

/// Which parameter a message speaks of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// Counted from 1, as SQLite does.
    Number(u32),
    Name(&'a [u8]),
    /// What a callback has returned.
    Answer,
    /// A column of a row that a callback has returned.
    Column(u32),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Number(number) => write!(f, "parameter {number}"),
            Place::Name(name) => write!(f, "parameter {}", Shown(name)),
            Place::Answer => f.write_str("the result"),
            Place::Column(number) => write!(f, "column {number} of the row"),
        }
    }
}

/// Bytes of a client in a message: cut to a length that a log line bears, and never raw.
pub(crate) struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BYTES_MAX: usize = 64;
        let cut = &self.0[..self.0.len().min(BYTES_MAX)];
        write!(f, "{}", String::from_utf8_lossy(cut).escape_debug())?;
        if cut.len() < self.0.len() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

impl<'a> Value<'a> {
    /// Reads one value. The term is known to be well-formed; what is refused is what it means.
    #[inline]
    pub(crate) fn decode(decoder: &mut Decoder<'a>, place: Place<'a>) -> Result<Value<'a>, RequestError> {
        match decoder.next() {
            Ok(Token::Integer(value)) => Ok(Value::Integer(value)),
            Ok(Token::Binary(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Value::Text(text)),
                Err(error) => Err(not_utf8(place, error.valid_up_to())),
            },
            Ok(Token::Float(value)) => Ok(Value::Real(value)),
            Ok(Token::Atom(name)) => match name {
                b"nil" => Ok(Value::Null),
                b"true" => Ok(Value::Integer(1)),
                b"false" => Ok(Value::Integer(0)),
                b"infinity" => Ok(Value::Real(f64::INFINITY)),
                b"neg_infinity" => Ok(Value::Real(f64::NEG_INFINITY)),
                name => Err(not_a_value(place, &format_args!("the atom :{}", Shown(name)))),
            },
            Ok(Token::Tuple(2)) => decode_blob(decoder, place),
            Ok(Token::BigInteger { negative, magnitude }) => Err(out_of_range(place, negative, magnitude)),
            Ok(Token::Tuple(arity)) => Err(not_a_value(place, &format_args!("a tuple of {arity}"))),
            Ok(Token::EmptyList | Token::List(_) | Token::String(_)) => Err(not_a_value(place, &"a list")),
            Ok(Token::Map(_)) => Err(not_a_value(place, &"a map")),
            Err(error) => Err(RequestError::new(ErrorCode::InvalidRequest, format!("{place}: {error}"))),
        }
    }
}

#[inline]
fn decode_blob<'a>(decoder: &mut Decoder<'a>, place: Place<'a>) -> Result<Value<'a>, RequestError> {
    match (decoder.next(), decoder.next()) {
        (Ok(Token::Atom(b"blob")), Ok(Token::Binary(bytes))) => Ok(Value::Blob(bytes)),
        (Ok(Token::Atom(b"blob")), _) => Err(not_a_value(place, &"{:blob, term} whose term is not a binary")),
        _ => Err(not_a_value(place, &"a tuple of 2")),
    }
}

#[cold]
fn not_a_value(place: Place<'_>, what: &dyn fmt::Display) -> RequestError {
    RequestError::new(
        ErrorCode::InvalidParameter,
        format!(
            "{place}: {what} is not a value; values are nil, integers, floats, true, false, :infinity, \
             :neg_infinity, UTF-8 binaries and {{:blob, binary}}"
        ),
    )
}

#[cold]
fn not_utf8(place: Place<'_>, offset: usize) -> RequestError {
    RequestError::new(
        ErrorCode::InvalidParameter,
        format!(
            "{place}: the binary is not valid UTF-8 from its byte {offset} on; send it as {{:blob, binary}}"
        ),
    )
}

#[cold]
fn out_of_range(place: Place<'_>, negative: bool, magnitude: &[u8]) -> RequestError {
    let top = magnitude.last().map_or(0, |byte| 8 - byte.leading_zeros());
    let bits = magnitude.len().saturating_sub(1) * 8 + top as usize;
    let an_integer = if negative { "a negative integer" } else { "an integer" };
    RequestError::new(
        ErrorCode::IntegerOutOfRange,
        format!("{place}: {an_integer} of {bits} bits is out of range; integers go from -2^63 to 2^63-1"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(term: &[u8]) -> Result<Value<'_>, RequestError> {
        Value::decode(&mut Decoder::new(term), Place::Number(3))
    }

    #[test]
    fn values() {
        let cases: &[(&[u8], Value)] = &[
            (b"w\x03nil", Value::Null),
            (b"d\0\x03nil", Value::Null),
            (b"a\x07", Value::Integer(7)),
            (b"n\x08\x01\0\0\0\0\0\0\0\x80", Value::Integer(i64::MIN)),
            (b"w\x04true", Value::Integer(1)),
            (b"w\x05false", Value::Integer(0)),
            (b"F\x3f\xf8\0\0\0\0\0\0", Value::Real(1.5)),
            (b"w\x08infinity", Value::Real(f64::INFINITY)),
            (b"w\x0cneg_infinity", Value::Real(f64::NEG_INFINITY)),
            (b"m\0\0\0\x03a\0b", Value::Text("a\0b")),
            (b"h\x02w\x04blobm\0\0\0\x02\xff\0", Value::Blob(b"\xff\0")),
            (b"i\0\0\0\x02d\0\x04blobm\0\0\0\0", Value::Blob(b"")),
        ];
        for (term, expected) in cases {
            assert_eq!(decode(term).as_ref(), Ok(expected), "{term:?}");
        }
    }

    #[test]
    fn refusals_say_what_and_where() {
        use ErrorCode::{IntegerOutOfRange, InvalidParameter};
        let cases: &[(&[u8], ErrorCode, &str)] = &[
            (b"w\x03foo", InvalidParameter, "parameter 3: the atom :foo is not a value"),
            (b"m\0\0\0\x02a\xff", InvalidParameter, "from its byte 1 on; send it as {:blob, binary}"),
            (b"j", InvalidParameter, "a list is not"),
            (b"k\0\x01\x01", InvalidParameter, "a list is not"),
            (b"t\0\0\0\0", InvalidParameter, "a map is not"),
            (b"h\x03jjj", InvalidParameter, "a tuple of 3 is not"),
            (b"h\x02jj", InvalidParameter, "a tuple of 2 is not"),
            (b"h\x02w\x04bloba\x01", InvalidParameter, "whose term is not a binary"),
            (b"n\x09\x01\0\0\0\0\0\0\0\0\x02", IntegerOutOfRange, "a negative integer of 66 bits"),
        ];
        for (term, code, text) in cases {
            let error = decode(term).expect_err("not a value");
            assert_eq!(error.code, *code);
            assert!(error.message.contains(text), "{}", error.message);
        }
    }

    #[test]
    fn shown_bytes_are_short_and_printable() {
        assert_eq!(Shown(b"a\n\xff").to_string(), "a\\n\u{fffd}");
        assert_eq!(Shown(&[b'x'; 100]).to_string().chars().count(), 65);
    }
}
