//! The program's status: counts, memory, files.

use crate::clock::now_ns;
use crate::connection::Connection;
use crate::database::DatabaseFile;
use crate::engine::handle::memory_used;
use crate::replica;
use crate::replication::Shared;
use port_driver::etf::encoder::{
    put_binary, put_empty_list, put_integer, put_key, put_list, put_map, put_nil, put_unsigned,
};
use std::sync::Arc;

/// What a status is made of.
pub struct Status<'s> {
    /// Open ones.
    pub connections: &'s [Arc<Connection>],
    /// Open ones.
    pub files: &'s [Arc<DatabaseFile>],
    /// Open ones.
    pub replicas: &'s [Arc<Shared>],
    /// Threads that read requests or stand by.
    pub reading_threads: u32,
    /// Requests read.
    pub requests: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

impl Status<'_> {
    /// Appends the map of the protocol.
    pub fn put(&self, out: &mut Vec<u8>) {
        let connections = self.connections.len() as u64;
        let sum = |count: fn(&Connection) -> usize| -> u64 {
            self.connections.iter().map(|connection| count(connection) as u64).sum()
        };
        let numbers = [
            ("os_pid", u64::from(std::process::id())),
            ("uptime_ms", now_ns() / 1_000_000),
            ("connections", connections),
            ("statements", sum(|connection| connection.held().0)),
            ("cursors", sum(|connection| connection.held().1)),
            // One for each connection, the readers and the timekeeper.
            ("threads", connections + u64::from(self.reading_threads) + 1),
            ("queued_requests", sum(Connection::queued)),
            ("requests", self.requests),
            ("memory_bytes", u64::try_from(memory_used()).unwrap_or(0)),
            ("bytes_in", self.bytes_in),
            ("bytes_out", self.bytes_out),
        ];
        put_map(out, u32::try_from(numbers.len()).unwrap_or(0) + 3);
        for (key, number) in numbers {
            put_key(out, key);
            put_unsigned(out, number);
        }
        put_key(out, "rss_bytes");
        match rss_bytes() {
            Some(bytes) => put_unsigned(out, bytes),
            None => put_nil(out),
        }
        put_key(out, "files");
        put_list(out, u32::try_from(self.files.len()).unwrap_or(0));
        for file in self.files {
            put_file(out, file);
        }
        if !self.files.is_empty() {
            put_empty_list(out);
        }
        put_key(out, "replicas");
        put_list(out, u32::try_from(self.replicas.len()).unwrap_or(0));
        for replica in self.replicas {
            replica::status::put(replica, out);
        }
        if !self.replicas.is_empty() {
            put_empty_list(out);
        }
    }
}

fn put_file(out: &mut Vec<u8>, file: &DatabaseFile) {
    put_map(out, 5);
    put_key(out, "path");
    put_binary(out, file.name.as_bytes());
    put_key(out, "connections");
    put_unsigned(out, u64::from(file.connections()));
    put_key(out, "wal_pages");
    put_unsigned(out, u64::from(file.wal_pages()));
    put_key(out, "writer");
    match file.turn.holder() {
        Some(id) => put_unsigned(out, u64::from(id)),
        None => put_nil(out),
    }
    put_key(out, "waiting");
    put_integer(out, i64::try_from(file.turn.waiting()).unwrap_or(0));
}

/// Resident memory, where the system tells without a library: Linux.
fn rss_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * crate::descriptors::page_bytes())
}
