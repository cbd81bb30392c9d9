defmodule Ecto.Adapters.LibSql.InsertAll do
  @moduledoc false
  # `Repo.insert_all/3` in as many statements as SQLite needs: one for each run of rows that give the same columns, since
  # it has no DEFAULT for a single value, and never more parameters or bytes than fit. Several go in one transaction, in the
  # order of the rows, and their results are joined. Called by the adapter.

  alias Ecto.Adapters.SQL

  # SQLite's limit is 32766; the rest is left to those of an on_conflict query.
  @parameters_max 30_000
  # The sidecar takes 16 MiB in a request.
  @bytes_max 8 * 1024 * 1024

  @doc "As `Ecto.Adapters.SQL.insert_all/9`."
  def run(meta, schema, conn, header, rows, on_conflict, returning, placeholders, options) do
    insert = fn header, rows, on_conflict ->
      SQL.insert_all(meta, schema, conn, header, rows, on_conflict, returning, placeholders, options)
    end

    case statements(header, rows, on_conflict, length(placeholders)) do
      [{header, rows, on_conflict}] -> insert.(header, rows, on_conflict)
      statements -> joined(meta, statements, insert, options)
    end
  end

  defp joined(meta, statements, insert, options) do
    {:ok, results} =
      SQL.transaction(meta, options, fn ->
        Enum.map(statements, fn {header, rows, on_conflict} -> insert.(header, rows, on_conflict) end)
      end)

    {counts, rows} = Enum.unzip(results)
    {Enum.sum(counts), if(Enum.all?(rows, &is_list/1), do: Enum.concat(rows))}
  end

  @doc """
  The statements: `{header, rows, on_conflict}` each. Numbers of parameters in queries inside are moved to where they are
  in their own statement.
  """
  def statements(header, rows, on_conflict, _placeholders) when is_tuple(rows) do
    [{header, rows, on_conflict}]
  end

  def statements(header, rows, on_conflict, placeholders) do
    chunks = chunks(rows, header, @parameters_max - placeholders)

    case chunks do
      [{^header, _rows, _parameters}] ->
        [{header, rows, on_conflict}]

      chunks ->
        total = chunks |> Enum.map(&elem(&1, 2)) |> Enum.sum()

        {statements, _before} =
          Enum.map_reduce(chunks, 0, fn {header, rows, parameters}, before ->
            {{header, shift_rows(rows, -before), shift(on_conflict, parameters - total)}, before + parameters}
          end)

        statements
    end
  end

  # Neighbours with the same columns, as many as fit: `{header, rows, parameters}`.
  defp chunks(rows, header, limit) do
    width = length(header)

    rows
    |> Enum.chunk_while(
      nil,
      fn row, chunk ->
        {columns, parameters, bytes} = measure(row, header, width)

        if joins?(chunk, columns, parameters, bytes, limit) do
          {:cont, add(chunk, row, parameters, bytes)}
        else
          {:cont, chunk, add({columns, [], 0, 0}, row, parameters, bytes)}
        end
      end,
      fn chunk -> {:cont, chunk, nil} end
    )
    |> Enum.reject(&is_nil/1)
    |> Enum.map(fn {columns, rows, parameters, _bytes} -> {columns, Enum.reverse(rows), parameters} end)
  end

  defp joins?(nil, _columns, _parameters, _bytes, _limit), do: false
  # SQLite's DEFAULT VALUES is one row.
  defp joins?({[], _rows, _parameters, _bytes}, _columns, _more, _more_bytes, _limit), do: false

  defp joins?({columns, _rows, parameters, bytes}, columns, more, more_bytes, limit) do
    parameters + more <= limit and bytes + more_bytes <= @bytes_max
  end

  defp joins?(_chunk, _columns, _parameters, _bytes, _limit), do: false

  defp add({columns, rows, parameters, bytes}, row, more, more_bytes) do
    {columns, [row | rows], parameters + more, bytes + more_bytes}
  end

  defp measure(row, header, width) do
    columns = if length(row) == width, do: header, else: Enum.filter(header, &List.keymember?(row, &1, 0))

    Enum.reduce(row, {columns, 0, 0}, fn {_field, value}, {columns, parameters, bytes} ->
      {count, size} = weight(value)
      {columns, parameters + count, bytes + size}
    end)
  end

  defp weight({%Ecto.Query{}, params}), do: {length(params), 64 * length(params)}
  defp weight({:placeholder, _index}), do: {0, 0}
  defp weight(text) when is_binary(text), do: {1, byte_size(text) + 5}
  defp weight({:blob, bytes}), do: {1, byte_size(bytes) + 16}
  defp weight(_value), do: {1, 16}

  # --- numbers of parameters ------------------------------------------------------------------------------------

  defp shift_rows(rows, 0), do: rows

  defp shift_rows(rows, by) do
    for row <- rows do
      for {field, value} <- row, do: {field, shift_value(value, by)}
    end
  end

  defp shift_value({%Ecto.Query{} = query, params}, by), do: {shift(query, by), params}
  defp shift_value(value, _by), do: value

  @doc "Every parameter of a planned query `by` places further on."
  def shift(term, 0), do: term
  def shift({:^, meta, [index]}, by) when is_integer(index), do: {:^, meta, [index + by]}
  def shift({:^, meta, [index, length]}, by) when is_integer(index), do: {:^, meta, [index + by, length]}
  def shift({:values, meta, [types, index, rows]}, by), do: {:values, meta, [types, index + by, rows]}
  def shift([head | tail], by), do: [shift(head, by) | shift(tail, by)]
  def shift(tuple, by) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> shift(by) |> List.to_tuple()

  def shift(%module{} = struct, by) do
    if String.starts_with?(Atom.to_string(module), "Elixir.Ecto.") do
      struct
      |> Map.from_struct()
      |> Map.new(fn {key, value} -> {key, shift(value, by)} end)
      |> Map.put(:__struct__, module)
    else
      struct
    end
  end

  def shift(other, _by), do: other
end
