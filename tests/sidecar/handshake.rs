//! The first frame, and what makes the program refuse to go on: arguments, broken frames.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn printed(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = Command::new(env!("CARGO_BIN_EXE_libsql_port"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (program.status.code(), text(program.stdout), text(program.stderr))
}

#[test]
fn hello_says_who_is_there() {
    let sidecar = Sidecar::start_with(&["--frame-bytes-max=100000"]);
    let [protocol, info] = sidecar.hello.items() else { panic!("{:?}", sidecar.hello) };
    assert_eq!(protocol.int(), 1);
    assert_eq!(info.get("version").text(), env!("CARGO_PKG_VERSION"));
    assert_eq!(info.get("os_pid").int(), i64::from(sidecar.pid));
    assert_eq!(info.get("frame_bytes_max").int(), 100_000);
    assert_eq!(info.get("sqlite").text(), "3.47.0");
    for key in ["build", "libsql", "sqlite_source_id"] {
        assert!(!info.get(key).text().is_empty(), "{key}");
    }
    assert!(info.get("capabilities").items().contains(&"writer_turn".into()));
}

#[test]
fn version_and_help_are_printed_for_people() {
    let (status, stdout, _) = printed(&["--version"]);
    assert_eq!(status, Some(0));
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")) && stdout.contains("SQLite 3."), "{stdout}");
    let (status, stdout, _) = printed(&["--help"]);
    assert_eq!(status, Some(0));
    assert!(stdout.contains("--frame-bytes-max") && stdout.contains("--log-format"), "{stdout}");
}

#[test]
fn bad_arguments_end_with_status_2_and_nothing_on_the_wire() {
    for arguments in [&["--no-such-option"][..], &["--log-format=xml"], &["--connections-max=0"], &["word"]] {
        let (status, stdout, stderr) = printed(arguments);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn end_of_input_ends_with_status_0() {
    Sidecar::start().end();
    // Also if it comes before the program has looked at its input at all.
    let mut process = Process::start(&[]);
    drop(process.stdin.take());
    assert_eq!(process.wait(SOON).code(), Some(0));
}

#[test]
fn end_of_input_in_mid_frame_is_an_end_too() {
    let sidecar = Sidecar::start();
    let ping = frame(300, tag::PING, &"hello".into());
    sidecar.send_bytes(&ping[..ping.len() - 1]);
    sidecar.end();
}

#[test]
fn broken_frames_end_with_status_76_and_a_line_in_the_log() {
    let good = frame(300, tag::PING, &"x".into());
    let mut wrong_version = good.clone();
    wrong_version[4] = 130;
    let mut small_id = good[..8].to_vec();
    small_id.extend_from_slice(&[97, 5, 97, tag::PING, 106]);
    small_id[3] = 9;
    let mut negative_id = good.clone();
    negative_id[8] = 0xff;
    let with_payload = |payload: &[u8]| {
        let mut body = vec![131, 104, 3, 98, 0, 0, 1, 44, 97, tag::PING];
        body.extend_from_slice(payload);
        framed(&body)
    };
    for (what, bytes) in [
        ("text instead of a frame", b"SELECT 1;\nSELECT 2;\n".to_vec()),
        ("another version byte", wrong_version),
        ("an id as a small integer", small_id),
        ("a negative id", negative_id),
        ("the events' id", frame(0, tag::PING, &nil())),
        ("an empty body", framed(b"")),
        ("a body without a payload", framed(&[131, 104, 3, 98, 0, 0, 1, 44, 97, 1])),
        ("a binary that ends early", with_payload(&[109, 0, 0, 0, 9, b'x'])),
        ("bytes behind the term", with_payload(&[106, 106])),
        ("a compressed term", with_payload(&[80, 0, 0, 0, 1, 0x78, 0x9c, 0x4b, 0x04, 0, 0, 0x62, 0, 0x62])),
        ("an improper list", with_payload(&[108, 0, 0, 0, 1, 97, 1, 97, 2])),
        ("a pid", with_payload(&[88, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a term nested too deep", with_payload(&[&[104, 1].repeat(80)[..], &[106]].concat())),
    ] {
        let mut process = Process::start(&[]);
        // It may end before it has read all of it.
        let _ = std::io::Write::write_all(process.stdin.as_mut().unwrap(), &bytes);
        assert_eq!(process.wait(SOON).code(), Some(76), "{what}");
        let stderr = process.stderr();
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        assert!(stderr.contains("broken frame"), "{what}: {stderr}");
    }
}

#[test]
fn a_broken_term_in_a_request_to_a_connection_ends_the_program_too() {
    for behind_another in [false, true] {
        let sidecar = Sidecar::start();
        let conn = sidecar.open(":memory:");
        if behind_another {
            conn.start(NUMBERS_FOR_A_WHILE);
        }
        let mut broken = frame(300, tag::EXECUTE, &conn.payload(["SELECT 1".into(), list![1]]));
        let length = broken.len();
        // The list's end becomes an integer: an improper list.
        broken.truncate(length - 1);
        broken.extend_from_slice(&[97, 7]);
        let body = u32::try_from(broken.len() - 4).unwrap();
        broken[..4].copy_from_slice(&body.to_be_bytes());
        sidecar.send_bytes(&broken);
        assert_eq!(sidecar.wait(SOON).0.code(), Some(76), "behind another: {behind_another}");
    }
}

const NUMBERS_FOR_A_WHILE: &str =
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 20000) SELECT max(x) FROM n";

#[test]
fn a_closed_standard_output_ends_with_status_74() {
    let mut process = Process::start(&[]);
    drop(process.stdout.take());
    // The first reply that cannot be written tells the program. It may be gone before the last one is sent.
    for id in 300..400 {
        if std::io::Write::write_all(process.stdin.as_mut().unwrap(), &frame(id, tag::PING, &nil())).is_err()
        {
            break;
        }
    }
    assert_eq!(process.wait(SOON).code(), Some(74));
}

#[test]
fn well_formed_terms_of_the_wrong_shape_are_answered() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (tag, payload) in [
        (tag::STATUS, tuple![1]),
        (tag::EXECUTE, nil()),
        (tag::EXECUTE, conn.payload([])),
        (tag::EXECUTE, conn.payload([1.into(), list![]])),
        (tag::BEGIN, conn.payload([atom("sometimes")])),
        (tag::FETCH, conn.payload([Term::from("cursor"), 0.into(), 0.into()])),
        (tag::CHECKPOINT, conn.payload([atom("thorough")])),
        (tag::CANCEL, tuple![conn.id]),
    ] {
        let failure = sidecar.call(tag, &payload).unwrap_err();
        assert_eq!(failure.code, "invalid_request", "tag {tag}: {failure:?}");
    }
    assert_eq!(sidecar.call(200, &nil()).unwrap_err().code, "unsupported");
    conn.exec("SELECT 1");
}
