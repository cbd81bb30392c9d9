//! Parameters of a request become those of Hrana.

use super::hrana::describe::Description;
use super::hrana::stmt::Args;
use crate::error::{Error, Result};
use crate::parameters;
use port_driver::error_code::ErrorCode;
use port_driver::params::{Params, ParamsKind};
use port_driver::value::Value;

/// The values in the order of the statement's parameters. Named ones need its description; without one the server counts
/// positional ones.
pub fn args(params: &Params<'_>, description: Option<&Description>) -> Result<Args> {
    let mut args = Args::default();
    let numbers = match description {
        Some(description) => {
            let count = u32::try_from(description.parameters.len()).unwrap_or(u32::MAX);
            parameters::plan(count, || &description.parameters, params)?
        }
        None => Vec::new(),
    };
    match params.kind() {
        ParamsKind::Positional => {
            for (number, value) in (1..).zip(params.values()) {
                push(&mut args, number, value?)?;
            }
        }
        ParamsKind::Named => {
            let mut values = vec![Value::Null; numbers.len()];
            for (&number, pair) in numbers.iter().zip(params.named()) {
                let place = usize::try_from(number - 1).ok().and_then(|index| values.get_mut(index));
                if let Some(place) = place {
                    *place = pair?.1;
                }
            }
            for (number, value) in (1..).zip(values) {
                push(&mut args, number, value)?;
            }
        }
    }
    Ok(args)
}

fn push(args: &mut Args, number: u32, value: Value<'_>) -> Result<()> {
    if args.push(value) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::InvalidParameter,
        format!("parameter {number}: a server takes no infinite number, since JSON has none"),
    ))
}
