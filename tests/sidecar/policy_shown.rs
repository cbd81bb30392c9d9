//! What a policy denies is not told by what shows, checks or keeps it under another name: columns that stand for others, terms,
//! partial indexes, checks of integrity, and a file that is attached twice.

use crate::list;
use crate::policy::rule;
use crate::policy_detours::{all_but, database, denied, under};
use crate::support::*;
use crate::term::*;
use std::path::PathBuf;

fn no_read(table: &str, column: &str) -> Term {
    rule("deny", &["read"], &[("table", table), ("column", column)])
}

fn ignored(table: &str, column: &str) -> Term {
    rule("ignore", &["read"], &[("table", table), ("column", column)])
}

const FULL_TEXT: &str = "CREATE VIRTUAL TABLE five USING fts5(open, hidden);
    INSERT INTO five VALUES ('1 alpha', 'secret text');
    CREATE VIRTUAL TABLE four USING fts4(open, hidden, languageid='lang');
    INSERT INTO four(open, hidden, lang) VALUES ('alpha', 'secret', 2);
    CREATE VIRTUAL TABLE free USING fts5(open); INSERT INTO free VALUES ('alpha');
    CREATE VIEW ranked AS SELECT rank AS r FROM five WHERE open MATCH 'alpha';
    CREATE VIRTUAL TABLE terms USING fts4aux(four);
    CREATE TABLE kept(a)";

#[test]
fn the_rank_of_a_full_text_table_shows_all_of_its_columns() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, FULL_TEXT);
    let shown = "rank MATCH 'highlight(1, '''', '''')'";
    let found = format!("FROM five WHERE open MATCH 'alpha' AND {shown}");
    for hidden in [no_read("five", "hidden"), ignored("five", "hidden")] {
        let conn = under(&sidecar, &path, all_but([hidden]));
        for sql in [
            format!("SELECT rank {found}"),
            format!("SELECT upper(RANK) {found}"),
            format!("SELECT open {found} ORDER BY rank"),
            format!("SELECT 1 {found} AND rank LIKE '%secret%'"),
            format!("SELECT x.rank FROM five x, five y WHERE x.open MATCH 'alpha' AND x.{shown}"),
            format!("SELECT max(rank) FROM (SELECT rank {found})"),
            format!("WITH w AS MATERIALIZED (SELECT rank AS r {found}) SELECT r FROM w"),
            format!("INSERT INTO kept SELECT rank {found}"),
            format!("CREATE TABLE leak AS SELECT rank AS r {found}"),
            format!("DELETE {found} AND rank LIKE '%secret%'"),
            format!("UPDATE five SET open = rank WHERE open MATCH 'alpha' AND {shown}"),
            "SELECT open FROM five('alpha', 'highlight(1, '''', '''')')".to_owned(),
            "SELECT count(*) FROM free JOIN five USING (rank)".to_owned(),
            "SELECT r FROM ranked".to_owned(),
        ] {
            assert_eq!(denied(&conn, &sql), "read five hidden", "{sql}");
        }
        // What the table has been told to rank by.
        conn.exec("INSERT INTO five(five, rank) VALUES ('rank', 'highlight(1, '''', '''')')");
        denied(&conn, "SELECT rank FROM five WHERE open MATCH 'alpha'");
        assert_eq!(conn.exec("SELECT open FROM five WHERE open MATCH 'alpha'").rows.len(), 1);
        assert_eq!(conn.exec("SELECT rank FROM free('alpha') ORDER BY rank").rows.len(), 1);
    }
    let all = under(&sidecar, &path, all_but([]));
    assert_eq!(all.value(&format!("SELECT rank {found}")).text(), "secret text");
}

#[test]
fn the_function_that_ranks_is_asked_about_when_it_is_called() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, FULL_TEXT);
    let function = |effect: &str, name: &str| rule(effect, &["function"], &[("function", name)]);
    let by = |function: &str| {
        format!("SELECT rank FROM five WHERE five MATCH 'alpha' AND rank MATCH '{function}(1, '''', '''')'")
    };
    let conn = under(&sidecar, &path, all_but([function("deny", "highlight")]));
    for name in ["highlight", "HighLight"] {
        assert_eq!(denied(&conn, &by(name)), "function highlight");
    }
    assert_eq!(
        denied(
            &conn,
            &by("highlight")
                .replace("SELECT rank", "SELECT open")
                .replace(" AND", " AND 1 < length(rank) AND")
        ),
        "function highlight"
    );
    assert_eq!(conn.exec("SELECT rank FROM five('alpha') ORDER BY rank").rows.len(), 1);
    conn.exec("INSERT INTO five(five, rank) VALUES ('rank', 'highlight(1, '''', '''')')");
    for sql in ["SELECT rank FROM five('alpha')", "SELECT open FROM five('alpha') ORDER BY rank"] {
        assert_eq!(denied(&conn, sql), "function highlight", "{sql}");
    }
    // Ignored, it returns NULL, which is not stored.
    let conn = under(&sidecar, &path, all_but([function("ignore", "highlight")]));
    assert_eq!(conn.exec(&by("highlight")).rows, [[nil()]]);
    assert_eq!(denied(&conn, &format!("INSERT INTO kept {}", by("highlight"))), "function highlight");
    let all = under(&sidecar, &path, all_but([]));
    assert_eq!(all.value(&by("highlight")).text(), "secret text");
}

