//! Functions, table functions and collations that the client answers: calls go out in the midst of a statement, answers
//! overtake, and whatever the client does or leaves undone ends typed.

use crate::support::*;
use crate::term::*;
use crate::{list, tuple};
use std::collections::HashMap;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub connection: i64,
    pub call: i64,
    pub request: i64,
    pub callback: i64,
    pub kind: String,
    pub argument: Term,
    pub left_ms: i64,
}

impl Call {
    pub fn of(payload: &Term) -> Self {
        let fields = payload.items();
        Call {
            connection: fields[0].int(),
            call: fields[1].int(),
            request: fields[2].int(),
            callback: fields[3].int(),
            kind: fields[4].name().to_owned(),
            argument: fields[5].clone(),
            left_ms: fields[6].int(),
        }
    }

    fn int(&self, index: usize) -> i64 {
        self.argument.items()[index].int()
    }
}

pub fn ok(value: impl Into<Term>) -> Option<Term> {
    Some(Term::Tuple(vec![atom("ok"), value.into()]))
}

pub fn failed(message: &str) -> Option<Term> {
    Some(tuple![atom("error"), message])
}

pub fn answer(sidecar: &Sidecar, call: &Call, outcome: &Term) {
    sidecar.send(tag::ANSWER, &tuple![call.connection, call.call, outcome.clone()]);
}

/// Runs `work` while another thread answers the calls; `None` from it answers nothing. Gives what came, notices included.
pub fn answering<T>(
    sidecar: &Sidecar,
    mut reply: impl FnMut(&Call) -> Option<Term> + Send,
    work: impl FnOnce() -> T,
) -> (T, Vec<Call>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let mut seen = Vec::new();
            loop {
                match sidecar.receive_within(0, Duration::from_millis(20)) {
                    Ok(Some(frame)) if frame.tag == tag::CALL => {
                        let call = Call::of(&frame.payload);
                        let outcome = reply(&call);
                        if let (Some(outcome), true) = (outcome, call.call != 0) {
                            answer(sidecar, &call, &outcome);
                        }
                        seen.push(call);
                    }
                    // What a policy has denied.
                    Ok(Some(frame)) if frame.tag == 104 => {}
                    Ok(Some(frame)) => {
                        assert_eq!(frame.tag, tag::ABANDONED);
                        let fields = frame.payload.items();
                        seen.push(Call {
                            connection: fields[0].int(),
                            call: fields[1].int(),
                            request: 0,
                            callback: 0,
                            kind: "abandoned".to_owned(),
                            argument: nil(),
                            left_ms: 0,
                        });
                    }
                    Ok(None) => return seen,
                    Err(()) if done.load(Ordering::Relaxed) => return seen,
                    Err(()) => {}
                }
            }
        });
        // Also if it panics.
        let result = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let seen = answering.join().unwrap();
        (result.unwrap_or_else(|panic| resume_unwind(panic)), seen)
    })
}

fn function(callback: i64, name: &str, kind: &str, more: Vec<(&str, Term)>) -> Term {
    let first = [("callback", callback.into()), ("name", name.into()), ("kind", atom(kind))];
    Term::Map(first.into_iter().chain(more).map(|(key, value)| (key.into(), value)).collect())
}

fn create(conn: &Conn<'_>, callback: i64, name: &str, kind: &str, more: Vec<(&str, Term)>) {
    conn.call(tag::CREATE_FUNCTION, [function(callback, name, kind, more)]).unwrap();
}

fn truth() -> Term {
    atom("true")
}

fn lie() -> Term {
    atom("false")
}

#[test]
fn a_function_gets_the_values_of_a_row_and_gives_any_value() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    create(&conn, 7, "back", "scalar", vec![]);
    let values = [nil(), 1.into(), i64::MIN.into(), 1.5.into(), "text ü".into(), atom("infinity")];
    let (_, calls) = answering(
        &sidecar,
        |call| Some(tuple![atom("ok"), call.argument.items()[0].clone()]),
        || {
            for value in &values {
                assert_eq!(conn.query("SELECT back(?)", list![value.clone()]).unwrap().value(), value);
            }
            assert_eq!(
                conn.query("SELECT back(?)", list![blob(&[0, 255])]).unwrap_err().code,
                "callback_failed"
            );
        },
    );
    assert_eq!(calls.len(), values.len() + 1);
    assert!(calls.iter().all(|call| call.kind == "scalar" && call.callback == 7 && call.request >= 256));
    // The least of the request's time and the call's.
    assert!(calls.iter().all(|call| (1..=5000).contains(&call.left_ms)));
    let (value, _) = answering(
        &sidecar,
        |_| ok(blob(&[0, 255])),
        || conn.query("SELECT typeof(back()) || hex(back(1, 2, 3))", list![]).unwrap().value().clone(),
    );
    assert_eq!(value, "blob00FF".into());
    sidecar.end();
}

