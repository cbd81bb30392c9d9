//! Opens a database for one connection: path to handle, file object, pragmas, WAL.

use super::access::Access;
use super::callbacks::{Asking, ClientFunctions};
use super::cannot_open;
use super::cursors::Cursors;
use super::errors::needs_defence;
use super::feed::Feed;
use super::limit;
use super::policy::Policy;
use super::pragma::{self, JOURNAL_MODE};
use super::prepared::PreparedStatements;
use super::reports::Reports;
use super::session::Session;
use super::statement_cache::StatementCache;
use super::turns::Turns;
use super::watch::ConnectionWatch;
use crate::control::Control;
use crate::counters::Counters;
use crate::database::{wal_note, DatabaseFile, FileShare, Files, OpenFiles};
use crate::engine::allowed::Folders;
use crate::engine::open as engine;
use crate::engine::{code, query, Handle};
use crate::error::{Error, Result};
use crate::info::{Info, Mode};
use crate::questions::Questions;
use crate::replication;
use crate::surroundings::Surroundings;
use port_driver::error_code::ErrorCode;
use port_driver::request::{Open, OpenMode, OpenOptions};
use std::path::Path;
use std::sync::Arc;

/// `SQLITE_OPEN_*` bits that a client may add; the others are this program's to set.
const OPEN_FLAGS: i32 = code::SQLITE_OPEN_URI
    | code::SQLITE_OPEN_NOFOLLOW
    | code::SQLITE_OPEN_EXRESCODE
    | code::SQLITE_OPEN_PRIVATECACHE
    | code::SQLITE_OPEN_NOMUTEX;

/// Opens the database of `request` for connection `id`.
pub fn open(
    surroundings: &Surroundings,
    id: u32,
    control: &Arc<Control>,
    questions: &Arc<Questions>,
    counters: &Arc<Counters>,
    open_files: &Arc<OpenFiles>,
    request: &Open<'_>,
) -> Result<(Session, Info)> {
    let options = &request.options;
    let pragmas = pragma::plan(&options.pragmas)?;
    if options.defensive {
        pragma::check_defensive(&pragmas)?;
    }
    let policy = options.policy.as_deref().map(Policy::new).transpose()?.map(Arc::new);
    if policy.is_some() && !options.defensive {
        return Err(needs_defence("open the connection with defensive: true, the default"));
    }
    let (path, flags) = location(request)?;
    let mut handle = engine::open(&surroundings.runtime, &path, flags)
        .map_err(|source| refused(request, flags, source))?;

    if let Some(path) = handle.path("main").filter(|_| request.options.mode != OpenMode::ReadOnly) {
        refuse_replica(request.path, &path)?;
    }
    // Before the first read, in which SQLite takes what is in the log for the database's.
    wal_note::check(&handle, "main")?;
    let file = file_of(&handle, &surroundings.files, request);
    if let Some(path) = handle.path("main") {
        file.stands_at(path);
    }
    file.set_checkpoints(options.checkpoint_pages, options.checkpoint_idle_ms);
    let reports = Reports::new(id, Arc::clone(&surroundings.hub));
    let watch = ConnectionWatch::new(Arc::clone(control), Arc::clone(&surroundings.relief), reports);
    let watch = Arc::new(watch);
    watch.set_main(Arc::clone(&file));
    control.set_busy_timeout_ms(options.busy_timeout_ms);
    control.set_default_lock_timeout_ms(options.lock_timeout_ms);
    handle.watch(Arc::clone(&watch) as Arc<dyn crate::engine::watch::Watch>);
    configure(&handle).map_err(|error| Error::Engine(error, None))?;
    limit::apply(&handle, &options.limits, false)?;
    let allowed = allowed_folders(options)?;
    if options.untrusted_sql && allowed.as_ref().is_some_and(|folders| folders.is_empty()) {
        watch.refuse_files();
    }

    let turns = Turns::new(id, Arc::clone(&surroundings.files), Arc::clone(open_files), FileShare::new(file));
    let asking = Arc::new(Asking::new(
        id,
        Arc::clone(control),
        Arc::clone(questions),
        Arc::clone(&surroundings.relief),
        Arc::clone(&watch),
        surroundings.limits.frame_bytes_max,
    ));
    let feed = Feed::new(Arc::clone(&surroundings.hub), surroundings.limits.changes_bytes_max);
    let mut access = Access::new(id, handle, Arc::clone(control), watch, turns, Arc::clone(&asking), feed);
    let mut client_functions = ClientFunctions::new(asking, Arc::clone(&surroundings.client_functions));
    client_functions.refresh(&access.handle);
    access.allowed = allowed;
    let info = match establish(&mut access, &pragmas, options.defensive) {
        Ok(info) => info,
        Err(error) => {
            // It may be the last to leave the file, after others that have written.
            access.close_files();
            return Err(naming(request.path, error));
        }
    };
    access.watch.policy.set_undefended(!options.defensive);
    let mut session = Session {
        cursors: Cursors::default(),
        prepared: PreparedStatements::default(),
        cache: StatementCache::new(options.statement_cache, surroundings.limits.statement_bytes_max),
        client_functions,
        access,
        limits: Arc::clone(&surroundings.limits),
        counters: Arc::clone(counters),
        pragmas,
        busy_timeout_ms: options.busy_timeout_ms,
        limits_given: limit::kept(&options.limits),
        policy: policy.clone(),
        audit: Arc::clone(&surroundings.audit),
    };
    if policy.is_some() {
        // The first statements were this program's own.
        session.set_policy(policy).inspect_err(|_| session.access.close_files())?;
    }
    Ok((session, info))
}

