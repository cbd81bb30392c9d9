//! Connections to embedded replicas: they read the replica's file, and send what writes to its server.
//!
//! Reads run on a [local session](crate::local) whose handle cannot write, so that cursors, deadlines and policies are those of any
//! local database. What writes, and all of a transaction, goes to the server. Where a statement belongs is the engine's word.

pub mod commands;
mod files;
mod freeze;
mod fresh;
pub mod open;
mod place;
pub mod promote;
pub mod session;
pub mod status;
