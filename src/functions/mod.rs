//! The SQL functions that the sidecar brings, and their registration on every connection. The arithmetic is in
//! [`decimal`], its SQL surface in [`decimal_sql`]; [`float_sql`] carries doubles through JSON; [`regexp`] is what SQLite leaves
//! to applications; [`unicode`] and [`unicode_like`] know letters beyond ASCII. How the engine calls them is that of
//! `engine::{function, text_function, matcher, collation}`. `generate_series` is a table and lives in `engine::series`.
//!
//! All are registered when a connection opens, so that what its owner registers later by the same name takes their place.

mod code_points;
pub mod decimal;
pub mod decimal_sql;
pub mod distance;
pub mod float_sql;
pub mod geo;
pub mod hash;
pub mod regexp;
mod regexp_pattern;
pub mod unicode;
pub mod unicode_like;
pub mod uuid_sql;

use crate::engine::{EngineError, Handle};
use std::ffi::CStr;

/// Functions of full-text tables that read one, and that views may use, with the number of their arguments.
const AUXILIARY: [(&CStr, i32); 7] = [
    (c"match", 2),
    (c"bm25", -1),
    (c"highlight", -1),
    (c"snippet", -1),
    (c"offsets", 1),
    (c"matchinfo", 1),
    (c"matchinfo", 2),
];

/// Registers every function on a connection that has just been opened.
pub fn register(handle: &Handle) -> Result<(), EngineError> {
    handle.register_vector_search()?;
    handle.register_concat()?;
    handle.register_matcher(c"regexp", Box::<regexp::Regexp>::default())?;
    handle.register_pattern::<unicode_like::LikePattern>(c"unicode_like")?;
    AUXILIARY.iter().try_for_each(|(name, arguments)| handle.register_auxiliary(name, *arguments))?;
    handle.register_collation(&unicode::NOCASE_UNICODE)?;
    handle.register_series()?;
    let mut scalars =
        decimal_sql::SCALARS.iter().chain(&float_sql::SCALARS).chain(&geo::SCALARS).chain(&uuid_sql::SCALARS);
    scalars.try_for_each(|function| handle.register_scalar(function))?;
    let mut texts = distance::FUNCTIONS
        .iter()
        .chain(&hash::FUNCTIONS)
        .chain(&unicode::FUNCTIONS)
        .chain(&uuid_sql::FUNCTIONS);
    texts.try_for_each(|function| handle.register_text_function(function))?;
    decimal_sql::WINDOWS.iter().try_for_each(|function| handle.register_window(function))
}
