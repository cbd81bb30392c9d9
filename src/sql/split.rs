//! Where the statements of a script end, by the rules of the SQLite shell (<https://sqlite.org/c3ref/complete.html>): a
//! semicolon outside of quotes and comments, and for CREATE TRIGGER the one behind END.

/// The statements of `sql` and where each begins, without those that are white space and comments only.
pub fn statements(sql: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut words = Words::default();
    let bytes = sql.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        match bytes[at] {
            b';' => {
                if words.ends_here() {
                    push(&mut found, sql, start, end);
                    start = end;
                    words = Words::default();
                }
            }
            first if first.is_ascii_alphabetic() || first == b'_' || first >= 0x80 => {
                words.see(&sql[at..end])
            }
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {}
            _ if is_comment(bytes, at) => {}
            _ => words.see(""),
        }
        at = end;
    }
    push(&mut found, sql, start, sql.len());
    found
}

fn push<'s>(found: &mut Vec<(usize, &'s str)>, sql: &'s str, start: usize, end: usize) {
    let text = &sql[start..end];
    if !super::keyword::is_blank(text) {
        found.push((start, text));
    }
}

fn is_comment(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at..], [b'-', b'-', ..] | [b'/', b'*', ..])
}

/// The end of the token that begins at `at`.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let length = match rest {
        [b'-', b'-', ..] => until(rest, 2, b"\n"),
        [b'/', b'*', ..] => until(rest, 2, b"*/"),
        // A doubled quote is two texts side by side, which end where one does.
        [quote @ (b'\'' | b'"' | b'`'), ..] => until(rest, 1, &[*quote]),
        [b'[', ..] => until(rest, 1, b"]"),
        [first, ..] if is_word(*first) => rest.iter().take_while(|byte| is_word(**byte)).count(),
        _ => 1,
    };
    at + length
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The length up to and with `end`, looked for from `from` on; all, if it does not come.
fn until(text: &[u8], from: usize, end: &[u8]) -> usize {
    let found = text[from..].windows(end.len()).position(|window| window == end);
    found.map_or(text.len(), |found| from + found + end.len())
}

/// What has been seen of a statement.
#[derive(Default)]
struct Words {
    seen: usize,
    creates: bool,
    explains: usize,
    is_trigger: bool,
    last_is_end: bool,
    after_semicolon: bool,
}

impl Words {
    fn see(&mut self, word: &str) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        // EXPLAIN [QUERY PLAN] CREATE [TEMP] TRIGGER …
        match self.seen - self.explains {
            0 if is("explain") || self.explains > 0 && (is("query") || is("plan")) => self.explains += 1,
            0 => self.creates = is("create"),
            1 if self.creates && (is("temp") || is("temporary")) => self.explains += 1,
            1 if self.creates => self.is_trigger = is("trigger"),
            _ => {}
        }
        self.seen += 1;
        // Of a trigger the END counts that stands behind a semicolon: others are those of CASE.
        self.last_is_end = is("end") && self.after_semicolon;
        self.after_semicolon = false;
    }

    /// Whether a semicolon ends the statement here.
    fn ends_here(&mut self) -> bool {
        self.after_semicolon = true;
        !self.is_trigger || self.last_is_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        statements(sql).into_iter().map(|(_, text)| text.trim()).collect()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_end_nothing() {
        let sql = "SELECT ';', \";\", [;], `;`, 'it''s;' -- ;\n/* ; */; ; /* only */ ;\nSELECT 2";
        assert_eq!(texts(sql), ["SELECT ';', \";\", [;], `;`, 'it''s;' -- ;\n/* ; */;", "SELECT 2"]);
        assert_eq!(texts(" -- nothing\n"), Vec::<&str>::new());
        assert_eq!(texts("SELECT 'open; SELECT 2"), ["SELECT 'open; SELECT 2"]);
        assert_eq!(statements("A;\n B;")[1], (2, "\n B;"));
    }

    #[test]
    fn a_trigger_ends_with_its_end() {
        let trigger = "CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN 2 END; DELETE FROM t; END;";
        assert_eq!(texts(&format!("{trigger} SELECT 1;")), [trigger, "SELECT 1;"]);
        assert_eq!(texts("BEGIN; SELECT 1; END; CREATE TABLE trigger(a); x").len(), 5);
    }
}
