defmodule Scaling.Tables do
  # One row of tables of 10³ to 10⁷ rows: read by its key, added at the end, added at a free key somewhere. Each call is a
  # transaction of its own; what a round has added is deleted again, unmeasured.
  @moduledoc false
  alias Bench.Statistics
  alias Scaling.{Room, Table}

  @rows [1_000, 10_000, 100_000, 1_000_000, 10_000_000]
  @insert "INSERT INTO bulk VALUES (?1, 'short', 1.5, 'a somewhat longer text that fills most of fifty', NULL, x'00')"
  # Prime, and no factor of a power of ten: its multiples meet each key once.
  @step 7_368_787

  def plots, do: [{"tables", "Rows of the table: one row read, one row added"}]

  def run(scaling) do
    {sizes, left_out} =
      Room.split(
        Bench.setting(scaling, @rows, [1_000, 10_000, 100_000]),
        scaling.directory,
        # The smaller files are there as well.
        &%{disk: 2 * &1 * Scaling.bulk_row_bytes()}
      )

    paths = Enum.map(sizes, &Scaling.bulk(scaling, &1))

    Scaling.with_sidecar(fn sidecar ->
      conns = Enum.map(paths, &Scaling.connect(sidecar, &1))
      tables = Enum.zip(sizes, conns)
      levels = Enum.map(tables, fn {_rows, conn} -> [{"levels", levels(conn)}] end)

      for {series, title, work, bound} <- works(scaling) do
        figures =
          Scaling.in_turns(
            sidecar,
            Bench.setting(scaling, 7, 2),
            for({rows, conn} <- tables, do: fn -> work.(conn, rows) end)
          )

        points =
          for {rows, figures, also} <- Enum.zip([sizes, figures, levels]),
              do: Table.point(rows, figures, 1, also)

        %Table{
          plot: "tables",
          series: series,
          title: title,
          sizes: "rows",
          operation: "a call, p50",
          unit: "row",
          points: points,
          bound: bound,
          notes:
            if(String.starts_with?(series, "INSERT"),
              do: ["processor time: the row's deletion included"],
              else: []
            ),
          left_out: left_out
        }
      end
    end)
  end

  defp works(scaling) do
    selects = Bench.setting(scaling, 2_000, 200)
    inserts = Bench.setting(scaling, 500, 100)

    [
      {"SELECT by key", "A point SELECT by key", &select(&1, &2, selects), {1_000, 2}},
      {"INSERT at the end", "An INSERT at the end of the table", &append(&1, &2, inserts), {1_000, 2}},
      {"INSERT at a random key", "An INSERT at a random free key", &scatter(&1, &2, inserts), {1_000, 2}}
    ]
  end

  defp select(conn, rows, calls) do
    p50(calls, fn -> Scaling.select(conn, rows) end)
  end

  defp append(conn, rows, calls), do: inserts(conn, Enum.map(1..calls, &(2 * (rows + &1))))

  # Keys of the table are even.
  defp scatter(conn, rows, calls) do
    first = :rand.uniform(rows)
    inserts(conn, Enum.map(1..calls, &(2 * rem(first + &1 * @step, rows) + 1)))
  end

  defp inserts(conn, ids) do
    taken =
      Enum.map(ids, fn id ->
        Statistics.time(fn -> {:ok, %{changes: 1}} = LibsqlPort.query(conn, @insert, [id]) end)
      end)

    {:ok, _} = LibsqlPort.batch(conn, Enum.map(ids, &{"DELETE FROM bulk WHERE id = ?1", [&1]}))
    # Each row is deleted as well, in one call for all: the processor time is that of both.
    {Statistics.median(taken), length(ids)}
  end

  defp p50(calls, fun), do: {Statistics.median(Statistics.times(calls, fun)), calls}

  # Pages from the root of the table to a row.
  defp levels(conn) do
    case LibsqlPort.query(
           conn,
           "SELECT max(length(path) - length(replace(path, '/', ''))) FROM dbstat WHERE name = 'bulk'"
         ) do
      {:ok, %{rows: [[slashes]]}} -> "#{slashes}"
      {:error, _} -> "unknown"
    end
  end
end
