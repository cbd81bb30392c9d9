//! The options of `open` that name a database on a server: where it is, and how to get there.

use super::options::{boolean, choice, integer, text, texts, wrong};
use super::{Refusal, RequestError};
use crate::error_code::ErrorCode;
use crate::etf::{Decoder, Token};
use std::fmt;

/// A database on a server, as `open` asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteOptions<'a> {
    /// Where the server is. May bear a token.
    pub url: Secret<'a>,
    /// Who the client is.
    pub auth_token: Option<Secret<'a>>,
    /// The client's number of the callback that answers with a token.
    pub ask_auth_token: Option<u32>,
    /// Which of the server's databases.
    pub namespace: Option<&'a str>,
    /// `false`: what is sent to another host may be sent unencrypted.
    pub tls: bool,
    /// A file of certificates in PEM form that sign the server's, beside the roots.
    pub ca_file: Option<&'a str>,
    /// A file with the client's certificates in PEM form.
    pub client_cert_file: Option<&'a str>,
    /// A file with the key of that.
    pub client_key_file: Option<&'a str>,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// A proxy's URL; `None`: as the environment says; empty: none.
    pub proxy: Option<Secret<'a>>,
    /// For DNS, TCP, proxy and TLS together.
    pub connect_timeout_ms: u32,
    /// How long a stream of the server is kept for the next statement; 0: not at all.
    pub stream_idle_ms: u32,
    /// The longest body that a server may answer with.
    pub response_bytes_max: u32,
    /// Sockets to one server that are kept for the next request.
    pub idle_sockets_max: u32,
    /// How long they are kept.
    pub socket_idle_ms: u32,
    /// So many failures, one after the other, have a server asked nothing for a while; 0: none do.
    pub breaker_failures: u32,
    /// For how long at first.
    pub breaker_delay_ms: u32,
    /// And at most.
    pub breaker_delay_max_ms: u32,
    /// How long a probe is waited for.
    pub probe_timeout_ms: u32,
    /// Servers that follow the one of `url`.
    pub replica_urls: Vec<Secret<'a>>,
    /// Which server reads by themselves go to.
    pub read_from: ReadFrom,
    /// Where they go while the one of `url` is not there.
    pub fallback_reads: FallbackReads<'a>,
    /// How long a server that follows is waited for until it has what this program has written.
    pub replica_wait_ms: u32,
    /// How often the distance to servers is measured.
    pub measure_interval_ms: u32,
}

/// Which server reads by themselves go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The one of `url`.
    Primary,
    /// One of those that follow it.
    Replica,
    /// The one that answers soonest.
    Nearest,
}

/// Where reads by themselves go while the server of `url` is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FallbackReads<'a> {
    /// Nowhere.
    None,
    /// To all of `replica_urls`.
    All,
    /// To these, which are among them.
    These(Vec<Secret<'a>>),
}

/// A text that no log shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(pub &'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Whose certificates are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Those of the system.
    Native,
    /// Mozilla's, as they were when the program was built.
    Webpki,
}

const ROOTS: &[(&str, Roots)] = &[("native", Roots::Native), ("webpki", Roots::Webpki)];

const READ_FROM: &[(&str, ReadFrom)] =
    &[("primary", ReadFrom::Primary), ("replica", ReadFrom::Replica), ("nearest", ReadFrom::Nearest)];

/// More would not be options but an attack.
const REPLICAS_MAX: u32 = 64;

/// A server gives up a stream after 10 s.
const STREAM_IDLE_MS_MAX: u64 = 8_000;
/// A day.
const DAY_MS: u64 = 86_400_000;

