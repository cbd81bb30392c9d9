defmodule EctoLibSql.ChangeLog.Values do
  @moduledoc false
  # Reads the JSON that the triggers of a change log write (`Triggers`): blobs and infinities are objects there. Called by
  # `EctoLibSql.ChangeLog`.

  @doc "The values of a row by column, as a query gives them; a blob is `{:blob, bytes}`."
  @spec decode(String.t() | nil) :: %{String.t() => term} | nil
  def decode(nil), do: nil
  def decode(json), do: json |> parse() |> Map.new(fn {column, value} -> {column, value(value)} end)

  @doc "The names of columns."
  @spec names(String.t() | nil) :: [String.t()] | nil
  def names(nil), do: nil
  def names(json), do: Jason.decode!(json)

  defp value(%{"blob" => digits}), do: {:blob, Base.decode16!(digits)}
  defp value(%{"real" => "Infinity"}), do: :infinity
  defp value(%{"real" => "-Infinity"}), do: :neg_infinity
  defp value(value), do: value

  # SQLite's texts may hold bytes that are no UTF-8, which Jason refuses. Each stands as a character of a private area that the
  # text does not use while it is read.
  defp parse(json) do
    if String.valid?(json) do
      Jason.decode!(json)
    else
      first = Enum.find(0xF0000..0xFFF00//256, &unused?(json, &1))
      json |> String.chunk(:valid) |> Enum.map_join(&hidden(&1, first)) |> Jason.decode!() |> shown(first)
    end
  end

  defp unused?(json, first),
    do: not String.contains?(json, for(byte <- 0x80..0xFF, do: <<first + byte::utf8>>))

  defp hidden(chunk, first) do
    if String.valid?(chunk), do: chunk, else: for(<<byte <- chunk>>, into: "", do: <<first + byte::utf8>>)
  end

  defp shown(%{} = map, first),
    do: Map.new(map, fn {key, value} -> {shown(key, first), shown(value, first)} end)

  defp shown(text, first) when is_binary(text) do
    for <<character::utf8 <- text>>, into: "" do
      if character in first..(first + 0xFF), do: <<character - first>>, else: <<character::utf8>>
    end
  end

  defp shown(value, _first), do: value
end
