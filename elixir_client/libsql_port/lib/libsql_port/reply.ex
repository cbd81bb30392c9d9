defmodule LibsqlPort.Reply do
  @moduledoc false
  # The one door through which replies become values: decodes a frame, tells an error reply from the others, joins the
  # rows that came in frames before it, and gives each request the form of answer that it knows. Whatever bytes another
  # program sends, nothing is raised. Pure.

  alias LibsqlPort.{Description, Error, Result, Status, Wire}

  @type chunk :: {non_neg_integer, binary}
  @type times :: {non_neg_integer, non_neg_integer, non_neg_integer} | nil

  @ok Wire.tag(:ok)
  @error Wire.tag(:error)
  @result Wire.tag(:result)
  @batch Wire.tag(:batch_reply)
  @more_rows Wire.tag(:more_rows)
  @last_rows Wire.tag(:last_rows)

  @doc """
  The answer to a request of this name, with the times that the reply tells, in microseconds. `:unreadable` for what is
  no reply to such a request.
  """
  @spec read(atom, binary, [chunk]) :: {:ok, term, times} | {:error, Error.t()} | :unreadable
  def read(name, frame, chunks) do
    {_id, tag, payload} = :erlang.binary_to_term(frame, [:safe])
    value(name, tag, payload, chunks)
  rescue
    # Only the form of foreign bytes is looked at in here, so whatever fails is that form.
    _unreadable -> :unreadable
  end

  defp value(_name, @error, error, _chunks), do: {:error, Error.from_wire(error)}

  defp value(name, @result, {rows, columns, count, _, _, _, queue, lock, run} = result, chunks)
       when name in [:execute, :query_one, :execute_prepared],
       do: result(result, chunks, rows, columns, count, {queue, lock, run})

  defp value(
         name,
         @result,
         {rows, columns, count, _, _, _, queue, lock, run, _server, _stale, _age} = result,
         chunks
       )
       when name in [:execute, :query_one, :execute_prepared],
       do: result(result, chunks, rows, columns, count, {queue, lock, run})

  defp value(:batch, @batch, {items, status, queue, lock, run}, [])
       when is_integer(queue) and is_integer(lock) and is_integer(run) do
    status = Result.tx_status(status)
    {:ok, Enum.map(items, &item(&1, status)), {queue, lock, run}}
  end

  defp value(:fetch, @more_rows, rows, []), do: {:ok, {:more, checked(rows)}, nil}
  defp value(:fetch, @last_rows, rows, []), do: {:ok, {:done, checked(rows)}, nil}
  defp value(name, @ok, value, []), do: {:ok, answer(name, value), nil}

  defp result(result, chunks, rows, columns, count, {queue, lock, run} = times)
       when is_integer(queue) and is_integer(lock) and is_integer(run) do
    true = chunks == [] or rows == []
    result = joined(Result.from_wire(result), chunks)
    true = rows?(result.rows, count) and binaries?(columns)
    {:ok, result, times}
  end

  defp answer(:open, {id, info}) when is_integer(id) and is_map(info), do: {id, info}
  defp answer(:prepare, {id, map}) when is_integer(id), do: {id, Description.from_wire(map)}
  defp answer(:describe, map), do: Description.from_wire(map)

  defp answer(:declare, {id, columns}) when is_integer(id) do
    true = binaries?(columns)
    {id, columns}
  end

  defp answer(name, status) when name in [:begin, :commit, :rollback, :savepoint, :release, :rollback_to],
    do: Result.tx_status(status)

  defp answer(:script, {statements, changes, status}) when is_integer(statements) and is_integer(changes),
    do: %{statements: statements, changes: changes, tx_status: Result.tx_status(status)}

  defp answer(:checkpoint, {busy, log, checkpointed}) when is_integer(log) and is_integer(checkpointed),
    do: {busy, log, checkpointed}

  defp answer(name, dropped?) when name in [:drop_function, :remove_hook] and is_boolean(dropped?),
    do: dropped?

  defp answer(:cancel, told?) when is_boolean(told?), do: told?

  defp answer(:subscribe, {id, {sequence, database}})
       when is_integer(id) and is_integer(sequence) and (is_binary(database) or database == nil),
       do: {id, sequence, database}

  defp answer(:unsubscribe, ended?) when is_boolean(ended?), do: ended?
  defp answer(name, map) when name in [:sync, :replication_status] and is_map(map), do: Status.replica(map)
  defp answer(:freeze, bytes) when is_integer(bytes), do: bytes
  defp answer(:flush, index) when is_integer(index) or index == nil, do: index
  defp answer(:status, map) when is_map(map), do: Status.sidecar(map)
  defp answer(:connection_status, map) when is_map(map), do: Status.connection(map)

  defp answer(name, _nothing)
       when name in [
              :close,
              :close_statement,
              :close_cursor,
              :reset,
              :ping,
              :create_function,
              :set_hook,
              :set_policy
            ],
       do: nil

  @compile {:inline, joined: 2}
  defp joined(result, []), do: result
  defp joined(result, chunks), do: %{result | rows: Wire.join_rows(chunks)}

  defp item({:error, error}, _status), do: {:error, Error.from_wire(error)}

  defp item({rows, columns, count, _, _} = item, status) do
    true = rows?(rows, count) and binaries?(columns)
    Result.from_item(item, status)
  end

  defp checked(rows) do
    true = rows?(rows, length(rows))
    rows
  end

  # A proper list of so many lists.
  defp rows?([row | rows], left) when is_list(row) and left > 0, do: rows?(rows, left - 1)
  defp rows?([], 0), do: true
  defp rows?(_rows, _left), do: false

  defp binaries?([name | names]) when is_binary(name), do: binaries?(names)
  defp binaries?(names), do: names == []
end
