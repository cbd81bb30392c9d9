//! What SQL cannot do to the file, to the program's memory and to other files, unless its connection says so.

use crate::list;
use crate::support::*;
use crate::term::*;

fn refused(conn: &Conn<'_>, sql: &str) -> Failure {
    let failure = conn.query(sql, list![]).unwrap_err();
    assert!(
        matches!(failure.code.as_str(), "sql_error" | "not_authorized" | "read_only"),
        "{sql}: {failure:?}"
    );
    failure
}

#[test]
fn the_text_of_the_schema_is_written_by_requests_that_say_so_alone() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE TABLE t(a CHECK (a > 0))");
    let edit = "UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a)' WHERE name = 't'";
    let undefended = |sql: &str| conn.query_with(sql, list![], map([("defensive", atom("false"))])).unwrap();
    // As SQLite does: the pragma is passed over, and the table cannot be modified.
    conn.exec("PRAGMA writable_schema = 1");
    assert_eq!(conn.value("PRAGMA writable_schema").int(), 0);
    refused(&conn, edit);
    undefended("PRAGMA writable_schema = 1");
    assert_eq!(undefended(edit).changes, 1);
    // The same text without the option is not served from what was compiled with it.
    refused(&conn, edit);
    let version = conn.value("PRAGMA schema_version").int();
    conn.exec("PRAGMA schema_version = 999");
    assert_eq!(conn.value("PRAGMA schema_version").int(), version);
    undefended("PRAGMA schema_version = 999");
    conn.exec("PRAGMA writable_schema = RESET");
    conn.exec("INSERT INTO t VALUES (-1)");
    // A connection may do without.
    let open = sidecar.open_with(&path, map([("defensive", atom("false"))])).unwrap();
    open.exec("PRAGMA writable_schema = 1");
    assert_eq!(open.exec(edit).changes, 1);
}

#[test]
fn pragmas_that_a_defensive_connection_would_pass_over_are_refused_at_open() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let options =
        |defensive: &str| map([("pragmas", map([("writable_schema", 1)])), ("defensive", atom(defensive))]);
    let failure = sidecar.open_with(&path, options("true")).map(|_| ()).unwrap_err();
    assert_eq!(failure.code, "invalid_option");
    assert!(failure.message.contains("defensive"), "{failure:?}");
    sidecar.open_with(&path, options("false")).unwrap().close();
    // Without a journal on disk is what opens it may ask for, and SQL may not: the end of the program in a transaction would
    // leave the file damaged.
    let conn = sidecar.open(&path);
    for mode in ["off", "memory", "MEM"] {
        conn.exec(&format!("PRAGMA journal_mode = {mode}"));
        assert_eq!(conn.value("PRAGMA journal_mode").text(), "wal", "{mode}");
    }
}

#[test]
fn the_tables_of_virtual_tables_and_of_vector_indexes_are_not_written() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("CREATE VIRTUAL TABLE f USING fts5(x)");
    conn.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
    conn.exec("CREATE INDEX tv ON t (libsql_vector_idx(v))");
    conn.exec("INSERT INTO t VALUES (1, vector32('[1,2,3]'))");
    refused(&conn, "DELETE FROM f_data");
    for sql in [
        "UPDATE tv_shadow SET data = randomblob(100)",
        "DELETE FROM main.TV_SHADOW",
        "INSERT INTO tv_shadow SELECT * FROM tv_shadow",
        "DELETE FROM libsql_vector_meta_shadow",
    ] {
        let failure = refused(&conn, sql);
        assert_eq!(failure.code, "not_authorized", "{sql}");
        assert!(failure.message.contains("vector index"), "{failure:?}");
        assert_eq!(conn.script(sql).unwrap_err().code, "not_authorized");
        assert_eq!(conn.call(tag::PREPARE, [sql.into()]).unwrap_err().code, "not_authorized");
    }
    // Nor from within a trigger.
    conn.exec("CREATE TABLE u(a)");
    conn.exec("CREATE TRIGGER r AFTER INSERT ON u BEGIN DELETE FROM tv_shadow; END");
    assert_eq!(refused(&conn, "INSERT INTO u VALUES (1)").code, "not_authorized");
    // The index itself writes them, and a table that is only called so is an ordinary one.
    conn.exec("INSERT INTO t VALUES (2, vector32('[3,2,1]'))");
    conn.exec("DELETE FROM t WHERE a = 1");
    conn.exec("CREATE TABLE my_shadow(a)");
    conn.exec("INSERT INTO my_shadow VALUES (1)");
    let nearest = "SELECT id FROM vector_top_k('tv', vector32('[3,2,1]'), 1)";
    assert_eq!(conn.value(nearest).int(), 2);
    // A connection without the defence may.
    let open = sidecar.open_with(&path, map([("defensive", atom("false"))])).unwrap();
    open.exec("DELETE FROM tv_shadow WHERE 0");
    conn.exec("REINDEX tv");
    conn.exec("DROP INDEX tv");
}

