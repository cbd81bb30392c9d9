//! Which foreign key was violated. The engine counts violations and says only that there is one, so after the failure,
//! and at no cost before it, this looks for the table and columns. It only embellishes an error: whatever fails or
//! takes too long here leaves the error as it was.
//!
//! 1. Candidates are the foreign keys of tables that the statement writes, or that refer to such a table. If there is
//!    one, that is it.
//! 2. If there are several, the statement runs once more with its violations deferred, so that they stay and can be
//!    found by `PRAGMA foreign_key_check`; then all of it is rolled back, and so nothing has changed. A COMMIT that
//!    failed has its violations there already.
//!
//! The second run is safe because what a statement does is in the database alone: there are no SQL functions or hooks
//! with effects outside of it. Whoever adds one has to switch it off here.
//!
//! In a client's transaction the second run must not be interrupted, since an interrupted write rolls back the whole
//! transaction (https://sqlite.org/c3ref/interrupt.html): only what took a short time before runs again there.

use crate::control::Control;
use crate::engine::constraint::ConstraintFailure;
use crate::engine::{code, query, Handle, RawStatement};
use crate::sql::ddl;
use crate::sql::quote::quoted;
use std::time::Duration;

/// How long the whole search may take.
const SEARCH: Duration = Duration::from_millis(200);
/// In a client's transaction: how long the statement may have taken for a second run that nothing stops.
const SHORT_RUN: Duration = Duration::from_millis(50);

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ForeignKey {
    schema: String,
    table: String,
    id: i64,
    columns: Vec<String>,
}

/// Fills in table, columns and name of the foreign key that `statement` violated. `code` is the engine's extended code,
/// `ran` how long the statement took.
pub fn complete(
    handle: &Handle,
    control: &Control,
    statement: &mut RawStatement,
    (code, ran): (i32, Duration),
    failure: &mut ConstraintFailure,
) {
    // RESTRICT ends a statement early: a second run without it could take any time.
    let short = code == code::SQLITE_CONSTRAINT_FOREIGNKEY && ran < SHORT_RUN;
    let found = control.within(SEARCH, || find(handle, control, statement, short));
    if let Some(key) = found {
        failure.name = control.within(SEARCH, || name(handle, &key));
        failure.table = Some(key.table);
        failure.columns = key.columns;
    }
}

fn find(handle: &Handle, control: &Control, statement: &mut RawStatement, short: bool) -> Option<ForeignKey> {
    // COMMIT and RELEASE write nothing themselves.
    let deferred = statement.read_only();
    let candidates = candidates(handle, if deferred { None } else { statement.sql() });
    if candidates.len() < 2 || deferred {
        return match candidates.len() {
            0 | 1 => candidates.into_iter().next(),
            _ => first_violated(handle, candidates),
        };
    }
    if !handle.autocommit() && !short {
        return None;
    }
    run_again(handle, control, statement, candidates)
}

/// Runs `statement` with its parameters and deferred violations, looks at what it left, and undoes it.
fn run_again(
    handle: &Handle,
    control: &Control,
    statement: &mut RawStatement,
    candidates: Vec<ForeignKey>,
) -> Option<ForeignKey> {
    let (rowid, changes) = (handle.last_insert_rowid(), handle.total_changes());
    let own_transaction = handle.autocommit();
    let was_deferring = query::integer(handle, "PRAGMA defer_foreign_keys") == Some(1);
    run(handle, "SAVEPOINT libsql_port_foreign_key")?;
    let found = run(handle, "PRAGMA defer_foreign_keys = 1").and_then(|()| {
        let _ = statement.reset();
        let mut step = || statement.step();
        // A row means that RETURNING has begun to tell what has all been done.
        let stepped = if own_transaction { step() } else { control.unstopped(step) };
        let _ = statement.reset();
        stepped.ok()?;
        let table = candidates.first().map(ForeignKey::qualified);
        let found = first_violated(handle, candidates);
        // Sets `changes()` back to what it was after the failure. A write that is stopped in a client's transaction would
        // roll back all of it.
        let table = table?;
        control.unstopped(|| run(handle, &format!("DELETE FROM {table} WHERE 0")));
        found
    });
    control.unstopped(|| {
        undo(handle, own_transaction);
        // Also where a rollback has switched it back already: the pragma makes the engine compile every statement anew.
        // One that was compiled while violations were deferred (this one was) checks its keys at its end only, and, as a
        // writer of a single row, without a journal to undo it: in a later transaction it would fail and leave its row.
        let deferred = u8::from(was_deferring && !handle.autocommit());
        run(handle, &format!("PRAGMA defer_foreign_keys = {deferred}"));
    });
    handle.uncount(handle.total_changes() - changes);
    handle.set_last_insert_rowid(rowid);
    found
}

