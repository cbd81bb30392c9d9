//! `text REGEXP pattern`: its answers, errors and limits, and that a search can be stopped.

use crate::list;
use crate::support::*;
use crate::term::*;

fn is(conn: &Conn<'_>, text: Term, pattern: Term) -> Result<Term, Failure> {
    conn.query("SELECT ? REGEXP ?", list![text, pattern]).map(|outcome| outcome.value().clone())
}

#[test]
fn a_pattern_is_looked_for_anywhere_in_the_text() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (text, pattern, expected) in [
        ("Grüße", "rü", 1),
        ("Grüße", "GRÜ", 0),
        ("Grüße", "(?i)GRÜ", 1),
        ("Grüße", "^ß", 0),
        ("a\nb", "^b$", 0),
        ("a\nb", "(?m)^b$", 1),
        ("a\nb", "a.b", 0),
        ("a\nb", "(?s)a.b", 1),
        ("ab", "(?x) a  b # a comment", 1),
        ("٣", "^\\d$", 1),
        ("٣", "^(?-u:\\d)$", 0),
        ("naïve", "\\bnaïve\\b", 1),
        ("naïvety", "\\bnaïve\\b", 0),
        ("", "", 1),
        ("", "^$", 1),
        ("", ".", 0),
        ("a\0b", "^a\0b$", 1),
        ("a\0b", "^a\\x00b$", 1),
    ] {
        let found = is(&conn, text.into(), pattern.into()).unwrap();
        assert_eq!(found, expected.into(), "{text:?} REGEXP {pattern:?}");
        let found = conn.query("SELECT regexp(?2, ?1)", list![text, pattern]).unwrap();
        assert_eq!(found.value(), &expected.into());
    }
}

#[test]
fn every_type_has_a_text() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, expected) in [
        ("NULL REGEXP 'a'", nil()),
        ("'a' REGEXP NULL", nil()),
        ("NULL REGEXP '('", nil()),
        ("12 REGEXP '^12$'", 1.into()),
        ("-0.5 REGEXP '^-0\\.5$'", 1.into()),
        ("1e300 REGEXP '^1\\.0e\\+300$'", 1.into()),
        ("'12' REGEXP 12", 1.into()),
        ("x'616200' REGEXP 'ab\\x00$'", 1.into()),
        ("x'' REGEXP '^$'", 1.into()),
        ("'' REGEXP x''", 1.into()),
        // No character, but a byte.
        ("x'ff' REGEXP '^.$'", 0.into()),
        ("x'ff' REGEXP '^(?s-u:.)$'", 1.into()),
        ("CAST(x'61ff62' AS TEXT) REGEXP 'a.b'", 0.into()),
        ("CAST(x'61ff62' AS TEXT) REGEXP '^a'", 1.into()),
        ("'a' NOT REGEXP 'b'", 1.into()),
        ("typeof(x) || (x REGEXP '1') || typeof(x) FROM (SELECT 1 AS x)", "integer1integer".into()),
        ("typeof(x) || (x REGEXP 'a') || typeof(x) FROM (SELECT x'61' AS x)", "blob1blob".into()),
    ] {
        assert_eq!(conn.value(&format!("SELECT {sql}")), expected, "{sql}");
    }
    conn.script("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(a); INSERT INTO t VALUES ('Grüße😀')").unwrap();
    assert_eq!(conn.value("SELECT a REGEXP '^G.üße.$' FROM t"), 1.into());
}

#[test]
fn what_is_no_pattern_or_too_large_is_an_error() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (pattern, words) in [
        ("(".into(), "unclosed group"),
        ("a{2,1}".into(), "repetition"),
        ("(?=a)".into(), "look-around"),
        ("(a)\\1".into(), "backreferences"),
        ("\\p{Klingon}".into(), "Unicode property not found"),
        (blob(b"\xff"), "not UTF-8"),
    ] {
        let failure = is(&conn, "a".into(), pattern).unwrap_err();
        assert_eq!(failure.code, "sql_error");
        assert!(failure.message.contains("regexp") && failure.message.contains(words), "{failure:?}");
    }
    let failure = is(&conn, "a".into(), "(abc){1000}{1000}".into()).unwrap_err();
    assert_eq!(failure.code, "too_big");
    assert!(failure.message.contains("compiled pattern is larger than 10485760 bytes"), "{failure:?}");
    let nested = "(".repeat(10_000) + &")".repeat(10_000);
    assert_eq!(is(&conn, "a".into(), nested.as_str().into()).unwrap_err().code, "sql_error");
    let long = "a".repeat(50_001);
    let failure = is(&conn, "a".into(), long.as_str().into()).unwrap_err();
    assert_eq!(failure.code, "too_big");
    assert!(failure.message.contains("like_pattern_length is 50000"), "{failure:?}");
    assert_eq!(is(&conn, "a".into(), long[1..].into()).unwrap(), 0.into());
    let short =
        sidecar.open_with(":memory:", map([("limits", map([("like_pattern_length", 100)]))])).unwrap();
    assert_eq!(is(&short, long[..100].into(), long[..100].into()).unwrap(), 1.into());
    assert_eq!(is(&short, "a".into(), long[..101].into()).unwrap_err().code, "too_big");
}

#[test]
fn classes_of_characters_are_limited_together() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for class in ["[\\x00-\\x{10ffff}--a]", "\\PL", "[\\w&&\\pL]", "[^[^a]]", "(\\pL|\\pN)"] {
        let pattern = format!("(?i){}", class.repeat(2000));
        let failure = is(&conn, "a".into(), pattern.as_str().into()).unwrap_err();
        assert_eq!(failure.code, "too_big", "{class}");
        assert!(failure.message.contains("the most is 1048576"), "{failure:?}");
        assert!(is(&conn, "a".into(), class.into()).is_ok(), "{class}");
    }
}

