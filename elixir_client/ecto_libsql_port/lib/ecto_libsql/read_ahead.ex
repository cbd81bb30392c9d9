defmodule EctoLibSql.ReadAhead do
  @moduledoc false
  # The next chunk of a stream is read while the program works on this one: from the second chunk on, since whoever takes
  # only the first rows must not wait for others. Called by `EctoLibSql.Protocol`.
  #
  # Only for what certainly reads: a fetch that is given up is stopped, and stopping a statement that writes would roll back the
  # transaction. So it is an option, which the adapter sets for Ecto's queries.
  #
  # `ahead` of the state has each cursor that gave a chunk: `:begun`, or the fetch that is under way for it. What is sent
  # to the connection meanwhile waits for that fetch, as it would have waited for it before. `cursors` has those that the open
  # transaction declared and has not closed: nobody can read on when it has ended.

  alias EctoLibSql.State
  alias LibsqlPort.Cursor

  @type fetch ::
          ((keyword -> {:more | :done, [[term]]} | {:error, LibsqlPort.Error.t()}) ->
             {:more | :done, [[term]]} | {:error, LibsqlPort.Error.t()})

  @doc """
  The next rows; `ahead?` tells whether to ask for those behind them too. `request` calls a function with the options of a
  request, or fails because the time is up.
  """
  @spec next(State.t(), Cursor.t(), boolean, fetch) ::
          {{:more | :done, [[term]]} | {:error, LibsqlPort.Error.t()}, State.t()}
  def next(%State{conn: conn, ahead: ahead} = state, %{id: id} = cursor, ahead?, request) do
    answer =
      case ahead do
        %{^id => {:sent, sent}} -> request.(fn _options -> Cursor.fetched(conn, sent) end)
        _none -> request.(&Cursor.fetch(conn, cursor, &1))
      end

    case answer do
      {:more, _rows} when ahead? -> {answer, put(state, cursor, more(state, cursor, request))}
      {:done, _rows} -> {answer, closed(state, cursor)}
      _more_or_error -> {answer, drop(state, cursor)}
    end
  end

  defp more(%State{conn: conn, ahead: ahead}, cursor, request) when is_map_key(ahead, cursor.id) do
    case request.(&Cursor.fetch_ahead(conn, cursor, &1)) do
      {:ok, sent} -> {:sent, sent}
      # The fetch itself will tell.
      {:error, _error} -> :begun
    end
  end

  defp more(_state, _cursor, _request), do: :begun

  @doc "The cursor was declared."
  @spec declared(State.t(), Cursor.t()) :: State.t()
  def declared(%State{begun: true} = state, cursor),
    do: %{state | cursors: Map.put(state.cursors, cursor.id, cursor)}

  def declared(state, _cursor), do: state

  @doc "The cursor is not read on, and is closed or about to be."
  @spec closed(State.t(), Cursor.t()) :: State.t()
  def closed(state, cursor) do
    state = drop(state, cursor)
    %{state | cursors: Map.delete(state.cursors, cursor.id)}
  end

  @doc """
  The transaction ends. Closes what it left open, by `request` as in `next/4`: cursors of streams that were suspended and never
  read on. The end would wait for what is being read for them, and a rollback for all their rows.
  """
  @spec transaction_ends(State.t(), (function -> term)) :: State.t()
  def transaction_ends(%State{cursors: cursors} = state, _request) when cursors == %{}, do: state

  def transaction_ends(%State{conn: conn, cursors: cursors} = state, request) do
    cursors = Map.values(cursors)
    # First of all of them, as each close would wait for what is being read.
    state = Enum.reduce(cursors, state, &closed(&2, &1))
    # If it fails, the end of the transaction will, too.
    for cursor <- cursors, do: request.(&Cursor.close(conn, cursor, &1))
    state
  end

  defp drop(%State{conn: conn, ahead: ahead} = state, cursor) do
    {fetch, ahead} = Map.pop(ahead, cursor.id)
    with {:sent, sent} <- fetch, do: Cursor.drop(conn, sent)
    %{state | ahead: ahead}
  end

  defp put(state, cursor, value), do: %{state | ahead: Map.put(state.ahead, cursor.id, value)}
end
