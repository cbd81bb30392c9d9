//! What the system refuses, and what an application sends that is out of all measure: a typed error at most, and the
//! program goes on.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

const GONE: Duration = Duration::from_secs(10);

/// The program with `stderr`, told to end at once; its exit status.
fn ends_with_stderr(stderr: Stdio) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_libsql_port"))
        .arg("--log-level=debug")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn a_standard_error_that_is_gone_or_full_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(ends_with_stderr(writer.into()), Some(0), "nobody reads");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(ends_with_stderr(full.into()), Some(0), "a full disk");
}

#[test]
fn a_standard_error_that_nobody_empties_holds_nothing_up() {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    // SAFETY: plain system calls on a descriptor that is open; the buffer lives through them.
    unsafe {
        let flags = libc::fcntl(writer.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
        while libc::write(writer.as_raw_fd(), [0u8; 4096].as_ptr().cast(), 4096) > 0 {}
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags);
    }
    assert_eq!(ends_with_stderr(writer.into()), Some(0));
    drop(reader);
}

#[test]
fn a_file_that_may_not_grow_is_a_full_disk() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    limit_file_size(sidecar.pid, 200_000);
    let failure = conn.query("INSERT INTO t VALUES (zeroblob(1000000))", list![]).unwrap_err();
    assert!(matches!(failure.code.as_str(), "disk_full" | "io_error"), "{failure:?}");
    limit_file_size(sidecar.pid, libc::RLIM_INFINITY);
    conn.exec("INSERT INTO t VALUES (zeroblob(1000000))");
    assert_eq!(conn.value("SELECT count(*) FROM t").int(), 1);
}

#[test]
fn a_lock_file_that_cannot_be_signed_stops_no_other_program() {
    let (_folder, path) = folder();
    let (one, two) = (Sidecar::start(), Sidecar::start());
    let (here, there) = (one.open(&path), two.open(&path));
    there.exec("CREATE TABLE t(a)");
    // Its pid cannot be written, and neither can its commit.
    limit_file_size(one.pid, 0);
    here.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
    there.within(5_000).query("INSERT INTO t VALUES (2)", list![]).unwrap();
    limit_file_size(one.pid, libc::RLIM_INFINITY);
    here.exec("INSERT INTO t VALUES (3)");
    there.exec("INSERT INTO t VALUES (4)");
    assert_eq!(here.value("SELECT count(*) FROM t").int(), 3);
}

#[test]
fn a_removed_lock_file_is_made_anew() {
    let (folder, path) = folder();
    let (one, two) = (Sidecar::start(), Sidecar::start());
    let here = one.open(&path);
    here.exec("CREATE TABLE t(a)");
    here.exec("INSERT INTO t VALUES (1)");
    std::fs::remove_file(folder.path().join("test.db-turn")).unwrap();
    here.begin("immediate").unwrap();
    here.exec("INSERT INTO t VALUES (2)");
    // It has never seen the removed one.
    let there = two.open(&path);
    let failure = there.within(50).query("INSERT INTO t VALUES (3)", list![]).unwrap_err();
    assert!(failure.message.contains("another program"), "{failure:?}");
    here.commit().unwrap();
    there.exec("INSERT INTO t VALUES (3)");
}

#[test]
fn the_end_of_input_is_seen_while_nobody_reads_and_a_request_expires() {
    let mut process = Process::start(&[]);
    let mut frames = FrameReader::new(process.stdout.take().unwrap());
    frames.next().unwrap().unwrap();
    process.write(&frame(256, tag::OPEN, &crate::tuple![0, ":memory:", Term::Map(Vec::new())]));
    let conn = frames.next().unwrap().unwrap().payload.items()[0].int();
    let options = map([("credits", 1_000_000), ("rows_max", 0), ("bytes_max", 0)]);
    process.write(&frame(
        257,
        tag::EXECUTE,
        &crate::tuple![conn, 0, numbers(20_000_000).as_str(), list![], options],
    ));
    let stdout = frames.stream().as_raw_fd();
    eventually("the pipe is full", || {
        let mut waiting: libc::c_int = 0;
        // SAFETY: the descriptor is open and the number lives through the call.
        unsafe { libc::ioctl(stdout, libc::FIONREAD, &mut waiting) };
        waiting >= 60_000
    });
    // It expires while the stream holds the output.
    process.write(&frame(258, tag::EXECUTE, &crate::tuple![conn, 1, "SELECT 1", list![]]));
    std::thread::sleep(Duration::from_millis(300));
    drop(process.stdin.take());
    assert_eq!(process.wait(GONE).code(), Some(0));
}

#[test]
fn a_broken_frame_does_not_swallow_the_answers_before_it() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    let mut broken = frame(402, tag::EXECUTE, &conn.payload(["SELECT 1".into(), list![1]]));
    // The list's end becomes an integer: an improper list.
    broken.pop();
    broken.extend_from_slice(&[97, 7]);
    let body = u32::try_from(broken.len() - 4).unwrap();
    broken[..4].copy_from_slice(&body.to_be_bytes());
    sidecar.send_bytes(&[frame(401, tag::PING, &1.into()), broken].concat());
    let (status, stderr) = sidecar.wait(GONE);
    assert_eq!(status.code(), Some(76), "{stderr}");
    assert!(!stderr.contains("grace"), "the connection was closed in order: {stderr}");
    assert!(sidecar.receive_or_end(401).is_some());
}

#[test]
fn long_patterns_and_deep_texts_are_errors_at_most() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let repeated = |what: &str, times: usize| what.repeat(times);
    for (pattern, text, sql) in [
        ("%a", "a", "SELECT ? LIKE ?"),
        ("*a", "a", "SELECT ? GLOB ?"),
        ("%_", "a", "SELECT ? LIKE ?"),
        ("%é", "é", "SELECT ? LIKE ?"),
    ] {
        let times = 49_000 / pattern.len();
        let params = list![repeated(text, times).as_str(), repeated(pattern, times).as_str()];
        let _ = conn.within(20_000).query(sql, params);
    }
    let nested =
        format!("SELECT * FROM {}(SELECT 1){}", repeated("(SELECT * FROM ", 500), repeated(")", 500));
    let _ = conn.query(&nested, list![]);
    let mut triggers = "CREATE TABLE t0(a);".to_owned();
    for number in 1..200 {
        let before = number - 1;
        triggers.push_str(&format!(
            "CREATE TABLE t{number}(a); CREATE TRIGGER g{number} AFTER INSERT ON t{before} BEGIN \
             INSERT INTO t{number} VALUES (new.a); END;"
        ));
    }
    conn.script(&format!("BEGIN; {triggers} COMMIT")).unwrap();
    let _ = conn.query("INSERT INTO t0 VALUES (1)", list![]);
    assert_eq!(conn.value("SELECT 1").int(), 1);
}

#[test]
fn a_full_disk_under_the_rows_of_a_cursor_is_one() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.begin("immediate").unwrap();
    let long = format!("SELECT zeroblob(1000) FROM ({})", numbers(5000));
    conn.call(tag::DECLARE, [long.as_str().into(), list![]]).unwrap();
    limit_file_size(sidecar.pid, 1_000_000);
    assert_eq!(conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "disk_full");
    conn.rollback().unwrap();
    limit_file_size(sidecar.pid, libc::RLIM_INFINITY);
    conn.begin("immediate").unwrap();
    conn.call(tag::DECLARE, [long.as_str().into(), list![]]).unwrap();
    conn.exec("INSERT INTO t VALUES (1)");
}
