defmodule Ecto.Adapters.LibSql.InsertAll do
  @moduledoc false
  # `Repo.insert_all/3` in as many statements as SQLite needs: one for each run of rows that give the same columns, since
  # it has no DEFAULT for a single value, and never more parameters or bytes than fit. Several go in one transaction, in the
  # order of the rows, and their results are joined. Called by the adapter.
  #
  # Placeholders and the parameters of an on_conflict query travel with each statement, so what they take, the rows have not.

  alias Ecto.Adapters.LibSql.QuerySql
  alias Ecto.Adapters.SQL
  alias EctoLibSql.{Parameter, Query, State}
  alias LibsqlPort.Connection

  # SQLite's limit.
  @parameters_max 32_766
  # More rows in a statement are not faster.
  @bytes_max 8 * 1024 * 1024
  # The smallest limit that a sidecar can have: what is below it needs no look at the sidecar's own.
  @frame_bytes_least 65_536
  # A request's header, address, limits and options.
  @request_bytes 256
  # In the text: `, (` and `)` of a row, `, ?32766` of a value. In the parameters: a blob beside its bytes, any other value.
  @row_bytes 4
  @number_bytes 8
  @blob_bytes 16
  @scalar_bytes 16

  @doc "As `Ecto.Adapters.SQL.insert_all/9`."
  def run(meta, schema, conn, header, rows, on_conflict, returning, placeholders, options) do
    insert = fn header, rows, on_conflict ->
      SQL.insert_all(meta, schema, conn, header, rows, on_conflict, returning, placeholders, options)
    end

    budget = fn ->
      in_all = placeholders ++ elem(on_conflict, 1)
      text = conn.insert(schema.prefix, schema.source, header, [header], on_conflict, returning, placeholders)
      taken = IO.iodata_length(text) + @request_bytes + (in_all |> Enum.map(&bytes/1) |> Enum.sum())
      budget(length(in_all), taken, fn -> frame_bytes_max(meta, options) end)
    end

    case statements(header, rows, on_conflict, budget) do
      [{header, rows, on_conflict}] -> insert.(header, rows, on_conflict)
      statements -> joined(meta, statements, insert, options)
    end
  end

  # What the sidecar accepts is known by each connection to it, that of the caller's transaction too.
  defp frame_bytes_max(meta, options) do
    options = [log: false] ++ Keyword.take(options, [:timeout, :deadline, :queue])

    case SQL.query(meta, %Query{operation: :state}, [], options) do
      {:ok, %State{conn: conn}} -> Connection.frame_bytes_max(conn)
      {:error, error} -> raise error
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

  @typep budget :: %{parameters: integer, bytes: integer, more: (() -> integer) | nil}

  @doc """
  What the rows of one statement may take, beside what all statements have in common: parameters, and bytes of the request.
  `frame_bytes_max` is called once there are more bytes than every sidecar accepts.
  """
  @spec budget(non_neg_integer, non_neg_integer, (() -> pos_integer)) :: budget
  def budget(parameters, bytes, frame_bytes_max) do
    %{
      parameters: @parameters_max - parameters,
      bytes: @frame_bytes_least - bytes,
      more: fn -> min(frame_bytes_max.() - bytes, @bytes_max) end
    }
  end

  @doc """
  The statements: `{header, rows, on_conflict}` each. Numbers of parameters in queries inside are moved to where they are
  in their own statement. A row that does not fit is a statement by itself.
  """
  @spec statements([atom], list | tuple, tuple, (() -> budget)) :: [{[atom], list | tuple, tuple}]
  def statements(header, rows, on_conflict, _budget) when is_tuple(rows) do
    [{header, rows, on_conflict}]
  end

  def statements(header, [row], on_conflict, _budget) when length(row) == length(header) do
    [{header, [row], on_conflict}]
  end

  def statements(header, rows, on_conflict, budget) do
    case chunks(rows, header, budget.()) do
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
  defp chunks(rows, header, budget) do
    width = length(header)

    {last, chunks, _budget} =
      Enum.reduce(rows, {nil, [], budget}, fn row, {chunk, chunks, budget} ->
        {columns, parameters, bytes} = measure(row, header, width)

        case joins?(chunk, columns, parameters, bytes, budget) do
          {true, budget} ->
            {add(chunk, row, parameters, bytes), chunks, budget}

          {false, budget} ->
            {add({columns, [], 0, 0}, row, parameters, bytes), [chunk | chunks], budget}
        end
      end)

    for {columns, rows, parameters, _bytes} <- Enum.reverse([last | chunks]),
        do: {columns, Enum.reverse(rows), parameters}
  end

  defp joins?(nil, _columns, _parameters, _bytes, budget), do: {false, budget}
  # SQLite's DEFAULT VALUES is one row.
  defp joins?({[], _rows, _parameters, _bytes}, _columns, _more, _more_bytes, budget), do: {false, budget}

  defp joins?({columns, _rows, parameters, bytes}, columns, more, more_bytes, budget) do
    cond do
      parameters + more > budget.parameters -> {false, budget}
      bytes + more_bytes <= budget.bytes -> {true, budget}
      budget.more == nil -> {false, budget}
      true -> within(bytes + more_bytes, %{budget | bytes: budget.more.(), more: nil})
    end
  end

  defp joins?(_chunk, _columns, _parameters, _bytes, budget), do: {false, budget}

  defp within(bytes, budget), do: {bytes <= budget.bytes, budget}

  defp add({columns, rows, parameters, bytes}, row, more, more_bytes) do
    {columns, [row | rows], parameters + more, bytes + more_bytes}
  end

  defp measure(row, header, width) do
    columns = if length(row) == width, do: header, else: Enum.filter(header, &List.keymember?(row, &1, 0))

    Enum.reduce(row, {columns, 0, @row_bytes}, fn {_field, value}, {columns, parameters, bytes} ->
      {count, size} = weight(value)
      {columns, parameters + count, bytes + size}
    end)
  end

  # Parameters, and bytes of text and values at most.
  defp weight({%Ecto.Query{} = query, params}) do
    text = query |> QuerySql.all() |> IO.iodata_length()
    {length(params), Enum.reduce(params, text, &(bytes(&1) + &2))}
  end

  defp weight({:placeholder, _index}), do: {0, @number_bytes}
  defp weight(value), do: {1, bytes(value) + @number_bytes}

  # Of a value as it travels. A binary that is no UTF-8 may travel as a blob.
  defp bytes(text) when is_binary(text), do: byte_size(text) + @blob_bytes
  defp bytes({:blob, bytes}) when is_binary(bytes), do: byte_size(bytes) + @blob_bytes
  defp bytes(number) when is_number(number) or is_nil(number) or is_boolean(number), do: @scalar_bytes

  defp bytes(value) do
    case Parameter.encode(value) do
      encoded when is_binary(encoded) -> bytes(encoded)
      {:blob, bytes} when is_binary(bytes) -> bytes({:blob, bytes})
      _scalar_or_none -> @scalar_bytes
    end
  end

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
