//! What TLS trusts, and who the client is.

use super::transport::{ConnectError, Step, Transport};
use port_driver::request::Roots;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The configuration of a transport. Its files are read now.
pub fn config(transport: &Transport) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    match transport.roots {
        Roots::Webpki => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        // A system without any is one whose servers are trusted by ca_file alone, or not reached by TLS at all.
        Roots::Native => {
            if let Ok(certificates) = rustls_native_certs::load_native_certs() {
                roots.add_parsable_certificates(certificates);
            }
        }
    }
    if let Some(path) = &transport.ca_file {
        for certificate in certificates("ca_file", path)? {
            roots.add(certificate).map_err(|error| {
                setup(format!("ca_file {path:?} holds a certificate that cannot be trusted: {error}"))
            })?;
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match &transport.client_cert {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates("client_cert_file", certificate)?, private_key(key)?)
            .map_err(|error| {
                setup(format!("client_cert_file and client_key_file do not belong together: {error}"))
            })?,
    };
    // Over HTTP/1.1 the end of a socket ends what runs for it on the server.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let unreadable = |error: io::Error| setup(format!("{option} {path:?} cannot be read: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let found: Vec<_> = rustls_pemfile::certs(&mut file).collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(setup(format!("{option} {path:?} holds no certificate in PEM form")));
    }
    Ok(found)
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, ConnectError> {
    let unreadable = |error: io::Error| setup(format!("client_key_file {path:?} cannot be read: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let key = rustls_pemfile::private_key(&mut file).map_err(unreadable)?;
    key.ok_or_else(|| setup(format!("client_key_file {path:?} holds no private key in PEM form")))
}

fn setup(message: String) -> ConnectError {
    ConnectError::new(Step::Setup, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(ca_file: Option<&str>, client_cert: Option<(&str, &str)>) -> Transport {
        let owned = |(certificate, key): (&str, &str)| (certificate.to_owned(), key.to_owned());
        Transport {
            ca_file: ca_file.map(str::to_owned),
            client_cert: client_cert.map(owned),
            ..Transport::of_a_test()
        }
    }

    #[test]
    fn a_file_that_is_none_names_its_option() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        let empty = empty.to_str().unwrap();
        let error = |transport| config(&transport).unwrap_err();
        let cases = [
            (error(transport(Some("/no/such/file"), None)), "ca_file \"/no/such/file\" cannot be read"),
            (error(transport(Some(empty), None)), "holds no certificate in PEM form"),
            (error(transport(None, Some((empty, empty)))), "client_cert_file"),
            (error(transport(None, Some(("/no", "/no")))), "client_cert_file \"/no\" cannot be read"),
        ];
        for (error, words) in cases {
            assert_eq!(error.step, Step::Setup);
            assert!(error.message.contains(words), "{}", error.message);
        }
        assert!(config(&transport(None, None)).is_ok());
    }
}
