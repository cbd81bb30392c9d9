//! Which constraint was violated, read from SQLite's error English. What the message leaves open (the index of
//! a unique constraint) is looked up in the schema.

use super::error::{EngineError, FOREIGN_KEY_WORDS};
use super::{query, Handle};
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

/// Reads an error of the constraint family; `None` for any other.
pub fn read(handle: &Handle, error: &EngineError) -> Option<ConstraintFailure> {
    if error.code & 0xff != ffi::SQLITE_CONSTRAINT {
        return None;
    }
    let kind = kind(error);
    let mut failure = parse(kind, &error.message);
    match (kind, named_columns(kind, &error.message)) {
        (ConstraintKind::Unique | ConstraintKind::PrimaryKey, words) => {
            complete_unique(handle, words, &mut failure)
        }
        (_, Some(words)) => complete_column(handle, words, &mut failure),
        (_, None) => {}
    }
    Some(failure)
}

/// The same from the words alone, of an engine that is elsewhere.
pub fn read_words(error: &EngineError) -> Option<ConstraintFailure> {
    (error.code & 0xff == ffi::SQLITE_CONSTRAINT).then(|| parse(kind(error), &error.message))
}

/// The words of a message that name columns: "t.a, t.b".
fn named_columns(kind: ConstraintKind, message: &str) -> Option<&str> {
    match kind {
        ConstraintKind::Datatype => message.rsplit_once(" column ").map(|(_, words)| words),
        ConstraintKind::Unique
        | ConstraintKind::PrimaryKey
        | ConstraintKind::NotNull
        | ConstraintKind::Rowid => message
            .split_once(" failed: ")
            .map(|(_, words)| words)
            .filter(|words| !words.starts_with("index '")),
        _ => None,
    }
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

/// `table.column`, where the schema does not tell which of the dots stands between them.
fn add_column(failure: &mut ConstraintFailure, qualified: &str) {
    match qualified.rsplit_once('.') {
        Some((table, column)) => {
            failure.table.get_or_insert_with(|| table.to_owned());
            failure.columns.push(column.to_owned());
        }
        None => failure.columns.push(qualified.to_owned()),
    }
}

/// Finds the unique index of the columns, or the table and columns of the index. `words` is the list of columns as the
/// engine writes it; names may hold dots and commas, so it is compared with what the engine would write for each index.
/// Where several indexes have these columns (partial ones, tables of the same name in attached databases), the message
/// does not tell which one it was, and the index stays unknown.
fn complete_unique(handle: &Handle, words: Option<&str>, failure: &mut ConstraintFailure) {
    const BY_TABLE: &str = "SELECT l.name, (SELECT group_concat(c.name, char(0)) FROM \
         (SELECT name FROM pragma_index_info(l.name, d.name) ORDER BY seqno) AS c), l.origin = 'pk' \
         FROM pragma_database_list AS d, pragma_index_list(?1, d.name) AS l WHERE l.\"unique\"";
    if let Some(index) = failure.index.clone() {
        if let Some((table, columns)) = table_of(handle, &index) {
            failure.table = Some(table);
            failure.columns = columns;
        }
    } else if let Some(words) = words {
        let mut indexes: Vec<String> = Vec::new();
        let primary_key = i64::from(failure.kind == ConstraintKind::PrimaryKey);
        for table in tables(words) {
            let _ = query::each_row(handle, BY_TABLE, Some(table.as_bytes()), |row| {
                let columns = query::text_at(row, 1);
                if query::integer_at(row, 2) == primary_key && as_words(table, &columns) == words {
                    failure.table = Some(table.to_owned());
                    failure.columns = columns.split('\0').map(str::to_owned).collect();
                    indexes.push(query::text_at(row, 0));
                }
                true
            });
        }
        indexes.dedup();
        match indexes.as_mut_slice() {
            [] => complete_column(handle, words, failure),
            [only] => failure.index = Some(std::mem::take(only)),
            _ => {}
        }
    }
    failure.name.clone_from(&failure.index);
}

/// The table and the columns of an index; a term that is an expression has no column.
fn table_of(handle: &Handle, index: &str) -> Option<(String, Vec<String>)> {
    let mut schemas = Vec::new();
    let _ = query::each_row(handle, "SELECT name FROM pragma_database_list", None, |row| {
        schemas.push(query::text_at(row, 0));
        true
    });
    schemas.iter().find_map(|schema| {
        let sql = format!(
            "SELECT m.tbl_name, (SELECT group_concat(c.name, char(0)) FROM (SELECT name FROM \
             pragma_index_info(m.name, '{}') ORDER BY seqno) AS c) FROM \"{}\".sqlite_schema AS m \
             WHERE m.type = 'index' AND m.name = ?1",
            schema.replace('\'', "''"),
            schema.replace('"', "\"\"")
        );
        let mut found = None;
        let _ = query::each_row(handle, &sql, Some(index.as_bytes()), |row| {
            let columns = query::text_at(row, 1);
            let columns = columns.split('\0').filter(|c| !c.is_empty()).map(str::to_owned).collect();
            found = Some((query::text_at(row, 0), columns));
            false
        });
        found
    })
}

/// Finds which dot of "table.column" stands between the two.
fn complete_column(handle: &Handle, words: &str, failure: &mut ConstraintFailure) {
    const COLUMNS: &str = "SELECT c.name FROM pragma_database_list AS d, pragma_table_xinfo(?1, d.name) AS c";
    for table in tables(words) {
        let column = &words[table.len() + 1..];
        let mut found = false;
        let _ = query::each_row(handle, COLUMNS, Some(table.as_bytes()), |row| {
            found = query::text_at(row, 0) == column;
            !found
        });
        if found {
            failure.table = Some(table.to_owned());
            failure.columns = vec![column.to_owned()];
            return;
        }
    }
}

/// What may be the table's name at the beginning of "t.a, t.b".
fn tables(words: &str) -> impl Iterator<Item = &str> {
    words.match_indices('.').map(|(dot, _)| &words[..dot])
}

/// The columns, with NULs between them, as the engine lists them.
fn as_words(table: &str, columns: &str) -> String {
    columns.split('\0').map(|column| format!("{table}.{column}")).collect::<Vec<_>>().join(", ")
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
    fn names_with_dots_and_commas() {
        assert_eq!(tables("a.b, a.c").collect::<Vec<_>>(), ["a", "a.b, a"]);
        assert_eq!(as_words("v", "a.b\0c, d"), "v.a.b, v.c, d");
        assert_eq!(
            named_columns(ConstraintKind::NotNull, "NOT NULL constraint failed: v.a.b"),
            Some("v.a.b")
        );
        assert_eq!(named_columns(ConstraintKind::Unique, "UNIQUE constraint failed: index 'low'"), None);
    }

    #[test]
    fn a_foreign_key_says_no_more_than_that() {
        let failure = parse(ConstraintKind::ForeignKey, "FOREIGN KEY constraint failed");
        assert_eq!((failure.table, failure.columns.len()), (None, 0));
    }
}
