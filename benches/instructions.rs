//! What a request costs inside the sidecar, in instructions, which do not depend on what else runs on the machine. Run by
//! `scripts/bench-check` under callgrind, which counts within [`measured`] alone.
//!
//! Fixed: a WAL file with 10,000 rows of six mixed columns, an open connection, a warm cache. The argument names the work.
//! Works of the wire alone need no connection; those of the engine alone (`engine_…`) yield one row.

mod support;

use bytes::BytesMut;
use port_driver::etf::encoder::{
    begin_list, end_list, put_atom, put_binary, put_bool, put_empty_list, put_float, put_integer, put_list,
    put_map, put_nil, put_tuple,
};
use port_driver::frame::{begin_frame, end_frame, FrameDecoder, Incoming, FRAME_BYTES_MAX_DEFAULT};
use port_driver::reply::{put_result_tail, Tail};
use port_driver::request::{self, tag, Request, Values};
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
    // The same with options: a map of one key in the request.
    ("point_select_options", 500, |times| {
        let mut payload = execute(POINT, point_params);
        payload[1] = 5;
        put_map(&mut payload, 1);
        put_binary(&mut payload, b"rows_max");
        put_integer(&mut payload, 0);
        repeat(&mut Bench::new(10_000), times, tag::EXECUTE, &payload);
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
    ("batch_100_inserts", 20, |times| {
        repeat(&mut Bench::new(1), times, tag::BATCH, &batch(100, INSERT, |out, _| insert_params(out)));
    }),
    // With one subscriber: to another table (what the engine does for its hook, whatever becomes of it), to the keys, to new values.
    ("batch_100_inserts_elsewhere", 20, |times| told_inserts(times, Some("elsewhere"), Values::None)),
    ("batch_100_inserts_keys", 20, |times| told_inserts(times, None, Values::None)),
    ("batch_100_inserts_new", 20, |times| told_inserts(times, None, Values::New)),
    ("update_10k", 3, |times| update(&mut Bench::new(10_000), times)),
    ("update_10k_elsewhere", 3, |times| told_update(times, Some("elsewhere"), Values::None)),
    ("update_10k_keys", 3, |times| told_update(times, None, Values::None)),
    ("update_10k_new", 3, |times| told_update(times, None, Values::New)),
    ("replace_100", 20, |times| replace(&mut Bench::new(1), times)),
    ("replace_100_elsewhere", 20, |times| told_replace(times, Some("elsewhere"), Values::None)),
    ("replace_100_keys", 20, |times| told_replace(times, None, Values::None)),
    ("replace_100_new", 20, |times| told_replace(times, None, Values::New)),
    // An SQL function of the client, which answers at once: its calls without pipes and threads.
    ("calls_100", 20, |times| {
        let mut bench = Bench::new(1);
        bench.run(tag::CREATE_FUNCTION, &function("same"));
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT sum(same(i)) FROM n";
        repeat(&mut bench, times, tag::EXECUTE, &execute(sql, put_empty_list));
    }),
    ("rows_10k", 3, |times| {
        repeat(&mut Bench::new(10_000), times, tag::EXECUTE, &execute(SCAN, put_empty_list));
    }),
    ("engine_recursion_10k", 3, |times| {
        engine(
            times,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT sum(i) FROM n",
        );
    }),
    ("engine_count_10k", 3, |times| engine(times, "SELECT count(*) FROM bulk WHERE value > 7500.0")),
    ("engine_like_10k", 3, |times| engine(times, "SELECT count(*) FROM bulk WHERE long LIKE '%4711%'")),
    ("engine_like_one_10k", 3, |times| engine(times, "SELECT count(*) FROM bulk WHERE long LIKE '%4_99%'")),
    ("engine_unicode_like_10k", 3, |times| {
        engine(times, "SELECT count(*) FROM bulk WHERE unicode_like('%4_99%', long)");
    }),
    ("engine_group_10k", 3, |times| {
        engine(times, "SELECT count(*) FROM (SELECT id % 100, sum(value) FROM bulk GROUP BY 1)");
    }),
    ("engine_sort_10k", 3, |times| {
        engine(
            times,
            "SELECT max(b) FROM (SELECT substr(bytes, 1, 20) AS b FROM bulk ORDER BY bytes LIMIT -1)",
        );
    }),
    ("route_request", 1000, |times| {
        let payload = execute_six();
        measured(times, &mut || {
            black_box(request::route(tag::EXECUTE, black_box(&payload)).is_ok());
        });
    }),
    ("decode_request", 1000, |times| {
        let payload = execute_six();
        measured(times, &mut || decode_and_read(black_box(&payload)));
    }),
    ("split_256_frames", 20, |times| {
        let stream = frames(256);
        measured(times, &mut || split(&stream));
    }),
    ("encode_point_reply", 1000, |times| {
        let mut columns = Vec::new();
        put_list(&mut columns, 6);
        for name in ["id", "short", "value", "long", "empty", "bytes"] {
            put_binary(&mut columns, name.as_bytes());
        }
        put_empty_list(&mut columns);
        let mut out = Vec::with_capacity(1 << 12);
        measured(times, &mut || point_reply(&mut out, &columns));
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

/// A statement that the engine is busy with.
fn engine(times: u32, sql: &str) {
    repeat(&mut Bench::new(10_000), times, tag::EXECUTE, &execute(sql, put_empty_list));
}

fn told_inserts(times: u32, table: Option<&str>, values: Values) {
    let mut bench = Bench::new(1);
    bench.listen(table, values);
    repeat(&mut bench, times, tag::BATCH, &batch(100, INSERT, |out, _| insert_params(out)));
}

fn update(bench: &mut Bench, times: u32) {
    repeat(bench, times, tag::EXECUTE, &execute("UPDATE bulk SET value = value + 1", put_empty_list));
}

fn told_update(times: u32, table: Option<&str>, values: Values) {
    let mut bench = Bench::new(10_000);
    bench.listen(table, values);
    update(&mut bench, times);
}

/// Rows that are there are replaced by the same ones, in a table WITHOUT ROWID.
fn replace(bench: &mut Bench, times: u32) {
    bench.script("CREATE TABLE w (id INTEGER PRIMARY KEY, short TEXT, value REAL) WITHOUT ROWID");
    let params = |out: &mut Vec<u8>, id: u32| {
        put_list(out, 3);
        put_integer(out, i64::from(id));
        put_binary(out, b"twenty characters...");
        put_float(out, 21.5);
        put_empty_list(out);
    };
    repeat(bench, times, tag::BATCH, &batch(100, "REPLACE INTO w VALUES (?1, ?2, ?3)", params));
}

fn told_replace(times: u32, table: Option<&str>, values: Values) {
    let mut bench = Bench::new(1);
    bench.listen(table, values);
    replace(&mut bench, times);
}

/// The payload of an execute with six parameters of mixed kinds.
fn execute_six() -> Vec<u8> {
    execute(
        "INSERT INTO bulk (id, short, value, long, empty, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        |out| {
            put_list(out, 6);
            put_integer(out, 123_456);
            put_binary(out, b"twenty characters...");
            put_float(out, 21.5);
            put_binary(out, b"fifty characters of text, as wide as a line can be");
            put_nil(out);
            put_tuple(out, 2);
            put_atom(out, "blob");
            put_binary(out, &[7; 32]);
            put_empty_list(out);
        },
    )
}

fn decode_and_read(payload: &[u8]) {
    let Ok(Request::Execute(execute)) = request::decode(tag::EXECUTE, payload) else {
        unreachable!("an execute")
    };
    black_box(execute.params.values().filter(Result::is_ok).count());
}

/// So many requests, one behind the other.
fn frames(count: u32) -> BytesMut {
    let mut stream = Vec::new();
    for id in 0..count {
        let start = begin_frame(&mut stream, 256 + id, tag::EXECUTE);
        stream.extend_from_slice(&execute_six());
        end_frame(&mut stream, start, FRAME_BYTES_MAX_DEFAULT);
    }
    BytesMut::from(&stream[..])
}

fn split(stream: &BytesMut) {
    let mut buffer = stream.clone();
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
    while let Ok(Some(Incoming::Frame { header, payload })) = decoder.decode(&mut buffer) {
        black_box((header, payload));
    }
}

/// The reply to a point select, from values that are at hand.
fn point_reply(out: &mut Vec<u8>, columns: &[u8]) {
    out.clear();
    let start = begin_frame(out, 4711, tag::RESULT);
    put_tuple(out, 9);
    let rows = begin_list(out);
    put_row(out, black_box(4711));
    end_list(out, rows, 1);
    put_result_tail(out, columns, &Tail { num_rows: 1, queue_us: 3, run_us: 12, ..Tail::default() });
    end_frame(out, start, FRAME_BYTES_MAX_DEFAULT);
    black_box(&out[..]);
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

/// The payload of a `create_function`: a scalar function of one argument.
fn function(name: &str) -> Vec<u8> {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 3);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_map(&mut payload, 5);
    put_binary(&mut payload, b"callback");
    put_integer(&mut payload, 1);
    put_binary(&mut payload, b"name");
    put_binary(&mut payload, name.as_bytes());
    put_binary(&mut payload, b"kind");
    put_atom(&mut payload, "scalar");
    put_binary(&mut payload, b"arguments");
    put_integer(&mut payload, 1);
    put_binary(&mut payload, b"timeout");
    put_integer(&mut payload, 5_000);
    payload
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

/// The payload of an atomic batch of so many statements, which `params` writes the parameters of, by their number.
fn batch(statements: u32, sql: &str, params: fn(&mut Vec<u8>, u32)) -> Vec<u8> {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 4);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_bool(&mut payload, true);
    put_list(&mut payload, statements);
    for number in 0..statements {
        put_tuple(&mut payload, 2);
        put_binary(&mut payload, sql.as_bytes());
        params(&mut payload, number);
    }
    put_empty_list(&mut payload);
    payload
}
