//! One statement, run by the rules of the state that the connection is in.

use super::bind;
use super::errors::{unsupported, TOO_LONG};
use super::hrana::answer::{Done, Misshapen, Outcome, Results, ServerError};
use super::hrana::describe::Description;
use super::hrana::stmt::{Args, Step, Stmt, When};
use super::machine::{Effect, Ran, State};
use super::session::{ran, About, Session};
use crate::error::{Error, Result};
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use std::result::Result as StdResult;
use std::sync::Arc;

/// A longer text is not described along the way: it does not come again.
const DESCRIBED_BYTES_MAX: usize = 16 << 10;

/// A statement that is to run.
pub struct Statement<'s> {
    /// Its text.
    pub sql: &'s str,
    /// Its first word.
    pub keyword: Keyword,
    /// Its parameters.
    pub args: Args,
    /// What the server has said of it.
    pub description: Option<Arc<Description>>,
}

/// What has come of one.
pub enum Came {
    /// Its result.
    Done(Done),
    /// It reads more than the server sends in one answer.
    TooLong,
}

impl<'s> Statement<'s> {
    /// Prepares `sql` to run. The server is asked about it where its word is needed first: for named parameters, and for what
    /// may write and yield rows.
    pub fn new(session: &mut Session, sql: &'s str, params: &Params<'_>) -> Result<Self> {
        session.check_not_lost_for(sql)?;
        let keyword = keyword::first(sql);
        check_attach(keyword)?;
        let needed = may_return(sql) || bind::needs_description(sql, params);
        let description = session.description(sql, needed)?;
        let args = bind::args(params, description.as_deref())?;
        Ok(Statement { sql, keyword, args, description })
    }

    /// What it may do, by the server's word, or else by the grammar's; what is not known may write.
    pub fn effect(&self) -> Effect {
        let reads = match &self.description {
            Some(description) => description.read_only && self.keyword == Keyword::Other,
            None => keyword::only_reads(self.sql) || keyword::is_transaction(self.keyword),
        };
        if reads {
            Effect::Reads
        } else {
            Effect::Writes
        }
    }

    /// It writes and yields rows.
    pub fn writes_rows(&self) -> bool {
        let yields =
            |description: &Arc<Description>| !description.read_only && !description.columns.is_empty();
        self.keyword == Keyword::Other && self.description.as_ref().is_some_and(yields)
    }

    fn stmt(&self) -> Stmt<'_> {
        Stmt { sql: self.sql, args: Some(&self.args), want_rows: true }
    }

    fn describes_along(&self) -> bool {
        self.description.is_none()
            && self.sql.len() <= DESCRIBED_BYTES_MAX
            && !keyword::is_transaction(self.keyword)
    }
}

/// A server forbids it by ending the stream, with all that is open on it.
pub fn check_attach(keyword: Keyword) -> Result<()> {
    match keyword {
        Keyword::Attach => unsupported("the statement ATTACH or DETACH"),
        _ => Ok(()),
    }
}

/// True if a statement might have RETURNING: then the engine is asked.
fn may_return(sql: &str) -> bool {
    const WORD: &[u8] = b"returning";
    sql.as_bytes().windows(WORD.len()).any(|window| window.eq_ignore_ascii_case(WORD))
}

/// ROLLBACK of a whole transaction, not to a savepoint.
fn ends_by_rolling_back(sql: &str, keyword: Keyword) -> bool {
    keyword == Keyword::Rollback && !sql.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("to"))
}

impl Session {
    /// An error if the transaction is lost, unless `sql` ends it.
    fn check_not_lost_for(&self, sql: &str) -> Result<()> {
        match ends_by_rolling_back(sql, keyword::first(sql)) {
            true => Ok(()),
            false => self.check_not_lost(),
        }
    }

