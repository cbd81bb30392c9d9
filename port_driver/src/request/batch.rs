//! The statements of a batch, read where they lie.

use std::fmt;

use super::fields::Fields;
use super::{Refusal, RequestError};
use crate::error_code::ErrorCode;
use crate::params::Params;

/// What `batch` asks for. All of its statements have been looked at; none has been copied.
#[derive(Clone, Copy, PartialEq)]
pub struct Batch<'a> {
    /// All or nothing.
    pub atomic: bool,
    len: u32,
    items: &'a [u8],
}

/// Without the statements, whose parameters a log must not show.
impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("atomic", &self.atomic).field("len", &self.len).finish()
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(atomic: bool, len: u32, items: &'a [u8]) -> Self {
        Self { atomic, len, items }
    }

    /// How many statements there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The statements in their order. Whether the parameters are values is found out while iterating over
    /// them.
    pub fn statements(&self) -> Statements<'a> {
        Statements { left: self.len, items: self.items }
    }
}

/// See [`Batch::statements`].
#[derive(Clone)]
pub struct Statements<'a> {
    left: u32,
    items: &'a [u8],
}

impl<'a> Iterator for Statements<'a> {
    type Item = Result<(&'a str, Params<'a>), RequestError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match Fields::reread_batch_item(self.items) {
            Ok((sql, params, rest)) => {
                self.items = rest;
                Some(Ok((sql, params)))
            }
            Err(refusal) => {
                self.left = 0;
                Some(Err(match refusal {
                    Refusal::Answer(error) => error,
                    Refusal::Fatal(error) => RequestError::new(ErrorCode::InvalidRequest, error.to_string()),
                }))
            }
        }
    }
}
