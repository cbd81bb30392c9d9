//! What a client is told about a connection that has just been opened.

/// An open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Absolute path, the name in memory, or a URL without its query.
    pub path: String,
    /// As the engine has it now; `None` if a server has not said.
    pub journal_mode: Option<String>,
    /// It cannot be written.
    pub read_only: bool,
    /// Where the database is.
    pub mode: Mode,
}

/// Where a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In this program.
    Local,
    /// On a server.
    Remote,
}

impl Mode {
    /// As the wire calls it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Local => "local",
            Mode::Remote => "remote",
        }
    }
}
