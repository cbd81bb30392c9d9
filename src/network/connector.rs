//! A socket to a server: DNS, TCP, a proxy's tunnel, TLS. What fails says at which of these steps.

use super::proxy::{is_below_localhost, Proxies, Proxy};
use super::tls;
use super::transport::{ConnectError, Step, Transport};
use hyper::client::connect::{Connected, Connection};
use hyper::service::Service;
use hyper::Uri;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{lookup_host, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

/// The longest answer of a proxy. No option: it is read a byte at a time, and says yes or no.
const PROXY_ANSWER_BYTES: usize = 8 << 10;

/// How long an address of a name may take before the next one is tried beside it, as RFC 8305 recommends. No option: it ends nothing,
/// and `connect_timeout_ms` bounds all of it.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Makes sockets. A clone is the same connector.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    proxy: Choice,
    timeout: Duration,
}

/// Which proxy a host has.
enum Choice {
    Given(Option<Proxy>),
    Environment(Proxies),
}

impl Connector {
    /// For `transport`; where it names no proxy, `environment` does.
    pub fn new(transport: &Transport, environment: Proxies) -> Result<Self, ConnectError> {
        let proxy = match transport.proxy.as_deref() {
            None => Choice::Environment(environment),
            Some("") => Choice::Given(None),
            Some(url) => Choice::Given(Some(Proxy::parse(url).map_err(|message| {
                ConnectError::new(Step::Setup, format!("the option proxy: {message}"))
            })?)),
        };
        let tls = TlsConnector::from(tls::config(transport)?);
        Ok(Connector(Arc::new(Inner { tls, proxy, timeout: transport.connect_timeout })))
    }

    /// A socket to the host and port of `uri`, encrypted if its scheme says so.
    pub async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let inner = &self.0;
        if inner.timeout.is_zero() {
            return inner.connect(uri).await;
        }
        match tokio::time::timeout(inner.timeout, inner.connect(uri)).await {
            Ok(done) => done,
            Err(_) => Err(ConnectError::new(
                Step::Timeout,
                format!(
                    "cannot connect to {}: no connection within {} ms (connect_timeout_ms); is there a firewall in \
                     between, or is the host down?",
                    shown(uri),
                    inner.timeout.as_millis()
                ),
            )),
        }
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let encrypted = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let proxy = match &self.proxy {
            Choice::Given(proxy) => proxy.as_ref(),
            Choice::Environment(proxies) => proxies.of(encrypted, host, port),
        };
        let socket = match proxy {
            None => tcp(host, port).await?,
            Some(proxy) => tunnel(proxy, host, port).await?,
        };
        if !encrypted {
            return Ok(Stream::Plain(socket));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            ConnectError::new(
                Step::Tls,
                format!("cannot connect to {host}: no certificate can have this name"),
            )
        })?;
        let stream = self.tls.connect(name, socket).await.map_err(|error| {
            ConnectError::new(
                Step::Tls,
                format!(
                    "cannot connect to {host}:{port}: TLS failed: {error}; look at the server's certificate, and at ca_file \
                     and roots"
                ),
            )
        })?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn shown(uri: &Uri) -> String {
    uri.authority().map_or_else(String::new, |authority| authority.to_string())
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let name = if is_below_localhost(host) { "localhost" } else { host };
    let addresses = lookup_host((name, port)).await.map_err(|error| {
        ConnectError::new(Step::Dns, format!("cannot connect to {host}: its name is not found ({error})"))
    })?;
    match first_of(addresses).await {
        Ok(socket) => {
            // Requests are written whole; a socket that refuses this works all the same.
            let _ = socket.set_nodelay(true);
            Ok(socket)
        }
        Err(Some((address, error))) => Err(ConnectError::new(
            Step::Tcp,
            format!("cannot connect to {host}:{port} ({address}): {error}; is the server running, and is it there?"),
        )),
        Err(None) => {
            Err(ConnectError::new(Step::Dns, format!("cannot connect to {host}: its name has no address")))
        }
    }
}

/// The first socket that comes about to one of the addresses of a name (RFC 8305): the next one is tried as soon as one has failed, or
/// has not answered for a while, and none of them is given up before that. Else the last error.
async fn first_of(
    addresses: impl Iterator<Item = SocketAddr>,
) -> Result<TcpStream, Option<(SocketAddr, io::Error)>> {
    let mut addresses = addresses.fuse();
    let mut tries = JoinSet::new();
    let mut last = None;
    loop {
        let next = addresses.next();
        let is_over = next.is_none();
        if let Some(address) = next {
            tries.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let tried = match is_over {
            true => tries.join_next().await,
            false => match tokio::time::timeout(NEXT_ADDRESS, tries.join_next()).await {
                Ok(tried) => tried,
                Err(_) => continue,
            },
        };
        match tried {
            Some(Ok((_, Ok(socket)))) => return Ok(socket),
            Some(Ok((address, Err(error)))) => last = Some((address, error)),
            // Nobody else ends it.
            Some(Err(_)) => {}
            None => return Err(last),
        }
    }
}

/// A socket through `proxy`, by CONNECT.
async fn tunnel(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let failed = |what: String| {
        ConnectError::new(
            Step::Proxy,
            format!("cannot connect to {host}:{port} through the proxy {proxy}: {what}"),
        )
    };
    let mut socket = tcp(&proxy.host, proxy.port).await.map_err(|error| failed(error.message))?;
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let authorization = proxy
        .authorization
        .as_deref()
        .map_or_else(String::new, |credentials| format!("Proxy-Authorization: Basic {credentials}\r\n"));
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    let broken = |error: io::Error| failed(error.to_string());
    socket.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // Nothing comes behind the answer before this side has spoken, so one byte too many is not the server's.
        if answer.len() >= PROXY_ANSWER_BYTES {
            return Err(failed(format!("its answer is longer than {PROXY_ANSWER_BYTES} bytes")));
        }
        match socket.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) => return Err(broken(error)),
        }
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(socket),
        _ => Err(failed(format!("it answers {:?}", line.chars().take(100).collect::<String>()))),
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await })
    }
}

/// A socket, encrypted or not.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Plain(_) => "Plain",
            Stream::Tls(_) => "Tls",
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn an_address_that_does_not_answer_keeps_nobody_from_the_next_one() {
        // A queue that is full drops what knocks.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = socket.listen(1).unwrap();
        let silent = (silent.local_addr().unwrap(), silent);
        let mut knocking = JoinSet::new();
        (0..8).for_each(|_| {
            knocking.spawn(TcpStream::connect(silent.0));
        });
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = (there.local_addr().unwrap(), there);
        let refused: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let connected = first_of([silent.0, refused, there.0].into_iter()).await.unwrap();
        assert!([silent.0, there.0].contains(&connected.peer_addr().unwrap()));
        // Once its queue is full.
        while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(100), knocking.join_next()).await {
        }
        assert!(!knocking.is_empty(), "it does not answer");
        let connected = first_of([silent.0, refused, there.0].into_iter()).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), there.0);
        let failed = first_of([refused].into_iter()).await.unwrap_err();
        assert_eq!(failed.map(|(address, _)| address), Some(refused));
        assert!(first_of(std::iter::empty()).await.unwrap_err().is_none());
    }
}
