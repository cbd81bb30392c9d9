//! Embedded replicas: the options of `open` for them, and what is asked of them alone.

use super::options::{boolean, choice, for_each_option, integer, text, wrong};
use super::{Refusal, RequestError};
use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};

/// How a replica is kept, and what may be read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// Time from the end of a sync to the next one; 0: none but those that are asked for.
    pub sync_interval_ms: u32,
    /// How old what is read may be.
    pub consistency: Consistency,
    /// The server is not asked at `open`.
    pub offline: bool,
    /// How long the server may be silent in the midst of a sync.
    pub sync_silence_ms: u32,
    /// How old what is read may be, by the time of the last sync; `None`: as old as it is.
    pub max_lag_ms: Option<u32>,
    /// What becomes of a read for which the file is older.
    pub when_stale: WhenStale,
}

/// What becomes of a read for which a replica's file is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    /// It runs on the server.
    Server,
    /// It is an error.
    Error,
}

/// How old what is read of a replica may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Whatever the file has.
    Local,
    /// With all that this connection has written.
    ReadYourWrites,
    /// With all that the server has as the read begins.
    Latest,
}

/// A frame of a server's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until<'a> {
    /// Of which log; `None`: the one that the replica follows.
    pub log: Option<&'a str>,
    /// Its number.
    pub frame: u64,
}

pub(super) const CONSISTENCIES: &[(&str, Consistency)] = &[
    ("local", Consistency::Local),
    ("read_your_writes", Consistency::ReadYourWrites),
    ("latest", Consistency::Latest),
];

const WHEN_STALE: &[(&str, WhenStale)] = &[("server", WhenStale::Server), ("error", WhenStale::Error)];

#[derive(Clone, Copy)]
enum Protocol {
    V1,
    V2,
    Auto,
}

const PROTOCOLS: &[(&str, Protocol)] =
    &[("v1", Protocol::V1), ("v2", Protocol::V2), ("auto", Protocol::Auto)];

/// A day.
const TIME_MS_MAX: u64 = 86_400_000;
const SYNC_SILENCE_MS: u32 = 30_000;

/// The keys of `open` that are for replicas alone.
pub(super) const KEYS: &[&str] = &[
    "consistency",
    "sync_interval_ms",
    "offline",
    "sync_silence_ms",
    "sync_protocol",
    "max_lag_ms",
    "when_stale",
];
const SYNC_KEYS: &[&str] = &["until"];

impl Default for ReplicaOptions {
    fn default() -> Self {
        ReplicaOptions {
            sync_interval_ms: 0,
            consistency: Consistency::ReadYourWrites,
            offline: false,
            sync_silence_ms: SYNC_SILENCE_MS,
            max_lag_ms: None,
            when_stale: WhenStale::Server,
        }
    }
}

impl ReplicaOptions {
    /// Reads the value of `key`, one of `open`'s.
    pub(super) fn read(&mut self, key: &str, decoder: &mut Decoder<'_>) -> Result<(), Refusal> {
        match key {
            "sync_interval_ms" => self.sync_interval_ms = integer(decoder, key, TIME_MS_MAX)? as u32,
            "consistency" => self.consistency = choice(decoder, key, CONSISTENCIES)?,
            "offline" => self.offline = boolean(decoder, key)?,
            "sync_silence_ms" => self.sync_silence_ms = time(decoder, key)?,
            "max_lag_ms" => self.max_lag_ms = Some(time(decoder, key)?),
            "when_stale" => self.when_stale = choice(decoder, key, WHEN_STALE)?,
            _ => protocol(choice(decoder, key, PROTOCOLS)?)?,
        }
        Ok(())
    }
}

/// Milliseconds, of which there is at least one.
pub(super) fn time(decoder: &mut Decoder<'_>, key: &str) -> Result<u32, Refusal> {
    match decoder.next()? {
        Token::Integer(ms) if (1..=TIME_MS_MAX as i64).contains(&ms) => Ok(ms as u32),
        token => Err(wrong(key, token, format_args!("an integer from 1 to {TIME_MS_MAX}"))),
    }
}

fn protocol(protocol: Protocol) -> Result<(), Refusal> {
    let why = match protocol {
        Protocol::V1 => return Ok(()),
        Protocol::Auto => {
            "asks the server which protocol it has, so that a replica cannot be opened without it, and may choose v2"
        }
        Protocol::V2 => {
            "sends pages of a local file to the server by their numbers: any checkpoint breaks it, and what two clients \
             write is not merged. To write without a server, keep what is to be written in a table of a local database"
        }
    };
    let message = format!("options: sync_protocol can only be v1; the other one {why}");
    Err(RequestError::new(ErrorCode::Unsupported, message).into())
}

/// The options of `sync`.
pub(super) fn sync<'a>(decoder: &mut Decoder<'a>) -> Result<Option<Until<'a>>, Refusal> {
    let mut until = None;
    for_each_option(decoder, SYNC_KEYS, |key, decoder| {
        let allowed = "the number of a frame, or {Log, Frame} as replication_status gives them";
        let (log, frame) = match decoder.next()? {
            Token::Tuple(2) => (Some(text(decoder, key)?), decoder.next()?),
            frame => (None, frame),
        };
        let Token::Integer(number) = frame else { return Err(wrong(key, frame, allowed)) };
        let Ok(number) = u64::try_from(number) else { return Err(wrong(key, frame, allowed)) };
        until = Some(Until { log, frame: number });
        Ok(())
    })?;
    Ok(until)
}
