//! A call of a callback: out as an event, and the answer waited for, in the midst of a statement.
//!
//! The answer is a request: the thread that reads fetches it itself for a moment, and is relieved after that. The wait hears a
//! cancellation, the deadline and the end of input, as every wait does.

use crate::client_hooks::Callee;
use crate::clock::{now_ns, NEVER};
use crate::control::Control;
use crate::engine::function::{Argument, FunctionError, Output};
use crate::local::watch::{ConnectionWatch, MEANWHILE};
use crate::questions::Questions;
use crate::surroundings::Relief;
use port_driver::answer::Answer;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_binary, put_empty_list, put_float, put_integer, put_list, put_nil};
use port_driver::event::{self, Call};
use port_driver::refusal::RequestError;
use port_driver::request::{self, tag, Request};
use port_driver::value::Value;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// How a connection calls its client.
pub struct Asking {
    connection: u32,
    control: Arc<Control>,
    questions: Arc<Questions>,
    relief: Arc<dyn Relief>,
    watch: Arc<ConnectionWatch>,
    frame_bytes_max: u32,
    request: AtomicU64,
    calls: AtomicU64,
    waited_ns: AtomicU64,
    instances: AtomicU32,
}

/// What a request has asked of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// How often.
    pub count: u64,
    /// How long it has waited for the answers.
    pub waited_ns: u64,
}

impl Calls {
    /// Of a statement that took `took_ns`: how long it ran between two calls, in which alone it keeps the thread that reads from
    /// reading. Endless if the client takes its time.
    pub fn stretch_ns(self, took_ns: u64) -> u64 {
        if u128::from(self.waited_ns / self.count.max(1)) >= MEANWHILE.as_nanos() {
            return u64::MAX;
        }
        took_ns.saturating_sub(self.waited_ns) / self.count.saturating_add(1)
    }
}

impl Asking {
    /// For connection `connection`.
    pub fn new(
        connection: u32,
        control: Arc<Control>,
        questions: Arc<Questions>,
        relief: Arc<dyn Relief>,
        watch: Arc<ConnectionWatch>,
        frame_bytes_max: u32,
    ) -> Self {
        Asking {
            connection,
            control,
            questions,
            relief,
            watch,
            frame_bytes_max,
            request: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            instances: AtomicU32::new(0),
        }
    }

    /// Another request begins: what was failed and kept for the one before counts no more.
    #[inline]
    pub fn begin(&self) {
        // The connection's own thread alone counts.
        self.request.store(self.request().wrapping_add(1), Ordering::Relaxed);
        self.watch.forget_failure();
        // What was asked while nothing ran, by a compilation.
        let _ = self.take_calls();
    }

    /// Changes with every request.
    #[inline]
    pub fn request(&self) -> u64 {
        self.request.load(Ordering::Relaxed)
    }

    /// The calls since this was last asked, if there were any.
    #[inline]
    pub fn take_calls(&self) -> Option<Calls> {
        // A load first, since there is mostly nothing to take.
        if self.calls.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let count = self.calls.swap(0, Ordering::Relaxed);
        Some(Calls { count, waited_ns: self.waited_ns.swap(0, Ordering::Relaxed) })
    }

    /// A number for a group or a scan, which the client keeps a state for.
    pub fn new_instance(&self) -> u32 {
        self.instances.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff
    }

    /// True if an answer has failed, after which a comparison cannot be trusted.
    pub fn order_is_broken(&self) -> bool {
        self.watch.order_is_broken()
    }

    /// A comparison could not be made: the statement must not end well.
    pub fn break_order(&self) {
        self.watch.break_order();
    }

