defmodule LibsqlPort.Faults.VmKilledTest do
  # A VM that is killed says goodbye to nobody: its sidecars must notice by themselves, in the middle of a query too.
  use LibsqlPort.SidecarCase, async: false

  alias LibsqlPort.OsProcess

  @moduletag :faults
  @moduletag timeout: 300_000
  @moduletag connect: false

  @rounds 10
  # The promise is two seconds; the rest is for a machine that is busy with other tests.
  @deadline_ms 5_000

  # Starts a sidecar, opens a transaction, runs an endless query, and says which number the sidecar has.
  @program """
  {:ok, sidecar} = LibsqlPort.start_link(log_level: :off)
  [path, busy] = System.argv()
  {:ok, conn} = LibsqlPort.connect(sidecar, database: path)
  LibsqlPort.query!(conn, "CREATE TABLE IF NOT EXISTS t (a)")
  {:ok, _} = LibsqlPort.Connection.begin(conn)
  LibsqlPort.query!(conn, "INSERT INTO t VALUES (1)")

  # In the midst of a function in Elixir.
  if busy == "callback" do
    main = self()
    :ok = LibsqlPort.create_function(conn, "hang", 0, fn -> send(main, :hangs) && Process.sleep(:infinity) end, timeout: :infinity)
    spawn(fn -> LibsqlPort.query(conn, "SELECT hang()", [], timeout: :infinity) end)
    receive do: (:hangs -> :ok)
  end

  if busy == "busy" do
    endless = "SELECT count(*) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c)"
    spawn(fn -> LibsqlPort.query(conn, endless, [], timeout: :infinity) end)
    (fn wait -> wait.(wait) end).(fn wait -> if LibsqlPort.requests(conn) == [], do: wait.(wait) end)
  end

  IO.puts("sidecar \#{conn.handle.os_pid} vm \#{System.pid()}")
  Process.sleep(:infinity)
  """

  test "the sidecar is gone, and nothing of the transaction is left", %{sidecar: sidecar, database: database} do
    script = database <> ".exs"
    File.write!(script, @program)

    for round <- 1..@rounds do
      {vm, program, port} = start_vm(script, database, Enum.at(["busy", "idle", "callback"], rem(round, 3)))
      assert OsProcess.alive?(program)
      OsProcess.kill(vm)
      assert gone_within(program, @deadline_ms), "round #{round}: the sidecar is still there"
      close(port)
    end

    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    assert {:ok, [0]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    assert {:ok, []} = LibsqlPort.Pragma.integrity_check(conn)
    :ok = LibsqlPort.close(conn)
  end

  defp start_vm(script, database, busy) do
    ebin = :libsql_port |> :code.lib_dir() |> Path.join("ebin")
    arguments = ["-pa", ebin, script, database, busy]
    elixir = System.find_executable("elixir")
    port = Port.open({:spawn_executable, elixir}, [:binary, {:line, 1_000}, :exit_status, args: arguments])
    assert_receive {^port, {:data, {:eol, "sidecar " <> line}}}, 60_000
    [sidecar, "vm", vm] = String.split(line)
    {OsProcess.identity(String.to_integer(vm)), OsProcess.identity(String.to_integer(sidecar)), port}
  end

  defp gone_within(program, left) do
    cond do
      not OsProcess.alive?(program) ->
        true

      left <= 0 ->
        false

      true ->
        Process.sleep(20)
        gone_within(program, left - 20)
    end
  end

  defp close(port) do
    Port.close(port)
  rescue
    ArgumentError -> true
  end
end
