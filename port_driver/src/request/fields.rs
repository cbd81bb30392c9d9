//! Reads the fields of a request's tuple one behind the other, with errors that name request and field.

use std::fmt::Display;

use super::{
    options, policy, replica, tag, Batch, Function, Hook, OpenOptions, Policy, Refusal, RequestError,
    ResultOptions, Scope, Subscribe, Target, Until,
};
use crate::answer::Answer;
use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use crate::params::Params;
use crate::value::Shown;

/// What error messages call the fields that most requests start with.
const CONNECTION: &str = "the connection";
pub(super) const TIMEOUT: &str = "the timeout";

/// Where in its payload a request is being read.
pub(super) struct Fields<'a> {
    tag: u8,
    decoder: Decoder<'a>,
}

impl<'a> Fields<'a> {
    #[inline]
    pub fn new(tag: u8, payload: &'a [u8]) -> Self {
        Self { tag, decoder: Decoder::new(payload) }
    }

    /// The payload is a tuple of `least` to `most` fields. Gives how many it has.
    #[inline]
    pub fn tuple(&mut self, least: u32, most: u32) -> Result<u32, Refusal> {
        match self.decoder.next()? {
            Token::Tuple(arity) if (least..=most).contains(&arity) => Ok(arity),
            token => Err(self.wrong_payload(token, least, most)),
        }
    }

    /// The payload is `{Connection, TimeoutMs, …}` with `least` to `most` fields more. Gives how many more it
    /// has.
    #[inline]
    pub fn addressed(&mut self, least: u32, most: u32) -> Result<u32, Refusal> {
        let arity = self.tuple(least + 2, most + 2)?;
        self.address()?;
        self.timeout()?;
        Ok(arity - 2)
    }

    /// A connection, or a connection and one of its transactions.
    #[inline]
    pub fn address(&mut self) -> Result<(u32, Option<u32>), Refusal> {
        self.one_or_two(CONNECTION, "the transaction", "{Connection, Transaction}")
    }

    /// A time limit, or a time limit and a part of it that may be spent waiting for locks.
    #[inline]
    pub fn timeout(&mut self) -> Result<(u32, Option<u32>), Refusal> {
        self.one_or_two(TIMEOUT, "the lock timeout", "{TimeoutMs, LockTimeoutMs}")
    }

    #[inline]
    fn one_or_two(
        &mut self,
        first: &'static str,
        second: &'static str,
        both: &'static str,
    ) -> Result<(u32, Option<u32>), Refusal> {
        match self.decoder.small_unsigned() {
            Some(value) => Ok((value, None)),
            None => self.any_one_or_two(first, second, both),
        }
    }

    fn any_one_or_two(
        &mut self,
        first: &'static str,
        second: &'static str,
        both: &'static str,
    ) -> Result<(u32, Option<u32>), Refusal> {
        match self.decoder.next()? {
            Token::Integer(value) if u32::try_from(value).is_ok() => Ok((value as u32, None)),
            Token::Tuple(2) => Ok((self.u32(first)?, Some(self.u32(second)?))),
            token => {
                let expected = format_args!("an integer from 0 to {}, or {both}", u32::MAX).to_string();
                Err(self.wrong(first, &expected, token))
            }
        }
    }

    /// Nothing may follow.
    #[inline]
    pub fn end<T>(&self, request: T) -> Result<T, Refusal> {
        self.decoder.finish()?;
        Ok(request)
    }

    pub fn nil(&mut self) -> Result<(), Refusal> {
        match self.decoder.next()? {
            Token::Atom(b"nil") => Ok(()),
            token => Err(self.wrong("the payload", &"nil", token)),
        }
    }

    #[inline]
    pub fn u32(&mut self, field: &str) -> Result<u32, Refusal> {
        match self.decoder.small_unsigned() {
            Some(value) => Ok(value),
            None => self.any_u32(field),
        }
    }

    fn any_u32(&mut self, field: &str) -> Result<u32, Refusal> {
        let token = self.decoder.next()?;
        if let Token::Integer(value) = token {
            if let Ok(value) = u32::try_from(value) {
                return Ok(value);
            }
        }
        Err(self.wrong(field, &format_args!("an integer from 0 to {}", u32::MAX), token))
    }

    pub fn bool(&mut self, field: &str) -> Result<bool, Refusal> {
        match self.decoder.next()? {
            Token::Atom(b"true") => Ok(true),
            Token::Atom(b"false") => Ok(false),
            token => Err(self.wrong(field, &"true or false", token)),
        }
    }

