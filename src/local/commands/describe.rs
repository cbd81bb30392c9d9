//! What a statement takes and yields, without running it.

use crate::engine::statement::ColumnText;
use crate::error::Result;
use crate::local::session::Session;
use crate::local::statement::Statement;
use crate::run::Run;
use port_driver::etf::encoder::{
    put_bool, put_empty_list, put_integer, put_key, put_list, put_map, put_optional_binary, put_tuple,
};
use port_driver::request::Target;

/// Describes a text or a prepared statement.
pub fn describe(session: &mut Session, run: &mut Run<'_>, target: Target<'_>) -> Result<()> {
    let Session { prepared, access, .. } = session;
    let sql = match target {
        Target::Sql(sql) => sql,
        Target::Statement(id) => prepared.sql(id)?,
    };
    // Compiled for this alone: one that is kept shows an outdated schema until it runs.
    // A failure is found again by what follows.
    let _ = access.refresh_schemas();
    let statement = access.prepare(sql, false)?;
    run.ok(|out| put_description(out, &statement));
    Ok(())
}

/// Appends the Description of the protocol.
pub fn put_description(out: &mut Vec<u8>, statement: &Statement) {
    put_map(out, 4);
    put_key(out, "columns");
    put_columns(out, statement);
    put_key(out, "parameters");
    let names = statement.parameter_names();
    put_list(out, u32::try_from(names.len()).unwrap_or(0));
    for name in names {
        put_optional_binary(out, name.as_deref().map(str::as_bytes));
    }
    if !names.is_empty() {
        put_empty_list(out);
    }
    put_key(out, "read_only");
    put_bool(out, statement.read_only());
    put_key(out, "explain");
    put_integer(out, i64::from(statement.raw().explain()));
}

fn put_columns(out: &mut Vec<u8>, statement: &Statement) {
    let count = statement.column_count();
    put_list(out, u32::try_from(count).unwrap_or(0));
    for index in 0..count {
        put_tuple(out, 5);
        for which in [
            ColumnText::Name,
            ColumnText::DeclaredType,
            ColumnText::Database,
            ColumnText::Table,
            ColumnText::Origin,
        ] {
            let text = statement.raw().column_text(index, which);
            put_optional_binary(out, text.as_deref().map(str::as_bytes));
        }
    }
    if count > 0 {
        put_empty_list(out);
    }
}
