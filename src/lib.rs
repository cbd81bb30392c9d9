//! libSQL in a program of its own, driven over an Erlang port.
//!
//! ```text
//! Rust    stdin → frame → router → connection/thread → request (decode) → local/commands → row_encoder → frame → stdout
//! Elixir  Repo → Ecto.Adapters.LibSql → …LibSql.Connection (SQL) → EctoLibSql (DBConnection) → LibsqlPort → Port
//! ```
//!
//! A short statement does not go through its connection's thread: the reading thread runs it (see
//! `server/reader.rs`). docs/architecture.md has the map and the invariants, docs/protocol.md the wire.

pub mod arguments;
pub mod descriptors;
pub mod logging;
pub mod server;

mod ahead;
mod audit;
mod client_functions;
mod client_hooks;
mod clock;
mod connection;
mod control;
mod counters;
mod database;
mod denial;
mod engine;
mod error;
mod feed;
mod functions;
mod held;
mod info;
mod limits;
mod local;
mod memory;
mod network;
mod os_thread;
mod parameters;
mod questions;
mod remedy;
mod remote;
mod replica;
mod replication;
mod result_writer;
mod row_encoder;
mod run;
mod sql;
mod surroundings;
mod sync;
mod temp_space;
mod value;
mod version;

/// What the benchmark of a session needs of the rooms below.
#[doc(hidden)]
pub mod bench {
    pub use crate::audit::Audit;
    pub use crate::client_functions::SharedFunctions;
    pub use crate::clock::now_ns;
    pub use crate::connection::backend::Backend;
    pub use crate::control::Control;
    pub use crate::counters::Counters;
    pub use crate::database::{Files, OpenFiles};
    pub use crate::feed::{Events, Filter, Hub, Scope, Terms};
    pub use crate::limits::Limits;
    pub use crate::questions::Questions;
    pub use crate::replication::Replicas;
    pub use crate::run::{Lead, Outlet, Place, Run};
    pub use crate::surroundings::{Relief, Surroundings};
}
