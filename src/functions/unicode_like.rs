//! `unicode_like(pattern, text)` and `unicode_like(pattern, text, escape)`: LIKE that ignores the case of all letters, by
//! the folding of `NOCASE_UNICODE`. SQLite's own LIKE ignores the case of ASCII alone.

use super::code_points;
use super::unicode::fold;
use crate::engine::function::FunctionError;
use crate::engine::matcher::Pace;
use crate::engine::pattern::Pattern;

/// A pattern of LIKE.
pub struct LikePattern {
    tokens: Vec<Token>,
    escape: Option<Box<[u8]>>,
}

/// What a pattern is made of.
#[derive(Clone, Copy)]
enum Token {
    /// `%`, however many, and where what comes after it may begin.
    Any(Start),
    /// `_`
    One,
    /// A character that folds to this one of ASCII.
    Ascii(u8),
    /// One that folds to another code point.
    Letter(u32),
    /// An escape character that stands last: matches nothing, as in SQLite.
    Nothing,
}

/// With which bytes a match may begin.
#[derive(Clone, Copy)]
enum Start {
    Anywhere,
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
}

impl Pattern for LikePattern {
    fn compile(pattern: &[u8], escape: Option<&[u8]>) -> Result<Self, FunctionError> {
        let character = match escape.map(|escape| (escape, code_points::first(escape))) {
            None => None,
            Some((escape, Some((character, length)))) if length == escape.len() => Some(character),
            Some(_) => {
                let message = "unicode_like: the escape is a single character";
                return Err(FunctionError::Invalid(message.to_owned()));
            }
        };
        Ok(LikePattern { tokens: tokens(pattern, character), escape: escape.map(Box::from) })
    }

    #[inline]
    fn has_escape(&self, escape: Option<&[u8]>) -> bool {
        self.escape.as_deref() == escape
    }

    /// Goes back to the last `%` alone, since an earlier one can take what it takes: time is at most proportional to the product of
    /// the lengths.
    #[inline]
    fn matches(&self, text: &[u8], pace: &mut Pace<'_>) -> Result<bool, FunctionError> {
        let tokens = &self.tokens[..];
        let (mut at, mut rest) = (0, text);
        // What comes after the last `%`, how it begins, and where in the text it was tried last.
        let mut again: Option<(usize, Start, &[u8])> = None;
        loop {
            pace.spend(1)?;
            let taken = match tokens.get(at) {
                Some(Token::Any(start)) => {
                    at += 1;
                    if at == tokens.len() {
                        return Ok(true);
                    }
                    pace.spend(rest.len() / 64)?;
                    let Some(found) = start.find(rest) else { return Ok(false) };
                    rest = found;
                    again = Some((at, *start, rest));
                    continue;
                }
                Some(token) => token.takes(rest),
                None if rest.is_empty() => return Ok(true),
                None => None,
            };
            match (taken, &mut again) {
                (Some(taken), _) => {
                    at += 1;
                    rest = &rest[taken..];
                }
                (None, Some((after, start, tried))) => {
                    let Some((_, length)) = code_points::first(tried) else { return Ok(false) };
                    let Some(found) = start.find(&tried[length..]) else { return Ok(false) };
                    *tried = found;
                    at = *after;
                    rest = found;
                }
                (None, None) => return Ok(false),
            }
        }
    }
}

impl Token {
    /// How many bytes of the text it takes, if it matches what the text begins with.
    #[inline]
    fn takes(self, text: &[u8]) -> Option<usize> {
        let folded = |wanted: u32| {
            let (code_point, length) = code_points::first(text)?;
            (fold(code_point) == wanted).then_some(length)
        };
        match (self, text.first()?) {
            (Token::Ascii(wanted), byte) if byte.is_ascii() => {
                (byte.to_ascii_lowercase() == wanted).then_some(1)
            }
            (Token::Ascii(wanted), _) => folded(u32::from(wanted)),
            (Token::Letter(wanted), _) => folded(wanted),
            (Token::One, byte) if byte.is_ascii() => Some(1),
            (Token::One, _) => code_points::first(text).map(|(_, length)| length),
            (Token::Any(_) | Token::Nothing, _) => None,
        }
    }
}

