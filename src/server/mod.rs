//! The program around the connections: standard streams, the threads that read requests, time, the end.

mod exit;
mod handover;
mod log_events;
mod output;
mod reader;
mod router;
mod spin;
mod status;
mod table;
mod time;
mod timekeeper;
mod watchdog;

pub use exit::Exit;

use crate::audit::Audit;
use crate::database::Files;
use crate::descriptors;
use crate::engine;
use crate::feed::{Events, Hub};
use crate::limits::Limits;
use crate::logging::forward::Forward;
use crate::network::Network;
use crate::surroundings::Relief;
use crate::surroundings::Surroundings;
use crate::temp_space;
use crate::version::BUILD;
use output::Output;
use port_driver::event;
use port_driver::handshake::Hello;
use reader::{Input, Reading};
use router::Router;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use timekeeper::Timekeeper;

/// What this program can do that others of its protocol version may not.
const CAPABILITIES: &[&str] = &["local", "memory", "batch", "script", "cursors", "writer_turn", "changes"];

/// Serves requests from `input` until its end. Returns when every connection is closed, or the grace is over; threads
/// that still run then have to be ended with the process.
pub fn run(
    input: OwnedFd,
    output: OwnedFd,
    limits: Limits,
    log: Option<Arc<Forward>>,
) -> Result<Exit, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("libsql-time")
        .build()
        .map_err(StartError::Runtime)?;
    engine::open::initialise(runtime.handle()).map_err(StartError::Engine)?;
    engine::handle::set_heap_limit(limits.heap_bytes_max);
    temp_space::set_max(limits.temp_bytes_max);
    if !temp_space::is_there() {
        tracing::warn!(
            "no folder for temporary files can be written, so connections sort in memory (temp_store memory); name one by \
             temp_directory"
        );
    }
    descriptors::set_non_blocking(&output).map_err(StartError::Descriptor)?;
    descriptors::enlarge_pipe(&input, INPUT_PIPE_BYTES);

    let limits = Arc::new(limits);
    let output = Arc::new(Output::new(output).map_err(StartError::Descriptor)?);
    Output::start(&output).map_err(StartError::Thread)?;
    say_hello(&output, &limits);
    if let Some(log) = &log {
        log_events::start(Arc::clone(log), Arc::clone(&output)).map_err(StartError::Thread)?;
    }

    let (time, timekeeper) = Timekeeper::new(Arc::clone(&output), &limits);
    let files = Arc::new(Files::default());
    let table = Arc::new(Table::new(time.clone()));
    let input_pipe = input.try_clone().map_err(StartError::Descriptor)?;
    let reading = Reading::new(input_pipe, Arc::clone(&output), time.clone());
    let surroundings = Surroundings {
        runtime: runtime.handle().clone(),
        files: Arc::clone(&files),
        limits: Arc::clone(&limits),
        audit: Arc::new(Audit::new(limits.denials_per_second_max)),
        relief: Arc::clone(&reading) as Arc<dyn Relief>,
        client_functions: Arc::default(),
        hub: Arc::new(Hub::new(Arc::clone(&output) as Arc<dyn Events>)),
        network: network(&output),
        replicas: Arc::default(),
    };
    let router = Router::new(surroundings, Arc::clone(&table), reading.threads(), Arc::clone(&output), time);
    reading.start(Input::new(input, &limits, router)).map_err(StartError::Thread)?;
    let exit = runtime.block_on(timekeeper.run(&reading, &table, &files));
    if let Some(log) = &log {
        log.drain(LAST_LINES);
    }
    Ok(exit)
}

/// Uploads come faster through a larger pipe; of stdout's a larger one would only make small replies queue longer.
const INPUT_PIPE_BYTES: i32 = 1 << 20;

/// How long the end waits for the last log lines to reach a client that still reads.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The program cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// tokio.
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    /// libSQL.
    #[error("the engine cannot be initialised: {0}")]
    Engine(engine::open::OpenError),
    /// fcntl or dup.
    #[error("a standard stream cannot be set up: {0}")]
    Descriptor(io::Error),
    /// The threads that read requests, write what was left and send the log.
    #[error("no thread could be started: {0}")]
    Thread(io::Error),
}

/// The way to servers; the client is told when one is given up for a while, and when it is asked again.
fn network(output: &Arc<Output>) -> Arc<Network> {
    let network = Arc::new(Network::default());
    let output = Arc::clone(output);
    network.listen(Box::new(move |url, view| {
        let ms = |ns: u64| ns / 1_000_000;
        let mut frame = Vec::new();
        let breaker = event::Breaker {
            url,
            state: view.state.name(),
            failures: view.failures,
            reason: view.why.as_deref(),
            since_ms: view.since_ns.map(ms),
            probe_ms: view.probe_in_ns.map(ms),
        };
        event::breaker(&mut frame, &breaker);
        output.post(&mut frame);
    }));
    network
}

fn say_hello(output: &Output, limits: &Limits) {
    let (sqlite, source_id, libsql) = engine::handle::versions();
    let mut out = Vec::new();
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION"),
        build: BUILD,
        libsql: &libsql,
        sqlite: &sqlite,
        sqlite_source_id: &source_id,
        os_pid: std::process::id(),
        frame_bytes_max: limits.frame_bytes_max,
        capabilities: CAPABILITIES,
    };
    hello.encode(&mut out);
    output.send(&mut out);
}
