//! `decimal(x)`, `decimal_add(x, y)` and the rest: [`Decimal`] as SQL functions. docs/sql-functions.md lists them.
//!
//! NULL gives NULL. INTEGER is what it says, REAL the shortest decimal that gives the double, TEXT and BLOB are digits;
//! anything else is a mismatch. Numbers are returned in their stored form, so that SQL compares them natively.

use super::decimal::{Decimal, DecimalError, Stored, Sum};
use crate::engine::function::{Aggregate, Argument, FunctionError, Outcome, Output, Scalar, Window};
use std::collections::VecDeque;

/// The functions of one row.
pub static SCALARS: [Scalar; 12] = [
    Scalar { name: c"decimal", arguments: 1, call: |a| unary("decimal", a, Ok) },
    Scalar { name: c"decimal_add", arguments: 2, call: |a| binary("decimal_add", a, |x, y| x.add(y)) },
    Scalar {
        name: c"decimal_sub",
        arguments: 2,
        call: |a| binary("decimal_sub", a, |x, y| x.add(&y.negate())),
    },
    Scalar { name: c"decimal_mul", arguments: 2, call: |a| binary("decimal_mul", a, Decimal::multiply) },
    Scalar { name: c"decimal_div", arguments: 2, call: divide },
    Scalar { name: c"decimal_neg", arguments: 1, call: |a| unary("decimal_neg", a, |x| Ok(x.negate())) },
    Scalar { name: c"decimal_abs", arguments: 1, call: |a| unary("decimal_abs", a, |x| Ok(x.absolute())) },
    Scalar { name: c"decimal_round", arguments: 2, call: round },
    Scalar { name: c"decimal_cmp", arguments: 2, call: compare },
    Scalar { name: c"decimal_key", arguments: 1, call: key },
    Scalar { name: c"decimal_of_key", arguments: 1, call: of_key },
    Scalar { name: c"decimal_text", arguments: 1, call: text },
];

/// The aggregates, which are window functions, too.
pub static WINDOWS: [Window; 4] = [
    Window {
        name: c"decimal_sum",
        start: || Box::new(Total { function: "decimal_sum", ..Total::default() }),
    },
    Window {
        name: c"decimal_avg",
        start: || Box::new(Total { function: "decimal_avg", average: true, ..Total::default() }),
    },
    Window {
        name: c"decimal_min",
        start: || Box::new(Extreme { function: "decimal_min", ..Extreme::default() }),
    },
    Window {
        name: c"decimal_max",
        start: || Box::new(Extreme { function: "decimal_max", largest: true, ..Extreme::default() }),
    },
];

/// The number of an argument, `None` for NULL.
fn number(function: &str, argument: Argument<'_>) -> Result<Option<Decimal>, FunctionError> {
    let parsed = match argument {
        Argument::Null => return Ok(None),
        Argument::Integer(integer) => Ok(Decimal::from(integer)),
        Argument::Real(real) => Decimal::from_real(real),
        Argument::Text(digits) | Argument::Blob(digits) => Decimal::parse(digits),
    };
    parsed.map(Some).map_err(|error| refuse(function, argument, error))
}

fn refuse(function: &str, argument: Argument<'_>, error: DecimalError) -> FunctionError {
    match error {
        DecimalError::NotANumber => {
            FunctionError::Mismatch(format!("{function}: {} is {error}", shown(argument)))
        }
        DecimalError::TooManyDigits | DecimalError::ExponentOutOfRange => too_big(function, error),
    }
}

fn too_big(function: &str, error: DecimalError) -> FunctionError {
    FunctionError::TooBig(format!("{function}: {error}"))
}

/// The beginning of an argument, for a message.
fn shown(argument: Argument<'_>) -> String {
    match argument {
        Argument::Null => "NULL".to_owned(),
        Argument::Integer(integer) => integer.to_string(),
        Argument::Real(real) => real.to_string(),
        Argument::Text(bytes) | Argument::Blob(bytes) => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            format!("{text:?}")
        }
    }
}

fn stored(number: &Decimal) -> Output {
    match number.stored() {
        Stored::Integer(integer) => Output::Integer(integer),
        Stored::Real(real) => Output::Real(real),
        Stored::Digits(digits) => Output::Blob(digits.into_bytes()),
    }
}

