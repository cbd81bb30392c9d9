//! Logs, on standard error or to the client, with a ceiling on lines per second so that a storm of errors cannot fill a
//! disk. SQL parameters and keys are never logged: nothing in this program formats them.

pub mod forward;

use crate::arguments::{LogFormat, LogLevel, LogTo};
use crate::descriptors::{poll, Readiness};
use forward::Forward;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How long a panic waits for its line to be sent: the program may be about to end.
const PANIC_DRAIN: Duration = Duration::from_millis(100);

/// What of the command line concerns logs.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How lines look.
    pub format: LogFormat,
    /// Least severity.
    pub level: LogLevel,
    /// Where lines go.
    pub to: LogTo,
    /// `log_lines_per_second`.
    pub lines_per_second: u32,
}

/// Installs the subscriber (a second call keeps the first) and logs panics by their place: their words may hold values.
/// Returns the queue of lines for the client, if that is where they go.
pub fn start(settings: Settings) -> Option<Arc<Forward>> {
    let level = match settings.level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let forward = (settings.to == LogTo::Client).then(|| Arc::new(Forward::default()));
    let writer =
        RateLimited { budget: Arc::new(Budget::new(settings.lines_per_second)), forward: forward.clone() };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false);
    // Fails only if there is one already: then that one stays.
    let _ = match (settings.format, settings.to) {
        // The client's log has its own time and severity.
        (LogFormat::Text, LogTo::Client) => builder.without_time().with_level(false).try_init(),
        (LogFormat::Text, LogTo::Stderr) => builder.try_init(),
        (LogFormat::Json, _) => builder.json().flatten_event(true).try_init(),
    };
    let panics = forward.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = thread.name().unwrap_or("?"), place, "panic");
        if let Some(forward) = &panics {
            forward.drain(PANIC_DRAIN);
        }
    }));
    forward
}

/// Lines that may still be written in this second.
struct Budget {
    per_second: u32,
    second: AtomicU64,
    used: AtomicU32,
    dropped: AtomicU64,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Budget { per_second, second: AtomicU64::new(0), used: AtomicU32::new(0), dropped: AtomicU64::new(0) }
    }

    /// Takes one line in `second`; if it is the first of its second, also the number of lines dropped before.
    fn take(&self, second: u64) -> (bool, u64) {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.used.store(0, Ordering::Relaxed);
        }
        if self.used.fetch_add(1, Ordering::Relaxed) < self.per_second {
            (true, self.dropped.swap(0, Ordering::Relaxed))
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            (false, 0)
        }
    }
}

#[derive(Clone)]
struct RateLimited {
    budget: Arc<Budget>,
    forward: Option<Arc<Forward>>,
}

impl RateLimited {
    fn line(&self, severity: &'static str) -> Line<'_> {
        match &self.forward {
            Some(forward) if forward.accepts() => Line::Forwarded(forward, severity),
            _ => Line::Stderr,
        }
    }
}

/// Of what the libraries of this program log, only that something is wrong: the rest is about their own insides.
fn is_told(meta: &tracing::Metadata<'_>) -> bool {
    meta.target().starts_with(env!("CARGO_PKG_NAME")) || *meta.level() <= tracing::Level::WARN
}

/// One line's writer.
enum Line<'w> {
    Stderr,
    Forwarded(&'w Forward, &'static str),
    Dropped,
}

impl<'w> MakeWriter<'w> for RateLimited {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        self.line("info")
    }

    fn make_writer_for(&'w self, meta: &tracing::Metadata<'_>) -> Line<'w> {
        let severity = match *meta.level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            _ => "debug",
        };
        if !is_told(meta) {
            return Line::Dropped;
        }
        let second = crate::clock::now_ns() / 1_000_000_000 + 1;
        match self.budget.take(second) {
            (true, 0) => self.line(severity),
            (true, dropped) => {
                let _ = writeln!(
                    self.line("warn"),
                    "libsql_port: {dropped} log lines were dropped (log_lines_per_second)"
                );
                self.line(severity)
            }
            (false, _) => Line::Dropped,
        }
    }
}

impl Write for Line<'_> {
    /// Takes the bytes whatever becomes of them. A standard error that is gone, full or not read is no reason to fail or to
    /// wait: the subscriber would report the failure on standard error, and that report would panic.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Line::Stderr => {
                write_line(bytes);
            }
            Line::Forwarded(forward, severity) => {
                forward.push(severity, String::from_utf8_lossy(bytes).trim_end());
            }
            Line::Dropped => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that is ready takes so many bytes without a wait, and in one piece (PIPE_BUF).
const LINE_BYTES: usize = 4096;

/// Writes a line to standard error, cut if it is long, unless it would have to wait.
fn write_line(line: &[u8]) {
    // Locked, lest another thread take the room between the look and the write.
    let mut stderr = io::stderr().lock();
    if !poll(&stderr, Readiness::Write, Duration::ZERO) {
        return;
    }
    // If it cannot be written there is nobody to tell.
    let _ = if line.len() <= LINE_BYTES {
        stderr.write(line)
    } else {
        stderr.write(&[&line[..LINE_BYTES - 1], b"\n"].concat())
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let budget = Budget::new(2);
        assert_eq!(budget.take(1), (true, 0));
        assert_eq!(budget.take(1), (true, 0));
        assert_eq!(budget.take(1), (false, 0));
        assert_eq!(budget.take(1), (false, 0));
        assert_eq!(budget.take(2), (true, 2));
        assert_eq!(budget.take(2), (true, 0));
    }
}
