//! Prepare, describe and close_statement. The server keeps nothing: a prepared statement is its text, described once.

use crate::error::{Error, Result};
use crate::remote::hrana::describe::Description;
use crate::remote::session::Session;
use crate::run::Run;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{
    put_binary, put_bool, put_empty_list, put_integer, put_key, put_list, put_map, put_nil,
    put_optional_binary, put_tuple, put_unsigned,
};
use port_driver::request::Target;

/// Keeps a statement and describes it.
pub fn prepare(session: &mut Session, run: &mut Run<'_>, sql: &str) -> Result<()> {
    session.check_not_lost()?;
    let (limits, prepared) = (&session.limits, &session.prepared);
    let bytes: u64 = prepared.values().map(|sql| sql.len() as u64).sum::<u64>() + sql.len() as u64;
    let limit = if prepared.len() >= limits.statements_max as usize {
        Some(format!("{} prepared statements, which is statements_max", prepared.len()))
    } else if limits.statement_bytes_max > 0 && bytes > limits.statement_bytes_max {
        Some(format!("prepared statements of {bytes} bytes, which is more than statement_bytes_max"))
    } else {
        None
    };
    if let Some(limit) = limit {
        return Err(Error::new(ErrorCode::LimitExceeded, format!("the connection has {limit}; close some")));
    }
    let description = session.describe(sql)?;
    session.last_statement = session.last_statement.wrapping_add(1) & 0x7fff_ffff;
    let id = session.last_statement;
    session.prepared.insert(id, sql.into());
    run.ok(|out| {
        put_tuple(out, 2);
        put_unsigned(out, u64::from(id));
        put_description(out, &description);
    });
    Ok(())
}

/// Describes a text or a prepared statement.
pub fn describe(session: &mut Session, run: &mut Run<'_>, target: Target<'_>) -> Result<()> {
    session.check_not_lost()?;
    let sql = match target {
        Target::Sql(sql) => sql.to_owned(),
        Target::Statement(id) => text_of(session, id)?.to_owned(),
    };
    let description = session.describe(&sql)?;
    run.ok(|out| put_description(out, &description));
    Ok(())
}

/// Forgets a prepared statement.
pub fn close(session: &mut Session, run: &mut Run<'_>, id: u32) -> Result<()> {
    session.prepared.remove(&id).ok_or_else(|| unknown(id))?;
    run.ok(put_nil);
    Ok(())
}

/// The text of a prepared statement.
pub fn text_of(session: &Session, id: u32) -> Result<&str> {
    session.prepared.get(&id).map(|sql| &**sql).ok_or_else(|| unknown(id))
}

fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownStatement, format!("this connection has no prepared statement {id}"))
}

/// Appends the Description of the protocol. A server does not say where a column comes from.
fn put_description(out: &mut Vec<u8>, description: &Description) {
    put_map(out, 4);
    put_key(out, "columns");
    put_list(out, u32::try_from(description.columns.len()).unwrap_or(0));
    for (name, declared) in &description.columns {
        put_tuple(out, 5);
        put_binary(out, name.as_bytes());
        put_optional_binary(out, declared.as_deref().map(str::as_bytes));
        (0..3).for_each(|_| put_nil(out));
    }
    if !description.columns.is_empty() {
        put_empty_list(out);
    }
    put_key(out, "parameters");
    put_list(out, u32::try_from(description.parameters.len()).unwrap_or(0));
    for name in &description.parameters {
        put_optional_binary(out, name.as_deref().map(str::as_bytes));
    }
    if !description.parameters.is_empty() {
        put_empty_list(out);
    }
    put_key(out, "read_only");
    put_bool(out, description.read_only);
    put_key(out, "explain");
    put_integer(out, i64::from(description.explain));
}
