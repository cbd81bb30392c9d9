//! Appends terms to a buffer.
//!
//! Free functions over `Vec<u8>`, because rows are written value by value from the engine's own memory and
//! nothing may stand between. What is smallest to decode is written: integers in their shortest form, atoms
//! as ATOM_EXT, which the BEAM reads a quarter faster than the UTF-8 form.

use super::tag;

/// An integer in its smallest form.
#[inline]
pub fn put_integer(out: &mut Vec<u8>, value: i64) {
    if let Ok(byte) = u8::try_from(value) {
        out.extend_from_slice(&[tag::SMALL_INTEGER, byte]);
    } else if let Ok(word) = i32::try_from(value) {
        let [a, b, c, d] = word.to_be_bytes();
        out.extend_from_slice(&[tag::INTEGER, a, b, c, d]);
    } else {
        put_big(out, value < 0, value.unsigned_abs());
    }
}

/// A non-negative integer in its smallest form.
#[inline]
pub fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    match i64::try_from(value) {
        Ok(value) => put_integer(out, value),
        Err(_) => put_big(out, false, value),
    }
}

/// A number below 2^31 in five bytes, whatever it is: for what is read at a fixed place.
#[inline]
pub fn put_fixed(out: &mut Vec<u8>, value: u32) {
    let [a, b, c, d] = (value & 0x7fff_ffff).to_be_bytes();
    out.extend_from_slice(&[tag::INTEGER, a, b, c, d]);
}

fn put_big(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    let bytes = magnitude.to_le_bytes();
    let used = 8 - magnitude.leading_zeros() as usize / 8;
    out.extend_from_slice(&[tag::SMALL_BIG, used as u8, u8::from(negative)]);
    out.extend_from_slice(&bytes[..used]);
}

/// A float. The BEAM has neither infinities nor NaN: the former become the atoms `infinity` and
/// `neg_infinity`, the latter `nil`, as SQLite itself turns NaN into NULL.
#[inline]
pub fn put_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        out.extend_from_slice(&[tag::NEW_FLOAT, a, b, c, d, e, f, g, h]);
    } else if value.is_nan() {
        put_nil(out);
    } else {
        put_atom(out, if value > 0.0 { "infinity" } else { "neg_infinity" });
    }
}

/// A binary. SQLite's values and SQL texts end far below the 4 GiB that the length field can say.
#[inline]
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a binary is shorter than 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    out.reserve(5 + bytes.len());
    out.extend_from_slice(&[tag::BINARY, a, b, c, d]);
    out.extend_from_slice(bytes);
}

/// The head of a binary, whose bytes must follow.
pub fn put_binary_head(out: &mut Vec<u8>, length: usize) {
    put_counted(out, tag::BINARY, u32::try_from(length).expect("a binary is shorter than 4 GiB"));
}

/// A binary, or `nil`.
#[inline]
pub fn put_optional_binary(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put_binary(out, bytes),
        None => put_nil(out),
    }
}

/// A map's key: the program's maps have binary keys, so that no client need make atoms of them.
#[inline]
pub fn put_key(out: &mut Vec<u8>, key: &str) {
    put_binary(out, key.as_bytes());
}

/// An ASCII atom.
#[inline]
pub fn put_atom(out: &mut Vec<u8>, name: &str) {
    debug_assert!(name.is_ascii() && name.len() <= 255, "the program's own atoms are short and ASCII");
    out.extend_from_slice(&[tag::ATOM, 0, name.len() as u8]);
    out.extend_from_slice(name.as_bytes());
}

/// The atom `nil`: SQL's NULL.
#[inline]
pub fn put_nil(out: &mut Vec<u8>) {
    out.extend_from_slice(b"d\0\x03nil");
}

/// `true` or `false`.
#[inline]
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    put_atom(out, if value { "true" } else { "false" });
}

/// A tuple's head; `arity` terms must follow.
#[inline]
pub fn put_tuple(out: &mut Vec<u8>, arity: u32) {
    match u8::try_from(arity) {
        Ok(arity) => out.extend_from_slice(&[tag::SMALL_TUPLE, arity]),
        Err(_) => put_counted(out, tag::LARGE_TUPLE, arity),
    }
}

/// A map's head; `pairs` times a key and a value must follow.
#[inline]
pub fn put_map(out: &mut Vec<u8>, pairs: u32) {
    put_counted(out, tag::MAP, pairs);
}

/// The empty list, which is also what closes a list.
#[inline]
pub fn put_empty_list(out: &mut Vec<u8>) {
    out.push(tag::NIL);
}