#[test]
fn terms_are_shown_to_those_who_may_read_each_column_of_the_table() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, FULL_TEXT);
    for hidden in [no_read("four", "hidden"), ignored("four", "hidden")] {
        let conn = under(&sidecar, &path, all_but([hidden]));
        conn.exec("CREATE VIRTUAL TABLE IF NOT EXISTS temp.more USING fts4aux(main, 'four')");
        for sql in [
            "SELECT term FROM terms",
            "SELECT count(*) FROM terms",
            "SELECT documents FROM terms WHERE term = 'secret'",
            "SELECT term FROM terms(2)",
            "SELECT term FROM more",
            "SELECT four.docid FROM four, terms",
            "INSERT INTO kept SELECT term FROM terms",
        ] {
            assert_eq!(denied(&conn, sql), "read four hidden", "{sql}");
        }
        // Nor in the midst of what the table does itself.
        conn.exec("BEGIN");
        conn.exec("INSERT INTO four(open) VALUES ('x')");
        assert_eq!(denied(&conn, "SELECT term FROM terms"), "read four hidden");
        conn.exec("ROLLBACK");
    }
    let all = under(&sidecar, &path, all_but([no_read("free", "open")]));
    assert_eq!(all.value("SELECT count(DISTINCT term) FROM terms(2)").int(), 2);
}

#[test]
fn hidden_columns_of_full_text_tables_are_read_by_whatever_name_and_way() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(&sidecar, FULL_TEXT);
    let conn = under(&sidecar, &path, all_but([no_read("four", "_rowid_")]));
    for sql in [
        "SELECT docid FROM four",
        "SELECT DocId FROM main.four WHERE open MATCH 'alpha'",
        "SELECT 1 FROM four WHERE docid = 1",
        "SELECT 1 FROM four('alpha', 1)",
        "DELETE FROM four WHERE docid = 1",
        "SELECT rowid FROM four",
    ] {
        assert_eq!(denied(&conn, sql), "read four ROWID", "{sql}");
    }
    let conn = under(&sidecar, &path, all_but([ignored("four", "rowid")]));
    assert_eq!(conn.exec("SELECT docid, rowid, open FROM four").rows, [[nil(), nil(), "alpha".into()]]);
    let conn = under(
        &sidecar,
        &path,
        all_but([rule("deny", &["update"], &[("table", "four"), ("column", "rowid")])]),
    );
    for sql in ["UPDATE four SET docid = 5", "UPDATE four SET rowid = 5"] {
        assert_eq!(denied(&conn, sql), "update four ROWID", "{sql}");
    }
    conn.exec("UPDATE four SET open = 'alpha beta'");
    // What an argument is compared with is read as well.
    let conn = under(&sidecar, &path, all_but([no_read("four", "lang")]));
    for sql in ["SELECT 1 FROM four('alpha', 1, 2)", "SELECT 1 FROM four WHERE lang = 2"] {
        assert_eq!(denied(&conn, sql), "read four lang", "{sql}");
    }
    conn.exec("SELECT docid FROM four('alpha', 1)");
    // What a function takes is its own.
    let only = rule("allow", &["read"], &[("table", "json_each"), ("column", "value")]);
    let conn = under(&sidecar, &path, list![only, rule("allow", &["select"], &[])]);
    assert_eq!(conn.value("SELECT value FROM json_each('[7]')").int(), 7);
}

