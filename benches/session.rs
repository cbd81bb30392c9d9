//! What a request costs inside the sidecar, without pipes and threads: from a decoded request to the reply's bytes.
//!
//! Goal: the floor under the macro benchmark (`make bench`). Fixed: a WAL file with 100,000 rows of six mixed columns,
//! an open connection, a warm cache. Varied: the work.

use criterion::{criterion_main, Criterion, Throughput};
use libsql_port::bench::*;
use port_driver::etf::encoder::{
    put_binary, put_empty_list, put_float, put_integer, put_list, put_nil, put_tuple,
};
use port_driver::request::{self, tag, Open, OpenOptions};
use std::hint::black_box;
use std::sync::Arc;

const ROWS: i64 = 100_000;
const POINT: &str = "SELECT id, short, value, long, empty, bytes FROM bulk WHERE id = ?1";
const SCAN: &str = "SELECT id, short, value, long, empty, bytes FROM bulk LIMIT 10000";
const INSERT: &str = "INSERT INTO log (text, number) VALUES (?1, ?2)";

struct NoRelief;

impl Relief for NoRelief {
    fn relieve(&self, _lead: Lead) {}

    fn broken_frame(&self, _error: &port_driver::etf::DecodeError) {}
}

/// Throws replies away, as fast as a pipe could take them at best.
struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, frames: &mut Vec<u8>) {
        black_box(&frames[..]);
        frames.clear();
    }

    fn about_to_wait(&mut self) {}
}

struct Bench {
    backend: Backend,
    control: Arc<Control>,
    questions: Questions,
    out: Vec<u8>,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let limits = Limits { result_bytes_max: 0, ..Limits::default() };
        let surroundings = Surroundings {
            runtime: runtime.handle().clone(),
            files: Arc::new(Files::default()),
            limits: Arc::new(limits),
            relief: Arc::new(NoRelief),
        };
        let control = Arc::new(Control::new());
        let path = folder.path().join("bench.db");
        let request = Open {
            timeout_ms: 0,
            path: path.to_str().expect("a UTF-8 path"),
            options: OpenOptions { checkpoint_idle_ms: 0, ..OpenOptions::default() },
        };
        let counters = Arc::new(Counters::default());
        let files = Arc::new(OpenFiles::default());
        let (backend, _) =
            Backend::open(&surroundings, 1, &control, &counters, &files, &request).expect("an open database");
        let questions = Questions::new(Arc::clone(&control));
        let mut bench =
            Bench { backend, control, questions, out: Vec::new(), _runtime: runtime, _folder: folder };
        bench.seed();
        bench
    }

    fn seed(&mut self) {
        self.script("CREATE TABLE bulk (id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty, bytes BLOB)");
        self.script("CREATE TABLE log (id INTEGER PRIMARY KEY, text TEXT, number INTEGER)");
        self.script(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) INSERT INTO bulk \
             SELECT i, printf('%020d', i), i * 1.5, printf('%050d', i), NULL, randomblob(32) FROM n"
        ));
    }

    fn script(&mut self, sql: &str) {
        let mut payload = Vec::new();
        put_tuple(&mut payload, 3);
        put_integer(&mut payload, 1);
        put_integer(&mut payload, 0);
        put_binary(&mut payload, sql.as_bytes());
        self.run(tag::SCRIPT, &payload);
    }

    /// Decodes and runs one request; its reply must not be an error.
    fn run(&mut self, tag: u8, payload: &[u8]) {
        self.control.begin(300, u64::MAX);
        self.questions.begin(1_000_000);
        let request = request::decode(tag, payload).expect("a request");
        let mut run = Run {
            request_id: 300,
            received_ns: 1,
            started_ns: now_ns(),
            transaction: None,
            place: Place::Thread,
            reply_bytes_max: 1 << 20,
            out: &mut self.out,
            outlet: &mut Nowhere,
            questions: &self.questions,
        };
        self.backend.run(&mut run, &request);
        self.backend.after_reply();
        self.control.end();
        assert_ne!(self.out[13], tag::ERROR, "{}", String::from_utf8_lossy(&self.out));
        black_box(&self.out[..]);
        self.out.clear();
    }
}

fn execute(sql: &str, params: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 4);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_binary(&mut payload, sql.as_bytes());
    params(&mut payload);
    payload
}

fn session(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    let mut group = criterion.benchmark_group("session");

    let point = execute(POINT, |out| {
        put_list(out, 1);
        put_integer(out, 4711);
        put_empty_list(out);
    });
    group.bench_function("point select, six columns", |b| b.iter(|| bench.run(tag::EXECUTE, &point)));

    let nothing = execute("SELECT 1", put_empty_list);
    group.bench_function("SELECT 1", |b| b.iter(|| bench.run(tag::EXECUTE, &nothing)));

    let insert = execute(INSERT, |out| {
        put_list(out, 2);
        put_binary(out, b"a line of a log, of some length");
        put_integer(out, 42);
        put_empty_list(out);
    });
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
            out.clear();
            for id in 0..1000 {
                put_list(&mut out, 6);
                put_integer(&mut out, id);
                put_binary(&mut out, b"twenty characters...");
                put_float(&mut out, 1.5);
                put_binary(&mut out, b"fifty characters of text, as wide as a line can be");
                put_nil(&mut out);
                put_binary(&mut out, &[7; 32]);
                put_empty_list(&mut out);
            }
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
