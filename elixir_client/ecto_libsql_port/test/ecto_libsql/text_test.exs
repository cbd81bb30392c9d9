defmodule EctoLibSql.TextTest do
  # What reads SQL text: statements, tables, first words. No database.
  use ExUnit.Case, async: true

  alias Ecto.Adapters.LibSql.ColumnText
  alias EctoLibSql.{Options, Result, Statements, TableSql}

  doctest EctoLibSql.Statements
  doctest EctoLibSql.Error

  test "statements end at semicolons that are nobody else's" do
    assert Statements.split("SELECT 1; ; -- a;b\n SELECT \"a;\"\";\" /* ; */; SELECT [x;]") ==
             ["SELECT 1", "-- a;b\n SELECT \"a;\"\";\" /* ; */", "SELECT [x;]"]
  end

  test "a trigger's body is part of it" do
    trigger =
      "CREATE TEMP TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; SELECT CASE WHEN 1 THEN 2 END; END"

    assert Statements.split("SELECT 1; #{trigger}; SELECT 2;") == ["SELECT 1", trigger, "SELECT 2"]
  end

  test "the items of a table" do
    sql = ~s|CREATE TABLE "t" (a decimal(2,1) DEFAULT 'x,)' -- c,\n, "b c" TEXT, CHECK (a IN (1,2))) STRICT|
    assert {~s|CREATE TABLE "t" |, items, " STRICT"} = TableSql.parts(sql)
    assert Enum.map(items, &TableSql.column/1) == ["a", "b c", nil]
    assert List.last(items).text == "CHECK (a IN (1,2))"
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

  test "a column taken apart" do
    sql =
      "CREATE TABLE t (a decimal(10, 2) NOT NULL DEFAULT (1 + (2)) CONSTRAINT c CHECK (a IS NOT NULL) COLLATE NOCASE " <>
        "REFERENCES u(id) ON DELETE SET NULL NOT DEFERRABLE)"

    {_, [item], _} = TableSql.parts(sql)
    column = ColumnText.parse(item)
    assert column.type == "decimal(10, 2)"
    assert Enum.map(column.clauses, &elem(&1, 0)) == [:not_null, :default, :check, :collate, :references]
    assert {:references, "REFERENCES u(id) ON DELETE SET NULL NOT DEFERRABLE"} in column.clauses
    assert {:check, "CONSTRAINT c CHECK(a IS NOT NULL)"} in column.clauses
  end

  test "first words" do
    assert Result.command("  \n select 1") == :select
    assert Result.command("INSERT INTO x") == :insert
    assert Result.command("COMMIT") == :commit
    assert Result.command("selection") == :other
  end

  test "names of databases" do
    for {given, path} <- [
          {[database: "a.db"], "a.db"},
          {[url: "file:a.db?mode=ro"], "a.db"},
          {[url: "sqlite:///var/a.db"], "/var/a.db"},
          {[database: ":memory:"], :memory},
          {[url: "file::memory:"], :memory}
        ] do
      assert Options.path(given) == {:ok, path}
    end

    assert {:error, message} = Options.path(url: "libsql://host.example")
    assert message =~ "not supported yet"
    assert {:error, _} = Options.path([])
  end
end
