defmodule Bench.PointSelect do
  # One row of six columns by its primary key: what a call costs when the engine has next to nothing to do.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @sql "SELECT id, short, value, long, empty, bytes FROM bulk WHERE id = ?1"
  @factor 2.2
  @throughput_factor 2
  @connections 5
  @callers [8, 32]

  def run(bench), do: [latency(bench) | throughput(bench)]

  defp latency(bench) do
    calls = Bench.setting(bench, 5_000, 1_000)
    select = fn -> select(bench.conn) end
    sizes = {request_bytes, reply_bytes} = Bench.frame_bytes(bench, select)
    echo = Bench.echo(bench, sizes)

    [echoes, selects] =
      Statistics.in_turns(Bench.setting(bench, 11, 5), [
        fn -> Statistics.median(Statistics.times(calls, echo)) end,
        fn -> Statistics.median(Statistics.times(calls, select)) end
      ])

    "point SELECT by key, one caller, p50"
    |> Report.at_most(@factor, selects, echoes, &Report.us/1)
    |> Report.note("yardstick: p50 of echoes of the same frames, #{request_bytes} and #{reply_bytes} bytes")
  end

  defp throughput(bench) do
    duration_ms = Bench.setting(bench, 1_000, 300)
    conns = Enum.map(1..@connections, fn _ -> Bench.connect(bench) end)
    measure = fn callers -> fn -> per_second(conns, callers, duration_ms) end end
    [one | many] = Statistics.in_turns(Bench.setting(bench, 7, 3), Enum.map([1 | @callers], measure))
    Enum.each(conns, &LibsqlPort.close/1)

    Enum.zip_with(@callers, many, fn callers, figures ->
      "the same, #{callers} callers on #{@connections} connections"
      |> Report.at_least(@throughput_factor, figures, one, &Report.per_second/1)
      |> Report.note("yardstick: calls of one caller")
    end)
  end

  # Each process on one of the connections.
  defp per_second(conns, callers, duration_ms) do
    Statistics.per_second(callers, duration_ms, fn number ->
      conn = Enum.at(conns, rem(number, length(conns)))
      fn -> select(conn) end
    end)
  end

  # A key of the caller's own in every call, spread over the table.
  defp select(conn) do
    id = :rand.uniform(Bench.bulk_rows())
    {:ok, %{rows: [[^id, _, _, _, _, _]]}} = LibsqlPort.query(conn, @sql, [id])
  end
end
