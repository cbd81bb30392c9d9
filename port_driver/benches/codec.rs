//! What the codec costs, each thing beside what one would take from a library instead.
//!
//! Goal: show what of a round trip is the wire's. Fixed: the requests and rows of the macro benchmark (a
//! point select, six mixed columns). Varied: the codec. Run with `cargo bench -p port_driver`.

// The macros below make public functions.
#![allow(missing_docs)]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use erlang_term::RawTerm;
use port_driver::etf::encoder::{
    begin_list, end_list, put_binary, put_empty_list, put_float, put_integer, put_list, put_nil, put_tuple,
};
use port_driver::etf::Decoder;
use port_driver::frame::{
    begin_frame, end_frame, FrameDecoder, Incoming, FRAME_BYTES_MAX_DEFAULT, HEADER_BYTES,
};
use port_driver::reply::{put_result_tail, Tail};
use port_driver::request::{decode, route, tag, Request};
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

const SQL: &str = "INSERT INTO measurements (sensor_id, label, reading, comment, flags, payload) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const LABEL: &[u8] = b"a label of 20 bytes.";
const COMMENT: &[u8] = b"a comment of fifty bytes, which is what it is here";
const BLOB: [u8; 32] = [0xab; 32];

/// The payload of an execute with six parameters of mixed kinds: 244 bytes, body header included.
fn execute_payload() -> Vec<u8> {
    let mut out = Vec::new();
    put_tuple(&mut out, 4);
    put_integer(&mut out, 7);
    put_integer(&mut out, 5000);
    put_binary(&mut out, SQL.as_bytes());
    put_list(&mut out, 6);
    put_integer(&mut out, 123_456);
    put_binary(&mut out, LABEL);
    put_float(&mut out, 21.5);
    put_binary(&mut out, &COMMENT[..18]);
    put_nil(&mut out);
    put_tuple(&mut out, 2);
    out.extend_from_slice(b"w\x04blob");
    put_binary(&mut out, &BLOB[..24]);
    put_empty_list(&mut out);
    out
}

/// The payload of a point select: one small parameter.
fn select_payload() -> Vec<u8> {
    let mut out = Vec::new();
    put_tuple(&mut out, 4);
    put_integer(&mut out, 7);
    put_integer(&mut out, 5000);
    put_binary(&mut out, b"SELECT a, b, c, d, e, f FROM t WHERE id = ?1");
    put_list(&mut out, 1);
    put_integer(&mut out, 4711);
    put_empty_list(&mut out);
    out
}

fn bind_all(payload: &[u8]) -> usize {
    let Ok(Request::Execute(execute)) = decode(tag::EXECUTE, payload) else { unreachable!("an execute") };
    execute.params.values().filter(Result::is_ok).count() + execute.sql.len()
}

fn requests(c: &mut Criterion) {
    assert_eq!(execute_payload().len() + HEADER_BYTES, 244);
    let mut group = c.benchmark_group("request");
    for (name, payload) in [("execute, 6 parameters", execute_payload()), ("point select", select_payload())]
    {
        group.throughput(Throughput::Bytes((payload.len() + HEADER_BYTES) as u64));
        group.bench_function(format!("{name}: route"), |b| {
            b.iter(|| route(tag::EXECUTE, black_box(&payload)));
        });
        group.bench_function(format!("{name}: decode"), |b| {
            b.iter(|| decode(tag::EXECUTE, black_box(&payload)).is_ok());
        });
        group.bench_function(format!("{name}: decode and read every value"), |b| {
            b.iter(|| bind_all(black_box(&payload)));
        });
        let with_version = [&[131], &payload[..]].concat();
        assert!(RawTerm::from_bytes(&with_version).is_ok());
        group.bench_function(format!("{name}: erlang-term decode"), |b| {
            b.iter(|| RawTerm::from_bytes(black_box(&with_version)).is_ok());
        });
    }
    group.finish();
}

fn put_row(out: &mut Vec<u8>, key: i64) {
    put_list(out, 6);
    put_integer(out, key);
    put_binary(out, LABEL);
    put_float(out, key as f64 + 0.5);
    put_binary(out, COMMENT);
    put_nil(out);
    put_binary(out, &BLOB);
    put_empty_list(out);
}

