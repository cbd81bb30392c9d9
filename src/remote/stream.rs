//! One request to the server and its answer, or why there is none. Waits on the connection's own thread, beside the reasons to
//! stop.

use super::hrana::answer::{CursorHead, Pipeline};
use super::hrana::stmt;
use super::machine::{Baton, Cut, Refusal};
use super::url;
use crate::control::{Control, Stop};
use crate::network::breaker::Cause;
use crate::network::client::{Answer, Failure, HttpClient};
use crate::network::gate::{Gate, Leave, Pass, Prober};
use crate::network::slots::Slots;
use crate::network::transport::{ConnectError, Step};
use crate::network::Network;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::Engine;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use hyper::Uri;
use serde::Deserialize;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The most of an answer that is no result. No option: what is longer is no error message of a server's.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;

/// The most of a server's words that travels on, in an error. No option, as no words of this program's have one.
const WORDS_MAX: usize = 500;

/// How long the end of a stream is waited for. Nobody waits for it, and after 10 s without a request a server gives a stream up
/// by itself: that is why it is no option.
const CLOSE_TIME: Duration = Duration::from_secs(10);

/// The way to a server.
#[derive(Clone)]
pub struct Link {
    network: Arc<Network>,
    http: Arc<HttpClient>,
    gate: Arc<Gate>,
    base: String,
    headers: HeaderMap,
    bytes_max: u64,
}

