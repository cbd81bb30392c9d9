//! The parameters of a statement: a list of values, or a map from names to values.
//!
//! Checked to be well-formed when the request is decoded, and parsed once more, value by value, while they
//! are bound: nothing is collected in between.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use crate::refusal::{Refusal, RequestError};
use crate::value::{Place, Value};

/// How values find their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamsKind {
    /// By number, from 1.
    Positional,
    /// By name.
    Named,
}

/// Borrowed parameters. The terms are well-formed; whether each is a value is found out while iterating.
#[derive(Clone, Copy, PartialEq)]
pub struct Params<'a> {
    len: u32,
    source: Source<'a>,
}

/// Without the values: a request in a log must not show what it is about.
impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Params").field("kind", &self.kind()).field("len", &self.len).finish()
    }
}

/// Where the values are.
#[derive(Clone, Copy, PartialEq)]
enum Source<'a> {
    /// The elements of a list, one behind the other.
    Elements(&'a [u8]),
    /// A STRING_EXT: each byte is an integer.
    SmallIntegers(&'a [u8]),
    /// The pairs of a map, one behind the other.
    Pairs(&'a [u8]),
}

impl<'a> Params<'a> {
    /// No parameters.
    pub const fn empty() -> Params<'static> {
        Params { len: 0, source: Source::Elements(&[]) }
    }

    /// By number or by name.
    pub fn kind(&self) -> ParamsKind {
        match self.source {
            Source::Elements(_) | Source::SmallIntegers(_) => ParamsKind::Positional,
            Source::Pairs(_) => ParamsKind::Named,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values of positional parameters in their order; nothing for named ones. Ends after the first
    /// error.
    #[inline]
    pub fn values(&self) -> Values<'a> {
        match self.source {
            Source::Elements(bytes) => {
                Values { left: self.len, number: 0, decoder: Decoder::new(bytes), small_integers: &[] }
            }
            Source::SmallIntegers(bytes) => {
                Values { left: self.len, number: 0, decoder: Decoder::new(&[]), small_integers: bytes }
            }
            Source::Pairs(_) => {
                Values { left: 0, number: 0, decoder: Decoder::new(&[]), small_integers: &[] }
            }
        }
    }

    /// The names and values of named parameters, in no particular order; nothing for positional ones. Names
    /// are bytes: an atom's may be Latin-1. Ends after the first error.
    #[inline]
    pub fn named(&self) -> Named<'a> {
        match self.source {
            Source::Pairs(bytes) => Named { left: self.len, decoder: Decoder::new(bytes) },
            Source::Elements(_) | Source::SmallIntegers(_) => Named { left: 0, decoder: Decoder::new(&[]) },
        }
    }

    /// Reads the parameters of a request inside of `depth` containers.
    #[inline]
    pub(crate) fn decode(decoder: &mut Decoder<'a>, depth: usize) -> Result<Self, Refusal> {
        match decoder.next()? {
            Token::EmptyList => Ok(Params::empty()),
            Token::List(len) => {
                let elements = decoder.skip_terms(u64::from(len), depth + 1)?;
                decoder.list_end()?;
                Ok(Params { len, source: Source::Elements(elements) })
            }
            Token::String(bytes) => {
                Ok(Params { len: bytes.len() as u32, source: Source::SmallIntegers(bytes) })
            }
            Token::Map(len) => {
                let start = decoder.position();
                for _ in 0..len {
                    match decoder.next()? {
                        Token::Binary(_) | Token::Atom(_) => {}
                        _ => return Err(invalid(NAME_KINDS)),
                    }
                    decoder.skip_terms(1, depth + 1)?;
                }
                Ok(Params { len, source: Source::Pairs(decoder.slice(start, decoder.position())) })
            }
            _ => Err(invalid("the parameters must be a list or a map")),
        }
    }
}

const NAME_KINDS: &str = "a parameter's name must be a binary or an atom";

fn invalid(message: &str) -> Refusal {
    Refusal::Answer(RequestError::new(ErrorCode::InvalidRequest, message.to_owned()))
}

/// See [`Params::values`].
#[derive(Clone)]
pub struct Values<'a> {
    left: u32,
    number: u32,
    decoder: Decoder<'a>,
    small_integers: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<Value<'a>, RequestError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        self.number += 1;
        if let Some((first, rest)) = self.small_integers.split_first() {
            self.small_integers = rest;
            return Some(Ok(Value::Integer(i64::from(*first))));
        }
        let value = Value::decode(&mut self.decoder, Place::Number(self.number));
        if value.is_err() {
            self.left = 0;
        }
        Some(value)
    }
}

