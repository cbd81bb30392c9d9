defmodule EctoLibSql.RolledBackTest do
  # After the engine's own rollback nothing runs inside the transaction, by whatever way it is asked for.
  use EctoLibSql.RepoCase

  alias Ecto.Adapters.SQL

  setup do
    script("CREATE TABLE t (x INTEGER PRIMARY KEY, y); INSERT INTO t VALUES (1, 'before')")
    :ok
  end

  # The statement fails and takes the transaction with it: https://sqlite.org/lang_conflict.html
  defp roll_back do
    {:error, %{code: :constraint_primary_key}} =
      TestRepo.query("INSERT OR ROLLBACK INTO t VALUES (1, 'again')")
  end

  defp rolled_back(fun) do
    assert {:error, :rollback} =
             TestRepo.transaction(fn ->
               roll_back()
               fun.()
             end)

    assert TestRepo.query!("SELECT x, y FROM t").rows == [[1, "before"]]
  end

  @insert "INSERT INTO t VALUES (2, 'by itself') RETURNING x"

  test "no statement" do
    rolled_back(fn -> assert {:error, %{code: :no_transaction}} = TestRepo.query(@insert) end)
  end

  test "no text of statements" do
    rolled_back(fn -> assert {:error, %{code: :no_transaction}} = TestRepo.query_many(@insert) end)
  end

  test "nor the rest of a text whose transaction was ended by hand in it" do
    assert {:error, :rollback} =
             TestRepo.transaction(fn ->
               assert {:error, %{code: :no_transaction}} = TestRepo.query_many("ROLLBACK; " <> @insert)
             end)

    assert TestRepo.query!("SELECT x, y FROM t").rows == [[1, "before"]]
  end

  test "no stream" do
    rolled_back(fn ->
      error = assert_raise EctoLibSql.Error, fn -> TestRepo |> SQL.stream(@insert) |> Enum.to_list() end
      assert error.code == :no_transaction
    end)
  end

  test "nor the rest of a stream that was begun before" do
    rows = "SELECT value FROM json_each('[1,2,3,4,5,6]')"

    rolled_back_in_a_stream = fn ->
      TestRepo
      |> SQL.stream(rows, [], max_rows: 1)
      |> Enum.each(fn _ -> roll_back() end)
    end

    error = assert_raise EctoLibSql.Error, fn -> TestRepo.transaction(rolled_back_in_a_stream) end
    assert error.code == :no_transaction
    assert TestRepo.query!("SELECT x, y FROM t").rows == [[1, "before"]]
  end

  test "no nested transaction" do
    rolled_back(fn -> TestRepo.transaction(fn -> TestRepo.query(@insert) end) end)
  end
end
