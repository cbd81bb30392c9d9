defmodule EctoLibSql.Native.Cursors do
  @moduledoc false
  # Cursors by name. The rows stay in the sidecar until they are fetched.

  alias EctoLibSql.{Arguments, Handles}
  alias EctoLibSql.Native.Answer
  alias LibsqlPort.{Cursor, Error}

  def declare(conn_id, id, kind, sql, params) do
    with {:ok, conn, options} <- context(conn_id, id, kind),
         {:ok, cursor} <- Cursor.declare(conn, sql, Arguments.encode(params), options) do
      Handles.put(:cursor, conn_id, {:open, cursor})
    end
    |> Answer.text()
  end

  defp context(conn_id, trx_id, :transaction) do
    with {:ok, conn} <- Handles.transaction(trx_id, conn_id), do: {:ok, conn, [in_transaction: true]}
  end

  defp context(conn_id, conn_id, :connection) do
    with {:ok, conn} <- Handles.connection(conn_id), do: {:ok, conn, []}
  end

  defp context(_conn_id, _other, :connection) do
    {:error, Error.new(:unknown_connection, "Connection ID mismatch")}
  end

  @doc "At most that many rows: `{columns, rows, count}`, without rows at the end."
  def fetch(conn_id, cursor_id, rows_max) do
    with {:ok, {status, cursor}} <- Handles.owned(cursor_id, :cursor, conn_id),
         {:ok, rows} <- rows(status, conn_id, cursor_id, cursor, rows_max) do
      {cursor.columns, rows, length(rows)}
    end
    |> Answer.text()
  end

  defp rows(:exhausted, _conn_id, _cursor_id, _cursor, _rows_max), do: {:ok, []}

  defp rows(:open, conn_id, cursor_id, cursor, rows_max) do
    with {:ok, conn} <- Handles.connection(conn_id) do
      case Cursor.fetch(conn, cursor, chunk_rows: rows_max) do
        {:more, rows} ->
          {:ok, rows}

        {:done, rows} ->
          Handles.update(:cursor, conn_id, cursor_id, {:exhausted, cursor})
          {:ok, rows}

        {:error, _} = error ->
          error
      end
    end
  end

  def close(cursor_id) do
    with {:ok, conn_id, {_status, cursor}} <- Handles.lookup(cursor_id, :cursor),
         {:ok, conn} <- Handles.connection(conn_id) do
      Handles.delete(cursor_id)
      Cursor.close(conn, cursor)
    end
    |> Answer.text()
  end
end
