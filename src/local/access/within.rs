//! The SQL that keeps or undoes a statement together with what was done while it was compiled.

/// What a statement was compiled within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// A transaction for this statement alone.
    Transaction,
    /// A savepoint in the client's transaction.
    Savepoint,
}

impl Within {
    /// Begins it.
    pub fn begin(self) -> &'static str {
        match self {
            Within::Transaction => "BEGIN IMMEDIATE",
            Within::Savepoint => "SAVEPOINT libsql_port_compile",
        }
    }

    /// Keeps what was done in it.
    pub fn keep(self) -> &'static str {
        match self {
            Within::Transaction => "COMMIT",
            Within::Savepoint => "RELEASE libsql_port_compile",
        }
    }

    /// Undoes it.
    pub fn undo(self) -> &'static [&'static str] {
        match self {
            Within::Transaction => &["ROLLBACK"],
            Within::Savepoint => &["ROLLBACK TO libsql_port_compile", "RELEASE libsql_port_compile"],
        }
    }
}
