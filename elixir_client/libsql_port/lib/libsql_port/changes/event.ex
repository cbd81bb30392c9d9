defmodule LibsqlPort.Changes.Event do
  @moduledoc false
  # Frames of a subscription as data. Whatever bytes another program sends, nothing is raised. Pure.

  alias LibsqlPort.Wire

  @operations {:insert, :update, :delete}
  @reasons [:joined, :too_large, :unreadable]
  @kinds [:commit, :rollback, :wal]
  @phases [:began, :got, :gave_up]

  @doc "The subscription of an event frame; `nil` if it is of none."
  @spec subscription(binary) :: non_neg_integer | nil
  def subscription(<<_::binary-size(10), 104, _arity, 98, subscription::32, _::binary>>), do: subscription
  def subscription(_other), do: nil

  @doc "A piece of what a transaction has changed: whether it is the last one, and its bytes."
  @spec piece(binary) :: {boolean, binary} | :unreadable
  def piece(<<_::binary-size(10), 104, 3, 98, _::32, 97, last, 109, size::32, bytes::binary-size(size)>>)
      when last in [0, 1],
      do: {last == 1, bytes}

  def piece(_other), do: :unreadable

  @doc "What a transaction has changed, of all its pieces."
  @spec changes(binary) :: {:ok, map} | :unreadable
  def changes(body) do
    transaction(:erlang.binary_to_term(body, [:safe]))
  rescue
    # Only the form of foreign bytes is looked at in here.
    _unreadable -> :unreadable
  end

  @doc "The same, of the term that they make."
  @spec transaction(term) :: {:ok, map} | :unreadable
  def transaction({database, schema, connection, sequence, tables, changes}) do
    true = is_binary(database) and is_binary(schema) and is_integer(connection) and is_integer(sequence)
    tables = List.to_tuple(tables)

    {:ok,
     %{
       database: database,
       schema: schema,
       connection: connection,
       sequence: sequence,
       changes: Enum.map(changes, &change(&1, tables))
     }}
  rescue
    _unreadable -> :unreadable
  end

  def transaction(_other), do: :unreadable

  defp change({operation, table, rowid, old_rowid, key, old_key, old, new}, tables) when operation in 1..3 do
    {name, columns, key_columns} = elem(tables, table)

    %{
      operation: elem(@operations, operation - 1),
      table: name,
      rowid: value(rowid),
      old_rowid: value(old_rowid),
      key: row(key_columns, key) || %{},
      old_key: row(key_columns, old_key),
      old: row(columns, old),
      new: row(columns, new)
    }
  end

  defp change({4}, _tables), do: %{operation: :schema}
  defp change({5, reason}, _tables) when reason in @reasons, do: %{operation: :resync, reason: reason}

  defp value([]), do: nil
  defp value(rowid) when is_integer(rowid), do: rowid

  # Of a table of which no columns are wanted there are no values either.
  defp row(_columns, []), do: nil
  defp row(columns, values), do: columns |> pairs(values) |> :maps.from_list()

  defp pairs([column | columns], [value | values]), do: [{column, value} | pairs(columns, values)]
  defp pairs([], []), do: []

  @doc "The transactions that were left out."
  @spec lagged(binary) :: {:ok, {String.t(), pos_integer, pos_integer}} | :unreadable
  def lagged(frame) do
    case Wire.read_payload(frame) do
      {:ok, {_, database, from, to}} when is_binary(database) and is_integer(from) and is_integer(to) ->
        {:ok, {database, from, to}}

      _other ->
        :unreadable
    end
  end

  @doc "What a hook has told."
  @spec hook(binary) :: {:ok, map} | :unreadable
  def hook(frame) do
    case Wire.read_payload(frame) do
      {:ok, {_, kind, database, schema, connection, pages}}
      when kind in @kinds and is_binary(database) and is_binary(schema) and is_integer(connection) and
             is_integer(pages) ->
        {:ok, %{kind: kind, database: database, schema: schema, connection: connection, pages: pages}}

      _other ->
        :unreadable
    end
  end

  @doc "What has become of a wait for a lock."
  @spec busy(binary) :: {:ok, map} | :unreadable
  def busy(frame) do
    case Wire.read_payload(frame) do
      {:ok, {_, phase, database, connection, request, waited_us}}
      when phase in @phases and is_binary(database) and is_integer(connection) and is_integer(request) and
             is_integer(waited_us) ->
        {:ok,
         %{
           phase: phase,
           database: database,
           connection: connection,
           request: request,
           waited_us: waited_us
         }}

      _other ->
        :unreadable
    end
  end

  @doc "How far a request has come."
  @spec progress(binary) :: {:ok, map} | :unreadable
  def progress(frame) do
    case Wire.read_payload(frame) do
      {:ok, {_, database, connection, request, run_ms, steps}}
      when is_binary(database) and is_integer(connection) and is_integer(request) and is_integer(run_ms) and
             is_integer(steps) ->
        {:ok, %{database: database, connection: connection, request: request, run_ms: run_ms, steps: steps}}

      _other ->
        :unreadable
    end
  end

  @doc "How far the sync of a replica has come."
  @spec sync(binary) :: {:ok, map} | :unreadable
  def sync(frame) do
    with {:ok, database, done, known} <- counted(frame),
         do: {:ok, %{database: database, frames_done: done, frames_known: known}}
  end

  @doc "How far the copy of a replica has come."
  @spec freeze(binary) :: {:ok, map} | :unreadable
  def freeze(frame) do
    with {:ok, database, done, known} <- counted(frame),
         do: {:ok, %{database: database, pages_done: done, pages_known: known}}
  end

  defp counted(frame) do
    case Wire.read_payload(frame) do
      {:ok, {_, database, done, known}} when is_binary(database) and is_integer(done) and is_integer(known) ->
        {:ok, database, done, known}

      _other ->
        :unreadable
    end
  end
end
