//! Where a server is, from the URL that names it.

use crate::error::{Error, Result};
use crate::network::proxy::{is_loopback, percent_decoded, port_of, split_port};
use hyper::Uri;
use port_driver::error_code::ErrorCode;

/// A server's address.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// `https://host:port/path`, without a slash at its end.
    pub base: String,
    /// What a client may see of it: without query and user.
    pub shown: String,
    /// The token that it bore.
    pub token: Option<String>,
}

const ALLOWED: &str = "libsql://, https://, http://, wss:// and ws://";

/// Reads a URL. `plain_allowed`: what goes to another host may go unencrypted. Errors never repeat its query.
pub fn parse(url: &str, plain_allowed: bool) -> Result<Server> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| invalid(format!("it has no scheme; there are {ALLOWED}")))?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (rest, ""),
    };
    let query = query.split('#').next().unwrap_or_default();
    let rest = rest.split('#').next().unwrap_or_default();
    let (mut tls, mut token) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("tls", "0") => tls = Some(false),
            ("tls", "1") => tls = Some(true),
            ("authToken", _) if token.is_some() => return Err(invalid("it bears two tokens")),
            ("authToken", text) => token = Some(token_of(text)?),
            // It may be a token without its key.
            _ => return Err(invalid("its query may be tls=0, tls=1 and authToken=…, and nothing else")),
        }
    }
    let encrypted = match (scheme.to_ascii_lowercase().as_str(), tls) {
        ("libsql", tls) => tls.unwrap_or(true),
        ("https" | "wss", None | Some(true)) => true,
        ("http" | "ws", None | Some(false)) => false,
        ("https" | "wss" | "http" | "ws", Some(_)) => {
            return Err(invalid(format!("its scheme {scheme}:// and tls contradict each other")));
        }
        _ => return Err(invalid(format!("its scheme is one of {ALLOWED}, not {scheme:?}"))),
    };
    let scheme_used = if encrypted { "https" } else { "http" };
    let path_start = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_start);
    if authority.contains('@') {
        return Err(invalid("a user in it means nothing; give auth_token"));
    }
    if split_port(authority).1.is_some_and(|port| port_of(port).is_none()) {
        return Err(invalid("its port is no number from 1 to 65535"));
    }
    let base = format!("{scheme_used}://{authority}{}", path.trim_end_matches('/'));
    let uri: Uri = base.parse().map_err(|error| invalid(format!("it cannot be read: {error}")))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    if host.is_empty() {
        return Err(invalid("it names no host"));
    }
    if !encrypted && !plain_allowed && !is_loopback(host) {
        return Err(invalid(format!(
            "what is sent to {host} would be unencrypted, its token too; use https:// or libsql://, or say tls: false"
        )));
    }
    Ok(Server { base, shown: format!("{scheme}://{authority}{}", path.trim_end_matches('/')), token })
}

/// Where a stream of the server of `own` goes on, if that names `base` for it: on the same host, and never unencrypted where the way
/// to the server is encrypted. The rest of the address is read as any other. `None` if nothing may go there.
pub fn followed(own: &str, base: &str) -> Option<String> {
    let server = parse(base, true).ok().filter(|_| !base.contains(['?', '#']))?;
    let host = |url: &str| url.parse::<Uri>().ok()?.host().map(str::to_ascii_lowercase);
    let is_encrypted = |url: &str| url.starts_with("https://");
    let may = host(own)? == host(&server.base)? && (is_encrypted(&server.base) || !is_encrypted(own));
    may.then_some(server.base)
}

