//! Policies: what they decide, what they say of it, and that they cost prepared statements nothing.

use crate::list;
use crate::support::*;
use crate::term::*;
use crate::tuple;
use std::time::Duration;

/// A rule: effect, actions, and keys with one name each.
pub fn rule(effect: &str, actions: &[&str], names: &[(&str, &str)]) -> Term {
    let actions = Term::List(actions.iter().map(|name| atom(name)).collect());
    let names = names.iter().map(|(key, name)| (atom(key), list![*name])).collect();
    Term::Tuple(vec![atom(effect), actions, Term::Map(names)])
}

fn policed<'s>(sidecar: &'s Sidecar, path: &std::path::Path, policy: Term) -> Conn<'s> {
    sidecar.open_with(path, map([("policy", policy)])).unwrap()
}

#[track_caller]
fn denied(conn: &Conn<'_>, sql: &str) -> Failure {
    let failure = conn.query(sql, list![]).map(|_| panic!("{sql} is allowed")).unwrap_err();
    assert_eq!(failure.code, "not_authorized", "{sql}: {failure:?}");
    assert!(failure.denial.is_some(), "{sql}: {failure:?}");
    assert_eq!(failure.sqlite_code, Some(23));
    failure
}

/// `{Action, Object, Column, Database, Through, Rule}` of a denial.
fn fields(failure: &Failure) -> [Term; 6] {
    failure.denial.as_ref().unwrap().items().to_vec().try_into().unwrap()
}

fn of(action: &str, object: Term, column: Term, rule: Term) -> [Term; 6] {
    [bytes(action.as_bytes()), object, column, bytes(b"main"), nil(), rule]
}

const PEOPLE: &str = "CREATE TABLE people(id INTEGER PRIMARY KEY, name, password, ssn, owner);
    INSERT INTO people VALUES (1, 'Ada', 'p1', 's1', 7), (2, 'Bob', 'p2', 's2', 8);
    CREATE TABLE copies(a, b, c, d, e);
    CREATE TABLE notes(id INTEGER PRIMARY KEY, text);
    CREATE VIEW mine AS SELECT id, name, password FROM people WHERE owner = 7;
    CREATE TRIGGER log AFTER INSERT ON notes BEGIN INSERT INTO copies(a) VALUES (new.text); END;";

fn database(sidecar: &Sidecar) -> (tempfile::TempDir, std::path::PathBuf) {
    let (folder, path) = folder();
    sidecar.open(&path).script(PEOPLE).unwrap();
    (folder, path)
}

fn with_everything(rules: impl IntoIterator<Item = Term>) -> Term {
    Term::List(rules.into_iter().chain([rule("allow", &["any"], &[])]).collect())
}

#[test]
fn a_denial_names_action_object_column_and_rule() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let hidden = rule("deny", &["read"], &[("table", "People"), ("column", "PASSWORD")]);
    let conn = policed(&sidecar, &path, with_everything([hidden, rule("deny", &["delete"], &[])]));
    assert_eq!(conn.value("SELECT name FROM people WHERE id = 1").text(), "Ada");
    let failure = denied(&conn, "SELECT password FROM people");
    assert_eq!(fields(&failure), of("read", "people".into(), "password".into(), 0.into()));
    assert!(failure.message.contains("read people.password"), "{failure:?}");
    assert!(failure.message.contains("element 0"), "{failure:?}");
    let failure = denied(&conn, "DELETE FROM notes");
    assert_eq!(fields(&failure), of("delete", "notes".into(), nil(), 1.into()));
    // However a statement is run.
    for sql in ["SELECT password FROM people", "DELETE FROM notes"] {
        for outcome in [
            conn.call(tag::PREPARE, [sql.into()]).map(|_| ()),
            conn.call(tag::DESCRIBE, [sql.into()]).map(|_| ()),
            conn.call(tag::DECLARE, [sql.into(), list![]]).map(|_| ()),
            conn.query_one(sql, list![]).map(|_| ()),
            conn.script(&format!("SELECT 1; {sql}")).map(|_| ()),
            conn.batch(true, &[("SELECT 1", list![]), (sql, list![])]).map(|_| ()),
        ] {
            let failure = outcome.unwrap_err();
            assert_eq!(failure.code, "not_authorized", "{sql}");
            assert!(failure.denial.is_some(), "{sql}: {failure:?}");
        }
        let (items, _) = conn.batch(false, &[(sql, list![])]).unwrap();
        assert!(items[0].as_ref().unwrap_err().denial.is_some());
    }
    // A connection without a policy is as ever, and its error is the engine's.
    assert_eq!(sidecar.open(&path).value("SELECT password FROM people WHERE id = 1").text(), "p1");
}

