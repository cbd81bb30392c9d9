//! What one connection has: its way to the server, its state there, what the client holds.

use super::bind;
use super::cursors::Cursors;
use super::descriptions::Descriptions;
use super::errors::{lost, TIMED_OUT};
use super::hrana::answer::{Misshapen, Outcome, Pipeline as Answered, Results, ServerError};
use super::hrana::describe::Description;
use super::hrana::stmt::{Args, Pipeline, Step, Stmt, When};
use super::kept::{Kept, KEPT_MAX};
use super::machine::{
    Baton, Cut, Effect, Event, Exchange, Fault, Machine, Ran, Refusal, State, Tries, Verdict,
};
use super::places::{Choice, Place};
use super::servers::{Replica, Source};
use super::stream::{Link, NoAnswer, Where};
use super::token::Token;
use crate::clock::now_ns;
use crate::control::{Control, Stop};
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::network::gate::Mark;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::time::Duration;

/// One open connection.
pub struct Session {
    /// The way to the server, the primary if there are several.
    pub link: Link,
    /// The servers that follow it.
    pub replicas: Vec<Replica>,
    /// Which of them reads go to.
    pub choice: Choice,
    /// How far the database has come on the primary.
    pub mark: Arc<Mark>,
    /// How long a server that follows is waited for.
    pub replica_wait: Duration,
    /// Counts reads, to share them out.
    pub turn: usize,
    /// Where the present request has read, if not on the primary.
    pub source: Option<Source>,
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
    /// The transaction that was begun last must not write.
    pub read_only: bool,
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
    /// What commits it.
    Commit,
    /// The release of a savepoint.
    Release,
    /// Statements of the client's that may commit it, roll it back and begin another one.
    Mixed(Effect),
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
        self.exchange_at(Place::Primary, about, build, read)
    }

    /// The same on the server of `place`; what is not by itself goes to the primary alone.
    pub fn exchange_at<T>(
        &mut self,
        place: Place,
        about: About,
        build: &dyn Fn(&mut Pipeline),
        read: Read<'_, T>,
    ) -> Result<T> {
        self.check_effect(about)?;
        let mut tries = Tries { again: true, token: true };
        let mut stream = match (about, self.machine.state()) {
            (About::Alone { .. } | About::First(_), _) => self.server(place).1.take(),
            (_, State::Open { baton, .. }) => Some(baton.clone()),
            _ => None,
        };
        loop {
            let token = match self.may_send() {
                Ok(token) => token,
                Err(error) => {
                    self.let_go(place, stream.take());
                    return Err(error);
                }
            };
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
            let before = self.mark.known();
            let (link, _) = self.server(place);
            let sent = link.pipeline(&self.control, &to, pipeline.finish());
            let seen = sent.as_ref().ok().and_then(Answered::replication_index);
            let (event, detail, value) = settled(link, sent, read);
            self.note(place, about, before, seen);
            if event == Event::Refused(Refusal::Unauthorized) {
                tries.token = std::mem::replace(&mut tries.token, false) && self.token.refuse();
            }
            let exchange = about.on(stream.is_some());
            let verdict = self.machine.settle(exchange, &event, tries);
            if let About::Alone { .. } = about {
                self.last_alone_ns = now_ns();
            }
            self.look_after(place, &event, stream.as_ref(), token);
            match verdict {
                Verdict::Answer => {
                    // Only a rollback is answered without results.
                    return value.ok_or_else(|| Error::new(ErrorCode::RemoteProtocol, detail.message));
                }
                Verdict::Again => {
                    tracing::debug!("a request to the server is sent again");
                    tries.again = false;
                    stream = None;
                }
                Verdict::AnotherToken => tries.token = false,
                Verdict::Fault(fault) => {
                    // Its stream has not been touched.
                    if matches!(event, Event::NotSent | Event::Refused(Refusal::Unauthorized)) {
                        self.let_go(place, stream.take());
                    }
                    return Err(self.fault(fault, detail));
                }
            }
        }
    }

    /// The token to send, unless the request has to stop.
    pub fn may_send(&mut self) -> Result<Option<String>> {
        let token = self.token.get()?;
        match self.control.stop() {
            Some(stop) => Err(stop.into()),
            None => Ok(token),
        }
    }

    /// Ends the stream of a request that is not sent, unless the open transaction has it.
    pub fn let_go(&self, place: Place, unused: Option<Baton>) {
        if let Some(baton) = unused.filter(|baton| !self.machine.holds(baton)) {
            self.server(place).0.end(baton, self.token.known());
        }
    }

    /// What becomes of the stream of a request, unless the open transaction has it: it is kept for the next statement, or ended.
    /// A server keeps what nobody ends for ten seconds, and it has room for some hundred.
    pub fn look_after(&self, place: Place, event: &Event, used: Option<&Baton>, token: Option<String>) {
        let (link, _) = self.server(place);
        match event {
            Event::Answered { baton: Some(baton), .. } if self.machine.holds(baton) => {}
            Event::Answered { baton: Some(baton), autocommit: Some(true), .. } => {
                self.keep(place, baton.clone(), token)
            }
            Event::Answered { baton: Some(baton), .. } => link.end(baton.clone(), token),
            // The request may not have arrived; if it has, the baton is used up and this ends nothing.
            Event::Cut(_)
            | Event::Refused(
                Refusal::Busy | Refusal::Gateway | Refusal::Server | Refusal::Declined | Refusal::Other,
            ) => {
                if let Some(baton) = used.filter(|baton| !self.machine.holds(baton)) {
                    link.end(baton.clone(), token);
                }
            }
            Event::Answered { baton: None, .. } | Event::Refused(_) | Event::NotSent => {}
        }
    }

    /// An error if a transaction that must not write would.
    fn check_effect(&mut self, about: About) -> Result<()> {
        match about {
            // It may begin one itself.
            About::Alone { .. } if self.machine.state() == &State::Closed => self.read_only = false,
            About::First(Effect::Writes) | About::Inside { effect: Effect::Writes, .. } if self.read_only => {
                return Err(read_only().into_error());
            }
            _ => {}
        }
        Ok(())
    }

    /// A transaction is to be begun by `sql`.
    pub fn promise(&mut self, sql: &'static str, read_only: bool) {
        self.read_only = read_only;
        self.machine.promise(sql);
    }

    /// True in a transaction that must not write.
    pub fn is_read_only(&self) -> bool {
        self.read_only && self.in_transaction()
    }

    /// The open transaction is gone, for `reason`.
    pub fn lose(&mut self, reason: &str) {
        if let Some(baton) = self.machine.lose(reason) {
            self.link.end(baton, self.token.known());
        }
    }

    /// The transaction is over, and its stream with it, without waiting for the server.
    pub fn forget(&mut self) {
        if let Some(baton) = self.machine.forget() {
            self.link.end(baton, self.token.known());
        }
    }

    /// Whether a statement's stream ends with it: unless the caller is a busy one.
    fn closes(&self, about: About, kept: bool) -> bool {
        let About::Alone { opens, .. } = about else { return false };
        let idle_ns = u64::try_from(self.stream_idle.as_nanos()).unwrap_or(u64::MAX);
        let busy = self.last_alone_ns > 0 && now_ns().saturating_sub(self.last_alone_ns) < idle_ns;
        !opens && !kept && !busy
    }

    /// Keeps a stream for the next statement, or ends it.
    pub fn keep(&self, place: Place, baton: Baton, token: Option<String>) {
        let (link, kept) = self.server(place);
        let Some(slot) = link.slots().take(KEPT_MAX).filter(|_| !self.stream_idle.is_zero()) else {
            return link.end(baton, token);
        };
        let Ok(runtime) = link.runtime() else { return };
        let (closing, closes_with) = (link.clone(), token.clone());
        let close = move |baton| closing.close(baton, closes_with);
        if let Some(displaced) = kept.put(runtime, (baton, slot), self.stream_idle, close) {
            link.end(displaced, token);
        }
    }

    /// The error of a request that has failed.
    pub fn fault(&self, fault: Fault, detail: Detail) -> Error {
        let Detail { mut message, stop } = detail;
        if message.is_empty() {
            message.push_str("the server's answer contradicts itself");
        }
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
            State::Lost { in_doubt: true, .. } => Error::new(
                ErrorCode::OutcomeUnknown,
                "the transaction is over, and may have been committed or not; roll back, look into the database, then decide",
            ),
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
        let about = self.asks();
        let described = self.anywhere(|session, place| {
            session.exchange_at(place, about, &|pipeline| pipeline.describe(sql), &mut |results| {
                Ok((Ran::Done, results.describe()?))
            })
        });
        let description = Arc::new(described?.map_err(|error| error.into_error())?);
        self.descriptions.put(sql, Arc::clone(&description));
        Ok(description)
    }

    /// The descriptions of those texts, in one round trip for all that are not known; `None` for one that does not compile, as
    /// what an earlier one makes is missing yet.
    pub fn describe_all(&mut self, texts: &[&str]) -> Result<Vec<Option<Arc<Description>>>> {
        let mut all: Vec<_> = texts.iter().map(|sql| self.descriptions.get(sql)).collect();
        let missing: Vec<usize> = (0..texts.len()).filter(|&index| all[index].is_none()).collect();
        if missing.is_empty() {
            return Ok(all);
        }
        let described = self.exchange(
            self.asks(),
            &|pipeline| missing.iter().for_each(|&index| pipeline.describe(texts[index])),
            &mut |results| {
                let each = missing.iter().map(|_| results.describe());
                Ok((Ran::Done, each.collect::<std::result::Result<Vec<_>, _>>()?))
            },
        )?;
        for (&index, description) in missing.iter().zip(described) {
            if let Ok(description) = description {
                let description = Arc::new(description);
                self.descriptions.put(texts[index], Arc::clone(&description));
                all[index] = Some(description);
            }
        }
        Ok(all)
    }

    /// Which of those texts the server refuses to take, and with which words. It looks at all statements of a batch before it
    /// runs the first one, and does not say which it does not like.
    pub fn refusals(&mut self, texts: &[&str]) -> Result<Vec<Option<ServerError>>> {
        self.exchange(
            self.asks(),
            &|pipeline| {
                for sql in texts {
                    pipeline.batch(&[Step { stmt: Stmt::plain(sql), when: When::Never }]);
                    pipeline.describe(sql);
                }
            },
            &mut |results| {
                let each = texts.iter().map(|_| {
                    let refused = results.batch(1)?.err();
                    let described = results.describe()?.err();
                    Ok(refused.map(|refused| refused.or_compiling(described)))
                });
                Ok((Ran::Done, each.collect::<std::result::Result<Vec<_>, _>>()?))
            },
        )
    }

    /// A question to the server that runs nothing.
    fn asks(&self) -> About {
        match self.machine.state() {
            State::Open { .. } => About::Inside { effect: Effect::Reads, may_end: false },
            _ => About::Alone { effect: Effect::Reads, opens: false },
        }
    }

    /// The parameters of `sql`.
    pub fn args(&mut self, sql: &str, params: &Params<'_>) -> Result<Args> {
        let description = self.description(sql, bind::needs_description(sql, params))?;
        bind::args(params, description.as_deref())
    }

    /// Rolls an open transaction back; what becomes of the request is no matter.
    pub fn roll_back(&mut self) {
        self.send_rollback();
        self.forget();
        self.cursors.drop_inside();
    }

    /// Has the server roll an open transaction back. One whose request is not sent is left to be forgotten.
    pub fn send_rollback(&mut self) {
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
    }

    /// Ends everything, without waiting for the server.
    pub fn close(&mut self) {
        self.cursors.clear();
        self.forget();
        for (link, kept) in self.servers() {
            if let Some(baton) = kept.take() {
                link.end(baton, self.token.known());
            }
        }
    }
}

impl Drop for Session {
    /// A connection that a panic has ended is not closed by anybody, and a server keeps a transaction for ten seconds.
    fn drop(&mut self) {
        self.close();
    }
}

/// What is said of a statement that would write in a transaction that must not, in SQLite's words.
pub fn read_only() -> ServerError {
    ServerError {
        message: "attempt to write a readonly database".to_owned(),
        code: Some("SQLITE_READONLY".to_owned()),
        extended_code: None,
    }
}

impl About {
    fn on(self, kept: bool) -> Exchange {
        match self {
            About::Alone { effect, opens } => Exchange::Alone { effect, kept, opens },
            About::First(effect) => Exchange::First { effect, kept },
            About::Inside { effect, may_end } => Exchange::Inside { effect, may_end },
            About::Commit => Exchange::Commit,
            About::Release => Exchange::Release,
            About::Mixed(effect) => Exchange::Mixed { effect },
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
        NoAnswer::NotSent(message) | NoAnswer::Unsendable(message) => {
            (Event::NotSent, Detail { message, stop: None })
        }
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
