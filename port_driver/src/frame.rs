//! Frames: `Length:32 Body`, where the body is the term `{Id, Tag, Payload}` with id and tag at fixed offsets
//! (protocol, section 1).
//!
//! Owns lengths, the header and the size limit in both directions. Called by the program's reader with
//! whatever the pipe gave, and by every writer of replies. Never looks into a payload and never does I/O.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::etf::{encoder, tag as etf_tag};
use crate::request::tag;

/// From the body's start to the payload.
pub const HEADER_BYTES: usize = 10;
/// The limit of a frame's body unless the program is told otherwise.
pub const FRAME_BYTES_MAX_DEFAULT: u32 = 16 << 20;

/// What each body starts with, up to the id.
const BODY_START: [u8; 4] = [etf_tag::VERSION, etf_tag::SMALL_TUPLE, 3, etf_tag::INTEGER];
/// The length field before each body.
const LENGTH_BYTES: usize = 4;
/// What a `part` adds around the bytes that it carries: header, `{Last, Bytes}` and the binary's length.
const PART_OVERHEAD_BYTES: usize = HEADER_BYTES + 2 + 2 + 5;
/// Reading less than this at once costs more in system calls than the memory is worth.
const READ_BYTES_MIN: usize = 64 * 1024;

/// What a frame can be routed by, its payload undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the client; 0 in events.
    pub request_id: u32,
    /// The kind of message, one of [`crate::request::tag`].
    pub tag: u8,
}

/// What [`FrameDecoder`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole frame.
    Frame {
        /// Id and tag.
        header: Header,
        /// The bytes of the payload's term, without a version byte.
        payload: Bytes,
    },
    /// A frame above the limit. Reported once, when its header is there; its bytes are dropped as they come.
    Oversized {
        /// Id and tag, so that it can be answered.
        header: Header,
        /// The length that it declares.
        frame_bytes: u32,
    },
}

/// The peer is out of step or not a client at all. There is no way to find the next frame, so this is fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// No room for the header and any term.
    #[error("a frame of {frame_bytes} bytes is too short to be one")]
    TooShort {
        /// The length that it declares.
        frame_bytes: u32,
    },
    /// The body does not start as every body does.
    #[error("a frame starts with {found:02x?}: not a term {{Id, Tag, Payload}} with its id as INTEGER_EXT")]
    Prefix {
        /// Its first ten bytes.
        found: [u8; HEADER_BYTES],
    },
}

/// Cuts a stream of bytes into frames.
///
/// ```
/// use port_driver::frame::{begin_frame, end_frame, FrameDecoder, Incoming, FRAME_BYTES_MAX_DEFAULT};
/// let mut out = Vec::new();
/// let start = begin_frame(&mut out, 256, 1);
/// port_driver::etf::encoder::put_nil(&mut out);
/// end_frame(&mut out, start, FRAME_BYTES_MAX_DEFAULT);
///
/// let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
/// let mut received = bytes::BytesMut::from(&out[..]);
/// let Ok(Some(Incoming::Frame { header, payload })) = decoder.decode(&mut received) else { panic!() };
/// assert_eq!((header.request_id, header.tag, &payload[..]), (256, 1, &b"d\0\x03nil"[..]));
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    frame_bytes_max: u32,
    /// What is still to come, and to be dropped, of an oversized frame.
    discard_bytes: u64,
    bytes_wanted: usize,
}

