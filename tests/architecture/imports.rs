//! The paths that a Rust file names: those of its `use` declarations, and every other one that begins at the root of the
//! library or at the parent of its module.

/// The text without comments, and without the unit tests at its end, which may import what they like.
pub fn without_comments_and_tests(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// All paths, each from its first name to its last.
pub fn import_paths(text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        let starts = match tokens[at] {
            // `pub(in crate::room)` and `pub(crate)` import nothing.
            "crate" | "super" | "self" => !matches!(before, "in" | "(" | "::") && next_is(&tokens, at, "::"),
            _ => before == "use",
        };
        if starts {
            at = read_tree(&tokens, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

/// Reads one path or tree of paths that begins at `at` and goes on from `prefix`. Returns where it ends.
fn read_tree(tokens: &[&str], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).copied() {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = read_tree(tokens, at, &path, paths);
                    // Over `as name` and the comma.
                    while tokens.get(at).is_some_and(|token| !matches!(*token, "," | "}")) {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some("*") => {
                paths.push(path);
                return at + 1;
            }
            // In a tree: the module itself.
            Some("self") if !path.is_empty() => {
                paths.push(path);
                return at + 1;
            }
            Some(name) if is_name(name) => {
                path.push(name.to_owned());
                at += 1;
                // After `::` there may also be a `<`.
                let goes_on = next_is(tokens, at - 1, "::")
                    && tokens.get(at + 1).is_some_and(|next| is_name(next) || matches!(*next, "{" | "*"));
                if !goes_on {
                    paths.push(path);
                    return at;
                }
                at += 1;
            }
            _ => return at + 1,
        }
    }
}

fn next_is(tokens: &[&str], at: usize, wanted: &str) -> bool {
    tokens.get(at + 1) == Some(&wanted)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single other characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let in_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = if in_name(first) {
            rest.find(|c| !in_name(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

#[test]
fn trees_of_paths_are_taken_apart() {
    let paths = |text| import_paths(text).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        paths("pub use crate::a::{b::{self, c as d}, e, f::*};\nuse g::h as i;"),
        ["crate::a::b", "crate::a::b::c", "crate::a::e", "crate::a::f", "g::h"]
    );
    assert_eq!(
        paths("fn f(x: &super::a::B) -> crate::c::D<u8> { crate::e::f::<u8>(self.g) }"),
        ["super::a::B", "crate::c::D", "crate::e::f"]
    );
    assert_eq!(
        paths("pub(in crate::local) fn f(self: &Self) {}\npub(crate) struct G;"),
        Vec::<String>::new()
    );
}
