//! Values that grow while functions make them: beyond their limit they are refused as they grow, and making them looks at the
//! clock.

use crate::list;
use crate::support::*;
use crate::term::*;

/// Enough for what is allowed, too little for what would be refused at its end.
const HEAP: &str = "--heap-bytes-max=268435456";

/// A connection whose values have a million bytes at most.
fn limited(sidecar: &Sidecar) -> Conn<'_> {
    sidecar.open_with(":memory:", map([("limits", map([("length", 1_000_000)]))])).unwrap()
}

/// `term` so many times, with a comma in between.
fn times(count: usize, term: &str) -> String {
    vec![term; count].join(", ")
}

#[test]
fn a_value_that_grows_beyond_its_limit_is_refused_as_it_grows() {
    let sidecar = Sidecar::start_with(&[HEAP]);
    let conn = limited(&sidecar);
    conn.script("CREATE TABLE n(i); CREATE VIRTUAL TABLE f USING fts4(a)").unwrap();
    conn.exec(&format!("INSERT INTO n {}", numbers(300)));
    let numbered = |prefix: &str| -> String {
        (0..50).map(|number| format!(", '{prefix}{number}', ?1")).collect::<Vec<_>>().concat()
    };
    let text = "\u{1}".repeat(900_000);
    let (members, elements) = (numbered("$.a"), ", '$[#]', ?1".repeat(50));
    let document = "json_array(substr(?1, 1, 100000))";
    let deep = "printf('%.*c1%.*c', 900, '[', 900, ']')";
    for expression in [
        format!("json_array({})", times(100, "?1")),
        format!("jsonb_array({})", times(100, "?1")),
        format!("json_object('a', ?1{})", numbered("k")),
        format!("jsonb_object('a', ?1{})", numbered("k")),
        "json_quote(?1)".to_owned(),
        format!("json_pretty({deep}, printf('%.*c', 20000, 'x'))"),
        format!("json_pretty({deep}, printf('%.*c', 900000, 'x'))"),
        "(SELECT json_group_array(?1) FROM n)".to_owned(),
        "(SELECT jsonb_group_array(?1) FROM n)".to_owned(),
        "(SELECT json_group_object(i, ?1) FROM n)".to_owned(),
        "(SELECT jsonb_group_object(i, ?1) FROM n)".to_owned(),
        "(SELECT max(length(x)) FROM (SELECT json_group_array(?1) OVER (ORDER BY i) AS x FROM n))".to_owned(),
        format!("json_set('{{}}'{members})"),
        format!("jsonb_set('{{}}'{members})"),
        format!("json_insert('[]'{elements})"),
        format!("jsonb_insert('[]'{elements})"),
        format!("json_extract({document}, {})", times(100, "'$'")),
        format!("jsonb_extract({document}, {})", times(100, "'$'")),
        "(SELECT group_concat(?1) FROM n)".to_owned(),
        "(SELECT string_agg(?1, ?1) FROM n)".to_owned(),
        format!("concat({})", times(100, "?1")),
        format!("concat_ws(?1, {})", times(100, "?1")),
        format!("printf('{}', {})", "%s".repeat(100), times(100, "?1")),
        format!("format('{}', {})", "%q".repeat(100), times(100, "?1")),
        "printf('%1000000000d', 1)".to_owned(),
        "printf('%.*c', 1000000000, 'x')".to_owned(),
        "hex(?1)".to_owned(),
        "quote(CAST(?1 AS BLOB))".to_owned(),
        "replace(?1, char(1), ?1)".to_owned(),
        "zeroblob(1000000000)".to_owned(),
        "randomblob(1000000000)".to_owned(),
        times(100, "?1").replace(", ", " || "),
    ] {
        let failure = conn
            .query(&format!("SELECT length({expression}) WHERE ?1 <> ''"), list![text.as_str()])
            .map(|outcome| outcome.rows)
            .unwrap_err();
        assert_eq!(failure.code, "too_big", "{expression:.60}: {failure:?}");
    }
    // Of full-text tables as well.
    conn.query("INSERT INTO f VALUES (?)", list!["a ".repeat(400_000).as_str()]).unwrap();
    for (function, query) in [
        ("offsets(f)", "a OR a OR a OR a OR a OR a OR a OR a"),
        ("snippet(f, ?1, ?1, '', 0, 64)", "a"),
        ("matchinfo(f, printf('%.*c', 900000, 'x'))", "a OR a"),
    ] {
        let sql = format!("SELECT length({function}) FROM f WHERE f MATCH ?2");
        let failure = conn.query(&sql, list!["x".repeat(500_000).as_str(), query]).unwrap_err();
        assert_eq!(failure.code, "too_big", "{function}: {failure:?}");
    }
    // Up to the limit they answer.
    for (expression, length) in [
        (format!("json_array({})", times(2, "substr(?1, 1, 83332)")), 999_991),
        (format!("json_array({})", times(10, "'a'")), 41),
        ("json_quote(substr(?1, 1, 166666))".to_owned(), 999_998),
        ("(SELECT json_group_array(substr(?1, 1, 550)) FROM n LIMIT 1)".to_owned(), 990_901),
        ("json_patch(json_object('a', 1), json_object('a', 2, 'b', 3))".to_owned(), 13),
    ] {
        let sql = format!("SELECT length({expression}) WHERE ?1 <> ''");
        let found = conn.query(&sql, list![text.as_str()]).unwrap();
        assert_eq!(found.value().int(), length, "{expression:.60}");
    }
}