fn token_of(text: &str) -> Result<String> {
    String::from_utf8(percent_decoded(text))
        .ok()
        .filter(|token| token.bytes().all(|byte| (0x21..0x7f).contains(&byte)))
        .ok_or_else(|| invalid("its authToken must be visible ASCII"))
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::InvalidOption, format!("the option url: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> String {
        parse(url, false).unwrap_or_else(|error| panic!("{url}: {error}")).base
    }

    #[test]
    fn schemes_are_http_in_the_end() {
        assert_eq!(base("libsql://db-org.turso.io"), "https://db-org.turso.io");
        assert_eq!(base("https://h:8443/prefix/"), "https://h:8443/prefix");
        assert_eq!(base("wss://h"), "https://h");
        assert_eq!(base("ws://localhost:8080"), "http://localhost:8080");
        assert_eq!(base("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(base("http://[::1]:8080"), "http://[::1]:8080");
        assert_eq!(base("libsql://localhost?tls=0"), "http://localhost");
        assert_eq!(base("LIBSQL://h?tls=1"), "https://h");
        assert_eq!(parse("http://10.0.0.1", true).unwrap().base, "http://10.0.0.1");
    }

    #[test]
    fn a_stream_stays_on_the_host_of_its_server() {
        for (own, base, expected) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:2/p/", Some("http://127.0.0.1:2/p")),
            ("http://127.0.0.1:1", "https://127.0.0.1:2", Some("https://127.0.0.1:2")),
            ("https://db.example.com", "https://DB.example.com:8443", Some("https://DB.example.com:8443")),
            ("https://db.example.com", "libsql://db.example.com", Some("https://db.example.com")),
            // Somebody else would have the token and the statements.
            ("http://127.0.0.1:1", "http://10.0.0.1:1", None),
            ("http://127.0.0.1:1", "http://127.0.0.2:1", None),
            ("https://db.example.com", "https://example.com", None),
            ("https://db.example.com", "https://evil.db.example.com", None),
            ("https://db.example.com", "http://db.example.com", None),
            ("https://db.example.com", "https://me@db.example.com", None),
            ("https://db.example.com", "https://db.example.com:99999", None),
            ("https://db.example.com", "https://db.example.com?authToken=a", None),
            ("https://db.example.com", "https://db.example.com#a", None),
            ("https://db.example.com", "//db.example.com", None),
            ("https://db.example.com", "", None),
        ] {
            assert_eq!(followed(own, base).as_deref(), expected, "{own} {base}");
        }
    }

    #[test]
    fn a_token_in_it_is_taken_out() {
        let server = parse("libsql://h/p?authToken=a%2Eb&tls=1", false).unwrap();
        assert_eq!(server.token.as_deref(), Some("a.b"));
        assert_eq!(server.shown, "libsql://h/p");
        assert!(!server.base.contains("a.b"));
    }

    #[test]
    fn what_it_cannot_be_is_named_and_what_it_hides_is_not() {
        for (url, words) in [
            ("app.db", "it has no scheme; there are libsql://"),
            ("file:///a.db", "its scheme is one of libsql://"),
            ("https://h?tls=0", "contradict"),
            ("http://10.0.0.1?authToken=secret", "say tls: false"),
            ("libsql://h?tls=0", "say tls: false"),
            ("libsql://h?x=secret", "nothing else"),
            ("libsql://h?secret", "nothing else"),
            ("libsql://h?authToken=a&authToken=secret", "two tokens"),
            ("https://h:0", "from 1 to 65535"),
            ("https://h:65536/p", "from 1 to 65535"),
            ("http://127.0.0.1:99999", "from 1 to 65535"),
            ("http://127.0.0.1:", "from 1 to 65535"),
            ("https://[::1]:x", "from 1 to 65535"),
            ("https://h:+1", "from 1 to 65535"),
            ("libsql://h?authToken=%00secret", "visible ASCII"),
            ("libsql://me:secret@h", "give auth_token"),
            ("libsql://", "it"),
            ("https://a b", "cannot be read"),
        ] {
            let error = parse(url, false).err().unwrap_or_else(|| panic!("{url}"));
            assert_eq!(error.code(), ErrorCode::InvalidOption);
            let message = error.to_string();
            assert!(message.contains(words) && !message.contains("secret"), "{message}");
        }
    }
}
