//! What a policy denies is not done by a foreign key or an index, which say what others may do with a table; nor told by what counts its
//! rows; nor reached by another name of the same thing.

use crate::list;
use crate::policy::rule;
use crate::policy_detours::{all_but, database, denied, under};
use crate::support::*;
use crate::term::*;

const SCHEMA: &str = "CREATE TABLE secrets(id INTEGER PRIMARY KEY, word UNIQUE, UNIQUE(word, id));
    CREATE TABLE pairs(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;
    CREATE TABLE mine(id INTEGER PRIMARY KEY, x, y);
    INSERT INTO secrets VALUES (1, 'one'), (2, 'two'); INSERT INTO mine VALUES (1, 1, 1)";

fn no(actions: &[&str], table: &str) -> Term {
    rule("deny", actions, &[("table", table)])
}

#[test]
fn a_foreign_key_needs_the_right_to_refer_to_a_table_and_to_read_its_key() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, SCHEMA);
    for (rules, denials) in [
        (
            no(&["references"], "Secrets"),
            vec![
                ("CREATE TABLE c(a REFERENCES secrets)", "references secrets"),
                ("CREATE TABLE c(a REFERENCES \"SECRETS\"(id) ON DELETE CASCADE)", "references SECRETS"),
                (
                    "CREATE TABLE c(a, b, FOREIGN KEY(b, a) REFERENCES secrets(word, id))",
                    "references secrets",
                ),
                (
                    "CREATE TABLE c(a CONSTRAINT n REFERENCES secrets DEFERRABLE INITIALLY DEFERRED)",
                    "references secrets",
                ),
                ("CREATE TABLE main.c(a PRIMARY KEY REFERENCES secrets) WITHOUT ROWID", "references secrets"),
                ("EXPLAIN CREATE TABLE c(a REFERENCES secrets)", "references secrets"),
                ("ALTER TABLE mine ADD COLUMN z REFERENCES secrets", "references secrets"),
                ("ALTER TABLE mine ADD COLUMN z DEFAULT NULL REFERENCES secrets(id)", "references secrets"),
                ("ALTER TABLE mine ALTER COLUMN x TO x REFERENCES secrets(id)", "references secrets"),
                (
                    "ALTER TABLE mine ALTER COLUMN y TO y INTEGER CHECK (y > 0) REFERENCES secrets",
                    "references secrets",
                ),
                // Nor by another name of it, or under that of one that is not there yet.
                ("ALTER TABLE secrets RENAME TO free", "references secrets"),
                ("ALTER TABLE main.\"Secrets\" RENAME TO secrets2", "references secrets"),
            ],
        ),
        // Of the group that what is done to rows is in.
        (no(&["write"], "secrets"), vec![("CREATE TABLE c(a REFERENCES secrets)", "references secrets")]),
        (
            rule("deny", &["read"], &[("table", "secrets"), ("column", "id")]),
            vec![
                ("CREATE TABLE c(a REFERENCES secrets)", "read secrets id"),
                ("CREATE TABLE c(a REFERENCES secrets(ID))", "read secrets ID"),
                ("CREATE TABLE c(a REFERENCES secrets(rowid))", "read secrets id"),
                ("CREATE TABLE c(a, FOREIGN KEY(a) REFERENCES secrets(_RowId_))", "read secrets id"),
                ("ALTER TABLE mine ADD COLUMN z REFERENCES secrets(oid)", "read secrets id"),
                ("CREATE TABLE c(a, b, FOREIGN KEY(b, a) REFERENCES secrets(word, id))", "read secrets id"),
                ("ALTER TABLE mine ADD COLUMN z REFERENCES secrets", "read secrets id"),
                ("ALTER TABLE mine ALTER COLUMN x TO x REFERENCES secrets", "read secrets id"),
            ],
        ),
        (
            rule("deny", &["read"], &[("table", "pairs"), ("column", "b")]),
            vec![("CREATE TABLE c(x, y, FOREIGN KEY(x, y) REFERENCES pairs)", "read pairs b")],
        ),
        (
            rule("ignore", &["read"], &[("table", "secrets"), ("column", "id")]),
            vec![
                ("CREATE TABLE c(a REFERENCES secrets)", "read secrets id"),
                ("ALTER TABLE mine ADD COLUMN z REFERENCES secrets(id)", "read secrets id"),
                ("ALTER TABLE mine ALTER COLUMN x TO x REFERENCES secrets", "read secrets id"),
            ],
        ),
        // One that is not there yet.
        (
            no(&["references"], "later"),
            vec![
                ("CREATE TABLE c(a REFERENCES later(id))", "references later"),
                ("ALTER TABLE mine RENAME TO Later", "references Later"),
            ],
        ),
        (no(&["read"], "later"), vec![("CREATE TABLE c(a REFERENCES later)", "read later")]),
    ] {
        let conn = under(&sidecar, &path, all_but([rules.clone()]));
        for (sql, denial) in denials {
            assert_eq!(denied(&conn, sql), denial, "{sql} {rules:?}");
        }
        conn.exec("CREATE TABLE c(a REFERENCES mine, b REFERENCES c, d REFERENCES elsewhere)");
        conn.exec("ALTER TABLE c ADD COLUMN e REFERENCES mine(id)");
        conn.exec("ALTER TABLE c ADD COLUMN f REFERENCES c");
        conn.exec("ALTER TABLE c ALTER COLUMN a TO a REFERENCES mine(id) ON DELETE CASCADE");
        conn.exec("DROP TABLE c");
    }
    let all = sidecar.open(&path);
    assert_eq!(
        all.value("SELECT group_concat(name) FROM sqlite_schema WHERE sql LIKE '%REFERENCES%'"),
        nil()
    );
    // What the table refers to already is asked about no more, and its own rows are its owner's.
    all.exec("CREATE TABLE c(a REFERENCES secrets, b)");
    let conn = under(&sidecar, &path, list![rule("allow", &["alter_table"], &[("table", "c")])]);
    conn.exec("ALTER TABLE c ADD COLUMN d");
    assert_eq!(denied(&conn, "ALTER TABLE c ADD COLUMN e REFERENCES mine"), "references mine");
    // Strangers may refer to what they may write.
    let conn = under(&sidecar, &path, list![no(&["write"], "secrets"), atom("untrusted_sql")]);
    conn.exec("CREATE TABLE d(a REFERENCES mine)");
    assert_eq!(denied(&conn, "CREATE TABLE e(a REFERENCES secrets)"), "references secrets");
}