/// What has been read of them so far.
#[derive(Default)]
pub(super) struct RemoteParts<'a> {
    url: Option<&'a str>,
    auth_token: Option<&'a str>,
    ask_auth_token: Option<u32>,
    namespace: Option<&'a str>,
    tls: Option<bool>,
    ca_file: Option<&'a str>,
    client_cert_file: Option<&'a str>,
    client_key_file: Option<&'a str>,
    roots: Option<Roots>,
    proxy: Option<&'a str>,
    connect_timeout_ms: Option<u32>,
    stream_idle_ms: Option<u32>,
    response_bytes_max: Option<u32>,
    idle_sockets_max: Option<u32>,
    socket_idle_ms: Option<u32>,
    breaker_failures: Option<u32>,
    breaker_delay_ms: Option<u32>,
    breaker_delay_max_ms: Option<u32>,
    probe_timeout_ms: Option<u32>,
    replica_urls: Option<Vec<&'a str>>,
    read_from: Option<ReadFrom>,
    fallback_reads: Option<FallbackReads<'a>>,
    replica_wait_ms: Option<u32>,
    measure_interval_ms: Option<u32>,
    first: Option<&'static str>,
}

impl<'a> RemoteParts<'a> {
    /// Reads the value of `key`, one of `open`'s.
    pub fn read(&mut self, key: &'static str, decoder: &mut Decoder<'a>) -> Result<(), Refusal> {
        self.first.get_or_insert(key);
        match key {
            "url" => self.url = Some(text(decoder, key)?),
            "auth_token" => self.auth_token = Some(secret(decoder, key)?),
            "ask_auth_token" => self.ask_auth_token = callback(decoder, key)?,
            "namespace" => self.namespace = Some(text(decoder, key)?),
            "tls" => self.tls = Some(boolean(decoder, key)?),
            "ca_file" => self.ca_file = Some(text(decoder, key)?),
            "client_cert_file" => self.client_cert_file = Some(text(decoder, key)?),
            "client_key_file" => self.client_key_file = Some(text(decoder, key)?),
            "roots" => self.roots = Some(choice(decoder, key, ROOTS)?),
            "proxy" => self.proxy = Some(text(decoder, key)?),
            "connect_timeout_ms" => self.connect_timeout_ms = Some(integer(decoder, key, DAY_MS)? as u32),
            "stream_idle_ms" => self.stream_idle_ms = Some(integer(decoder, key, STREAM_IDLE_MS_MAX)? as u32),
            "idle_sockets_max" => self.idle_sockets_max = Some(integer(decoder, key, 10_000)? as u32),
            "socket_idle_ms" => self.socket_idle_ms = Some(time(decoder, key)?),
            "breaker_failures" => self.breaker_failures = Some(integer(decoder, key, 1_000_000)? as u32),
            "breaker_delay_ms" => self.breaker_delay_ms = Some(time(decoder, key)?),
            "breaker_delay_max_ms" => self.breaker_delay_max_ms = Some(time(decoder, key)?),
            "probe_timeout_ms" => self.probe_timeout_ms = Some(time(decoder, key)?),
            "replica_urls" => self.replica_urls = Some(texts(decoder, key, REPLICAS_MAX)?),
            "read_from" => self.read_from = Some(choice(decoder, key, READ_FROM)?),
            "fallback_reads" => self.fallback_reads = Some(fallback_reads(decoder, key)?),
            "replica_wait_ms" => self.replica_wait_ms = Some(time(decoder, key)?),
            "measure_interval_ms" => self.measure_interval_ms = Some(time(decoder, key)?),
            _ => self.response_bytes_max = Some(integer(decoder, key, u64::from(u32::MAX))? as u32),
        }
        Ok(())
    }

