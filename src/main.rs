//! The program: arguments, logs, signals, exit status. Everything else is in the library.

use clap::Parser;
use libsql_port::arguments::Arguments;
use libsql_port::server::{self, Exit};
use libsql_port::{descriptors, logging};
use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if std::io::stdin().is_terminal() {
        eprintln!("{BY_HAND}");
        return ExitCode::from(2);
    }
    let log = logging::start(logging::Settings {
        format: arguments.log_format,
        level: arguments.log_level,
        to: arguments.log_to,
        lines_per_second: arguments.log_lines_per_second,
    });
    if let Err(error) = arguments.use_temp_directory() {
        tracing::error!("{error}");
        return ExitCode::from(2);
    }
    descriptors::set_signals();
    descriptors::bound_allocator_arenas();
    let streams = match descriptors::take_standard_streams() {
        Ok(streams) => streams,
        Err(error) => {
            tracing::error!(%error, "the standard streams cannot be taken over");
            return ExitCode::from(Exit::System as u8);
        }
    };
    match server::run(streams.0, streams.1, arguments.limits(), log) {
        // Threads that are stuck in the engine or in a write end here, with the process.
        Ok(exit) => std::process::exit(i32::from(exit as u8)),
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::from(Exit::System as u8)
        }
    }
}

const BY_HAND: &str = "\
libsql_port runs libSQL for an Erlang VM. It speaks frames of External Term Format on its standard input and output
and is started by the Elixir driver LibsqlPort:

    children = [{LibsqlPort, name: MyApp.Sidecar}]
    {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: \"app.db\")

Standard input is a terminal, so there is nothing to do. See libsql_port --help, and docs/protocol.md for the frames.";