#[test]
fn what_a_function_does_wrong_is_the_statements_error_and_undoes_it_alone() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    create(&conn, 1, "f", "scalar", vec![("arguments", 1.into()), ("timeout", 200.into())]);
    conn.exec("CREATE TABLE t(a)");
    let wrong: [(Option<Term>, &str, &str); 6] = [
        (failed("** (RuntimeError) no"), "callback_failed", "f: ** (RuntimeError) no"),
        (ok(list![1]), "callback_failed", "f: the result: a list is not a value"),
        (ok(atom("maybe")), "callback_failed", "the atom :maybe is not a value"),
        (ok(Term::Int(1 << 70)), "callback_failed", "out of range"),
        (ok(bytes(&[255])), "callback_failed", "not valid UTF-8"),
        (None, "callback_timeout", "f: no answer within 200 ms"),
    ];
    for (outcome, code, message) in wrong {
        conn.begin("immediate").unwrap();
        conn.exec("INSERT INTO t VALUES (1)");
        let (error, calls) = answering(
            &sidecar,
            |call| if call.int(0) == 2 { outcome.clone() } else { ok(0) },
            || {
                conn.query("INSERT INTO t SELECT f(column1) FROM (VALUES (1), (2), (3))", list![])
                    .unwrap_err()
            },
        );
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(error.tx_status, Some(3), "the transaction goes on");
        assert_eq!(calls.last().unwrap().kind == "abandoned", outcome.is_none());
        assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
        conn.rollback().unwrap();
    }
    sidecar.end();
}

#[test]
fn answers_for_other_calls_and_of_other_shapes_are_dropped() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    create(&conn, 1, "f", "scalar", vec![]);
    let request = conn.start("SELECT f()");
    let call = Call::of(&sidecar.receive(0).payload);
    for stray in [0, call.call + 1, 1 << 40] {
        sidecar.send(tag::ANSWER, &tuple![call.connection, stray, tuple![atom("ok"), 9]]);
    }
    sidecar.send(tag::ANSWER, &tuple![call.connection, call.call, 9]);
    sidecar.send(tag::ANSWER, &tuple![call.connection, call.call, tuple![atom("error"), 9]]);
    sidecar.send(tag::ANSWER, &tuple![call.connection + 1, call.call, tuple![atom("ok"), 9]]);
    answer(&sidecar, &call, &ok(1).unwrap());
    answer(&sidecar, &call, &ok(2).unwrap());
    assert_eq!(conn.outcome(request).unwrap().value(), &1.into());
    assert_eq!(conn.value("SELECT 5"), 5.into());
    assert_eq!(sidecar.unread(), Vec::<u32>::new(), "none of them is answered");
    sidecar.end();
}

#[test]
fn a_call_that_is_waited_for_hears_every_reason_to_stop() {
    hears_every_reason_to_stop(|_, _| {});
    // A statement that has been quick runs on the thread that reads, which then waits for the answer by reading.
    hears_every_reason_to_stop(run_some_times);
}

/// Runs `SELECT f()`, with quick answers.
fn run_some_times(sidecar: &Sidecar, conn: &Conn<'_>) {
    answering(sidecar, |_| ok(1), || (0..5).for_each(|_| assert_eq!(conn.value("SELECT f()"), 1.into())));
}

