//! The first word of an SQL text: all that this program ever reads of SQL. SQLite compiles some statements with an
//! effect (PRAGMA) or changes what a connection is (ATTACH, COMMIT), and those must be known before they run.

/// What a statement's first word says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// PRAGMA: many take effect when they are compiled, so a compiled one must not be used twice.
    Pragma,
    /// EXPLAIN, which may hold a PRAGMA.
    Explain,
    /// ATTACH or DETACH.
    Attach,
    /// BEGIN.
    Begin,
    /// SAVEPOINT: outside of a transaction it begins one.
    Savepoint,
    /// COMMIT, END.
    Commit,
    /// RELEASE: of the savepoint that has begun the transaction, it commits.
    Release,
    /// ROLLBACK of a whole transaction. To the engine it only reads, but it changes rows.
    Rollback,
    /// ROLLBACK TO a savepoint, of which the same is true.
    RollbackTo,
    /// ALTER, CREATE, DROP, REINDEX. With IF EXISTS or an outdated schema they may be compiled into something that only
    /// reads, and be compiled anew, into a write, when they run.
    Schema,
    /// VACUUM, of which the engine asks its authorizer nothing before it runs.
    Vacuum,
    /// Anything else.
    Other,
}

/// A keyword that says more than its first word is read on: ROLLBACK \[TRANSACTION \[name\]\] \[TO …\].
fn rollback(sql: &[u8]) -> Keyword {
    let rest = skip_blank(sql).get(b"ROLLBACK".len()..).unwrap_or_default();
    let (mut word, mut rest) = next_name(rest);
    let is = |word: &[u8], keyword: &[u8]| word.eq_ignore_ascii_case(keyword);
    if is(word, b"TRANSACTION") {
        (word, rest) = next_name(rest);
        if !is(word, b"TO") {
            (word, _) = next_name(rest);
        }
    }
    if is(word, b"TO") {
        Keyword::RollbackTo
    } else {
        Keyword::Rollback
    }
}

/// The next word or name, quoted as it may be, in the same statement; what is behind it.
fn next_name(sql: &[u8]) -> (&[u8], &[u8]) {
    let rest = skip_space(sql);
    let end = match rest.first() {
        Some(&quote @ (b'"' | b'\'' | b'`' | b'[')) => {
            let close = if quote == b'[' { b']' } else { quote };
            rest[1..].iter().position(|&byte| byte == close).map_or(rest.len(), |at| at + 2)
        }
        _ => {
            let is_word =
                |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'_' | b'$');
            rest.iter().position(|byte| !is_word(byte)).unwrap_or(rest.len())
        }
    };
    rest.split_at(end)
}

/// Reads the first word, past white space, comments and semicolons.
pub fn first(sql: &str) -> Keyword {
    let word = first_word(sql.as_bytes());
    let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
    if is("PRAGMA") {
        Keyword::Pragma
    } else if is("EXPLAIN") {
        Keyword::Explain
    } else if is("ATTACH") || is("DETACH") {
        Keyword::Attach
    } else if is("BEGIN") {
        Keyword::Begin
    } else if is("SAVEPOINT") {
        Keyword::Savepoint
    } else if is("COMMIT") || is("END") {
        Keyword::Commit
    } else if is("RELEASE") {
        Keyword::Release
    } else if is("ROLLBACK") {
        rollback(sql.as_bytes())
    } else if ["ALTER", "CREATE", "DROP", "REINDEX"].into_iter().any(is) {
        Keyword::Schema
    } else if is("VACUUM") {
        Keyword::Vacuum
    } else {
        Keyword::Other
    }
}

/// True if a statement begins or ends a transaction or savepoint.
pub fn is_transaction(keyword: Keyword) -> bool {
    begins(keyword) || rolls_back(keyword) || matches!(keyword, Keyword::Commit | Keyword::Release)
}

/// True if a statement begins a transaction outside of one.
pub fn begins(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::Begin | Keyword::Savepoint)
}

/// True if a statement takes changes of rows back.
pub fn rolls_back(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::Rollback | Keyword::RollbackTo)
}

/// True if a statement may write although the engine says that it only reads: see [`Keyword::Schema`].
pub fn may_write(keyword: Keyword) -> bool {
    keyword == Keyword::Schema
}

/// True of what begins with SELECT or VALUES, which by SQLite's grammar cannot write; others may only read as well.
pub fn only_reads(sql: &str) -> bool {
    let word = first_word(sql.as_bytes());
    word.eq_ignore_ascii_case(b"SELECT") || word.eq_ignore_ascii_case(b"VALUES")
}