#[test]
fn making_a_long_value_looks_at_the_clock() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a TEXT, b BLOB, found)");
    conn.exec("INSERT INTO t VALUES (printf('%.*c', 40000000, char(1)), zeroblob(120000000), NULL)");
    // Not many more instructions than there are between two looks; these took a minute or more.
    let rows = format!("({})", numbers(150));
    for expression in [
        format!("(SELECT max(length(hex(b)) + i) FROM {rows})"),
        format!("(SELECT sum(length(json_quote(a || i))) FROM {rows})"),
        format!("(SELECT count(DISTINCT instr(upper(a || i), 'x')) FROM {rows})"),
        times(100, "length(hex(b))").replace(", ", " + "),
    ] {
        conn.assert_stops(500, &format!("UPDATE t SET found = {expression}"), list![]);
    }
    assert_eq!(conn.value("SELECT found FROM t"), nil());
}

#[test]
fn a_polygon_that_there_is_no_memory_for_is_no_null() {
    let sidecar = Sidecar::start_with(&["--heap-bytes-max=50331648"]);
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE VIRTUAL TABLE p USING geopoly()");
    let polygon = format!("[{}[0,0]]", "[0,0],[0,1],[1,1],".repeat(750_000));
    for sql in [
        "SELECT geopoly_overlap(?1, '[[0,0],[1,0],[1,1],[0,0]]')",
        "SELECT geopoly_within('[[0,0],[1,0],[1,1],[0,0]]', ?1)",
        "SELECT geopoly_area(?1)",
        "SELECT geopoly_blob(?1)",
        "SELECT geopoly_json(?1)",
        "SELECT geopoly_svg(?1)",
        "SELECT geopoly_ccw(?1)",
        "SELECT geopoly_bbox(?1)",
        "SELECT geopoly_xform(?1, 1, 0, 0, 1, 0, 0)",
        "SELECT geopoly_contains_point(?1, 0, 0)",
        "SELECT geopoly_group_bbox(?1)",
        "INSERT INTO p(_shape) VALUES (?1)",
        "SELECT * FROM p WHERE geopoly_overlap(_shape, ?1)",
    ] {
        let failure = conn.query(sql, list![polygon.as_str()]).map(|outcome| outcome.rows).unwrap_err();
        assert_eq!(failure.code, "out_of_memory", "{sql}: {failure:?}");
    }
    let triangle = "'[[0,0],[1,0],[1,1],[0,0]]'";
    assert_eq!(conn.value(&format!("SELECT geopoly_overlap({triangle}, {triangle})")), 4.into());
    assert_eq!(conn.value("SELECT geopoly_overlap('[[0,0]', 'x') IS NULL"), 1.into());
}

