defmodule EctoLibSql.Native.Connections do
  @moduledoc false
  # What `EctoLibSql.Native` offers for a connection as a whole: opening, closing, its counters, its time-outs.

  alias EctoLibSql.{Arguments, ByHand, Handles, State}
  alias EctoLibSql.Native.{Answer, Cursors, Hooks, Transactions}
  alias LibsqlPort.Replica

  def connect(options, mode) when mode in [:local, :remote, :remote_replica, :unknown, nil] do
    case ByHand.connect(options) do
      {:ok, %State{conn_id: conn_id}} -> conn_id
      {:error, error} -> {:error, Exception.message(error)}
    end
  end

  def connect(_options, _other), do: {:error, :unsupported}

  def ping(conn_id) do
    case status(conn_id) do
      {:ok, _} -> true
      error -> Answer.text(error, "Connection")
    end
  end

  # A transaction's name is no resource: closing it means giving it up.
  def close(id, :conn_id) do
    with {:ok, _conn_id, state} <- Handles.lookup(id, :connection) do
      Hooks.clear(id)
      ByHand.disconnect(:closed, state)
    end
    |> Answer.text()
  end

  def close(id, :trx_id) do
    with {:ok, conn_id, _} <- Handles.lookup(id, :transaction),
         {:ok, _} <- Transactions.finish(id, conn_id, "rollback") do
      :ok
    end
    |> Answer.text()
  end

  def close(id, :stmt_id) do
    with {:ok, _conn_id, _statement} <- Handles.lookup(id, :statement) do
      Handles.delete(id)
    end
    |> Answer.text()
  end

  def close(id, :cursor_id), do: Cursors.close(id)

  def close_conn(id, kind, state) do
    case close(id, kind) do
      :ok -> :ok
      {:error, message} -> {:error, message, state}
    end
  end

  # --- counters -------------------------------------------------------------------------------------------------

  def last_insert_rowid(conn_or_id), do: counter(conn_or_id, 0, "SELECT last_insert_rowid()")
  def changes(conn_or_id), do: counter(conn_or_id, 1, "SELECT changes()")
  def total_changes(conn_or_id), do: counter(conn_or_id, 2, "SELECT total_changes()")

  # On a server the next statement may run on another connection of its: what the statements themselves have said is counted here.
  defp counter(conn_or_id, place, sql) do
    with {:ok, conn} <- Handles.connection(conn_or_id),
         {:ok, [number]} <- counted(conn, place, sql) do
      number
    end
    |> Answer.text()
  end

  defp counted(%{mode: :local} = conn, _place, sql), do: LibsqlPort.query_one(conn, sql)

  defp counted(conn, place, _sql),
    do: {:ok, [conn |> State.connection_id() |> Handles.counts() |> elem(place)]}

  def autocommit?(conn_or_id) do
    with {:ok, status} <- status(conn_or_id) do
      status.autocommit
    end
    |> Answer.text()
  end

  defp status(conn_or_id) do
    with {:ok, conn} <- Handles.connection(conn_or_id), do: LibsqlPort.status(conn)
  end

  # --- statements -----------------------------------------------------------------------------------------------

  def query(conn_id, sql, params) do
    with {:ok, conn} <- Handles.connection(conn_id),
         {:ok, result} <- LibsqlPort.query(conn, sql, Arguments.encode(params)) do
      Answer.map(result)
    end
    |> Answer.text()
  end

  # --- care -----------------------------------------------------------------------------------------------------

  # The sidecar sees the pragma and keeps its own busy handler, with its deadlines, informed.
  def busy_timeout(conn_or_id, timeout_ms) when is_integer(timeout_ms) and timeout_ms >= 0 do
    done(conn_or_id, &LibsqlPort.query(&1, "PRAGMA busy_timeout = #{timeout_ms}"))
  end

  def reset(conn_or_id), do: done(conn_or_id, &LibsqlPort.reset/1)

  def set_authorizer(conn_or_id, fun), do: done(conn_or_id, &LibsqlPort.set_authorizer(&1, fun))
  def remove_authorizer(conn_or_id), do: done(conn_or_id, &LibsqlPort.remove_authorizer/1)

  def set_policy(conn_or_id, policy), do: done(conn_or_id, &LibsqlPort.set_policy(&1, policy))

  def interrupt(conn_or_id), do: done(conn_or_id, &LibsqlPort.cancel/1)

  defp done(conn_or_id, request) do
    with {:ok, conn} <- Handles.connection(conn_or_id) do
      case request.(conn) do
        {:error, _} = error -> error
        _ok -> :ok
      end
    end
    |> Answer.text()
  end

  # --- replicas -------------------------------------------------------------------------------------------------

  def sync(conn_or_id, options) do
    with {:ok, conn} <- Handles.connection(conn_or_id),
         {:ok, _status} <- Replica.sync(conn, options) do
      :ok
    else
      {:error, %{code: :unsupported}} -> {:error, :unsupported}
      error -> Answer.text(error)
    end
  end

  # A database that is no replica has no frames of a primary: its number is 0, if there is such a connection at all.
  def frame_number(conn_or_id), do: frame(conn_or_id, :index)
  def max_write_frame(conn_or_id), do: frame(conn_or_id, :write_index)

  defp frame(conn_or_id, name) do
    with {:ok, %{mode: :replica} = conn} <- Handles.connection(conn_or_id),
         {:ok, status} <- Replica.status(conn) do
      status[name] || 0
    else
      {:ok, _no_replica} -> 0
      error -> error
    end
    |> Answer.text()
  end
end
