//! Opens a replica for one connection: the file's task, its first data, a handle that reads them.

use super::fresh::Waiting;
use super::session::Session;
use crate::control::Control;
use crate::counters::Counters;
use crate::database::OpenFiles;
use crate::error::{Error, Result};
use crate::info::{Info, Mode};
use crate::local;
use crate::network::connector::Connector;
use crate::network::proxy::Proxies;
use crate::questions::Questions;
use crate::remote;
use crate::replication::{Cause, Failure, Source};
use crate::surroundings::Surroundings;
use port_driver::error_code::ErrorCode;
use port_driver::request::{Open, OpenMode, OpenOptions, RemoteOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The database of a server that says nothing else.
const NAMESPACE: &str = "default";

/// Ids of statements and cursors from here on are the server's.
pub const SERVERS_IDS: u32 = 1 << 30;

/// Opens the replica of `request`, which names a server and a file.
pub fn open(
    surroundings: &Surroundings,
    id: u32,
    control: &Arc<Control>,
    questions: &Arc<Questions>,
    counters: &Arc<Counters>,
    files: &Arc<OpenFiles>,
    request: &Open<'_>,
) -> Result<(Session, Info)> {
    let remote = check(&request.options)?;
    let options = request.options.replica.unwrap_or_default();
    let path = absolute(request.path)?;
    let (mut server, address) =
        remote::open::connect(surroundings, id, control, questions, counters, &request.options, remote)?;
    // Beside the numbers of the file's, which begin with 1.
    server.last_statement = SERVERS_IDS;
    server.cursors.last = SERVERS_IDS;
    let source = Source {
        namespace: namespace(remote.namespace, &address.base),
        origin: address.base,
        connector: connector(remote)?,
        silence: Duration::from_millis(u64::from(options.sync_silence_ms)),
    };
    let interval = Duration::from_millis(u64::from(options.sync_interval_ms));
    let replica = surroundings.replicas.open(&path, source, interval, &surroundings.hub)?;
    let mut waiting = Waiting { replica: &replica, control, token: &mut server.token };
    match (replica.has_data(), options.offline) {
        (false, true) => return Err(nothing_yet(&path)),
        (false, false) => waiting.sync()?,
        (true, true) => {}
        (true, false) => {
            // In its own time: what the file has can be read meanwhile, also without a token.
            let _ = waiting.begin();
        }
    }
    let path = path.to_string_lossy();
    let read_only = Open {
        timeout_ms: request.timeout_ms,
        path: &path,
        options: OpenOptions {
            mode: OpenMode::ReadOnly,
            remote: None,
            replica: None,
            ..request.options.clone()
        },
    };
    let (mut local, info) =
        local::open::open(surroundings, id, control, questions, counters, files, &read_only)?;
    local.access.compile_for_elsewhere();
    let writes = request.options.mode != OpenMode::ReadOnly;
    let session = Session::new(local, server, replica, &options, writes, surroundings.runtime.clone());
    Ok((session, Info { read_only: !writes, mode: Mode::Replica, ..info }))
}

/// What a replica's connection cannot have.
fn check<'o, 'b>(options: &'o OpenOptions<'b>) -> Result<&'o RemoteOptions<'b>> {
    let refused = |what: &str, why: &str| {
        let message = format!("{what} is not for a replica: {why}");
        Err(Error::new(ErrorCode::Unsupported, message))
    };
    if options.memory {
        return refused("memory: true", "its data are in a file; give another path");
    }
    if options.pragmas.iter().any(|(name, _)| name.eq_ignore_ascii_case("journal_mode")) {
        return refused("the pragma journal_mode", "the replicator needs the write-ahead log");
    }
    let guarded = options.policy.is_some() || options.untrusted_sql;
    if guarded && options.mode != OpenMode::ReadOnly {
        return refused(
            "a policy, and untrusted_sql,",
            "the server knows nothing of it, and runs what writes; open the replica with mode read_only",
        );
    }
    match options.remote.as_deref() {
        Some(remote) => Ok(remote),
        None => refused("no url", "it is a copy of a database on a server"),
    }
}

/// The file, with the links of its folder resolved, and its own if it is there.
pub fn absolute(given: &str) -> Result<PathBuf> {
    let path = Path::new(given);
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let cannot =
        |why: String| Error::new(ErrorCode::CannotOpen, format!("cannot open the replica {given}: {why}"));
    let name = path.file_name().ok_or_else(|| cannot("the path names no file".to_owned()))?;
    let folder = folder.canonicalize().map_err(|error| {
        cannot(format!(
            "the folder {} cannot be used ({error}); create it, or correct the path",
            folder.display()
        ))
    })?;
    Ok(folder.join(name))
}

/// Which of the server's databases: as its HTTP interface understands a request to this host.
fn namespace(given: Option<&str>, base: &str) -> String {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest).split(['/', ':']).next();
    let label = host.and_then(|host| host.split_once('.')).map(|(label, _)| label);
    given.or(label).unwrap_or(NAMESPACE).to_owned()
}

fn connector(remote: &RemoteOptions<'_>) -> Result<Connector> {
    Connector::new(&remote::open::transport(remote), Proxies::from_environment())
        .map_err(|error| Error::new(ErrorCode::InvalidOption, error.message))
}

fn nothing_yet(path: &Path) -> Error {
    Failure::new(
        Cause::Unavailable,
        format!(
            "{} has no data of its server yet, and offline: true asks for none; open it once without",
            path.display()
        ),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_a_database_as_the_server_understands_it() {
        assert_eq!(namespace(None, "https://db-org.turso.io"), "db-org");
        assert_eq!(namespace(None, "http://localhost:8080"), "default");
        assert_eq!(namespace(None, "http://127.0.0.1:8080/x"), "127");
        assert_eq!(namespace(Some("t1"), "https://db-org.turso.io"), "t1");
    }

    #[test]
    fn a_path_is_one_whether_its_file_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink(real.join("a"), real.join("b")).unwrap();
        let given = real.join("b/r.db");
        let before = absolute(given.to_str().unwrap()).unwrap();
        std::fs::write(&given, "").unwrap();
        assert_eq!(
            (&before, before.as_path()),
            (&absolute(given.to_str().unwrap()).unwrap(), &*real.join("a/r.db"))
        );
        let error = absolute(real.join("none/r.db").to_str().unwrap()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::CannotOpen);
    }
}
