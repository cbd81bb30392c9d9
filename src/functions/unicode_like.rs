//! `unicode_like(pattern, text)` and `unicode_like(pattern, text, escape)`: LIKE that ignores the case of all letters, by
//! the folding of `NOCASE_UNICODE`. SQLite's own LIKE ignores the case of ASCII alone.

use super::code_points;
use super::unicode::fold;
use crate::engine::function::{FunctionError, Outcome, Output};
use crate::engine::matcher::Pace;
use crate::engine::text_function::{Call, Purity, TextFunction};

/// The functions.
pub static FUNCTIONS: [TextFunction; 2] = [
    TextFunction { name: c"unicode_like", arguments: 2, purity: Purity::Deterministic, call: like },
    TextFunction { name: c"unicode_like", arguments: 3, purity: Purity::Deterministic, call: like },
];

fn like(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    let (pattern, text) = (arguments[0], arguments[1]);
    call.check_pattern(pattern)?;
    let escape = match arguments.get(2) {
        None => None,
        Some(escape) => match code_points::first(escape) {
            Some((code_point, length)) if length == escape.len() => Some(code_point),
            _ => {
                let message = "unicode_like: the escape is a single character";
                return Err(FunctionError::Invalid(message.to_owned()));
            }
        },
    };
    let matches = is_match(pattern, text, escape, &mut call.pace)?;
    Ok(Output::Integer(i64::from(matches)))
}

/// What a pattern begins with.
enum Token {
    /// `%`
    Any,
    /// `_`
    One,
    /// A folded code point.
    Literal(u32),
    /// An escape character that stands last: matches nothing, as in SQLite.
    Nothing,
}

/// The first token and how many bytes it takes.
#[inline]
fn token(pattern: &[u8], escape: Option<u32>) -> Option<(Token, usize)> {
    let (code_point, length) = code_points::first(pattern)?;
    if Some(code_point) == escape {
        return Some(match code_points::first(&pattern[length..]) {
            Some((escaped, more)) => (Token::Literal(fold(escaped)), length + more),
            None => (Token::Nothing, length),
        });
    }
    let token = match code_point {
        0x25 => Token::Any,
        0x5f => Token::One,
        _ => Token::Literal(fold(code_point)),
    };
    Some((token, length))
}

/// Whether all of the text matches. Goes back to the last `%` alone, since an earlier one can take what it takes: time is at most
/// proportional to the product of the lengths.
fn is_match(
    mut pattern: &[u8],
    mut text: &[u8],
    escape: Option<u32>,
    pace: &mut Pace<'_>,
) -> Result<bool, FunctionError> {
    // What comes after the last `%`, and where in the text it was tried last.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        pace.spend(1)?;
        if let (Some(wanted), Some(found)) = (pattern.first(), text.first()) {
            if is_plain(*wanted, escape) && wanted.eq_ignore_ascii_case(found) {
                pattern = &pattern[1..];
                text = &text[1..];
                continue;
            }
        }
        let fits = match (token(pattern, escape), code_points::first(text)) {
            (Some((Token::Any, length)), _) => {
                pattern = &pattern[length..];
                if pattern.is_empty() {
                    return Ok(true);
                }
                let Some(found) = candidate(pattern, text, escape) else { return Ok(false) };
                text = found;
                pace.spend(text.len() / 64)?;
                again = Some((pattern, text));
                continue;
            }
            (None, None) => return Ok(true),
            (Some((Token::One, length)), Some((_, taken))) => Some((length, taken)),
            (Some((Token::Literal(wanted), length)), Some((code_point, taken))) => {
                (fold(code_point) == wanted).then_some((length, taken))
            }
            _ => None,
        };
        match (fits, &mut again) {
            (Some((length, taken)), _) => {
                pattern = &pattern[length..];
                text = &text[taken..];
            }
            (None, Some((after, tried))) => {
                let Some((_, length)) = code_points::first(tried) else { return Ok(false) };
                let Some(found) = candidate(after, &tried[length..], escape) else { return Ok(false) };
                *tried = found;
                pattern = after;
                text = found;
            }
            (None, None) => return Ok(false),
        }
    }
}

/// A byte of a pattern that stands for itself and its other case.
fn is_plain(byte: u8, escape: Option<u32>) -> bool {
    byte.is_ascii() && !matches!(byte, b'%' | b'_') && escape != Some(u32::from(byte))
}

/// The rest of the text from where a pattern may begin to match: all before begins with another character. `None` if it matches
/// nowhere. The signs of Kelvin and the long s fold to letters of ASCII; the search stops at their first byte, too.
fn candidate<'t>(pattern: &[u8], text: &'t [u8], escape: Option<u32>) -> Option<&'t [u8]> {
    let Some(first) = pattern.first().copied().filter(|byte| is_plain(*byte, escape)) else {
        return Some(text);
    };
    let (small, capital) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    let found = match small {
        b'k' => memchr::memchr3(small, capital, 0xe2, text),
        b's' => memchr::memchr3(small, capital, 0xc5, text),
        _ => memchr::memchr2(small, capital, text),
    };
    found.map(|found| &text[found..])
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
        fn it_matches_what_the_definition_says(pattern in "[aÄksß%_\\\\]{0,8}", text in "[aAäÄkKsS\u{212a}\u{17f}ß%_\\\\]{0,8}") {
            let mut left = 0;
            let found = is_match(pattern.as_bytes(), text.as_bytes(), Some(u32::from('\\')), &mut Pace::new(None, &mut left));
            let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(found.unwrap(), naive(&pattern, &text));
        }
    }
}
