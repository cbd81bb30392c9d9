//! A session as the sidecar has it, without pipes and threads: from a decoded request to the reply's bytes.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use libsql_port::bench::*;
use port_driver::etf::encoder::{
    put_atom, put_binary, put_empty_list, put_float, put_integer, put_list, put_nil, put_tuple,
};
use port_driver::request::{self, tag, Open, OpenOptions, Values, EVENT_CHANGES};
use port_driver::request::{OPERATION_DELETE, OPERATION_INSERT, OPERATION_UPDATE};
use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub const POINT: &str = "SELECT id, short, value, long, empty, bytes FROM bulk WHERE id = ?1";
pub const SCAN: &str = "SELECT id, short, value, long, empty, bytes FROM bulk LIMIT 10000";
pub const INSERT: &str = "INSERT INTO log (text, number) VALUES (?1, ?2)";

struct NoEvents;

impl Events for NoEvents {
    fn post(&self, frames: &mut Vec<u8>) {
        frames.clear();
    }
}

/// A client that answers each call of a function at once, with 1.
#[derive(Default)]
struct Client(OnceLock<Arc<Questions>>);

impl Relief for Client {
    fn relieve(&self, _lead: Lead) {}

    fn read_meanwhile(&self, _: Lead, _: Duration, _: &mut dyn FnMut() -> bool) -> bool {
        false
    }

    fn post(&self, frames: &mut Vec<u8>) {
        if let (Some(questions), Some(&[a, b, c, d])) = (self.0.get(), frames.get(CALL_AT..CALL_AT + 4)) {
            let call = u32::from_be_bytes([a, b, c, d]);
            let mut payload = Vec::new();
            put_tuple(&mut payload, 3);
            put_integer(&mut payload, 1);
            put_integer(&mut payload, i64::from(call));
            put_tuple(&mut payload, 2);
            put_atom(&mut payload, "ok");
            put_integer(&mut payload, 1);
            questions.answer(call, payload.into());
        }
        frames.clear();
    }

    fn broken_frame(&self, _error: &port_driver::etf::DecodeError) {}
}

/// Where the number of a call stands in its frame.
const CALL_AT: usize = 22;

/// Throws replies away, as fast as a pipe could take them at best.
struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, frames: &mut Vec<u8>) {
        black_box(&frames[..]);
        frames.clear();
    }

    fn about_to_wait(&mut self) {}
}

/// An open connection on a WAL file.
pub struct Bench {
    backend: Backend,
    control: Arc<Control>,
    questions: Arc<Questions>,
    hub: Arc<Hub>,
    out: Vec<u8>,
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// With so many rows of six mixed columns.
    pub fn new(rows: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let client = Arc::new(Client::default());
        let limits = Limits { result_bytes_max: 0, ..Limits::default() };
        let surroundings = Surroundings {
            runtime: runtime.handle().clone(),
            files: Arc::new(Files::default()),
            limits: Arc::new(limits),
            audit: Arc::new(Audit::new(0)),
            relief: Arc::clone(&client) as Arc<dyn Relief>,
            client_functions: Arc::default(),
            hub: Arc::new(Hub::new(Arc::new(NoEvents))),
            network: Arc::default(),
            replicas: Arc::default(),
        };
        let hub = Arc::clone(&surroundings.hub);
        let control = Arc::new(Control::new());
        let path = folder.path().join("bench.db");
        let request = Open {
            timeout_ms: 0,
            path: path.to_str().expect("a UTF-8 path"),
            options: OpenOptions { checkpoint_idle_ms: 0, ..OpenOptions::default() },
        };
        let questions = Arc::new(Questions::new(Arc::clone(&control)));
        assert!(client.0.set(Arc::clone(&questions)).is_ok(), "it is set once");
        let counters = Arc::new(Counters::default());
        let files = Arc::new(OpenFiles::default());
        let (backend, _) = Backend::open(&surroundings, 1, &control, &questions, &counters, &files, &request)
            .expect("an open database");
        let mut bench =
            Bench { backend, control, questions, hub, out: Vec::new(), _runtime: runtime, _folder: folder };
        bench.seed(rows);
        bench
    }

    fn seed(&mut self, rows: u32) {
        self.script("CREATE TABLE bulk (id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty, bytes BLOB)");
        self.script("CREATE TABLE log (id INTEGER PRIMARY KEY, text TEXT, number INTEGER)");
        self.script(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO bulk \
             SELECT i, printf('%020d', i), i * 1.5, printf('%050d', i), NULL, randomblob(32) FROM n"
        ));
    }

    /// Somebody listens to these tables, or to all, and is told these values. What it is told is thrown away, and never too much.
    pub fn listen(&self, tables: Option<&str>, values: Values) {
        let filter = Filter {
            tables: tables.map(|table| vec![table.to_owned()]),
            operations: OPERATION_INSERT | OPERATION_UPDATE | OPERATION_DELETE,
            values,
            columns: None,
            changed_columns: None,
            keepers: false,
        };
        let terms = Terms { events: EVENT_CHANGES, progress_interval_ms: 1000, bytes_max: u32::MAX };
        assert!(self.hub.subscribe(Scope::All, filter, terms).is_some(), "there is room for a subscription");
    }

    /// Runs every statement of a text.
    pub fn script(&mut self, sql: &str) {
        let mut payload = Vec::new();
        put_tuple(&mut payload, 3);
        put_integer(&mut payload, 1);
        put_integer(&mut payload, 0);
        put_binary(&mut payload, sql.as_bytes());
        self.run(tag::SCRIPT, &payload);
    }

    /// Decodes and runs one request; its reply must not be an error.
    pub fn run(&mut self, tag: u8, payload: &[u8]) {
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

/// The payload of an `execute`.
pub fn execute(sql: &str, params: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = Vec::new();
    put_tuple(&mut payload, 4);
    put_integer(&mut payload, 1);
    put_integer(&mut payload, 0);
    put_binary(&mut payload, sql.as_bytes());
    params(&mut payload);
    payload
}

/// The parameters of [`POINT`].
pub fn point_params(out: &mut Vec<u8>) {
    put_list(out, 1);
    put_integer(out, 4711);
    put_empty_list(out);
}

/// The parameters of [`INSERT`].
pub fn insert_params(out: &mut Vec<u8>) {
    put_list(out, 2);
    put_binary(out, b"a line of a log, of some length");
    put_integer(out, 42);
    put_empty_list(out);
}

/// Encodes a thousand rows of six values that are at hand.
pub fn encode_rows(out: &mut Vec<u8>) {
    out.clear();
    (0..1000).for_each(|id| put_row(out, id));
}

/// Encodes a row of six values.
#[inline(always)]
pub fn put_row(out: &mut Vec<u8>, id: i64) {
    put_list(out, 6);
    put_integer(out, id);
    put_binary(out, b"twenty characters...");
    put_float(out, 1.5);
    put_binary(out, b"fifty characters of text, as wide as a line can be");
    put_nil(out);
    put_binary(out, &[7; 32]);
    put_empty_list(out);
}
