//! A table function that the client answers. Rows come in chunks, as long as somebody wants them.

use super::asking::{output, put_arguments, Asking};
use crate::client_functions::ClientFunction;
use crate::engine::function::{Argument, FunctionError, Outcome, Output};
use crate::engine::table_function::{TableFunction, TableRows};
use crate::sql::quote::quoted;
use port_driver::answer;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_tuple, put_unsigned};
use port_driver::refusal::RequestError;
use std::ffi::c_int;
use std::sync::Arc;

/// Rows of the first chunk, and of the largest one: each has twice as many as the one before.
const FIRST_ROWS: u32 = 16;
const ROWS_MAX: u32 = 1024;

/// Opens scans.
pub struct ClientTable {
    asking: Arc<Asking>,
    function: Arc<ClientFunction>,
    declaration: String,
}

impl ClientTable {
    pub fn new(asking: Arc<Asking>, function: Arc<ClientFunction>) -> Self {
        let columns = function.columns.iter().map(|name| quoted(name));
        let parameters = function.parameters.iter().map(|name| format!("{} HIDDEN", quoted(name)));
        let columns: Vec<_> = columns.chain(parameters).collect();
        let declaration = format!("CREATE TABLE x({})", columns.join(", "));
        ClientTable { asking, function, declaration }
    }
}

impl TableFunction for ClientTable {
    fn declaration(&self) -> &str {
        &self.declaration
    }

    fn columns(&self) -> c_int {
        c_int::try_from(self.function.columns.len()).unwrap_or(0)
    }

    fn parameters(&self) -> c_int {
        c_int::try_from(self.function.parameters.len()).unwrap_or(0)
    }

    fn directonly(&self) -> bool {
        self.function.directonly
    }

    fn open(&self, arguments: &[Argument<'_>]) -> Result<Box<dyn TableRows>, FunctionError> {
        let mut scan = Scan {
            asking: Arc::clone(&self.asking),
            function: Arc::clone(&self.function),
            number: self.asking.new_instance(),
            rows: Vec::new(),
            at: 0,
            wanted: FIRST_ROWS,
            over: false,
        };
        let number = u64::from(scan.number);
        scan.fetch("open", |out, wanted| {
            put_tuple(out, 3);
            put_unsigned(out, number);
            put_arguments(out, arguments);
            put_unsigned(out, wanted);
        })?;
        Ok(Box::new(scan))
    }
}

/// Rows that have come, and where the scan is.
struct Scan {
    asking: Arc<Asking>,
    function: Arc<ClientFunction>,
    number: u32,
    /// The values of all rows of the chunk, one behind the other.
    rows: Vec<Output>,
    /// The place behind the current row's values.
    at: usize,
    wanted: u32,
    /// The client has no more.
    over: bool,
}

impl Scan {
    fn width(&self) -> usize {
        self.function.columns.len()
    }

    fn fetch(&mut self, kind: &str, put: impl FnOnce(&mut Vec<u8>, u64)) -> Result<(), FunctionError> {
        let (width, wanted) = (self.width(), self.wanted);
        self.rows.clear();
        self.at = 0;
        let rows = &mut self.rows;
        let over = self.asking.ask(
            &*self.function,
            kind,
            |out| put(out, u64::from(wanted)),
            |term| read(term, width, wanted, rows),
        )?;
        self.over = over;
        self.wanted = (wanted * 2).min(ROWS_MAX);
        Ok(())
    }
}

/// Reads a chunk; true if it is the last one.
fn read(term: &[u8], width: usize, wanted: u32, rows: &mut Vec<Output>) -> Result<bool, RequestError> {
    let mut chunk = answer::rows(term)?;
    if chunk.len > wanted {
        let message = format!("{} rows came where at most {wanted} were asked for", chunk.len);
        return Err(RequestError { code: ErrorCode::CallbackFailed, message });
    }
    for _ in 0..chunk.len {
        chunk.row(u32::try_from(width).unwrap_or(0), |value| rows.push(output(value)))?;
    }
    Ok(chunk.done)
}

impl TableRows for Scan {
    fn advance(&mut self) -> Result<bool, FunctionError> {
        // An enumeration may have nothing to give at the moment and yet not be over.
        while self.at == self.rows.len() {
            if self.over {
                return Ok(false);
            }
            let number = u64::from(self.number);
            self.fetch("next", |out, wanted| {
                put_tuple(out, 2);
                put_unsigned(out, number);
                put_unsigned(out, wanted);
            })?;
        }
        self.at += self.width();
        Ok(true)
    }

    fn column(&self, index: usize) -> Outcome {
        let row = self.at.saturating_sub(self.width());
        Ok(self.rows.get(row + index).cloned().unwrap_or(Output::Null))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if !self.over {
            let number = u64::from(self.number);
            self.asking.notice(&*self.function, "close", |out| put_unsigned(out, number));
        }
    }
}
