//! What `create_function` and `drop_function` say of a function (protocol, section 3).

use super::options::{boolean, choice, for_each_option, integer, invalid, text, texts};
use super::Refusal;
use crate::etf::{Decoder, Token};

/// What SQL calls, and the client answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// The client's number for it, given back in each call.
    pub callback: u32,
    /// As SQL calls it.
    pub name: &'a str,
    /// How it is called.
    pub kind: FunctionKind,
    /// How many arguments it takes; `None`: any number.
    pub arguments: Option<u8>,
    /// The same arguments give the same result.
    pub deterministic: bool,
    /// Not to be used by what is in a schema: views, triggers, indexes, checks, generated columns.
    pub directonly: bool,
    /// How long one call may take; 0: as long as its request.
    pub timeout_ms: u32,
    /// The columns of a table function.
    pub columns: Vec<&'a str>,
    /// Its parameters.
    pub parameters: Vec<&'a str>,
}

/// What kind of thing is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// A value for the values of a row.
    Scalar,
    /// A value for the rows of a group.
    Aggregate,
    /// The same, also for the rows of a window's frame.
    Window,
    /// Rows.
    Table,
    /// An order of texts.
    Collation,
}

const KINDS: &[(&str, FunctionKind)] = &[
    ("scalar", FunctionKind::Scalar),
    ("aggregate", FunctionKind::Aggregate),
    ("window", FunctionKind::Window),
    ("table", FunctionKind::Table),
    ("collation", FunctionKind::Collation),
];

const KEYS: &[&str] = &[
    "callback",
    "name",
    "kind",
    "arguments",
    "deterministic",
    "directonly",
    "timeout",
    "columns",
    "parameters",
];

/// The longest name, SQLite's own limit.
pub const NAME_BYTES_MAX: usize = 255;
/// The most arguments of a function.
pub const ARGUMENTS_MAX: u8 = 100;
/// The most columns of a table function.
pub const COLUMNS_MAX: u32 = 100;
/// The most parameters of a table function.
pub const PARAMETERS_MAX: u32 = 32;
/// What one call may take unless it is said.
const TIMEOUT_MS: u32 = 5000;

impl<'a> Function<'a> {
    /// Reads a function, of which `all` is needed to create it; to drop it, its name, kind and number of arguments.
    pub(super) fn decode(decoder: &mut Decoder<'a>, all: bool) -> Result<Self, Refusal> {
        let (mut callback, mut name, mut kind) = (0, "", None);
        let mut function = Function {
            callback: 0,
            name: "",
            kind: FunctionKind::Scalar,
            arguments: None,
            deterministic: false,
            directonly: true,
            timeout_ms: TIMEOUT_MS,
            columns: Vec::new(),
            parameters: Vec::new(),
        };
        for_each_option(decoder, KEYS, |key, decoder| {
            match key {
                "callback" => callback = integer(decoder, key, i32::MAX as u64)? as u32,
                "name" => name = text(decoder, key)?,
                "kind" => kind = Some(choice(decoder, key, KINDS)?),
                "arguments" => function.arguments = arguments(decoder, key)?,
                "deterministic" => function.deterministic = boolean(decoder, key)?,
                "directonly" => function.directonly = boolean(decoder, key)?,
                "timeout" => function.timeout_ms = integer(decoder, key, i32::MAX as u64)? as u32,
                "columns" => function.columns = texts(decoder, key, COLUMNS_MAX)?,
                _ => function.parameters = texts(decoder, key, PARAMETERS_MAX)?,
            }
            Ok(())
        })?;
        let Some(kind) = kind else {
            return Err(invalid("kind is missing: scalar, aggregate, window, table or collation"));
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(invalid(format_args!("name must have 1 to {NAME_BYTES_MAX} bytes")));
        }
        if (kind == FunctionKind::Table) == function.columns.is_empty()
            && (all || kind != FunctionKind::Table)
        {
            return Err(invalid(
                "columns are the names of 1 to 100 columns of a table function, and of nothing else",
            ));
        }
        if kind != FunctionKind::Table && !function.parameters.is_empty() {
            return Err(invalid(
                "parameters are those of a table function; of others, arguments says how many they take",
            ));
        }
        if kind == FunctionKind::Window && function.arguments == Some(0) {
            // Nothing would tell what leaves the frame.
            return Err(invalid("a window function takes at least one argument"));
        }
        Ok(Function { callback, name, kind, ..function })
    }
}

fn arguments(decoder: &mut Decoder<'_>, key: &str) -> Result<Option<u8>, Refusal> {
    match decoder.next()? {
        Token::Integer(-1) => Ok(None),
        Token::Integer(count) if (0..=i64::from(ARGUMENTS_MAX)).contains(&count) => Ok(Some(count as u8)),
        token => Err(invalid(format_args!(
            "{key} must be an integer from 0 to {ARGUMENTS_MAX}, or -1 for any number, not {}",
            super::fields::shown_token(token)
        ))),
    }
}
