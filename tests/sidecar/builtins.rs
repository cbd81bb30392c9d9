//! The SQL functions for texts, identifiers and places, `NOCASE_UNICODE` and `generate_series` (docs/sql-functions.md).
//! tests/fixtures/functions holds answers that Python has computed.

use crate::list;
use crate::support::*;
use crate::term::*;
use std::collections::HashSet;

fn code(conn: &Conn<'_>, expression: &str) -> String {
    conn.query(&format!("SELECT {expression}"), list![]).expect_err(expression).code
}

fn message(conn: &Conn<'_>, expression: &str) -> String {
    conn.query(&format!("SELECT {expression}"), list![]).expect_err(expression).message
}

/// The integers of a query of one column.
fn integers(conn: &Conn<'_>, sql: &str) -> Vec<i64> {
    conn.exec(sql).rows.concat().iter().map(Term::int).collect()
}

fn texts(conn: &Conn<'_>, sql: &str) -> Vec<String> {
    conn.exec(sql).rows.concat().iter().map(|value| value.text().to_owned()).collect()
}

#[test]
fn their_answers_are_those_of_python() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let mut lines = 0;
    for file in [
        include_str!("../fixtures/functions/cases.tsv"),
        include_str!("../fixtures/functions/distances.tsv"),
        include_str!("../fixtures/functions/hashes.tsv"),
        include_str!("../fixtures/functions/haversine.tsv"),
        include_str!("../fixtures/functions/unaccent.tsv"),
        include_str!("../fixtures/functions/uuids.tsv"),
    ] {
        for line in file.lines() {
            let (expression, expected) = line.split_once('\t').expect(line);
            let sql = format!("SELECT ({expression}) IS ({expected}), ({expression})");
            let row = conn.exec(&sql).rows.concat();
            assert_eq!(row[0], 1.into(), "{expression} is {:?}, not {expected}", row[1]);
            lines += 1;
        }
    }
    assert!(lines > 600, "{lines}");
}

#[test]
fn null_gives_null_and_a_number_is_its_text() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for expression in [
        "sha256(NULL)",
        "blake3(NULL)",
        "uuid_str(NULL)",
        "uuid_blob(NULL)",
        "haversine_m(1, 2, NULL, 4)",
        "levenshtein(NULL, 'a')",
        "levenshtein('a', NULL)",
        "jaro_winkler('a', NULL)",
        "unaccent(NULL)",
        "unicode_lower(NULL)",
        "unicode_upper(NULL)",
        "unicode_like(NULL, 'a')",
        "unicode_like('a', NULL)",
        "unicode_like('a', 'a', NULL)",
    ] {
        assert_eq!(conn.value(&format!("SELECT {expression}")), nil(), "{expression}");
    }
    for expression in [
        "unicode_lower(1.5) IS '1.5'",
        "unicode_upper(x'c3a4') IS 'Ä'",
        "levenshtein(12, 132) = 1",
        "unicode_like(12, 12)",
        "unaccent(12) IS '12'",
        // What is no UTF-8 stays as it is, and so do zeros.
        "unicode_lower(CAST(x'41ff42c3' AS TEXT)) IS CAST(x'61ff62c3' AS TEXT)",
        "unaccent(CAST(x'ffc3a9' AS TEXT)) IS CAST(x'ff65' AS TEXT)",
        "unicode_upper('a' || char(0) || 'ä') IS 'A' || char(0) || 'Ä'",
        "typeof(unicode_lower(x'41')) = 'text'",
        "unicode_lower('') IS '' AND unaccent('') IS ''",
    ] {
        assert_eq!(conn.value(&format!("SELECT {expression}")), 1.into(), "{expression}");
    }
}

#[test]
fn an_argument_without_a_meaning_is_a_typed_error() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for expression in [
        "uuid_str('x')",
        "uuid_blob(x'00')",
        "uuid_str('sixteen letters!')",
        "uuid_str(1)",
        "haversine_m('1', 2, 3, 4)",
        "haversine_m(90.1, 2, 3, 4)",
        "haversine_m(NULL, 2, 3, 1e999)",
        "(SELECT sum(value) FROM generate_series('x', 2))",
        "(SELECT sum(value) FROM generate_series(1, 2.5))",
        "(SELECT sum(value) FROM generate_series(1, 1e300))",
    ] {
        assert_eq!(code(&conn, expression), "type_mismatch", "{expression}");
    }
    for expression in ["unicode_like('a', 'b', '')", "unicode_like('a', 'b', 'xy')"] {
        assert_eq!(code(&conn, expression), "sql_error", "{expression}");
    }
    assert!(message(&conn, "uuid_str('x')").starts_with("uuid_str: failed to parse"));
    assert!(message(&conn, "(SELECT sum(value) FROM generate_series)").contains("first argument is missing"));
}

