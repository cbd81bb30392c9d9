//! What a server says of a statement without running it.

use serde::Deserialize;

/// A statement, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name and declared type of each column.
    pub columns: Vec<(String, Option<String>)>,
    /// The name of each parameter, with its prefix.
    pub parameters: Vec<Option<String>>,
    /// It writes nothing.
    pub read_only: bool,
    /// It is an EXPLAIN.
    pub explain: bool,
}

/// A column, as it travels.
#[derive(Debug, Deserialize)]
pub struct Column {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    decltype: Option<String>,
}

impl Column {
    /// Its name.
    pub fn into_name(self) -> String {
        self.name.unwrap_or_default()
    }
}

/// A parameter, as it travels.
#[derive(Debug, Deserialize)]
pub struct Parameter {
    #[serde(default)]
    name: Option<String>,
}

impl Description {
    /// From its parts.
    pub fn new(columns: Vec<Column>, parameters: Vec<Parameter>, read_only: bool, explain: bool) -> Self {
        Description {
            columns: columns
                .into_iter()
                .map(|column| (column.name.unwrap_or_default(), column.decltype))
                .collect(),
            parameters: parameters.into_iter().map(|parameter| parameter.name).collect(),
            read_only,
            explain,
        }
    }
}
