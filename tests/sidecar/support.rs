//! The harness: starts the real program over real pipes, sends it frames and reads its frames. It knows docs/protocol.md
//! and nothing of the program's own code. Every program that a test starts is checked at its end: nothing but whole
//! frames came out of standard output, and the exit status is the one that was expected.

use crate::term::{atom, nil, Term};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Nothing in these tests takes so long; whatever does has failed.
pub const BOUND: Duration = Duration::from_secs(60);

/// Numbers of protocol, section 3 and 4.
pub mod tag {
    pub const PING: u8 = 1;
    pub const STATUS: u8 = 2;
    pub const CONNECTION_STATUS: u8 = 3;
    pub const OPEN: u8 = 4;
    pub const CLOSE: u8 = 5;
    pub const EXECUTE: u8 = 6;
    pub const QUERY_ONE: u8 = 7;
    pub const PREPARE: u8 = 8;
    pub const DESCRIBE: u8 = 9;
    pub const EXECUTE_PREPARED: u8 = 10;
    pub const CLOSE_STATEMENT: u8 = 11;
    pub const DECLARE: u8 = 12;
    pub const FETCH: u8 = 13;
    pub const CLOSE_CURSOR: u8 = 14;
    pub const BEGIN: u8 = 15;
    pub const COMMIT: u8 = 16;
    pub const ROLLBACK: u8 = 17;
    pub const SAVEPOINT: u8 = 18;
    pub const RELEASE: u8 = 19;
    pub const ROLLBACK_TO: u8 = 20;
    pub const BATCH: u8 = 21;
    pub const SCRIPT: u8 = 22;
    pub const RESET: u8 = 23;
    pub const CANCEL: u8 = 24;
    pub const CREDIT: u8 = 25;
    pub const CHECKPOINT: u8 = 26;
    pub const ANSWER: u8 = 27;
    pub const CREATE_FUNCTION: u8 = 32;
    pub const DROP_FUNCTION: u8 = 33;
    pub const SET_HOOK: u8 = 37;
    pub const REMOVE_HOOK: u8 = 38;
    pub const SET_POLICY: u8 = 36;
    pub const OK: u8 = 64;
    pub const ERROR: u8 = 65;
    pub const RESULT: u8 = 66;
    pub const ROWS: u8 = 67;
    pub const LAST_ROWS: u8 = 68;
    pub const BATCH_REPLY: u8 = 69;
    pub const PART: u8 = 70;
    pub const MORE_ROWS: u8 = 71;
    pub const HELLO: u8 = 96;
    pub const LOG: u8 = 98;
    pub const CALL: u8 = 99;
    pub const ABANDONED: u8 = 100;
    pub const POLICY_DENIED: u8 = 104;
    pub const BREAKER: u8 = 108;
}

/// The body of a frame, with its length in front.
pub fn frame(id: u32, tag: u8, payload: &Term) -> Vec<u8> {
    use erlang_term::RawTerm;
    let id = RawTerm::Int(i32::try_from(id).unwrap());
    framed(&RawTerm::SmallTuple(vec![id, RawTerm::SmallInt(tag), payload.raw()]).to_bytes())
}

/// Any bytes as a frame.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// One frame from the program; parts are joined.
#[derive(Debug, Clone)]
pub struct Frame {
    pub id: u32,
    pub tag: u8,
    pub body_bytes: usize,
    /// Frames that it took, above 1 only if it came in parts.
    pub frames: usize,
    pub payload: Term,
}

/// Reads frames from a stream, one at a time.
pub struct FrameReader<R> {
    stream: R,
    parts: HashMap<u32, (usize, Vec<u8>)>,
}

impl<R: Read> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        FrameReader { stream, parts: HashMap::new() }
    }

    /// What it reads from.
    pub fn stream(&self) -> &R {
        &self.stream
    }

    /// The next frame; `None` at the end. Anything that is no frame is an error: standard output is the wire.
    pub fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            let mut length = [0; 4];
            if !read_whole(&mut self.stream, &mut length)? {
                return match self.parts.is_empty() {
                    true => Ok(None),
                    false => Err("the output ends between two parts".to_owned()),
                };
            }
            let length = u32::from_be_bytes(length) as usize;
            if !(11..=1 << 20).contains(&length) {
                return Err(format!("a frame cannot have {length} bytes"));
            }
            let mut body = vec![0; length];
            if !read_whole(&mut self.stream, &mut body)? {
                return Err("the output ends in mid-frame".to_owned());
            }
            let (id, tag) = header(&body)?;
            if tag != tag::PART {
                return Ok(Some(parsed(&body, 1)?));
            }
            let part = parsed(&body, 1)?;
            let [last, Term::Binary(bytes)] = part.payload.items() else {
                return Err("a bad part".to_owned());
            };
            let joined = self.parts.entry(id).or_default();
            joined.0 += 1;
            joined.1.extend_from_slice(bytes);
            if last.int() != 0 {
                let (frames, body) = self.parts.remove(&id).unwrap_or_default();
                let whole = parsed(&body, frames)?;
                let closes = whole.tag != tag::ROWS;
                if whole.id != id || (last.int() == 2) != closes {
                    return Err(format!(
                        "parts of {id} say {last:?} and hold tag {} of {}",
                        whole.tag, whole.id
                    ));
                }
                return Ok(Some(whole));
            }
        }
    }
}

