//! The SQL functions that the sidecar brings, and their registration on every connection. The arithmetic is in
//! [`decimal`], its SQL surface in [`decimal_sql`]; [`float_sql`] carries doubles through JSON; how the engine calls them is `engine::function`'s.

pub mod decimal;
pub mod decimal_sql;
pub mod float_sql;

use crate::engine::{EngineError, Handle};

/// Registers every function on a connection that has just been opened.
pub fn register(handle: &Handle) -> Result<(), EngineError> {
    let mut scalars = decimal_sql::SCALARS.iter().chain(&float_sql::SCALARS);
    scalars.try_for_each(|function| handle.register_scalar(function))?;
    decimal_sql::WINDOWS.iter().try_for_each(|function| handle.register_window(function))
}
