//! The client decides about commits: whatever commits asks it, only a yes commits, and what was refused leaves nothing behind.

use crate::callbacks::{answer, answering, failed, ok, Call};
use crate::feed::transaction_of;
use crate::support::*;
use crate::term::*;
use crate::{list, tuple};

/// With a time that no test waits for, unless it says another.
fn hook(callback: i64, mut more: Vec<(&str, Term)>) -> Term {
    if more.iter().all(|(key, _)| *key != "timeout") {
        more.push(("timeout", 60_000.into()));
    }
    let first = [("callback", callback.into()), ("kind", atom("commit"))];
    Term::Map(first.into_iter().chain(more).map(|(key, value)| (key.into(), value)).collect())
}

fn set(conn: &Conn<'_>, more: Vec<(&str, Term)>) {
    conn.call(tag::SET_HOOK, [hook(7, more)]).unwrap();
}

fn set_for_all(sidecar: &Sidecar, more: Vec<(&str, Term)>) {
    sidecar.call(tag::SET_HOOK, &tuple![0, 0, hook(8, more)]).unwrap();
}

fn yes() -> Option<Term> {
    ok(atom("true"))
}

fn no() -> Option<Term> {
    ok(atom("false"))
}

/// What a call tells, a text for each change.
fn told(call: &Call) -> Vec<String> {
    assert_eq!(call.kind, "commit");
    let transactions = call.argument.items().iter().map(|term| transaction_of(term, 0));
    transactions
        .flat_map(|one| {
            assert_eq!((one.connection, one.sequence), (call.connection, 0));
            let schema = one.schema.clone();
            one.changes.into_iter().map(move |change| match schema.as_str() {
                "main" => change.text(),
                other => format!("{other}: {}", change.text()),
            })
        })
        .collect()
}

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'x'); \
     CREATE TABLE w(k TEXT PRIMARY KEY, a) WITHOUT ROWID; \
     CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED); \
     CREATE TABLE v(e F32_BLOB(2))";

/// What is in the database, and who writes to it.
fn contents(sidecar: &Sidecar, other: &Conn<'_>) -> (Vec<Vec<Term>>, Term) {
    let rows = other
        .query(
            "SELECT 't', id, a FROM t UNION ALL SELECT 'w', k, a FROM w UNION ALL SELECT 'p', id, 0 FROM p \
             UNION ALL SELECT 'schema', name, sql FROM sqlite_schema",
            list![],
        )
        .unwrap()
        .rows;
    (rows, sidecar.writer("test.db"))
}

/// Everything that commits, each with what the client is told of it.
type Way = (&'static str, fn(&Conn<'_>) -> Result<(), Failure>);

const INSERT: &str = "INSERT INTO t VALUES (2, 'y')";

fn declared(conn: &Conn<'_>) -> Term {
    let sql = "INSERT INTO t VALUES (2, 'y'), (3, 'z'), (4, 'z') RETURNING id";
    conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap().items()[0].clone()
}

fn fetched(conn: &Conn<'_>, cursor: &Term, rows: i64) -> Result<(), Failure> {
    let request = conn.send(tag::FETCH, [cursor.clone(), rows.into(), 0.into()]);
    let frame = conn.sidecar().receive(request);
    if frame.tag == tag::ERROR {
        Err(Failure::of(&frame.payload))
    } else {
        Ok(())
    }
}