    /// Asks for what `kind` says, with the argument that `put` writes, and gives what `read` makes of the answer.
    pub fn ask<T>(
        &self,
        function: &impl Callee,
        kind: &str,
        put: impl FnOnce(&mut Vec<u8>),
        read: impl FnOnce(&[u8]) -> Result<T, RequestError>,
    ) -> Result<T, FunctionError> {
        // Whoever has to stop asks nothing more: what is left of its statement is taken down now.
        if self.control.stop().is_some() {
            return Err(FunctionError::Stopped);
        }
        let until_ns = match function.timeout_ms() {
            0 => NEVER,
            ms => now_ns().saturating_add(u64::from(ms) * 1_000_000),
        };
        let call = self.questions.open_call();
        // At once: a buffer that grows with each field costs as much as all else that a call takes here.
        let mut frame = Vec::with_capacity(CALL_BYTES);
        self.event(&mut frame, function, call, kind, until_ns.min(self.control.deadline_ns()), put);
        if frame.len() > self.frame_bytes_max as usize {
            let message = format!(
                "the arguments of a call take {} bytes, which is more than frame_bytes_max, {}; raise it or pass less",
                frame.len(),
                self.frame_bytes_max
            );
            return Err(self.failed(function, ErrorCode::TooBig, &message));
        }
        self.relief.post(&mut frame);
        let posted_ns = now_ns();
        // The thread that reads fetches its answer itself. Otherwise another one has to, which costs two switches of threads.
        self.watch.read_meanwhile(|| self.questions.is_answered() || self.control.stop().is_some());
        if !self.questions.is_answered() {
            self.watch.about_to_wait();
        }
        let answer = self.questions.wait_for_answer(until_ns);
        // The connection's own thread alone counts.
        self.calls.store(self.calls.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
        let waited_ns =
            self.waited_ns.load(Ordering::Relaxed).saturating_add(now_ns().saturating_sub(posted_ns));
        self.waited_ns.store(waited_ns, Ordering::Relaxed);
        match answer {
            Ok(Some(payload)) => match request::decode(tag::ANSWER, &payload) {
                Ok(Request::Answer { answer: Answer::Value(term), .. }) => {
                    read(term).map_err(|error| self.failed(function, function.failed(), &error.message))
                }
                Ok(Request::Answer { answer: Answer::Error(message), .. }) => {
                    let message = &message[..message.len().min(MESSAGE_BYTES_MAX)];
                    let message = String::from_utf8_lossy(message);
                    Err(self.failed(function, function.failed(), &message))
                }
                _ => Err(self.failed(function, function.failed(), "the answer is none")),
            },
            Ok(None) => {
                self.abandon(call);
                let message = format!("no answer within {} ms", function.timeout_ms());
                Err(self.failed(function, function.late(), &message))
            }
            Err(_stop) => {
                self.abandon(call);
                Err(FunctionError::Stopped)
            }
        }
    }

    /// What has failed is to be the statement's error.
    pub fn fail(&self, code: ErrorCode, message: String) {
        self.watch.set_failure(code, message);
    }

    /// What has failed is told otherwise.
    pub fn forget_failure(&self) {
        let _ = self.watch.take_failure();
    }

    /// How many bytes an argument may take, beside what else is in its frame.
    pub fn argument_bytes_max(&self) -> usize {
        (self.frame_bytes_max as usize).saturating_sub(CALL_BYTES)
    }

    /// Tells the client something that it does not answer.
    pub fn notice(&self, function: &impl Callee, kind: &str, put: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = Vec::new();
        self.event(&mut frame, function, 0, kind, NEVER, put);
        self.relief.post(&mut frame);
    }

    fn event(
        &self,
        frame: &mut Vec<u8>,
        function: &impl Callee,
        call: u32,
        kind: &str,
        until_ns: u64,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        let left_ms = match until_ns {
            NEVER => 0,
            // 0 would be no limit.
            until_ns => {
                u32::try_from(until_ns.saturating_sub(now_ns()) / 1_000_000).unwrap_or(u32::MAX).max(1)
            }
        };
        let call = Call {
            connection: self.connection,
            call,
            request: self.control.request(),
            callback: function.callback(),
            kind,
            left_ms,
        };
        event::call(frame, &call, put);
    }

    fn abandon(&self, call: u32) {
        let mut frame = Vec::new();
        event::abandoned(&mut frame, self.connection, call);
        self.relief.post(&mut frame);
    }

    fn failed(&self, function: &impl Callee, code: ErrorCode, message: &str) -> FunctionError {
        let message = format!("{}: {message}", function.name());
        self.watch.note_failure(code, &message);
        FunctionError::Invalid(message)
    }
}

/// More than a call takes beside its argument.
const CALL_BYTES: usize = 256;

/// How much of a callback's message is kept.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Appends a value of the engine.
pub fn put_argument(out: &mut Vec<u8>, argument: &Argument<'_>) {
    match argument {
        Argument::Null => put_nil(out),
        Argument::Integer(value) => put_integer(out, *value),
        Argument::Real(value) => put_float(out, *value),
        Argument::Text(bytes) | Argument::Blob(bytes) => put_binary(out, bytes),
    }
}

/// Appends a list of them.
pub fn put_arguments(out: &mut Vec<u8>, arguments: &[Argument<'_>]) {
    if !arguments.is_empty() {
        put_list(out, u32::try_from(arguments.len()).unwrap_or(0));
        arguments.iter().for_each(|argument| put_argument(out, argument));
    }
    put_empty_list(out);
}

/// A value of the client as one of the engine.
pub fn output(value: Value<'_>) -> Output {
    match value {
        Value::Null => Output::Null,
        Value::Integer(value) => Output::Integer(value),
        Value::Real(value) => Output::Real(value),
        Value::Text(text) => Output::Text(text.to_owned()),
        Value::Blob(bytes) => Output::Blob(bytes.to_vec()),
    }
}