/// Undoes the second run. The savepoint is released only if it was rolled back to: releasing it after a rollback that
/// failed would keep what is to be undone.
fn undo(handle: &Handle, own_transaction: bool) {
    if handle.autocommit() {
        return;
    }
    // In a transaction of its own, a release would commit a page that has not changed.
    if own_transaction || run(handle, "ROLLBACK TO libsql_port_foreign_key").is_none() {
        run(handle, "ROLLBACK");
        return;
    }
    run(handle, "RELEASE libsql_port_foreign_key");
}

impl ForeignKey {
    fn qualified(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

/// The foreign keys that a statement may have violated: those of the tables that it writes, then those that refer to
/// them. Without a statement, all.
fn candidates(handle: &Handle, sql: Option<String>) -> Vec<ForeignKey> {
    const ALL: &str = "SELECT l.schema, l.name, f.id, f.\"from\" FROM pragma_table_list AS l \
         JOIN pragma_foreign_key_list(l.name, l.schema) AS f WHERE l.type = 'table' \
         ORDER BY l.schema, l.name, f.id, f.seq";
    const WRITTEN: &str =
        "WITH written AS MATERIALIZED (SELECT DISTINCT schema, name FROM tables_used(?1) WHERE wr) \
         SELECT l.schema, l.name, f.id, f.\"from\" FROM pragma_table_list AS l \
         JOIN pragma_foreign_key_list(l.name, l.schema) AS f JOIN written AS w ON w.schema = l.schema \
         AND (w.name = l.name COLLATE NOCASE OR w.name = f.\"table\" COLLATE NOCASE) WHERE l.type = 'table' \
         GROUP BY l.schema, l.name, f.id, f.seq \
         ORDER BY max(w.name = l.name COLLATE NOCASE) DESC, l.schema, l.name, f.id, f.seq";
    let (query, parameter) = match &sql {
        Some(sql) => (WRITTEN, Some(sql.as_bytes())),
        None => (ALL, None),
    };
    let mut keys: Vec<ForeignKey> = Vec::new();
    let complete = each_row(handle, query, parameter, |row| {
        let (schema, table, id, column) = (
            query::text_at(row, 0),
            query::text_at(row, 1),
            query::integer_at(row, 2),
            query::text_at(row, 3),
        );
        match keys.last_mut() {
            Some(key) if key.schema == schema && key.table == table && key.id == id => {
                key.columns.push(column)
            }
            _ => keys.push(ForeignKey { schema, table, id, columns: vec![column] }),
        }
        true
    });
    // Half a list would make the wrong one look like the only one.
    if complete.is_none() {
        keys.clear();
    }
    keys
}

/// The first of `candidates` that a row of the database violates now.
fn first_violated(handle: &Handle, candidates: Vec<ForeignKey>) -> Option<ForeignKey> {
    let mut checked = None;
    for key in &candidates {
        let table = key.qualified();
        if checked.as_ref() == Some(&table) {
            continue;
        }
        let check = format!("PRAGMA {}.foreign_key_check({})", quoted(&key.schema), quoted(&key.table));
        let mut violated = None;
        each_row(handle, &check, None, |row| {
            violated = Some(query::integer_at(row, 3));
            false
        })?;
        if let Some(id) = violated {
            return candidates.into_iter().find(|other| other.qualified() == table && other.id == id);
        }
        checked = Some(table);
    }
    None
}

/// The name that the text of CREATE TABLE gives the foreign key.
fn name(handle: &Handle, key: &ForeignKey) -> Option<String> {
    let table = format!("{}.sqlite_schema", quoted(&key.schema));
    let query = format!("SELECT sql FROM {table} WHERE type = 'table' AND name = ?1 COLLATE NOCASE");
    let mut sql = None;
    each_row(handle, &query, Some(key.table.as_bytes()), |row| {
        sql = Some(query::text_at(row, 0));
        false
    })?;
    // The engine numbers them from the last one to the first.
    let mut names = ddl::foreign_key_names(&sql?);
    names.reverse();
    names.into_iter().nth(usize::try_from(key.id).ok()?).flatten()
}

/// Calls `each` with every row until it says false; `None` if the statement fails.
fn each_row(
    handle: &Handle,
    sql: &str,
    parameter: Option<&[u8]>,
    each: impl FnMut(&RawStatement) -> bool,
) -> Option<()> {
    query::each_row(handle, sql, parameter, each).ok()
}

fn run(handle: &Handle, sql: &str) -> Option<()> {
    query::run(handle, sql).ok()
}
