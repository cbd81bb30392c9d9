//! Takes down what a connection changes, while somebody listens to one of its databases.

use super::log::Log;
use super::plan::Plan;
use crate::engine::preupdate::{ChangeWatch, RowChange, Savepoint};
use crate::feed::Listeners;
use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;
use std::ffi::c_int;
use std::ffi::CStr;

/// A database of the connection to which somebody listens, or may listen.
#[derive(Clone)]
pub struct Database {
    /// As the connection numbers it.
    pub index: c_int,
    /// As the connection calls it.
    pub schema: String,
    /// The file's name.
    pub name: String,
    /// Who listens to its changes.
    pub listeners: Listeners,
}

/// The recorder of one connection. Its lock is never waited for: the engine calls on the thread that runs the connection.
pub struct Recorder(Mutex<State>);

/// What it has taken down.
pub struct State {
    databases: Vec<Database>,
    /// Entries of the log name them by their place.
    pub plans: Vec<Plan>,
    by_table: FxHashMap<(c_int, Box<CStr>), Known>,
    last: Option<Last>,
    /// The changes of the open transaction.
    pub log: Log,
    /// A transaction was rolled back.
    pub rolled_back: bool,
    /// Hooks were set while the transaction had written already.
    pub hooks_joined: bool,
}

/// What is known of a table of this version: the place of its plan, if anybody listens to it.
#[derive(Clone, Copy)]
struct Known {
    version: i64,
    plan: Option<u32>,
    database: c_int,
}

/// The table of the row before. Its names are the engine's own: as long as the version is the same, so is what they point to.
#[derive(Clone, Copy)]
struct Last {
    schema: usize,
    table: usize,
    known: Known,
}

/// Beyond this, plans of tables that are long gone are forgotten.
const PLANS_KEPT: usize = 256;

impl Recorder {
    /// Nobody listens; a transaction of more than `bytes_max` is not kept.
    pub fn new(bytes_max: u32) -> Self {
        Recorder(Mutex::new(State {
            databases: Vec::new(),
            plans: Vec::new(),
            by_table: FxHashMap::default(),
            last: None,
            log: Log::new(bytes_max),
            rolled_back: false,
            hooks_joined: false,
        }))
    }

    /// What it has taken down.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    /// These listen from now on.
    pub fn listen(&mut self, databases: Vec<Database>) {
        self.databases = databases;
        self.by_table.clear();
        self.last = None;
        if self.log.is_empty() {
            // They hold the subscriptions of before.
            self.plans.clear();
        }
    }

    /// The databases as they were listened to last.
    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// The transaction is over, and was told or is of no interest.
    pub fn clear(&mut self) {
        self.log.clear();
        self.rolled_back = false;
        self.hooks_joined = false;
        if self.plans.len() > PLANS_KEPT {
            self.plans.clear();
            self.by_table.clear();
            self.last = None;
        }
    }

    #[inline]
    fn known(&mut self, change: &RowChange<'_>) -> Known {
        let version = change.version();
        let (schema, table) = change.places_of_names();
        match self.last {
            Some(last) if last.schema == schema && last.table == table && last.known.version == version => {
                last.known
            }
            _ => {
                let known = self.look_up(change, version);
                self.last = Some(Last { schema, table, known });
                known
            }
        }
    }

    fn look_up(&mut self, change: &RowChange<'_>, version: i64) -> Known {
        let of = |database: &&Database| database.schema.as_bytes() == change.schema().to_bytes();
        let Some(database) = self.databases.iter().find(of) else {
            // A temporary table, or the copy that VACUUM makes.
            return Known { version, plan: None, database: -1 };
        };
        let key = (database.index, Box::from(change.table()));
        if let Some(known) = self.by_table.get(&key).filter(|known| known.version == version) {
            return *known;
        }
        let plan = Plan::of(change, &database.listeners).and_then(|plan| {
            let number = u32::try_from(self.plans.len()).ok()?;
            self.plans.push(plan);
            Some(number)
        });
        let known = Known { version, plan, database: database.index };
        self.by_table.insert(key, known);
        known
    }
}

impl ChangeWatch for Recorder {
    fn row(&self, change: &RowChange<'_>) {
        let mut state = self.0.lock();
        let known = state.known(change);
        let Some(number) = known.plan else { return };
        let State { plans, log, .. } = &mut *state;
        if let Some(plan) = plans.get(number as usize) {
            log.row(known.database, number, plan, change);
        }
    }

    fn savepoint(&self, savepoint: Savepoint) {
        self.0.lock().log.savepoint(savepoint);
    }

    fn schema(&self, index: c_int) {
        let mut state = self.0.lock();
        let listened = |database: &Database| database.index == index && !database.listeners.0.is_empty();
        if state.databases.iter().any(listened) {
            state.log.schema(index);
        }
    }

    fn rolled_back(&self) {
        let mut state = self.0.lock();
        state.clear();
        state.rolled_back = true;
    }

    fn lost(&self) {
        self.0.lock().log.give_up(super::log::Gap::Unreadable);
    }
}
