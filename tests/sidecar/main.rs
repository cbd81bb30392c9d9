//! The program from outside: every test starts the real binary and talks to it over real pipes, as a client would,
//! with a codec that is not the program's own. A test belongs into the module of the promise that it checks.

// The harness unwraps as the tests themselves do, and a failure's size matters to nobody here.
#![allow(clippy::unwrap_used, clippy::result_large_err)]

mod authorizer;
mod batches;
mod builtins;
mod cache;
mod callbacks;
mod commit_hook;
mod constraints;
mod deadlines;
mod door;
mod endings;
mod endurance;
mod engine;
mod engine_limits;
mod faults;
mod feed;
mod feed_programs;
mod frames;
mod functions;
mod growth;
mod guards;
mod handshake;
mod held;
mod limits;
mod locks;
mod logs;
mod model;
mod opening;
mod parameters;
mod pipelines;
mod placement;
mod policy;
mod policy_attack;
mod policy_detours;
mod policy_effects;
mod policy_names;
mod policy_shown;
mod policy_temp;
mod policy_whole;
mod programs;
mod regexp;
mod remote;
mod replica;
mod reports;
mod seeds;
#[path = "../torture/shim.rs"]
mod shim;
mod sqld;
mod statements;
mod stuck;
mod support;
mod term;
mod transactions;
mod values;
mod vectors;
mod writers;
