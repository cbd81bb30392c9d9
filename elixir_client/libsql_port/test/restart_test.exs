defmodule LibsqlPort.RestartTest do
  # The end of a program: it is started again without using up anybody's restarts, and leaves nothing behind.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog
  import LibsqlPort.SidecarCase, only: [eventually: 1]

  alias LibsqlPort.{Error, Guardian, OsProcess, Stub}

  doctest LibsqlPort.Restart

  @moduletag :tmp_dir

  test "a statement that ends every program costs the application's supervisor nothing" do
    child = {LibsqlPort, Stub.options("polite", backoff_min: 1, backoff_max: 2)}
    # One restart of the child would be too many.
    app =
      start_supervised!(%{
        id: :app,
        type: :supervisor,
        start: {Supervisor, :start_link, [[child], [strategy: :one_for_one, max_restarts: 0]]}
      })

    [{_, sidecar, _, _}] = Supervisor.which_children(app)

    for _ <- 1..15 do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      assert {:error, %Error{code: :outcome_unknown}} = LibsqlPort.query(conn, "die 0")
    end

    assert [{_, ^sidecar, _, _}] = Supervisor.which_children(app)
    assert {:ok, _} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
  end

  test "the guardian monitors the port's owner once, however many programs it has had" do
    sidecar = start_supervised!({LibsqlPort, Stub.options("polite", backoff_min: 1, backoff_max: 2)})

    for _ <- 1..3 do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      {:error, %Error{}} = LibsqlPort.query(conn, "die 0")
    end

    {:ok, %{handle: handle}} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
    # What it was told of the last program is read.
    :sys.get_state(handle.guardian)
    {:monitors, monitors} = Process.info(handle.guardian, :monitors)
    assert Enum.count(monitors, &(&1 == {:process, handle.sidecar})) == 1
  end

  test "until it is started again, connections answer at once and connect waits" do
    sidecar =
      start_supervised!({LibsqlPort, Stub.options("polite", backoff_min: 600_000, backoff_max: 600_000)})

    for _ <- 1..2 do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      {:error, %Error{}} = LibsqlPort.query(conn, "die 0")
      assert {:error, %Error{code: :not_sent}} = LibsqlPort.query(conn, "echo")
    end

    # The second run was a short one: the third is ten minutes away.
    assert {:error, %Error{code: :timeout}} =
             LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 50)

    for ask <- [&LibsqlPort.ping/2, &LibsqlPort.status/2] do
      assert {:error, %Error{code: :timeout}} = ask.(sidecar, timeout: 50)
    end

    # One that has been stopped is not waited for.
    stop_supervised!(LibsqlPort)

    for ask <- [
          &LibsqlPort.ping/2,
          &LibsqlPort.status/2,
          &LibsqlPort.connect(&1, [database: "stub"] ++ Keyword.drop(&2, [:timeout]))
        ] do
      assert {:error, %Error{code: :sidecar_down}} = ask.(sidecar, timeout: 600_000)
    end
  end

  test "who asks without a limit waits for the next start" do
    sidecar =
      start_supervised!({LibsqlPort, Stub.options("polite", backoff_min: 600_000, backoff_max: 600_000)})

    for _ <- 1..2 do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      {:error, %Error{}} = LibsqlPort.query(conn, "die 0")
    end

    owner = LibsqlPort.Supervisor.sidecar(sidecar, :infinity) |> elem(1)
    :sys.suspend(owner)

    waiting =
      for ask <- [&LibsqlPort.ping/2, &LibsqlPort.status/2],
          do: Task.async(fn -> ask.(sidecar, timeout: :infinity) end)

    # Both have asked for the handle, and are told that there is none.
    eventually(fn -> Process.info(owner, :message_queue_len) |> elem(1) >= 2 end)
    :sys.resume(owner)
    send(owner, :start)
    assert [:ok, {:ok, %{}}] = Task.await_many(waiting, 60_000)
  end

  test "the log names the statements that the connections were at, unless it is to hide them" do
    log =
      capture_log(fn ->
        sidecar = start_supervised!({LibsqlPort, Stub.options("polite")})
        {:ok, shown} = LibsqlPort.connect(sidecar, database: "stub")
        {:ok, hidden} = LibsqlPort.connect(sidecar, database: "stub", show_statement: false)

        {:ok, long} = LibsqlPort.connect(sidecar, database: "stub")
        text = String.duplicate("x", 2_000) <> "the end"

        waiting =
          for {conn, sql} <- [{shown, "never said"}, {hidden, "never shown"}, {long, "never " <> text}] do
            Task.async(fn -> LibsqlPort.query(conn, sql, ["a parameter"]) end)
          end

        eventually(fn -> Enum.all?([shown, hidden, long], &(LibsqlPort.requests(&1) != [])) end)
        {:ok, killer} = LibsqlPort.connect(sidecar, database: "stub")
        {:error, _} = LibsqlPort.query(killer, "die 3")
        Task.await_many(waiting)
      end)

    assert log =~ "exit status 3"
    assert log =~ ~s("die 3")
    assert log =~ ~s("never said")
    refute log =~ "never shown"
    refute log =~ "a parameter"
    assert log =~ "(2013 bytes)"
    refute log =~ "the end"
  end

  describe "a killed guardian" do
    test "leaves no caller waiting, and no program" do
      {sidecar, conn} = Stub.start("ignore_eof", shutdown_grace: 100)
      program = OsProcess.identity(conn.handle.os_pid)

      callers =
        for _ <- 1..20, do: Task.async(fn -> LibsqlPort.query(conn, "never", [], timeout: :infinity) end)

      eventually(fn -> length(LibsqlPort.requests(conn)) == 20 end)
      Process.exit(conn.handle.guardian, :kill)

      for answer <- Task.await_many(callers, 60_000) do
        assert {:error, %Error{code: :outcome_unknown}} = answer
      end

      assert {:ok, _} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      eventually(fn -> not OsProcess.alive?(program) end)
    end

    test "has a successor that ends what the first has not" do
      registry = :ets.new(:registry, [:public])
      port = Port.open({:spawn_executable, "/bin/sh"}, args: ["-c", "trap '' HUP; exec sleep 600"])
      {:os_pid, os_pid} = Port.info(port, :os_pid)
      program = OsProcess.identity(os_pid)
      options = %{name: nil, shutdown_grace: 1}
      {:ok, first} = GenServer.start(Guardian, {registry, options})
      :ok = Guardian.watch(first, program, self())
      :sys.get_state(first)
      Process.exit(first, :kill)
      {:ok, second} = GenServer.start(Guardian, {registry, options})
      eventually(fn -> not OsProcess.alive?(program) end)
      GenServer.stop(second)
    end
  end

  test "a killed supervisor leaves no program" do
    test = self()

    spawn(fn ->
      Process.flag(:trap_exit, true)
      {:ok, sidecar} = LibsqlPort.start_link(Stub.options("ignore_eof", shutdown_grace: 1))
      {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub")
      send(test, {:started, sidecar, conn})
      receive do: ({:EXIT, ^sidecar, _} -> :ok)
    end)

    assert_receive {:started, sidecar, conn}, 60_000
    program = OsProcess.identity(conn.handle.os_pid)
    Process.exit(sidecar, :kill)
    eventually(fn -> not OsProcess.alive?(program) end)
  end

  # Each run writes its number down; all but the first say nothing and are deaf to the end of their input.
  test "programs that say no hello on a restart are ended", %{tmp_dir: tmp_dir} do
    pids = Path.join(tmp_dir, "pids")
    script = Path.join(tmp_dir, "program")

    File.write!(script, """
    #!/bin/sh
    if [ -e '#{pids}' ]; then echo $$ >> '#{pids}'; exec sleep 600; fi
    echo $$ >> '#{pids}'
    exec '#{Stub.path()}' polite
    """)

    File.chmod!(script, 0o755)

    options = [
      executable: script,
      start_timeout: 60_000,
      shutdown_grace: 1,
      backoff_min: 1,
      backoff_max: 2
    ]

    sidecar = start_supervised!({LibsqlPort, options})
    {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub")
    owner = conn.handle.sidecar
    {:error, _} = LibsqlPort.query(conn, "die 0")

    for run <- 2..6 do
      eventually(fn -> length(numbers(pids)) >= run and starting(owner) != nil end)
      # Instead of waiting for the time to be up.
      {port, {os_pid, _} = program, _timer} = starting(owner)
      assert Integer.to_string(os_pid) in numbers(pids)
      send(owner, {:no_hello, port})
      eventually(fn -> not OsProcess.alive?(program) end)
    end

    stop_supervised!(LibsqlPort)
    for os_pid <- numbers(pids), do: assert(OsProcess.identity(String.to_integer(os_pid)) == nil)
  end

  defp starting(owner), do: :sys.get_state(owner).starting
  defp numbers(file), do: file |> File.read!() |> String.split()

  test "a process is ended where there is neither kill nor ps" do
    port = Port.open({:spawn_executable, "/bin/sleep"}, args: ["600"])
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    program = OsProcess.identity(os_pid)
    # Neither is looked for: it is the shell that kills.
    assert :ok = OsProcess.kill(program)
    eventually(fn -> not OsProcess.alive?(program) end)
    assert :ok = OsProcess.kill(program)
  end
end