#[test]
fn a_column_is_not_read_by_any_way_around_its_name() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let hidden = rule("deny", &["read"], &[("table", "people"), ("column", "password")]);
    let conn = policed(&sidecar, &path, with_everything([hidden]));
    for sql in [
        "SELECT * FROM people",
        "SELECT p.password FROM people AS p",
        "SELECT id FROM people WHERE password = 'p1'",
        "SELECT id FROM people ORDER BY password",
        "SELECT count(*) FROM people GROUP BY password",
        "SELECT max(password) FROM people",
        "WITH x AS (SELECT * FROM people) SELECT id FROM x",
        "WITH mine AS (SELECT password FROM people) SELECT * FROM mine",
        "SELECT 1 FROM (SELECT 'p1' AS password) NATURAL JOIN people",
        "SELECT 1 FROM (SELECT 'p1' AS password) JOIN people USING (password)",
        "SELECT 1 FROM people JOIN (SELECT 'p1' AS password) USING (password)",
        "SELECT 1 FROM people LEFT JOIN (SELECT 'p1' AS password) USING (password)",
        "SELECT 1 FROM people a FULL JOIN people b USING (password)",
        "SELECT 1 FROM copies WHERE EXISTS (SELECT 1 FROM people WHERE password > 'a')",
        "SELECT (SELECT password FROM people)",
        "SELECT 'p1' IN (SELECT password FROM people)",
        "SELECT (1, 'Ada', 'p1', 's1', 7) IN people",
        "INSERT INTO copies SELECT * FROM people",
        "INSERT INTO copies(a) SELECT password FROM people",
        "CREATE TABLE stolen AS SELECT * FROM people",
        "CREATE TEMP TABLE stolen AS SELECT * FROM people",
        "UPDATE notes SET text = (SELECT password FROM people)",
        "UPDATE notes SET text = p.password FROM people p",
        "UPDATE people SET name = password",
        "UPDATE people SET name = 'x' RETURNING password",
        "DELETE FROM people WHERE password = 'p1' RETURNING id",
        "INSERT INTO people(id, name) VALUES (1, 'x') ON CONFLICT(id) DO UPDATE SET name = people.password",
        "CREATE INDEX i ON people(password)",
        "CREATE INDEX i ON people(id) WHERE password > 'a'",
        "CREATE INDEX i ON people(upper(password))",
        "SELECT password FROM mine",
        "SELECT sum(id) OVER (PARTITION BY password) FROM people",
        "EXPLAIN SELECT password FROM people",
        "SELECT json_group_array(password) FROM people",
        "SELECT 1 FROM json_each((SELECT password FROM people))",
        "VALUES ((SELECT password FROM people))",
    ] {
        let failure = denied(&conn, sql);
        assert_eq!(
            fields(&failure)[..3],
            of("read", "people".into(), "password".into(), nil())[..3],
            "{sql}"
        );
    }
    // Nor is the key by its other names.
    let key = |action: &str| rule("deny", &[action], &[("table", "people"), ("column", "id")]);
    let keyed = policed(&sidecar, &path, with_everything([key("read"), key("update")]));
    for name in ["id", "rowid", "oid", "_rowid_"] {
        denied(&keyed, &format!("SELECT {name} FROM people"));
        denied(&keyed, &format!("UPDATE people SET {name} = {name} + 10"));
        denied(&keyed, &format!("UPDATE people SET {name} = 10"));
    }
    // Writing it is not reading it, and rows can be counted.
    conn.exec("UPDATE people SET password = 'new' WHERE id = 1");
    assert_eq!(conn.value("SELECT count(*) FROM people").int(), 2);
    // The rows of another table travel at once as ever.
    conn.exec("CREATE TABLE more(a, b, c, d, e)");
    assert_eq!(conn.exec("INSERT INTO more SELECT * FROM copies").changes, 0);
}

