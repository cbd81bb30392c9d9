defmodule EctoLibSql.RetryTest do
  # What is repeated, how often, and when not.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Error, Retry}

  defp retry(options \\ []) do
    {:ok, retry} = Retry.of_option(Keyword.merge([base: 1, max: 1], options))
    retry
  end

  # Fails with these errors, one after the other, and then returns :done. Answers how often it was called.
  defp failing(errors) do
    {:ok, agent} = Agent.start_link(fn -> {errors, 0} end)

    fun = fn ->
      Agent.get_and_update(agent, fn
        {[error | rest], calls} -> {{:error, error}, {rest, calls + 1}}
        {[], calls} -> {{:ok, :query, :done}, {[], calls + 1}}
      end)
    end

    {fun, fn -> Agent.get(agent, &elem(&1, 1)) end}
  end

  defp error(code), do: %Error{code: code, message: "no"}

  test "a statement that took no effect is sent again" do
    for code <- [:busy, :remote_unavailable] do
      {fun, calls} = failing([error(code), error(code)])
      retry = retry()
      assert Retry.statement(retry, [], fun) == {:ok, :query, :done}
      assert calls.() == 3
      assert Retry.counts(retry) == %{retried: 2, given_up: 0}
    end
  end

  test "one that may have taken effect, or would fail again, is not" do
    lost = %DBConnection.ConnectionError{message: "no", reason: :outcome_unknown}

    for error <- [
          lost
          | Enum.map([:outcome_unknown, :timeout, :sql_error, :constraint_unique, :unauthorized], &error/1)
        ] do
      {fun, calls} = failing([error])
      assert Retry.statement(retry(), [], fun) == {:error, error}
      assert calls.() == 1
    end
  end

  test "nothing is repeated inside of a transaction or a checkout, nor are several statements" do
    query = EctoLibSql.prepare("SELECT 1")
    assert Retry.of_call(struct(DBConnection), query, retry: retry()) == nil
    assert %Retry{} = Retry.of_call(self(), query, retry: retry())
    assert Retry.of_call(self(), query, retry: false) == nil
    assert Retry.of_call(self(), query, []) == nil
    # What a call says comes before what its Repo says.
    assert Retry.of_call(self(), query, retry: false, retry: retry(), retries: retry()) == nil
    assert Retry.of_call(self(), %{query | operation: :script}, retry: retry()) == nil
  end

  describe "a pool that is no Repo's" do
    @describetag :tmp_dir

    # A file that a foreign writer has, and the writer.
    defp held(directory) do
      path = Path.join(directory, "app.db")
      {:ok, conn} = LibsqlPort.connect(start_supervised!({LibsqlPort, []}), database: path, busy_timeout: 0)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")
      LibsqlPort.query!(conn, "BEGIN IMMEDIATE")
      {path, conn}
    end

    test "repeats single statements if it is told to", %{tmp_dir: directory} do
      {path, writer} = held(directory)
      options = [database: path, pool_size: 1, busy_timeout: 0, lock_timeout: 0]
      db = start_supervised!({EctoLibSql, [retry: [base: 1]] ++ options})
      insert = &EctoLibSql.query(&1, "INSERT INTO t VALUES (1)", [], &2)
      assert {:error, %Error{code: :busy}} = insert.(db, retry: false)
      assert {:error, %Error{code: :busy}} = EctoLibSql.checkout(db, &insert.(&1, []))
      # The first pause is the sign that it has failed once: then the file is given back.
      id = {__MODULE__, self()}

      give_back = fn _event, _times, _about, test ->
        if self() == test, do: LibsqlPort.query!(writer, "ROLLBACK")
      end

      :ok = :telemetry.attach(id, [:ecto_libsql_port, :retry], give_back, self())
      assert {:ok, %{num_rows: 1}} = insert.(db, [])
      :telemetry.detach(id)
    end

    test "repeats no text of several statements, of which the first have run", %{tmp_dir: directory} do
      {path, writer} = held(directory)
      LibsqlPort.query!(writer, "ROLLBACK")
      once = :atomics.new(1, [])

      # The writer comes between the statements, once.
      hold = fn ->
        if :atomics.add_get(once, 1, 1) == 1, do: LibsqlPort.query!(writer, "BEGIN IMMEDIATE")
        nil
      end

      options = [database: path, pool_size: 1, busy_timeout: 0, lock_timeout: 0, retry: [base: 1]]
      db = start_supervised!({EctoLibSql, [functions: [{:scalar, "hold", 0, hold, []}]] ++ options})
      # Before a repetition it would go.
      id = {__MODULE__, self()}

      give_back = fn _event, _times, _about, test ->
        if self() == test, do: LibsqlPort.query!(writer, "ROLLBACK")
      end

      :ok = :telemetry.attach(id, [:ecto_libsql_port, :retry], give_back, self())
      text = "INSERT INTO t VALUES (1); SELECT hold(); INSERT INTO t VALUES (2)"
      answer = EctoLibSql.query_many(db, text)
      :telemetry.detach(id)
      assert {:error, %Error{code: :busy}} = answer
      LibsqlPort.query!(writer, "ROLLBACK")
      assert EctoLibSql.query!(db, "SELECT x FROM t").rows == [[1]]
    end

    test "repeats none otherwise, nor transactions if it is told not to", %{tmp_dir: directory} do
      {path, _writer} = held(directory)
      options = [database: path, pool_size: 1, busy_timeout: 0, lock_timeout: 0]

      for {more, again?} <- [{[], true}, {[retry: false], false}] do
        db = start_supervised!({EctoLibSql, more ++ options}, id: :pool)
        assert {:error, %Error{code: :busy}} = EctoLibSql.query(db, "INSERT INTO t VALUES (1)")
        {fun, calls} = failing([error(:transaction_lost)])
        run = fn _conn -> with {:error, error} <- fun.(), do: raise(error) end
        transact = fn -> EctoLibSql.transaction_with_retry(db, run, mode: :read_only) end
        if again?, do: assert({:ok, _} = transact.()), else: assert_raise(Error, transact)
        assert calls.() == if(again?, do: 2, else: 1)
        stop_supervised!(:pool)
      end
    end
  end

  test "attempts have an end" do
    {fun, calls} = failing(List.duplicate(error(:busy), 9))
    assert Retry.statement(retry(attempts: 3), [], fun) == {:error, error(:busy)}
    assert calls.() == 3
  end

  test "nothing is repeated once the time is up" do
    {fun, calls} = failing([error(:busy)])
    overdue = System.monotonic_time(:millisecond)
    assert Retry.statement(retry(), [deadline: overdue], fun) == {:error, error(:busy)}
    assert calls.() == 1
  end

  test "the budget bounds what is added to the load" do
    retry = retry(attempts: 2)

    answers =
      for _ <- 1..1_000 do
        {fun, calls} = failing(List.duplicate(error(:busy), 2))
        _ = Retry.statement(retry, [], fun)
        calls.()
      end

    # Ten to begin with, and a tenth of the calls.
    assert (Enum.sum(answers) - 1_000) in 100..110
    assert Retry.counts(retry).given_up > 800
  end

  test "a transaction is run again, whether its failure is raised or returned" do
    {fun, calls} = failing([error(:transaction_lost), error(:remote_unavailable)])
    assert Retry.transaction(retry(), [], fun) == {:ok, :query, :done}
    assert calls.() == 3

    {fun, calls} =
      failing([error(:transaction_lost), %DBConnection.ConnectionError{message: "", reason: :sidecar_down}])

    raising = fn -> with {:error, error} <- fun.(), do: raise(error) end
    assert Retry.transaction(retry(), [], raising) == {:ok, :query, :done}
    assert calls.() == 3

    {fun, calls} = failing([error(:constraint_unique)])
    raising = fn -> with {:error, error} <- fun.(), do: raise(error) end
    assert_raise Error, fn -> Retry.transaction(retry(), [], raising) end
    assert calls.() == 1
  end

  test "each repetition is an event" do
    id = {__MODULE__, self()}
    test = self()
    tell = fn _event, times, about, _config -> if self() == test, do: send(test, {:retry, times, about}) end
    :ok = :telemetry.attach(id, [:ecto_libsql_port, :retry], tell, nil)
    {fun, _calls} = failing([error(:busy)])
    _ = Retry.statement(retry(), [], fun)
    :telemetry.detach(id)
    assert_received {:retry, %{attempt: 1, wait_ms: 1}, %{error: %Error{code: :busy}}}
  end

  describe "transaction_with_retry/3" do
    setup do
      db = start_supervised!({EctoLibSql, database: ":memory:", pool_size: 2})
      EctoLibSql.query!(db, "CREATE TABLE t (x)")
      {:ok, db: db}
    end

    test "runs the function again, in a new transaction", %{db: db} do
      {fun, calls} = failing([error(:transaction_lost)])

      result =
        EctoLibSql.transaction_with_retry(
          db,
          fn conn ->
            EctoLibSql.query!(conn, "INSERT INTO t VALUES (1)")
            with {:error, error} <- fun.(), do: raise(error)
          end,
          retry: [base: 1]
        )

      assert result == {:ok, {:ok, :query, :done}}
      assert calls.() == 2
      assert EctoLibSql.query!(db, "SELECT count(*) FROM t").rows == [[1]]
    end

    test "runs it once with retry: false, and inside of a transaction", %{db: db} do
      {fun, calls} = failing([error(:transaction_lost), error(:transaction_lost)])
      run = fn _conn -> with {:error, error} <- fun.(), do: raise(error) end
      assert_raise Error, fn -> EctoLibSql.transaction_with_retry(db, run, retry: false) end
      assert calls.() == 1

      assert_raise Error, fn ->
        EctoLibSql.transaction(db, fn conn -> EctoLibSql.transaction_with_retry(conn, run) end)
      end

      assert calls.() == 2
    end

    test "ends with the time of the whole", %{db: db} do
      {fun, calls} = failing(List.duplicate(error(:busy), 1_000))
      run = fn _conn -> with {:error, error} <- fun.(), do: raise(error) end
      # Longer pauses than there is time.
      options = [timeout: 1_000, retry: [attempts: 1_000, base: 1_000_000, max: 1_000_000]]
      assert_raise Error, fn -> EctoLibSql.transaction_with_retry(db, run, options) end
      assert calls.() <= 3
    end

    test "runs it once inside of a Repo's checkout" do
      start_supervised!(
        {EctoLibSql.TestRepo,
         database: ":memory:", pool_size: 1, pool: DBConnection.ConnectionPool, name: :retries}
      )

      EctoLibSql.TestRepo.put_dynamic_repo(:retries)
      {fun, calls} = failing(List.duplicate(error(:busy), 9))
      run = fn -> with {:error, error} <- fun.(), do: raise(error) end

      again = fn ->
        EctoLibSql.transaction_with_retry(EctoLibSql.TestRepo, run, retry: [attempts: 2, base: 1])
      end

      assert_raise Error, ~r/busy/, again
      assert calls.() == 2
      assert_raise Error, ~r/busy/, fn -> EctoLibSql.TestRepo.checkout(again) end
      assert calls.() == 3
    end

    test "says what its options take, inside of a transaction too", %{db: db} do
      retry = fn conn -> EctoLibSql.transaction_with_retry(conn, & &1, retry: 3) end
      assert_raise Error, ~r/:attempts/, fn -> retry.(db) end
      assert_raise Error, ~r/:attempts/, fn -> EctoLibSql.transaction(db, retry) end

      assert_raise Error, ~r/:timeout takes/, fn ->
        EctoLibSql.transaction_with_retry(db, & &1, timeout: "1")
      end
    end
  end
end