/// The engine does not open the file, or it is in memory.
fn refused(request: &Open<'_>, flags: i32, source: engine::OpenError) -> Error {
    let cause = match &source {
        engine::OpenError::Refused(error, errno)
            if !request.options.memory && error.code & 0xff == code::SQLITE_CANTOPEN =>
        {
            cannot_open::cause(request.path, flags & code::SQLITE_OPEN_CREATE != 0, *errno)
        }
        _ => None,
    };
    Error::Open { path: request.path.to_owned(), source, cause }
}

/// What is written to the file of a replica is lost with the next sync, and a checkpoint beside the replicator's damages it.
fn refuse_replica(given: &str, path: &Path) -> Result<()> {
    if !replication::index::path(path).exists() {
        return Ok(());
    }
    let message = format!(
        "cannot open the database {given}: the file is a replica of a server's; give the server's url as well, or open it with mode \
         read_only"
    );
    Err(Error::new(ErrorCode::CannotOpen, message))
}

/// What the engine says of a file does not name it.
fn naming(path: &str, error: Error) -> Error {
    match error {
        Error::Engine(mut error, constraint) => {
            error.message = format!("{} (opening {path})", error.message);
            Error::Engine(error, constraint)
        }
        other => other,
    }
}

/// The folders whose files SQL may open, with their links resolved as SQLite resolves those of a file.
fn allowed_folders(options: &OpenOptions<'_>) -> Result<Option<Folders>> {
    let given = match &options.allowed_directories {
        Some(given) => given.as_slice(),
        None if options.untrusted_sql => &[],
        None => return Ok(None),
    };
    let resolved = given.iter().map(|given| {
        let path = Path::new(given);
        let wrong = |why: String| {
            let message =
                format!("allowed_directories: {given:?} {why}; give the absolute path of a directory");
            Error::new(ErrorCode::InvalidOption, message)
        };
        if !path.is_absolute() {
            return Err(wrong("is not absolute".to_owned()));
        }
        match path.canonicalize() {
            Ok(resolved) if resolved.is_dir() => Ok(resolved),
            Ok(_) => Err(wrong("is no directory".to_owned())),
            Err(error) => Err(wrong(format!("cannot be used ({error})"))),
        }
    });
    resolved.collect::<Result<Vec<_>>>().map(|folders| Some(folders.into()))
}

/// The first statements of a connection.
fn establish(access: &mut Access, pragmas: &[(String, String)], defensive: bool) -> Result<Info> {
    // Reads the header, so that a foreign or corrupt file is an error of `open` and not of the first query.
    first_text(access, "PRAGMA schema_version")?;
    pragma::apply(access, pragmas)?;
    let journal_mode = set_journal_mode(access, pragmas)?;
    // SQL cannot write shadow tables, the schema's text, or switch the journal off. Whoever opens may do the last.
    let configured = access.handle.configure(code::SQLITE_DBCONFIG_DEFENSIVE, defensive);
    configured.map_err(|error| Error::Engine(error, None))?;
    access.check_placement().map_err(Error::Displaced)?;
    Ok(Info {
        path: access.file().name.clone(),
        journal_mode: Some(journal_mode),
        read_only: access.handle.read_only(),
        mode: Mode::Local,
    })
}