fn hears_every_reason_to_stop(before: impl Fn(&Sidecar, &Conn<'_>)) {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    create(&conn, 1, "f", "scalar", vec![("timeout", 0.into())]);
    before(&sidecar, &conn);
    let call = |request| {
        let call = Call::of(&sidecar.receive(0).payload);
        assert_eq!(call.request, i64::from(request));
        call
    };
    let abandoned = |call: &Call| {
        let frame = sidecar.receive(0);
        assert_eq!((frame.tag, frame.payload), (tag::ABANDONED, tuple![call.connection, call.call]));
    };
    let request = conn.start("SELECT f()");
    let waiting = call(request);
    assert_eq!(conn.cancel(request), atom("true"));
    assert_eq!(conn.outcome(request).unwrap_err().code, "cancelled");
    abandoned(&waiting);

    before(&sidecar, &conn);
    let request = conn.within(100).start("SELECT f()");
    let waiting = call(request);
    assert!((1..=100).contains(&waiting.left_ms));
    assert_eq!(conn.outcome(request).unwrap_err().code, "timeout");
    abandoned(&waiting);
    answer(&sidecar, &waiting, &ok(1).unwrap());

    before(&sidecar, &conn);
    let request = conn.start("SELECT f()");
    let waiting = call(request);
    let other = sidecar.open(":memory:");
    assert_eq!(other.value("SELECT 1"), 1.into(), "others are served meanwhile");
    conn.close();
    assert_eq!(conn.outcome(request).unwrap_err().code, "connection_closed");
    abandoned(&waiting);

    create(&other, 1, "f", "scalar", vec![("timeout", 0.into())]);
    before(&sidecar, &other);
    let request = other.start("SELECT f()");
    call(request);
    sidecar.close_stdin();
    let (status, stderr) = sidecar.wait(BOUND);
    assert_eq!(status.code(), Some(0), "{stderr}");
}

/// The thread that reads finds it in the midst of a statement; whoever reads after it must not go on behind it.
#[test]
fn after_a_broken_frame_in_mid_call_nothing_runs() {
    let improper = [131, 104, 3, 98, 0, 0, 1, 44, 97, tag::PING, 108, 0, 0, 0, 1, 97, 1, 97, 2];
    for round in 0..40 {
        let (_folder, path) = folder();
        let sidecar = Sidecar::start();
        let (conn, other) = (sidecar.open(":memory:"), sidecar.open(&path));
        create(&conn, 1, "f", "scalar", vec![("timeout", 0.into())]);
        run_some_times(&sidecar, &conn);
        other.exec("CREATE TABLE t(a)");
        let insert = || {
            let payload = other.payload(["INSERT INTO t VALUES (1)".into(), list![]]);
            frame(sidecar.new_id(), tag::EXECUTE, &payload)
        };
        let mut bytes = frame(sidecar.new_id(), tag::EXECUTE, &conn.payload(["SELECT f()".into(), list![]]));
        bytes.extend(if round % 2 == 0 { frame(0, tag::PING, &nil()) } else { framed(&improper) });
        (0..50).for_each(|_| bytes.extend(insert()));
        sidecar.try_send(&bytes);
        let (status, stderr) = sidecar.wait(BOUND);
        assert_eq!(status.code(), Some(76), "{stderr}");
        let sidecar = Sidecar::start();
        assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM t"), 0.into(), "round {round}");
    }
}

#[test]
fn many_connections_call_at_once() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conns: Vec<_> = (0..32).map(|_| sidecar.open(&path)).collect();
    conns.iter().for_each(|conn| create(conn, 1, "twice", "scalar", vec![("arguments", 1.into())]));
    answering(
        &sidecar,
        |call| ok(2 * call.int(0)),
        || {
            let sql = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT sum(twice(i)) FROM n";
            let requests: Vec<_> = conns.iter().map(|conn| (conn, conn.start(sql))).collect();
            for (conn, request) in requests {
                assert_eq!(conn.outcome(request).unwrap().value(), &420.into());
            }
        },
    );
    sidecar.end();
}

#[test]
fn a_callback_may_use_another_connection_but_not_the_turn_of_its_own() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.exec("CREATE TABLE t(a)");
    create(&conn, 1, "f", "scalar", vec![]);
    let request = conn.start("INSERT INTO t SELECT f()");
    let call = Call::of(&sidecar.receive(0).payload);
    assert_eq!(other.value("SELECT count(*) FROM t"), 0.into());
    let error = other.within(150).query("INSERT INTO t VALUES (2)", list![]).unwrap_err();
    assert_eq!(error.code, "timeout");
    let holder = format!("connection {}", call.connection);
    assert!(error.message.contains(&holder), "{error:?}");
    answer(&sidecar, &call, &ok(1).unwrap());
    conn.outcome(request).unwrap();
    other.exec("INSERT INTO t VALUES (2)");
    assert_eq!(conn.value("SELECT sum(a) FROM t"), 3.into());
    sidecar.end();
}

#[test]
fn a_deterministic_function_is_asked_once_for_the_same_arguments_of_a_request() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1), (2), (1), (2), (1)");
    create(&conn, 1, "often", "scalar", vec![]);
    create(&conn, 2, "once", "scalar", vec![("deterministic", truth())]);
    let count = |sql: &str| {
        let (_, calls) = answering(&sidecar, |call| ok(call.int(0)), || conn.exec(sql));
        calls.len()
    };
    assert_eq!(count("SELECT often(a) FROM t"), 5);
    assert_eq!(count("SELECT once(a), once(a) FROM t"), 2);
    assert_eq!(count("SELECT once(a), once(a) FROM t"), 2, "another request asks anew");
    sidecar.end();
}

/// Answers as a sum that knows its groups by their numbers, and fails at a value of 13.
#[derive(Default)]
struct Sums(HashMap<i64, i64>);

