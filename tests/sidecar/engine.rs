//! Faults of SQLite 3.47.0 that vendor/libsql-ffi.patch mends: each of these ended the program, or ran past its deadline.

use crate::list;
use crate::support::*;
use crate::term::*;

/// JSONB of `levels` arrays, one in the other; each has a header of 5 bytes, its type and the size of what is in it.
fn nested_arrays(levels: usize) -> Vec<u8> {
    let mut nested = Vec::with_capacity(5 * levels + 1);
    for level in 0..levels {
        nested.push(0xeb);
        nested.extend(u32::try_from(5 * (levels - level - 1) + 1).unwrap().to_be_bytes());
    }
    nested.push(0);
    nested
}

/// The same of objects with the one key `a`.
fn nested_objects(levels: usize) -> Vec<u8> {
    let mut nested = Vec::with_capacity(7 * levels + 1);
    for level in 0..levels {
        nested.push(0xec);
        nested.extend(u32::try_from(7 * (levels - level - 1) + 3).unwrap().to_be_bytes());
        nested.extend(*b"\x17a");
    }
    nested.push(0);
    nested
}

#[test]
fn jsonb_and_json_paths_nest_as_deep_as_json_texts_do() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let path = format!("${}", ".a".repeat(900));
    assert_eq!(
        conn.query("SELECT length(json(?))", list![blob(&nested_arrays(900))]).unwrap().value().int(),
        1804
    );
    assert_eq!(
        conn.query("SELECT json_extract(json_set('{}', ?1, 7), ?1)", list![path.as_str()])
            .unwrap()
            .value()
            .int(),
        7
    );

    let (arrays, objects) = (nested_arrays(1_000_000), nested_objects(200_000));
    let paths = [format!("${}", ".a".repeat(200_000)), format!("${}", "[#]".repeat(200_000))];
    for sql in [
        "SELECT length(json(?))",
        "SELECT length(json_pretty(?))",
        "SELECT length(json_extract(?, '$'))",
        "SELECT length(json_set(?, '$.a', 1))",
        "SELECT length(jsonb_patch(?1, ?1))",
        "SELECT length(json_patch('{\"a\":{}}', ?1))",
        "SELECT length(json_group_array(json(?)))",
        "WITH deep(doc) AS MATERIALIZED (SELECT ? || '') SELECT length(json(CAST(doc AS BLOB))) FROM deep",
    ] {
        for document in [&arrays, &objects] {
            // An error, or what does not look into the depth; the program is there afterwards.
            let _ = conn.query(sql, list![blob(document)]);
        }
    }
    for path in &paths {
        for sql in [
            "SELECT length(json_set('{}', ?, 1))",
            "SELECT length(jsonb_insert('[]', ?, 1))",
            "SELECT json_extract('{}', ?)",
            "SELECT length(json_remove('{}', ?))",
        ] {
            let _ = conn.query(sql, list![path.as_str()]);
        }
    }
    let _ = conn.query("SELECT json_extract(?, ?)", list![blob(&objects), paths[0].as_str()]);
    assert_eq!(conn.query("SELECT json(?)", list![blob(&arrays)]).unwrap_err().code, "sql_error");
    assert_eq!(conn.value("SELECT 1").int(), 1);
}

#[test]
fn aggregates_have_no_more_columns_than_the_limit() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let columns: Vec<String> = (0..2000).map(|n| format!("c{n}")).collect();
    for table in 0..20 {
        conn.exec(&format!("CREATE TABLE t{table}({})", columns.join(", ")));
        conn.exec(&format!("INSERT INTO t{table}(c0) VALUES (1)"));
    }
    let select = |count: usize| {
        let terms: Vec<String> = (0..count).map(|n| format!("t{}.c{}", n / 2000, n % 2000)).collect();
        let terms: Vec<String> =
            terms.chunks(120).map(|chunk| format!("max(coalesce({}))", chunk.join(", "))).collect();
        let tables: Vec<String> = (0..count.div_ceil(2000)).map(|n| format!("t{n}")).collect();
        format!("SELECT {} FROM {}", terms.join(", "), tables.join(", "))
    };
    assert_eq!(conn.exec(&select(1900)).rows[0][0].int(), 1);
    let failure = conn.query(&select(33_000), list![]).unwrap_err();
    assert!(failure.message.contains("more than 2000 aggregate terms"), "{failure:?}");
}

