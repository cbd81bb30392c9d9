//! The names of foreign keys in the text of a CREATE TABLE, which is the only place where the engine keeps them.

/// The names of a table's foreign keys in the order in which they are declared; `None` for one without a name.
pub fn foreign_key_names(create_table: &str) -> Vec<Option<String>> {
    let mut names = Vec::new();
    // Behind CONSTRAINT and until the constraint that it names: the name.
    let mut name: Option<String> = None;
    let mut naming = false;
    let mut depth = 0;
    for token in Tokens(create_table) {
        match token {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') => depth -= 1,
            // What lies deeper belongs to a type, an expression or a list of columns.
            _ if depth != 1 => {}
            Token::Word(word) if naming => {
                name = Some(word.to_owned());
                naming = false;
            }
            Token::Quoted(quoted) if naming => {
                name = Some(quoted);
                naming = false;
            }
            Token::Word(word) if word.eq_ignore_ascii_case("CONSTRAINT") => {
                naming = true;
            }
            Token::Word(word) if word.eq_ignore_ascii_case("REFERENCES") => names.push(name.take()),
            Token::Word(word) if word.eq_ignore_ascii_case("FOREIGN") || word.eq_ignore_ascii_case("KEY") => {
            }
            // The start of another constraint, or the end of this one.
            _ => name = None,
        }
    }
    names
}

enum Token<'s> {
    /// A keyword or a plain identifier.
    Word(&'s str),
    /// An identifier in any of the four kinds of quotes, without them.
    Quoted(String),
    /// Any other character that is neither white space nor part of a comment.
    Mark(char),
}

struct Tokens<'s>(&'s str);

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        loop {
            let first = self.0.chars().next()?;
            if first.is_ascii_whitespace() {
                self.skip(1);
            } else if self.0.starts_with("--") {
                self.skip(self.0.find('\n').map_or(self.0.len(), |at| at + 1));
            } else if self.0.starts_with("/*") {
                self.skip(self.0[2..].find("*/").map_or(self.0.len(), |at| at + 4));
            } else {
                return Some(self.token(first));
            }
        }
    }
}

impl<'s> Tokens<'s> {
    fn skip(&mut self, bytes: usize) {
        self.0 = &self.0[bytes..];
    }

    fn token(&mut self, first: char) -> Token<'s> {
        match first {
            '\'' | '"' | '`' => self.quoted(first),
            '[' => self.quoted(']'),
            _ if is_word(first) => {
                let end = self.0.find(|c: char| !is_word(c)).unwrap_or(self.0.len());
                let word = &self.0[..end];
                self.skip(end);
                Token::Word(word)
            }
            _ => {
                self.skip(first.len_utf8());
                Token::Mark(first)
            }
        }
    }

    /// Up to `end`; doubled it stands for itself, but for a bracket.
    fn quoted(&mut self, end: char) -> Token<'s> {
        self.skip(1);
        let mut content = String::new();
        while let Some(at) = self.0.find(end) {
            content.push_str(&self.0[..at]);
            self.skip(at + 1);
            if end == ']' || !self.0.starts_with(end) {
                return Token::Quoted(content);
            }
            content.push(end);
            self.skip(1);
        }
        self.0 = "";
        Token::Quoted(content)
    }
}

/// SQLite's identifiers: everything beyond ASCII belongs to them.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Vec<String> {
        foreign_key_names(sql).into_iter().map(|name| name.unwrap_or_else(|| "-".to_owned())).collect()
    }

    #[test]
    fn names_of_columns_and_tables_constraints() {
        let sql = "CREATE TABLE c(id INTEGER PRIMARY KEY, a REFERENCES p, b INT CONSTRAINT to_q NOT NULL \
                   CONSTRAINT \"the q\" REFERENCES q(x) ON DELETE CASCADE, c, d, \
                   CONSTRAINT both FOREIGN KEY (c, d) REFERENCES r(c, d), FOREIGN KEY(a) REFERENCES s)";
        assert_eq!(names(sql), ["-", "the q", "both", "-"]);
    }

    #[test]
    fn a_name_belongs_to_its_constraint_alone() {
        let sql =
            "create table c(a constraint positive check (a > 0) references p, b constraint [x y] unique, \
                   c references p, d constraint `k` references p)";
        assert_eq!(names(sql), ["-", "-", "k"]);
    }

    #[test]
    fn words_in_comments_texts_and_expressions_are_none() {
        let sql = "CREATE TABLE \"references\"(a DEFAULT 'x REFERENCES y', -- REFERENCES z\n \
                   b /* CONSTRAINT n REFERENCES z */ CHECK (b <> \"REFERENCES\"), \
                   c CONSTRAINT 'it''s' REFERENCES \"references\"(a))";
        assert_eq!(names(sql), ["it's"]);
    }

    #[test]
    fn what_is_cut_off_ends() {
        for sql in
            ["", "CREATE TABLE t(a CONSTRAINT", "CREATE TABLE t(a 'x", "/* x", "CREATE TABLE t(\"a\"\""]
        {
            assert!(names(sql).is_empty(), "{sql}");
        }
    }
}