#[test]
fn what_counts_the_rows_of_a_table_or_compares_them_reads_it() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        &format!(
            "{SCHEMA}; CREATE INDEX deep ON secrets(length(word)); CREATE TABLE strict(a INTEGER) STRICT;
            CREATE TABLE child(a REFERENCES secrets(id), b REFERENCES mine)"
        ),
    );
    let conn = under(&sidecar, &path, all_but([no(&["read"], "secrets")]));
    for sql in [
        "CREATE UNIQUE INDEX i ON secrets(1)",
        "CREATE UNIQUE INDEX i ON secrets('x' || 'y') WHERE 1",
        "CREATE INDEX i ON secrets(1)",
        "CREATE INDEX IF NOT EXISTS main.i ON secrets(1)",
        "ANALYZE",
        "ANALYZE main",
        "ANALYZE secrets",
        "ANALYZE deep",
        "ALTER TABLE secrets ADD COLUMN x NOT NULL",
        "ALTER TABLE secrets ADD COLUMN x DEFAULT (random())",
        "ALTER TABLE secrets ADD COLUMN x DEFAULT CURRENT_TIMESTAMP",
        "ALTER TABLE secrets ADD COLUMN x AS (1) STORED",
        "ALTER TABLE secrets ADD COLUMN x AS (NULL) NOT NULL",
        "ALTER TABLE secrets ADD COLUMN x CHECK (1 = 2)",
        "ALTER TABLE secrets ADD COLUMN x DEFAULT 1 REFERENCES mine",
        "SELECT 1 FROM secrets",
        "SELECT EXISTS (SELECT 1 FROM secrets)",
        "DELETE FROM mine WHERE EXISTS (SELECT 1 FROM secrets)",
        "UPDATE mine SET x = 1 FROM secrets",
        "INSERT INTO mine(x) SELECT 1 FROM secrets",
        "SELECT x FROM mine LEFT JOIN secrets",
        "SELECT 1 FROM mine, secrets LIMIT 0",
        "SELECT (SELECT count(*) FROM secrets)",
    ] {
        assert_eq!(denied(&conn, sql), "read secrets", "{sql}");
    }
    let strict = under(&sidecar, &path, all_but([no(&["read"], "strict")]));
    assert_eq!(denied(&strict, "ALTER TABLE strict ADD COLUMN b TEXT DEFAULT 'x'"), "read strict");
    for sql in [
        "PRAGMA foreign_key_check",
        "PRAGMA foreign_key_check(child)",
        "SELECT * FROM pragma_foreign_key_check",
    ] {
        assert_eq!(denied(&conn, sql), "read secrets id", "{sql}");
    }
    // Of the table's own columns, too.
    let conn =
        under(&sidecar, &path, all_but([rule("deny", &["read"], &[("table", "child"), ("column", "b")])]));
    assert_eq!(denied(&conn, "PRAGMA foreign_key_check"), "read child b");
    // Samples of an index are values.
    for (column, sql, denial) in [
        ("word", "ANALYZE", "read secrets word"),
        ("word", "ANALYZE deep", "read secrets word"),
        ("id", "ANALYZE secrets", "read secrets id"),
    ] {
        let hidden = rule("deny", &["read"], &[("table", "secrets"), ("column", column)]);
        let conn = under(&sidecar, &path, all_but([hidden]));
        assert_eq!(denied(&conn, sql), denial, "{sql}");
        conn.exec("ANALYZE mine");
        conn.exec("SELECT count(*) FROM secrets");
        conn.exec("PRAGMA foreign_key_check(mine)");
    }
    for sql in ["ANALYZE deep", "CREATE UNIQUE INDEX i ON secrets(1)", "PRAGMA foreign_key_check"] {
        let conn = under(&sidecar, &path, all_but([rule("ignore", &["read"], &[("table", "secrets")])]));
        assert!(denied(&conn, sql).starts_with("read secrets"), "{sql}");
    }
    // Whoever may read one column may count, and index that one.
    let one = rule("allow", &["read"], &[("table", "secrets"), ("column", "word")]);
    let conn = under(&sidecar, &path, list![one, rule("allow", &["create_index", "reindex"], &[])]);
    conn.exec("CREATE INDEX i ON secrets(word)");
    assert_eq!(denied(&conn, "CREATE INDEX j ON secrets(id)"), "read secrets id");
    // A table without rows is altered as it was.
    let conn = under(&sidecar, &path, list![rule("allow", &["alter_table"], &[])]);
    conn.exec("ALTER TABLE secrets ADD COLUMN x DEFAULT 5");
    conn.exec("ALTER TABLE secrets ADD COLUMN z AS (5)");
}

