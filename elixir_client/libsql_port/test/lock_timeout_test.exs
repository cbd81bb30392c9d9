defmodule LibsqlPort.LockTimeoutTest do
  use LibsqlPort.SidecarCase, async: true

  setup %{conn: conn} do
    LibsqlPort.query!(conn, "CREATE TABLE t (a)")
    :ok
  end

  test "a request with lock_timeout: 0 tries at once", %{conn: conn, sidecar: sidecar, database: database} do
    {:ok, other} = LibsqlPort.connect(sidecar, database: database)

    LibsqlPort.transaction(conn, fn conn ->
      insert = "INSERT INTO t VALUES (1)"

      for busy <- [
            LibsqlPort.query(other, insert, [], lock_timeout: 0),
            LibsqlPort.query_one(other, insert <> " RETURNING a", [], lock_timeout: 0),
            LibsqlPort.batch(other, [insert], lock_timeout: 0),
            LibsqlPort.script(other, insert, lock_timeout: 0),
            LibsqlPort.Connection.begin(other, :immediate, lock_timeout: 0),
            LibsqlPort.transaction(other, fn _ -> flunk("it runs") end, lock_timeout: 0)
          ] do
        assert {:error, %Error{code: :busy, message: message}} = busy
        assert message =~ "connection #{conn.id} of this program"
      end

      # The holder waits for nobody.
      LibsqlPort.query!(conn, insert, [], lock_timeout: 0)
    end)

    assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES (2)", [], lock_timeout: 0)
    LibsqlPort.close(other)
  end

  test "the connection has a default", %{conn: conn, sidecar: sidecar, database: database} do
    {:ok, other} = LibsqlPort.connect(sidecar, database: database, lock_timeout: 0)

    LibsqlPort.transaction(conn, fn _conn ->
      assert {:error, %Error{code: :busy}} = LibsqlPort.query(other, "INSERT INTO t VALUES (1)")
      late = LibsqlPort.query(other, "INSERT INTO t VALUES (1)", [], lock_timeout: 60_000, timeout: 50)
      assert {:error, %Error{code: :timeout}} = late
    end)

    LibsqlPort.close(other)
  end

  test "a wrong value is told", %{conn: conn} do
    assert {:error, %Error{code: :invalid_option, message: message}} =
             LibsqlPort.query(conn, "SELECT 1", [], lock_timeout: -1)

    assert message =~ ":lock_timeout"
  end
end
