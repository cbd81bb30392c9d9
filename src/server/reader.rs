//! The threads that read requests: one leads, the others stand by.
//!
//! The leader reads frames, answers what is quick and runs short statements itself, which saves two thread switches for
//! each of them. Before it runs one it lays its `Input` open ([`super::handover`]). If the statement takes too long, or is
//! about to wait, whoever notices (the progress callback, the timekeeper, the waiting code itself) calls `relieve`, which
//! hands the input to another thread; the old leader finishes what it was doing and then stands by. So reading never waits
//! for work, and cancellations and the end of input are seen at any time.
//!
//! The leader does wait while standard output is full: a client that reads no replies gets no further requests taken.
//! The timekeeper then watches for the end of input in its place.

use super::exit::Exit;
use super::handover::Handover;
use super::output::Output;
use super::router::{Routed, Router};
use super::spin::Spin;
use super::time::Time;
use crate::clock::{self, now_ns, NEVER};
use crate::connection::job::Job;
use crate::connection::thread::{lose, run_request, Outcome};
use crate::connection::Connection;
use crate::control::{Control, Stop};
use crate::descriptors::{self, poll, Readiness};
use crate::error::Error;
use crate::limits::{Limits, STACK_BYTES};
use crate::run::{Lead, Outlet, Place};
use crate::surroundings::Relief;
use bytes::BytesMut;
use port_driver::etf::DecodeError;
use port_driver::frame::{FrameDecoder, FrameError, Incoming};
use port_driver::request::{self, Refusal};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Replies are written once the input is drained, or when there are so many bytes of them.
const REPLIES_BYTES: usize = 32 << 10;
/// What is read at once.
const READ_BYTES: usize = 128 << 10;
/// The shortest wait that is one.
const POLL_MIN: Duration = Duration::from_millis(1);
/// What the program sends unasked bears this id, so no request may.
const EVENT_ID: u32 = 0;

/// What the leader has: passed from thread to thread with the leadership.
pub struct Input {
    pipe: File,
    chunk: Box<[u8]>,
    buffer: BytesMut,
    decoder: FrameDecoder,
    router: Router,
    replies: Vec<u8>,
    // The buffer of a short statement's reply, kept for the next one.
    scratch: Vec<u8>,
    received_ns: u64,
    spin: Spin,
    /// Why nothing more is to be read, if that was found in the midst of a statement.
    ended: Option<Exit>,
}

impl Input {
    /// The start of a stream.
    pub fn new(pipe: OwnedFd, limits: &Limits, router: Router) -> Box<Self> {
        Box::new(Input {
            pipe: File::from(pipe),
            chunk: vec![0; READ_BYTES].into_boxed_slice(),
            buffer: BytesMut::new(),
            decoder: FrameDecoder::new(limits.frame_bytes_max),
            router,
            replies: Vec::new(),
            scratch: Vec::new(),
            received_ns: 0,
            spin: Spin::new(limits.spin()),
            ended: None,
        })
    }

    /// The next of what has been read.
    fn next(&mut self) -> Result<Option<Incoming>, FrameError> {
        let incoming = self.decoder.decode(&mut self.buffer);
        if let Ok(Some(Incoming::Frame { payload, .. })) = &incoming {
            // What follows a large frame would keep the memory of both.
            if payload.len() > READ_BYTES {
                self.buffer = BytesMut::from(&self.buffer[..]);
            }
        }
        incoming
    }

    /// Reads what there is, waiting for it; false at the end.
    fn read_more(&mut self) -> io::Result<bool> {
        self.look();
        self.read()
    }

    /// The same, but no longer than for `time`, or a millisecond: true too if nothing has come until then.
    fn read_within(&mut self, time: Duration) -> io::Result<bool> {
        self.look();
        // The system counts in milliseconds: with less it would look again and again.
        if poll(&self.pipe, Readiness::Read, time.max(POLL_MIN)) {
            self.read()
        } else {
            Ok(true)
        }
    }

    fn look(&mut self) {
        let Input { pipe, spin, .. } = self;
        spin.look(|| poll(pipe, Readiness::Read, Duration::ZERO));
    }

