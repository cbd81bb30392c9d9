defmodule LibsqlPort.StrayMessagesTest do
  # What was never meant for them ends neither the owner of the program nor its guardian.
  use ExUnit.Case, async: true

  @stray [
    nil,
    :nope,
    [],
    "text",
    {:sync, :no_pid, 1},
    {:sync, 1, 2, 3},
    {:end, :nothing},
    {:give_back, :no_table, 1},
    {:heartbeat, :no_port},
    {:no_hello, :no_port},
    {:EXIT, :no_port, :normal},
    {:DOWN, 1, :port, 2, 3},
    {:DOWN, 1, :process, 2, 3},
    {:"ETS-TRANSFER", :no_table, 1, 2},
    {1, {:data, "no frame"}},
    {1, {:exit_status, 1}},
    %{a: 1}
  ]

  test "messages, casts and calls of any kind" do
    sidecar = start_supervised!(LibsqlPort)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
    %{sidecar: owner, guardian: guardian, os_pid: os_pid} = conn.handle

    for pid <- [owner, guardian], stray <- @stray do
      send(pid, stray)
      send(pid, {make_ref(), stray})
      GenServer.cast(pid, stray)
      _reply = GenServer.call(pid, stray)
    end

    # The calls were behind all of them.
    assert Process.alive?(owner) and Process.alive?(guardian)
    assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT 1")
    assert {:ok, %{os_pid: ^os_pid}} = LibsqlPort.status(sidecar)
  end

  test "a call that LibsqlPort does not make is told so" do
    {:ok, conn} = LibsqlPort.connect(start_supervised!(LibsqlPort), database: ":memory:")

    assert {:error, %LibsqlPort.Error{code: :unsupported, message: message}} =
             GenServer.call(conn.handle.sidecar, :which_children)

    assert message =~ "LibsqlPort"
  end
end
