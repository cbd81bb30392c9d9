//! What one subscriber is told of a transaction: an External Term of
//! `{Database, Schema, Connection, Sequence, Tables, Changes}`.

use super::log::{is_wanted, Entry, Gap, Log, Noted, SCHEMA};
use super::plan::{Plan, View};
use crate::feed::Subscription;
use port_driver::etf::encoder::{
    begin_list, end_list, put_atom, put_binary, put_empty_list, put_integer, put_list, put_tuple,
    put_unsigned,
};
use port_driver::etf::tag::{INTEGER, LIST, NIL, SMALL_INTEGER, SMALL_TUPLE, VERSION};
use port_driver::etf::Decoder;
use port_driver::request::{Values, OPERATION_INSERT, OPERATION_UPDATE};
use std::ffi::c_int;

/// Whose transaction it is, and of which database.
#[derive(Clone, Copy)]
pub struct Origin<'o> {
    /// The database's name.
    pub database: &'o str,
    /// As the connection calls it.
    pub schema: &'o str,
    /// As the connection numbers it.
    pub index: c_int,
    /// The connection.
    pub connection: u32,
    /// The transaction's number.
    pub sequence: u64,
}

/// What a change takes beside values and keys of more than a rowid, about.
const ENTRY_BYTES: usize = 32;

/// A change of the schema: tables may be others, and rows may have changed that are not told.
const SCHEMA_CHANGED: u8 = 4;
/// Rows have changed that are not told.
const RESYNC: u8 = 5;

/// Why a subscriber is told to read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// The transaction had begun before the subscription.
    Joined,
    /// It is not all there.
    Gap(Gap),
}

/// Says that rows have changed which are not told.
pub fn resync(origin: Origin<'_>, why: Resync) -> Vec<u8> {
    let mut out = head(origin);
    put_empty_list(&mut out);
    put_list(&mut out, 1);
    put_tuple(&mut out, 2);
    out.extend_from_slice(&[SMALL_INTEGER, RESYNC]);
    put_atom(
        &mut out,
        match why {
            Resync::Joined => "joined",
            Resync::Gap(Gap::TooLarge) => "too_large",
            Resync::Gap(Gap::Unreadable) => "unreadable",
        },
    );
    put_empty_list(&mut out);
    out
}

/// A table as a subscription is told of it.
struct Shown<'p> {
    plan: &'p Plan,
    view: &'p View,
    /// Its place among the tables of the event; `None` before the first change of it.
    number: Option<u32>,
}

/// What `subscription` wants to know of `log`; `None` if that is nothing.
pub fn changes<'p>(
    origin: Origin<'_>,
    log: &Log,
    plans: &'p [Plan],
    subscription: &Subscription,
) -> Option<Vec<u8>> {
    let shown = |plan: &'p Plan| plan.view(subscription).map(|view| Shown { plan, view, number: None });
    let mut shown: Vec<Option<Shown<'p>>> = plans.iter().map(shown).collect();
    // Which tables there are, in the order in which they come.
    let mut tables = Vec::new();
    let mut count = 0;
    for entry in log.entries().iter().filter(|entry| entry.database == origin.index) {
        match shown.get_mut(entry.plan as usize) {
            Some(Some(table)) if is_wanted(entry, table.view) => {
                count += 1;
                if table.number.is_none() {
                    table.number = u32::try_from(tables.len()).ok();
                    tables.push((table.plan, table.view));
                }
            }
            None if entry.plan == SCHEMA => count += 1,
            _ => {}
        }
    }
    if count == 0 {
        return None;
    }
    let mut out = head(origin);
    put_tables(&mut out, &tables);
    out.reserve(count * ENTRY_BYTES + log.bytes());
    put_changes(&mut out, origin, log, &shown);
    Some(out)
}

fn head(origin: Origin<'_>) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_tuple(&mut out, 6);
    put_binary(&mut out, origin.database.as_bytes());
    put_binary(&mut out, origin.schema.as_bytes());
    put_unsigned(&mut out, u64::from(origin.connection));
    put_unsigned(&mut out, origin.sequence);
    out
}

/// `[{Table, Columns, KeyColumns}, …]`
fn put_tables(out: &mut Vec<u8>, tables: &[(&Plan, &View)]) {
    let list = begin_list(out);
    for (plan, view) in tables {
        put_tuple(out, 3);
        put_binary(out, plan.name.as_bytes());
        match &view.columns {
            _ if view.subscription.filter.values == Values::None => put_empty_list(out),
            Some(places) => put_names(out, places.iter().map(|at| &plan.columns.names[*at])),
            None => put_names(out, plan.columns.names.iter()),
        }
        put_names(out, plan.key.names.iter());
    }
    end_list(out, list, u32::try_from(tables.len()).unwrap_or(0));
}

