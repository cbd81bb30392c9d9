//! A compiled statement and what is known about it: columns as they go onto the wire, parameters, how long it ran.

use super::shadow::Doubt;
use crate::engine::statement::ColumnText;
use crate::engine::{Bound, EngineError, Handle, RawStatement};
use crate::error::{Error, Result};
use crate::parameters;
use crate::sql::keyword::{self, Keyword};
use crate::value::{bind_borrowed, bind_copied};
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_binary, put_empty_list, put_list};
use port_driver::params::{Params, ParamsKind};
use std::cell::OnceCell;

#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// It writes no database file.
    pub read_only: bool,
    /// Its first word.
    pub keyword: Keyword,
    /// Inside of a transaction, whoever runs it undoes it by a savepoint or the transaction as a whole.
    pub guarded: bool,
    /// A cursor goes on.
    pub cursor: bool,
}

/// A statement that took longer than this last time does not run on the thread that reads requests.
const SHORT_NS: u64 = 200_000;

/// One statement, ready to be bound and stepped.
pub struct Statement {
    raw: RawStatement,
    columns: Vec<u8>,
    column_count: i32,
    read_only: bool,
    parameter_count: u32,
    parameter_names: OnceCell<Box<[Option<String>]>>,
    recompilations: i32,
    keyword: Keyword,
    last_run_ns: u64,
    doubts: Vec<Doubt>,
    once: bool,
    own: bool,
}

impl Statement {
    /// Compiles `sql`, which must hold exactly one statement.
    pub fn prepare(handle: &Handle, sql: &str, kept: bool) -> Result<Self> {
        let prepared =
            RawStatement::prepare(handle, sql, kept).map_err(|error| Error::Engine(error, None))?;
        let Some(raw) = prepared.statement else {
            return Err(Error::new(
                ErrorCode::EmptyStatement,
                "the SQL text holds no statement, only white space or comments",
            ));
        };
        let rest = sql.get(prepared.consumed..).unwrap_or("");
        if !keyword::is_blank(rest) {
            return Err(Error::new(
                ErrorCode::MultipleStatements,
                format!(
                    "the SQL text goes on after its first statement, at byte {}; run several with a script or a batch",
                    prepared.consumed
                ),
            ));
        }
        Ok(Self::of(raw, sql))
    }

    /// What is known about a statement that has just been compiled.
    fn of(raw: RawStatement, sql: &str) -> Self {
        let keyword = keyword_of(&raw, keyword::first(sql));
        let mut statement = Statement {
            columns: Vec::new(),
            column_count: 0,
            read_only: raw.read_only() && !keyword::may_write(keyword),
            parameter_count: u32::try_from(raw.parameter_count()).unwrap_or(0),
            parameter_names: OnceCell::new(),
            recompilations: raw.recompilations(),
            keyword,
            last_run_ns: u64::MAX,
            doubts: Vec::new(),
            once: matches!(keyword, Keyword::Pragma | Keyword::Explain),
            own: false,
            raw,
        };
        statement.read_columns();
        statement
    }

    /// The same statement, which writes in any case if `writes`.
    pub fn writing_if(mut self, writes: bool) -> Self {
        self.read_only &= !writes;
        self
    }

    /// The same statement, which must not be used a second time if `once`.
    pub fn once_if(mut self, once: bool) -> Self {
        self.once |= once;
        self
    }

    /// The same statement, which is this program's own if `own`: no policy was asked about it.
    pub fn own_if(mut self, own: bool) -> Self {
        self.own = own;
        self
    }

    /// No policy was asked about it.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The same statement, of which `doubts` have to be looked up at each of its runs.
    pub fn doubting(mut self, doubts: Vec<Doubt>) -> Self {
        self.doubts = doubts;
        self
    }

    /// What has to be looked up before it runs.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// What is to be known before it runs.
    pub fn kind(&self) -> Kind {
        Kind { read_only: self.read_only, keyword: self.keyword, guarded: false, cursor: false }
    }

    /// Its first word.
    pub fn keyword(&self) -> Keyword {
        self.keyword
    }

    /// Compiling it has an effect of its own, or tells what was true then: it must not be used a second time.
    pub fn is_once_only(&self) -> bool {
        self.once
    }

    /// What cursors of the same connection have yet to read may change by it.
    pub fn changes_rows(&self) -> bool {
        !self.read_only || keyword::rolls_back(self.keyword)
    }