#[test]
fn texts_that_are_compared_have_a_limit() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (function, most) in [("levenshtein", 16_384), ("jaro_winkler", 4_096)] {
        let long = |length: usize| format!("replace(hex(zeroblob({length} / 2)), '0', 'ä')");
        let (fits, too_long) = (long(most), long(most + 2));
        assert_ne!(conn.value(&format!("SELECT {function}({fits}, 'ä')")), nil());
        for call in [format!("{function}({too_long}, 'ä')"), format!("{function}('ä', {too_long})")] {
            assert_eq!(code(&conn, &call), "too_big");
            assert!(message(&conn, &call).contains(&format!("more than {most} code points")));
        }
    }
    let short =
        sidecar.open_with(":memory:", map([("limits", map([("like_pattern_length", 100)]))])).unwrap();
    let pattern = format!("hex(zeroblob({}))", 51);
    assert_eq!(code(&short, &format!("unicode_like({pattern}, 'a')")), "too_big");
    assert_eq!(conn.value(&format!("SELECT unicode_like({pattern}, {pattern})")), 1.into());
}

#[test]
fn long_calls_stop_at_their_deadline_and_at_a_cancellation() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(found)");
    conn.exec("INSERT INTO t VALUES (NULL)");
    // Many long calls, between which the engine does not look at the clock.
    let many = |call: &str| format!("(SELECT count({call}) FROM generate_series(1, 1000000))");
    let text = |bytes: &str| format!("replace(hex(zeroblob({bytes})), '00', 'ä')");
    for expression in [
        many(&format!("levenshtein({}, {})", text("16000 + value % 9"), "hex(zeroblob(8000))")),
        many("sha256(zeroblob(20000000 + value))"),
        many("blake3(zeroblob(20000000 + value))"),
        many(&format!("unicode_lower({})", text("1000000 + value"))),
        many(&format!("unaccent({})", text("1000000 + value"))),
        // Each beginning fails at its end only: the product of both lengths.
        format!("unicode_like('%' || {} || 'b', {})", text("10000"), text("2000000")),
        "(SELECT count(*) FROM generate_series(1, 9223372036854775807))".to_owned(),
    ] {
        conn.assert_stops(500, &format!("UPDATE t SET found = {expression}"), list![]);
    }
    assert_eq!(conn.value("SELECT found FROM t"), nil());
}

#[test]
fn identifiers_are_well_formed_and_unlike() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let of_all = "FROM generate_series(1, 10000)";
    for version in [4, 7] {
        let made = texts(&conn, &format!("SELECT uuid{version}() {of_all}"));
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 10_000);
        let shape = format!(
            "^[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}$"
        );
        let sql = format!("SELECT count(*) {of_all} WHERE uuid{version}() REGEXP '{shape}'");
        assert_eq!(conn.value(&sql), 10_000.into());
    }
    // The first 48 bits of version 7 are the milliseconds since 1970.
    let sql = "SELECT abs(unixepoch('subsec') * 1000 - ('0x' || substr(hex(uuid_blob(uuid7())), 1, 12) ->> '$')) < 60000";
    assert_eq!(conn.value(sql), 1.into());
}

#[test]
fn identifiers_of_version_7_rise_over_all_connections() {
    let sidecar = Sidecar::start();
    let conns = [sidecar.open(":memory:"), sidecar.open(":memory:")];
    let mut before = String::new();
    for conn in conns.iter().cycle().take(20) {
        for made in texts(conn, "SELECT uuid7() FROM generate_series(1, 500)") {
            assert!(before < made, "{before} {made}");
            before = made;
        }
    }
}

