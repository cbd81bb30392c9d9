defmodule Ecto.Adapters.LibSql.StoredTableTest do
  # What a connection remembers of the schema after a rollback that came behind `writable_schema`.
  use ExUnit.Case, async: true

  alias Ecto.Adapters.LibSql.StoredTable

  @moduletag :tmp_dir

  # A schema has a number, which each change raises by one. A connection that still knows what was rolled back notices at
  # the next look, unless others have raised the number in the file to the one that it remembers.
  for changes <- 1..6, ends <- ["ROLLBACK TO here", "ROLLBACK"] do
    test "#{ends}, and #{changes} changes by another connection: the schema is that of the file", %{
      tmp_dir: dir
    } do
      sidecar = start_supervised!(LibsqlPort)
      [one, other] = for _ <- 1..2, do: connect(sidecar, dir)
      query!(one, "CREATE TABLE kept (a)")
      query!(one, "BEGIN IMMEDIATE")
      query!(one, "SAVEPOINT here")
      query!(one, "CREATE TABLE gone (a, b)")
      StoredTable.with_writable_schema(query(one), fn -> :ok end)
      # Reads the schema.
      query!(one, "SELECT * FROM gone")
      query!(one, unquote(ends))
      if unquote(ends) != "ROLLBACK", do: query!(one, "COMMIT")
      for number <- 1..unquote(changes), do: query!(other, "CREATE TABLE made#{number} (a)")

      assert {:error, %{message: message}} = LibsqlPort.query(one, "SELECT * FROM gone")
      assert message =~ "no such table"
      assert [] = query!(one, "SELECT * FROM made#{unquote(changes)}").rows
      assert [["ok"]] = query!(one, "PRAGMA integrity_check").rows
      assert [[0]] = query!(one, "PRAGMA writable_schema").rows
    end
  end

  test "the schema is read anew and the pragma is off, also after an exception", %{tmp_dir: dir} do
    conn = start_supervised!(LibsqlPort) |> connect(dir)

    assert_raise RuntimeError, fn ->
      StoredTable.with_writable_schema(query(conn), fn -> raise "no" end)
    end

    assert [[0]] = query!(conn, "PRAGMA writable_schema").rows
  end

  defp connect(sidecar, dir) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: Path.join(dir, "a.db"))
    conn
  end

  defp query!(conn, sql, params \\ [], options \\ []) do
    assert {:ok, result} = LibsqlPort.query(conn, IO.iodata_to_binary(sql), params, options)
    result
  end

  defp query(conn) do
    fn
      {:restore, sql}, [] -> query!(conn, sql, [], defensive: false)
      sql, params -> query!(conn, sql, params, defensive: false)
    end
  end
end
