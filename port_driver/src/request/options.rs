//! The option maps of `open` and `execute`: every key and value is known, or the request is refused with an
//! error that names the key, the value and what is allowed.

use std::fmt::Display;

use super::fields::{check_text, names, shown_token};
use super::remote::{RemoteOptions, RemoteParts};
use super::replica::{self, Consistency, ReplicaOptions, CONSISTENCIES};
use super::{policy, Policy, Refusal, RequestError};
use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use crate::value::Shown;

/// How the result of an execute travels. What is absent is the program's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultOptions {
    /// Row chunks that may be sent before the first `credit`.
    pub credits: Option<u32>,
    /// Body size of a `rows` frame.
    pub chunk_bytes: Option<u32>,
    /// Ceiling of the result; 0 for none.
    pub rows_max: Option<u64>,
    /// Ceiling of the result; 0 for none.
    pub bytes_max: Option<u64>,
    /// `Some(false)`: `SQLITE_DBCONFIG_DEFENSIVE` is off while this request runs.
    pub defensive: Option<bool>,
    /// How new the data of a replica have to be; `None`: as its `open` says.
    pub consistency: Option<Consistency>,
    /// How old they may be; `None`: as its `open` says.
    pub max_lag_ms: Option<u32>,
    /// `Some(false)`: the connection's policy does not hold for this request, whose SQL is the application's own.
    pub policy: Option<bool>,
}

/// What may be done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Made if it does not exist.
    ReadWriteCreate,
    /// Must exist.
    ReadWrite,
    /// Must exist.
    ReadOnly,
}

