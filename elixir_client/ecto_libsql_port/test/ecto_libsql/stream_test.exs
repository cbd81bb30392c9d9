defmodule EctoLibSql.StreamTest do
  # A stream gives each row once, as it was before the transaction wrote to it.
  use EctoLibSql.RepoCase

  alias Ecto.Adapters.SQL

  @rows 200

  setup do
    script("""
    CREATE TABLE jobs (id INTEGER PRIMARY KEY, prio INTEGER, note TEXT);
    CREATE INDEX jobs_prio ON jobs (prio);
    CREATE TABLE log (id INTEGER);
    CREATE TRIGGER moved AFTER INSERT ON log BEGIN UPDATE jobs SET prio = prio + 1000 WHERE id = new.id; END;
    """)

    TestRepo.insert_all("jobs", for(i <- 1..@rows, do: %{id: i, prio: i, note: "n"}))
    :ok
  end

  # Runs `write` with each row of a stream; what the stream gave. It is cut where it would not end.
  defp seen(write, options \\ []) do
    query = from(j in "jobs", where: j.prio > 0, order_by: j.prio, select: {j.id, j.prio})

    {:ok, seen} =
      TestRepo.transaction(fn ->
        query
        |> TestRepo.stream([max_rows: 10] ++ options)
        |> Stream.take(5 * @rows)
        |> Enum.map(fn {id, prio} ->
          write.(id)
          {id, prio}
        end)
      end)

    seen
  end

  @all for i <- 1..@rows, do: {i, i}

  for {how, write} <- %{
        "an update" =>
          quote(do: &TestRepo.update_all(from(j in "jobs", where: j.id == ^&1), inc: [prio: 1000])),
        "a delete of later rows" => quote(do: &TestRepo.query!("DELETE FROM jobs WHERE id > ?", [&1])),
        "an insert" => quote(do: &TestRepo.insert_all("jobs", [[prio: &1 + 1000]])),
        "a trigger" => quote(do: &TestRepo.insert_all("log", [[id: &1]])),
        "a text of statements" =>
          quote(do: &TestRepo.query_many!("SELECT 1; UPDATE jobs SET prio = prio + 1000 WHERE id = #{&1}")),
        "a statement with RETURNING" =>
          quote(do: &TestRepo.query!("UPDATE jobs SET prio = prio + 1000 WHERE id = ? RETURNING id", [&1])),
        "a nested transaction" =>
          quote(
            do: fn id ->
              TestRepo.transaction(fn -> TestRepo.query!("DELETE FROM jobs WHERE id = ?", [id + 1]) end)
            end
          ),
        "another stream" =>
          quote(
            do: fn id ->
              TestRepo
              |> SQL.stream("UPDATE jobs SET prio = prio + 1000 WHERE id = ? RETURNING id", [id])
              |> Stream.run()
            end
          ),
        "reads alone" => quote(do: &TestRepo.query!("SELECT * FROM jobs WHERE id = ?", [&1]))
      } do
    test "beside #{how}" do
      assert seen(unquote(write)) == @all
    end
  end

  test "beside a savepoint that is rolled back" do
    write = fn id ->
      TestRepo.query!("SAVEPOINT s")
      TestRepo.query!("UPDATE jobs SET prio = prio + 1000 WHERE id = ?", [id])
      TestRepo.query!("ROLLBACK TO s")
      TestRepo.query!("RELEASE s")
    end

    assert seen(write) == @all
  end

  test "two streams at once" do
    inner = fn id ->
      if rem(id, 50) == 0,
        do: assert(length(seen(fn id -> TestRepo.insert_all("log", [[id: id]]) end)) == @rows)
    end

    assert seen(inner) == @all
  end

  test "a live one reads on beside what is written" do
    write = &TestRepo.update_all(from(j in "jobs", where: j.id == ^&1), inc: [prio: 1000])
    assert length(seen(write, stream: :live)) > @rows
  end

  test "what is no such option is told" do
    error = assert_raise EctoLibSql.Error, fn -> seen(fn _ -> :ok end, stream: :lively) end
    assert error.code == :invalid_option
  end

  # More than stays in memory.
  test "rows of many bytes" do
    text = String.duplicate("x", 40_000)
    TestRepo.query!("UPDATE jobs SET note = id || ?", [text])

    {:ok, notes} =
      TestRepo.transaction(fn ->
        from(j in "jobs", order_by: j.id, select: {j.id, j.note})
        |> TestRepo.stream(max_rows: 3)
        |> Enum.map(fn {id, note} ->
          TestRepo.query!("UPDATE jobs SET note = NULL WHERE id >= ?", [id])
          {id, note}
        end)
      end)

    assert notes == for(i <- 1..@rows, do: {i, "#{i}" <> text})
  end

  test "the writing statement waits for the rows no longer than its timeout" do
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"

    TestRepo.transaction(fn ->
      assert_raise EctoLibSql.Error, fn ->
        TestRepo
        |> SQL.stream(endless, [], max_rows: 1)
        |> Enum.each(fn _ ->
          assert {:error, %{code: :timeout}} = TestRepo.query("DELETE FROM jobs", [], timeout: 300)
        end)
      end

      # Nothing of it has run, and the transaction is as it was.
      assert TestRepo.aggregate("jobs", :count) == @rows
    end)
  end

  # --- chunks that are read ahead -------------------------------------------------------------------------------

  @endless "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"

  test "nothing of them comes to the mailbox of the loop, and all rows are there" do
    for read_ahead <- [true, false], max_rows <- [1, 7, 199, 200, 201] do
      {:ok, ids} =
        TestRepo.transaction(fn ->
          from(j in "jobs", order_by: j.id, select: j.id)
          |> TestRepo.stream(max_rows: max_rows, read_ahead: read_ahead)
          |> Enum.map(fn id ->
            refute_received _anything
            id
          end)
        end)

      assert ids == Enum.to_list(1..@rows)
      refute_received _anything
    end
  end

  test "a loop that ends early waits for none" do
    # The third chunk never comes.
    script(
      "CREATE VIEW slow AS SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT count(*) FROM (#{@endless})"
    )

    slow = from(s in "slow", select: s.n)

    {:ok, taken} =
      TestRepo.transaction(fn ->
        taken = slow |> TestRepo.stream(max_rows: 1, timeout: :infinity) |> Enum.take(2)
        assert %{rows: [[1]]} = TestRepo.query!("SELECT 1")
        taken
      end)

    assert taken == [1, 2]
  end

  test "an exception in the loop ends it, and the transaction with it" do
    assert_raise RuntimeError, "enough", fn ->
      TestRepo.transaction(fn ->
        TestRepo.insert_all("jobs", [[prio: 1]])

        from(j in "jobs", select: j.id)
        |> TestRepo.stream(max_rows: 5)
        |> Enum.each(fn id -> if id == 12, do: raise("enough") end)
      end)
    end

    assert TestRepo.aggregate("jobs", :count) == @rows
    refute_received _anything
  end

  test "a rollback in the loop" do
    assert {:error, :enough} =
             TestRepo.transaction(fn ->
               from(j in "jobs", select: j.id)
               |> TestRepo.stream(max_rows: 5)
               |> Enum.each(fn id -> if id == 12, do: TestRepo.rollback(:enough) end)
             end)

    assert TestRepo.aggregate("jobs", :count) == @rows
    refute_received _anything
  end

  # What was read ahead stays in the driver's table of requests until somebody takes it.
  defp kept do
    {_sidecar, conn} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(TestRepo))
    :ets.match(conn.handle.table, {{:kept, :"$1"}, :_, :_})
  end

  # Of a Repo with one connection.
  defp cursors do
    {_sidecar, conn} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{cursors: cursors}} = LibsqlPort.status(conn)
    cursors
  end

  defp suspended(stream, rows) do
    {:suspended, ^rows, continue} =
      Enumerable.reduce(stream, {:cont, 0}, fn
        _row, seen when seen + 1 == rows -> {:suspend, rows}
        _row, seen -> {:cont, seen + 1}
      end)

    continue
  end

  @tag repo: [pool_size: 1]
  test "a stream that is suspended and forgotten keeps nothing open, and its transaction waits for nothing" do
    # The third chunk never comes.
    endless = "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT count(*) FROM (#{@endless})"
    # The fifth one has come.
    jobs = from(j in "jobs", select: j.id)

    for finish <- [& &1, &TestRepo.rollback/1] do
      TestRepo.transaction(
        fn ->
          TestRepo.insert_all("log", [[id: 0]])
          suspended(TestRepo.stream(jobs, max_rows: 5), 20)
          suspended(TestRepo.stream(jobs, max_rows: 5, read_ahead: false), 20)
          suspended(SQL.stream(TestRepo, endless, [], max_rows: 1, timeout: :infinity), 2)
          suspended(SQL.stream(TestRepo, endless, [], max_rows: 1, read_ahead: true, timeout: :infinity), 2)
          finish.(:done)
        end,
        timeout: :infinity
      )

      assert kept() == []
      assert cursors() == 0
    end

    assert TestRepo.aggregate("log", :count) == 1
  end

  test "nothing is kept for processes that are killed in their loops" do
    for after_rows <- 1..30 do
      {loop, monitor} =
        spawn_monitor(fn ->
          TestRepo.transaction(fn ->
            from(j in "jobs", select: j.id)
            |> TestRepo.stream(max_rows: 3)
            |> Stream.with_index(1)
            |> Enum.each(fn {_id, row} ->
              if row == after_rows, do: spawn_link(fn -> exit(:enough) end)
            end)
          end)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^loop, _reason}, 60_000
    end

    # The pool closes their connections after they have ended.
    EctoLibSql.LaneCase.wait_until(fn -> kept() == [] end)
  end

  test "an error of a chunk comes where its rows would" do
    script(
      "CREATE VIEW failing AS SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT abs(-9223372036854775808)"
    )

    failing = from(f in "failing", select: f.n)

    TestRepo.transaction(fn ->
      seen = self()

      assert_raise EctoLibSql.Error, ~r/overflow/, fn ->
        failing |> TestRepo.stream(max_rows: 1) |> Enum.each(&send(seen, &1))
      end

      assert_received 1
      assert_received 2
      assert %{rows: [[1]]} = TestRepo.query!("SELECT 1")
    end)
  end
end
