//! Parameters of a request become those of Hrana.

use super::errors::unsupported;
use super::hrana::describe::Description;
use super::hrana::stmt::Args;
use crate::error::{Error, Result};
use crate::parameters;
use port_driver::error_code::ErrorCode;
use port_driver::params::{Params, ParamsKind};
use port_driver::value::Value;

/// Whether the server has to be asked what parameters `sql` has: a server wants those by name that have one.
pub fn needs_description(sql: &str, params: &Params<'_>) -> bool {
    params.kind() == ParamsKind::Named || !params.is_empty() && sql.contains([':', '@', '$'])
}

/// The values as the server takes them. Without a description, which texts without names do not need and others do not always
/// have, the server counts them, and looks for their names.
pub fn args(params: &Params<'_>, description: Option<&Description>) -> Result<Args> {
    let Some(description) = description else {
        return match params.kind() {
            ParamsKind::Positional => by_place(params.values().map(|value| value.map_err(Error::from))),
            ParamsKind::Named => by_name(params),
        };
    };
    let names = &description.parameters;
    let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let numbers = parameters::plan(count, || names, params)?;
    let mut values = Vec::with_capacity(names.len());
    match params.kind() {
        ParamsKind::Positional => {
            for value in params.values() {
                values.push(value?);
            }
        }
        ParamsKind::Named => {
            values.resize(numbers.len(), Value::Null);
            for (&number, pair) in numbers.iter().zip(params.named()) {
                let place = usize::try_from(number - 1).ok().and_then(|index| values.get_mut(index));
                if let Some(place) = place {
                    *place = pair?.1;
                }
            }
        }
    }
    // `?7` is a place.
    let named = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.starts_with('?'));
    match names.iter().filter(|name| named(name)).count() {
        0 => by_place(values.into_iter().map(Ok)),
        all if all == names.len() => {
            let mut args = Args::default();
            for (name, value) in names.iter().flatten().zip(values) {
                if !args.push_named(name, value) {
                    return Err(infinite(name));
                }
            }
            Ok(args)
        }
        _ => unsupported("a statement that has parameters with names and others without"),
    }
}

fn by_place<'v>(values: impl Iterator<Item = Result<Value<'v>>>) -> Result<Args> {
    let mut args = Args::default();
    for (number, value) in (1_u32..).zip(values) {
        if !args.push(value?) {
            return Err(infinite(&number.to_string()));
        }
    }
    Ok(args)
}

/// As the client calls them: a server finds a parameter with its prefix and without.
fn by_name(params: &Params<'_>) -> Result<Args> {
    let mut args = Args::default();
    for pair in params.named() {
        let (name, value) = pair?;
        let name = String::from_utf8_lossy(name);
        if !args.push_named(&name, value) {
            return Err(infinite(&name));
        }
    }
    Ok(args)
}

fn infinite(parameter: &str) -> Error {
    Error::new(
        ErrorCode::InvalidParameter,
        format!("parameter {parameter}: a server takes no infinite number, since JSON has none"),
    )
}
