//! Many statements in one round trip, each with its parameters and its result.

use super::execute::column_names;
use crate::error::{transaction_ended, Error, Result};
use crate::remote::errors::TIMED_OUT;
use crate::remote::hrana::answer::{Done, Outcome, ServerError};
use crate::remote::hrana::stmt::{Step, Stmt, When};
use crate::remote::machine::{Effect, Ran, State};
use crate::remote::runs::{needs_description, Statement};
use crate::remote::session::{read_only, About, Session};
use crate::result_writer::Ceiling;
use crate::run::Run;
use crate::sql::keyword::{self, Keyword};
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{begin_list, end_list, put_integer, put_tuple, put_unsigned};
use port_driver::frame::{begin_frame, end_frame};
use port_driver::params::Params;
use port_driver::reply::{put_error_item, Tail};
use port_driver::request::{tag, Batch, ResultOptions};
use std::result::Result as StdResult;
use std::sync::atomic::Ordering;

const NAME: &str = "libsql_port_batch";
const SAVEPOINT: &str = "SAVEPOINT libsql_port_batch";
const RELEASE: &str = "RELEASE libsql_port_batch";
const UNDO: &str = "ROLLBACK TO libsql_port_batch";

/// Runs the statements of a batch, all or none of them if it is atomic.
pub fn batch(session: &mut Session, run: &mut Run<'_>, batch: &Batch<'_>) -> Result<()> {
    session.check_not_lost()?;
    let statements = statements(session, batch)?;
    if statements.is_empty() {
        return write(session, run, Vec::new());
    }
    if let State::Promised(begin) = *session.machine.state() {
        session.begin_now(begin)?;
    }
    let nested = session.in_transaction();
    let ceiling = Ceiling::new(&ResultOptions::default(), &session.limits, false);
    let items = match (batch.atomic, nested) {
        (true, false) => run_alone(session, &statements, &ceiling)?,
        (true, true) => run_nested(session, &statements, &ceiling)?,
        (false, _) => {
            let items = run_each(session, &statements)?;
            check(&items, &ceiling)?;
            items
        }
    };
    write(session, run, items)
}

/// The statements, each with what the server says of it where that is needed.
fn statements<'b>(session: &mut Session, batch: &Batch<'b>) -> Result<Vec<Statement<'b>>> {
    let in_batch = |index: u32, error: Error| Error::InBatch(index, Box::new(error));
    let mut items = Vec::new();
    for (index, item) in (0..).zip(batch.statements()) {
        items.push(item.map_err(|error| in_batch(index, error.into()))?);
    }
    let needed = |sql: &str, params: &Params<'_>| needs_description(sql, params);
    let unknown: Vec<&str> =
        items.iter().filter(|(sql, params)| needed(sql, params)).map(|(sql, _)| *sql).collect();
    let mut described = session.describe_all(&unknown)?.into_iter();
    let mut statements = Vec::with_capacity(items.len());
    for (index, (sql, params)) in (0..).zip(&items) {
        let description = match needed(sql, params) {
            true => described.next().flatten(),
            false => session.descriptions.get(sql),
        };
        let statement = Statement::described(sql, params, description);
        let statement = statement.and_then(|statement| match statement.keyword {
            keyword if batch.atomic && keyword::is_transaction(keyword) => Err(Error::new(
                ErrorCode::InvalidRequest,
                "an atomic batch is one transaction; it must not hold BEGIN, COMMIT, ROLLBACK or savepoints",
            )),
            _ if batch.atomic && session.is_read_only() && statement.effect() == Effect::Writes => {
                Err(read_only().into_error())
            }
            _ => Ok(statement),
        });
        statements.push(statement.map_err(|error| in_batch(index, error))?);
    }
    Ok(statements)
}

fn stmt<'s>(statement: &'s Statement<'_>) -> Stmt<'s> {
    Stmt { sql: statement.sql, args: Some(&statement.args), want_rows: true }
}

/// What all of them may do.
fn effect<'s, 't: 's>(statements: impl IntoIterator<Item = &'s Statement<'t>>) -> Effect {
    match statements.into_iter().all(|statement| statement.effect() == Effect::Reads) {
        true => Effect::Reads,
        false => Effect::Writes,
    }
}