#[test]
fn an_identifier_is_made_for_each_row_and_stands_as_a_default() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(
        "CREATE TABLE t(id TEXT PRIMARY KEY DEFAULT (uuid7()), other BLOB DEFAULT (uuid_blob(uuid4())), x); \
         CREATE TABLE log(id TEXT, x); \
         CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO log VALUES (uuid4(), new.x); END; \
         CREATE VIEW v AS SELECT uuid4() AS id FROM t; \
         INSERT INTO t(x) SELECT value FROM generate_series(1, 100)",
    )
    .unwrap();
    for table in ["t", "log", "v"] {
        assert_eq!(conn.value(&format!("SELECT count(DISTINCT id) FROM {table}")), 100.into(), "{table}");
    }
    assert_eq!(integers(&conn, "SELECT x FROM t ORDER BY id"), (1..=100).collect::<Vec<_>>());
    assert_eq!(conn.value("SELECT count(DISTINCT other) FROM t WHERE length(other) = 16"), 100.into());
    for sql in ["CREATE INDEX i ON t(uuid4())", "CREATE TABLE g(a, b AS (uuid7()))"] {
        assert_eq!(conn.query(sql, list![]).unwrap_err().code, "sql_error", "{sql}");
    }
}

#[test]
fn the_deterministic_ones_may_stand_in_every_part_of_a_schema() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(
        "CREATE TABLE t(a TEXT COLLATE NOCASE_UNICODE UNIQUE CHECK (unicode_like('%e%', a)), \
           h AS (sha256(a)) STORED, u AS (unaccent(a))); \
         CREATE INDEX i ON t(unicode_lower(a)); CREATE INDEX j ON t(u); CREATE INDEX k ON t(blake3(a)) WHERE levenshtein(a, 'e') > 1; \
         CREATE VIEW v AS SELECT unicode_upper(a) AS a, jaro_winkler(a, 'e') AS s, haversine_m(1, 2, 3, 4) AS d, n.value AS n \
           FROM t, generate_series(1, 2) AS n; \
         INSERT INTO t(a) VALUES ('Éclair'), ('crème'), ('ZÜRICHE')",
    )
    .unwrap_err();
    conn.script("INSERT INTO t(a) VALUES ('Éclaire'), ('crème e'), ('ZÜRICHE')").unwrap();
    conn.close();
    let conn = sidecar.open(&path);
    assert_eq!(
        conn.query("INSERT INTO t(a) VALUES ('zürichE')", list![]).unwrap_err().code,
        "constraint_unique"
    );
    assert_eq!(conn.value("SELECT a FROM t WHERE unicode_lower(a) = 'züriche'"), "ZÜRICHE".into());
    assert_eq!(conn.value("SELECT a FROM t WHERE u = 'creme e'"), "crème e".into());
    assert_eq!(conn.value("SELECT a FROM t WHERE a = 'éCLAIRE'"), "Éclaire".into());
    assert_eq!(conn.value("SELECT count(*) FROM v"), 6.into());
    assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
    for (condition, index) in
        [("unicode_lower(a) = 'x'", "i"), ("u = 'x'", "j"), ("a = 'x'", "sqlite_autoindex_t_1")]
    {
        let plan =
            conn.query(&format!("EXPLAIN QUERY PLAN SELECT * FROM t WHERE {condition}"), list![]).unwrap();
        assert!(plan.rows[0][3].text().contains(&format!("INDEX {index} ")), "{:?}", plan.rows);
    }
}

#[test]
fn the_engines_own_functions_stay_as_they_are() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (expression, value) in [
        ("lower('ÄB')", "Äb".into()),
        ("upper('äb')", "äB".into()),
        ("'Ä' LIKE 'ä'", 0.into()),
        ("'Ä' = 'ä' COLLATE NOCASE", 0.into()),
        ("'Ä' = 'ä' COLLATE NOCASE_UNICODE", 1.into()),
    ] {
        assert_eq!(conn.value(&format!("SELECT {expression}")), value, "{expression}");
    }
}

