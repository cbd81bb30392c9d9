defmodule LibsqlPort.RemoteTest do
  # Calls from another node. Not async: this node gets a name.
  use LibsqlPort.SidecarCase, async: false

  @moduletag :distributed

  alias LibsqlPort.{Changes, Connection}

  setup_all do
    # Distribution needs epmd, which starts by itself beside most systems' Erlang, but not beside all.
    {_, _} = System.cmd("epmd", ["-daemon"])

    unless Node.alive?() do
      {:ok, _} = Node.start(:"libsql_port_#{System.pid()}@localhost", :shortnames)
      on_exit(fn -> Node.stop() end)
    end

    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])

    {:ok, peer, node} =
      :peer.start(%{name: :peer.random_name(), host: ~c"localhost", args: paths, wait_boot: 120_000})

    on_exit(fn -> :peer.stop(peer) end)
    {:ok, _} = :erpc.call(node, Application, :ensure_all_started, [:elixir])
    %{node: node}
  end

  defp there(node, fun, arguments), do: :erpc.call(node, LibsqlPort, fun, arguments, 60_000)

  # Runs in a process of this module on the other node.
  defp run_there(node, name, arguments), do: :erpc.call(node, __MODULE__, name, arguments, 60_000)

  setup %{node: node} do
    {__MODULE__, binary, file} = :code.get_object_code(__MODULE__) |> loaded(__MODULE__)
    {:module, _} = :erpc.call(node, :code, :load_binary, [__MODULE__, file, binary])
    :ok
  end

  # A test's module is in memory alone.
  defp loaded({module, binary, file}, module), do: {module, binary, file}
  defp loaded(:error, module), do: {module, :persistent_term.get({__MODULE__, :binary}), ~c"remote_test.exs"}

  @after_compile __MODULE__
  def __after_compile__(_env, bytecode), do: :persistent_term.put({__MODULE__, :binary}, bytecode)

  test "create functions here", %{node: node, sidecar: sidecar, conn: conn} do
    assert :ok = there(node, :create_function, [conn, "shout", 1, &String.upcase/1])
    assert {:ok, ["LOUD"]} = LibsqlPort.query_one(conn, "SELECT shout('loud')")
    assert :ok = there(node, :create_function, [sidecar, "whisper", 1, &String.downcase/1])
    assert {:ok, ["soft"]} = there(node, :query_one, [conn, "SELECT whisper('SOFT')"])
    assert {:ok, true} = there(node, :drop_function, [conn, "shout", 1])
  end

  test "are sent changes as far as their mailboxes have room", %{node: node, conn: conn} do
    LibsqlPort.script!(conn, "CREATE TABLE t (x)")
    subscriber = Node.spawn_link(node, __MODULE__, :idle, [self()])
    options = [subscriber: subscriber, pending_messages_max: 2]
    {:ok, subscription} = Changes.subscribe(conn, options)
    for _ <- 1..5, do: LibsqlPort.query!(conn, "INSERT INTO t VALUES (1)")
    # It has seen that there is no room.
    eventually(fn -> :sys.get_state(subscription).outbox.looking == :later end)
    assert :erpc.call(node, Process, :info, [subscriber, :message_queue_len]) == {:message_queue_len, 2}
    send(subscriber, :go)

    for id <- 1..5 do
      assert_receive %Changes{subscription: ^subscription, changes: [%{rowid: ^id}]}, 5_000
    end

    :ok = Changes.unsubscribe(subscription)
  end

  @doc false
  # Takes nothing before it is told to; then `pid` has it.
  def idle(pid) do
    receive do: (:go -> forward(pid))
  end

  defp forward(pid) do
    receive do: (message -> send(pid, message))
    forward(pid)
  end

  test "use connections of this one", %{node: node, conn: conn} do
    assert {:ok, %{statements: 1}} = there(node, :script, [conn, "CREATE TABLE t (x)"])
    assert {:ok, %Result{changes: 1}} = there(node, :query, [conn, "INSERT INTO t VALUES (?)", ["far"]])
    assert {:ok, ["far"]} = there(node, :query_one, [conn, "SELECT x FROM t"])
    assert {:error, %Error{code: :sql_error}} = there(node, :query, [conn, "SELEKT"])
    assert {:error, %Error{code: :timeout}} = there(node, :query, [conn, endless(), [], [timeout: 50]])
    assert {:ok, [_, _]} = there(node, :batch, [conn, ["SELECT 1", "SELECT 2"]])
    assert {:ok, %{requests: _}} = there(node, :status, [conn])
    assert :ok = there(node, :ping, [conn])
    assert :erpc.call(node, Connection, :sidecar_running?, [conn])
    assert Connection.sidecar_running?(conn)
    # More rows than one frame takes, so that credits are paid.
    many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 100000) SELECT x FROM c"
    assert {:ok, %Result{num_rows: 100_000}} = there(node, :query, [conn, many])
    assert run_there(node, :count_stream, [conn, many]) == 100_000
  end

  def count_stream(conn, sql), do: conn |> LibsqlPort.stream(sql) |> Enum.count()

  test "open connections, which belong to their processes", %{
    node: node,
    sidecar: sidecar,
    database: database
  } do
    test = self()
    remote = Node.spawn(node, __MODULE__, :open_and_wait, [sidecar, database, test])
    assert_receive {:opened, {:ok, %Connection{} = conn}}, 60_000
    assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
    assert {:ok, %{connections: 2}} = LibsqlPort.status(sidecar)
    Process.exit(remote, :kill)
    eventually(fn -> match?({:ok, %{connections: 1}}, LibsqlPort.status(sidecar)) end)
  end

  def open_and_wait(sidecar, database, test) do
    opened = LibsqlPort.connect(sidecar, database: database)
    {:ok, conn} = opened
    {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
    send(test, {:opened, opened})
    Process.sleep(:infinity)
  end

  test "run transactions, which end with their processes", %{node: node, conn: conn} do
    {:ok, _} = LibsqlPort.query(conn, "CREATE TABLE t (x)")
    assert {:ok, :done} = run_there(node, :transact, [conn, "kept"])
    remote = Node.spawn(node, __MODULE__, :transact_and_wait, [conn, self()])
    assert_receive :inside, 60_000

    waiting =
      Task.async(fn -> LibsqlPort.query(conn, "INSERT INTO t VALUES ('after')", [], timeout: 60_000) end)

    eventually(fn -> LibsqlPort.requests(conn) != [] end)
    assert [_ | _] = there(node, :requests, [conn])
    Process.exit(remote, :kill)
    assert {:ok, %Result{tx_status: :none}} = Task.await(waiting, 60_000)
    assert LibsqlPort.query!(conn, "SELECT x FROM t").rows == [["kept"], ["after"]]
  end

  def transact(conn, value) do
    LibsqlPort.transaction(conn, fn inside ->
      LibsqlPort.query!(inside, "INSERT INTO t VALUES (?)", [value])
      # By either name.
      LibsqlPort.query!(conn, "SELECT 1")
      :done
    end)
  end

  def transact_and_wait(conn, test) do
    LibsqlPort.transaction(conn, fn inside ->
      LibsqlPort.query!(inside, "INSERT INTO t VALUES ('lost')")
      send(test, :inside)
      Process.sleep(:infinity)
    end)
  end

  test "monitor the run of a sidecar", %{node: node, conn: conn} do
    here = Connection.monitor_sidecar(conn)
    test = self()
    Node.spawn(node, __MODULE__, :monitor_and_tell, [conn, test])
    assert_receive {:monitors, monitor}, 60_000
    other = Node.spawn(node, __MODULE__, :monitor_and_tell, [conn, test])
    assert_receive {:monitors, _}, 60_000

    # The process that monitors the port for another ends with it.
    watchers = fn -> conn.handle.port |> Port.info(:monitored_by) |> elem(1) end
    eventually(fn -> length(watchers.()) == 3 end)
    Process.exit(other, :kill)
    eventually(fn -> length(watchers.()) == 2 end)

    :ok = LibsqlPort.OsProcess.kill(LibsqlPort.OsProcess.identity(conn.handle.os_pid))
    assert_receive {:DOWN, ^here, _, _, _}, 60_000
    assert_receive {:told, {:DOWN, ^monitor, _, _, _}}, 60_000
    Node.spawn(node, __MODULE__, :monitor_and_tell, [conn, test])
    assert_receive {:told, {:DOWN, _, _, _, _}}, 60_000
  end

  def monitor_and_tell(conn, test) do
    monitor = Connection.monitor_sidecar(conn)
    send(test, {:monitors, monitor})
    receive do: (down -> send(test, {:told, down}))
  end

  test "have their requests stopped when they end", %{node: node, conn: conn} do
    test = self()

    remote = Node.spawn(node, fn -> send(test, LibsqlPort.query(conn, endless(), [], timeout: :infinity)) end)

    await_request(conn)
    [{_request, here}] = LibsqlPort.requests(conn)
    monitor = Process.monitor(here)
    Process.exit(remote, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^here, :killed}, 60_000
    assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1", [], timeout: 60_000)
    # One that has its answer leaves nothing at this node.
    assert {:ok, [2]} = there(node, :query_one, [conn, "SELECT 2"])
    refute_received {:ok, _}
  end

  test "are told what became of a sidecar that ended", %{node: node, conn: conn} do
    test = self()
    Node.spawn(node, fn -> send(test, LibsqlPort.query(conn, endless(), [], timeout: :infinity)) end)
    await_request(conn)
    {:ok, program} = {:ok, LibsqlPort.OsProcess.identity(conn.handle.os_pid)}
    :ok = LibsqlPort.OsProcess.kill(program)
    assert_receive {:error, %Error{code: code}}, 60_000
    assert code in [:sidecar_down, :outcome_unknown]
    assert {:error, %Error{code: :not_sent}} = there(node, :query, [conn, "SELECT 1"])
  end
end
