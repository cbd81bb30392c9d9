//! Puts bytes through everything that reads bytes from outside, and checks what must hold for all of them.

use bytes::BytesMut;
use port_driver::etf::Decoder;
use port_driver::frame::{FrameDecoder, FrameError, Incoming};
use port_driver::request::{decode, route, tag, Refusal, Request};
use port_driver::{ErrorCode, Params};

/// What became of a payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request whose values are all values.
    Request,
    /// A term that is answered with an error.
    Answer(ErrorCode),
    /// No term: the program ends.
    Fatal,
}

/// Reads a payload as a request of this tag, all of its values included.
pub fn payload(request_tag: u8, payload: &[u8]) -> Outcome {
    let mut decoder = Decoder::new(payload);
    let well_formed = decoder.skip_term().is_ok() && decoder.finish().is_ok();
    let routed = route(request_tag, payload);
    if let Err(Refusal::Fatal(error)) = &routed {
        assert!(!well_formed, "routing calls a term broken that is not: {error}");
    }
    match decode(request_tag, payload) {
        Ok(request) => {
            assert!(well_formed, "a request was read from a broken term");
            let addresses_no_connection = matches!(
                request_tag,
                tag::PING | tag::STATUS | tag::OPEN | tag::SUBSCRIBE..=tag::CHANGES_CREDIT
            );
            assert_eq!(routed.is_ok(), !addresses_no_connection, "{routed:?}");
            match values_of(&request) {
                Ok(()) => Outcome::Request,
                Err(code) => Outcome::Answer(code),
            }
        }
        Err(Refusal::Answer(error)) => {
            assert!(well_formed, "a broken term was to be answered: {error}");
            // The longest one lists all options of `open`.
            assert!(error.message.len() < 1000, "messages are cut: {}", error.message);
            Outcome::Answer(error.code)
        }
        Err(Refusal::Fatal(error)) => {
            assert!(!well_formed, "a term was called broken that is not: {error}");
            Outcome::Fatal
        }
    }
}

/// Reads a stream that arrives in pieces of this size, and every payload in it.
pub fn stream(bytes: &[u8], piece_bytes: usize, frame_bytes_max: u32) -> Result<Vec<Outcome>, FrameError> {
    let mut decoder = FrameDecoder::new(frame_bytes_max);
    let mut buffer = BytesMut::new();
    let mut outcomes = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        while let Some(incoming) = decoder.decode(&mut buffer)? {
            outcomes.push(match incoming {
                Incoming::Frame { header, payload: bytes } => payload(header.tag, &bytes),
                Incoming::Oversized { frame_bytes, .. } => {
                    assert!(frame_bytes > frame_bytes_max);
                    Outcome::Answer(ErrorCode::FrameTooLarge)
                }
            });
        }
        assert!(decoder.bytes_wanted() > 0);
    }
    Ok(outcomes)
}

fn values_of(request: &Request<'_>) -> Result<(), ErrorCode> {
    match request {
        Request::Execute(execute) | Request::QueryOne(execute) => values(execute.params),
        Request::ExecutePrepared(execute) => values(execute.params),
        Request::Declare { params, .. } => values(*params),
        Request::Batch(batch) => {
            let mut count = 0;
            for statement in batch.statements() {
                let (sql, params) = statement.expect("each statement was read when the batch was");
                assert!(!sql.contains('\0'));
                values(params)?;
                count += 1;
            }
            assert_eq!(count, batch.len());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn values(params: Params<'_>) -> Result<(), ErrorCode> {
    let mut count = 0;
    for value in params.values() {
        value.map_err(|error| error.code)?;
        count += 1;
    }
    for pair in params.named() {
        pair.map_err(|error| error.code)?;
        count += 1;
    }
    assert_eq!(count, params.len());
    Ok(())
}
