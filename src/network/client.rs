//! Requests over pooled sockets. What fails says whether the server may have seen it.

use super::breaker::Patience;
use super::connector::Connector;
use super::gate::{Gate, Leave, Listener};
use super::transport::{ConnectError, Step, Transport};
use bytes::Bytes;
use hyper::body::HttpBody;
use hyper::header::HeaderMap;
use hyper::{Body, Client, Method, Request, Uri};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, OnceLock, Weak};

/// The longest head of an answer. No option: what a server and what stands before it say about an answer does not grow with data.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent.
    NotSent(ConnectError),
    /// The request may have been sent, and what it asks for may have been done.
    Broken(String),
    /// The answer is longer than so many bytes.
    TooLong(u64),
}

/// A client with its sockets, and the doors to the servers that it reaches.
pub struct HttpClient {
    client: Client<Connector, Body>,
    patience: Patience,
    gates: Mutex<HashMap<Box<str>, Weak<Gate>>>,
    listener: Arc<OnceLock<Listener>>,
}

impl HttpClient {
    /// Over the sockets of `connector`, which reaches servers as `transport` says. `listener` is told of breakers.
    pub fn new(connector: Connector, transport: &Transport, listener: Arc<OnceLock<Listener>>) -> Self {
        let client = Client::builder()
            .pool_max_idle_per_host(transport.idle_sockets_max)
            .pool_idle_timeout(transport.socket_idle)
            .http1_max_buf_size(HEAD_BYTES_MAX.max(8192))
            .build(connector);
        HttpClient { client, patience: transport.patience, gates: Mutex::default(), listener }
    }

    /// The door to the server of `url`.
    pub fn gate(&self, url: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(url).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Gate::new(url, self.patience, Arc::clone(&self.listener)));
        gates.insert(url.into(), Arc::downgrade(&gate));
        gate
    }

    /// Sends a request, and waits for the head of the answer. To drop this closes the socket, which ends what the server
    /// does for it.
    pub async fn post(
        &self,
        _leave: &Leave,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers.clone();
        match self.client.request(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, bytes: 0 })
            }
            Err(error) => Err(failure(&error)),
        }
    }
}

/// An answer whose body is yet to be read.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The head.
    pub headers: HeaderMap,
    body: Body,
    bytes: u64,
}

impl Answer {
    /// The next piece of the body, as it comes; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.body.data().await {
            None => Ok(None),
            Some(Ok(piece)) => Ok(Some(piece)),
            Some(Err(error)) => Err(failure(&error)),
        }
    }

    /// The whole body, of no more than `bytes_max`; 0: no limit.
    pub async fn whole(&mut self, bytes_max: u64) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            self.bytes += piece.len() as u64;
            if bytes_max > 0 && self.bytes > bytes_max {
                return Err(Failure::TooLong(bytes_max));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_connect() {
        let cause = causes(error).find_map(|cause| cause.downcast_ref::<ConnectError>()).cloned();
        let unknown = || ConnectError::new(Step::Tcp, format!("cannot connect: {error}"));
        return Failure::NotSent(cause.unwrap_or_else(unknown));
    }
    let words = causes(error).last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    Failure::Broken(words)
}

fn causes(error: &hyper::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}
