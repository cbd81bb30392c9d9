//! A policy as it travels (protocol, section 3, "Policies"): the form alone. Which actions, names and ready-made policies there
//! are is the program's to say.

use super::fields::{check_text, shown_token};
use super::{Refusal, RequestError};
use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use std::fmt::Display;

/// Elements of a policy.
pub const RULES_MAX: u32 = 1000;
/// Actions, or names, of one list in a rule.
pub const NAMES_MAX: u32 = 1000;

/// The elements of a policy, in their order.
pub type Policy<'a> = Vec<PolicyElement<'a>>;

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyElement<'a> {
    /// A ready-made policy, by its name.
    Ready(&'a str),
    /// A rule: `{Effect, Actions, Names}`.
    Rule(PolicyRule<'a>),
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule<'a> {
    /// What it does with what it matches.
    pub effect: Effect,
    /// The actions, by their names.
    pub actions: Vec<&'a str>,
    /// Keys and the names that each may have; `None` among them for an absent one.
    pub names: Vec<(&'a str, Vec<Option<&'a str>>)>,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is done.
    Allow,
    /// The statement is an error.
    Deny,
    /// The value is NULL, or the column is left as it is.
    Ignore,
}

impl Effect {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
            Effect::Ignore => "ignore",
        }
    }
}

/// Reads a list of elements; `None` for `nil`.
pub(super) fn decode<'a>(decoder: &mut Decoder<'a>) -> Result<Option<Policy<'a>>, Refusal> {
    let count = match decoder.next()? {
        Token::Atom(b"nil") => return Ok(None),
        Token::EmptyList => return Ok(Some(Vec::new())),
        Token::List(count) if count <= RULES_MAX => count,
        token => return Err(wrong("the policy", &list_of("elements", RULES_MAX), token)),
    };
    let elements = (0..count).map(|index| element(decoder, index)).collect::<Result<_, Refusal>>()?;
    decoder.list_end()?;
    Ok(Some(elements))
}

fn element<'a>(decoder: &mut Decoder<'a>, index: u32) -> Result<PolicyElement<'a>, Refusal> {
    let at = |what: &str| format!("{what} of the policy's element {index} (from 0)");
    match decoder.next()? {
        Token::Atom(name) | Token::Binary(name) => Ok(PolicyElement::Ready(text(name, &at("the name"))?)),
        Token::Tuple(3) => {
            let effect = match decoder.next()? {
                Token::Atom(b"allow") => Effect::Allow,
                Token::Atom(b"deny") => Effect::Deny,
                Token::Atom(b"ignore") => Effect::Ignore,
                token => return Err(wrong(&at("the effect"), &"allow, deny or ignore", token)),
            };
            let actions = texts(decoder, &at("the actions"), false)?.into_iter().flatten().collect();
            Ok(PolicyElement::Rule(PolicyRule { effect, actions, names: names(decoder, &at("the names"))? }))
        }
        token => Err(wrong(&at("the form"), &"a name or {Effect, Actions, Names}", token)),
    }
}

/// What a rule is about, each with the names that it is for.
type Names<'a> = Vec<(&'a str, Vec<Option<&'a str>>)>;

fn names<'a>(decoder: &mut Decoder<'a>, at: &str) -> Result<Names<'a>, Refusal> {
    let pairs = match decoder.next()? {
        Token::Map(pairs) if pairs <= 16 => pairs,
        token => return Err(wrong(at, &"a map from keys to lists of names", token)),
    };
    let mut names: Vec<(&str, Vec<_>)> = Vec::new();
    for _ in 0..pairs {
        let key = match decoder.next()? {
            Token::Atom(key) | Token::Binary(key) => text(key, at)?,
            token => return Err(wrong(at, &"a map whose keys are atoms", token)),
        };
        if names.iter().any(|(other, _)| *other == key) {
            return Err(invalid(format_args!("{at}: {key} is given twice")));
        }
        names.push((key, texts(decoder, at, true)?));
    }
    Ok(names)
}

/// A list of texts, and of `nil` if that may stand among them.
fn texts<'a>(decoder: &mut Decoder<'a>, at: &str, nil: bool) -> Result<Vec<Option<&'a str>>, Refusal> {
    let count = match decoder.next()? {
        Token::EmptyList => return Ok(Vec::new()),
        Token::List(count) if count <= NAMES_MAX => count,
        token => return Err(wrong(at, &list_of("names", NAMES_MAX), token)),
    };
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(match decoder.next()? {
            Token::Atom(b"nil") if nil => None,
            Token::Atom(name) | Token::Binary(name) => Some(text(name, at)?),
            token => return Err(wrong(at, &"a list of atoms or binaries", token)),
        });
    }
    decoder.list_end()?;
    Ok(found)
}

fn text<'a>(bytes: &'a [u8], at: &str) -> Result<&'a str, Refusal> {
    check_text(bytes).map_err(|fault| invalid(format_args!("{at}: a name {fault}")))
}

fn list_of(what: &str, max: u32) -> String {
    format!("a list of at most {max} {what}")
}

#[cold]
fn wrong(at: &str, expected: &dyn Display, found: Token<'_>) -> Refusal {
    invalid(format_args!("{at} must be {expected}, not {}", shown_token(found)))
}

#[cold]
fn invalid(message: impl Display) -> Refusal {
    RequestError::new(ErrorCode::InvalidOption, format!("policy: {message}")).into()
}
