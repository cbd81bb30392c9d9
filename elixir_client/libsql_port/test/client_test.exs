defmodule LibsqlPort.ClientTest do
  # The client against programs that misbehave: what it promises must not depend on the sidecar's good will.
  use ExUnit.Case, async: true

  import LibsqlPort.SidecarCase, only: [eventually: 1]

  alias LibsqlPort.{Error, Handshake, InFlight, OsProcess, Result, Stub, Wire}

  describe "a program that does not say hello" do
    setup do
      Process.flag(:trap_exit, true)
      :ok
    end

    # Programs that say something get as long as a busy machine may need.
    defp failed_start(mode, start_timeout \\ 30_000) do
      assert {:error, %Error{} = error} =
               LibsqlPort.start_link(Stub.options(mode, start_timeout: start_timeout))

      error
    end

    test "but ends" do
      assert %Error{code: :sidecar_down, message: message} = failed_start("exit")
      assert message =~ "exit status 3"
    end

    test "but says nothing" do
      assert %Error{code: :sidecar_down, message: message} = failed_start("silent", 1_000)
      assert message =~ "no hello within 1000 ms"
    end

    test "but writes text to its standard output" do
      assert %Error{code: :sidecar_down} = failed_start("babble", 1_000)
    end

    test "but sends another frame" do
      assert %Error{code: :sidecar_down, message: message} = failed_start("no_hello")
      assert message =~ "something else than a hello"
    end

    test "but sends one that cannot be read" do
      assert %Error{code: :sidecar_down, message: message} = failed_start("bad_hello")
      assert message =~ "cannot be read"
    end

    test "of this protocol" do
      assert %Error{code: :protocol_mismatch, message: message} = failed_start("protocol_99")
      assert message =~ "protocol 99"
      assert message =~ "protocol 1"
    end

    test "that can be put into a message" do
      port = Port.open({:spawn_executable, System.find_executable("cat")}, [])

      hello = fn protocol, info ->
        frame = IO.iodata_to_binary(Wire.frame(0, Wire.tag(:hello), Wire.encode({protocol, info})))
        Handshake.hello(port, {:data, frame})
      end

      for version <- [String.duplicate("9", 101), <<255>>, 9, nil] do
        assert {:error, %Error{code: :protocol_mismatch, message: message}} =
                 hello.(99, %{"version" => version})

        assert message =~ "program version unknown"
      end

      for protocol <- [-1, 2_147_483_648, 2 ** 10_000, 1.0, "1"] do
        assert {:error, %Error{code: :sidecar_down, message: message}} = hello.(protocol, %{})
        assert message =~ "of another form"
      end
    end

    test "because it is not there, or is no program" do
      assert {:error, %Error{code: :executable_not_found}} = LibsqlPort.start_link(executable: "/nowhere")

      assert {:error, %Error{code: :executable_not_found, message: message}} =
               LibsqlPort.start_link(executable: __ENV__.file)

      assert message =~ "is not executable"
    end
  end

  describe "replies" do
    test "of one frame, of many, and in parts" do
      {_, conn} = Stub.start("polite")
      assert {:ok, %Result{rows: [[1, nil, "a"]]}} = LibsqlPort.query(conn, "echo", [1, nil, "a"])
      assert {:ok, %Result{rows: [["a", 1]]}} = LibsqlPort.query(conn, "echo", %{"a" => 1})

      # 25 chunks are more than the four that may come without credit.
      assert {:ok, %Result{rows: rows, num_rows: 50}} = LibsqlPort.query(conn, "rows 25")
      assert rows == for(i <- 1..50, do: [i, nil])

      assert {:ok, %Result{rows: [["parted"]]}} = LibsqlPort.query(conn, "part")
      assert {:ok, %Result{rows: [[1, "one"], [2, "two"]]}} = LibsqlPort.query(conn, "part_rows")
      assert_nothing_left(conn)
    end

    test "with a code of a newer program" do
      {_, conn} = Stub.start("polite")
      assert {:error, %Error{code: :unknown, number: 9999}} = LibsqlPort.query(conn, "unknown_error")
    end

    test "reach their own callers, whatever their order" do
      {_, conn} = Stub.start("polite")

      tasks =
        for i <- 1..200 do
          Task.async(fn ->
            if rem(i, 2) == 0,
              do: {:late, LibsqlPort.query!(conn, "late #{rem(i, 20)}").rows},
              else: {i, LibsqlPort.query!(conn, "echo", [i]).rows}
          end)
        end

      for result <- Task.await_many(tasks) do
        case result do
          {:late, rows} -> assert rows == [["late"]]
          {i, rows} -> assert rows == [[i]]
        end
      end

      assert_nothing_left(conn)
    end
  end

  describe "a reply that is late" do
    test "is dropped, and the request is told to stop" do
      {_, conn} = Stub.start("polite", reply_grace: 50)

      assert {:error, %Error{code: :timeout}} =
               LibsqlPort.query(conn, "late 300", [], timeout: 20, in_transaction: true)

      assert {:ok, %Result{rows: [[request]]}} = LibsqlPort.query(conn, "cancelled")
      assert request > 256
      # Behind this answer the late one has come too: the program's timers fire in order.
      assert {:ok, _} = LibsqlPort.query(conn, "late 400")
      assert_nothing_left(conn)
    end

    test "leaves a write uncertain" do
      {_, conn} = Stub.start("polite", reply_grace: 50)
      assert {:error, %Error{code: :outcome_unknown}} = LibsqlPort.query(conn, "never", [], timeout: 20)
      assert_nothing_left(conn)
    end

    test "is dropped in the middle of a result" do
      {_, conn} = Stub.start("polite", reply_grace: 50)
      # Three chunks come, the end does not.
      assert {:error, %Error{}} = LibsqlPort.query(conn, "some 3", [], timeout: 100)
      assert_nothing_left(conn)
    end
  end

  describe "a program that ends" do
    test "has every caller answered at once, by what it asked" do
      {sidecar, conn} = Stub.start("polite")

      callers =
        for sql <- ["never", "late 60000"], _ <- 1..20 do
          Task.async(fn -> LibsqlPort.query(conn, sql, [], timeout: :infinity) end)
        end

      reads = for _ <- 1..20, do: Task.async(fn -> read_forever(conn) end)
      await_requests(conn, 60)
      {:error, %Error{code: :outcome_unknown}} = LibsqlPort.query(conn, "die 7")

      for answer <- Task.await_many(callers), do: assert({:error, %Error{code: :outcome_unknown}} = answer)

      for answer <- Task.await_many(reads) do
        assert {:error, %Error{code: :sidecar_down, message: message}} = answer
        assert message =~ "rolled back"
      end

      # The old connection stays dead, a new one opens on the restarted sidecar.
      assert {:error, %Error{code: :not_sent}} = LibsqlPort.query(conn, "echo")
      assert {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      assert {:ok, _} = LibsqlPort.query(conn, "echo")
    end

    defp read_forever(conn), do: LibsqlPort.query(conn, "never", [], timeout: :infinity, in_transaction: true)

    test "and whose owner is killed has them answered too" do
      {sidecar, conn} = Stub.start("polite")
      caller = Task.async(fn -> LibsqlPort.query(conn, "never", [], timeout: :infinity) end)
      await_requests(conn, 1)
      Process.exit(conn.handle.sidecar, :kill)
      assert {:error, %Error{code: :outcome_unknown}} = Task.await(caller)
      # Another stub has to be compiled and started for it.
      assert :ok = LibsqlPort.ping(sidecar, timeout: 60_000)
    end

    # An endless number of them costs no restart that a supervisor counts.
    test "again and again is started again, and its supervisor stays" do
      options = Stub.options("polite", max_restarts: 0, backoff_min: 1, backoff_max: 4)
      sidecar = start_supervised!({LibsqlPort, options})

      for _ <- 1..8 do
        {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
        assert {:error, %Error{code: :outcome_unknown}} = LibsqlPort.query(conn, "die 0")
      end

      assert {:ok, _} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
    end
  end

  test "a program that breaks the frames is replaced" do
    sidecar = start_supervised!({LibsqlPort, Stub.options("broken", max_restarts: 0)})
    first = handle(sidecar)
    assert {:error, %Error{code: :sidecar_down}} = LibsqlPort.ping(sidecar)
    assert handle(sidecar).os_pid != first.os_pid
    assert handle(sidecar).sidecar == first.sidecar
  end

  test "a program that stops in the middle of a frame is found out by its heartbeat" do
    options = Stub.options("truncate", max_restarts: 0, heartbeat: 200, backoff_max: 600_000)
    sidecar = start_supervised!({LibsqlPort, options})
    first = handle(sidecar)
    assert {:error, %Error{code: :sidecar_down}} = LibsqlPort.ping(sidecar, timeout: 60_000)
    eventually(fn -> handle(sidecar).os_pid != first.os_pid end)
  end

  test "a program that answers nothing is found out by its heartbeat" do
    options = Stub.options("hang", max_restarts: 0, heartbeat: 100, backoff_max: 600_000)
    sidecar = start_supervised!({LibsqlPort, options})
    first = handle(sidecar)
    eventually(fn -> handle(sidecar).os_pid != first.os_pid end)
  end

  # The beats are the test's own: no clock decides whether the program had time to answer one.
  test "a program that answers its heartbeat is left alone" do
    {sidecar, conn} = Stub.start("polite", heartbeat: 600_000)
    owner = conn.handle.sidecar
    answered? = fn -> :sys.get_state(owner).answered end

    for _ <- 1..3 do
      send(owner, {:heartbeat, conn.handle.port})
      eventually(answered?)
    end

    assert handle(sidecar).os_pid == conn.handle.os_pid
    assert {:ok, _} = LibsqlPort.query(conn, "echo")
  end

  test "a full pipe does not hold a caller beyond its timeout" do
    sidecar = start_supervised!({LibsqlPort, executable: Stub.path("sidecar_stub_deaf"), shutdown_grace: 200})
    {:ok, handle} = LibsqlPort.Supervisor.handle(sidecar, System.monotonic_time(:millisecond) + 5_000)
    payload = LibsqlPort.Wire.encode(:binary.copy("x", 300_000))
    for _ <- 1..20, do: LibsqlPort.Exchange.post(handle, 1, payload)

    {time, answer} = :timer.tc(fn -> LibsqlPort.ping(sidecar, timeout: 200) end)
    assert {:error, %Error{code: :timeout, message: message}} = answer
    assert message =~ "not sent"
    assert time < 5_000_000

    # Nor the process that owns the port.
    assert {:error, %Error{}} = LibsqlPort.connect(sidecar, database: "a", connect_timeout: 200)
    assert :ets.info(handle.table, :size) == 0
  end

  test "a program that does not go when its input ends is killed" do
    {:ok, sidecar} = LibsqlPort.start_link(Stub.options("ignore_eof", shutdown_grace: 300))
    {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub")
    program = OsProcess.identity(conn.handle.os_pid)
    assert OsProcess.alive?(program)
    Supervisor.stop(sidecar)
    refute OsProcess.alive?(program)
  end

  test "a program that does not go when its owner was killed is killed" do
    {_sidecar, conn} = Stub.start("ignore_eof", shutdown_grace: 300)
    program = OsProcess.identity(conn.handle.os_pid)
    Process.exit(conn.handle.sidecar, :kill)
    assert gone?(program, 500)
  end

  test "a request above the sidecar's limit is refused before it is sent" do
    {_, conn} = Stub.start("polite")
    sql = :binary.copy("x", conn.handle.frame_bytes_max)
    assert {:error, %Error{code: :frame_too_large}} = LibsqlPort.query(conn, sql)
    assert {:ok, _} = LibsqlPort.query(conn, "echo")
    assert_nothing_left(conn)
  end

  describe "a connection" do
    test "is closed when its owner ends" do
      {sidecar, conn} = Stub.start("polite")

      {pid, monitor} =
        spawn_monitor(fn ->
          {:ok, %{id: 2}} = LibsqlPort.connect(sidecar, database: "stub")
          {:ok, %{id: 3}} = LibsqlPort.connect(sidecar, database: "stub", owner: nil)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}, 5_000
      assert closed(conn, 500) == [[2]]
    end

    test "whose opener was killed meanwhile is closed" do
      {sidecar, conn} = Stub.start("polite")
      pid = spawn(fn -> LibsqlPort.connect(sidecar, database: "late") end)
      await_message(conn.handle.sidecar, pid)
      Process.exit(pid, :kill)
      assert closed(conn, 500) == [[2]]
    end

    test "that came too late is closed" do
      {sidecar, conn} = Stub.start("polite")
      key = make_ref()
      payload = LibsqlPort.Wire.encode({1_000, "late", %{}})
      assert {:timeout, _} = catch_exit(LibsqlPort.Sidecar.open(conn.handle.sidecar, payload, nil, key, 50))
      LibsqlPort.Sidecar.abandon(conn.handle.sidecar, key)
      assert closed(conn, 500) == [[2]]
      assert :ok = LibsqlPort.ping(sidecar)
    end

    test "that is closed is forgotten" do
      {sidecar, conn} = Stub.start("polite")
      {:ok, other} = LibsqlPort.connect(sidecar, database: "stub")
      assert :ok = LibsqlPort.close(other)
      assert %{claims: claims, opening: opening} = :sys.get_state(conn.handle.sidecar)
      assert %{conn.id => [:connection]} == Map.new(claims.held, fn {id, kinds} -> {id, Map.keys(kinds)} end)
      assert map_size(claims.processes) == 1
      assert opening == %{}
    end
  end

  test "status drops what a newer program adds" do
    {sidecar, _} = Stub.start("polite")
    assert {:ok, status} = LibsqlPort.status(sidecar)
    assert status == %{os_pid: 1, files: [], replicas: []}
  end

  test "messages of others are left alone" do
    {_, conn} = Stub.start("polite")
    for i <- 1..1_000, do: send(self(), {:other, i})
    assert {:ok, _} = LibsqlPort.query(conn, "rows 10")
    assert {:messages, messages} = Process.info(self(), :messages)
    assert messages == for(i <- 1..1_000, do: {:other, i})
  end

  defp handle(sidecar) do
    {:ok, handle} = LibsqlPort.Supervisor.handle(sidecar, System.monotonic_time(:millisecond) + 60_000)
    handle
  end

  defp assert_nothing_left(conn) do
    assert InFlight.callers(conn.handle.table) == []
    assert {:messages, []} = Process.info(self(), :messages)
  end

  defp await_requests(conn, count) do
    unless length(LibsqlPort.requests(conn)) >= count do
      Process.sleep(5)
      await_requests(conn, count)
    end
  end

  # Waits until the request to open has left the process that owns the port.
  defp await_message(sidecar, _pid) do
    if map_size(:sys.get_state(sidecar).opening) == 0 do
      Process.sleep(5)
      await_message(sidecar, nil)
    end
  end

  defp closed(conn, tries) do
    case LibsqlPort.query!(conn, "closed").rows do
      [] when tries > 0 ->
        Process.sleep(10)
        closed(conn, tries - 1)

      rows ->
        rows
    end
  end

  defp gone?(_program, 0), do: false

  defp gone?(program, tries) do
    not OsProcess.alive?(program) or
      (
        Process.sleep(10)
        gone?(program, tries - 1)
      )
  end
end
