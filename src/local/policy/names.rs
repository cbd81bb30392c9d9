//! Names that mean the same. The engine asks about each thing by one name, whichever the statement has; a rule may have any.

use super::rule::{Name, Rule};
use crate::engine::action::{Action, Key};
use port_driver::request::Effect;

/// Functions that are one function: the engine registers the same code by each name, or one does what the other one does with
/// fewer arguments.
const FUNCTIONS: &[&[&str]] = &[
    &["ceil", "ceiling"],
    &["coalesce", "ifnull"],
    &["format", "printf"],
    &["group_concat", "string_agg"],
    &["log", "log10"],
    &["pow", "power"],
    &["substr", "substring"],
    &["vector", "vector32"],
];

/// What begins and ends transactions, by the names that the engine asks with.
pub(super) const TRANSACTIONS: &[&str] =
    &["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "COMMIT", "ROLLBACK"];

/// The tables of the schema. The engine asks with the first name, but where rows are counted, with that which is written.
const SCHEMA: &[&str] = &["sqlite_master", "sqlite_schema"];
const TEMP_SCHEMA: &[&str] = &["sqlite_temp_master", "sqlite_temp_schema"];

/// Names of the rowid, the first of which the engine asks with.
const ROWIDS: &[&str] = &["rowid", "oid", "_rowid_"];

/// The name with which the engine asks about the statement that begins like `name`, which is in lower case.
/// https://sqlite.org/lang_transaction.html
pub(super) fn transaction(name: &[u8]) -> Option<&'static str> {
    let words = std::str::from_utf8(name).ok()?.split_ascii_whitespace().collect::<Vec<_>>();
    // The word TRANSACTION says nothing more, nor does a name after it.
    let end = words.iter().skip(1).position(|word| *word == "transaction");
    let end = end.map_or(words.len(), |at| at + 1);
    if words.len() > end + 2 {
        return None;
    }
    match words.get(..end)? {
        ["begin"] | ["begin", "deferred" | "readonly"] => Some("BEGIN"),
        ["begin", "immediate"] => Some("BEGIN IMMEDIATE"),
        ["begin", "exclusive"] => Some("BEGIN EXCLUSIVE"),
        ["commit" | "end"] => Some("COMMIT"),
        ["rollback"] => Some("ROLLBACK"),
        _ => None,
    }
}

/// The names that a rule has for `key` of `action`, and those that mean the same. `None`: the rule has none.
pub(super) fn meant(rule: &Rule, action: Action, key: Key) -> Option<Vec<Name>> {
    let given = rule.names.iter().filter(|(known, _)| action.key_of(*known) == Some(key));
    let given: Vec<_> = given.map(|(_, names)| names.as_slice()).collect();
    // A view has two keys for its one name: each of them must match.
    let (first, more) = given.split_first()?;
    let all = first.iter().filter(|name| more.iter().all(|names| names.contains(name)));
    Some(all.flat_map(|name| std::iter::once(name.clone()).chain(others(rule, action, key, name))).collect())
}

fn others(rule: &Rule, action: Action, key: Key, name: &[u8]) -> Vec<Name> {
    let same = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
    let named = |names: &[&str]| names.iter().map(|name| Name::from(name.as_bytes())).collect();
    match key {
        Key::Function => FUNCTIONS.iter().find(|names| same(names)).map_or(Vec::new(), |names| named(names)),
        Key::Table if same(SCHEMA) => {
            // `temp.sqlite_master` is that of the temporary schema.
            let is_temp = |database: &Name| **database == *b"temp";
            let temp = match &rule.databases {
                None => rule.effect != Effect::Allow,
                Some(databases) => databases.iter().any(is_temp),
            };
            if temp {
                named(&[SCHEMA, TEMP_SCHEMA].concat())
            } else {
                named(SCHEMA)
            }
        }
        Key::Table if same(TEMP_SCHEMA) => named(TEMP_SCHEMA),
        // What is allowed of a column that is called so is not allowed of the rowid.
        Key::Column if same(ROWIDS) && rule.effect != Effect::Allow => named(&ROWIDS[..1]),
        Key::Name if action == Action::Transaction => {
            transaction(name).map_or(Vec::new(), |asked| named(&[asked]))
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_one_name_however_its_statement_is_written() {
        for (written, asked) in [
            ("begin", Some("BEGIN")),
            ("begin deferred transaction", Some("BEGIN")),
            ("  begin \t transaction  t1 ", Some("BEGIN")),
            ("begin immediate", Some("BEGIN IMMEDIATE")),
            ("begin  exclusive transaction", Some("BEGIN EXCLUSIVE")),
            ("begin readonly", Some("BEGIN")),
            ("end", Some("COMMIT")),
            ("commit transaction", Some("COMMIT")),
            ("rollback transaction x", Some("ROLLBACK")),
            ("rollback to x", None),
            ("rollback transaction to x", None),
            ("begin transaction a b", None),
            ("transaction", None),
            ("begin immediate exclusive", None),
            ("begn", None),
            ("", None),
        ] {
            assert_eq!(transaction(written.as_bytes()), asked, "{written}");
        }
        for name in TRANSACTIONS {
            assert_eq!(transaction(name.to_ascii_lowercase().as_bytes()), Some(*name));
        }
    }
}
