//! Which constraint was violated: the only reader of SQLite's error English. What the message leaves open (the index of
//! a unique constraint) is looked up in the schema.

use super::{query, EngineError, Handle};
use libsql_ffi as ffi;
use port_driver::reply::ConstraintKind;

/// A violated constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintFailure {
    /// What it demands.
    pub kind: ConstraintKind,
    /// On which table.
    pub table: Option<String>,
    /// On which of its columns.
    pub columns: Vec<String>,
    /// Kept by which index.
    pub index: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

const FOREIGN_KEY_WORDS: &str = "FOREIGN KEY constraint failed";

/// Reads an error of the constraint family; `None` for any other.
pub fn read(handle: &Handle, error: &EngineError) -> Option<ConstraintFailure> {
    if error.code & 0xff != ffi::SQLITE_CONSTRAINT {
        return None;
    }
    let kind = kind(error);
    let mut failure = parse(kind, &error.message);
    match kind {
        ConstraintKind::Unique | ConstraintKind::PrimaryKey => complete_unique(handle, &mut failure),
        _ => {}
    }
    Some(failure)
}

fn kind(error: &EngineError) -> ConstraintKind {
    match error.code {
        // ON DELETE RESTRICT and ON UPDATE RESTRICT are triggers within the engine (fkey.c, fkActionTrigger).
        ffi::SQLITE_CONSTRAINT_TRIGGER if error.message == FOREIGN_KEY_WORDS => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_UNIQUE => ConstraintKind::Unique,
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => ConstraintKind::PrimaryKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_ROWID => ConstraintKind::Rowid,
        ffi::SQLITE_CONSTRAINT_TRIGGER => ConstraintKind::Trigger,
        ffi::SQLITE_CONSTRAINT_DATATYPE => ConstraintKind::Datatype,
        _ => ConstraintKind::Other,
    }
}

/// Messages (sqlite3.c: sqlite3UniqueConstraint, sqlite3HaltConstraint, OP_TypeCheck):
/// "UNIQUE constraint failed: t.a, t.b", "UNIQUE constraint failed: index 'i'", "NOT NULL constraint failed: t.a",
/// "CHECK constraint failed: name or expression", "cannot store TEXT value in INTEGER column t.a".
fn parse(kind: ConstraintKind, message: &str) -> ConstraintFailure {
    let mut failure = ConstraintFailure { kind, table: None, columns: Vec::new(), index: None, name: None };
    let detail = message.split_once(" failed: ").map(|(_, detail)| detail);
    match kind {
        ConstraintKind::Check => failure.name = detail.map(str::to_owned),
        ConstraintKind::Datatype => {
            if let Some((_, column)) = message.rsplit_once(" column ") {
                add_column(&mut failure, column);
            }
        }
        ConstraintKind::Trigger => failure.name = Some(message.to_owned()),
        _ => {
            let index = detail
                .and_then(|detail| detail.strip_prefix("index '"))
                .and_then(|name| name.strip_suffix('\''));
            match (index, detail) {
                (Some(index), _) => failure.index = Some(index.to_owned()),
                (None, Some(detail)) => {
                    detail.split(", ").for_each(|column| add_column(&mut failure, column))
                }
                (None, None) => {}
            }
        }
    }
    failure
}

/// `table.column`; a table's name may hold dots itself, a column's hardly ever does.
fn add_column(failure: &mut ConstraintFailure, qualified: &str) {
    match qualified.rsplit_once('.') {
        Some((table, column)) => {
            failure.table.get_or_insert_with(|| table.to_owned());
            failure.columns.push(column.to_owned());
        }
        None => failure.columns.push(qualified.to_owned()),
    }
}

/// Finds the unique index of the columns, or the table and columns of the index.
fn complete_unique(handle: &Handle, failure: &mut ConstraintFailure) {
    // The first index wins, as it does in the engine; one on an expression has NULL for its column.
    const BY_TABLE: &str = "SELECT l.name, (SELECT group_concat(c.name, char(0)) FROM \
         (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno) AS c) FROM pragma_index_list(?1) AS l \
         WHERE l.\"unique\" ORDER BY l.seq DESC";
    const BY_INDEX: &str = "SELECT m.tbl_name, (SELECT group_concat(c.name, char(0)) FROM \
         (SELECT name FROM pragma_index_info(m.name) ORDER BY seqno) AS c) FROM sqlite_schema AS m \
         WHERE m.type = 'index' AND m.name = ?1";
    if let Some(index) = failure.index.clone() {
        if let Some((table, columns)) = pairs(handle, BY_INDEX, &index).into_iter().next() {
            failure.table = Some(table);
            failure.columns = columns.split('\0').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        }
    } else if let Some(table) = failure.table.clone() {
        let wanted = failure.columns.join("\0");
        let found = pairs(handle, BY_TABLE, &table).into_iter().find(|(_, columns)| *columns == wanted);
        failure.index = found.map(|(index, _)| index);
    }
    failure.name.clone_from(&failure.index);
}

/// Two text columns of a query with one text parameter; what there is if it fails: this only embellishes an error.
fn pairs(handle: &Handle, sql: &str, parameter: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let _ = query::each_row(handle, sql, Some(parameter.as_bytes()), |row| {
        found.push((query::text_at(row, 0), query::text_at(row, 1)));
        true
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_unique_constraint() {
        let failure = parse(ConstraintKind::Unique, "UNIQUE constraint failed: users.email, users.org");
        assert_eq!(failure.table.as_deref(), Some("users"));
        assert_eq!(failure.columns, ["email", "org"]);
        assert_eq!(failure.index, None);
    }

    #[test]
    fn an_index_on_an_expression() {
        let failure = parse(ConstraintKind::Unique, "UNIQUE constraint failed: index 'users_lower_email'");
        assert_eq!(failure.index.as_deref(), Some("users_lower_email"));
        assert!(failure.columns.is_empty());
    }

    #[test]
    fn names_of_checks_and_columns_of_types() {
        let check = parse(ConstraintKind::Check, "CHECK constraint failed: positive");
        assert_eq!(check.name.as_deref(), Some("positive"));
        let datatype =
            parse(ConstraintKind::Datatype, "cannot store TEXT value in INTEGER column strict_table.n");
        assert_eq!(
            (datatype.table.as_deref(), datatype.columns.as_slice()),
            (Some("strict_table"), &["n".to_owned()][..])
        );
        let null = parse(ConstraintKind::NotNull, "NOT NULL constraint failed: a.b.c");
        assert_eq!((null.table.as_deref(), null.columns.as_slice()), (Some("a.b"), &["c".to_owned()][..]));
    }

    #[test]
    fn a_foreign_key_says_no_more_than_that() {
        let failure = parse(ConstraintKind::ForeignKey, "FOREIGN KEY constraint failed");
        assert_eq!((failure.table, failure.columns.len()), (None, 0));
    }
}