const WAYS: &[Way] = &[
    ("a statement", |conn| conn.query(INSERT, list![]).map(|_| ())),
    ("an update", |conn| conn.query("UPDATE t SET a = 'q'", list![]).map(|_| ())),
    ("a truncating delete", |conn| conn.query("DELETE FROM t", list![]).map(|_| ())),
    ("a table without rowids", |conn| conn.query("REPLACE INTO w VALUES ('k', 1)", list![]).map(|_| ())),
    ("a statement with rows", |conn| {
        conn.query("INSERT INTO t VALUES (2, 'y'), (3, 'z') RETURNING *", list![]).map(|_| ())
    }),
    ("a statement with one row", |conn| {
        conn.query_one("INSERT INTO t VALUES (2, 'y') RETURNING *", list![]).map(|_| ())
    }),
    ("COMMIT in SQL", |conn| {
        conn.exec("BEGIN");
        conn.exec(INSERT);
        conn.query("COMMIT", list![]).map(|_| ())
    }),
    ("the commit of a transaction", |conn| {
        conn.begin("immediate")?;
        conn.exec(INSERT);
        conn.commit().map(|_| ())
    }),
    ("the release of the outermost savepoint", |conn| {
        conn.exec("SAVEPOINT a");
        conn.exec("SAVEPOINT b");
        conn.exec(INSERT);
        conn.exec("RELEASE b");
        conn.query("RELEASE a", list![]).map(|_| ())
    }),
    ("the release of a savepoint by a request", |conn| {
        conn.call(tag::SAVEPOINT, ["a".into()])?;
        conn.exec(INSERT);
        conn.call(tag::RELEASE, ["a".into()]).map(|_| ())
    }),
    ("an atomic batch", |conn| {
        conn.batch(true, &[(INSERT, list![]), ("DELETE FROM p", list![])]).map(|_| ())
    }),
    ("a statement of a batch", |conn| {
        let (mut items, _) = conn.batch(false, &[(INSERT, list![])])?;
        items.remove(0).map(|_| ())
    }),
    ("a transaction of a batch", |conn| {
        let items = [("BEGIN", list![]), (INSERT, list![]), ("COMMIT", list![]), ("SELECT 1", list![])];
        let (mut items, _) = conn.batch(false, &items)?;
        assert!(items[3].is_ok());
        items.remove(2).map(|_| ())
    }),
    ("a script", |conn| conn.script("BEGIN; INSERT INTO t VALUES (2, 'y'); COMMIT; SELECT 1").map(|_| ())),
    ("a table", |conn| conn.query("CREATE TABLE more(a)", list![]).map(|_| ())),
    ("an index", |conn| conn.query("CREATE INDEX more ON t(a)", list![]).map(|_| ())),
    ("a vector index", |conn| {
        conn.query("CREATE INDEX more ON v(libsql_vector_idx(e))", list![]).map(|_| ())
    }),
    ("ALTER TABLE", |conn| conn.query("ALTER TABLE t ADD COLUMN b", list![]).map(|_| ())),
    ("a prepared statement", |conn| {
        let statement = conn.call(tag::PREPARE, [INSERT.into()])?.items()[0].clone();
        let request = conn.send(tag::EXECUTE_PREPARED, [statement, list![]]);
        conn.outcome(request).map(|_| ())
    }),
    ("an exhausted cursor", |conn| {
        let cursor = declared(conn);
        fetched(conn, &cursor, 100)
    }),
    ("a cursor that is closed", |conn| {
        let cursor = declared(conn);
        fetched(conn, &cursor, 1)?;
        conn.call(tag::CLOSE_CURSOR, [cursor]).map(|_| ())
    }),
];

#[test]
fn whatever_commits_asks_and_what_is_refused_leaves_nothing_behind() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![]);
    let before = contents(&sidecar, &other);
    for (what, commit) in WAYS {
        let (outcome, calls) = answering(&sidecar, |_| no(), || commit(&conn));
        assert_eq!(calls.len(), 1, "{what}: {calls:?}");
        assert!(!told(&calls[0]).is_empty(), "{what}");
        let error = outcome.expect_err(what);
        assert_eq!((error.code.as_str(), error.tx_status), ("commit_vetoed", Some(0)), "{what}: {error:?}");
        assert_eq!(contents(&sidecar, &other), before, "{what}");
        assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into(), "{what}: nor does the connection see it");
        other.exec("PRAGMA user_version = 1");
    }
    for (what, commit) in WAYS {
        let file = path.with_file_name(format!("{}.db", what.replace(' ', "_")));
        let conn = sidecar.open(&file);
        conn.script(SCHEMA).unwrap();
        set(&conn, vec![]);
        let before = conn.value("PRAGMA data_version");
        let (outcome, calls) = answering(&sidecar, |_| yes(), || commit(&conn));
        assert!(outcome.is_ok() && calls.len() == 1, "{what}: {outcome:?} {calls:?}");
        let other = sidecar.open(&file);
        let change = "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'more') + (SELECT count(*) <> 1 FROM t) \
             + (SELECT count(*) FROM w) + (SELECT count(*) FROM t WHERE a = 'q') \
             + (SELECT count(*) FROM pragma_table_info('t') WHERE name = 'b')";
        assert!(other.value(change).int() > 0, "{what}: {before:?}");
    }
    sidecar.end();
}