#[test]
fn nocase_unicode_orders_by_folded_code_points() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (left, right) in [
        ("straẞe", "STRAßE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("ǅ", "ǆ"),
        ("\u{212a}elvin", "KELVIN"),
        ("ſ", "S"),
        ("Ж", "ж"),
        ("", ""),
    ] {
        let sql = format!("SELECT '{left}' = '{right}' COLLATE NOCASE_UNICODE");
        assert_eq!(conn.value(&sql), 1.into(), "{left} {right}");
    }
    // Neither long foldings nor canonical equivalence.
    for (left, right) in [("ß", "ss"), ("é", "e\u{301}"), ("İ", "i"), ("a", "ab"), ("ab", "a")] {
        let sql = format!("SELECT '{left}' = '{right}' COLLATE NOCASE_UNICODE");
        assert_eq!(conn.value(&sql), 0.into(), "{left} {right}");
    }
    // ASCII is ordered as by NOCASE.
    conn.script("CREATE TABLE t(a TEXT); INSERT INTO t SELECT char(value) || char(1 + value % 127) FROM generate_series(1, 127)")
        .unwrap();
    let order =
        |collation: &str| texts(&conn, &format!("SELECT hex(a) FROM t ORDER BY a COLLATE {collation}, a"));
    assert_eq!(order("NOCASE_UNICODE"), order("NOCASE"));
    // Bytes that are no characters differ from all others and from each other.
    conn.script("CREATE TABLE b(a TEXT COLLATE NOCASE_UNICODE UNIQUE)").unwrap();
    conn.exec(
        "INSERT INTO b SELECT CAST(unhex(printf('%02x', value)) AS TEXT) FROM generate_series(128, 255)",
    );
    conn.exec("INSERT INTO b VALUES (char(0xfffd)), (char(0xe4)), (CAST(x'c3' AS TEXT) || 'a'), ('')");
    assert_eq!(conn.value("SELECT count(*) FROM b"), 132.into());
    assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
}

#[test]
fn unicode_like_is_like_with_all_letters() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (pattern, text, escape, expected) in [
        ("ÄRGER%", "ärgernis", "", 1),
        ("%ß_", "STRAẞE", "", 1),
        ("ss", "ß", "", 0),
        ("_", "ä", "", 1),
        ("_", "", "", 0),
        ("", "", "", 1),
        ("%", "", "", 1),
        ("%%_", "ab", "", 1),
        ("10\\%", "10%", "\\", 1),
        ("10\\%", "10x", "\\", 0),
        ("%\\", "a\\", "\\", 0),
        ("a%%b", "a%B", "%", 1),
        ("äÄ%", "ÄÄ", "ä", 1),
        ("äÄ%", "aÄ", "ä", 0),
    ] {
        let escape = if escape.is_empty() { String::new() } else { format!(", '{escape}'") };
        let sql = format!("SELECT unicode_like('{pattern}', '{text}'{escape})");
        assert_eq!(conn.value(&sql), expected.into(), "{sql}");
    }
    // Of ASCII it says what LIKE says.
    conn.script(
        "CREATE TABLE t AS SELECT substr('aB%_\\', 1 + value % 5, 1) || substr('aB%_\\', 1 + value / 5 % 5, 1) \
           || substr('aB%_\\', 1 + value / 25 % 5, 1) AS a FROM generate_series(0, 124)",
    )
    .unwrap();
    for (ours, theirs) in [
        ("unicode_like(p.a, t.a)", "t.a LIKE p.a"),
        ("unicode_like(p.a, t.a, '\\')", "t.a LIKE p.a ESCAPE '\\'"),
        ("unicode_like(p.a, t.a, '%')", "t.a LIKE p.a ESCAPE '%'"),
    ] {
        let sql = format!("SELECT count(*) FROM t, t AS p WHERE ({ours}) IS NOT ({theirs})");
        assert_eq!(conn.value(&sql), 0.into(), "{ours}");
    }
}

#[test]
fn a_pattern_is_compiled_for_its_place_in_the_statement_and_for_its_escape() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    // The pattern is the same for all rows, the escape is not.
    let escapes = "WITH e(c, n) AS (VALUES ('%', 1), ('x', 2), (NULL, 3), ('%', 4), ('x', 5)) \
                   SELECT group_concat(ifnull(unicode_like('a%%B', 'A1b', c), 'null'), ' ') FROM (SELECT c FROM e ORDER BY n)";
    assert_eq!(conn.value(escapes), "0 1 null 0 1".into());
    let wrong = "(WITH e(c) AS (VALUES ('x'), ('xy')) SELECT max(unicode_like('a', 'a', c)) FROM e)";
    assert_eq!(code(&conn, wrong), "sql_error");
    // Two patterns side by side, and one that is another in each row.
    let many = "WITH t(a, n) AS (VALUES ('Ä', 1), ('b', 2), (NULL, 3), ('ä', 4)) SELECT group_concat( \
                ifnull(unicode_like('ä%', a) || unicode_like('B', a) || unicode_like(a, 'ä'), 'null'), ' ') FROM t";
    assert_eq!(conn.value(many), "101 010 null 101".into());
    // Prepared, run again with another pattern.
    for (pattern, expected) in [("%SS", 0), ("%SSE", 1), ("%SS", 0)] {
        let sql = "SELECT sum(unicode_like(?1, a)) FROM (SELECT 'Straße' AS a UNION ALL SELECT 'Strasse')";
        assert_eq!(conn.query(sql, list![pattern]).unwrap().value(), &expected.into(), "{pattern}");
    }
}

