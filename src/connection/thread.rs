//! The thread that owns a connection: opens it, runs what is queued, closes it. A panic in a command ends this
//! connection and nothing else.

use super::backend::Backend;
use super::inbox::Next;
use super::job::Job;
use super::Connection;
use crate::clock::now_ns;
use crate::control::{Control, Stop};
use crate::engine::handle::memory_used;
use crate::error::{Error, Result};
use crate::info::Info;
use crate::memory;
use crate::questions::Questions;
use crate::run::{Outlet, Place, Run};
use crate::surroundings::Surroundings;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{
    put_binary, put_bool, put_key, put_map, put_nil, put_optional_binary, put_tuple, put_unsigned,
};
use port_driver::event;
use port_driver::request::{self, Refusal, Request};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// The table of connections, as their threads know it.
pub trait Registry: Send + Sync {
    /// The connection is gone.
    fn closed(&self, connection: &Connection);
}

/// What a connection's thread works with.
pub struct Thread {
    /// The connection.
    pub connection: Arc<Connection>,
    /// Runtime, files, limits.
    pub surroundings: Surroundings,
    /// Where replies go.
    pub outlet: Box<dyn Outlet + Send>,
    /// Whom to tell of the end.
    pub registry: Arc<dyn Registry>,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It panicked; its reply says so, and the connection must be closed.
    Panicked,
}

impl Thread {
    /// The whole life of the connection, from the request that opens it.
    pub fn run(mut self, opening: Job) {
        let lived = catch_unwind(AssertUnwindSafe(|| self.live(&opening)));
        if lived.is_err() {
            self.end_after_panic();
        }
    }

    fn live(&mut self, opening: &Job) {
        let mut out = Vec::new();
        if self.open(opening, &mut out) {
            self.outlet.send(&mut out);
            while self.step(&mut out) {}
        } else {
            self.leave(&mut out);
        }
    }

    /// A panic outside of a request: nobody may wait for this connection any more, and its turns must go on.
    fn end_after_panic(&mut self) {
        let mut out = Vec::new();
        lose(&self.connection, &mut out);
        let backend = self.connection.backend().take();
        // Dropping it rolls back, closes the handle and gives the turns back.
        if catch_unwind(AssertUnwindSafe(move || drop(backend))).is_err() {
            tracing::error!(connection = self.connection.id, "a panic while closing");
        }
        self.leave(&mut out);
    }

    /// The end: it is no longer in the table, and whoever still waits for it is answered. A client can send requests to
    /// the id of a connection that is being opened, which it has guessed.
    fn leave(&mut self, out: &mut Vec<u8>) {
        let reply_bytes_max = self.surroundings.limits.reply_bytes_max();
        for job in self.connection.inbox.close(None).unwrap_or_default() {
            Error::from(Stop::Closed).reply(out, job.request_id, reply_bytes_max, None);
        }
        self.registry.closed(&self.connection);
        if let Some(request_id) = self.connection.inbox.take_close_request() {
            port_driver::reply::ok(out, request_id, reply_bytes_max, put_nil);
        }
        if !out.is_empty() {
            self.outlet.send(out);
        }
    }

