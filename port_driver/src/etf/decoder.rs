//! Reads terms out of a buffer, one token at a time, borrowing everything.
//!
//! The bytes come from outside, so the rules are: no recursion, no allocation, no panic, and no count
//! believed that the bytes left could not hold. What does not follow the format, or is of a kind that the
//! protocol does not accept, is a [`DecodeError`]: the peer broke the wire.

use thiserror::Error;

use super::tag;

/// How deep terms may nest, the payload's outermost container being the first level.
pub const DEPTH_MAX: usize = 64;
/// The BEAM's own limit, in characters.
const ATOM_CHARACTERS_MAX: usize = 255;
/// FLOAT_EXT is a C string in a field of this size.
const FLOAT_TEXT_BYTES: usize = 31;

/// The peer broke the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A term ends before it is complete.
    #[error("the term ends early, at byte {position}")]
    Truncated {
        /// Where more bytes were needed.
        position: usize,
    },
    /// A count of elements that the bytes left could not hold.
    #[error("at byte {position}: {count} elements cannot fit into the bytes that follow")]
    Count {
        /// Where the container starts.
        position: usize,
        /// What it declares.
        count: u32,
    },
    /// A kind of term that the protocol does not accept.
    #[error("at byte {position}: terms of tag {tag} are not accepted")]
    Tag {
        /// Where it starts.
        position: usize,
        /// Its first byte.
        tag: u8,
    },
    /// An atom that is longer than the BEAM allows or not valid UTF-8.
    #[error("at byte {position}: not a valid atom")]
    Atom {
        /// Where it starts.
        position: usize,
    },
    /// Infinities, NaN and text that is no number: not floats of the BEAM.
    #[error("at byte {position}: not a valid float")]
    Float {
        /// Where it starts.
        position: usize,
    },
    /// A big integer whose sign is neither 0 nor 1.
    #[error("at byte {position}: a big integer's sign must be 0 or 1")]
    Sign {
        /// Where it starts.
        position: usize,
    },
    /// A list whose tail is not the empty list.
    #[error("at byte {position}: a list must end with the empty list")]
    ImproperList {
        /// Where the tail starts.
        position: usize,
    },
    /// Containers in containers in containers …
    #[error("at byte {position}: terms may nest at most {DEPTH_MAX} deep")]
    Depth {
        /// Where the one too many starts.
        position: usize,
    },
    /// Bytes behind the term.
    #[error("{count} bytes follow the term")]
    Trailing {
        /// How many.
        count: usize,
    },
}

