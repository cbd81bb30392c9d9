//! The requests of a connection to a replica: where each runs, what follows a write, and those that only a replica has.

mod maintenance;

use super::place::{self, Place};
use super::session::Session;
use crate::error::{transaction_ended, Error, Result};
use crate::held::ANY;
use crate::run::Run;
use crate::{local, remote};
use port_driver::request::{Consistency, Execute, Request, ResultOptions, Target};
use std::sync::atomic::Ordering;

/// Runs one request; its reply, or its error's, is in `run.out` when this returns.
pub fn run(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) {
    match request {
        Request::Sync(until) => own(session, run, |session, run| maintenance::sync(session, run, *until)),
        Request::ReplicationStatus => own(session, run, maintenance::status),
        Request::Freeze { path } => own(session, run, |session, run| maintenance::freeze(session, run, path)),
        Request::Flush => own(session, run, maintenance::flush),
        Request::Reset => reset(session, run),
        _ => route(session, run, request),
    }
    let counters = &session.local.counters;
    counters
        .statements
        .store(session.local.prepared.len() + session.server.prepared.len(), Ordering::Relaxed);
    counters.cursors.store(session.local.cursors.len() + session.server.cursors.len(), Ordering::Relaxed);
}

fn route(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) {
    session.take_over_log();
    let place = place::of(session, run, request).and_then(|place| {
        // One that is addressed to a transaction which is over is refused.
        if place == Place::File && (run.transaction.is_none() || matches!(request, Request::Begin(_))) {
            before_read(session, run, request)
        } else {
            Ok(place)
        }
    });
    match place {
        Ok(Place::File | Place::Here) => on_file(session, run, request),
        Ok(Place::Stale) => {
            send(session, run, request);
        }
        Ok(Place::Server) => {
            let failed = send(session, run, request);
            follow(session, request, failed);
        }
        Err(error) => own(session, run, |_, _| Err(error)),
    }
}

/// Where a read of the file runs in the end, with the file as new as it has to be.
fn before_read(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) -> Result<Place> {
    let consistency = consistency(session, request);
    if consistency != Consistency::Latest {
        let place = place::if_stale(session, max_lag_ms(session, request))?;
        if place != Place::File {
            return Ok(place);
        }
    }
    session.freshen(consistency, || run.outlet.about_to_wait())?;
    Ok(Place::File)
}

/// By the file's connection, which knows nothing of a transaction on the server.
fn on_file(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) {
    if !session.server.in_transaction() {
        return local::commands::run(&mut session.local, run, request);
    }
    let held = session.server.control.held.get();
    let transaction = run.transaction.take();
    match transaction {
        Some(transaction) if !session.server.control.held.is(transaction) => {
            own(session, run, |_, _| Err(transaction_ended()));
        }
        _ => local::commands::run(&mut session.local, run, request),
    }
    run.transaction = transaction;
    session.server.control.held.set(held);
}

/// On the server. What a statement prepared here says is sent as its text. True if it has failed.
fn send(session: &mut Session, run: &mut Run<'_>, request: &Request<'_>) -> bool {
    let errors = session.local.counters.errors.load(Ordering::Relaxed);
    let text = |id: u32| session.local.prepared.sql(id).map(str::to_owned).ok();
    match request {
        Request::ExecutePrepared(prepared) => match text(prepared.statement) {
            Some(sql) => {
                let execute = Execute { sql: &sql, params: prepared.params, options: prepared.options };
                remote::commands::run(&mut session.server, run, &Request::Execute(execute));
            }
            None => remote::commands::run(&mut session.server, run, request),
        },
        Request::Declare { target: Target::Statement(id), params, live } => match text(*id) {
            Some(sql) => {
                let declare = Request::Declare { target: Target::Sql(&sql), params: *params, live: *live };
                remote::commands::run(&mut session.server, run, &declare);
            }
            None => remote::commands::run(&mut session.server, run, request),
        },
        _ => remote::commands::run(&mut session.server, run, request),
    }
    session.local.counters.errors.load(Ordering::Relaxed) != errors
}