#[test]
fn a_search_for_vectors_takes_counts_that_have_a_meaning() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    conn.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
    conn.exec("CREATE INDEX tv ON t (libsql_vector_idx(v))");
    conn.exec(
        "INSERT INTO t SELECT value, vector32('[' || value || ',2,3]') FROM json_each('[1,2,3,4,5,6,7,8,9]')",
    );
    let search = "SELECT count(*) FROM vector_top_k('tv', vector32('[1,2,3]'), ?)";
    for (k, found) in [(Term::from(1), 1), (5.into(), 5), (100_000.into(), 9), (Term::Float(3.0), 3)] {
        assert_eq!(conn.query(search, list![k]).unwrap().value().int(), found);
    }
    let wrong: [Term; 9] = [
        0.into(),
        (-1).into(),
        100_001.into(),
        (1i64 << 28).into(),
        (1i64 << 32).into(),
        i64::MAX.into(),
        Term::Float(1e300),
        nil(),
        "5".into(),
    ];
    for k in wrong {
        let failure = conn.query(search, list![k.clone()]).unwrap_err();
        assert_eq!(failure.code, "sql_error", "{k:?}");
        assert!(failure.message.contains("from 1 to 100000"), "{failure:?}");
    }
    for sql in [
        "SELECT * FROM vector_top_k",
        "SELECT * FROM vector_top_k('tv')",
        "SELECT * FROM vector_top_k(NULL, NULL, NULL)",
        "SELECT * FROM vector_top_k('none', vector32('[1,2,3]'), 1)",
        "SELECT * FROM vector_top_k('tv', x'00', 1)",
    ] {
        assert_eq!(conn.query(sql, list![]).unwrap_err().code, "sql_error", "{sql}");
    }
    // Joined, with the table's own columns, many times over.
    let joined =
        "SELECT count(*), min(t.a) FROM t AS q, vector_top_k('tv', q.v, 2) AS n JOIN t ON t.rowid = n.id";
    assert_eq!(conn.exec(joined).rows, [[18.into(), 1.into()]]);
    let hidden = "SELECT idx, id FROM vector_top_k('tv', vector32('[1,2,3]'), 1)";
    assert_eq!(conn.exec(hidden).rows[0][1].int(), 1);
}

#[test]
fn a_separator_of_megabytes_writes_behind_no_buffer() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let arguments = vec!["'aaaaaaaaaa'"; 126].join(", ");
    let sql = format!("SELECT length(concat_ws(hex(zeroblob(17179870)), {arguments}))");
    assert_eq!(conn.query(&sql, list![]).unwrap_err().code, "too_big");
    for (sql, expected) in [
        ("SELECT concat_ws(',', 1, NULL, 'b', '', 2.5)", "1,b,2.5".into()),
        ("SELECT concat_ws(NULL, 1, 2)", nil()),
        ("SELECT concat_ws('--', NULL, NULL)", "".into()),
        ("SELECT concat_ws('', 'a', 'ü')", "aü".into()),
    ] {
        assert_eq!(conn.value(sql), expected, "{sql}");
    }
    assert_eq!(conn.query("SELECT concat_ws(',')", list![]).unwrap_err().code, "sql_error");
}

#[test]
fn untrusted_sql_opens_no_further_files() {
    let (folder, path) = folder();
    let other = folder.path().join("other.db");
    let sidecar = Sidecar::start();
    let conn = sidecar.open_with(&path, map([("untrusted_sql", atom("true"))])).unwrap();
    conn.exec("CREATE TABLE t(a)");
    for sql in [
        format!("ATTACH '{}' AS o", other.display()),
        format!("ATTACH 'file:{}?mode=rwc' AS o", other.display()),
        format!("VACUUM INTO '{}'", other.display()),
        // A file of this name, where the program runs.
        "ATTACH ':MEMORY:' AS o".to_owned(),
    ] {
        let failure = refused(&conn, &sql);
        assert_eq!(failure.code, "not_authorized", "{sql}");
        assert!(failure.message.contains("untrusted_sql"), "{failure:?}");
    }
    let bound = conn.query("ATTACH ? AS o", list![other.to_str().unwrap()]).unwrap_err();
    assert_eq!(bound.code, "not_authorized");
    let bound = conn.query("VACUUM INTO ?", list![other.to_str().unwrap()]).unwrap_err();
    assert_eq!(bound.code, "not_authorized");
    assert!(!other.exists());
    conn.exec("VACUUM");
    conn.exec("ATTACH ':memory:' AS m");
    // By default SQL opens what the program may.
    sidecar.open(&path).query("VACUUM INTO ?", list![other.to_str().unwrap()]).unwrap();
    assert!(other.exists());
}