fn unary(
    function: &str,
    arguments: &[Argument<'_>],
    compute: fn(Decimal) -> Result<Decimal, DecimalError>,
) -> Outcome {
    let Some(x) = number(function, arguments[0])? else { return Ok(Output::Null) };
    compute(x).map(|result| stored(&result)).map_err(|error| too_big(function, error))
}

fn operands(function: &str, arguments: &[Argument<'_>]) -> Result<Option<(Decimal, Decimal)>, FunctionError> {
    Ok(number(function, arguments[0])?.zip(number(function, arguments[1])?))
}

fn binary(
    function: &str,
    arguments: &[Argument<'_>],
    compute: fn(&Decimal, &Decimal) -> Result<Decimal, DecimalError>,
) -> Outcome {
    let Some((x, y)) = operands(function, arguments)? else { return Ok(Output::Null) };
    compute(&x, &y).map(|result| stored(&result)).map_err(|error| too_big(function, error))
}

/// NULL where the divisor is zero, as SQLite's `/` gives.
fn divide(arguments: &[Argument<'_>]) -> Outcome {
    let Some((x, y)) = operands("decimal_div", arguments)? else { return Ok(Output::Null) };
    match x.divide(&y) {
        None => Ok(Output::Null),
        Some(quotient) => {
            quotient.map(|result| stored(&result)).map_err(|error| too_big("decimal_div", error))
        }
    }
}

fn round(arguments: &[Argument<'_>]) -> Outcome {
    let Some(x) = number("decimal_round", arguments[0])? else { return Ok(Output::Null) };
    match arguments[1] {
        Argument::Null => Ok(Output::Null),
        Argument::Integer(places) => {
            x.round(places).map(|result| stored(&result)).map_err(|error| too_big("decimal_round", error))
        }
        other => Err(FunctionError::Mismatch(format!(
            "decimal_round: the number of places is an integer, not {}",
            shown(other)
        ))),
    }
}

fn compare(arguments: &[Argument<'_>]) -> Outcome {
    let Some((x, y)) = operands("decimal_cmp", arguments)? else { return Ok(Output::Null) };
    Ok(Output::Integer(x.cmp(&y) as i64))
}

fn key(arguments: &[Argument<'_>]) -> Outcome {
    Ok(number("decimal_key", arguments[0])?.map_or(Output::Null, |x| Output::Blob(x.key())))
}

fn of_key(arguments: &[Argument<'_>]) -> Outcome {
    match arguments[0] {
        Argument::Null => Ok(Output::Null),
        Argument::Blob(key) => Decimal::from_key(key).map(|x| stored(&x)).map_err(|_| {
            FunctionError::Mismatch("decimal_of_key: the blob is no key of decimal_key".to_owned())
        }),
        other => Err(FunctionError::Mismatch(format!("decimal_of_key: {} is no blob", shown(other)))),
    }
}

fn text(arguments: &[Argument<'_>]) -> Outcome {
    Ok(number("decimal_text", arguments[0])?.map_or(Output::Null, |x| Output::Text(x.plain())))
}

/// Sum or average of the rows that are not NULL.
#[derive(Default)]
struct Total {
    function: &'static str,
    average: bool,
    sum: Sum,
    count: i64,
}

impl Total {
    fn add(&mut self, argument: Argument<'_>, leaves: bool) -> Result<(), FunctionError> {
        let Some(mut x) = number(self.function, argument)? else { return Ok(()) };
        if leaves {
            x = x.negate();
        }
        self.count += if leaves { -1 } else { 1 };
        self.sum.add(&x).map_err(|error| too_big(self.function, error))
    }
}

impl Aggregate for Total {
    fn step(&mut self, argument: Argument<'_>) -> Result<(), FunctionError> {
        self.add(argument, false)
    }

    fn inverse(&mut self, argument: Argument<'_>) -> Result<(), FunctionError> {
        self.add(argument, true)
    }

    fn value(&self) -> Outcome {
        if self.count == 0 {
            return Ok(Output::Null);
        }
        let sum = self.sum.value().map_err(|error| too_big(self.function, error))?;
        let value = if self.average { sum.divide(&Decimal::from(self.count)) } else { Some(Ok(sum)) };
        match value {
            None => Ok(Output::Null),
            Some(value) => value.map(|x| stored(&x)).map_err(|error| too_big(self.function, error)),
        }
    }
}

/// The smallest or largest of the rows that are not NULL.
///
/// `candidates` are the rows that can still be the extreme once earlier ones have left, in the order of arrival: each is
/// worse than those before it. SQLite does not say whether rows will leave, so rows that arrive in the extreme's order are
/// kept although a plain aggregate needs only the first. `min(decimal_key(x))` keeps one.
#[derive(Default)]
struct Extreme {
    function: &'static str,
    largest: bool,
    entered: u64,
    left: u64,
    candidates: VecDeque<(u64, Vec<u8>)>,
}

impl Aggregate for Extreme {
    fn step(&mut self, argument: Argument<'_>) -> Result<(), FunctionError> {
        let Some(x) = number(self.function, argument)? else { return Ok(()) };
        let key = x.key();
        while self
            .candidates
            .back()
            .is_some_and(|(_, last)| if self.largest { *last <= key } else { *last >= key })
        {
            self.candidates.pop_back();
        }
        self.candidates.push_back((self.entered, key));
        self.entered += 1;
        Ok(())
    }

    fn inverse(&mut self, argument: Argument<'_>) -> Result<(), FunctionError> {
        if argument == Argument::Null {
            return Ok(());
        }
        if self.candidates.front().is_some_and(|(number, _)| *number == self.left) {
            self.candidates.pop_front();
        }
        self.left += 1;
        Ok(())
    }

    fn value(&self) -> Outcome {
        self.candidates.front().map_or(Ok(Output::Null), |(_, key)| of_key(&[Argument::Blob(key)]))
    }
}