/// The path and flags for the engine.
fn location(request: &Open<'_>) -> Result<(String, i32)> {
    let options = &request.options;
    let further = i32::try_from(options.open_flags).unwrap_or(-1);
    if further & !OPEN_FLAGS != 0 {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!(
                "open_flags {:#x} has bits beyond {OPEN_FLAGS:#x} (URI, NOFOLLOW, EXRESCODE, PRIVATECACHE, NOMUTEX)",
                options.open_flags
            ),
        ));
    }
    let mode = match options.mode {
        OpenMode::ReadWriteCreate => code::SQLITE_OPEN_READWRITE | code::SQLITE_OPEN_CREATE,
        OpenMode::ReadWrite => code::SQLITE_OPEN_READWRITE,
        OpenMode::ReadOnly => code::SQLITE_OPEN_READONLY,
    };
    if !options.memory {
        return Ok((request.path.to_owned(), mode | further));
    }
    if request.path.is_empty() {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            "a shared database in memory needs a name as its path",
        ));
    }
    // A name that starts with a slash is shared within the program (https://sqlite.org/src/file/src/memdb.c).
    let path = format!("file:/{}?vfs=memdb", percent_encoded(request.path));
    Ok((path, mode | further | code::SQLITE_OPEN_URI))
}

/// The object that stands for the opened file, by the name that the engine gives it.
fn file_of(handle: &Handle, files: &Files, request: &Open<'_>) -> Arc<DatabaseFile> {
    match handle.file_name("main") {
        _ if request.options.memory => files.in_memory(request.path),
        Some(path) => files.on_disk(&path),
        None => DatabaseFile::private(),
    }
}

/// What is the same for every connection.
fn configure(handle: &Handle) -> std::result::Result<(), crate::engine::EngineError> {
    // Checkpoints happen in the writer turn only, also the last connection's.
    handle.configure(code::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // On by default in this engine, for SQL and for C.
    handle.configure(code::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, false)?;
    crate::functions::register(handle)
}

/// Sets the journal mode in a writer turn, unless the file has it already: WAL is a property of the file, so of many
/// connections that open a new one together only the first has anything to do.
fn set_journal_mode(access: &mut Access, pragmas: &[(String, String)]) -> Result<String> {
    let wanted = pragmas.iter().find(|(name, _)| name == JOURNAL_MODE).map(|(_, value)| value.clone());
    let current = journal_mode(access)?;
    let on_disk = access.handle.file_name("main").is_some();
    let wanted = match wanted {
        Some(wanted) => wanted,
        None if on_disk && !access.handle.read_only() && current != "memory" => "wal".to_owned(),
        None => return Ok(current),
    };
    if wanted == current {
        return Ok(current);
    }
    let now = first_text(access, &format!("PRAGMA journal_mode = {wanted}"))?;
    if now != wanted && on_disk {
        return Err(Error::new(
            ErrorCode::InvalidOption,
            format!("the journal mode cannot be {wanted} here; it stays {now}"),
        ));
    }
    Ok(now)
}

/// The journal mode as it is. The engine calls this pragma a write even if it only reads; a turn would make every opening wait
/// for the writers of the file.
fn journal_mode(access: &Access) -> Result<String> {
    let mut mode = String::new();
    let read = query::each_row(&access.handle, "PRAGMA journal_mode", None, |row| {
        mode = query::text_at(row, 0);
        false
    });
    read.map_err(|error| Error::Engine(error, None))?;
    Ok(mode)
}

/// The first column of a statement's first row, as text.
fn first_text(access: &mut Access, sql: &str) -> Result<String> {
    let mut text = String::new();
    access.each_row(sql, |row| {
        text = query::text_at(row, 0);
        false
    })?;
    Ok(text)
}

/// A name as a URI's path: everything but letters, digits and a few marks as %XX.
fn percent_encoded(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn names_become_uri_paths() {
        assert_eq!(percent_encoded("a-b.c"), "a-b.c");
        assert_eq!(percent_encoded("a b?c/ü"), "a%20b%3Fc%2F%C3%BC");
    }
}
