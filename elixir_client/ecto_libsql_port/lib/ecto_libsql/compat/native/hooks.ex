defmodule EctoLibSql.Native.Hooks do
  @moduledoc false
  # Update hooks, as `EctoLibSql.Native` offers them: subscriptions to the changes that one connection makes.

  alias EctoLibSql.Handles
  alias LibsqlPort.Changes

  @type hook :: pid | (tuple -> any)

  @doc "Replaces the connection's hook. A function belongs to the calling process."
  @spec set(String.t(), hook) :: :ok | {:error, LibsqlPort.Error.t()}
  def set(conn_id, hook) do
    subscriber = if is_pid(hook), do: hook, else: self()

    with {:ok, conn} <- Handles.connection(conn_id),
         :ok <- clear(conn_id),
         options = [subscriber: subscriber, transform: &told(&1, conn.id, hook)],
         {:ok, subscription} <- Changes.subscribe(conn, options) do
      Handles.update(:update_hook, conn_id, id(conn_id), subscription)
    end
  end

  @doc "Takes it away, if there is one."
  @spec clear(String.t()) :: :ok
  def clear(conn_id) do
    with {:ok, subscription} <- Handles.owned(id(conn_id), :update_hook, conn_id) do
      Handles.delete(id(conn_id))
      Changes.unsubscribe(subscription)
    end

    :ok
  end

  @doc "Asks a process what a statement may do. Whoever does not answer is killed by the driver, which denies it."
  @spec ask(pid, LibsqlPort.Authorization.t()) :: :ok | :deny | :ignore
  def ask(pid, authorization) do
    reference = Process.monitor(pid)
    send(pid, {:authorize, {self(), reference}, authorization})

    receive do
      {^reference, decision} ->
        Process.demonitor(reference, [:flush])
        decision

      {:DOWN, ^reference, :process, ^pid, _reason} ->
        :deny
    end
  end

  defp id(conn_id), do: "#{conn_id}-update_hook"

  # A message for each row, from the subscription's process.
  defp told(%Changes{connection: connection} = message, connection, hook) do
    for %{table: table} = change <- message.changes,
        do: tell(hook, {change.operation, message.schema, table, change.rowid})

    nil
  end

  # Of other connections, or that there may be more: what a hook of SQLite does not tell either.
  defp told(_other, _connection, _hook), do: nil

  defp tell(pid, row) when is_pid(pid), do: send(pid, row)
  defp tell(fun, row), do: fun.(row)
end
