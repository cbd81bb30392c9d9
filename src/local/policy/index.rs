//! The rules of a stage, found by action and names: a decision costs up to four look-ups, however many rules there are.

use super::rule::{Name, Rule};
use crate::denial::By;
use crate::engine::action::{Action, Ask, Decision};
use port_driver::request::Effect;
use rustc_hash::FxHashMap;

/// Ordered rules, and what holds where none matches.
#[derive(Debug)]
pub struct Stage {
    rules: Vec<Kept>,
    by_action: Box<[Names]>,
    otherwise: Otherwise,
}

/// What holds where no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It is allowed.
    Allow,
    /// It is denied, by this.
    Deny(By),
}

/// What of a rule is left to be compared when its names match.
#[derive(Debug)]
struct Kept {
    effect: Effect,
    by: By,
    databases: Option<Vec<Name>>,
    through: Option<Vec<Option<Name>>>,
}

/// The rules for one action, by the first name, the second, both, or neither; each list in order.
#[derive(Debug, Default)]
struct Names {
    neither: Vec<u32>,
    first: FxHashMap<Name, Vec<u32>>,
    second: FxHashMap<Name, Vec<u32>>,
    both: FxHashMap<Name, Vec<u32>>,
}

/// Between the two names of a key of `both`. No name has one.
const BETWEEN: u8 = 0;

impl Stage {
    /// Compiles rules.
    pub fn new(rules: Vec<(By, Rule)>, otherwise: Otherwise) -> Self {
        let mut by_action: Box<[Names]> = Action::ALL.iter().map(|_| Names::default()).collect();
        let mut kept = Vec::with_capacity(rules.len());
        for (number, (by, rule)) in (0..).zip(rules) {
            for action in &rule.actions {
                by_action[*action as usize].add(number, *action, &rule);
            }
            let Rule { effect, databases, through, .. } = rule;
            kept.push(Kept { effect, by, databases, through });
        }
        Stage { rules: kept, by_action, otherwise }
    }

    /// The first rule that matches.
    pub fn decide(&self, ask: &Ask<'_>) -> (Decision, By) {
        let names = &self.by_action[ask.action as usize];
        match names.first_match(ask, |number| self.rules[number as usize].matches(ask)) {
            Some(number) => {
                let rule = &self.rules[number as usize];
                let decision = match rule.effect {
                    Effect::Allow => Decision::Allow,
                    Effect::Deny => Decision::Deny,
                    Effect::Ignore => Decision::Ignore,
                };
                (decision, rule.by)
            }
            None => match self.otherwise {
                Otherwise::Allow => (Decision::Allow, By::Nothing),
                Otherwise::Deny(by) => (Decision::Deny, by),
            },
        }
    }
}

impl Kept {
    fn matches(&self, ask: &Ask<'_>) -> bool {
        let database = match (&self.databases, ask.database) {
            (None, _) => true,
            (Some(databases), Some(name)) => databases.iter().any(|known| known.eq_ignore_ascii_case(name)),
            // The engine does not always say. Then it may be this one.
            (Some(_), None) => self.effect != Effect::Allow,
        };
        database
            && self.through.as_ref().is_none_or(|through| {
                through.iter().any(|known| match (known, ask.through) {
                    (Some(known), Some(name)) => known.eq_ignore_ascii_case(name),
                    (known, name) => known.is_none() && name.is_none(),
                })
            })
    }
}

impl Names {
    fn add(&mut self, number: u32, action: Action, rule: &Rule) {
        let of = |place: usize| {
            let key = action.keys().get(place)?;
            rule.names.iter().find(|(known, _)| known == key).map(|(_, names)| names.as_slice())
        };
        let rows_alone: &[Name] = &[Name::default()];
        match (of(0), of(1)) {
            (None, None) => self.neither.push(number),
            (Some(first), None) => first.iter().for_each(|name| push(&mut self.first, name.clone(), number)),
            (first, Some(second)) => {
                // Whoever may read some column may count rows, for which the engine asks with no column.
                let counts = action == Action::Read && rule.effect == Effect::Allow;
                let second = second.iter().chain(if counts { rows_alone } else { &[] });
                for name in second {
                    match first {
                        None => push(&mut self.second, name.clone(), number),
                        Some(first) => first.iter().for_each(|first| {
                            push(&mut self.both, [&**first, &[BETWEEN], &**name].concat().into(), number)
                        }),
                    }
                }
            }
        }
    }

    fn first_match(&self, ask: &Ask<'_>, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let named = !self.first.is_empty() || !self.second.is_empty() || !self.both.is_empty();
        if !named {
            return self.neither.iter().copied().find(|number| matches(*number));
        }
        with_folded(ask.names, |first, second, both| {
            let mut lists = [
                self.neither.as_slice(),
                first.map_or(&[], |name| list(&self.first, name)),
                second.map_or(&[], |name| list(&self.second, name)),
                both.map_or(&[], |name| list(&self.both, name)),
            ];
            // In the order of the rules, whichever list they are in.
            loop {
                let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
                let number = next[0];
                if matches(number) {
                    return Some(number);
                }
                *next = &next[1..];
            }
        })
    }
}

fn push(map: &mut FxHashMap<Name, Vec<u32>>, name: Name, number: u32) {
    let numbers = map.entry(name).or_default();
    // A name may stand twice in a rule.
    if numbers.last() != Some(&number) {
        numbers.push(number);
    }
}

fn list<'m>(map: &'m FxHashMap<Name, Vec<u32>>, name: &[u8]) -> &'m [u32] {
    match map.is_empty() {
        true => &[],
        false => map.get(name).map_or(&[], Vec::as_slice),
    }
}

/// Names of up to so many bytes, both together, are folded on the stack.
const FOLDED_BYTES: usize = 256;

