//! A stream of frames in pieces of any size: what comes out must not depend on the pieces, nothing may be
//! kept of what is too large, and every payload must have a typed outcome.
#![no_main]

#[path = "../../tests/support/exercise.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (piece_bytes, frame_bytes_max, stream) = input;
    let frame_bytes_max = u32::from(frame_bytes_max);
    let whole = exercise::stream(stream, stream.len().max(1), frame_bytes_max);
    let pieces = exercise::stream(stream, usize::from(piece_bytes).max(1), frame_bytes_max);
    assert_eq!(whole, pieces);
});
