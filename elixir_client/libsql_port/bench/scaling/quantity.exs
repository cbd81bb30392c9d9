defmodule Scaling.Quantity do
  # Figures as texts: three significant digits with the unit that suits them.
  @moduledoc false

  @superscripts %{
    ?0 => "⁰",
    ?1 => "¹",
    ?2 => "²",
    ?3 => "³",
    ?4 => "⁴",
    ?5 => "⁵",
    ?6 => "⁶",
    ?7 => "⁷",
    ?8 => "⁸",
    ?9 => "⁹"
  }

  @doc "A cost: `:time` in microseconds, `:bytes` in bytes."
  def cost(:time, us) when us < 1, do: significant(us * 1_000) <> " ns"
  def cost(:time, us), do: scaled(us, ["µs", "ms", "s"])
  def cost(:bytes, bytes), do: scaled(bytes, ["B", "kB", "MB", "GB"])

  @doc "A size: a `:count`, decimal `:bytes`, or `:binary_bytes`."
  def size(:count, 0), do: "0"
  def size(:count, count) when count >= 1_000, do: power(count)
  def size(:count, count), do: grouped(count)
  def size(:bytes, bytes), do: decimal(bytes, ["B", "kB", "MB"])
  def size(:binary_bytes, bytes), do: binary(bytes, ["B", "KiB", "MiB", "GiB"])

  @doc "With two decimals, such as a ratio."
  def ratio(value), do: :erlang.float_to_binary(value * 1.0, decimals: 2)

  defp scaled(value, [unit]), do: significant(value) <> " " <> unit
  defp scaled(value, [unit | _]) when value < 999.5, do: significant(value) <> " " <> unit
  defp scaled(value, [_ | units]), do: scaled(value / 1_000, units)

  # At most three digits, without zeros that say nothing.
  defp significant(value) when value >= 99.95, do: value |> round() |> Integer.to_string()
  defp significant(value) when value >= 9.995, do: trimmed(value, 1)
  defp significant(value), do: trimmed(value, 2)

  defp trimmed(value, decimals),
    do: :erlang.float_to_binary(value * 1.0, [:compact, decimals: decimals]) |> whole()

  defp whole(text), do: String.replace_suffix(text, ".0", "")

  defp decimal(bytes, [unit | units]) do
    if bytes >= 1_000 and rem(bytes, 1_000) == 0 and units != [],
      do: decimal(div(bytes, 1_000), units),
      else: "#{grouped(bytes)} #{unit}"
  end

  defp binary(bytes, [unit | units]) do
    if bytes >= 1_024 and rem(bytes, 1_024) == 0 and units != [],
      do: binary(div(bytes, 1_024), units),
      else: "#{bytes} #{unit}"
  end

  # 10³, or the number itself if it is no power of ten.
  defp power(count) do
    exponent = count |> :math.log10() |> round()

    if Integer.pow(10, exponent) == count,
      do: "10" <> for(<<digit <- Integer.to_string(exponent)>>, into: "", do: @superscripts[digit]),
      else: grouped(count)
  end

  defp grouped(count) do
    count
    |> Integer.to_string()
    |> String.graphemes()
    |> Enum.reverse()
    |> Enum.chunk_every(3)
    |> Enum.map_join(",", &Enum.join/1)
    |> String.reverse()
  end
end