#[test]
fn a_table_can_be_read_through_a_view_or_a_trigger_alone() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let through = |view: &str| rule("allow", &["read"], &[("table", "people"), ("through", view)]);
    let policy = Term::List(vec![
        through("mine"),
        rule("deny", &["read"], &[("table", "people")]),
        rule("allow", &["insert"], &[("table", "copies"), ("through", "log")]),
        rule("deny", &["write"], &[("table", "copies")]),
        rule("allow", &["query", "insert", "create_temp_view"], &[]),
    ]);
    let conn = policed(&sidecar, &path, policy);
    assert_eq!(conn.exec("SELECT name FROM mine").rows, [[Term::from("Ada")]]);
    assert_eq!(conn.value("SELECT count(*) FROM mine").int(), 1);
    assert_eq!(conn.exec("SELECT m.name FROM mine m WHERE m.id IN (SELECT id FROM mine)").rows.len(), 1);
    conn.exec("INSERT INTO notes(text) VALUES ('x')");
    for sql in [
        "SELECT name FROM people",
        "SELECT count(*) FROM people",
        // Names of the view that are not the view.
        "WITH mine AS (SELECT * FROM people) SELECT name FROM mine",
        "WITH mine AS MATERIALIZED (SELECT * FROM people) SELECT name FROM mine",
        "WITH RECURSIVE mine AS (SELECT 0 AS id UNION ALL SELECT people.id FROM mine, people) SELECT * FROM mine LIMIT 3",
        "SELECT name FROM people AS mine",
        "SELECT name FROM (SELECT * FROM people) AS mine",
        "SELECT mine.id, (SELECT name FROM people LIMIT 1) FROM mine",
        "WITH people AS (SELECT * FROM main.people) SELECT * FROM people",
        "INSERT INTO copies(a) VALUES (1)",
        "WITH log AS (SELECT 1) INSERT INTO copies(a) SELECT * FROM log",
    ] {
        denied(&conn, sql);
    }
    // A table expression of the statement does not take the place of the view's table.
    assert_eq!(
        conn.exec("WITH people AS (SELECT 1 AS id, 'forged' AS name, 1 AS password, 7 AS owner) SELECT name FROM mine").rows,
        [[Term::from("Ada")]]
    );
    // Whoever may make temporary views can make one of that name: `temp_schema` is to be denied where `through` counts.
    conn.exec("CREATE TEMP VIEW mine AS SELECT * FROM main.people");
    assert_eq!(conn.exec("SELECT name FROM temp.mine").rows.len(), 2);
}

