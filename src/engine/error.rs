//! What the engine says of a call that failed.

use libsql_ffi as ffi;
use std::ffi::c_int;

/// A failed call: SQLite's extended code, its words and, for SQL text, the byte where it noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// <https://sqlite.org/rescode.html>, extended.
    pub code: c_int,
    /// `sqlite3_errmsg`.
    pub message: String,
    /// `sqlite3_error_offset`, if there is one.
    pub offset: Option<u64>,
    /// The foreign key that was violated, as far as the engine knows: [`ForeignKey::read`].
    pub foreign_key: Option<Box<ForeignKey>>,
}

impl EngineError {
    /// One that has no place in SQL text.
    pub fn new(code: c_int, message: impl Into<String>) -> EngineError {
        EngineError { code, message: message.into(), offset: None, foreign_key: None }
    }
}

/// A foreign key of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The name of the attached database that has it.
    pub schema: String,
    /// The table that refers to another.
    pub table: String,
    /// Its `id` in `pragma_foreign_key_list`.
    pub id: i64,
}

/// What SQLite says of a foreign key, which is all that it says.
pub(super) const FOREIGN_KEY_WORDS: &str = "FOREIGN KEY constraint failed";

impl ForeignKey {
    /// The engine's own words, and the key, which the engine of this program adds to them (`vendor/`, `fkIdentity`): its
    /// number, the length of its schema's name, that name and the table's.
    pub(super) fn read(code: i32, mut message: String) -> (String, Option<Box<ForeignKey>>) {
        if !matches!(code, ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_TRIGGER) {
            return (message, None);
        }
        let Some(detail) =
            message.strip_prefix(FOREIGN_KEY_WORDS).and_then(|rest| rest.strip_prefix(": \u{1f}"))
        else {
            return (message, None);
        };
        let key = Self::parse(detail).map(Box::new);
        message.truncate(FOREIGN_KEY_WORDS.len());
        (message, key)
    }

    fn parse(detail: &str) -> Option<ForeignKey> {
        let (id, rest) = detail.split_once(' ')?;
        let (length, names) = rest.split_once(' ')?;
        let (schema, table) = names.split_at_checked(length.parse().ok()?)?;
        Some(ForeignKey { schema: schema.to_owned(), table: table.to_owned(), id: id.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_key_is_taken_out_of_the_message() {
        let read = |code, message: &str| ForeignKey::read(code, message.to_owned());
        let key = |schema: &str, table: &str, id| {
            Some(Box::new(ForeignKey { schema: schema.to_owned(), table: table.to_owned(), id }))
        };
        let words = FOREIGN_KEY_WORDS.to_owned();
        for code in [ffi::SQLITE_CONSTRAINT_FOREIGNKEY, ffi::SQLITE_CONSTRAINT_TRIGGER] {
            assert_eq!(
                read(code, &format!("{words}: \u{1f}2 4 mainc")),
                (words.clone(), key("main", "c", 2))
            );
            assert_eq!(
                read(code, &format!("{words}: \u{1f}0 5 a ü: 1 2")),
                (words.clone(), key("a ü:", " 1 2", 0))
            );
            for cut in ["", "0", "0 4", "0 9 mainc", "x 4 mainc", "0 y mainc", "0 1 ü"] {
                assert_eq!(read(code, &format!("{words}: \u{1f}{cut}")), (words.clone(), None), "{cut}");
            }
            assert_eq!(read(code, &words), (words.clone(), None));
            let raised = format!("{words}: 2 4 mainc");
            assert_eq!(read(code, &raised), (raised.clone(), None), "a trigger's own words");
            assert_eq!(read(code, "a trigger's own words"), ("a trigger's own words".to_owned(), None));
        }
        let unique = "UNIQUE constraint failed: t.a";
        assert_eq!(read(ffi::SQLITE_CONSTRAINT_UNIQUE, unique), (unique.to_owned(), None));
    }
}
