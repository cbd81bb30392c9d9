//! One request to the server and its answer, or why there is none. Waits on the connection's own thread, beside the reasons to
//! stop.

use super::hrana::answer::{CursorHead, Pipeline};
use super::machine::{Cut, Refusal};
use crate::control::{Control, Stop};
use crate::network::client::{Answer, Failure, HttpClient};
use crate::network::transport::{ConnectError, Step};
use crate::network::Network;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::Engine;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use hyper::Uri;
use serde::Deserialize;
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The most of an answer that is no result.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;

/// The most of a server's words that travels on.
const WORDS_MAX: usize = 500;

/// The way to a server.
#[derive(Clone)]
pub struct Link {
    network: Arc<Network>,
    http: Arc<HttpClient>,
    base: String,
    headers: HeaderMap,
    bytes_max: u64,
}

/// Why a request has no results, and in words.
#[derive(Debug)]
pub enum NoAnswer {
    /// Refused as a whole.
    Refused(Refusal, String),
    /// Nothing was sent.
    NotSent(String),
    /// No whole answer.
    Cut(Cut, String),
    /// The request had to stop.
    Stopped(Stop),
}

/// Where a request goes.
pub struct Where<'w> {
    /// The URL of the stream, if it is another one than the connection's.
    pub base: Option<&'w str>,
    /// Who asks.
    pub token: Option<&'w str>,
}

impl Link {
    /// To the server of `base`; what is sent for `namespace` says so.
    pub fn new(
        network: Arc<Network>,
        http: Arc<HttpClient>,
        base: String,
        namespace: Option<&str>,
        bytes_max: u64,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(namespace) = namespace {
            let text = HeaderValue::from_str(namespace)
                .map_err(|_| "the namespace can be in no header".to_owned())?;
            headers.insert(HeaderName::from_static("x-namespace"), text);
            // What sqld reads.
            let encoded = STANDARD_NO_PAD.encode(namespace);
            let encoded = HeaderValue::from_str(&encoded)
                .map_err(|_| "the namespace can be in no header".to_owned())?;
            headers.insert(HeaderName::from_static("x-namespace-bin"), encoded);
        }
        Ok(Link { network, http, base, headers, bytes_max })
    }

    /// Where a stream goes on, if its server names another place: never unencrypted if the connection is encrypted.
    pub fn followed(&self, base: Option<String>) -> Option<String> {
        let is_encrypted = |url: &str| url.starts_with("https://");
        base.filter(|base| is_encrypted(base) || !is_encrypted(&self.base) && base.starts_with("http://"))
    }

    /// What carries requests.
    pub fn runtime(&self) -> Result<&Runtime, NoAnswer> {
        self.network
            .runtime()
            .map_err(|error| NoAnswer::NotSent(format!("no threads for the network: {error}")))
    }

    /// Sends a pipeline and reads its answer.
    pub fn pipeline(&self, control: &Control, to: &Where<'_>, body: Vec<u8>) -> Result<Pipeline, NoAnswer> {
        let work = async {
            let mut answer = self.post("v3/pipeline", to, body).await?;
            answer.whole(self.bytes_max).await.map_err(no_answer)
        };
        let body = drive(self.runtime()?, control, work)??;
        serde_json::from_slice(&body).map_err(|error| unreadable(&error))
    }

    /// Sends a cursor's request and reads the first line of its answer.
    pub fn cursor(
        &self,
        control: &Control,
        to: &Where<'_>,
        body: Vec<u8>,
    ) -> Result<(CursorHead, Lines), NoAnswer> {
        let answer = drive(self.runtime()?, control, self.post("v3/cursor", to, body))??;
        let mut lines = Lines { answer, buffer: Vec::new(), at: 0, ended: false, bytes_max: self.bytes_max };
        let head = match lines.next(self, control)? {
            Some(line) => serde_json::from_slice(line).map_err(|error| unreadable(&error))?,
            None => return Err(NoAnswer::Cut(Cut::Garbage, "the answer is empty".to_owned())),
        };
        Ok((head, lines))
    }

    /// Ends a stream, for nobody to wait for.
    pub async fn close(self, base: Option<String>, token: Option<String>, body: Vec<u8>) {
        let to = Where { base: base.as_deref(), token: token.as_deref() };
        // One that does not hear of it gives the stream up by itself.
        if let Ok(mut answer) = self.post("v3/pipeline", &to, body).await {
            let _ = answer.whole(REFUSAL_BYTES_MAX).await;
        }
    }