fn parsed(body: &[u8], frames: usize) -> Result<Frame, String> {
    let (id, tag) = header(body)?;
    match Term::decode(body)? {
        Term::Tuple(mut items) if items.len() == 3 => {
            Ok(Frame { id, tag, body_bytes: body.len(), frames, payload: items.remove(2) })
        }
        other => Err(format!("not a tuple of three: {other:?}")),
    }
}

fn header(body: &[u8]) -> Result<(u32, u8), String> {
    match body {
        [131, 104, 3, 98, a, b, c, d, 97, tag, ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), *tag)),
        other => Err(format!("a body starts with {:?}", &other[..other.len().min(16)])),
    }
}

/// False if the stream ends before the first byte.
fn read_whole(stream: &mut impl Read, buffer: &mut [u8]) -> Result<bool, String> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(format!("the output ends {filled} bytes into {}", buffer.len())),
            Ok(count) => filled += count,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(true)
}

/// The program with its pipes, for tests that read and write them byte by byte.
pub struct Process {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with_stderr(arguments, Stdio::piped())
    }

    pub fn start_with_stderr(arguments: &[&str], stderr: Stdio) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_libsql_port")).args(arguments), stderr)
    }

    /// Starts the program as `command` says.
    pub fn spawn(command: &mut Command, stderr: Stdio) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stderr = child.stderr.take().map(collect);
        Process { stdin: child.stdin.take(), stdout: child.stdout.take(), child, stderr }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits for the end, for a bounded time.
    #[track_caller]
    pub fn wait(&mut self, bound: Duration) -> ExitStatus {
        wait(&mut self.child, bound)
    }

    /// What came on standard error; waits for its end.
    pub fn stderr(&mut self) -> String {
        self.stderr.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut stderr: ChildStderr) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[track_caller]