/// How a database is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOptions<'a> {
    /// What may be done with the file.
    pub mode: OpenMode,
    /// The path is the name of a database in memory.
    pub memory: bool,
    /// Further `SQLITE_OPEN_*` bits.
    pub open_flags: u32,
    /// For locks of foreign programs.
    pub busy_timeout_ms: u32,
    /// For the writer turn and all locks together, of each request that does not say otherwise; `None`: until its deadline.
    pub lock_timeout_ms: Option<u32>,
    /// Statements kept prepared.
    pub statement_cache: u32,
    /// WAL pages from which a commit is followed by a checkpoint; 0: never.
    pub checkpoint_pages: u32,
    /// Idle time after which the WAL is checkpointed; 0: never.
    pub checkpoint_idle_ms: u32,
    /// `SQLITE_DBCONFIG_DEFENSIVE`: SQL cannot write what would corrupt the file.
    pub defensive: bool,
    /// Further files cannot be opened over SQL, but for those of `allowed_directories`.
    pub untrusted_sql: bool,
    /// SQL opens files in or below these folders alone; `None`: all, or none if the SQL is untrusted.
    pub allowed_directories: Option<Vec<&'a str>>,
    /// What SQL may do; `None`: everything.
    pub policy: Option<Policy<'a>>,
    /// `SQLITE_LIMIT_*`, names and values as they came.
    pub limits: Vec<(String, PragmaValue<'a>)>,
    /// Names and values as they came: which ones exist is the program's to say.
    pub pragmas: Vec<(String, PragmaValue<'a>)>,
    /// The server that has the database.
    pub remote: Option<Box<RemoteOptions<'a>>>,
    /// How a replica is kept; `None`: as it is unless something else is said.
    pub replica: Option<ReplicaOptions>,
    /// The file is a replica, and becomes a database of its own.
    pub promote: bool,
}

/// A pragma's value, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PragmaValue<'a> {
    /// An integer of 64 bits.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
    /// An atom or a text.
    Word(&'a str),
    /// A float.
    Real(f64),
}

/// More would not be options but an attack.
const PRAGMAS_MAX: u32 = 64;
/// Nor would these.
const DIRECTORIES_MAX: u32 = 64;
/// What an integer option can be where the engine wants a C int.
const INT_MAX: u64 = i32::MAX as u64;
/// URI, NOMUTEX, PRIVATECACHE, NOFOLLOW and EXRESCODE, in SQLite's numbers.
const OPEN_FLAGS: u64 = 0x40 | 0x8000 | 0x4_0000 | 0x0100_0000 | 0x0200_0000;

const OPEN_MODES: &[(&str, OpenMode)] = &[
    ("read_write_create", OpenMode::ReadWriteCreate),
    ("read_write", OpenMode::ReadWrite),
    ("read_only", OpenMode::ReadOnly),
];

const BOOLEANS: &[(&str, bool)] = &[("true", true), ("false", false)];

const RESULT_KEYS: &[&str] =
    &["credits", "chunk_bytes", "rows_max", "bytes_max", "defensive", "policy", "consistency", "max_lag_ms"];
const CURSOR_KEYS: &[&str] = &["live"];
const OPEN_KEYS: &[&str] = &[
    "mode",
    "memory",
    "open_flags",
    "busy_timeout",
    "lock_timeout",
    "statement_cache",
    "checkpoint_pages",
    "checkpoint_idle",
    "defensive",
    "untrusted_sql",
    "allowed_directories",
    "policy",
    "limits",
    "pragmas",
    "url",
    "auth_token",
    "ask_auth_token",
    "namespace",
    "tls",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "roots",
    "proxy",
    "connect_timeout_ms",
    "stream_idle_ms",
    "response_bytes_max",
    "consistency",
    "sync_interval_ms",
    "offline",
    "sync_silence_ms",
    "sync_protocol",
    "idle_sockets_max",
    "socket_idle_ms",
    "breaker_failures",
    "breaker_delay_ms",
    "breaker_delay_max_ms",
    "probe_timeout_ms",
    "replica_urls",
    "read_from",
    "fallback_reads",
    "replica_wait_ms",
    "measure_interval_ms",
    "max_lag_ms",
    "when_stale",
    "promote",
];

impl ResultOptions {
    /// The request may do what others of its connection may not.
    pub fn is_privileged(&self) -> bool {
        self.defensive == Some(false) || self.policy == Some(false)
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let u32_max = u64::from(u32::MAX);
        for_each_option(decoder, RESULT_KEYS, |key, decoder| {
            match key {
                "credits" => options.credits = Some(integer(decoder, key, u32_max)? as u32),
                "chunk_bytes" => options.chunk_bytes = Some(integer(decoder, key, u32_max)? as u32),
                "rows_max" => options.rows_max = Some(integer(decoder, key, i64::MAX as u64)?),
                "defensive" => options.defensive = Some(choice(decoder, key, BOOLEANS)?),
                "policy" => options.policy = Some(choice(decoder, key, BOOLEANS)?),
                "consistency" => options.consistency = Some(choice(decoder, key, CONSISTENCIES)?),
                "max_lag_ms" => options.max_lag_ms = Some(replica::time(decoder, key)?),
                _ => options.bytes_max = Some(integer(decoder, key, i64::MAX as u64)?),
            }
            Ok(())
        })?;
        Ok(options)
    }
}

/// `live` of a cursor's options, false if it is absent.
pub(super) fn cursor_is_live(decoder: &mut Decoder<'_>) -> Result<bool, Refusal> {
    let mut live = false;
    for_each_option(decoder, CURSOR_KEYS, |key, decoder| {
        live = choice(decoder, key, BOOLEANS)?;
        Ok(())
    })?;
    Ok(live)
}

impl Default for OpenOptions<'_> {
    fn default() -> Self {
        Self {
            mode: OpenMode::ReadWriteCreate,
            memory: false,
            open_flags: 0,
            busy_timeout_ms: 5000,
            lock_timeout_ms: None,
            statement_cache: 100,
            checkpoint_pages: 1000,
            checkpoint_idle_ms: 1000,
            defensive: true,
            untrusted_sql: false,
            allowed_directories: None,
            policy: None,
            limits: Vec::new(),
            pragmas: Vec::new(),
            remote: None,
            replica: None,
            promote: false,
        }
    }
}

