defmodule Scaling.ResultSets do
  # Results of 1 to 10⁶ rows of six columns, as one list and streamed; and the same rows decoded by the VM alone, which tells
  # what of the growth is the VM's own: its collector copies what a process holds.
  @moduledoc false
  alias Bench.Statistics
  alias Scaling.{Quantity, Room, Table}

  @sql "SELECT id, short, value, long, empty, bytes FROM bulk LIMIT ?1"
  @rows [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]
  # Rows that a round reads at least, and how often it reads at most.
  @work 20_000
  @repetitions 300
  # Of a row as a list: measured, 700 bytes in the VM, twice as much while its collector copies.
  @row_bytes 2_000

  def plots, do: [{"result_sets", "Rows of a result: each as part of a list, and streamed"}]

  def run(scaling) do
    {sizes, left_out} =
      Room.split(
        Bench.setting(scaling, @rows, [1, 100, 10_000]),
        scaling.directory,
        &%{memory: @row_bytes * &1, disk: Scaling.bulk_row_bytes() * &1}
      )

    path = Scaling.bulk(scaling, List.last(sizes))

    Scaling.with_sidecar(fn sidecar ->
      conn = Scaling.connect(sidecar, path)
      rounds = Bench.setting(scaling, 5, 2)

      for {series, title, prepare, bound} <- works() do
        figures = Scaling.in_turns(sidecar, rounds, Enum.map(sizes, &measurement(prepare.(conn, &1), &1)))

        %Table{
          plot: "result_sets",
          series: series,
          title: title,
          sizes: "rows",
          operation: "a result",
          unit: "row",
          points: for({rows, figures} <- Enum.zip(sizes, figures), do: Table.point(rows, figures, rows)),
          bound: bound,
          left_out: left_out,
          notes: ["each repetition of #{Quantity.size(:count, @work)} rows and more in a new process"]
        }
      end
    end)
  end

  defp works do
    [
      {"as a list", "LibsqlPort.query/4: all rows as one list", &list/2, {1_000, 2.5}},
      {"streamed", "LibsqlPort.stream/4, dropped chunk by chunk", &stream/2, {1_000, 1.5}},
      {"decoded only", "binary_to_term of the same list, without a sidecar", &decode/2, nil}
    ]
  end

  defp measurement(fun, rows) do
    repetitions = Scaling.repetitions(rows, @work, @repetitions)

    fn ->
      {Statistics.time_apart(fn -> Enum.each(1..repetitions, fn _ -> fun.() end) end) / repetitions,
       repetitions}
    end
  end

  defp list(conn, rows) do
    fn ->
      {:ok, %{num_rows: ^rows}} = LibsqlPort.query(conn, @sql, [rows])
    end
  end

  defp stream(conn, rows) do
    fn ->
      ^rows = conn |> LibsqlPort.stream(@sql, [rows], chunks: true) |> Enum.reduce(0, &(length(&1) + &2))
    end
  end

  defp decode(conn, rows) do
    {:ok, %{rows: list}} = LibsqlPort.query(conn, @sql, [rows])
    encoded = :erlang.term_to_binary(list)
    fn -> :erlang.binary_to_term(encoded) end
  end
end