impl Sums {
    fn reply(&mut self, call: &Call) -> Option<Term> {
        if call.kind == "drop" {
            self.0.remove(&call.argument.int()).expect("a known group");
            return None;
        }
        let [instance, ops] = call.argument.items() else { panic!("{call:?}") };
        let sum = self.0.entry(instance.int()).or_default();
        for op in ops.items() {
            let (sign, value) = match op {
                Term::Tuple(left) => (-1, left[0].items()[0].int()),
                entered => (1, entered.items()[0].int()),
            };
            if value == 13 {
                return failed("13");
            }
            *sum += sign * value;
        }
        let sum = *sum;
        if call.kind == "final" {
            self.0.remove(&instance.int());
        }
        ok(sum)
    }
}

#[test]
fn an_aggregate_gets_its_rows_in_blocks_and_each_group_has_a_state() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a, g)");
    conn.exec(&format!(
        "INSERT INTO t SELECT i, i % 3 FROM ({})",
        "WITH n(i) AS (SELECT 14 UNION ALL SELECT i + 1 FROM n WHERE i < 5013) SELECT i FROM n"
    ));
    create(&conn, 1, "total_of", "aggregate", vec![("arguments", 1.into())]);
    let mut sums = Sums::default();
    let run = |sums: &mut Sums, sql: &str| {
        answering(&sidecar, |call| sums.reply(call), || conn.query(sql, list![]))
    };
    let (outcome, calls) = run(&mut sums, "SELECT total_of(a), sum(a) FROM t");
    let rows = outcome.unwrap().rows;
    assert_eq!(rows[0][0], rows[0][1]);
    assert_eq!(
        calls.iter().map(|call| call.kind.as_str()).collect::<Vec<_>>(),
        ["step", "step", "step", "step", "final"]
    );
    for sql in [
        "SELECT total_of(a), sum(a) FROM t GROUP BY g",
        "SELECT total_of(a) + total_of(-a), 0 FROM t GROUP BY g",
        "SELECT total_of(x), sum(x) FROM (SELECT total_of(a) AS x FROM t GROUP BY g)",
        "SELECT total_of(a), 0 FROM t WHERE a < 0",
    ] {
        let (outcome, _) = run(&mut sums, sql);
        for row in outcome.unwrap().rows {
            assert_eq!(row[0], row[1], "{sql}");
        }
    }
    assert!(sums.0.is_empty(), "no state is left");

    conn.exec("INSERT INTO t VALUES (13, 0)");
    let (outcome, _) = run(&mut sums, "SELECT total_of(a) FROM t");
    let error = outcome.unwrap_err();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("callback_failed", "total_of: 13"));
    assert!(sums.0.is_empty(), "nor after an error: {:?}", sums.0);
    sidecar.end();
}

/// SQLite asks for the last values of all groups after the statement has failed.
#[test]
fn what_has_ended_a_statement_is_told_and_not_what_fails_after_it() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.exec(
        "INSERT INTO t WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i FROM n",
    );
    create(&conn, 1, "slow", "aggregate", vec![("arguments", 1.into()), ("timeout", 200.into())]);
    create(&conn, 2, "other", "aggregate", vec![("arguments", 1.into())]);
    for (sql, outcome, code, message) in [
        ("SELECT slow(a) FROM t", None, "callback_timeout", "slow: no answer within 200 ms"),
        ("SELECT other(a), slow(a) FROM t", None, "callback_timeout", "slow: no answer within 200 ms"),
        ("SELECT other(a), slow(a) FROM t", failed("first"), "callback_failed", "slow: first"),
    ] {
        let (error, calls) = answering(
            &sidecar,
            |call| match (call.callback, call.kind.as_str()) {
                (1, "step") => outcome.clone(),
                (_, "step") => ok(nil()),
                _ => failed("the process that held the rows of this group has ended"),
            },
            || conn.query(sql, list![]).unwrap_err(),
        );
        assert!(calls.iter().any(|call| call.kind == "final"), "{sql}");
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{sql}");
        assert_eq!(conn.value("SELECT 1"), 1.into());
    }
    // The next one has an error of its own.
    let sql = "SELECT other(a) FROM t";
    let (error, _) = answering(&sidecar, |_| failed("now"), || conn.query(sql, list![]).unwrap_err());
    assert_eq!(error.message, "other: now");
    sidecar.end();
}

