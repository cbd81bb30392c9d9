//! Who is addressed? The one match on a request's tag; what the program answers itself is answered here.

use super::output::Output;
use super::status;
use super::table::Table;
use super::time::Time;
use crate::client_functions::{too_many, ClientFunction};
use crate::client_hooks::ClientHook;
use crate::clock::deadline_ns;
use crate::connection::inbox::Refused;
use crate::connection::job::{Job, QueuedBytes};
use crate::connection::thread::{Registry, Thread};
use crate::connection::Connection;
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::feed::{Filter, Scope, Terms, PRIVATE};
use crate::limits::{STACK_BYTES, SUBSCRIPTIONS_MAX};
use crate::run::Outlet;
use crate::surroundings::Surroundings;
use bytes::Bytes;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_bool, put_nil, put_optional_binary, put_tuple, put_unsigned};
use port_driver::etf::DecodeError;
use port_driver::frame::Header;
use port_driver::reply;
use port_driver::request::{self, tag, HookKind, Refusal, Request};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// What is left to do with a request.
pub enum Routed {
    /// Nothing: it is answered, or waits on its connection.
    Done,
    /// Its connection is free and reserved for it: run it, or pass it on.
    Lead(Arc<Connection>, Job),
}

/// The router. Travels with the leadership, so that one thread at a time uses it.
pub struct Router {
    surroundings: Surroundings,
    table: Arc<Table>,
    reading_threads: Arc<AtomicU32>,
    output: Arc<Output>,
    time: Time,
    queued_bytes: Arc<QueuedBytes>,
    next_connection: u32,
    requests: u64,
    bytes_in: u64,
}

impl Router {
    /// A router with an empty table. `reading_threads` is for the status.
    pub fn new(
        surroundings: Surroundings,
        table: Arc<Table>,
        reading_threads: Arc<AtomicU32>,
        output: Arc<Output>,
        time: Time,
    ) -> Self {
        // Ids are never used again, and start anywhere, so that one of a dead program is not taken for one of this.
        let seed = std::process::id().wrapping_mul(0x9e37_79b1) >> 8;
        let queued_bytes = QueuedBytes::new(surroundings.limits.queue_bytes_max);
        Router {
            surroundings,
            table,
            reading_threads,
            output,
            time,
            queued_bytes,
            next_connection: seed,
            requests: 0,
            bytes_in: 0,
        }
    }

    /// Decides what becomes of a request; replies of its own go into `replies`. An error means that the wire is broken.
    pub fn route(
        &mut self,
        header: Header,
        payload: Bytes,
        received_ns: u64,
        replies: &mut Vec<u8>,
    ) -> Result<Routed, DecodeError> {
        self.requests += 1;
        self.bytes_in += payload.len() as u64 + port_driver::frame::HEADER_BYTES as u64;
        let routed = match header.tag {
            tag::PING => self.ping(header, &payload, replies),
            tag::STATUS => self.status(header, &payload, replies),
            tag::OPEN => self.open(header, payload, received_ns),
            tag::CLOSE => self.close(header, &payload, received_ns, replies),
            tag::CANCEL => self.cancel(header, &payload, replies),
            tag::CREDIT => self.credit(header, &payload),
            tag::ANSWER => self.answer(&payload),
            tag::CREATE_FUNCTION | tag::DROP_FUNCTION | tag::SET_HOOK | tag::REMOVE_HOOK
                if is_of_program(header.tag, &payload)? =>
            {
                self.shared_function(header, &payload, replies)
            }
            tag::SUBSCRIBE => self.subscribe(header, &payload, replies),
            tag::UNSUBSCRIBE => self.unsubscribe(header, &payload, replies),
            tag::CHANGES_CREDIT => self.changes_credit(&payload),
            _ => self.queue(header, payload, received_ns),
        };
        match routed {
            Ok(routed) => Ok(routed),
            Err(Unrouted::Broken(error)) => Err(error),
            Err(Unrouted::Refused(error)) => {
                // These have no reply; one that comes too late is nothing to speak of.
                if !matches!(header.tag, tag::CREDIT | tag::ANSWER | tag::CHANGES_CREDIT) {
                    self.refuse(header.request_id, &error, replies);
                }
                Ok(Routed::Done)
            }
        }
    }

