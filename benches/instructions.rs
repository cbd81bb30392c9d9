//! What a request costs inside the sidecar, in instructions, which do not depend on what else runs on the machine. Run by
//! `scripts/bench-check` under callgrind, which counts within [`measured`] alone.
//!
//! Fixed: a WAL file with 10,000 rows of six mixed columns, an open connection, a warm cache. The argument names the work.

mod support;

use port_driver::etf::encoder::{
    put_atom, put_binary, put_bool, put_empty_list, put_integer, put_list, put_map, put_tuple,
};
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
    // Compiled each time, without a policy and with one of 50 rules.
    ("compile_point_select", 500, |times| compile_point_select(times, 0)),
    ("compile_point_select_policy", 500, |times| compile_point_select(times, 50)),
    ("point_select_policy", 500, |times| {
        let mut bench = Bench::new(10_000);
        bench.run(tag::SET_POLICY, &policy(50));
        repeat(&mut bench, times, tag::EXECUTE, &execute(POINT, point_params));
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

/// A statement that is in no cache, under a policy of so many rules, or under none.
fn compile_point_select(times: u32, rules: u32) {
    let mut bench = Bench::new(10_000);
    if rules > 0 {
        bench.run(tag::SET_POLICY, &policy(rules));
    }
    let mut payload = Vec::new();
    put_tuple(&mut payload, 3);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_binary(&mut payload, b"SELECT id, short, value, long, empty, bytes FROM bulk WHERE id = 4711");
    repeat(&mut bench, times, tag::SCRIPT, &payload);
}

/// Rules about columns of the table that is read and of others, and one that allows the rest.
fn policy(rules: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 3);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_list(&mut payload, rules);
    let list = |out: &mut Vec<u8>, name: &str| {
        put_list(out, 1);
        put_binary(out, name.as_bytes());
        put_empty_list(out);
    };
    for rule in 1..rules {
        put_tuple(&mut payload, 3);
        put_atom(&mut payload, "deny");
        list(&mut payload, "read");
        put_map(&mut payload, 2);
        put_binary(&mut payload, b"table");
        list(&mut payload, &if rule % 2 == 0 { "bulk".to_owned() } else { format!("table_{rule}") });
        put_binary(&mut payload, b"column");
        list(&mut payload, &format!("column_{rule}"));
    }
    put_tuple(&mut payload, 3);
    put_atom(&mut payload, "allow");
    list(&mut payload, "any");
    put_map(&mut payload, 0);
    put_empty_list(&mut payload);
    payload
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