/// Whether the results have to be looked at before a batch that writes is kept: they may be more than the client takes.
fn is_looked_at(session: &Session, statements: &[Statement<'_>], ceiling: &Ceiling) -> bool {
    ceiling.is_below(session.link.bytes_max())
        && effect(statements) == Effect::Writes
        && statements.iter().any(Statement::may_yield_rows)
}

/// In a transaction of its own.
fn run_alone(session: &mut Session, statements: &[Statement<'_>], ceiling: &Ceiling) -> Result<Vec<Outcome>> {
    let looked_at = is_looked_at(session, statements, ceiling);
    let mut steps = vec![Step { stmt: Stmt::plain("BEGIN IMMEDIATE"), when: When::Always }];
    for (before, statement) in (0..).zip(statements) {
        steps.push(Step { stmt: stmt(statement), when: When::Ok(before) });
    }
    let effect = effect(statements);
    if looked_at {
        return session.in_own_transaction(|session| {
            let outcomes = send(session, About::First(effect), &steps)?;
            let items = all_or_first_error(session, outcomes, statements)?;
            check(&items, ceiling).map(|()| items)
        });
    }
    steps.push(Step { stmt: Stmt::plain("COMMIT"), when: When::Ok(last(&steps)) });
    steps.push(Step { stmt: Stmt::plain("ROLLBACK"), when: When::InTransaction });
    let outcomes = send(session, About::Alone { effect, opens: false }, &steps);
    session.end_own();
    let items = all_or_first_error(session, outcomes?, statements)?;
    check(&items, ceiling)?;
    Ok(items)
}

/// In a savepoint of the open transaction.
fn run_nested(
    session: &mut Session,
    statements: &[Statement<'_>],
    ceiling: &Ceiling,
) -> Result<Vec<Outcome>> {
    let looked_at = is_looked_at(session, statements, ceiling);
    let mut steps = vec![Step { stmt: Stmt::plain(SAVEPOINT), when: When::InTransaction }];
    for (before, statement) in (0..).zip(statements) {
        steps.push(Step { stmt: stmt(statement), when: When::OkInTransaction(before) });
    }
    if !looked_at {
        let released = last(&steps) + 1;
        steps.push(Step { stmt: Stmt::plain(RELEASE), when: When::OkInTransaction(released - 1) });
        steps.push(Step { stmt: Stmt::plain(UNDO), when: When::NotOkInTransaction(released) });
        steps.push(Step { stmt: Stmt::plain(RELEASE), when: When::NotOkInTransaction(released) });
    }
    let outcomes = send(session, About::Inside { effect: effect(statements), may_end: false }, &steps)?;
    let savepoint_is_left = match &outcomes {
        Ok(_) => looked_at,
        // It has stopped halfway, unless it has not begun.
        Err(error) => !error.is_of_parser(),
    };
    let items = all_or_first_error(session, outcomes, statements);
    let items = items.and_then(|items| check(&items, ceiling).map(|()| items));
    match savepoint_is_left && matches!(session.machine.state(), State::Open { .. }) {
        true => session.end_own_savepoint(NAME, items),
        false => items,
    }
}

/// Each by itself, or each in the open transaction: an error does not stop the next one.
fn run_each(session: &mut Session, statements: &[Statement<'_>]) -> Result<Vec<Outcome>> {
    let forbidden = session.is_read_only();
    let writes = |statement: &Statement<'_>| statement.effect() == Effect::Writes;
    let mut refused: Vec<Option<ServerError>> =
        statements.iter().map(|statement| (forbidden && writes(statement)).then(read_only)).collect();
    let outcomes = match send_each(session, statements, &refused)? {
        Err(error) if error.is_of_parser() => {
            for (known, found) in refused.iter_mut().zip(session.refusals(&texts(statements))?) {
                *known = known.take().or(found);
            }
            send_each(session, statements, &refused)?
        }
        outcomes => outcomes,
    };
    let mut outcomes = match outcomes {
        Ok(outcomes) => outcomes.into_iter(),
        Err(error) => return Err(stopped_halfway(session, statements, error)),
    };
    let each = refused.into_iter().map(|refused| match refused {
        Some(error) => Outcome::Failed(error),
        None => outcomes.next().unwrap_or(Outcome::Skipped),
    });
    Ok(each.collect())
}

/// Sends those that are not refused.
fn send_each(
    session: &mut Session,
    statements: &[Statement<'_>],
    refused: &[Option<ServerError>],
) -> Result<StdResult<Vec<Outcome>, ServerError>> {
    let nested = session.in_transaction();
    let when = if nested { When::InTransaction } else { When::Always };
    let sent: Vec<_> = statements
        .iter()
        .zip(refused)
        .filter(|(_, refused)| refused.is_none())
        .map(|(sent, _)| sent)
        .collect();
    if sent.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let steps: Vec<_> = sent.iter().map(|statement| Step { stmt: stmt(statement), when }).collect();
    let any = |is: fn(Keyword) -> bool| sent.iter().any(|statement| is(statement.keyword));
    let effect = effect(sent.iter().copied());
    let about = match nested {
        false => About::Alone { effect, opens: any(keyword::begins) },
        true if any(may_end) => About::Mixed(effect),
        true => About::Inside { effect, may_end: false },
    };
    send(session, about, &steps)
}

/// True of what may end the open transaction, one way or the other.
fn may_end(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::Commit | Keyword::Release | Keyword::Rollback | Keyword::Begin)
}

/// The results are more than the server sends at once, so that it has stopped after some of the statements.
fn stopped_halfway(session: &Session, statements: &[Statement<'_>], error: ServerError) -> Error {
    // What has run in a transaction that is open is the client's to commit or not.
    let is_open = matches!(session.machine.state(), State::Open { .. });
    let nothing_in_doubt = is_open || effect(statements) == Effect::Reads;
    match nothing_in_doubt {
        true => error.into_error(),
        false => Error::new(
            ErrorCode::OutcomeUnknown,
            format!("{}; statements of the batch may have run", error.into_error()),
        ),
    }
}

fn texts<'s>(statements: &[Statement<'s>]) -> Vec<&'s str> {
    statements.iter().map(|statement| statement.sql).collect()
}

/// Whether the results are no more than the client takes.
fn check(items: &[Outcome], ceiling: &Ceiling) -> Result<()> {
    let (mut rows, mut bytes) = (0, 0);
    for (index, item) in (0..).zip(items) {
        if let Outcome::Done(done) = item {
            rows += done.rows.len() as u64;
            bytes += done.rows.bytes().len() as u64;
        }
        ceiling.check(rows, bytes).map_err(|error| Error::InBatch(index, Box::new(error)))?;
    }
    Ok(())
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
    let ends_itself = matches!(about, About::Mixed(_));
    session.exchange(about, &|pipeline| pipeline.batch(steps), &mut |results| {
        let outcomes = results.batch(steps.len())?;
        let ran = match &outcomes {
            Err(error) if error.is_of_parser() => Ran::NotRun,
            Err(_) => Ran::Failed,
            Ok(outcomes) => all_in_all(outcomes, steps, ends_itself),
        };
        Ok((ran, outcomes))
    })
}

/// What became of the steps. `ends_itself`: a step of the client's ends the transaction, whatever becomes of others.
fn all_in_all(outcomes: &[Outcome], steps: &[Step<'_>], ends_itself: bool) -> Ran {
    let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
    let timed_out = |outcome: &Outcome| matches!(outcome, Outcome::Failed(error) if error.is(TIMED_OUT));
    // What has ended before is not lost with the lock of the next one.
    let ended = |(outcome, step): (&Outcome, &Step<'_>)| {
        matches!(outcome, Outcome::Done(_)) && may_end(keyword::first(step.stmt.sql))
    };
    let has_ended = ends_itself && outcomes.iter().zip(steps).any(ended);
    if outcomes.iter().any(timed_out) && !has_ended {
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
    statements: &[Statement<'_>],
) -> Result<Vec<Outcome>> {
    let in_batch =
        |place: usize, error| Error::InBatch(u32::try_from(place).unwrap_or(u32::MAX), Box::new(error));
    let mut outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) if error.is_of_parser() => {
            let found = session.refusals(&texts(statements))?.into_iter().enumerate();
            let mut found = found.filter_map(|(place, refused)| Some((place, refused?)));
            return Err(match found.next() {
                Some((place, refused)) => in_batch(place, refused.into_error()),
                None => error.into_error(),
            });
        }
        Err(error) => {
            let error = error.into_error();
            return Err(Error::new(error.code(), format!("{error}; the batch was undone")));
        }
    };
    let failed = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Failed(_)));
    let count = statements.len();
    let Some(place) = failed else {
        return Ok(outcomes.drain(1..).take(count).collect());
    };
    let error = match outcomes.swap_remove(place) {
        Outcome::Failed(error) => session.completed(error.into_error()),
        _ => transaction_ended(),
    };
    Err(match place {
        place if (1..=count).contains(&place) => in_batch(place - 1, error),
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