#[test]
fn an_ignored_column_is_null_where_it_is_shown_and_refused_where_it_would_be_stored() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let ssn = rule("ignore", &["read"], &[("table", "people"), ("column", "ssn")]);
    let upper = rule("ignore", &["function"], &[("function", "upper")]);
    let owner = rule("ignore", &["update"], &[("table", "people"), ("column", "owner")]);
    let conn = policed(&sidecar, &path, with_everything([ssn, upper, owner]));
    assert_eq!(
        conn.exec("SELECT ssn, upper(name), name FROM people WHERE id = 1").rows,
        [[nil(), nil(), "Ada".into()]]
    );
    for sql in [
        "UPDATE people SET name = ssn",
        "UPDATE people SET name = upper(name)",
        "INSERT INTO copies SELECT * FROM people",
        "INSERT INTO copies(a) SELECT ssn FROM people",
        "CREATE TABLE t AS SELECT ssn FROM people",
        "DELETE FROM people WHERE ssn IS NULL",
        "INSERT INTO people(ssn) VALUES (1) RETURNING ssn",
    ] {
        let failure = denied(&conn, sql);
        assert!(failure.message.contains("must not store"), "{failure:?}");
    }
    // A column that is left as it is.
    assert_eq!(conn.exec("UPDATE people SET owner = 99, name = 'Eve' WHERE id = 2").changes, 1);
    assert_eq!(
        sidecar.open(&path).exec("SELECT name, owner FROM people WHERE id = 2").rows,
        [["Eve".into(), 8.into()]]
    );
    // The key by any of its names; the engine wrote in front of an array for a rowid that is no column.
    let other = sidecar.open(&path);
    other.exec("CREATE TABLE plain(a)");
    other.exec("INSERT INTO plain VALUES (1)");
    let kept = rule("ignore", &["update"], &[]);
    let keeps = policed(&sidecar, &path, with_everything([kept]));
    for sql in [
        "UPDATE people SET id = 50, name = 'x'",
        "UPDATE people SET rowid = 50",
        "UPDATE plain SET rowid = 50",
        "UPDATE plain SET oid = 50, a = 2 WHERE a = 1",
    ] {
        keeps.exec(sql);
    }
    assert_eq!(other.value("SELECT group_concat(id || name) FROM people").text(), "1Ada,2Eve");
    assert_eq!(other.exec("SELECT rowid, a FROM plain").rows, [[Term::from(1), 1.into()]]);
    // Compiled anew while it runs, after the schema has changed.
    conn.exec("CREATE TEMP TABLE kept AS SELECT 1 AS a, 2 AS b");
    let insert = "INSERT INTO kept SELECT * FROM wide";
    other.exec("CREATE VIEW wide AS SELECT id, name FROM people");
    conn.exec(insert);
    other.exec("DROP VIEW wide");
    other.exec("CREATE VIEW wide AS SELECT id, ssn FROM people");
    assert!(denied(&conn, insert).message.contains("must not store"));
    assert_eq!(conn.value("SELECT count(*) FROM kept").int(), 3);
}

#[test]
fn what_is_kept_is_compiled_anew_under_another_policy() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let conn = sidecar.open(&path);
    let sql = "SELECT name FROM people WHERE id = 1";
    let prepared = conn.call(tag::PREPARE, [sql.into()]).unwrap().items()[0].clone();
    let run = |conn: &Conn<'_>| {
        let id = conn.send(tag::EXECUTE_PREPARED, [prepared.clone(), list![]]);
        conn.outcome(id)
    };
    assert_eq!(conn.exec(sql).value().text(), "Ada");
    assert_eq!(run(&conn).unwrap().value().text(), "Ada");
    let set = |policy: Term| conn.call(tag::SET_POLICY, [policy]);
    set(with_everything([rule("deny", &["read"], &[("table", "people")])])).unwrap();
    denied(&conn, sql);
    let failure = run(&conn).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.denial.is_some()), ("not_authorized", true));
    set(with_everything([rule("ignore", &["read"], &[("table", "people"), ("column", "name")])])).unwrap();
    assert_eq!(run(&conn).unwrap().value(), &nil());
    assert_eq!(conn.value(sql), nil());
    set(nil()).unwrap();
    assert_eq!(conn.exec(sql).value().text(), "Ada");
    assert_eq!(run(&conn).unwrap().value().text(), "Ada");
    // A cursor has been allowed what it reads.
    let cursor = conn.call(tag::DECLARE, [sql.into(), list![]]).unwrap().items()[0].clone();
    assert_eq!(set(list![atom("read_only")]).unwrap_err().code, "locked");
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    set(list![atom("read_only")]).unwrap();
    denied(&conn, "DELETE FROM people");
    // As it was opened.
    conn.call(tag::RESET, []).unwrap();
    conn.exec("DELETE FROM people WHERE id = 2");
    let conn = policed(&sidecar, &path, list![atom("read_only")]);
    conn.call(tag::SET_POLICY, [nil()]).unwrap();
    conn.exec("DELETE FROM notes");
    conn.call(tag::RESET, []).unwrap();
    denied(&conn, "DELETE FROM notes");
    assert_eq!(conn.call(tag::SET_POLICY, [list![atom("read-only")]]).unwrap_err().code, "invalid_option");
    denied(&conn, "DELETE FROM notes");
}

