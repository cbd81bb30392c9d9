defmodule Ecto.Adapters.LibSql.DeferredWriteTest do
  # The first write of a Repo has its turn whatever others commit: nothing is read before it in its transaction.
  use EctoLibSql.RepoCase

  defmodule Row do
    use Ecto.Schema

    schema "rows" do
      field :num, :integer
    end
  end

  setup do
    script("CREATE TABLE rows (id INTEGER PRIMARY KEY, num INTEGER)")
    :ok
  end

  # Another connection commits after each statement before the write that the test's process sends.
  defp while_others_commit(fun) do
    test = self()
    id = {__MODULE__, make_ref()}

    commit = fn _, _, %{sql: sql}, _ ->
      if self() == test and sql != nil and not (sql =~ "INSERT") do
        write = fn -> TestRepo.query!("INSERT INTO rows (num) VALUES (0)") end
        write |> Task.async() |> Task.await()
      end
    end

    :ok = :telemetry.attach(id, [:libsql_port, :query, :stop], commit, nil)
    on_exit(fn -> :telemetry.detach(id) end)
    fun.()
  end

  for {what, options} <- [{"deferred", [mode: :deferred]}, {"a snapshot", [isolation_level: :snapshot]}] do
    test "a transaction that is #{what} begins with its write" do
      assert {:ok, _} =
               TestRepo.transaction(
                 fn -> while_others_commit(fn -> TestRepo.insert!(%Row{num: 1}) end) end,
                 unquote(options)
               )
    end
  end

  test "in a checkout, too" do
    TestRepo.checkout(fn ->
      assert {:ok, _} =
               TestRepo.transaction(
                 fn -> while_others_commit(fn -> TestRepo.insert!(%Row{num: 1}) end) end,
                 mode: :deferred
               )
    end)
  end

  # It makes the adapter forget which tables are views.
  defp command_elsewhere(sql) do
    meta = Ecto.Adapter.lookup_meta(TestRepo)
    fn -> Ecto.Adapters.LibSql.execute_ddl(meta, sql, []) end |> Task.async() |> Task.await(:infinity)
  end

  test "after a command of another process's migration since the transaction began" do
    {{:ok, _}, requests} =
      requests(fn ->
        TestRepo.transaction(
          fn ->
            command_elsewhere("CREATE TABLE others (x)")
            while_others_commit(fn -> TestRepo.insert!(%Row{num: 1}) end)
          end,
          mode: :deferred
        )
      end)

    # Whatever the other process sends comes before.
    assert [%{request: :execute, sql: "INSERT INTO" <> _}, %{request: :commit}] = Enum.take(requests, -2)
  end
end
