//! The option to raise when the engine has met a limit, and what to say of a function that is missing, or may not stand where it
//! does. SQLite says what was wrong, but not by which name this program knows it; [`of`] is appended to SQLite's words where an
//! error becomes a reply.

use crate::engine::{code, EngineError};

/// What SQLite's message begins with when a statement exceeds a limit of the connection, and that limit. The first match
/// counts.
const LIMIT_WORDS: &[(&str, &str)] = &[
    ("too many columns ", "column"),
    ("too many terms in ORDER BY", "column"),
    ("too many terms in GROUP BY", "column"),
    ("Expression tree is too large", "expr_depth"),
    ("too many terms in compound SELECT", "compound_select"),
    ("too many arguments on function ", "function_arg"),
    ("too many attached databases", "attached"),
    ("LIKE or GLOB pattern too complex", "like_pattern_length"),
    ("too many SQL variables", "variable_number"),
    ("variable number must be between ", "variable_number"),
    ("too many levels of trigger recursion", "trigger_depth"),
];

/// The same for `SQLITE_TOOBIG`.
const SIZE_WORDS: &[(&str, &str)] =
    &[("string or blob too big", "length"), ("statement too long", "sql_length")];

/// What SQLite's message begins with when a statement, or what the schema adds to it, uses a function that there is not.
const MISSING_FUNCTION: &[&str] = &["no such function: ", "unknown function: "];

const MISSING: &str = "create it on this connection, or for the whole program before the connection is opened, if the statement or \
                       something in the schema that it uses needs it";

/// Whether SQLite's message is of a certain kind.
type IsIt = fn(&str) -> bool;

/// How SQLite's message is known when a function may not stand where it does, and what to do.
const MISPLACED: &[(IsIt, &str)] = &[
    (
        |words| words.starts_with("unsafe use of "),
        "the schema may call it only if it is created with directonly false, which is for what does no harm in a database of \
         a stranger",
    ),
    (
        |words| words.starts_with("non-deterministic functions prohibited in "),
        "a function of yours may stand there if it is created as deterministic",
    ),
    (
        |words| words.ends_with(" may not be used as a window function"),
        "an aggregate of yours may if it is created with an inverse",
    ),
];

/// How the message begins of a schema that cannot be compiled; what was wrong follows " - ".
const MALFORMED: &str = "malformed database schema (";

/// Which option to raise, if the engine has met a limit that is one.
pub fn of(error: &EngineError) -> Option<String> {
    let words = error.message.as_str();
    match error.code & 0xff {
        // The engine has one code, and one text, for both.
        code::SQLITE_NOMEM => Some(
            "raise heap_bytes_max of the sidecar, or limits: [vdbe_op: …] of the connection if one statement compiles to \
             that many instructions"
                .to_owned(),
        ),
        code::SQLITE_TOOBIG => limit(SIZE_WORDS, words).map(raise),
        _ if is_missing_function(error) => Some(MISSING.to_owned()),
        code::SQLITE_ERROR => limit(LIMIT_WORDS, words).map(up_to_default).or_else(|| misplaced(words)),
        code::SQLITE_CORRUPT => schema_limit(words)
            .map(|limit| format!("the database is sound, but its schema exceeds a limit of the connection: {}", raise(limit))),
        _ => None,
    }
}

/// True if a function or a collation was used that the connection has not.
pub fn is_missing_function(error: &EngineError) -> bool {
    let words = error.message.as_str();
    error.code == code::SQLITE_ERROR_MISSING_COLLSEQ
        || error.code & 0xff == code::SQLITE_ERROR
            && MISSING_FUNCTION.iter().any(|begin| words.starts_with(begin))
}

fn misplaced(words: &str) -> Option<String> {
    let found = MISPLACED.iter().find(|(is_it, _)| is_it(words));
    found.map(|(_, remedy)| (*remedy).to_owned())
}

/// True if the schema could not be read because of a limit of the connection. The engine calls it corrupt.
pub fn is_limited_schema(error: &EngineError) -> bool {
    error.code & 0xff == code::SQLITE_CORRUPT && schema_limit(&error.message).is_some()
}

/// The object's name comes first, and may hold anything.
fn schema_limit(words: &str) -> Option<&'static str> {
    let reasons = words.strip_prefix(MALFORMED)?;
    let mut reasons = reasons.match_indices(") - ").map(|(at, mark)| &reasons[at + mark.len()..]);
    reasons.find_map(|reason| {
        // The text of one object is compiled as one of unknown length.
        let is_text = limit(SIZE_WORDS, reason).is_some();
        if is_text {
            Some("sql_length")
        } else {
            limit(LIMIT_WORDS, reason)
        }
    })
}

fn limit(table: &[(&str, &'static str)], words: &str) -> Option<&'static str> {
    table.iter().find(|(begin, _)| words.starts_with(begin)).map(|(_, limit)| *limit)
}

/// The defaults of these are the engine's own maxima.
fn up_to_default(limit: &str) -> String {
    format!("{}, unless it is at its default, which is the most", raise(limit))
}

fn raise(limit: &str) -> String {
    format!("raise limits: [{limit}: …] of the connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_engine_s_own_words_are_of_a_limit() {
        let of = |code, words: &str| of(&EngineError::new(code, words));
        let raise = |limit| Some(raise(limit));
        assert_eq!(of(code::SQLITE_TOOBIG, "string or blob too big"), raise("length"));
        assert_eq!(of(code::SQLITE_TOOBIG, "decimal_add: too many digits"), None);
        assert_eq!(of(code::SQLITE_ERROR, "too many columns on t"), Some(up_to_default("column")));
        assert_eq!(of(code::SQLITE_ERROR, "no such table: too many columns on t"), None);
        assert_eq!(of(code::SQLITE_CONSTRAINT_TRIGGER, "too many columns on t"), None);
    }

    #[test]
    fn a_function_that_is_missing_or_misplaced_is_told_by_the_engine_s_own_words() {
        let remedy = |words: &str| of(&EngineError::new(code::SQLITE_ERROR, words)).unwrap_or_default();
        assert!(remedy("no such function: f").starts_with("create it"));
        assert!(remedy("unknown function: f()").starts_with("create it"));
        assert!(remedy("unsafe use of f()").contains("directonly"));
        assert!(
            remedy("non-deterministic functions prohibited in index expressions").contains("deterministic")
        );
        assert!(remedy("f() may not be used as a window function").contains("inverse"));
        assert_eq!(remedy("no such table: no such function: f"), "");
        assert!(is_missing_function(&EngineError::new(
            code::SQLITE_ERROR_MISSING_COLLSEQ,
            "no such collation sequence: c"
        )));
        assert!(!is_missing_function(&EngineError::new(
            code::SQLITE_CONSTRAINT_TRIGGER,
            "no such function: f"
        )));
    }

    #[test]
    fn a_schema_that_exceeds_a_limit_is_told_from_a_damaged_one() {
        let is_limited = |words: &str| is_limited_schema(&EngineError::new(code::SQLITE_CORRUPT, words));
        assert!(is_limited("malformed database schema (t) - too many columns on t"));
        assert!(is_limited(
            "malformed database schema (a) - b) - Expression tree is too large (maximum depth 10)"
        ));
        assert!(is_limited("malformed database schema (t) - string or blob too big"));
        assert!(!is_limited("malformed database schema (t) - invalid rootpage"));
        assert!(!is_limited("malformed database schema (too many columns on t)"));
        assert!(!is_limited("database disk image is malformed"));
    }
}