#[test]
fn an_aggregate_that_can_take_rows_back_serves_windows() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t SELECT value FROM (WITH n(value) AS (SELECT 20 UNION ALL SELECT value + 3 FROM n LIMIT 50) SELECT value FROM n)");
    create(&conn, 1, "running", "window", vec![("arguments", 1.into())]);
    let mut sums = Sums::default();
    for over in ["ORDER BY a ROWS 3 PRECEDING", "", "ORDER BY a ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING"] {
        let sql = format!("SELECT running(a) OVER ({over}), sum(a) OVER ({over}) FROM t");
        let (rows, _) =
            answering(&sidecar, |call| sums.reply(call), || conn.query(&sql, list![]).unwrap().rows);
        assert_eq!(rows.len(), 50);
        assert!(rows.iter().all(|row| row[0] == row[1]), "{over}");
        assert!(sums.0.is_empty());
    }
    // A cursor that is closed early leaves no state.
    let request = conn.send(tag::DECLARE, ["SELECT running(a) OVER (ORDER BY a) FROM t".into(), list![]]);
    let cursor = conn.sidecar().answer(request).unwrap().items()[0].clone();
    answering(
        &sidecar,
        |call| sums.reply(call),
        || {
            let request = conn.send(tag::FETCH, [cursor.clone(), 2.into(), 0.into()]);
            assert_eq!(sidecar.receive(request).tag, tag::MORE_ROWS);
            conn.call(tag::CLOSE_CURSOR, [cursor.clone()]).unwrap();
        },
    );
    assert!(sums.0.is_empty(), "{:?}", sums.0);
    sidecar.end();
}

/// Answers `upto(n)`: rows {i, "i"} for i from 1 to n, in chunks, -1: without end.
#[derive(Default)]
struct Counting(HashMap<i64, (i64, i64)>);

impl Counting {
    fn reply(&mut self, call: &Call) -> Option<Term> {
        if call.kind == "close" {
            self.0.remove(&call.argument.int()).expect("an open scan");
            return None;
        }
        let cursor = call.int(0);
        let wanted = call.argument.items().last().unwrap().int();
        if call.kind == "open" {
            let last = match &call.argument.items()[1].items()[0] {
                Term::Int(last) => *last as i64,
                _ => 0,
            };
            self.0.insert(cursor, (0, last));
        }
        let (at, last) = self.0.get_mut(&cursor).unwrap();
        let end = if *last < 0 { *at + wanted } else { (*last).min(*at + wanted) };
        let rows: Vec<Term> = (*at + 1..=end).map(|i| list![i, i.to_string()]).collect();
        *at = end;
        let done = end == *last;
        if done {
            self.0.remove(&cursor);
        }
        ok(Term::Tuple(vec![Term::List(rows), atom(if done { "true" } else { "false" })]))
    }
}

#[test]
fn a_table_function_gives_rows_as_long_as_somebody_wants_them() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let columns = ("columns", list!["i", "text"]);
    create(&conn, 1, "upto", "table", vec![columns, ("parameters", list!["last"])]);
    let mut counting = Counting::default();
    let run = |counting: &mut Counting, sql: &str| {
        let (outcome, calls) = answering(&sidecar, |call| counting.reply(call), || conn.query(sql, list![]));
        let left = std::mem::take(&mut counting.0);
        assert!(left.is_empty(), "{sql} left {left:?}");
        (outcome, calls)
    };
    let value = |counting: &mut Counting, sql: &str| run(counting, sql).0.unwrap().value().clone();
    assert_eq!(value(&mut counting, "SELECT sum(i) FROM upto(10000)"), (10_000 * 10_001 / 2).into());
    assert_eq!(value(&mut counting, "SELECT group_concat(text) FROM upto(4)"), "1,2,3,4".into());
    assert_eq!(value(&mut counting, "SELECT count(*) FROM upto(0)"), 0.into());
    assert_eq!(value(&mut counting, "SELECT count(*) FROM upto"), 0.into(), "NULL is no number");
    assert_eq!(value(&mut counting, "SELECT last FROM upto(3) LIMIT 1"), 3.into());
    assert_eq!(value(&mut counting, "SELECT count(*) FROM upto(2) AS a, upto(a.i * 2) AS b"), 6.into());
    assert_eq!(
        value(&mut counting, "SELECT count(*) FROM upto(30) AS a JOIN upto(30) AS b USING (i)"),
        30.into()
    );
    assert_eq!(
        value(&mut counting, "SELECT sum(i) FROM upto WHERE last IN (SELECT i FROM upto(3))"),
        10.into()
    );
    let (outcome, calls) = run(&mut counting, "SELECT i FROM upto(-1) LIMIT 5");
    assert_eq!((outcome.unwrap().rows.len(), calls.len()), (5, 2), "one chunk, and the close");
    let (outcome, calls) = run(&mut counting, "SELECT sum(i) FROM (SELECT i FROM upto(-1) LIMIT 100000)");
    outcome.unwrap();
    assert!(calls.len() < 120, "chunks grow: {}", calls.len());
    sidecar.end();
}

