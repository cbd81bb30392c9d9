defmodule EctoLibSql.RemoteSidecarTest do
  # A pool whose sidecar runs on another node. Not async: this node gets a name.
  use ExUnit.Case, async: false

  @moduletag :distributed

  setup_all do
    # Distribution needs epmd, which starts by itself beside most systems' Erlang, but not beside all.
    {_, _} = System.cmd("epmd", ["-daemon"])

    unless Node.alive?() do
      {:ok, _} = Node.start(:"ecto_libsql_port_#{System.pid()}@localhost", :shortnames)
      on_exit(fn -> Node.stop() end)
    end

    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

    {:ok, peer, node} =
      :peer.start(%{name: :peer.random_name(), host: ~c"localhost", args: paths, wait_boot: 120_000})

    on_exit(fn -> :peer.stop(peer) end)
    {:ok, _} = :erpc.call(node, Application, :ensure_all_started, [:ecto_libsql_port])
    {:ok, sidecar} = :erpc.call(node, EctoLibSql.SharedSidecar, :get, [])
    %{node: node, sidecar: sidecar}
  end

  test "a database in memory lives as long as the program there, and an empty one follows", %{
    node: node,
    sidecar: sidecar
  } do
    db = start_supervised!({EctoLibSql, database: ":memory:", pool_size: 2, sidecar: sidecar})
    EctoLibSql.query!(db, "CREATE TABLE t (x)")
    tables = fn -> EctoLibSql.query(db, "SELECT count(*) FROM sqlite_schema") end
    assert {:ok, %{rows: [[1]]}} = tables.()
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    identity = :erpc.call(node, LibsqlPort.OsProcess, :identity, [os_pid])
    :ok = :erpc.call(node, LibsqlPort.OsProcess, :kill, [identity])
    eventually(fn -> match?({:ok, %{rows: [[0]]}}, tables.()) end)
    assert Process.alive?(db)
    # Both connections have the same one.
    EctoLibSql.query!(db, "CREATE TABLE u (x)")
    for _ <- 1..2, do: assert({:ok, %{rows: [[1]]}} = tables.())
  end

  # Up to a minute, for what the other node tells when it comes to it.
  defp eventually(fun, tries \\ 3_000) do
    cond do
      fun.() ->
        :ok

      tries == 0 ->
        flunk("it did not become so")

      true ->
        Process.sleep(20)
        eventually(fun, tries - 1)
    end
  end
end
