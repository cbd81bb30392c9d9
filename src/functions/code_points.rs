//! Bytes that should be UTF-8 as numbers: a code point for each character, and a number beyond Unicode for each byte that
//! is part of none. So that no two texts are the same numbers, and every order of numbers is one of texts.

/// What a byte that is part of no character is added to.
const STRAY: u32 = 0x11_0000;

/// The first code point and how many bytes it takes; `None` at the end.
#[inline]
pub fn first(bytes: &[u8]) -> Option<(u32, usize)> {
    match bytes.first() {
        Some(byte) if byte.is_ascii() => Some((u32::from(*byte), 1)),
        Some(byte) => Some(beyond_ascii(*byte, bytes)),
        None => None,
    }
}

fn beyond_ascii(byte: u8, bytes: &[u8]) -> (u32, usize) {
    let length = match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let decoded = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match decoded.and_then(|text| text.chars().next()) {
        Some(character) => (u32::from(character), length),
        None => (STRAY + u32::from(byte), 1),
    }
}

/// All of them.
pub fn all(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (code_point, length) = first(rest)?;
        rest = &rest[length..];
        Some(code_point)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_is_its_characters(text in any::<String>()) {
            let expected: Vec<_> = text.chars().map(u32::from).collect();
            prop_assert_eq!(all(text.as_bytes()).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn no_two_sequences_of_bytes_are_the_same(
            left in proptest::collection::vec(prop_oneof![Just(0xc3u8), Just(0xa4), Just(0xed), Just(0xa0), any::<u8>()], 0..6),
            right in proptest::collection::vec(prop_oneof![Just(0xc3u8), Just(0xa4), Just(0xed), Just(0xa0), any::<u8>()], 0..6),
        ) {
            prop_assert_eq!(left == right, all(&left).eq(all(&right)));
        }
    }
}
