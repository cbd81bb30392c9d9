//! What a connection needs from the program around it.

use crate::audit::Audit;
use crate::client_functions::SharedFunctions;
use crate::database::Files;
use crate::feed::Hub;
use crate::limits::Limits;
use crate::network::Network;
use crate::replication::Replicas;
use crate::run::Lead;
use port_driver::etf::DecodeError;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle as Runtime;

/// What an opening needs from the rest of the program.
#[derive(Clone)]
pub struct Surroundings {
    /// For libsql's async API.
    pub runtime: Runtime,
    /// The open files.
    pub files: Arc<Files>,
    /// The program's limits.
    pub limits: Arc<Limits>,
    /// Which denials of policies are told.
    pub audit: Arc<Audit>,
    /// Who reads requests.
    pub relief: Arc<dyn Relief>,
    /// The functions of all connections that the client answers.
    pub client_functions: Arc<SharedFunctions>,
    /// Who is told of what commits change.
    pub hub: Arc<Hub>,
    /// The way to servers.
    pub network: Arc<Network>,
    /// The replicas.
    pub replicas: Arc<Replicas>,
}

/// What a connection may ask of those who read requests. Implemented by the server.
pub trait Relief: Send + Sync {
    /// Lets another thread go on reading, if `lead` is still on. Safe to call at any time.
    fn relieve(&self, lead: Lead);

    /// Goes on reading on this thread, whose input is laid open in `lead`, until `ready` or for `time`, and lays it open again.
    /// What could run on this thread goes to its connection's meanwhile. False if another thread reads already.
    fn read_meanwhile(&self, lead: Lead, time: Duration, ready: &mut dyn FnMut() -> bool) -> bool;

    /// Has an event sent, without waiting for the client to read it.
    fn post(&self, frames: &mut Vec<u8>);

    /// A request that had waited turns out to be no term: the client and this program are out of step, which is the end.
    fn broken_frame(&self, error: &DecodeError);
}
