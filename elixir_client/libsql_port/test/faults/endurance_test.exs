defmodule LibsqlPort.Faults.EnduranceTest do
  # Ten thousand queries leave nothing behind: no memory, no descriptor, no thread, no entry, no atom.
  use LibsqlPort.SidecarCase, async: false

  @moduletag :faults
  @moduletag timeout: 300_000

  @queries 10_000

  test "nothing grows", %{conn: conn, sidecar: sidecar, database: database} do
    LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
    round(conn, sidecar, database, 2_000)
    # Measuring for the first time loads what it needs.
    measure(conn, sidecar)
    before = measure(conn, sidecar)
    round(conn, sidecar, database, @queries)
    afterwards = measure(conn, sidecar)

    for key <- [
          :threads,
          :descriptors,
          :in_flight,
          :atoms,
          :processes,
          :ports,
          :connections,
          :statements,
          :cursors
        ] do
      assert afterwards[key] <= before[key] + slack(key), "#{key}: #{before[key]} -> #{afterwards[key]}"
    end

    if before.rss,
      do: assert(afterwards.rss - before.rss < 8_000_000, "rss: #{before.rss} -> #{afterwards.rss}")

    assert afterwards.owner - before.owner < 1_000_000
    assert afterwards.binaries - before.binaries < 8_000_000
  end

  # Threads, processes and modules of others come and go; a leak would be in the thousands.
  defp slack(:threads), do: 4
  defp slack(:descriptors), do: 4
  defp slack(:atoms), do: 900
  defp slack(key) when key in [:processes, :ports], do: 20
  defp slack(_key), do: 0

  defp round(conn, sidecar, database, queries) do
    for i <- 1..queries do
      case rem(i, 10) do
        0 ->
          {:error, _} = LibsqlPort.query(conn, "SELEKT #{rem(i, 300)}")

        1 ->
          LibsqlPort.query!(conn, "INSERT INTO t (a) VALUES (?)", ["text #{i}"])

        2 ->
          {:ok, _} = LibsqlPort.batch(conn, [{"SELECT ?", [i]}, "SELECT 2"])

        3 ->
          [[_] | _] = Enum.take(LibsqlPort.stream(conn, "SELECT id FROM t", [], chunk_rows: 3), 4)

        4 ->
          LibsqlPort.transaction(conn, fn conn -> LibsqlPort.rollback(conn, i) end)

        5 when rem(i, 100) == 5 ->
          other(sidecar, database)

        6 ->
          {:ok, statement} = LibsqlPort.prepare(conn, "SELECT #{rem(i, 500)}")
          :ok = LibsqlPort.close_statement(conn, statement)

        _ ->
          {:ok, _} = LibsqlPort.query(conn, "SELECT * FROM t WHERE id = ?", [i])
      end
    end

    LibsqlPort.query!(conn, "DELETE FROM t")
  end

  defp other(sidecar, database) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
    :ok = LibsqlPort.close(conn)
  end

  defp measure(conn, sidecar) do
    :erlang.garbage_collect(conn.handle.sidecar)
    :erlang.garbage_collect()
    {:ok, status} = LibsqlPort.status(sidecar)
    {:memory, owner} = Process.info(conn.handle.sidecar, :memory)

    %{
      rss: status.rss,
      threads: status.threads,
      connections: status.connections,
      statements: status.statements,
      cursors: status.cursors,
      descriptors: descriptors(conn.handle.os_pid),
      in_flight: :ets.info(conn.handle.table, :size),
      atoms: :erlang.system_info(:atom_count),
      processes: :erlang.system_info(:process_count),
      ports: :erlang.system_info(:port_count),
      owner: owner,
      binaries: :erlang.memory(:binary)
    }
  end
end
