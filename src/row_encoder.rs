//! Rows, straight from the engine's values into the reply's buffer: no value in between, no copy but the one.

use crate::engine::statement::Column;
use crate::engine::RawStatement;
use port_driver::etf::encoder::{put_binary, put_empty_list, put_float, put_integer, put_list, put_nil};

/// Appends the current row of `statement` as a list of `columns` values.
#[inline]
pub fn encode_row(out: &mut Vec<u8>, statement: &RawStatement, columns: i32) {
    put_list(out, u32::try_from(columns).unwrap_or(0));
    for index in 0..columns {
        match statement.column(index) {
            Column::Integer(integer) => put_integer(out, integer),
            Column::Bytes(bytes) => put_binary(out, bytes),
            Column::Real(real) => put_float(out, real),
            Column::Null => put_nil(out),
        }
    }
    if columns > 0 {
        put_empty_list(out);
    }
}
