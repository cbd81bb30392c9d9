//! A socket to a server: DNS, TCP, a proxy's tunnel, TLS. What fails says at which of these steps.

use super::proxy::{Proxies, Proxy};
use super::tls;
use super::transport::{ConnectError, Step, Transport};
use hyper::client::connect::{Connected, Connection};
use hyper::service::Service;
use hyper::Uri;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{lookup_host, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

/// The longest answer of a proxy. No option: it is read a byte at a time, and says yes or no.
const PROXY_ANSWER_BYTES: usize = 8 << 10;

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
    let addresses = lookup_host((host, port)).await.map_err(|error| {
        ConnectError::new(Step::Dns, format!("cannot connect to {host}: its name is not found ({error})"))
    })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                // Requests are written whole; a socket that refuses this works all the same.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) => last = Some((address, error)),
        }
    }
    Err(match last {
        Some((address, error)) => ConnectError::new(
            Step::Tcp,
            format!("cannot connect to {host}:{port} ({address}): {error}; is the server running, and is it there?"),
        ),
        None => ConnectError::new(Step::Dns, format!("cannot connect to {host}: its name has no address")),
    })
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