    fn read(&mut self) -> io::Result<bool> {
        loop {
            match self.pipe.read(&mut self.chunk) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.received_ns = now_ns();
                    self.buffer.extend_from_slice(&self.chunk[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&self.pipe, Readiness::Read, Duration::from_secs(60));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Who leads, who stands by.
pub struct Reading {
    me: Weak<Reading>,
    handover: Handover<Box<Input>>,
    /// The leader waits for requests, and so will see the end of input.
    listening: AtomicBool,
    threads: Arc<AtomicU32>,
    /// The system has refused a thread, which has been logged.
    out_of_threads: AtomicBool,
    input_pipe: File,
    output: Arc<Output>,
    time: Time,
}

impl Reading {
    /// Nobody reads yet. `input_pipe` is a duplicate, to look for the end of input.
    pub fn new(input_pipe: OwnedFd, output: Arc<Output>, time: Time) -> Arc<Self> {
        Arc::new_cyclic(|me| Reading {
            me: Weak::clone(me),
            handover: Handover::new(),
            out_of_threads: AtomicBool::new(false),
            listening: AtomicBool::new(false),
            threads: Arc::default(),
            input_pipe: File::from(input_pipe),
            output,
            time,
        })
    }

    /// Since when the leader has run a statement; 0 if it does not.
    pub fn busy_since_ns(&self) -> u64 {
        self.handover.busy_since_ns()
    }

    /// The client has closed its end, and no leader is in a position to see it.
    pub fn is_abandoned(&self) -> bool {
        !self.listening.load(Ordering::Relaxed) && descriptors::is_hung_up(&self.input_pipe)
    }

    /// The count of threads that read or stand by.
    pub fn threads(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.threads)
    }

    /// Starts a thread that leads with `input`.
    pub fn start(&self, input: Box<Input>) -> io::Result<()> {
        self.spawn(move |me| me.lead_and_stand_by(input))
    }

    fn spawn(&self, work: impl FnOnce(&Reading) + Send + 'static) -> io::Result<()> {
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        let number = self.threads.fetch_add(1, Ordering::Relaxed);
        let thread =
            std::thread::Builder::new().name(format!("libsql-read-{number}")).stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            work(&me);
            me.threads.fetch_sub(1, Ordering::Relaxed);
        });
        started.map(|_| ()).inspect_err(|_| {
            self.threads.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn lead_and_stand_by(&self, input: Box<Input>) {
        let mut next = Some(input);
        while let Some(input) = next {
            // A panic in a statement is caught where it runs; one out here leaves nobody to read.
            match catch_unwind(AssertUnwindSafe(|| lead(self, input))) {
                Ok(Led::Relieved) => next = self.handover.stand_by(),
                Ok(Led::Ended(exit)) => return self.time.shut_down(exit),
                Err(_) => return self.time.shut_down(Exit::Bug),
            }
        }
    }

    /// Lays the input open before a statement runs. Returns the lead that it stands for.
    #[inline]
    fn publish(&self, input: Box<Input>) -> Lead {
        let lead = self.handover.lay_open(input);
        self.time.leader_is_busy();
        lead
    }

    /// Relieves whoever leads.
    pub fn relieve_leader(&self) {
        self.relieve(self.handover.lead());
    }
}

impl Relief for Reading {
    fn post(&self, frames: &mut Vec<u8>) {
        self.output.post(frames);
    }

    fn broken_frame(&self, error: &DecodeError) {
        self.time.shut_down(broken(error));
    }

    fn read_meanwhile(&self, lead: Lead, time: Duration, ready: &mut dyn FnMut() -> bool) -> bool {
        let Some(input) = self.handover.take_back(lead) else { return false };
        let mut meanwhile = Meanwhile { reading: self, lead, input: Some(input) };
        meanwhile.read(time, ready);
        true
    }

    fn relieve(&self, lead: Lead) {
        if !self.handover.relieve(lead) {
            self.relieve_by_new_thread(lead);
        }
    }
}

impl Reading {
    /// The new thread takes the input itself, so that it stays where it is if the system refuses the thread: then its
    /// leader goes on when its statement has ended.
    #[cold]
    fn relieve_by_new_thread(&self, lead: Lead) {
        let started = self.spawn(move |me| {
            if let Some(input) = me.handover.join(lead) {
                me.lead_and_stand_by(input);
            }
        });
        let refused = started.is_err();
        if let Err(error) = started {
            if !self.out_of_threads.swap(refused, Ordering::Relaxed) {
                tracing::warn!(%error, "no thread to read requests while a statement runs; they wait for its end");
            }
        } else {
            self.out_of_threads.store(false, Ordering::Relaxed);
        }
    }
}

/// The leader reads in the midst of its statement, which waits for one of the requests. Afterwards the input lies open again.
struct Meanwhile<'r> {
    reading: &'r Reading,
    lead: Lead,
    /// Nobody has it after a panic.
    input: Option<Box<Input>>,
}

impl Meanwhile<'_> {
    fn read(&mut self, time: Duration, ready: &mut dyn FnMut() -> bool) {
        let end_ns = now_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(NEVER));
        if let Some(input) = self.input.as_mut() {
            // This thread has asked, and is to be answered.
            input.spin.answered();
        }
        while !ready() {
            let Some(mut input) = self.input.take_if(|input| input.ended.is_none()) else { return };
            match input.next() {
                Ok(Some(incoming)) => match route(input, incoming) {
                    Ok((input, None)) => self.input = Some(input),
                    // It would run on top of the statement that waits.
                    Ok((input, Some((connection, job)))) => {
                        self.input = Some(pass_on(input, &connection, job));
                    }
                    Err((input, reason)) => return self.end(input, broken(&reason)),
                },
                Ok(None) => {
                    // Without a wait: it is not the statement that the client keeps waiting.
                    self.reading.output.post(&mut input.replies);
                    if now_ns() >= end_ns {
                        self.input = Some(input);
                        return;
                    }
                    match listen(self.reading, || input.read_within(clock::until(end_ns))) {
                        None => self.input = Some(input),
                        Some(exit) => return self.end(input, exit),
                    }
                }
                Err(error) => return self.end(input, broken(&error)),
            }
        }
    }

    /// The program ends. What runs here is stopped by that; whoever has the input after it reads nothing more.
    fn end(&mut self, mut input: Box<Input>, exit: Exit) {
        input.ended = Some(exit);
        self.input = Some(input);
        self.reading.time.shut_down(exit);
    }
}

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        match self.input.take() {
            Some(mut input) => {
                self.reading.output.post(&mut input.replies);
                self.reading.handover.put_back(self.lead, input);
                self.reading.time.leader_is_busy();
            }
            // Nobody would read any more.
            None => self.reading.time.shut_down(Exit::Bug),
        }
    }
}

