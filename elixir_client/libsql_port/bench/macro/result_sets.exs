defmodule Bench.ResultSets do
  # 100,000 rows of six mixed columns: as one list, against decoding the same rows from one binary; and streamed,
  # against decoding the same chunks, each dropped before the next.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @sql "SELECT id, short, value, long, empty, bytes FROM bulk"
  @list_factor 2.2
  @stream_factor 1.6

  def run(bench), do: [list(bench), stream(bench)]

  defp list(bench) do
    encoded = :erlang.term_to_binary(all_rows(bench.conn))

    [decoded, queried] =
      Statistics.in_turns(rounds(bench), [
        fn -> Statistics.time_apart(fn -> :erlang.binary_to_term(encoded) end) end,
        fn -> Statistics.time_apart(fn -> all_rows(bench.conn) end) end
      ])

    "#{Bench.bulk_rows()} rows × 6 columns as one list"
    |> Report.at_most(@list_factor, queried, decoded, &Report.ms/1)
    |> Report.note(
      "yardstick: binary_to_term of the same rows, #{Report.mb(byte_size(encoded))}, each in a new process"
    )
  end

  defp stream(bench) do
    chunks = chunks(bench.conn)
    rows = Bench.bulk_rows()

    [decoded, streamed] =
      Statistics.in_turns(rounds(bench), [
        fn -> Statistics.time_apart(fn -> Enum.each(chunks, &:erlang.binary_to_term/1) end) end,
        fn -> Statistics.time_apart(fn -> ^rows = streamed_rows(bench.conn) end) end
      ])

    "the same streamed, dropped chunk by chunk"
    |> Report.at_most(@stream_factor, streamed, decoded, &Report.ms/1)
    |> Report.note("yardstick: binary_to_term of the same #{length(chunks)} chunks")
  end

  defp rounds(bench), do: Bench.setting(bench, 11, 5)

  defp all_rows(conn) do
    {:ok, %{rows: rows}} = LibsqlPort.query(conn, @sql, [], timeout: 60_000)
    rows
  end

  defp streamed_rows(conn) do
    conn |> LibsqlPort.stream(@sql, [], chunks: true) |> Enum.reduce(0, &(length(&1) + &2))
  end

  # The rows of each chunk as the stream gives them, encoded as a term of its own.
  defp chunks(conn) do
    conn |> LibsqlPort.stream(@sql, [], chunks: true) |> Enum.map(&:erlang.term_to_binary/1)
  end
end
