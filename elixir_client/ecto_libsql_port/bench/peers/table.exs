defmodule Peers.Table do
  # The figures as a Markdown table, and the conditions without which they mean nothing.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @own "ecto_libsql_port"

  @doc "A row: for each adapter its figures or an error, for each limit whether it is reached. `rows` are all of its work."
  def row(title, unit, limits, measured, rows) do
    %{
      title: title,
      unit: unit,
      measured: measured,
      limits: Enum.map(limits, &limit(&1, unit, measured, rows))
    }
  end

  @doc "Whether each limit is reached. One without a figure to compare with is not: its peer is not at hand, or fails."
  def reached?(row), do: Enum.all?(row.limits, &(&1.verdict == :reached))

  # A peer that is not at hand, or gives no figure, sets no limit.
  defp limit({yardstick, factor}, unit, measured, rows) do
    {name, other, factor} = yardstick(yardstick, factor, unit, measured, rows)

    verdict =
      case median(measured, @own) do
        nil -> :missed
        _ when other == nil -> :unknown
        own -> if within?(unit, own / other, factor), do: :reached, else: :missed
      end

    %{yardstick: name, factor: factor, verdict: verdict}
  end

  defp yardstick(:faster, factor, unit, measured, _rows) do
    peers = for name <- Map.keys(measured), name != @own, figure = median(measured, name), do: {figure, name}
    pick = if unit == :per_second, do: &Enum.max/2, else: &Enum.min/2
    {figure, name} = pick.(peers, fn -> {nil, "the faster peer"} end)
    {name, figure, factor}
  end

  defp yardstick({:row, index}, factor, _unit, _measured, rows),
    do: {"the row above", median(Enum.at(rows, index), @own), factor}

  defp yardstick(:absolute, limit, unit, _measured, _rows), do: {format(unit, limit), limit, 1}

  defp yardstick(peer, factor, _unit, measured, _rows), do: {peer, median(measured, peer), factor}

  defp within?(:per_second, ratio, factor), do: ratio >= factor
  defp within?(_unit, ratio, factor), do: ratio <= factor

  def print(rows, names) do
    peers = names -- [@own]
    header = ["work"] ++ names ++ Enum.map(peers, &"÷ #{&1}") ++ ["limits"]
    cells = Enum.map(rows, &cells(&1, names, peers))

    IO.puts("")

    Enum.each(
      [header, Enum.map(header, fn _ -> "---" end) | cells],
      &IO.puts("| " <> Enum.join(&1, " | ") <> " |")
    )

    IO.puts("\nmedian of the rounds (best–worst); ÷ is this adapter's median through the peer's")
    failures(rows)
    limits = Enum.flat_map(rows, & &1.limits)
    count = fn verdict -> Enum.count(limits, &(&1.verdict == verdict)) end

    IO.puts(
      "#{count.(:reached)} of #{length(limits)} limits reached, #{count.(:missed)} missed, " <>
        "#{count.(:unknown)} without a figure to compare with"
    )
  end

  defp cells(row, names, peers) do
    [row.title] ++
      Enum.map(names, &figure(row, &1)) ++
      Enum.map(peers, &ratio(row, &1)) ++ [Enum.map_join(row.limits, ", ", &limit_text(&1, row.unit))]
  end

  defp figure(row, name) do
    case row.measured[name] do
      {:ok, figures} ->
        {least, most} = Enum.min_max(figures)
        {best, worst} = if row.unit == :per_second, do: {most, least}, else: {least, most}
        text = &format(row.unit, &1)
        "#{text.(Statistics.median(figures))} (#{text.(best)}–#{text.(worst)})"

      {:error, _} ->
        "fails"
    end
  end

  defp ratio(row, peer) do
    case {median(row.measured, @own), median(row.measured, peer)} do
      {own, other} when own != nil and other != nil -> fixed(own / other)
      _ -> "–"
    end
  end

  defp limit_text(limit, unit) do
    relation = if unit == :per_second, do: "≥", else: "≤"
    "#{relation} #{limit.factor} × #{limit.yardstick}: #{verdict_text(limit.verdict)}"
  end

  defp verdict_text(:reached), do: "reached"
  defp verdict_text(:missed), do: "MISSED"
  defp verdict_text(:unknown), do: "not compared"

  defp failures(rows) do
    for row <- rows, {name, {:error, message}} <- row.measured do
      IO.puts("#{row.title}: #{name} fails: #{String.slice(message, 0, 300)}")
    end
  end

  defp median(measured, name) do
    case measured[name] do
      {:ok, figures} -> Statistics.median(figures)
      _ -> nil
    end
  end

  defp format(:us, value), do: Report.us(value)
  defp format(:ms, value), do: Report.ms(value)
  defp format(:per_second, value), do: "#{fixed(value / 1_000)}k/s"

  defp fixed(value), do: :erlang.float_to_binary(value * 1.0, decimals: 2)

  # --- conditions -----------------------------------------------------------------------------------------------

  def conditions(vms, directory, quick?) do
    IO.puts("""
    Ecto adapters beside each other#{if quick?, do: "; QUICK RUN, not to be quoted"}
      machine     #{Report.machine()}
      VM          OTP #{System.otp_release()}, Elixir #{System.version()}, #{System.schedulers_online()} schedulers, one for each adapter
      directory   #{directory}
    """)

    for vm <- vms do
      IO.puts(
        "  #{vm.adapter.name}: " <> Enum.map_join(vm.facts, ", ", fn {name, value} -> "#{name} #{value}" end)
      )
    end
  end
end
