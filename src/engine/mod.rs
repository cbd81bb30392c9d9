//! SQLite's C interface, wrapped so that nothing outside this folder needs `unsafe`. Each file wraps one part of it
//! and states its invariant above the code. Nothing here knows requests, frames or threads.

pub mod action;
pub mod allowed;
pub mod backup;
pub mod callbacks;
pub mod client_function;
pub mod code;
pub mod collation;
pub mod concat;
pub mod constraint;
mod error;
pub mod file_id;
mod file_note;
pub mod function;
pub mod handle;
pub mod matcher;
pub mod open;
pub mod pattern;
pub mod preupdate;
pub mod query;
mod row;
pub mod series;
pub mod statement;
pub mod table_function;
mod table_module;
mod temp_file;
pub mod text_function;
pub mod vector;
pub mod vfs;
pub mod watch;
mod watched;

pub use error::{EngineError, ForeignKey};
pub use handle::Handle;
pub use statement::{Bound, RawStatement, Step};
