defmodule LibsqlPort.Transaction do
  @moduledoc false
  # `LibsqlPort.transaction/3`. Knows what begins and what ends one; how to speak to the sidecar is `Connection`'s.
  #
  # The transaction has a number in the sidecar, which is part of the address of the connection that the function is
  # given: whoever uses that one is inside, and so is the process that runs the function by whichever struct of the
  # connection. Others wait until it has ended. Once the engine has rolled it back, nothing runs under its number.

  alias LibsqlPort.{Connection, Error, Options, Request}

  # After these a ROLLBACK has nothing left to do.
  @over [:no_transaction, :sidecar_down, :not_sent, :connection_closed, :unknown_connection]

  @spec run(Connection.t(), (Connection.t() -> result), keyword) ::
          {:ok, result} | {:error, Error.t() | term}
        when result: var
  def run(conn, fun, options) do
    with :ok <- Options.request(:transaction, options),
         {mode, options} = Keyword.pop(options, :mode, :immediate),
         {:ok, conn} <- enter(conn, mode, options) do
      inner = %{conn | depth: conn.depth + 1, transaction: make_ref()}
      Request.inside(inner, fn -> run_inside(conn, inner, fun, options) end)
    end
  end

  defp run_inside(conn, inner, fun, options) do
    fun.(inner)
  catch
    :throw, {:libsql_port_rollback, ref, value} when ref == inner.transaction ->
      undo(conn)
      {:error, value}

    kind, reason ->
      undo(conn)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result -> finish(conn, result, options)
  end

  @spec rollback(Connection.t(), term) :: no_return
  def rollback(%Connection{transaction: nil}, _value) do
    raise ArgumentError, "rollback/2 takes the connection that LibsqlPort.transaction/3 gave to its function"
  end

  def rollback(conn, value), do: throw({:libsql_port_rollback, conn.transaction, value})

  # The connection on which the transaction is ended: the held one, or the one around a savepoint.
  defp enter(%{depth: 0} = conn, mode, options), do: Connection.begin_held(conn, mode, options)

  defp enter(conn, _mode, options) do
    with {:ok, _} <- Connection.savepoint(conn, savepoint(conn), options), do: {:ok, conn}
  end

  # A commit that failed, on a deferred foreign key for example, leaves the transaction open.
  defp finish(conn, result, options) do
    case leave(conn, options) do
      {:ok, _} ->
        {:ok, result}

      {:error, _} = error ->
        undo(conn)
        error
    end
  end

  defp leave(%{depth: 0} = conn, options), do: Connection.commit(conn, options)
  defp leave(conn, options), do: Connection.release(conn, savepoint(conn), options)

  # With the connection's own timeout: one that was made short for the work must not keep it from being undone.
  defp undo(%{depth: 0} = conn) do
    conn |> Connection.rollback() |> ensure(conn)
  end

  defp undo(conn) do
    name = savepoint(conn)

    with {:ok, _} <- Connection.rollback_to(conn, name), {:ok, _} = ok <- Connection.release(conn, name) do
      ok
    end
    |> ensure(conn)
  end

  defp ensure({:ok, _}, _conn), do: :ok
  defp ensure({:error, %Error{code: code}}, _conn) when code in @over, do: :ok

  # SQLite itself has rolled back the whole transaction, for a full disk for example: the savepoint went with it.
  defp ensure({:error, %Error{tx_status: :none}}, _conn), do: :ok

  # What could not be undone must not be committed by whoever comes next: closing rolls back.
  defp ensure({:error, _}, conn) do
    _ = Connection.close(conn, [])
    :ok
  end

  defp savepoint(conn), do: "libsql_port_#{conn.depth}"
end
