//! Statements that the client prepared and addresses by id, until it closes them.

use super::access::Access;
use super::statement::Statement;
use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;
use rustc_hash::FxHashMap;

/// The prepared statements of one connection.
#[derive(Default)]
pub struct PreparedStatements {
    pub(super) by_id: FxHashMap<u32, (Box<str>, Statement)>,
    pub(super) next: u32,
}

impl PreparedStatements {
    /// The statement `id`, compiled anew if a second use of the old one would not be the same.
    pub fn statement(&mut self, access: &mut Access, id: u32) -> Result<&mut Statement> {
        let (sql, statement) = self.by_id.get_mut(&id).ok_or_else(|| unknown(id))?;
        if statement.is_once_only() {
            *statement = access.prepare(sql, false)?;
        }
        Ok(statement)
    }

    /// The statement `id` as it is.
    pub fn peek(&self, id: u32) -> Option<&Statement> {
        self.by_id.get(&id).map(|(_, statement)| statement)
    }

    /// The SQL text of statement `id`.
    pub fn sql(&self, id: u32) -> Result<&str> {
        self.by_id.get(&id).map(|(sql, _)| sql.as_ref()).ok_or_else(|| unknown(id))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Finalizes all.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}

pub(super) fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownStatement, format!("this connection has no prepared statement {id}"))
}
