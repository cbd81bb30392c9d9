defmodule EctoLibSql.ChangeLog.Values do
  @moduledoc false
  # Reads the JSON that the triggers of a change log write (`Triggers`): blobs and infinities are objects there. Called by
  # `EctoLibSql.ChangeLog`.
  #
  # Nothing here raises: one row that cannot be read would keep its consumers from all that follow. Triggers that were made before texts of
  # JSON functions were quoted wrote these as JSON among the values. What of that cannot be a value is `:error`, not guessed at.

  @integers -0x8000000000000000..0x7FFFFFFFFFFFFFFF

  @doc "The values of a row by column, as a query gives them; a blob is `{:blob, bytes}`."
  @spec decode(term) :: {:ok, %{String.t() => term} | nil} | :error
  def decode(nil), do: {:ok, nil}

  def decode(json) do
    case parse(json) do
      {:ok, %{} = row} -> values(Map.to_list(row), [])
      _other -> :error
    end
  end

  @doc "The names of columns."
  @spec names(term) :: {:ok, [String.t()] | nil} | :error
  def names(nil), do: {:ok, nil}

  def names(json) do
    with {:ok, names} when is_list(names) <- parse(json), true <- Enum.all?(names, &is_binary/1) do
      {:ok, names}
    else
      _other -> :error
    end
  end

  defp values([], values), do: {:ok, Map.new(values)}

  defp values([{column, value} | rest], values) do
    with {:ok, value} <- value(value), do: values(rest, [{column, value} | values])
  end

  defp value(%{"blob" => digits} = object) when map_size(object) == 1 and is_binary(digits) do
    with {:ok, bytes} <- Base.decode16(digits), do: {:ok, {:blob, bytes}}
  end

  defp value(%{"real" => "Infinity"} = object) when map_size(object) == 1, do: {:ok, :infinity}
  defp value(%{"real" => "-Infinity"} = object) when map_size(object) == 1, do: {:ok, :neg_infinity}
  defp value(value) when is_binary(value) or is_float(value) or is_nil(value), do: {:ok, value}
  defp value(value) when value in @integers, do: {:ok, value}
  defp value(_nothing_that_a_column_holds), do: :error

  # SQLite's texts may hold bytes that are no UTF-8, which Jason refuses. Each stands as a character of a private area that the
  # text does not use while it is read.
  defp parse(json) when is_binary(json) do
    if String.valid?(json) do
      Jason.decode(json)
    else
      with first when is_integer(first) <- Enum.find(0xF0000..0xFFF00//256, &unused?(json, &1)),
           {:ok, term} <- json |> String.chunk(:valid) |> Enum.map_join(&hidden(&1, first)) |> Jason.decode() do
        {:ok, shown(term, first)}
      else
        _unreadable -> :error
      end
    end
  end

  defp parse(_no_text), do: :error

  defp unused?(json, first),
    do: not String.contains?(json, for(byte <- 0x80..0xFF, do: <<first + byte::utf8>>))

  defp hidden(chunk, first) do
    if String.valid?(chunk), do: chunk, else: for(<<byte <- chunk>>, into: "", do: <<first + byte::utf8>>)
  end

  defp shown(%{} = map, first),
    do: Map.new(map, fn {key, value} -> {shown(key, first), shown(value, first)} end)

  defp shown(list, first) when is_list(list), do: Enum.map(list, &shown(&1, first))

  defp shown(text, first) when is_binary(text) do
    for <<character::utf8 <- text>>, into: "" do
      if character in first..(first + 0xFF), do: <<character - first>>, else: <<character::utf8>>
    end
  end

  defp shown(value, _first), do: value
end