    /// It writes no database file.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// It ran fast enough last time to run on the thread that reads requests.
    pub fn is_short(&self) -> bool {
        self.last_run_ns < SHORT_NS
    }

    /// How long it ran this time.
    pub fn ran(&mut self, run_ns: u64) {
        self.last_run_ns = run_ns;
    }

    /// Columns of a row, 0 if it yields none.
    pub fn column_count(&self) -> i32 {
        self.column_count
    }

    /// Its column names as a term of the wire: a list of binaries.
    pub fn columns(&self) -> &[u8] {
        &self.columns
    }

    /// The largest parameter number.
    pub fn parameter_count(&self) -> u32 {
        self.parameter_count
    }

    /// What it takes of memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.raw.memory_bytes() + self.columns.len() as u64
    }

    /// The engine's statement.
    pub fn raw(&self) -> &RawStatement {
        &self.raw
    }

    /// The engine's statement, to be stepped.
    pub fn raw_mut(&mut self) -> &mut RawStatement {
        &mut self.raw
    }

    /// Names of the parameters by number − 1, with their prefixes; `None` for a plain `?`.
    pub fn parameter_names(&self) -> &[Option<String>] {
        self.parameter_names.get_or_init(|| {
            (1..=self.raw.parameter_count()).map(|index| self.raw.parameter_name(index)).collect()
        })
    }

    /// Reads the columns again if the engine compiled the statement anew since (the schema had changed). Call it after
    /// the first step.
    pub fn refresh_columns(&mut self) {
        let recompilations = self.raw.recompilations();
        if recompilations != self.recompilations {
            self.recompilations = recompilations;
            self.read_columns();
        }
    }

    /// Binds parameters for one run; they are cleared when the returned guard goes.
    pub fn bind<'p>(&mut self, params: &Params<'p>) -> Result<()> {
        let numbers = self.plan(params)?;
        let raw = &mut self.raw;
        each(params, &numbers, |index, value| bind_copied(raw, index, value))
    }

    /// Binds parameters without copying them: the guard resets and clears the statement when it goes.
    #[inline]
    pub fn bind_for_run<'s, 'p>(&'s mut self, params: &Params<'p>) -> Result<Bound<'s, 'p>> {
        let numbers = self.plan(params)?;
        let mut bound = self.raw.bound();
        each(params, &numbers, |index, value| bind_borrowed(&mut bound, index, value))?;
        Ok(bound)
    }

    /// The parameter number of each named value in the order of the map; empty for positional ones.
    #[inline]
    fn plan(&self, params: &Params<'_>) -> Result<Vec<i32>> {
        parameters::plan(self.parameter_count, || self.parameter_names(), params)
    }

    fn read_columns(&mut self) {
        self.column_count = self.raw.column_count();
        self.columns.clear();
        put_list(&mut self.columns, u32::try_from(self.column_count).unwrap_or(0));
        for index in 0..self.column_count {
            let name = self.raw.column_text(index, ColumnText::Name).unwrap_or_default();
            put_binary(&mut self.columns, name.as_bytes());
        }
        if self.column_count > 0 {
            put_empty_list(&mut self.columns);
        }
    }
}

/// The keyword of a statement whose text starts with `first`. Whether it is an EXPLAIN is the engine's word.
pub fn keyword_of(statement: &RawStatement, first: Keyword) -> Keyword {
    match statement.explain() {
        0 => first,
        _ => Keyword::Explain,
    }
}

/// Calls `bind` with each value and its parameter number.
#[inline]
fn each<'p>(
    params: &Params<'p>,
    numbers: &[i32],
    mut bind: impl FnMut(i32, port_driver::value::Value<'p>) -> std::result::Result<(), i32>,
) -> Result<()> {
    let failed = |code| {
        let message = format!("a parameter cannot be bound: {}", crate::engine::handle::error_string(code));
        Error::Engine(EngineError::new(code, message), None)
    };
    match params.kind() {
        ParamsKind::Positional => {
            for (number, value) in (1..).zip(params.values()) {
                bind(number, value?).map_err(failed)?;
            }
        }
        ParamsKind::Named => {
            for (number, pair) in numbers.iter().zip(params.named()) {
                bind(*number, pair?.1).map_err(failed)?;
            }
        }
    }
    Ok(())
}
