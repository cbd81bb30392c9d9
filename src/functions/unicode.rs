//! `unicode_lower(x)`, `unicode_upper(x)`, `unaccent(x)` and the collation `NOCASE_UNICODE`. They go by the tables of the crates
//! `unicode-case-mapping` and `unicode-normalization`, whose version of Unicode does not depend on the compiler: indexes may
//! be made of them.

use super::code_points;
use crate::engine::collation::Collation;
use crate::engine::function::{FunctionError, Outcome, Output};
use crate::engine::text_function::{Call, Purity, TextFunction};
use std::cmp::Ordering;
use unicode_normalization::UnicodeNormalization;

/// The functions.
pub static FUNCTIONS: [TextFunction; 3] = [
    TextFunction { name: c"unicode_lower", arguments: 1, purity: Purity::Deterministic, call: lower },
    TextFunction { name: c"unicode_upper", arguments: 1, purity: Purity::Deterministic, call: upper },
    TextFunction { name: c"unaccent", arguments: 1, purity: Purity::Deterministic, call: unaccent },
];

/// Texts in the order of their folded code points.
pub static NOCASE_UNICODE: Collation = Collation { name: c"NOCASE_UNICODE", compare: compare_folded };

/// The simple case folding of Unicode (CaseFolding.txt, C and S): one code point for one. ASCII becomes small letters.
#[inline]
pub fn fold(code_point: u32) -> u32 {
    match u8::try_from(code_point) {
        Ok(byte) if byte.is_ascii() => u32::from(byte.to_ascii_lowercase()),
        _ => fold_beyond_ascii(code_point),
    }
}

fn fold_beyond_ascii(code_point: u32) -> u32 {
    char::from_u32(code_point)
        .and_then(unicode_case_mapping::case_folded)
        .map_or(code_point, std::num::NonZeroU32::get)
}

/// Bytes that are compared at once while they are equal.
const BLOCK_BYTES: usize = 16;

fn compare_folded(left: &[u8], right: &[u8]) -> Ordering {
    let shorter = left.len().min(right.len());
    let mut at = 0;
    while at < shorter {
        let (block, end) = (at..shorter, at + BLOCK_BYTES);
        if end <= shorter && left[at..end] == right[at..end] {
            at = end;
            continue;
        }
        let Some(equal) = left[block.clone()].iter().zip(&right[block]).position(|(l, r)| l != r) else {
            at = shorter;
            break;
        };
        at += equal;
        if !(left[at].is_ascii() && right[at].is_ascii()) {
            break;
        }
        let order = left[at].to_ascii_lowercase().cmp(&right[at].to_ascii_lowercase());
        if order.is_ne() {
            return order;
        }
        at += 1;
    }
    // A character begins after the last byte of ASCII, the same in both. What lies before has been found equal.
    let from = left[..at].iter().rposition(u8::is_ascii).map_or(0, |last| last + 1);
    if from == at && at == shorter {
        return left.len().cmp(&right.len());
    }
    code_points::all(&left[from..]).map(fold).cmp(code_points::all(&right[from..]).map(fold))
}

fn lower(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    mapped(arguments[0], call, <[u8]>::make_ascii_lowercase, |c| {
        padded(unicode_case_mapping::to_lowercase(c))
    })
}

fn upper(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    mapped(arguments[0], call, <[u8]>::make_ascii_uppercase, unicode_case_mapping::to_uppercase)
}

fn padded([first, second]: [u32; 2]) -> [u32; 3] {
    [first, second, 0]
}

/// Each character by itself; bytes that are none stay. Zeros end what a character becomes; nothing but zeros is itself.
fn mapped(bytes: &[u8], call: &mut Call<'_>, ascii: fn(&mut [u8]), becomes: fn(char) -> [u32; 3]) -> Outcome {
    if bytes.is_ascii() {
        let mut text = ascii_copy(bytes, call)?;
        ascii(&mut text);
        return Ok(Output::TextBytes(text));
    }
    let mut made = Made::default();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            call.pace.spend(1)?;
            match becomes(character) {
                [0, ..] => made.push(character)?,
                codes => codes
                    .iter()
                    .take_while(|code| **code != 0)
                    .filter_map(|code| char::from_u32(*code))
                    .try_for_each(|character| made.push(character))?,
            }
        }
        made.put(chunk.invalid())?;
    }
    Ok(Output::TextBytes(made.bytes))
}

