//! Long requests and long replies, chunks against credits, and replies that pass each other.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::io::Write;
use std::time::Duration;

#[test]
fn ping_answers_any_term() {
    let sidecar = Sidecar::start();
    let term = tuple![1, list![2, 3.5, "four"], map([("five", 6)]), nil(), i128::from(u64::MAX)];
    assert_eq!(sidecar.call(tag::PING, &term).unwrap(), term);
}

#[test]
fn an_oversized_request_is_refused_and_the_next_ones_are_fine() {
    let sidecar = Sidecar::start_with(&["--frame-bytes-max=65536"]);
    let conn = sidecar.open(":memory:");
    let long = "x".repeat(1 << 20);
    let refused = sidecar.send(tag::PING, &long.as_str().into());
    let pinged = sidecar.send(tag::PING, &1.into());
    let failure = sidecar.answer(refused).unwrap_err();
    assert_eq!(failure.code, "frame_too_large");
    assert!(failure.message.contains("65536"), "{}", failure.message);
    assert_eq!(sidecar.answer(pinged).unwrap(), 1.into());
    assert_eq!(conn.query("SELECT length(?)", list![long.as_str()]).unwrap_err().code, "frame_too_large");
    assert_eq!(conn.value("SELECT 2"), 2.into());
}

#[test]
fn an_oversized_request_is_answered_before_it_has_arrived() {
    let sidecar = Sidecar::start();
    // 1 GiB is announced; the header and a little more come.
    let mut start = (1u32 << 30).to_be_bytes().to_vec();
    start.extend_from_slice(&[131, 104, 3, 98, 0, 0, 1, 44, 97, tag::PING, 109]);
    sidecar.send_bytes(&start);
    assert_eq!(sidecar.answer(300).unwrap_err().code, "frame_too_large");
}

#[test]
fn frames_may_come_in_any_pieces() {
    let mut process = Process::start(&[]);
    let mut frames = FrameReader::new(process.stdout.take().unwrap());
    frames.next().unwrap().unwrap();
    let bytes = [frame(300, tag::PING, &"one".into()), frame(301, tag::PING, &"two".into())].concat();
    for byte in &bytes {
        process.stdin.as_mut().unwrap().write_all(&[*byte]).unwrap();
    }
    assert_eq!(frames.next().unwrap().unwrap().payload, "one".into());
    assert_eq!(frames.next().unwrap().unwrap().payload, "two".into());
    let many: Vec<u8> = (400..500).flat_map(|id| frame(id, tag::PING, &nil())).collect();
    process.write(&many);
    for id in 400..500 {
        assert_eq!(frames.next().unwrap().unwrap().id, id);
    }
    drop(process.stdin.take());
    assert_eq!(frames.next().unwrap().map(|frame| frame.id), None);
}

#[test]
fn a_long_value_comes_in_parts() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let content: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    conn.exec("CREATE TABLE t(b)");
    conn.query("INSERT INTO t VALUES (?)", list![blob(&content)]).unwrap();
    let id = conn.start("SELECT b FROM t");
    let rows = sidecar.receive(id);
    assert_eq!(rows.tag, tag::ROWS);
    assert!(rows.frames >= 5, "{} frames for 5 MB", rows.frames);
    assert_eq!(rows_of(&rows.payload)[0][0], bytes(&content));
    assert_eq!(sidecar.receive(id).tag, tag::RESULT);
    let one = conn.send(tag::QUERY_ONE, ["SELECT b FROM t".into(), list![]]);
    let outcome = conn.outcome(one).unwrap();
    assert_eq!(outcome.value(), &bytes(&content));
}

#[test]
fn frames_are_no_longer_than_the_limit_and_parts_join() {
    let sidecar = Sidecar::start_with(&["--frame-bytes-max=65536"]);
    let conn = sidecar.open(":memory:");
    let id = conn.start("SELECT zeroblob(300000)");
    let rows = sidecar.receive(id);
    // 65,536 bytes a frame, so at least five of them.
    assert!(rows.frames >= 5, "{}", rows.frames);
    assert_eq!(rows_of(&rows.payload), [[bytes(&[0; 300_000])]]);
}