#[test]
fn functions_of_full_text_and_rtree_tables_stay_within_their_buffers() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    for count in [31_usize, 32, 33, 64, 96] {
        let columns: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        conn.exec(&format!("CREATE VIRTUAL TABLE f USING fts4({})", columns.join(", ")));
        conn.exec(&format!("INSERT INTO f(c0, c{}) VALUES ('a', 'a')", count - 1));
        let words = count.div_ceil(32);
        let bits = conn
            .query("SELECT matchinfo(f, 'b'), matchinfo(f, 'bb') FROM f WHERE f MATCH 'a'", list![])
            .unwrap();
        let mut expected = vec![0_u8; 4 * words];
        expected[0] |= 1;
        expected[(count - 1) / 8] |= 1 << ((count - 1) % 8);
        assert_eq!(bits.rows[0][0], Term::Binary(expected), "{count} columns");
        conn.exec("DROP TABLE f");
    }
    let node = blob(&[&[0, 0, 0, 1_u8][..], &[0_u8; 12][..]].concat());
    assert_eq!(conn.query("SELECT rtreenode(1, ?)", list![node]).unwrap().value(), &nil());
    let porters = "porter ".repeat(1_000_000);
    conn.exec(&format!("CREATE VIRTUAL TABLE p USING fts5(a, tokenize = '{porters} ascii')"));
    conn.exec("INSERT INTO p VALUES ('running')");
    assert_eq!(conn.value("SELECT count(*) FROM p('runs')").int(), 1);
}

/// The number in FTS5's form: seven bits a byte, the first ones first.
fn varint(mut number: u32) -> Vec<u8> {
    let mut bytes = vec![(number & 0x7f) as u8];
    while number > 0x7f {
        number >>= 7;
        bytes.insert(0, (number & 0x7f) as u8 | 0x80);
    }
    bytes
}

/// What a file of a stranger may hold, written with the protection off.
fn written(conn: &Conn<'_>, sql: &str, params: Term) {
    conn.query_with(sql, params, map([("defensive", atom("false"))])).unwrap();
}

#[test]
fn damaged_full_text_tables_are_corrupt_and_nothing_else() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    // A structure record that counts hundreds of millions of tombstone pages.
    for tombstones in [0x7fff_fff0, 0x1fff_ffff, 0x2000_0000, 0x1000_0001] {
        conn.exec("CREATE VIRTUAL TABLE f USING fts5(a)");
        conn.exec("INSERT INTO f VALUES ('hello world')");
        let mut record = b"\0\0\0\0\xff\0\0\x01\x01\x01\x01\x00\x01\x01\x01\x01\x01\x01".to_vec();
        record.extend(varint(tombstones));
        record.extend(*b"\x01\x01");
        written(&conn, "UPDATE f_data SET block = ? WHERE id = 10", list![blob(&record)]);
        for sql in [
            "SELECT count(*) FROM f('hello')",
            "SELECT * FROM f('h*')",
            "INSERT INTO f(f) VALUES ('optimize')",
        ] {
            let _ = conn.query(sql, list![]);
        }
        let _ = conn.query("DROP TABLE f", list![]);
        let _ = conn.script("DROP TABLE IF EXISTS f");
    }
    // Leaves with a size below 4.
    conn.exec("CREATE VIRTUAL TABLE g USING fts5(a)");
    conn.exec("INSERT INTO g(g, rank) VALUES ('pgsz', 64)");
    for times in [2036, 9000] {
        conn.query("INSERT INTO g VALUES (?)", list!["common ".repeat(times).as_str()]).unwrap();
    }
    conn.exec("INSERT INTO g(g) VALUES ('optimize')");
    written(
        &conn,
        "UPDATE g_data SET block = CAST(substr(block, 1, 2) || x'0000' || substr(block, 5) AS BLOB) \
         WHERE id > 1000 AND (id & 0x7fffffff) BETWEEN 2 AND 26",
        list![],
    );
    for sql in [
        "SELECT count(*) FROM g('common')",
        "SELECT * FROM g('c*')",
        "SELECT highlight(g, 0, '<', '>') FROM g('common')",
    ] {
        assert_eq!(conn.query(sql, list![]).unwrap_err().code, "corrupt", "{sql}");
    }
    // A column that the FTS4 table has not.
    conn.exec("CREATE VIRTUAL TABLE h USING fts4(a)");
    conn.exec("CREATE VIRTUAL TABLE aux USING fts4aux(h)");
    conn.exec("INSERT INTO h VALUES ('hello world')");
    // 0x7fffffff as FTS3 writes a number: seven bits a byte, the last ones first.
    let positions = b"\x01\x01\xff\xff\xff\xff\x07\x02\x00";
    let leaf = [&b"\0\x05hello"[..], &[positions.len() as u8], &positions[..]].concat();
    written(&conn, "UPDATE h_segdir SET root = ?", list![blob(&leaf)]);
    assert_eq!(conn.query("SELECT * FROM aux", list![]).unwrap_err().code, "corrupt");
    assert_eq!(conn.value("SELECT 1").int(), 1);
}

