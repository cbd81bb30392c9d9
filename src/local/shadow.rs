//! The tables in which libSQL keeps vector indexes: whatever it has not written there itself makes it read and write beyond
//! its memory. SQLite protects such tables of virtual tables alone.
//!
//! The authorizer sees names, and may not run a query. So what is only possibly such a table is a doubt: the statement is
//! refused, the doubt looked up, and the statement compiled again. A statement keeps its doubts, and they are looked up at each
//! of its runs: the schema may have changed.

use crate::engine::action::Action;

/// Where libSQL lists the vector indexes of a schema.
pub(super) const VECTOR_INDEXES: &str = "libsql_vector_meta_shadow";

/// A table of a vector index is called as the index, with this behind it.
pub(super) const SHADOW: &str = "_shadow";

/// Something that has to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// A client's statement writes, alters or drops the table of this name, which ends as those of vector indexes do.
    Table(Action, String),
    /// A vector index of this name is created.
    NewIndex(String),
}

/// Whether a table of this name may be one of a vector index.
pub fn is_shadow(name: &str) -> bool {
    let at = name.len().saturating_sub(SHADOW.len());
    name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(SHADOW))
}