#[test]
fn a_long_result_comes_in_chunks_against_credits() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let id = conn.start(&numbers(200_000));
    let mut rows = Vec::new();
    for _ in 0..4 {
        let frame = sidecar.receive(id);
        assert_eq!(frame.tag, tag::ROWS);
        assert!((32_768..=65_532).contains(&frame.body_bytes), "{}", frame.body_bytes);
        rows.extend(rows_of(&frame.payload));
    }
    // The fifth waits for a credit. Meanwhile others are served.
    assert!(sidecar.receive_within(id, Duration::from_millis(200)).is_err(), "a chunk without credit");
    assert_eq!(sidecar.call(tag::PING, &7.into()).unwrap(), 7.into());
    let other = sidecar.open(":memory:");
    assert_eq!(other.value("SELECT 8"), 8.into());
    conn.credit(id, 1);
    assert_eq!(sidecar.receive(id).tag, tag::ROWS);
    assert!(sidecar.receive_within(id, Duration::from_millis(100)).is_err(), "one credit, one chunk");
    conn.credit(id, 1_000_000);
    loop {
        let frame = sidecar.receive(id);
        match frame.tag {
            tag::ROWS => assert!(frame.body_bytes <= 65_532),
            other => {
                assert_eq!(other, tag::RESULT);
                assert_eq!(frame.payload.items()[0], list![]);
                assert_eq!(frame.payload.items()[2].int(), 200_000);
                break;
            }
        }
    }
}

#[test]
fn chunks_hold_every_row_once_and_in_order() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (last, options) in [
        (60_000, map::<&str, Term, 0>([])),
        (5_000, map([("credits", 1), ("chunk_bytes", 1000)])),
        (500, map([("credits", 1), ("chunk_bytes", 1)])),
    ] {
        let outcome = conn.query_with(&numbers(last), list![], options).unwrap();
        assert_eq!(outcome.num_rows, i64::from(last));
        for (row, number) in outcome.rows.iter().zip(1i64..) {
            assert_eq!(row, &[Term::from(number)]);
        }
        assert!(outcome.chunks.len() > 3);
    }
}

#[test]
fn chunk_bytes_bounds_the_body() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for chunk_bytes in [100, 1000, 65_532] {
        let outcome =
            conn.query_with(&numbers(40_000), list![], map([("chunk_bytes", chunk_bytes)])).unwrap();
        let longest = outcome.chunks.iter().copied().max().unwrap();
        assert!(longest <= chunk_bytes as usize && longest > chunk_bytes as usize - 20, "{longest}");
    }
}

#[test]
fn credits_for_what_is_over_are_ignored() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.credit(12_345, 9);
    sidecar.send_as(12_346, tag::CREDIT, &tuple![1, 1]);
    sidecar.send_as(12_347, tag::CREDIT, &nil());
    assert_eq!(conn.value("SELECT 1"), 1.into());
    assert!(sidecar.receive_within(12_346, Duration::from_millis(50)).is_err(), "a credit has no reply");
}

#[test]
fn a_stalled_stream_ends_at_its_deadline_and_at_a_cancellation() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let id = conn.within(300).start(&numbers(200_000));
    let last = loop {
        let frame = sidecar.receive(id);
        if frame.tag != tag::ROWS {
            break frame;
        }
    };
    assert_eq!(Failure::of(&last.payload).code, "timeout");
    let id = conn.start(&numbers(200_000));
    for _ in 0..4 {
        assert_eq!(sidecar.receive(id).tag, tag::ROWS);
    }
    assert_eq!(conn.cancel(id), true.into());
    assert_eq!(Failure::of(&sidecar.receive(id).payload).code, "cancelled");
    assert_eq!(conn.value("SELECT 1"), 1.into());
}

#[test]
fn small_questions_pass_a_stream_that_flows() {
    let sidecar = Sidecar::start();
    let (streaming, asking) = (sidecar.open(":memory:"), sidecar.open(":memory:"));
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let options = map([("rows_max", 0), ("bytes_max", 0)]);
            streaming.query_with(&numbers(300_000), list![], options).unwrap().num_rows
        });
        for number in 0..200 {
            assert_eq!(asking.query("SELECT ?", list![number]).unwrap().value(), &number.into());
        }
        assert_eq!(stream.join().unwrap(), 300_000);
    });
}
