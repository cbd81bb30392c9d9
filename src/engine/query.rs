//! Small queries of this program's own, beside those of clients, whose policy does not hold for them.

use super::statement::{Column, RawStatement, Step};
use super::{EngineError, Handle};

/// Runs `sql`, whose one parameter is `parameter`, and calls `each` with every row until it returns false.
pub fn each_row(
    handle: &Handle,
    sql: &str,
    parameter: Option<&[u8]>,
    each: impl FnMut(&RawStatement) -> bool,
) -> Result<(), EngineError> {
    let _own = handle.own();
    let Some(mut statement) = RawStatement::prepare(handle, sql, false)?.statement else { return Ok(()) };
    if let Some(parameter) = parameter {
        statement.bind_text_copied(1, parameter).map_err(|code| handle.error(code))?;
    }
    rows(&mut statement, each).map_err(|code| handle.error(code))
}

/// Steps `statement` and calls `each` with every row until it returns false. The error is the engine's code.
pub fn rows(statement: &mut RawStatement, mut each: impl FnMut(&RawStatement) -> bool) -> Result<(), i32> {
    while statement.step()? == Step::Row {
        if !each(statement) {
            break;
        }
    }
    Ok(())
}

/// Runs `sql` for what it does.
pub fn run(handle: &Handle, sql: &str) -> Result<(), EngineError> {
    each_row(handle, sql, None, |_| true)
}

/// The integer that `sql` yields first.
pub fn integer(handle: &Handle, sql: &str) -> Option<i64> {
    let mut value = None;
    let outcome = each_row(handle, sql, None, |row| {
        value = match (row.column_count(), row.column(0)) {
            (1.., Column::Integer(integer)) => Some(integer),
            _ => None,
        };
        false
    });
    outcome.ok().and(value)
}

/// The text in a column of the current row, empty if it holds none.
pub fn text_at(row: &RawStatement, index: i32) -> String {
    match row.column(index) {
        Column::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// The integer in a column of the current row, 0 if it holds none.
pub fn integer_at(row: &RawStatement, index: i32) -> i64 {
    match row.column(index) {
        Column::Integer(integer) => integer,
        _ => 0,
    }
}
