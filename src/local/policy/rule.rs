//! One rule of a policy: what it says, checked.

use super::transactions::{self, transaction};
use crate::engine::action::{self, Action, Key};
use port_driver::request::{Effect, PolicyRule};

/// Names of one rule, its lists multiplied.
const ENTRIES_MAX: usize = 100_000;

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub effect: Effect,
    pub actions: Vec<Action>,
    /// Those that it has in the temporary database alone.
    pub temporary: Vec<Action>,
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

/// Actions that are others in the temporary database.
const IN_TEMP: &[(Action, Action)] = &[
    (A::CreateTable, A::CreateTempTable),
    (A::DropTable, A::DropTempTable),
    (A::CreateIndex, A::CreateTempIndex),
    (A::DropIndex, A::DropTempIndex),
    (A::CreateView, A::CreateTempView),
    (A::DropView, A::DropTempView),
    (A::CreateTrigger, A::CreateTempTrigger),
    (A::DropTrigger, A::DropTempTrigger),
];

/// Those that change a schema and are the same in each database.
const IN_ANY: &[Action] =
    &[A::AlterTable, A::Analyze, A::Reindex, A::CreateVirtualTable, A::DropVirtualTable];

/// What SQLite leaves undone without an error, so that nothing is lost by it.
const IGNORABLE: &[Action] = &[A::Read, A::Function, A::Update];

impl Rule {
    /// Checks what travelled; the error says what is wrong.
    pub fn new(given: &PolicyRule<'_>) -> Result<Self, String> {
        let mut rule = Rule {
            effect: given.effect,
            actions: Vec::new(),
            temporary: Vec::new(),
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
        rule.add_temporary(&given.actions);
        rule.check_names()?;
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
            let fits = |action: Action| self.misfit(action).is_none() && self.never(action).is_none();
            let fitting: Vec<_> = group.iter().filter(|action| fits(**action)).collect();
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
        if let Some(why) = self.never(*action) {
            return Err(format!("it would match nothing: {name} {why}"));
        }
        if self.effect == Effect::Ignore && !IGNORABLE.contains(action) {
            return Err(not_ignorable(name));
        }
        self.actions.push(*action);
        Ok(())
    }

    /// What the rule names as it would be named in another database has names of its own in the temporary one, where a group of
    /// what changes that schema has all that does.
    fn add_temporary(&mut self, given: &[&str]) {
        let in_temp = self.databases.as_ref().map(|databases| databases.iter().any(is_temp));
        let mut more = Vec::new();
        if in_temp == Some(true) {
            let others = IN_TEMP.iter().filter(|(action, _)| self.actions.contains(action));
            more.extend(others.map(|(_, temporary)| *temporary));
        }
        if in_temp != Some(false) && given.contains(&"temp_schema") {
            more.extend(IN_ANY.iter().filter(|action| self.misfit(**action).is_none()));
        }
        more.retain(|action| !self.actions.contains(action));
        self.temporary = more;
    }

    /// Names by which none of the actions is ever asked about.
    fn check_names(&self) -> Result<(), String> {
        for (key, names) in &self.names {
            if let Some(why) = names.iter().find_map(|name| self.unknown(*key, name)) {
                return Err(format!("it would match nothing: {why}"));
            }
        }
        Ok(())
    }

    /// What is wrong with such a name.
    fn unknown(&self, key: Key, name: &[u8]) -> Option<String> {
        let is_known = |action: &Action| match (action, key) {
            (A::Transaction, Key::Name) => transaction(name).is_some(),
            (A::PragmaRead | A::PragmaWrite, Key::Pragma) => action::can_be(*action, name),
            _ => true,
        };
        if self.actions.iter().any(is_known) {
            return None;
        }
        let shown = String::from_utf8_lossy(name).chars().take(64).collect::<String>();
        Some(if key == Key::Name {
            let hint = hint(&shown.to_ascii_uppercase(), transactions::TRANSACTIONS.iter().copied());
            format!(
                "there is no transaction {shown:?}{hint}; there are {}",
                transactions::TRANSACTIONS.join(", ")
            )
        } else if self.actions.contains(&A::PragmaRead) {
            let hint = hint(&shown, action::pragmas_that_read());
            format!("no pragma {shown:?} is known to only read{hint}; what may do more is pragma_write")
        } else {
            format!("the pragma {shown:?} only reads, so it is pragma_read")
        })
    }

    /// Why nothing of it is ever asked that the rule is about.
    fn never(&self, action: Action) -> Option<&'static str> {
        let of_temp = IN_TEMP.iter().any(|(_, temporary)| *temporary == action);
        if of_temp && self.databases.as_ref().is_some_and(|databases| !databases.iter().any(is_temp)) {
            return Some("is done in the database temp alone");
        }
        let in_text = |through: &Vec<Option<Name>>| through.iter().all(Option::is_some);
        if !action.is_in_text() && self.through.as_ref().is_some_and(in_text) {
            return Some("is never done through a view or a trigger");
        }
        None
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

fn is_temp(database: &Name) -> bool {
    **database == *b"temp"
}

/// The nearest of the names, if one is near.
fn hint(given: &str, names: impl Iterator<Item = &'static str>) -> String {
    let near = names.map(|name| (strsim::levenshtein(given, name), name)).min();
    let near = near.filter(|(distance, name)| 3 * distance <= name.len());
    near.map_or_else(String::new, |(_, name)| format!(", did you mean {name:?}?"))
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