    /// Runs `statement`.
    pub fn run(&mut self, statement: &Statement<'_>) -> Result<Came> {
        let keyword = statement.keyword;
        let came = match *self.machine.state() {
            State::Lost { .. } => {
                self.check_not_lost_for(statement.sql)?;
                self.roll_back();
                return Ok(Came::Done(Done::default()));
            }
            State::Closed if statement.writes_rows() => self.run_guarded(statement)?,
            State::Closed => self.run_alone(statement)?,
            // The server has heard of neither.
            State::Promised(_)
                if keyword == Keyword::Commit || ends_by_rolling_back(statement.sql, keyword) =>
            {
                self.machine.forget();
                return Ok(Came::Done(Done::default()));
            }
            State::Promised(begin) => self.run_first(begin, statement)?,
            State::Open { .. } => {
                let about = match keyword {
                    Keyword::Commit => About::Commit,
                    Keyword::Rollback => About::Inside { effect: Effect::Reads, may_end: true },
                    _ => About::Inside { effect: statement.effect(), may_end: false },
                };
                self.run_inside(about, statement)?
            }
        };
        if self.machine.state() == &State::Closed && ends_by_rolling_back(statement.sql, keyword) {
            self.cursors.drop_inside();
        }
        self.came(statement, came)
    }

    /// The answer of an outcome.
    fn came(&mut self, statement: &Statement<'_>, outcome: Outcome) -> Result<Came> {
        match outcome {
            Outcome::Done(done) => {
                self.changes = self.changes.saturating_add(done.changes);
                Ok(Came::Done(done))
            }
            Outcome::Failed(error) if error.is(TOO_LONG) => self.too_long(statement, error),
            Outcome::Failed(error) => Err(self.completed(error.into_error())),
            // The machine has made an error of it.
            Outcome::Skipped => {
                Err(Error::new(ErrorCode::RemoteProtocol, "the server passed over a statement"))
            }
        }
    }

    /// The server makes no answer of this length. What only reads is read in pieces; what has written is not kept.
    fn too_long(&mut self, statement: &Statement<'_>, error: ServerError) -> Result<Came> {
        let known = self.descriptions.get(statement.sql);
        if statement.effect() == Effect::Reads || known.is_some_and(|description| description.read_only) {
            return Ok(Came::TooLong);
        }
        if self.in_transaction() {
            self.roll_back();
            self.machine.lose(
                "the rows that a statement returned were too long for one answer, so that it was undone",
            );
            return Err(error.into_error());
        }
        if statement.writes_rows() {
            return Err(error.into_error());
        }
        Err(Error::new(
            ErrorCode::OutcomeUnknown,
            format!("{}; the statement may have written and been committed", error.into_error()),
        ))
    }

    fn run_alone(&mut self, statement: &Statement<'_>) -> Result<Outcome> {
        let describes = statement.describes_along();
        let opens = statement.keyword == Keyword::Begin;
        // A transaction that begins by itself and is not heard of again is rolled back.
        let effect = if opens { Effect::Reads } else { statement.effect() };
        let (outcome, description) = self.exchange(
            About::Alone { effect, opens },
            &|pipeline| {
                if describes {
                    pipeline.describe(statement.sql);
                }
                pipeline.execute(&statement.stmt());
            },
            &mut |results| {
                let description = described(results, describes)?;
                let outcome = results.execute()?;
                Ok((ran(&outcome), (outcome, description)))
            },
        )?;
        self.learn(statement.sql, description);
        Ok(outcome)
    }

    /// What returns rows as it writes runs in a transaction: one whose rows are too long would else be committed behind an
    /// error.
    fn run_guarded(&mut self, statement: &Statement<'_>) -> Result<Outcome> {
        let steps = [
            Step { stmt: Stmt::plain("BEGIN IMMEDIATE"), when: When::Always },
            Step { stmt: statement.stmt(), when: When::Ok(0) },
            Step { stmt: Stmt::plain("COMMIT"), when: When::Ok(1) },
            Step { stmt: Stmt::plain("ROLLBACK"), when: When::InTransaction },
        ];
        let outcome = self.exchange(
            About::Alone { effect: Effect::Writes, opens: false },
            &|pipeline| pipeline.batch(&steps),
            &mut |results| {
                let outcome = match results.batch(steps.len())? {
                    Err(error) => Outcome::Failed(error),
                    Ok(outcomes) => guarded(outcomes)?,
                };
                Ok((ran(&outcome), outcome))
            },
        )?;
        // One that has stopped halfway.
        if matches!(self.machine.state(), State::Open { .. }) {
            self.roll_back();
        }
        Ok(outcome)
    }

