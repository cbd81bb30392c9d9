//! What one connection has: its way to the server, its state there, what the client holds.

use super::bind;
use super::cursors::Cursors;
use super::descriptions::Descriptions;
use super::errors::{lost, TIMED_OUT};
use super::hrana::answer::{Misshapen, Outcome, Results};
use super::hrana::describe::Description;
use super::hrana::stmt::{Args, Pipeline};
use super::kept::Kept;
use super::machine::{Baton, Cut, Effect, Event, Exchange, Fault, Machine, Ran, State, Tries, Verdict};
use super::stream::{Link, NoAnswer, Where};
use super::token::Token;
use crate::clock::now_ns;
use crate::control::{Control, Stop};
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::limits::Limits;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;

/// One open connection.
pub struct Session {
    /// The way to the server.
    pub link: Link,
    /// Who the client is.
    pub token: Token,
    /// The state on the server.
    pub machine: Machine,
    /// A stream for the next statement.
    pub kept: Kept,
    /// How long it is kept; zero: not at all.
    pub stream_idle: Duration,
    /// When the last statement outside of a transaction ended; 0: none has.
    pub last_alone_ns: u64,
    /// What the server has said of statements.
    pub descriptions: Descriptions,
    /// The texts that the client holds as prepared statements.
    pub prepared: FxHashMap<u32, Box<str>>,
    /// The last id of one.
    pub last_statement: u32,
    /// Open cursors.
    pub cursors: Cursors,
    /// When to stop.
    pub control: Arc<Control>,
    /// Counts.
    pub counters: Arc<Counters>,
    /// The program's limits.
    pub limits: Arc<Limits>,
    /// Rows changed, of all statements.
    pub changes: i64,
}

/// What a request is about, before it is known on which stream it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Outside of a transaction. `opens`: it may begin one.
    Alone {
        /// What it may do.
        effect: Effect,
        /// It may begin a transaction, so the stream has to stay.
        opens: bool,
    },
    /// BEGIN and what comes after it.
    First(Effect),
    /// In the open transaction.
    Inside {
        /// What it may do.
        effect: Effect,
        /// It may roll it back.
        may_end: bool,
    },
    /// What may commit it.
    Commit,
    /// Its end.
    Rollback,
}

/// What a caller makes of the results of its requests.
pub type Read<'r, T> = &'r mut dyn FnMut(&mut Results) -> std::result::Result<(Ran, T), Misshapen>;

impl Session {
    /// Sends the requests that `build` adds, and gives what `read` makes of their results. The state follows.
    pub fn exchange<T>(
        &mut self,
        about: About,
        build: &dyn Fn(&mut Pipeline),
        read: Read<'_, T>,
    ) -> Result<T> {
        let mut tries = Tries { again: true, token: true };
        let mut stream = match (about, self.machine.state()) {
            (About::Alone { .. } | About::First(_), _) => self.kept.take(),
            (_, State::Open { baton, .. }) => Some(baton.clone()),
            _ => None,
        };
        loop {
            let token = self.token.get()?;
            if let Some(stop) = self.control.stop() {
                return Err(stop.into());
            }
            let closes = self.closes(about, stream.is_some());
            let mut pipeline = Pipeline::new(stream.as_ref().map(|baton| baton.text.as_str()));
            build(&mut pipeline);
            pipeline.get_autocommit();
            if closes {
                pipeline.close();
            }
            let to = Where {
                base: stream.as_ref().and_then(|baton| baton.base.as_deref()),
                token: token.as_deref(),
            };
            let sent = self.link.pipeline(&self.control, &to, pipeline.finish());
            let (event, detail, value) = settled(&self.link, sent, read);
            if event == Event::Refused(super::machine::Refusal::Unauthorized) {
                tries.token = std::mem::replace(&mut tries.token, false) && self.token.refuse();
            }
            let exchange = about.on(stream.is_some());
            let verdict = self.machine.settle(exchange, &event, tries);
            if let About::Alone { .. } = about {
                self.last_alone_ns = now_ns();
            }
            if let (Event::Cut(_), Some(baton)) = (&event, &stream) {
                self.abandon(baton.clone(), token.clone());
            }
            match verdict {
                Verdict::Answer => {
                    let is_free = match about {
                        About::Alone { .. } => !matches!(self.machine.state(), State::Open { .. }),
                        _ => self.machine.state() == &State::Closed,
                    };
                    if let (true, Event::Answered { baton: Some(baton), .. }) = (is_free, event) {
                        self.keep(baton, token);
                    }
                    // Only a rollback is answered without results.
                    return value.ok_or_else(|| Error::new(ErrorCode::RemoteProtocol, detail.message));
                }
                Verdict::Again => {
                    tracing::debug!("a request to the server is sent again");
                    tries.again = false;
                    stream = None;
                }
                Verdict::AnotherToken => tries.token = false,
                Verdict::Fault(fault) => return Err(self.fault(fault, detail)),
            }
        }
    }

