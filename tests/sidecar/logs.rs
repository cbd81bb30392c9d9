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
    for line in said.lines() {
        let object = line.trim();
        assert!(object.starts_with('{') && object.ends_with('}'), "{line}");
        for key in ["\"timestamp\":", "\"level\":", "\"message\":"] {
            assert!(object.contains(key), "{line}");
        }
    }
}

#[test]
fn a_storm_of_lines_is_bounded() {
    // A broken frame is one line; each program has one, so the storm is made by hand of what debug says of each end.
    let said = talked(&["--log-level=debug", "--log-lines-per-second=1"], 50);
    assert!(said.lines().count() < 60, "{said}");
}
