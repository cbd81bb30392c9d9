//! What the authorizer could only doubt is looked up in the schema.

use super::Access;
use crate::denial::Denial;
use crate::engine::action::Action;
use crate::engine::{code, query};
use crate::error::{Error, Result};
use crate::local::shadow::{Doubt, SHADOW, VECTOR_INDEXES};
use crate::sql::quote::quoted;

impl Access {
    /// Refuses what a defensive connection may not do.
    #[cold]
    pub fn look_up(&self, doubt: &Doubt) -> Result<()> {
        if !self.handle.is_configured(code::SQLITE_DBCONFIG_DEFENSIVE) {
            return Ok(());
        }
        match doubt {
            Doubt::Table(action, table) => {
                let index = table.get(..table.len().saturating_sub(SHADOW.len())).unwrap_or("");
                if table.eq_ignore_ascii_case(VECTOR_INDEXES) || self.is_vector_index(index)? {
                    return Err(refused(*action, table, format!(
                        "{table} belongs to a vector index, which alone may write it; it has neither further indexes nor \
                         triggers. If it is left of one that was not created to its end, create that again"
                    )));
                }
            }
            Doubt::NewIndex(index) => {
                // libSQL puts the name into SQL texts of its own as it is.
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if !index.chars().all(plain) {
                    return Err(refused(
                        Action::CreateIndex,
                        index,
                        format!(
                        "the name of a vector index may hold ASCII letters, digits and _, not as in {index:?}"
                    ),
                    ));
                }
                // Else it would take over a table that somebody else has filled.
                let shadow = format!("{index}{SHADOW}");
                if self.has_row("sqlite_schema", &shadow)? && !self.is_vector_index(index)? {
                    return Err(refused(Action::CreateIndex, index, format!(
                        "the vector index {index} would use the table {shadow}, which exists already: drop that first"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Some schema has, or has had, vector indexes.
    pub(in crate::local) fn has_vector_indexes(&self) -> Result<bool> {
        self.has_row("sqlite_schema", VECTOR_INDEXES)
    }

    fn is_vector_index(&self, name: &str) -> Result<bool> {
        self.has_row(VECTOR_INDEXES, name)
    }

    /// Drops what is left of a vector index that was not created to its end: libSQL would take it for the index of a dump,
    /// and not fill it. Whoever loads a dump is not on a defensive connection.
    pub(in crate::local) fn drop_remains(&mut self, index: &str) -> Result<()> {
        if !self.handle.is_configured(code::SQLITE_DBCONFIG_DEFENSIVE) {
            return Ok(());
        }
        for schema in (0..).map_while(|number| self.handle.schema_name(number)).collect::<Vec<_>>() {
            if !self.has_row_in(&schema, VECTOR_INDEXES, index)?
                || self.has_row_in(&schema, "sqlite_schema", index)?
            {
                continue;
            }
            let (schema, shadow) = (quoted(&schema), quoted(&format!("{index}{SHADOW}")));
            let forget = format!("DELETE FROM {schema}.{VECTOR_INDEXES} WHERE name = ? COLLATE NOCASE");
            query::run(&self.handle, &format!("DROP TABLE IF EXISTS {schema}.{shadow}"))
                .and_then(|()| query::each_row(&self.handle, &forget, Some(index.as_bytes()), |_| true))
                .map_err(|error| self.step_error(error.code))?;
        }
        Ok(())
    }

    /// Whether `table` of some schema has a row with this name.
    fn has_row(&self, table: &str, name: &str) -> Result<bool> {
        for schema in (0..).map_while(|index| self.handle.schema_name(index)) {
            if self.has_row_in(&schema, table, name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Not stopped by anything: a look that was broken off would find nothing.
    fn has_row_in(&self, schema: &str, table: &str, name: &str) -> Result<bool> {
        let sql = format!("SELECT 1 FROM {}.{table} WHERE name = ? COLLATE NOCASE", quoted(schema));
        let mut found = false;
        let looked = self.control.unstopped(|| {
            query::each_row(&self.handle, &sql, Some(name.as_bytes()), |_| {
                found = true;
                false
            })
        });
        match looked {
            Ok(()) => Ok(found),
            // A schema without vector indexes has no list of them.
            Err(error) if error.code & 0xff == code::SQLITE_ERROR => Ok(false),
            Err(error) => Err(Error::Engine(error, None)),
        }
    }
}

fn refused(action: Action, object: &str, why: String) -> Error {
    Error::Denied(Box::new(Denial::by_program(action, object, why)))
}