    /// One of some atoms.
    pub fn choice<T: Copy>(&mut self, field: &str, choices: &[(&str, T)]) -> Result<T, Refusal> {
        let token = self.decoder.next()?;
        if let Token::Atom(name) = token {
            if let Some((_, value)) = choices.iter().find(|(choice, _)| choice.as_bytes() == name) {
                return Ok(*value);
            }
        }
        Err(self.wrong(field, &format_args!("one of the atoms {}", names(choices)), token))
    }

    /// A statement's text.
    #[inline]
    pub fn sql(&mut self) -> Result<&'a str, Refusal> {
        self.text("the SQL text")
    }

    /// A savepoint's name.
    pub fn name(&mut self) -> Result<&'a str, Refusal> {
        self.text("the name")
    }

    /// A text, or a prepared statement's id.
    pub fn target(&mut self) -> Result<Target<'a>, Refusal> {
        match self.decoder.next()? {
            Token::Binary(bytes) => Ok(Target::Sql(self.clean_text("the SQL text", bytes)?)),
            Token::Integer(value) if u32::try_from(value).is_ok() => Ok(Target::Statement(value as u32)),
            token => {
                Err(self.wrong("the statement", &"a binary (SQL text) or the id of a prepared one", token))
            }
        }
    }

    /// A path or a database's name.
    pub fn path(&mut self) -> Result<&'a str, Refusal> {
        match self.decoder.next()? {
            Token::Binary(bytes) => check_text(bytes).map_err(|fault| {
                RequestError::new(ErrorCode::InvalidOption, format!("{}: the path {fault}", self.request()))
                    .into()
            }),
            token => Err(self.wrong("the path", &"a binary", token)),
        }
    }

    #[inline]
    pub fn params(&mut self) -> Result<Params<'a>, Refusal> {
        Params::decode(&mut self.decoder, 1)
    }

    #[inline]
    pub fn result_options(&mut self, present: bool) -> Result<ResultOptions, Refusal> {
        if present {
            ResultOptions::decode(&mut self.decoder)
        } else {
            Ok(ResultOptions::default())
        }
    }

    /// The options of a cursor.
    pub fn live(&mut self, present: bool) -> Result<bool, Refusal> {
        if present {
            options::cursor_is_live(&mut self.decoder)
        } else {
            Ok(false)
        }
    }

    /// `Scope, Options` of a subscription.
    pub fn subscribe(&mut self) -> Result<Subscribe<'a>, Refusal> {
        let scope = match self.decoder.next()? {
            Token::Atom(b"nil") => Scope::All,
            Token::Integer(value) if u32::try_from(value).is_ok() => Scope::Connection(value as u32),
            Token::Binary(bytes) => Scope::Database(self.clean_text("the database", bytes)?),
            token => {
                return Err(self.wrong("the scope", &"nil, a connection or the name of a database", token))
            }
        };
        Subscribe::decode(scope, &mut self.decoder)
    }

    /// A policy, or `nil`.
    pub fn policy(&mut self) -> Result<Option<Policy<'a>>, Refusal> {
        policy::decode(&mut self.decoder)
    }

    /// The options of `sync`.
    pub fn sync(&mut self) -> Result<Option<Until<'a>>, Refusal> {
        replica::sync(&mut self.decoder)
    }

    pub fn open_options(&mut self) -> Result<OpenOptions<'a>, Refusal> {
        OpenOptions::decode(&mut self.decoder)
    }

    /// A function's description.
    pub fn function(&mut self) -> Result<Function<'a>, Refusal> {
        Function::decode(&mut self.decoder, self.tag == tag::CREATE_FUNCTION)
    }

    /// A hook's description.
    pub fn hook(&mut self) -> Result<Hook<'a>, Refusal> {
        Hook::decode(&mut self.decoder)
    }

    /// `{ok, Value}` or `{error, Message}`.
    pub fn answer(&mut self) -> Result<Answer<'a>, Refusal> {
        const SHAPE: &str = "{ok, Value} or {error, Message} with a binary";
        match self.decoder.next()? {
            Token::Tuple(2) => {}
            token => return Err(self.wrong("the outcome", &SHAPE, token)),
        }
        match self.decoder.next()? {
            Token::Atom(b"ok") => Ok(Answer::Value(self.decoder.skip_terms(1, 2)?)),
            Token::Atom(b"error") => match self.decoder.next()? {
                Token::Binary(message) => Ok(Answer::Error(message)),
                token => Err(self.wrong("the message", &"a binary", token)),
            },
            token => Err(self.wrong("the outcome", &SHAPE, token)),
        }
    }

    /// `Atomic, [{Sql, Params}, …]`. Each statement is read here once, so that a wrong one is refused before
    /// any other has run.
    pub fn batch(&mut self) -> Result<Batch<'a>, Refusal> {
        let atomic = self.bool("atomic")?;
        let (len, is_list) = match self.decoder.next()? {
            Token::EmptyList => (0, false),
            Token::List(len) => (len, true),
            token => return Err(self.wrong("the batch", &"a list of {Sql, Params}", token)),
        };
        let start = self.decoder.position();
        for index in 0..len {
            self.batch_item().map_err(|refusal| at_statement(refusal, index))?;
        }
        let end = self.decoder.position();
        if is_list {
            self.decoder.list_end()?;
        }
        Ok(Batch::new(atomic, len, self.decoder.slice(start, end)))
    }

    fn batch_item(&mut self) -> Result<(&'a str, Params<'a>), Refusal> {
        match self.decoder.next()? {
            Token::Tuple(2) => {
                let sql = self.sql()?;
                Ok((sql, Params::decode(&mut self.decoder, 3)?))
            }
            token => Err(self.wrong("an element", &"a tuple {Sql, Params}", token)),
        }
    }

    /// The next statement of a batch whose statements have all been read before.
    pub fn reread_batch_item(bytes: &'a [u8]) -> Result<(&'a str, Params<'a>, &'a [u8]), Refusal> {
        let mut fields = Fields::new(tag::BATCH, bytes);
        let (sql, params) = fields.batch_item()?;
        Ok((sql, params, &bytes[fields.decoder.position()..]))
    }

    #[inline]
    fn text(&mut self, field: &str) -> Result<&'a str, Refusal> {
        match self.decoder.next()? {
            Token::Binary(bytes) => self.clean_text(field, bytes),
            token => Err(self.wrong(field, &"a binary", token)),
        }
    }

    #[inline]
    fn clean_text(&self, field: &str, bytes: &'a [u8]) -> Result<&'a str, Refusal> {
        check_text(bytes).map_err(|fault| {
            RequestError::new(ErrorCode::InvalidRequest, format!("{}: {field} {fault}", self.request()))
                .into()
        })
    }

    fn request(&self) -> String {
        tag::name(self.tag).map_or_else(|| format!("tag {}", self.tag), str::to_ascii_lowercase)
    }

    #[cold]
    fn wrong(&self, field: &str, expected: &dyn Display, found: Token<'_>) -> Refusal {
        RequestError::new(
            ErrorCode::InvalidRequest,
            format!("{}: {field} must be {expected}, not {}", self.request(), shown_token(found)),
        )
        .into()
    }

    #[cold]
    fn wrong_payload(&self, found: Token<'_>, least: u32, most: u32) -> Refusal {
        match most {
            u32::MAX => self.wrong("the payload", &"a tuple {Connection, TimeoutMs, …}", found),
            most if most == least => self.wrong("the payload", &format_args!("a tuple of {least}"), found),
            most => self.wrong("the payload", &format_args!("a tuple of {least} to {most}"), found),
        }
    }
}

