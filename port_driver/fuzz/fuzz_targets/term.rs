//! Any bytes as a term: stepping over it and reading it token by token must agree, and what is read must
//! survive being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use port_driver::etf::{encoder, DecodeError, Decoder, Token};

fuzz_target!(|bytes: &[u8]| {
    let mut skipping = Decoder::new(bytes);
    let skipped = skipping.skip_term();
    let mut written = Vec::new();
    let mut reading = Decoder::new(bytes);
    let read = rewrite(&mut reading, &mut written, 0);
    match skipped {
        Ok(term) => {
            assert_eq!(term, &bytes[..skipping.position()]);
            assert_eq!(read, Ok(()));
            assert_eq!(reading.position(), skipping.position());
            let mut again = Vec::new();
            let mut rereading = Decoder::new(&written);
            assert_eq!(rewrite(&mut rereading, &mut again, 0), Ok(()));
            assert_eq!(rereading.finish(), Ok(()));
            assert_eq!(again, written);
        }
        Err(error) => assert_eq!(read, Err(error)),
    }
});

/// Writes the term in the encoder's own forms. Recursive, with the decoder's limit: that is its own check.
fn rewrite(decoder: &mut Decoder<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), DecodeError> {
    let position = decoder.position();
    let token = decoder.next()?;
    let nests = matches!(token, Token::List(_) | Token::Tuple(_) | Token::Map(_));
    if nests && depth == port_driver::etf::decoder::DEPTH_MAX {
        return Err(DecodeError::Depth { position });
    }
    let many = |decoder: &mut Decoder<'_>, count: u64, out: &mut Vec<u8>| {
        (0..count).try_for_each(|_| rewrite(decoder, out, depth + 1))
    };
    match token {
        Token::Integer(value) => encoder::put_integer(out, value),
        // The encoder has no integers beyond 64 bits; their bytes are as good a witness.
        Token::BigInteger { negative, magnitude } => {
            encoder::put_tuple(out, 2);
            encoder::put_bool(out, negative);
            encoder::put_binary(out, magnitude);
        }
        Token::Float(value) => encoder::put_float(out, value),
        Token::Atom(name) => match std::str::from_utf8(name) {
            Ok(name) if name.is_ascii() => encoder::put_atom(out, name),
            _ => encoder::put_binary(out, name),
        },
        Token::Binary(bytes) => encoder::put_binary(out, bytes),
        Token::EmptyList => encoder::put_empty_list(out),
        Token::String(bytes) => {
            let start = encoder::begin_list(out);
            bytes.iter().for_each(|byte| encoder::put_integer(out, i64::from(*byte)));
            encoder::end_list(out, start, bytes.len() as u32);
        }
        Token::Tuple(count) => {
            encoder::put_tuple(out, count);
            many(decoder, u64::from(count), out)?;
        }
        Token::Map(pairs) => {
            encoder::put_map(out, pairs);
            many(decoder, u64::from(pairs) * 2, out)?;
        }
        Token::List(count) => {
            let start = encoder::begin_list(out);
            many(decoder, u64::from(count), out)?;
            decoder.list_end()?;
            encoder::end_list(out, start, count);
        }
    }
    Ok(())
}