impl FrameDecoder {
    /// A decoder at the start of a stream, that refuses bodies of more than `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: u32) -> Self {
        Self { frame_bytes_max, discard_bytes: 0, bytes_wanted: READ_BYTES_MIN }
    }

    /// Takes the next frame off the front of `buffer`, or `None` if there is no whole one yet. To be called
    /// until it says `None`, then again when `buffer` has grown.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        if self.discard_bytes > 0 {
            self.discard(buffer);
        }
        let Some((length, body)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
            self.bytes_wanted = READ_BYTES_MIN;
            return Ok(None);
        };
        let frame_bytes = u32::from_be_bytes(*length);
        if (frame_bytes as usize) <= HEADER_BYTES {
            return Err(FrameError::TooShort { frame_bytes });
        }
        // The header is checked before the body is complete: a peer that talks nonsense should not keep the
        // program waiting for the gigabyte that its first four letters spell.
        let Some(prefix) = body.first_chunk::<HEADER_BYTES>() else {
            self.bytes_wanted = READ_BYTES_MIN;
            return Ok(None);
        };
        let header = parse_header(prefix)?;
        if frame_bytes > self.frame_bytes_max {
            buffer.advance(LENGTH_BYTES);
            self.discard_bytes = u64::from(frame_bytes);
            self.discard(buffer);
            return Ok(Some(Incoming::Oversized { header, frame_bytes }));
        }
        let missing = (frame_bytes as usize).saturating_sub(body.len());
        if missing > 0 {
            // No more than what has come already: a declared length alone makes nobody allocate.
            self.bytes_wanted = missing.min(buffer.len()).max(READ_BYTES_MIN);
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES + HEADER_BYTES);
        let payload = buffer.split_to(frame_bytes as usize - HEADER_BYTES).freeze();
        Ok(Some(Incoming::Frame { header, payload }))
    }

    /// How much room to reserve before the next read. It grows with what has arrived, so that memory follows
    /// the bytes received and not the length that was announced.
    pub fn bytes_wanted(&self) -> usize {
        self.bytes_wanted
    }

    fn discard(&mut self, buffer: &mut BytesMut) {
        let present = usize::try_from(self.discard_bytes).unwrap_or(usize::MAX).min(buffer.len());
        buffer.advance(present);
        self.discard_bytes -= present as u64;
        self.bytes_wanted = READ_BYTES_MIN;
    }
}

fn parse_header(prefix: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
    let [version, tuple, arity, id_kind, a, b, c, d, tag_kind, tag] = *prefix;
    let request_id = u32::from_be_bytes([a, b, c, d]);
    // INTEGER_EXT is signed: an id above this would be a negative one.
    let positive = request_id <= i32::MAX as u32;
    if [version, tuple, arity, id_kind] == BODY_START && positive && tag_kind == etf_tag::SMALL_INTEGER {
        Ok(Header { request_id, tag })
    } else {
        Err(FrameError::Prefix { found: *prefix })
    }
}

/// A frame that is being written. Dropping it leaves an unfinished frame behind: end or discard it.
#[derive(Debug)]
#[must_use = "a frame that is begun must be ended or discarded"]
pub struct FrameStart(usize);

/// Starts a frame at the end of `out`; the caller appends the payload's term, then calls [`end_frame`].
#[inline]
pub fn begin_frame(out: &mut Vec<u8>, request_id: u32, tag: u8) -> FrameStart {
    let start = out.len();
    let [v, t, n, i] = BODY_START;
    let [a, b, c, d] = request_id.to_be_bytes();
    out.extend_from_slice(&[0, 0, 0, 0, v, t, n, i, a, b, c, d, etf_tag::SMALL_INTEGER, tag]);
    FrameStart(start)
}

