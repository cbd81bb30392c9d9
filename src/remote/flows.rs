//! Statements whose rows are read as the server sends them.

use super::errors::{lost, TIMED_OUT};
use super::flow::{Dry, Flow};
use super::hrana::answer::{CursorHead, Outcome};
use super::hrana::stmt::{cursor, Args, Step, Stmt, When};
use super::machine::{Baton, Effect, Event, Exchange, Fault, Ran, Refusal, State, Tries, Verdict};
use super::runs::only;
use super::session::{missing, ran, About, Session};
use super::stream::{NoAnswer, Where};
use crate::error::Result;

impl Session {
    /// Begins a statement that only reads, or that writes in the open transaction.
    pub fn start(&mut self, sql: &str, args: &Args, effect: Effect) -> Result<Flow> {
        if let State::Promised(begin) = *self.machine.state() {
            self.begin_now(begin)?;
        }
        let stream = match self.machine.state() {
            State::Open { baton, .. } => Some(baton.clone()),
            _ => None,
        };
        let inside = stream.is_some();
        let exchange = match inside {
            true => Exchange::Inside { effect, may_end: false },
            false => Exchange::Alone { effect, kept: false },
        };
        let when = if inside { When::InTransaction } else { When::Always };
        let steps = [Step { stmt: Stmt { sql, args: Some(args), want_rows: true }, when }];
        let mut tries = Tries { again: true, token: true };
        loop {
            let token = self.token.get()?;
            if let Some(stop) = self.control.stop() {
                return Err(stop.into());
            }
            let body = cursor(stream.as_ref().map(|baton| baton.text.as_str()), &steps);
            let base = stream.as_ref().and_then(|baton| baton.base.as_deref());
            let to = Where { base, token: token.as_deref() };
            let (event, detail) = match self.link.cursor(&self.control, &to, body) {
                Ok((CursorHead { baton, base_url }, lines)) => {
                    if inside {
                        let base = self.link.followed(base_url);
                        self.machine.rebaton(baton.map(|text| Baton { text, base }));
                        self.check_not_lost()?;
                        if effect == Effect::Writes {
                            self.machine.writes();
                        }
                    }
                    return Ok(Flow::new(lines, inside));
                }
                Err(no_answer) => missing(no_answer),
            };
            if event == Event::Refused(Refusal::Unauthorized) {
                tries.token = std::mem::replace(&mut tries.token, false) && self.token.refuse();
            }
            match self.machine.settle(exchange, &event, tries) {
                Verdict::Again => tries.again = false,
                Verdict::AnotherToken => tries.token = false,
                Verdict::Fault(fault) => return Err(self.fault(fault, detail)),
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
            Ok(row) => Ok(row),
            Err(Dry::Failed(error)) => {
                if flow.inside && error.is(TIMED_OUT) {
                    self.machine.lose(
                        "the server has given its lock to another writer, which it does after 5 seconds",
                    );
                    self.check_not_lost()?;
                }
                Err(error.into_error())
            }
            Err(Dry::Skipped) => {
                self.machine.lose("the server has ended it");
                Err(lost("the server has ended it"))
            }
            // The transaction goes on without the rest of the rows.
            Err(Dry::Missing(NoAnswer::Stopped(stop))) => Err(stop.into()),
            Err(Dry::Missing(no_answer)) => {
                let (event, detail) = missing(no_answer);
                let exchange = match flow.inside {
                    true => Exchange::Inside { effect: Effect::Reads, may_end: false },
                    false => Exchange::Alone { effect: Effect::Reads, kept: false },
                };
                // Rows have been seen already.
                let verdict = self.machine.settle(exchange, &event, Tries { again: false, token: false });
                let fault = if let Verdict::Fault(fault) = verdict { fault } else { Fault::Protocol };
                Err(self.fault(fault, detail))
            }
        }
    }
}