#[test]
fn a_rule_that_has_one_name_of_a_thing_has_all_of_them() {
    let sidecar = Sidecar::start();
    let (_folder, path) =
        database(&sidecar, &format!("{SCHEMA}; CREATE VIEW v AS SELECT 1; CREATE TABLE oids(oid, a)"));
    let deny = |action: &str, key: &str, name: &str| rule("deny", &[action], &[(key, name)]);
    for (rules, denials) in [
        (
            deny("read", "table", "sqlite_schema"),
            vec![
                "SELECT name FROM sqlite_schema",
                "SELECT name FROM SQLITE_MASTER",
                "SELECT 1 FROM main.sqlite_schema",
                "SELECT name FROM sqlite_temp_schema",
                "SELECT name FROM temp.sqlite_master",
            ],
        ),
        (
            deny("read", "table", "sqlite_master"),
            vec![
                "SELECT name FROM sqlite_schema",
                "SELECT name FROM sqlite_temp_master",
                "SELECT count(*) FROM sqlite_schema",
                "SELECT 1 FROM temp.sqlite_schema",
                "SELECT 1 FROM Sqlite_Temp_Schema",
            ],
        ),
        (
            deny("read", "table", "sqlite_temp_schema"),
            vec![
                "SELECT name FROM sqlite_temp_schema",
                "SELECT name FROM temp.sqlite_schema",
                "SELECT 1 FROM sqlite_temp_master",
            ],
        ),
        (
            rule("deny", &["read"], &[("table", "sqlite_schema"), ("database", "temp")]),
            vec!["SELECT name FROM temp.sqlite_schema", "SELECT name FROM sqlite_temp_master"],
        ),
        (
            deny("read", "column", "oid"),
            vec![
                "SELECT rowid FROM oids",
                "SELECT _rowid_ FROM oids",
                "SELECT oid FROM oids",
                "SELECT 1 FROM oids WHERE ROWID = 1",
            ],
        ),
        (
            deny("update", "column", "_rowid_"),
            vec!["UPDATE oids SET rowid = 5", "UPDATE oids SET _rowid_ = 5"],
        ),
        (deny("transaction", "name", "END"), vec!["COMMIT", "END", "END TRANSACTION"]),
        (deny("transaction", "name", "BEGIN DEFERRED"), vec!["BEGIN", "BEGIN DEFERRED", "BEGIN IMMEDIATE"]),
        (
            deny("transaction", "name", "Begin  Deferred Transaction"),
            vec!["BEGIN", "BEGIN DEFERRED TRANSACTION", "BEGIN TRANSACTION t", "BEGIN EXCLUSIVE"],
        ),
        (deny("transaction", "name", "BEGIN EXCLUSIVE TRANSACTION"), vec!["BEGIN EXCLUSIVE"]),
        (deny("transaction", "name", "commit transaction"), vec!["COMMIT", "END TRANSACTION"]),
        (deny("any", "table", "v"), vec!["DROP VIEW v", "SELECT * FROM v"]),
        (deny("schema", "table", "w"), vec!["CREATE VIEW w AS SELECT 1", "CREATE TABLE w(a)"]),
        (deny("drop_view", "table", "v"), vec!["DROP VIEW main.v"]),
        (deny("temp_schema", "table", "w"), vec!["CREATE TEMP VIEW w AS SELECT 1"]),
        (
            deny("pragma_read", "pragma", "table_info"),
            vec![
                "PRAGMA table_info(mine)",
                "PRAGMA main.TABLE_INFO(mine)",
                "SELECT * FROM pragma_table_info('mine')",
                "SELECT name FROM mine, pragma_table_info(mine.x)",
            ],
        ),
    ] {
        let conn = under(&sidecar, &path, all_but([rules.clone()]));
        for sql in denials {
            let denial = denied(&conn, sql);
            assert!(!denial.is_empty(), "{sql}");
        }
    }
    for (names, calls) in [
        (&["substr", "substring"][..], "('abc', 1)"),
        (&["substr", "substring"], "('abc', 1, 2)"),
        (&["printf", "format"], "('%d', 1)"),
        (&["ceil", "ceiling"], "(1.5)"),
        (&["pow", "power"], "(1, 2)"),
        (&["log", "log10"], "(1)"),
        (&["ifnull", "coalesce"], "(1, 2)"),
        (&["group_concat", "string_agg"], "(x, ',') FROM mine"),
        (&["vector", "vector32"], "('[1]')"),
    ] {
        for denied_by in names {
            let function = || [("function", *denied_by)];
            let conn = under(&sidecar, &path, all_but([rule("deny", &["function"], &function())]));
            let allowed = rule("allow", &["function"], &function());
            let others = rule("allow", &["select", "read"], &[]);
            let only = under(&sidecar, &path, list![allowed, others]);
            for name in names {
                let sql = format!("SELECT {name}{calls}");
                assert_eq!(denied(&conn, &sql), format!("function {name}"), "{sql} by {denied_by}");
                only.exec(&sql);
                assert!(denied(&only, "SELECT upper('a')").starts_with("function"));
            }
        }
    }
    // What is allowed of a column of that name is not allowed of the rowid, nor what is allowed of a schema of the other one.
    let only = |key: &str, name: &str| {
        let read = rule("allow", &["read"], &[(key, name)]);
        under(&sidecar, &path, list![read, rule("allow", &["select"], &[])])
    };
    only("column", "oid").exec("SELECT oid FROM oids");
    assert_eq!(denied(&only("column", "oid"), "SELECT rowid FROM oids"), "read oids ROWID");
    only("table", "sqlite_schema").exec("SELECT name FROM sqlite_master");
    assert_eq!(
        denied(&only("table", "sqlite_schema"), "SELECT 1 FROM sqlite_temp_schema"),
        "read sqlite_temp_master"
    );
}

