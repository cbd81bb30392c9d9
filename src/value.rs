//! A value of the wire becomes a parameter of the engine: here and nowhere else. (The other way is
//! [`crate::row_encoder`].)

use crate::engine::{Bound, RawStatement};
use port_driver::value::Value;

/// Binds without copying: the request's bytes outlive the run.
#[inline]
pub fn bind_borrowed<'p>(statement: &mut Bound<'_, 'p>, index: i32, value: Value<'p>) -> Result<(), i32> {
    match value {
        Value::Null => statement.bind_null(index),
        Value::Integer(integer) => statement.bind_integer(index, integer),
        Value::Real(real) => statement.bind_real(index, real),
        Value::Text(text) => statement.bind_text_borrowed(index, text.as_bytes()),
        Value::Blob(blob) => statement.bind_blob_borrowed(index, blob),
    }
}

/// Binds a copy, for a cursor that outlives its request.
pub fn bind_copied(statement: &mut RawStatement, index: i32, value: Value<'_>) -> Result<(), i32> {
    match value {
        Value::Null => statement.bind_null(index),
        Value::Integer(integer) => statement.bind_integer(index, integer),
        Value::Real(real) => statement.bind_real(index, real),
        Value::Text(text) => statement.bind_text_copied(index, text.as_bytes()),
        Value::Blob(blob) => statement.bind_blob_copied(index, blob),
    }
}