    /// Answers with an error.
    pub fn refuse(&self, request_id: u32, error: &Error, replies: &mut Vec<u8>) {
        error.reply(replies, request_id, self.reply_bytes_max(), None);
    }

    /// Answers a frame that is too long to be read.
    pub fn refuse_oversized(&self, header: Header, frame_bytes: u32, replies: &mut Vec<u8>) {
        let message = format!(
            "a request of {frame_bytes} bytes is longer than frame_bytes_max, {}; raise that limit or split the request",
            self.surroundings.limits.frame_bytes_max
        );
        self.refuse(header.request_id, &Error::new(ErrorCode::FrameTooLarge, message), replies);
    }

    fn ping(&self, header: Header, payload: &[u8], replies: &mut Vec<u8>) -> Result<Routed, Unrouted> {
        if let Request::Ping(term) = request::decode(tag::PING, payload)? {
            reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| out.extend_from_slice(term));
        }
        Ok(Routed::Done)
    }

    fn status(&self, header: Header, payload: &[u8], replies: &mut Vec<u8>) -> Result<Routed, Unrouted> {
        request::decode(tag::STATUS, payload)?;
        let status = status::Status {
            connections: &self.table.all(),
            files: &self.surroundings.files.all(),
            replicas: &self.surroundings.replicas.all(),
            reading_threads: self.reading_threads.load(Ordering::Relaxed),
            requests: self.requests,
            bytes_in: self.bytes_in,
            bytes_out: self.output.bytes(),
        };
        reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| status.put(out));
        Ok(Routed::Done)
    }

    /// Starts a connection; its own thread opens the database and answers.
    fn open(&mut self, header: Header, payload: Bytes, received_ns: u64) -> Result<Routed, Unrouted> {
        let Request::Open(open) = request::decode(tag::OPEN, &payload)? else { return Ok(Routed::Done) };
        let deadline_ns = deadline_ns(received_ns, open.timeout_ms);
        drop(open);
        let limits = &self.surroundings.limits;
        // 0 stands for all connections.
        self.next_connection = (self.next_connection.wrapping_add(1) & 0x7fff_ffff).max(1);
        let queued_bytes = Arc::clone(&self.queued_bytes);
        let connection = Connection::new(self.next_connection, limits.queue_requests_max, queued_bytes);
        let connection = Arc::new(connection);
        if !self.table.insert(&connection, limits.connections_max) {
            return Err(Error::new(
                ErrorCode::LimitExceeded,
                format!(
                    "{} connections are open, which is connections_max; close some",
                    limits.connections_max
                ),
            )
            .into());
        }
        let job = Job::new(header.request_id, tag::OPEN, payload, received_ns, deadline_ns);
        let outlet =
            ThreadOutlet { output: Arc::clone(&self.output), control: Arc::clone(&connection.control) };
        let thread = Thread {
            connection: Arc::clone(&connection),
            surroundings: self.surroundings.clone(),
            outlet: Box::new(outlet),
            registry: Arc::clone(&self.table) as Arc<dyn Registry>,
        };
        let name = format!("libsql-conn-{}", connection.id);
        let started =
            std::thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || thread.run(job));
        started.map(|_| Routed::Done).map_err(|error| {
            self.table.closed(&connection);
            Error::new(ErrorCode::LimitExceeded, format!("no thread for another connection: {error}")).into()
        })
    }

    /// Overtakes the queue; the connection's thread answers when it has closed, or the timekeeper when its time is up.
    fn close(
        &self,
        header: Header,
        payload: &[u8],
        received_ns: u64,
        replies: &mut Vec<u8>,
    ) -> Result<Routed, Unrouted> {
        let route = request::route(tag::CLOSE, payload)?;
        let connection = self.table.get(route.connection).ok_or_else(|| unknown(route.connection))?;
        request::decode(tag::CLOSE, payload)?;
        let deadline_ns = deadline_ns(received_ns, route.timeout_ms);
        let Some(dropped) = connection.inbox.close(Some((header.request_id, deadline_ns))) else {
            return Err(unknown(connection.id).into());
        };
        self.time.queued_until(deadline_ns);
        for job in dropped {
            self.refuse(job.request_id, &Stop::Closed.into(), replies);
        }
        Ok(Routed::Done)
    }

    fn cancel(&self, header: Header, payload: &[u8], replies: &mut Vec<u8>) -> Result<Routed, Unrouted> {
        let connection = self.connection(tag::CANCEL, payload)?;
        let Request::Cancel { request_id } = request::decode(tag::CANCEL, payload)? else {
            return Ok(Routed::Done);
        };
        let told = match connection.inbox.cancel(request_id) {
            Ok(job) => {
                self.refuse(job.request_id, &Stop::Cancelled.into(), replies);
                true
            }
            Err(told) => told,
        };
        reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| put_bool(out, told));
        Ok(Routed::Done)
    }

    fn credit(&self, header: Header, payload: &[u8]) -> Result<Routed, Unrouted> {
        let connection = self.connection(tag::CREDIT, payload)?;
        if let Request::Credit { credits } = request::decode(tag::CREDIT, payload)? {
            connection.inbox.grant_credits(header.request_id, credits);
        }
        Ok(Routed::Done)
    }

    /// What a callback has said, for the request that waits for it.
    fn answer(&self, payload: &Bytes) -> Result<Routed, Unrouted> {
        let connection = self.connection(tag::ANSWER, payload)?;
        if let Request::Answer { call, .. } = request::decode(tag::ANSWER, payload)? {
            connection.questions.answer(call, payload.clone());
        }
        Ok(Routed::Done)
    }

    /// A function or a hook of all connections. Each takes it over before its next request.
    fn shared_function(
        &self,
        header: Header,
        payload: &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<Routed, Unrouted> {
        let shared = &self.surroundings.client_functions;
        match request::decode(header.tag, payload)? {
            Request::CreateFunction(function) => {
                if !shared.put(ClientFunction::from(&function)) {
                    return Err(too_many().into());
                }
                reply::ok(replies, header.request_id, self.reply_bytes_max(), put_nil);
            }
            Request::DropFunction(function) => {
                let removed = shared.remove(&ClientFunction::from(&function));
                reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| put_bool(out, removed));
            }
            Request::SetHook(hook) if hook.kind == HookKind::Authorizer => {
                let message = "an authorizer is a connection's own: set it on each connection";
                return Err(Error::new(ErrorCode::InvalidOption, message).into());
            }
            Request::SetHook(hook) => {
                shared.set_hook(ClientHook::from(&*hook));
                reply::ok(replies, header.request_id, self.reply_bytes_max(), put_nil);
            }
            Request::RemoveHook(kind) => {
                let removed = shared.remove_hook(kind);
                reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| put_bool(out, removed));
            }
            _ => {}
        }
        Ok(Routed::Done)
    }

    /// Answers `{Subscription, {Sequence, Database}}`, the last `nil` if it is all of them.
    fn subscribe(&self, header: Header, payload: &[u8], replies: &mut Vec<u8>) -> Result<Routed, Unrouted> {
        let Request::Subscribe(request) = request::decode(tag::SUBSCRIBE, payload)? else {
            return Ok(Routed::Done);
        };
        let scope = match request.scope {
            request::Scope::All => Scope::All,
            request::Scope::Database(name) => Scope::Named(name.to_owned()),
            request::Scope::Connection(id) => {
                let connection = self.table.get(id).ok_or_else(|| unknown(id))?;
                let no_file = || {
                    let message = "the connection has no file open: commits on a server are not seen here";
                    Error::new(ErrorCode::Unsupported, message)
                };
                match connection.files.main().ok_or_else(no_file)?.name.clone() {
                    name if name == PRIVATE => Scope::Private(id),
                    name => Scope::Named(name),
                }
            }
        };
        let database = match &scope {
            Scope::All => None,
            Scope::Named(name) => Some(name.clone()),
            Scope::Private(_) => Some(PRIVATE.to_owned()),
        };
        let hub = &self.surroundings.hub;
        let sequence = hub.sequence();
        let terms = Terms {
            events: request.events,
            progress_interval_ms: request.progress_interval_ms,
            bytes_max: request.bytes_max,
        };
        let Some(subscription) = hub.subscribe(scope, Filter::of(&request.changes), terms) else {
            let message = format!("there are {SUBSCRIPTIONS_MAX} subscriptions, which is the most; end some");
            return Err(Error::new(ErrorCode::LimitExceeded, message).into());
        };
        reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| {
            put_tuple(out, 2);
            put_unsigned(out, u64::from(subscription.id));
            put_tuple(out, 2);
            put_unsigned(out, sequence);
            put_optional_binary(out, database.as_deref().map(str::as_bytes));
        });
        Ok(Routed::Done)
    }

    fn unsubscribe(&self, header: Header, payload: &[u8], replies: &mut Vec<u8>) -> Result<Routed, Unrouted> {
        if let Request::Unsubscribe { subscription } = request::decode(tag::UNSUBSCRIBE, payload)? {
            let ended = self.surroundings.hub.unsubscribe(subscription);
            reply::ok(replies, header.request_id, self.reply_bytes_max(), |out| put_bool(out, ended));
        }
        Ok(Routed::Done)
    }

    fn changes_credit(&self, payload: &[u8]) -> Result<Routed, Unrouted> {
        if let Request::ChangesCredit { subscription, bytes } = request::decode(tag::CHANGES_CREDIT, payload)?
        {
            self.surroundings.hub.credit(subscription, bytes);
        }
        Ok(Routed::Done)
    }

    /// Everything else goes to a connection: reserved for the leader if it is free, else into its queue.
    #[inline]
    fn queue(&self, header: Header, payload: Bytes, received_ns: u64) -> Result<Routed, Unrouted> {
        let route = request::route(header.tag, &payload)?;
        let connection = self.table.get(route.connection).ok_or_else(|| unknown(route.connection))?;
        let deadline_ns = deadline_ns(received_ns, route.timeout_ms);
        let mut job = Job::new(header.request_id, header.tag, payload, received_ns, deadline_ns);
        job.transaction = route.transaction;
        job.lock_timeout_ms = route.lock_timeout_ms;
        if connection.inbox.try_lead(&job) {
            return Ok(Routed::Lead(connection, job));
        }
        match connection.inbox.submit(job) {
            Ok(()) => {
                self.time.queued_until(deadline_ns);
                Ok(Routed::Done)
            }
            Err(Refused::Closing) => Err(unknown(connection.id).into()),
            Err(Refused::Bytes) => Err(Error::new(
                ErrorCode::LimitExceeded,
                format!(
                    "the requests that wait on all connections hold {} bytes; with this one it would be more than \
                     queue_bytes_max, {}; send less at a time, or raise it",
                    self.queued_bytes.now(),
                    self.surroundings.limits.queue_bytes_max
                ),
            )
            .into()),
            Err(Refused::Full) => Err(Error::new(
                ErrorCode::LimitExceeded,
                format!(
                    "{} requests wait on connection {}, which is queue_requests_max; send fewer at a time, or raise it",
                    self.surroundings.limits.queue_requests_max, connection.id
                ),
            )
            .into()),
        }
    }

    fn connection(&self, tag: u8, payload: &[u8]) -> Result<Arc<Connection>, Unrouted> {
        let id = request::route(tag, payload)?.connection;
        self.table.get(id).ok_or_else(|| unknown(id).into())
    }

    fn reply_bytes_max(&self) -> u32 {
        self.surroundings.limits.reply_bytes_max()
    }
}

