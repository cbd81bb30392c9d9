//! The calls to the server's replication log: handshake, frames, snapshot. `libsql_replication`'s replicator says when.
//!
//! libsql's own client of these calls is private to that crate, keeps a token for ever, waits for a silent server without end,
//! and tells every failed handshake as the same timeout.

use super::failure::{Cause, Failure};
use super::replica::Shared;
use crate::network::connector::Connector;
use hyper::Uri;
use libsql_replication::frame::{Frame, FrameNo};
use libsql_replication::meta::{self, WalIndexMeta};
use libsql_replication::replicator::{Error, ReplicatorClient};
use libsql_replication::rpc::replication::replication_log_client::ReplicationLogClient;
use libsql_replication::rpc::replication::{
    Frame as RpcFrame, HelloRequest, LogOffset, NAMESPACE_DOESNT_EXIST, NAMESPACE_METADATA_KEY,
    NEED_SNAPSHOT_ERROR_MSG, NO_HELLO_ERROR_MSG, SESSION_TOKEN_KEY,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{sleep, timeout, Instant, Sleep};
use tokio_stream::Stream;
use tonic::body::BoxBody;
use tonic::metadata::{AsciiMetadataValue, BinaryMetadataValue};
use tonic::{Request, Response, Status, Streaming};
use tonic_web::{GrpcWebCall, GrpcWebClientService};

/// The longest answer with frames. A server sends some thousand at once, of 4 KiB each; proxies may join several.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The header with the token, as servers of replication want it.
const AUTHORIZATION: &str = "x-authorization";

type Calls = ReplicationLogClient<GrpcWebClientService<hyper::Client<Connector, GrpcWebCall<BoxBody>>>>;

/// The client of one file.
pub struct Client {
    shared: Arc<Shared>,
    calls: Calls,
    meta: WalIndexMeta,
    session: Option<AsciiMetadataValue>,
    /// The last frame that has come, committed or not.
    received: Option<FrameNo>,
    /// The last frame that the server had at the handshake.
    primary: Option<FrameNo>,
    /// The server's log is another one than the file's: the next handshake begins anew.
    is_foreign: bool,
    /// So it has begun, and the next commit replaces all that the file has.
    begins_anew: bool,
}

impl Client {
    /// A client that has said nothing yet.
    pub async fn new(shared: Arc<Shared>) -> Result<Self, Failure> {
        let meta = WalIndexMeta::open_prefixed(&shared.path).await?;
        let source = &shared.source;
        let origin: Uri = source.origin.parse().map_err(|error| {
            Failure::new(Cause::Protocol, format!("{} is no address: {error}", source.origin))
        })?;
        let http = hyper::Client::builder().build(source.connector.clone());
        let calls = ReplicationLogClient::with_origin(GrpcWebClientService::new(http), origin)
            .max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Client {
            calls,
            received: meta.current_frame_no(),
            meta,
            session: None,
            primary: None,
            is_foreign: false,
            begins_anew: false,
            shared,
        })
    }

    /// The last frame that the server had at the last handshake; `None`: it had none.
    pub fn primary(&self) -> Option<FrameNo> {
        self.primary
    }

    fn next(&self) -> FrameNo {
        self.received.map_or(0, |received| received + 1)
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        if let Some(session) = &self.session {
            headers.insert(SESSION_TOKEN_KEY, session.clone());
        }
        if let Some(token) = self.shared.token() {
            let value = AsciiMetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
                fatal(Failure::new(Cause::Unauthorized, "the auth token has characters that no header takes"))
            })?;
            headers.insert(AUTHORIZATION, value);
        }
        let namespace = self.shared.source.namespace.as_bytes();
        headers.insert_bin(NAMESPACE_METADATA_KEY, BinaryMetadataValue::from_bytes(namespace));
        Ok(request)
    }

    fn offset(&self) -> Result<Request<LogOffset>, Error> {
        self.request(LogOffset { next_offset: self.next(), wal_flavor: None })
    }
}

#[tonic::async_trait]
impl ReplicatorClient for Client {
    type FrameStream = Pin<Box<dyn Stream<Item = Result<RpcFrame, Error>> + Send>>;

