//! One rule of a policy: what it says, checked.

use crate::engine::action::{Action, Key};
use port_driver::request::{Effect, PolicyRule};

/// Names of one rule, its lists multiplied.
const ENTRIES_MAX: usize = 100_000;

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub effect: Effect,
    pub actions: Vec<Action>,
    /// Names for each key that the rule has.
    pub names: Vec<(Key, Vec<Name>)>,
    /// Databases; `None`: any.
    pub databases: Option<Vec<Name>>,
    /// Views and triggers, `None` among them for the statement's own text; `None`: any.
    pub through: Option<Vec<Option<Name>>>,
}

/// A name in lower case: the engine compares names without regard to the case of ASCII letters.
pub type Name = Box<[u8]>;

const KEYS: &[(&str, Key)] = &[
    ("table", Key::Table),
    ("column", Key::Column),
    ("function", Key::Function),
    ("pragma", Key::Pragma),
    ("name", Key::Name),
];

use Action as A;

/// Actions by one name.
const GROUPS: &[(&str, &[Action])] = &[
    ("any", A::ALL),
    ("query", &[A::Select, A::Read, A::Function, A::Recursive, A::Transaction, A::Savepoint, A::PragmaRead]),
    ("write", &[A::Insert, A::Update, A::Delete, A::References]),
    ("pragma", &[A::PragmaRead, A::PragmaWrite]),
    (
        "schema",
        &[
            A::CreateTable,
            A::AlterTable,
            A::DropTable,
            A::CreateIndex,
            A::DropIndex,
            A::Reindex,
            A::CreateView,
            A::DropView,
            A::CreateTrigger,
            A::DropTrigger,
            A::CreateVirtualTable,
            A::DropVirtualTable,
        ],
    ),
    (
        "temp_schema",
        &[
            A::CreateTempTable,
            A::DropTempTable,
            A::CreateTempIndex,
            A::DropTempIndex,
            A::CreateTempView,
            A::DropTempView,
            A::CreateTempTrigger,
            A::DropTempTrigger,
        ],
    ),
];

/// What SQLite leaves undone without an error, so that nothing is lost by it.
const IGNORABLE: &[Action] = &[A::Read, A::Function, A::Update];

impl Rule {
    /// Checks what travelled; the error says what is wrong.
    pub fn new(given: &PolicyRule<'_>) -> Result<Self, String> {
        let mut rule = Rule {
            effect: given.effect,
            actions: Vec::new(),
            names: Vec::new(),
            databases: None,
            through: None,
        };
        for (key, names) in &given.names {
            rule.add_names(key, names)?;
        }
        for name in &given.actions {
            rule.add_actions(name)?;
        }
        if rule.actions.is_empty() {
            return Err("it has no action".to_owned());
        }
        let entries = rule.names.iter().map(|(_, names)| names.len()).product::<usize>();
        if entries > ENTRIES_MAX {
            return Err(format!("its names make {entries} combinations; {ENTRIES_MAX} are the most"));
        }
        Ok(rule)
    }

    fn add_names(&mut self, key: &str, names: &[Option<&str>]) -> Result<(), String> {
        if names.is_empty() {
            return Err(format!(
                "{key} has no name, so the rule would match nothing; leave {key} out for any"
            ));
        }
        let folded = |name: &str| -> Name { name.to_ascii_lowercase().into_bytes().into() };
        if key == "through" {
            self.through = Some(names.iter().map(|name| name.map(folded)).collect());
            return Ok(());
        }
        let named: Option<Vec<Name>> = names.iter().map(|name| name.map(folded)).collect();
        let named = named.ok_or_else(|| format!("{key} cannot be nil; only through can"))?;
        if key == "database" {
            self.databases = Some(named);
            return Ok(());
        }
        match KEYS.iter().find(|(known, _)| *known == key) {
            Some((_, key)) => self.names.push((*key, named)),
            None => {
                let key: String = key.chars().take(64).collect();
                let known: Vec<_> = KEYS.iter().map(|(known, _)| *known).collect();
                return Err(format!(
                    "there is no key {key:?}; there are {}, database, through",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn add_actions(&mut self, name: &str) -> Result<(), String> {
        if let Some((_, group)) = GROUPS.iter().find(|(known, _)| *known == name) {
            // Those of the group that are about what the rule names.
            let fitting: Vec<_> = group.iter().filter(|action| self.misfit(**action).is_none()).collect();
            if fitting.is_empty() {
                return Err(format!("none of the actions {name} has all the keys of the rule"));
            }
            if self.effect == Effect::Ignore && fitting.iter().any(|action| !IGNORABLE.contains(action)) {
                return Err(not_ignorable(name));
            }
            self.actions.extend(fitting);
            return Ok(());
        }
        let Some(action) = Action::ALL.iter().find(|action| action.name() == name) else {
            let name: String = name.chars().take(64).collect();
            let groups = GROUPS.iter().map(|(name, _)| *name);
            let known: Vec<_> = Action::ALL.iter().map(|action| action.name()).chain(groups).collect();
            return Err(format!("there is no action {name:?}; there are {}", known.join(", ")));
        };
        if let Some(key) = self.misfit(*action) {
            return Err(format!("the action {name} has no {key}"));
        }
        if self.effect == Effect::Ignore && !IGNORABLE.contains(action) {
            return Err(not_ignorable(name));
        }
        self.actions.push(*action);
        Ok(())
    }

    /// A key of the rule that the action has not.
    fn misfit(&self, action: Action) -> Option<&'static str> {
        if self.databases.is_some() && !action.is_in_database() {
            return Some("database");
        }
        let mut keys = self.names.iter().map(|(key, _)| *key);
        let key = keys.find(|key| action.key_of(*key).is_none())?;
        KEYS.iter().find(|(_, known)| *known == key).map(|(name, _)| *name)
    }
}

/// Whether `ignore` has a meaning for it that loses nothing.
pub(super) fn is_ignorable(action: Action) -> bool {
    IGNORABLE.contains(&action)
}

pub(super) fn not_ignorable(name: &str) -> String {
    format!(
        "ignore is for read, function and update; {name} would be left undone, or be done all the same, without an error: use deny"
    )
}