/// One step of a term. The heads of containers announce how many terms follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// Any integer of 64 bits, whatever its encoding.
    Integer(i64),
    /// An integer beyond 64 bits.
    BigInteger {
        /// Below zero.
        negative: bool,
        /// The absolute value from its least byte.
        magnitude: &'a [u8],
    },
    /// A finite float.
    Float(f64),
    /// The bytes of an atom's name, Latin-1 or UTF-8; for ASCII names there is no difference.
    Atom(&'a [u8]),
    /// A binary.
    Binary(&'a [u8]),
    /// The empty list.
    EmptyList,
    /// A list of so many terms, then [`Decoder::list_end`].
    List(u32),
    /// A list of small integers in its short form, complete in itself.
    String(&'a [u8]),
    /// A tuple of so many terms.
    Tuple(u32),
    /// A map of so many pairs: a key, a value, a key, a value …
    Map(u32),
}

/// A pull parser over borrowed bytes.
///
/// ```
/// use port_driver::etf::{Decoder, Token};
/// let mut decoder = Decoder::new(b"h\x02a\x07d\0\x03nil");
/// assert_eq!(decoder.next(), Ok(Token::Tuple(2)));
/// assert_eq!(decoder.next(), Ok(Token::Integer(7)));
/// assert_eq!(decoder.next(), Ok(Token::Atom(b"nil")));
/// assert_eq!(decoder.finish(), Ok(()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`, which hold a term without its version byte.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next token. Every path of it is bounded by the bytes left.
    // Not an iterator: a term has no natural end, so there is no `None` to give.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Token<'a>, DecodeError> {
        let position = self.position;
        Ok(match self.byte()? {
            tag::SMALL_INTEGER => Token::Integer(i64::from(self.byte()?)),
            tag::INTEGER => Token::Integer(i64::from(i32::from_be_bytes(self.array()?))),
            tag::BINARY => {
                let length = self.u32()?;
                Token::Binary(self.take(length as usize)?)
            }
            tag::ATOM => {
                let length = u16::from_be_bytes(self.array()?);
                self.latin1_atom(usize::from(length), position)?
            }
            tag::SMALL_ATOM => {
                let length = self.byte()?;
                self.latin1_atom(usize::from(length), position)?
            }
            tag::ATOM_UTF8 => {
                let length = u16::from_be_bytes(self.array()?);
                self.utf8_atom(usize::from(length), position)?
            }
            tag::SMALL_ATOM_UTF8 => {
                let length = self.byte()?;
                self.utf8_atom(usize::from(length), position)?
            }
            tag::NEW_FLOAT => finite(f64::from_be_bytes(self.array()?), position)?,
            tag::FLOAT => self.float_text(position)?,
            tag::SMALL_BIG => {
                let length = self.byte()?;
                self.big_integer(usize::from(length), position)?
            }
            tag::LARGE_BIG => {
                let length = self.u32()?;
                self.big_integer(length as usize, position)?
            }
            tag::NIL => Token::EmptyList,
            tag::STRING => {
                let length = u16::from_be_bytes(self.array()?);
                Token::String(self.take(usize::from(length))?)
            }
            tag::LIST => {
                let count = self.u32()?;
                Token::List(self.count(count, u64::from(count) + 1, position)?)
            }
            tag::SMALL_TUPLE => {
                let count = u32::from(self.byte()?);
                Token::Tuple(self.count(count, u64::from(count), position)?)
            }
            tag::LARGE_TUPLE => {
                let count = self.u32()?;
                Token::Tuple(self.count(count, u64::from(count), position)?)
            }
            tag::MAP => {
                let count = self.u32()?;
                Token::Map(self.count(count, u64::from(count) * 2, position)?)
            }
            tag => return Err(DecodeError::Tag { position, tag }),
        })
    }

    /// An integer from 0 to 2^31-1 in one of its two usual forms. A shortcut: `None` says nothing but that
    /// [`next`] must be asked, and leaves the position.
    ///
    /// [`next`]: Self::next
    #[inline]
    pub(crate) fn small_unsigned(&mut self) -> Option<u32> {
        let (bytes, value) = match *self.rest() {
            [tag::SMALL_INTEGER, byte, ..] => (2, u32::from(byte)),
            [tag::INTEGER, a @ 0..=127, b, c, d, ..] => (5, u32::from_be_bytes([a, b, c, d])),
            _ => return None,
        };
        self.position += bytes;
        Some(value)
    }

    /// Steps over a term of one of the commonest kinds. A shortcut as above.
    #[inline]
    fn skip_common(&mut self) -> bool {
        let rest = self.rest();
        let bytes = match *rest {
            [tag::SMALL_INTEGER, _, ..] => 2,
            [tag::INTEGER, _, _, _, _, ..] => 5,
            [tag::BINARY, a, b, c, d, ..] => 5 + u64::from(u32::from_be_bytes([a, b, c, d])),
            _ => return false,
        };
        let whole = bytes <= rest.len() as u64;
        if whole {
            self.position += bytes as usize;
        }
        whole
    }

    /// The tail of a list, after its elements.
    #[inline]
    pub fn list_end(&mut self) -> Result<(), DecodeError> {
        let position = self.position;
        match self.byte()? {
            tag::NIL => Ok(()),
            _ => Err(DecodeError::ImproperList { position }),
        }
    }

    /// Steps over one whole term, checking all of it, and gives its bytes.
    pub fn skip_term(&mut self) -> Result<&'a [u8], DecodeError> {
        self.skip_terms(1, 0)
    }

    /// Steps over `count` terms inside of `depth` open containers, and gives their bytes.
    #[inline]
    pub(crate) fn skip_terms(&mut self, count: u64, depth: usize) -> Result<&'a [u8], DecodeError> {
        let start = self.position;
        let mut left = count;
        // Most terms are scalars in a row: no stack for them.
        while left > 0 {
            if self.skip_common() {
                left -= 1;
                continue;
            }
            let before = self.position;
            if matches!(self.next()?, Token::List(_) | Token::Tuple(_) | Token::Map(_)) {
                self.position = before;
                self.skip_nested(left, depth)?;
                break;
            }
            left -= 1;
        }
        Ok(&self.bytes[start..self.position])
    }

    fn skip_nested(&mut self, count: u64, depth: usize) -> Result<(), DecodeError> {
        // For each open container: the terms that are left in it, doubled, plus one if it is a list.
        let mut open = [0u64; DEPTH_MAX + 1];
        let mut top = depth;
        open[top] = count * 2;
        loop {
            if open[top] < 2 {
                if open[top] == 1 {
                    self.list_end()?;
                }
                if top == depth {
                    return Ok(());
                }
                top -= 1;
                continue;
            }
            open[top] -= 2;
            if self.skip_common() {
                continue;
            }
            let position = self.position;
            let inside = match self.next()? {
                Token::List(count) => u64::from(count) * 2 + 1,
                Token::Tuple(count) => u64::from(count) * 2,
                Token::Map(pairs) => u64::from(pairs) * 4,
                _ => continue,
            };
            if top == DEPTH_MAX {
                return Err(DecodeError::Depth { position });
            }
            top += 1;
            open[top] = inside;
        }
    }

    /// Bytes read so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not read yet.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Checks that nothing follows.
    #[inline]
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }

    /// The bytes between two positions that this decoder has passed.
    #[inline]
    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[from..to]
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    #[inline]
    fn truncated<T>(&self) -> Result<T, DecodeError> {
        Err(DecodeError::Truncated { position: self.bytes.len() })
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, DecodeError> {
        match self.rest().first() {
            Some(byte) => {
                self.position += 1;
                Ok(*byte)
            }
            None => self.truncated(),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest().first_chunk::<N>() {
            Some(bytes) => {
                self.position += N;
                Ok(*bytes)
            }
            None => self.truncated(),
        }
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest().get(..length) {
            Some(bytes) => {
                self.position += length;
                Ok(bytes)
            }
            None => self.truncated(),
        }
    }

    /// Every element takes a byte at least, so a count above the bytes left is a lie.
    #[inline]
    fn count(&self, count: u32, bytes_min: u64, position: usize) -> Result<u32, DecodeError> {
        if bytes_min > self.remaining() as u64 {
            return Err(DecodeError::Count { position, count });
        }
        Ok(count)
    }

    #[inline]
    fn latin1_atom(&mut self, length: usize, position: usize) -> Result<Token<'a>, DecodeError> {
        if length > ATOM_CHARACTERS_MAX {
            return Err(DecodeError::Atom { position });
        }
        self.take(length).map(Token::Atom)
    }

    #[inline]
    fn utf8_atom(&mut self, length: usize, position: usize) -> Result<Token<'a>, DecodeError> {
        let name = self.take(length)?;
        let valid = if name.is_ascii() {
            length <= ATOM_CHARACTERS_MAX
        } else {
            std::str::from_utf8(name).is_ok_and(|name| name.chars().count() <= ATOM_CHARACTERS_MAX)
        };
        if valid {
            Ok(Token::Atom(name))
        } else {
            Err(DecodeError::Atom { position })
        }
    }

    fn float_text(&mut self, position: usize) -> Result<Token<'a>, DecodeError> {
        let field: [u8; FLOAT_TEXT_BYTES] = self.array()?;
        let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
        match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
            Some(value) => finite(value, position),
            None => Err(DecodeError::Float { position }),
        }
    }

    fn big_integer(&mut self, length: usize, position: usize) -> Result<Token<'a>, DecodeError> {
        let negative = match self.byte()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Sign { position }),
        };
        let magnitude = self.take(length)?;
        let significant = magnitude.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let magnitude = &magnitude[..significant];
        Ok(match small_enough(negative, magnitude) {
            Some(value) => Token::Integer(value),
            None => Token::BigInteger { negative, magnitude },
        })
    }
}