#[test]
fn a_tree_of_a_damaged_file_is_followed_to_a_limited_depth() {
    const PAGES: u32 = 100_000;
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.script(
        "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM; CREATE TABLE t(a); INSERT INTO t VALUES (1)",
    )
    .unwrap();
    conn.close();
    let mut file = std::fs::read(&path).unwrap();
    assert_eq!(file.len(), 1024);
    file.truncate(512);
    file[28..32].copy_from_slice(&(PAGES + 1).to_be_bytes());
    let version: [u8; 4] = file[24..28].try_into().unwrap();
    file[92..96].copy_from_slice(&version);
    for page in 0..PAGES {
        let mut bytes = [0_u8; 512];
        bytes[0] = if page + 1 < PAGES { 5 } else { 13 };
        bytes[5..7].copy_from_slice(&512_u16.to_be_bytes());
        if page + 1 < PAGES {
            bytes[8..12].copy_from_slice(&(page + 3).to_be_bytes());
        }
        file.extend(bytes);
    }
    std::fs::write(&path, file).unwrap();
    let conn = sidecar.open(&path);
    for sql in ["SELECT * FROM t", "DELETE FROM t", "DROP TABLE t"] {
        assert_eq!(conn.query(sql, list![]).unwrap_err().code, "corrupt", "{sql}");
    }
    let check = conn.query("PRAGMA integrity_check", list![]).unwrap();
    assert!(
        format!("{:?}", check.rows).len() > 20 && check.rows[0] != list!["ok"].items(),
        "{:?}",
        check.rows
    );
    let _ = conn.query("VACUUM", list![]);
    assert_eq!(conn.value("SELECT 1").int(), 1);
}

#[test]
fn like_and_glob_stop_at_their_deadline_and_at_a_cancellation() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a TEXT, found)");
    conn.exec("INSERT INTO t(a) VALUES (replace(hex(zeroblob(10000000)), '0', 'a'))");
    for (sql, pattern) in [
        ("UPDATE t SET found = a LIKE ?", format!("%{}b", "a".repeat(49_000))),
        ("UPDATE t SET found = a GLOB ?", format!("*{}b", "a".repeat(49_000))),
        ("UPDATE t SET found = a GLOB ?", format!("*[a-c]{}b", "a".repeat(49_000))),
        ("UPDATE t SET found = a LIKE ? ESCAPE '!'", format!("%!a{}b", "a".repeat(49_000))),
        ("UPDATE t SET found = replace(a, 'a', 'é') LIKE ?", format!("%{}b", "é".repeat(24_000))),
    ] {
        // The engine's own took hours.
        conn.assert_stops(300, sql, list![pattern.as_str()]);
    }
    assert_eq!(conn.value("SELECT found FROM t"), nil());
}

