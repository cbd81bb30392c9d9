defmodule LibsqlPort.GuardsTest do
  use LibsqlPort.SidecarCase, async: true

  setup %{conn: conn} do
    LibsqlPort.query!(conn, "CREATE TABLE t (a CHECK (a > 0))")
    :ok
  end

  @edit "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a)' WHERE name = 't'"

  test "one statement may write what is protected", %{conn: conn} do
    assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, @edit)
    undefended = &LibsqlPort.query(conn, &1, [], defensive: false)
    assert {:ok, _} = undefended.("PRAGMA writable_schema = 1")
    assert {:ok, %Result{changes: 1}} = undefended.(@edit)
    assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, @edit)
  end

  test "a connection may do without", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, defensive: false)
    LibsqlPort.query!(conn, "PRAGMA writable_schema = 1")
    assert %Result{changes: 1} = LibsqlPort.query!(conn, @edit)
    LibsqlPort.close(conn)
  end

  test "SQL of strangers opens no files", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, untrusted_sql: true)

    for sql <- ["ATTACH '#{database}2' AS o", "VACUUM INTO '#{database}2'"] do
      assert {:error, %Error{code: :not_authorized}} = LibsqlPort.query(conn, sql)
    end

    refute File.exists?(database <> "2")
    LibsqlPort.close(conn)
  end

  test "the engine's limits are options", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, limits: [length: 1000])
    assert {:error, %Error{code: :too_big}} = LibsqlPort.query(conn, "SELECT zeroblob(1001)")
    LibsqlPort.close(conn)

    for limits <- [[lenght: 1], [length: 2_000_000_000]] do
      assert {:error, %Error{code: :invalid_option}} =
               LibsqlPort.connect(sidecar, database: database, limits: limits)
    end

    assert {:error, %Error{message: message}} =
             LibsqlPort.connect(sidecar, database: database, limits: [length: -1])

    assert message =~ ":limits"
  end

  test "what is no option of a request is told", %{conn: conn} do
    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.query(conn, "SELECT 1", [], defensive: 1)
    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.script(conn, "SELECT 1", defensive: false)
  end
end
