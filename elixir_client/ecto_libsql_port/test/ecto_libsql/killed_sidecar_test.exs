defmodule EctoLibSql.KilledSidecarTest do
  use EctoLibSql.RepoCase

  # More writers than connections, so that some wait for one when the sidecar dies.
  @writers 8
  @kills 3
  @before_and_after 100

  @moduletag timeout: 180_000
  @moduletag repo: [pool_size: 3, backoff_min: 10, backoff_max: 100]

  setup do
    script("CREATE TABLE written (key INTEGER PRIMARY KEY, pair INTEGER)")
    :ok
  end

  test "a sidecar killed under load loses no acknowledged write, repeats none, and is replaced" do
    test = self()
    writers = for w <- 1..@writers, do: Task.async(fn -> write(test, w, 0, []) end)

    for _ <- 1..@kills do
      acknowledged(@before_and_after)
      os_pid = os_pid()
      {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])

      # Each writer may have one answer under way from before the kill; those that follow are the next sidecar's.
      forget_acknowledged()
      acknowledged(@before_and_after)
      assert os_pid() != os_pid
    end

    for writer <- writers, do: send(writer.pid, :stop)
    outcomes = writers |> Task.await_many(60_000) |> Enum.concat()
    keys = fn outcome -> for {key, ^outcome} <- outcomes, into: MapSet.new(), do: key end
    %{rows: rows} = TestRepo.query!("SELECT key, pair FROM written")
    stored = MapSet.new(rows, &hd/1)

    assert MapSet.subset?(keys.(:acknowledged), stored), "an acknowledged write is lost"
    assert MapSet.disjoint?(keys.(:refused), stored), "a write that was said to have had no effect had one"
    assert MapSet.subset?(stored, MapSet.union(keys.(:acknowledged), keys.(:unknown)))
    assert MapSet.size(keys.(:refused)) + MapSet.size(keys.(:unknown)) > 0, "no write was under way at a kill"

    # Both rows of a transaction or none.
    halves = rows |> Enum.reject(&match?([_, nil], &1)) |> Enum.frequencies_by(&List.last/1)
    assert Enum.all?(halves, &match?({_, 2}, &1))
    assert TestRepo.query!("PRAGMA integrity_check").rows == [["ok"]]
  end

  test "a text of several statements is not run again because its sidecar ended between two of them" do
    id = {__MODULE__, self()}
    {_sidecar, conn} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(TestRepo))
    os_pid = conn.handle.os_pid

    # In the process that sends the statements, after the first one.
    :ok =
      :telemetry.attach(
        id,
        [:libsql_port, :query, :stop],
        fn _event, _times, about, test ->
          if self() == test and about[:sql] =~ "+ 1" do
            :telemetry.detach(id)
            {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
            wait_until(fn -> not LibsqlPort.Connection.sidecar_running?(conn) end)
          end
        end,
        self()
      )

    # Each run of the first one leaves another row.
    first = "INSERT INTO written SELECT coalesce(max(key), 0) + 1, NULL FROM written"
    text = first <> "; INSERT INTO written VALUES (100, NULL)"
    assert {:error, %DBConnection.ConnectionError{reason: :sidecar_down}} = TestRepo.query_many(text)
    assert TestRepo.query!("SELECT key FROM written").rows == [[1]]
  end

  defp wait_until(condition) do
    if !condition.() do
      Process.sleep(1)
      wait_until(condition)
    end
  end

  # Writes keys of its own, each only once, until it is told to stop. Every second write is a transaction of two.
  defp write(test, writer, n, outcomes) do
    receive do
      :stop -> outcomes
    after
      0 ->
        key = writer * 10_000_000 + n
        keys = if rem(n, 4) == 0, do: [key, key + 1], else: [key]
        outcome = attempt(keys)
        if outcome == :acknowledged, do: send(test, :acknowledged)
        write(test, writer, n + 2, Enum.map(keys, &{&1, outcome}) ++ outcomes)
    end
  end

  defp attempt(keys) do
    insert(keys)
    :acknowledged
  rescue
    error in DBConnection.ConnectionError ->
      if error.reason == :outcome_unknown, do: :unknown, else: :refused
  end

  defp insert([key]), do: TestRepo.query!("INSERT INTO written VALUES (?, NULL)", [key])

  defp insert([first, _second] = keys) do
    {:ok, _} =
      TestRepo.transaction(fn ->
        for key <- keys, do: TestRepo.query!("INSERT INTO written VALUES (?, ?)", [key, first])
      end)
  end

  defp os_pid do
    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    os_pid
  end

  defp acknowledged(0), do: :ok

  defp acknowledged(n) do
    assert_receive :acknowledged, 30_000
    acknowledged(n - 1)
  end

  defp forget_acknowledged do
    receive do
      :acknowledged -> forget_acknowledged()
    after
      0 -> :ok
    end
  end
end