#[test]
fn only_a_yes_commits() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![("timeout", 150.into())]);
    let wrong: [(Option<Term>, &str, &str); 9] = [
        (no(), "commit_vetoed", "the commit hook has refused the transaction, which was rolled back"),
        (ok("not on a Sunday"), "commit_vetoed", "was rolled back: not on a Sunday"),
        (
            failed("** (RuntimeError) no"),
            "commit_hook_failed",
            "the commit hook: ** (RuntimeError) no; the transaction",
        ),
        (ok(nil()), "commit_hook_failed", "neither true nor false"),
        (ok(2), "commit_hook_failed", "neither true nor false"),
        (ok(atom("maybe")), "commit_hook_failed", "the atom :maybe is not a value"),
        (ok(list![1]), "commit_hook_failed", "a list is not a value"),
        (ok(bytes(&[255])), "commit_hook_failed", "not valid UTF-8"),
        (
            None,
            "commit_hook_failed",
            "the commit hook: no answer within 150 ms; the transaction was rolled back",
        ),
    ];
    for (outcome, code, message) in wrong {
        conn.begin("immediate").unwrap();
        conn.exec(INSERT);
        let (error, calls) = answering(&sidecar, |_| outcome.clone(), || conn.commit().unwrap_err());
        assert_eq!((error.code.as_str(), error.tx_status), (code, Some(0)), "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
        assert_eq!(calls.last().unwrap().kind == "abandoned", outcome.is_none());
        assert_eq!(conn.value("SELECT count(*) FROM t"), 1.into());
        assert_eq!(sidecar.writer("test.db"), nil());
    }
    let (outcome, _) = answering(&sidecar, |_| yes(), || conn.query(INSERT, list![]));
    outcome.unwrap();
    assert_eq!(conn.call(tag::REMOVE_HOOK, [atom("commit")]), Ok(atom("true")));
    assert_eq!(conn.call(tag::REMOVE_HOOK, [atom("commit")]), Ok(atom("false")));
    conn.exec("DELETE FROM t");
    assert_eq!(sidecar.unread(), Vec::<u32>::new(), "nobody is asked any more");
    sidecar.end();
}

#[test]
fn it_is_told_what_it_wants_to_know_and_asked_about_nothing_else() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    let (_folder, path) = folder();
    conn.query("ATTACH ? AS more", list![path.to_str().unwrap()]).unwrap();
    conn.exec("CREATE TABLE more.t(id INTEGER PRIMARY KEY, a)");
    let asked = |sql: &str| {
        let (outcome, calls) = answering(&sidecar, |_| yes(), || conn.script(sql));
        outcome.unwrap();
        assert!(calls.len() <= 1, "{calls:?}");
        calls.first().map(told)
    };
    set(&conn, vec![]);
    for nothing in [
        "SELECT * FROM t",
        "BEGIN IMMEDIATE; COMMIT",
        "UPDATE t SET a = 1 WHERE false",
        "CREATE TEMP TABLE tt(a); INSERT INTO tt VALUES (1)",
        "BEGIN; INSERT INTO t VALUES (5, 5); ROLLBACK",
        "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (5, 5); ROLLBACK TO a; COMMIT",
        "PRAGMA user_version = 3",
    ] {
        assert_eq!(asked(nothing), None, "{nothing}");
    }
    assert_eq!(asked("INSERT INTO t VALUES (5, 'e')").unwrap(), ["insert t 5 key [5]"]);
    assert_eq!(asked("DROP TABLE v").unwrap(), ["schema"]);
    asked("CREATE VIRTUAL TABLE docs USING fts5(body)").unwrap();
    let of_docs = asked("INSERT INTO docs VALUES ('full text')").unwrap();
    assert!(of_docs.iter().any(|change| change.starts_with("insert docs_content 1")), "{of_docs:?}");
    assert_eq!(asked("VACUUM"), None, "which changes nothing, and cannot be undone");

    set(
        &conn,
        vec![
            ("tables", list!["t"]),
            ("operations", list![atom("update"), atom("delete")]),
            ("values", atom("old_and_new")),
        ],
    );
    assert_eq!(asked("INSERT INTO t VALUES (6, 'f'); INSERT INTO w VALUES ('k', 1)"), None);
    assert_eq!(
        asked("BEGIN; INSERT INTO t VALUES (7, 'g'); UPDATE t SET a = 'G' WHERE id = 7; DELETE FROM t WHERE id = 6; COMMIT").unwrap(),
        ["update t 7 key [7] old [7 g] new [7 G]", "delete t 6 key [6] old [6 f]"]
    );
    set(&conn, vec![]);
    assert_eq!(
        asked("BEGIN; DELETE FROM w; INSERT INTO more.t VALUES (1, 2); COMMIT").unwrap(),
        ["delete w key [k]", "more: insert t 1 key [1]"]
    );
    sidecar.end();
}

