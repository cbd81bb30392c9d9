//! The client decides what statements may do: it is asked while they are compiled, once about each thing, and only its word allows.

use crate::callbacks::{answer, answering, failed, ok, Call};
use crate::support::*;
use crate::term::*;
use crate::{list, tuple};

const SCHEMA: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a, secret); INSERT INTO t VALUES (1, 'x', 's'); \
     CREATE VIEW v AS SELECT a FROM t";

fn set(conn: &Conn<'_>, more: Vec<(&str, Term)>) {
    let first = [("callback", 9.into()), ("kind", atom("authorizer"))];
    let hook = first.into_iter().chain(more).map(|(key, value)| (key.into(), value)).collect();
    conn.call(tag::SET_HOOK, [Term::Map(hook)]).unwrap();
}

/// What a call asks about: `read t.a`.
fn asked(call: &Call) -> String {
    assert_eq!((call.kind.as_str(), call.callback), ("authorize", 9));
    let text = |term: &Term| if *term == nil() { String::new() } else { term.text().to_owned() };
    let [action, object, column, _database, through] = call.argument.items() else { panic!("{call:?}") };
    let mut asked = format!("{} {}", text(action), text(object));
    for (mark, name) in [(".", column), (" in ", through)] {
        if *name != nil() {
            asked += &format!("{mark}{}", text(name));
        }
    }
    asked.trim_end().to_owned()
}

fn decide<'d>(rules: &'d [(&'d str, &'d str)]) -> impl FnMut(&Call) -> Option<Term> + Send + 'd {
    move |call| {
        let asked = asked(call);
        let rule = rules.iter().find(|(what, _)| *what == asked);
        ok(atom(rule.map_or("ok", |(_, decision)| decision)))
    }
}

#[test]
fn it_is_asked_once_about_each_thing_and_its_word_is_kept() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![]);
    let ask = |sql: &str| {
        let (outcome, calls) = answering(&sidecar, decide(&[]), || conn.query(sql, list![]));
        outcome.unwrap();
        calls.iter().map(asked).collect::<Vec<_>>()
    };
    assert_eq!(ask("SELECT a, upper(a) FROM t"), ["select", "read t.a", "function upper"]);
    assert_eq!(ask("SELECT a, upper(a) FROM t"), [""; 0], "nor again when it is run");
    assert_eq!(ask("SELECT a || secret FROM t"), ["read t.secret"]);
    let of_view = ask("SELECT * FROM v");
    assert!(of_view.contains(&"read t.a in v".to_owned()), "{of_view:?}");
    assert_eq!(ask("INSERT INTO t(a) VALUES (2)"), ["insert t"]);
    assert_eq!(ask("UPDATE t SET a = 3 WHERE id = 2"), ["update t.a", "read t.id"]);
    set(&conn, vec![]);
    assert_eq!(
        ask("SELECT a, upper(a) FROM t").len(),
        3,
        "another one is asked anew, also about what is cached"
    );
    sidecar.end();
}

#[test]
fn what_it_denies_and_ignores_is_denied_and_ignored_as_by_a_policy() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    let prepared = conn.call(tag::PREPARE, ["SELECT secret FROM t".into()]).unwrap().items()[0].clone();
    let run_prepared = || {
        let request = conn.send(tag::EXECUTE_PREPARED, [prepared.clone(), list![]]);
        conn.outcome(request).map(|outcome| outcome.rows)
    };
    conn.exec("SELECT secret FROM t");
    set(&conn, vec![]);
    let rules = [
        ("read t.secret", "deny"),
        ("delete t", "deny"),
        ("update t.a", "ignore"),
        ("function lower", "ignore"),
    ];
    answering(&sidecar, decide(&rules), || {
        for sql in ["SELECT secret FROM t", "DELETE FROM t", "UPDATE t SET a = secret", "SELECT * FROM t"] {
            let error = conn.query(sql, list![]).unwrap_err();
            assert_eq!(error.code, "not_authorized", "{sql}");
            assert!(error.message.ends_with("; the authorizer of the connection denies it"), "{error:?}");
        }
        assert_eq!(run_prepared().unwrap_err().code, "not_authorized", "what was prepared is compiled anew");
        assert_eq!(conn.value("SELECT lower('A')"), nil());
        assert_eq!(conn.exec("UPDATE t SET a = 'y', secret = 'z'").changes, 1);
    });
    assert_eq!(conn.call(tag::REMOVE_HOOK, [atom("authorizer")]), Ok(atom("true")));
    assert_eq!(conn.call(tag::REMOVE_HOOK, [atom("authorizer")]), Ok(atom("false")));
    assert_eq!(conn.query("SELECT a, secret FROM t", list![]).unwrap().rows, [["x".into(), "z".into()]]);
    assert_eq!(run_prepared().unwrap(), [["z".into()]]);

    // NULL may be shown, and not stored; nothing is left undone without a word.
    set(&conn, vec![]);
    let rules = [
        ("read t.secret", "ignore"),
        ("delete t", "ignore"),
        ("insert t", "ignore"),
        ("drop_table t", "ignore"),
    ];
    answering(&sidecar, decide(&rules), || {
        assert_eq!(conn.value("SELECT secret FROM t"), nil());
        assert_eq!(run_prepared().unwrap(), [[nil()]]);
        for sql in ["UPDATE t SET a = secret", "DELETE FROM t", "INSERT INTO t(a) VALUES (1)", "DROP TABLE t"]
        {
            assert_eq!(conn.query(sql, list![]).unwrap_err().code, "not_authorized", "{sql}");
        }
    });
    conn.call(tag::REMOVE_HOOK, [atom("authorizer")]).unwrap();
    assert_eq!(conn.query("SELECT a, secret FROM t", list![]).unwrap().rows, [["x".into(), "z".into()]]);
    sidecar.end();
}