#[test]
fn the_column_that_stands_for_all_of_a_full_text_table_is_read_as_all_of_them() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE VIRTUAL TABLE five USING fts5(open, hidden); INSERT INTO five VALUES ('1 alpha', 'secret');
        CREATE VIRTUAL TABLE four USING fts4(open, hidden); INSERT INTO four VALUES ('alpha', 'secret');
        CREATE VIRTUAL TABLE free USING fts5(open); INSERT INTO free VALUES ('alpha');
        CREATE VIEW found AS SELECT highlight(five, 1, '<', '>') AS h FROM five;
        CREATE TABLE kept(a)",
    );
    let hidden =
        ["five", "four"].map(|table| rule("deny", &["read"], &[("table", table), ("column", "hidden")]));
    let conn = under(&sidecar, &path, all_but(hidden));
    for sql in [
        "SELECT highlight(five, 1, '', '') FROM five",
        "SELECT snippet(five, 1, '', '', '', 5) FROM five",
        "SELECT snippet(five, -1, '', '', '', 5) FROM five WHERE open MATCH 'alpha'",
        "SELECT open FROM five WHERE five MATCH 'secret'",
        "SELECT open FROM five WHERE five MATCH 'hidden : secret'",
        "SELECT open FROM five WHERE five = 'secret'",
        "SELECT open FROM five('secret')",
        "SELECT open FROM main.five('hidden:secret')",
        "SELECT k.a FROM kept k, five(k.a)",
        "SELECT h FROM found",
        "SELECT bm25(five) FROM five WHERE open MATCH 'alpha'",
        // By the number of a cursor, which the column holds.
        "SELECT highlight(open, 1, '', '') FROM five",
        "SELECT x.open, highlight(y.open, 1, '', '') FROM five x, five y",
        "SELECT highlight(o, 1, '', '') FROM (SELECT open AS o FROM five)",
        "INSERT INTO kept SELECT highlight(five, 1, '', '') FROM five",
        "SELECT open FROM four WHERE four MATCH 'secret'",
        "SELECT open FROM four WHERE open MATCH 'hidden:secret'",
        "SELECT open FROM four WHERE match('hidden:secret', open)",
        "SELECT o FROM (SELECT open AS o FROM four) WHERE o MATCH 'hidden:secret'",
        "SELECT snippet(four) FROM four WHERE four MATCH 'secret'",
        "SELECT offsets(four) FROM four WHERE four MATCH 'alpha'",
        "SELECT matchinfo(four) FROM four WHERE four MATCH 'alpha'",
    ] {
        let of = if sql.contains("four") { "four" } else { "five" };
        assert_eq!(denied(&conn, sql), format!("read {of} hidden"), "{sql}");
    }
    conn.exec("CREATE VIRTUAL TABLE words USING fts5vocab(five, 'row')");
    assert!(denied(&conn, "SELECT term FROM words").starts_with("read five"));
    // The others are as they were.
    for (sql, rows) in [
        ("SELECT open FROM five WHERE open MATCH 'alpha'", 1),
        ("SELECT open FROM five WHERE open MATCH 'hidden : secret'", 0),
        ("SELECT upper(open), length(open) FROM five", 1),
        ("SELECT open FROM four", 1),
        ("SELECT highlight(free, 0, '', '') FROM free WHERE free MATCH 'alpha'", 1),
        ("SELECT open FROM free('alpha')", 1),
        ("SELECT value FROM json_each('[1]')", 1),
    ] {
        assert_eq!(conn.exec(sql).rows.len(), rows, "{sql}");
    }
    // What is shown as NULL is not searched.
    let ignored =
        ["five", "four"].map(|table| rule("ignore", &["read"], &[("table", table), ("column", "hidden")]));
    let conn = under(&sidecar, &path, all_but(ignored));
    assert_eq!(conn.exec("SELECT open, hidden FROM five").rows, [["1 alpha".into(), nil()]]);
    for sql in [
        "SELECT open FROM five WHERE five MATCH 'secret'",
        "SELECT highlight(five, 1, '', '') FROM five",
        "SELECT open FROM four WHERE open MATCH 'hidden:secret'",
    ] {
        assert!(denied(&conn, sql).ends_with("hidden"), "{sql}");
    }
    // A view may show what its reader may not read.
    let through = rule("allow", &["read"], &[("table", "five"), ("through", "found")]);
    let conn = under(&sidecar, &path, all_but([through, no(&["read"], "five")]));
    assert_eq!(conn.value("SELECT h FROM found").text(), "secret");
}

