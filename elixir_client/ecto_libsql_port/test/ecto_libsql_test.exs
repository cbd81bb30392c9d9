defmodule EctoLibSqlTest do
  use EctoLibSql.RepoCase

  doctest EctoLibSql

  @endless "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"

  setup do
    script("CREATE TABLE t (x INTEGER PRIMARY KEY, y)")
    :ok
  end

  defp count, do: TestRepo.query!("SELECT count(*) FROM t").rows |> hd() |> hd()

  @tag repo: [pool_size: 1]
  test "a query that takes too long is stopped, and its connection used again" do
    assert {:error, %EctoLibSql.Error{code: :timeout}} = TestRepo.query(@endless, [], timeout: 200)
    assert %{rows: [[1]]} = TestRepo.query!("SELECT 1")
    assert TestRepo.checkout(fn -> TestRepo.query!("SELECT 1") end).rows == [[1]]
  end

  @tag repo: [pool_size: 1]
  test "a caller that ends takes its query along" do
    caller = spawn(fn -> TestRepo.query(@endless, [], timeout: :infinity) end)
    # One connection: this waits until it is free, thus until the endless query has ended.
    Process.exit(caller, :kill)
    assert %{rows: [[1]]} = TestRepo.query!("SELECT 1", [], timeout: 10_000)
  end

  test "a transaction that the engine has rolled back lets nothing through" do
    endless =
      "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n + 10, n FROM c"

    result =
      TestRepo.transaction(fn ->
        TestRepo.query!("INSERT INTO t VALUES (1, 1)")
        assert {:error, %{code: :timeout}} = TestRepo.query(endless, [], timeout: 100)
        TestRepo.query("INSERT INTO t VALUES (2, 2)")
      end)

    # An interrupted write undoes the whole transaction in SQLite.
    assert result == {:error, :rollback}
    assert count() == 0
    assert {:ok, _} = TestRepo.query("INSERT INTO t VALUES (3, 3)")
  end

  test "transactions wait for their turn to write, so none fails in its middle" do
    1..20
    |> Enum.map(fn i ->
      Task.async(fn ->
        TestRepo.transaction(fn ->
          n = count()
          TestRepo.query!("INSERT INTO t VALUES (?, ?)", [i, n])
        end)
      end)
    end)
    |> Task.await_many(30_000)

    assert TestRepo.query!("SELECT y FROM t ORDER BY y").rows == Enum.map(0..19, &[&1])
  end

  test "modes of transactions" do
    assert {:ok, {:error, %{code: :read_only}}} =
             TestRepo.transaction(fn -> TestRepo.query("INSERT INTO t VALUES (1, 1)") end, mode: :read_only)

    # Two deferred ones read beside a writer.
    TestRepo.transaction(fn ->
      TestRepo.query!("INSERT INTO t VALUES (1, 1)")
      read = Task.async(fn -> TestRepo.transaction(fn -> count() end, mode: :deferred) end)
      assert Task.await(read) == {:ok, 0}
    end)

    assert_raise ArgumentError, ~r/:deferred, :immediate/, fn ->
      TestRepo.transaction(fn -> :ok end, mode: :fast)
    end
  end

  test "a stream of a pool says that it needs a transaction" do
    {:ok, db} = EctoLibSql.start_link(database: ":memory:", pool_size: 1)
    error = assert_raise ArgumentError, fn -> EctoLibSql.stream(db, "SELECT 1") end
    assert error.message =~ "a stream needs a transaction"
  end

  test "a stream gives rows as they are fetched" do
    TestRepo.query!(
      "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 10000) SELECT n, n FROM c"
    )

    assert {:ok, 50_005_000} =
             TestRepo.transaction(fn ->
               from(t in "t", select: t.y) |> TestRepo.stream(max_rows: 100) |> Enum.sum()
             end)

    assert {:ok, [1, 2, 3]} =
             TestRepo.transaction(fn ->
               from(t in "t", order_by: t.x, select: t.y) |> TestRepo.stream() |> Enum.take(3)
             end)

    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    assert {:ok, %{cursors: 0}} = LibsqlPort.status(sidecar)
  end

  # The page cache is small, so that what grows would be the stream's.
  @tag timeout: 180_000, repo: [pool_size: 3, cache_size: -2_000]
  test "a million rows are streamed in little memory" do
    TestRepo.query!(
      "INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000) " <>
        "SELECT n, 'row ' || n FROM c",
      [],
      timeout: 120_000
    )

    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{rss: before}} = LibsqlPort.status(sidecar)

    {:ok, {sum, rows, own, theirs}} =
      TestRepo.transaction(
        fn ->
          from(t in "t", select: {t.x, t.y})
          |> TestRepo.stream(max_rows: 1_000)
          |> Enum.reduce({0, 0, 0, 0}, fn {x, _}, {sum, rows, own, theirs} ->
            {own, theirs} = if rem(x, 10_000) == 0, do: most(sidecar, own, theirs), else: {own, theirs}
            {sum + x, rows + 1, own, theirs}
          end)
        end,
        timeout: 120_000
      )

    assert {rows, sum} == {1_000_000, 500_000_500_000}

    # All rows at once would be more than 100 MB here; there, where the table alone has 20 MB, at least as much as that.
    assert own < 16 * 1024 * 1024
    if before, do: assert(theirs - before < 8 * 1024 * 1024)
  end

  defp most(sidecar, own, theirs) do
    {:memory, memory} = Process.info(self(), :memory)
    {:ok, %{rss: rss}} = LibsqlPort.status(sidecar)
    {max(own, memory), max(theirs, rss || 0)}
  end

  test "200 processes on a pool of three" do
    1..200
    |> Enum.map(fn i ->
      Task.async(fn -> for j <- 1..10, do: TestRepo.query!("SELECT ?", [i * j], timeout: 60_000).rows end)
    end)
    |> Task.await_many(60_000)
    |> Enum.with_index(1)
    |> Enum.each(fn {rows, i} -> assert rows == for(j <- 1..10, do: [[i * j]]) end)
  end

  test "a sidecar that is killed: its callers have an error, the next ones an answer" do
    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    endless = Task.async(fn -> TestRepo.query(@endless, [], timeout: :infinity) end)
    wait_until(fn -> match?({:ok, %{requests: n}} when n > 3, LibsqlPort.status(sidecar)) end)
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    assert {:error, %DBConnection.ConnectionError{}} = Task.await(endless, 10_000)
    wait_until(fn -> match?({:ok, _}, TestRepo.query("SELECT 1")) end)
    assert count() == 0
  end

  @tag repo: [pool_size: 3]
  test "connections of a sidecar that is gone are replaced as they are used, and what was never sent is sent once" do
    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    before = count()

    # Each connection of the pool is taken, so that all of them are of the sidecar that is gone.
    TestRepo.checkout(fn ->
      Task.await(
        Task.async(fn ->
          TestRepo.checkout(fn ->
            Task.await(
              Task.async(fn -> TestRepo.checkout(fn -> kill_and_await_next(sidecar, os_pid) end) end)
            )
          end)
        end)
      )
    end)

    writes = for n <- 1..6, do: Task.async(fn -> TestRepo.query("INSERT INTO t (y) VALUES (?)", [n]) end)
    assert Enum.all?(Task.await_many(writes, 30_000), &match?({:ok, _}, &1))
    assert count() == before + 6
    assert {:ok, :ok} = TestRepo.transaction(fn -> :ok end)
  end

  defp kill_and_await_next(sidecar, os_pid) do
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])

    wait_until(fn ->
      case LibsqlPort.status(sidecar) do
        {:ok, %{os_pid: next}} -> next != os_pid
        {:error, _} -> false
      end
    end)
  end

  defp wait_until(fun, left \\ 200) do
    unless fun.() do
      if left == 0, do: flunk("it did not happen")
      receive do: (:never -> :ok), after: (50 -> wait_until(fun, left - 1))
    end
  end

  @tag repo: [show_statement: false]
  test "errors say where, unless told not to" do
    assert {:error, error} = TestRepo.query("SELECT nothing")
    refute Exception.message(error) =~ "SELECT"
  end

  test "errors show the statement and the place" do
    assert {:error, error} = TestRepo.query("SELECT 1 FROMM t")
    assert Exception.message(error) =~ "SELECT 1 FROMM t\n"
    assert Exception.message(error) =~ ~r/\n +\^\z/
  end

  @tag repo: [database: ":memory:"]
  test "the connections of a pool share a database in memory" do
    TestRepo.transaction(fn -> TestRepo.query!("INSERT INTO t VALUES (1, 1)") end)
    TestRepo.disconnect_all(0)
    assert 1..6 |> Enum.map(fn _ -> Task.async(&count/0) end) |> Task.await_many() |> Enum.uniq() == [1]
  end

  test "a Repo takes its sidecar along" do
    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    monitor = Process.monitor(sidecar)
    :ok = stop_supervised(TestRepo)
    assert_receive {:DOWN, ^monitor, :process, _, _}, 5_000
  end

  test "a Repo's sidecar has the Repo's name, also of the next one that starts at once", %{config: config} do
    for _ <- 1..5 do
      assert {:ok, %{connections: _}} = LibsqlPort.status(TestRepo.Sidecar)
      first = Process.whereis(TestRepo.Sidecar)
      :ok = stop_supervised(TestRepo)
      start_supervised!({TestRepo, config})
      assert Process.whereis(TestRepo.Sidecar) not in [first, nil]
    end
  end

  test "pool metrics" do
    assert [%{ready_conn_count: _} | _] =
             DBConnection.get_connection_metrics(Ecto.Adapter.lookup_meta(TestRepo).pid)
  end
end
