//! SQL as text: its first word, the names of foreign keys in a CREATE TABLE, quoting. Texts in, texts out; nothing here
//! knows the engine or a connection.

pub mod ddl;
pub mod keyword;
pub mod quote;
pub mod split;
