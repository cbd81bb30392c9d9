//! The cheapest program that the Elixir driver can talk to, as the yardstick of `make bench`: what a round trip of
//! given frame sizes costs when nothing is done in between. One thread, blocking reads and writes, no SQL.
//!
//! It is started in place of the sidecar (the driver's `executable` option), so the measured path through the driver
//! is the very same. It knows nothing of the `port_driver` crate, so that a change there cannot move the yardstick.
//!
//! * It begins with a valid `hello`, version 1, and calls itself `echo`.
//! * `ping` (tag 1) with the payload `{ReplyBytes, Padding}`, `ReplyBytes` an integer: an `ok` whose frame, its four
//!   length bytes included, is `ReplyBytes` long (19 at least); its payload is a binary of zeros. The client makes its
//!   own frame as long as it wants with `Padding`, a term that nobody looks at.
//! * `ping` with any other payload: an `ok` with the same payload, as from the sidecar.
//! * Any other request: the error `unsupported`.
//!
//! End of input, and a frame that no client sends, end it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// Bytes of the length in front of every frame.
const LENGTH_BYTES: usize = 4;
/// `131 104 3 98 Id:32 97 Tag:8`: what every body starts with.
const HEADER_BYTES: usize = 10;
/// A BINARY_EXT's tag and length.
const BINARY_HEADER_BYTES: usize = 5;
const FRAME_BYTES_MIN: usize = LENGTH_BYTES + HEADER_BYTES + BINARY_HEADER_BYTES;
/// The `frame_bytes_max` that `hello` promises; also the longest request that is read.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

const TAG_PING: u8 = 1;
const TAG_OK: u8 = 64;
const TAG_ERROR: u8 = 65;
const TAG_HELLO: u8 = 96;
const CODE_UNSUPPORTED: u8 = 11;

fn main() -> io::Result<()> {
    // Unbuffered duplicates: one read takes what the pipe holds, one write sends a whole frame.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut reply = Vec::new();
    hello(&mut reply);
    output.write_all(&reply)?;

    let mut received = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let mut consumed = 0;
        while let Some(frame_bytes) = whole_frame(&received[consumed..filled])? {
            answer(&received[consumed + LENGTH_BYTES..consumed + frame_bytes], &mut reply)?;
            output.write_all(&reply)?;
            consumed += frame_bytes;
        }
        received.copy_within(consumed..filled, 0);
        filled -= consumed;
        if filled == received.len() {
            received.resize(received.len() * 2, 0);
        }
        match input.read(&mut received[filled..])? {
            0 => return Ok(()),
            bytes => filled += bytes,
        }
    }
}

/// The length of the frame at the start of `bytes`, with its length field, if all of it is there.
fn whole_frame(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some((length, body)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if !(HEADER_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Err(broken("a frame's length"));
    }
    Ok((body.len() >= length).then_some(LENGTH_BYTES + length))
}

fn answer(body: &[u8], reply: &mut Vec<u8>) -> io::Result<()> {
    let (header, payload) = body.split_at(HEADER_BYTES);
    let [131, 104, 3, 98, a, b, c, d, 97, tag] = *header else { return Err(broken("a frame's header")) };
    let id = [a, b, c, d];
    if tag != TAG_PING {
        start(reply, id, TAG_ERROR);
        reply.extend_from_slice(&[104, 7, 97, CODE_UNSUPPORTED]);
        binary(reply, b"this program only echoes");
        for _ in 0..5 {
            atom_nil(reply);
        }
    } else if let Some(frame_bytes) = wanted_frame_bytes(payload) {
        let padding = frame_bytes - FRAME_BYTES_MIN;
        start(reply, id, TAG_OK);
        reply.push(109);
        reply.extend_from_slice(&(padding as u32).to_be_bytes());
        reply.resize(reply.len() + padding, 0);
    } else {
        start(reply, id, TAG_OK);
        reply.extend_from_slice(payload);
    }
    finish(reply);
    Ok(())
}

/// `ReplyBytes` of a payload `{ReplyBytes, Padding}`, held to what a frame can be.
fn wanted_frame_bytes(payload: &[u8]) -> Option<usize> {
    let wanted = match *payload {
        [104, 2, 97, small, ..] => i64::from(small),
        [104, 2, 98, a, b, c, d, ..] => i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => return None,
    };
    usize::try_from(wanted).ok().map(|wanted| wanted.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX))
}

fn hello(reply: &mut Vec<u8>) {
    start(reply, [0; 4], TAG_HELLO);
    let texts: [(&[u8], &[u8]); 5] = [
        (b"version", env!("CARGO_PKG_VERSION").as_bytes()),
        (b"build", b"echo"),
        (b"libsql", b"none"),
        (b"sqlite", b"none"),
        (b"sqlite_source_id", b"none"),
    ];
    let numbers: [(&[u8], u32); 2] =
        [(b"os_pid", std::process::id()), (b"frame_bytes_max", FRAME_BYTES_MAX as u32)];
    reply.extend_from_slice(&[104, 2, 97, 1, 116]);
    reply.extend_from_slice(&(texts.len() as u32 + numbers.len() as u32 + 1).to_be_bytes());
    for (key, value) in texts {
        binary(reply, key);
        binary(reply, value);
    }
    for (key, value) in numbers {
        binary(reply, key);
        reply.push(98);
        reply.extend_from_slice(&value.to_be_bytes());
    }
    binary(reply, b"capabilities");
    reply.push(106);
    finish(reply);
}

fn start(reply: &mut Vec<u8>, id: [u8; 4], tag: u8) {
    reply.clear();
    reply.extend_from_slice(&[0; LENGTH_BYTES]);
    reply.extend_from_slice(&[131, 104, 3, 98, id[0], id[1], id[2], id[3], 97, tag]);
}

/// Writes the length that [`start`] left room for.
fn finish(reply: &mut [u8]) {
    let length = (reply.len() - LENGTH_BYTES) as u32;
    reply[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

fn binary(reply: &mut Vec<u8>, bytes: &[u8]) {
    reply.push(109);
    reply.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    reply.extend_from_slice(bytes);
}

fn atom_nil(reply: &mut Vec<u8>) {
    reply.extend_from_slice(&[100, 0, 3]);
    reply.extend_from_slice(b"nil");
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken frame: {what}"))
}
