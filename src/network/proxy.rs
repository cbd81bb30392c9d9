//! Which proxy stands before a host: the environment's `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, read as curl
//! and Go read them.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use std::fmt;
use std::net::IpAddr;

/// A proxy that tunnels by CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, as the header has them.
    pub authorization: Option<String>,
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// `http://user:password@host:port`, where all but the host may be missing. Errors do not repeat it.
    pub fn parse(url: &str) -> Result<Proxy, String> {
        let rest = match url.split_once("://") {
            None => url,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => return Err(format!("a proxy is reached over http://, not {scheme}://")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (host, port) = split_port(address);
        let port = match port {
            None => 80,
            // It may be a password.
            Some(port) => port_of(port).ok_or("the proxy's port is no number from 1 to 65535")?,
        };
        if host.is_empty() {
            return Err("the proxy has no host".to_owned());
        }
        let authorization = user.map(|user| STANDARD.encode(percent_decoded(user)));
        Ok(Proxy { host: host.to_owned(), port, authorization })
    }
}

/// A port, which is a number from 1 to 65535.
pub fn port_of(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| is_number && port > 0)
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
pub fn split_port(address: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (address, None),
    }
}

/// `%40` as `@`; what is no such pair stays as it is.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// The environment's proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    exceptions: Vec<String>,
}

impl Proxies {
    /// As the program's environment says. One that cannot be read is none, and the log says so.
    pub fn from_environment() -> Self {
        Self::of_variables(|name| std::env::var(name).ok())
    }

    fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let proxy = |names: &[&str]| {
            let found = names
                .iter()
                .find_map(|name| variable(name).filter(|value| !value.is_empty()).map(|url| (name, url)));
            let (name, url) = found?;
            Proxy::parse(&url).inspect_err(|message| tracing::warn!("the variable {name}: {message}")).ok()
        };
        let exceptions = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Proxies {
            https: proxy(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            // HTTP_PROXY in capitals is what a CGI program gets of a request's header Proxy.
            http: proxy(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            exceptions: exceptions
                .split(',')
                .map(|name| name.trim().to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// The proxy before `host`. There is none before the machine itself.
    pub fn of(&self, encrypted: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if encrypted { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.to_ascii_lowercase();
        let exempt = is_loopback(&host) || self.exceptions.iter().any(|name| is_exempt(name, &host, port));
        (!exempt).then_some(proxy)
    }
}

/// True of the names and addresses of this machine, and of the names below `localhost`, which are of this machine as well (RFC 6761).
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || is_below_localhost(host)
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `db.localhost` and the like. No resolver is asked about them: one that does not know them would ask others.
pub fn is_below_localhost(host: &str) -> bool {
    let (front, name) = host.rsplit_once('.').unwrap_or(("", host));
    name.eq_ignore_ascii_case("localhost")
        && !front.is_empty()
        && front.split('.').all(|label| !label.is_empty())
}

/// Whether `name` of `NO_PROXY` means `host`: the host itself, a domain above it, `*`; each with or without a port.
fn is_exempt(name: &str, host: &str, port: u16) -> bool {
    let (name, only_port) = split_port(name);
    if only_port.is_some_and(|only| only.parse() != Ok(port)) {
        return false;
    }
    let domain = name.strip_prefix("*.").or_else(|| name.strip_prefix('.')).unwrap_or(name);
    name == "*" || host == domain || host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_hosts_are_of_this_machine() {
        let hosts = include_str!("../../tests/fixtures/loopback_hosts.txt");
        let mut counts = (0, 0);
        for line in hosts.lines().filter(|line| !line.starts_with('#')) {
            let (expected, host) = line.split_once(' ').unwrap();
            assert_eq!(is_loopback(host), expected == "yes", "{host}");
            *if expected == "yes" { &mut counts.0 } else { &mut counts.1 } += 1;
        }
        assert!(counts.0 > 5 && counts.1 > 10, "{counts:?}");
    }

    #[test]
    fn urls_of_proxies() {
        let parsed = |url: &str| Proxy::parse(url).map(|proxy| (proxy.host, proxy.port, proxy.authorization));
        let of = |host: &str, port, authorization: Option<&str>| {
            Ok((host.to_owned(), port, authorization.map(str::to_owned)))
        };
        assert_eq!(parsed("http://proxy:3128"), of("proxy", 3128, None));
        assert_eq!(parsed("proxy"), of("proxy", 80, None));
        assert_eq!(parsed("HTTP://proxy:65535"), of("proxy", 65535, None));
        assert_eq!(parsed("http://[::1]:8080/"), of("::1", 8080, None));
        assert_eq!(parsed("http://u%40x:p@proxy:1"), of("proxy", 1, Some("dUB4OnA=")));
        for (url, words) in [
            ("socks5://p", "not socks5://"),
            ("http://p:x", "no number"),
            ("http://", "no host"),
            ("http://p:0", "no number"),
            ("p:65536", "no number"),
            ("http://me:secret", "no number"),
            ("http://p:+1", "no number"),
        ] {
            assert!(!parsed(url).unwrap_err().contains("secret"), "{url}");
            assert!(parsed(url).unwrap_err().contains(words), "{url}");
        }
        assert!(!format!("{:?}", Proxy::parse("http://me:secret@proxy").unwrap()).contains("secret"));
    }

    #[test]
    fn the_environment_names_proxies_and_exceptions() {
        let variables = |pairs: &'static [(&str, &str)]| {
            Proxies::of_variables(move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let proxies =
            variables(&[("HTTPS_PROXY", "http://p:1"), ("no_proxy", "example.org, .corp,10.0.0.1:8080")]);
        let by = |encrypted, host, port| proxies.of(encrypted, host, port).is_some();
        assert!(by(true, "db.turso.io", 443));
        assert!(!by(false, "db.turso.io", 80), "HTTPS_PROXY is for https");
        for host in ["example.org", "a.Example.org", "b.corp", "localhost", "127.0.0.1", "::1"] {
            assert!(!by(true, host, 443), "{host}");
        }
        assert!(by(true, "notexample.org", 443) && by(true, "10.0.0.1", 443) && !by(true, "10.0.0.1", 8080));
        let all = variables(&[("ALL_PROXY", "p:2"), ("NO_PROXY", "*.x")]);
        assert!(all.of(false, "a", 80).is_some() && all.of(true, "a.x", 443).is_none());
        assert!(variables(&[("https_proxy", "p"), ("no_proxy", "*")]).of(true, "a", 443).is_none());
        assert!(variables(&[("HTTP_PROXY", "p")]).of(false, "a", 80).is_none());
    }
}