/// Why a request has no results, and in words.
#[derive(Debug)]
pub enum NoAnswer {
    /// Refused as a whole.
    Refused(Refusal, String),
    /// Nothing was sent: the server is not reached.
    NotSent(String),
    /// Nothing was sent, for a reason that is not the server's.
    Unsendable(String),
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
        let gate = http.gate(&base);
        Ok(Link { network, http, gate, base, headers, bytes_max })
    }

    /// The door to the server.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Room for the streams that are kept on the server.
    pub fn slots(&self) -> &Slots {
        self.gate.slots()
    }

    /// An error if nothing is sent to the server for a while.
    pub fn check(&self) -> Result<(), NoAnswer> {
        self.gate.check().map_err(|error| no_answer(Failure::NotSent(error)))
    }

    /// What finds out whether the server answers, to who has `token`.
    pub fn prober(&self, token: Option<&str>) -> Arc<dyn Prober> {
        let mut headers = self.headers.clone();
        let token = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        if let Some(mut value) = token {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Arc::new(Probe { http: Arc::clone(&self.http), base: self.base.clone(), headers })
    }

    /// What came of a request, told to the door: it is for all who use it that a server is not there.
    fn told<T>(&self, pass: Pass<'_>, token: Option<&str>, sent: Result<T, NoAnswer>) -> Result<T, NoAnswer> {
        let failure = match &sent {
            Ok(_) | Err(NoAnswer::Cut(Cut::Garbage | Cut::TooLong, _)) => None,
            Err(NoAnswer::Refused(Refusal::Gateway, words) | NoAnswer::NotSent(words))
            | Err(NoAnswer::Cut(Cut::Broken, words)) => Some((Cause::Transport, words.as_str())),
            // It is there, and says no.
            Err(NoAnswer::Refused(..)) => None,
            Err(NoAnswer::Stopped(Stop::Timeout)) => {
                Some((Cause::Deadline, "it had not answered at the deadline of a request"))
            }
            // That says nothing of the server.
            Err(NoAnswer::Stopped(_) | NoAnswer::Unsendable(_) | NoAnswer::Cut(Cut::Stopped, _)) => {
                return sent;
            }
        };
        match (failure, self.network.runtime()) {
            (Some((cause, words)), Ok(runtime)) => {
                pass.failed(cause, words, runtime, || self.prober(token));
            }
            (Some(_), Err(_)) => {}
            (None, _) => pass.answered(),
        }
        sent
    }

    /// The longest answer; 0: no limit.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Where a stream goes on, if its server names another place, and that is one to go to.
    pub fn followed(&self, base: Option<String>) -> Option<String> {
        base.and_then(|base| url::followed(&self.base, &base))
    }

    /// What carries requests.
    pub fn runtime(&self) -> Result<&Runtime, NoAnswer> {
        self.network
            .runtime()
            .map_err(|error| NoAnswer::Unsendable(format!("no threads for the network: {error}")))
    }

    /// Sends a pipeline and reads its answer.
    pub fn pipeline(&self, control: &Control, to: &Where<'_>, body: Vec<u8>) -> Result<Pipeline, NoAnswer> {
        let pass = self.enter()?;
        let work = async {
            let mut answer = self.post(&pass.leave, "v3/pipeline", to, body).await?;
            answer.whole(self.bytes_max).await.map_err(no_answer)
        };
        let sent = drive(self.runtime()?, control, work).and_then(|sent| sent);
        let body = self.told(pass, to.token, sent)?;
        serde_json::from_slice(&body).map_err(|error| unreadable(&error))
    }

    /// Sends a cursor's request and reads the first line of its answer.
    pub fn cursor(
        &self,
        control: &Control,
        to: &Where<'_>,
        body: Vec<u8>,
    ) -> Result<(CursorHead, Lines), NoAnswer> {
        let pass = self.enter()?;
        let work = self.post(&pass.leave, "v3/cursor", to, body);
        let sent = drive(self.runtime()?, control, work).and_then(|sent| sent);
        let answer = self.told(pass, to.token, sent)?;
        let mut lines = Lines { answer, buffer: Vec::new(), at: 0, ended: false, bytes_max: self.bytes_max };
        let head = match lines.next(self, control)? {
            Some(line) => serde_json::from_slice(line).map_err(|error| unreadable(&error))?,
            None => return Err(NoAnswer::Cut(Cut::Garbage, "the answer is empty".to_owned())),
        };
        Ok((head, lines))
    }

    /// Ends a stream, for nobody to wait for.
    pub async fn close(self, baton: Baton, token: Option<String>) {
        let mut body = stmt::Pipeline::new(Some(&baton.text));
        body.close();
        let to = Where { base: baton.base.as_deref(), token: token.as_deref() };
        let Ok(pass) = self.enter() else { return };
        let closing = async {
            if let Ok(mut answer) = self.post(&pass.leave, "v3/pipeline", &to, body.finish()).await {
                let _ = answer.whole(REFUSAL_BYTES_MAX).await;
            }
        };
        // A server that does not hear of it gives the stream up by itself.
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }

    /// Has a stream ended, without waiting for that.
    pub fn end(&self, baton: Baton, token: Option<String>) {
        if let Ok(runtime) = self.runtime() {
            runtime.spawn(self.clone().close(baton, token));
        }
    }

    fn enter(&self) -> Result<Pass<'_>, NoAnswer> {
        self.gate.enter().map_err(|error| no_answer(Failure::NotSent(error)))
    }

    /// The head of an answer with the status 200.
    async fn post(
        &self,
        leave: &Leave,
        path: &str,
        to: &Where<'_>,
        body: Vec<u8>,
    ) -> Result<Answer, NoAnswer> {
        let base = to.base.unwrap_or(&self.base).trim_end_matches('/');
        let unsendable = NoAnswer::Unsendable;
        let uri: Uri =
            format!("{base}/{path}").parse().map_err(|error| unsendable(format!("no URL: {error}")))?;
        let mut headers = self.headers.clone();
        if let Some(token) = to.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| unsendable("the token can be in no header".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut answer = self.http.post(leave, &uri, &headers, Bytes::from(body)).await.map_err(no_answer)?;
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

/// A stream of the server's that one statement has to itself: ended however that ends, or taken for others.
pub struct OwnStream {
    link: Link,
    token: Option<String>,
    baton: Option<Baton>,
}

impl OwnStream {
    /// The one of `baton`, on the server of `link`.
    pub fn new(link: &Link, baton: Option<Baton>, token: Option<String>) -> Self {
        OwnStream { link: link.clone(), token, baton }
    }

    /// What leads to it; it is not ended then.
    pub fn take(&mut self) -> Option<Baton> {
        self.baton.take()
    }
}

impl Drop for OwnStream {
    fn drop(&mut self) {
        if let Some(baton) = self.baton.take() {
            self.link.end(baton, self.token.take());
        }
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
        Failure::NotSent(ConnectError { message, step: Step::Setup }) => NoAnswer::Unsendable(message),
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

/// `SELECT 1` by itself: a server may answer at its health address and read nothing.
struct Probe {
    http: Arc<HttpClient>,
    base: String,
    headers: HeaderMap,
}

impl Prober for Probe {
    fn probe(&self, leave: Leave) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        let mut body = stmt::Pipeline::new(None);
        body.execute(&stmt::Stmt::plain("SELECT 1"));
        body.close();
        let (http, headers) = (Arc::clone(&self.http), self.headers.clone());
        let uri = format!("{}/v3/pipeline", self.base).parse::<Uri>();
        Box::pin(async move {
            let uri = uri.map_err(|error| error.to_string())?;
            let words = |failure| match no_answer(failure) {
                NoAnswer::NotSent(words) | NoAnswer::Cut(_, words) => words,
                other => format!("{other:?}"),
            };
            let sent = http.post(&leave, &uri, &headers, Bytes::from(body.finish())).await;
            let mut answer = sent.map_err(words)?;
            match (answer.whole(REFUSAL_BYTES_MAX).await, answer.status) {
                (Err(Failure::TooLong(_)), 502..=504) | (Ok(_), 502..=504) => {
                    Err(format!("what stands before it answers with the status {}", answer.status))
                }
                // What it says does not matter: it is there.
                (Ok(_) | Err(Failure::TooLong(_)), _) => Ok(()),
                (Err(failure), _) => Err(words(failure)),
            }
        })
    }
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
    let refusal = refusal(answer.status, words.code.as_deref(), &said);
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

/// What a status says of the request. Those of which it is certain that nothing of it has run are listed; whatever is not listed says
/// nothing of it: a gateway may have invented it after the server has run the request.
fn refusal(status: u16, code: Option<&str>, said: &str) -> Refusal {
    let said = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().all(|words| said.contains(words));
    // sqld has no code for batons.
    let is_gone = code == Some("STREAM_EXPIRED")
        || says(&["stream_expired"])
        || says(&["stream has expired"])
        || says(&["invalid baton"]);
    match status {
        401 => Refusal::Unauthorized,
        403 => Refusal::Forbidden,
        400 | 404 if is_gone => Refusal::StreamGone,
        400 if says(&["baton", "already been used"]) => Refusal::BatonUsed,
        404 if says(&["namespace", "doesn't exist"]) => Refusal::NotFound,
        404 => Refusal::Missing,
        300..=302 | 305 | 307 | 308 | 405 | 411 | 413..=415 | 417 | 421 | 426 | 431 => Refusal::Declined,
        429 => Refusal::Busy,
        502..=504 => Refusal::Gateway,
        500..=599 => Refusal::Server,
        _ => Refusal::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_have_run_nothing_is_in_doubt() {
        let certain = [
            Refusal::Unauthorized,
            Refusal::Forbidden,
            Refusal::NotFound,
            Refusal::StreamGone,
            Refusal::Declined,
            Refusal::Busy,
        ];
        let listed =
            [300, 301, 302, 305, 307, 308, 401, 403, 405, 411, 413, 414, 415, 417, 421, 426, 429, 431];
        for status in 100..=999 {
            let is_certain = certain.contains(&refusal(status, None, "any words"));
            assert_eq!(is_certain, listed.contains(&status), "{status}");
        }
        for (status, code, said, expected) in [
            (400, None, "Received an invalid baton", Refusal::StreamGone),
            (400, Some("STREAM_EXPIRED"), "", Refusal::StreamGone),
            (400, None, "The stream has expired due to inactivity", Refusal::StreamGone),
            (404, Some("STREAM_EXPIRED"), "", Refusal::StreamGone),
            (400, None, "Received a baton that has already been used", Refusal::BatonUsed),
            (400, None, "Stream for this baton was closed", Refusal::Other),
            (404, None, "Namespace `x` doesn't exist", Refusal::NotFound),
            (404, None, "nope", Refusal::Missing),
        ] {
            assert_eq!(refusal(status, code, said), expected, "{status} {said}");
        }
    }
}