#[test]
fn sql_opens_files_of_the_allowed_directories_alone() {
    let (folder, path) = folder();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("inside too"));
    for folder in [inside.join("deeper"), outside.clone()] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::os::unix::fs::symlink(&outside, inside.join("out")).unwrap();
    std::os::unix::fs::symlink(outside.join("file.db"), inside.join("link.db")).unwrap();
    std::os::unix::fs::symlink(&inside, folder.path().join("alias")).unwrap();
    let sidecar = Sidecar::start();
    for untrusted in [false, true] {
        let directories = list![folder.path().join("alias").to_str().unwrap()];
        let options =
            map([("untrusted_sql", atom(&untrusted.to_string())), ("allowed_directories", directories)]);
        let conn = sidecar.open_with(&path, options).unwrap();
        conn.exec("CREATE TABLE IF NOT EXISTS t(a)");
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let uri = |name: &str| format!("file:{}", at(name).replace(' ', "%20"));
        for name in [
            at("inside too/x.db"),
            at("x.db"),
            at("inside/../x.db"),
            at("inside/out/x.db"),
            at("inside/link.db"),
            at("alias/deeper/../../x.db"),
            "x.db".to_owned(),
            uri("x.db"),
            uri("inside/out/x.db?mode=rwc"),
            uri("inside/../x.db?vfs=unix"),
            uri("x.db?vfs=unix-none"),
            uri("x.db?vfs=unix-dotfile"),
            uri("x.db?vfs=unix-excl"),
            uri("x.db?vfs=libsql_port"),
            uri("x.db?cache=shared"),
            uri("inside/x.db?vfs=unix"),
            uri("inside/x.db?vfs=unix-none"),
            uri("inside/x.db?vfs=memdb"),
            "file:/named?vfs=memdb".to_owned(),
            at("inside/x.db-journal"),
            at("inside/x.db-wal"),
            at("inside/x.db-shm"),
            at("inside/x.db-turn"),
            at("inside/x.db-mj0A1B2C9D4"),
        ] {
            for sql in ["ATTACH ?1 AS o", "VACUUM INTO ?1", "ATTACH (?1 || '') AS o"] {
                let failure = conn.query(sql, list![name.as_str()]).unwrap_err();
                assert_eq!(failure.code, "not_authorized", "{sql} {name}: {failure:?}");
                assert!(
                    failure.message.contains("alias") || failure.message.contains("inside"),
                    "{failure:?}"
                );
            }
            let literal = format!("ATTACH '{name}' AS o");
            assert_eq!(conn.query(&literal, list![]).unwrap_err().code, "not_authorized", "{literal}");
            assert_eq!(conn.script(&literal).unwrap_err().code, "not_authorized", "{literal}");
        }
        let files = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files(&outside), 0, "no file was made");
        assert!(!folder.path().join("x.db").exists() && !std::path::Path::new("x.db").exists());
        for name in [at("inside/a.db"), at("inside/deeper/b.db"), at("alias/c.db"), uri("inside/d.db")] {
            conn.query("ATTACH ?1 AS o", list![name.as_str()]).unwrap();
            conn.exec("CREATE TABLE IF NOT EXISTS o.t(a)");
            conn.exec("DETACH o");
        }
        let copy = at(&format!("inside/copy {untrusted}.db"));
        conn.query("VACUUM INTO ?1", list![copy.as_str()]).unwrap();
        conn.exec("ATTACH ':memory:' AS m");
        conn.exec("ATTACH '' AS n");
        conn.exec("VACUUM");
        // Another connection, on the same thread or another, is none of this one's business.
        let other = sidecar.open(&path);
        other.query("ATTACH ?1 AS o", list![at("free.db").as_str()]).unwrap();
    }
    // What another connection has in a shared cache is asked for like any file, or is another one in memory.
    let file = format!("file:{}?cache=shared", folder.path().join("shared.db").display());
    let tenant = "file:tenant?mode=memory&cache=shared";
    let shared = [sidecar.open(&file), sidecar.open(tenant)];
    for conn in &shared {
        conn.exec("CREATE TABLE secret(a)");
    }
    let directories = list![inside.to_str().unwrap()];
    let conn = sidecar.open_with(&path, map([("allowed_directories", directories)])).unwrap();
    let failure = conn.query("ATTACH ? AS s", list![file.as_str()]).unwrap_err();
    assert_eq!(failure.code, "not_authorized", "{failure:?}");
    conn.query("ATTACH ? AS s", list![tenant]).unwrap();
    assert_eq!(conn.value("SELECT count(*) FROM s.sqlite_schema"), 0.into());
    for (given, why) in [
        (list!["relative"], "is not absolute"),
        (list![path.to_str().unwrap()], "is no directory"),
        (list!["/there/is/none"], "cannot be used"),
        (list![7], "a list of at most"),
        ("inside".into(), "a list of at most"),
    ] {
        let failure = sidecar.open_with(&path, map([("allowed_directories", given)])).err().unwrap();
        assert_eq!(failure.code, "invalid_option", "{failure:?}");
        assert!(
            failure.message.contains(why) && failure.message.contains("allowed_directories"),
            "{failure:?}"
        );
    }
}

