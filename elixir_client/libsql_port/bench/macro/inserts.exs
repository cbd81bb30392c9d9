defmodule Bench.Inserts do
  # 10,000 rows into an empty table in one transaction: one call for each row, and one call for all of them.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @rows 10_000
  @sql "INSERT INTO target (id, name, value) VALUES (?1, ?2, ?3)"
  @factor 2.2
  @batch_limit_us 40_000

  def run(bench) do
    rounds = Bench.setting(bench, 7, 3)
    [one_by_one(bench, rounds), batch(bench, rounds)]
  end

  defp one_by_one(bench, rounds) do
    sizes = {request_bytes, reply_bytes} = insert_bytes(bench)
    echo = Bench.echo(bench, sizes)

    [echoes, inserts] =
      Statistics.in_turns(rounds, [
        fn -> Statistics.time(fn -> Enum.each(1..@rows, fn _ -> echo.() end) end) end,
        fn -> emptied(bench, fn -> Statistics.time(fn -> transaction(bench.conn) end) end) end
      ])

    "#{@rows} inserts in one transaction, one call each"
    |> Report.at_most(@factor, inserts, echoes, &Report.ms/1)
    |> Report.note("yardstick: #{@rows} echoes of the same frames, #{request_bytes} and #{reply_bytes} bytes")
  end

  defp batch(bench, rounds) do
    statements = Enum.map(1..@rows, &{@sql, parameters(&1)})

    [batches] =
      Statistics.in_turns(rounds, [
        fn -> emptied(bench, fn -> Statistics.time(fn -> batch_of(bench.conn, statements) end) end) end
      ])

    Report.within("#{@rows} inserts as one atomic batch", @batch_limit_us, batches, &Report.ms/1)
  end

  # The rows are there and their time is taken with the commit; emptying the table is not part of it.
  defp emptied(bench, fun) do
    taken = fun.()
    {:ok, [@rows]} = LibsqlPort.query_one(bench.conn, "SELECT count(*) FROM target")
    {:ok, _} = LibsqlPort.query(bench.conn, "DELETE FROM target")
    taken
  end

  defp transaction(conn) do
    {:ok, :ok} =
      LibsqlPort.transaction(
        conn,
        fn conn ->
          Enum.each(1..@rows, fn id -> {:ok, _} = LibsqlPort.query(conn, @sql, parameters(id)) end)
        end,
        mode: :immediate
      )
  end

  defp batch_of(conn, statements), do: {:ok, _} = LibsqlPort.batch(conn, statements, atomic: true)

  # Frames of the inserts alone, seen inside a transaction that is then undone.
  defp insert_bytes(bench) do
    ids = :counters.new(1, [])

    {:error, sizes} =
      LibsqlPort.transaction(bench.conn, fn conn ->
        sizes =
          Bench.frame_bytes(bench, fn ->
            :counters.add(ids, 1, 1)
            {:ok, _} = LibsqlPort.query(conn, @sql, parameters(5_000 + :counters.get(ids, 1)))
          end)

        LibsqlPort.rollback(conn, sizes)
      end)

    sizes
  end

  defp parameters(id), do: [id, id |> Integer.to_string() |> String.pad_leading(20, "name"), id / 3]
end