#[test]
fn an_index_of_vectors_that_are_ignored_finds_none() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE vt(id INTEGER PRIMARY KEY, v F32_BLOB(2), x); CREATE INDEX vi ON vt(libsql_vector_idx(v));
        CREATE TABLE wt(a, b, v F32_BLOB(2), PRIMARY KEY(a, b)) WITHOUT ROWID;
        INSERT INTO vt VALUES (1, vector32('[1,2]'), 'x'), (2, NULL, 'y')",
    );
    let ignored = rule("ignore", &["read"], &[("table", "vt"), ("column", "v")]);
    let conn = under(&sidecar, &path, all_but([ignored]));
    let near = "SELECT id FROM vector_top_k('vi', vector32('[1,2]'), 3)";
    assert_eq!(conn.exec(near).rows.len(), 0);
    assert_eq!(conn.exec(&format!("SELECT x FROM vt WHERE id IN ({near})")).rows.len(), 0);
    assert_eq!(conn.exec("SELECT v, x FROM vt WHERE id = 1").rows, [[nil(), "x".into()]]);
    // It is shown as NULL, and stored by nothing.
    assert_eq!(denied(&conn, &format!("CREATE TABLE found AS {near}")), "read vt v");
    assert_eq!(denied(&conn, &format!("INSERT INTO vt(x) {near}")), "read vt v");
    let all = under(&sidecar, &path, all_but([]));
    assert_eq!(all.exec(near).rows.len(), 1);
}