    /// The head of an answer with the status 200.
    async fn post(&self, path: &str, to: &Where<'_>, body: Vec<u8>) -> Result<Answer, NoAnswer> {
        let base = to.base.unwrap_or(&self.base).trim_end_matches('/');
        let unsendable = |what: String| NoAnswer::NotSent(what);
        let uri: Uri =
            format!("{base}/{path}").parse().map_err(|error| unsendable(format!("no URL: {error}")))?;
        let mut headers = self.headers.clone();
        if let Some(token) = to.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| unsendable("the token can be in no header".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut answer = self.http.post(&uri, &headers, Bytes::from(body)).await.map_err(no_answer)?;
        if answer.status == 200 {
            return Ok(answer);
        }
        let words = match answer.whole(REFUSAL_BYTES_MAX).await {
            Ok(body) => body,
            Err(Failure::TooLong(_)) => Vec::new(),
            Err(other) => return Err(no_answer(other)),
        };
        Err(refused(&answer, &words))
    }
}

/// Runs `work` until it is done or the request has to stop.
pub fn drive<T>(runtime: &Runtime, control: &Control, work: impl Future<Output = T>) -> Result<T, NoAnswer> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            done = work => Ok(done),
            stop = control.stopped() => Err(NoAnswer::Stopped(stop)),
        }
    })
}

/// The lines of an answer, as they come.
pub struct Lines {
    answer: Answer,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    bytes_max: u64,
}

impl Lines {
    /// The next line; `None` at the end.
    pub fn next(&mut self, link: &Link, control: &Control) -> Result<Option<&[u8]>, NoAnswer> {
        let mut looked_at = self.at;
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[looked_at..]).map(|found| looked_at + found);
            if let Some(end) = found {
                let start = std::mem::replace(&mut self.at, end + 1);
                if self.buffer[start..end].iter().all(u8::is_ascii_whitespace) {
                    looked_at = self.at;
                    continue;
                }
                return Ok(Some(&self.buffer[start..end]));
            }
            if self.ended {
                let start = std::mem::replace(&mut self.at, self.buffer.len());
                let rest = &self.buffer[start..];
                return Ok(Some(rest).filter(|rest| !rest.iter().all(u8::is_ascii_whitespace)));
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            looked_at = self.buffer.len();
            match drive(link.runtime()?, control, self.answer.piece())?.map_err(no_answer)? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => self.ended = true,
            }
            if self.bytes_max > 0 && self.buffer.len() as u64 > self.bytes_max {
                return Err(no_answer(Failure::TooLong(self.bytes_max)));
            }
        }
    }
}

fn no_answer(failure: Failure) -> NoAnswer {
    match failure {
        Failure::NotSent(ConnectError { message, step: Step::Setup }) => NoAnswer::NotSent(message),
        Failure::NotSent(error) => NoAnswer::NotSent(format!("{error}; nothing was sent")),
        Failure::Broken(words) => {
            NoAnswer::Cut(Cut::Broken, format!("the connection to the server broke ({words})"))
        }
        Failure::TooLong(bytes) => NoAnswer::Cut(
            Cut::TooLong,
            format!("the server's answer has more than {bytes} bytes, which is response_bytes_max"),
        ),
    }
}

fn unreadable(error: &serde_json::Error) -> NoAnswer {
    NoAnswer::Cut(Cut::Garbage, format!("the server's answer is not of Hrana 3 ({error})"))
}

/// How servers write their errors.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Words {
    error: Option<String>,
    message: Option<String>,
    code: Option<String>,
}

fn refused(answer: &Answer, body: &[u8]) -> NoAnswer {
    let words: Words = serde_json::from_slice(body).unwrap_or_default();
    let is_text = answer.header("content-type").is_none_or(|kind| !kind.contains("html"));
    let plain = std::str::from_utf8(body).ok().filter(|text| is_text && !text.trim_start().starts_with('<'));
    let said = words.error.or(words.message).or_else(|| plain.map(str::to_owned)).unwrap_or_default();
    let refusal = match answer.status {
        401 => Refusal::Unauthorized,
        403 => Refusal::Forbidden,
        404 => Refusal::NotFound,
        400 if words.code.as_deref() == Some("STREAM_EXPIRED") || is_of_stream(&said) => Refusal::StreamGone,
        429 => Refusal::Busy,
        502..=504 => Refusal::Gateway,
        500..=599 => Refusal::Server,
        _ => Refusal::Other,
    };
    let said: String = said.chars().take(WORDS_MAX).collect();
    let place = answer.header("location").filter(|_| (300..400).contains(&answer.status));
    let message = match (place, said.is_empty()) {
        (Some(_), _) => format!(
            "the server answers with the status {}, which points elsewhere; redirections are not followed",
            answer.status
        ),
        (None, true) => {
            format!("the server answers with the status {}, and not as Hrana 3 does", answer.status)
        }
        (None, false) => format!("the server answers with the status {}: {said}", answer.status),
    };
    NoAnswer::Refused(refusal, message)
}

/// True of what sqld says of a baton that is no good; it has no code for it.
fn is_of_stream(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    said.contains("baton") || said.contains("stream_expired") || said.contains("stream has expired")
}
