//! Policies: what SQL may do on a connection, decided while a statement is compiled. Pure: `gate.rs` is asked by the engine,
//! keeps what a compilation has done so far, and notes what was denied.
//!
//! A policy has stages, each of which must allow: every ready-made policy that is named is one, and the rules together are
//! another. Within a stage the first rule that matches decides.

pub mod gate;
mod index;
mod memo;
mod names;
mod ready;
mod rule;
mod transactions;

use crate::denial::By;
use crate::engine::action::{Ask, Decision};
use crate::error::{Error, Result};
use index::{Otherwise, Stage};
use port_driver::error_code::ErrorCode;
use port_driver::request::PolicyElement;
use rule::Rule;
use std::sync::Arc;

/// What SQL may do.
#[derive(Debug)]
pub struct Policy {
    stages: Vec<Arc<Stage>>,
    untrusted: bool,
}

impl Policy {
    /// Reads and compiles a policy.
    pub fn new(elements: &[PolicyElement<'_>]) -> Result<Self> {
        let mut stages = Vec::new();
        let mut rules = Vec::new();
        let mut untrusted = false;
        for (index, element) in (0..).zip(elements) {
            match element {
                PolicyElement::Ready(name) => {
                    let (stage, is_untrusted) = ready::stage(name).ok_or_else(|| unknown(name, index))?;
                    untrusted |= is_untrusted;
                    stages.push(stage);
                }
                PolicyElement::Rule(rule) => {
                    let rule = Rule::new(rule).map_err(|why| {
                        let message = format!("policy: element {index} (from 0): {why}");
                        Error::new(ErrorCode::InvalidOption, message)
                    })?;
                    rules.push((By::Element(index), rule));
                }
            }
        }
        if stages.is_empty() || !rules.is_empty() {
            // Beside a ready-made policy rules only take away.
            let otherwise = if stages.is_empty() { Otherwise::Deny(By::Nothing) } else { Otherwise::Allow };
            stages.push(Arc::new(Stage::new(rules, otherwise)));
        }
        Ok(Policy { stages, untrusted })
    }

    /// What it says, and which part of it.
    pub fn decide(&self, ask: &Ask<'_>) -> (Decision, By) {
        let mut decided = (Decision::Allow, By::Nothing);
        for stage in &self.stages {
            match stage.decide(ask) {
                (Decision::Allow, _) => {}
                (Decision::Deny, by) => return (Decision::Deny, by),
                ignored => decided = ignored,
            }
        }
        decided
    }

    /// It has the ready-made policy for SQL of strangers, and so its limits.
    pub fn is_untrusted(&self) -> bool {
        self.untrusted
    }
}

fn unknown(name: &str, index: u32) -> Error {
    let name: String = name.chars().take(64).collect();
    let known = ready::NAMES.join(", ");
    let message = format!(
        "policy: element {index} (from 0): there is no policy {name:?}; there are {known}, and rules"
    );
    Error::new(ErrorCode::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::action::Action;
    use port_driver::request::{Effect, PolicyRule};

    fn element(
        effect: Effect,
        actions: &[&'static str],
        names: &[(&'static str, &[&'static str])],
    ) -> PolicyElement<'static> {
        let names =
            names.iter().map(|(key, names)| (*key, names.iter().map(|name| Some(*name)).collect())).collect();
        PolicyElement::Rule(PolicyRule { effect, actions: actions.to_vec(), names })
    }

    fn ask<'a>(action: Action, first: Option<&'a str>, second: Option<&'a str>) -> Ask<'a> {
        let names = [first.map(str::as_bytes), second.map(str::as_bytes)];
        Ask { action, names, database: Some(b"main"), through: None }
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_none_denies() {
        let policy = Policy::new(&[
            element(Effect::Deny, &["read"], &[("table", &["users"]), ("column", &["password"])]),
            element(Effect::Ignore, &["read"], &[("table", &["users"]), ("column", &["ssn"])]),
            element(Effect::Allow, &["read", "select"], &[]),
        ])
        .unwrap();
        for (first, second, decided) in [
            ("users", "password", (Decision::Deny, By::Element(0))),
            ("USERS", "PassWord", (Decision::Deny, By::Element(0))),
            ("users", "ssn", (Decision::Ignore, By::Element(1))),
            ("users", "name", (Decision::Allow, By::Element(2))),
            ("others", "password", (Decision::Allow, By::Element(2))),
        ] {
            let expected =
                if decided.0 == Decision::Allow { (Decision::Allow, By::Nothing) } else { decided };
            assert_eq!(
                policy.decide(&ask(Action::Read, Some(first), Some(second))),
                expected,
                "{first}.{second}"
            );
        }
        let insert = ask(Action::Insert, Some("users"), None);
        assert_eq!(policy.decide(&insert), (Decision::Deny, By::Nothing));
    }

    #[test]
    fn rules_beside_a_ready_made_policy_take_away_and_add_nothing() {
        let policy = Policy::new(&[
            element(Effect::Deny, &["read"], &[("table", &["secrets"])]),
            PolicyElement::Ready("read_only"),
            element(Effect::Allow, &["insert"], &[]),
        ])
        .unwrap();
        let decided = |action, table| policy.decide(&ask(action, Some(table), Some("a")));
        assert_eq!(decided(Action::Read, "secrets"), (Decision::Deny, By::Element(0)));
        assert_eq!(decided(Action::Read, "t").0, Decision::Allow);
        assert_eq!(decided(Action::Insert, "t"), (Decision::Deny, By::Ready("read_only")));
    }

    #[test]
    fn an_empty_policy_denies_everything() {
        let policy = Policy::new(&[]).unwrap();
        assert_eq!(policy.decide(&ask(Action::Select, None, None)), (Decision::Deny, By::Nothing));
    }

    #[test]
    fn a_name_that_one_of_the_actions_can_have_is_one() {
        for element in [
            element(Effect::Deny, &["transaction", "savepoint"], &[("name", &["sp"])]),
            element(Effect::Deny, &["query"], &[("name", &["sp"])]),
            element(
                Effect::Deny,
                &["pragma_read", "pragma_write"],
                &[("pragma", &["table_info", "optimize"])],
            ),
            element(Effect::Deny, &["pragma"], &[("pragma", &["later"])]),
            element(Effect::Deny, &["pragma_write"], &[("pragma", &["foreign_keys", "later"])]),
            element(Effect::Deny, &["any"], &[("through", &["v"]), ("database", &["main"])]),
            element(Effect::Deny, &["any"], &[("name", &["anything"])]),
        ] {
            assert!(Policy::new(&[element]).is_ok());
        }
    }

    #[test]
    fn what_is_done_to_the_temporary_schema_is_found_by_either_name() {
        let decided = |rule, action, database: &str| {
            let policy = Policy::new(&[rule, element(Effect::Allow, &["any"], &[])]).unwrap();
            let names = [Some(&b"t"[..]), None];
            policy.decide(&Ask { action, names, database: Some(database.as_bytes()), through: None }).0
        };
        let temp: &[(&str, &[&str])] = &[("database", &["Temp", "o"])];
        for (actions, names, action, denied) in [
            ("create_table", temp, Action::CreateTempTable, "temp"),
            ("drop_index", temp, Action::DropTempIndex, "temp"),
            ("schema", temp, Action::CreateTempTrigger, "temp"),
            ("schema", temp, Action::AlterTable, "temp o"),
            ("schema", temp, Action::CreateTable, "temp o"),
            ("temp_schema", &[], Action::AlterTable, "temp"),
            ("temp_schema", &[], Action::Reindex, "temp"),
            ("temp_schema", &[], Action::CreateVirtualTable, "temp"),
            ("temp_schema", &[], Action::DropVirtualTable, "temp"),
            ("temp_schema", temp, Action::AlterTable, "temp"),
            ("temp_schema", &[], Action::Analyze, "temp"),
            ("schema", &[], Action::AlterTable, "main temp o"),
            ("create_table", &[("database", &["main"])], Action::CreateTempTable, ""),
        ] {
            for database in ["main", "temp", "o"] {
                let rule = element(Effect::Deny, &[actions], names);
                let expected = denied.split(' ').any(|name| name == database);
                assert_eq!(
                    decided(rule, action, database) == Decision::Deny,
                    expected,
                    "{actions} {action:?} {database}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_policy_is_an_error_that_says_where() {
        for (element, word) in [
            (PolicyElement::Ready("readonly"), "read_only"),
            (element(Effect::Allow, &["peek"], &[]), "peek"),
            (element(Effect::Allow, &[], &[]), "no action"),
            (element(Effect::Deny, &["transaction"], &[("table", &["t"])]), "has no table"),
            (element(Effect::Deny, &["read"], &[("tables", &["t"])]), "tables"),
            (element(Effect::Deny, &["read"], &[("table", &[])]), "no name"),
            (element(Effect::Ignore, &["delete"], &[]), "ignore"),
            (element(Effect::Ignore, &["insert"], &[]), "ignore"),
            (element(Effect::Ignore, &["any"], &[]), "ignore"),
            // What would match nothing.
            (
                element(Effect::Deny, &["transaction"], &[("name", &["BEGIN", "BEGIN IMEDIATE"])]),
                "\"BEGIN IMMEDIATE\"?",
            ),
            (element(Effect::Allow, &["transaction"], &[("name", &["SAVEPOINT"])]), "there are BEGIN, BEGIN"),
            (element(Effect::Deny, &["pragma_read"], &[("pragma", &["foreign_key"])]), "\"foreign_keys\"?"),
            (element(Effect::Deny, &["query"], &[("pragma", &["optimize"])]), "pragma_write"),
            (element(Effect::Deny, &["pragma_write"], &[("pragma", &["Table_Info"])]), "pragma_read"),
            (element(Effect::Deny, &["create_temp_view"], &[("database", &["main"])]), "temp alone"),
            (element(Effect::Deny, &["temp_schema"], &[("database", &["main", "o"])]), "none of the actions"),
            (element(Effect::Deny, &["drop_table"], &[("through", &["v"])]), "never done through"),
            (element(Effect::Deny, &["transaction"], &[("through", &["v"])]), "never done through"),
            (element(Effect::Deny, &["schema"], &[("through", &["v"])]), "none of the actions"),
        ] {
            let error = Policy::new(&[element]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidOption);
            assert!(error.to_string().contains("element 0") && error.to_string().contains(word), "{error}");
        }
    }
}
