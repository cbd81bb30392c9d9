//! Names as SQL takes them.

/// An identifier as SQL takes it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, whatever is in it but NULs.
pub fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{quoted, quoted_text};

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(quoted("a\" b; DROP"), "\"a\"\" b; DROP\"");
        assert_eq!(quoted_text("it's"), "'it''s'");
    }
}
