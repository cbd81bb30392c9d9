//! One statement, run by the rules of the state that the connection is in.

use super::bind;
use super::errors::{unsupported, TOO_LONG};
use super::hrana::answer::{Done, Misshapen, Outcome, Results, ServerError};
use super::hrana::describe::Description;
use super::hrana::stmt::{Args, Step, Stmt, When};
use super::machine::{Effect, Ran, State};
use super::places::Place;
use super::session::{ran, About, Session};
use crate::error::{Error, Result};
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use std::result::Result as StdResult;
use std::sync::Arc;

/// A longer text is not described along the way: it does not come again. No option: it saves bytes, and changes no answer.
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
    /// Prepares `sql` to run. The server is asked about it where its word is needed first: for named parameters, for what
    /// may write and yield rows, and for what may only read although its first word does not say so.
    pub fn new(session: &mut Session, sql: &'s str, params: &Params<'_>) -> Result<Self> {
        session.check_not_lost_for(sql)?;
        let needed = needs_description(sql, params);
        let description = session.description(sql, needed)?;
        Self::described(sql, params, description)
    }

    /// Prepares `sql` with what is known of it, if something is: one of a batch may need what an earlier one makes.
    pub fn described(
        sql: &'s str,
        params: &Params<'_>,
        description: Option<Arc<Description>>,
    ) -> Result<Self> {
        let keyword = keyword::first(sql);
        check_attach(keyword)?;
        let args = bind::args(params, description.as_deref())?;
        Ok(Statement { sql, keyword, args, description })
    }

    /// What it may do, by the server's word, or else by the grammar's; what is not known may write.
    pub fn effect(&self) -> Effect {
        let by_word = || match &self.description {
            Some(description) if description.explain => true,
            Some(description) => {
                let is_certain = matches!(self.keyword, Keyword::Other | Keyword::Pragma | Keyword::Explain);
                description.read_only && is_certain
            }
            None => false,
        };
        if keyword::only_reads(self.sql) || keyword::is_transaction(self.keyword) || by_word() {
            Effect::Reads
        } else {
            Effect::Writes
        }
    }

    /// It may yield rows.
    pub fn may_yield_rows(&self) -> bool {
        match &self.description {
            Some(description) => !description.columns.is_empty(),
            None => !keyword::only_writes(self.sql) || may_return(self.sql),
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

/// True if the server's word on `sql` is needed before it runs.
pub fn needs_description(sql: &str, params: &Params<'_>) -> bool {
    // Of one that may only read, nothing is in doubt when its answer is missing, nor does it have to be kept from writing.
    let may_only_read = matches!(keyword::first(sql), Keyword::Other | Keyword::Pragma | Keyword::Explain)
        && !keyword::only_reads(sql)
        && !keyword::only_writes(sql)
        && !keyword::is_blank(sql);
    may_only_read || may_return(sql) || bind::needs_description(sql, params)
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

impl Session {
    /// An error if the transaction is lost, unless `sql` ends it.
    fn check_not_lost_for(&self, sql: &str) -> Result<()> {
        match keyword::first(sql) {
            Keyword::Rollback => Ok(()),
            _ => self.check_not_lost(),
        }
    }

    /// Runs `statement`.
    pub fn run(&mut self, statement: &Statement<'_>) -> Result<Came> {
        let keyword = statement.keyword;
        let was_open = matches!(self.machine.state(), State::Open { .. });
        let came = match *self.machine.state() {
            State::Lost { .. } => {
                self.check_not_lost_for(statement.sql)?;
                self.roll_back();
                return Ok(Came::Done(Done::default()));
            }
            State::Closed if statement.writes_rows() => self.run_guarded(statement)?,
            State::Closed => self.run_by_itself(statement)?,
            // The server has heard of neither.
            State::Promised(_) if matches!(keyword, Keyword::Commit | Keyword::Rollback) => {
                self.forget();
                return Ok(Came::Done(Done::default()));
            }
            State::Promised(begin) => self.run_first(begin, statement)?,
            State::Open { .. } => {
                let about = match keyword {
                    Keyword::Commit => About::Commit,
                    Keyword::Release => About::Release,
                    Keyword::Rollback => About::Inside { effect: Effect::Reads, may_end: true },
                    _ => About::Inside { effect: statement.effect(), may_end: false },
                };
                self.run_inside(about, statement)?
            }
        };
        let rolled_back = keyword == Keyword::Rollback || matches!(came, Outcome::Failed(_));
        if was_open && self.machine.state() == &State::Closed && rolled_back {
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
            self.lose(
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

    /// At `place`, which is the primary for all but what only reads.
    pub fn run_alone(&mut self, place: Place, statement: &Statement<'_>) -> Result<Outcome> {
        let describes = statement.describes_along();
        let opens = keyword::begins(statement.keyword);
        // A transaction that begins by itself and is not heard of again is rolled back.
        let effect = if opens { Effect::Reads } else { statement.effect() };
        let (outcome, description) = self.exchange_at(
            place,
            About::Alone { effect, opens },
            &|pipeline| {
                if describes {
                    pipeline.describe(statement.sql);
                }
                pipeline.execute(&statement.stmt());
            },
            &mut |results| {
                let described = described(results, describes)?;
                let (outcome, description) = compared(results.execute()?, described);
                Ok((ran(&outcome), (outcome, description)))
            },
        )?;
        self.learn(statement.sql, description);
        if statement.keyword == Keyword::Begin {
            self.machine.begun_by_begin();
        }
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
        self.end_own();
        Ok(outcome)
    }

    fn run_first(&mut self, begin: &'static str, statement: &Statement<'_>) -> Result<Outcome> {
        let steps = [
            Step { stmt: Stmt::plain(begin), when: When::Always },
            Step { stmt: statement.stmt(), when: When::Ok(0) },
        ];
        self.exchange(About::First(statement.effect()), &|pipeline| pipeline.batch(&steps), &mut |results| {
            let outcomes = match results.batch(steps.len())? {
                Err(error) => {
                    let outcome = Outcome::Failed(error);
                    return Ok((ran_of_batch(&outcome), outcome));
                }
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
                let described = described(results, describes)?;
                let outcome = only(results)?;
                let ran = ran_of_batch(&outcome);
                let (outcome, description) = compared(outcome, described);
                Ok((ran, (outcome, description)))
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

/// What was asked for along the way.
type Described = Option<StdResult<Description, ServerError>>;

/// The description that was asked for along the way; one that failed is found again by what follows.
fn described(results: &mut Results, asked: bool) -> StdResult<Described, Misshapen> {
    match asked {
        true => Ok(Some(results.describe()?)),
        false => Ok(None),
    }
}

/// An outcome beside the description: of what the server's parser could not read the engine says where.
fn compared(outcome: Outcome, described: Described) -> (Outcome, Option<Description>) {
    match (outcome, described) {
        (Outcome::Failed(error), Some(Err(described))) => {
            (Outcome::Failed(error.or_compiling(Some(described))), None)
        }
        (outcome, described) => (outcome, described.and_then(StdResult::ok)),
    }
}

/// What became of a batch that may have been refused as a whole.
pub fn ran_of_batch(outcome: &Outcome) -> Ran {
    match outcome {
        Outcome::Failed(error) if error.is_of_parser() => Ran::NotRun,
        outcome => ran(outcome),
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