#[test]
fn a_statement_of_many_rows_or_constants_stops_while_it_is_read() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a TEXT, b)");
    let all = |term: &dyn Fn(usize) -> String| (0..300_000).map(term).collect::<Vec<_>>().join(",");
    for sql in [
        format!("INSERT INTO t VALUES {}", all(&|number| format!("({number},'{number}')"))),
        format!(
            "WITH c AS (SELECT 1) INSERT INTO t VALUES {}",
            all(&|number| format!("({number},'{number}')"))
        ),
        format!("SELECT * FROM t WHERE a IN ({})", all(&|number| format!("'{number}'"))),
    ] {
        let took = |timeout_ms: u32| {
            let start = std::time::Instant::now();
            // Compiled anew each time.
            let sql = format!("{sql} -- {timeout_ms}");
            let described = conn.within(timeout_ms).call(tag::DESCRIBE, [sql.as_str().into()]);
            (start.elapsed(), described)
        };
        let (whole, described) = took(60_000);
        assert!(described.is_ok(), "{described:?}");
        // Reading it stops in its middle, whatever the machine does at the time.
        let timeout_ms = u32::try_from(whole.as_millis() / 10).unwrap().max(1);
        let (stopped, described) = took(timeout_ms);
        assert_eq!(described.unwrap_err().code, "timeout", "{sql:.40}");
        // A tenth of the time was given.
        assert!(stopped < whole, "{sql:.40}: {stopped:?} of {whole:?}");
    }
}

#[test]
fn searching_for_many_words_and_indexing_a_long_text_look_at_the_clock() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(found)");
    conn.exec("INSERT INTO t VALUES (NULL)");
    let words = |count: usize, between: &str| {
        (0..count).map(|number| format!("w{number}")).collect::<Vec<_>>().join(between)
    };
    for module in ["fts4", "fts5"] {
        conn.exec(&format!("CREATE VIRTUAL TABLE {module} USING {module}(a)"));
        let search = format!("UPDATE t SET found = (SELECT count(*) FROM {module} WHERE {module} MATCH ?)");
        conn.query(&search, list![words(1000, " OR ").as_str()]).unwrap();
        // The time that they took grew with the square of their number.
        for text in [words(200_000, " "), words(200_000, " OR "), words(200_000, " NEAR ")] {
            conn.assert_stops(200, &search, list![text.as_str()]);
        }
        let texts = format!("SELECT ?1 FROM ({})", numbers(100));
        let insert = format!("INSERT INTO {module} {texts}");
        conn.assert_stops(200, &insert, list![words(1_000_000, " ").as_str()]);
    }
    assert_eq!(conn.value("SELECT found FROM t"), 0.into());
}

#[test]
fn a_check_that_was_stopped_has_found_no_damage() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for module in ["fts4", "fts5"] {
        conn.exec(&format!("CREATE VIRTUAL TABLE {module} USING {module}(a)"));
        conn.exec(&format!("INSERT INTO {module} SELECT 'word' || i FROM ({})", numbers(100_000)));
        let mut stopped = 0;
        for timeout_ms in 1_u32.. {
            let check = format!("INSERT INTO {module}({module}) VALUES ('integrity-check')");
            match conn.within(timeout_ms * timeout_ms).query(&check, list![]) {
                Ok(_) => break,
                Err(failure) => assert_eq!(failure.code, "timeout", "{failure:?}"),
            }
            stopped += 1;
        }
        assert!(stopped > 0, "the clock was looked at");
    }
}