/// A journal is played back when its database is opened. The super-journal that it names is removed then.
#[test]
fn a_journal_has_no_file_removed_that_is_no_super_journal() {
    let (folder, path) = folder();
    let victim = folder.path().join("victim.txt");
    std::fs::write(&victim, "what somebody needs").unwrap();
    let sidecar = Sidecar::start();
    let conn = sidecar.open(&path);
    conn.exec("PRAGMA journal_mode = delete");
    conn.exec("CREATE TABLE t(a)");
    conn.close();
    let name = victim.to_str().unwrap().as_bytes();
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    let mut journal = vec![b'x'; 512];
    journal.extend(name);
    journal.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    journal.extend(sum.to_be_bytes());
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    let beside = folder.path().join("test.db-journal");
    let other = sidecar.open(folder.path().join("other.db"));
    for attached in [true, false] {
        std::fs::write(&beside, &journal).unwrap();
        let failure = match attached {
            true => other.query("ATTACH ? AS o", list![path.to_str().unwrap()]).map(|_| ()).unwrap_err(),
            false => sidecar.open_with(&path, map([("defensive", atom("true"))])).map(|_| ()).unwrap_err(),
        };
        assert_eq!(failure.code, "cannot_open", "{failure:?}");
        assert!(victim.exists(), "attached: {attached}");
    }
    // The journal itself, which is none, is gone by now.
    let _ = std::fs::remove_file(&beside);
    assert_eq!(sidecar.open(&path).value("SELECT count(*) FROM t"), 0.into());
}

/// A table with a vector index and a row in it.
fn with_vectors(sidecar: &Sidecar, path: impl AsRef<std::path::Path>) -> Conn<'_> {
    let conn = sidecar.open(path);
    conn.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
    conn.exec("CREATE INDEX tv ON t (libsql_vector_idx(v))");
    conn.exec("INSERT INTO t VALUES (1, vector32('[1,2,3]'))");
    conn
}

#[test]
fn the_table_of_a_vector_index_is_neither_dropped_nor_altered_nor_brought_along() {
    let sidecar = Sidecar::start();
    let conn = with_vectors(&sidecar, ":memory:");
    let before = conn.exec("SELECT * FROM tv_shadow").rows;
    for sql in [
        "DROP TABLE tv_shadow",
        "DROP TABLE IF EXISTS main.\"TV_shadow\"",
        "ALTER TABLE tv_shadow RENAME TO other",
        "ALTER TABLE tv_shadow RENAME COLUMN data TO other",
        "ALTER TABLE tv_shadow DROP COLUMN data",
        "DROP TABLE libsql_vector_meta_shadow",
        "ALTER TABLE libsql_vector_meta_shadow RENAME TO other",
        "CREATE INDEX i ON tv_shadow(data)",
        "CREATE UNIQUE INDEX IF NOT EXISTS main.i ON \"TV_SHADOW\"(data)",
        "CREATE TRIGGER r AFTER INSERT ON tv_shadow BEGIN DELETE FROM t; END",
        "CREATE TRIGGER main.r BEFORE DELETE ON tv_shadow BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TEMP TRIGGER r AFTER INSERT ON main.tv_shadow BEGIN DELETE FROM t; END",
        "CREATE INDEX i ON libsql_vector_meta_shadow(name)",
    ] {
        assert_eq!(refused(&conn, sql).code, "not_authorized", "{sql}");
        conn.exec("BEGIN IMMEDIATE");
        assert_eq!(conn.script(sql).unwrap_err().code, "not_authorized", "{sql}");
        conn.exec("ROLLBACK");
    }
    assert_eq!(conn.exec("SELECT * FROM tv_shadow").rows, before);
    // libSQL takes over a table of that name, and puts the index's name into its own SQL as it is.
    conn.exec("CREATE TABLE w_shadow(index_key INTEGER PRIMARY KEY, data BLOB)");
    conn.exec("INSERT INTO w_shadow VALUES (7, x'00')");
    let failure = refused(&conn, "CREATE INDEX w ON t (libsql_vector_idx(v))");
    assert!(failure.code == "not_authorized" && failure.message.contains("w_shadow"), "{failure:?}");
    let hostile = "CREATE INDEX \"x(a); DELETE FROM tv_shadow; --\" ON t (libsql_vector_idx(v))";
    assert_eq!(refused(&conn, hostile).code, "not_authorized");
    assert_eq!(conn.exec("SELECT * FROM tv_shadow").rows, before);
    conn.exec("DROP TABLE w_shadow");
    conn.exec("CREATE INDEX w ON t (libsql_vector_idx(v))");
    conn.exec("DROP INDEX w");
    conn.exec("CREATE INDEX IF NOT EXISTS tv ON t (libsql_vector_idx(v))");
    conn.exec("ALTER TABLE t RENAME TO s");
    conn.exec("DROP TABLE s");
}

