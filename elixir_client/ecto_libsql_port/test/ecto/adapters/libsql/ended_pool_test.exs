defmodule Ecto.Adapters.LibSql.EndedPoolTest do
  use EctoLibSql.RepoCase

  setup do
    script("CREATE TABLE t (x)")
    :ok
  end

  # Ends the pool of the Repo, and returns when another has taken its place.
  defp replace_pool do
    %{pid: pool} = Ecto.Adapter.lookup_meta(TestRepo)
    Process.exit(pool, :kill)
    await_other(pool)
  end

  defp await_other(pool) do
    case Ecto.Adapter.lookup_meta(TestRepo) do
      %{pid: ^pool} -> Process.sleep(5) && await_other(pool)
      %{pid: _other} -> :ok
    end
  rescue
    # The Repo's supervisor is being restarted.
    _none in [ArgumentError, RuntimeError] -> Process.sleep(5) && await_other(pool)
  end

  @ways [
    query: quote(do: TestRepo.query!("INSERT INTO t VALUES (2)")),
    query_many: quote(do: TestRepo.query_many!("INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)")),
    insert_all: quote(do: TestRepo.insert_all("t", [%{x: 2}])),
    update_all: quote(do: TestRepo.update_all("t", set: [x: 2])),
    transaction: quote(do: TestRepo.transaction(fn -> TestRepo.query!("INSERT INTO t VALUES (2)") end)),
    checkout: quote(do: TestRepo.checkout(fn -> TestRepo.query!("INSERT INTO t VALUES (2)") end)),
    read: quote(do: TestRepo.all(from(t in "t", select: t.x)))
  ]

  for {around, name} <- [transaction: "transaction", checkout: "checkout"], {way, call} <- @ways do
    test "inside a #{name} whose pool has ended, #{way} runs nothing on the pool after it" do
      error =
        assert_raise DBConnection.ConnectionError, fn ->
          TestRepo.unquote(around)(fn ->
            TestRepo.query!("CREATE TEMP TABLE inside (x)")
            replace_pool()
            unquote(call)
          end)
        end

      assert error.reason == :sidecar_down
      assert error.message =~ "the pool of EctoLibSql.TestRepo has ended"
      assert TestRepo.query!("SELECT x FROM t").rows == []
    end
  end

  test "nothing is left of it after the transaction" do
    TestRepo.checkout(fn ->
      {:error, _} = TestRepo.transaction(fn -> TestRepo.rollback(:no) end)
    end)

    {:ok, _} = TestRepo.transaction(fn -> TestRepo.query!("INSERT INTO t VALUES (1)") end)
    assert Process.get(Ecto.Adapters.LibSql.EndedPool) == nil
    replace_pool()
    assert TestRepo.query!("SELECT x FROM t").rows == [[1]]
  end

  test "another Repo's pool has nothing to do with it", %{path: path} do
    defmodule Other do
      use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
    end

    start_supervised!({Other, database: path <> "-other", pool_size: 1, log: false})
    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: path <> "-other") end)

    assert_raise DBConnection.ConnectionError, fn ->
      TestRepo.transaction(fn ->
        replace_pool()
        assert Other.query!("SELECT 1").rows == [[1]]
        assert {:ok, 2} = Other.transaction(fn -> 2 end)
        TestRepo.query!("INSERT INTO t VALUES (2)")
      end)
    end
  end
end