#[test]
fn what_a_table_function_does_wrong_is_the_statements_error() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    create(&conn, 1, "rows", "table", vec![("columns", list!["a", "b"]), ("parameters", list![])]);
    let chunk = |rows: Term, done: &str| ok(Term::Tuple(vec![rows, atom(done)]));
    for (outcome, message) in [
        (failed("no"), "rows: no"),
        (ok(1), "rows: a table function is answered with {Rows, Done}"),
        (chunk(list![list![1]], "true"), "a row must be a list of 2 values"),
        (chunk(list![list![1, list![]]], "true"), "column 2 of the row: a list is not a value"),
        (chunk(list![tuple![1, 2]], "true"), "a row must be a list"),
        (chunk(Term::List(vec![list![1, 2]; 17]), "true"), "17 rows came where at most 16 were asked for"),
    ] {
        let (error, calls) = answering(
            &sidecar,
            |_| outcome.clone(),
            || conn.query("SELECT * FROM rows", list![]).unwrap_err(),
        );
        assert_eq!(error.code, "callback_failed");
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(calls.last().unwrap().kind, "close", "the client can forget it");
    }
    // Small integers travel as a string; an empty chunk is not the end.
    let turn = AtomicUsize::new(0);
    let (rows, _) = answering(
        &sidecar,
        |_| match turn.fetch_add(1, Ordering::Relaxed) {
            0 => chunk(list![], "false"),
            1 => chunk(list![list![1, 2]], "false"),
            _ => chunk(list![], "true"),
        },
        || conn.query("SELECT * FROM rows", list![]).unwrap().rows,
    );
    assert_eq!(rows, [[1.into(), 2.into()]]);
    sidecar.end();
}

#[test]
fn a_collation_orders_by_keys_which_are_asked_for_once() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t SELECT printf('%d', i * 7919 % 200) FROM (WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) SELECT i FROM n)");
    create(&conn, 1, "numeric", "collation", vec![]);
    let key = |call: &Call| {
        assert_eq!(call.kind, "key");
        ok(format!("{:0>9}", call.argument.items()[0].text()))
    };
    let (outcome, calls) = answering(&sidecar, key, || {
        conn.query(
            "SELECT DISTINCT CAST(a AS INTEGER) FROM (SELECT a FROM t ORDER BY a COLLATE numeric)",
            list![],
        )
    });
    let rows: Vec<i64> = outcome.unwrap().rows.iter().map(|row| row[0].int()).collect();
    assert_eq!(rows, (0..200).collect::<Vec<_>>());
    assert_eq!(calls.len(), 200, "once for each text");
    let (_, calls) = answering(&sidecar, key, || conn.exec("CREATE INDEX i ON t(a COLLATE numeric)"));
    assert_eq!(calls.len(), 0, "known");

    let other = sidecar.open(&path);
    let error = other.query("INSERT INTO t VALUES ('5')", list![]).unwrap_err();
    assert_eq!(error.code, "unknown_function");
    assert!(error.message.contains("numeric"), "{error:?}");
    assert_eq!(other.value("SELECT count(*) FROM t"), 400.into(), "what does not use it works");

    // A key that cannot be had must not find its way into the index.
    for inside in [false, true] {
        if inside {
            conn.begin("immediate").unwrap();
        }
        let (error, _) = answering(
            &sidecar,
            |_| failed("no key"),
            || conn.query("INSERT INTO t VALUES ('new')", list![]).unwrap_err(),
        );
        assert_eq!((error.code.as_str(), error.message.as_str()), ("callback_failed", "numeric: no key"));
        assert_eq!(error.tx_status, Some(0), "rolled back");
    }
    let (check, _) = answering(&sidecar, key, || conn.exec("PRAGMA integrity_check").value().clone());
    assert_eq!(check, "ok".into());
    assert_eq!(conn.value("SELECT count(*) FROM t"), 400.into());
    sidecar.end();
}

