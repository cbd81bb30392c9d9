defmodule Ecto.Adapters.LibSql.MigrationMissingTest do
  # What a command names and is not there, and errors that `add` cannot explain.
  use EctoLibSql.RepoCase
  import Ecto.Migration

  alias Ecto.Adapters.LibSql.StoredTable
  alias Ecto.Migration.Table
  alias EctoLibSql.MigrationError

  doctest StoredTable

  for {code, command} <- [
        {:no_such_table, quote(do: drop(table(:nowhere)))},
        {:no_such_table, quote(do: rename(table(:nowhere), to: table(:somewhere)))},
        {:no_such_table, quote(do: rename(table(:nowhere), :a, to: :b))},
        {:no_such_column, quote(do: rename(table(:t), :nothing, to: :b))},
        {:no_such_index, quote(do: drop(index(:t, [:a])))},
        {:no_such_index, quote(do: rename(index(:t, [:a]), to: :b))},
        {:no_such_table, quote(do: alter(table(:nowhere), do: add(:a, :text)))},
        {:no_such_column, quote(do: alter(table(:t), do: remove(:nothing)))}
      ] do
    test "#{Macro.to_string(command)}: #{code}" do
      script("CREATE TABLE t (a); CREATE VIEW v AS SELECT 1")
      error = assert_raise MigrationError, fn -> migrate(fn -> unquote(command) end) end
      assert error.code == unquote(code)
      assert error.table in ["nowhere", "t"]
    end
  end

  test "what looks first does nothing" do
    script("CREATE TABLE t (a); CREATE VIRTUAL TABLE f USING fts5(b)")
    migrate(fn -> drop_if_exists(table(:nowhere)) end)
    migrate(fn -> drop_if_exists(index(:t, [:a])) end)
    migrate(fn -> rename(table(:f), to: table(:g)) end)
    assert TestRepo.query!("SELECT count(*) FROM g").rows == [[0]]
  end

  describe "add to a table with rows" do
    setup do
      script("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t (a) VALUES ('1'), ('2')")
      :ok
    end

    test "says what the engine says of a definition that is none" do
      for wrong <- ["1 +", "nonsense(", "')"] do
        error =
          assert_raise EctoLibSql.Error, fn ->
            migrate(fn -> alter(table(:t), do: add(:b, :integer, default: {:fragment, wrong})) end)
          end

        assert error.code == :sql_error
      end
    end

    @tag repo: [pool_size: 1]
    test "does not copy after another error" do
      [[pages]] = TestRepo.query!("PRAGMA page_count").rows
      TestRepo.query!("PRAGMA max_page_count = #{pages}")
      long = "'" <> String.duplicate("x", 20_000) <> "'"
      add = {:alter, %Table{name: "t"}, [{:add, :b, :text, [default: {:fragment, long}]}]}
      meta = Ecto.Adapter.lookup_meta(TestRepo)
      test = self()

      :telemetry.attach(
        "copies",
        [:ecto_lib_sql, :test_repo, :query],
        fn _, _, %{query: sql}, _ -> if sql =~ "ecto_copy_of", do: send(test, :copied) end,
        nil
      )

      error = assert_raise EctoLibSql.Error, fn -> Ecto.Adapters.LibSql.execute_ddl(meta, add, []) end
      :telemetry.detach("copies")
      assert error.code == :disk_full
      refute_received :copied
    end
  end

  test "autoincrement: false gives up the counter, and the column may have another type then" do
    script(
      "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT); INSERT INTO t (a) VALUES ('1'), ('2')"
    )

    refused =
      assert_raise MigrationError, ~r/autoincrement: false/, fn ->
        migrate(fn -> alter(table(:t), do: modify(:id, :text)) end)
      end

    assert refused.code == :unsupported
    migrate(fn -> alter(table(:t), do: modify(:id, :integer, autoincrement: false)) end)
    assert [[text]] = TestRepo.query!("SELECT sql FROM sqlite_schema WHERE name = 't'").rows
    refute text =~ ~r/autoincrement/i
    # A number that was given is given again.
    TestRepo.query!("DELETE FROM t WHERE id = 2")
    TestRepo.query!("INSERT INTO t (a) VALUES ('2')")
    migrate(fn -> alter(table(:t), do: modify(:id, :text)) end)
    assert TestRepo.query!("SELECT id, typeof(id), a FROM t").rows == [["1", "text", "1"], ["2", "text", "2"]]
  end
end
