//! A database in this program: the engine's connection, its statements, and what each request does with them.

pub mod access;
pub mod callbacks;
mod cannot_open;
pub mod commands;
mod compile;
pub mod cursors;
mod errors;
pub mod feed;
pub mod foreign_key;
pub mod limit;
mod listeners;
pub mod open;
mod placement;
mod policy;
pub mod pragma;
pub mod prepared;
pub mod reports;
pub mod rows;
pub mod session;
mod shadow;
mod slice;
pub mod statement;
pub mod statement_cache;
pub mod turns;
pub mod watch;
