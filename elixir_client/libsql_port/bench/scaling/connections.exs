defmodule Scaling.Connections do
  # Connections to one file, opened one after the other in a new sidecar: the time and the memory of each, and what so many
  # idle ones cost a request that has nothing to do with them.
  @moduledoc false
  alias Bench.Statistics
  alias Scaling.{Quantity, Room, Table}

  @rows 1_000
  @connections [1, 4, 16, 64, 256, 1_024, 4_096]
  # Measured: three files and one thread each, and about 150 kB resident. The rest is for the machine's other users.
  @memory_bytes 1_000_000
  @calls 200

  def plots do
    [
      {"connections_time", "Connections: opening, first SELECT, closing"},
      {"connections_memory", "Connections: memory of each"},
      {"connections_others", "Requests beside idle connections"}
    ]
  end

  def run(scaling) do
    path = Scaling.bulk(scaling, @rows)

    {sizes, left_out} =
      Room.split(
        Bench.setting(scaling, @connections, [1, 16, 64]),
        scaling.directory,
        &%{memory: @memory_bytes * &1, descriptors: 4 * &1 + 64, threads: &1 + 64}
      )

    results =
      Statistics.in_turns(
        Bench.setting(scaling, 3, 2),
        for(count <- sizes, do: fn -> round_of(path, count) end)
      )

    measured = Enum.zip(sizes, results)
    Enum.map(times() ++ memory() ++ others(), &table(&1, measured, left_out))
  end

  # What is measured of the connections: its key among the figures of a round, and the columns of its table.
  defp times do
    shared = %{plot: "connections_time", operation: "all", unit: "connection", cost: :time, bound: {16, 2}}

    # SQLite keeps the connections that share a log in a list, the newest first, and a connection that closes is looked for in
    # it: those that close in the order of opening walk all of it. `:connections_max` bounds it.
    close = %{
      bound: {16, 8},
      notes: [
        "oldest first, the worst order: the engine looks for it among all that have the file open, from the newest on"
      ]
    }

    [
      Map.merge(shared, %{key: :open, series: "open", title: "Opening connections, one after the other"}),
      Map.merge(shared, %{key: :first, series: "first SELECT", title: "The first SELECT on each"}),
      shared
      |> Map.merge(%{key: :close, series: "close", title: "Closing them, one after the other"})
      |> Map.merge(close)
    ]
  end

  defp memory do
    shared = %{
      plot: "connections_memory",
      operation: "all",
      unit: "connection",
      cost: :bytes,
      bound: {64, 1.5}
    }

    [
      Map.merge(shared, %{
        key: :opened,
        series: "sidecar, opened",
        title: "Resident memory of the sidecar, opened"
      }),
      Map.merge(shared, %{
        key: :used,
        series: "sidecar, after one SELECT",
        title: "The same after one SELECT on each"
      }),
      Map.merge(shared, %{key: :vm, series: "VM", title: "Memory of the VM"})
    ]
  end

  defp others do
    shared = %{plot: "connections_others", operation: "a call, p50", unit: "call", cost: :time, bound: {1, 2}}

    [
      Map.merge(shared, %{
        key: :select,
        series: "SELECT on one of them",
        title: "A point SELECT beside idle connections"
      }),
      Map.merge(shared, %{key: :ping, series: "ping", title: "A ping beside idle connections"}),
      Map.merge(shared, %{
        key: :status,
        series: "status",
        title: "LibsqlPort.status/1, which counts them",
        bound: {1, 10}
      })
    ]
  end

  defp table(work, measured, left_out) do
    points =
      for {count, rounds} <- measured do
        figures = Enum.map(rounds, &figure(Map.fetch!(&1, work.key)))
        units = if work.plot == "connections_others", do: 1, else: count
        Table.point(count, figures, units, also(work.key, rounds))
      end

    fields = Map.take(work, [:plot, :series, :title, :operation, :unit, :cost, :bound, :notes])
    struct!(Table, Map.merge(fields, %{sizes: "connections", points: points, left_out: left_out}))
  end

  # Memory that was given back in the meantime is no cost.
  defp figure(bytes) when is_integer(bytes), do: max(bytes, 0)
  defp figure(timed), do: timed

  defp also(key, rounds) when key in [:opened, :used] do
    last = List.last(rounds)
    number = fn value -> if value, do: Quantity.size(:count, value), else: "unknown" end
    [{"threads", number.(last.threads)}, {"open files", number.(last.files)}]
  end

  defp also(_key, _rounds), do: []

  # --- measuring ------------------------------------------------------------------------------------------------

  defp round_of(path, count) do
    Scaling.with_sidecar([connections_max: count + 1], fn sidecar ->
      # What the first connection brings, code and pages of the program, is not the price of one more.
      :ok = sidecar |> Scaling.connect(path) |> LibsqlPort.close()
      idle = memory_now(sidecar)
      {open, conns} = timed(sidecar, fn -> Enum.map(1..count, fn _ -> Scaling.connect(sidecar, path) end) end)
      opened = memory_now(sidecar)
      {first, :ok} = timed(sidecar, fn -> Enum.each(conns, &Scaling.select(&1, @rows)) end)
      used = memory_now(sidecar)
      one = List.last(conns)

      figures = %{
        open: open,
        first: first,
        opened: opened.rss - idle.rss,
        used: used.rss - idle.rss,
        threads: used.threads,
        files: used.files,
        vm: opened.vm - idle.vm,
        select: p50(sidecar, fn -> Scaling.select(one, @rows) end),
        ping: p50(sidecar, fn -> :ok = LibsqlPort.ping(sidecar) end),
        status: p50(sidecar, fn -> {:ok, _} = LibsqlPort.status(sidecar) end)
      }

      {close, :ok} = timed(sidecar, fn -> Enum.each(conns, &(:ok = LibsqlPort.close(&1))) end)
      Map.put(figures, :close, close)
    end)
  end

  # The time, with the processor time, and what the function returned.
  defp timed(sidecar, fun) do
    before = Scaling.processor(sidecar)
    started = System.monotonic_time(:nanosecond)
    result = fun.()
    taken = (System.monotonic_time(:nanosecond) - started) / 1_000
    {{taken, Scaling.per_operation(before, Scaling.processor(sidecar), 1)}, result}
  end

  defp p50(sidecar, fun) do
    {{_taken, processor}, times} = timed(sidecar, fn -> Statistics.times(@calls, fun) end)
    {Statistics.median(times), processor && processor / @calls}
  end

  defp memory_now(sidecar) do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    sidecar |> Scaling.process() |> Map.put(:vm, :erlang.memory(:total))
  end
end
