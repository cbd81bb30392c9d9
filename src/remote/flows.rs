//! Statements whose rows are read as the server sends them.

use super::errors::{lost, unsupported, TIMED_OUT};
use super::flow::{Dry, Flow};
use super::hrana::answer::{CursorHead, Outcome};
use super::hrana::stmt::{cursor, Args, Step, Stmt, When};
use super::machine::{Baton, Effect, Event, Exchange, Fault, Ran, Refusal, State, Tries, Verdict};
use super::places::Place;
use super::runs::only;
use super::session::{missing, ran, read_only, About, Session};
use super::stream::{NoAnswer, OwnStream, Where};
use crate::error::Result;
use crate::sql::keyword;

impl Session {
    /// Begins a statement that only reads, at `place`, or one of the open transaction.
    pub fn start(&mut self, place: Place, sql: &str, args: &Args, effect: Effect) -> Result<Flow> {
        if let State::Promised(begin) = *self.machine.state() {
            self.begin_now(begin)?;
        }
        let inside = matches!(self.machine.state(), State::Open { .. });
        let place = if inside { Place::Primary } else { place };
        if !inside && keyword::is_transaction(keyword::first(sql)) {
            return unsupported("a cursor of a statement that begins or ends a transaction");
        }
        if inside && effect == Effect::Writes && self.is_read_only() {
            return Err(read_only().into_error());
        }
        let mut stream = match self.machine.state() {
            State::Open { baton, .. } => Some(baton.clone()),
            _ => self.server(place).1.take(),
        };
        let when = if inside { When::InTransaction } else { When::Always };
        let steps = [Step { stmt: Stmt { sql, args: Some(args), want_rows: true }, when }];
        let mut tries = Tries { again: true, token: true };
        loop {
            let token = match self.may_send() {
                Ok(token) => token,
                Err(error) => {
                    self.let_go(place, stream.take());
                    return Err(error);
                }
            };
            let body = cursor(stream.as_ref().map(|baton| baton.text.as_str()), &steps);
            let base = stream.as_ref().and_then(|baton| baton.base.as_deref());
            let to = Where { base, token: token.as_deref() };
            let (link, _) = self.server(place);
            let (event, detail) = match link.cursor(&self.control, &to, body) {
                Ok((CursorHead { baton, base_url }, lines)) => {
                    let base = link.followed(base_url);
                    let baton = baton.map(|text| Baton { text, base });
                    if !inside {
                        return Ok(Flow::new(lines, place, Some(OwnStream::new(link, baton, token))));
                    }
                    self.machine.rebaton(baton);
                    self.check_not_lost()?;
                    if effect == Effect::Writes {
                        self.machine.writes();
                    }
                    return Ok(Flow::new(lines, place, None));
                }
                Err(no_answer) => missing(no_answer),
            };
            if event == Event::Refused(Refusal::Unauthorized) {
                tries.token = std::mem::replace(&mut tries.token, false) && self.token.refuse();
            }
            let exchange = match inside {
                true => Exchange::Inside { effect, may_end: false },
                false => Exchange::Alone { effect, kept: stream.is_some(), opens: false },
            };
            let verdict = self.machine.settle(exchange, &event, tries);
            self.look_after(place, &event, stream.as_ref(), token);
            match verdict {
                Verdict::Again => {
                    tries.again = false;
                    stream = None;
                }
                Verdict::AnotherToken => tries.token = false,
                Verdict::Fault(fault) => {
                    if matches!(event, Event::NotSent | Event::Refused(Refusal::Unauthorized)) {
                        self.let_go(place, stream.take());
                    }
                    return Err(self.fault(fault, detail));
                }
                Verdict::Answer => return Err(self.fault(Fault::Protocol, detail)),
            }
        }
    }

    /// Sends a BEGIN by itself.
    pub fn begin_now(&mut self, begin: &'static str) -> Result<()> {
        let steps = [Step { stmt: Stmt::plain(begin), when: When::Always }];
        let begun =
            self.exchange(About::First(Effect::Reads), &|pipeline| pipeline.batch(&steps), &mut |results| {
                let outcome = only(results)?;
                let begun = match ran(&outcome) {
                    Ran::Done => Ran::Done,
                    _ => Ran::NotBegun,
                };
                Ok((begun, outcome))
            })?;
        match begun {
            Outcome::Failed(error) => Err(error.into_error()),
            _ => Ok(()),
        }
    }

    /// The next row, encoded; `None` after the last one.
    pub fn flow_row(&mut self, flow: &mut Flow) -> Result<Option<Vec<u8>>> {
        match flow.next(&self.link, &self.control) {
            Ok(Some(row)) => Ok(Some(row)),
            Ok(None) => {
                if let Some(baton) = flow.take_stream() {
                    self.keep(flow.place, baton, self.token.known());
                }
                Ok(None)
            }
            Err(Dry::Failed(error)) => {
                if flow.inside && error.is(TIMED_OUT) {
                    self.lose(
                        "the server has given its lock to another writer, which it does after 5 seconds",
                    );
                    self.check_not_lost()?;
                }
                Err(error.into_error())
            }
            Err(Dry::Skipped) => {
                self.lose("the server has ended it");
                Err(lost("the server has ended it"))
            }
            // The transaction goes on without the rest of the rows.
            Err(Dry::Missing(NoAnswer::Stopped(stop))) => Err(stop.into()),
            Err(Dry::Missing(no_answer)) => {
                let (event, detail) = missing(no_answer);
                let exchange = match flow.inside {
                    true => Exchange::Inside { effect: Effect::Reads, may_end: false },
                    false => Exchange::Alone { effect: Effect::Reads, kept: false, opens: false },
                };
                // Rows have been seen already.
                let unused = match self.machine.state() {
                    State::Open { baton, .. } => Some(baton.clone()),
                    _ => None,
                };
                let verdict = self.machine.settle(exchange, &event, Tries { again: false, token: false });
                if let Some(baton) = unused.filter(|baton| !self.machine.holds(baton)) {
                    self.link.end(baton, self.token.known());
                }
                let fault = if let Verdict::Fault(fault) = verdict { fault } else { Fault::Protocol };
                Err(self.fault(fault, detail))
            }
        }
    }
}
