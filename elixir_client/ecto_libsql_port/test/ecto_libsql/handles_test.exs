defmodule EctoLibSql.HandlesTest do
  use EctoLibSql.ByHandCase, async: true

  alias EctoLibSql.{Handles, Native}

  test "names end with the process that opened the connection", %{path: path} do
    test = self()

    opener =
      spawn(fn ->
        state = open(path)
        {:ok, statement} = Native.prepare(state, "SELECT 1")
        send(test, {state.conn_id, statement})
        Process.sleep(:infinity)
      end)

    assert_receive {conn_id, statement}, 10_000
    assert true == Native.ping(conn_id)
    Process.exit(opener, :kill)

    assert eventually(fn -> Handles.lookup(conn_id, :connection) |> elem(0) == :error end)
    assert {:error, %{code: :unknown_statement}} = Handles.lookup(statement, :statement)
  end

  test "names of one kind are none of another", %{state: state} do
    {:ok, statement} = Native.prepare(state, "SELECT 1")
    assert {:error, %{code: :unknown_cursor}} = Handles.lookup(statement, :cursor)
    assert {:ok, _} = Handles.owned(statement, :statement, state.conn_id)
  end

  test "connections of two sidecars have different names", %{state: state, path: path} do
    {:ok, sidecar} = LibsqlPort.start_link([])
    {:ok, other} = EctoLibSql.connect(database: path, sidecar: sidecar)
    same_number = %{other.conn | id: state.conn.id}
    assert EctoLibSql.State.connection_id(same_number) != state.conn_id
    assert :ok = EctoLibSql.disconnect([], other)
  end

  defp eventually(condition, tries \\ 200) do
    cond do
      condition.() -> true
      tries == 0 -> false
      true -> Process.sleep(10) && eventually(condition, tries - 1)
    end
  end
end