#[test]
fn functions_of_the_program_are_on_every_connection_and_built_in_ones_come_back() {
    let sidecar = Sidecar::start();
    let before = sidecar.open(":memory:");
    let of_program = |tag: u8, function: Term| sidecar.call(tag, &tuple![0, 0, function]).unwrap();
    of_program(tag::CREATE_FUNCTION, function(1, "UPPER", "scalar", vec![("arguments", 1.into())]));
    let after = sidecar.open(":memory:");
    create(&after, 2, "upper", "scalar", vec![("arguments", 1.into())]);
    let name = |conn: &Conn<'_>| {
        let (value, _) = answering(&sidecar, |call| ok(call.callback), || conn.value("SELECT upper('a')"));
        value
    };
    assert_eq!((name(&before), name(&after)), (1.into(), 2.into()), "a connection's own come first");
    let drop = |conn: &Conn<'_>| {
        conn.call(tag::DROP_FUNCTION, [function(0, "upper", "scalar", vec![("arguments", 1.into())])])
            .unwrap()
    };
    assert_eq!((drop(&after), drop(&after)), (truth(), lie()));
    assert_eq!((name(&before), name(&after)), (1.into(), 1.into()));
    let dropped = function(0, "upper", "scalar", vec![("arguments", 1.into())]);
    assert_eq!(of_program(tag::DROP_FUNCTION, dropped.clone()), truth());
    assert_eq!(of_program(tag::DROP_FUNCTION, dropped), lie());
    assert_eq!((name(&before), name(&after)), ("A".into(), "A".into()));
    // Those of this program, too.
    create(&before, 3, "regexp", "scalar", vec![("arguments", 2.into())]);
    let (value, _) = answering(&sidecar, |_| ok(9), || before.value("SELECT 'a' REGEXP 'b'"));
    assert_eq!(value, 9.into());
    before
        .call(tag::DROP_FUNCTION, [function(0, "regexp", "scalar", vec![("arguments", 2.into())])])
        .unwrap();
    assert_eq!(before.value("SELECT 'a' REGEXP 'b'"), 0.into());
    sidecar.end();
}

#[test]
fn a_function_is_not_replaced_under_an_open_cursor() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    create(&conn, 1, "f", "scalar", vec![("arguments", 0.into())]);
    let live = map([("live", truth())]);
    let request = conn.send(tag::DECLARE, ["SELECT 1 UNION ALL SELECT 2".into(), list![], live]);
    let cursor = sidecar.answer(request).unwrap().items()[0].clone();
    let request = conn.send(tag::FETCH, [cursor.clone(), 1.into(), 0.into()]);
    sidecar.receive(request);
    create(&conn, 2, "g", "scalar", vec![("arguments", 0.into())]);
    let again = function(3, "f", "scalar", vec![("arguments", 0.into())]);
    let error = conn.call(tag::CREATE_FUNCTION, [again.clone()]).unwrap_err();
    assert_eq!(error.code, "locked", "{error:?}");
    assert!(error.message.contains("close the cursors"), "{error:?}");
    let (value, _) = answering(&sidecar, |call| ok(call.callback), || conn.value("SELECT f()"));
    assert_eq!(value, 1.into());
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    conn.call(tag::CREATE_FUNCTION, [again]).unwrap();
    let (value, _) = answering(&sidecar, |call| ok(call.callback), || conn.value("SELECT f()"));
    assert_eq!(value, 3.into());
    sidecar.end();
}

#[test]
fn a_schema_uses_what_is_meant_for_it() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    create(&conn, 1, "direct", "scalar", vec![("arguments", 1.into()), ("deterministic", truth())]);
    let schema = vec![("arguments", 1.into()), ("deterministic", truth()), ("directonly", lie())];
    create(&conn, 2, "slug", "scalar", schema);
    conn.exec("CREATE TABLE t(a, s AS (slug(a)) STORED, CHECK (slug(a) <> 'no'))");
    assert!(conn.query("CREATE TABLE u(a, s AS (direct(a)))", list![]).is_err());
    conn.exec("CREATE VIEW v AS SELECT direct(1)");
    let error = conn.query("SELECT * FROM v", list![]).unwrap_err();
    assert!(error.message.contains("unsafe use of direct()"), "{error:?}");
    let slug = |call: &Call| ok(call.argument.items()[0].text().to_lowercase());
    answering(&sidecar, slug, || {
        conn.exec("CREATE INDEX i ON t(slug(a))");
        conn.exec("INSERT INTO t(a) VALUES ('One'), ('TWO')");
        assert_eq!(conn.value("SELECT a FROM t WHERE slug(a) = 'two'"), "TWO".into());
        let error = conn.query("INSERT INTO t(a) VALUES ('NO')", list![]).unwrap_err();
        assert_eq!(error.code, "constraint_check");
    });
    let other = sidecar.open(&path);
    assert_eq!(other.value("SELECT s FROM t WHERE a = 'One'"), "one".into());
    for sql in ["INSERT INTO t(a) VALUES ('x')", "UPDATE t SET a = 'y'", "REINDEX"] {
        let error = other.query(sql, list![]).unwrap_err();
        assert_eq!(error.code, "unknown_function", "{sql}: {error:?}");
        assert!(error.message.contains("slug()"), "{error:?}");
    }
    // Wherever the name stands: in the statement, a view, a trigger.
    conn.exec("CREATE TABLE u(a)");
    conn.exec("CREATE TRIGGER u_gone AFTER DELETE ON u BEGIN SELECT direct(old.a); END");
    conn.exec("CREATE VIEW of_u AS SELECT direct(a) FROM u");
    conn.exec("INSERT INTO u VALUES (1)");
    for sql in ["SELECT slugg('x')", "SELECT * FROM of_u", "DELETE FROM u"] {
        let error = other.query(sql, list![]).unwrap_err();
        assert_eq!(error.code, "unknown_function", "{sql}: {error:?}");
        assert!(error.message.contains("create it on this connection"), "{error:?}");
    }
    assert_eq!(other.query("SELECT slugg('x')", list![]).unwrap_err().offset, Some(7));
    sidecar.end();
}

