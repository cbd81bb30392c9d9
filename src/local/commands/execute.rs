//! Execute and query_one: bind, step, rows out, counters and transaction status in the same reply.

use crate::engine::RawStatement;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::local::access::{Access, Changes, Rows};
use crate::local::errors::{needs_defence, no_row};
use crate::local::rows::RowsOut;
use crate::local::session::Session;
use crate::local::statement::Statement;
use crate::local::watch::ConnectionWatch;
use crate::result_writer::{Ceiling, RowWriter};
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::params::Params;
use port_driver::reply::Tail;
use port_driver::request::{Execute, ExecutePrepared, ResultOptions};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// How many rows a statement may yield.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// Exactly one. Inside of a transaction a savepoint undoes what yields another number.
    One,
}

/// Runs a statement of the cache.
pub fn execute(session: &mut Session, run: &mut Run<'_>, request: &Execute<'_>) -> Result<()> {
    let Session { cache, access, limits, counters, .. } = session;
    let options = &request.options;
    if options.is_privileged() {
        let is_own = options.policy == Some(false);
        let undefended = options.defensive == Some(false);
        let needs_defence_for = undefended && !is_own && access.watch.policy.is_active();
        let mut alone = |access: &mut Access| {
            // Never from the cache, nor into it: what it may do is this request's alone.
            let mut statement = access.prepare(request.sql, false)?;
            // What only reads has no use for the permission, and what the policy denies has been told by now.
            if needs_defence_for && !statement.read_only() {
                return Err(needs_defence(
                    "give policy: false as well, which runs the statement as the application's own",
                ));
            }
            run_statement(access, &mut statement, limits, run, &request.params, options, Wanted::All)
        };
        if is_own {
            access.handle.begin_own();
        }
        let outcome = match undefended && !needs_defence_for {
            true => access.undefended(alone),
            false => alone(access),
        };
        if is_own {
            access.handle.end_own();
        }
        let rows = outcome?;
        counters.rows.fetch_add(rows, Ordering::Relaxed);
        return Ok(());
    }
    let statement = cache.get(access, request.sql)?;
    let rows = run_statement(access, statement, limits, run, &request.params, &request.options, Wanted::All)?;
    counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

/// Runs a statement that must yield exactly one row. An error leaves nothing behind: a write outside of a transaction
/// is undone with its implicit one, inside of one it runs in a savepoint.
pub fn query_one(session: &mut Session, run: &mut Run<'_>, request: &Execute<'_>) -> Result<()> {
    let Session { cache, access, limits, counters, .. } = session;
    let statement = cache.get(access, request.sql)?;
    if statement.column_count() == 0 {
        return Err(Error::new(ErrorCode::NoRows, "the statement yields no rows; it was not run"));
    }
    let guarded = !statement.read_only() && !access.handle.autocommit();
    if guarded {
        access.run_plain("SAVEPOINT libsql_port_query_one")?;
    }
    let outcome =
        run_statement(access, statement, limits, run, &request.params, &request.options, Wanted::One);
    if guarded && !access.handle.autocommit() {
        if outcome.is_err() {
            access.run_unstopped(&["ROLLBACK TO libsql_port_query_one"])?;
        }
        access.run_unstopped(&["RELEASE libsql_port_query_one"])?;
    }
    counters.rows.fetch_add(outcome?, Ordering::Relaxed);
    Ok(())
}

/// Runs a prepared statement.
pub fn execute_prepared(
    session: &mut Session,
    run: &mut Run<'_>,
    request: &ExecutePrepared<'_>,
) -> Result<()> {
    let Session { prepared, access, limits, counters, .. } = session;
    let statement = prepared.statement(access, request.statement)?;
    let rows = run_statement(access, statement, limits, run, &request.params, &request.options, Wanted::All)?;
    counters.rows.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}

fn run_statement(
    access: &mut Access,
    statement: &mut Statement,
    limits: &Limits,
    run: &mut Run<'_>,
    params: &Params<'_>,
    options: &ResultOptions,
    wanted: Wanted,
) -> Result<u64> {
    let control = Arc::clone(&access.control);
    let base = run.out.len();
    let ceiling = Ceiling::new(options, limits, access.untrusted);
    let mut rows = RowsOut::new(RowWriter::new(run, &control, ceiling, wanted == Wanted::One));
    let outcome = match wanted {
        Wanted::All => access.run(statement, params, false, &mut rows),
        Wanted::One if statement.read_only() => access.run(statement, params, true, &mut rows),
        // The rows of a statement that writes come before its commit. Without one there is none: a trigger may have written
        // and then passed over the row by RAISE(IGNORE).
        Wanted::One => {
            let watch = Arc::clone(&access.watch);
            watch.refuse_commits(true);
            let mut rows = AllowsCommits { watch: &watch, rows: &mut rows };
            let outcome = access.run(statement, params, true, &mut rows);
            watch.refuse_commits(false);
            outcome
        }
    };
    let writer = rows.writer;
    let changes = match outcome {
        Ok(_) if wanted == Wanted::One && writer.rows() == 0 => {
            writer.abandon();
            return Err(no_row());
        }
        Ok(changes) => changes,
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    let rows = writer.rows();
    let finished = writer.finish(statement.columns(), tail(access, changes), !statement.read_only());
    finished.inspect_err(|_| run.out.truncate(base.min(run.out.len())))?;
    Ok(rows)
}

/// Lets the statement commit once it has yielded a row.
struct AllowsCommits<'a, R> {
    watch: &'a ConnectionWatch,
    rows: &'a mut R,
}

impl<R: Rows> Rows for AllowsCommits<'_, R> {
    fn about_to_wait(&mut self) {
        self.rows.about_to_wait();
    }

    fn row(&mut self, row: &RawStatement) -> Result<bool> {
        self.watch.refuse_commits(false);
        self.rows.row(row)
    }
}

/// What follows the rows, but for times.
pub fn tail(access: &Access, changes: Changes) -> Tail {
    Tail {
        changes: if changes.any { access.handle.changes() } else { 0 },
        last_insert_rowid: access.handle.last_insert_rowid(),
        tx_status: access.tx_status(),
        ..Tail::default()
    }
}
