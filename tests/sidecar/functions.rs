//! The SQL functions of the program itself, called as SQL (docs/sql-functions.md).

use crate::list;
use crate::support::*;
use crate::term::*;

/// What `SELECT` of each expression gives.
fn assert_values(conn: &Conn<'_>, expected: impl IntoIterator<Item = (&'static str, Term)>) {
    for (expression, value) in expected {
        assert_eq!(conn.value(&format!("SELECT {expression}")), value, "{expression}");
    }
}

fn code(conn: &Conn<'_>, expression: &str) -> String {
    conn.query(&format!("SELECT {expression}"), list![]).expect_err(expression).code
}

#[test]
fn decimals_are_computed_exactly() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    assert_values(
        &conn,
        [
            ("decimal('1.50')", 1.5.into()),
            ("decimal('12')", 12.into()),
            ("typeof(decimal('0.12345678901234567890'))", "blob".into()),
            ("decimal_text(decimal_add('0.1', '0.2'))", "0.3".into()),
            ("decimal_text(decimal_sub(1, '0.9'))", "0.1".into()),
            ("decimal_text(decimal_mul('1.5', 0.1))", "0.15".into()),
            ("decimal_text(decimal_div(1, 8))", "0.125".into()),
            ("decimal_text(decimal_neg('1.5'))", "-1.5".into()),
            ("decimal_text(decimal_abs('-1.5'))", "1.5".into()),
            ("decimal_text(decimal_round('1.25', 1))", "1.3".into()),
            ("decimal_text(decimal_round('-125', -1))", "-130".into()),
            ("decimal_cmp('1.10', 1.1)", 0.into()),
            ("decimal_cmp('-2', 1)", (-1).into()),
            ("decimal_cmp('1e1', 9)", 1.into()),
            ("decimal_key('9') < decimal_key('10') AND decimal_key('-10') < decimal_key('-9')", 1.into()),
            ("decimal_text(decimal_of_key(decimal_key('-12.5')))", "-12.5".into()),
        ],
    );
}

#[test]
fn nothing_is_known_of_null_and_of_a_quotient_by_zero() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for expression in [
        "decimal(NULL)",
        "decimal_add(NULL, 1)",
        "decimal_add(1, NULL)",
        "decimal_div(1, 0)",
        "decimal_div(NULL, 1)",
        "decimal_round(NULL, 1)",
        "decimal_round(1, NULL)",
        "decimal_cmp(1, NULL)",
        "decimal_key(NULL)",
        "decimal_of_key(NULL)",
        "decimal_text(NULL)",
        "float_of_bits(NULL)",
        "float_of_text(NULL)",
        "float_text(NULL)",
    ] {
        assert_values(&conn, [(expression, nil())]);
    }
}

#[test]
fn what_is_no_number_is_a_mismatch() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for expression in [
        "decimal('1,5')",
        "decimal_add(1, 'x')",
        "decimal_round(1, '1')",
        "decimal_of_key('1')",
        "decimal_of_key(x'ff')",
        "decimal_sum('x')",
        "float_of_bits('1')",
        "float_text('1')",
    ] {
        assert_eq!(code(&conn, expression), "type_mismatch", "{expression}");
    }
}

#[test]
fn aggregates_of_decimals_leave_null_out_and_follow_a_window() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); \
         INSERT INTO t(x) VALUES ('0.1'), (NULL), ('0.2'), ('-5'), ('0.3')",
    )
    .unwrap();
    let each = |function: &str, over: &str| {
        let sql = format!("SELECT decimal_text({function}(x) {over}) FROM t ORDER BY id");
        conn.exec(&sql).rows.concat().into_iter().map(|value| value.text().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(each("decimal_sum", ""), ["-4.4"]);
    assert_eq!(each("decimal_avg", ""), ["-1.1"]);
    assert_eq!(each("decimal_min", ""), ["-5"]);
    assert_eq!(each("decimal_max", ""), ["0.3"]);
    // Rows enter and leave.
    let window = "OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)";
    assert_eq!(each("decimal_sum", window), ["0.1", "0.1", "0.2", "-4.8", "-4.7"]);
    assert_eq!(each("decimal_avg", window), ["0.1", "0.1", "0.2", "-2.4", "-2.35"]);
    assert_eq!(each("decimal_min", window), ["0.1", "0.1", "0.2", "-5", "-5"]);
    assert_eq!(each("decimal_max", window), ["0.1", "0.1", "0.2", "0.2", "0.3"]);
    for function in ["decimal_sum", "decimal_avg", "decimal_min", "decimal_max"] {
        assert_eq!(conn.value(&format!("SELECT {function}(x) FROM t WHERE x IS NULL")), nil(), "{function}");
    }
}

#[test]
fn doubles_go_in_and_out_of_text_and_bits() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    assert_values(
        &conn,
        [
            ("float_of_bits(4607182418800017408)", 1.0.into()),
            ("float_of_text(' 0.1 ')", 0.1.into()),
            ("float_of_text(2)", 2.0.into()),
            ("float_of_text('x')", nil()),
            ("float_text(0.1)", "0.1".into()),
            ("float_text(1)", "1.0".into()),
        ],
    );
}