fn ascii_copy(bytes: &[u8], call: &mut Call<'_>) -> Result<Vec<u8>, FunctionError> {
    call.pace.spend(1 + bytes.len() / 16)?;
    let mut made = Made::default();
    made.put(bytes)?;
    Ok(made.bytes)
}

/// A text that grows, unless there is no memory.
#[derive(Default)]
struct Made {
    bytes: Vec<u8>,
}

impl Made {
    fn push(&mut self, character: char) -> Result<(), FunctionError> {
        self.put(character.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FunctionError> {
        self.bytes.try_reserve(bytes.len()).map_err(|_| FunctionError::OutOfMemory)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Letters without their marks: decomposed, without combining diacritical marks, composed again (NFC). Latin letters that
/// Unicode does not decompose are spelled in ASCII.
fn unaccent(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    let bytes = arguments[0];
    if bytes.is_ascii() {
        return Ok(Output::TextBytes(ascii_copy(bytes, call)?));
    }
    let mut made = Made::default();
    for chunk in bytes.utf8_chunks() {
        let kept = chunk.valid().nfd().filter(|character| !is_diacritical_mark(*character));
        for character in kept.nfc() {
            call.pace.spend(4)?;
            match spelled(character) {
                Some(ascii) => made.put(ascii.as_bytes())?,
                None => made.push(character)?,
            }
        }
        made.put(chunk.invalid())?;
    }
    Ok(Output::TextBytes(made.bytes))
}

/// Unicode's blocks of them. Marks of other blocks are vowels, tones or points of their script and make another word.
fn is_diacritical_mark(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{fe20}'..='\u{fe2f}')
}

/// As the transform Latin-ASCII of Unicode's CLDR spells them.
fn spelled(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'ẞ' => "SS",
        'æ' => "ae",
        'Æ' => "AE",
        'œ' => "oe",
        'Œ' => "OE",
        'ø' => "o",
        'Ø' => "O",
        'đ' | 'ð' => "d",
        'Đ' | 'Ð' => "D",
        'ħ' => "h",
        'Ħ' => "H",
        'ı' => "i",
        'ł' => "l",
        'Ł' => "L",
        'ŋ' => "n",
        'Ŋ' => "N",
        'þ' => "th",
        'Þ' => "TH",
        'ŧ' => "t",
        'Ŧ' => "T",
        'ĸ' => "q",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

    /// Indexes are made of these functions: whoever updates a crate says in CHANGELOG.md and docs/sql-functions.md which
    /// characters need a REINDEX, and changes the version here.
    #[test]
    fn the_versions_of_unicode_are_those_that_the_docs_name() {
        assert_eq!(unicode_case_mapping::UNICODE_VERSION, (16, 0, 0));
        assert_eq!(unicode_normalization::UNICODE_VERSION, (18, 0, 0));
    }

    /// The tables of regular expressions are made of the same standard by others.
    #[test]
    fn letters_that_fold_to_the_same_are_those_that_patterns_take_for_the_same() {
        for character in '\0'..=char::MAX {
            let mut alike = ClassUnicode::new([ClassUnicodeRange::new(character, character)]);
            alike.case_fold_simple();
            let folded = fold(u32::from(character));
            let members: Vec<char> =
                alike.ranges().iter().flat_map(|range| range.start()..=range.end()).collect();
            assert!(members.iter().all(|member| fold(u32::from(*member)) == folded), "{character:?}");
            assert!(members.iter().any(|member| u32::from(*member) == folded), "{character:?}");
        }
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[aAbBäÄßẞkK\u{212a}]{0,6}".prop_map(String::into_bytes),
            proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'A'), Just(0xc3), any::<u8>()], 0..6),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn the_order_is_total_and_that_of_folded_code_points(left in texts(), right in texts(), third in texts()) {
            let folded = |bytes: &[u8]| code_points::all(bytes).map(fold).collect::<Vec<_>>();
            let order = compare_folded(&left, &right);
            prop_assert_eq!(order, folded(&left).cmp(&folded(&right)));
            prop_assert_eq!(order, compare_folded(&right, &left).reverse());
            if order.is_le() && compare_folded(&right, &third).is_le() {
                prop_assert!(compare_folded(&left, &third).is_le());
            }
        }
    }
}
