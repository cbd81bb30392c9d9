//! What the test crates share: the fixture files, and one way to put a payload through everything that reads
//! it.
#![allow(dead_code)] // each test crate uses its own part

pub mod exercise;
pub mod fixture;
