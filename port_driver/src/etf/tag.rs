//! The tags of the External Term Format (<https://www.erlang.org/doc/apps/erts/erl_ext_dist.html>).

/// Before the outermost term.
pub const VERSION: u8 = 131;
/// NEW_FLOAT_EXT: eight bytes, IEEE.
pub const NEW_FLOAT: u8 = 70;
/// SMALL_INTEGER_EXT: one byte, unsigned.
pub const SMALL_INTEGER: u8 = 97;
/// INTEGER_EXT: four bytes, signed.
pub const INTEGER: u8 = 98;
/// FLOAT_EXT: 31 characters, written by very old nodes.
pub const FLOAT: u8 = 99;
/// ATOM_EXT: Latin-1 with a 16-bit length.
pub const ATOM: u8 = 100;
/// SMALL_TUPLE_EXT: arity in one byte.
pub const SMALL_TUPLE: u8 = 104;
/// LARGE_TUPLE_EXT: arity in four bytes.
pub const LARGE_TUPLE: u8 = 105;
/// NIL_EXT: the empty list.
pub const NIL: u8 = 106;
/// STRING_EXT: a list of small integers, one byte each, with a 16-bit length.
pub const STRING: u8 = 107;
/// LIST_EXT: a 32-bit count, the elements, the tail.
pub const LIST: u8 = 108;
/// BINARY_EXT: a 32-bit length.
pub const BINARY: u8 = 109;
/// SMALL_BIG_EXT: an 8-bit length, the sign, the magnitude from its least byte.
pub const SMALL_BIG: u8 = 110;
/// LARGE_BIG_EXT: the same with a 32-bit length.
pub const LARGE_BIG: u8 = 111;
/// SMALL_ATOM_EXT: Latin-1 with an 8-bit length.
pub const SMALL_ATOM: u8 = 115;
/// MAP_EXT: a 32-bit count of pairs.
pub const MAP: u8 = 116;
/// ATOM_UTF8_EXT: UTF-8 with a 16-bit length.
pub const ATOM_UTF8: u8 = 118;
/// SMALL_ATOM_UTF8_EXT: UTF-8 with an 8-bit length.
pub const SMALL_ATOM_UTF8: u8 = 119;