#[test]
fn functions_have_limits() {
    let sidecar = Sidecar::start_with(&["--frame-bytes-max", "100000"]);
    let conn = sidecar.open(":memory:");
    create(&conn, 1, "f", "scalar", vec![]);
    let error = conn.query("SELECT f(zeroblob(200000))", list![]).unwrap_err();
    assert_eq!(error.code, "too_big", "{error:?}");
    assert!(error.message.contains("frame_bytes_max"), "{error:?}");
    for number in 1..1000 {
        create(&conn, number, &format!("f{number}"), "scalar", vec![]);
    }
    let more = conn.call(tag::CREATE_FUNCTION, [function(1, "more", "scalar", vec![])]).unwrap_err();
    assert_eq!(more.code, "limit_exceeded");
    assert!(more.message.contains("functions_max"), "{more:?}");
    for wrong in [
        vec![("arguments", 101.into())],
        vec![("arguments", Term::Int(-2))],
        vec![("columns", list!["a"])],
        vec![("parameters", list!["a"])],
        vec![("timeout", Term::Int(-1))],
        vec![("deterministic", 1.into())],
        vec![("nonsense", 1.into())],
    ] {
        let error = conn.call(tag::CREATE_FUNCTION, [function(1, "f", "scalar", wrong.clone())]).unwrap_err();
        assert_eq!(error.code, "invalid_option", "{wrong:?}");
    }
    sidecar.end();
}

#[test]
fn a_transaction_survives_what_its_calls_meet() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a)");
    create(&conn, 1, "f", "scalar", vec![("timeout", 50.into())]);
    let seen = Mutex::new(0);
    let (_, _) = answering(
        &sidecar,
        |_| {
            let mut seen = lock(&seen);
            *seen += 1;
            [ok(1), failed("x"), None][*seen % 3].clone()
        },
        || {
            conn.begin("immediate").unwrap();
            let mut kept = 0;
            for _ in 0..12 {
                kept += i64::from(conn.query("INSERT INTO t SELECT f()", list![]).is_ok());
            }
            assert_eq!(kept, 4);
            conn.commit().unwrap();
            assert_eq!(conn.value("SELECT count(*) FROM t"), kept.into());
        },
    );
    sidecar.end();
}

#[test]
fn what_is_compiled_knows_the_table_function_of_now() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let table = |callback: i64| function(callback, "rows", "table", vec![("columns", list!["a"])]);
    let sql = "SELECT a FROM rows";
    let read = |conn: &Conn<'_>| {
        let reply = |call: &Call| ok(Term::Tuple(vec![list![list![call.callback]], truth()]));
        answering(&sidecar, reply, || conn.query(sql, list![])).0
    };
    let prepared = |conn: &Conn<'_>, statement: &Term| {
        let reply = |call: &Call| ok(Term::Tuple(vec![list![list![call.callback]], truth()]));
        let run = || conn.outcome(conn.send(tag::EXECUTE_PREPARED, [statement.clone(), list![]]));
        answering(&sidecar, reply, run).0
    };
    let mut statement = None;
    for callback in 1..4 {
        conn.call(tag::CREATE_FUNCTION, [table(callback)]).unwrap();
        assert_eq!(read(&conn).unwrap().value(), &callback.into());
        let statement = statement
            .get_or_insert_with(|| conn.call(tag::PREPARE, [sql.into()]).unwrap().items()[0].clone());
        assert_eq!(prepared(&conn, statement).unwrap().value(), &callback.into());
    }
    let dropped = Term::Map(vec![("name".into(), "rows".into()), ("kind".into(), atom("table"))]);
    assert_eq!(conn.call(tag::DROP_FUNCTION, [dropped.clone()]).unwrap(), truth());
    assert_eq!(read(&conn).unwrap_err().code, "sql_error");
    assert!(prepared(&conn, &statement.unwrap()).is_err());
    // The same for one of the program.
    for callback in 5..7 {
        sidecar.call(tag::CREATE_FUNCTION, &tuple![0, 0, table(callback)]).unwrap();
        assert_eq!(read(&conn).unwrap().value(), &callback.into());
    }
    sidecar.call(tag::DROP_FUNCTION, &tuple![0, 0, dropped]).unwrap();
    assert_eq!(read(&conn).unwrap_err().code, "sql_error");
    sidecar.end();
}
