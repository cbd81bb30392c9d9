//! The names of what begins and ends transactions.

/// What begins and ends transactions, by the names that the engine asks with.
pub const TRANSACTIONS: &[&str] = &["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "COMMIT", "ROLLBACK"];

/// The name with which the engine asks about the statement that begins like `name`, which is in lower case.
/// https://sqlite.org/lang_transaction.html
pub fn transaction(name: &[u8]) -> Option<&'static str> {
    let words = std::str::from_utf8(name).ok()?.split_ascii_whitespace().collect::<Vec<_>>();
    // The word TRANSACTION says nothing more, nor does a name after it.
    let end = words.iter().skip(1).position(|word| *word == "transaction");
    let end = end.map_or(words.len(), |at| at + 1);
    if words.len() > end + 2 {
        return None;
    }
    match words.get(..end)? {
        ["begin"] | ["begin", "deferred" | "readonly"] => Some("BEGIN"),
        ["begin", "immediate"] => Some("BEGIN IMMEDIATE"),
        ["begin", "exclusive"] => Some("BEGIN EXCLUSIVE"),
        ["commit" | "end"] => Some("COMMIT"),
        ["rollback"] => Some("ROLLBACK"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_one_name_however_its_statement_is_written() {
        for (written, asked) in [
            ("begin", Some("BEGIN")),
            ("begin deferred transaction", Some("BEGIN")),
            ("  begin \t transaction  t1 ", Some("BEGIN")),
            ("begin immediate", Some("BEGIN IMMEDIATE")),
            ("begin  exclusive transaction", Some("BEGIN EXCLUSIVE")),
            ("begin readonly", Some("BEGIN")),
            ("end", Some("COMMIT")),
            ("commit transaction", Some("COMMIT")),
            ("rollback transaction x", Some("ROLLBACK")),
            ("rollback to x", None),
            ("rollback transaction to x", None),
            ("begin transaction a b", None),
            ("transaction", None),
            ("begin immediate exclusive", None),
            ("begn", None),
            ("", None),
        ] {
            assert_eq!(transaction(written.as_bytes()), asked, "{written}");
        }
        for name in TRANSACTIONS {
            assert_eq!(transaction(name.to_ascii_lowercase().as_bytes()), Some(*name));
        }
    }
}