    async fn handshake(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.is_foreign) {
            self.meta.reset();
            self.received = None;
            self.begins_anew = true;
        }
        let request = self.request(HelloRequest::new())?;
        let hello = within(self.shared.source.silence, self.calls.hello(request)).await?;
        let session = AsciiMetadataValue::try_from(&hello.session_token[..]).map_err(|_| {
            fatal(Failure::new(Cause::Protocol, "the server's session is no text that a header takes"))
        })?;
        self.session = Some(session);
        self.primary = hello.current_replication_index;
        if let Err(error) = self.meta.init_from_hello(hello) {
            self.is_foreign = matches!(error, meta::Error::LogIncompatible);
            return Err(error.into());
        }
        self.meta.flush().await?;
        let missing = self.primary.map_or(0, |primary| (primary + 1).saturating_sub(self.next()));
        self.shared.progress.know(missing);
        Ok(())
    }

    async fn next_frames(&mut self) -> Result<Self::FrameStream, Error> {
        let request = self.offset()?;
        let frames = within(self.shared.source.silence, self.calls.batch_log_entries(request)).await?.frames;
        if let Some(last) = frames.last() {
            self.received = Some(number(last)?);
        }
        self.shared.progress.came(frames.len() as u64);
        Ok(Box::pin(tokio_stream::iter(frames.into_iter().map(Ok))))
    }

    async fn snapshot(&mut self) -> Result<Self::FrameStream, Error> {
        let silence = self.shared.source.silence;
        let request = self.offset()?;
        let mut stream = within(silence, self.calls.snapshot(request)).await?;
        // The first one has the highest number.
        let first = match timeout(silence, stream.message()).await {
            Ok(Ok(first)) => first,
            Ok(Err(status)) => return Err(failed(status)),
            Err(_) => return Err(silent(silence)),
        };
        if let Some(first) = &first {
            self.received = Some(number(first)?);
        }
        let shared = Arc::clone(&self.shared);
        Ok(Box::pin(Snapshot { first, stream, silence, alarm: Box::pin(sleep(silence)), shared }))
    }

    async fn commit_frame_no(&mut self, frame_no: FrameNo) -> Result<(), Error> {
        if std::mem::take(&mut self.begins_anew) {
            // What connections know of the schema is of another database.
            self.shared.log_changed();
        }
        Ok(self.meta.set_commit_frame_no(frame_no).await?)
    }

    fn committed_frame_no(&self) -> Option<FrameNo> {
        self.meta.current_frame_no()
    }

    fn rollback(&mut self) {
        self.received = self.committed_frame_no();
    }
}

/// The frames of a snapshot, as they come.
struct Snapshot {
    first: Option<RpcFrame>,
    stream: Streaming<RpcFrame>,
    silence: Duration,
    alarm: Pin<Box<Sleep>>,
    shared: Arc<Shared>,
}

impl Stream for Snapshot {
    type Item = Result<RpcFrame, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            self.shared.progress.came(1);
            return Poll::Ready(Some(Ok(first)));
        }
        match Pin::new(&mut self.stream).poll_next(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let later = Instant::now() + self.silence;
                self.alarm.as_mut().reset(later);
                self.shared.progress.came(1);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(status))) => Poll::Ready(Some(Err(failed(status)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.alarm.as_mut().poll(context).map(|()| Some(Err(silent(self.silence)))),
        }
    }
}

/// A call, unless the server is silent for too long. Giving the call up is safe, unlike giving up what injects its frames:
/// nothing here has changed before its answer.
async fn within<T>(
    silence: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match timeout(silence, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failed(status)),
        Err(_) => Err(silent(silence)),
    }
}

/// What the replicator makes of an answer: it knows by itself what a few of them ask for, and repeats nothing else.
fn failed(status: Status) -> Error {
    match [NEED_SNAPSHOT_ERROR_MSG, NO_HELLO_ERROR_MSG, NAMESPACE_DOESNT_EXIST].contains(&status.message()) {
        true => Error::from(status),
        false => fatal(Failure::of(&status)),
    }
}

fn silent(silence: Duration) -> Error {
    let message = format!("the server was silent for {} ms", silence.as_millis());
    fatal(Failure::new(Cause::Unavailable, message))
}

fn fatal(failure: Failure) -> Error {
    Error::Fatal(Box::new(failure))
}

fn number(frame: &RpcFrame) -> Result<FrameNo, Error> {
    let frame = Frame::try_from(&frame.data[..])
        .map_err(|_| fatal(Failure::new(Cause::Protocol, "the server sends frames of another size")))?;
    Ok(frame.header().frame_no.get())
}
