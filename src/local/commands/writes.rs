//! Whether a statement writes, for a connection whose writes run elsewhere.

use crate::engine::code;
use crate::error::{Error, Result};
use crate::local::session::Session;
use crate::run::Run;

/// Whether the statement of `sql` writes; `None` if it cannot be compiled, so that only whoever has the newest schema can say what
/// is wrong with it. What a policy denies is an error.
#[inline]
pub fn text(session: &mut Session, run: &Run<'_>, sql: &str) -> Result<Option<bool>> {
    match session.cache.peek(sql) {
        Some(statement) => Ok(Some(!statement.read_only())),
        None => compiled(session, run, sql),
    }
}

fn compiled(session: &mut Session, run: &Run<'_>, sql: &str) -> Result<Option<bool>> {
    session.access.begin(run.place);
    session.client_functions.refresh(&session.access.handle);
    session.take_over_hooks();
    let Session { cache, access, .. } = &mut *session;
    let writes = match cache.get(access, sql) {
        Ok(statement) => Ok(Some(!statement.read_only())),
        Err(error) if may_be_outdated(&error) => Ok(None),
        Err(error) => Err(error),
    };
    session.access.undo_compiled();
    session.access.leave();
    session.access.end();
    writes
}

/// A schema of another time may allow it. What drops a vector index writes as it is compiled.
fn may_be_outdated(error: &Error) -> bool {
    match error {
        Error::Engine(error, _) => matches!(error.code & 0xff, code::SQLITE_ERROR | code::SQLITE_READONLY),
        _ => false,
    }
}
