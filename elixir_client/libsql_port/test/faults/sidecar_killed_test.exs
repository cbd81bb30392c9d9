defmodule LibsqlPort.Faults.SidecarKilledTest do
  # A sidecar killed at random moments, and a ledger of what was acknowledged: nothing acknowledged may be missing,
  # nothing that was told to have failed may be there.
  use LibsqlPort.SidecarCase, async: false

  alias LibsqlPort.Pragma

  @moduletag :faults
  @moduletag timeout: 300_000
  @moduletag connect: false
  @moduletag sidecar_options: [max_restarts: 1_000]

  @rounds 20
  @writers 4

  test "no acknowledged commit is lost", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    LibsqlPort.query!(conn, "CREATE TABLE t (round, writer, number, PRIMARY KEY (round, writer, number))")
    LibsqlPort.close(conn)

    for round <- 1..@rounds do
      killed = :atomics.new(1, [])

      writers =
        for writer <- 1..@writers, do: Task.async(fn -> write(sidecar, database, {round, writer, killed}) end)

      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      # Not to wait for something: the moment is to be a random one.
      Process.sleep(:rand.uniform(150))
      System.cmd("kill", ["-9", Integer.to_string(os_pid)])
      :atomics.put(killed, 1, 1)
      ledgers = Task.await_many(writers, 60_000)

      {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
      assert {:ok, []} = Pragma.integrity_check(conn)

      for {ledger, writer} <- Enum.with_index(ledgers, 1) do
        sql = "SELECT number FROM t WHERE round = ? AND writer = ?"
        stored = LibsqlPort.query!(conn, sql, [round, writer]).rows |> List.flatten() |> MapSet.new()
        assert MapSet.subset?(ledger.acknowledged, stored)
        assert MapSet.disjoint?(ledger.failed, stored)
        # What is neither acknowledged nor failed is the one write whose outcome is unknown.
        assert MapSet.size(MapSet.difference(stored, ledger.acknowledged)) <= 2
      end

      :ok = LibsqlPort.close(conn)
    end
  end

  defp write(sidecar, database, writer) do
    ledger = %{acknowledged: MapSet.new(), failed: MapSet.new()}

    case LibsqlPort.connect(sidecar, database: database) do
      {:ok, conn} -> write_on(conn, writer, 1, ledger)
      {:error, _} -> ledger
    end
  end

  # A writer that was late has its connection to the next sidecar, which nobody is going to kill.
  defp write_on(conn, {_round, _writer, killed} = who, number, ledger) do
    if :atomics.get(killed, 1) == 1, do: ledger, else: write_two(conn, who, number, ledger)
  end

  # Transactions and atomic batches of two rows in turn.
  defp write_two(conn, {round, writer, _killed} = who, number, ledger) do
    answer =
      if rem(number, 4) == 1 do
        LibsqlPort.transaction(conn, fn conn ->
          for n <- [number, number + 1] do
            case LibsqlPort.query(conn, "INSERT INTO t VALUES (?, ?, ?)", [round, writer, n]) do
              {:ok, _} -> :ok
              {:error, error} -> LibsqlPort.rollback(conn, error)
            end
          end
        end)
      else
        LibsqlPort.batch(
          conn,
          for(n <- [number, number + 1], do: {"INSERT INTO t VALUES (?, ?, ?)", [round, writer, n]})
        )
      end

    numbers = MapSet.new([number, number + 1])

    case answer do
      {:ok, _} ->
        write_on(conn, who, number + 2, %{ledger | acknowledged: MapSet.union(ledger.acknowledged, numbers)})

      {:error, %Error{code: code}} when code in [:sidecar_down, :not_sent] ->
        %{ledger | failed: numbers}

      {:error, %Error{code: :outcome_unknown}} ->
        ledger
    end
  end
end
