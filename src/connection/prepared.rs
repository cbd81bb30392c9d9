//! Statements that the client prepared and addresses by id, until it closes them.

use super::access::Access;
use super::describe;
use super::run::Run;
use super::session::Session;
use super::statement::Statement;
use crate::error::{Error, Result};
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_nil, put_tuple, put_unsigned};
use rustc_hash::FxHashMap;

/// The prepared statements of one connection.
#[derive(Default)]
pub struct PreparedStatements {
    by_id: FxHashMap<u32, (Box<str>, Statement)>,
    next: u32,
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

/// Prepares a statement and describes it.
pub fn prepare(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    let Session { prepared, access, limits, .. } = session;
    if prepared.len() >= limits.statements_max as usize {
        return Err(Error::new(
            ErrorCode::LimitExceeded,
            format!(
                "the connection has {} prepared statements, which is statements_max; close some",
                prepared.len()
            ),
        ));
    }
    access.refresh_schema();
    let statement = access.prepare(sql, true)?;
    // Ids are not used again, so that one of a closed statement is never taken for another's.
    prepared.next = prepared.next.wrapping_add(1) & 0x7fff_ffff;
    let id = prepared.next;
    run.ok(|out| {
        put_tuple(out, 2);
        put_unsigned(out, u64::from(id));
        describe::put_description(out, &statement);
    });
    prepared.by_id.insert(id, (sql.into(), statement));
    Ok(())
}

/// Finalizes a prepared statement.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    match session.prepared.by_id.remove(&id) {
        Some(_) => {
            run.ok(put_nil);
            Ok(())
        }
        None => Err(unknown(id)),
    }
}

fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownStatement, format!("this connection has no prepared statement {id}"))
}