fn finite<'a>(value: f64, position: usize) -> Result<Token<'a>, DecodeError> {
    if value.is_finite() {
        Ok(Token::Float(value))
    } else {
        Err(DecodeError::Float { position })
    }
}

fn small_enough(negative: bool, magnitude: &[u8]) -> Option<i64> {
    let mut bytes = [0; 8];
    bytes.get_mut(..magnitude.len())?.copy_from_slice(magnitude);
    let absolute = u64::from_le_bytes(bytes);
    if negative {
        0i64.checked_sub_unsigned(absolute)
    } else {
        i64::try_from(absolute).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &[u8]) -> Result<Token<'_>, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let token = decoder.next()?;
        decoder.finish()?;
        Ok(token)
    }

    #[test]
    fn every_scalar_encoding() {
        let cases: &[(&[u8], Token)] = &[
            (b"a\xff", Token::Integer(255)),
            (b"b\xff\xff\xff\xfe", Token::Integer(-2)),
            (b"n\x00\x00", Token::Integer(0)),
            (b"n\x08\x01\0\0\0\0\0\0\0\x80", Token::Integer(i64::MIN)),
            (b"n\x08\x00\xff\xff\xff\xff\xff\xff\xff\x7f", Token::Integer(i64::MAX)),
            (b"n\x0a\x00\x05\0\0\0\0\0\0\0\0\0", Token::Integer(5)),
            (b"o\0\0\0\x01\x01\x05", Token::Integer(-5)),
            (
                b"n\x08\x00\0\0\0\0\0\0\0\x80",
                Token::BigInteger { negative: false, magnitude: &[0, 0, 0, 0, 0, 0, 0, 0x80] },
            ),
            (
                b"n\x08\x01\x01\0\0\0\0\0\0\x80",
                Token::BigInteger { negative: true, magnitude: &[1, 0, 0, 0, 0, 0, 0, 0x80] },
            ),
            (
                b"n\x09\x00\0\0\0\0\0\0\0\0\x01",
                Token::BigInteger { negative: false, magnitude: &[0, 0, 0, 0, 0, 0, 0, 0, 1] },
            ),
            (b"F\xbf\xf8\0\0\0\0\0\0", Token::Float(-1.5)),
            (b"c1.50000000000000000000e+00\0\0\0\0\0", Token::Float(1.5)),
            (b"d\0\x03nil", Token::Atom(b"nil")),
            (b"s\x03nil", Token::Atom(b"nil")),
            (b"v\0\x03nil", Token::Atom(b"nil")),
            (b"w\x03nil", Token::Atom(b"nil")),
            (b"w\x02\xc3\xa9", Token::Atom(b"\xc3\xa9")),
            (b"s\x01\xe9", Token::Atom(b"\xe9")),
            (b"m\0\0\0\x02a\0", Token::Binary(b"a\0")),
            (b"j", Token::EmptyList),
            (b"k\0\x02\x01\x02", Token::String(&[1, 2])),
            (b"h\x00", Token::Tuple(0)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(one(bytes), Ok(*expected), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_accepted() {
        let position = 0;
        let cases: &[(&[u8], DecodeError)] = &[
            (b"", DecodeError::Truncated { position }),
            (b"a", DecodeError::Truncated { position: 1 }),
            (b"m\0\0\0\x02a", DecodeError::Truncated { position: 6 }),
            (b"m\xff\xff\xff\xffa", DecodeError::Truncated { position: 6 }),
            (b"P\0\0\0\x01x\x9c", DecodeError::Tag { position, tag: 80 }),
            (b"l\0\0\0\x01a", DecodeError::Count { position, count: 1 }),
            (b"l\xff\xff\xff\xffaaaa", DecodeError::Count { position, count: u32::MAX }),
            (b"t\xff\xff\xff\xffaaaa", DecodeError::Count { position, count: u32::MAX }),
            (b"t\0\0\0\x02aaa", DecodeError::Count { position, count: 2 }),
            (b"i\0\0\0\x02a", DecodeError::Count { position, count: 2 }),
            (b"h\x02a", DecodeError::Count { position, count: 2 }),
            (b"d\x01\0", DecodeError::Atom { position }),
            (b"w\x01\xff", DecodeError::Atom { position }),
            (b"F\x7f\xf0\0\0\0\0\0\0", DecodeError::Float { position }),
            (b"F\x7f\xf8\0\0\0\0\0\0", DecodeError::Float { position }),
            (
                b"cinf\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                DecodeError::Float { position },
            ),
            (b"n\x01\x02\x05", DecodeError::Sign { position }),
            (b"jj", DecodeError::Trailing { count: 1 }),
        ];
        for (bytes, expected) in cases {
            assert_eq!(one(bytes), Err(*expected), "{bytes:?}");
        }
    }

    #[test]
    fn utf8_atoms_are_limited_in_characters_and_not_in_bytes() {
        let atom = |characters: usize| {
            let name = "é".repeat(characters);
            [&[tag::ATOM_UTF8][..], &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat()
        };
        assert!(one(&atom(255)).is_ok());
        assert_eq!(one(&atom(256)), Err(DecodeError::Atom { position: 0 }));
    }

    #[test]
    fn skipping_checks_the_whole_term() {
        let term = b"h\x03t\0\0\0\x01w\x01al\0\0\0\x02a\x01a\x02jk\0\x01\x01d\0\x03nil";
        let bytes = [&term[..], b"rest"].concat();
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(decoder.skip_term(), Ok(&term[..]));
        assert_eq!((decoder.position(), decoder.remaining()), (term.len(), 4));

        for cut in 0..term.len() {
            assert!(Decoder::new(&term[..cut]).skip_term().is_err(), "cut at {cut}");
        }
        assert_eq!(
            Decoder::new(b"l\0\0\0\x01a\x01a\x02").skip_term(),
            Err(DecodeError::ImproperList { position: 7 })
        );
    }

    #[test]
    fn depth_is_limited() {
        let nested = |head: &[u8], tail: &[u8], depth: usize| {
            [head.repeat(depth), b"j".to_vec(), tail.repeat(depth)].concat()
        };
        for (head, tail) in
            [(&b"l\0\0\0\x01"[..], &b"j"[..]), (b"h\x01", b""), (b"i\0\0\0\x01", b""), (b"t\0\0\0\x01j", b"")]
        {
            let allowed = nested(head, tail, DEPTH_MAX);
            assert_eq!(Decoder::new(&allowed).skip_term(), Ok(&allowed[..]));
            let position = DEPTH_MAX * head.len();
            assert_eq!(
                Decoder::new(&nested(head, tail, DEPTH_MAX + 1)).skip_term(),
                Err(DecodeError::Depth { position })
            );
        }
        // Siblings are not depth.
        let wide = [&b"l\0\0\0\xc8"[..], &b"h\x01h\x00".repeat(200), b"j"].concat();
        assert!(Decoder::new(&wide).skip_term().is_ok());
        // A hundred thousand open lists neither overflow the stack nor take long.
        assert!(Decoder::new(&b"l\0\0\0\x01".repeat(100_000)).skip_term().is_err());
    }
}
