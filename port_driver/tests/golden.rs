//! The crate against the frames of `tests/fixtures`, which its own encoder did not write.
//!
//! Here: that each file means, or is written, as it says; and that no cut and no altered byte of any file
//! does worse than a typed error. Properties over generated input are in `properties.rs`.

mod support;

use bytes::BytesMut;
use port_driver::etf::{encoder, Decoder, Token};
use port_driver::event::{
    abandoned, breaker, busy, call, changes, connection_lost, freeze, hook, lagged, log, policy_denied,
    progress, replica, sync, Breaker, Busy, Call, Hook,
};
use port_driver::frame::{begin_frame, end_frame, FrameDecoder, Incoming, FRAME_BYTES_MAX_DEFAULT};
use port_driver::handshake::Hello;
use port_driver::reply::{
    self, put_error_item, put_result_tail, put_source, Constraint, ConstraintKind, Denial, DenyingRule,
    ErrorReply, Source, Tail,
};
use port_driver::request::{decode, route, tag, OpenOptions, Refusal, Request, ResultOptions, Route};
use port_driver::{ErrorCode, Params, ParamsKind};
use support::exercise::{self, Outcome};
use support::fixture::{read_all, Fixture};

fn frame(fixture: &Fixture) -> Incoming {
    let mut buffer = BytesMut::from(&fixture.frame[..]);
    let incoming = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT)
        .decode(&mut buffer)
        .unwrap_or_else(|error| panic!("{}: {error}", fixture.name))
        .unwrap_or_else(|| panic!("{}: not a whole frame", fixture.name));
    assert!(buffer.is_empty(), "{}: more than a frame", fixture.name);
    incoming
}

