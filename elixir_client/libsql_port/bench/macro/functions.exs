defmodule Bench.Functions do
  # SQL functions written in Elixir: a call for each row, against echoes of frames of the same lengths; the rows of an aggregate
  # and of a table function, which travel in blocks, in absolute figures.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @calls 1_000
  @callers 8
  @call_factor 1.5
  @callers_factor 2
  @folded 10_000
  @folded_limit_us 5_000
  @rows 100_000
  @row_limit_us 1
  # Lengths of a call and of its answer, length fields included.
  @frames {51, 59}

  @series "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT #{@calls})"

  def run(bench) do
    conns = for _ <- 1..@callers, do: connect(bench)
    rows = [one(bench, hd(conns)), many(bench, conns), aggregate(bench, hd(conns)), table(bench, hd(conns))]
    Enum.each(conns, &LibsqlPort.close/1)
    rows
  end

  defp connect(bench) do
    conn = Bench.connect(bench)
    :ok = LibsqlPort.create_function(conn, "same", 1, fn x -> x end)
    :ok = LibsqlPort.create_aggregate(conn, "total_of", 1, start: 0, step: &(&1 + &2))

    :ok =
      LibsqlPort.create_table_function(conn, "numbers",
        parameters: [:last],
        columns: [:n],
        rows: fn last -> Stream.map(1..last, &[&1]) end
      )

    conn
  end

  defp one(bench, conn) do
    echo = Bench.echo(bench, @frames)

    echoes = fn -> Statistics.time(fn -> Enum.each(1..@calls, fn _ -> echo.() end) end) / @calls end
    called = fn -> Statistics.time(fn -> called(conn) end) / @calls end
    [pairs] = Statistics.in_pairs(rounds(bench), echoes, [called])

    "a scalar function in Elixir, each call"
    |> Report.paired(@call_factor, pairs, &Report.us/1)
    |> Report.note("yardstick: echoes of frames of the same lengths, one after another")
  end

  defp many(bench, conns) do
    # Each caller has a place in the pipe to the echo program, as each connection has in that to the sidecar.
    echo = Bench.echo(bench, @frames)

    echoes = fn -> together(conns, fn _conn -> Enum.each(1..@calls, fn _ -> echo.() end) end) end
    called = fn -> together(conns, &called/1) end
    [pairs] = Statistics.in_pairs(rounds(bench), echoes, [called])

    "the same, #{@callers} connections at once"
    |> Report.paired(@callers_factor, pairs, &Report.us/1)
    |> Report.note("time for one call of all together; yardstick: as many callers of the echo")
  end

  defp together(conns, fun) do
    Statistics.time(fn ->
      conns |> Enum.map(fn conn -> Task.async(fn -> fun.(conn) end) end) |> Task.await_many(:infinity)
    end) / (@calls * length(conns))
  end

  defp called(conn) do
    sum = div(@calls * (@calls + 1), 2)
    {:ok, [^sum]} = LibsqlPort.query_one(conn, @series <> " SELECT sum(same(x)) FROM c")
  end

  defp aggregate(bench, conn) do
    sum = div(@folded * (@folded + 1), 2)

    fold = fn ->
      {:ok, [^sum]} = LibsqlPort.query_one(conn, "SELECT total_of(id) FROM bulk WHERE id <= #{@folded}")
    end

    [folded] = Statistics.in_turns(rounds(bench), [fn -> Statistics.time(fold) end])
    Report.within("#{@folded} rows through an aggregate in Elixir", @folded_limit_us, folded, &Report.ms/1)
  end

  defp table(bench, conn) do
    read = fn -> {:ok, [@rows]} = LibsqlPort.query_one(conn, "SELECT count(n) FROM numbers(#{@rows})") end
    [per_row] = Statistics.in_turns(rounds(bench), [fn -> Statistics.time(read) / @rows end])
    Report.within("a row of a table function in Elixir", @row_limit_us, per_row, &Report.us/1)
  end

  defp rounds(bench), do: Bench.setting(bench, 21, 5)
end
