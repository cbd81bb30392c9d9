//! What the policy of a connection, or this program itself, has denied, in words and as it travels.

use crate::engine::action::{Action, Key};
use port_driver::reply::{self, DenyingRule};
use std::fmt::{self, Display};

/// Something that a policy has denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What was to be done.
    pub action: Action,
    /// With what: the names as [`Action::keys`] says.
    pub names: [Option<Box<str>>; 2],
    /// In which database.
    pub database: Option<Box<str>>,
    /// In the text of which view or trigger.
    pub through: Option<Box<str>>,
    /// By what.
    pub by: By,
    /// The policy gives NULL for it, which is not to be stored.
    pub ignored: bool,
    /// What went wrong, if the client gave no decision; why, if this program denies it.
    pub failure: Option<Box<str>>,
}

/// What of a policy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The rule that is the element at this place.
    Element(u32),
    /// A ready-made policy.
    Ready(&'static str),
    /// The client's authorizer, which is asked about what the policy allows.
    Authorizer,
    /// No rule.
    Nothing,
    /// What holds on every connection, or on a defensive one, whatever its policy says.
    Program,
}

impl Denial {
    /// This program denies it, for the reason given.
    pub fn by_program(action: Action, object: &str, why: impl Into<Box<str>>) -> Self {
        Denial {
            action,
            names: [Some(object.into()), None],
            database: None,
            through: None,
            by: By::Program,
            ignored: false,
            failure: Some(why.into()),
        }
    }

    /// Calls `f` with what travels.
    pub fn with_fields<T>(&self, f: impl FnOnce(reply::Denial<'_>) -> T) -> T {
        f(reply::Denial {
            action: self.action.name(),
            object: self.names[0].as_deref(),
            column: self.column(),
            database: self.database.as_deref(),
            through: self.through.as_deref(),
            rule: match self.by {
                By::Element(index) => DenyingRule::Element(index),
                By::Ready(name) => DenyingRule::Ready(name),
                By::Authorizer => DenyingRule::Ready("authorizer"),
                By::Nothing | By::Program => DenyingRule::None,
            },
        })
    }

    fn column(&self) -> Option<&str> {
        let is_column = self.action.keys().get(1) == Some(&Key::Column);
        self.names[1].as_deref().filter(|column| is_column && !column.is_empty())
    }
}

impl Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (By::Program, Some(why)) = (self.by, &self.failure) {
            return f.write_str(why);
        }
        write!(f, "not authorized: {}", self.action.name())?;
        if let Some(object) = self.names[0].as_deref().filter(|object| !object.is_empty()) {
            write!(f, " {object}")?;
        }
        if let Some(column) = self.column() {
            write!(f, ".{column}")?;
        }
        if let Some(database) = self.database.as_deref().filter(|database| *database != "main") {
            write!(f, " in the database {database}")?;
        }
        if let Some(through) = &self.through {
            write!(f, ", in the view or trigger {through}")?;
        }
        if let Some(failure) = &self.failure {
            return write!(f, "; {failure}");
        }
        match (self.by, self.ignored) {
            (By::Authorizer, false) => write!(f, "; the authorizer of the connection denies it"),
            (By::Authorizer, true) => write!(
                f,
                "; the authorizer of the connection gives NULL for it, which a statement must not store, nor search"
            ),
            (By::Element(index), false) => write!(f, "; element {index} (from 0) of the connection's policy denies it"),
            (By::Element(index), true) => write!(
                f,
                "; element {index} (from 0) of the connection's policy gives NULL for it, which a statement must not store, nor search"
            ),
            (By::Ready(name), _) => write!(f, "; the policy {name} of the connection denies it"),
            (By::Nothing | By::Program, _) => write!(f, "; no rule of the connection's policy allows it"),
        }
    }
}
