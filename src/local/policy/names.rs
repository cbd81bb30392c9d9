//! Names that mean the same. The engine asks about each thing by one name, whichever the statement has; a rule may have any.

use super::rule::{Name, Rule};
use super::transactions::transaction;
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

/// The tables of the schema. The engine asks with the first name.
const SCHEMA: &[&str] = &["sqlite_master", "sqlite_schema"];
const TEMP_SCHEMA: &[&str] = &["sqlite_temp_master", "sqlite_temp_schema"];

/// Names of the rowid, the first of which the engine asks with.
const ROWIDS: &[&str] = &["rowid", "oid", "_rowid_"];

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