fn wait(child: &mut Child, bound: Duration) -> ExitStatus {
    let late = Instant::now() + bound;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < late, "the program is still there after {bound:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A running program whose replies are sorted by request id as they come.
pub struct Sidecar {
    process: Mutex<Process>,
    stdin: Mutex<Option<ChildStdin>>,
    inbox: Arc<Inbox>,
    reader: Mutex<Option<JoinHandle<()>>>,
    next_id: AtomicU32,
    pub hello: Term,
    pub pid: i32,
}

#[derive(Default)]
struct Inbox {
    frames: Mutex<Received>,
    arrived: Condvar,
}

#[derive(Default)]
struct Received {
    by_id: HashMap<u32, VecDeque<Frame>>,
    ended: bool,
    fault: Option<String>,
}

impl Sidecar {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        Self::of(Process::start(arguments))
    }

    pub fn of(mut process: Process) -> Self {
        let stdin = process.stdin.take();
        let mut frames = FrameReader::new(process.stdout.take().unwrap());
        let hello = frames.next().unwrap().expect("a hello");
        assert_eq!((hello.id, hello.tag), (0, tag::HELLO));
        let inbox = Arc::new(Inbox::default());
        let reader = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.fill(frames))
        };
        Sidecar {
            pid: process.pid(),
            process: Mutex::new(process),
            stdin: Mutex::new(stdin),
            inbox,
            reader: Mutex::new(Some(reader)),
            next_id: AtomicU32::new(256),
            hello: hello.payload,
        }
    }

    pub fn new_id(&self) -> u32 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request under a new id.
    #[track_caller]
    pub fn send(&self, tag: u8, payload: &Term) -> u32 {
        let id = self.new_id();
        self.send_as(id, tag, payload);
        id
    }

    #[track_caller]
    pub fn send_as(&self, id: u32, tag: u8, payload: &Term) {
        self.send_bytes(&frame(id, tag, payload));
    }

    /// False if the program is gone.
    pub fn try_send(&self, bytes: &[u8]) -> bool {
        lock(&self.stdin).as_mut().is_some_and(|stdin| stdin.write_all(bytes).is_ok())
    }

    #[track_caller]
    pub fn send_bytes(&self, bytes: &[u8]) {
        lock(&self.stdin).as_mut().expect("stdin is open").write_all(bytes).unwrap();
    }

    /// The next frame of request `id`; `None` if the program ended before.
    #[track_caller]
    pub fn receive_or_end(&self, id: u32) -> Option<Frame> {
        match self.receive_within(id, BOUND) {
            Ok(frame) => frame,
            Err(()) => panic!("no reply to {id} within {BOUND:?}"),
        }
    }

    #[track_caller]
    pub fn receive(&self, id: u32) -> Frame {
        self.receive_or_end(id).unwrap_or_else(|| panic!("the program ended instead of answering {id}"))
    }

    /// `Err` if nothing came in this time.
    pub fn receive_within(&self, id: u32, bound: Duration) -> Result<Option<Frame>, ()> {
        let late = Instant::now() + bound;
        let mut received = lock(&self.inbox.frames);
        loop {
            if let Some(frame) = received.by_id.get_mut(&id).and_then(VecDeque::pop_front) {
                return Ok(Some(frame));
            }
            if received.ended {
                return Ok(None);
            }
            let left = late.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(());
            }
            received = self.inbox.arrived.wait_timeout(received, left).unwrap().0;
        }
    }

    /// Sends a request and reads its one reply.
    #[track_caller]
    pub fn call(&self, tag: u8, payload: &Term) -> Result<Term, Failure> {
        let id = self.send(tag, payload);
        self.answer(id)
    }

    /// The `ok` reply to `id`.
    #[track_caller]
    pub fn answer(&self, id: u32) -> Result<Term, Failure> {
        let frame = self.receive(id);
        match frame.tag {
            tag::OK => Ok(frame.payload),
            tag::ERROR => Err(Failure::of(&frame.payload)),
            other => panic!("tag {other} instead of ok or error: {:?}", frame.payload),
        }
    }

    #[track_caller]
    pub fn open(&self, path: impl AsRef<Path>) -> Conn<'_> {
        self.open_with(path, Term::Map(Vec::new())).unwrap()
    }

    #[track_caller]
    pub fn open_with(&self, path: impl AsRef<Path>, options: Term) -> Result<Conn<'_>, Failure> {
        let path = path.as_ref().to_str().unwrap().to_owned();
        let opened = self.call(tag::OPEN, &crate::tuple![30_000, path, options])?;
        let (id, info) = (opened.items()[0].int(), opened.items()[1].clone());
        Ok(Conn { sidecar: self, id, info, timeout_ms: 30_000, lock_timeout_ms: None })
    }

    pub fn status(&self) -> Term {
        self.call(tag::STATUS, &nil()).unwrap()
    }

    /// The connection that has the writer turn of the file whose name ends so.
    pub fn writer(&self, file: &str) -> Term {
        let status = self.status();
        let found = status.get("files").items().iter().find(|entry| entry.get("path").text().ends_with(file));
        found.map_or(nil(), |entry| entry.get("writer").clone())
    }

    pub fn close_stdin(&self) {
        lock(&self.stdin).take();
    }

    /// Waits for the end; says how the program ended and what is on standard error.
    #[track_caller]
    pub fn wait(&self, bound: Duration) -> (ExitStatus, String) {
        let mut process = lock(&self.process);
        let status = process.wait(bound);
        (status, process.stderr())
    }

    /// The orderly end: end of input, exit status 0, nothing but frames on standard output.
    #[track_caller]
    pub fn end(&self) -> String {
        self.close_stdin();
        let (status, stderr) = self.wait(Duration::from_secs(60));
        assert_eq!(status.code(), Some(0), "{stderr}");
        self.assert_pure();
        stderr
    }

    /// Requests, by their id, of which there are frames that nobody has read.
    pub fn unread(&self) -> Vec<u32> {
        let received = lock(&self.inbox.frames);
        let unread = received.by_id.iter().filter(|(id, frames)| **id != 0 && !frames.is_empty());
        unread.map(|(id, _)| *id).collect()
    }

    pub fn signal(&self, signal: i32) {
        send_signal(self.pid, signal);
    }

    /// Standard output has held whole frames only; a killed program may end in mid-frame.
    #[track_caller]
    fn assert_pure(&self) {
        if let Some(reader) = lock(&self.reader).take() {
            reader.join().unwrap();
        }
        let received = lock(&self.inbox.frames);
        assert!(received.fault.is_none(), "{:?}", received.fault);
    }
}