#[test]
fn a_schema_that_changes_is_asked_about_anew() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let conn = policed(&sidecar, &path, with_everything([rule("deny", &["read"], &[("column", "ssn")])]));
    let sql = "SELECT * FROM look";
    let other = sidecar.open(&path);
    other.exec("CREATE VIEW look AS SELECT id FROM people");
    let prepared = conn.call(tag::PREPARE, [sql.into()]).unwrap().items()[0].clone();
    assert_eq!(conn.exec(sql).rows.len(), 2);
    other.script("DROP VIEW look; CREATE VIEW look AS SELECT ssn FROM people").unwrap();
    let failure = denied(&conn, sql);
    assert_eq!(fields(&failure)[4], Term::from("look"));
    let id = conn.send(tag::EXECUTE_PREPARED, [prepared, list![]]);
    assert!(conn.outcome(id).unwrap_err().denial.is_some());
}

#[test]
fn requests_of_the_application_are_no_sql_of_the_policy() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    // Not even SELECT.
    let conn = policed(&sidecar, &path, list![rule("allow", &["insert"], &[("table", "copies")])]);
    for mode in ["deferred", "immediate", "exclusive", "read_only"] {
        conn.begin(mode).unwrap();
        conn.call(tag::SAVEPOINT, ["a".into()]).unwrap();
        conn.call(tag::ROLLBACK_TO, ["a".into()]).unwrap();
        conn.call(tag::RELEASE, ["a".into()]).unwrap();
        conn.commit().unwrap();
    }
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO copies(a) VALUES (1)");
    conn.rollback().unwrap();
    conn.batch(true, &[("INSERT INTO copies(a) VALUES (2)", list![])]).unwrap();
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    conn.call(tag::RESET, []).unwrap();
    conn.query_one("INSERT INTO copies(a) VALUES (3)", list![]).unwrap_err();
    // The same texts, compiled for those requests and kept, are not the client's.
    for sql in
        ["BEGIN IMMEDIATE", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT \"a\"", "RELEASE SAVEPOINT \"a\""]
    {
        denied(&conn, sql);
    }
    conn.begin("immediate").unwrap();
    denied(&conn, "COMMIT");
    conn.rollback().unwrap();
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM copies").int(), 1);
}

#[test]
fn vacuum_is_one_action_and_vacuum_into_another() {
    let sidecar = Sidecar::start();
    let (folder, path) = database(&sidecar);
    let copy = folder.path().join("copy.db");
    let into = format!("VACUUM INTO '{}'", copy.display());
    let conn = policed(&sidecar, &path, list![rule("allow", &["vacuum"], &[])]);
    conn.exec("VACUUM");
    assert_eq!(fields(&denied(&conn, &into))[..2], [bytes(b"vacuum_into"), copy.to_str().unwrap().into()]);
    assert!(!copy.exists());
    let conn = policed(&sidecar, &path, list![rule("allow", &["vacuum_into"], &[])]);
    denied(&conn, "VACUUM");
    conn.exec(&into);
    assert!(copy.exists());
    denied(&conn, "SELECT 1");
    let conn = policed(&sidecar, &path, with_everything([rule("deny", &["attach"], &[])]));
    conn.exec("VACUUM");
    denied(&conn, &format!("ATTACH '{}' AS other", copy.display()));
    denied(&conn, "ATTACH ?1 || '' AS other");
}

