//! What a connection is connected to: the only place that knows the kinds there are.

use crate::control::Control;
use crate::counters::Counters;
use crate::database::{DatabaseFile, OpenFiles};
use crate::engine::code;
use crate::error::Result;
use crate::info::Info;
use crate::limits::Limits;
use crate::local;
use crate::local::session::Session;
use crate::questions::Questions;
use crate::remote;
use crate::replica;
use crate::run::Run;
use crate::surroundings::Surroundings;
use port_driver::request::{Open, Request};
use std::sync::Arc;

/// An open database, of whatever kind.
pub enum Backend {
    /// In this program.
    Local(Box<Session>),
    /// On a server.
    Remote(Box<remote::session::Session>),
    /// On a server, and in a file that follows it.
    Replica(Box<replica::session::Session>),
}

impl Backend {
    /// Opens what `request` names for connection `id`.
    pub fn open(
        surroundings: &Surroundings,
        id: u32,
        control: &Arc<Control>,
        questions: &Arc<Questions>,
        counters: &Arc<Counters>,
        files: &Arc<OpenFiles>,
        request: &Open<'_>,
    ) -> Result<(Self, Info)> {
        if let Some(options) = &request.options.remote {
            if !request.path.is_empty() {
                let (session, info) =
                    replica::open::open(surroundings, id, control, questions, counters, files, request)?;
                return Ok((Backend::Replica(Box::new(session)), info));
            }
            let (session, info) = remote::open::open(
                surroundings,
                id,
                control,
                questions,
                counters,
                &request.options,
                options,
            )?;
            return Ok((Backend::Remote(Box::new(session)), info));
        }
        if request.options.promote {
            replica::promote::promote(surroundings, control, request.path)?;
        }
        let (session, info) =
            local::open::open(surroundings, id, control, questions, counters, files, request)?;
        Ok((Backend::Local(Box::new(session)), info))
    }

    /// Runs one request; its reply, or its error's, is in `run.out` when this returns.
    pub fn run(&mut self, run: &mut Run<'_>, request: &Request<'_>) {
        match self {
            Backend::Local(session) => local::commands::run(session, run, request),
            Backend::Remote(session) => remote::commands::run(session, run, request),
            Backend::Replica(session) => replica::commands::run(session, run, request),
        }
    }

    /// True if `request` can run on the thread that reads requests.
    pub fn is_short(&self, request: &Request<'_>) -> bool {
        match self {
            Backend::Local(session) => local::commands::is_short(session, request),
            // A server may take its time.
            Backend::Remote(_) => false,
            Backend::Replica(session) => replica::commands::is_short(session, request),
        }
    }

    /// Work that follows a reply.
    pub fn after_reply(&mut self) {
        match self {
            Backend::Local(session) => session.access.finish_turn(),
            // Nothing is written here.
            Backend::Remote(_) | Backend::Replica(_) => {}
        }
    }

    /// Work for when nobody wants anything: a checkpoint, if nothing stands in its way.
    pub fn idle_work(&mut self) {
        match self {
            Backend::Local(session) => {
                let wanted = |_: &str, file: &DatabaseFile| file.wal_pages() > 0;
                session.access.checkpoint_if_free(wanted, code::SQLITE_CHECKPOINT_PASSIVE);
                session.access.postpone_idle_checkpoints();
            }
            Backend::Remote(_) | Backend::Replica(_) => {}
        }
    }

    /// Ends everything; the handle closes when `self` is dropped.
    pub fn close(&mut self) {
        match self {
            Backend::Local(session) => session.close(),
            Backend::Remote(session) => session.close(),
            Backend::Replica(session) => session.close(),
        }
    }

    /// The program's limits.
    pub fn limits(&self) -> &Limits {
        match self {
            Backend::Local(session) => &session.limits,
            Backend::Remote(session) => &session.limits,
            Backend::Replica(session) => &session.local.limits,
        }
    }
}
