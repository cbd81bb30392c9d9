//! A collation that the client answers by a sort key for each text. Keys are compared bytewise, so that the order is total
//! whatever the client does; each text is asked for once.

use super::asking::Asking;
use crate::client_functions::ClientFunction;
use crate::engine::client_function::Order;
use crate::engine::function::FunctionError;
use port_driver::answer;
use port_driver::error_code::ErrorCode;
use port_driver::etf::encoder::{put_binary, put_empty_list, put_list};
use port_driver::refusal::RequestError;
use port_driver::value::Value;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// How many keys a connection keeps for each collation, and how many bytes of texts and keys. When they are exceeded, all are
/// forgotten.
const KEYS_MAX: usize = 1 << 16;
const KEYS_BYTES_MAX: usize = 16 << 20;

/// Compares by keys.
pub struct ClientOrder {
    asking: Arc<Asking>,
    function: Arc<ClientFunction>,
    keys: RefCell<Keys>,
}

#[derive(Default)]
struct Keys {
    by_text: HashMap<Vec<u8>, Arc<[u8]>>,
    bytes: usize,
}

impl ClientOrder {
    pub fn new(asking: Arc<Asking>, function: Arc<ClientFunction>) -> Self {
        ClientOrder { asking, function, keys: RefCell::default() }
    }

    fn key(&self, text: &[u8]) -> Result<Arc<[u8]>, FunctionError> {
        if let Some(key) = self.keys.borrow().by_text.get(text) {
            return Ok(Arc::clone(key));
        }
        let key: Arc<[u8]> = self.asking.ask(
            &*self.function,
            "key",
            |out| {
                put_list(out, 1);
                put_binary(out, text);
                put_empty_list(out);
            },
            |term| match answer::value(term)? {
                Value::Text(text) => Ok(Arc::from(text.as_bytes())),
                Value::Blob(bytes) => Ok(Arc::from(bytes)),
                _ => Err(RequestError {
                    code: ErrorCode::CallbackFailed,
                    message: "a sort key must be a binary".to_owned(),
                }),
            },
        )?;
        let mut keys = self.keys.borrow_mut();
        let bytes = text.len() + key.len();
        if keys.by_text.len() >= KEYS_MAX || keys.bytes + bytes > KEYS_BYTES_MAX {
            *keys = Keys::default();
        }
        keys.bytes += bytes;
        keys.by_text.insert(text.to_vec(), Arc::clone(&key));
        Ok(key)
    }
}

impl Order for ClientOrder {
    fn compare(&self, left: &[u8], right: &[u8]) -> Ordering {
        // A comparison cannot fail, so the statement does: it is stopped, and nothing of it is committed.
        if left == right || self.asking.order_is_broken() {
            return Ordering::Equal;
        }
        match self.key(left).and_then(|left| Ok(left.cmp(&self.key(right)?))) {
            Ok(ordering) => ordering,
            Err(_) => {
                self.asking.break_order();
                Ordering::Equal
            }
        }
    }
}
