defmodule Demo.Terminal do
  # Everything that the demonstration puts on the screen: headings, aligned lines, tables, a progress bar that redraws
  # itself on a terminal and is one closing line elsewhere.
  @moduledoc false

  @label_width 24

  def line(text), do: IO.puts(text)

  def heading(title) do
    IO.puts(["\n", emphasis(title), "\n", String.duplicate("─", String.length(title))])
  end

  def field(label, text), do: IO.puts([String.pad_trailing(label, @label_width), " ", text])

  @doc "A table with its columns as wide as their widest cell; numbers to the right."
  def table(header, rows) do
    rows = Enum.map(rows, fn row -> Enum.map(row, &cell/1) end)
    header = Enum.map(header, &{&1, :leading})
    all = if Enum.all?(header, &(elem(&1, 0) == "")), do: rows, else: [header | rows]

    widths =
      all |> Enum.zip_with(& &1) |> Enum.map(fn column -> column |> Enum.map(&width/1) |> Enum.max() end)

    Enum.each(all, fn row ->
      row
      |> Enum.zip(widths)
      |> Enum.map_join("  ", fn {{text, side}, width} -> pad(text, width, side) end)
      |> String.trim_trailing()
      |> line()
    end)
  end

  defp cell(number) when is_integer(number), do: {grouped(number), :trailing}
  defp cell(number) when is_float(number), do: {:erlang.float_to_binary(number, decimals: 2), :trailing}
  defp cell(nil), do: {"-", :leading}
  defp cell(text), do: {to_string(text), :leading}

  defp width({text, _}), do: String.length(text)
  defp pad(text, width, :leading), do: String.pad_trailing(text, width)
  defp pad(text, width, :trailing), do: String.pad_leading(text, width)

  @doc """
  Runs `fun` with a function that reports progress: called with what is done so far and a short text, it redraws the
  bar at most ten times a second.
  """
  def with_progress(label, total, fun) do
    shown = :atomics.new(1, signed: true)

    report = fn done, text ->
      now = System.monotonic_time(:millisecond)

      if columns() > 0 and (done >= total or now - :atomics.get(shown, 1) >= 100) do
        :atomics.put(shown, 1, now)
        IO.write(["\r", bar(label, done, total, text), "\e[K"])
      end
    end

    :atomics.put(shown, 1, System.monotonic_time(:millisecond) - 1_000)
    result = fun.(report)
    if columns() > 0, do: IO.write("\r\e[K")
    result
  end

  defp bar(label, done, total, text) do
    share = min(done / total, 1.0)
    room = min(30, max(columns() - @label_width - String.length(text) - 10, 0))
    full = trunc(room * share)

    [
      String.pad_trailing(label, @label_width),
      [" ", String.duplicate("█", full), String.duplicate("░", room - full)],
      [" ", String.pad_leading(Integer.to_string(trunc(share * 100)), 3), " %  ", text]
    ]
    |> IO.iodata_to_binary()
    |> String.slice(0, columns() - 1)
  end

  def grouped(number) do
    number |> Integer.to_string() |> String.replace(~r/\B(?=(\d{3})+$)/, " ")
  end

  def mib(nil), do: "unknown"
  def mib(bytes), do: :erlang.float_to_binary(bytes / 1_048_576, decimals: 1) <> " MiB"

  def ms(microseconds), do: :erlang.float_to_binary(microseconds / 1000, decimals: 1) <> " ms"

  # 0 if the output is not a terminal.
  defp columns, do: "TERMINAL_COLUMNS" |> System.get_env("0") |> String.to_integer()

  defp emphasis(text) do
    if columns() > 0 and System.get_env("NO_COLOR") in [nil, ""], do: ["\e[1m", text, "\e[0m"], else: text
  end
end