    fn open(&mut self, opening: &Job, out: &mut Vec<u8>) -> bool {
        let connection = Arc::clone(&self.connection);
        connection.control.begin(opening.request_id, opening.deadline_ns);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            open_session(&self.surroundings, &connection, &opening.payload)
        }));
        let opened = opened.unwrap_or_else(|_| Err(internal_error()));
        let mut run = new_run(
            opening,
            Place::Thread,
            &connection.questions,
            out,
            &mut *self.outlet,
            self.surroundings.limits.reply_bytes_max(),
        );
        match opened {
            Ok((backend, info)) => {
                *connection.backend() = Some(backend);
                run.ok(|out| put_opened(out, connection.id, &info));
                true
            }
            Err(error) => {
                run.error(&error, None);
                false
            }
        }
    }

    /// Does the next thing; false when the connection has been closed.
    fn step(&mut self, out: &mut Vec<u8>) -> bool {
        match self.connection.inbox.next() {
            Next::Run(job) => {
                self.run_job(&job, out);
                true
            }
            Next::IdleCheckpoint => {
                self.guarded(out, Backend::idle_work);
                true
            }
            Next::Close => {
                self.close(out);
                false
            }
        }
    }

    fn run_job(&mut self, job: &Job, out: &mut Vec<u8>) {
        let connection = Arc::clone(&self.connection);
        let mut backend = connection.backend();
        let Some(open) = backend.as_mut() else { return };
        let outcome = match request::decode(job.tag, &job.payload) {
            Ok(request) => {
                run_request(open, job, Place::Thread, &connection.questions, &request, out, &mut *self.outlet)
            }
            Err(Refusal::Fatal(error)) => {
                self.surroundings.relief.broken_frame(&error);
                Outcome::Answered
            }
            Err(refusal) => {
                Error::from(refusal).reply(out, job.request_id, open.limits().reply_bytes_max(), None);
                Outcome::Answered
            }
        };
        drop(backend);
        if outcome == Outcome::Panicked {
            lose(&connection, out);
        }
        self.outlet.send(out);
        // What a statement took once is not kept for ever.
        let large = out.capacity() > GIVEN_BACK_BYTES;
        if out.capacity() > BUFFER_KEPT_BYTES {
            *out = Vec::new();
        }
        if large {
            memory::give_back();
        }
        connection.control.end();
        self.guarded(out, Backend::after_reply);
    }

    /// Runs work that nobody waits for; a panic in it loses the connection.
    fn guarded(&mut self, out: &mut Vec<u8>, work: impl FnOnce(&mut Backend)) {
        let connection = Arc::clone(&self.connection);
        let mut backend = connection.backend();
        let Some(open) = backend.as_mut() else { return };
        let panicked = catch_unwind(AssertUnwindSafe(|| work(open))).is_err();
        drop(backend);
        if panicked {
            lose(&connection, out);
            self.outlet.send(out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let connection = Arc::clone(&self.connection);
        let backend = connection.backend().take();
        let before = memory_used();
        let closed = catch_unwind(AssertUnwindSafe(move || {
            if let Some(mut backend) = backend {
                backend.close();
            }
        }));
        if closed.is_err() {
            tracing::error!(connection = connection.id, "a panic while closing");
        }
        let freed = usize::try_from(before.saturating_sub(memory_used())).unwrap_or(0);
        memory::give_back_after(freed, GIVEN_BACK_BYTES);
        self.leave(out);
    }
}

/// After a buffer above this size, and a connection that had as much, unused memory goes back to the system.
const GIVEN_BACK_BYTES: usize = 8 << 20;

/// Buffers above this size go back to the allocator after their use.
const BUFFER_KEPT_BYTES: usize = 256 << 10;

/// Runs a request with a panic caught; its reply is in `out` afterwards.
pub fn run_request(
    backend: &mut Backend,
    job: &Job,
    place: Place,
    questions: &Questions,
    request: &Request<'_>,
    out: &mut Vec<u8>,
    outlet: &mut dyn Outlet,
) -> Outcome {
    let base = out.len();
    let reply_bytes_max = backend.limits().reply_bytes_max();
    let result = catch_unwind(AssertUnwindSafe(|| {
        backend.run(&mut new_run(job, place, questions, out, outlet, reply_bytes_max), request);
    }));
    match result {
        Ok(()) => Outcome::Answered,
        Err(_) => {
            out.truncate(base.min(out.len()));
            internal_error().reply(out, job.request_id, reply_bytes_max, None);
            Outcome::Panicked
        }
    }
}

/// After a panic: the connection closes, whatever is queued is answered, and the client is told.
pub fn lose(connection: &Connection, out: &mut Vec<u8>) {
    tracing::error!(connection = connection.id, "a panic ended this connection");
    for job in connection.inbox.close(None).unwrap_or_default() {
        internal_error().reply(out, job.request_id, crate::limits::REPLY_FRAME_BYTES, None);
    }
    event::connection_lost(out, connection.id, ErrorCode::Internal, "a bug ended this connection");
}

fn new_run<'r>(
    job: &Job,
    place: Place,
    questions: &'r Questions,
    out: &'r mut Vec<u8>,
    outlet: &'r mut dyn Outlet,
    reply_bytes_max: u32,
) -> Run<'r> {
    Run {
        place,
        request_id: job.request_id,
        transaction: job.transaction,
        received_ns: job.received_ns,
        started_ns: now_ns(),
        reply_bytes_max,
        out,
        outlet,
        questions,
    }
}

