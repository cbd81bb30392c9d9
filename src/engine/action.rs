//! What the authorizer is asked about, without SQLite's numbers. https://sqlite.org/c3ref/c_alter_table.html
//!
//! Four actions are this program's own division: a pragma that only reads is told from one that may do more, and VACUUM, of
//! which the engine asks nothing but the many steps it is made of, is one action, or two with VACUUM INTO. That a foreign key refers
//! to a table is asked by the vendored engine alone (vendor/README.md).

use libsql_ffi as ffi;
use std::ffi::c_int;

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, [$($key:ident),*], $in_database:literal;)+) => {
        /// Something that a statement does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)+];

            /// The name in the protocol.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => $name,)+ }
            }

            /// What the names mean that it is asked with.
            pub const fn keys(self) -> &'static [Key] {
                match self { $(Action::$variant => &[$(Key::$key),*],)+ }
            }

            /// The key of its own that is meant by `key`. That of a view is a name, but a table where it is read.
            pub fn key_of(self, key: Key) -> Option<Key> {
                use Action::{CreateTempView, CreateView, DropTempView, DropView};
                let is_view = matches!(self, CreateView | DropView | CreateTempView | DropTempView);
                let meant = if is_view && key == Key::Table { Key::Name } else { key };
                self.keys().contains(&meant).then_some(meant)
            }

            /// It is done with rows and values, not with the schema.
            pub const fn is_of_rows(self) -> bool {
                use Action::{Delete, Function, Insert, Read, Select, Update};
                matches!(self, Select | Read | Insert | Update | Delete | Function)
            }

            /// It can stand in the text of a view or trigger.
            pub const fn is_in_text(self) -> bool {
                use Action::{Other, PragmaRead, Recursive};
                self.is_of_rows() || matches!(self, Recursive | PragmaRead | Other)
            }

            /// It is done in a database that is known.
            pub const fn is_in_database(self) -> bool {
                match self { $(Action::$variant => $in_database,)+ }
            }
        }
    };
}

actions! {
    /// A SELECT, or a subquery.
    Select = "select", [], false;
    /// A column is read; "" if only rows are counted.
    Read = "read", [Table, Column], true;
    /// Rows are inserted.
    Insert = "insert", [Table], true;
    /// A column is updated.
    Update = "update", [Table, Column], true;
    /// Rows are deleted.
    Delete = "delete", [Table], true;
    /// A foreign key refers to the table, whose rows it may keep from being deleted.
    References = "references", [Table], true;
    /// A function is called.
    Function = "function", [Function], false;
    /// A recursive common table expression.
    Recursive = "recursive", [], false;
    /// BEGIN, COMMIT, ROLLBACK.
    Transaction = "transaction", [Name], false;
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint = "savepoint", [Name], false;
    /// A pragma that reads and does nothing else.
    PragmaRead = "pragma_read", [Pragma], true;
    /// Any other pragma.
    PragmaWrite = "pragma_write", [Pragma], true;
    /// CREATE TABLE.
    CreateTable = "create_table", [Table], true;
    /// ALTER TABLE.
    AlterTable = "alter_table", [Table], true;
    /// DROP TABLE.
    DropTable = "drop_table", [Table], true;
    /// CREATE INDEX.
    CreateIndex = "create_index", [Name, Table], true;
    /// DROP INDEX.
    DropIndex = "drop_index", [Name, Table], true;
    /// REINDEX; also part of CREATE INDEX.
    Reindex = "reindex", [Name], true;
    /// CREATE VIEW.
    CreateView = "create_view", [Name], true;
    /// DROP VIEW.
    DropView = "drop_view", [Name], true;
    /// CREATE TRIGGER.
    CreateTrigger = "create_trigger", [Name, Table], true;
    /// DROP TRIGGER.
    DropTrigger = "drop_trigger", [Name, Table], true;
    /// CREATE VIRTUAL TABLE; the name is the module's.
    CreateVirtualTable = "create_virtual_table", [Table, Name], true;
    /// DROP TABLE of such a table.
    DropVirtualTable = "drop_virtual_table", [Table, Name], true;
    /// CREATE TEMP TABLE.
    CreateTempTable = "create_temp_table", [Table], true;
    /// DROP TABLE of one.
    DropTempTable = "drop_temp_table", [Table], true;
    /// CREATE INDEX on one.
    CreateTempIndex = "create_temp_index", [Name, Table], true;
    /// DROP INDEX of such an index.
    DropTempIndex = "drop_temp_index", [Name, Table], true;
    /// CREATE TEMP VIEW.
    CreateTempView = "create_temp_view", [Name], true;
    /// DROP VIEW of one.
    DropTempView = "drop_temp_view", [Name], true;
    /// CREATE TEMP TRIGGER, also on a table that is not temporary.
    CreateTempTrigger = "create_temp_trigger", [Name, Table], true;
    /// DROP TRIGGER of one.
    DropTempTrigger = "drop_temp_trigger", [Name, Table], true;
    /// ANALYZE of a table.
    Analyze = "analyze", [Table], true;
    /// ATTACH; the name is the file's, "" if it is not known before the statement runs.
    Attach = "attach", [Name], false;
    /// DETACH; the name is the database's.
    Detach = "detach", [Name], false;
    /// VACUUM.
    Vacuum = "vacuum", [], false;
    /// VACUUM INTO; the name is the file's.
    VacuumInto = "vacuum_into", [Name], false;
    /// What this version of the program does not know.
    Other = "other", [], false;
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Do it.
    Allow,
    /// The statement is an error.
    Deny,
    /// A column or a function's result is NULL; a column is not updated.
    Ignore,
}