#[test]
fn what_was_compiled_before_there_was_a_vector_index_does_not_write_its_table() {
    let sidecar = Sidecar::start();
    let conn = with_vectors(&sidecar, ":memory:");
    let before = conn.exec("SELECT * FROM tv_shadow").rows;
    // A trigger that comes later: the engine compiles the cached statement anew when it runs.
    conn.exec("CREATE TABLE u(a)");
    let insert = "INSERT INTO u VALUES (1)";
    conn.exec(insert);
    conn.exec(insert);
    conn.exec("CREATE TRIGGER r AFTER INSERT ON u BEGIN UPDATE tv_shadow SET data = x'00'; END");
    assert_eq!(refused(&conn, insert).code, "not_authorized");
    assert_eq!(refused(&conn, insert).code, "not_authorized");
    assert_eq!(conn.exec("SELECT * FROM tv_shadow").rows, before);
    conn.exec("DROP TRIGGER r");
    conn.exec(insert);
    assert_eq!(conn.value("SELECT count(*) FROM u").int(), 3);
    // An ordinary table that becomes one.
    conn.exec("CREATE TABLE w_shadow(index_key INTEGER PRIMARY KEY, data BLOB)");
    let write = "UPDATE w_shadow SET data = x'00'";
    conn.exec(write);
    conn.exec(write);
    conn.exec("DROP TABLE w_shadow");
    conn.exec("CREATE INDEX w ON t (libsql_vector_idx(v))");
    let before = conn.exec("SELECT * FROM w_shadow").rows;
    assert_eq!(refused(&conn, write).code, "not_authorized");
    assert_eq!(conn.exec("SELECT * FROM w_shadow").rows, before);
}

#[test]
fn a_table_that_is_called_as_those_of_vector_indexes_is_an_ordinary_one() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start();
    let conn = with_vectors(&sidecar, &path);
    conn.exec("CREATE TABLE users(a)");
    conn.exec("CREATE TABLE users_shadow(a UNIQUE)");
    conn.exec("CREATE TABLE more_shadow(a)");
    let insert = |a: i64| conn.query("INSERT INTO users VALUES (?) RETURNING a", list![a]).unwrap();
    insert(1);
    insert(2);
    conn.exec(
        "CREATE TRIGGER r AFTER INSERT ON users BEGIN INSERT INTO users_shadow VALUES (new.a); \
         INSERT INTO more_shadow VALUES (new.a); END",
    );
    // Compiled anew when it runs, with the trigger.
    assert_eq!(insert(3).rows, [[3.into()]]);
    assert_eq!(insert(4).changes, 1);
    conn.exec("CREATE INDEX ua ON users(a)");
    insert(5);
    assert_eq!(conn.value("SELECT group_concat(a) FROM users_shadow").text(), "3,4,5");
    assert_eq!(conn.value("SELECT group_concat(a) FROM more_shadow").text(), "3,4,5");
    let twice = conn.query("INSERT INTO users VALUES (5)", list![]).unwrap_err();
    assert_eq!(twice.code, "constraint_unique");
    conn.script(
        "INSERT INTO users_shadow VALUES (9); ALTER TABLE users_shadow ADD COLUMN b; DROP TABLE more_shadow",
    )
    .unwrap();
    conn.exec("CREATE TABLE copy_shadow AS SELECT * FROM users_shadow");
    conn.exec("DELETE FROM copy_shadow");
    conn.exec("VACUUM");
    // A vector index of the temporary schema, too.
    conn.exec("CREATE TEMP TABLE tt(a INTEGER PRIMARY KEY, v F32_BLOB(3))");
    conn.exec("CREATE INDEX temp.ttv ON tt (libsql_vector_idx(v))");
    conn.exec("INSERT INTO tt VALUES (1, vector32('[1,2,3]'))");
    conn.exec("DROP INDEX temp.ttv");
    conn.exec("DROP TABLE tt");
}

