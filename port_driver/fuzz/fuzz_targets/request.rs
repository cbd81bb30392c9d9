//! Any bytes as the payload of a request of any tag, its values included: wrong and broken must never be
//! confused.
#![no_main]

#[path = "../../tests/support/exercise.rs"]
#[allow(dead_code)] // one of its two ways in
mod exercise;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((tag, payload)) = bytes.split_first() {
        exercise::payload(*tag, payload);
    }
});
