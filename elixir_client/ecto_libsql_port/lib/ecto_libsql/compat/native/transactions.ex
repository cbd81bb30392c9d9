defmodule EctoLibSql.Native.Transactions do
  @moduledoc false
  # Transactions begun by hand. Each has a name of its own, which ends with it: a state that outlived its transaction is
  # refused, where the bare connection would run the statement and commit it by itself.

  alias EctoLibSql.{Arguments, ByHand, Handles, Query, State}
  alias EctoLibSql.Native.Answer
  alias LibsqlPort.{Connection, Error}

  @inside [in_transaction: true]

  def begin(%State{} = state, options) do
    with {:ok, state} <- Handles.state(%{state | trx_id: nil}),
         {:ok, _status} <- Connection.begin(state.conn, Keyword.get(options, :behavior, :deferred)) do
      {:ok, Handles.begun(state, Handles.put(:transaction, state.conn_id, nil))}
    end
    |> Answer.text()
  end

  def begin_id(conn_id, behavior) do
    with {:ok, state} <- begin(%State{conn_id: conn_id}, behavior: behavior), do: state.trx_id
  end

  def commit(%State{} = state), do: finish(state.trx_id, state.conn_id, "commit") |> Answer.text()
  def rollback(%State{} = state), do: finish(state.trx_id, state.conn_id, "rollback") |> Answer.text()

  @doc "Ends a transaction by its name. One that cannot be committed stays open, to be rolled back."
  def finish(trx_id, conn_id, verb) when verb in ["commit", "rollback"] do
    with {:ok, conn} <- Handles.transaction(trx_id, conn_id),
         {:ok, _status} <- finish(conn, verb) do
      # One that was begun through the callback bears the name of its connection, which stays.
      if trx_id != conn_id, do: Handles.delete(trx_id)
      {:ok, verb}
    end
  end

  defp finish(conn, "commit"), do: Connection.commit(conn, @inside)
  defp finish(conn, "rollback"), do: Connection.rollback(conn, @inside)

  def status(trx_id) do
    with {:ok, conn_id} <- Handles.transaction_owner(trx_id),
         {:ok, conn} <- Handles.connection(conn_id),
         {:ok, %{autocommit: false}} <- LibsqlPort.status(conn) do
      :ok
    else
      {:ok, _autocommit} -> {:error, "Transaction not found"}
      error -> Answer.text(error)
    end
  end

  # --- statements inside ----------------------------------------------------------------------------------------

  def execute(%State{} = state, %Query{} = query, params) do
    case Handles.transaction(state.trx_id, state.conn_id) do
      {:ok, _conn} -> ByHand.by_hand(query, params, [], state)
      {:error, error} -> {:error, EctoLibSql.Error.new(error, query.statement), state}
    end
  end

  @doc "By ids: what the statement yields, or how many rows it wrote."
  def run(trx_id, conn_id, sql, params) do
    with {:ok, conn} <- Handles.transaction(trx_id, conn_id) do
      LibsqlPort.query(conn, sql, Arguments.encode(params), @inside)
    end
  end

  # --- savepoints -----------------------------------------------------------------------------------------------

  def savepoint(state, name), do: named(state, name, &Connection.savepoint/3)
  def release(state, name), do: named(state, name, &Connection.release/3)
  def rollback_to(state, name), do: named(state, name, &Connection.rollback_to/3)

  defp named(%State{trx_id: nil}, _name, _request), do: {:error, "No active transaction"}

  defp named(%State{} = state, name, request) do
    with :ok <- identifier(name),
         {:ok, conn} <- Handles.transaction(state.trx_id, state.conn_id),
         {:ok, _status} <- request.(conn, name, @inside) do
      :ok
    end
    |> Answer.text()
  end

  # The driver quotes names, so none can do harm; that they are identifiers is what ecto_libsql promises.
  defp identifier(name) do
    if Regex.match?(~r/\A[A-Za-z_][A-Za-z0-9_]*\z/, name) do
      :ok
    else
      {:error,
       Error.new(:invalid_parameter, "Invalid savepoint name #{inspect(name)}: letters, digits and _ only")}
    end
  end
end