enum Led {
    /// Another thread leads now.
    Relieved,
    /// There is nothing more to read.
    Ended(Exit),
}

/// What became of a frame.
enum Handled {
    /// The leader goes on.
    Go(Box<Input>),
    /// Another thread leads now.
    Relieved,
    /// The frame is broken.
    Broken(Box<Input>, String),
}

fn lead(reading: &Reading, mut input: Box<Input>) -> Led {
    loop {
        if let Some(exit) = input.ended {
            return Led::Ended(exit);
        }
        match input.next() {
            Ok(Some(incoming)) => match handle(reading, input, incoming) {
                Handled::Go(back) => input = back,
                Handled::Relieved => return Led::Relieved,
                Handled::Broken(mut back, reason) => {
                    // What came before it has been done, and its client may still be told.
                    reading.output.send(&mut back.replies);
                    return Led::Ended(broken(&reason));
                }
            },
            Ok(None) => {
                reading.output.send(&mut input.replies);
                if let Some(exit) = listen(reading, || input.read_more()) {
                    return Led::Ended(exit);
                }
            }
            Err(error) => {
                reading.output.send(&mut input.replies);
                return Led::Ended(broken(&error));
            }
        }
        if input.replies.len() >= REPLIES_BYTES {
            reading.output.send(&mut input.replies);
        }
    }
}

fn listen(reading: &Reading, read: impl FnOnce() -> io::Result<bool>) -> Option<Exit> {
    reading.listening.store(true, Ordering::Relaxed);
    let more = read();
    reading.listening.store(false, Ordering::Relaxed);
    match more {
        Ok(true) => None,
        Ok(false) => Some(Exit::EndOfInput),
        Err(error) => {
            tracing::error!(%error, "standard input cannot be read");
            Some(Exit::EndOfInput)
        }
    }
}

