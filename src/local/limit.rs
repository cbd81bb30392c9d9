//! The engine's own limits, `SQLITE_LIMIT_*`, set at `open`: no statement of an ordinary application meets them, and what
//! does is an error instead of a program that runs out of stack or memory. https://sqlite.org/c3ref/c_limit_attached.html

use crate::engine::{code, Handle};
use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;
use port_driver::request::PragmaValue;

struct Spec {
    name: &'static str,
    limit: i32,
    default: i32,
    /// For SQL of strangers, after <https://sqlite.org/security.html>.
    untrusted: i32,
    /// The least that it can be: below it the statements of this program itself would fail, with errors that speak of a
    /// damaged file or of no memory.
    floor: i32,
}

const fn spec(name: &'static str, limit: i32, default: i32, untrusted: i32, floor: i32) -> Spec {
    Spec { name, limit, default, untrusted, floor }
}

const SPECS: &[Spec] = &[
    // Bytes of a text, a blob or a row.
    spec("length", code::SQLITE_LIMIT_LENGTH, 256 << 20, 1_000_000, 1000),
    spec("sql_length", code::SQLITE_LIMIT_SQL_LENGTH, 64 << 20, 100_000, 1000),
    spec("column", code::SQLITE_LIMIT_COLUMN, 2000, 100, 16),
    spec("expr_depth", code::SQLITE_LIMIT_EXPR_DEPTH, 1000, 50, 10),
    spec("compound_select", code::SQLITE_LIMIT_COMPOUND_SELECT, 500, 10, 0),
    spec("vdbe_op", code::SQLITE_LIMIT_VDBE_OP, 10_000_000, 25_000, 1000),
    spec("function_arg", code::SQLITE_LIMIT_FUNCTION_ARG, 127, 16, 8),
    spec("attached", code::SQLITE_LIMIT_ATTACHED, 10, 10, 0),
    spec("like_pattern_length", code::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50_000, 100, 100),
    spec("variable_number", code::SQLITE_LIMIT_VARIABLE_NUMBER, 32_766, 100, 8),
    spec("trigger_depth", code::SQLITE_LIMIT_TRIGGER_DEPTH, 1000, 10, 0),
];

/// Sets every limit: what the client gave, else the default, or that for SQL of strangers. Those of an error are as before.
pub fn apply(handle: &Handle, given: &[(String, PragmaValue<'_>)], untrusted: bool) -> Result<()> {
    if let Some((name, _)) = given.iter().find(|(name, _)| SPECS.iter().all(|spec| spec.name != name)) {
        let known: Vec<_> = SPECS.iter().map(|spec| spec.name).collect();
        let name: String = name.chars().take(64).collect();
        return Err(invalid(format!("there is no limit {name:?}; known ones are {}", known.join(", "))));
    }
    let value = |spec: &Spec| match given.iter().find(|(name, _)| name == spec.name) {
        None if untrusted => Ok(spec.untrusted),
        None => Ok(spec.default),
        Some((_, value)) => spec.value(value),
    };
    let values: Vec<i32> = SPECS.iter().map(value).collect::<Result<_>>()?;
    let before: Vec<i32> = SPECS.iter().map(|spec| handle.set_limit(spec.limit, -1)).collect();
    for (spec, value) in SPECS.iter().zip(values) {
        let now = handle.set_limit(spec.limit, value);
        if now != value {
            for (spec, value) in SPECS.iter().zip(&before) {
                handle.set_limit(spec.limit, *value);
            }
            let end = if now < value { "most" } else { "least" };
            return Err(invalid(format!("the limit {} can be {now} at {end}", spec.name)));
        }
    }
    Ok(())
}

/// The limits of `open` that were accepted, which are integers.
pub fn kept(given: &[(String, PragmaValue<'_>)]) -> Vec<(String, PragmaValue<'static>)> {
    let integer = |(name, value): &(String, PragmaValue<'_>)| match value {
        PragmaValue::Integer(value) => Some((name.clone(), PragmaValue::Integer(*value))),
        _ => None,
    };
    given.iter().filter_map(integer).collect()
}

impl Spec {
    fn value(&self, given: &PragmaValue<'_>) -> Result<i32> {
        let Spec { name, floor, .. } = self;
        let value = match given {
            PragmaValue::Integer(value) => i32::try_from(*value).ok(),
            _ => None,
        };
        match value {
            Some(value) if value >= *floor => Ok(value),
            Some(value) => Err(invalid(format!(
                "limits: [{name}: {value}]: the limit {name} can be {floor} at least; the sidecar's own statements need that"
            ))),
            None => Err(invalid(format!("the limit {name} is an integer from {floor} to {}", i32::MAX))),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorCode::InvalidOption, message)
}
