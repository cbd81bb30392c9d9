//! Checkpoint, reset and the connection's status.

use crate::engine::{code, query};
use crate::error::{Error, Result};
use crate::info::Status;
use crate::local::pragma;
use crate::local::rows::NoRows;
use crate::local::session::Session;
use crate::local::statement::Kind;
use crate::run::Run;
use crate::sql::keyword::Keyword;
use crate::sql::quote::quoted;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_integer, put_nil, put_tuple, put_unsigned};
use port_driver::request::CheckpointMode;
use std::sync::Arc;

/// Checkpoints the main database and the attached ones in a writer turn.
pub fn checkpoint(session: &mut Session, run: &mut Run<'_>, mode: CheckpointMode) -> Result<()> {
    let access = &mut session.access;
    if !access.handle.autocommit() {
        return Err(Error::new(ErrorCode::TransactionOpen, "a checkpoint cannot run inside a transaction"));
    }
    let mode = match mode {
        CheckpointMode::Passive => code::SQLITE_CHECKPOINT_PASSIVE,
        CheckpointMode::Full => code::SQLITE_CHECKPOINT_FULL,
        CheckpointMode::Restart => code::SQLITE_CHECKPOINT_RESTART,
        CheckpointMode::Truncate => code::SQLITE_CHECKPOINT_TRUNCATE,
    };
    let kind = Kind { read_only: false, keyword: Keyword::Other, guarded: true, cursor: false };
    let done = access.within_turn(kind, &mut NoRows(run), |access, _| access.checkpoint(mode))?;
    run.ok(|out| {
        put_tuple(out, 3);
        put_unsigned(out, u64::from(done.busy));
        put_integer(out, i64::from(done.log_frames));
        put_integer(out, i64::from(done.checkpointed_frames));
    });
    Ok(())
}

/// Makes the connection as if it had just been opened, but for its cache of statements.
pub fn reset(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    session.drop_cursors();
    session.prepared.clear();
    let access = &mut session.access;
    access.roll_back();
    access.query_only = None;
    for schema in (2..).map_while(|index| access.handle.schema_name(index)).collect::<Vec<_>>() {
        access.run_plain(&format!("DETACH DATABASE {}", quoted(&schema)))?;
    }
    drop_temporary(session)?;
    pragma::reset(&mut session.access, &session.pragmas, session.busy_timeout_ms)?;
    let policy = session.policy.clone();
    if policy.as_ref().map(Arc::as_ptr) != session.access.watch.policy.policy().as_ref().map(Arc::as_ptr) {
        session.set_policy(policy)?;
    }
    run.ok(put_nil);
    Ok(())
}

/// Drops what the connection has made in its temporary schema; dropping a table takes its indexes and triggers along.
fn drop_temporary(session: &mut Session) -> Result<()> {
    const OBJECTS: &str =
        "SELECT type, name FROM sqlite_temp_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                           AND type IN ('trigger', 'view', 'table') ORDER BY type = 'table', type = 'view'";
    for (kind, name) in text_pairs(session, OBJECTS)? {
        // The shadow tables of a virtual table go with it, and a trigger with its table: gone already is as good.
        let drop = format!("DROP {kind} IF EXISTS temp.{}", quoted(&name));
        session.access.run_temporary(&drop)?;
    }
    Ok(())
}

fn text_pairs(session: &mut Session, sql: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    session.access.each_row(sql, |row| {
        pairs.push((query::text_at(row, 0), query::text_at(row, 1)));
        true
    })?;
    Ok(pairs)
}

/// The counters of this connection.
pub fn status(session: &mut Session, run: &mut Run<'_>) -> Result<()> {
    let (cache_size, cache_used, hits, misses) = session.cache.counters();
    let handle = &session.access.handle;
    let memory = handle.memory();
    let status = Status {
        changes: u64::try_from(handle.total_changes()).unwrap_or(0),
        tx_status: session.access.tx_status(),
        autocommit: handle.autocommit(),
        cache: (cache_size, cache_used),
        lookups: (hits, misses),
        statements: session.prepared.len(),
        cursors: session.cursors.len(),
        memory: [memory.page_cache_bytes, memory.schema_bytes, memory.statement_bytes],
        servers: Vec::new(),
    };
    run.ok(|out| status.put(&session.counters, out));
    Ok(())
}