    /// Whether a statement's stream ends with it: unless the caller is a busy one.
    fn closes(&self, about: About, kept: bool) -> bool {
        let About::Alone { opens, .. } = about else { return false };
        let idle_ns = u64::try_from(self.stream_idle.as_nanos()).unwrap_or(u64::MAX);
        let busy = self.last_alone_ns > 0 && now_ns().saturating_sub(self.last_alone_ns) < idle_ns;
        !opens && !kept && !busy
    }

    /// A stream whose request may not have arrived is ended, for the locks that it has; if it did arrive, the baton is used.
    fn abandon(&self, baton: Baton, token: Option<String>) {
        if let Ok(runtime) = self.link.runtime() {
            runtime.spawn(end_stream(self.link.clone(), baton, token));
        }
    }

    /// Keeps a stream for the next statement, or ends it.
    fn keep(&self, baton: Baton, token: Option<String>) {
        let link = self.link.clone();
        let Ok(runtime) = self.link.runtime() else { return };
        self.kept.put(runtime, baton, self.stream_idle, move |baton| end_stream(link, baton, token));
    }

    /// The error of a request that has failed.
    pub fn fault(&self, fault: Fault, detail: Detail) -> Error {
        let Detail { message, stop } = detail;
        let (code, message) = match fault {
            Fault::Lost => return self.lost_error(),
            Fault::Stopped => match stop {
                Some(stop) => return stop.into(),
                None => (ErrorCode::Timeout, message),
            },
            Fault::Unknown => (
                ErrorCode::OutcomeUnknown,
                format!("{message}; what was sent may have been committed or not: look into the database, then decide"),
            ),
            Fault::Unauthorized => (ErrorCode::Unauthorized, message),
            Fault::Forbidden => (ErrorCode::Forbidden, message),
            Fault::NotFound => (ErrorCode::CannotOpen, message),
            Fault::Unavailable => (ErrorCode::RemoteUnavailable, message),
            Fault::Protocol => (ErrorCode::RemoteProtocol, message),
            Fault::TooLong => (ErrorCode::ResultTooLarge, message),
        };
        Error::new(code, message)
    }

    fn lost_error(&self) -> Error {
        match self.machine.state() {
            State::Lost { reason, .. } => lost(reason),
            _ => lost("the server has ended it"),
        }
    }

    /// An error if the transaction is lost.
    pub fn check_not_lost(&self) -> Result<()> {
        match self.machine.state() {
            State::Lost { .. } => Err(self.lost_error()),
            _ => Ok(()),
        }
    }

    /// True if the client has a transaction to end.
    pub fn in_transaction(&self) -> bool {
        self.machine.state() != &State::Closed
    }

    /// An error unless a transaction is there to end.
    pub fn require_transaction(&self) -> Result<()> {
        match self.in_transaction() {
            true => Ok(()),
            false => Err(Error::new(ErrorCode::NoTransaction, "no transaction is open")),
        }
    }

    /// What is known of `sql`; asks the server if `needed`.
    pub fn description(&mut self, sql: &str, needed: bool) -> Result<Option<Arc<Description>>> {
        match self.descriptions.get(sql) {
            Some(known) => Ok(Some(known)),
            None if needed => self.describe(sql).map(Some),
            None => Ok(None),
        }
    }

    /// Asks the server what `sql` is; inside of a transaction what is made there is known.
    pub fn describe(&mut self, sql: &str) -> Result<Arc<Description>> {
        let about = match self.machine.state() {
            State::Open { .. } => About::Inside { effect: Effect::Reads, may_end: false },
            _ => About::Alone { effect: Effect::Reads, opens: false },
        };
        let described = self.exchange(about, &|pipeline| pipeline.describe(sql), &mut |results| {
            Ok((Ran::Done, results.describe()?))
        });
        let description = Arc::new(described?.map_err(|error| error.into_error())?);
        self.descriptions.put(sql, Arc::clone(&description));
        Ok(description)
    }

