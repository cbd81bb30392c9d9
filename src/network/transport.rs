//! How a server is reached, and at which step that failed.

use super::breaker::Patience;
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
    /// Sockets to one server that are kept for the next request.
    pub idle_sockets_max: usize,
    /// How long they are kept.
    pub socket_idle: Duration,
    /// When a server is asked nothing for a while.
    pub patience: Patience,
}

#[cfg(test)]
impl Transport {
    /// For tests that do not look at it: nothing is given, and nothing is waited for.
    pub fn of_a_test() -> Self {
        Transport {
            roots: Roots::Webpki,
            ca_file: None,
            client_cert: None,
            proxy: None,
            connect_timeout: Duration::ZERO,
            idle_sockets_max: 1,
            socket_idle: Duration::ZERO,
            patience: Patience {
                failures: 5,
                delay: Duration::ZERO,
                delay_max: Duration::ZERO,
                probe_time: Duration::ZERO,
            },
        }
    }
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
    /// It was not tried: others have found the server gone.
    Breaker,
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
