//! What arrives unasked, under the id 0 (protocol, section 5).

use crate::error_code::ErrorCode;
use crate::etf::encoder::{put_binary, put_tuple, put_unsigned};
use crate::frame::{begin_frame, end_frame};
use crate::request::tag;

/// A message is for people, and an event must fit into any frame.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A bug ended a connection; its requests have been answered with `internal`.
pub fn connection_lost(out: &mut Vec<u8>, connection: u32, code: ErrorCode, message: &str) {
    let start = begin_frame(out, 0, tag::CONNECTION_LOST);
    put_tuple(out, 3);
    put_unsigned(out, u64::from(connection));
    put_unsigned(out, u64::from(code.number()));
    put_binary(out, cut(message).as_bytes());
    end_frame(out, start, u32::MAX);
}

/// A line of the program's log, for a client that asked for its log (`--log-to client`).
pub fn log(out: &mut Vec<u8>, severity: &str, line: &str) {
    let start = begin_frame(out, 0, tag::LOG);
    put_tuple(out, 2);
    put_binary(out, severity.as_bytes());
    put_binary(out, cut(line).as_bytes());
    end_frame(out, start, u32::MAX);
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let mut out = Vec::new();
        connection_lost(&mut out, 7, ErrorCode::Internal, &"é".repeat(2000));
        assert!(out.len() < 1100);
        assert_eq!(cut(&format!("x{}", "é".repeat(2000))).len(), 1023);
        assert_eq!(cut("short"), "short");
    }
}
