//! Hrana 3 in JSON (<https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md>): what is sent, and what comes.
//! Values go from the wire of this program into requests, and from answers onto that wire, without a tree of them in
//! between, which is why the types of the crate `libsql-hrana` are not used.

pub mod answer;
pub mod describe;
pub mod rows;
pub mod stmt;