#[test]
fn what_the_engine_adds_to_a_statement_needs_no_rule() {
    let sidecar = Sidecar::start();
    let (_folder, path) = folder();
    let policy = list![rule("allow", &["schema", "temp_schema", "analyze"], &[])];
    let conn = policed(&sidecar, &path, policy);
    for sql in [
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE, c)",
        "CREATE TABLE u(a PRIMARY KEY, b REFERENCES u(a)) WITHOUT ROWID",
        "CREATE VIEW v AS SELECT upper(c) FROM t",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; END",
        "CREATE TRIGGER s INSTEAD OF INSERT ON v BEGIN DELETE FROM u; END",
        "ALTER TABLE t ADD COLUMN d DEFAULT 5",
        "ALTER TABLE t DROP COLUMN d",
        "REINDEX",
        "DROP TRIGGER r",
        "DROP VIEW v",
        "DROP TABLE u",
        "DROP TABLE t",
        "CREATE TEMP TABLE t(a UNIQUE)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END",
        "DROP TRIGGER r",
        "DROP VIEW v",
        "DROP TABLE t",
    ] {
        conn.exec(sql);
    }
    // What it indexes is the client's.
    conn.exec("CREATE TABLE t(a, b)");
    let read = rule("allow", &["read"], &[("table", "t"), ("column", "a")]);
    let conn = policed(&sidecar, &path, list![read, rule("allow", &["schema"], &[])]);
    assert_eq!(fields(&denied(&conn, "CREATE INDEX i ON t(upper(a))"))[0], Term::from("function"));
    assert_eq!(fields(&denied(&conn, "CREATE INDEX i ON t(a) WHERE b > 0"))[0], Term::from("read"));
    assert_eq!(fields(&denied(&conn, "CREATE TABLE x AS SELECT 1"))[0], Term::from("select"));
    // Each index of a REINDEX is asked about.
    let all = sidecar.open(&path);
    all.script("CREATE INDEX first ON t(a); CREATE INDEX second ON t(b)").unwrap();
    let conn = policed(&sidecar, &path, list![rule("allow", &["reindex"], &[("name", "first")])]);
    conn.exec("REINDEX first");
    denied(&conn, "REINDEX");
    denied(&conn, "REINDEX second");
}

#[test]
fn a_denied_statement_waits_for_no_turn_and_leaves_nothing() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let writer = sidecar.open(&path);
    writer.begin("immediate").unwrap();
    let conn = policed(&sidecar, &path, list![atom("no_schema_changes")]);
    for sql in [
        "CREATE TABLE x(a)",
        "DROP TABLE people",
        "ALTER TABLE people ADD COLUMN z",
        "CREATE INDEX i ON people(id)",
    ] {
        denied(&conn.within(20_000), sql);
    }
    writer.commit().unwrap();
    // An index of vectors is made and dropped while the statement is compiled.
    let all = sidecar.open(&path);
    all.script(
        "CREATE TABLE vt(v F32_BLOB(3)); CREATE INDEX vi ON vt(libsql_vector_idx(v));
        INSERT INTO vt VALUES (vector32('[1,2,3]'))",
    )
    .unwrap();
    denied(&conn, "DROP INDEX vi");
    denied(&conn, "DROP TABLE vt");
    denied(&conn, "CREATE INDEX vj ON vt(libsql_vector_idx(v))");
    let partly = with_everything([
        rule("deny", &["drop_index"], &[]),
        rule("deny", &["drop_table"], &[("table", "vt")]),
    ]);
    let conn = policed(&sidecar, &path, partly);
    denied(&conn, "DROP INDEX vi");
    denied(&conn, "DROP TABLE vt");
    let found = "SELECT count(*) FROM vector_top_k('vi', vector32('[1,2,3]'), 1)";
    assert_eq!(all.value(found).int(), 1);
    assert_eq!(all.value("PRAGMA integrity_check").text(), "ok");
}

#[test]
fn full_text_tables_work_under_a_policy() {
    let sidecar = Sidecar::start();
    let (_folder, path) = folder();
    sidecar
        .open(&path)
        .script("CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('one two')")
        .unwrap();
    let conn = policed(&sidecar, &path, list![atom("read_only")]);
    assert_eq!(conn.value("SELECT count(*) FROM f WHERE f MATCH 'two'").int(), 1);
    denied(&conn, "INSERT INTO f VALUES ('three')");
    let conn = policed(&sidecar, &path, list![atom("no_schema_changes")]);
    conn.exec("INSERT INTO f VALUES ('three')");
    // A rule for one of them is for whoever names it.
    let conn = policed(&sidecar, &path, with_everything([rule("deny", &["read"], &[("table", "f_data")])]));
    conn.exec("INSERT INTO f VALUES ('four')");
    assert_eq!(fields(&denied(&conn, "SELECT * FROM f_data"))[1], Term::from("f_data"));
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM f").int(), 3);
}