/// The notation of the fixtures' `request:` lines.
fn summary(request: &Request<'_>) -> Result<String, ErrorCode> {
    Ok(match request {
        Request::Ping(term) => {
            term.iter().fold("Ping ".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        }
        Request::Open(open) => {
            let o = &open.options;
            format!(
                "Open {{ timeout_ms: {}, path: {:?}, mode: {:?}, memory: {}, open_flags: {}, busy_timeout_ms: {}, \
                 {}statement_cache: {}, checkpoint_pages: {}, checkpoint_idle_ms: {}, {}pragmas: {:?} }}",
                open.timeout_ms,
                open.path,
                o.mode,
                o.memory,
                o.open_flags,
                o.busy_timeout_ms,
                o.lock_timeout_ms.map(|ms| format!("lock_timeout_ms: {ms}, ")).unwrap_or_default(),
                o.statement_cache,
                o.checkpoint_pages,
                o.checkpoint_idle_ms,
                guards(o),
                o.pragmas
            )
        }
        Request::Execute(e) | Request::QueryOne(e) => {
            let name = if matches!(request, Request::Execute(_)) { "Execute" } else { "QueryOne" };
            let (params, options) = (shown(e.params)?, shown_options(e.options));
            format!("{name} {{ sql: {:?}, params: {params}, options: {options} }}", e.sql)
        }
        Request::ExecutePrepared(e) => {
            let (params, options) = (shown(e.params)?, shown_options(e.options));
            format!("ExecutePrepared {{ statement: {}, params: {params}, options: {options} }}", e.statement)
        }
        Request::Declare { target, params, live } => {
            let live = if *live { ", live" } else { "" };
            format!("Declare {{ target: {target:?}, params: {}{live} }}", shown(*params)?)
        }
        Request::Batch(batch) => {
            let mut items = Vec::new();
            for item in batch.statements() {
                let (sql, params) = item.map_err(|error| error.code)?;
                items.push(format!("({sql:?}, {})", shown(params)?));
            }
            assert_eq!((items.len(), items.is_empty()), (batch.len() as usize, batch.is_empty()));
            format!("Batch {{ atomic: {}, statements: [{}] }}", batch.atomic, items.join(", "))
        }
        other => format!("{other:?}"),
    })
}

fn shown(params: Params<'_>) -> Result<String, ErrorCode> {
    let mut items = Vec::new();
    match params.kind() {
        ParamsKind::Positional => {
            for value in params.values() {
                items.push(format!("{:?}", value.map_err(|error| error.code)?));
            }
            Ok(format!("[{}]", items.join(", ")))
        }
        ParamsKind::Named => {
            for pair in params.named() {
                let (name, value) = pair.map_err(|error| error.code)?;
                items.push(format!("{:?}: {value:?}", String::from_utf8_lossy(name)));
            }
            Ok(format!("{{{}}}", items.join(", ")))
        }
    }
}

/// Those that are not the default.
fn guards(options: &OpenOptions<'_>) -> String {
    let mut text = String::new();
    if !options.defensive {
        text += "defensive: false, ";
    }
    if options.untrusted_sql {
        text += "untrusted_sql: true, ";
    }
    if options.allowed_directories.is_some() {
        text += &format!("allowed_directories: {:?}, ", options.allowed_directories);
    }
    if let Some(policy) = &options.policy {
        text += &format!("policy: {policy:?}, ");
    }
    if !options.limits.is_empty() {
        text += &format!("limits: {:?}, ", options.limits);
    }
    if let Some(remote) = &options.remote {
        text += &format!("remote: {remote:?}, ");
    }
    text
}

fn shown_options(options: ResultOptions) -> String {
    let all = [
        ("credits", options.credits.map(u64::from)),
        ("chunk_bytes", options.chunk_bytes.map(u64::from)),
        ("rows_max", options.rows_max),
        ("bytes_max", options.bytes_max),
    ];
    let numbers = all.iter().filter_map(|(key, value)| value.map(|value| format!("{key}: {value}")));
    let defensive = options.defensive.map(|on| format!("defensive: {on}"));
    let policy = options.policy.map(|on| format!("policy: {on}"));
    let given: Vec<String> = numbers.chain(defensive).chain(policy).collect();
    format!("{{{}}}", given.join(", "))
}

fn is_request(fixture: &Fixture) -> bool {
    fixture.name.starts_with("request_") || fixture.name.starts_with("value_")
}

#[test]
fn requests_mean_what_their_files_say() {
    let mut count = 0;
    for fixture in read_all("golden").iter().filter(|fixture| is_request(fixture)) {
        let Incoming::Frame { header, payload } = frame(fixture) else { panic!("{}", fixture.name) };
        let request =
            decode(header.tag, &payload).unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        match (summary(&request), fixture.get("request"), fixture.get("answer")) {
            (Ok(found), Some(expected), None) => assert_eq!(found, expected, "{}", fixture.name),
            (Err(code), None, Some(expected)) => assert_eq!(code.name(), expected, "{}", fixture.name),
            (found, ..) => panic!("{}: {found:?}", fixture.name),
        }
        let found = route(header.tag, &payload).ok().map(|route| {
            let Route { connection, transaction, timeout_ms, lock_timeout_ms } = route;
            let locks = lock_timeout_ms.map(|ms| format!(" locks {ms}")).unwrap_or_default();
            let transaction = transaction.map(|id| format!(" in {id}")).unwrap_or_default();
            format!("{connection} {timeout_ms}{locks}{transaction}")
        });
        assert_eq!(found.as_deref(), fixture.get("route"), "{}", fixture.name);
        count += 1;
    }
    assert!(count > 90, "only {count} requests");
}

#[test]
fn every_request_tag_has_a_file() {
    let fixtures = read_all("golden");
    for tag in (1..=30).chain(32..=33).chain(36..=38) {
        assert!(fixtures.iter().any(|f| is_request(f) && f.tag() == tag), "request {tag}");
    }
    for tag in (64..=71).chain(96..=106) {
        assert!(fixtures.iter().any(|f| !is_request(f) && f.tag() == tag), "reply or event {tag}");
    }
}

#[test]
fn wrong_requests_are_answered() {
    for fixture in read_all("wrong") {
        let Incoming::Frame { header, payload } = frame(&fixture) else { panic!("{}", fixture.name) };
        match decode(header.tag, &payload) {
            Err(Refusal::Answer(error)) => {
                assert_eq!(Some(error.code.name()), fixture.get("answer"), "{}: {error}", fixture.name);
                assert!(!error.message.is_empty());
            }
            other => panic!("{}: {other:?}", fixture.name),
        }
    }
}

#[test]
fn a_refusal_names_the_request_the_field_and_what_may_stand_there() {
    for (name, message) in [
        (
            "begin_mode",
            "begin: the mode must be one of the atoms deferred, immediate, exclusive, read_only, not the atom concurrent",
        ),
        (
            "open_mode",
            "options: mode must be one of read_write_create, read_write, read_only, not the atom rw",
        ),
    ] {
        let fixtures = read_all("wrong");
        let fixture = fixtures.iter().find(|fixture| fixture.name == name).expect("a fixture");
        let Incoming::Frame { header, payload } = frame(fixture) else { panic!("{name}") };
        match decode(header.tag, &payload) {
            Err(Refusal::Answer(error)) => assert_eq!(error.message, message),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn broken_frames_are_fatal() {
    for fixture in read_all("broken") {
        let mut buffer = BytesMut::from(&fixture.frame[..]);
        let expected = fixture.get("fatal").unwrap_or_else(|| panic!("{}: no fatal line", fixture.name));
        match FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT).decode(&mut buffer) {
            Err(_) => assert_eq!(expected, "frame", "{}", fixture.name),
            Ok(Some(Incoming::Frame { header, payload })) => match decode(header.tag, &payload) {
                Err(Refusal::Fatal(error)) => {
                    assert!(format!("{error:?}").starts_with(expected), "{}: {error:?}", fixture.name);
                }
                other => panic!("{}: {other:?}", fixture.name),
            },
            other => panic!("{}: {other:?}", fixture.name),
        }
    }
}

/// Writes a term anew, token by token, as the program would.
fn rewrite(decoder: &mut Decoder<'_>, out: &mut Vec<u8>) {
    let rewrite_many = |decoder: &mut Decoder<'_>, count: u32, out: &mut Vec<u8>| {
        (0..count).for_each(|_| rewrite(decoder, out));
    };
    match decoder.next().expect("a well-formed term") {
        Token::Integer(value) => encoder::put_integer(out, value),
        Token::Float(value) => encoder::put_float(out, value),
        Token::Atom(name) => encoder::put_atom(out, std::str::from_utf8(name).expect("ASCII atoms")),
        Token::Binary(bytes) => encoder::put_binary(out, bytes),
        Token::EmptyList => encoder::put_empty_list(out),
        Token::Tuple(count) => {
            encoder::put_tuple(out, count);
            rewrite_many(decoder, count, out);
        }
        Token::Map(pairs) => {
            encoder::put_map(out, pairs);
            rewrite_many(decoder, pairs * 2, out);
        }
        Token::List(count) => {
            encoder::put_list(out, count);
            rewrite_many(decoder, count, out);
            decoder.list_end().expect("a proper list");
            encoder::put_empty_list(out);
        }
        Token::BigInteger { .. } | Token::String(_) => panic!("the program writes no such term"),
    }
}

#[test]
fn replies_are_written_in_the_forms_that_the_encoder_writes() {
    let mut count = 0;
    for fixture in read_all("golden").iter().filter(|fixture| !is_request(fixture)) {
        let Incoming::Frame { header, payload } = frame(fixture) else { panic!("{}", fixture.name) };
        let mut out = Vec::new();
        let start = begin_frame(&mut out, header.request_id, header.tag);
        let mut decoder = Decoder::new(&payload);
        rewrite(&mut decoder, &mut out);
        assert_eq!(decoder.finish(), Ok(()));
        end_frame(&mut out, start, FRAME_BYTES_MAX_DEFAULT);
        assert_eq!(out, fixture.frame, "{}", fixture.name);
        count += 1;
    }
    assert!(count > 30, "only {count} replies");
}

/// The reply or event of that name, written by the functions that write it in the program; and its id.
fn written(name: &str, id: u32, max: u32) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    let out = &mut frame;
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    match name {
        "reply_ok_nil" => reply::ok(out, id, max, encoder::put_nil),
        "reply_ok_true" => reply::ok(out, id, max, |out| encoder::put_bool(out, true)),
        "reply_error" => {
            reply::error(
                out,
                id,
                max,
                &ErrorReply::new(ErrorCode::UnknownConnection, "no connection has the id 9"),
            );
        }
        "reply_error_syntax" => {
            let error = ErrorReply {
                sqlite_code: Some(1),
                offset: Some(0),
                tx_status: Some(0),
                ..ErrorReply::new(ErrorCode::SqlError, "near \"SELEC\": syntax error")
            };
            reply::error(out, id, max, &error);
        }
        "reply_error_constraint" => {
            let columns = strings(&["name", "land"]);
            let constraint = Constraint {
                kind: ConstraintKind::Unique,
                table: Some("city"),
                columns: &columns,
                index: Some("city_name"),
                name: None,
            };
            let error = ErrorReply {
                sqlite_code: Some(2067),
                constraint: Some(constraint),
                tx_status: Some(3),
                index: Some(300),
                ..ErrorReply::new(
                    ErrorCode::ConstraintUnique,
                    "UNIQUE constraint failed: city.name, city.land",
                )
            };
            reply::error(out, id, max, &error);
        }
        "reply_error_constraint_named" => {
            let constraint = Constraint {
                kind: ConstraintKind::Check,
                table: None,
                columns: &[],
                index: None,
                name: Some("positive"),
            };
            let error = ErrorReply {
                sqlite_code: Some(275),
                constraint: Some(constraint),
                tx_status: Some(0),
                ..ErrorReply::new(ErrorCode::ConstraintCheck, "CHECK constraint failed: positive")
            };
            reply::error(out, id, max, &error);
        }
        "reply_error_denied" => {
            let denial = Denial {
                action: "read",
                object: Some("users"),
                column: Some("password"),
                database: Some("main"),
                through: None,
                rule: DenyingRule::Element(1),
            };
            let message =
                "not authorized: read users.password; element 1 (from 0) of the connection's policy denies it";
            let error = ErrorReply {
                sqlite_code: Some(23),
                denial: Some(denial),
                tx_status: Some(0),
                ..ErrorReply::new(ErrorCode::NotAuthorized, message)
            };
            reply::error(out, id, max, &error);
        }
        "reply_result_changes" => {
            let start = begin_frame(out, id, tag::RESULT);
            encoder::put_tuple(out, 9);
            encoder::put_empty_list(out);
            let tail = Tail {
                num_rows: 0,
                changes: 3,
                last_insert_rowid: 1 << 40,
                tx_status: 3,
                queue_us: 5,
                lock_us: 1500,
                run_us: 70_000,
            };
            put_result_tail(out, b"j", &tail);
            end_frame(out, start, max);
        }
        "reply_result_stale" | "reply_result_replica" => {
            let start = begin_frame(out, id, tag::RESULT);
            encoder::put_tuple(out, 12);
            encoder::put_list(out, 1);
            encoder::put_list(out, 1);
            encoder::put_integer(out, 1);
            encoder::put_empty_list(out);
            encoder::put_empty_list(out);
            let mut columns = Vec::new();
            encoder::put_list(&mut columns, 1);
            encoder::put_binary(&mut columns, b"a");
            encoder::put_empty_list(&mut columns);
            put_result_tail(out, &columns, &Tail { num_rows: 1, queue_us: 1, run_us: 5, ..Tail::default() });
            let stale = name == "reply_result_stale";
            let url = "https://replica.example.org";
            put_source(out, &Source { url, stale, age_ms: stale.then_some(3000) });
            end_frame(out, start, max);
        }
        "reply_rows" => {
            let start = begin_frame(out, id, tag::ROWS);
            let rows = encoder::begin_list(out);
            for (number, text) in [(1, Some("a")), (2, Some("b")), (300, None)] {
                encoder::put_list(out, 2);
                encoder::put_integer(out, number);
                encoder::put_optional_binary(out, text.map(str::as_bytes));
                encoder::put_empty_list(out);
            }
            encoder::end_list(out, rows, 3);
            end_frame(out, start, max);
        }
        "reply_batch" => {
            let start = begin_frame(out, id, tag::BATCH_REPLY);
            encoder::put_tuple(out, 5);
            encoder::put_list(out, 3);
            for (rows, changes) in [(0, 1), (1, 0)] {
                encoder::put_tuple(out, 5);
                encoder::put_list(out, rows);
                if rows == 1 {
                    encoder::put_list(out, 1);
                    encoder::put_integer(out, 1);
                    encoder::put_empty_list(out);
                    encoder::put_empty_list(out);
                }
                encoder::put_list(out, rows);
                if rows == 1 {
                    encoder::put_binary(out, b"a");
                    encoder::put_empty_list(out);
                }
                [i64::from(rows), changes, 5].iter().for_each(|n| encoder::put_integer(out, *n));
            }
            let error = ErrorReply {
                sqlite_code: Some(1),
                offset: Some(12),
                tx_status: Some(0),
                index: Some(2),
                ..ErrorReply::new(ErrorCode::SqlError, "no such table: u")
            };
            put_error_item(out, &error);
            encoder::put_empty_list(out);
            [0, 3, 40, 500].iter().for_each(|n| encoder::put_integer(out, *n));
            end_frame(out, start, max);
        }
        "event_hello" => Hello {
            version: "0.1.0",
            build: "x86_64-unknown-linux-gnu release",
            libsql: "0.2.3",
            sqlite: "3.47.0",
            sqlite_source_id: "2024-10-21 16:30:22 0123456789abcdef",
            os_pid: 4711,
            frame_bytes_max: 16 << 20,
            capabilities: &["batch", "cursor"],
        }
        .encode(out),
        "event_hello_no_capabilities" => Hello {
            version: "0.1.0",
            build: "",
            libsql: "",
            sqlite: "",
            sqlite_source_id: "",
            os_pid: 7,
            frame_bytes_max: 65_536,
            capabilities: &[],
        }
        .encode(out),
        "event_connection_lost" => {
            connection_lost(out, 7, ErrorCode::Internal, "a bug ended the connection");
        }
        "event_call_auth_token" => {
            let fields = Call {
                connection: 300,
                call: 1000,
                request: 605,
                callback: 700,
                kind: "auth_token",
                left_ms: 5000,
            };
            call(out, &fields, |out| encoder::put_binary(out, b"libsql://app.example.org"));
        }
        "event_call" => {
            let fields = Call {
                connection: 300,
                call: 1000,
                request: 307,
                callback: 700,
                kind: "scalar",
                left_ms: 4000,
            };
            call(out, &fields, |out| {
                encoder::put_list(out, 1);
                encoder::put_binary(out, b"A b");
                encoder::put_empty_list(out);
            });
        }
        "event_abandoned" => abandoned(out, 300, 1000),
        "event_policy_denied" => {
            let denial = Denial {
                action: "pragma_write",
                object: Some("user_version"),
                column: None,
                database: None,
                through: None,
                rule: DenyingRule::Ready("read_only"),
            };
            policy_denied(out, 7, &denial, 300);
        }
        "event_breaker" => breaker(
            out,
            &Breaker {
                url: "https://app.example.org",
                state: "open",
                failures: 5,
                reason: Some("cannot connect"),
                since_ms: Some(400),
                probe_ms: Some(600),
            },
        ),
        "event_breaker_closed" => breaker(
            out,
            &Breaker {
                url: "https://app.example.org",
                state: "closed",
                failures: 0,
                reason: None,
                since_ms: None,
                probe_ms: None,
            },
        ),
        "event_log" => log(out, "warn", "checkpoint failed connection=7"),
        "event_changes" => {
            // The body is the program's own to make; here it is what the file says, taken out of it.
            let frame = &read_all("golden").into_iter().find(|fixture| fixture.name == name)?.frame;
            let mut frames = frame.get(4 + 10 + 2 + 5 + 2 + 5..)?.to_vec();
            changes(&mut frames, 300);
            out.append(&mut frames);
        }
        "event_lagged" => lagged(out, 300, "/data/app.db", 42, 300),
        "event_hook" => hook(out, 300, "/data/app.db", "main", 7, Hook::Wal(12)),
        "event_busy" => busy(out, 300, "/data/app.db", 7, 307, Busy::Got, 1_500_000),
        "event_progress" => progress(out, 300, "/data/app.db", 7, 307, 2000, 96_000),
        "event_freeze" => freeze(out, 300, "/data/app.db", 256, 1500),
        "event_replica_failing" => {
            replica(out, "/data/app.db", Some((ErrorCode::RemoteUnavailable, "gone")));
        }
        "event_replica_synced" => replica(out, "/data/app.db", None),
        "event_sync" => sync(out, 300, "/data/app.db", 1200, 90_000),
        _ => return None,
    }
    Some(frame)
}

#[test]
fn each_function_that_writes_a_message_writes_these_bytes() {
    let mut count = 0;
    for fixture in read_all("golden").iter().filter(|fixture| !is_request(fixture)) {
        let Incoming::Frame { header, .. } = frame(fixture) else { panic!("{}", fixture.name) };
        if let Some(written) = written(&fixture.name, header.request_id, FRAME_BYTES_MAX_DEFAULT) {
            assert_eq!(written, fixture.frame, "{}", fixture.name);
            count += 1;
        }
    }
    assert_eq!(count, 31);
}

#[test]
fn parts_are_cut_where_the_files_cut_them() {
    let fixtures = read_all("golden");
    for (group, reply_tag) in [("reply_part_ok_", tag::OK), ("reply_part_rows_", tag::ROWS)] {
        let parts: Vec<&Fixture> = fixtures.iter().filter(|f| f.name.starts_with(group)).collect();
        let expected: Vec<u8> = parts.iter().flat_map(|part| part.frame.clone()).collect();
        let Incoming::Frame { header, .. } = frame(parts[0]) else { panic!("{group}") };
        let mut out = Vec::new();
        let start = begin_frame(&mut out, header.request_id, reply_tag);
        if reply_tag == tag::OK {
            encoder::put_binary(&mut out, &[b'x'; 90]);
        } else {
            let rows = encoder::begin_list(&mut out);
            encoder::put_list(&mut out, 1);
            encoder::put_binary(&mut out, &[b'y'; 50]);
            encoder::put_empty_list(&mut out);
            encoder::end_list(&mut out, rows, 1);
        }
        end_frame(&mut out, start, 60);
        assert_eq!(out, expected, "{group}");
    }
}

fn all_fixtures() -> Vec<Fixture> {
    ["golden", "wrong", "broken"].iter().flat_map(|directory| read_all(directory)).collect()
}

#[test]
fn a_frame_cut_at_any_byte_is_waited_for() {
    for fixture in read_all("golden").iter().chain(&read_all("wrong")) {
        for cut in 0..fixture.frame.len() {
            let outcomes = exercise::stream(&fixture.frame[..cut], cut.max(1), FRAME_BYTES_MAX_DEFAULT);
            assert_eq!(outcomes, Ok(vec![]), "{} cut at {cut}", fixture.name);
        }
        let whole = exercise::stream(&fixture.frame, fixture.frame.len(), FRAME_BYTES_MAX_DEFAULT);
        for piece in 1..fixture.frame.len() {
            let pieces = exercise::stream(&fixture.frame, piece, FRAME_BYTES_MAX_DEFAULT);
            assert_eq!(pieces, whole, "{} in pieces of {piece}", fixture.name);
        }
    }
}

#[test]
fn a_payload_cut_at_any_byte_is_broken() {
    for fixture in read_all("golden").iter().chain(&read_all("wrong")) {
        let payload = fixture.payload();
        for cut in 0..payload.len() {
            let outcome = exercise::payload(fixture.tag(), &payload[..cut]);
            assert_eq!(outcome, Outcome::Fatal, "{} cut at {cut}", fixture.name);
        }
    }
}

#[test]
fn any_altered_byte_has_a_typed_outcome() {
    let (mut requests, mut answers, mut fatal, mut frames) = (0, 0, 0, 0);
    for fixture in all_fixtures() {
        for at in 0..fixture.frame.len() {
            let mut bytes = fixture.frame.clone();
            for change in 1..=255u8 {
                bytes[at] = fixture.frame[at] ^ change;
                match exercise::stream(&bytes, bytes.len(), FRAME_BYTES_MAX_DEFAULT) {
                    Ok(outcomes) => outcomes.iter().for_each(|outcome| match outcome {
                        Outcome::Request => requests += 1,
                        Outcome::Answer(_) => answers += 1,
                        Outcome::Fatal => fatal += 1,
                    }),
                    Err(_) => frames += 1,
                }
            }
        }
    }
    // Each kind of outcome comes up, or the alterations would not reach what they are to test.
    assert!(requests > 100_000 && answers > 100_000 && fatal > 100_000 && frames > 100_000);
}
