//! libSQL in a program of its own, driven over an Erlang port.
//!
//! ```text
//! Rust    stdin → frame → router → connection/thread → request (decode) → local/commands → row_encoder → frame → stdout
//! Elixir  Repo → Ecto.Adapters.LibSql → …LibSql.Connection (SQL) → EctoLibSql (DBConnection) → LibsqlPort → Port
//! ```
//!
//! A short statement does not go through its connection's thread: the reading thread runs it (see
//! [`server::reader`]). docs/architecture.md has the map and the invariants, docs/protocol.md the wire.

pub mod arguments;
pub mod clock;
pub mod connection;
pub mod control;
pub mod database;
pub mod engine;
pub mod error;
pub mod functions;
pub mod limits;
pub mod local;
pub mod logging;
pub mod row_encoder;
pub mod run;
pub mod server;
pub mod sql;
pub mod surroundings;
pub mod value;
