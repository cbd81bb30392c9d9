//! `sha256(x)` (FIPS 180-4) and `blake3(x)`: 32 bytes as a blob. The crates `sha2` and `blake3` compute them.

use crate::engine::function::{FunctionError, Outcome, Output};
use crate::engine::text_function::{Call, Purity, TextFunction};
use sha2::{Digest, Sha256};

/// Bytes between two looks at the clock, which take well under a millisecond.
const PIECE_BYTES: usize = 1 << 16;

/// Bytes that count as one step of work.
const BYTES_PER_STEP: usize = 8;

/// The functions.
pub static FUNCTIONS: [TextFunction; 2] = [
    TextFunction { name: c"sha256", arguments: 1, purity: Purity::Deterministic, call: sha256 },
    TextFunction { name: c"blake3", arguments: 1, purity: Purity::Deterministic, call: blake3 },
];

fn sha256(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    let mut hasher = Sha256::new();
    in_pieces(arguments[0], call, |piece| hasher.update(piece))?;
    Ok(Output::Blob(hasher.finalize().to_vec()))
}

fn blake3(arguments: &[&[u8]], call: &mut Call<'_>) -> Outcome {
    let mut hasher = blake3::Hasher::new();
    in_pieces(arguments[0], call, |piece| {
        hasher.update(piece);
    })?;
    Ok(Output::Blob(hasher.finalize().as_bytes().to_vec()))
}

fn in_pieces(bytes: &[u8], call: &mut Call<'_>, mut update: impl FnMut(&[u8])) -> Result<(), FunctionError> {
    for piece in bytes.chunks(PIECE_BYTES) {
        call.pace.spend(1 + piece.len() / BYTES_PER_STEP)?;
        update(piece);
    }
    Ok(())
}
