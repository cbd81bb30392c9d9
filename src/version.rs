//! What this build is.

/// Target and profile.
pub const BUILD: &str = if cfg!(debug_assertions) {
    concat!(env!("LIBSQL_PORT_TARGET"), " debug")
} else {
    concat!(env!("LIBSQL_PORT_TARGET"), " release")
};