/// See [`Params::named`].
#[derive(Clone)]
pub struct Named<'a> {
    left: u32,
    decoder: Decoder<'a>,
}

impl<'a> Iterator for Named<'a> {
    type Item = Result<(&'a [u8], Value<'a>), RequestError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let pair = match self.decoder.next() {
            Ok(Token::Binary(name) | Token::Atom(name)) => {
                Value::decode(&mut self.decoder, Place::Name(name)).map(|value| (name, value))
            }
            // Checked when the request was decoded.
            _ => Err(RequestError::new(ErrorCode::InvalidRequest, NAME_KINDS.to_owned())),
        };
        if pair.is_err() {
            self.left = 0;
        }
        Some(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etf::decoder::DEPTH_MAX;

    fn decode(term: &[u8]) -> Params<'_> {
        let mut decoder = Decoder::new(term);
        let params = Params::decode(&mut decoder, 1).expect("parameters");
        assert_eq!(decoder.finish(), Ok(()));
        params
    }

    fn values(params: Params<'_>) -> Vec<Value<'_>> {
        params.values().collect::<Result<_, _>>().expect("values")
    }

    #[test]
    fn lists_in_each_of_their_forms() {
        assert_eq!(values(decode(b"j")), []);
        assert_eq!(values(decode(b"l\0\0\0\0j")), []);
        assert_eq!(values(decode(b"k\0\x02\x01\xff")), [Value::Integer(1), Value::Integer(255)]);
        assert_eq!(
            values(decode(b"l\0\0\0\x02w\x03nilh\x02w\x04blobm\0\0\0\x01xj")),
            [Value::Null, Value::Blob(b"x")]
        );
        let params = decode(b"k\0\x02\x01\xff");
        assert_eq!((params.kind(), params.len(), params.is_empty()), (ParamsKind::Positional, 2, false));
        assert_eq!(params.named().count(), 0);
        assert!(Params::empty().is_empty());
    }

    #[test]
    fn maps_have_names_of_either_kind() {
        let params = decode(b"t\0\0\0\x02w\x01aa\x01m\0\0\0\x02:bw\x03nil");
        assert_eq!((params.kind(), params.len()), (ParamsKind::Named, 2));
        assert_eq!(params.values().count(), 0);
        let named: Result<Vec<_>, _> = params.named().collect();
        assert_eq!(named, Ok(vec![(&b"a"[..], Value::Integer(1)), (b":b", Value::Null)]));
    }

    #[test]
    fn debug_does_not_show_the_values() {
        let shown = format!("{:?}", decode(b"l\0\0\0\x01m\0\0\0\x06secretj"));
        assert_eq!(shown, "Params { kind: Positional, len: 1 }");
    }

    #[test]
    fn the_first_bad_value_ends_the_iteration() {
        let mut values = decode(b"l\0\0\0\x03a\x01jw\x03nilj").values();
        assert_eq!(values.next(), Some(Ok(Value::Integer(1))));
        let error = values.next().expect("an item").expect_err("a list is no value");
        assert!(error.message.starts_with("parameter 2: "), "{}", error.message);
        assert_eq!(values.next(), None);

        let error = decode(b"t\0\0\0\x01w\x01aw\x01b").named().next().expect("an item").expect_err("an atom");
        assert!(error.message.starts_with("parameter a: the atom :b is not"), "{}", error.message);
    }

    #[test]
    fn shapes_that_are_not_parameters() {
        for term in [&b"a\x01"[..], b"w\x03nil", b"m\0\0\0\0", b"t\0\0\0\x01a\x01a\x01"] {
            assert!(
                matches!(Params::decode(&mut Decoder::new(term), 1), Err(Refusal::Answer(_))),
                "{term:?}"
            );
        }
        assert!(matches!(
            Params::decode(&mut Decoder::new(b"l\0\0\0\x01a\x01a\x02"), 1),
            Err(Refusal::Fatal(_))
        ));
    }

    #[test]
    fn what_is_around_a_value_counts_as_depth() {
        for (head, end) in [(&b"l\0\0\0\x01"[..], &b"j"[..]), (b"t\0\0\0\x01w\x01a", b"")] {
            let decoded = |depth: usize| {
                let term = [head, &b"h\x01".repeat(depth), b"j", end].concat();
                Params::decode(&mut Decoder::new(&term), 1).map(|params| params.len())
            };
            // Inside of the message and of the parameters.
            assert_eq!(decoded(DEPTH_MAX - 2), Ok(1));
            assert!(matches!(decoded(DEPTH_MAX - 1), Err(Refusal::Fatal(_))));
        }
    }
}