#[test]
fn an_insert_that_deletes_asks_for_that() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE VIRTUAL TABLE bare USING fts5(x, content=''); INSERT INTO bare(rowid, x) VALUES (1, 'alpha'), (2, 'beta');
        CREATE TABLE rows(id INTEGER PRIMARY KEY, x); INSERT INTO rows VALUES (1, 'alpha');
        CREATE VIRTUAL TABLE outside USING fts5(x, content='rows', content_rowid='id');
        INSERT INTO outside(outside) VALUES ('rebuild')",
    );
    let conn = under(&sidecar, &path, all_but([rule("deny", &["delete"], &[])]));
    for (table, sql) in [
        ("bare", "INSERT INTO bare(bare) VALUES ('delete-all')"),
        ("bare", "INSERT INTO bare(bare) VALUES ('DELETE' || '-all')"),
        ("bare", "INSERT INTO bare(bare, rowid, x) VALUES ('delete', 1, 'alpha')"),
        ("outside", "INSERT INTO outside(outside) SELECT 'delete-all'"),
        ("outside", "INSERT INTO outside(outside, rowid, x) VALUES ('delete', 1, 'alpha')"),
    ] {
        assert_eq!(denied(&conn, sql), format!("delete {table}"), "{sql}");
    }
    for sql in [
        "bare(bare) VALUES ('optimize')",
        "bare(rowid, x) VALUES (3, 'gamma')",
        "outside(outside) VALUES ('rebuild')",
    ] {
        conn.exec(&format!("INSERT INTO {sql}"));
    }
    for (sql, rows) in [("SELECT 1 FROM bare('alpha OR beta')", 2), ("SELECT 1 FROM outside('alpha')", 1)] {
        assert_eq!(conn.exec(sql).rows.len(), rows, "{sql}");
    }
    let conn = under(&sidecar, &path, list![rule("allow", &["insert", "delete"], &[("table", "bare")])]);
    conn.exec("INSERT INTO bare(bare) VALUES ('delete-all')");
}

#[test]
fn what_decides_which_rows_an_index_has_is_read_by_what_tells_of_them() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b, hidden); CREATE INDEX part ON t(a) WHERE b > 0 AND hidden > 5;
        CREATE TABLE v(id INTEGER PRIMARY KEY, e F32_BLOB(2), x, hidden);
        CREATE INDEX near ON v(libsql_vector_idx(e)) WHERE hidden > 5;
        CREATE TABLE w(k TEXT PRIMARY KEY, e F32_BLOB(2)) WITHOUT ROWID; CREATE INDEX of_w ON w(libsql_vector_idx(e));
        CREATE TABLE bare(e F32_BLOB(2)); CREATE INDEX of_bare ON bare(libsql_vector_idx(e));
        INSERT INTO t VALUES (1, 1, 1, 9); INSERT INTO v VALUES (1, vector32('[1,2]'), 'x', 9), (2, vector32('[1,2]'), 'x', 1);
        INSERT INTO bare VALUES (vector32('[1,2]'))",
    );
    let top = |index: &str| format!("SELECT id FROM vector_top_k('{index}', vector32('[1,2]'), 3)");
    for hidden in [no_read("t", "hidden"), ignored("t", "hidden")] {
        let conn = under(&sidecar, &path, all_but([hidden]));
        for sql in ["ANALYZE", "ANALYZE t", "ANALYZE part", "PRAGMA optimize(0x10002)"] {
            assert_eq!(denied(&conn, sql), "read t hidden", "{sql}");
        }
        conn.exec("ANALYZE v");
    }
    for (table, column, index) in
        [("v", "hidden", "near"), ("v", "id", "near"), ("w", "k", "of_w"), ("bare", "rowid", "of_bare")]
    {
        let shown = if column == "rowid" { "ROWID" } else { column };
        let conn = under(&sidecar, &path, all_but([no_read(table, column)]));
        for sql in [
            top(index),
            format!("SELECT count(*) FROM {index}_shadow"),
            format!("SELECT * FROM main.{index}_SHADOW"),
        ] {
            assert_eq!(denied(&conn, &sql), format!("read {table} {shown}"), "{sql}");
        }
        // As if the column were NULL.
        let conn = under(&sidecar, &path, all_but([ignored(table, column)]));
        assert_eq!(conn.exec(&top(index)).rows.len(), 0);
    }
    // What the index says nothing of is not asked for.
    let conn = under(&sidecar, &path, all_but([no_read("v", "x"), no_read("bare", "e2")]));
    assert_eq!(conn.exec(&top("near")).rows, [[1]].map(|row| row.map(Term::from)));
    assert_eq!(conn.exec(&top("of_bare")).rows.len(), 1);
}

