//! `uuid4()` and `uuid7()` (RFC 9562) make identifiers, `uuid_str(x)` and `uuid_blob(x)` convert them. The crate `uuid` makes
//! and reads them.

use crate::engine::function::{Argument, FunctionError, Outcome, Output, Scalar};
use crate::engine::text_function::{Purity, TextFunction};
use uuid::Uuid;

/// The functions that make one.
pub static FUNCTIONS: [TextFunction; 2] = [
    TextFunction {
        name: c"uuid4",
        arguments: 0,
        purity: Purity::Volatile,
        call: |_, _| Ok(text(Uuid::new_v4())),
    },
    // Of the program's one counter, so that each is greater than all before it, on whichever connection.
    TextFunction {
        name: c"uuid7",
        arguments: 0,
        purity: Purity::Volatile,
        call: |_, _| Ok(text(Uuid::now_v7())),
    },
];

/// Those that convert one.
pub static SCALARS: [Scalar; 2] = [
    Scalar { name: c"uuid_str", arguments: 1, call: |a| convert("uuid_str", a, text) },
    Scalar {
        name: c"uuid_blob",
        arguments: 1,
        call: |a| convert("uuid_blob", a, |uuid| Output::Blob(uuid.into_bytes().to_vec())),
    },
];

fn text(uuid: Uuid) -> Output {
    let mut buffer = Uuid::encode_buffer();
    Output::Text(uuid.hyphenated().encode_lower(&mut buffer).to_owned())
}

/// Reads a blob of 16 bytes, or text: digits with or without hyphens, braces or `urn:uuid:`.
fn convert(function: &str, arguments: &[Argument<'_>], into: fn(Uuid) -> Output) -> Outcome {
    let read = match arguments[0] {
        Argument::Null => return Ok(Output::Null),
        Argument::Blob(bytes) => Uuid::from_slice(bytes),
        Argument::Text(digits) => Uuid::try_parse_ascii(digits),
        Argument::Integer(_) | Argument::Real(_) => {
            return Err(FunctionError::Mismatch(format!("{function}: a number is no UUID")))
        }
    };
    read.map(into).map_err(|error| FunctionError::Mismatch(format!("{function}: {error}")))
}
