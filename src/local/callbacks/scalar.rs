//! A function of a row that the client answers.

use super::asking::{output, put_arguments, Asking};
use crate::client_functions::ClientFunction;
use crate::engine::client_function::RowFunction;
use crate::engine::function::{Argument, Outcome, Output};
use port_driver::answer;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// How many answers of a deterministic function are kept while a request runs, and how many bytes of arguments and results.
const ANSWERS_MAX: usize = 1024;
const ANSWERS_BYTES_MAX: usize = 1 << 20;

/// Room for the arguments of most calls.
const ARGUMENTS_BYTES: usize = 64;

/// Calls the client for each row, but for what it has answered already.
pub struct ClientScalar {
    asking: Arc<Asking>,
    function: Arc<ClientFunction>,
    known: RefCell<Known>,
}

/// Answers by the encoded arguments, of one request.
#[derive(Default)]
struct Known {
    request: u64,
    bytes: usize,
    answers: HashMap<Vec<u8>, Output>,
}

impl Known {
    fn of(&mut self, request: u64) -> &mut Self {
        if self.request != request {
            *self = Known { request, ..Known::default() };
        }
        self
    }

    fn keep(&mut self, arguments: Vec<u8>, answer: &Output) {
        let bytes = arguments.len()
            + match answer {
                Output::Text(text) => text.len(),
                Output::Blob(bytes) => bytes.len(),
                _ => 0,
            };
        if self.answers.len() < ANSWERS_MAX && self.bytes + bytes <= ANSWERS_BYTES_MAX {
            self.bytes += bytes;
            self.answers.insert(arguments, answer.clone());
        }
    }
}

impl ClientScalar {
    pub fn new(asking: Arc<Asking>, function: Arc<ClientFunction>) -> Self {
        ClientScalar { asking, function, known: RefCell::default() }
    }

    fn ask(&self, arguments: &[u8]) -> Outcome {
        self.asking.ask(
            &*self.function,
            "scalar",
            |out| out.extend_from_slice(arguments),
            |term| answer::value(term).map(output),
        )
    }
}

impl RowFunction for ClientScalar {
    fn call(&self, arguments: &[Argument<'_>]) -> Outcome {
        let mut encoded = Vec::with_capacity(ARGUMENTS_BYTES);
        put_arguments(&mut encoded, arguments);
        if !self.function.deterministic {
            return self.ask(&encoded);
        }
        // A text and a blob of the same bytes look alike to the client: so they may here.
        let request = self.asking.request();
        if let Some(known) = self.known.borrow_mut().of(request).answers.get(&encoded) {
            return Ok(known.clone());
        }
        let answer = self.ask(&encoded)?;
        self.known.borrow_mut().of(request).keep(encoded, &answer);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_one_request_and_within_limits() {
        let mut known = Known::default();
        for number in 0..2 * ANSWERS_MAX {
            known.of(1).keep(number.to_be_bytes().to_vec(), &Output::Integer(1));
        }
        assert_eq!(known.answers.len(), ANSWERS_MAX);
        assert!(known.of(2).answers.is_empty());
        known.keep(vec![1], &Output::Text("x".repeat(ANSWERS_BYTES_MAX - 1)));
        known.keep(vec![2], &Output::Null);
        assert_eq!((known.answers.len(), known.bytes), (1, ANSWERS_BYTES_MAX));
    }
}
