//! What a request costs inside the sidecar, without pipes and threads: from a decoded request to the reply's bytes.
//!
//! Goal: the floor under the macro benchmark (`make bench`). Fixed: a WAL file with 100,000 rows of six mixed columns,
//! an open connection, a warm cache. Varied: the work.

mod support;

use criterion::{criterion_main, Criterion, Throughput};
use port_driver::etf::encoder::put_empty_list;
use port_driver::request::tag;
use std::hint::black_box;
use support::*;

fn session(criterion: &mut Criterion) {
    let mut bench = Bench::new(100_000);
    let mut group = criterion.benchmark_group("session");

    let point = execute(POINT, point_params);
    group.bench_function("point select, six columns", |b| b.iter(|| bench.run(tag::EXECUTE, &point)));

    let nothing = execute("SELECT 1", put_empty_list);
    group.bench_function("SELECT 1", |b| b.iter(|| bench.run(tag::EXECUTE, &nothing)));

    let insert = execute(INSERT, insert_params);
    bench.script("BEGIN IMMEDIATE");
    group.bench_function("insert inside a transaction", |b| b.iter(|| bench.run(tag::EXECUTE, &insert)));
    bench.script("ROLLBACK");
    group.bench_function("insert in autocommit", |b| b.iter(|| bench.run(tag::EXECUTE, &insert)));

    group.throughput(Throughput::Elements(10_000));
    let scan = execute(SCAN, put_empty_list);
    group.bench_function("10k rows × 6 columns", |b| b.iter(|| bench.run(tag::EXECUTE, &scan)));
    group.finish();
}

/// The encoder alone, on values that are at hand.
fn encoder(criterion: &mut Criterion) {
    let mut out = Vec::with_capacity(1 << 20);
    let mut group = criterion.benchmark_group("encoder");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1k rows × 6 values", |b| {
        b.iter(|| {
            encode_rows(&mut out);
            black_box(&out[..]);
        });
    });
    group.finish();
}

#[allow(missing_docs)]
mod groups {
    criterion::criterion_group!(benches, super::session, super::encoder);
}
use groups::benches;
criterion_main!(benches);
