//! Many statements in one round trip, each with its parameters and its result.

use super::execute::column_names;
use crate::error::{transaction_ended, Error, Result};
use crate::remote::errors::{TIMED_OUT, TOO_LONG};
use crate::remote::hrana::answer::{Done, Outcome, ServerError};
use crate::remote::hrana::stmt::{Step, Stmt, When};
use crate::remote::machine::{Effect, Ran, State};
use crate::remote::runs::Statement;
use crate::remote::session::{About, Session};
use crate::run::Run;
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{begin_list, end_list, put_integer, put_tuple, put_unsigned};
use port_driver::frame::{begin_frame, end_frame};
use port_driver::reply::{put_error_item, Tail};
use port_driver::request::{tag, Batch};
use std::result::Result as StdResult;
use std::sync::atomic::Ordering;

const SAVEPOINT: &str = "SAVEPOINT libsql_port_batch";
const RELEASE: &str = "RELEASE libsql_port_batch";
const UNDO: &str = "ROLLBACK TO libsql_port_batch";

/// Runs the statements of a batch, all or none of them if it is atomic.
pub fn batch(session: &mut Session, run: &mut Run<'_>, batch: &Batch<'_>) -> Result<()> {
    session.check_not_lost()?;
    let mut statements = Vec::new();
    for (index, item) in (0..).zip(batch.statements()) {
        let (sql, params) = item?;
        let statement = Statement::new(session, sql, &params);
        let statement = statement.and_then(|statement| {
            match batch.atomic && keyword::is_transaction(statement.keyword) {
            true => Err(Error::new(
                ErrorCode::InvalidRequest,
                "an atomic batch is one transaction; it must not hold BEGIN, COMMIT, ROLLBACK or savepoints",
            )),
            false => Ok(statement),
        }
        });
        statements.push(statement.map_err(|error| Error::InBatch(index, Box::new(error)))?);
    }
    if statements.is_empty() {
        return write(session, run, Vec::new());
    }
    if let State::Promised(begin) = *session.machine.state() {
        session.begin_now(begin)?;
    }
    let nested = session.in_transaction();
    let items = match (batch.atomic, nested) {
        (true, false) => run_alone(session, &statements)?,
        (true, true) => run_nested(session, &statements)?,
        (false, _) => run_each(session, &statements)?,
    };
    write(session, run, items)
}

fn stmt<'s>(statement: &'s Statement<'_>) -> Stmt<'s> {
    Stmt { sql: statement.sql, args: Some(&statement.args), want_rows: true }
}