/// Calls `f` with the names in lower case: the first, the second, and both with [`BETWEEN`] between them.
fn with_folded<T>(
    names: [Option<&[u8]>; 2],
    f: impl FnOnce(Option<&[u8]>, Option<&[u8]>, Option<&[u8]>) -> T,
) -> T {
    let (first, second) = (names[0].unwrap_or_default(), names[1].unwrap_or_default());
    let length = first.len() + 1 + second.len();
    let mut stack = [BETWEEN; FOLDED_BYTES];
    let mut heap = Vec::new();
    let folded = if length <= FOLDED_BYTES {
        &mut stack[..length]
    } else {
        heap.resize(length, BETWEEN);
        &mut heap[..]
    };
    folded[..first.len()].copy_from_slice(first);
    folded[first.len() + 1..].copy_from_slice(second);
    folded.make_ascii_lowercase();
    let folded = &*folded;
    f(
        names[0].map(|_| &folded[..first.len()]),
        names[1].map(|_| &folded[first.len() + 1..]),
        names[0].and(names[1]).map(|_| folded),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::action::Key;
    use proptest::prelude::*;

    /// Rule after rule, name after name.
    fn by_hand(rules: &[(By, Rule)], otherwise: Otherwise, ask: &Ask<'_>) -> (Decision, By) {
        let same = |known: &[u8], name: &[u8]| known.eq_ignore_ascii_case(name);
        'rules: for (by, rule) in rules {
            if !rule.actions.contains(&ask.action) {
                continue;
            }
            for (key, names) in &rule.names {
                let place = ask.action.keys().iter().position(|known| known == key).unwrap();
                let Some(found) = ask.names[place] else { continue 'rules };
                let counts = ask.action == Action::Read
                    && *key == Key::Column
                    && found.is_empty()
                    && rule.effect == Effect::Allow;
                if !counts && !names.iter().any(|name| same(name, found)) {
                    continue 'rules;
                }
            }
            match (&rule.databases, ask.database) {
                (Some(known), Some(name)) if !known.iter().any(|known| same(known, name)) => continue,
                (Some(_), None) if rule.effect == Effect::Allow => continue,
                _ => {}
            }
            if let Some(through) = &rule.through {
                let found = through.iter().any(|known| match (known, ask.through) {
                    (None, None) => true,
                    (Some(known), Some(name)) => same(known, name),
                    _ => false,
                });
                if !found {
                    continue;
                }
            }
            let decision = match rule.effect {
                Effect::Allow => Decision::Allow,
                Effect::Deny => Decision::Deny,
                Effect::Ignore => Decision::Ignore,
            };
            return (decision, *by);
        }
        match otherwise {
            Otherwise::Allow => (Decision::Allow, By::Nothing),
            Otherwise::Deny(by) => (Decision::Deny, by),
        }
    }

    const ACTIONS: &[Action] =
        &[Action::Select, Action::Read, Action::Update, Action::Insert, Action::Function];

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => prop::sample::select(vec!["a", "b", "A", "ab", "Ä", "ä"]).prop_map(str::to_owned),
            1 => Just("x".repeat(300)),
        ]
    }

    fn folded(name: &str) -> Name {
        name.to_ascii_lowercase().into_bytes().into()
    }

    fn names() -> impl Strategy<Value = Vec<Name>> {
        prop::collection::vec(name().prop_map(|name| folded(&name)), 1..4)
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let effect = prop::sample::select(vec![Effect::Allow, Effect::Deny, Effect::Ignore]);
        let actions = prop::sample::subsequence(ACTIONS.to_vec(), 1..=ACTIONS.len());
        let through = prop::collection::vec(prop::option::of(name().prop_map(|name| folded(&name))), 1..3);
        let of = || prop::option::weighted(0.4, names());
        (effect, actions, [of(), of(), of()], of(), prop::option::weighted(0.3, through)).prop_map(
            |(effect, mut actions, given, databases, through)| {
                let keys = [Key::Table, Key::Column, Key::Function];
                let mut names: Vec<_> =
                    keys.into_iter().zip(given).filter_map(|(key, names)| Some((key, names?))).collect();
                // As a checked rule is: every action has every key.
                let fits = |names: &[(Key, Vec<Name>)], action: &Action| {
                    names.iter().all(|(key, _)| action.keys().contains(key))
                };
                if !actions.iter().any(|action| fits(&names, action)) {
                    names.clear();
                }
                actions.retain(|action| fits(&names, action));
                Rule { effect, actions, names, databases, through }
            },
        )
    }

    proptest! {
        #[test]
        fn the_index_decides_as_reading_the_rules_one_by_one_does(
            rules in prop::collection::vec(rule(), 0..12),
            asks in prop::collection::vec(
                (prop::sample::select(ACTIONS.to_vec()), prop_oneof![name(), Just(String::new())],
                 prop_oneof![name(), Just(String::new())], prop::option::of(name()), prop::option::of(name())),
                1..20,
            ),
            allows in any::<bool>(),
        ) {
            let otherwise = if allows { Otherwise::Allow } else { Otherwise::Deny(By::Nothing) };
            let rules: Vec<_> = (0..).zip(rules).map(|(index, rule)| (By::Element(index), rule)).collect();
            let stage = Stage::new(rules.clone(), otherwise);
            for (action, first, second, database, through) in &asks {
                let keys = action.keys().len();
                let ask = Ask {
                    action: *action,
                    names: [(keys > 0).then_some(first.as_bytes()), (keys > 1).then_some(second.as_bytes())],
                    database: database.as_deref().map(str::as_bytes),
                    through: through.as_deref().map(str::as_bytes),
                    by_module: false,
                };
                prop_assert_eq!(stage.decide(&ask), by_hand(&rules, otherwise, &ask));
            }
        }
    }
}
