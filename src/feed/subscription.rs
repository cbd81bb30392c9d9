//! One subscription: what it wants, and how much of it is under way.

use super::events::Events;
use parking_lot::Mutex;
use port_driver::event::{self, Hook};
use port_driver::request::{ChangeFilter, Values, EVENT_CHANGES};

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
    /// Without names of tables, those that keep another object's data as well.
    pub keepers: bool,
}

impl Filter {
    /// What a request says.
    pub fn of(request: &ChangeFilter<'_>) -> Self {
        let owned = |names: &Option<Vec<&str>>| {
            names.as_ref().map(|names| names.iter().map(|name| (*name).to_owned()).collect())
        };
        Filter {
            tables: owned(&request.tables),
            operations: request.operations,
            values: request.values,
            columns: owned(&request.columns),
            changed_columns: owned(&request.changed_columns),
            keepers: false,
        }
    }
}

/// What a subscription listens to besides changes, and how much of it may be under way.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// A sum of the `EVENT_` bits.
    pub events: u8,
    /// How often it is told how far a statement has come.
    pub progress_interval_ms: u32,
    /// Bytes of events that may be under way.
    pub bytes_max: u32,
}

/// Ids from here on are of commit hooks, which are told of changes before the commit, and by their connection alone.
const HOOKS: u32 = u32::MAX - 1;

/// A subscription.
pub struct Subscription {
    /// Its id on the wire.
    pub id: u32,
    /// What it wants.
    pub filter: Filter,
    /// How often it is told how far a statement has come.
    pub progress_interval_ns: u64,
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
    pub(super) fn new(id: u32, scope: Scope, filter: Filter, terms: Terms) -> Self {
        Subscription {
            id,
            filter,
            progress_interval_ns: u64::from(terms.progress_interval_ms) * 1_000_000,
            scope,
            events: terms.events,
            bytes_max: u64::from(terms.bytes_max),
            flow: Mutex::default(),
        }
    }

    /// What a connection's commit hook wants to know, of all its databases. There are two at most, numbered from 0.
    pub fn of_hook(number: u32, filter: Filter) -> Self {
        let terms = Terms { events: EVENT_CHANGES, progress_interval_ms: 0, bytes_max: 0 };
        Self::new(HOOKS + number, Scope::All, filter, terms)
    }

    /// It is told after the commit.
    pub fn is_told(&self) -> bool {
        self.id < HOOKS
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
        let Some(mut frames) = body() else { return };
        let bytes = frames.len();
        event::changes(&mut frames, self.id);
        let mut flow = self.flow.lock();
        // Another database's transaction may have come between.
        if flow.has_kept_up(database, sequence) {
            if flow.take(bytes, self.bytes_max) {
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

    /// Something of the moment, which is left out if half of the room is taken: the rest is for what may not be missed.
    pub(super) fn tell_now(&self, write: impl FnOnce(&mut Vec<u8>), out: &dyn Events) {
        let mut flow = self.flow.lock();
        if !flow.ended && flow.missed.is_empty() && flow.take(HOOK_BYTES, self.bytes_max / 2) {
            let mut frames = Vec::new();
            write(&mut frames);
            out.post(&mut frames);
        }
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