fn put_names<'n>(out: &mut Vec<u8>, names: impl Iterator<Item = &'n String>) {
    let list = begin_list(out);
    let count = names.map(|name| put_binary(out, name.as_bytes())).count();
    end_list(out, list, u32::try_from(count).unwrap_or(0));
}

/// `[{Operation, Table, Rowid, OldRowid, Key, OldKey, Old, New}, …]`; `[]` stands for what there is not.
fn put_changes(out: &mut Vec<u8>, origin: Origin<'_>, log: &Log, shown: &[Option<Shown<'_>>]) {
    let list = begin_list(out);
    let mut count = 0;
    let mut schema_changed = false;
    for (at, entry) in log.entries().iter().enumerate() {
        if entry.database != origin.index {
            continue;
        }
        match shown.get(entry.plan as usize) {
            Some(Some(Shown { plan, view, number: Some(number) })) if is_wanted(entry, view) => {
                put_change(out, entry, log.noted(at), plan, view, *number);
                count += 1;
            }
            // One statement may change it several times.
            None if entry.plan == SCHEMA && !std::mem::replace(&mut schema_changed, true) => {
                put_tuple(out, 1);
                out.extend_from_slice(&[SMALL_INTEGER, SCHEMA_CHANGED]);
                count += 1;
            }
            _ => {}
        }
    }
    end_list(out, list, count);
}

#[inline]
fn put_change(out: &mut Vec<u8>, entry: &Entry, noted: Noted<'_>, plan: &Plan, view: &View, number: u32) {
    let [a, b, c, d] = number.to_be_bytes();
    out.extend_from_slice(&[SMALL_TUPLE, 8, SMALL_INTEGER, number_of(entry.operation), INTEGER, a, b, c, d]);
    put_keys(out, entry, noted, plan);
    match view.subscription.filter.values {
        // Both of them at once.
        Values::None => out.extend_from_slice(&[NIL, NIL]),
        values => {
            put_some(out, noted.old, view, values == Values::OldAndNew);
            put_some(out, noted.new, view, true);
        }
    }
}

#[inline]
fn number_of(operation: u8) -> u8 {
    match operation {
        OPERATION_INSERT => 1,
        OPERATION_UPDATE => 2,
        _ => 3,
    }
}

/// Rowid and key, after the change and before it, if that was another one.
#[inline]
fn put_keys(out: &mut Vec<u8>, entry: &Entry, noted: Noted<'_>, plan: &Plan) {
    let moved = entry.rowid != entry.old_rowid;
    if plan.without_rowid {
        put_empty_list(out);
        put_empty_list(out);
    } else {
        put_integer(out, entry.rowid);
        if moved {
            put_integer(out, entry.old_rowid);
        } else {
            put_empty_list(out);
        }
    }
    if !noted.keys.is_empty() {
        out.extend_from_slice(noted.keys);
    } else if plan.key_is_rowid {
        put_rowid_key(out, entry.rowid);
        if moved {
            put_rowid_key(out, entry.old_rowid);
        } else {
            put_empty_list(out);
        }
    } else {
        put_empty_list(out);
        put_empty_list(out);
    }
}

#[inline]
fn put_rowid_key(out: &mut Vec<u8>, rowid: i64) {
    put_list(out, 1);
    put_integer(out, rowid);
    put_empty_list(out);
}

/// The values of a list that a view wants.
fn put_some(out: &mut Vec<u8>, list: &[u8], view: &View, wanted: bool) {
    match &view.columns {
        _ if !wanted || list.is_empty() => put_empty_list(out),
        None => out.extend_from_slice(list),
        Some(places) if places.is_empty() || list.first() != Some(&LIST) => put_empty_list(out),
        Some(places) => {
            put_list(out, u32::try_from(places.len()).unwrap_or(0));
            let mut decoder = Decoder::new(list.get(5..).unwrap_or_default());
            let mut at = 0;
            for place in places {
                // Our own encoder wrote it.
                while at < *place && decoder.skip_term().is_ok() {
                    at += 1;
                }
                out.extend_from_slice(decoder.skip_term().unwrap_or(b"\x6a"));
                at += 1;
            }
            put_empty_list(out);
        }
    }
}
