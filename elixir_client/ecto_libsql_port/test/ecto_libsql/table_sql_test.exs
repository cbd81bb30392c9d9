defmodule EctoLibSql.TableSqlTest do
  # A CREATE TABLE text taken apart into byte ranges. No database.
  use ExUnit.Case, async: true

  alias EctoLibSql.{SqlLexer, TableSql}

  doctest EctoLibSql.SqlLexer

  defp parse!(sql) do
    assert {:ok, table} = TableSql.parse(sql)
    table
  end

  defp clauses(table, clauses), do: Enum.map(clauses, &{&1.kind, &1.name, TableSql.slice(table, &1.body)})

  @odd ~S"""
  CREATE TABLE "odd ""table" ( -- a comment, with a comma )
    a decimal(2, 1) DEFAULT 'x,)' -- trailing ( , "
  , "b "" c" TEXT NOT NULL ON CONFLICT IGNORE DEFAULT -1.0e-7
      REFERENCES "u" (x) ON DELETE SET NULL ON UPDATE NO ACTION MATCH FULL NOT DEFERRABLE INITIALLY DEFERRED,
    [g, g] INT GENERATED ALWAYS AS (a ->> '$.x') STORED, `h``` AS (a||"b "" c") /* ) */,
    i INTEGER CONSTRAINT [pk] PRIMARY KEY DESC ON CONFLICT REPLACE AUTOINCREMENT
      CONSTRAINT n CHECK (CASE WHEN "end" > 0 THEN t.wide END <> a COLLATE nocase AND lower(i) = 'status'),
    'named as a text' unsigned big int (10, -2) COLLATE "nocase" UNIQUE ON CONFLICT ABORT NULL DEFAULT x'CAFE' CONSTRAINT alone,
    untyped,
    generated "always" DEFAULT (1 + (2)) CHECK (untyped >= 0x1F),
    CHECK (a IN (1, 2)) CONSTRAINT q UNIQUE (a COLLATE nocase DESC, 'b " c'),
    CONSTRAINT none, PRIMARY KEY (a, untyped) ON CONFLICT FAIL,
    CONSTRAINT fk FOREIGN KEY (a, untyped) REFERENCES v ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
  ) STRICT, WITHOUT ROWID -- last
  """

  test "columns, types and clauses" do
    table = parse!(@odd)
    assert table.name == ~s(odd "table)
    assert TableSql.slice(table, table.name_range) == ~s("odd ""table")
    assert table.options == ["strict", "without rowid"]

    assert Enum.map(table.columns, &{&1.name, &1.type && TableSql.slice(table, &1.type)}) == [
             {"a", "decimal(2, 1)"},
             {~s(b " c), "TEXT"},
             {"g, g", "INT"},
             {"h`", nil},
             {"i", "INTEGER"},
             {"named as a text", "unsigned big int (10, -2)"},
             {"untyped", nil},
             {"generated", ~s("always")}
           ]

    [a, b, g, h, i, text, _untyped, generated] = table.columns
    assert clauses(table, a.clauses) == [{:default, nil, "DEFAULT 'x,)'"}]

    assert clauses(table, b.clauses) == [
             {:not_null, nil, "NOT NULL ON CONFLICT IGNORE"},
             {:default, nil, "DEFAULT -1.0e-7"},
             {:references, nil, ~s|REFERENCES "u" (x) ON DELETE SET NULL ON UPDATE NO ACTION MATCH FULL|},
             {:deferrable, nil, "NOT DEFERRABLE INITIALLY DEFERRED"}
           ]

    assert [%{kind: :generated, flags: [:stored], mentions: ["a"]}] = g.clauses
    assert [%{kind: :generated, flags: [], mentions: mentions}] = h.clauses
    assert Enum.sort(mentions) == ["a", ~s(b " c)]

    assert [%{kind: :primary_key, name: "pk", flags: [:autoincrement]}, %{kind: :check, name: "n"} = check] =
             i.clauses

    assert Enum.sort(check.mentions) == ["a", "end", "i", "wide"]

    assert clauses(table, text.clauses) == [
             {:collate, nil, ~s(COLLATE "nocase")},
             {:unique, nil, "UNIQUE ON CONFLICT ABORT"},
             {:null, nil, "NULL"},
             {:default, nil, "DEFAULT x'CAFE'"},
             {:name, "alone", "CONSTRAINT alone"}
           ]

    assert clauses(table, generated.clauses) == [
             {:default, nil, "DEFAULT (1 + (2))"},
             {:check, nil, "CHECK (untyped >= 0x1F)"}
           ]
  end

  test "constraints of the table, with and without commas between them" do
    table = parse!(@odd)

    assert clauses(table, table.constraints) == [
             {:check, nil, "CHECK (a IN (1, 2))"},
             {:unique, "q", ~s|UNIQUE (a COLLATE nocase DESC, 'b " c')|},
             {:name, "none", "CONSTRAINT none"},
             {:primary_key, nil, "PRIMARY KEY (a, untyped) ON CONFLICT FAIL"},
             {:references, "fk",
              "FOREIGN KEY (a, untyped) REFERENCES v ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"}
           ]

    assert Enum.map(table.constraints, & &1.columns) == [
             [],
             ["a", ~s(b " c)],
             [],
             ["a", "untyped"],
             ["a", "untyped"]
           ]

    assert [{[~s(b " c)], %{table: "u", targets: ["x"]}}, {["a", "untyped"], %{table: "v", targets: []}}] =
             TableSql.foreign_keys(table)
  end

  test "an edit changes its ranges only" do
    table = parse!(@odd)
    assert TableSql.edit(table, []) == @odd

    for column <- table.columns do
      same = TableSql.edit(table, [{column.range, TableSql.slice(table, column.range)}])
      assert same == @odd
    end

    ranges = Enum.map(table.columns ++ table.constraints, & &1.range)

    edited =
      TableSql.edit(
        table,
        for({at, size} = range <- ranges, do: {range, String.duplicate("~", size) <> "#{at}"})
      )

    assert edited =~ "-- a comment, with a comma )\n  ~"
    assert edited =~ ~s|-- trailing ( , "\n|
    assert TableSql.edit(table, [{{0, 0}, "<"}, {{byte_size(@odd), 0}, ">"}]) == "<" <> @odd <> ">"
  end

  test "heads as SQLite and people write them" do
    for head <- [
          "CREATE TABLE t",
          "create table if not exists t",
          "CREATE TEMP TABLE main.t",
          ~s(CREATE /* ( */ TABLE "main" . [t]),
          "\uFEFFCREATE\tTABLE\r\n't'"
        ] do
      assert %{name: "t", columns: [%{name: "a"}, %{name: "b"}], constraints: []} =
               parse!(head <> "(a,b TEXT)")
    end
  end

  test "what is no ordinary table" do
    assert TableSql.parse("CREATE VIRTUAL TABLE x USING fts5(a)") == {:error, :virtual}

    for text <- [
          "",
          "CREATE VIEW v AS SELECT 1",
          "CREATE TABLE t (a",
          "CREATE TABLE t (a WHAT 1)",
          "CREATE TABLE t ()"
        ] do
      assert TableSql.parse(text) == {:error, :unreadable}
    end
  end

  test "names of foreign keys" do
    sql = """
    CREATE TABLE t (a INTEGER NOT NULL CONSTRAINT "one" REFERENCES u(id), b INTEGER REFERENCES u(id),
      c INTEGER CONSTRAINT positive CHECK (c > 0) CONSTRAINT [three] REFERENCES u,
      CONSTRAINT two FOREIGN KEY (a, "b") REFERENCES v(x, y))
    """

    assert TableSql.foreign_key_name(sql, ["A"]) == "one"
    assert TableSql.foreign_key_name(sql, ["b"]) == nil
    assert TableSql.foreign_key_name(sql, ["c"]) == "three"
    assert TableSql.foreign_key_name(sql, ["a", "b"]) == "two"
  end

  describe "tokens" do
    defp texts(sql), do: Enum.map(SqlLexer.tokens(sql), &SqlLexer.text(sql, &1))

    test "every operator is one" do
      operators = ~w(-> ->> == = <= <> << < >= >> > != || | & ~ + - * / % . ; \( \) ,)
      assert texts(Enum.join(operators, " ")) == operators
      assert texts("a->>'$.k'<>b||x'00'") == ["a", "->>", "'$.k'", "<>", "b", "||", "x'00'"]
      assert texts("a-- c\n-b/* d */*e/f") == ["a", "-", "b", "*", "e", "/", "f"]
    end

    test "literals of every form" do
      literals =
        ~w(1 1.0 1. .5 1e5 1.0e-7 1E+3 0x1F 0XFf 1_000 1_0.0_1e1_0 x'CAFE' X'' 'it''s' '' ? ?12 :a @b $c #d)

      assert texts(Enum.join(literals, " ")) == literals
      assert [{:number, 0, 1}, {:word, 2, 1}] = SqlLexer.tokens("1 e")
      assert [{:illegal, 0, 4}] = SqlLexer.tokens("1abc")
      assert [{:illegal, 0, 4}] = SqlLexer.tokens("x'0'")
    end

    test "names of every form" do
      names = [~s("a "" b"), "`a `` b`", "[a ' b]", "größe", "_a$1", "名前", "xylo"]
      assert texts(Enum.join(names, " ")) == names
    end

    test "a text that ends too early" do
      for text <- ["'a", "\"a", "`a", "[a", "/* a", "-- a", "x'", "/*", "$"],
          do: assert(is_list(SqlLexer.tokens(text)))
    end
  end
end
