//! TLS and proxies on the way to a server.

use super::mock::{usual, Mock};
use super::open_with;
use crate::support::Sidecar;
use crate::term::{atom, Term};
use std::fs::File;
use std::io::{copy, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// A file of tests/fixtures/tls: a CA, and what it has signed for localhost.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    let mut file = BufReader::new(File::open(fixture(name)).unwrap());
    rustls_pemfile::certs(&mut file).collect::<Result<_, _>>().unwrap()
}

/// Takes the encryption off what goes to `server`. `asks`: whoever comes has to show a certificate of the CA.
fn encrypted(server: SocketAddr, asks: bool) -> SocketAddr {
    let mut key = BufReader::new(File::open(fixture("server.key")).unwrap());
    let key = rustls_pemfile::private_key(&mut key).unwrap().unwrap();
    let builder = ServerConfig::builder();
    let builder = match asks {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            certificates("ca.pem").into_iter().for_each(|certificate| roots.add(certificate).unwrap());
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let config = builder.with_single_cert(certificates("server.pem"), key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(socket).await else { return };
                    let Ok(mut server) = tokio::net::TcpStream::connect(server).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    address
}

fn path(name: &str) -> Term {
    Term::from(fixture(name).to_str().unwrap())
}

#[test]
fn a_server_is_trusted_by_the_ca_file_and_by_its_name() {
    let server = Mock::start(|asked| usual(asked, true, None));
    let front = encrypted(server.address, false);
    let sidecar = Sidecar::start();
    for url in
        [format!("https://localhost:{}", front.port()), format!("libsql://{front}"), format!("wss://{front}")]
    {
        let conn = open_with(&sidecar, &url, &[("ca_file", path("ca.pem"))]).unwrap();
        conn.exec("SELECT 1");
        for roots in ["native", "webpki"] {
            let failure = open_with(&sidecar, &url, &[("roots", atom(roots))]).err().unwrap();
            assert_eq!(failure.code, "remote_unavailable");
            assert!(failure.message.contains("look at the server's certificate"), "{}", failure.message);
        }
    }
    // It is signed for localhost alone.
    let other = format!("https://localhost.localdomain:{}", front.port());
    assert!(open_with(&sidecar, &other, &[("ca_file", path("ca.pem"))]).is_err());
    assert!(server.count() >= 6);
}

#[test]
fn a_server_may_ask_who_the_client_is() {
    let server = Mock::start(|asked| usual(asked, true, None));
    let url = format!("https://{}", encrypted(server.address, true));
    let sidecar = Sidecar::start();
    let options = [
        ("ca_file", path("ca.pem")),
        ("client_cert_file", path("client.pem")),
        ("client_key_file", path("client.key")),
    ];
    open_with(&sidecar, &url, &options).unwrap().exec("SELECT 1");
    let failure = open_with(&sidecar, &url, &options[..1]).err().unwrap();
    assert_eq!(failure.code, "remote_unavailable", "{}", failure.message);
    let wrong = [options[0].clone(), options[1].clone(), ("client_key_file", path("server.key"))];
    let failure = open_with(&sidecar, &url, &wrong).err().unwrap();
    assert!(["invalid_option", "remote_unavailable"].contains(&failure.code.as_str()), "{failure:?}");
}

/// A proxy that tunnels, or says no; it keeps the heads of the requests that it has seen.
fn proxy(answer: &'static str, seen: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let seen = Arc::clone(&seen);
            thread::spawn(move || tunnel(client.unwrap(), answer, &seen));
        }
    });
    address
}

fn tunnel(mut client: TcpStream, answer: &str, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    client.write_all(answer.as_bytes()).unwrap();
    let target = head.split(' ').nth(1).unwrap();
    let Some(server) = answer.contains(" 200 ").then(|| TcpStream::connect(target).unwrap()) else { return };
    let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || copy(&mut up, &mut &server));
    let _ = copy(&mut down, &mut client);
}

#[test]
fn a_proxy_tunnels_to_the_server() {
    let server = Mock::start(|asked| usual(asked, true, None));
    let front = encrypted(server.address, false);
    let seen = Arc::default();
    let address = proxy("HTTP/1.1 200 Connection established\r\n\r\n", Arc::clone(&seen));
    let sidecar = Sidecar::start();
    let given = Term::from(format!("http://me:secret@{address}"));
    let url = format!("https://localhost:{}", front.port());
    let options = [("ca_file", path("ca.pem")), ("proxy", given.clone())];
    open_with(&sidecar, &url, &options).unwrap().exec("SELECT 1");
    open_with(&sidecar, &server.url(), &[("proxy", given)]).unwrap().exec("SELECT 1");
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", front.port())), "{seen:?}");
    assert!(seen[0].contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{seen:?}");
    let refusing = proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Arc::default());
    let given = Term::from(format!("http://me:secret@{refusing}"));
    let failure = open_with(&sidecar, &server.url(), &[("proxy", given)]).err().unwrap();
    assert_eq!(failure.code, "remote_unavailable");
    assert!(
        failure.message.contains("407") && failure.message.contains("through the proxy"),
        "{}",
        failure.message
    );
    assert!(!failure.message.contains("secret"));
    let failure = open_with(&sidecar, &server.url(), &[("proxy", "socks5://x".into())]).err().unwrap();
    assert_eq!(failure.code, "invalid_option");
}
