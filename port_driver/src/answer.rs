//! What a client answers to a call of a callback (protocol, sections 3 and 5).

use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use crate::refusal::RequestError;
use crate::value::{Place, Value};

/// An answer, borrowed from its request. That its terms are well-formed is known; what they mean is found out by whoever asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer<'a> {
    /// The term of `{ok, Term}`.
    Value(&'a [u8]),
    /// The message of `{error, Message}`.
    Error(&'a [u8]),
}

/// The rows of a table function, as far as they were asked for.
pub struct Rows<'a> {
    /// How many there are.
    pub len: u32,
    /// None will come after these.
    pub done: bool,
    decoder: Decoder<'a>,
}

/// Reads an answer that is one value.
pub fn value(term: &[u8]) -> Result<Value<'_>, RequestError> {
    Value::decode(&mut Decoder::new(term), Place::Answer)
}

/// Reads an answer that is a token, and the ms for which it is good, if the client says so.
pub fn token(term: &[u8]) -> Result<(&str, Option<u64>), RequestError> {
    let mut decoder = Decoder::new(term);
    let (token, lifetime) = match decoder.next() {
        Ok(Token::Tuple(2)) => (decoder.next(), Some(decoder.next())),
        token => (token, None),
    };
    let shape =
        || invalid("the answer is neither a token, a binary of visible ASCII, nor {Token, LifetimeMs}");
    let token = match token {
        Ok(Token::Binary(bytes)) if bytes.iter().all(|byte| (0x21..0x7f).contains(byte)) => {
            std::str::from_utf8(bytes).map_err(|_| shape())?
        }
        _ => return Err(shape()),
    };
    match lifetime {
        None => Ok((token, None)),
        Some(Ok(Token::Integer(ms))) => Ok((token, Some(u64::try_from(ms).map_err(|_| shape())?))),
        Some(_) => Err(shape()),
    }
}

/// Reads an answer that is one of the atoms `choices`, or the text of one.
pub fn choice<T: Copy>(term: &[u8], choices: &[(&str, T)]) -> Result<T, RequestError> {
    let named = match Decoder::new(term).next() {
        Ok(Token::Atom(name) | Token::Binary(name)) => {
            choices.iter().find(|(choice, _)| choice.as_bytes() == name)
        }
        _ => None,
    };
    named.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        invalid(&format!("the answer is none of the atoms {}", names.join(", ")))
    })
}

/// Reads an answer `{Rows, Done}`.
pub fn rows(term: &[u8]) -> Result<Rows<'_>, RequestError> {
    let mut decoder = Decoder::new(term);
    let shape =
        || invalid("a table function is answered with {Rows, Done}: a list of rows, and true or false");
    if !matches!(decoder.next(), Ok(Token::Tuple(2))) {
        return Err(shape());
    }
    let len = match decoder.next() {
        Ok(Token::EmptyList) => 0,
        Ok(Token::List(len)) => len,
        _ => return Err(shape()),
    };
    // Where the rows end is known once they are passed over; they are read later, one by one.
    let mut end = decoder;
    let skipped = end.skip_terms(u64::from(len), 3).map_err(|_| shape())?;
    let rows = Decoder::new(skipped);
    if len > 0 {
        end.list_end().map_err(|_| shape())?;
    }
    match end.next() {
        Ok(Token::Atom(b"true")) => Ok(Rows { len, done: true, decoder: rows }),
        Ok(Token::Atom(b"false")) => Ok(Rows { len, done: false, decoder: rows }),
        _ => Err(shape()),
    }
}

impl<'a> Rows<'a> {
    /// Hands the values of the next row to `each`, of which there must be `columns`.
    pub fn row(&mut self, columns: u32, mut each: impl FnMut(Value<'a>)) -> Result<(), RequestError> {
        match self.decoder.next() {
            Ok(Token::List(count)) if count == columns => {
                for number in 1..=columns {
                    each(Value::decode(&mut self.decoder, Place::Column(number))?);
                }
                self.decoder.list_end().map_err(|_| invalid("a row is not a proper list"))
            }
            // A list of small integers travels as a string of bytes.
            Ok(Token::String(bytes)) if bytes.len() == columns as usize => {
                bytes.iter().for_each(|byte| each(Value::Integer(i64::from(*byte))));
                Ok(())
            }
            Ok(Token::List(_) | Token::String(_) | Token::EmptyList) => {
                Err(invalid(&format!("a row must be a list of {columns} values, one for each column")))
            }
            _ => Err(invalid(&format!("a row must be a list of {columns} values"))),
        }
    }
}

fn invalid(message: &str) -> RequestError {
    RequestError::new(ErrorCode::CallbackFailed, message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_one_by_one() {
        // {[[1, <<"a">>], "\x05\x06"], true}
        let term = b"h\x02l\0\0\0\x02l\0\0\0\x02a\x01m\0\0\0\x01ajk\0\x02\x05\x06jw\x04true";
        let mut read = rows(term).unwrap();
        assert_eq!((read.len, read.done), (2, true));
        let mut seen = Vec::new();
        read.row(2, |value| seen.push(value)).unwrap();
        read.row(2, |value| seen.push(value)).unwrap();
        assert_eq!(seen, [Value::Integer(1), Value::Text("a"), Value::Integer(5), Value::Integer(6)]);
        let mut read = rows(term).unwrap();
        assert!(read.row(3, |_| {}).is_err());
    }

    #[test]
    fn wrong_answers_are_refused() {
        for term in [&b"j"[..], b"h\x02jj", b"h\x02a\x01w\x04true", b"h\x02k\0\x01\x01w\x04true"] {
            assert!(rows(term).is_err(), "{term:?}");
        }
        assert!(value(b"j").unwrap_err().message.starts_with("the result: a list is not a value"));
    }
}
