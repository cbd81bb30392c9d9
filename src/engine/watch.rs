//! What the engine asks and tells while it runs. Implemented by whoever owns a connection.

use super::action::{Action, Ask, Decision};

/// What the engine asks while it runs on a connection. Called on the thread that steps the statement.
pub trait Watch: Send + Sync {
    /// True stops the running statement with SQLITE_INTERRUPT.
    fn should_stop(&self) -> bool;
    /// Another program holds a lock. May sleep; false gives up with SQLITE_BUSY. `tries` counts from 0.
    fn wait_for_lock(&self, tries: u32) -> bool;
    /// A commit left `pages` pages in the WAL of `schema`.
    fn committed(&self, schema: &str, pages: u32);
    /// True lets the commit that is about to happen happen; false turns it into a rollback.
    fn may_commit(&self) -> bool;
    /// A statement that is compiled uses what is called `name` in this way, by this action. False refuses to compile it.
    fn may_use(&self, what: Use, action: Action, name: &str) -> bool;
    /// True if [`Self::decide`] is to be asked: the connection has a policy.
    fn has_policy(&self) -> bool {
        false
    }
    /// What the connection's policy says. Not asked for this program's own statements. `is_engines` tells whether no client's SQL
    /// does it: the engine, to change the text of the schema, or the module of a virtual table, to tables of its own (full-text
    /// and R*Tree tables keep what they hold in others).
    fn decide(&self, _ask: &Ask<'_>, _is_engines: &dyn Fn() -> bool) -> Decision {
        Decision::Allow
    }
}

/// What a statement uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A pragma that is read.
    PragmaRead,
    /// A pragma that is given an argument.
    PragmaCall,
    /// An SQL function.
    Function,
    /// An object of a database's schema (not of the temporary one) that is created, altered, dropped or indexed anew.
    Schema,
    /// A table that is created; else as [`Self::Schema`].
    NewTable,
    /// An index that is created; else as [`Self::Schema`].
    NewIndex,
    /// A table or index of the temporary schema that is created or dropped.
    TemporarySchema,
    /// An index there that is created.
    NewTemporaryIndex,
    /// A table for which an index or a trigger is created. Asked before that.
    TableOfNew,
    /// A file that is attached, by its name.
    Attach,
    /// One whose name is not known before the statement runs; `name` is empty.
    AttachUnknown,
    /// A table whose rows are inserted, updated or deleted.
    Rows,
    /// One of which a trigger does that.
    RowsOfTrigger,
}
