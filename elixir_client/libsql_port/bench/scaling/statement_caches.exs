defmodule Scaling.StatementCaches do
  # 300 statements that differ in their text, run at random and in a circle, with statement caches of several sizes. A circle
  # is the worst order for a cache that drops what was used longest ago: smaller than the circle, it never has the next one.
  @moduledoc false
  alias Bench.Statistics
  alias Scaling.{Quantity, Table}

  @statements 300
  @rows 1_000
  @sizes [0, 1, 16, 64, 256, 1_024]

  def plots, do: [{"statement_caches", "Statement cache: #{@statements} different statements"}]

  def run(scaling) do
    path = Scaling.bulk(scaling, @rows)
    texts = List.to_tuple(Enum.map(1..@statements, &text/1))
    sizes = Bench.setting(scaling, @sizes, [0, 64, 1_024])
    calls = Bench.setting(scaling, 3_000, 600)

    Scaling.with_sidecar(fn sidecar ->
      conns = Enum.map(sizes, &Scaling.connect(sidecar, path, statement_cache: &1))

      for {series, title, order} <- orders() do
        measured =
          Scaling.in_turns(
            sidecar,
            Bench.setting(scaling, 5, 2),
            for(conn <- conns, do: fn -> round_of(conn, texts, order, calls) end)
          )

        %Table{
          plot: "statement_caches",
          series: series,
          title: title,
          sizes: "statements in the cache",
          operation: "a call, mean",
          unit: "call",
          points: for({size, rounds} <- Enum.zip(sizes, measured), do: point(size, rounds))
        }
      end
    end)
  end

  defp orders do
    [
      {"at random", "#{@statements} statements at random", fn _number -> :rand.uniform(@statements) - 1 end},
      {"in a circle", "#{@statements} statements in a circle", &rem(&1, @statements)}
    ]
  end

  # About 200 bytes, as Ecto makes them.
  defp text(number) do
    ~s(SELECT b0."id", b0."short", b0."value", b0."long", b0."empty", b0."bytes", #{number} AS "number" FROM "bulk" AS b0 ) <>
      ~s[WHERE (b0."id" = ?1) AND (b0."value" > -#{number}.5) ORDER BY b0."short" LIMIT 10]
  end

  defp round_of(conn, texts, order, calls) do
    before = counters(conn)

    taken =
      Statistics.time(fn ->
        Enum.each(1..calls, fn number ->
          id = 2 * :rand.uniform(@rows)
          {:ok, %{rows: [[^id | _]]}} = LibsqlPort.query(conn, elem(texts, order.(number)), [id])
        end)
      end)

    now = counters(conn)
    hits = now.cache_hits - before.cache_hits
    misses = now.cache_misses - before.cache_misses
    {%{taken: taken / calls, hits: hits / max(hits + misses, 1), bytes: now.memory.statement}, calls}
  end

  defp counters(conn) do
    {:ok, status} = LibsqlPort.status(conn)
    status
  end

  defp point(size, rounds) do
    {rounds, processor} = Enum.unzip(rounds)

    also = [
      {"hits", "#{round(100 * Statistics.median(Enum.map(rounds, & &1.hits)))} %"},
      {"statements' memory", Quantity.cost(:bytes, Statistics.median(Enum.map(rounds, & &1.bytes)))}
    ]

    Table.point(size, Enum.zip(Enum.map(rounds, & &1.taken), processor), 1, also)
  end
end