/// A connection's own thread writes its replies itself.
struct ThreadOutlet {
    output: Arc<Output>,
    control: Arc<Control>,
}

impl Outlet for ThreadOutlet {
    fn send(&mut self, frames: &mut Vec<u8>) {
        self.control.sending(|| self.output.send(frames));
    }

    fn about_to_wait(&mut self) {}
}

enum Unrouted {
    Broken(DecodeError),
    Refused(Error),
}

impl From<Refusal> for Unrouted {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fatal(error) => Unrouted::Broken(error),
            Refusal::Answer(error) => Unrouted::Refused(error.into()),
        }
    }
}

impl From<Error> for Unrouted {
    fn from(error: Error) -> Self {
        Unrouted::Refused(error)
    }
}

/// Whether the request is about all connections, whose number is 0.
fn is_of_program(tag: u8, payload: &[u8]) -> Result<bool, DecodeError> {
    match request::route(tag, payload) {
        Ok(route) => Ok(route.connection == 0),
        Err(Refusal::Fatal(error)) => Err(error),
        // Refused where it is queued.
        Err(Refusal::Answer(_)) => Ok(false),
    }
}

fn unknown(id: u32) -> Error {
    Error::new(ErrorCode::UnknownConnection, format!("there is no connection {id}; it may have been closed"))
}