#[test]
fn a_series_is_what_its_arguments_say() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let max = i64::MAX;
    let min = i64::MIN;
    for (sql, expected) in [
        ("SELECT value FROM generate_series(1, 5)", vec![1, 2, 3, 4, 5]),
        ("SELECT value FROM generate_series(1, 10, 4)", vec![1, 5, 9]),
        ("SELECT value FROM generate_series(10, 1, -4)", vec![10, 6, 2]),
        ("SELECT value FROM generate_series(1, 3, 0)", vec![1, 2, 3]),
        ("SELECT value FROM generate_series(3, 1)", vec![]),
        ("SELECT value FROM generate_series(1, 3, -1)", vec![]),
        ("SELECT value FROM generate_series(NULL, 3)", vec![]),
        ("SELECT value FROM generate_series(1, 3, NULL)", vec![]),
        ("SELECT value FROM generate_series('2', 4.0)", vec![2, 3, 4]),
        ("SELECT value FROM generate_series(7) LIMIT 3", vec![7, 8, 9]),
        ("SELECT count(*) FROM generate_series(4294967290)", vec![6]),
        ("SELECT rowid FROM generate_series(2, 6, 2)", vec![2, 4, 6]),
        ("SELECT start + stop * 10 + step * 100 FROM generate_series(1, 3, 2)", vec![231, 231]),
        ("SELECT value FROM generate_series(1, 10, 3) ORDER BY value DESC", vec![10, 7, 4, 1]),
        ("SELECT value FROM generate_series(9, 1, -3) ORDER BY value", vec![3, 6, 9]),
        ("SELECT value FROM generate_series WHERE start = 1 AND stop = 3", vec![1, 2, 3]),
        ("SELECT value FROM generate_series(1, 10, 3) WHERE value BETWEEN 3 AND 8", vec![4, 7]),
        ("SELECT value FROM generate_series(1, 10, 3) WHERE value > 4 AND value < 10", vec![7]),
        ("SELECT value FROM generate_series(1, 10, 3) WHERE value >= 3.5 AND value <= 7.5", vec![4, 7]),
        ("SELECT value FROM generate_series(1, 10, 3) WHERE value IN (10, 4, 5, 4)", vec![4, 10]),
        (
            "SELECT value FROM generate_series(1, 10) WHERE value = 2.5 OR value = '3' OR value IS NULL",
            vec![],
        ),
        ("SELECT value FROM generate_series(1, 3) WHERE value < 'a'", vec![1, 2, 3]),
        (
            "SELECT b.value FROM generate_series(1, 3) AS a, generate_series(a.value, 3) AS b",
            vec![1, 2, 3, 2, 3, 3],
        ),
        ("SELECT value FROM (SELECT 2 AS n UNION ALL SELECT NULL), generate_series(1, n)", vec![1, 2]),
        (
            "SELECT value FROM generate_series(1, 1000000000000) WHERE value = 999999999999",
            vec![999_999_999_999],
        ),
        ("SELECT count(*) FROM generate_series(1, 1000000000000) WHERE rowid > 999999999990", vec![10]),
        ("SELECT max(value) FROM generate_series(1, 1000000)", vec![1_000_000]),
    ] {
        assert_eq!(integers(&conn, sql), expected, "{sql}");
    }
    let sql = format!("SELECT value FROM generate_series({}, {max}, 2)", max - 3);
    assert_eq!(integers(&conn, &sql), [max - 3, max - 1]);
    let sql = format!("SELECT value FROM generate_series({max}, ({min}), ({min}))");
    assert_eq!(integers(&conn, &sql), [max, -1]);
    assert_eq!(conn.query("DELETE FROM generate_series", list![]).unwrap_err().code, "sql_error");
}
