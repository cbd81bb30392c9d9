//! One subscription: what it wants, and how much of it is under way.

use super::events::Events;
use parking_lot::Mutex;
use port_driver::event::{self, Hook};
use port_driver::request::{Subscribe, Values};

/// The databases of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// The database of this name.
    Named(String),
    /// The private database of this connection.
    Private(u32),
}

/// What a `hook` event takes of the room, whatever it says.
const HOOK_BYTES: usize = 100;

/// What a private database is called, of which there may be many.
pub const PRIVATE: &str = ":memory:";

/// Which changes a subscription wants, and what of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `None`: all but those that keep another object's data.
    pub tables: Option<Vec<String>>,
    /// A sum of `OPERATION_` bits.
    pub operations: u8,
    /// Which values.
    pub values: Values,
    /// Of which columns; `None`: all.
    pub columns: Option<Vec<String>>,
    /// An UPDATE has to change one of these; `None`: any, or none.
    pub changed_columns: Option<Vec<String>>,
}

impl Filter {
    /// What a request says.
    pub fn of(request: &Subscribe<'_>) -> Self {
        let owned = |names: &Option<Vec<&str>>| {
            names.as_ref().map(|names| names.iter().map(|name| (*name).to_owned()).collect())
        };
        Filter {
            tables: owned(&request.tables),
            operations: request.operations,
            values: request.values,
            columns: owned(&request.columns),
            changed_columns: owned(&request.changed_columns),
        }
    }
}

/// A subscription.
pub struct Subscription {
    /// Its id on the wire.
    pub id: u32,
    /// What it wants.
    pub filter: Filter,
    scope: Scope,
    events: u8,
    bytes_max: u64,
    flow: Mutex<Flow>,
}

#[derive(Default)]
struct Flow {
    under_way: u64,
    missed: Vec<Missed>,
    ended: bool,
}

/// Transactions of one database, the first and the last.
struct Missed {
    database: String,
    from: u64,
    to: u64,
}

impl Subscription {
    pub(super) fn new(id: u32, scope: Scope, filter: Filter, events: u8, bytes_max: u32) -> Self {
        let bytes_max = u64::from(bytes_max);
        Subscription { id, filter, scope, events, bytes_max, flow: Mutex::default() }
    }

    pub(super) fn concerns(&self, name: &str, connection: u32) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Named(named) => named == name,
            Scope::Private(of) => *of == connection && name == PRIVATE,
        }
    }

    /// Whether it wants this kind of event, one of the `EVENT_` bits.
    pub fn wants(&self, event: u8) -> bool {
        self.events & event != 0
    }

    pub(super) fn end(&self) {
        self.flow.lock().ended = true;
    }

    pub(super) fn tell(
        &self,
        database: &str,
        sequence: u64,
        body: impl FnOnce() -> Option<Vec<u8>>,
        out: &dyn Events,
    ) {
        if !self.flow.lock().has_kept_up(database, sequence) {
            return;
        }
        // Without the lock, which the thread that reads requests takes too.
        let Some(body) = body() else { return };
        let mut frames = Vec::with_capacity(body.len() + 64);
        event::changes(&mut frames, self.id, &body);
        let mut flow = self.flow.lock();
        // Another database's transaction may have come between.
        if flow.has_kept_up(database, sequence) {
            if flow.take(body.len(), self.bytes_max) {
                out.post(&mut frames);
            } else {
                flow.miss(database, sequence);
            }
        }
    }

    pub(super) fn tell_hook(
        &self,
        database: &str,
        schema: &str,
        connection: u32,
        sequence: u64,
        hook: Hook,
        out: &dyn Events,
    ) {
        let mut flow = self.flow.lock();
        if !flow.has_kept_up(database, sequence) {
            return;
        }
        if !flow.take(HOOK_BYTES, self.bytes_max) {
            flow.miss(database, sequence);
            return;
        }
        let mut frames = Vec::new();
        event::hook(&mut frames, self.id, database, schema, connection, hook);
        out.post(&mut frames);
    }

    pub(super) fn credit(&self, bytes: u32, out: &dyn Events) {
        let mut flow = self.flow.lock();
        flow.under_way = flow.under_way.saturating_sub(u64::from(bytes));
        // Half of the room, so that who is always a little behind is not told so of every other transaction.
        if flow.ended || flow.missed.is_empty() || flow.under_way > self.bytes_max / 2 {
            return;
        }
        let mut frames = Vec::new();
        for missed in std::mem::take(&mut flow.missed) {
            event::lagged(&mut frames, self.id, &missed.database, missed.from, missed.to);
        }
        out.post(&mut frames);
    }
}

impl Flow {
    /// False if nothing is sent any more, or not before what was missed was told: then this one is missed too.
    fn has_kept_up(&mut self, database: &str, sequence: u64) -> bool {
        let behind = !self.missed.is_empty();
        if behind {
            self.miss(database, sequence);
        }
        !behind && !self.ended
    }

    /// Whether so many bytes may go: if there is room for them, or, however large they are, if half of the room is free. So who
    /// misses something has more than half of the room under way, and is sure to give credit that tells it.
    fn take(&mut self, bytes: usize, bytes_max: u64) -> bool {
        let bytes = bytes as u64;
        let room = self.under_way <= bytes_max / 2 || self.under_way.saturating_add(bytes) <= bytes_max;
        if room {
            self.under_way += bytes;
        }
        room
    }

    fn miss(&mut self, database: &str, sequence: u64) {
        match self.missed.iter_mut().find(|missed| missed.database == database) {
            Some(missed) => missed.to = sequence,
            None => {
                self.missed.push(Missed { database: database.to_owned(), from: sequence, to: sequence });
            }
        }
    }
}