/// A list's head; `len` terms and [`put_empty_list`] must follow. With `len` 0 this is the whole list and
/// nothing may follow.
#[inline]
pub fn put_list(out: &mut Vec<u8>, len: u32) {
    if len == 0 {
        put_empty_list(out);
    } else {
        put_counted(out, tag::LIST, len);
    }
}

#[inline]
fn put_counted(out: &mut Vec<u8>, tag: u8, count: u32) {
    let [a, b, c, d] = count.to_be_bytes();
    out.extend_from_slice(&[tag, a, b, c, d]);
}

/// A list whose length is not known yet.
#[derive(Debug)]
#[must_use = "a list that is begun must be ended"]
pub struct ListStart(usize);

/// Starts a list whose length will be known at [`end_list`].
#[inline]
pub fn begin_list(out: &mut Vec<u8>) -> ListStart {
    let start = out.len();
    put_counted(out, tag::LIST, 0);
    ListStart(start)
}

/// Ends the list: writes how many terms have been appended, and its tail.
#[inline]
pub fn end_list(out: &mut Vec<u8>, start: ListStart, count: u32) {
    if count == 0 {
        debug_assert_eq!(out.len(), start.0 + 5, "an empty list has no elements");
        out.truncate(start.0);
    } else {
        out[start.0 + 1..start.0 + 5].copy_from_slice(&count.to_be_bytes());
    }
    put_empty_list(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    #[test]
    fn integers_take_their_smallest_form() {
        let cases: &[(i64, &[u8])] = &[
            (0, &[97, 0]),
            (255, &[97, 255]),
            (256, &[98, 0, 0, 1, 0]),
            (-1, &[98, 255, 255, 255, 255]),
            (i32::MIN as i64, &[98, 128, 0, 0, 0]),
            (i32::MAX as i64 + 1, &[110, 4, 0, 0, 0, 0, 128]),
            (i32::MIN as i64 - 1, &[110, 4, 1, 1, 0, 0, 128]),
            (1 << 32, &[110, 5, 0, 0, 0, 0, 0, 1]),
            (i64::MAX, &[110, 8, 0, 255, 255, 255, 255, 255, 255, 255, 127]),
            (i64::MIN, &[110, 8, 1, 0, 0, 0, 0, 0, 0, 0, 128]),
        ];
        for (value, expected) in cases {
            assert_eq!(written(|out| put_integer(out, *value)), *expected, "{value}");
        }
        assert_eq!(
            written(|out| put_unsigned(out, u64::MAX)),
            [110, 8, 0, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(written(|out| put_unsigned(out, 7)), [97, 7]);
    }

    #[test]
    fn floats_that_the_beam_lacks_become_atoms() {
        assert_eq!(written(|out| put_float(out, 1.5)), [70, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(written(|out| put_float(out, -0.0)), [70, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(written(|out| put_float(out, f64::INFINITY)), b"d\0\x08infinity");
        assert_eq!(written(|out| put_float(out, f64::NEG_INFINITY)), b"d\0\x0cneg_infinity");
        assert_eq!(written(|out| put_float(out, f64::NAN)), b"d\0\x03nil");
    }

    #[test]
    fn containers_and_names() {
        assert_eq!(written(|out| put_tuple(out, 255)), [104, 255]);
        assert_eq!(written(|out| put_tuple(out, 256)), [105, 0, 0, 1, 0]);
        assert_eq!(written(|out| put_map(out, 2)), [116, 0, 0, 0, 2]);
        assert_eq!(written(|out| put_list(out, 0)), [106]);
        assert_eq!(written(|out| put_list(out, 3)), [108, 0, 0, 0, 3]);
        assert_eq!(written(|out| put_bool(out, true)), b"d\0\x04true");
        assert_eq!(written(|out| put_optional_binary(out, Some(b"a\0"))), [109, 0, 0, 0, 2, 97, 0]);
        assert_eq!(written(|out| put_optional_binary(out, None)), b"d\0\x03nil");
    }

    #[test]
    fn a_list_of_unknown_length_is_patched() {
        let list = |count: u32| {
            written(|out| {
                let start = begin_list(out);
                (0..count).for_each(|_| put_integer(out, 1));
                end_list(out, start, count);
            })
        };
        assert_eq!(list(0), [106]);
        assert_eq!(list(2), [108, 0, 0, 0, 2, 97, 1, 97, 1, 106]);
    }
}
