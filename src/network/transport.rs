//! How a server is reached, and at which step that failed.

use port_driver::request::Roots;
use std::time::Duration;

/// How servers are reached. Connections that say the same share their sockets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transport {
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// A file of further ones.
    pub ca_file: Option<String>,
    /// Files with the client's certificates, and with their key.
    pub client_cert: Option<(String, String)>,
    /// A proxy's URL; `None`: as the environment says; empty: none.
    pub proxy: Option<String>,
    /// For DNS, TCP, proxy and TLS together; zero: no limit.
    pub connect_timeout: Duration,
}

/// At which step a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A file or an option.
    Setup,
    /// The host's name.
    Dns,
    /// The socket.
    Tcp,
    /// The tunnel through a proxy.
    Proxy,
    /// Certificates, above all.
    Tls,
    /// All of it took too long.
    Timeout,
}

/// No connection to the server: nothing was sent to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// Where.
    pub step: Step,
    /// What, and what to look at.
    pub message: String,
}

impl ConnectError {
    /// At `step`.
    pub fn new(step: Step, message: impl Into<String>) -> Self {
        ConnectError { step, message: message.into() }
    }
}