/// What the names of an [`Ask`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A table or view.
    Table,
    /// A column of that.
    Column,
    /// A function.
    Function,
    /// A pragma.
    Pragma,
    /// Anything else: an index, a trigger, a view that is created, a file…
    Name,
}

/// What a statement that is compiled is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What.
    pub action: Action,
    /// On what: what the names mean, [`Action::keys`] says.
    pub names: [Option<&'a [u8]>; 2],
    /// In which database; `None` also if the engine does not say.
    pub database: Option<&'a [u8]>,
    /// In the text of which view or trigger; `None`: in that of the statement itself.
    pub through: Option<&'a [u8]>,
}

/// Where the authorizer's call names the table that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableOf {
    /// It is about none.
    None,
    /// The first name.
    First,
    /// The second name, and the database as the third.
    Second,
    /// The second name, and the database as the first.
    SecondOfFirst,
}

/// Pragmas that modules read: FTS5 the data version, FTS3/4 and the R*Tree the size of a page. A table-valued pragma is compiled in
/// the same way as these, and is no module's: see [`pragma_of_table`].
const PRAGMAS_OF_MODULES: &[&str] = &["data_version", "page_size"];

impl Ask<'_> {
    /// A pragma that is read, of those that modules read.
    pub(super) fn is_pragma_of_modules(&self) -> bool {
        let is =
            |name: &&str| self.names[0].is_some_and(|pragma| name.as_bytes().eq_ignore_ascii_case(pragma));
        self.action == Action::PragmaRead && PRAGMAS_OF_MODULES.iter().any(is)
    }
}

/// The pragma of which a client reads the table, if modules read it as well. It is asked about with the table, since it looks like a
/// module's while the statement runs.
pub fn pragma_of_table(table: &[u8]) -> Option<&'static [u8]> {
    // As the client has written it.
    let (_, pragma) =
        table.split_at_checked(7).filter(|(prefix, _)| prefix.eq_ignore_ascii_case(b"pragma_"))?;
    let found = PRAGMAS_OF_MODULES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(pragma));
    found.map(|name| name.as_bytes())
}

/// What the module of a virtual table does to tables of its own; `None` for what it has no need of, or is to be asked about in any
/// case.
pub(super) fn done_by_modules(code: c_int) -> Option<TableOf> {
    match code {
        ffi::SQLITE_SELECT | ffi::SQLITE_SAVEPOINT | ffi::SQLITE_PRAGMA => Some(TableOf::None),
        ffi::SQLITE_READ
        | ffi::SQLITE_INSERT
        | ffi::SQLITE_UPDATE
        | ffi::SQLITE_DELETE
        | ffi::SQLITE_CREATE_TABLE
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_CREATE_TEMP_TABLE
        | ffi::SQLITE_DROP_TEMP_TABLE => Some(TableOf::First),
        ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_CREATE_TEMP_INDEX
        | ffi::SQLITE_DROP_TEMP_INDEX => Some(TableOf::Second),
        ffi::SQLITE_ALTER_TABLE => Some(TableOf::SecondOfFirst),
        _ => None,
    }
}

/// Pragmas that only read as long as they have no argument. (https://sqlite.org/pragma.html)
const READ_WITHOUT_ARGUMENT: &[&str] = &[
    "analysis_limit",
    "application_id",
    "auto_vacuum",
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cache_spill",
    "cell_size_check",
    "checkpoint_fullfsync",
    "collation_list",
    "compile_options",
    "count_changes",
    "data_version",
    "database_list",
    "defer_foreign_keys",
    "empty_result_callbacks",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "full_column_names",
    "fullfsync",
    "function_list",
    "hard_heap_limit",
    "ignore_check_constraints",
    "journal_mode",
    "journal_size_limit",
    "legacy_alter_table",
    "locking_mode",
    "max_page_count",
    "mmap_size",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "schema_version",
    "secure_delete",
    "short_column_names",
    "soft_heap_limit",
    "synchronous",
    "temp_store",
    "threads",
    "trusted_schema",
    "user_version",
    "wal_autocheckpoint",
    "writable_schema",
];

