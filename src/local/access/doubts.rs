//! What the authorizer could only doubt is looked up in the schema.

use super::Access;
use crate::engine::{code, query};
use crate::error::{Error, Result};
use crate::local::shadow::{Doubt, SHADOW, VECTOR_INDEXES};
use crate::sql::quote::quoted;
use port_driver::error_code::ErrorCode;

impl Access {
    /// Refuses what a defensive connection may not do.
    #[cold]
    pub fn look_up(&self, doubt: &Doubt) -> Result<()> {
        if !self.handle.is_configured(code::SQLITE_DBCONFIG_DEFENSIVE) {
            return Ok(());
        }
        match doubt {
            Doubt::Table(table) => {
                let index = table.get(..table.len().saturating_sub(SHADOW.len())).unwrap_or("");
                if table.eq_ignore_ascii_case(VECTOR_INDEXES) || self.is_vector_index(index) {
                    return Err(refused(format!(
                        "{table} belongs to a vector index, which alone may write it; it has neither further indexes nor triggers"
                    )));
                }
            }
            Doubt::NewIndex(index) => {
                // libSQL puts the name into SQL texts of its own as it is.
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if !index.chars().all(plain) {
                    return Err(refused(format!(
                        "the name of a vector index may hold ASCII letters, digits and _, not as in {index:?}"
                    )));
                }
                // Else it would take over a table that somebody else has filled.
                let shadow = format!("{index}{SHADOW}");
                if self.has_row("sqlite_schema", &shadow) && !self.is_vector_index(index) {
                    return Err(refused(format!(
                        "the vector index {index} would use the table {shadow}, which exists already: drop that first"
                    )));
                }
            }
        }
        Ok(())
    }

    fn is_vector_index(&self, name: &str) -> bool {
        self.has_row(VECTOR_INDEXES, name)
    }

    /// Whether `table` of some schema has a row with this name. A schema without vector indexes has no list of them.
    fn has_row(&self, table: &str, name: &str) -> bool {
        let mut schemas = (0..).map_while(|index| self.handle.schema_name(index));
        schemas.any(|schema| {
            let sql = format!("SELECT 1 FROM {}.{table} WHERE name = ? COLLATE NOCASE", quoted(&schema));
            let mut found = false;
            let _ = query::each_row(&self.handle, &sql, Some(name.as_bytes()), |_| {
                found = true;
                false
            });
            found
        })
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorCode::NotAuthorized, message)
}