pub fn send_signal(pid: i32, signal: i32) {
    // SAFETY: a system call on two numbers; the process is a child that has not been waited for, so the pid is its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// From now on no file of process `pid` grows beyond `bytes`.
pub fn limit_file_size(pid: i32, bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit lives through the call, and nothing is to be told about the old one.
    let code = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(code, 0);
}

impl Inbox {
    fn fill(&self, mut frames: FrameReader<ChildStdout>) {
        loop {
            let next = frames.next();
            let mut received = lock(&self.frames);
            match next {
                Ok(Some(frame)) => received.by_id.entry(frame.id).or_default().push_back(frame),
                Ok(None) => received.ended = true,
                Err(fault) => {
                    received.ended = true;
                    received.fault = Some(fault);
                }
            }
            self.arrived.notify_all();
            if received.ended {
                return;
            }
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // A test that has ended the program has looked at its exit status itself.
        let running = matches!(lock(&self.process).child.try_wait(), Ok(None));
        if !thread::panicking() && running {
            self.end();
        }
    }
}

/// A test that failed while it held the lock has said so already.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An open connection.
pub struct Conn<'s> {
    pub sidecar: &'s Sidecar,
    pub id: i64,
    pub info: Term,
    pub timeout_ms: u32,
    pub lock_timeout_ms: Option<u32>,
}

/// A whole result.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub rows: Vec<Vec<Term>>,
    pub columns: Vec<String>,
    pub num_rows: i64,
    pub changes: i64,
    pub last_insert_rowid: i64,
    pub tx_status: i64,
    pub lock_us: i64,
    pub queue_us: i64,
    pub run_us: i64,
    /// Where it comes from, if not from the server of the connection: URL, whether it is stale, and its age.
    pub source: Vec<Term>,
    /// Bodies of the `rows` frames.
    pub chunks: Vec<usize>,
}

impl Outcome {
    /// The only value.
    #[track_caller]
    pub fn value(&self) -> &Term {
        assert_eq!((self.rows.len(), self.rows[0].len()), (1, 1), "{self:?}");
        &self.rows[0][0]
    }
}

/// A statement of a batch reply.
pub type Item = Result<(Vec<Vec<Term>>, i64, i64), Failure>;

impl<'s> Conn<'s> {
    /// The payload of a request to this connection.
    pub fn payload(&self, rest: impl IntoIterator<Item = Term>) -> Term {
        let timeout = match self.lock_timeout_ms {
            Some(lock_timeout_ms) => crate::tuple![self.timeout_ms, lock_timeout_ms],
            None => Term::from(self.timeout_ms),
        };
        let head = [Term::from(self.id), timeout];
        Term::Tuple(head.into_iter().chain(rest).collect())
    }