fn open_session(
    surroundings: &Surroundings,
    connection: &Connection,
    payload: &[u8],
) -> Result<(Backend, Info)> {
    let control: &Arc<Control> = &connection.control;
    match request::decode(request::tag::OPEN, payload)? {
        Request::Open(request) => Backend::open(
            surroundings,
            connection.id,
            control,
            &connection.questions,
            &connection.counters,
            &connection.files,
            &request,
        ),
        _ => Err(internal_error()),
    }
}

fn put_opened(out: &mut Vec<u8>, id: u32, info: &Info) {
    put_tuple(out, 2);
    put_unsigned(out, u64::from(id));
    put_map(out, 4);
    put_key(out, "path");
    put_binary(out, info.path.as_bytes());
    put_key(out, "journal_mode");
    put_optional_binary(out, info.journal_mode.as_deref().map(str::as_bytes));
    put_key(out, "read_only");
    put_bool(out, info.read_only);
    put_key(out, "mode");
    put_binary(out, info.mode.name().as_bytes());
}

fn internal_error() -> Error {
    Error::new(ErrorCode::Internal, "a bug in libsql_port (panic): the connection is closed; see its log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEVER;
    use crate::connection::job::QueuedBytes;
    use crate::database::Files;
    use crate::feed::{Events, Filter, Hub, Scope, Terms};
    use crate::limits::Limits;
    use crate::run::Lead;
    use crate::surroundings::Relief;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use port_driver::etf::encoder::{put_empty_list, put_integer};
    use port_driver::request::{tag, Values, EVENT_CHANGES};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    /// Keeps the events that are posted, but panics instead for the `panics_at`-th.
    #[derive(Default)]
    struct Posted {
        frames: Mutex<Vec<Vec<u8>>>,
        posts: AtomicUsize,
        panics_at: usize,
    }

    impl Events for Posted {
        fn post(&self, frames: &mut Vec<u8>) {
            assert_ne!(self.posts.fetch_add(1, Ordering::Relaxed) + 1, self.panics_at, "a bug");
            self.frames.lock().push(std::mem::take(frames));
        }
    }

    struct NoRelief;

    impl Relief for NoRelief {
        fn relieve(&self, _lead: Lead) {}

        fn read_meanwhile(&self, _: Lead, _: Duration, _: &mut dyn FnMut() -> bool) -> bool {
            false
        }

        fn post(&self, _frames: &mut Vec<u8>) {}

        fn broken_frame(&self, _error: &port_driver::etf::DecodeError) {}
    }

    /// Keeps what is sent, but panics instead of sending for the `panics_at`-th time.
    struct Fragile {
        sent: Arc<Mutex<Vec<Vec<u8>>>>,
        sends: usize,
        panics_at: usize,
    }

    impl Fragile {
        fn new(panics_at: usize) -> Self {
            Fragile { sent: Arc::default(), sends: 0, panics_at }
        }
    }

    impl Outlet for Fragile {
        fn send(&mut self, frames: &mut Vec<u8>) {
            self.sends += 1;
            assert_ne!(self.sends, self.panics_at, "a bug");
            self.sent.lock().push(std::mem::take(frames));
        }

        fn about_to_wait(&mut self) {}
    }

    #[derive(Default)]
    struct Closed(AtomicBool);

    impl Registry for Closed {
        fn closed(&self, _connection: &Connection) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn surroundings(runtime: &tokio::runtime::Runtime, hub: Arc<Hub>) -> Surroundings {
        Surroundings {
            runtime: runtime.handle().clone(),
            files: Arc::new(Files::default()),
            limits: Arc::new(Limits::default()),
            audit: Arc::new(crate::audit::Audit::new(0)),
            relief: Arc::new(NoRelief),
            client_functions: Arc::default(),
            hub,
            network: Arc::default(),
            replicas: Arc::default(),
        }
    }

    fn opening(path: &Path) -> Job {
        let mut payload = Vec::new();
        put_tuple(&mut payload, 3);
        put_integer(&mut payload, 0);
        put_binary(&mut payload, path.to_str().unwrap().as_bytes());
        put_map(&mut payload, 0);
        Job::new(300, tag::OPEN, Bytes::from(payload), 1, NEVER)
    }

    fn execute(request_id: u32, sql: &str) -> Job {
        let mut payload = Vec::new();
        put_tuple(&mut payload, 4);
        put_integer(&mut payload, 1);
        put_integer(&mut payload, 0);
        put_binary(&mut payload, sql.as_bytes());
        put_empty_list(&mut payload);
        Job::new(request_id, tag::EXECUTE, Bytes::from(payload), 1, NEVER)
    }

    fn contains(frames: &[u8], text: &str) -> bool {
        frames.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// True if a frame of this request is among them.
    fn answers(sent: &[Vec<u8>], request_id: u32) -> bool {
        let id = [&[98][..], &request_id.to_be_bytes()].concat();
        sent.iter().any(|frames| frames.windows(id.len()).any(|window| window == id))
    }

    fn no_events() -> Arc<Hub> {
        Arc::new(Hub::new(Arc::new(Posted::default())))
    }

    /// A connection that runs `jobs` until its outlet panics; what was sent, and the turn's holder afterwards.
    fn lived(panics_at: usize, jobs: Vec<Job>) -> (Vec<Vec<u8>>, Option<u32>) {
        let submit = |connection: &Connection| {
            for job in jobs {
                connection.inbox.submit(job).unwrap();
            }
        };
        lived_at("a.db", panics_at, no_events(), submit)
    }

    /// The same with the database at `path`, after `before`.
    fn lived_at(
        path: &str,
        panics_at: usize,
        hub: Arc<Hub>,
        before: impl FnOnce(&Connection),
    ) -> (Vec<Vec<u8>>, Option<u32>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(path);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let surroundings = surroundings(&runtime, hub);
        let file = surroundings
            .files
            .on_disk(std::fs::canonicalize(folder.path()).unwrap().join("a.db").to_str().unwrap());
        let connection = Arc::new(Connection::new(1, 10, QueuedBytes::new(1000)));
        before(&connection);
        let outlet = Fragile::new(panics_at);
        let (sent, registry) = (Arc::clone(&outlet.sent), Arc::new(Closed::default()));
        let thread = Thread {
            connection: Arc::clone(&connection),
            surroundings,
            outlet: Box::new(outlet),
            registry: Arc::clone(&registry) as Arc<dyn Registry>,
        };
        thread.run(opening(&path));
        assert!(registry.0.load(Ordering::Relaxed), "it is out of the table");
        assert!(connection.backend().is_none());
        let sent = std::mem::take(&mut *sent.lock());
        (sent, file.turn.holder())
    }

    #[test]
    fn a_panic_outside_of_a_request_ends_the_connection_and_answers_what_waits() {
        // The reply to `open` panics; a request waits.
        let (sent, holder) = lived(1, vec![execute(301, "SELECT 1")]);
        let last = sent.last().unwrap();
        assert!(contains(last, "a bug in libsql_port") && contains(last, "a bug ended this connection"));
        assert_eq!(holder, None);
    }

    #[test]
    fn whoever_asked_for_the_end_is_answered_at_every_end() {
        let close = |connection: &Connection| {
            assert!(connection.inbox.close(Some((302, NEVER))).unwrap().is_empty());
        };
        for path in ["a.db", "no folder/a.db"] {
            let (sent, _) = lived_at(path, 0, no_events(), close);
            assert!(answers(&sent, 302), "{path}");
        }
    }

    #[test]
    fn what_was_sent_to_a_connection_that_could_not_be_opened_is_answered() {
        let guess = |connection: &Connection| connection.inbox.submit(execute(301, "SELECT 1")).unwrap();
        let (sent, _) = lived_at("no folder/a.db", 0, no_events(), guess);
        assert!(answers(&sent, 300) && answers(&sent, 301));
    }

    #[test]
    fn a_panic_while_the_turn_is_held_leaks_no_turn() {
        // The reply of the second statement panics: the transaction is open and has the turn.
        let jobs = ["BEGIN IMMEDIATE", "CREATE TABLE t(a)"];
        let jobs = (301..).zip(jobs).map(|(id, sql)| execute(id, sql)).collect();
        let (sent, holder) = lived(3, jobs);
        assert!(contains(sent.last().unwrap(), "a bug ended this connection"));
        assert_eq!(holder, None);
    }

    /// What each of two subscribers is told of a transaction that is told after its reply: "row", or "resync" to read anew.
    fn told_of_a_long_transaction(reply_panics: bool, post_panics_at: usize) -> [Vec<&'static str>; 2] {
        let posted = Arc::new(Posted { panics_at: post_panics_at, ..Posted::default() });
        let hub = Arc::new(Hub::new(Arc::clone(&posted) as Arc<dyn Events>));
        let subscribe = || {
            let filter = Filter {
                tables: None,
                operations: 7,
                values: Values::New,
                columns: None,
                changed_columns: None,
                keepers: false,
            };
            let terms = Terms { events: EVENT_CHANGES, progress_interval_ms: 1000, bytes_max: 1 << 20 };
            hub.subscribe(Scope::All, filter, terms).unwrap().id
        };
        let ids = [subscribe(), subscribe()];
        let jobs = ["CREATE TABLE t(a)", "INSERT INTO t VALUES (hex(zeroblob(100000)))"];
        let submit = |connection: &Connection| {
            for (id, sql) in (301..).zip(jobs) {
                connection.inbox.submit(execute(id, sql)).unwrap();
            }
        };
        // Those of `open` and of the two statements.
        lived_at("a.db", if reply_panics { 3 } else { 0 }, Arc::clone(&hub), submit);
        let frames = std::mem::take(&mut *posted.frames.lock());
        ids.map(|id| {
            let own = |frame: &&Vec<u8>| {
                frame.windows(5).any(|part| part == [&[98][..], &id.to_be_bytes()].concat())
            };
            let kinds = frames.iter().filter(own).filter_map(|frame| {
                let kinds = [("unreadable", "resync"), ("0000", "row")];
                kinds.into_iter().find(|(text, _)| contains(frame, text)).map(|(_, kind)| kind)
            });
            kinds.collect()
        })
    }

    #[test]
    fn a_panic_behind_a_commit_leaves_no_subscriber_without_word_of_it() {
        // Between the reply and the telling of it.
        assert_eq!(told_of_a_long_transaction(true, 0), [vec!["row"], vec!["row"]]);
        // The first two posts are of the CREATE TABLE. While the second subscriber is told of the row: who had it is not told it again
        // as if it were another one.
        for reply_panics in [false, true] {
            let both = [vec!["row", "resync"], vec!["resync"]];
            assert_eq!(told_of_a_long_transaction(reply_panics, 4), both, "{reply_panics}");
            let both = [vec!["resync"], vec!["resync"]];
            assert_eq!(told_of_a_long_transaction(reply_panics, 3), both, "{reply_panics}");
        }
    }
}
