//! What a client is told about an open connection, wherever its database is.

use crate::counters::Counters;
use port_driver::etf::encoder::{
    put_binary, put_bool, put_empty_list, put_integer, put_key, put_list, put_map, put_nil,
    put_optional_binary, put_unsigned,
};
use std::sync::atomic::Ordering;

/// An open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Absolute path, the name in memory, or a URL without its query.
    pub path: String,
    /// As the engine has it now; `None` if a server has not said.
    pub journal_mode: Option<String>,
    /// It cannot be written.
    pub read_only: bool,
    /// Where the database is.
    pub mode: Mode,
}

/// Where a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In this program.
    Local,
    /// On a server.
    Remote,
    /// On a server, and in a file that follows it.
    Replica,
}

impl Mode {
    /// As the wire calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Local => "local",
            Mode::Remote => "remote",
            Mode::Replica => "replica",
        }
    }
}

/// A server of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Where it is, without a query.
    pub url: String,
    /// It is written to; else it follows that one.
    pub is_primary: bool,
    /// `closed`, `open` or `half_open`: what its circuit breaker does with requests.
    pub breaker: &'static str,
    /// Failures, one after the other.
    pub failures: u32,
    /// The last one's words, unless the breaker is closed.
    pub reason: Option<String>,
    /// For how long the breaker has not been closed.
    pub since_ms: Option<u64>,
    /// Until the next probe; 0: one is under way.
    pub probe_ms: Option<u64>,
    /// How far away it is, if that was measured.
    pub latency_us: Option<u64>,
    /// How long ago it has last answered.
    pub answered_ms: Option<u64>,
    /// The place of its log, as it has last said.
    pub replication_index: Option<u64>,
}

impl ServerStatus {
    fn put(&self, out: &mut Vec<u8>) {
        put_map(out, 10);
        put_key(out, "url");
        put_binary(out, self.url.as_bytes());
        put_key(out, "role");
        put_binary(out, if self.is_primary { b"primary" } else { b"replica" });
        put_key(out, "breaker");
        put_binary(out, self.breaker.as_bytes());
        put_key(out, "failures");
        put_unsigned(out, u64::from(self.failures));
        put_key(out, "reason");
        put_optional_binary(out, self.reason.as_deref().map(str::as_bytes));
        for (key, number) in [
            ("since_ms", self.since_ms),
            ("probe_ms", self.probe_ms),
            ("latency_us", self.latency_us),
            ("answered_ms", self.answered_ms),
            ("replication_index", self.replication_index),
        ] {
            put_key(out, key);
            match number {
                Some(number) => put_unsigned(out, number),
                None => put_nil(out),
            }
        }
    }
}

/// What `connection_status` answers beside the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Rows that the connection has changed.
    pub changes: u64,
    /// The transaction's, as on the wire.
    pub tx_status: u8,
    /// No transaction is open.
    pub autocommit: bool,
    /// Statements that are kept at most, and that are now.
    pub cache: (usize, usize),
    /// How often one was found among them, and how often not.
    pub lookups: (u64, u64),
    /// Statements that the client has prepared.
    pub statements: usize,
    /// Cursors that it has open.
    pub cursors: usize,
    /// Bytes of the engine's page cache, of the schema and of statements; 0 where another program has the engine.
    pub memory: [i64; 3],
    /// The servers that have the database, the primary first.
    pub servers: Vec<ServerStatus>,
}

impl Status {
    /// Appends it, with what `counters` say.
    pub fn put(&self, counters: &Counters, out: &mut Vec<u8>) {
        let numbers = [
            ("requests", counters.requests.load(Ordering::Relaxed)),
            ("rows", counters.rows.load(Ordering::Relaxed)),
            ("changes", self.changes),
            ("errors", counters.errors.load(Ordering::Relaxed)),
            ("timeouts", counters.timeouts.load(Ordering::Relaxed)),
            ("cancelled", counters.cancelled.load(Ordering::Relaxed)),
            ("tx_status", u64::from(self.tx_status)),
            ("cache_size", self.cache.0 as u64),
            ("cache_used", self.cache.1 as u64),
            ("cache_hits", self.lookups.0),
            ("cache_misses", self.lookups.1),
            ("statements", self.statements as u64),
            ("cursors", self.cursors as u64),
        ];
        put_map(out, u32::try_from(numbers.len()).unwrap_or(0) + 3);
        for (key, number) in numbers {
            put_key(out, key);
            put_unsigned(out, number);
        }
        put_key(out, "autocommit");
        put_bool(out, self.autocommit);
        put_key(out, "memory");
        put_map(out, 3);
        for (key, bytes) in
            ["page_cache_bytes", "schema_bytes", "statement_bytes"].into_iter().zip(self.memory)
        {
            put_key(out, key);
            put_integer(out, bytes);
        }
        put_key(out, "servers");
        put_list(out, u32::try_from(self.servers.len()).unwrap_or(0));
        if !self.servers.is_empty() {
            self.servers.iter().for_each(|server| server.put(out));
            put_empty_list(out);
        }
    }
}
