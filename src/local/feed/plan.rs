//! What is to be noted of the rows of a table, for all who listen to it together, and what each of them wants of that.

use crate::engine::preupdate::{ColumnKind, Operation, RowChange, TableKind};
use crate::feed::{Filter, Listeners, Subscription};
use port_driver::request::{Values, OPERATION_DELETE, OPERATION_INSERT, OPERATION_UPDATE};
use std::ffi::c_int;
use std::sync::Arc;

/// So many columns are told apart in [`Plan::tracked`]; if more are asked for, every UPDATE counts.
const TRACKED_MAX: usize = 64;

/// A table as somebody listens to it.
pub struct Plan {
    /// Its name.
    pub name: String,
    /// It has no rowids.
    pub without_rowid: bool,
    /// The columns whose values are noted, in the table's order.
    pub columns: Told,
    /// Those of the primary key.
    pub key: Told,
    /// The key is the rowid, under the name of a column.
    pub key_is_rowid: bool,
    /// Operations that somebody wants, a sum of `OPERATION_` bits.
    pub operations: u8,
    /// Values before the change are noted.
    pub old: bool,
    /// Values after the change are noted.
    pub new: bool,
    /// Columns of which it is noted whether an UPDATE changes them.
    pub tracked: Vec<c_int>,
    /// What each listener wants of that.
    pub views: Vec<View>,
}

/// Some columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Their names.
    pub names: Vec<String>,
    /// Their numbers in the table.
    pub indices: Vec<c_int>,
}

/// What one listener wants of a table.
pub struct View {
    /// Who.
    pub subscription: Arc<Subscription>,
    /// Places in [`Plan::columns`]; `None`: all.
    pub columns: Option<Vec<usize>>,
    /// Bits of [`Plan::tracked`] of which an UPDATE has to change one; `None`: any UPDATE counts.
    pub changed: Option<u64>,
}

impl View {
    /// Whether it wants an UPDATE that changes these of [`Plan::tracked`].
    #[inline]
    pub fn sees(&self, changed: u64) -> bool {
        self.changed.is_none_or(|bits| bits & changed != 0)
    }
}

/// The bit of an operation.
#[inline]
pub fn bit(operation: Operation) -> u8 {
    match operation {
        Operation::Insert => OPERATION_INSERT,
        Operation::Update | Operation::BlobWrite => OPERATION_UPDATE,
        Operation::Delete => OPERATION_DELETE,
    }
}

impl Plan {
    /// The plan for the table of `change`; `None` if nobody wants to know of it.
    pub fn of(change: &RowChange<'_>, listeners: &Listeners) -> Option<Self> {
        let name = change.table().to_string_lossy().into_owned();
        let kind = change.table_kind();
        let listeners = listeners.0.iter().filter(|listener| concerns(&listener.filter, &name, kind));
        let listeners: Vec<_> = listeners.map(Arc::clone).collect();
        if listeners.is_empty() {
            return None;
        }
        Some(Self::new(name, kind, &change.columns(), listeners))
    }

    fn new(name: String, kind: TableKind, all: &[ColumnKind], listeners: Vec<Arc<Subscription>>) -> Self {
        let told = |column: &dyn Fn(&ColumnKind) -> bool| -> Told {
            let those = (0..).zip(all).filter(|(_, kind)| !kind.is_virtual && column(kind));
            let (indices, names) = those.map(|(index, kind): (c_int, _)| (index, kind.name.clone())).unzip();
            Told { names, indices }
        };
        let wants = |filter: &Filter, column: &str| match &filter.columns {
            _ if filter.values == Values::None => false,
            Some(columns) => contains(columns, column),
            None => true,
        };
        let columns = told(&|column| listeners.iter().any(|listener| wants(&listener.filter, &column.name)));
        let tracks = |filter: &Filter, column: &str| {
            filter.changed_columns.as_ref().is_some_and(|columns| contains(columns, column))
        };
        let tracked = told(&|column| listeners.iter().any(|listener| tracks(&listener.filter, &column.name)));
        let tracks_all = tracked.names.len() > TRACKED_MAX;
        let view = |subscription: Arc<Subscription>| {
            let filter = &subscription.filter;
            let named = columns.names.iter().enumerate();
            let places: Vec<_> = named.filter(|(_, name)| wants(filter, name)).map(|(at, _)| at).collect();
            let changed = filter.changed_columns.as_ref().filter(|_| !tracks_all).map(|_| {
                let bits = (0..).zip(&tracked.names).filter(|(_, name)| tracks(filter, name));
                bits.fold(0, |all, (at, _): (u32, _)| all | 1 << at)
            });
            View { columns: (places.len() < columns.names.len()).then_some(places), changed, subscription }
        };
        let any = |wanted: &dyn Fn(&Filter) -> bool| listeners.iter().any(|one| wanted(&one.filter));
        Plan {
            without_rowid: kind.without_rowid,
            key_is_rowid: !kind.without_rowid && all.iter().any(|column| column.in_key && column.is_rowid),
            key: told(&|column| column.in_key),
            operations: listeners.iter().fold(0, |all, listener| all | listener.filter.operations),
            old: any(&|filter| filter.values == Values::OldAndNew),
            new: any(&|filter| filter.values != Values::None),
            tracked: if tracks_all { Vec::new() } else { tracked.indices },
            views: listeners.iter().map(|listener| view(Arc::clone(listener))).collect(),
            columns,
            name,
        }
    }

    /// What this listener wants of it.
    pub fn view(&self, subscription: &Subscription) -> Option<&View> {
        self.views.iter().find(|view| view.subscription.id == subscription.id)
    }
}

/// What keeps the data of another object counts only by its name; the engine's own tables never do.
fn concerns(filter: &Filter, table: &str, kind: TableKind) -> bool {
    if table.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
        return false;
    }
    match &filter.tables {
        Some(tables) => contains(tables, table),
        None => filter.keepers || !kind.is_shadow,
    }
}

fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name))
}
