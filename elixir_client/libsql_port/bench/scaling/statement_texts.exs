defmodule Scaling.StatementTexts do
  # Statements of 100 bytes to 1 MB: the sum of so many values that stand in the text. Compiled and run for the first time,
  # run again with the same text, and run as a prepared statement, for which no text is sent.
  @moduledoc false
  alias Scaling.Table

  @bytes [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000]
  # Bytes of text that a round runs at least, and how often it does so at most.
  @work 500_000
  @repetitions 500
  @value "(1234567)"

  def plots, do: [{"statement_texts", "Bytes of a statement: first time, again, prepared"}]

  def run(scaling) do
    sizes = Bench.setting(scaling, @bytes, [100, 10_000, 100_000])

    Scaling.with_sidecar(fn sidecar ->
      conn = Scaling.connect(sidecar, ":memory:")
      rounds = Bench.setting(scaling, 7, 2)

      for {series, title, prepare, bound} <- works() do
        figures = Scaling.in_turns(sidecar, rounds, Enum.map(sizes, &measurement(prepare.(conn, &1), &1)))

        %Table{
          plot: "statement_texts",
          series: series,
          title: title,
          sizes: "bytes of the text",
          kind: :bytes,
          operation: "a call",
          unit: "byte",
          points: for({bytes, figures} <- Enum.zip(sizes, figures), do: Table.point(bytes, figures, bytes)),
          bound: bound
        }
      end
    end)
  end

  defp works do
    [
      {"first time", "A text that was never seen: compiled and run", &first_time/2, {1_000, 1.5}},
      {"again", "The same text again: from the cache if it has at most 16 KiB", &again/2, nil},
      {"prepared", "A prepared statement: no text is sent", &prepared/2, {1_000, 1.5}}
    ]
  end

  defp measurement(fun, bytes) do
    repetitions = Scaling.repetitions(bytes, @work, @repetitions)
    fn -> {Scaling.average(repetitions, fun), repetitions} end
  end

  # A text is its last value, so that each number makes another one.
  defp first_time(conn, bytes) do
    {start, sum} = text(bytes)
    numbers = :counters.new(1, [])

    fn ->
      :counters.add(numbers, 1, 1)
      number = 1_000_000 + :counters.get(numbers, 1)
      expected = sum + number
      {:ok, [^expected]} = LibsqlPort.query_one(conn, start <> "(#{number}))")
    end
  end

  defp again(conn, bytes) do
    {start, sum} = text(bytes)
    sql = start <> "(1000000))"
    expected = sum + 1_000_000
    fn -> {:ok, [^expected]} = LibsqlPort.query_one(conn, sql) end
  end

  defp prepared(conn, bytes) do
    {start, sum} = text(bytes)
    {:ok, statement} = LibsqlPort.prepare(conn, start <> "(1000000))")
    expected = sum + 1_000_000
    fn -> {:ok, %{rows: [[^expected]]}} = LibsqlPort.execute(conn, statement) end
  end

  # All of a text but its last value and the parenthesis behind, and the sum of its values.
  defp text(bytes) do
    head = "SELECT sum(column1) FROM (VALUES "
    rest = byte_size("(1000000))")
    values = div(bytes - byte_size(head) - rest, byte_size(@value) + 1)
    body = String.duplicate(@value <> ",", values)
    padding = String.duplicate(" ", bytes - byte_size(head) - byte_size(body) - rest)
    {head <> padding <> body, values * 1_234_567}
  end
end
