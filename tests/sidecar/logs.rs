//! Standard error: one line for each thing that happens, as text or JSON, bounded, and without what SQL is about.

use crate::list;
use crate::support::*;
use crate::term::*;

/// Does what makes the program talk, and gives what it said.
fn talked(arguments: &[&str], rounds: usize) -> String {
    let (folder, path) = folder();
    let sidecar = Sidecar::start_with(arguments);
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    for _ in 0..rounds {
        conn.query("INSERT INTO t VALUES (?)", list!["TopSecretParameter"]).unwrap();
        conn.query("SELECT ?, nothing", list!["TopSecretParameter"]).unwrap_err();
        assert!(sidecar.open_with(folder.path(), Term::Map(Vec::new())).is_err());
        sidecar.signal(libc::SIGTERM);
    }
    conn.within(50).query(ENDLESS, list![]).unwrap_err();
    sidecar.close_stdin();
    sidecar.wait(BOUND).1
}

#[test]
fn nothing_is_said_while_nothing_is_wrong() {
    assert_eq!(talked(&[], 3), "");
}

#[test]
fn parameters_are_never_logged() {
    for format in ["text", "json"] {
        let said = talked(&["--log-level=debug", &format!("--log-format={format}")], 5);
        assert!(said.contains("ending"), "there is something to look at: {said}");
        assert!(!said.contains("TopSecretParameter"), "{said}");
    }
}

#[test]
fn json_lines_are_json() {
    let said = talked(&["--log-level=debug", "--log-format=json"], 2);
    assert!(!said.is_empty());
    for line in said.lines() {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(object[key].is_string(), "{line}");
        }
    }
}

#[test]
fn text_lines_are_one_line_each_and_plain() {
    let said = talked(&["--log-level=debug", "--log-format=text"], 2);
    for line in said.lines() {
        assert!(line.contains("DEBUG") || line.contains("INFO") || line.contains("WARN"), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours in a pipe: {line}");
    }
}
