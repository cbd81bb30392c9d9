//! Where a replica is, as clients are told. Asks neither the server nor the disk.

use crate::replication::Shared;
use port_driver::etf::encoder::{
    put_binary, put_bool, put_key, put_map, put_nil, put_optional_binary, put_tuple, put_unsigned,
};

/// A log as clients know it.
pub fn log_name(log: u128) -> String {
    format!("{log:032x}")
}

/// Appends it.
pub fn put(replica: &Shared, out: &mut Vec<u8>) {
    let (outcome, running) = (replica.outcome(), replica.running());
    let index = outcome.index;
    put_map(out, 10);
    put_key(out, "path");
    put_binary(out, replica.path.as_os_str().as_encoded_bytes());
    put_key(out, "log");
    put_optional_binary(out, index.map(|index| log_name(index.log)).as_ref().map(|log| log.as_bytes()));
    put_key(out, "index");
    put_optional(out, index.and_then(|index| index.frame));
    put_key(out, "server_index");
    put_optional(out, outcome.primary);
    put_key(out, "write_index");
    // That of another log says nothing of this one.
    let written = outcome.written.filter(|written| index.is_some_and(|index| index.log == written.log));
    put_optional(out, written.and_then(|written| written.frame));
    put_key(out, "age_ms");
    let age = outcome.fresh.map(|fresh| fresh.elapsed().as_millis());
    put_optional(out, age.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)));
    put_key(out, "syncing");
    put_bool(out, running.is_some());
    put_key(out, "frames_done");
    put_optional(out, running.map(|frames| frames.done));
    put_key(out, "frames_known");
    put_optional(out, running.map(|frames| frames.known));
    put_key(out, "error");
    match &outcome.failure {
        None => put_nil(out),
        Some(failure) => {
            put_tuple(out, 2);
            put_unsigned(out, u64::from(failure.cause.code().number()));
            put_binary(out, failure.message.as_bytes());
        }
    }
}

/// Appends a number or `nil`.
pub fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => put_unsigned(out, number),
        None => put_nil(out),
    }
}
