//! What a request costs inside the sidecar, in instructions, which do not depend on what else runs on the machine. Run by
//! `scripts/bench-check` under callgrind, which counts within [`measured`] alone.
//!
//! Fixed: a WAL file with 10,000 rows of six mixed columns, an open connection, a warm cache. The argument names the work.

mod support;

use port_driver::etf::encoder::{put_binary, put_bool, put_empty_list, put_integer, put_list, put_tuple};
use port_driver::request::tag;
use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use support::*;

/// A name, how often the work is repeated, and the work.
type Work = (&'static str, u32, fn(u32));

/// What is measured. `scripts/bench-check` reads the names from `--list`.
const WORKS: &[Work] = &[
    ("select_1", 500, |times| {
        repeat(&mut Bench::new(1), times, tag::EXECUTE, &execute("SELECT 1", put_empty_list))
    }),
    ("point_select", 500, |times| {
        repeat(&mut Bench::new(10_000), times, tag::EXECUTE, &execute(POINT, point_params));
    }),
    ("insert_in_transaction", 500, |times| {
        let mut bench = Bench::new(1);
        bench.script("BEGIN IMMEDIATE");
        repeat(&mut bench, times, tag::EXECUTE, &execute(INSERT, insert_params));
    }),
    ("insert_autocommit", 200, |times| {
        repeat(&mut Bench::new(1), times, tag::EXECUTE, &execute(INSERT, insert_params));
    }),
    ("batch_100_inserts", 20, |times| repeat(&mut Bench::new(1), times, tag::BATCH, &batch(100))),
    ("rows_10k", 3, |times| {
        repeat(&mut Bench::new(10_000), times, tag::EXECUTE, &execute(SCAN, put_empty_list));
    }),
    ("encode_1k_rows", 20, |times| {
        let mut out = Vec::new();
        encode_rows(&mut out);
        measured(times, &mut || {
            encode_rows(&mut out);
            black_box(&out[..]);
        });
    }),
];

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "--list" {
        let line = |(name, times, _): &Work| writeln!(std::io::stdout(), "{name} {times}");
        return match WORKS.iter().try_for_each(line) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match WORKS.iter().find(|(name, ..)| *name == argument) {
        Some((_, times, work)) => {
            work(*times);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("no work is called {argument:?}; see --list");
            ExitCode::FAILURE
        }
    }
}

/// The request, a few times to warm up, then measured.
fn repeat(bench: &mut Bench, times: u32, tag: u8, payload: &[u8]) {
    for _ in 0..3 {
        bench.run(tag, payload);
    }
    measured(times, &mut || bench.run(tag, payload));
}

/// What callgrind counts.
#[inline(never)]
fn measured(times: u32, work: &mut dyn FnMut()) {
    for _ in 0..times {
        work();
    }
}

/// The payload of an atomic batch of so many inserts.
fn batch(statements: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 4);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_bool(&mut payload, true);
    put_list(&mut payload, statements);
    for _ in 0..statements {
        put_tuple(&mut payload, 2);
        put_binary(&mut payload, INSERT.as_bytes());
        insert_params(&mut payload);
    }
    put_empty_list(&mut payload);
    payload
}
