//! Rows, straight from the engine's values into the reply's buffer: no value in between, no copy but the one.

use crate::engine::statement::Column;
use crate::engine::RawStatement;
use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_binary, put_empty_list, put_float, put_integer, put_list, put_nil};

/// A value of this size has its room reserved, so that a system without memory is an error and not the program's end.
const RESERVED_BYTES: usize = 64 << 10;

/// Appends the current row of `statement` as a list of `columns` values.
#[inline]
pub fn encode_row(out: &mut Vec<u8>, statement: &RawStatement, columns: i32) -> Result<()> {
    put_list(out, u32::try_from(columns).unwrap_or(0));
    statement.for_each_column(columns, |value| encode_value(out, value))?;
    if columns > 0 {
        put_empty_list(out);
    }
    Ok(())
}

/// Appends one value.
// A tenth of the instructions of a row is the call, where the compiler makes one.
#[inline(always)]
pub fn encode_value(out: &mut Vec<u8>, value: Column<'_>) -> Result<()> {
    match value {
        Column::Integer(integer) => put_integer(out, integer),
        Column::Bytes(bytes) => {
            if bytes.len() >= RESERVED_BYTES {
                out.try_reserve(bytes.len() + 5).map_err(|_| out_of_memory(bytes.len()))?;
            }
            put_binary(out, bytes);
        }
        Column::Real(real) => put_float(out, real),
        Column::Null => put_nil(out),
    }
    Ok(())
}

#[cold]
fn out_of_memory(bytes: usize) -> Error {
    Error::new(
        ErrorCode::OutOfMemory,
        format!("the system has no memory for a value of {bytes} bytes in a reply"),
    )
}