impl<'a> OpenOptions<'a> {
    pub(super) fn decode(decoder: &mut Decoder<'a>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut remote = RemoteParts::default();
        for_each_option(decoder, OPEN_KEYS, |key, decoder| {
            match key {
                "mode" => options.mode = choice(decoder, key, OPEN_MODES)?,
                "memory" => options.memory = choice(decoder, key, BOOLEANS)?,
                "open_flags" => options.open_flags = flags(decoder, key)?,
                "busy_timeout" => options.busy_timeout_ms = integer(decoder, key, INT_MAX)? as u32,
                "lock_timeout" => options.lock_timeout_ms = Some(integer(decoder, key, INT_MAX)? as u32),
                "statement_cache" => options.statement_cache = integer(decoder, key, 10_000)? as u32,
                "checkpoint_pages" => options.checkpoint_pages = integer(decoder, key, INT_MAX)? as u32,
                "checkpoint_idle" => options.checkpoint_idle_ms = integer(decoder, key, INT_MAX)? as u32,
                "defensive" => options.defensive = choice(decoder, key, BOOLEANS)?,
                "untrusted_sql" => options.untrusted_sql = choice(decoder, key, BOOLEANS)?,
                "allowed_directories" => {
                    options.allowed_directories = Some(texts(decoder, key, DIRECTORIES_MAX)?)
                }
                "policy" => options.policy = policy::decode(decoder)?,
                "promote" => options.promote = choice(decoder, key, BOOLEANS)?,
                "limits" => options.limits = settings(decoder, "limits")?,
                "pragmas" => options.pragmas = settings(decoder, "pragmas")?,
                key if replica::KEYS.contains(&key) => {
                    options.replica.get_or_insert_default().read(key, decoder)?
                }
                key => remote.read(key, decoder)?,
            }
            Ok(())
        })?;
        options.remote = remote.finish()?;
        Ok(options)
    }
}

/// Calls `set` for each key of a map; it reads the value.
pub(super) fn for_each_option<'a>(
    decoder: &mut Decoder<'a>,
    keys: &'static [&'static str],
    mut set: impl FnMut(&'static str, &mut Decoder<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let pairs = match decoder.next()? {
        Token::Map(pairs) => pairs,
        token => {
            return Err(RequestError::new(
                ErrorCode::InvalidRequest,
                format!("the options must be a map, not {}", shown_token(token)),
            )
            .into())
        }
    };
    // An atom and a binary can spell the same key.
    let mut seen = 0u64;
    for _ in 0..pairs {
        let token = decoder.next()?;
        let (Token::Atom(name) | Token::Binary(name)) = token else {
            return Err(invalid(format_args!(
                "a key must be an atom or a binary, not {}",
                shown_token(token)
            )));
        };
        let Some(index) = keys.iter().position(|key| key.as_bytes() == name) else {
            return Err(invalid(format_args!("unknown key {}; there are {}", Shown(name), keys.join(", "))));
        };
        if seen & (1 << index) != 0 {
            return Err(invalid(format_args!("{} is given twice", keys[index])));
        }
        seen |= 1 << index;
        set(keys[index], decoder)?;
    }
    Ok(())
}

pub(super) fn integer(decoder: &mut Decoder<'_>, key: &str, max: u64) -> Result<u64, Refusal> {
    let token = decoder.next()?;
    if let Token::Integer(value) = token {
        if let Some(value) = u64::try_from(value).ok().filter(|value| *value <= max) {
            return Ok(value);
        }
    }
    Err(wrong(key, token, format_args!("an integer from 0 to {max}")))
}

fn flags(decoder: &mut Decoder<'_>, key: &str) -> Result<u32, Refusal> {
    let token = decoder.next()?;
    if let Token::Integer(value) = token {
        if let Some(value) = u64::try_from(value).ok().filter(|value| value & !OPEN_FLAGS == 0) {
            return Ok(value as u32);
        }
    }
    Err(wrong(key, token, format_args!("a sum of the bits of {OPEN_FLAGS:#x}")))
}

