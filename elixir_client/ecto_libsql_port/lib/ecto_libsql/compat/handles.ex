defmodule EctoLibSql.Handles do
  @moduledoc false
  # Names for connections, transactions, statements and cursors, as ecto_libsql's users pass them around: binaries that
  # say nothing. `EctoLibSql.Native` is the only one to read them; connections of a pool have none.
  #
  # The table is shared because any process may hold a name. A name dies with its connection: when that is closed, or
  # when the process ends to which it belongs, for then the sidecar has closed it.

  use GenServer

  alias EctoLibSql.State
  alias LibsqlPort.{Connection, Error}

  @table __MODULE__

  @type id :: String.t()
  @type kind :: :transaction | :statement | :cursor | :update_hook

  @codes %{
    connection: :unknown_connection,
    transaction: :no_transaction,
    statement: :unknown_statement,
    cursor: :unknown_cursor,
    update_hook: :unknown_connection
  }

  @spec start_link(term) :: GenServer.on_start()
  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # --- connections ----------------------------------------------------------------------------------------------

  @doc "Makes a connection known, until the calling process ends."
  @spec register(State.t()) :: State.t()
  def register(%State{conn_id: conn_id} = state) do
    if present?() do
      :ets.insert(@table, {conn_id, :connection, conn_id, state})
      GenServer.cast(__MODULE__, {:watch, self(), conn_id})
    end

    state
  end

  @doc "Forgets a connection and what was opened on it."
  @spec forget(id) :: :ok
  def forget(conn_id) do
    if present?() do
      :ets.match_delete(@table, {:_, :_, conn_id, :_})
      GenServer.cast(__MODULE__, {:unwatch, conn_id})
    end

    :ok
  end

  @doc "The connection of a state, which may have been made by hand out of an id."
  @spec connection(State.t() | id) :: {:ok, Connection.t()} | {:error, Error.t()}
  def connection(%State{conn: %Connection{} = conn}), do: {:ok, conn}
  def connection(%State{conn_id: conn_id}), do: connection(conn_id)

  def connection(conn_id) do
    with {:ok, _conn_id, %State{conn: conn}} <- lookup(conn_id, :connection), do: {:ok, conn}
  end

  @doc "The state itself, or that of its id."
  @spec state(State.t()) :: {:ok, State.t()} | {:error, Error.t()}
  def state(%State{conn: %Connection{}} = state), do: {:ok, state}

  def state(%State{conn_id: conn_id, trx_id: nil} = given) do
    with {:ok, _conn_id, known} <- lookup(conn_id, :connection) do
      {:ok, %{known | mode: given.mode, sync: given.sync}}
    end
  end

  def state(%State{trx_id: trx_id} = given) do
    with {:ok, state} <- state(%{given | trx_id: nil}), do: {:ok, begun(state, trx_id)}
  end

  @doc "A state inside a transaction that was begun by hand."
  @spec begun(State.t(), id) :: State.t()
  def begun(state, trx_id), do: %{state | trx_id: trx_id, begun: true, status: :transaction, savepoints: 0}

  @doc """
  The connection of a transaction. The name is one that `EctoLibSql.Native` gave, or, for a transaction that
  `EctoLibSql.handle_begin/2` began, the connection's own.
  """
  @spec transaction(id | nil, id) :: {:ok, Connection.t()} | {:error, Error.t()}
  def transaction(trx_id, conn_id) do
    case transaction_owner(trx_id) do
      {:ok, ^conn_id} -> connection(conn_id)
      {:ok, _other} -> {:error, error(:transaction, "does not belong to this connection")}
      {:error, _} = error -> error
    end
  end

  @doc "The id of the connection on which a transaction was begun."
  @spec transaction_owner(id | nil) :: {:ok, id} | {:error, Error.t()}
  def transaction_owner(trx_id) do
    with {:error, error} <- lookup(trx_id, :transaction),
         {:error, _} <- lookup(trx_id, :connection) do
      {:error, error}
    else
      {:ok, conn_id, _} -> {:ok, conn_id}
    end
  end

  # --- what is opened on them -----------------------------------------------------------------------------------

  @doc "Names something of a connection."
  @spec put(kind, id, term) :: id
  def put(kind, conn_id, value) do
    id = "#{conn_id}-#{kind}-#{System.unique_integer([:positive])}"
    :ets.insert(@table, {id, kind, conn_id, value})
    id
  end

  @doc "Replaces what a name stands for."
  @spec update(kind, id, id, term) :: :ok
  def update(kind, conn_id, id, value) do
    true = :ets.insert(@table, {id, kind, conn_id, value})
    :ok
  end

  @doc "What a name stands for, and the connection that it belongs to."
  @spec lookup(id, kind | :connection) :: {:ok, id, term} | {:error, Error.t()}
  def lookup(id, kind) do
    with true <- present?(),
         [{^id, ^kind, conn_id, value}] <- :ets.lookup(@table, id) do
      {:ok, conn_id, value}
    else
      _ -> {:error, error(kind, "not found")}
    end
  end

  @doc "What a name stands for, if it belongs to this connection."
  @spec owned(id, kind, id) :: {:ok, term} | {:error, Error.t()}
  def owned(id, kind, conn_id) do
    case lookup(id, kind) do
      {:ok, ^conn_id, value} -> {:ok, value}
      {:ok, _other, _value} -> {:error, error(kind, "does not belong to connection")}
      {:error, _} = error -> error
    end
  end

  @doc "Forgets a name."
  @spec delete(id) :: :ok
  def delete(id) do
    :ets.delete(@table, id)
    :ok
  end

  @doc """
  What a statement has written on a connection to a server, which keeps no counters between statements: the last rowid, the rows of
  the last statement that wrote, and those of all.
  """
  @spec count(id, integer, non_neg_integer) :: :ok
  def count(conn_id, last_insert_rowid, changes) do
    if changes > 0 and present?() do
      {_rowid, _changes, total} = counts(conn_id)

      :ets.insert(
        @table,
        {{conn_id, :counts}, :counts, conn_id, {last_insert_rowid, changes, total + changes}}
      )
    end

    :ok
  end

  @doc "What was counted so far."
  @spec counts(id) :: {integer, non_neg_integer, non_neg_integer}
  def counts(conn_id) do
    case :ets.lookup(@table, {conn_id, :counts}) do
      [{_key, :counts, _conn_id, counts}] -> counts
      [] -> {0, 0, 0}
    end
  end

  # The words are those that ecto_libsql's users match.
  defp error(kind, words) do
    Error.new(Map.fetch!(@codes, kind), String.capitalize(Atom.to_string(kind)) <> " " <> words)
  end

  # Nobody needs to have started the application for a connection without names: Mix tasks have not.
  defp present?, do: :ets.whereis(@table) != :undefined

  # --- its process ----------------------------------------------------------------------------------------------

  @impl true
  def init(_) do
    _ = :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
    {:ok, %{}}
  end

  # Monitors by connection; of an owner with many connections there are as many.
  @impl true
  def handle_cast({:watch, owner, conn_id}, monitors) do
    {:noreply, Map.put(monitors, conn_id, Process.monitor(owner))}
  end

  def handle_cast({:unwatch, conn_id}, monitors) do
    {monitor, monitors} = Map.pop(monitors, conn_id)
    if monitor, do: Process.demonitor(monitor, [:flush])
    {:noreply, monitors}
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _owner, _reason}, monitors) do
    case Enum.find(monitors, &match?({_, ^monitor}, &1)) do
      {conn_id, _} ->
        :ets.match_delete(@table, {:_, :_, conn_id, :_})
        {:noreply, Map.delete(monitors, conn_id)}

      nil ->
        {:noreply, monitors}
    end
  end
end