    /// The program that it is a connection of.
    pub fn sidecar(&self) -> &'s Sidecar {
        self.sidecar
    }

    /// The same connection with another time limit.
    pub fn within(&self, timeout_ms: u32) -> Conn<'s> {
        Conn { info: self.info.clone(), timeout_ms, ..*self }
    }

    /// The same connection, whose requests wait so long for turn and locks.
    pub fn lock_timeout(&self, lock_timeout_ms: u32) -> Conn<'s> {
        Conn { info: self.info.clone(), lock_timeout_ms: Some(lock_timeout_ms), ..*self }
    }

    #[track_caller]
    pub fn send(&self, tag: u8, rest: impl IntoIterator<Item = Term>) -> u32 {
        self.sidecar.send(tag, &self.payload(rest))
    }

    #[track_caller]
    pub fn call(&self, tag: u8, rest: impl IntoIterator<Item = Term>) -> Result<Term, Failure> {
        let id = self.send(tag, rest);
        self.sidecar.answer(id)
    }

    #[track_caller]
    pub fn query(&self, sql: &str, params: Term) -> Result<Outcome, Failure> {
        let id = self.send(tag::EXECUTE, [sql.into(), params]);
        self.outcome(id)
    }

    #[track_caller]
    pub fn query_with(&self, sql: &str, params: Term, options: Term) -> Result<Outcome, Failure> {
        let id = self.send(tag::EXECUTE, [sql.into(), params, options]);
        self.outcome(id)
    }

    #[track_caller]
    pub fn query_one(&self, sql: &str, params: Term) -> Result<Outcome, Failure> {
        let id = self.send(tag::QUERY_ONE, [sql.into(), params]);
        self.outcome(id)
    }

    /// Runs a statement without parameters that has to succeed.
    #[track_caller]
    pub fn exec(&self, sql: &str) -> Outcome {
        self.query(sql, crate::list![]).unwrap_or_else(|failure| panic!("{sql}: {failure:?}"))
    }

    /// The one value of a query without parameters.
    #[track_caller]
    pub fn value(&self, sql: &str) -> Term {
        self.exec(sql).value().clone()
    }

    #[track_caller]
    pub fn script(&self, sql: &str) -> Result<Term, Failure> {
        self.call(tag::SCRIPT, [sql.into()])
    }

    #[track_caller]
    pub fn begin(&self, mode: &str) -> Result<i64, Failure> {
        self.call(tag::BEGIN, [atom(mode)]).map(|status| status.int())
    }

    #[track_caller]
    pub fn commit(&self) -> Result<i64, Failure> {
        self.call(tag::COMMIT, []).map(|status| status.int())
    }

    #[track_caller]
    pub fn rollback(&self) -> Result<i64, Failure> {
        self.call(tag::ROLLBACK, []).map(|status| status.int())
    }

    #[track_caller]
    pub fn status(&self) -> Term {
        self.call(tag::CONNECTION_STATUS, []).unwrap()
    }

    #[track_caller]
    pub fn close(&self) {
        self.call(tag::CLOSE, []).unwrap();
    }

    pub fn credit(&self, request: u32, credits: u32) {
        self.sidecar.send_as(request, tag::CREDIT, &crate::tuple![self.id, credits]);
    }

    pub fn cancel(&self, request: u32) -> Term {
        self.sidecar.call(tag::CANCEL, &crate::tuple![self.id, request]).unwrap()
    }

    /// Sends a statement without waiting for it.
    #[track_caller]
    pub fn start(&self, sql: &str) -> u32 {
        self.send(tag::EXECUTE, [sql.into(), crate::list![]])
    }

    /// A write to `test.db` stops at its deadline, gives the turn back, and stops at a cancellation.
    #[track_caller]
    pub fn assert_stops(&self, timeout_ms: u32, sql: &str, params: Term) {
        let failure = self.within(timeout_ms).query(sql, params.clone()).unwrap_err();
        assert_eq!(failure.code, "timeout", "{sql}");
        eventually("the turn is free", || self.sidecar.writer("test.db") == nil());
        let id = self.send(tag::EXECUTE, [sql.into(), params]);
        eventually("it runs", || self.sidecar.writer("test.db") == self.id.into());
        assert_eq!(self.cancel(id), true.into());
        assert_eq!(self.outcome(id).unwrap_err().code, "cancelled", "{sql}");
    }

    /// Reads chunks, giving a credit for each, up to the end of the result.
    #[track_caller]
    pub fn outcome(&self, id: u32) -> Result<Outcome, Failure> {
        let (mut rows, mut chunks) = (Vec::new(), Vec::new());
        loop {
            let frame = self.sidecar.receive(id);
            match frame.tag {
                tag::ROWS => {
                    chunks.push(frame.body_bytes);
                    rows.extend(rows_of(&frame.payload));
                    self.credit(id, 1);
                }
                tag::RESULT => {
                    let fields = frame.payload.items();
                    assert!(matches!(fields.len(), 9 | 12), "{fields:?}");
                    rows.extend(rows_of(&fields[0]));
                    assert_eq!(fields[2].int(), rows.len() as i64, "NumRows counts the rows");
                    return Ok(Outcome {
                        rows,
                        columns: fields[1].items().iter().map(|name| name.text().to_owned()).collect(),
                        num_rows: fields[2].int(),
                        changes: fields[3].int(),
                        last_insert_rowid: fields[4].int(),
                        tx_status: fields[5].int(),
                        queue_us: fields[6].int(),
                        lock_us: fields[7].int(),
                        run_us: fields[8].int(),
                        source: fields[9..].to_vec(),
                        chunks,
                    });
                }
                tag::ERROR => return Err(Failure::of(&frame.payload)),
                other => panic!("tag {other} in a result"),
            }
        }
    }

    /// Sends a batch; the items' results and the transaction status.
    #[track_caller]
    pub fn batch(&self, atomic: bool, items: &[(&str, Term)]) -> Result<(Vec<Item>, i64), Failure> {
        let items = items.iter().map(|(sql, params)| crate::tuple![*sql, params.clone()]).collect();
        let id = self.send(tag::BATCH, [atomic.into(), Term::List(items)]);
        let frame = self.sidecar.receive(id);
        match frame.tag {
            tag::ERROR => Err(Failure::of(&frame.payload)),
            tag::BATCH_REPLY => {
                let fields = frame.payload.items();
                assert_eq!(fields.len(), 5);
                Ok((fields[0].items().iter().map(item).collect(), fields[1].int()))
            }
            other => panic!("tag {other} instead of batch"),
        }
    }
}

