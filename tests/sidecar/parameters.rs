//! Parameters are bound where they belong, or refused; never ignored and never NULL by accident.

use crate::list;
use crate::support::*;
use crate::term::*;

fn row(conn: &Conn<'_>, sql: &str, params: Term) -> Vec<Term> {
    conn.query(sql, params).unwrap_or_else(|failure| panic!("{sql}: {failure:?}")).rows.remove(0)
}

#[test]
fn lists_bind_by_number() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, params, expected) in [
        ("SELECT ?, ?", list![1, 2], vec![1, 2]),
        ("SELECT ?2, ?1", list![1, 2], vec![2, 1]),
        ("SELECT ?1, ?1, ?2", list![1, 2], vec![1, 1, 2]),
        ("SELECT ?3", list![1, 2, 3], vec![3]),
        ("SELECT :a, @b, $c, ?", list![1, 2, 3, 4], vec![1, 2, 3, 4]),
        ("SELECT :a, :b, :a", list![1, 2], vec![1, 2, 1]),
        // A list of small integers travels as a string.
        ("SELECT ? + ? + ?", list![10, 20, 30], vec![60]),
    ] {
        let expected: Vec<Term> = expected.into_iter().map(Term::from).collect();
        assert_eq!(row(&conn, sql, params), expected, "{sql}");
    }
    let mut string = frame(0x1000, tag::EXECUTE, &conn.payload(["SELECT ?, ?".into(), list![]]));
    string.pop();
    string.extend_from_slice(&[107, 0, 2, 7, 8]);
    let length = u32::try_from(string.len() - 4).unwrap();
    string[..4].copy_from_slice(&length.to_be_bytes());
    sidecar.send_bytes(&string);
    assert_eq!(conn.outcome(0x1000).unwrap().rows, [[Term::from(7), 8.into()]]);
}

#[test]
fn maps_bind_by_name() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, params) in [
        ("SELECT :a, :b", map([("a", 1), ("b", 2)])),
        ("SELECT :a, :b", map([("b", 2), ("a", 1)])),
        ("SELECT :a, :b", map([(":b", 2), (":a", 1)])),
        ("SELECT @a, @b", map([("@a", 1), ("b", 2)])),
        ("SELECT $a, $b", map([("$a", 1), ("b", 2)])),
        ("SELECT $a, $b", map([(atom("a"), 1), (atom("b"), 2)])),
        ("SELECT ?1, ?2", map([("?1", 1), ("?2", 2)])),
        ("SELECT :a, @a", map([(":a", 1), ("@a", 2)])),
        ("SELECT :a, ?7", map([("a", 1), ("?7", 2)])),
    ] {
        match conn.query(sql, params.clone()) {
            Ok(outcome) => assert_eq!(outcome.rows, [[Term::from(1), 2.into()]], "{sql} {params:?}"),
            // ?7 leaves numbers without a parameter between: they have no value.
            Err(failure) => {
                assert!(sql.contains("?7") && failure.code == "parameter_name", "{sql}: {failure:?}")
            }
        }
    }
}

#[test]
fn too_many_and_too_few_are_errors() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, params) in [
        ("SELECT ?, ?", list![1]),
        ("SELECT ?, ?", list![]),
        ("SELECT ?, ?", list![1, 2, 3]),
        ("SELECT 1", list![1]),
        ("SELECT ?5", list![1]),
        ("SELECT :a", list![]),
    ] {
        let failure = conn.query(sql, params).unwrap_err();
        assert_eq!(failure.code, "parameter_count", "{sql}: {failure:?}");
    }
}

#[test]
fn unknown_missing_and_ambiguous_names_are_errors() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, params, named) in [
        ("SELECT :a", map([("a", 1), ("b", 2)]), "b"),
        ("SELECT :a", map([("@a", 1)]), "@a"),
        ("SELECT :a, :b", map([("a", 1)]), ":b"),
        ("SELECT :a, ?", map([("a", 1)]), "number 2"),
        ("SELECT :a, $a", map([("a", 1)]), "several"),
        ("SELECT 1", map([("a", 1)]), "a"),
        ("SELECT :a", map([("a", 1), (":a", 2)]), "two values"),
        ("SELECT :a", map([("", 1)]), ""),
        ("SELECT :A", map([("a", 1)]), "a"),
    ] {
        let failure = conn.query(sql, params).unwrap_err();
        assert_eq!(failure.code, "parameter_name", "{sql}: {failure:?}");
        assert!(failure.message.contains(named), "{sql}: {}", failure.message);
    }
    let empty = map::<&str, i32, 0>([]);
    assert_eq!(conn.query("SELECT :a", empty.clone()).unwrap_err().code, "parameter_name");
    assert_eq!(conn.query("SELECT 5", empty).unwrap().value(), &5.into());
}

#[test]
fn a_failed_binding_runs_nothing_and_leaves_nothing() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a, b)");
    let sql = "INSERT INTO t VALUES (?, ?)";
    assert_eq!(conn.query(sql, list!["secret", atom("wrong")]).unwrap_err().code, "invalid_parameter");
    assert_eq!(conn.value("SELECT count(*) FROM t"), 0.into());
    conn.query(sql, list![1, nil()]).unwrap();
    assert_eq!(conn.exec("SELECT a, b FROM t").rows, [[Term::from(1), nil()]]);
}

#[test]
fn as_many_parameters_as_the_engine_takes() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let sql = format!("SELECT {}", vec!["?"; 2000].join(" + "));
    let ones = Term::List(vec![1.into(); 2000]);
    let result = conn.query(&sql, ones);
    // The engine refuses expressions that are too deep with an error, not a crash.
    if let Err(failure) = result {
        assert_eq!(failure.code, "sql_error");
    }
    let sql = format!("SELECT count(*) FROM (VALUES {})", vec!["(?)"; 30_000].join(","));
    let outcome = conn.query(&sql, Term::List((0..30_000).map(Term::from).collect())).unwrap();
    assert_eq!(outcome.value(), &30_000.into());
}
