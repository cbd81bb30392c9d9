//! Which value of a request is for which parameter of its statement.

use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;
use port_driver::params::{Params, ParamsKind};

/// The parameter number, from 1, of each named value in the order of the map; empty for positional ones, which are as many
/// as the statement takes. `names` has one entry for each parameter, with its prefix, and is asked for of named ones only.
pub fn plan<'n>(
    count: u32,
    names: impl FnOnce() -> &'n [Option<String>],
    params: &Params<'_>,
) -> Result<Vec<i32>> {
    match params.kind() {
        ParamsKind::Positional if params.len() == count => Ok(Vec::new()),
        ParamsKind::Positional => Err(Error::new(
            ErrorCode::ParameterCount,
            format!("the statement has {count} parameters, {} were given", params.len()),
        )),
        ParamsKind::Named => plan_named(names(), params),
    }
}

fn plan_named(names: &[Option<String>], params: &Params<'_>) -> Result<Vec<i32>> {
    let mut bound = vec![false; names.len()];
    let mut numbers = Vec::with_capacity(params.len() as usize);
    for pair in params.named() {
        let (name, _) = pair?;
        let matches = |candidate: &Option<String>| {
            candidate.as_deref().is_some_and(|candidate| {
                candidate.as_bytes() == name
                    || candidate.starts_with([':', '@', '$']) && &candidate.as_bytes()[1..] == name
            })
        };
        let mut found = names.iter().enumerate().filter(|(_, candidate)| matches(candidate));
        let Some((index, _)) = found.next() else {
            return Err(name_error(names, "has no parameter", &String::from_utf8_lossy(name)));
        };
        if found.next().is_some() {
            return Err(name_error(
                names,
                "has several parameters (give the prefix too) named",
                &String::from_utf8_lossy(name),
            ));
        }
        if std::mem::replace(&mut bound[index], true) {
            return Err(name_error(names, "was given two values for", &String::from_utf8_lossy(name)));
        }
        numbers.push(i32::try_from(index + 1).unwrap_or(i32::MAX));
    }
    match bound.iter().position(|bound| !bound) {
        None => Ok(numbers),
        Some(index) => {
            let name = names[index].clone().unwrap_or_else(|| format!("number {}", index + 1));
            Err(name_error(names, "was given no value for", &name))
        }
    }
}

fn name_error(names: &[Option<String>], what: &str, name: &str) -> Error {
    let known: Vec<_> = names.iter().map(|name| name.as_deref().unwrap_or("?")).collect();
    Error::new(
        ErrorCode::ParameterName,
        format!("the statement {what} {name:?}; its parameters are [{}]", known.join(", ")),
    )
}