pub(super) fn choice<T: Copy>(
    decoder: &mut Decoder<'_>,
    key: &str,
    choices: &[(&str, T)],
) -> Result<T, Refusal> {
    let token = decoder.next()?;
    if let Token::Atom(name) | Token::Binary(name) = token {
        if let Some((_, value)) = choices.iter().find(|(choice, _)| choice.as_bytes() == name) {
            return Ok(*value);
        }
    }
    Err(wrong(key, token, format_args!("one of {}", names(choices))))
}

/// A list of texts.
pub(super) fn texts<'a>(decoder: &mut Decoder<'a>, key: &str, max: u32) -> Result<Vec<&'a str>, Refusal> {
    let allowed = format_args!("a list of at most {max} binaries of UTF-8 without NUL");
    let count = match decoder.next()? {
        Token::EmptyList => return Ok(Vec::new()),
        Token::List(count) if count <= max => count,
        token => return Err(wrong(key, token, allowed)),
    };
    let mut texts = Vec::new();
    for _ in 0..count {
        let token = decoder.next()?;
        let text = match token {
            Token::Binary(text) => check_text(text).ok(),
            _ => None,
        };
        match text {
            Some(text) => texts.push(text),
            None => return Err(wrong(key, token, allowed)),
        }
    }
    decoder.list_end()?;
    Ok(texts)
}

pub(super) fn text<'a>(decoder: &mut Decoder<'a>, key: &str) -> Result<&'a str, Refusal> {
    let token = decoder.next()?;
    let text = match token {
        Token::Binary(text) => check_text(text).ok(),
        _ => None,
    };
    text.ok_or_else(|| wrong(key, token, "a binary of UTF-8 without NUL"))
}

pub(super) fn boolean(decoder: &mut Decoder<'_>, key: &str) -> Result<bool, Refusal> {
    choice(decoder, key, BOOLEANS)
}

/// A map from names to values, of pragmas or limits.
fn settings<'a>(decoder: &mut Decoder<'a>, key: &str) -> Result<Vec<(String, PragmaValue<'a>)>, Refusal> {
    let pairs = match decoder.next()? {
        Token::Map(pairs) if pairs <= PRAGMAS_MAX => pairs,
        token => return Err(wrong(key, token, format_args!("a map of at most {PRAGMAS_MAX} pairs"))),
    };
    (0..pairs).map(|_| setting(decoder, key)).collect()
}

fn setting<'a>(decoder: &mut Decoder<'a>, key: &str) -> Result<(String, PragmaValue<'a>), Refusal> {
    let token = decoder.next()?;
    let name = match token {
        Token::Atom(name) | Token::Binary(name) => check_text(name).ok(),
        _ => None,
    };
    let Some(name) = name else {
        return Err(invalid(format_args!(
            "a name in {key} must be an atom or a text, not {}",
            shown_token(token)
        )));
    };
    let token = decoder.next()?;
    let value = match token {
        Token::Integer(value) => Some(PragmaValue::Integer(value)),
        Token::Float(value) => Some(PragmaValue::Real(value)),
        Token::Atom(b"true") => Some(PragmaValue::Bool(true)),
        Token::Atom(b"false") => Some(PragmaValue::Bool(false)),
        Token::Atom(word) | Token::Binary(word) => check_text(word).ok().map(PragmaValue::Word),
        _ => None,
    };
    match value {
        Some(value) => Ok((name.to_owned(), value)),
        None => Err(wrong(
            &format!("{} of {key}", Shown(name.as_bytes())),
            token,
            format_args!("an integer, a float, a boolean, an atom or a text"),
        )),
    }
}

#[cold]
pub(super) fn wrong(key: &str, found: Token<'_>, allowed: impl Display) -> Refusal {
    invalid(format_args!("{key} must be {allowed}, not {}", shown_token(found)))
}

#[cold]
pub(super) fn invalid(message: impl Display) -> Refusal {
    RequestError::new(ErrorCode::InvalidOption, format!("options: {message}")).into()
}
