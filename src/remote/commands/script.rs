//! A text of many statements, in as few round trips as its transactions allow.

use crate::error::{transaction_ended, Error, Result};
use crate::remote::hrana::answer::{Outcome, ServerError};
use crate::remote::hrana::stmt::{Args, Step, Stmt, When};
use crate::remote::machine::{Effect, Ran, State};
use crate::remote::runs::{check_attach, needs_description, ran_of_batch, Came, Statement};
use crate::remote::session::{ran, read_only, About, Session};
use crate::run::Run;
use crate::sql::keyword;
use crate::sql::split::statements;
use port_driver::etf::encoder::{put_integer, put_tuple, put_unsigned};
use port_driver::params::Params;

/// So many statements go in one request, and so many bytes of text, or one statement that is longer. No options: what is beyond goes in
/// the next request, so they change how often the server is asked and nothing else.
const GROUP_MAX: usize = 128;
const GROUP_BYTES_MAX: usize = 256 << 10;

/// Runs every statement of a text; rows are dropped where they are.
pub fn script(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    session.check_not_lost()?;
    let statements = statements(sql);
    for (_, statement) in &statements {
        check_attach(keyword::first(statement))?;
    }
    let texts: Vec<&str> = statements.iter().map(|(_, sql)| *sql).collect();
    let readings = readings(session, &texts)?;
    let changes_before = session.changes;
    let mut left = statements.as_slice();
    while let Some(&(start, first)) = left.first() {
        if run.transaction.is_some() && !session.in_transaction() {
            return Err(transaction_ended());
        }
        // What begins or ends a transaction changes under which conditions the next ones run.
        let taken = if keyword::is_transaction(keyword::first(first)) {
            run_one(session, first).map_err(|error| moved(error, start))?;
            1
        } else {
            let group = group(left);
            let reads = readings.get(statements.len() - left.len()..).unwrap_or_default();
            run_group(session, group, reads)?
        };
        left = left.get(taken..).unwrap_or_default();
    }
    let changes = session.changes - changes_before;
    let status = session.machine.status();
    run.ok(|out| {
        put_tuple(out, 3);
        put_unsigned(out, statements.len() as u64);
        put_integer(out, changes);
        put_unsigned(out, u64::from(status));
    });
    Ok(())
}

fn run_one(session: &mut Session, sql: &str) -> Result<()> {
    let statement = Statement { sql, keyword: keyword::first(sql), args: Args::default(), description: None };
    // Whatever it yields, it is dropped.
    match session.run(&statement)? {
        Came::Done(_) | Came::TooLong => Ok(()),
    }
}

/// Those at the beginning that go together.
fn group<'g, 's>(statements: &'g [(usize, &'s str)]) -> &'g [(usize, &'s str)] {
    let mut bytes = 0;
    let together = statements.iter().take(GROUP_MAX).take_while(|(_, sql)| {
        let before = bytes;
        bytes += sql.len();
        !keyword::is_transaction(keyword::first(sql)) && (before == 0 || bytes <= GROUP_BYTES_MAX)
    });
    let count = together.count();
    &statements[..count]
}

/// Which of the statements only read. What needs another one of the script to compile may write.
fn readings(session: &mut Session, texts: &[&str]) -> Result<Vec<bool>> {
    let none = Params::empty();
    let needed: Vec<&str> = texts.iter().copied().filter(|sql| needs_description(sql, &none)).collect();
    let mut described = session.describe_all(&needed)?.into_iter();
    let reads = texts.iter().map(|sql| {
        let description = if needs_description(sql, &none) { described.next().flatten() } else { None };
        let statement = Statement { sql, keyword: keyword::first(sql), args: Args::default(), description };
        statement.effect() == Effect::Reads
    });
    Ok(reads.collect())
}

/// Runs those before the first one that is refused before it runs, and answers for that one.
fn run_up_to(
    session: &mut Session,
    group: &[(usize, &str)],
    reads: &[bool],
    refused: (usize, ServerError),
) -> Result<usize> {
    let (place, error) = refused;
    let before = group.get(..place).unwrap_or_default();
    if !before.is_empty() {
        run_group(session, before, reads)?;
    }
    let start = group.get(place).map_or(0, |(start, _)| *start);
    Err(moved(error.into_error(), start))
}

/// Each of them runs if the one before has succeeded. `reads`: which of them, and of those behind them, only read.
fn run_group(session: &mut Session, group: &[(usize, &str)], reads: &[bool]) -> Result<usize> {
    let only_reads = |place: usize| reads.get(place).copied().unwrap_or(false);
    if session.is_read_only() {
        if let Some(place) = (0..group.len()).find(|&place| !only_reads(place)) {
            return run_up_to(session, group, reads, (place, read_only()));
        }
    }
    if let State::Promised(begin) = *session.machine.state() {
        session.begin_now(begin)?;
    }
    let inside = session.in_transaction();
    let when = |index: u32| match (index.checked_sub(1), inside) {
        (None, false) => When::Always,
        (None, true) => When::InTransaction,
        (Some(before), false) => When::Ok(before),
        (Some(before), true) => When::OkInTransaction(before),
    };
    let steps: Vec<_> = (0..)
        .zip(group)
        .map(|(index, (_, sql))| Step { stmt: Stmt::plain(sql), when: when(index) })
        .collect();
    let effect = if (0..group.len()).all(only_reads) { Effect::Reads } else { Effect::Writes };
    let about = match inside {
        true => About::Inside { effect, may_end: false },
        false => About::Alone { effect, opens: false },
    };
    let outcomes = session.exchange(about, &|pipeline| pipeline.batch(&steps), &mut |results| {
        let outcomes = match results.batch(steps.len())? {
            Err(error) => {
                let outcome = Outcome::Failed(error);
                return Ok((ran_of_batch(&outcome), vec![outcome]));
            }
            Ok(outcomes) => outcomes,
        };
        let failed = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Failed(_)));
        let all = failed.or(outcomes.first()).map_or(Ran::Done, ran);
        Ok((all, outcomes))
    })?;
    if matches!(outcomes.as_slice(), [Outcome::Failed(error)] if error.is_of_parser()) {
        let texts: Vec<&str> = group.iter().map(|(_, sql)| *sql).collect();
        let found = session.refusals(&texts)?.into_iter().enumerate();
        let mut found = found.filter_map(|(place, refused)| Some((place, refused?)));
        if let Some(refused) = found.next() {
            return run_up_to(session, group, reads, refused);
        }
    }
    for (outcome, (start, _)) in outcomes.into_iter().zip(group) {
        match outcome {
            Outcome::Done(done) => session.changes = session.changes.saturating_add(done.changes),
            Outcome::Failed(error) => {
                let error = session.completed(error.into_error());
                return Err(moved(error, *start));
            }
            Outcome::Skipped => return Err(transaction_ended()),
        }
    }
    Ok(group.len())
}

/// An offset counts from the start of the whole text.
fn moved(error: Error, by: usize) -> Error {
    match error {
        Error::Engine(mut engine, constraint) => {
            engine.offset = engine.offset.map(|offset| offset + by as u64);
            Error::Engine(engine, constraint)
        }
        other => other,
    }
}