/// Has the file follow what the server may have committed, and waits for that where reads are to see it. The answer is the commit's
/// in any case: what the file has not got by then, the next read waits for.
fn follow(session: &mut Session, request: &Request<'_>, failed: bool) {
    let may_have_committed = matches!(
        request,
        Request::Execute(_)
            | Request::QueryOne(_)
            | Request::ExecutePrepared(_)
            | Request::Batch(_)
            | Request::Script { .. }
            | Request::Commit
            | Request::Release { .. }
            | Request::Fetch { .. }
            | Request::CloseCursor { .. }
    );
    if session.server.in_transaction() || !may_have_committed {
        return;
    }
    let ticket = session.replica.want_sync();
    // Of what has failed nothing stays to be seen, but of a script what came before.
    if failed && !matches!(request, Request::Script { .. }) {
        return;
    }
    session.replica.written(ticket);
    let waits = consistency(session, request) != Consistency::Local;
    if waits && !failed {
        // The commit is told in any case.
        let _ = session.waiting().synced(ticket);
    }
}

/// Both as if they had just been opened.
fn reset(session: &mut Session, run: &mut Run<'_>) {
    if let Some(transaction) = run.transaction {
        let held = &session.server.control.held;
        let open = session.server.in_transaction() || !session.local.access.handle.autocommit();
        if !open || !held.is(transaction) {
            return own(session, run, |_, _| Err(transaction_ended()));
        }
    }
    run.outlet.about_to_wait();
    session.server.cursors.clear();
    session.server.prepared.clear();
    session.server.roll_back();
    session.server.control.held.set(ANY);
    let transaction = run.transaction.take();
    local::commands::run(&mut session.local, run, &Request::Reset);
    run.transaction = transaction;
}

/// How new the data have to be that `request` reads.
fn consistency(session: &Session, request: &Request<'_>) -> Consistency {
    said(request).and_then(|options| options.consistency).unwrap_or(session.consistency)
}

/// How old they may be.
fn max_lag_ms(session: &Session, request: &Request<'_>) -> Option<u32> {
    said(request).and_then(|options| options.max_lag_ms).or(session.max_lag_ms)
}

fn said<'r>(request: &'r Request<'_>) -> Option<&'r ResultOptions> {
    match request {
        Request::Execute(request) | Request::QueryOne(request) => Some(&request.options),
        Request::ExecutePrepared(request) => Some(&request.options),
        _ => None,
    }
}

/// True if `request` can run on the thread that reads requests: it is short on the file, and waits for no sync.
pub fn is_short(session: &Session, request: &Request<'_>) -> bool {
    let reads = match request {
        Request::Execute(request) | Request::QueryOne(request) => {
            session.local.cache.peek(request.sql).is_some_and(|statement| statement.read_only())
        }
        Request::ExecutePrepared(request) => {
            session.local.prepared.peek(request.statement).is_some_and(|statement| statement.read_only())
        }
        _ => false,
    };
    reads
        && session.replica.unseen().is_none()
        && session.logs == session.replica.logs()
        && !session.server.in_transaction()
        && consistency(session, request) != Consistency::Latest
        && max_lag_ms(session, request).is_none()
        && local::commands::is_short(&session.local, request)
}

/// Runs a request of the replica's own.
fn own(
    session: &mut Session,
    run: &mut Run<'_>,
    work: impl FnOnce(&mut Session, &mut Run<'_>) -> Result<()>,
) {
    let base = run.out.len();
    session.local.counters.requests.fetch_add(1, Ordering::Relaxed);
    run.outlet.about_to_wait();
    let outcome: std::result::Result<(), Error> = work(session, run);
    if let Err(error) = outcome {
        run.out.truncate(base.min(run.out.len()));
        local::commands::count(&session.local, &error);
        let status = session.local.access.tx_status().max(session.server.machine.status());
        run.error(&error, Some(status));
    }
}