impl Start {
    /// Where what begins with `token` may begin. The signs of Kelvin and the long s fold to letters of ASCII; the search stops at their
    /// first byte, too.
    fn of(token: Option<&Token>) -> Self {
        match token {
            Some(Token::Ascii(b'k')) => Start::Three(b'k', b'K', 0xe2),
            Some(Token::Ascii(b's')) => Start::Three(b's', b'S', 0xc5),
            Some(Token::Ascii(byte)) if byte.is_ascii_alphabetic() => {
                Start::Two(*byte, byte.to_ascii_uppercase())
            }
            Some(Token::Ascii(byte)) => Start::One(*byte),
            _ => Start::Anywhere,
        }
    }

    /// The rest of the text from there; `None` if there is no such place.
    #[inline]
    fn find(self, text: &[u8]) -> Option<&[u8]> {
        let found = match self {
            Start::Anywhere => Some(0),
            Start::One(byte) => memchr::memchr(byte, text),
            Start::Two(one, two) => memchr::memchr2(one, two, text),
            Start::Three(one, two, three) => memchr::memchr3(one, two, three, text),
        };
        found.map(|found| &text[found..])
    }
}

fn tokens(mut pattern: &[u8], escape: Option<u32>) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    while let Some((token, length)) = token(pattern, escape) {
        pattern = &pattern[length..];
        // One `%` more behind another changes nothing.
        if !matches!((token, tokens.last()), (Token::Any(_), Some(Token::Any(_)))) {
            tokens.push(token);
        }
    }
    for at in 0..tokens.len() {
        if let Token::Any(_) = tokens[at] {
            tokens[at] = Token::Any(Start::of(tokens.get(at + 1)));
        }
    }
    tokens
}

/// The first token and how many bytes it takes.
fn token(pattern: &[u8], escape: Option<u32>) -> Option<(Token, usize)> {
    let (code_point, length) = code_points::first(pattern)?;
    if Some(code_point) == escape {
        return Some(match code_points::first(&pattern[length..]) {
            Some((escaped, more)) => (literal(escaped), length + more),
            None => (Token::Nothing, length),
        });
    }
    let token = match code_point {
        0x25 => Token::Any(Start::Anywhere),
        0x5f => Token::One,
        _ => literal(code_point),
    };
    Some((token, length))
}

fn literal(code_point: u32) -> Token {
    let folded = fold(code_point);
    match u8::try_from(folded) {
        Ok(byte) if byte.is_ascii() => Token::Ascii(byte),
        _ => Token::Letter(folded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// By the definition, one character at a time.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some(('%', rest)), _) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            (Some(('\\', [])), _) => false,
            (Some(('\\', [escaped, rest @ ..])), Some((first, text))) => {
                fold(u32::from(*escaped)) == fold(u32::from(*first)) && naive(rest, text)
            }
            (Some(('_', rest)), Some((_, text))) => naive(rest, text),
            (Some((wanted, rest)), Some((first, text))) => {
                fold(u32::from(*wanted)) == fold(u32::from(*first)) && naive(rest, text)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_matches_what_the_definition_says(pattern in "[aÄkK\u{212a}sß%_\\\\]{0,8}", text in "[aAäÄkKsS\u{212a}\u{17f}ß%_\\\\]{0,8}") {
            let mut left = 0;
            let compiled = LikePattern::compile(pattern.as_bytes(), Some(b"\\")).unwrap();
            let found = compiled.matches(text.as_bytes(), &mut Pace::new(None, &mut left));
            let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(found.unwrap(), naive(&pattern, &text));
        }
    }
}