#[test]
fn a_subscriber_is_told_of_what_was_committed_alone() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    let events = crate::feed::Events::of(&sidecar);
    let subscription = events.subscribe(conn.id.into(), map::<&str, Term, 0>([]));
    set(&conn, vec![("values", atom("new"))]);
    let (_, _) = answering(&sidecar, |_| no(), || conn.query(INSERT, list![]).unwrap_err());
    assert_eq!(events.texts(subscription), [""; 0]);
    let request = conn.start("INSERT INTO t VALUES (3, 'z')");
    let call = Call::of(&sidecar.receive(0).payload);
    assert_eq!(told(&call), ["insert t 3 key [3] new [3 z]"]);
    answer(&sidecar, &call, &yes().unwrap());
    conn.outcome(request).unwrap();
    let transactions = events.transactions(subscription);
    assert_eq!((transactions.len(), transactions[0].sequence), (1, 1));
    sidecar.end();
}

#[test]
fn what_it_cannot_be_told_it_is_told_of() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start_with(&["--changes-bytes-max", "2000"]);
    let conn = sidecar.open(&path);
    conn.script(SCHEMA).unwrap();
    conn.begin("immediate").unwrap();
    conn.exec(INSERT);
    set(&conn, vec![]);
    let (_, calls) = answering(&sidecar, |_| yes(), || conn.commit().unwrap());
    assert_eq!(told(&calls[0]), ["resync joined"]);
    let large = format!("INSERT INTO t SELECT i, i FROM ({}) WHERE i > 100", numbers(300));
    let (error, calls) = answering(&sidecar, |_| no(), || conn.query(&large, list![]).unwrap_err());
    assert_eq!(
        (error.code.as_str(), told(&calls[0])),
        ("commit_vetoed", vec!["resync too_large".to_owned()])
    );
    let (_, calls) = answering(&sidecar, |_| yes(), || conn.exec("DELETE FROM t WHERE id = 2"));
    assert_eq!(told(&calls[0]), ["delete t 2 key [2]"], "the next one is told in full");
    sidecar.end();
}

#[test]
fn whoever_is_asked_hears_every_reason_to_stop_and_nothing_is_committed() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![("timeout", 0.into())]);
    let call = |request| {
        let call = Call::of(&sidecar.receive(0).payload);
        assert_eq!((call.request, call.callback), (i64::from(request), 7));
        call
    };
    let abandoned = |call: &Call| {
        let frame = sidecar.receive(0);
        assert_eq!((frame.tag, frame.payload), (tag::ABANDONED, tuple![call.connection, call.call]));
    };
    let count = || other.value("SELECT count(*) FROM t").int();

    let request = conn.start(INSERT);
    let waiting = call(request);
    assert_eq!(count(), 1, "others read meanwhile");
    assert_eq!(conn.cancel(request), atom("true"));
    assert_eq!(conn.outcome(request).unwrap_err().code, "cancelled");
    abandoned(&waiting);
    answer(&sidecar, &waiting, &yes().unwrap());
    assert_eq!((count(), sidecar.writer("test.db")), (1, nil()));

    let request = conn.within(100).start(INSERT);
    let waiting = call(request);
    assert!((1..=100).contains(&waiting.left_ms));
    let error = conn.outcome(request).unwrap_err();
    assert_eq!((error.code.as_str(), error.tx_status), ("timeout", Some(0)));
    abandoned(&waiting);
    assert_eq!(count(), 1);

    // RELEASE of the savepoint that has begun the transaction, cancelled: no transaction is left.
    conn.exec("SAVEPOINT a");
    conn.exec(INSERT);
    let request = conn.start("RELEASE a");
    let waiting = call(request);
    assert_eq!(conn.cancel(request), atom("true"));
    let error = conn.outcome(request).unwrap_err();
    assert_eq!((error.code.as_str(), error.tx_status), ("cancelled", Some(0)));
    abandoned(&waiting);
    assert_eq!((count(), sidecar.writer("test.db")), (1, nil()));

    let request = conn.start(INSERT);
    let waiting = call(request);
    conn.close();
    assert_eq!(conn.outcome(request).unwrap_err().code, "connection_closed");
    abandoned(&waiting);
    assert_eq!(count(), 1);

    set(&other, vec![("timeout", 0.into())]);
    let request = other.start(INSERT);
    call(request);
    sidecar.close_stdin();
    let (status, stderr) = sidecar.wait(BOUND);
    assert_eq!(status.code(), Some(0), "{stderr}");
    let sidecar = Sidecar::start();
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM t"), 1.into());
    sidecar.end();
}