    /// The parameters of `sql`.
    pub fn args(&mut self, sql: &str, params: &Params<'_>) -> Result<Args> {
        let description = self.description(sql, bind::needs_description(sql, params))?;
        bind::args(params, description.as_deref())
    }

    /// Rolls an open transaction back; what becomes of the request is no matter.
    pub fn roll_back(&mut self) {
        if matches!(self.machine.state(), State::Open { .. }) {
            let outcome = self.exchange(
                About::Rollback,
                &|pipeline| pipeline.execute(&super::hrana::stmt::Stmt::plain("ROLLBACK")),
                &mut |results| results.execute().map(|outcome| (ran(&outcome), ())),
            );
            if let Err(error) = outcome {
                tracing::debug!("a rollback was not answered: {error}");
            }
        }
        self.machine.forget();
        self.cursors.drop_inside();
    }

    /// Ends everything, without waiting for the server.
    pub fn close(&mut self) {
        self.cursors.clear();
        let open = match self.machine.state() {
            State::Open { baton, .. } => Some(baton.clone()),
            _ => None,
        };
        self.machine.forget();
        for baton in open.into_iter().chain(self.kept.take()) {
            self.abandon(baton, self.token.known());
        }
    }
}

async fn end_stream(link: Link, baton: Baton, token: Option<String>) {
    let mut pipeline = Pipeline::new(Some(&baton.text));
    pipeline.close();
    link.close(baton.base, token, pipeline.finish()).await;
}

impl About {
    fn on(self, kept: bool) -> Exchange {
        match self {
            About::Alone { effect, .. } => Exchange::Alone { effect, kept },
            About::First(effect) => Exchange::First { effect, kept },
            About::Inside { effect, may_end } => Exchange::Inside { effect, may_end },
            About::Commit => Exchange::Commit,
            About::Rollback => Exchange::Rollback,
        }
    }
}

/// What is said of a request that failed.
#[derive(Debug, Default)]
pub struct Detail {
    message: String,
    stop: Option<Stop>,
}

/// What a missing answer is to the machine, and in words.
pub fn missing(no_answer: NoAnswer) -> (Event, Detail) {
    match no_answer {
        NoAnswer::Refused(refusal, message) => (Event::Refused(refusal), Detail { message, stop: None }),
        NoAnswer::NotSent(message) => (Event::NotSent, Detail { message, stop: None }),
        NoAnswer::Cut(cut, message) => (Event::Cut(cut), Detail { message, stop: None }),
        NoAnswer::Stopped(stop) => {
            let message = format!("{}; the server had not answered", Error::Stopped(stop));
            (Event::Cut(Cut::Stopped), Detail { message, stop: Some(stop) })
        }
    }
}

fn settled<T>(
    link: &Link,
    sent: std::result::Result<super::hrana::answer::Pipeline, NoAnswer>,
    read: Read<'_, T>,
) -> (Event, Detail, Option<T>) {
    let pipeline = match sent {
        Ok(pipeline) => pipeline,
        Err(no_answer) => {
            let (event, detail) = missing(no_answer);
            return (event, detail, None);
        }
    };
    let baton =
        pipeline.baton.clone().map(|text| Baton { text, base: link.followed(pipeline.base_url.clone()) });
    let mut results = pipeline.results();
    let read = read(&mut results).and_then(|(ran, value)| Ok((ran, value, results.autocommit()?)));
    match read {
        Ok((ran, value, autocommit)) => {
            (Event::Answered { ran, autocommit, baton }, Detail::default(), Some(value))
        }
        Err(Misshapen) => {
            let message = "the server's answer does not have the form of Hrana 3".to_owned();
            (Event::Cut(Cut::Garbage), Detail { message, stop: None }, None)
        }
    }
}

/// What an outcome is to the machine.
pub fn ran(outcome: &Outcome) -> Ran {
    match outcome {
        Outcome::Done(_) => Ran::Done,
        Outcome::Failed(error) if error.is(TIMED_OUT) => Ran::TimedOut,
        Outcome::Failed(_) => Ran::Failed,
        Outcome::Skipped => Ran::Skipped,
    }
}