/// Pragmas that only read whatever their argument is: it names a table or a number of errors.
const READ: &[&str] = &[
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

fn only_reads(pragma: &[u8], has_argument: bool) -> bool {
    let is = |name: &&str| name.as_bytes().eq_ignore_ascii_case(pragma);
    READ.iter().any(&is) || !has_argument && READ_WITHOUT_ARGUMENT.iter().any(&is)
}

/// Whether a pragma of this name is ever asked about as `action`.
pub fn can_be(action: Action, pragma: &[u8]) -> bool {
    match action {
        Action::PragmaRead => only_reads(pragma, false),
        Action::PragmaWrite => !only_reads(pragma, true),
        _ => false,
    }
}

/// The pragmas that only read, always or without an argument.
pub fn pragmas_that_read() -> impl Iterator<Item = &'static str> {
    READ.iter().chain(READ_WITHOUT_ARGUMENT).copied()
}

/// The vendored engine's code for a foreign key that refers to a table.
const SQLITE_REFERENCES: c_int = 1000;

/// What a call of the authorizer asks.
#[inline]
pub(super) fn ask<'a>(
    code: c_int,
    first: Option<&'a [u8]>,
    second: Option<&'a [u8]>,
    database: Option<&'a [u8]>,
    through: Option<&'a [u8]>,
) -> Ask<'a> {
    let plain = |action| Ask { action, names: [first, second], database, through };
    match code {
        ffi::SQLITE_SELECT => plain(Action::Select),
        ffi::SQLITE_READ => plain(Action::Read),
        ffi::SQLITE_INSERT => plain(Action::Insert),
        ffi::SQLITE_UPDATE => plain(Action::Update),
        ffi::SQLITE_DELETE => plain(Action::Delete),
        SQLITE_REFERENCES => plain(Action::References),
        ffi::SQLITE_FUNCTION => Ask { names: [second, None], ..plain(Action::Function) },
        ffi::SQLITE_RECURSIVE => plain(Action::Recursive),
        ffi::SQLITE_TRANSACTION => plain(Action::Transaction),
        ffi::SQLITE_SAVEPOINT => Ask { names: [second, None], ..plain(Action::Savepoint) },
        ffi::SQLITE_PRAGMA => {
            let reads = only_reads(first.unwrap_or_default(), second.is_some());
            let action = if reads { Action::PragmaRead } else { Action::PragmaWrite };
            Ask { names: [first, None], ..plain(action) }
        }
        ffi::SQLITE_CREATE_TABLE => plain(Action::CreateTable),
        ffi::SQLITE_ALTER_TABLE => {
            Ask { names: [second, None], database: first, ..plain(Action::AlterTable) }
        }
        ffi::SQLITE_DROP_TABLE => plain(Action::DropTable),
        ffi::SQLITE_CREATE_INDEX => plain(Action::CreateIndex),
        ffi::SQLITE_DROP_INDEX => plain(Action::DropIndex),
        ffi::SQLITE_REINDEX => plain(Action::Reindex),
        ffi::SQLITE_CREATE_VIEW => plain(Action::CreateView),
        ffi::SQLITE_DROP_VIEW => plain(Action::DropView),
        ffi::SQLITE_CREATE_TRIGGER => plain(Action::CreateTrigger),
        ffi::SQLITE_DROP_TRIGGER => plain(Action::DropTrigger),
        ffi::SQLITE_CREATE_VTABLE => plain(Action::CreateVirtualTable),
        ffi::SQLITE_DROP_VTABLE => plain(Action::DropVirtualTable),
        ffi::SQLITE_CREATE_TEMP_TABLE => plain(Action::CreateTempTable),
        ffi::SQLITE_DROP_TEMP_TABLE => plain(Action::DropTempTable),
        ffi::SQLITE_CREATE_TEMP_INDEX => plain(Action::CreateTempIndex),
        ffi::SQLITE_DROP_TEMP_INDEX => plain(Action::DropTempIndex),
        ffi::SQLITE_CREATE_TEMP_VIEW => plain(Action::CreateTempView),
        ffi::SQLITE_DROP_TEMP_VIEW => plain(Action::DropTempView),
        ffi::SQLITE_CREATE_TEMP_TRIGGER => plain(Action::CreateTempTrigger),
        ffi::SQLITE_DROP_TEMP_TRIGGER => plain(Action::DropTempTrigger),
        ffi::SQLITE_ANALYZE => plain(Action::Analyze),
        // NULL for a name that is bound or computed.
        ffi::SQLITE_ATTACH => Ask { names: [Some(first.unwrap_or_default()), None], ..plain(Action::Attach) },
        ffi::SQLITE_DETACH => plain(Action::Detach),
        _ => plain(Action::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pragma_reads_if_it_is_known_to() {
        for (pragma, argument, reads) in [
            ("table_info", true, true),
            ("Foreign_Keys", false, true),
            ("foreign_keys", true, false),
            ("wal_checkpoint", false, false),
            ("optimize", false, false),
            ("incremental_vacuum", false, false),
            ("case_sensitive_like", false, false),
            ("no_such_pragma", false, false),
        ] {
            assert_eq!(only_reads(pragma.as_bytes(), argument), reads, "{pragma}");
        }
    }

    #[test]
    fn names_are_of_one_action_each() {
        for (index, action) in Action::ALL.iter().enumerate() {
            assert_eq!(*action as usize, index);
            assert_eq!(Action::ALL.iter().filter(|other| other.name() == action.name()).count(), 1);
        }
    }
}