#[test]
fn a_program_that_is_killed_while_it_asks_has_committed_nothing() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![]);
    conn.start(INSERT);
    sidecar.receive(0);
    sidecar.signal(libc::SIGKILL);
    sidecar.wait(BOUND);
    let sidecar = Sidecar::start();
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM t"), 1.into());
    sidecar.end();
}

#[test]
fn whoever_is_asked_may_use_another_connection_but_not_its_turn() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![]);
    let request = conn.start(INSERT);
    let call = Call::of(&sidecar.receive(0).payload);
    assert_eq!(other.value("SELECT count(*) FROM t"), 1.into());
    let error = other.within(150).query("DELETE FROM t", list![]).unwrap_err();
    assert_eq!(error.code, "timeout");
    assert!(error.message.contains(&format!("connection {}", call.connection)), "{error:?}");
    answer(&sidecar, &call, &yes().unwrap());
    conn.outcome(request).unwrap();
    assert_eq!(other.exec("DELETE FROM t").changes, 2);
    sidecar.end();
}

#[test]
fn a_hook_of_the_program_is_asked_by_all_connections_and_both_have_to_agree() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(SCHEMA).unwrap();
    set_for_all(&sidecar, vec![]);
    let later = sidecar.open(&path);
    for conn in [&conn, &later] {
        let (error, calls) = answering(&sidecar, |_| no(), || conn.query(INSERT, list![]).unwrap_err());
        assert_eq!((error.code.as_str(), calls.len(), calls[0].callback), ("commit_vetoed", 1, 8));
    }
    set(&conn, vec![]);
    for refuses in [7, 8] {
        let decide = |call: &Call| if call.callback == refuses { no() } else { yes() };
        let (error, calls) = answering(&sidecar, decide, || conn.query(INSERT, list![]).unwrap_err());
        let asked: Vec<_> = calls.iter().map(|call| call.callback).collect();
        assert_eq!(
            (error.code.as_str(), asked.as_slice()),
            ("commit_vetoed", &[8, 7][..=(8 - refuses) as usize])
        );
    }
    let (_, calls) = answering(&sidecar, |_| yes(), || conn.exec(INSERT));
    assert_eq!(calls.len(), 2);
    assert_eq!(sidecar.call(tag::REMOVE_HOOK, &tuple![0, 0, atom("commit")]), Ok(atom("true")));
    assert_eq!(sidecar.call(tag::REMOVE_HOOK, &tuple![0, 0, atom("commit")]), Ok(atom("false")));
    later.exec("DELETE FROM t WHERE id = 2");
    let (_, calls) = answering(&sidecar, |_| yes(), || conn.exec(INSERT));
    assert_eq!(calls.iter().map(|call| call.callback).collect::<Vec<_>>(), [7]);
    sidecar.end();
}

#[test]
fn many_connections_ask_at_once() {
    let sidecar = Sidecar::start();
    set_for_all(&sidecar, vec![("timeout", 0.into())]);
    let conns: Vec<_> = (0..32).map(|_| sidecar.open(":memory:")).collect();
    let even = |call: &Call| call.connection % 2 == 0;
    answering(
        &sidecar,
        |call| if even(call) { yes() } else { no() },
        || {
            let requests: Vec<_> = conns.iter().map(|conn| (conn, conn.start("CREATE TABLE t(a)"))).collect();
            for (conn, request) in requests {
                assert_eq!(conn.outcome(request).is_ok(), conn.id % 2 == 0);
            }
        },
    );
    sidecar.end();
}

#[test]
fn a_hook_that_makes_no_sense_is_refused() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let refused = |hook: Term| conn.call(tag::SET_HOOK, [hook]).unwrap_err().code;
    assert_eq!(refused(map([("callback", 1)])), "invalid_option");
    assert_eq!(refused(map([("kind", "update")])), "invalid_option");
    assert_eq!(refused(hook(1, vec![("values", atom("all"))])), "invalid_option");
    assert_eq!(refused(hook(1, vec![("events", list![])])), "invalid_option");
    assert_eq!(conn.call(tag::REMOVE_HOOK, [atom("update")]).unwrap_err().code, "invalid_request");
    sidecar.end();
}