/// In a transaction of its own.
fn run_alone(session: &mut Session, statements: &[Statement<'_>]) -> Result<Vec<Outcome>> {
    let mut steps = vec![Step { stmt: Stmt::plain("BEGIN IMMEDIATE"), when: When::Always }];
    for (before, statement) in (0..).zip(statements) {
        steps.push(Step { stmt: stmt(statement), when: When::Ok(before) });
    }
    steps.push(Step { stmt: Stmt::plain("COMMIT"), when: When::Ok(last(&steps)) });
    steps.push(Step { stmt: Stmt::plain("ROLLBACK"), when: When::InTransaction });
    let about = About::Alone { effect: Effect::Writes, opens: false };
    let outcomes = send(session, about, &steps);
    if matches!(session.machine.state(), State::Open { .. }) {
        session.roll_back();
    }
    all_or_first_error(session, outcomes?, statements.len())
}

/// In a savepoint of the open transaction.
fn run_nested(session: &mut Session, statements: &[Statement<'_>]) -> Result<Vec<Outcome>> {
    let mut steps = vec![Step { stmt: Stmt::plain(SAVEPOINT), when: When::InTransaction }];
    for (before, statement) in (0..).zip(statements) {
        steps.push(Step { stmt: stmt(statement), when: When::OkInTransaction(before) });
    }
    let released = last(&steps) + 1;
    steps.push(Step { stmt: Stmt::plain(RELEASE), when: When::OkInTransaction(released - 1) });
    steps.push(Step { stmt: Stmt::plain(UNDO), when: When::NotOkInTransaction(released) });
    steps.push(Step { stmt: Stmt::plain(RELEASE), when: When::NotOkInTransaction(released) });
    let outcomes = send(session, About::Inside { effect: Effect::Writes, may_end: false }, &steps)?;
    if outcomes.is_err() && matches!(session.machine.state(), State::Open { .. }) {
        // The server has stopped halfway.
        session.run_own(UNDO)?;
        session.run_own(RELEASE)?;
    }
    all_or_first_error(session, outcomes, statements.len())
}

/// Each by itself, or each in the open transaction: an error does not stop the next one.
fn run_each(session: &mut Session, statements: &[Statement<'_>]) -> Result<Vec<Outcome>> {
    let nested = session.in_transaction();
    let when = if nested { When::InTransaction } else { When::Always };
    let steps: Vec<_> = statements.iter().map(|statement| Step { stmt: stmt(statement), when }).collect();
    let any = |keyword| statements.iter().any(|statement| statement.keyword == keyword);
    let about = match nested {
        false => About::Alone { effect: Effect::Writes, opens: any(Keyword::Begin) },
        true if any(Keyword::Commit) || any(Keyword::Rollback) => About::Commit,
        true => About::Inside { effect: Effect::Writes, may_end: false },
    };
    match send(session, about, &steps)? {
        Ok(outcomes) => Ok(outcomes),
        Err(error) if nested => {
            session.roll_back();
            session
                .machine
                .lose("a batch in it had more results than the server sends at once, so that it was undone");
            Err(error.into_error())
        }
        Err(error) => Err(Error::new(
            ErrorCode::OutcomeUnknown,
            format!("{}; statements of the batch may have run", error.into_error()),
        )),
    }
}

fn last(steps: &[Step<'_>]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_sub(1)
}

/// Sends the steps as one batch. An inner error is that of the batch as a whole, which has stopped somewhere.
fn send(
    session: &mut Session,
    about: About,
    steps: &[Step<'_>],
) -> Result<StdResult<Vec<Outcome>, ServerError>> {
    let ends_itself = about == About::Commit;
    session.exchange(about, &|pipeline| pipeline.batch(steps), &mut |results| {
        let outcomes = results.batch(steps.len())?;
        let ran = match &outcomes {
            Err(_) => Ran::Failed,
            Ok(outcomes) => all_in_all(outcomes, ends_itself),
        };
        Ok((ran, outcomes))
    })
}

/// What became of the steps. `ends_itself`: a step of the client's ends the transaction, whatever becomes of others.
fn all_in_all(outcomes: &[Outcome], ends_itself: bool) -> Ran {
    let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
    let timed_out = |outcome: &Outcome| matches!(outcome, Outcome::Failed(error) if error.is(TIMED_OUT));
    if outcomes.iter().any(timed_out) {
        Ran::TimedOut
    } else if outcomes.first() == Some(&Outcome::Skipped) {
        Ran::Skipped
    } else if outcomes.iter().any(failed) && !ends_itself {
        Ran::Failed
    } else {
        Ran::Done
    }
}

/// The outcomes of the client's statements, which stand behind one step and before others; or the first error.
fn all_or_first_error(
    session: &mut Session,
    outcomes: StdResult<Vec<Outcome>, ServerError>,
    count: usize,
) -> Result<Vec<Outcome>> {
    let mut outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let code = if error.is(TOO_LONG) {
                ErrorCode::ResultTooLarge
            } else {
                error.clone().into_error().code()
            };
            return Err(Error::new(code, format!("{}; the batch was undone", error.into_error())));
        }
    };
    let failed = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Failed(_)));
    let Some(place) = failed else {
        return Ok(outcomes.drain(1..).take(count).collect());
    };
    let error = match outcomes.swap_remove(place) {
        Outcome::Failed(error) => session.completed(error.into_error()),
        _ => transaction_ended(),
    };
    Err(match place {
        place if (1..=count).contains(&place) => {
            Error::InBatch(u32::try_from(place - 1).unwrap_or(u32::MAX), Box::new(error))
        }
        _ => error,
    })
}

/// The reply: an item for each statement.
fn write(session: &mut Session, run: &mut Run<'_>, items: Vec<Outcome>) -> Result<()> {
    let frame = begin_frame(run.out, run.request_id, tag::BATCH_REPLY);
    put_tuple(run.out, 5);
    let list = begin_list(run.out);
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    let status = session.machine.status();
    let mut rows = 0;
    for (index, item) in (0..).zip(items) {
        let error = match item {
            Outcome::Done(done) => {
                rows += put_item(run.out, &done) as u64;
                session.changes = session.changes.saturating_add(done.changes);
                continue;
            }
            Outcome::Failed(error) => session.completed(error.into_error()),
            Outcome::Skipped => transaction_ended(),
        };
        Error::InBatch(index, Box::new(error))
            .with_fields(Some(status), |reply| put_error_item(run.out, reply));
    }
    end_list(run.out, list, count);
    let mut times = Tail::default();
    run.times(&session.control, &mut times);
    put_unsigned(run.out, u64::from(session.machine.status()));
    put_unsigned(run.out, times.queue_us);
    put_unsigned(run.out, times.lock_us);
    put_unsigned(run.out, times.run_us);
    end_frame(run.out, frame, run.reply_bytes_max);
    session.counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

/// `{Rows, Columns, NumRows, Changes, LastInsertRowid}`; returns the number of rows.
fn put_item(out: &mut Vec<u8>, done: &Done) -> usize {
    put_tuple(out, 5);
    let list = begin_list(out);
    out.extend_from_slice(done.rows.bytes());
    end_list(out, list, u32::try_from(done.rows.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&column_names(&done.columns));
    put_unsigned(out, done.rows.len() as u64);
    put_integer(out, done.changes);
    put_integer(out, done.last_insert_rowid);
    done.rows.len()
}