#[test]
fn sql_of_strangers_has_smaller_limits() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar);
    let conn = policed(&sidecar, &path, list![atom("untrusted_sql")]);
    let failed = |sql: &str| conn.query(sql, list![]).unwrap_err();
    assert_eq!(failed("SELECT replace('aaaaaaaaaa', 'a', printf('%0200000d', 1))").code, "too_big");
    assert_eq!(failed(&format!("SELECT {}1", "1+".repeat(60))).code, "sql_error");
    assert_eq!(failed(&format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(12))).code, "sql_error");
    assert_eq!(failed(&format!("SELECT '{}'", "x".repeat(200_000))).code, "too_big");
    let rows = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n LIMIT 10001) SELECT a FROM n";
    assert_eq!(failed(rows).code, "result_too_large");
    assert_eq!(conn.query_with(rows, list![], map([("rows_max", 20_000)])).unwrap().num_rows, 10_001);
    for sql in ["SELECT zeroblob(10)", "SELECT randomblob(10)", "SELECT load_extension('x')"] {
        assert_eq!(fields(&denied(&conn, sql))[0], Term::from("function"), "{sql}");
    }
    // What the connection was given counts, also after the policy has gone and come.
    let options = map([("policy", list![atom("untrusted_sql")]), ("limits", map([("expr_depth", 200)]))]);
    let conn = sidecar.open_with(&path, options).unwrap();
    let deep = format!("SELECT {}1", "1+".repeat(60));
    conn.exec(&deep);
    conn.call(tag::SET_POLICY, [nil()]).unwrap();
    assert_eq!(conn.value("SELECT length(zeroblob(2000000))").int(), 2_000_000);
    assert_eq!(conn.query(&format!("SELECT {}1", "1+".repeat(300)), list![]).unwrap_err().code, "sql_error");
    conn.call(tag::RESET, []).unwrap();
    assert_eq!(conn.query("SELECT zeroblob(2000000)", list![]).unwrap_err().code, "not_authorized");
}

#[test]
fn denials_are_events_and_those_beyond_the_limit_are_counted() {
    let sidecar = Sidecar::start_with(&["--denials-per-second-max", "3", "--log-level", "info"]);
    let (_folder, path) = database(&sidecar);
    let conn = policed(&sidecar, &path, list![atom("read_only")]);
    denied(&conn, "DELETE FROM people");
    let event = |id: u32| sidecar.receive(id);
    let first = event(0);
    assert_eq!(first.tag, tag::POLICY_DENIED);
    let denial = tuple!["delete", "people", nil(), "main", nil(), "read_only"];
    assert_eq!(first.payload, tuple![conn.id, denial, 0]);
    // Within some second there are more than three.
    let mut told = 1;
    let mut left_out = 0;
    for _ in 0..50 {
        denied(&conn, "INSERT INTO notes(text) VALUES (1)");
    }
    std::thread::sleep(Duration::from_millis(1001));
    denied(&conn, "UPDATE people SET name = 1");
    loop {
        let event = event(0);
        let [_, denial, left] = event.payload.items() else { panic!("{event:?}") };
        left_out += left.int();
        told += 1;
        if denial.items()[0] == Term::from("update") {
            break;
        }
    }
    assert_eq!(told + left_out, 52);
    assert!(left_out > 0);
    let log = sidecar.end();
    assert!(log.contains("delete people") && log.contains("read_only"), "{log}");
}

#[test]
fn what_is_no_policy_is_refused_with_its_place() {
    let sidecar = Sidecar::start();
    let (_folder, path) = folder();
    for (policy, word) in [
        (list![atom("readonly")], "read_only"),
        (list![rule("allow", &["read"], &[]), rule("ignore", &["delete"], &[])], "element 1"),
        (list![rule("allow", &["transaction"], &[("table", "t")])], "has no table"),
        (list![rule("permit", &["read"], &[])], "effect"),
        (atom("read_only"), "policy"),
        (list![tuple![atom("deny"), list![], 5]], "map"),
    ] {
        let failure = sidecar.open_with(&path, map([("policy", policy.clone())])).map(|_| ()).unwrap_err();
        assert_eq!(failure.code, "invalid_option", "{policy:?}");
        assert!(failure.message.contains(word), "{failure:?}");
    }
}
