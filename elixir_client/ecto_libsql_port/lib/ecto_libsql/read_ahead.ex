defmodule EctoLibSql.ReadAhead do
  @moduledoc false
  # The next chunk of a stream is read while the program works on this one: from the second chunk on, since whoever takes
  # only the first rows must not wait for others. Called by `EctoLibSql.Protocol`.
  #
  # Only for what certainly reads: a fetch that is given up is stopped, and stopping a statement that writes would roll back the
  # transaction. So it is an option, which the adapter sets for Ecto's queries.
  #
  # `ahead` of the state has each cursor that gave a chunk: `:begun`, or the fetch that is under way for it. What is sent
  # to the connection meanwhile waits for that fetch, as it would have waited for it before.

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
      {:more, _rows} -> {answer, drop(state, cursor)}
      _closed -> {answer, drop(state, cursor)}
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

  @doc "The cursor is not read on."
  @spec drop(State.t(), Cursor.t()) :: State.t()
  def drop(%State{conn: conn, ahead: ahead} = state, cursor) do
    {fetch, ahead} = Map.pop(ahead, cursor.id)
    with {:sent, sent} <- fetch, do: Cursor.drop(conn, sent)
    %{state | ahead: ahead}
  end

  @doc "No cursor is read on: the transaction or the connection ends. For streams that nobody has read to an end or closed."
  @spec drop_all(State.t()) :: State.t()
  def drop_all(%State{ahead: ahead} = state) when ahead == %{}, do: state

  def drop_all(%State{conn: conn, ahead: ahead} = state) do
    for {_id, {:sent, sent}} <- ahead, do: Cursor.drop(conn, sent)
    %{state | ahead: %{}}
  end

  defp put(state, cursor, value), do: %{state | ahead: Map.put(state.ahead, cursor.id, value)}
end