/// What is wrong with a text that is to become a C string.
pub(super) enum TextFault {
    Utf8(usize),
    Nul(usize),
}

impl Display for TextFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TextFault::Utf8(offset) => write!(f, "is not valid UTF-8 from its byte {offset} on"),
            TextFault::Nul(offset) => write!(f, "contains a NUL, at its byte {offset}"),
        }
    }
}

/// UTF-8 without a NUL, at which SQLite would end it.
#[inline]
pub(super) fn check_text(bytes: &[u8]) -> Result<&str, TextFault> {
    let text = std::str::from_utf8(bytes).map_err(|error| TextFault::Utf8(error.valid_up_to()))?;
    // A search that does not end early is compiled to vector instructions; `contains` took as long as all the UTF-8.
    if bytes.iter().fold(false, |found, byte| found | (*byte == 0)) {
        return Err(TextFault::Nul(bytes.iter().position(|byte| *byte == 0).unwrap_or_default()));
    }
    Ok(text)
}

/// `a, b, c` of a table of choices.
pub(super) fn names<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// A token in a message.
pub(super) fn shown_token(token: Token<'_>) -> String {
    match token {
        Token::Integer(value) => value.to_string(),
        Token::BigInteger { .. } => "an integer beyond 64 bits".to_owned(),
        Token::Float(value) => format!("{value:?}"),
        Token::Atom(name) => format!("the atom {}", Shown(name)),
        Token::Binary(bytes) => format!("the binary \"{}\"", Shown(bytes)),
        Token::EmptyList | Token::List(_) | Token::String(_) => "a list".to_owned(),
        Token::Tuple(arity) => format!("a tuple of {arity}"),
        Token::Map(_) => "a map".to_owned(),
    }
}

fn at_statement(refusal: Refusal, index: u32) -> Refusal {
    match refusal {
        Refusal::Answer(RequestError { code, message }) => {
            Refusal::Answer(RequestError::new(code, format!("statement {index} (from 0): {message}")))
        }
        fatal => fatal,
    }
}
