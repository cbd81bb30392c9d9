//! The ready-made policies. Each lists what it allows; whatever a later engine adds is denied.

use super::index::{Otherwise, Stage};
use super::rule::Rule;
use crate::denial::By;
use port_driver::request::{Effect, PolicyRule};
use std::sync::{Arc, OnceLock};

/// Their names.
pub const NAMES: &[&str] = &["read_only", "no_schema_changes", "untrusted_sql"];

/// A rule: effect, actions, key and names.
type Spec = (Effect, &'static [&'static str], Option<(&'static str, &'static [&'static str])>);

use Effect::{Allow, Deny};

/// Functions that do more than compute: FTS3/4's rewrites an index, the others load code.
const FUNCTIONS_THAT_ACT: &[&str] = &["fts3_tokenizer", "load_extension", "optimize"];

/// The tables that hold the schema's text. The engine asks about them by these names.
const SCHEMA_TABLES: &[&str] = &["sqlite_master", "sqlite_temp_master"];

/// Those that take the writer turn at once.
const TRANSACTIONS_THAT_LOCK: &[&str] = &["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"];

const READ_ONLY: &[Spec] = &[
    (Deny, &["function"], Some(("function", FUNCTIONS_THAT_ACT))),
    (Deny, &["transaction"], Some(("name", TRANSACTIONS_THAT_LOCK))),
    (Allow, &["query"], None),
];

const NO_SCHEMA_CHANGES: &[Spec] = &[
    (Deny, &["function"], Some(("function", &["fts3_tokenizer", "load_extension"]))),
    (Deny, &["write"], Some(("table", SCHEMA_TABLES))),
    (Allow, &["query", "write", "analyze", "reindex", "vacuum"], None),
    (Allow, &["pragma_write"], Some(("pragma", PRAGMAS_OF_THE_CONNECTION))),
];

/// Pragmas that change how this connection works, or tidy the file up, and neither the schema nor the header.
const PRAGMAS_OF_THE_CONNECTION: &[&str] = &[
    "analysis_limit",
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cache_spill",
    "case_sensitive_like",
    "cell_size_check",
    "checkpoint_fullfsync",
    "defer_foreign_keys",
    "foreign_keys",
    "fullfsync",
    "ignore_check_constraints",
    "incremental_vacuum",
    "journal_size_limit",
    "max_page_count",
    "mmap_size",
    "optimize",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "secure_delete",
    "shrink_memory",
    "synchronous",
    "temp_store",
    "threads",
    "trusted_schema",
    "wal_autocheckpoint",
    "wal_checkpoint",
];

const UNTRUSTED_SQL: &[Spec] = &[
    // What of the program, of its other statements and of the file's pages these show is no data.
    (Deny, &["read"], Some(("table", &["bytecode", "dbstat", "sqlite_stmt", "tables_used"]))),
    (Deny, &["write"], Some(("table", SCHEMA_TABLES))),
    (Deny, &["pragma_read"], Some(("pragma", &["database_list"]))),
    (Deny, &["schema", "analyze"], Some(("database", &["temp"]))),
    (Allow, &["select", "read", "write", "recursive", "pragma_read"], None),
    // No views and triggers: they are run by whoever uses them or the table, with the rights of that one.
    (
        Allow,
        &["create_table", "alter_table", "drop_table", "create_index", "drop_index", "reindex", "analyze"],
        None,
    ),
    (Allow, &["function"], Some(("function", FUNCTIONS))),
];

/// Functions that compute from their arguments, in a time and to a size that the connection's limits bound.
const FUNCTIONS: &[&str] = &[
    "->",
    "->>",
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "avg",
    "blake3",
    "bm25",
    "ceil",
    "ceiling",
    "changes",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "cos",
    "cosh",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "decimal",
    "decimal_abs",
    "decimal_add",
    "decimal_avg",
    "decimal_cmp",
    "decimal_div",
    "decimal_key",
    "decimal_max",
    "decimal_min",
    "decimal_mul",
    "decimal_neg",
    "decimal_of_key",
    "decimal_round",
    "decimal_sub",
    "decimal_sum",
    "decimal_text",
    "degrees",
    "dense_rank",
    "exp",
    "first_value",
    "float_of_bits",
    "float_of_text",
    "float_text",
    "floor",
    "format",
    "glob",
    "group_concat",
    "haversine_m",
    "hex",
    "highlight",
    "ifnull",
    "iif",
    "instr",
    "jaro_winkler",
    "json",
    "json_array",
    "json_array_length",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "julianday",
    "lag",
    "last_insert_rowid",
    "last_value",
    "lead",
    "length",
    "levenshtein",
    "like",
    "likelihood",
    "likely",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "match",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "octet_length",
    "percent_rank",
    "pi",
    "pow",
    "power",
    "printf",
    "quote",
    "radians",
    "random",
    "rank",
    "regexp",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sha256",
    "sign",
    "sin",
    "sinh",
    "snippet",
    "soundex",
    "sqlite_version",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "subtype",
    "sum",
    "tan",
    "tanh",
    "time",
    "timediff",
    "total",
    "total_changes",
    "trim",
    "trunc",
    "typeof",
    "unaccent",
    "unhex",
    "unicode",
    "unixepoch",
    "unlikely",
    "upper",
    "uuid4",
    "uuid7",
    "vector",
    "vector16",
    "vector1bit",
    "vector32",
    "vector64",
    "vector8",
    "vector_distance_cos",
    "vector_distance_l2",
    "vector_extract",
    "vectorb16",
];

/// The stage of a ready-made policy, and whether it is the one for SQL of strangers.
pub fn stage(name: &str) -> Option<(Arc<Stage>, bool)> {
    static STAGES: [OnceLock<Arc<Stage>>; 3] = [const { OnceLock::new() }; 3];
    let specs = [READ_ONLY, NO_SCHEMA_CHANGES, UNTRUSTED_SQL];
    let place = NAMES.iter().position(|known| *known == name)?;
    let stage = STAGES[place].get_or_init(|| Arc::new(compile(NAMES[place], specs[place])));
    Some((Arc::clone(stage), NAMES[place] == "untrusted_sql"))
}

fn compile(name: &'static str, specs: &[Spec]) -> Stage {
    let rules = specs.iter().map(|(effect, actions, names)| {
        let names = names.iter().map(|(key, names)| (*key, names.iter().map(|name| Some(*name)).collect()));
        let given = PolicyRule { effect: *effect, actions: actions.to_vec(), names: names.collect() };
        (By::Ready(name), Rule::new(&given).expect("the ready-made policies are valid: a test compiles each"))
    });
    Stage::new(rules.collect(), Otherwise::Deny(By::Ready(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_can_be_compiled() {
        assert!(NAMES.iter().all(|name| stage(name).is_some()));
        assert!(stage("read-only").is_none());
    }
}