/// True of what begins with INSERT, REPLACE, UPDATE or DELETE, which writes; others may as well.
pub fn only_writes(sql: &str) -> bool {
    let word = first_word(sql.as_bytes());
    [&b"INSERT"[..], b"REPLACE", b"UPDATE", b"DELETE"].iter().any(|writes| word.eq_ignore_ascii_case(writes))
}

/// True if the text holds white space, comments and semicolons only.
pub fn is_blank(sql: &str) -> bool {
    skip_blank(sql.as_bytes()).is_empty()
}

fn first_word(sql: &[u8]) -> &[u8] {
    let rest = skip_blank(sql);
    let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
    &rest[..end]
}

/// White space and comments, and semicolons in front of a statement.
fn skip_blank(mut sql: &[u8]) -> &[u8] {
    loop {
        sql = match skip_space(sql) {
            [b';', rest @ ..] => rest,
            other => return other,
        }
    }
}

fn skip_space(mut sql: &[u8]) -> &[u8] {
    loop {
        sql = match sql {
            // A byte order mark is white space to SQLite's tokenizer.
            [0xef, 0xbb, 0xbf, rest @ ..] => rest,
            // A vertical tab is white space there behind another one; in front it is an error.
            [b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r', rest @ ..] => rest,
            [b'-', b'-', rest @ ..] => after(rest, b"\n"),
            [b'/', b'*', rest @ ..] => after(rest, b"*/"),
            _ => return sql,
        }
    }
}

fn after<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    match text.windows(end.len()).position(|window| window == end) {
        Some(at) => &text[at + end.len()..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_behind_comments() {
        assert_eq!(first("pragma foreign_keys"), Keyword::Pragma);
        assert_eq!(first(" -- x\n/* y */ ;\u{feff}\tPRAGMA x"), Keyword::Pragma);
        assert_eq!(first(" \u{b}\u{c}\u{b}PRAGMA x"), Keyword::Pragma);
        assert_eq!(first("Explain query plan select 1"), Keyword::Explain);
        assert_eq!(first("ATTACH 'a' AS b"), Keyword::Attach);
        assert_eq!(first("rollback;"), Keyword::Rollback);
        assert_eq!(first("savepoint a"), Keyword::Savepoint);
        assert_eq!(first("BEGIN"), Keyword::Begin);
        assert_eq!(first("END"), Keyword::Commit);
        assert_eq!(first("release a"), Keyword::Release);
        assert_eq!(first("drop trigger if exists r"), Keyword::Schema);
        assert_eq!(first("SELECT 1"), Keyword::Other);
        assert_eq!(first("pragmatic"), Keyword::Other);
    }

    #[test]
    fn a_rollback_to_a_savepoint_is_known_past_comments_and_names() {
        for sql in [
            "ROLLBACK TO x",
            ";rollback/**/to x",
            "ROLLBACK -- to the\n TO SAVEPOINT x",
            "ROLLBACK TRANSACTION TO x",
            "ROLLBACK TRANSACTION t TO x",
            "ROLLBACK TRANSACTION \"a to b\" TO x",
            "ROLLBACK TRANSACTION [t]TO x",
        ] {
            assert_eq!(first(sql), Keyword::RollbackTo, "{sql}");
        }
        for sql in [
            "ROLLBACK",
            "ROLLBACK /* to the start */",
            "ROLLBACK -- to x",
            "ROLLBACK; TO x",
            "ROLLBACK TRANSACTION",
            "ROLLBACK TRANSACTION \"to\"",
            "ROLLBACK TRANSACTION 'x' -- TO",
            "ROLLBACK total",
            "ROLLBACK \"",
        ] {
            assert_eq!(first(sql), Keyword::Rollback, "{sql}");
        }
    }

    #[test]
    fn what_only_reads_begins_so() {
        for sql in ["select 1", " /* x */ VALUES (1)", "SELECT"] {
            assert!(only_reads(sql), "{sql}");
        }
        for sql in
            ["WITH a AS (SELECT 1) SELECT * FROM a", "INSERT INTO t SELECT 1", "selects", "PRAGMA x", ""]
        {
            assert!(!only_reads(sql), "{sql}");
        }
    }

    #[test]
    fn what_writes_begins_so() {
        for sql in
            ["insert into t values (1)", "/* x */ Replace INTO t", "UPDATE t SET a = 1", ";delete from t"]
        {
            assert!(only_writes(sql), "{sql}");
        }
        for sql in
            ["WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "SELECT 1", "inserts", "DROP TABLE t", ""]
        {
            assert!(!only_writes(sql), "{sql}");
        }
    }

    #[test]
    fn blank_texts() {
        for blank in ["", " \n", "-- only", "/* open", ";;", "/**/ -- x\n"] {
            assert!(is_blank(blank), "{blank:?}");
            assert_eq!(first(blank), Keyword::Other);
        }
        assert!(!is_blank("/* x */ y"));
    }
}
