//! `float_of_bits(x)`, `float_of_text(x)`, `float_text(x)`: doubles in and out of JSON without loss. SQLite reads and
//! writes the text of a double inexactly (some 15 digits), so a list or an array in JSON would change it.

use crate::engine::function::{Argument, FunctionError, Outcome, Output, Scalar};

/// The functions.
pub static SCALARS: [Scalar; 3] = [
    Scalar { name: c"float_of_bits", arguments: 1, call: of_bits },
    Scalar { name: c"float_of_text", arguments: 1, call: of_text },
    Scalar { name: c"float_text", arguments: 1, call: text },
];

/// The double with these 64 bits. NaN, which SQLite has no value for, is refused.
fn of_bits(arguments: &[Argument<'_>]) -> Outcome {
    match arguments[0] {
        Argument::Null => Ok(Output::Null),
        Argument::Integer(bits) => match f64::from_bits(bits.cast_unsigned()) {
            real if real.is_nan() => {
                Err(FunctionError::Mismatch("float_of_bits: NaN is no value of SQL".to_owned()))
            }
            real => Ok(Output::Real(real)),
        },
        _ => Err(FunctionError::Mismatch("float_of_bits: the bits are an integer".to_owned())),
    }
}

/// The double nearest to a decimal text; a number is passed through as a REAL. NULL for a text that is no number.
fn of_text(arguments: &[Argument<'_>]) -> Outcome {
    Ok(match arguments[0] {
        Argument::Null => Output::Null,
        Argument::Integer(integer) => Output::Real(integer as f64),
        Argument::Real(real) => Output::Real(real),
        Argument::Text(digits) | Argument::Blob(digits) => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.trim().parse::<f64>().ok())
            .filter(|real| real.is_finite())
            .map_or(Output::Null, Output::Real),
    })
}

/// The shortest text that gives this double, as JSON writes it; an integer is written as a double.
fn text(arguments: &[Argument<'_>]) -> Outcome {
    let real = match arguments[0] {
        Argument::Null => return Ok(Output::Null),
        Argument::Integer(integer) => integer as f64,
        Argument::Real(real) => real,
        Argument::Text(_) | Argument::Blob(_) => {
            return Err(FunctionError::Mismatch("float_text: the argument is a number".to_owned()))
        }
    };
    if real.is_finite() {
        // Debug writes `1.0` and `1e-7`, both of which are JSON.
        Ok(Output::Text(format!("{real:?}")))
    } else {
        Err(FunctionError::Mismatch("float_text: JSON has no infinity".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_and_text_give_the_double_back(bits in any::<i64>()) {
            if let Ok(Output::Real(real)) = of_bits(&[Argument::Integer(bits)]) {
                prop_assert_eq!(real.to_bits().cast_signed(), bits);
                if let Ok(Output::Text(written)) = text(&[Argument::Real(real)]) {
                    prop_assert_eq!(of_text(&[Argument::Text(written.as_bytes())]), Ok(Output::Real(real)));
                }
            }
        }
    }

    #[test]
    fn what_is_no_double_is_refused() {
        assert!(of_bits(&[Argument::Integer(f64::NAN.to_bits().cast_signed())]).is_err());
        assert!(text(&[Argument::Real(f64::INFINITY)]).is_err());
        assert_eq!(of_text(&[Argument::Text(b"null")]), Ok(Output::Null));
        assert_eq!(text(&[Argument::Integer(2)]), Ok(Output::Text("2.0".to_owned())));
    }
}