#[test]
fn repetitions_of_classes_are_refused_before_they_are_compiled() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for pattern in ["a\\w{500}z", "\\pL{5000}", "(?i)(\\w{30}){1,30}", "(?:a|[\\w-]){300,}"] {
        let failure = is(&conn, "a".into(), pattern.into()).unwrap_err();
        assert_eq!(failure.code, "too_big", "{pattern}");
        assert!(failure.message.contains("repetitions of the pattern are too large"), "{failure:?}");
    }
    for pattern in ["^\\w{1,100}$", "^\\d{1,1000}$|^[a-z]{1,10000}$", "^(\\w+ ?){1,50}$"] {
        assert_eq!(is(&conn, "abc".into(), pattern.into()).unwrap(), 1.into(), "{pattern}");
    }
}

#[test]
fn the_memory_of_patterns_goes_back_when_their_connection_closes() {
    let sidecar = Sidecar::start();
    let rss = || sidecar.status().get("rss_bytes").int();
    let before = rss();
    let letters: String = ('а'..='я').chain('a'..='z').collect();
    let text = "aé".repeat(30_000) + &letters.repeat(1000);
    let conns: Vec<_> = (0..10).map(|_| sidecar.open(":memory:")).collect();
    for conn in &conns {
        for number in 20..28 {
            let pattern = format!("\\w{{{number}}}[^z]{{3,{number}}}qq[а-я]{{50}}");
            assert_eq!(is(conn, text.as_str().into(), pattern.as_str().into()).unwrap(), 0.into());
        }
    }
    let used = rss() - before;
    assert!(used > 50_000_000, "{used}");
    for conn in conns {
        conn.close();
    }
    eventually("the memory is back", || rss() - before < used / 4);
}

#[test]
fn it_may_stand_in_every_part_of_a_schema() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(
        "CREATE TABLE t(a CHECK (a REGEXP '^[a-z]+$'), b GENERATED ALWAYS AS (a REGEXP 'x') STORED); \
         CREATE INDEX i ON t(a) WHERE a REGEXP '^ab'; CREATE INDEX j ON t(a REGEXP 'y'); \
         CREATE VIEW v AS SELECT a FROM t WHERE a REGEXP 'x'; \
         CREATE TRIGGER r AFTER INSERT ON t WHEN new.a REGEXP '^double' BEGIN INSERT INTO t VALUES ('x' || new.a); END; \
         INSERT INTO t VALUES ('abc'), ('xyz'), ('double')",
    )
    .unwrap();
    conn.close();
    let conn = sidecar.open(&path);
    assert_eq!(conn.query("INSERT INTO t VALUES ('a1')", list![]).unwrap_err().code, "constraint_check");
    assert_eq!(conn.value("SELECT group_concat(a) FROM v"), "xyz,xdouble".into());
    assert_eq!(conn.value("SELECT sum(b) FROM t"), 2.into());
    assert_eq!(conn.value("SELECT a FROM t WHERE a REGEXP 'y'"), "xyz".into());
    assert_eq!(conn.value("PRAGMA integrity_check"), "ok".into());
    let plan = conn.query("EXPLAIN QUERY PLAN SELECT * FROM t WHERE (a REGEXP 'y') = 1", list![]).unwrap();
    assert!(plan.rows[0][3].text().contains("INDEX j"), "{:?}", plan.rows);
}

#[test]
fn patterns_of_many_kinds_may_be_used_in_turn() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let sql = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
               SELECT count(*) FROM n WHERE i REGEXP ('^' || (i % 20) || '$')";
    assert_eq!(conn.value(sql), 20.into());
    // Two at once.
    let sql = "SELECT ('ab' REGEXP x) + 2 * ('ab' REGEXP y) FROM (SELECT '^a' AS x, '^b' AS y)";
    assert_eq!(conn.value(sql), 1.into());
}

#[test]
fn a_search_takes_time_in_proportion_to_the_text() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    // The pattern that ends the programs of others.
    let evil = "a".repeat(1_000_000);
    for pattern in ["^(a+)+$", "^(a|a)*$", "^(a*)*b?$", "^(.*a){10}$"] {
        assert_eq!(is(&conn, evil.as_str().into(), pattern.into()).unwrap(), 1.into(), "{pattern}");
        let longer = format!("{evil}!");
        assert_eq!(is(&conn, longer.as_str().into(), pattern.into()).unwrap(), 0.into(), "{pattern}");
    }
}

#[test]
fn a_search_stops_at_its_deadline_and_at_a_cancellation() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a TEXT, b TEXT, found)");
    conn.exec("INSERT INTO t VALUES (hex(randomblob(20000000)), replace(hex(zeroblob(10000000)), '00', 'é '), NULL)");
    // Enough for all its patterns, which are many.
    conn.exec("CREATE TABLE patterns(pattern)");
    conn.exec(
        "INSERT INTO patterns WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         SELECT '\\w{200}' || i FROM n",
    );
    for expression in [
        // Each byte leads to a state that was never seen before.
        "a REGEXP 'A[0-9A-F]{20000}G'",
        // What a word is outside of ASCII takes all states at once.
        "b REGEXP '\\b(\\w\\W){40}\\d'",
        "(SELECT count(*) FROM patterns WHERE 'a' REGEXP pattern)",
    ] {
        conn.assert_stops(1000, &format!("UPDATE t SET found = {expression}"), list![]);
    }
    assert_eq!(conn.value("SELECT found FROM t"), nil());
}