#[test]
fn random_rowids_stay_random_and_survive_vacuum() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a) RANDOM ROWID");
    for _ in 0..8 {
        // One compiled statement, run again and again.
        conn.exec("INSERT INTO t VALUES (1)");
    }
    let rowids = conn.exec("SELECT rowid FROM t ORDER BY rowid").rows;
    let apart = rowids.windows(2).filter(|pair| pair[1][0].int() - pair[0][0].int() > 1).count();
    assert_eq!(apart, 7, "{rowids:?}");
    conn.exec("VACUUM");
    assert_eq!(conn.value("PRAGMA integrity_check").text(), "ok");
    assert_eq!(conn.exec("SELECT rowid FROM t ORDER BY rowid").rows, rowids);
    for row in &rowids {
        assert_eq!(
            conn.query("SELECT count(*) FROM t WHERE rowid = ?", list![row[0].clone()]).unwrap().rows[0][0]
                .int(),
            1
        );
    }
}

#[test]
fn a_select_has_no_more_aggregates_than_the_column_limit() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    let sums: Vec<_> = (0..33_000).map(|number| format!("sum(a + {number})")).collect();
    let columns: Vec<_> = sums.chunks(100).map(|sums| format!("max(0, {})", sums.join(", "))).collect();
    let failure = conn.query(&format!("SELECT {} FROM t", columns.join(", ")), list![]).unwrap_err();
    assert!(failure.message.contains("more than 2000 aggregate terms"), "{}", failure.message);
    let allowed = format!("SELECT {} FROM t", columns[..20].join(", "));
    assert_eq!(conn.query(&allowed, list![]).unwrap().rows[0][19].int(), 2000);
}

#[test]
fn a_condition_of_many_constants_stops_while_it_is_compiled() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a)");
    let mut terms: Vec<_> = (0..150_000).map(|number| format!("a <> {number}")).collect();
    while terms.len() > 1 {
        terms = terms.chunks(2).map(|pair| format!("({})", pair.join(" AND "))).collect();
    }
    // After the text was read: that alone stops as well.
    let failure =
        conn.within(3000).query(&format!("SELECT * FROM t WHERE {}", terms[0]), list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert_eq!(conn.value("SELECT 1").int(), 1);
}

#[test]
fn like_and_glob_use_an_index_as_before() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.script("CREATE TABLE t(a TEXT COLLATE NOCASE); CREATE INDEX i ON t(a); CREATE TABLE s(a TEXT); CREATE INDEX j ON s(a)")
        .unwrap();
    for sql in ["SELECT * FROM t WHERE a LIKE 'abc%'", "SELECT * FROM s WHERE a GLOB 'abc*'"] {
        let plan = conn.query(&format!("EXPLAIN QUERY PLAN {sql}"), list![]).unwrap();
        assert!(plan.rows[0][3].text().starts_with("SEARCH"), "{:?}", plan.rows);
    }
}

#[test]
fn a_deep_statement_stops_while_it_is_compiled() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let nested =
        |levels: usize| format!("{}SELECT 1{}", "SELECT * FROM (".repeat(levels), ")".repeat(levels));
    let failure = conn.within(200).query(&nested(15_000), list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    let mut views = "CREATE TABLE v0(a);".to_owned();
    for number in 1..26 {
        let before = number - 1;
        views.push_str(&format!(
            "CREATE VIEW v{number} AS SELECT x.a FROM v{before} x, v{before} y WHERE x.a = y.a;"
        ));
    }
    conn.script(&views).unwrap();
    let failure = conn.within(200).query("SELECT * FROM v25", list![]).unwrap_err();
    assert_eq!(failure.code, "timeout");
    assert_eq!(conn.value("SELECT 1").int(), 1);
}