fn handle(reading: &Reading, input: Box<Input>, incoming: Incoming) -> Handled {
    match route(input, incoming) {
        Ok((input, None)) => Handled::Go(input),
        Ok((input, Some((connection, job)))) => run_here(reading, input, &connection, job),
        Err((input, reason)) => Handled::Broken(input, reason),
    }
}

/// A request that the thread that reads may run itself.
type Leads = Option<(Arc<Connection>, Job)>;

/// Does what is quick. An error is a frame that is broken.
fn route(mut input: Box<Input>, incoming: Incoming) -> Result<(Box<Input>, Leads), (Box<Input>, String)> {
    let (header, payload) = match incoming {
        Incoming::Frame { header, payload } => (header, payload),
        Incoming::Oversized { header, frame_bytes } => {
            let Input { router, replies, .. } = &mut *input;
            router.refuse_oversized(header, frame_bytes, replies);
            return Ok((input, None));
        }
    };
    if header.request_id == EVENT_ID {
        return Err((input, "a request under id 0, which is the events'".to_owned()));
    }
    let received_ns = input.received_ns;
    let Input { router, replies, .. } = &mut *input;
    match router.route(header, payload, received_ns, replies) {
        Ok(Routed::Done) => {
            if input.replies.is_empty() {
                input.spin.passed_on();
            } else {
                input.spin.answered();
            }
            Ok((input, None))
        }
        Ok(Routed::Lead(connection, job)) => Ok((input, Some((connection, job)))),
        Err(error) => Err((input, error.to_string())),
    }
}

/// Runs a request whose connection is free on this thread if it is short, else leaves it to the connection's thread.
fn run_here(reading: &Reading, mut input: Box<Input>, connection: &Connection, job: Job) -> Handled {
    let mut backend = connection.backend();
    let Some(open) = backend.as_mut() else {
        drop(backend);
        return Handled::Go(pass_on(input, connection, job));
    };
    let request = match request::decode(job.tag, &job.payload) {
        Ok(request) => request,
        Err(refusal) => {
            drop(backend);
            connection.inbox.end_lead();
            return match refusal {
                Refusal::Fatal(error) => Handled::Broken(input, error.to_string()),
                Refusal::Answer(error) => {
                    input.router.refuse(job.request_id, &Error::from(error), &mut input.replies);
                    Handled::Go(input)
                }
            };
        }
    };
    if !open.is_short(&request) {
        drop(backend);
        input.spin.passed_on();
        return Handled::Go(pass_on(input, connection, job));
    }
    let mut out = std::mem::take(&mut input.scratch);
    let lead = reading.publish(input);
    let mut outlet = LeaderOutlet { reading, lead, control: &connection.control };
    let outcome =
        run_request(open, &job, Place::Reader(lead), &connection.questions, &request, &mut out, &mut outlet);
    drop(backend);
    if outcome == Outcome::Panicked {
        lose(connection, &mut out);
    }
    connection.inbox.end_lead();
    match reading.handover.take_back(lead) {
        Some(mut input) => {
            input.replies.extend_from_slice(&out);
            out.clear();
            input.scratch = out;
            input.spin.answered();
            Handled::Go(input)
        }
        None => {
            reading.output.send(&mut out);
            Handled::Relieved
        }
    }
}

/// Leaves a request to the connection's thread.
fn pass_on(mut input: Box<Input>, connection: &Connection, job: Job) -> Box<Input> {
    if let Some(job) = connection.inbox.pass_lead(job) {
        input.router.refuse(job.request_id, &Stop::Closed.into(), &mut input.replies);
    }
    input
}

/// The leader's way out while it runs a statement.
struct LeaderOutlet<'r> {
    reading: &'r Reading,
    lead: Lead,
    control: &'r Control,
}

impl Outlet for LeaderOutlet<'_> {
    fn send(&mut self, frames: &mut Vec<u8>) {
        self.control.sending(|| self.reading.output.send(frames));
    }

    fn about_to_wait(&mut self) {
        self.reading.relieve(self.lead);
    }
}

fn broken(error: &dyn std::fmt::Display) -> Exit {
    tracing::error!(%error, "broken frame on standard input: the client and this program are out of step");
    Exit::BrokenFrame
}
