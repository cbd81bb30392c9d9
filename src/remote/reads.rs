//! Reads by themselves, on the servers that follow the primary: which one is asked, and that it has what this program has
//! written. Writes and transactions never come here: they fail while the primary is not there.

use super::hrana::answer::Outcome;
use super::hrana::stmt::{Step, Stmt, When};
use super::kept::Kept;
use super::machine::{Effect, Fault, Ran};
use super::places::{Candidate, Known, Place};
use super::runs::Statement;
use super::servers::Source;
use super::session::{missing, About, Session};
use super::stream::Link;
use crate::error::{Error, Result};
use crate::info::ServerStatus;
use crate::sql::keyword::Keyword;
use port_driver::error_code::ErrorCode;
use port_driver::reply::{self, put_source};
use port_driver::request::ReadFrom;
use std::sync::Arc;
use std::time::Duration;

impl Session {
    /// A server and the stream that is kept there. One that there is not is the primary.
    pub fn server(&self, place: Place) -> (&Link, &Kept) {
        let replica = match place {
            Place::Primary => None,
            Place::Replica(index) => self.replicas.get(index),
        };
        replica.map_or((&self.link, &self.kept), |replica| (&replica.link, &replica.kept))
    }

    /// All of them, the primary first.
    pub fn servers(&self) -> impl Iterator<Item = (&Link, &Kept)> {
        let replicas = self.replicas.iter().map(|replica| (&replica.link, &replica.kept));
        std::iter::once((&self.link, &self.kept)).chain(replicas)
    }

    /// Where the present request has read.
    pub fn place(&self) -> Place {
        self.source.map_or(Place::Primary, |source| source.place)
    }

    /// The same as the wire has it: URL, whether it is stale, and for how long the primary has not answered.
    pub fn source_term(&self) -> Option<Vec<u8>> {
        let Source { place, stale } = self.source?;
        let age_ns = self.link.gate().answered_ago_ns().filter(|_| stale);
        let url = self.server(place).0.gate().url();
        let mut out = Vec::new();
        put_source(&mut out, &reply::Source { url, stale, age_ms: age_ns.map(|ns| ns / 1_000_000) });
        Some(out)
    }

    /// What an answer has said of how far the server has come.
    pub fn note(&mut self, place: Place, about: About, before: (u64, u64), seen: Option<u64>) {
        let Some(index) = seen else { return };
        match place {
            Place::Primary => self.mark.seen(before, index, matches!(about, About::Alone { .. })),
            Place::Replica(number) => {
                if let Some(replica) = self.replicas.get_mut(number) {
                    replica.seen = (before.0, index);
                }
            }
        }
    }

    /// What is known of each server.
    pub fn server_status(&self) -> Vec<ServerStatus> {
        let places =
            std::iter::once(self.mark.known().1).chain(self.replicas.iter().map(|replica| replica.seen.1));
        let status = |(number, ((link, _), place)): (usize, ((&Link, &Kept), u64))| {
            let view = link.gate().view();
            let ms = |ns: u64| ns / 1_000_000;
            ServerStatus {
                url: link.gate().url().to_owned(),
                is_primary: number == 0,
                breaker: view.state.name(),
                failures: view.failures,
                reason: view.why,
                since_ms: view.since_ns.map(ms),
                probe_ms: view.probe_in_ns.map(ms),
                latency_us: link.gate().latency_ns().map(|ns| ns / 1000),
                answered_ms: link.gate().answered_ago_ns().map(ms),
                replication_index: Some(place).filter(|&place| place > 0),
            }
        };
        self.servers().zip(places).enumerate().map(status).collect()
    }

    /// Has the distance to all servers measured every `time`, at first now.
    pub fn measure(&self, time: Duration) {
        let token = self.token.known();
        for (link, _) in self.servers() {
            if let Ok(runtime) = link.runtime() {
                link.gate().measure(time, runtime, link.prober(token.as_deref()));
            }
        }
    }

    /// An error if nothing is sent to the primary for a while.
    pub fn check_primary(&self) -> Result<()> {
        self.link.check().map_err(|no_answer| self.fault(Fault::Unavailable, missing(no_answer).1))
    }

