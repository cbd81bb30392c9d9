defmodule EctoLibSql.ByHand do
  @moduledoc false
  # The callbacks of `EctoLibSql` as ecto_libsql's users call them without a pool: with a text in place of a query, with a
  # map of named parameters, with a state that was made of an id. The pool calls `EctoLibSql.Protocol` and never gets here.

  alias EctoLibSql.{Arguments, Error, Handles, OptionPlaces, Protocol, Query, Result, State}
  alias EctoLibSql.Native.Statements

  @doc "Opens a connection and makes it known by its id."
  @spec connect(keyword) :: {:ok, State.t()} | {:error, Exception.t()}
  def connect(options) do
    with :ok <- places(options), {:ok, state} <- Protocol.connect(options), do: {:ok, Handles.register(state)}
  end

  # What is no list of options is told in its turn.
  defp places(options) do
    if Keyword.keyword?(options), do: OptionPlaces.check(:connection, options), else: :ok
  end

  @doc "Closes a connection, also that of an id."
  @spec disconnect(term, State.t()) :: :ok
  def disconnect(reason, %State{} = state) do
    case Handles.state(state) do
      {:ok, state} ->
        Handles.forget(state.conn_id)
        Protocol.disconnect(reason, state)

      # It is closed already: its process has ended.
      {:error, _} ->
        :ok
    end
  end

  @doc "Runs a statement; raises for a map that lacks a parameter, as ecto_libsql does."
  @spec execute(String.t() | Query.t(), list | map, keyword, State.t()) ::
          {:ok, Query.t(), EctoLibSql.Result.t(), State.t()}
          | {:error | :disconnect | :disconnect_and_retry, Exception.t(), State.t()}
  def execute(sql, params, options, state) when is_binary(sql) do
    by_hand(Query.new(sql), params, options, state)
  end

  def execute(%Query{} = query, params, options, %State{conn: nil} = state) do
    by_hand(query, params, options, state)
  end

  def execute(%Query{} = query, params, options, state),
    do: query |> Protocol.handle_execute(params, options, state) |> tap(&count/1)

  @doc "The same, with parameters as ecto_libsql takes them."
  @spec by_hand(Query.t(), list | map, keyword, State.t()) :: tuple
  def by_hand(%Query{statement: sql} = query, params, options, state) do
    with {:ok, state} <- Handles.state(state),
         :ok <- own_transaction(state),
         {:ok, params} <- Statements.positional!(state.conn, sql, params) do
      query
      |> Protocol.handle_execute(Arguments.encode(params), options, state)
      |> tap(&count/1)
      |> forget_rolled_back()
    else
      {:error, error} -> {:error, Error.new(error, sql), state}
    end
  end

  defp count({:ok, _query, %Result{} = result, %State{conn: %{mode: mode}} = state}) when mode != :local,
    do: Handles.count(state.conn_id, result.last_insert_rowid, result.changes)

  defp count(_local_or_error), do: :ok

  # A state that holds the name of another connection's transaction, or of one that is over, would write outside of it.
  defp own_transaction(%State{trx_id: nil}), do: :ok

  defp own_transaction(%State{trx_id: trx_id, conn_id: conn_id}) do
    with {:ok, _conn} <- Handles.transaction(trx_id, conn_id), do: :ok
  end

  # The engine has rolled it back by itself: its name ends too, for a caller may go on with the state from before.
  defp forget_rolled_back({:error, error, %State{begun: true, status: :idle, trx_id: trx_id} = state}) do
    if trx_id != state.conn_id, do: Handles.delete(trx_id)
    {:error, error, state}
  end

  defp forget_rolled_back(answer), do: answer
end
