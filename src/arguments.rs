//! The command line: every limit of [`Limits`] by its name.

use crate::limits::Limits;
use crate::temp_space;
use clap::{Parser, ValueEnum};
use std::time::Duration;

/// libSQL in a program of its own, driven over an Erlang port.
///
/// It reads requests from standard input and writes replies to standard output, both as {packet,4} frames of External
/// Term Format (docs/protocol.md). It is meant to be started by the Elixir driver LibsqlPort, not by hand.
#[derive(Debug, Parser)]
#[command(name = "libsql_port", version, long_version = long_version())]
pub struct Arguments {
    /// Form of the log lines on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Where log lines go: standard error, or to the client as events
    #[arg(long, value_enum, default_value_t = LogTo::Stderr)]
    pub log_to: LogTo,
    /// Least severity that is logged
    #[arg(long, value_enum, default_value_t = LogLevel::Warn)]
    pub log_level: LogLevel,
    /// Log lines per second; further ones are counted, not written
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub log_lines_per_second: u32,
    /// Longest frame accepted, in bytes
    #[arg(long, default_value_t = Limits::default().frame_bytes_max, value_parser = clap::value_parser!(u32).range(65536..=1 << 30))]
    pub frame_bytes_max: u32,
    /// Open connections
    #[arg(long, default_value_t = Limits::default().connections_max, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: u32,
    /// Requests that wait on one connection
    #[arg(long, default_value_t = Limits::default().queue_requests_max, value_parser = clap::value_parser!(u32).range(1..))]
    pub queue_requests_max: u32,
    /// Bytes of the requests that wait, on all connections together
    #[arg(long, default_value_t = Limits::default().queue_bytes_max, value_parser = clap::value_parser!(u64).range(1..))]
    pub queue_bytes_max: u64,
    /// Prepared statements of one connection
    #[arg(long, default_value_t = Limits::default().statements_max, value_parser = clap::value_parser!(u32).range(1..))]
    pub statements_max: u32,
    /// Bytes of the compiled statements of one connection: those prepared, and again as many in its cache; 0 for no limit
    #[arg(long, default_value_t = Limits::default().statement_bytes_max)]
    pub statement_bytes_max: u64,
    /// Open cursors of one connection
    #[arg(long, default_value_t = Limits::default().cursors_max, value_parser = clap::value_parser!(u32).range(1..))]
    pub cursors_max: u32,
    /// Rows of a result that is not streamed; 0 for no limit
    #[arg(long, default_value_t = Limits::default().result_rows_max)]
    pub result_rows_max: u64,
    /// Bytes of rows of a result that is not streamed; 0 for no limit
    #[arg(long, default_value_t = Limits::default().result_bytes_max)]
    pub result_bytes_max: u64,
    /// Bytes that the engine may have allocated, for all connections together; 0 for no limit
    #[arg(long, default_value_t = Limits::default().heap_bytes_max)]
    pub heap_bytes_max: u64,
    /// Bytes that the temporary files of the engine and of cursors may hold together; 0 for no limit
    #[arg(long, default_value_t = Limits::default().temp_bytes_max)]
    pub temp_bytes_max: u64,
    /// Bytes of the changes of one transaction that are kept for subscribers, who are told of a larger one to read anew
    #[arg(long, default_value_t = Limits::default().changes_bytes_max, value_parser = clap::value_parser!(u32).range(..=1 << 30))]
    pub changes_bytes_max: u32,
    /// Denials of policies in a second that are told as events and log lines; further ones are counted; 0 for none
    #[arg(long, default_value_t = Limits::default().denials_per_second_max)]
    pub denials_per_second_max: u32,
    /// Folder for temporary files, which have no names there; default: the first that can be written of SQLITE_TMPDIR, TMPDIR,
    /// /var/tmp, /usr/tmp, /tmp and the working folder
    #[arg(long)]
    pub temp_directory: Option<std::path::PathBuf>,
    /// Milliseconds that a request may run on beyond its deadline, its cancellation or the end of its connection, in code of
    /// the engine that nothing stops, before the program ends itself for a new one; 0 for no limit
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(..=86_400_000))]
    pub stuck_limit_ms: u64,
    /// Milliseconds from the end of input to the end of the program
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub shutdown_grace_ms: u64,
    /// Microseconds to look for the next request of a client that sends one after the other, before sleeping; 0 for none
    #[arg(long, default_value_t = Limits::default().spin_us_max, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub spin_us_max: u64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogTo {
    /// Standard error.
    Stderr,
    /// The client, as `log` events; to standard error before the first frame and where the client cannot be told.
    Client,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warn,
    /// What happens.
    Info,
    /// In detail.
    Debug,
}

impl Arguments {
    /// Has temporary files lie in `temp_directory`, if there is one. An error if none can be made there.
    pub fn use_temp_directory(&self) -> Result<(), String> {
        let Some(folder) = &self.temp_directory else { return Ok(()) };
        temp_space::set_folder(folder).map_err(|error| {
            format!("no temporary file can be made in temp_directory, which is {}: {error}", folder.display())
        })
    }

    /// The limits that they set.
    pub fn limits(&self) -> Limits {
        Limits {
            frame_bytes_max: self.frame_bytes_max,
            connections_max: self.connections_max,
            queue_requests_max: self.queue_requests_max,
            queue_bytes_max: self.queue_bytes_max,
            statements_max: self.statements_max,
            statement_bytes_max: self.statement_bytes_max,
            cursors_max: self.cursors_max,
            result_rows_max: self.result_rows_max,
            result_bytes_max: self.result_bytes_max,
            heap_bytes_max: self.heap_bytes_max,
            temp_bytes_max: self.temp_bytes_max,
            changes_bytes_max: self.changes_bytes_max,
            denials_per_second_max: self.denials_per_second_max,
            stuck_limit: Duration::from_millis(self.stuck_limit_ms),
            shutdown_grace: Duration::from_millis(self.shutdown_grace_ms),
            spin_us_max: self.spin_us_max,
        }
    }
}

fn long_version() -> String {
    let (sqlite, source_id, libsql) = crate::engine::handle::versions();
    format!(
        "{} ({})\nprotocol {}\nlibSQL {libsql}, SQLite {sqlite}\n{source_id}",
        env!("CARGO_PKG_VERSION"),
        crate::version::BUILD,
        port_driver::handshake::PROTOCOL
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_limits_defaults() {
        let arguments = Arguments::parse_from(["libsql_port"]);
        assert_eq!(format!("{:?}", arguments.limits()), format!("{:?}", Limits::default()));
    }

    #[test]
    fn limits_have_ranges() {
        for bad in
            ["--frame-bytes-max=100", "--connections-max=0", "--shutdown-grace-ms=0", "--log-format=xml"]
        {
            assert!(Arguments::try_parse_from(["libsql_port", bad]).is_err(), "{bad}");
        }
    }
}
