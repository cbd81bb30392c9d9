//! The rules of a stage, found by action and names: a decision costs up to four look-ups, however many rules there are.

use super::names;
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
    first: ByNames,
    second: ByNames,
    both: ByNames,
}

/// Rules by a hash of names that is the same in either case: so no name of a question has to be copied to be found.
#[derive(Debug, Default)]
struct ByNames(FxHashMap<u64, Vec<Entry>>);

/// The rules for these names; "" for the one that they do not have.
#[derive(Debug)]
struct Entry {
    names: [Name; 2],
    rules: Vec<u32>,
}

impl Stage {
    /// Compiles rules.
    pub fn new(rules: Vec<(By, Rule)>, otherwise: Otherwise) -> Self {
        let mut by_action: Box<[Names]> = Action::ALL.iter().map(|_| Names::default()).collect();
        let mut kept = Vec::with_capacity(rules.len());
        let mut keep = |by, rule: &Rule, actions: &[Action], databases| {
            let number = u32::try_from(kept.len()).expect("a policy has fewer rules");
            for action in actions {
                by_action[*action as usize].add(number, *action, rule);
            }
            kept.push(Kept { effect: rule.effect, by, databases, through: rule.through.clone() });
        };
        for (by, rule) in rules {
            keep(by, &rule, &rule.actions, rule.databases.clone());
            if !rule.temporary.is_empty() {
                keep(by, &rule, &rule.temporary, Some(vec![Name::from(&b"temp"[..])]));
            }
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
        let of = |place: usize| names::meant(rule, action, *action.keys().get(place)?);
        let rows_alone: &[Name] = &[Name::default()];
        match (of(0), of(1)) {
            (None, None) => self.neither.push(number),
            (Some(first), None) => first.iter().for_each(|name| self.first.add([name, b""], number)),
            (first, Some(second)) => {
                // Whoever may read some column may count rows, for which the engine asks with no column.
                let counts = action == Action::Read && rule.effect == Effect::Allow;
                let second = second.iter().chain(if counts { rows_alone } else { &[] });
                for name in second {
                    match first {
                        None => self.second.add([b"", name], number),
                        Some(ref first) => {
                            first.iter().for_each(|first| self.both.add([first, name], number))
                        }
                    }
                }
            }
        }
    }

    #[inline]
    fn first_match(&self, ask: &Ask<'_>, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let [first, second] = ask.names;
        let hashes = (first.map_or(0, hash), second.map_or(0, hash));
        let of_first = first.map_or(&[][..], |name| self.first.get((hashes.0, 0), [name, b""]));
        let of_second = second.map_or(&[][..], |name| self.second.get((0, hashes.1), [b"", name]));
        let of_both =
            first.zip(second).map_or(&[][..], |(first, second)| self.both.get(hashes, [first, second]));
        if of_first.is_empty() && of_second.is_empty() && of_both.is_empty() {
            return self.neither.iter().copied().find(|number| matches(*number));
        }
        let mut lists = [self.neither.as_slice(), of_first, of_second, of_both];
        // In the order of the rules, whichever list they are in.
        loop {
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let number = next[0];
            if matches(number) {
                return Some(number);
            }
            *next = &next[1..];
        }
    }
}

impl ByNames {
    fn add(&mut self, names: [&[u8]; 2], number: u32) {
        let entries = self.0.entry(both((hash(names[0]), hash(names[1])))).or_default();
        match entries.iter_mut().find(|entry| entry.is_of(names)) {
            // A name may stand twice in a rule.
            Some(entry) if entry.rules.last() == Some(&number) => {}
            Some(entry) => entry.rules.push(number),
            None => entries.push(Entry { names: names.map(Name::from), rules: vec![number] }),
        }
    }

    #[inline]
    fn get(&self, hashes: (u64, u64), names: [&[u8]; 2]) -> &[u32] {
        if self.0.is_empty() {
            return &[];
        }
        let entries = self.0.get(&both(hashes)).map_or(&[][..], Vec::as_slice);
        entries.iter().find(|entry| entry.is_of(names)).map_or(&[], |entry| &entry.rules)
    }
}

impl Entry {
    fn is_of(&self, names: [&[u8]; 2]) -> bool {
        self.names.iter().zip(names).all(|(known, name)| known.eq_ignore_ascii_case(name))
    }
}

fn both((first, second): (u64, u64)) -> u64 {
    first.rotate_left(32) ^ second
}

/// A number that names which differ in the case of ASCII letters alone have in common; 0 for "".
#[inline]
fn hash(name: &[u8]) -> u64 {
    /// Without the bit in which the two cases of a letter differ.
    const NO_CASE: u64 = 0xdfdf_dfdf_dfdf_dfdf;
    /// That of rustc-hash.
    const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;
    let (mut rest, mut sum) = (name, 0_u64);
    while let Some((word, after)) = rest.split_first_chunk() {
        sum = (sum ^ u64::from_le_bytes(*word) & NO_CASE).wrapping_mul(FACTOR).rotate_left(23);
        rest = after;
    }
    (sum ^ tail(rest) & NO_CASE).wrapping_mul(FACTOR)
}

/// Up to seven bytes as a number, without a step for each.
#[inline]
fn tail(rest: &[u8]) -> u64 {
    match (rest, rest) {
        ([], _) => 0,
        ([a, b, c, d, ..], [.., w, x, y, z]) => u64::from_le_bytes([*a, *b, *c, *d, *w, *x, *y, *z]),
        ([first, ..], _) => {
            u64::from_le_bytes([*first, rest[rest.len() / 2], rest[rest.len() - 1], 0, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::action::Key;
    use proptest::prelude::*;

    /// Rule after rule, name after name.
    fn by_hand(rules: &[(By, Rule)], otherwise: Otherwise, ask: &Ask<'_>) -> (Decision, By) {
        let same = |known: &[u8], name: &[u8]| known.eq_ignore_ascii_case(name);
        let temporary = |rule: &Rule| {
            let databases = Some(vec![folded("temp")]);
            Rule { actions: rule.temporary.clone(), databases, ..rule.clone() }
        };
        let rules: Vec<_> =
            rules.iter().flat_map(|(by, rule)| [(by, rule.clone()), (by, temporary(rule))]).collect();
        'rules: for (by, rule) in &rules {
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
            return (decision, **by);
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
            3 => prop::sample::select(vec!["a", "b", "A", "ab", "Ä", "ä", "temp"]).prop_map(str::to_owned),
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
        let temporary = prop::sample::subsequence(ACTIONS.to_vec(), 0..2);
        (effect, actions, temporary, [of(), of(), of()], of(), prop::option::weighted(0.3, through)).prop_map(
            |(effect, mut actions, mut temporary, given, databases, through)| {
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
                temporary.retain(|action| fits(&names, action) && !actions.contains(action));
                Rule { effect, actions, temporary, names, databases, through }
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
                };
                prop_assert_eq!(stage.decide(&ask), by_hand(&rules, otherwise, &ask));
            }
        }
    }
}
