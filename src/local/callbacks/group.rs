//! A function of a group of rows that the client answers. Rows travel in blocks.

use super::asking::{output, put_arguments, Asking};
use crate::client_functions::ClientFunction;
use crate::engine::client_function::{Group, GroupFunction};
use crate::engine::function::{Argument, FunctionError, Outcome};
use port_driver::answer;
use port_driver::etf::encoder::{put_empty_list, put_list, put_tuple, put_unsigned};
use port_driver::refusal::RequestError;
use std::sync::Arc;

/// How many rows a block has, and after how many bytes it ends.
const BLOCK_ROWS: u32 = 1024;
const BLOCK_BYTES: usize = 64 << 10;

/// Makes groups.
pub struct ClientAggregate {
    asking: Arc<Asking>,
    function: Arc<ClientFunction>,
}

impl ClientAggregate {
    pub fn new(asking: Arc<Asking>, function: Arc<ClientFunction>) -> Self {
        ClientAggregate { asking, function }
    }
}

impl GroupFunction for ClientAggregate {
    fn start(&self) -> Box<dyn Group> {
        Box::new(ClientGroup {
            asking: Arc::clone(&self.asking),
            function: Arc::clone(&self.function),
            instance: self.asking.new_instance(),
            block: Vec::new(),
            rows: 0,
            known: false,
        })
    }
}

/// A group whose state the client has. (Its own number, because SQLite uses the memory of one group for the next.)
struct ClientGroup {
    asking: Arc<Asking>,
    function: Arc<ClientFunction>,
    instance: u32,
    /// What the client has not been told yet.
    block: Vec<u8>,
    rows: u32,
    /// The client may have a state for it.
    known: bool,
}

impl ClientGroup {
    fn add(&mut self) -> Result<(), FunctionError> {
        self.rows += 1;
        if self.rows < BLOCK_ROWS && self.block.len() < BLOCK_BYTES {
            return Ok(());
        }
        self.tell("step", |_| Ok(()))
    }

    /// Sends the block, and asks.
    fn tell<T>(
        &mut self,
        kind: &str,
        read: impl FnOnce(&[u8]) -> Result<T, RequestError>,
    ) -> Result<T, FunctionError> {
        self.known = true;
        let (rows, block) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.block));
        self.asking.ask(
            &*self.function,
            kind,
            |out| {
                put_tuple(out, 2);
                put_unsigned(out, u64::from(self.instance));
                if rows > 0 {
                    put_list(out, rows);
                    out.extend_from_slice(&block);
                }
                put_empty_list(out);
            },
            read,
        )
    }
}

impl Group for ClientGroup {
    fn step(&mut self, arguments: &[Argument<'_>]) -> Result<(), FunctionError> {
        put_arguments(&mut self.block, arguments);
        self.add()
    }

    fn inverse(&mut self, arguments: &[Argument<'_>]) -> Result<(), FunctionError> {
        put_tuple(&mut self.block, 1);
        put_arguments(&mut self.block, arguments);
        self.add()
    }

    fn value(&mut self) -> Outcome {
        self.tell("value", |term| answer::value(term).map(output))
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        let outcome = self.tell("final", |term| answer::value(term).map(output));
        if outcome.is_ok() {
            self.known = false;
        }
        outcome
    }
}

/// The statement ended before the group did.
impl Drop for ClientGroup {
    fn drop(&mut self) {
        if self.known {
            let instance = u64::from(self.instance);
            self.asking.notice(&*self.function, "drop", |out| put_unsigned(out, instance));
        }
    }
}