/// Whatever else has a statement refused names what is refused as a policy does.
#[test]
fn what_this_program_refuses_has_an_action_and_an_object() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE vt(v F32_BLOB(2)); CREATE INDEX vi ON vt(libsql_vector_idx(v)); CREATE TABLE near_shadow(a)",
    );
    let policy = map([("policy", all_but([])), ("untrusted_sql", true.into())]);
    for conn in [
        sidecar.open_with(&path, map([("untrusted_sql", true)])).unwrap(),
        sidecar.open_with(&path, policy).unwrap(),
    ] {
        for (sql, denial) in [
            ("CREATE INDEX near ON vt(libsql_vector_idx(v))", "create_index near"),
            ("CREATE INDEX \"a b\" ON vt(libsql_vector_idx(v))", "create_index a b"),
            ("DELETE FROM vi_shadow", "delete vi_shadow"),
            ("UPDATE vi_shadow SET data = NULL", "update vi_shadow"),
            ("INSERT INTO vi_shadow VALUES (1, 1)", "insert vi_shadow"),
            ("DROP TABLE vi_shadow", "drop_table vi_shadow"),
            ("ALTER TABLE vi_shadow RENAME TO other", "alter_table vi_shadow"),
            ("CREATE INDEX i ON vi_shadow(data)", "create_index vi_shadow"),
            ("CREATE TRIGGER r AFTER INSERT ON vi_shadow BEGIN SELECT 1; END", "create_trigger vi_shadow"),
            (
                "CREATE TEMP TRIGGER r AFTER INSERT ON main.vi_shadow BEGIN SELECT 1; END",
                "create_temp_trigger vi_shadow",
            ),
            ("DELETE FROM libsql_vector_meta_shadow", "delete libsql_vector_meta_shadow"),
            ("PRAGMA soft_heap_limit = 5", "pragma_write soft_heap_limit"),
            ("PRAGMA temp_store_directory = '/tmp'", "pragma_write temp_store_directory"),
            ("ATTACH 'other.db' AS o", "attach other.db"),
            ("ATTACH 'other' || '.db' AS o", "attach"),
        ] {
            assert_eq!(denied(&conn, sql), denial, "{sql}");
        }
    }
    let folder = path.parent().unwrap().join("inside");
    std::fs::create_dir(&folder).unwrap();
    let outside = path.with_file_name("outside.db");
    let outside = outside.to_str().unwrap();
    let directories = map([("allowed_directories", list![folder.to_str().unwrap()])]);
    let conn = sidecar.open_with(&path, directories).unwrap();
    for sql in ["ATTACH '{}' AS o", "VACUUM INTO '{}'"] {
        let denial = denied(&conn, &sql.replace("{}", outside));
        assert!(denial.starts_with("attach ") && denial.ends_with("/outside.db"), "{denial}");
    }
}