    /// A statement outside of a transaction: on the primary, unless it only reads and the connection may read elsewhere.
    pub fn run_by_itself(&mut self, statement: &Statement<'_>) -> Result<Outcome> {
        let reads = statement.keyword == Keyword::Other && statement.effect() == Effect::Reads;
        if !reads || !self.choice.is_one() {
            return self.run_alone(Place::Primary, statement);
        }
        self.turn = self.turn.wrapping_add(1);
        let (outcome, Candidate { place, stale }) =
            self.somewhere(self.choice.read_from, |session, place| session.run_alone(place, statement))?;
        self.source = (place != Place::Primary).then_some(Source { place, stale });
        Ok(outcome)
    }

    /// Asks the primary, or any server that is read while that is not there.
    pub fn anywhere<T>(&mut self, ask: impl FnMut(&mut Self, Place) -> Result<T>) -> Result<T> {
        if self.in_transaction() {
            let mut ask = ask;
            return ask(self, Place::Primary);
        }
        self.somewhere(ReadFrom::Primary, ask).map(|(answer, _)| answer)
    }

    /// The answer of the first server that gives one.
    fn somewhere<T>(
        &mut self,
        read_from: ReadFrom,
        mut ask: impl FnMut(&mut Self, Place) -> Result<T>,
    ) -> Result<(T, Candidate)> {
        let known = |(link, _): (&Link, &Kept)| Known {
            is_asked: link.gate().is_closed(),
            latency_ns: link.gate().latency_ns(),
        };
        let mut servers = self.servers().map(known);
        let primary = servers.next().unwrap_or(Known { is_asked: true, latency_ns: None });
        let replicas: Vec<_> = servers.collect();
        let mut failure = None;
        for candidate in self.choice.candidates(read_from, primary, &replicas, self.turn) {
            let outcome = self.has_caught_up(candidate).and_then(|()| ask(self, candidate.place));
            match outcome {
                Ok(answer) => return Ok((answer, candidate)),
                Err(error) if self.may_go_on(candidate.place, &error) => {
                    tracing::debug!("a read goes on to another server: {error}");
                    // What the primary says is why.
                    match candidate.place {
                        Place::Primary => failure = Some(error),
                        Place::Replica(_) => failure = failure.or(Some(error)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let unasked = || Error::new(ErrorCode::RemoteUnavailable, "there is no server to ask");
        Err(failure.unwrap_or_else(unasked))
    }

    /// Whether what `place` has failed with is worth another server.
    fn may_go_on(&self, place: Place, error: &Error) -> bool {
        let is_gone = match place {
            Place::Primary => error.code() == ErrorCode::RemoteUnavailable,
            Place::Replica(_) => matches!(
                error.code(),
                ErrorCode::RemoteUnavailable
                    | ErrorCode::RemoteProtocol
                    | ErrorCode::CannotOpen
                    | ErrorCode::Timeout
            ),
        };
        is_gone && self.control.stop().is_none()
    }

    /// Waits until a server that follows has what this program has written, for no longer than it is patient: where the primary
    /// has begun another log, the place that is waited for never comes.
    fn has_caught_up(&mut self, candidate: Candidate) -> Result<()> {
        let Candidate { place: Place::Replica(number), stale: false } = candidate else { return Ok(()) };
        let wanted = self.mark.known();
        let Some(replica) = self.replicas.get(number) else { return Ok(()) };
        if wanted.1 == 0 || replica.seen.0 == wanted.0 && replica.seen.1 >= wanted.1 {
            return Ok(());
        }
        let about = About::Alone { effect: Effect::Reads, opens: false };
        let nothing = [Step { stmt: Stmt::plain("SELECT 1"), when: When::Never }];
        let control = Arc::clone(&self.control);
        control.within(self.replica_wait, || {
            self.exchange_at(
                candidate.place,
                about,
                &|pipeline| {
                    pipeline.since(wanted.1);
                    pipeline.batch(&nothing);
                },
                &mut |results| {
                    let ready = results.batch(1)?.map(|_| ()).map_err(|error| error.into_error());
                    Ok((Ran::Done, ready))
                },
            )
        })??;
        if let Some(replica) = self.replicas.get_mut(number) {
            replica.seen = wanted;
        }
        Ok(())
    }
}
