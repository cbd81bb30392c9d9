//! Statements that the client prepared and addresses by id, until it closes them.

use super::access::Access;
use super::statement::Statement;
use crate::error::{Error, Result};
use crate::limits::Limits;
use port_driver::error_code::ErrorCode;
use rustc_hash::FxHashMap;

/// The prepared statements of one connection.
#[derive(Default)]
pub struct PreparedStatements {
    by_id: FxHashMap<u32, Prepared>,
    last_id: u32,
    bytes: u64,
}

struct Prepared {
    sql: Box<str>,
    statement: Statement,
    // As they were counted: what a statement takes changes as it runs.
    bytes: u64,
}

impl PreparedStatements {
    /// Compiles a statement and keeps it, within the limits.
    pub fn prepare(&mut self, access: &mut Access, sql: &str, limits: &Limits) -> Result<(u32, &Statement)> {
        if self.by_id.len() >= limits.statements_max as usize {
            return Err(limit_exceeded(format!(
                "the connection has {} prepared statements, which is statements_max; close some",
                self.by_id.len()
            )));
        }
        let statement = access.prepare(sql, true)?;
        let bytes = statement.memory_bytes() + sql.len() as u64;
        if limits.statement_bytes_max > 0 && self.bytes.saturating_add(bytes) > limits.statement_bytes_max {
            return Err(limit_exceeded(format!(
                "the prepared statements of the connection would take {} bytes, and statement_bytes_max is {}; close some",
                self.bytes.saturating_add(bytes),
                limits.statement_bytes_max
            )));
        }
        self.bytes += bytes;
        // Ids are not used again, so that one of a closed statement is never taken for another's.
        self.last_id = self.last_id.wrapping_add(1) & 0x7fff_ffff;
        let kept = Prepared { sql: sql.into(), statement, bytes };
        Ok((self.last_id, &self.by_id.entry(self.last_id).insert_entry(kept).into_mut().statement))
    }

    /// Finalizes the statement `id`.
    pub fn close(&mut self, id: u32) -> Result<()> {
        let closed = self.by_id.remove(&id).ok_or_else(|| unknown(id))?;
        self.bytes -= closed.bytes;
        Ok(())
    }

    /// The statement `id`, compiled anew if a second use of the old one would not be the same.
    pub fn statement(&mut self, access: &mut Access, id: u32) -> Result<&mut Statement> {
        let prepared = self.by_id.get_mut(&id).ok_or_else(|| unknown(id))?;
        if prepared.statement.is_once_only() {
            prepared.statement = access.prepare(&prepared.sql, false)?;
        }
        Ok(&mut prepared.statement)
    }

    /// The statement `id` as it is.
    pub fn peek(&self, id: u32) -> Option<&Statement> {
        self.by_id.get(&id).map(|prepared| &prepared.statement)
    }

    /// The SQL text of statement `id`.
    pub fn sql(&self, id: u32) -> Result<&str> {
        self.by_id.get(&id).map(|prepared| prepared.sql.as_ref()).ok_or_else(|| unknown(id))
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
        self.bytes = 0;
    }
}

fn limit_exceeded(message: String) -> Error {
    Error::new(ErrorCode::LimitExceeded, message)
}

fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownStatement, format!("this connection has no prepared statement {id}"))
}