    fn run_first(&mut self, begin: &'static str, statement: &Statement<'_>) -> Result<Outcome> {
        let steps = [
            Step { stmt: Stmt::plain(begin), when: When::Always },
            Step { stmt: statement.stmt(), when: When::Ok(0) },
        ];
        self.exchange(About::First(statement.effect()), &|pipeline| pipeline.batch(&steps), &mut |results| {
            let outcomes = match results.batch(steps.len())? {
                Err(error) => return Ok((Ran::Failed, Outcome::Failed(error))),
                Ok(outcomes) => outcomes,
            };
            let [begun, outcome] = <[Outcome; 2]>::try_from(outcomes).map_err(|_| Misshapen)?;
            match begun {
                Outcome::Done(_) => Ok((ran(&outcome), outcome)),
                failed => Ok((Ran::NotBegun, failed)),
            }
        })
    }

    fn run_inside(&mut self, about: About, statement: &Statement<'_>) -> Result<Outcome> {
        let describes = statement.describes_along();
        let steps = [Step { stmt: statement.stmt(), when: When::InTransaction }];
        let (outcome, description) = self.exchange(
            about,
            &|pipeline| {
                if describes {
                    pipeline.describe(statement.sql);
                }
                pipeline.batch(&steps);
            },
            &mut |results| {
                let description = described(results, describes)?;
                let outcome = only(results)?;
                Ok((ran(&outcome), (outcome, description)))
            },
        )?;
        self.learn(statement.sql, description);
        Ok(outcome)
    }

    fn learn(&mut self, sql: &str, description: Option<Description>) {
        if let Some(description) = description {
            self.descriptions.put(sql, Arc::new(description));
        }
    }

    /// Runs a statement of this program's own in the open transaction or by itself.
    pub fn run_own(&mut self, sql: &str) -> Result<Done> {
        let statement =
            Statement { sql, keyword: keyword::first(sql), args: Args::default(), description: None };
        self.run_described(&statement)
    }

    fn run_described(&mut self, statement: &Statement<'_>) -> Result<Done> {
        match self.run(statement)? {
            Came::Done(done) => Ok(done),
            Came::TooLong => Err(Error::new(ErrorCode::ResultTooLarge, "the server's answer is too long")),
        }
    }
}

/// The description that was asked for along the way; one that failed is found again by what follows.
fn described(results: &mut Results, asked: bool) -> StdResult<Option<Description>, Misshapen> {
    match asked {
        true => Ok(results.describe()?.ok()),
        false => Ok(None),
    }
}

/// Of a batch of one step.
pub fn only(results: &mut Results) -> StdResult<Outcome, Misshapen> {
    match results.batch(1)? {
        Ok(outcomes) => outcomes.into_iter().next().ok_or(Misshapen),
        Err(error) => Ok(Outcome::Failed(error)),
    }
}

/// The outcome of what stands between BEGIN and COMMIT: the first failure of the three, else the statement's.
fn guarded(outcomes: Vec<Outcome>) -> StdResult<Outcome, Misshapen> {
    let [begun, outcome, committed, _] = <[Outcome; 4]>::try_from(outcomes).map_err(|_| Misshapen)?;
    Ok(match (begun, outcome, committed) {
        (failed @ Outcome::Failed(_), _, _) | (_, failed @ Outcome::Failed(_), _) => failed,
        (_, _, failed @ Outcome::Failed(_)) => failed,
        (_, done @ Outcome::Done(_), Outcome::Done(_)) => done,
        _ => return Err(Misshapen),
    })
}
