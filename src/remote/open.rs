//! Opens a connection to a server: the URL, the transport, the token, and one request that shows that all of them are good.

use super::cursors::Cursors;
use super::descriptions::Descriptions;
use super::kept::Kept;
use super::machine::{Effect, Machine, Ran};
use super::places::Choice;
use super::servers::Replica;
use super::session::{About, Session};
use super::stream::Link;
use super::token::{Asking, Source, Token};
use super::unsupported;
use super::url::{self, Server};
use crate::control::Control;
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::info::{Info, Mode};
use crate::network::breaker::Patience;
use crate::network::transport::{ConnectError, Transport};
use crate::questions::Questions;
use crate::surroundings::Surroundings;
use port_driver::error_code::ErrorCode;
use port_driver::request::{FallbackReads, OpenOptions, ReadFrom, RemoteOptions, Secret};
use std::sync::Arc;
use std::time::Duration;

/// Opens what `remote` names for connection `id`.
pub fn open(
    surroundings: &Surroundings,
    id: u32,
    control: &Arc<Control>,
    questions: &Arc<Questions>,
    counters: &Arc<Counters>,
    options: &OpenOptions<'_>,
    remote: &RemoteOptions<'_>,
) -> Result<(Session, Info)> {
    unsupported::check_options(options)?;
    let (mut session, server) = connect(surroundings, id, control, questions, counters, options, remote)?;
    let about = About::Alone { effect: Effect::Reads, opens: false };
    session.anywhere(|session, place| {
        session.exchange_at(place, about, &|_| {}, &mut |_| Ok((Ran::Done, ())))
    })?;
    if remote.read_from == ReadFrom::Nearest {
        session.measure(ms(remote.measure_interval_ms));
    }
    // The opening is no statement of a busy caller.
    session.last_alone_ns = 0;
    Ok((session, Info { path: server.shown, journal_mode: None, read_only: false, mode: Mode::Remote }))
}

/// How the server of `remote` is reached.
pub fn transport(remote: &RemoteOptions<'_>) -> Transport {
    let pair = |(certificate, key): (&str, &str)| (certificate.to_owned(), key.to_owned());
    Transport {
        roots: remote.roots,
        ca_file: remote.ca_file.map(str::to_owned),
        client_cert: remote.client_cert_file.zip(remote.client_key_file).map(pair),
        proxy: remote.proxy.map(|proxy| proxy.0.to_owned()),
        connect_timeout: ms(remote.connect_timeout_ms),
        idle_sockets_max: remote.idle_sockets_max as usize,
        socket_idle: ms(remote.socket_idle_ms),
        patience: Patience {
            failures: remote.breaker_failures,
            delay: ms(remote.breaker_delay_ms),
            delay_max: ms(remote.breaker_delay_max_ms),
            probe_time: ms(remote.probe_timeout_ms),
        },
    }
}

/// A session that has sent nothing yet, and its server.
pub fn connect(
    surroundings: &Surroundings,
    id: u32,
    control: &Arc<Control>,
    questions: &Arc<Questions>,
    counters: &Arc<Counters>,
    options: &OpenOptions<'_>,
    remote: &RemoteOptions<'_>,
) -> Result<(Session, Server)> {
    let server = url::parse(remote.url.0, !remote.tls)?;
    if server.token.is_some() && (remote.auth_token.is_some() || remote.ask_auth_token.is_some()) {
        return Err(invalid(
            "the url bears a token, and auth_token or ask_auth_token says another".to_owned(),
        ));
    }
    let network = &surroundings.network;
    let http = network.client(&transport(remote)).map_err(|ConnectError { message, .. }| invalid(message))?;
    let bytes_max = u64::from(remote.response_bytes_max);
    let link = |base| {
        Link::new(Arc::clone(network), Arc::clone(&http), base, remote.namespace, bytes_max).map_err(invalid)
    };
    let replicas = replicas(remote, &link)?;
    let link = link(server.base.clone())?;
    let fallback = remote.replica_urls.iter().map(|url| match &remote.fallback_reads {
        FallbackReads::None => false,
        FallbackReads::All => true,
        FallbackReads::These(urls) => urls.contains(url),
    });
    let choice = Choice { read_from: remote.read_from, fallback: fallback.collect() };
    let mark = link.gate().mark(remote.namespace.unwrap_or_default());
    let source = match (
        remote.auth_token.map(|token| token.0.to_owned()).or_else(|| server.token.clone()),
        remote.ask_auth_token,
    ) {
        (Some(token), _) => Source::Given(token),
        (None, Some(callback)) => Source::Asked(Asking {
            connection: id,
            callback,
            url: server.shown.clone(),
            control: Arc::clone(control),
            questions: Arc::clone(questions),
            relief: Arc::clone(&surroundings.relief),
        }),
        (None, None) => Source::None,
    };
    let session = Session {
        link,
        replicas,
        choice,
        mark,
        replica_wait: ms(remote.replica_wait_ms),
        turn: fastrand::usize(..),
        source: None,
        token: Token::new(source),
        machine: Machine::new(),
        kept: Kept::default(),
        stream_idle: ms(remote.stream_idle_ms),
        last_alone_ns: 0,
        read_only: false,
        descriptions: Descriptions::new(options.statement_cache),
        prepared: Default::default(),
        last_statement: 0,
        cursors: Cursors::default(),
        control: Arc::clone(control),
        counters: Arc::clone(counters),
        limits: Arc::clone(&surroundings.limits),
        changes: 0,
    };
    Ok((session, server))
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// The servers that follow the primary. What is true of the primary's way is true of theirs.
fn replicas(remote: &RemoteOptions<'_>, link: &dyn Fn(String) -> Result<Link>) -> Result<Vec<Replica>> {
    let replica = |url: &Secret<'_>| {
        let server = url::parse(url.0, !remote.tls)?;
        if server.token.is_some() {
            return Err(invalid("replica_urls bear no tokens: theirs is the one of the primary".to_owned()));
        }
        Ok(Replica { link: link(server.base)?, kept: Kept::default(), seen: (0, 0) })
    };
    remote.replica_urls.iter().map(replica).collect()
}

fn invalid(message: String) -> Error {
    Error::new(ErrorCode::InvalidOption, message)
}
