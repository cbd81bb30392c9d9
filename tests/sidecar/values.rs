//! The table of values (protocol, section 2), both ways.

use crate::list;
use crate::support::*;
use crate::term::*;

/// What a value is to SQLite, and what comes back.
fn round_trip(conn: &Conn<'_>, value: Term) -> (String, Term) {
    let rows = conn.query("SELECT typeof(?1), ?1", list![value]).unwrap().rows;
    (rows[0][0].text().to_owned(), rows[0][1].clone())
}

#[test]
fn every_kind_of_value_goes_in_and_comes_out() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (value, kind, back) in [
        (nil(), "null", nil()),
        (true.into(), "integer", 1.into()),
        (false.into(), "integer", 0.into()),
        ("".into(), "text", "".into()),
        ("Zürich, 東京, 🦀".into(), "text", "Zürich, 東京, 🦀".into()),
        (bytes(b"a\0b\0"), "text", bytes(b"a\0b\0")),
        (blob(b""), "blob", bytes(b"")),
        (blob(b"\xff\0\xfe"), "blob", bytes(b"\xff\0\xfe")),
        (0.0.into(), "real", 0.0.into()),
        (1.0.into(), "real", 1.0.into()),
        (0.1.into(), "real", 0.1.into()),
        (f64::MAX.into(), "real", f64::MAX.into()),
        (f64::MIN_POSITIVE.into(), "real", f64::MIN_POSITIVE.into()),
        (5e-324.into(), "real", 5e-324.into()),
        (atom("infinity"), "real", atom("infinity")),
        (atom("neg_infinity"), "real", atom("neg_infinity")),
    ] {
        assert_eq!(round_trip(&conn, value.clone()), (kind.to_owned(), back), "{value:?}");
    }
}

#[test]
fn integers_of_every_size() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let mut integers: Vec<i64> = (0..63).flat_map(|bit| [1i64 << bit, -(1i64 << bit)]).collect();
    integers.extend([0, i64::MAX, i64::MIN, 255, 256, -1, i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1]);
    for integer in integers {
        assert_eq!(round_trip(&conn, integer.into()), ("integer".to_owned(), integer.into()));
    }
    for beyond in [i128::from(i64::MAX) + 1, i128::from(i64::MIN) - 1, i128::MAX] {
        let failure = conn.query("SELECT ?", list![beyond]).unwrap_err();
        assert_eq!(failure.code, "integer_out_of_range", "{beyond}");
    }
}

#[test]
fn integers_may_be_encoded_longer_than_needed() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (encoded, value) in [
        (&[98, 0, 0, 0, 5][..], 5),
        (&[110, 1, 0, 5], 5),
        (&[110, 9, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0], -5),
        (&[111, 0, 0, 0, 1, 0, 5], 5),
        (&[110, 0, 0], 0),
    ] {
        // {Connection, 0, "SELECT ?", [value]} by hand.
        let mut body = vec![131, 104, 3, 98, 0, 1, 0, 0, 97, tag::EXECUTE, 104, 4, 98];
        body.extend_from_slice(&u32::try_from(conn.id).unwrap().to_be_bytes());
        body.extend_from_slice(&[97, 0, 109, 0, 0, 0, 8]);
        body.extend_from_slice(b"SELECT ?");
        body.extend_from_slice(&[108, 0, 0, 0, 1]);
        body.extend_from_slice(encoded);
        body.push(106);
        sidecar.send_bytes(&framed(&body));
        assert_eq!(conn.outcome(65_536).unwrap().value(), &value.into());
    }
}

#[test]
fn results_are_the_bytes_that_the_engine_has() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (sql, value) in [
        ("SELECT CAST(x'ff00' AS TEXT)", bytes(b"\xff\0")),
        ("SELECT CAST(x'610062' AS TEXT)", bytes(b"a\0b")),
        ("SELECT x'00'", bytes(b"\0")),
        ("SELECT zeroblob(3)", bytes(b"\0\0\0")),
        ("SELECT ''", bytes(b"")),
        ("SELECT NULL", nil()),
        ("SELECT 9e999", atom("infinity")),
        ("SELECT -9e999", atom("neg_infinity")),
        ("SELECT 9223372036854775807", i64::MAX.into()),
        ("SELECT -9223372036854775808", i64::MIN.into()),
        ("SELECT 1 = 1", 1.into()),
        ("SELECT 2.0", 2.0.into()),
    ] {
        assert_eq!(conn.value(sql), value, "{sql}");
    }
}

#[test]
fn text_of_another_encoding_comes_as_utf_8() {
    let sidecar = Sidecar::start();
    for encoding in ["utf-16le", "utf-16be"] {
        let options = map([("pragmas", map([("encoding", encoding)]))]);
        let conn = sidecar.open_with(":memory:", options).unwrap();
        assert_eq!(conn.value("PRAGMA encoding").text().to_lowercase(), encoding);
        conn.exec("CREATE TABLE t(a)");
        conn.query("INSERT INTO t VALUES (?)", list!["Grüße"]).unwrap();
        assert_eq!(conn.value("SELECT a FROM t"), "Grüße".into());
    }
}

#[test]
fn what_is_no_value_is_refused_by_name() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for (value, named) in [
        (atom("ok"), "ok"),
        (atom("undefined"), "undefined"),
        (bytes(b"\xff\xfe"), "blob"),
        (list![1], ""),
        (map([("a", 1)]), ""),
        (Term::Tuple(vec![atom("date"), 1.into()]), "tuple"),
    ] {
        let failure = conn.query("SELECT ?", list![value.clone()]).unwrap_err();
        assert_eq!(failure.code, "invalid_parameter", "{value:?}");
        assert!(failure.message.contains(named), "{}", failure.message);
    }
    conn.exec("SELECT 1");
}