/// The functions of the sidecar, with their arguments.
const FUNCTIONS: [&str; 16] = [
    "decimal(a)",
    "decimal_add(a, '1')",
    "decimal_sub(a, '1')",
    "decimal_mul(a, '2')",
    "decimal_div(a, '2')",
    "decimal_neg(a)",
    "decimal_abs(a)",
    "decimal_round(a, 1)",
    "decimal_cmp(a, '1')",
    "decimal_key(a)",
    "decimal_of_key(decimal_key(a))",
    "decimal_text(a)",
    "float_of_bits(4609434218613702656)",
    "float_of_text('1.5')",
    "float_text(1.5)",
    "concat_ws('-', a, a)",
];

#[test]
fn the_functions_of_the_sidecar_may_stand_in_a_schema_that_is_not_trusted() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    assert_eq!(conn.value("PRAGMA trusted_schema").int(), 0);
    assert_eq!(conn.value("PRAGMA cell_size_check").int(), 1);
    let vectors = ["vector32('[1,2,3]')", "vector_extract(vector32('[1,2,3]'))"];
    for function in FUNCTIONS.into_iter().chain(vectors) {
        let of_new = function.replace("(a", "(new.a").replace(", a", ", new.a");
        conn.script(&format!(
            "CREATE TABLE t(a TEXT, b AS ({function}), c AS ({function}) STORED, CHECK ({function} IS NOT NULL));
             CREATE INDEX i ON t({function}) WHERE {function} IS NOT NULL;
             CREATE VIEW v AS SELECT b, c, {function} AS d FROM t;
             CREATE TABLE u(a TEXT, b);
             CREATE TRIGGER r AFTER INSERT ON t WHEN {of_new} IS NOT NULL
             BEGIN INSERT INTO u VALUES (new.a, {of_new}); END;"
        ))
        .unwrap_or_else(|failure| panic!("{function}: {failure:?}"));
        conn.exec("INSERT INTO t VALUES ('2')");
        let row = &conn.exec("SELECT * FROM v").rows[0];
        assert!(row.iter().all(|value| *value == row[0] && *value != nil()), "{function}: {row:?}");
        assert_eq!(conn.value("SELECT b FROM u"), row[0], "{function}");
        conn.script("DROP VIEW v; DROP TABLE t; DROP TABLE u").unwrap();
    }
    for function in ["decimal_sum", "decimal_avg", "decimal_min", "decimal_max"] {
        conn.script(&format!(
            "CREATE TABLE t(a TEXT); CREATE VIEW v AS SELECT {function}(a) FROM t;
             CREATE VIEW w AS SELECT {function}(a) OVER (ORDER BY rowid) FROM t; INSERT INTO t VALUES ('2')"
        ))
        .unwrap();
        assert_eq!(conn.value("SELECT * FROM v"), conn.value("SELECT * FROM w"), "{function}");
        conn.script("DROP VIEW v; DROP VIEW w; DROP TABLE t").unwrap();
    }
}