#[test]
fn no_answer_is_a_denial_and_is_not_kept() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![("timeout", 100.into())]);
    let wrong: [(Option<Term>, &str); 4] = [
        (failed("** (RuntimeError) no"), "; the authorizer: ** (RuntimeError) no"),
        (ok(atom("maybe")), "; the authorizer: the answer is none of the atoms ok, deny, ignore"),
        (ok(1), "none of the atoms"),
        (None, "; the authorizer: no answer within 100 ms"),
    ];
    for (outcome, message) in wrong {
        let (error, _) =
            answering(&sidecar, |_| outcome.clone(), || conn.query("SELECT a FROM t", list![]).unwrap_err());
        assert_eq!(error.code, "not_authorized");
        assert!(error.message.contains(message), "{error:?}");
        let (error, _) = answering(
            &sidecar,
            |_| outcome.clone(),
            || conn.call(tag::PREPARE, ["SELECT a FROM t".into()]).unwrap_err(),
        );
        assert_eq!(error.code, "not_authorized", "to prepare it as well");
    }
    let (outcome, _) = answering(&sidecar, decide(&[]), || conn.query("SELECT a FROM t", list![]));
    outcome.unwrap();
    sidecar.end();
}

#[test]
fn whoever_is_asked_hears_every_reason_to_stop() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(&path), sidecar.open(&path));
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![("timeout", 0.into())]);
    let request = conn.start("SELECT a FROM t");
    let call = Call::of(&sidecar.receive(0).payload);
    assert_eq!(other.value("SELECT count(*) FROM t"), 1.into(), "others are served meanwhile");
    assert_eq!(conn.cancel(request), atom("true"));
    assert_eq!(conn.outcome(request).unwrap_err().code, "cancelled");
    assert_eq!(sidecar.receive(0).tag, tag::ABANDONED);
    answer(&sidecar, &call, &ok(atom("ok")).unwrap());

    let request = conn.within(100).start("CREATE INDEX i ON t(a)");
    let mut left = 0;
    while sidecar.receive(0).tag == tag::CALL {
        left += 1;
        assert_eq!(left, 1, "it is not asked further");
    }
    assert_eq!(conn.outcome(request).unwrap_err().code, "timeout");
    assert_eq!(sidecar.writer("test.db"), nil());

    let request = conn.start("SELECT a FROM t");
    sidecar.receive(0);
    conn.close();
    assert_eq!(conn.outcome(request).unwrap_err().code, "connection_closed");
    assert_eq!(sidecar.receive(0).tag, tag::ABANDONED);
    set(&other, vec![("timeout", 0.into())]);
    other.start("SELECT a FROM t");
    sidecar.receive(0);
    sidecar.close_stdin();
    let (status, stderr) = sidecar.wait(BOUND);
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[test]
fn it_stands_behind_the_policy_and_is_not_asked_about_the_applications_own() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(":memory:", map([("policy", list![atom("no_schema_changes")])])).unwrap();
    let own = || map([("policy", false)]);
    conn.query_with("CREATE TABLE t(a)", list![], own()).unwrap();
    set(&conn, vec![]);
    let (error, calls) =
        answering(&sidecar, decide(&[]), || conn.query("DROP TABLE t", list![]).unwrap_err());
    assert_eq!((error.code.as_str(), calls.len()), ("not_authorized", 0));
    assert!(error.message.contains("no_schema_changes"), "{error:?}");
    let (_, calls) =
        answering(&sidecar, decide(&[]), || conn.query_with("CREATE TABLE u(a)", list![], own()).unwrap());
    assert_eq!(calls.len(), 0);
    let (error, calls) = answering(&sidecar, decide(&[("insert t", "deny")]), || {
        conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err()
    });
    assert_eq!((error.code.as_str(), calls.len()), ("not_authorized", 1));
    sidecar.end();
}

