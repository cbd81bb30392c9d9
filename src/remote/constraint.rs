//! What SQLite's words leave open about a violated constraint, looked up in the server's schema after the failure.

use super::hrana::answer::{Done, Outcome};
use super::hrana::stmt::{Args, Step, Stmt, When};
use super::machine::{Effect, State};
use super::runs::only;
use super::session::{ran, About, Session};
use crate::engine::code;
use crate::engine::constraint::ConstraintFailure;
use crate::error::Error;
use port_driver::etf::{Decoder, Token};
use port_driver::reply::ConstraintKind;
use port_driver::value::Value;

/// The unique indexes of a table: name, origin, columns.
const INDEXES: &str =
    "SELECT l.name, l.origin, (SELECT group_concat(c.name, char(0)) FROM (SELECT name FROM \
     pragma_index_info(l.name) ORDER BY seqno) AS c) FROM pragma_index_list(?1) AS l WHERE l.\"unique\"";

/// The table of an index, and its columns.
const INDEX: &str = "SELECT m.tbl_name, (SELECT group_concat(c.name, char(0)) FROM (SELECT name FROM \
     pragma_index_info(m.name) ORDER BY seqno) AS c) FROM sqlite_schema AS m WHERE m.type = 'index' AND m.name = ?1";

/// How many columns of the primary key a table has.
const KEYS: &str = "SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0";

impl Session {
    /// `error` with the index of a unique constraint, and told apart from a primary key's. If the server does not say, it
    /// stays as it was.
    pub fn completed(&mut self, error: Error) -> Error {
        match error {
            Error::Engine(mut engine, Some(mut failure)) if failure.kind == ConstraintKind::Unique => {
                match failure.index.clone() {
                    Some(index) => self.find_table(&index, &mut failure),
                    None => {
                        if self.find_index(&mut failure) == ConstraintKind::PrimaryKey {
                            failure.kind = ConstraintKind::PrimaryKey;
                            engine.code = code::SQLITE_CONSTRAINT_PRIMARYKEY;
                        }
                    }
                }
                failure.name.clone_from(&failure.index);
                Error::Engine(engine, Some(failure))
            }
            other => other,
        }
    }

    fn find_table(&mut self, index: &str, failure: &mut ConstraintFailure) {
        if let Some([table, columns]) = self.look_up(INDEX, index).and_then(|rows| rows.into_iter().next()) {
            failure.table = table;
            failure.columns = names(columns.as_deref());
        }
    }

    /// Finds the index of the failure's columns; says whose it is.
    fn find_index(&mut self, failure: &mut ConstraintFailure) -> ConstraintKind {
        let Some(table) = failure.table.clone() else { return ConstraintKind::Unique };
        let Some(indexes) = self.look_up::<3>(INDEXES, &table) else { return ConstraintKind::Unique };
        let same = |columns: &Option<String>| names(columns.as_deref()) == failure.columns;
        let found: Vec<_> = indexes.into_iter().filter(|[_, _, columns]| same(columns)).collect();
        match found.as_slice() {
            [[name, origin, _]] => {
                failure.index.clone_from(name);
                match origin.as_deref() {
                    Some("pk") => ConstraintKind::PrimaryKey,
                    _ => ConstraintKind::Unique,
                }
            }
            // A rowid has no index.
            [] => {
                let keys = self.look_up::<1>(KEYS, &table).unwrap_or_default();
                let keys: Vec<_> = keys.into_iter().filter_map(|[name]| name).collect();
                match keys == failure.columns {
                    true => ConstraintKind::PrimaryKey,
                    false => ConstraintKind::Unique,
                }
            }
            _ => ConstraintKind::Unique,
        }
    }

    /// The texts of the rows of one of the queries above.
    fn look_up<const N: usize>(&mut self, sql: &str, parameter: &str) -> Option<Vec<[Option<String>; N]>> {
        let mut args = Args::default();
        let about = match self.machine.state() {
            State::Open { .. } => About::Inside { effect: Effect::Reads, may_end: false },
            State::Closed => About::Alone { effect: Effect::Reads, opens: false },
            _ => return None,
        };
        if !args.push(Value::Text(parameter)) {
            return None;
        }
        let when = if matches!(about, About::Inside { .. }) { When::InTransaction } else { When::Always };
        let steps = [Step { stmt: Stmt { sql, args: Some(&args), want_rows: true }, when }];
        let outcome = self.exchange(about, &|pipeline| pipeline.batch(&steps), &mut |results| {
            let outcome = only(results)?;
            Ok((ran(&outcome), outcome))
        });
        match outcome {
            Ok(Outcome::Done(Done { rows, .. })) => Some(rows.iter().map(texts).collect()),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!("a constraint was not looked up: {error}");
                None
            }
        }
    }
}

fn names(columns: Option<&str>) -> Vec<String> {
    columns.unwrap_or_default().split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The texts of an encoded row.
fn texts<const N: usize>(row: &[u8]) -> [Option<String>; N] {
    let mut decoder = Decoder::new(row);
    let mut texts = [const { None }; N];
    if !matches!(decoder.next(), Ok(Token::List(_))) {
        return texts;
    }
    for text in &mut texts {
        match decoder.next() {
            Ok(Token::Binary(bytes)) => *text = Some(String::from_utf8_lossy(bytes).into_owned()),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    texts
}
