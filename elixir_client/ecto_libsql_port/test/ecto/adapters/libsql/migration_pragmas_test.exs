defmodule Ecto.Adapters.LibSql.MigrationPragmasTest do
  # A command that is stopped in its middle leaves the pragmas of its connection as they were, and its own error is told.
  use EctoLibSql.RepoCase

  alias Ecto.Migration.{Constraint, Table}

  @moduletag repo: [pool_size: 1]
  @pragmas ~w(writable_schema legacy_alter_table foreign_keys)

  defp pragmas, do: for(name <- @pragmas, into: %{}, do: {name, value("PRAGMA #{name}")})

  defp value(sql) do
    [[value]] = TestRepo.query!(sql).rows
    value
  end

  defp run(command), do: Ecto.Adapters.LibSql.execute_ddl(Ecto.Adapter.lookup_meta(TestRepo), command, [])

  # A full disk makes the engine roll back the whole transaction, wherever it is met.
  for free <- 0..6 do
    test "a disk that is full after #{free} pages" do
      script("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE); INSERT INTO t VALUES (1, 'a')")
      before = pragmas()
      long = "id > 0" <> String.duplicate(" AND a <> 'xyzxyzxyzxyz'", 400)

      commands = [
        {:create, %Constraint{name: :c, table: "t", check: long}},
        {:alter, %Table{name: "t"}, [{:remove, :a}]},
        {:drop, %Table{name: "t"}, :restrict}
      ]

      for command <- commands do
        TestRepo.query!("PRAGMA max_page_count = #{value("PRAGMA page_count") + unquote(free)}")

        try do
          run(command)
        rescue
          error in EctoLibSql.Error -> assert error.code == :disk_full
          # The table has no column, or is gone, when the command before has succeeded.
          error in EctoLibSql.MigrationError -> assert error.code in [:no_such_column, :unsupported]
        end

        assert pragmas() == before
        assert value("PRAGMA integrity_check") == "ok"
      end
    end
  end

  test "a statement that fails after it has switched foreign keys" do
    assert_raise EctoLibSql.Error, fn -> run("PRAGMA foreign_keys = OFF; SELECT 1") end
    assert value("PRAGMA foreign_keys") == 1
  end
end
