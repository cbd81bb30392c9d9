//! Who the client is: a token that it has given, or one that it is asked for when it is needed.

use crate::clock::{now_ns, NEVER};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::questions::Questions;
use crate::surroundings::Relief;
use port_driver::answer::{self, Answer};
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::put_binary;
use port_driver::event::{self, Call};
use port_driver::request::{self, tag, Request};
use std::sync::Arc;

/// The most of a client's message that travels on. No option, as no words of an error have one.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The token of one connection.
pub struct Token {
    source: Source,
    current: Option<String>,
    good_until_ns: u64,
}

/// Where it comes from.
pub enum Source {
    /// There is none.
    None,
    /// It never changes.
    Given(String),
    /// The client is asked.
    Asked(Asking),
}

/// How a connection asks its client for a token.
pub struct Asking {
    /// The connection.
    pub connection: u32,
    /// The client's number of the callback.
    pub callback: u32,
    /// The server, as it is shown.
    pub url: String,
    /// What runs.
    pub control: Arc<Control>,
    /// What is asked.
    pub questions: Arc<Questions>,
    /// The way out.
    pub relief: Arc<dyn Relief>,
}

impl Token {
    /// From `source`.
    pub fn new(source: Source) -> Self {
        Token { source, current: None, good_until_ns: 0 }
    }

    /// The token to send, if there is one. Asks for it where that is needed.
    pub fn get(&mut self) -> Result<Option<String>> {
        match &self.source {
            Source::None => Ok(None),
            Source::Given(token) => Ok(Some(token.clone())),
            Source::Asked(asking) => {
                if self.current.is_none() || now_ns() >= self.good_until_ns {
                    // The one before it is still the one that a stream is ended with, if there is no other.
                    let (token, lifetime_ms) = asking.ask()?;
                    self.current = Some(token);
                    self.good_until_ns =
                        lifetime_ms.map_or(NEVER, |ms| now_ns().saturating_add(ms.saturating_mul(1_000_000)));
                }
                Ok(self.current.clone())
            }
        }
    }

    /// The token that was sent last, without asking.
    pub fn known(&self) -> Option<String> {
        match &self.source {
            Source::Given(token) => Some(token.clone()),
            _ => self.current.clone(),
        }
    }

    /// The server does not accept it. True if another one can be had.
    pub fn refuse(&mut self) -> bool {
        self.current = None;
        matches!(self.source, Source::Asked(_))
    }
}

impl Asking {
    /// Waits for the client's answer, as long as the request may run.
    fn ask(&self) -> Result<(String, Option<u64>)> {
        if let Some(stop) = self.control.stop() {
            return Err(stop.into());
        }
        let call = self.questions.open_call();
        let left_ms = match self.control.deadline_ns() {
            NEVER => 0,
            at => u32::try_from(at.saturating_sub(now_ns()) / 1_000_000).unwrap_or(u32::MAX).max(1),
        };
        let mut frame = Vec::new();
        let fields = Call {
            connection: self.connection,
            call,
            request: self.control.request(),
            callback: self.callback,
            kind: "auth_token",
            left_ms,
        };
        event::call(&mut frame, &fields, |out| put_binary(out, self.url.as_bytes()));
        self.relief.post(&mut frame);
        let payload = match self.questions.wait_for_answer(NEVER) {
            Ok(payload) => payload,
            Err(stop) => {
                let mut frame = Vec::new();
                event::abandoned(&mut frame, self.connection, call);
                self.relief.post(&mut frame);
                return Err(stop.into());
            }
        };
        match payload.as_deref().map(|payload| request::decode(tag::ANSWER, payload)) {
            Some(Ok(Request::Answer { answer: Answer::Value(term), .. })) => {
                let (token, lifetime_ms) = answer::token(term).map_err(|error| failed(&error.message))?;
                Ok((token.to_owned(), lifetime_ms))
            }
            Some(Ok(Request::Answer { answer: Answer::Error(message), .. })) => {
                let message = &message[..message.len().min(MESSAGE_BYTES_MAX)];
                Err(failed(&String::from_utf8_lossy(message)))
            }
            _ => Err(failed("the answer is none")),
        }
    }
}

fn failed(message: &str) -> Error {
    Error::new(ErrorCode::CallbackFailed, format!("no token for the server: {message}"))
}
