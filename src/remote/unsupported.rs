//! What a database on a server has not: one table, which `open`, the requests and docs/protocol.md share.

use super::errors;
use crate::error::Result;
use port_driver::request::{OpenMode, OpenOptions, Request};

const NO_FILE: &str = "no file follows the server; open a replica, with a path beside the url";

/// Requests that are refused, by their names in the protocol.
pub const REQUESTS: &[(&str, &str)] = &[
    ("checkpoint", "the server checkpoints by itself"),
    ("create_function", "functions of the client run in the sidecar's own engine"),
    ("drop_function", "functions of the client run in the sidecar's own engine"),
    ("set_hook", "commits and statements are decided on the server"),
    ("remove_hook", "commits and statements are decided on the server"),
    ("set_policy", "the server compiles the statements; its tokens say what they may do"),
    ("sync", NO_FILE),
    ("replication_status", NO_FILE),
    ("freeze", NO_FILE),
    ("flush", NO_FILE),
    ("subscribe", "commits on the server are not seen here"),
];

/// Options of `open` that are refused if they are not at their default.
pub const OPTIONS: &[(&str, &str)] = &[
    ("mode", "a read-only token does this"),
    ("memory", "there is no file, and so none in its place"),
    ("open_flags", "no file is opened"),
    ("defensive", "the server defends its files by itself"),
    ("untrusted_sql", "the server compiles the statements; its tokens say what they may do"),
    ("allowed_directories", "the server opens no files of the client"),
    ("policy", "the server compiles the statements; its tokens say what they may do"),
    ("limits", "they are those of the server's engine"),
    ("pragmas", "they are the server's, and its streams do not keep them"),
];

/// The name of a request that is refused.
pub fn request_name(request: &Request<'_>) -> Option<&'static str> {
    match request {
        Request::Checkpoint(_) => Some("checkpoint"),
        Request::CreateFunction(_) => Some("create_function"),
        Request::DropFunction(_) => Some("drop_function"),
        Request::SetHook(_) => Some("set_hook"),
        Request::RemoveHook(_) => Some("remove_hook"),
        Request::SetPolicy(Some(_)) => Some("set_policy"),
        Request::Sync(_) => Some("sync"),
        Request::ReplicationStatus => Some("replication_status"),
        Request::Freeze { .. } => Some("freeze"),
        Request::Flush => Some("flush"),
        _ => None,
    }
}

/// Refuses `request` if the server has not what it asks for.
pub fn check_request(request: &Request<'_>) -> Result<()> {
    match request_name(request) {
        Some(name) => refuse("the request", name, REQUESTS),
        None => Ok(()),
    }
}

/// Refuses options that mean nothing to a server.
pub fn check_options(options: &OpenOptions<'_>) -> Result<()> {
    let given = [
        ("mode", options.mode != OpenMode::ReadWriteCreate),
        ("memory", options.memory),
        ("open_flags", options.open_flags != 0),
        ("defensive", !options.defensive),
        ("untrusted_sql", options.untrusted_sql),
        ("allowed_directories", options.allowed_directories.is_some()),
        ("policy", options.policy.is_some()),
        ("limits", !options.limits.is_empty()),
        ("pragmas", !options.pragmas.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => refuse("the option", name, OPTIONS),
        None => Ok(()),
    }
}

fn refuse(what: &str, name: &str, table: &[(&str, &str)]) -> Result<()> {
    let why = table.iter().find(|(known, _)| *known == name).map_or("", |(_, why)| why);
    errors::unsupported(&format!("{what} {name} ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use port_driver::error_code::ErrorCode;

    #[test]
    fn the_document_has_the_tables() {
        let document = include_str!("../../docs/protocol.md");
        for (name, why) in REQUESTS.iter().chain(OPTIONS) {
            assert!(document.contains(&format!("| `{name}` | {why} |")), "docs/protocol.md lacks {name}");
        }
    }

    #[test]
    fn each_option_of_the_table_is_refused_and_the_defaults_are_not() {
        assert!(check_options(&OpenOptions::default()).is_ok());
        let cases: [OpenOptions<'_>; 9] = [
            OpenOptions { mode: OpenMode::ReadOnly, ..OpenOptions::default() },
            OpenOptions { memory: true, ..OpenOptions::default() },
            OpenOptions { open_flags: 0x40, ..OpenOptions::default() },
            OpenOptions { defensive: false, ..OpenOptions::default() },
            OpenOptions { untrusted_sql: true, ..OpenOptions::default() },
            OpenOptions { allowed_directories: Some(vec![]), ..OpenOptions::default() },
            OpenOptions { policy: Some(vec![]), ..OpenOptions::default() },
            OpenOptions {
                limits: vec![("length".to_owned(), port_driver::request::PragmaValue::Integer(1))],
                ..OpenOptions::default()
            },
            OpenOptions {
                pragmas: vec![("x".to_owned(), port_driver::request::PragmaValue::Integer(1))],
                ..OpenOptions::default()
            },
        ];
        assert_eq!(cases.len(), OPTIONS.len());
        for (options, (name, why)) in cases.iter().zip(OPTIONS) {
            let error = check_options(options).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unsupported);
            let words = error.to_string();
            assert!(words.contains(name) && words.contains(why), "{words}");
        }
    }
}
