//! What `set_hook` says of a hook: a decision that the client is asked for (protocol, section 3).

use super::options::{choice, for_each_option, integer, invalid};
use super::subscribe::ChangeFilter;
use super::Refusal;
use crate::etf::Decoder;

/// A decision of the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook<'a> {
    /// The client's number for it, given back in each call.
    pub callback: u32,
    /// What is decided.
    pub kind: HookKind,
    /// How long the client may think; 0: as long as its request has.
    pub timeout_ms: u32,
    /// Which changes a commit hook is asked about, and what it is told of them.
    pub changes: ChangeFilter<'a>,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// Whether a transaction is committed.
    Commit,
    /// What a statement may do.
    Authorizer,
}

pub(super) const KINDS: &[(&str, HookKind)] =
    &[("commit", HookKind::Commit), ("authorizer", HookKind::Authorizer)];

const KEYS: &[&str] =
    &["callback", "kind", "timeout", "tables", "operations", "values", "columns", "changed_columns"];

/// Less than what others wait for the writer turn, which is held meanwhile.
const COMMIT_TIMEOUT_MS: u32 = 1000;
const AUTHORIZER_TIMEOUT_MS: u32 = 5000;

impl<'a> Hook<'a> {
    pub(super) fn decode(decoder: &mut Decoder<'a>) -> Result<Self, Refusal> {
        let (mut callback, mut kind, mut timeout_ms) = (0, None, None);
        let mut changes = ChangeFilter::ALL;
        let mut filtered = None;
        for_each_option(decoder, KEYS, |key, decoder| {
            match key {
                "callback" => callback = integer(decoder, key, i32::MAX as u64)? as u32,
                "kind" => kind = Some(choice(decoder, key, KINDS)?),
                "timeout" => timeout_ms = Some(integer(decoder, key, i32::MAX as u64)? as u32),
                _ => {
                    filtered = Some(key);
                    changes.set(key, decoder)?;
                }
            }
            Ok(())
        })?;
        let timeout_ms = match (kind, filtered) {
            (None, _) => return Err(invalid("kind is missing: commit or authorizer")),
            (Some(HookKind::Authorizer), Some(key)) => {
                return Err(invalid(format_args!(
                    "{key} is for a commit hook; an authorizer is asked about everything"
                )))
            }
            (Some(HookKind::Authorizer), None) => timeout_ms.unwrap_or(AUTHORIZER_TIMEOUT_MS),
            (Some(HookKind::Commit), _) => timeout_ms.unwrap_or(COMMIT_TIMEOUT_MS),
        };
        let Some(kind) = kind else { return Err(invalid("kind is missing")) };
        Ok(Hook { callback, kind, timeout_ms, changes })
    }
}