#[test]
fn it_does_not_change_beside_an_open_cursor() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    let declare = || conn.call(tag::DECLARE, ["SELECT secret FROM t".into(), list![]]).unwrap();
    let refused = |outcome: Result<Term, Failure>| {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.code, "locked", "{failure:?}");
        assert!(failure.message.contains("authorizer"), "{failure:?}");
    };
    let cursor = declare().items()[0].clone();
    let hook = || map([("callback", 9.into()), ("kind", atom("authorizer"))]);
    refused(conn.call(tag::SET_HOOK, [hook()]));
    refused(conn.call(tag::REMOVE_HOOK, [atom("authorizer")]));
    assert_eq!(conn.value("SELECT secret FROM t"), "s".into(), "nobody is asked");
    // Other hooks are no matter of what is read.
    conn.call(tag::SET_HOOK, [map([("callback", 8.into()), ("kind", atom("commit"))])]).unwrap();
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    conn.call(tag::SET_HOOK, [hook()]).unwrap();
    let (cursor, calls) = answering(&sidecar, decide(&[]), declare);
    assert_eq!(calls.len(), 2);
    refused(conn.call(tag::REMOVE_HOOK, [atom("authorizer")]));
    conn.call(tag::CLOSE_CURSOR, [cursor.items()[0].clone()]).unwrap();
    assert_eq!(conn.call(tag::REMOVE_HOOK, [atom("authorizer")]), Ok(atom("true")));
    sidecar.end();
}

#[test]
fn it_stays_when_the_connection_is_reset() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(SCHEMA).unwrap();
    set(&conn, vec![]);
    conn.call(tag::RESET, []).unwrap();
    let rules = [("read t.secret", "deny")];
    let (outcome, _) = answering(&sidecar, decide(&rules), || conn.query("SELECT secret FROM t", list![]));
    assert_eq!(outcome.unwrap_err().code, "not_authorized");
    sidecar.end();
}

#[test]
fn everything_can_still_be_done_with_one_that_allows_everything() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    set(&conn, vec![]);
    answering(&sidecar, decide(&[]), || {
        conn.script(SCHEMA).unwrap();
        for sql in [
            "CREATE VIRTUAL TABLE docs USING fts5(body)",
            "INSERT INTO docs VALUES ('a b'), ('b c')",
            "SELECT count(*) FROM docs WHERE docs MATCH 'b'",
            "CREATE TABLE e(v F32_BLOB(2))",
            "CREATE INDEX ev ON e(libsql_vector_idx(v))",
            "INSERT INTO e VALUES (vector('[1, 2]'))",
            "DROP INDEX ev",
            "ALTER TABLE t ADD COLUMN more",
            "ALTER TABLE t RENAME COLUMN more TO less",
            "ALTER TABLE t DROP COLUMN less",
            "CREATE TRIGGER tt AFTER INSERT ON t BEGIN DELETE FROM e; END",
            "INSERT INTO t(a) VALUES (5)",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT sum(i) FROM n",
            "PRAGMA user_version = 3",
            "ANALYZE",
            "REINDEX",
            "VACUUM",
            "DROP TABLE docs",
            "DROP VIEW v",
            "DROP TABLE t",
        ] {
            conn.query(sql, list![]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
    });
    sidecar.end();
}

#[test]
fn one_that_makes_no_sense_is_refused() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    let hook = |more: (&'static str, Term)| map([("kind", atom("authorizer")), more]);
    assert_eq!(conn.call(tag::SET_HOOK, [hook(("tables", list!["t"]))]).unwrap_err().code, "invalid_option");
    let of_all = sidecar.call(tag::SET_HOOK, &tuple![0, 0, hook(("callback", 1.into()))]);
    assert_eq!(of_all.unwrap_err().code, "invalid_option");
    let open = sidecar.open_with(&path, map([("defensive", false)])).unwrap();
    let error = open.call(tag::SET_HOOK, [hook(("callback", 1.into()))]).unwrap_err();
    assert_eq!(error.code, "invalid_option");
    assert!(error.message.contains("defensive"), "{error:?}");
    sidecar.end();
}
