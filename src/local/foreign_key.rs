//! Which foreign key was violated: its columns and its name, looked up after the failure and at no cost before it. It only
//! embellishes an error: whatever fails or takes too long here leaves the error as it was.
//!
//! A statement that violates a key itself says which one ([`ForeignKey::read`]). A COMMIT, or a RELEASE of the outermost
//! savepoint, does not know what statements before it have left: its violations are still in the database, and are looked
//! for by `PRAGMA foreign_key_check`.

use crate::control::Control;
use crate::engine::constraint::ConstraintFailure;
use crate::engine::{query, ForeignKey, Handle, RawStatement};
use crate::sql::ddl;
use crate::sql::quote::quoted;
use std::time::Duration;

/// How long the whole search may take.
const SEARCH: Duration = Duration::from_millis(200);

/// Fills in table, columns and name of the foreign key that a statement violated: `key`, if the engine has named it.
/// `commits`: it writes nothing itself.
pub fn complete(
    handle: &Handle,
    control: &Control,
    key: Option<&ForeignKey>,
    commits: bool,
    failure: &mut ConstraintFailure,
) {
    let found = control.within(SEARCH, || match key {
        Some(key) => Some(key.clone()),
        None if commits => first_violated(handle),
        None => None,
    });
    let Some(key) = found else { return };
    control.within(SEARCH, || {
        failure.columns = columns(handle, &key);
        failure.name = name(handle, &key);
    });
    failure.table = Some(key.table);
}

/// The first foreign key that a row of the database violates now.
fn first_violated(handle: &Handle) -> Option<ForeignKey> {
    const REFERRING: &str = "SELECT schema, name FROM pragma_table_list AS l WHERE type = 'table' \
         AND EXISTS (SELECT 1 FROM pragma_foreign_key_list(l.name, l.schema)) ORDER BY schema, name";
    let mut tables = Vec::new();
    each_row(handle, REFERRING, None, |row| {
        tables.push((query::text_at(row, 0), query::text_at(row, 1)));
        true
    })?;
    for (schema, table) in tables {
        let check = format!("PRAGMA {}.foreign_key_check({})", quoted(&schema), quoted(&table));
        let mut violated = None;
        each_row(handle, &check, None, |row| {
            violated = Some(query::integer_at(row, 3));
            false
        })?;
        if let Some(id) = violated {
            return Some(ForeignKey { schema, table, id });
        }
    }
    None
}

/// The columns that refer to the other table, in the order of the declaration; none if they cannot be read.
fn columns(handle: &Handle, key: &ForeignKey) -> Vec<String> {
    let query = format!("PRAGMA {}.foreign_key_list({})", quoted(&key.schema), quoted(&key.table));
    let mut columns = Vec::new();
    let complete = each_row(handle, &query, None, |row| {
        // id, seq, table, from, …; the rows of a key are together, ordered by seq.
        if query::integer_at(row, 0) == key.id {
            columns.push(query::text_at(row, 3));
        }
        true
    });
    complete.map(|()| columns).unwrap_or_default()
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
