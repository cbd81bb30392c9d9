//! The option `limits`: each limit has a floor at which all that the sidecar runs by itself works, and an error of the engine
//! names the limit that was met.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::path::Path;

/// Every limit with the least that it can be, as docs/protocol.md has them.
const FLOORS: &[(&str, i64)] = &[
    ("length", 1000),
    ("sql_length", 1000),
    ("column", 16),
    ("expr_depth", 10),
    ("compound_select", 0),
    ("vdbe_op", 1000),
    ("function_arg", 8),
    ("attached", 0),
    ("like_pattern_length", 100),
    ("variable_number", 8),
    ("trigger_depth", 0),
];

fn limits(limits: &[(&str, i64)]) -> Term {
    let limits = limits.iter().map(|(name, value)| (Term::from(*name), Term::from(*value)));
    map([("limits", Term::Map(limits.collect()))])
}

fn refusal(sidecar: &Sidecar, path: &str, options: Term) -> Failure {
    sidecar.open_with(path, options).map(|conn| conn.id).unwrap_err()
}

/// What may look things up by statements of the sidecar's own, and what came of it.
fn work(conn: &Conn<'_>, beside: &Path) -> Vec<String> {
    let mut seen = Vec::new();
    let mut failure = |sql: &str| {
        let failure = conn.query(sql, list![]).expect_err(sql);
        assert!(failure.constraint.is_some(), "{failure:?}");
        seen.push(format!("{} {:?}", failure.code, failure.constraint));
    };
    conn.script(
        "CREATE TABLE p(a, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
         CREATE TABLE c(id INTEGER PRIMARY KEY, a, b, u UNIQUE, \"dotted.name\",
           CONSTRAINT to_p FOREIGN KEY (a, b) REFERENCES p(a, b) DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE n(id INTEGER PRIMARY KEY, c_id REFERENCES c(id), UNIQUE (c_id));
         CREATE UNIQUE INDEX by_name ON c(lower(\"dotted.name\"), a);
         CREATE TABLE v(id INTEGER PRIMARY KEY, x F32_BLOB(3));
         CREATE INDEX vi ON v(libsql_vector_idx(x));
         INSERT INTO v VALUES (1, vector32('[1,2,3]'));
         DROP INDEX vi;
         INSERT INTO c(id, u, \"dotted.name\") VALUES (1, 1, 'x');",
    )
    .unwrap();
    failure("INSERT INTO n(c_id) VALUES (7)");
    failure("INSERT INTO c(u) VALUES (1)");
    failure("INSERT INTO c(id) VALUES (1)");
    failure("INSERT INTO c(\"dotted.name\", a) VALUES ('X', NULL), ('y', 1), ('Y', 1)");
    conn.begin("immediate").unwrap();
    conn.exec("INSERT INTO c(a, b) VALUES (5, 6)");
    let at_commit = conn.commit().unwrap_err();
    seen.push(format!("{} {:?}", at_commit.code, at_commit.constraint));
    conn.rollback().unwrap();
    for mode in ["deferred", "immediate", "exclusive", "read_only"] {
        conn.begin(mode).unwrap();
        conn.call(tag::SAVEPOINT, ["s".into()]).unwrap();
        seen.push(format!("{:?}", conn.value("SELECT count(*) FROM c")));
        conn.call(tag::ROLLBACK_TO, ["s".into()]).unwrap();
        conn.call(tag::RELEASE, ["s".into()]).unwrap();
        conn.commit().unwrap();
    }
    conn.batch(true, &[("INSERT INTO p VALUES (1, 1)", list![]), ("DELETE FROM p", list![])]).unwrap();
    seen.push(format!(
        "{:?}",
        conn.query_one("INSERT INTO p VALUES (2, 2) RETURNING a", list![]).unwrap().rows
    ));
    conn.call(tag::PREPARE, ["SELECT * FROM c".into()]).unwrap();
    seen.push(format!("{:?}", conn.call(tag::DESCRIBE, ["SELECT * FROM c".into()]).unwrap().get("columns")));
    conn.call(tag::DECLARE, ["SELECT * FROM c".into(), list![]]).unwrap();
    conn.exec("PRAGMA busy_timeout = 50");
    conn.exec("CREATE TEMP TABLE own(a)");
    conn.exec("CREATE TEMP TRIGGER never AFTER INSERT ON own BEGIN SELECT 1; END");
    conn.query("ATTACH ?1 AS beside", list![beside.to_str().unwrap()]).unwrap();
    conn.exec("CREATE TABLE beside.q(a UNIQUE)");
    conn.exec("INSERT INTO beside.q VALUES (1)");
    let beside = conn.query("INSERT INTO beside.q VALUES (1)", list![]).unwrap_err();
    seen.push(format!("{} {:?}", beside.code, beside.constraint));
    conn.call(tag::CHECKPOINT, [atom("truncate")]).unwrap();
    conn.call(tag::RESET, []).unwrap();
    seen.push(format!("{:?}", conn.exec("SELECT name FROM pragma_database_list").rows));
    seen
}

#[test]
fn what_the_sidecar_runs_by_itself_works_with_every_limit_at_its_floor() {
    let (folder, path) = folder();
    let sidecar = Sidecar::start();
    let usual = sidecar.open(folder.path().join("usual.db"));
    let expected = work(&usual, &folder.path().join("beside usual.db"));
    // One file is attached; nothing else of it needs that limit.
    let one = |(name, floor): &(&'static str, i64)| (*name, if *name == "attached" { 1 } else { *floor });
    let floors: Vec<_> = FLOORS.iter().map(one).collect();
    let pragmas = map([
        ("page_size", Term::from(8192)),
        ("auto_vacuum", "incremental".into()),
        ("locking_mode", "normal".into()),
        ("case_sensitive_like", true.into()),
        ("secure_delete", "fast".into()),
        ("max_page_count", 4_000_000_000i64.into()),
        ("journal_size_limit", 1_000_000_000i64.into()),
        ("recursive_triggers", true.into()),
    ]);
    let Term::Map(mut options) = limits(&floors) else { unreachable!() };
    options.push(("pragmas".into(), pragmas));
    let lowest = sidecar.open_with(&path, Term::Map(options)).unwrap();
    assert_eq!(work(&lowest, &folder.path().join("beside.db")), expected);
    lowest.close();
    // A file that is there, others in memory, and one for reading alone.
    for (name, mut further) in [
        (path.to_str().unwrap(), vec![]),
        (path.to_str().unwrap(), vec![("mode".into(), atom("read_only"))]),
        ("shared", vec![("memory".into(), true.into())]),
        (":memory:", vec![("untrusted_sql".into(), true.into())]),
    ] {
        let Term::Map(options) = limits(FLOORS) else { unreachable!() };
        further.extend(options);
        let conn = sidecar.open_with(name, Term::Map(further)).unwrap();
        assert_eq!(conn.value("SELECT 1"), 1.into());
        conn.call(tag::RESET, []).unwrap();
        conn.close();
    }
}

#[test]
fn a_limit_below_its_floor_is_an_error_that_names_option_value_and_floor() {
    let sidecar = Sidecar::start();
    for (name, floor) in FLOORS {
        for value in [floor - 1, -1, -2_000_000_000] {
            let failure = refusal(&sidecar, ":memory:", limits(&[(name, value)]));
            assert_eq!(failure.code, "invalid_option", "{failure:?}");
            let words = format!("limits: [{name}: {value}]: the limit {name} can be {floor} at least");
            assert!(failure.message.starts_with(&words), "{failure:?}");
        }
        sidecar.open_with(":memory:", limits(&[(name, *floor)])).unwrap().close();
    }
    let failure = refusal(&sidecar, ":memory:", limits(&[("column", 1 << 40)]));
    assert!(failure.message.contains("column is an integer from 16"), "{failure:?}");
}

#[test]
fn an_error_of_a_limit_names_the_limit_behind_the_engine_s_own_words() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(":memory:", limits(&[FLOORS, &[]].concat())).unwrap();
    conn.script(
        "CREATE TABLE t(a); CREATE TABLE l(a); CREATE TRIGGER r AFTER INSERT ON l BEGIN SELECT 1; END",
    )
    .unwrap();
    let columns = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
    let ones = |count: usize| vec!["1"; count].join(", ");
    let deep = format!("SELECT {}1{}", "(1 + ".repeat(20), ")".repeat(20));
    for (limit, sql) in [
        ("length", "SELECT zeroblob(1001)".to_owned()),
        ("length", "INSERT INTO t VALUES (zeroblob(999))".to_owned()),
        ("sql_length", format!("SELECT 1 {}", " ".repeat(1000))),
        ("column", format!("CREATE TABLE w({})", columns(17))),
        ("column", format!("SELECT {}", ones(17))),
        ("column", format!("SELECT a FROM t ORDER BY {}", vec!["a"; 17].join(", "))),
        ("column", format!("SELECT a FROM t GROUP BY {}", vec!["a"; 17].join(", "))),
        ("column", format!("UPDATE t SET {}", vec!["a = 1"; 17].join(", "))),
        ("expr_depth", deep),
        ("function_arg", format!("SELECT max({})", ones(9))),
        ("attached", "ATTACH ':memory:' AS m".to_owned()),
        ("like_pattern_length", format!("SELECT 'a' LIKE '{}'", "a".repeat(101))),
        ("variable_number", "SELECT ?9".to_owned()),
        ("variable_number", format!("SELECT 1 IN ({})", ["?"; 9].join(", "))),
        ("trigger_depth", "INSERT INTO l VALUES (1)".to_owned()),
    ] {
        let failure = conn.query(&sql, list![]).expect_err(&sql);
        let words = format!("; raise limits: [{limit}: …] of the connection");
        assert!(failure.message.contains(&words), "{limit} {failure:?}");
        assert!(failure.message.len() > words.len(), "{failure:?}");
    }
    let conn = sidecar.open_with(":memory:", limits(&[("compound_select", 2)])).unwrap();
    let failure = conn.query("SELECT 1 UNION SELECT 2 UNION SELECT 3", list![]).unwrap_err();
    assert!(
        failure.message.contains("; raise limits: [compound_select: …] of the connection"),
        "{failure:?}"
    );
    // A script and a prepared statement are compiled elsewhere.
    let wide = format!("SELECT 1; SELECT {}", vec!["1"; 2001].join(", "));
    for failure in
        [conn.script(&wide).unwrap_err(), conn.call(tag::PREPARE, [wide[10..].into()]).unwrap_err()]
    {
        assert!(failure.message.contains("raise limits: [column: …]"), "{failure:?}");
    }
}

#[test]
fn no_memory_names_both_limits_that_it_may_come_from() {
    let sidecar = Sidecar::start_with(&["--heap-bytes-max=67108864"]);
    let conn = sidecar.open_with(":memory:", limits(&[("vdbe_op", 1000)])).unwrap();
    let many = format!("SELECT {}", vec!["hex(1)"; 1000].join(", "));
    for sql in ["SELECT hex(zeroblob(60000000))", &many] {
        let failure = conn.query(sql, list![]).unwrap_err();
        assert_eq!(failure.code, "out_of_memory", "{failure:?}");
        assert!(failure.message.starts_with("out of memory; "), "{failure:?}");
        for named in ["heap_bytes_max of the sidecar", "limits: [vdbe_op: …] of the connection"] {
            assert!(failure.message.contains(named), "{failure:?}");
        }
    }
    assert_eq!(conn.value("SELECT 1"), 1.into());
}

#[test]
fn a_schema_beyond_a_limit_is_not_called_a_damaged_file() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let path = path.to_str().unwrap();
    for (limit, floor, table) in [
        (
            "column",
            16,
            format!("CREATE TABLE t({})", (0..20).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ")),
        ),
        ("expr_depth", 10, format!("CREATE TABLE t(a, CHECK ({}1{}))", "(1 + ".repeat(20), ")".repeat(20))),
        ("sql_length", 1000, format!("CREATE TABLE t(a DEFAULT '{}')", "x".repeat(1500))),
    ] {
        let path = format!("{path}-{limit}");
        let usual = sidecar.open(&path);
        usual.exec(&table);
        let outcome = sidecar.open_with(&path, limits(&[(limit, floor)]));
        let failure = match outcome {
            Ok(conn) => conn.query("SELECT * FROM t", list![]).map(|_| ()).unwrap_err(),
            Err(failure) => failure,
        };
        assert_eq!((failure.code.as_str(), failure.sqlite_code), ("invalid_option", Some(11)), "{failure:?}");
        assert!(failure.message.starts_with("malformed database schema (t) - "), "{failure:?}");
        assert!(failure.message.contains(&format!("raise limits: [{limit}: …]")), "{failure:?}");
        assert_eq!(usual.value("PRAGMA integrity_check"), "ok".into());
    }
}