#[test]
fn virtual_tables_may_stand_in_a_schema_that_is_not_trusted() {
    let sidecar = Sidecar::start();
    let conn = with_vectors(&sidecar, ":memory:");
    conn.script(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, x TEXT);
         CREATE VIRTUAL TABLE f USING fts5(x, content='p', content_rowid='id');
         CREATE VIRTUAL TABLE g USING rtree(id, x0, x1);
         CREATE TRIGGER pi AFTER INSERT ON p BEGIN
           INSERT INTO f(rowid, x) VALUES (new.id, new.x);
           INSERT INTO g VALUES (new.id, 1, 2);
         END;
         CREATE TRIGGER pu AFTER UPDATE ON p BEGIN
           INSERT INTO f(f, rowid, x) VALUES ('delete', old.id, old.x);
           INSERT INTO f(rowid, x) VALUES (new.id, new.x);
         END;
         CREATE TRIGGER pd AFTER DELETE ON p BEGIN
           INSERT INTO f(f, rowid, x) VALUES ('delete', old.id, old.x);
           DELETE FROM g WHERE id = old.id;
         END;
         CREATE VIEW found AS SELECT rowid AS id, bm25(f) AS rank, highlight(f, 0, '[', ']') AS x FROM f
           WHERE f MATCH 'word';
         CREATE VIEW boxes AS SELECT id FROM g WHERE x0 < 5;
         CREATE VIEW parts AS SELECT p.id, j.value FROM p, json_each('[1,2]') AS j;
         CREATE VIEW near AS SELECT id FROM vector_top_k('tv', vector32('[1,2,3]'), 1);
         INSERT INTO p VALUES (1, 'a word'), (2, 'another');
         UPDATE p SET x = 'the word' WHERE id = 1;
         DELETE FROM p WHERE id = 2;",
    )
    .unwrap();
    assert_eq!(conn.exec("SELECT id, x FROM found").rows, [[1.into(), "the [word]".into()]]);
    assert_eq!(conn.value("SELECT count(*) FROM boxes").int(), 1);
    assert_eq!(conn.value("SELECT count(*) FROM parts").int(), 2);
    assert_eq!(conn.value("SELECT id FROM near").int(), 1);
    // What SQLite does not call innocuous is refused there, and may be asked for directly.
    conn.exec("CREATE VIEW risky AS SELECT name FROM pragma_table_info('p')");
    assert!(refused(&conn, "SELECT * FROM risky").message.contains("unsafe use"));
    conn.exec("SELECT name FROM pragma_table_info('p')");
}

#[test]
fn the_limits_of_the_engine_are_options() {
    let sidecar = Sidecar::start();
    let limits = map([("length", 1000), ("expr_depth", 20), ("attached", 0), ("compound_select", 2)]);
    let conn = sidecar.open_with(":memory:", map([("limits", limits)])).unwrap();
    assert_eq!(conn.query("SELECT zeroblob(1001)", list![]).unwrap_err().code, "too_big");
    let deep = format!("SELECT {}1{}", "(1 + ".repeat(30), ")".repeat(30));
    assert!(refused(&conn, &deep).message.contains("too large"));
    refused(&conn, "ATTACH ':memory:' AS m");
    refused(&conn, "SELECT 1 UNION SELECT 2 UNION SELECT 3");
    for (limits, named) in [
        (map([("lenght", 1)]), "known ones are length"),
        (map([("length", -1)]), "1000 at least"),
        (map([("variable_number", 2_000_000_000)]), "at most"),
    ] {
        let failure = sidecar.open_with(":memory:", map([("limits", limits)])).map(|_| ()).unwrap_err();
        assert_eq!(failure.code, "invalid_option");
        assert!(failure.message.contains(named), "{failure:?}");
    }
    // The defaults are far from what is usual.
    let conn = sidecar.open(":memory:");
    assert_eq!(conn.value("SELECT length(zeroblob(200000000))").int(), 200_000_000);
    assert_eq!(conn.query("SELECT length(zeroblob(300000000))", list![]).unwrap_err().code, "too_big");
}

#[test]
fn the_engine_allocates_no_more_than_its_limit_and_the_program_goes_on() {
    let sidecar = Sidecar::start_with(&["--heap-bytes-max=67108864"]);
    let conn = sidecar.open(":memory:");
    assert_eq!(conn.query("SELECT hex(zeroblob(60000000))", list![]).unwrap_err().code, "out_of_memory");
    assert_eq!(conn.value("SELECT 1").int(), 1);
    assert_eq!(sidecar.open(":memory:").value("SELECT 2").int(), 2);
}

const SORT: &str = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 80000) \
                    SELECT hex(randomblob(400)) AS a FROM r ORDER BY a";

