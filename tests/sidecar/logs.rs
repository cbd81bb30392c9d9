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

/// The log lines that came as events, up to the end of the program.
fn told(sidecar: &Sidecar) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    while let Some(frame) = sidecar.receive_or_end(0) {
        assert_eq!(frame.tag, tag::LOG);
        let items = frame.payload.items();
        lines.push((items[0].text().to_owned(), items[1].text().to_owned()));
    }
    lines
}

#[test]
fn a_client_that_asks_for_the_log_gets_it_as_events() {
    let sidecar = Sidecar::start_with(&["--log-to=client", "--log-level=debug"]);
    sidecar.open(":memory:").exec("SELECT 1");
    sidecar.close_stdin();
    let lines = told(&sidecar);
    assert!(
        lines.iter().any(|(severity, line)| severity == "debug" && line.starts_with("ending")),
        "{lines:?}"
    );
    let (status, stderr) = sidecar.wait(BOUND);
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_reason_of_an_end_is_told_before_it() {
    let sidecar = Sidecar::start_with(&["--log-to=client"]);
    sidecar.send_bytes(&framed(b"no term"));
    let lines = told(&sidecar);
    assert!(
        lines.iter().any(|(severity, line)| severity == "error" && line.contains("broken frame")),
        "{lines:?}"
    );
    assert_eq!(sidecar.wait(BOUND).0.code(), Some(76));
}

#[test]
fn a_client_that_does_not_ask_gets_no_event() {
    let sidecar = Sidecar::start_with(&["--log-level=debug"]);
    sidecar.close_stdin();
    assert_eq!(told(&sidecar), []);
}

#[test]
fn a_standard_error_that_cannot_be_written_stops_nobody() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for stderr in [std::process::Stdio::from(full), std::process::Stdio::from(writer)] {
        let sidecar = Sidecar::of(Process::start_with_stderr(&["--log-level=debug"], stderr));
        let conn = sidecar.open(":memory:");
        for _ in 0..3 {
            sidecar.signal(libc::SIGTERM);
            conn.within(50).query(ENDLESS, list![]).unwrap_err();
            assert_eq!(conn.value("SELECT 1"), 1.into());
        }
        sidecar.close_stdin();
        assert_eq!(sidecar.wait(BOUND).0.code(), Some(0));
    }
}