fn put_rows(out: &mut Vec<u8>, count: u32) {
    let rows = begin_list(out);
    (0..count).for_each(|key| put_row(out, black_box(i64::from(key) + 1000)));
    end_list(out, rows, count);
}

fn raw_row(key: i32) -> RawTerm {
    RawTerm::List(vec![
        RawTerm::Int(key),
        RawTerm::Binary(LABEL.to_vec()),
        RawTerm::Float((f64::from(key) + 0.5).into()),
        RawTerm::Binary(COMMENT.to_vec()),
        RawTerm::AtomDeprecated("nil".to_owned()),
        RawTerm::Binary(BLOB.to_vec()),
    ])
}

fn replies(c: &mut Criterion) {
    const ROWS: u32 = 10_000;
    let mut group = c.benchmark_group("reply");
    let mut columns = Vec::new();
    put_list(&mut columns, 6);
    ["a", "b", "c", "d", "e", "f"].iter().for_each(|name| put_binary(&mut columns, name.as_bytes()));
    put_empty_list(&mut columns);
    let tail = Tail { num_rows: 1, queue_us: 3, run_us: 12, ..Tail::default() };
    let mut out = Vec::with_capacity(1 << 16);
    group.bench_function("point select: encode", |b| {
        b.iter(|| {
            out.clear();
            let start = begin_frame(&mut out, 4711, tag::RESULT);
            put_tuple(&mut out, 9);
            let rows = begin_list(&mut out);
            put_row(&mut out, black_box(4711));
            end_list(&mut out, rows, 1);
            put_result_tail(&mut out, &columns, &tail);
            end_frame(&mut out, start, FRAME_BYTES_MAX_DEFAULT);
            black_box(&out);
        });
    });
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(ROWS)));
    group.bench_function("10k rows: encode", |b| {
        b.iter(|| {
            out.clear();
            let start = begin_frame(&mut out, 4711, tag::ROWS);
            put_rows(&mut out, ROWS);
            end_frame(&mut out, start, FRAME_BYTES_MAX_DEFAULT);
            black_box(&out);
        });
    });
    group.bench_function("10k rows: erlang-term build and encode", |b| {
        b.iter(|| {
            let rows = (0..ROWS as i32).map(|key| raw_row(key + 1000)).collect();
            black_box(RawTerm::List(rows).to_bytes());
        });
    });
    let mut term = Vec::new();
    put_rows(&mut term, ROWS);
    group.bench_function("10k rows: step over", |b| {
        b.iter(|| Decoder::new(black_box(&term)).skip_term().is_ok());
    });
    let with_version = [&[131], &term[..]].concat();
    assert!(RawTerm::from_bytes(&with_version).is_ok());
    group.bench_function("10k rows: erlang-term decode", |b| {
        b.iter(|| RawTerm::from_bytes(black_box(&with_version)).is_ok());
    });
    group.finish();
}

fn frames(c: &mut Criterion) {
    const COUNT: u64 = 256;
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(COUNT));
    let mut stream = Vec::new();
    for id in 0..COUNT as u32 {
        let start = begin_frame(&mut stream, 256 + id, tag::EXECUTE);
        stream.extend_from_slice(&execute_payload());
        end_frame(&mut stream, start, FRAME_BYTES_MAX_DEFAULT);
    }
    group.bench_function("256 frames: split and read the header", |b| {
        b.iter_batched_ref(
            || BytesMut::from(&stream[..]),
            |buffer| {
                let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
                while let Ok(Some(Incoming::Frame { header, payload })) = decoder.decode(buffer) {
                    black_box((header, payload));
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("256 frames: tokio-util LengthDelimitedCodec, header unread", |b| {
        b.iter_batched_ref(
            || BytesMut::from(&stream[..]),
            |buffer| {
                let mut decoder = LengthDelimitedCodec::builder()
                    .max_frame_length(FRAME_BYTES_MAX_DEFAULT as usize)
                    .new_codec();
                while let Ok(Some(body)) = decoder.decode(buffer) {
                    black_box(body.freeze());
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, requests, replies, frames);
criterion_main!(benches);