/// What each of these compares is the product of two lengths: the engine's own took minutes to hours.
const LONG_CALLS: [&str; 20] = [
    "instr(a, b)",
    "instr(CAST(a AS BLOB), CAST(b AS BLOB))",
    "length(replace(a, b, 'x'))",
    "length(trim(repeated, characters))",
    "length(ltrim(repeated, characters))",
    "length(rtrim(repeated, characters))",
    "length(unhex(repeated, characters))",
    "length(json_patch(object, other_object))",
    "length(jsonb_patch(object, other_object))",
    "length(json_patch(object, nulls))",
    "geopoly_overlap(polygon, polygon)",
    "geopoly_within(polygon, polygon)",
    "(SELECT length(snippet(f, 0, '', '', '', 5)) FROM f('a'))",
    "(SELECT length(snippet(g, '', '', '', 0, 64)) FROM g WHERE g MATCH many)",
    "(SELECT length(snippet(g, '', '', '', 0, -64)) FROM g WHERE g MATCH many)",
    "(SELECT length(offsets(g)) FROM g WHERE g MATCH many)",
    "(SELECT length(matchinfo(g, replace(hex(zeroblob(1000)), '00', 's'))) FROM g WHERE g MATCH many)",
    "(SELECT length(matchinfo(g, replace(hex(zeroblob(10000)), '00', 'xyb'))) FROM g WHERE g MATCH many)",
    "(SELECT length(matchinfo(g, printf('%.*c', 20000000, 'l'))) FROM g WHERE g MATCH 'a')",
    "(SELECT count(*) FROM g WHERE g MATCH '\"' || replace(hex(zeroblob(5000)), '00', 'a ') || '\"')",
];

