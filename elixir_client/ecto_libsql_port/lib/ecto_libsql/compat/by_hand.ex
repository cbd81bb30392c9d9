defmodule EctoLibSql.ByHand do
  @moduledoc false
  # The callbacks of `EctoLibSql` as ecto_libsql's users call them without `DBConnection`: with a text in place of a
  # query, with a map of named parameters, with a state that was made of an id. What comes from a pool never gets here.

  alias EctoLibSql.{Arguments, Error, Handles, Query, State}
  alias EctoLibSql.Native.{Statements, Transactions}

  @doc "Runs a statement; raises for a map that lacks a parameter, as ecto_libsql does."
  @spec execute(String.t() | Query.t(), list | map, keyword, State.t()) ::
          {:ok, Query.t(), EctoLibSql.Result.t(), State.t()}
          | {:error | :disconnect | :disconnect_and_retry, Exception.t(), State.t()}
  def execute(sql, params, options, state) when is_binary(sql) do
    execute(Query.new(sql), params, options, state)
  end

  def execute(%Query{statement: sql} = query, params, options, state) do
    with {:ok, state} <- Handles.state(state),
         :ok <- own_transaction(state),
         {:ok, params} <- Statements.positional!(state.conn, sql, params) do
      EctoLibSql.handle_execute(query, Arguments.encode(params), options, state)
    else
      {:error, error} -> {:error, Error.new(error, sql), state}
    end
  end

  # A state that holds the name of another connection's transaction, or of one that is over, would write outside of it.
  defp own_transaction(%State{trx_id: nil}), do: :ok

  defp own_transaction(%State{trx_id: trx_id, conn_id: conn_id}) do
    with {:ok, _conn} <- Transactions.connection(trx_id, conn_id), do: :ok
  end

  @doc "Closes the connection of an id."
  @spec disconnect(State.t()) :: :ok
  def disconnect(%State{} = state) do
    case Handles.state(state) do
      {:ok, state} -> EctoLibSql.disconnect(:by_hand, state)
      # It is closed already: its process has ended.
      {:error, _} -> :ok
    end
  end
end
