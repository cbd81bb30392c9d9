//! A database on a server, over Hrana 3: the session of one connection, and what each request does with it.
//!
//! The connection's own thread drives its requests, each await beside the reasons to stop. `machine` says what state the
//! connection is in and what an event means; `session` sends; `commands` has a file for each kind of request. The crate
//! libsql's own remote transactions are not used: once the server has given a transaction's lock away, the second statement of
//! one runs by itself and stays, and its commit answers Ok.

mod bind;
pub mod commands;
mod constraint;
mod cursors;
mod descriptions;
mod errors;
mod flow;
mod flows;
mod hrana;
mod kept;
mod machine;
pub mod open;
mod own;
mod places;
mod reads;
mod runs;
mod servers;
pub mod session;
mod stream;
pub mod token;
pub mod unsupported;
mod url;
