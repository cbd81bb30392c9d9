defmodule Scaling.Callers do
  # Point selects by processes that call without pause: all on 5 connections, and each on a connection of its own. A unit
  # is one call: what it takes of the machine, whoever waits for it.
  @moduledoc false
  alias Bench.Statistics
  alias Scaling.{Room, Table}

  @rows 100_000
  @shared 5
  @callers [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
  # One caller pays for wake-ups that many share: the limit counts from here.
  @bound {8, 1.5}

  def plots, do: [{"callers", "Callers: a point SELECT each, without pause"}]

  def run(scaling) do
    path = Scaling.bulk(scaling, @rows)
    callers = Bench.setting(scaling, @callers, [1, 8, 32])
    {own, left_out} = Room.split(callers, scaling.directory, &%{descriptors: 8 * &1 + 64, threads: &1 + 64})

    [
      table(scaling, path, {callers, []}, fn _callers -> @shared end, "#{@shared} connections", @bound),
      table(scaling, path, {own, left_out}, & &1, "a connection each", @bound)
    ]
  end

  defp table(scaling, path, {callers, left_out}, connections, series, bound) do
    figures =
      Scaling.with_sidecar(fn sidecar ->
        most = callers |> Enum.map(connections) |> Enum.max()
        conns = List.to_tuple(for _ <- 1..most, do: Scaling.connect(sidecar, path))
        duration_ms = Bench.setting(scaling, 300, 100)

        Scaling.in_turns(
          sidecar,
          Bench.setting(scaling, 7, 2),
          for(
            count <- callers,
            do: fn -> calls_per_second(conns, connections.(count), count, duration_ms) end
          )
        )
      end)

    points =
      for {count, rounds} <- Enum.zip(callers, figures) do
        {per_second, processor} = Enum.unzip(rounds)
        each = Enum.map(per_second, &(1_000_000 / &1))

        %Table.Point{
          size: count,
          operation: Enum.map(each, &(&1 * count)),
          per_unit: each,
          processor: Table.processor(processor, 1),
          also: [{"calls/s", "#{round(Statistics.median(per_second))}"}]
        }
      end

    %Table{
      plot: "callers",
      series: series,
      title: "Point SELECTs by callers that do not pause: #{series}",
      sizes: "callers",
      operation: "a call, mean",
      unit: "call of all",
      points: points,
      bound: bound,
      left_out: left_out
    }
  end

  defp calls_per_second(conns, connections, callers, duration_ms) do
    per_second =
      Statistics.per_second(callers, duration_ms, fn number ->
        conn = elem(conns, rem(number, connections))
        fn -> Scaling.select(conn, @rows) end
      end)

    {per_second, per_second * duration_ms / 1_000}
  end
end
