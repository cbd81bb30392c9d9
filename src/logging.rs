//! Logs on standard error, with a ceiling on lines per second so that a storm of errors cannot fill a disk. SQL
//! parameters and keys are never logged: nothing in this program formats them.

use crate::arguments::{LogFormat, LogLevel};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Installs the subscriber (a second call keeps the first) and logs panics by their place: their words may hold values.
pub fn start(format: LogFormat, level: LogLevel, lines_per_second: u32) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let writer = RateLimited { budget: Arc::new(Budget::new(lines_per_second)) };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false);
    // Fails only if there is one already: then that one stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = thread.name().unwrap_or("?"), place, "panic");
    }));
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
}

/// One line's writer.
enum Line {
    Written(io::Stderr),
    Dropped,
}

impl<'w> MakeWriter<'w> for RateLimited {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        let second = crate::clock::now_ns() / 1_000_000_000 + 1;
        match self.budget.take(second) {
            (true, 0) => Line::Written(io::stderr()),
            (true, dropped) => {
                let mut stderr = io::stderr();
                // If stderr is gone there is nobody to tell.
                let _ =
                    writeln!(stderr, "libsql_port: {dropped} log lines were dropped (log_lines_per_second)");
                Line::Written(stderr)
            }
            (false, _) => Line::Dropped,
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Line::Written(stderr) => stderr.write(bytes),
            Line::Dropped => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Written(stderr) => stderr.flush(),
            Line::Dropped => Ok(()),
        }
    }
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
