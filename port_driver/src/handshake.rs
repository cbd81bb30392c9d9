//! The first frame of all: who speaks, and which version (protocol, section 5).

use crate::etf::encoder::{put_binary, put_empty_list, put_key, put_list, put_map, put_tuple, put_unsigned};
use crate::frame::{begin_frame, end_frame};
use crate::request::tag;

/// The version that docs/protocol.md describes. A change of any frame's meaning raises it.
pub const PROTOCOL: u32 = 1;

/// What the program says of itself before anything else.
#[derive(Clone, Debug)]
pub struct Hello<'a> {
    /// The program's version.
    pub version: &'a str,
    /// Target and profile.
    pub build: &'a str,
    /// libSQL's version.
    pub libsql: &'a str,
    /// SQLite's version.
    pub sqlite: &'a str,
    /// The check-in that SQLite was built from.
    pub sqlite_source_id: &'a str,
    /// The program's process.
    pub os_pid: u32,
    /// The limit of frames in both directions.
    pub frame_bytes_max: u32,
    /// What this program can do that others of its protocol version cannot.
    pub capabilities: &'a [&'a str],
}

impl Hello<'_> {
    /// Appends the whole frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin_frame(out, 0, tag::HELLO);
        put_tuple(out, 2);
        put_unsigned(out, u64::from(PROTOCOL));
        let texts = [
            ("version", self.version),
            ("build", self.build),
            ("libsql", self.libsql),
            ("sqlite", self.sqlite),
            ("sqlite_source_id", self.sqlite_source_id),
        ];
        put_map(out, texts.len() as u32 + 3);
        for (key, text) in texts {
            put_key(out, key);
            put_binary(out, text.as_bytes());
        }
        put_key(out, "os_pid");
        put_unsigned(out, u64::from(self.os_pid));
        put_key(out, "frame_bytes_max");
        put_unsigned(out, u64::from(self.frame_bytes_max));
        put_key(out, "capabilities");
        put_list(out, self.capabilities.len() as u32);
        if !self.capabilities.is_empty() {
            self.capabilities.iter().for_each(|capability| put_binary(out, capability.as_bytes()));
            put_empty_list(out);
        }
        // Never in parts: a client reads the limit here.
        end_frame(out, start, u32::MAX);
    }
}