#[test]
fn a_check_of_integrity_reads_what_it_checks() {
    let sidecar = Sidecar::start();
    let (_folder, path) = database(
        &sidecar,
        "CREATE TABLE secrets(id INTEGER PRIMARY KEY, word TEXT NOT NULL, g AS (word || '!')); CREATE TABLE mine(a);
        CREATE VIRTUAL TABLE five USING fts5(open, hidden); CREATE VIEW v AS SELECT word FROM secrets;
        INSERT INTO secrets VALUES (1, 'one')",
    );
    for (rules, denial) in [
        (no_read("secrets", "word"), "read secrets word"),
        (no_read("secrets", "g"), "read secrets g"),
        (ignored("secrets", "word"), "read secrets word"),
        (rule("deny", &["read"], &[("table", "secrets")]), "read secrets id"),
        (no_read("five", "hidden"), "read five hidden"),
    ] {
        let conn = under(&sidecar, &path, all_but([rules]));
        let table = denial.split(' ').nth(1).unwrap();
        for sql in [
            "PRAGMA integrity_check".to_owned(),
            "PRAGMA quick_check".to_owned(),
            "PRAGMA main.integrity_check(10)".to_owned(),
            format!("PRAGMA integrity_check({table})"),
            format!("PRAGMA main.quick_check('{}')", table.to_uppercase()),
            format!("PRAGMA quick_check={table}"),
            format!("SELECT * FROM pragma_integrity_check('{table}')"),
            "SELECT count(*) FROM pragma_quick_check".to_owned(),
            "EXPLAIN PRAGMA integrity_check".to_owned(),
        ] {
            assert_eq!(denied(&conn, &sql), denial, "{sql}");
        }
        for sql in [
            "PRAGMA integrity_check(mine)",
            "SELECT * FROM pragma_quick_check('mine')",
            "PRAGMA temp.quick_check",
        ] {
            assert_eq!(conn.value(sql).text(), "ok", "{sql}");
        }
    }
    for policy in [all_but([]), list![atom("read_only")], list![atom("untrusted_sql")]] {
        let conn = under(&sidecar, &path, policy);
        for sql in [
            "PRAGMA integrity_check",
            "PRAGMA quick_check",
            "PRAGMA integrity_check(five)",
            "PRAGMA quick_check(v)",
        ] {
            assert_eq!(conn.value(sql).text(), "ok", "{sql}");
        }
    }
}

#[test]
fn a_file_that_is_attached_twice_is_the_same_to_the_rules() {
    let sidecar = Sidecar::start();
    let (folder, path) = database(&sidecar, "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2)");
    let (other, link) = (folder.path().join("other.db"), folder.path().join("link.db"));
    sidecar.open(&other).script("CREATE TABLE t(a, b); INSERT INTO t VALUES (3, 4)").unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    sidecar.open(&path).exec("PRAGMA wal_checkpoint(TRUNCATE)");
    let within = |effect: &str, actions: &[&str], database: &str| {
        rule(effect, actions, &[("table", "t"), ("column", "b"), ("database", database)])
    };
    let conn = under(
        &sidecar,
        &path,
        all_but([within("deny", &["read"], "main"), within("deny", &["read"], "other")]),
    );
    let attach = |conn: &Conn<'_>, file: &std::path::Path, name: &str| {
        conn.exec(&format!("ATTACH '{}' AS {name}", file.display()));
    };
    // The names are free for another file afterwards.
    let immutable = PathBuf::from(format!("file:{}?immutable=1", path.display()));
    for (file, name) in [(&path, "o"), (&link, "o"), (&immutable, "o"), (&path, "Other2"), (&other, "o")] {
        let is_other = *file == other;
        attach(&conn, file, name);
        if is_other {
            assert_eq!(conn.value("SELECT b FROM o.t").int(), 4);
        } else {
            for sql in
                ["SELECT b FROM {}.t", "SELECT * FROM {}.t", "CREATE TEMP TABLE x AS SELECT * FROM {}.t"]
            {
                assert_eq!(denied(&conn, &sql.replace("{}", name)), "read t b", "{file:?}");
            }
            assert_eq!(conn.value(&format!("SELECT a FROM {name}.t")).int(), 1);
        }
        conn.exec(&format!("DETACH {name}"));
    }
    // What has been allowed of the name is not allowed of another file by that name.
    attach(&conn, &other, "o");
    assert_eq!(conn.value("SELECT b FROM o.t").int(), 4);
    conn.exec("DETACH o");
    attach(&conn, &path, "o");
    denied(&conn, "SELECT b FROM o.t");
    // Nor is a third name another file than the second.
    attach(&conn, &other, "other");
    attach(&conn, &other, "third");
    denied(&conn, "SELECT b FROM third.t");
    // What is ignored or allowed by the first name is no more by the second.
    let conn = under(&sidecar, &path, all_but([within("ignore", &["read"], "main")]));
    attach(&conn, &path, "o");
    assert_eq!(conn.exec("SELECT a, b FROM o.t").rows, [[1.into(), nil()]]);
    let main = rule("allow", &["read"], &[("database", "main")]);
    let conn = under(&sidecar, &path, list![main, rule("allow", &["select", "attach"], &[])]);
    attach(&conn, &path, "o");
    denied(&conn, "SELECT a FROM o.t");
    assert_eq!(conn.value("SELECT a FROM main.t").int(), 1);
}