fn item(item: &Term) -> Item {
    match item.items() {
        [Term::Atom(error), payload] if error == "error" => Err(Failure::of(payload)),
        [rows, _columns, num_rows, changes, rowid] => {
            let rows = rows_of(rows);
            assert_eq!(rows.len() as i64, num_rows.int());
            Ok((rows, changes.int(), rowid.int()))
        }
        other => panic!("not an item: {other:?}"),
    }
}

/// A list of rows.
#[track_caller]
pub fn rows_of(list: &Term) -> Vec<Vec<Term>> {
    list.items().iter().map(|row| row.items().to_vec()).collect()
}

/// The payload of an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Its name in tests/fixtures/error_codes.txt.
    pub code: String,
    pub message: String,
    pub sqlite_code: Option<i64>,
    pub constraint: Option<Constraint>,
    /// What a policy denied: `{Action, Object, Column, Database, Through, Rule}`.
    pub denial: Option<Term>,
    pub offset: Option<i64>,
    pub tx_status: Option<i64>,
    pub index: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub kind: String,
    pub table: Option<String>,
    pub columns: Vec<String>,
    pub index: Option<String>,
    pub name: Option<String>,
}

impl Failure {
    #[track_caller]
    pub fn of(payload: &Term) -> Self {
        let [code, message, sqlite_code, constraint, offset, tx_status, index] = payload.items() else {
            panic!("not an error: {payload:?}")
        };
        let denial = (!constraint.is_nil() && constraint.items().len() == 6).then(|| constraint.clone());
        let constraint = (!constraint.is_nil() && denial.is_none()).then(|| {
            let [kind, table, columns, index, name] = constraint.items() else {
                panic!("not a constraint: {constraint:?}")
            };
            Constraint {
                kind: kind.text().to_owned(),
                table: table.some_text(),
                columns: columns.items().iter().map(|column| column.text().to_owned()).collect(),
                index: index.some_text(),
                name: name.some_text(),
            }
        });
        Failure {
            code: code_name(code.int()),
            message: message.text().to_owned(),
            sqlite_code: sqlite_code.some_int(),
            constraint,
            denial,
            offset: offset.some_int(),
            tx_status: tx_status.some_int(),
            index: index.some_int(),
        }
    }
}

fn code_name(number: i64) -> String {
    static TABLE: OnceLock<HashMap<i64, String>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let lines = include_str!("../fixtures/error_codes.txt").lines();
        lines
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.split_once(' ').unwrap())
            .map(|(number, name)| (number.parse().unwrap(), name.to_owned()))
            .collect()
    });
    table.get(&number).unwrap_or_else(|| panic!("no code {number} in the closed table")).clone()
}

/// Runs `check` until it holds, for a bounded time: for what another process is about to do.
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let late = Instant::now() + BOUND;
    while !check() {
        assert!(Instant::now() < late, "{what}: not within {BOUND:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An SQL text that never ends and yields nothing on the way.
pub const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// The numbers from 1 to `last`, a row each.
pub fn numbers(last: u32) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n"
    )
}

/// A folder of the test's own, and a database path in it.
pub fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    (folder, path)
}

/// The write lock of SQLite itself, taken by a program that knows nothing of turns: this one, through the crate libsql.
pub struct ForeignLock {
    runtime: tokio::runtime::Runtime,
    connection: libsql::Connection,
    _database: libsql::Database,
}

impl ForeignLock {
    pub fn take(path: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let database = runtime.block_on(libsql::Builder::new_local(path).build()).unwrap();
        let connection = database.connect().unwrap();
        let lock = ForeignLock { runtime, connection, _database: database };
        lock.run("BEGIN IMMEDIATE");
        lock
    }

    fn run(&self, sql: &str) {
        self.runtime.block_on(self.connection.execute(sql, ())).unwrap();
    }

    pub fn release(self) {
        self.run("ROLLBACK");
    }
}
