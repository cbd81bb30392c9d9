//! Why a database cannot be opened: SQLite says no more than that it cannot.

use std::fs::{metadata, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// The cause, if the file system tells one: of the path that a client gave, or else of the system's error number of the
/// call that failed. `creates`: a file that is not there would be made.
pub fn cause(given: &str, creates: bool, errno: Option<i32>) -> Option<String> {
    let path = file_of(given);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let system = || errno.map(|errno| io::Error::from_raw_os_error(errno).to_string());
    match (metadata(folder), metadata(&path)) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("the folder {} does not exist; create it, or correct the path", folder.display()))
        }
        (Err(error), _) => Some(format!("the folder {} cannot be used: {error}", folder.display())),
        (Ok(found), _) if !found.is_dir() => {
            Some(format!("{} is not a folder; correct the path", folder.display()))
        }
        (_, Ok(found)) => kind(&found).map(str::to_owned).or_else(system),
        (_, Err(error)) if error.kind() == io::ErrorKind::NotFound && !creates => Some(
            "there is no such file, and this mode creates none; correct the path, or open with mode \
                  read_write_create"
                .to_owned(),
        ),
        _ => system(),
    }
}

fn kind(found: &Metadata) -> Option<&'static str> {
    match () {
        () if found.is_dir() => Some("it is a folder; give the path of a file"),
        () if !found.is_file() => Some("it is not a regular file; correct the path"),
        () => None,
    }
}

/// The file that a path or a `file:` URI names (<https://sqlite.org/uri.html>).
fn file_of(given: &str) -> PathBuf {
    let Some(uri) = given.strip_prefix("file:") else { return PathBuf::from(given) };
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let path = match uri[..end].strip_prefix("//") {
        Some(authority) => authority.find('/').map_or("", |at| &authority[at..]),
        None => &uri[..end],
    };
    PathBuf::from(decoded(path))
}

/// With the bytes that %XX stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_file() {
        for (given, file) in [
            ("a.db", "a.db"),
            ("a%20b?c", "a%20b?c"),
            ("file:a.db?mode=ro", "a.db"),
            ("file:/x/a%20b%2.db#part", "/x/a b%2.db"),
            ("file:///x/%C3%BC.db", "/x/ü.db"),
            ("file://localhost/x/a.db", "/x/a.db"),
        ] {
            assert_eq!(file_of(given), PathBuf::from(file), "{given}");
        }
    }
}