    /// All of them: `None` if no server is named, which none of them makes sense without.
    pub fn finish(self) -> Result<Option<Box<RemoteOptions<'a>>>, Refusal> {
        let Some(url) = self.url else {
            return match self.first {
                None => Ok(None),
                Some(key) => Err(invalid(&format!("{key} is for a database on a server; give url as well"))),
            };
        };
        if self.auth_token.is_some() && self.ask_auth_token.is_some() {
            return Err(invalid("auth_token and ask_auth_token exclude each other"));
        }
        if self.client_cert_file.is_some() != self.client_key_file.is_some() {
            return Err(invalid("client_cert_file and client_key_file belong together"));
        }
        let replica_urls: Vec<_> = self.replica_urls.unwrap_or_default().into_iter().map(Secret).collect();
        let read_from = self.read_from.unwrap_or(ReadFrom::Primary);
        let fallback_reads = self.fallback_reads.unwrap_or(FallbackReads::None);
        if read_from != ReadFrom::Primary && replica_urls.is_empty() {
            return Err(invalid("read_from names servers that follow; give replica_urls as well"));
        }
        let follows = |url: &Secret<'_>| replica_urls.contains(url);
        match &fallback_reads {
            FallbackReads::None => {}
            _ if replica_urls.is_empty() => {
                return Err(invalid("fallback_reads names servers that follow; give replica_urls as well"));
            }
            FallbackReads::These(urls) if !urls.iter().all(follows) => {
                return Err(invalid(
                    "fallback_reads must hold some of replica_urls, as they are written there",
                ));
            }
            FallbackReads::All | FallbackReads::These(_) => {}
        }
        Ok(Some(Box::new(RemoteOptions {
            url: Secret(url),
            auth_token: self.auth_token.map(Secret),
            ask_auth_token: self.ask_auth_token,
            namespace: self.namespace,
            tls: self.tls.unwrap_or(true),
            ca_file: self.ca_file,
            client_cert_file: self.client_cert_file,
            client_key_file: self.client_key_file,
            roots: self.roots.unwrap_or(Roots::Native),
            proxy: self.proxy.map(Secret),
            connect_timeout_ms: self.connect_timeout_ms.unwrap_or(10_000),
            stream_idle_ms: self.stream_idle_ms.unwrap_or(2_000),
            response_bytes_max: self.response_bytes_max.unwrap_or(64 << 20),
            idle_sockets_max: self.idle_sockets_max.unwrap_or(32),
            socket_idle_ms: self.socket_idle_ms.unwrap_or(15_000),
            breaker_failures: self.breaker_failures.unwrap_or(5),
            breaker_delay_ms: self.breaker_delay_ms.unwrap_or(1_000),
            breaker_delay_max_ms: self.breaker_delay_max_ms.unwrap_or(30_000),
            probe_timeout_ms: self.probe_timeout_ms.unwrap_or(2_000),
            replica_urls,
            read_from,
            fallback_reads,
            replica_wait_ms: self.replica_wait_ms.unwrap_or(1_000),
            measure_interval_ms: self.measure_interval_ms.unwrap_or(10_000),
        })))
    }
}

/// A time in ms, of a day at most. None is no time: all of these are for what would else go on for ever, or be done all the time.
fn time(decoder: &mut Decoder<'_>, key: &str) -> Result<u32, Refusal> {
    match integer(decoder, key, DAY_MS)? as u32 {
        0 => Err(invalid(&format!("{key} must be at least 1 ms"))),
        time => Ok(time),
    }
}

/// `true`, `false`, or a list of URLs.
fn fallback_reads<'a>(decoder: &mut Decoder<'a>, key: &str) -> Result<FallbackReads<'a>, Refusal> {
    let mut ahead = *decoder;
    Ok(match ahead.next()? {
        Token::Atom(_) => match boolean(decoder, key)? {
            true => FallbackReads::All,
            false => FallbackReads::None,
        },
        _ => match texts(decoder, key, REPLICAS_MAX)? {
            urls if urls.is_empty() => FallbackReads::None,
            urls => FallbackReads::These(urls.into_iter().map(Secret).collect()),
        },
    })
}

/// A text that no error shows either.
fn secret<'a>(decoder: &mut Decoder<'a>, key: &str) -> Result<&'a str, Refusal> {
    let token = decoder.next()?;
    let text = match token {
        Token::Binary(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    // It goes into a header.
    text.filter(|text| text.bytes().all(|byte| (0x21..0x7f).contains(&byte)))
        .ok_or_else(|| invalid(&format!("{key} must be a binary of visible ASCII characters")))
}

/// `true` (the callback 0), `false`, or a callback's number.
fn callback(decoder: &mut Decoder<'_>, key: &str) -> Result<Option<u32>, Refusal> {
    match decoder.next()? {
        Token::Atom(b"true") => Ok(Some(0)),
        Token::Atom(b"false") => Ok(None),
        Token::Integer(number) if (0..1 << 31).contains(&number) => Ok(Some(number as u32)),
        token => Err(wrong(key, token, "true, false or the number of a callback")),
    }
}

fn invalid(message: &str) -> Refusal {
    RequestError::new(ErrorCode::InvalidOption, format!("options: {message}")).into()
}