#[test]
fn temporary_files_hold_no_more_than_their_limit() {
    let (_folder, path) = folder();
    let sidecar = Sidecar::start_with(&["--temp-bytes-max=80000000"]);
    // Four times 64 MB go through a disk that may be busy.
    let conn = sidecar.open(&path).within(120_000);
    conn.exec("CREATE TABLE t(a)");
    // Each of them needs about 64 MB: what was used is given back.
    for _ in 0..3 {
        assert_eq!(conn.value(&format!("SELECT count(*) FROM ({SORT} LIMIT -1 OFFSET 1)")).int(), 79_999);
    }
    let twice = format!("SELECT count(*) FROM ({SORT} LIMIT -1 OFFSET 1) JOIN ({SORT} LIMIT -1 OFFSET 1)");
    let failure = conn.query(&twice, list![]).unwrap_err();
    assert_eq!(failure.code, "limit_exceeded", "{failure:?}");
    assert!(failure.message.contains("temp_bytes_max"), "{failure:?}");
    // So do the rows of cursors that are read ahead.
    let long = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 200000) SELECT zeroblob(1000) FROM r";
    conn.begin("immediate").unwrap();
    let declared = conn.call(tag::DECLARE, [long.into(), list![]]).unwrap();
    assert!(!declared.items().is_empty());
    assert_eq!(conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "limit_exceeded");
    conn.rollback().unwrap();
    assert_eq!(conn.value(&format!("SELECT count(*) FROM ({SORT} LIMIT -1 OFFSET 1)")).int(), 79_999);
}

#[test]
#[cfg(target_os = "linux")]
fn temporary_files_are_where_the_option_says_and_have_no_name() {
    let (folder, path) = folder();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let sidecar = Sidecar::start_with(&[&format!("--temp-directory={}", temporary.display())]);
    let conn = sidecar.open(&path);
    conn.begin("deferred").unwrap();
    // Half read, the sorter keeps its file.
    let cursor = conn.call(tag::DECLARE, [SORT.into(), list![]]).unwrap().items()[0].clone();
    let fetched = conn.send(tag::FETCH, [cursor, 1.into(), 0.into()]);
    assert_eq!(sidecar.receive(fetched).tag, tag::MORE_ROWS);
    let descriptors =
        std::fs::read_dir(format!("/proc/{}/fd", sidecar.status().get("os_pid").int())).unwrap();
    let open: Vec<_> = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    assert!(open.iter().any(|file| file.starts_with(&temporary)), "{open:?}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "a kill leaves nothing behind");
}

#[test]
fn a_folder_for_temporary_files_that_cannot_be_used_is_an_error_at_start() {
    let (folder, path) = folder();
    std::fs::write(&path, "a file").unwrap();
    for place in [folder.path().join("not there"), path, "/proc".into()] {
        let mut process = Process::start(&[&format!("--temp-directory={}", place.display())]);
        assert_eq!(process.wait(BOUND).code(), Some(2), "{}", place.display());
        let words = process.stderr();
        assert!(words.contains("temp_directory") && words.contains(place.to_str().unwrap()), "{words}");
    }
}

#[test]
fn a_folder_for_temporary_files_that_is_gone_is_an_error_of_what_needs_one() {
    let (folder, path) = folder();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let sidecar = Sidecar::start_with(&[&format!("--temp-directory={}", temporary.display())]);
    let conn = sidecar.open(&path);
    std::fs::remove_dir(&temporary).unwrap();
    let sorted = format!("SELECT count(*) FROM ({SORT} LIMIT -1 OFFSET 1)");
    let failure = conn.query(&sorted, list![]).unwrap_err();
    assert_eq!(failure.code, "cannot_open");
    assert!(
        failure.message.contains("temp_directory") && failure.message.contains("temporary"),
        "{failure:?}"
    );
    assert_eq!(conn.value("SELECT 1"), 1.into());
    std::fs::create_dir(&temporary).unwrap();
    assert_eq!(conn.value(&sorted).int(), 79_999);
}

#[test]
fn memory_goes_back_to_the_system_after_a_large_result() {
    let sidecar = Sidecar::start();
    let conn = sidecar.open(":memory:");
    let rss = || sidecar.status().get("rss_bytes").int();
    let before = rss();
    let large = conn.query("SELECT zeroblob(100000000)", list![]).unwrap();
    assert_eq!(large.rows.len(), 1);
    drop(large);
    let after = || rss() - before;
    eventually("the memory is back", || after() < 30_000_000);
    // So does what a connection has had.
    conn.exec("CREATE TABLE t(a)");
    conn.exec(&format!("INSERT INTO t SELECT zeroblob(100000) FROM ({})", numbers(2000)));
    assert!(after() > 150_000_000);
    conn.close();
    eventually("the memory is back", || after() < 40_000_000);
}

#[test]
fn memory_goes_back_to_the_system_after_a_large_request() {
    let sidecar = Sidecar::start_with(&["--frame-bytes-max=134217728"]);
    let conn = sidecar.open(":memory:");
    let rss = || sidecar.status().get("rss_bytes").int();
    let before = rss();
    let large = vec![7; 100_000_000];
    assert_eq!(conn.query("SELECT length(?)", list![blob(&large)]).unwrap().value().int(), 100_000_000);
    eventually("the memory is back", || rss() - before < 30_000_000);
}