/// Ends the frame: writes its length, or rewrites it as `part` frames if its body is above `frame_bytes_max`.
#[inline]
pub fn end_frame(out: &mut Vec<u8>, start: FrameStart, frame_bytes_max: u32) {
    let body_bytes = frame_bytes(out, &start);
    match u32::try_from(body_bytes) {
        Ok(length) if length <= frame_bytes_max => {
            out[start.0..start.0 + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        }
        _ => split_into_parts(out, start.0, frame_bytes_max),
    }
}

/// Ends a frame of which `more` bytes are elsewhere, behind those that are here: no more of them than a length can say.
pub fn end_frame_with(out: &mut [u8], start: FrameStart, more: usize) {
    let length = u32::try_from(frame_bytes(out, &start) + more).expect("a piece is shorter than 4 GiB");
    out[start.0..start.0 + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// The bytes of the body so far: what [`end_frame`] will compare with the limit.
#[inline]
pub fn frame_bytes(out: &[u8], start: &FrameStart) -> usize {
    out.len() - start.0 - LENGTH_BYTES
}

/// Takes the unfinished frame off the end of `out`.
pub fn discard_frame(out: &mut Vec<u8>, start: FrameStart) {
    out.truncate(start.0);
}

/// Rewrites the body at `start` as `part` frames. In place and from the last part backwards, because a body
/// that needs this is large and a second copy of it would double the memory at its peak.
#[cold]
fn split_into_parts(out: &mut Vec<u8>, start: usize, frame_bytes_max: u32) {
    // A limit that leaves no room for a byte cannot be kept; one byte a part is the least that ends.
    let chunk_bytes = (frame_bytes_max as usize).saturating_sub(PART_OVERHEAD_BYTES).max(1);
    let body_start = start + LENGTH_BYTES;
    let body_bytes = out.len() - body_start;
    let parts = body_bytes.div_ceil(chunk_bytes);
    let id_and_tag = &out[body_start + 4..body_start + HEADER_BYTES];
    let request_id = u32::from_be_bytes([id_and_tag[0], id_and_tag[1], id_and_tag[2], id_and_tag[3]]);
    let closing = if tag::closes(id_and_tag[5]) { 2 } else { 1 };

    let part_overhead = LENGTH_BYTES + PART_OVERHEAD_BYTES;
    out.resize(start + body_bytes + parts * part_overhead, 0);
    let mut head = Vec::with_capacity(part_overhead);
    for part in (0..parts).rev() {
        let from = body_start + part * chunk_bytes;
        let bytes = chunk_bytes.min(body_start + body_bytes - from);
        let to = start + part * (chunk_bytes + part_overhead);
        out.copy_within(from..from + bytes, to + part_overhead);

        head.clear();
        let part_start = begin_frame(&mut head, request_id, tag::PART);
        encoder::put_tuple(&mut head, 2);
        encoder::put_unsigned(&mut head, if part + 1 == parts { closing } else { 0 });
        head.push(etf_tag::BINARY);
        head.extend_from_slice(&(bytes as u32).to_be_bytes());
        let length = (frame_bytes(&head, &part_start) + bytes) as u32;
        head[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        out[to..to + part_overhead].copy_from_slice(&head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(request_id: u32, tag: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin_frame(&mut out, request_id, tag);
        out.extend_from_slice(payload);
        end_frame(&mut out, start, FRAME_BYTES_MAX_DEFAULT);
        out
    }

    fn decode_all(decoder: &mut FrameDecoder, buffer: &mut BytesMut) -> Vec<Incoming> {
        std::iter::from_fn(|| decoder.decode(buffer).expect("well-formed frames")).collect()
    }

    #[test]
    fn writes_the_header_that_the_protocol_shows() {
        assert_eq!(frame(256, 1, b"j"), [0, 0, 0, 11, 131, 104, 3, 98, 0, 0, 1, 0, 97, 1, b'j'],);
    }

    #[test]
    fn frames_come_out_whatever_the_pieces_they_come_in() {
        let mut stream = frame(256, 1, b"j");
        stream.extend(frame(0x7fff_ffff, 255, &[7; 300]));
        stream.extend(frame(0, 96, b"a\x01"));
        let expected = decode_all(&mut FrameDecoder::new(1000), &mut BytesMut::from(&stream[..]));
        assert_eq!(expected.len(), 3);
        for piece in 1..=stream.len() {
            let mut decoder = FrameDecoder::new(1000);
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                buffer.extend_from_slice(bytes);
                found.extend(decode_all(&mut decoder, &mut buffer));
            }
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_oversized_frame_is_reported_once_and_dropped() {
        let mut stream = frame(300, 6, &[0; 5000]);
        stream.extend(frame(301, 1, b"j"));
        for piece in [1, 13, 14, 15, 999, stream.len()] {
            let mut decoder = FrameDecoder::new(100);
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for bytes in stream.chunks(piece) {
                buffer.extend_from_slice(bytes);
                found.extend(decode_all(&mut decoder, &mut buffer));
                assert!(buffer.len() < 14 + piece, "the oversized body is not kept");
            }
            assert_eq!(
                found,
                [
                    Incoming::Oversized { header: Header { request_id: 300, tag: 6 }, frame_bytes: 5010 },
                    Incoming::Frame {
                        header: Header { request_id: 301, tag: 1 },
                        payload: Bytes::from_static(b"j")
                    },
                ]
            );
        }
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let bytes = frame(256, 1, &[0; 90]);
        let decode = |max| FrameDecoder::new(max).decode(&mut BytesMut::from(&bytes[..]));
        assert!(matches!(decode(100), Ok(Some(Incoming::Frame { .. }))));
        assert!(matches!(decode(99), Ok(Some(Incoming::Oversized { frame_bytes: 100, .. }))));
    }

    #[test]
    fn nonsense_is_fatal_as_soon_as_it_can_be_seen() {
        let decode = |bytes: &[u8]| FrameDecoder::new(100).decode(&mut BytesMut::from(bytes));
        assert_eq!(decode(&[0, 0, 0, 10]), Err(FrameError::TooShort { frame_bytes: 10 }));
        assert!(matches!(decode(b"GET / HTTP/1.1\r\n"), Err(FrameError::Prefix { .. })));
        // A negative id, an id in the wrong encoding, a tag above a byte, a tuple of another size.
        for (offset, byte) in [(8, 0x80), (7, 97), (12, 98), (6, 4), (4, 130)] {
            let mut bytes = frame(256, 1, b"j");
            bytes[offset] = byte;
            assert!(matches!(decode(&bytes), Err(FrameError::Prefix { .. })), "offset {offset}");
        }
    }

    #[test]
    fn a_declared_length_reserves_nothing_by_itself() {
        let mut decoder = FrameDecoder::new(u32::MAX);
        let mut bytes = frame(256, 1, b"j");
        bytes[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut buffer = BytesMut::from(&bytes[..]);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert_eq!(decoder.bytes_wanted(), READ_BYTES_MIN);
    }

    /// Joins the parts of one reply, checking their form; gives the body and the last part's `Last`.
    fn join(stream: &[u8], frame_bytes_max: u32) -> (Vec<u8>, u8) {
        let mut body = Vec::new();
        let mut lasts = Vec::new();
        let mut buffer = BytesMut::from(stream);
        for incoming in decode_all(&mut FrameDecoder::new(frame_bytes_max), &mut buffer) {
            let Incoming::Frame { header, payload } = incoming else { panic!("a part above the limit") };
            assert_eq!(header, Header { request_id: 777, tag: tag::PART });
            assert_eq!((&payload[..3], payload[4]), (&[104, 2, 97][..], 109));
            lasts.push(payload[3]);
            body.extend_from_slice(&payload[9..]);
        }
        assert!(buffer.is_empty());
        let last = lasts.pop().expect("at least one part");
        assert!(lasts.iter().all(|last| *last == 0));
        (body, last)
    }

    #[test]
    fn too_long_a_reply_travels_as_parts() {
        for (reply_tag, expected_last) in [(tag::OK, 2), (tag::ROWS, 1), (tag::MORE_ROWS, 2)] {
            for payload_bytes in [91usize, 100, 162, 163, 1000] {
                let payload: Vec<u8> = (0..payload_bytes).map(|i| i as u8).collect();
                let mut out = b"before".to_vec();
                let start = begin_frame(&mut out, 777, reply_tag);
                out.extend_from_slice(&payload);
                let expected = out[6 + 4..].to_vec();
                end_frame(&mut out, start, 100);
                assert_eq!(&out[..6], b"before");
                assert_eq!(join(&out[6..], 100), (expected, expected_last));
            }
        }
    }

    #[test]
    fn a_discarded_frame_leaves_no_trace() {
        let mut out = b"before".to_vec();
        let start = begin_frame(&mut out, 1, 64);
        out.push(0);
        assert_eq!(frame_bytes(&out, &start), 11);
        discard_frame(&mut out, start);
        assert_eq!(out, b"before");
    }
}
