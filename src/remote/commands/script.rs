//! A text of many statements, in as few round trips as its transactions allow.

use crate::error::{transaction_ended, Error, Result};
use crate::remote::hrana::answer::Outcome;
use crate::remote::hrana::stmt::{Args, Step, Stmt, When};
use crate::remote::machine::{Effect, Ran, State};
use crate::remote::runs::{check_attach, Came, Statement};
use crate::remote::session::{ran, About, Session};
use crate::run::Run;
use crate::sql::keyword;
use crate::sql::split::statements;
use port_driver::etf::encoder::{put_integer, put_tuple, put_unsigned};

/// So many statements go in one request, and so many bytes of text, or one statement that is longer.
const GROUP_MAX: usize = 128;
const GROUP_BYTES_MAX: usize = 256 << 10;

/// Runs every statement of a text; rows are dropped where they are.
pub fn script(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    session.check_not_lost()?;
    let statements = statements(sql);
    for (_, statement) in &statements {
        check_attach(keyword::first(statement))?;
    }
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
            run_group(session, group(left))?
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

/// Each of them runs if the one before has succeeded.
fn run_group(session: &mut Session, group: &[(usize, &str)]) -> Result<usize> {
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
    let about = match inside {
        true => About::Inside { effect: Effect::Writes, may_end: false },
        false => About::Alone { effect: Effect::Writes, opens: false },
    };
    let outcomes = session.exchange(about, &|pipeline| pipeline.batch(&steps), &mut |results| {
        let outcomes = results.batch(steps.len())?.unwrap_or_else(|error| vec![Outcome::Failed(error)]);
        let failed = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Failed(_)));
        let all = failed.or(outcomes.first()).map_or(Ran::Done, ran);
        Ok((all, outcomes))
    })?;
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
