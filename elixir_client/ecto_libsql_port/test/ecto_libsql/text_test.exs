defmodule EctoLibSql.TextTest do
  # What reads SQL text: statements, first words. No database.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Options, Result, Statements}

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

  test "first words" do
    assert Result.command("  \n select 1") == :select
    assert Result.command("INSERT INTO x") == :insert
    assert Result.command("COMMIT") == :commit
    assert Result.command("selection") == :other
  end

  test "names of databases" do
    for {given, path} <- [
          {[database: "a.db"], Path.absname("a.db")},
          {[url: "file:a.db?mode=ro"], Path.absname("a.db")},
          {[url: "sqlite:///var/a.db"], "/var/a.db"},
          {[database: ":memory:"], :memory},
          {[url: "file::memory:"], :memory}
        ] do
      assert Options.path(given) == {:ok, path}
    end

    assert Options.path(url: "libsql://host.example") == {:ok, :remote}
    assert {:error, _} = Options.path([])
  end
end
