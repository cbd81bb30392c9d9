defmodule EctoLibSql.DeadlineTest do
  # A call has one deadline, whatever of its time goes to the pool's queue, and passing it is `:timeout`.
  use EctoLibSql.RepoCase

  @moduletag repo: [pool_size: 1, queue_target: 60_000, queue_interval: 60_000]
  @endless "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"

  # Runs a function while another process holds the pool's only connection until `free?` is true.
  defp queued(free?, fun) do
    test = self()

    holder =
      Task.async(fn ->
        TestRepo.checkout(fn ->
          send(test, :held)
          wait_until(free?)
        end)
      end)

    assert_receive :held, 10_000
    result = fun.()
    Task.await(holder, 30_000)
    result
  end

  defp wait_until(condition), do: unless(condition.(), do: wait_until(condition))

  defp now, do: System.monotonic_time(:millisecond)

  defp past(time), do: fn -> now() > time end

  test "a part of the time is spent in the queue" do
    start = now()

    assert {:error, %EctoLibSql.Error{code: :timeout}} =
             queued(past(start + 200), fn -> TestRepo.query(@endless, [], timeout: 1_000) end)

    assert %{rows: [[1]]} = TestRepo.query!("SELECT 1")
  end

  test "all of the time is spent in the queue, and nothing runs" do
    TestRepo.query!("CREATE TABLE t (x)")
    start = now()

    assert {:error, %EctoLibSql.Error{code: :timeout}} =
             queued(past(start + 300), fn -> TestRepo.query("INSERT INTO t VALUES (1)", [], timeout: 100) end)

    assert TestRepo.query!("SELECT count(*) FROM t").rows == [[0]]
  end

  test "an absolute deadline passes in the queue, alone or beside a longer timeout, and nothing runs" do
    TestRepo.query!("CREATE TABLE t (x)")

    for timeout <- [:infinity, 60_000] do
      start = now()

      insert = fn ->
        TestRepo.query("INSERT INTO t VALUES (1)", [], deadline: start + 100, timeout: timeout)
      end

      assert {:error, %EctoLibSql.Error{code: :timeout}} = queued(past(start + 300), insert)
    end

    assert TestRepo.query!("SELECT count(*) FROM t").rows == [[0]]
  end

  test "an absolute deadline" do
    assert {:error, %EctoLibSql.Error{code: :timeout}} =
             TestRepo.query(@endless, [], deadline: now() + 200, timeout: :infinity)

    assert {:error, %EctoLibSql.Error{code: :timeout}} = TestRepo.query("SELECT 1", [], deadline: now() - 1)
    assert %{rows: [[1]]} = TestRepo.query!("SELECT 1")
  end

  test "a statement ends with the time of its transaction" do
    TestRepo.transaction(
      fn ->
        assert {:error, %EctoLibSql.Error{code: :timeout}} = TestRepo.query(@endless, [], timeout: :infinity)
      end,
      timeout: 400,
      mode: :deferred
    )
  end

  test "a statement ends with the time of its checkout" do
    assert {:error, %EctoLibSql.Error{code: :timeout}} =
             TestRepo.checkout(fn -> TestRepo.query(@endless, [], timeout: :infinity) end, timeout: 400)
  end

  test "a stream ends with the time of its transaction" do
    error =
      assert_raise EctoLibSql.Error, fn ->
        TestRepo.transaction(
          fn -> TestRepo |> Ecto.Adapters.SQL.stream(@endless, [], timeout: :infinity) |> Enum.to_list() end,
          timeout: 400
        )
      end

    assert error.code == :timeout
  end

  test "no time at all is none" do
    assert {:ok, %{rows: [[1]]}} = TestRepo.query("SELECT 1", [], timeout: :infinity)
  end

  describe "a call that finds no free connection" do
    setup do
      {:ok, db} =
        EctoLibSql.start_link(database: ":memory:", pool_size: 1, queue_target: 1, queue_interval: 1)

      test = self()
      spawn_link(fn -> hold(db, test) end)
      assert_receive :held, 10_000
      {:ok, db: db}
    end

    # The pool may drop this one too, while it opens its connection.
    defp hold(db, test) do
      held = fn _conn ->
        send(test, :held)
        Process.sleep(:infinity)
      end

      try do
        EctoLibSql.checkout(db, held, timeout: :infinity)
      rescue
        DBConnection.ConnectionError -> hold(db, test)
      end
    end

    test "is dropped from the queue, with DBConnection's reason and its advice", %{db: db} do
      for call <- [
            fn -> EctoLibSql.query(db, "SELECT 1") end,
            fn -> {:error, catch_error(EctoLibSql.transaction(db, fn _conn -> :ran end))} end,
            fn -> {:error, catch_error(EctoLibSql.checkout(db, fn _conn -> :ran end))} end
          ] do
        assert {:error, %DBConnection.ConnectionError{reason: :queue_timeout, message: message}} = call.()
        assert message =~ "connection not available" and message =~ "pool_size"
      end
    end

    test "is refused at once with queue: false", %{db: db} do
      assert {:error, %DBConnection.ConnectionError{reason: :error, message: message}} =
               EctoLibSql.query(db, "SELECT 1", [], queue: false)

      assert message =~ "queuing is disabled"
    end
  end
end