/// A table with the columns that they use.
fn with_long_values(conn: &Conn<'_>) {
    conn.exec(
        "CREATE TABLE t(found, a TEXT, b TEXT, repeated TEXT, characters TEXT, object TEXT, other_object TEXT, nulls TEXT, \
         polygon TEXT, many TEXT)",
    );
    let characters: String = ('\u{4e00}'..'\u{9c40}').collect();
    let object = |key: &str, value: &str, keys: &mut dyn Iterator<Item = u32>| {
        let members: Vec<String> = keys.map(|number| format!("\"{key}{number}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    // Long thin teeth, all of them above one another.
    let mut corners: Vec<String> = (0..100_000)
        .map(|tooth| format!("[{},{tooth}]", if tooth % 2 == 0 { tooth } else { 1_000_000 - tooth }))
        .collect();
    corners.push("[-1000000,50000]".to_owned());
    corners.push(corners[0].clone());
    conn.query(
        "INSERT INTO t VALUES (NULL, printf('%.*c', 20000000, 'a'), printf('%.*c', 5000000, 'a') || 'b', \
         replace(hex(zeroblob(400)), '00', ?1), ?1, ?2, ?3, ?4, ?5, replace(hex(zeroblob(200)), '00', 'a OR ') || 'a')",
        list![
            characters.as_str(),
            object("a", "1", &mut (0..300_000)).as_str(),
            object("b", "1", &mut (0..300_000)).as_str(),
            object("a", "null", &mut (0..300_000).rev()).as_str(),
            format!("[{}]", corners.join(",")).as_str()
        ],
    )
    .unwrap();
    for (table, module) in [("f", "fts5"), ("g", "fts4")] {
        conn.exec(&format!("CREATE VIRTUAL TABLE {table} USING {module}(a)"));
        conn.query(&format!("INSERT INTO {table} VALUES (?)"), list!["a ".repeat(500_000).as_str()]).unwrap();
    }
}

#[test]
fn functions_whose_cost_is_a_product_stop_at_their_deadline_and_at_a_cancellation() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    with_long_values(&conn);
    for expression in LONG_CALLS {
        conn.assert_stops(1000, &format!("UPDATE t SET found = {expression}"), list![]);
    }
    assert_eq!(conn.value("SELECT found FROM t"), nil());
    // The same functions, with less to do, go through many looks at the clock and answer as ever.
    let a = "printf('%.*c', 3000000, 'a')";
    let b = "printf('%.*c', 3000, 'a') || 'b'";
    for (expression, expected) in [
        (format!("instr({a}, {b})"), 0.into()),
        (format!("instr({a} || 'b', {b})"), 2_997_001.into()),
        (format!("length(replace({a} || 'b', {b}, 'xy'))"), 2_997_002.into()),
        (format!("length(ltrim({a} || 'b', 'xyza'))"), 1.into()),
        (format!("length(rtrim('b' || {a}, 'xyza'))"), 1.into()),
        ("length(unhex('ab' || printf('%.*c', 3000000, '-') || 'cd', 'äöü-'))".to_owned(), 2.into()),
        (
            "(SELECT count(*) FROM json_each((SELECT json_patch(json_group_object('a' || value, 1), \
              json_group_object('b' || value, iif(value % 2, 1, NULL))) FROM generate)))"
                .to_owned(),
            4500.into(),
        ),
    ] {
        let sql = format!(
            "WITH RECURSIVE generate(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generate WHERE value < 3000) \
             SELECT {expression}"
        );
        assert_eq!(conn.value(&sql), expected, "{expression}");
    }
}

#[test]
fn functions_of_full_text_tables_answer_after_many_looks_at_the_clock() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE VIRTUAL TABLE g USING fts4(a, b)");
    conn.query("INSERT INTO g VALUES (?, 'x a')", list!["a b ".repeat(100_000).as_str()]).unwrap();
    let value = |function: &str, query: &str| {
        let sql = format!("SELECT {function} FROM g WHERE g MATCH ?");
        conn.query(&sql, list![query]).unwrap().value().clone()
    };
    let words = |format: &str, query: &str| -> Vec<u32> {
        let Term::Binary(bytes) = value(&format!("matchinfo(g, '{format}')"), query) else { panic!() };
        bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    };
    assert_eq!(words("pcnals", "a OR b"), [2, 2, 1, 200_000, 2, 200_000, 2, 2, 1]);
    let hits = [100_000, 100_000, 1, 1, 1, 1, 100_000, 100_000, 1, 0, 0, 0];
    assert_eq!(words("x", "a OR b"), hits);
    assert_eq!(words("yb", "a OR b"), [100_000, 1, 100_000, 0, 3, 1]);
    assert_eq!(words("xs", "\"a b\""), [100_000, 100_000, 1, 0, 0, 0, 1, 0]);
    assert_eq!(words("y", "a NEAR/1 b"), [100_000, 0, 100_000, 0]);
    assert_eq!(value("snippet(g, '<', '>', '…', 0, 3)", "b OR a"), "<a> <b> <a>…".into());
    assert_eq!(value("snippet(g, '<', '>', '…')", "x"), "<x> a".into());
    // Four numbers for each word: the positions are of 1 to 6 digits.
    let positions: usize = (0..200_000).map(|word| format!("0 {} {} 1 ", word % 2, 2 * word).len()).sum();
    let last = "1 0 2 1";
    let offsets = value("offsets(g)", "a OR b");
    assert_eq!(offsets.text().len(), positions + last.len());
    assert!(offsets.text().starts_with("0 0 0 1 0 1 2 1 0 0 4 1 ") && offsets.text().ends_with(last));
}

#[test]
fn the_case_of_like_does_not_change_while_a_statement_runs() {
    let sidecar = Sidecar::start();
    let (conn, other) = (sidecar.open(":memory:"), sidecar.open(":memory:"));
    for conn in [&conn, &other] {
        conn.script("CREATE TABLE t(a TEXT); CREATE INDEX i ON t(a); INSERT INTO t VALUES ('abc'), ('ABC')")
            .unwrap();
    }
    let count = |conn: &Conn<'_>| conn.value("SELECT count(*) FROM t WHERE a LIKE 'abc%'");
    let cursor = conn.call(tag::DECLARE, ["SELECT a FROM t".into(), list![]]).unwrap().items()[0].clone();
    let id = conn.send(tag::FETCH, [cursor.clone(), 1.into(), 0.into()]);
    sidecar.receive(id);
    let failure = conn.query("PRAGMA case_sensitive_like = ON", list![]).unwrap_err();
    assert_eq!(failure.code, "locked", "{failure:?}");
    assert!(failure.message.contains("while a statement runs"), "{failure:?}");
    // It changed the plans of all connections, so that they missed rows, but no function.
    for conn in [&conn, &other] {
        assert_eq!(count(conn), 2.into());
        let plan = conn.query("EXPLAIN QUERY PLAN SELECT * FROM t WHERE a LIKE 'abc%'", list![]).unwrap();
        assert!(plan.rows[0][3].text().starts_with("SCAN"), "{:?}", plan.rows);
    }
    conn.call(tag::CLOSE_CURSOR, [cursor]).unwrap();
    conn.exec("PRAGMA case_sensitive_like = ON");
    assert_eq!((count(&conn), count(&other)), (1.into(), 2.into()));
    conn.exec("PRAGMA case_sensitive_like = OFF");
    assert_eq!(count(&conn), 2.into());
}
