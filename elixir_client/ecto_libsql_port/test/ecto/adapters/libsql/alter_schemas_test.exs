defmodule Ecto.Adapters.LibSql.AlterSchemasTest do
  # Migrations of odd schemas. Each case is a schema, a migration, and queries with what they answer afterwards; a case
  # whose migration is refused says with which code and words, and everything is as before.
  use EctoLibSql.RepoCase
  import Ecto.Migration

  alias EctoLibSql.MigrationError

  defp up(fun), do: migrate(fun)

  defp rows(sql), do: TestRepo.query!(sql).rows

  defp text(name),
    do: TestRepo.query!("SELECT sql FROM sqlite_schema WHERE name = ?", [name]).rows |> hd() |> hd()

  defp schema do
    Enum.sort(
      rows("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name <> 'schema_migrations'")
    )
  end

  # All that a connection has for itself. A trigger that was created again stands behind the others.
  defp temporary, do: Enum.sort(rows("SELECT type, name, tbl_name, sql FROM sqlite_temp_schema"))

  defp sound do
    assert rows("PRAGMA integrity_check") == [["ok"]]
    assert rows("PRAGMA foreign_key_check") == []
    assert rows("PRAGMA foreign_keys") == [[1]]
  end

  @done [
    {"keywords as names",
     ~S"""
     CREATE TABLE "select" ("order" INTEGER PRIMARY KEY, "group" TEXT REFERENCES "select"("where"), "where" TEXT UNIQUE,
       end INT, key INT CHECK (key > 0), "check" INT DEFAULT 1);
     INSERT INTO "select" VALUES (1, 'a', 'a', 1, 2, 3)
     """,
     quote do
       alter table("select") do
         modify(:check, :text, null: false, default: "x")
         modify(:key, :integer, null: false)
         add(:limit, :text, default: fragment("lower('Q')"))
         remove(:end)
       end
     end, [{~S|SELECT * FROM "select"|, [[1, "a", "a", 2, "3", "q"]]}]},
    {"names with quotes, dots and spaces",
     ~S"""
     CREATE TABLE "a.b ""c"" 'd' 名" ("x.y" TEXT, "p ""q\""" TEXT UNIQUE, `r``s` INT, [t u] INT REFERENCES "a.b ""c"" 'd' 名"("p ""q\"""));
     INSERT INTO "a.b ""c"" 'd' 名" VALUES ('1', '2', 3, NULL);
     CREATE INDEX "i.""x" ON "a.b ""c"" 'd' 名" ("x.y" DESC)
     """,
     quote do
       alter table(~S|a.b "c" 'd' 名|) do
         modify(:"x.y", :integer, null: false)
         modify(:"t u", :integer, default: 1)
         add(:ü, :text, null: false, default: fragment("hex(1)"))
         remove(:"r`s")
       end

       rename(index(~S|a.b "c" 'd' 名|, [:x], name: ~S|i."x|), to: ~S|neu."z|)
     end,
     [
       {~S|SELECT * FROM "a.b ""c"" 'd' 名"|, [[1, "2", nil, "31"]]},
       {"SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
        [[~S|CREATE INDEX "neu.""z" ON "a.b ""c"" 'd' 名" ("x.y" DESC)|]]}
     ]},
    {"names that the adapter would take, and temporary twins",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE); INSERT INTO t VALUES (1, '5');
     CREATE TABLE ecto_copy_of_t (x); CREATE TABLE Ecto_Copy_Of_T_1 (y); CREATE VIEW ecto_probe AS SELECT 1;
     CREATE TEMP TABLE t (z); INSERT INTO temp.t VALUES ('temporary'); CREATE TEMP TABLE "values" (q);
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer, null: false)
       end
     end,
     [
       {"SELECT a, typeof(a) FROM main.t", [[5, "integer"]]},
       {"SELECT * FROM temp.t", [["temporary"]]},
       {"SELECT count(*) FROM sqlite_schema WHERE name LIKE 'ecto!_%' ESCAPE '!'", [[3]]}
     ]},
    {"temporary triggers and views come back",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT); INSERT INTO t VALUES (1, '5', 'x');
     CREATE TEMP TABLE log (x); CREATE TEMP TRIGGER tt AFTER UPDATE ON main.t BEGIN INSERT INTO log VALUES (new.a); END;
     CREATE TEMP VIEW tv AS SELECT a FROM t
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer, null: false)
       end
     end, [{"UPDATE t SET b = 'z'", nil}, {"SELECT * FROM log", [[5]]}, {"SELECT * FROM tv", [[5]]}]},
    {"a view that was broken before",
     """
     CREATE TABLE gone (a); CREATE VIEW old AS SELECT a FROM gone; DROP TABLE gone;
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT); INSERT INTO t VALUES (1, '5', 'x')
     """,
     quote do
       alter table(:t) do
         modify(:b, :text, null: false, default: "q")
         modify(:a, :integer)
       end
     end, [{"SELECT * FROM t", [[1, 5, "x"]]}]},
    {"views over views, INSTEAD OF triggers",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT); INSERT INTO t VALUES (1, '1', 'x');
     CREATE VIEW v1 AS SELECT * FROM t; CREATE VIEW v2 AS SELECT a FROM v1 JOIN t USING (a);
     CREATE TRIGGER io INSTEAD OF UPDATE OF a ON v2 BEGIN UPDATE t SET a = new.a WHERE a = old.a; END
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer, null: false)
         remove(:b)
       end
     end, [{"UPDATE v2 SET a = 9", nil}, {"SELECT * FROM t", [[1, 9]]}]},
    {"triggers do not fire",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b INT); INSERT INTO t VALUES (1, '1', 2);
     CREATE TRIGGER d BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
     CREATE TRIGGER i BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
     CREATE TRIGGER u BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer)
         remove(:b)
       end
     end,
     [
       {"SELECT * FROM t", [[1, 1]]},
       {"SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'", [[3]]}
     ]},
    {"a key and generated columns only",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, g AS (id * 2), s TEXT AS (id || 'x') STORED);
     INSERT INTO t (id) VALUES (1), (5); DELETE FROM t WHERE id = 5
     """,
     quote do
       alter table(:t) do
         modify(:s, :binary)
         add(:n, :text, default: fragment("'a' || 'b'"))
       end
     end,
     [
       {"SELECT * FROM t", [[1, 2, "1x", "ab"]]},
       {"INSERT INTO t DEFAULT VALUES RETURNING id, s", [[6, "6x"]]},
       {"SELECT name, type, hidden FROM pragma_table_xinfo('t') WHERE hidden",
        [["g", "", 2], ["s", "BLOB", 3]]}
     ]},
    {"the type and the expression of generated columns",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, g TEXT GENERATED ALWAYS AS (id * 2) VIRTUAL UNIQUE, h AS (g || 'h'),
       s INT AS (id + 1) STORED);
     CREATE INDEX gi ON t (g, h); INSERT INTO t (id) VALUES (1), (5)
     """,
     quote do
       alter table(:t) do
         modify(:g, :integer)
         modify(:h, :text, generated: "g || 'i'")
         modify(:s, :integer, generated: "id + 100", stored: true)
       end
     end,
     [
       {"SELECT *, typeof(g) FROM t", [[1, 2, "2i", 101, "integer"], [5, 10, "10i", 105, "integer"]]},
       {"SELECT id FROM t INDEXED BY gi WHERE g = 10 AND h = '10i'", [[5]]}
     ]},
    {"values of all types in columns of all types",
     """
     CREATE TABLE t (k, v TEXT UNIQUE, w REAL, x BLOB, y NUMERIC);
     INSERT INTO t VALUES (1, 'a', 1.0, x'00ff', 9223372036854775807), (1.5, NULL, 9e999, 'text', '1e400'),
       ('k', x'ff00', -9e999, 3, 'abc'), (NULL, 'b' || char(0) || 'c', 'notreal', 2.5, x'01'),
       (x'', CAST(x'ff' AS TEXT), 1e15, NULL, -0.0);
     CREATE TABLE before AS SELECT rowid AS r, quote(k) k, hex(v) v, quote(w) w, quote(x) x, quote(y) y FROM t
     """,
     quote do
       alter table(:t) do
         add(:n, :text, default: fragment("'a' || 'b'"))
       end
     end,
     [
       {"SELECT rowid, quote(k), hex(v), quote(w), quote(x), quote(y) FROM t EXCEPT SELECT * FROM before",
        []},
       {"SELECT count(*), min(n) FROM t", [[5, "ab"]]}
     ]},
    {"a real that is whole becomes the text of a real",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, w REAL); INSERT INTO t VALUES (1, 1.0), (2, 1.5), (3, NULL)",
     quote do
       alter table(:t) do
         modify(:w, :text)
       end
     end, [{"SELECT w FROM t", [["1.0"], ["1.5"], [nil]]}]},
    {"the key of a table WITHOUT ROWID: type, order",
     """
     CREATE TABLE t (k INTEGER, v TEXT, p INTEGER REFERENCES t ON DELETE CASCADE, PRIMARY KEY (k)) WITHOUT ROWID;
     INSERT INTO t VALUES (1, 'a', NULL), (10, 'b', NULL), (2, 'c', NULL); CREATE INDEX tv ON t (v)
     """,
     quote do
       alter table(:t) do
         modify(:k, :text)
         modify(:k, :text, collate: :nocase)
         modify(:v, :text, collate: :nocase)
       end
     end, [{"SELECT k FROM t", [["1"], ["10"], ["2"]]}, {"SELECT k FROM t WHERE v = 'B'", [["10"]]}]},
    {"an INTEGER PRIMARY KEY to text and back",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, k TEXT); INSERT INTO t VALUES (1, 'x'), (20, 'y');
     CREATE TABLE c (t_id INTEGER REFERENCES t ON DELETE CASCADE); INSERT INTO c VALUES (20)
     """,
     quote do
       alter table(:t) do
         modify(:id, :integer, autoincrement: false)
         modify(:id, :text)
         modify(:id, :integer)
       end
     end, [{"SELECT id, k FROM t", [[1, "x"], [20, "y"]]}, {"SELECT * FROM c", [[20]]}]},
    {"AUTOINCREMENT beside the columns",
     "CREATE TABLE t (id INTEGER, a TEXT UNIQUE, PRIMARY KEY (id /* AUTOINCREMENT */ AUTOINCREMENT)); INSERT INTO t VALUES (7, '1'); DELETE FROM t",
     quote do
       alter table(:t) do
         modify(:a, :integer)
         modify(:a, :integer, null: false)
       end
     end,
     [{"SELECT * FROM sqlite_sequence", [["t", 7]]}, {"INSERT INTO t (a) VALUES (1) RETURNING id", [[8]]}]},
    {"another primary key",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT NOT NULL); INSERT INTO t VALUES (7, 'x'), (9, 'y')",
     quote do
       alter table(:t) do
         modify(:id, :integer, primary_key: false)
         modify(:code, :text, primary_key: true)
       end
     end,
     [
       {"SELECT rowid, id, code FROM t", [[7, 7, "x"], [9, 9, "y"]]},
       {"SELECT name FROM pragma_table_info('t') WHERE pk", [["code"]]}
     ]},
    {"a primary key for rows that have none",
     "CREATE TABLE t (rowid TEXT, _rowid_ TEXT); INSERT INTO t VALUES ('a', 'b'), ('c', 'd'); DELETE FROM t WHERE rowid = 'a'",
     quote do
       alter table(:t) do
         add(:id, :bigserial, primary_key: true)
       end
     end, [{"SELECT * FROM t", [["c", "d", 2]]}, {"INSERT INTO t (rowid) VALUES ('z') RETURNING id", [[3]]}]},
    {"a primary key goes",
     "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT); INSERT INTO t VALUES (7, 'x'), (9, 'y')",
     quote do
       alter table(:t) do
         remove(:id)
       end
     end, [{"SELECT rowid, a FROM t", [[7, "x"], [9, "y"]]}, {"SELECT * FROM sqlite_sequence", []}]},
    {"no name is left for the rowid",
     "CREATE TABLE t (rowid TEXT, _rowid_ TEXT, oid TEXT UNIQUE); INSERT INTO t VALUES ('a', 'b', '1'), ('c', 'd', '2')",
     quote do
       alter table(:t) do
         modify(:oid, :integer, null: false)
       end
     end, [{"SELECT * FROM t", [["a", "b", 1], ["c", "d", 2]]}]},
    {"a STRICT table",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a ANY, b INT, d TEXT) STRICT;
     INSERT INTO t VALUES (1, x'00', 2, '4'), (2, 'q', 3, '5')
     """,
     quote do
       alter table(:t) do
         modify(:b, :text)
         modify(:d, :integer)
         add(:e, :float, default: fragment("1 + 1"))
       end
     end, [{"SELECT b, d, typeof(d), e FROM t", [["2", 4, "integer", 2.0], ["3", 5, "integer", 2.0]]}]},
    {"strings in double quotes stay in them",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT DEFAULT "dq"); CREATE TABLE u (x TEXT CHECK (x <> "no"));
     CREATE VIEW v AS SELECT "str" AS s FROM u; CREATE INDEX i ON u (x) WHERE x <> "w"
     """,
     quote do
       alter table(:t) do
         modify(:a, :text, null: false)
       end
     end,
     [{~S|SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%"%"%' AND name <> 'schema_migrations'|, [[4]]}]},
    {"what ANALYZE has found",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT); CREATE INDEX tb ON t (b);
     INSERT INTO t VALUES (1, '1', 'b'), (2, '2', 'c'); ANALYZE
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer)
       end
     end,
     [
       {"SELECT idx, stat FROM sqlite_stat1 ORDER BY idx", [["sqlite_autoindex_t_1", "2 1"], ["tb", "2 1"]]},
       {"SELECT DISTINCT typeof(sample) FROM sqlite_stat4", [["blob"]]}
     ]},
    {"six hundred columns",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, #{Enum.map_join(1..600, ", ", &"c#{&1} TEXT")}); INSERT INTO t (c1) VALUES ('5')",
     quote do
       alter table(:t) do
         modify(:c1, :integer)
       end
     end, [{"SELECT c1 FROM t", [[5]]}]},
    {"a vector index",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, v F32_BLOB(3)); CREATE INDEX tv ON t (libsql_vector_idx(v));
     INSERT INTO t VALUES (1, '1', vector32('[1,2,3]'))
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer)
         modify(:v, :"F32_BLOB(3)", null: false)
       end
     end, [{"SELECT id FROM vector_top_k('tv', '[1,2,3]', 1)", [[1]]}]},
    {"a RANDOM ROWID",
     "CREATE TABLE t (a TEXT UNIQUE) RANDOM ROWID; INSERT INTO t VALUES ('1'); CREATE TABLE was AS SELECT rowid AS r FROM t",
     quote do
       alter table(:t) do
         modify(:a, :integer, null: false)
       end
     end, [{"SELECT r = (SELECT rowid FROM t) FROM was", [[1]]}, {"SELECT a FROM t", [[1]]}]},
    {"a full-text index over the table",
     """
     CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, body TEXT);
     CREATE VIRTUAL TABLE f USING fts5(body, content='t', content_rowid='id');
     CREATE TRIGGER ti AFTER INSERT ON t BEGIN INSERT INTO f (rowid, body) VALUES (new.id, new.body); END;
     INSERT INTO t VALUES (1, '1', 'hello world')
     """,
     quote do
       alter table(:t) do
         modify(:a, :integer)
       end
     end,
     [
       {"INSERT INTO t VALUES (2, 2, 'hello you')", nil},
       {"SELECT rowid FROM f WHERE f MATCH 'hello'", [[1], [2]]}
     ]},
    {"deferred keys in a circle",
     """
     CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE, q_id INTEGER REFERENCES q DEFERRABLE INITIALLY DEFERRED);
     CREATE TABLE q (id INTEGER PRIMARY KEY, p_id INTEGER REFERENCES p ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
     BEGIN; INSERT INTO p VALUES (1, '1', 1); INSERT INTO q VALUES (1, 1); COMMIT
     """,
     quote do
       alter table(:p) do
         modify(:u, :integer)
         remove(:q_id)
       end
     end, [{"SELECT * FROM p", [[1, 1]]}, {"SELECT * FROM q", [[1, 1]]}]},
    {"a DESC key that is no rowid",
     "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, a TEXT UNIQUE); INSERT INTO t VALUES (5, '1'), (NULL, '2')",
     quote do
       alter table(:t) do
         modify(:a, :integer)
       end
     end, [{"SELECT rowid, id, a FROM t", [[1, 5, 1], [2, nil, 2]]}]},
    {"a foreign key of two columns",
     """
     CREATE TABLE p (a INT, b INT, PRIMARY KEY (a, b)); INSERT INTO p VALUES (1, 2);
     CREATE TABLE t (id INTEGER PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1)
     """,
     quote do
       alter table(:t) do
         add(:b, references(:p, column: :b, type: :integer, with: [a: :a]))
       end
     end, [{~S|SELECT "from", "to" FROM pragma_foreign_key_list('t')|, [["b", "b"], ["a", "a"]]}]},
    {"a foreign key with a default, for rows that exist",
     """
     CREATE TABLE p (id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);
     CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)
     """,
     quote do
       alter table(:t) do
         add(:p_id, references(:p), default: 1, null: false)
       end
     end, [{"SELECT * FROM t", [[1, 1]]}]},
    {"what CREATE TABLE AS wrote",
     ~S"""
     CREATE TABLE base (a INT, "b c" TEXT); INSERT INTO base VALUES (1, 'x'); CREATE TABLE t AS SELECT a, "b c", a + 1 FROM base
     """,
     quote do
       alter table(:t) do
         modify(:a, :text, null: false)
         remove(:"a + 1")
       end
     end, [{"SELECT * FROM t", [["1", "x"]]}]}
  ]

  for {name, schema, body, queries} <- @done do
    @tag repo: [pool_size: 1]
    test "done: #{name}" do
      script(unquote(schema))
      temporary = temporary()
      up(fn -> unquote(body) end)
      assert temporary() == temporary
      sound()
      for {sql, answer} <- unquote(Macro.escape(queries)), do: assert({sql, rows(sql)} == {sql, answer})
      sound()
    end
  end

  @refused [
    {"values that the collation makes equal", :rows, "2 rows of t would be equal in k: id = 1; id = 2",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'A'), (3, 'b')",
     quote do
       alter table(:t) do
         modify(:k, :text, collate: :nocase)
       end
     end},
    {"values that the type makes equal", :rows, "2 rows of t would be equal in k",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT UNIQUE); INSERT INTO t VALUES (1, '1'), (2, '01'), (3, '2')",
     quote do
       alter table(:t) do
         modify(:k, :integer)
       end
     end},
    {"ON CONFLICT IGNORE loses none", :rows, "2 rows of t would be equal in k",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT UNIQUE ON CONFLICT IGNORE); INSERT INTO t VALUES (1, '1'), (2, '01')",
     quote do
       alter table(:t) do
         modify(:k, :integer)
       end
     end},
    {"ON CONFLICT REPLACE loses none", :rows, "2 rows of t would be equal in k",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT UNIQUE ON CONFLICT REPLACE); INSERT INTO t VALUES (1, '1'), (2, '01')",
     quote do
       alter table(:t) do
         modify(:k, :integer)
       end
     end},
    {"equal values in a new primary key", :rows, "2 rows of t would be equal in code",
     "CREATE TABLE t (id INTEGER, code TEXT NOT NULL); INSERT INTO t VALUES (7, 'x'), (9, 'x')",
     quote do
       alter table(:t) do
         modify(:code, :text, primary_key: true)
       end
     end},
    {"a column with values is not computed", :rows, "1 row of t has a g that would be lost",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, g INTEGER); INSERT INTO t VALUES (1, 7)",
     quote do
       alter table(:t) do
         modify(:g, :integer, generated: "id * 3")
       end
     end},
    {"a blob in a STRICT text", :rows, "1 row of t has a a that TEXT does not take unchanged: id = 1",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, a ANY) STRICT; INSERT INTO t VALUES (1, x'00'), (2, 'q')",
     quote do
       alter table(:t) do
         modify(:a, :text)
       end
     end},
    {"a default that refers to no row", :rows, "1 row of t refers to rows of p",
     "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)",
     quote do
       alter table(:t) do
         add(:p_id, references(:p), default: 2, null: false)
       end
     end},
    {"rows without a parent in two columns", :rows, "1 row of t refers to rows of p",
     """
     CREATE TABLE p (a INT, b INT, PRIMARY KEY (a, b)); INSERT INTO p VALUES (1, 2);
     CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT); INSERT INTO t VALUES (1, 1, 3)
     """,
     quote do
       alter table(:t) do
         modify(:b, references(:p, column: :b, type: :integer, with: [a: :a]))
       end
     end},
    {"a foreign key to what is not unique", :unsupported, "foreign key mismatch",
     "CREATE TABLE p (id INTEGER PRIMARY KEY, b INT); CREATE TABLE t (id INTEGER PRIMARY KEY, a INT)",
     quote do
       alter table(:t) do
         modify(:a, references(:p, column: :b))
       end
     end},
    {"a UNIQUE that a foreign key needs", :unsupported, "foreign key of t needs",
     """
     CREATE TABLE p (id INTEGER PRIMARY KEY, b INT UNIQUE); CREATE TABLE t (id INTEGER PRIMARY KEY, a INT REFERENCES p(b));
     INSERT INTO p VALUES (1, 1); INSERT INTO t VALUES (1, 1)
     """,
     quote do
       drop(constraint(:p, :p_b_index))
     end},
    {"a view of the connection", :in_use, "view tv",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE); CREATE TEMP VIEW tv AS SELECT a FROM t",
     quote do
       alter table(:t) do
         remove(:a)
       end
     end},
    {"the key that WITHOUT ROWID needs", :in_use, "WITHOUT ROWID",
     "CREATE TABLE t (a INT, b INT, PRIMARY KEY (a, b)) WITHOUT ROWID",
     quote do
       drop(constraint(:t, :t_pkey))
     end},
    {"a column whose updates a trigger waits for", :in_use, "the trigger r fires for updates of t.b",
     "CREATE TABLE t (a INT, b INT, c INT); CREATE TRIGGER r AFTER UPDATE OF a, \"B\" ON t BEGIN SELECT 1; END",
     quote do
       alter table(:t) do
         remove(:c)
         remove(:b)
       end
     end},
    {"a type that has no AUTOINCREMENT", :unsupported, "autoincrement: false first",
     "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (7)",
     quote do
       alter table(:t) do
         modify(:id, :text)
       end
     end},
    {"a type that has no AUTOINCREMENT, beside the columns", :unsupported, "autoincrement: false first",
     "CREATE TABLE t (id INTEGER, PRIMARY KEY (id AUTOINCREMENT)); INSERT INTO t VALUES (7)",
     quote do
       alter table(:t) do
         modify(:id, :text)
       end
     end},
    {"a second primary key", :unsupported, "has a primary key already",
     "CREATE TABLE t (id INTEGER PRIMARY KEY)",
     quote do
       alter table(:t) do
         add(:b, :integer, primary_key: true)
       end
     end},
    {"a column twice", :unsupported, "has a column ID already", "CREATE TABLE t (id INTEGER PRIMARY KEY)",
     quote do
       alter table(:t) do
         add(:ID, :integer)
       end
     end},
    {"a constraint twice", :unsupported, "has a constraint X already",
     "CREATE TABLE t (id INTEGER PRIMARY KEY, CONSTRAINT x CHECK (id > 0))",
     quote do
       create(constraint(:t, :X, check: "id > 1"))
     end},
    {"a virtual table", :unsupported, "virtual table", "CREATE VIRTUAL TABLE t USING fts5(body)",
     quote do
       alter table(:t) do
         add(:a, :text)
       end
     end},
    {"an index of a constraint", :no_such_index, "belongs to a constraint", "CREATE TABLE t (a TEXT UNIQUE)",
     quote do
       rename(index(:t, [:a], name: :sqlite_autoindex_t_1), to: "u")
     end}
  ]

  for {name, code, words, schema, body} <- @refused do
    @tag repo: [pool_size: 1]
    test "refused: #{name}" do
      script(unquote(schema))
      before = {schema(), for([_, name, _, _] <- schema(), name == "t", do: rows("SELECT * FROM t"))}
      error = assert_raise MigrationError, fn -> up(fn -> unquote(body) end) end
      assert {error.code, error.message} == {unquote(code), error.message}
      assert error.message =~ unquote(words)
      assert {schema(), for([_, name, _, _] <- schema(), name == "t", do: rows("SELECT * FROM t"))} == before
      sound()
    end
  end

  # --- texts --------------------------------------------------------------------------------------------------------

  @texts [
    {"CREATE TABLE t (id INTEGER PRIMARY KEY, -- one, two\n  -- three, (four\n  c TEXT -- five, )\n)",
     quote(do: alter(table(:t), do: remove(:c))), "CREATE TABLE t (id INTEGER PRIMARY KEY -- one, two\n)"},
    {"CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT -- five, DEFAULT 'x'\n , d TEXT /* ; ) , */ -- ;\n)",
     quote do
       alter table(:t) do
         modify(:c, :text, null: false)
         modify(:d, :text, null: false)
       end
     end,
     "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT NOT NULL -- five, DEFAULT 'x'\n , d TEXT NOT NULL /* ; ) , */ -- ;\n)"},
    {"CREATE TABLE t(a INT,\n  -- of b\n  b INT, -- b too\n  -- of c\n  c INT)",
     quote(do: alter(table(:t), do: remove(:b))), "CREATE TABLE t(a INT,\n  -- of c\n  c INT)"},
    {"CREATE TABLE t (\n    a INT -- first\n  , b INT -- second\n  , c INT -- third\n)",
     quote(do: alter(table(:t), do: remove(:b))),
     "CREATE TABLE t (\n    a INT -- first\n  , c INT -- third\n)"},
    {"CREATE TABLE t (\n  a INT, -- first\n  b INT\n)", quote(do: alter(table(:t), do: remove(:a))),
     "CREATE TABLE t (\n  b INT\n)"},
    {"CREATE TABLE t (id INTEGER, a TEXT, CONSTRAINT c1 CHECK (a <> 'x') CONSTRAINT c2 CHECK (a <> 'y') CONSTRAINT c3 UNIQUE (a) CHECK (id > 0))",
     quote do
       drop(constraint(:t, :c1))
       drop(constraint(:t, :c3))
       drop(constraint(:t, :c2))
     end, "CREATE TABLE t (id INTEGER, a TEXT, CHECK (id > 0))"},
    {~S|CREATE TABLE t("a"TEXT,b"text"NOT NULL,c CHECK(c>0)NOT NULL DEFAULT(1)REFERENCES t(x)ON DELETE CASCADE,x UNIQUE,CHECK(b<>''))|,
     quote do
       alter table(:t) do
         modify(:b, :text, null: true)
         modify(:c, :integer, null: true, from: references(:t))
         modify(:a, :text, default: "q")
         remove(:x)
       end
     end, ~S|CREATE TABLE t("a"TEXT DEFAULT 'q',b TEXT,c INTEGER CHECK(c>0) DEFAULT(1),CHECK(b<>''))|},
    {~S|CREATE TABLE t (id INT, a CONSTRAINT "n n" NOT NULL DEFAULT (1) CONSTRAINT c CHECK (a > 0) COLLATE nocase)|,
     quote do
       alter table(:t) do
         modify(:a, :integer, null: true, default: nil, check: nil, collate: nil)
       end
     end, "CREATE TABLE t (id INT, a INTEGER)"},
    {~S|CREATE TABLE t (id INT, a CONSTRAINT "n n" NOT NULL DEFAULT (1))|,
     quote(do: drop(constraint(:t, :"n n"))), "CREATE TABLE t (id INT, a DEFAULT (1))"},
    {"CREATE TABLE t (id INT)", quote(do: create(constraint(:t, :c, check: "id > 0 -- ok"))),
     ~s|CREATE TABLE t (id INT, CONSTRAINT "c" CHECK (id > 0 -- ok\n))|},
    {"CREATE TABLE t (id INT, CHECK (id > 0) -- last\n)",
     quote(do: create(constraint(:t, :c, check: "id > 1"))),
     ~s|CREATE TABLE t (id INT, CHECK (id > 0), -- last\n  CONSTRAINT "c" CHECK (id > 1)\n)|}
  ]

  for {{before, body, now}, i} <- Enum.with_index(@texts) do
    test "text #{i} changes where it is told to, and is the same with rows of another table around it" do
      script(unquote(before))
      up(fn -> unquote(body) end)
      assert text("t") == unquote(now)
      sound()
    end
  end

  # --- endings ------------------------------------------------------------------------------------------------------

  @tag repo: [pool_size: 2]
  test "killed in its middle, a migration leaves nothing behind" do
    script("""
    CREATE TABLE p (id INTEGER PRIMARY KEY, u TEXT UNIQUE); INSERT INTO p VALUES (1, '1');
    CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER REFERENCES p ON DELETE CASCADE); INSERT INTO c VALUES (1, 1)
    """)

    before = schema()

    for statement <- [
          "writable_schema = 1",
          "DROP TABLE \"p\"",
          "legacy_alter_table = 1",
          # The pragmas are put back by requests that telemetry does not show; this one comes after them.
          "PRAGMA \"main\".integrity_check"
        ] do
      test = self()
      handler = "killed #{statement}"

      :telemetry.attach(
        handler,
        [:ecto_lib_sql, :test_repo, :query],
        fn _, _, %{query: sql}, _ ->
          if self() != test and sql =~ statement do
            send(test, {:reached, self()})
            Process.sleep(:infinity)
          end
        end,
        nil
      )

      pid = spawn(fn -> up(fn -> alter(table(:p), do: modify(:u, :integer)) end) end)
      assert_receive {:reached, process}, 10_000
      :telemetry.detach(handler)
      monitor = Process.monitor(pid)
      for one <- [process, pid], do: Process.exit(one, :kill)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000

      assert schema() == before
      assert rows("SELECT *, typeof(u) FROM p") == [[1, "1", "text"]]
      assert rows("SELECT * FROM c") == [[1, 1]]

      for _ <- 1..4 do
        sound()
        assert rows("PRAGMA legacy_alter_table") == [[0]]
        assert rows("PRAGMA writable_schema") == [[0]]
      end
    end
  end

  test "a schema that cannot be written is said, before anything is changed" do
    script("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, CHECK (id > 0), CHECK (a <> ''))")

    # As SQLITE_DBCONFIG_DEFENSIVE does: the pragma has no effect.
    query = fn
      {:restore, sql}, [] ->
        TestRepo.query!(sql)

      :server?, [] ->
        false

      sql, params ->
        sql = IO.iodata_to_binary(sql)
        TestRepo.query!(if(sql == "PRAGMA writable_schema = 1", do: "SELECT 1", else: sql), params)
    end

    alias Ecto.Adapters.LibSql.{SchemaText, StoredTable, TableEdit}

    TestRepo.transaction(fn ->
      table = StoredTable.read!("t", "main", query)
      edited = TableEdit.remove(table.sql, hd(table.sql.constraints))
      error = assert_raise MigrationError, fn -> SchemaText.replace!(table, edited) end
      assert error.code == :schema_read_only

      # ALTER COLUMN needs no such right.
      [_id, a] = table.sql.columns
      edited = EctoLibSql.TableSql.edit(table.sql, [{{elem(a.range, 0) + elem(a.range, 1), 0}, " NOT NULL"}])
      SchemaText.replace!(table, TableEdit.parse!(edited))
    end)

    assert text("t") ==
             "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, CHECK (id > 0), CHECK (a <> ''))"

    sound()
  end

  test "ALTER COLUMN is used where it finds the end of the column, and only there" do
    alias Ecto.Adapters.LibSql.{SchemaText, TableEdit}

    for {column, possible?} <- [
          {"a TEXT", true},
          {"a TEXT -- comment\n", true},
          {"a TEXT /* ) */", false},
          {"[a] TEXT CHECK ([a] > (1))", true},
          {"a DECIMAL(10,2)", false},
          {"a TEXT DEFAULT ','", false},
          {"a TEXT DEFAULT ')'", false},
          {"a TEXT -- one, two\n", false},
          {"a INTEGER PRIMARY KEY", false},
          {"a TEXT UNIQUE", false},
          {"a AS (1)", false},
          {"\"a,b\" TEXT", true}
        ],
        tail <- [")", ", b TEXT)", ", CHECK (1))"] do
      old = TableEdit.parse!("CREATE TABLE t (id INT, #{column}#{tail}")
      [_, %{range: {at, size}} | _] = old.columns
      new = TableEdit.parse!(EctoLibSql.TableSql.edit(old, [{{at + size, 0}, " NOT NULL"}]))
      assert match?({:ok, _, _}, SchemaText.alterable(old, new)) == possible?, column <> tail
    end
  end
end
