defmodule LibsqlPort.KilledWhileStartingTest do
  # Whoever is killed at whichever step of a start: no program stays, and another one is started.
  use ExUnit.Case, async: true

  import LibsqlPort.SidecarCase, only: [eventually: 1]

  alias LibsqlPort.{Guardian, Sidecar, Stub}

  @moduletag :tmp_dir
  # Programs are found by their environment.
  unless File.dir?("/proc/self"), do: @moduletag(:skip)

  # A program that speaks to the stub's clients, or, while there is a file `deaf`, says nothing and is deaf to the end of
  # its input.
  setup %{tmp_dir: dir} do
    script = Path.join(dir, "program")

    File.write!(script, """
    #!/bin/sh
    if [ -e '#{dir}/deaf' ]; then exec sleep 600; fi
    exec '#{Stub.path()}' polite
    """)

    File.chmod!(script, 0o755)

    options = [
      executable: script,
      env: [{"STARTED_BY_TEST", dir}],
      start_timeout: 60_000,
      shutdown_grace: 1,
      backoff_min: 1,
      backoff_max: 2
    ]

    %{options: options, dir: dir}
  end

  defp deaf(dir), do: File.touch!(Path.join(dir, "deaf"))
  defp polite(dir), do: File.rm!(Path.join(dir, "deaf"))

  defp programs(dir) do
    for "/proc/" <> _ = path <- Path.wildcard("/proc/[0-9]*/environ"),
        {:ok, environment} <- [File.read(path)],
        String.contains?(environment, "STARTED_BY_TEST=#{dir}\0"),
        do: path |> Path.split() |> Enum.at(2) |> String.to_integer()
  end

  # The stub is a program of several processes.
  defp assert_no_other_than(owner, dir) do
    eventually(fn ->
      case :sys.get_state(owner) do
        %{starting: {_, {os_pid, _}, _}} -> programs(dir) == [os_pid]
        %{handle: handle} -> handle != nil and handle.os_pid in programs(dir) and not deaf?(dir)
      end
    end)
  end

  # One that has gone meanwhile is none.
  defp deaf?(dir) do
    Enum.any?(programs(dir), &match?({:ok, "sleep" <> _}, File.read("/proc/#{&1}/comm")))
  end

  defp kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _}, 60_000
  end

  defp connect(sidecar), do: LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)

  # The owner, restarted by its supervisor.
  defp owner(sidecar) do
    {:ok, owner} = LibsqlPort.Supervisor.sidecar(sidecar, System.monotonic_time(:millisecond) + 60_000)
    owner
  end

  for victim <- [Sidecar, Guardian] do
    test "the #{inspect(victim)}, while a restart waits for its hello", %{options: options, dir: dir} do
      sidecar = start_supervised!({LibsqlPort, options})
      {:ok, conn} = connect(sidecar)
      deaf(dir)
      {:error, _} = LibsqlPort.query(conn, "die 0")
      eventually(fn -> :sys.get_state(conn.handle.sidecar).starting end)
      {unquote(victim), pid, _, _} = List.keyfind(Supervisor.which_children(sidecar), unquote(victim), 0)
      kill(pid)
      assert_no_other_than(owner(sidecar), dir)
      polite(dir)
      sidecar |> owner() |> kill()
      assert {:ok, _} = connect(sidecar)
      stop_supervised!(LibsqlPort)
      eventually(fn -> programs(dir) == [] end)
    end
  end

  test "the supervisor, while a restart waits for its hello", %{options: options, dir: dir} do
    {:ok, sidecar} = LibsqlPort.start_link(options)
    Process.unlink(sidecar)
    {:ok, conn} = connect(sidecar)
    deaf(dir)
    {:error, _} = LibsqlPort.query(conn, "die 0")
    eventually(fn -> :sys.get_state(conn.handle.sidecar).starting end)
    kill(sidecar)
    eventually(fn -> programs(dir) == [] end)
  end

  test "the owner, while the first start waits for its hello", %{options: options, dir: dir} do
    deaf(dir)
    test = self()

    spawn(fn ->
      Process.flag(:trap_exit, true)
      send(test, {:started, LibsqlPort.start_link(options)})
    end)

    eventually(fn -> owner_of(programs(dir)) != nil end)
    kill(owner_of(programs(dir)))
    assert_receive {:started, {:error, _}}, 60_000
    eventually(fn -> programs(dir) == [] end)
  end

  # Once the port is its own alone.
  defp owner_of(os_pids) do
    Enum.find_value(Port.list(), fn port ->
      info = Port.info(port)
      if info && info[:os_pid] in os_pids && info[:links] == [info[:connected]], do: info[:connected]
    end)
  end

  # The steps of a start, as the process that takes them is traced: it is stopped there, and the owner is killed.
  for step <- [:spawned, :link, :unlink, :exit] do
    test "the owner, when what starts the program has come to #{step}", %{options: options, dir: dir} do
      sidecar = start_supervised!({LibsqlPort, options})
      {:ok, conn} = connect(sidecar)
      owner = conn.handle.sidecar
      deaf(dir)
      1 = :erlang.trace(owner, true, [:procs, :set_on_spawn])
      {:error, _} = LibsqlPort.query(conn, "die 0")
      assert_receive {:trace, ^owner, :spawn, opener, _}, 60_000
      stop_at(unquote(step), opener)
      kill(owner)
      resume(opener)
      monitor = Process.monitor(opener)
      assert_receive {:DOWN, ^monitor, :process, ^opener, _}, 60_000
      assert_no_other_than(owner(sidecar), dir)
      stop_supervised!(LibsqlPort)
      eventually(fn -> programs(dir) == [] end)
    end
  end

  defp stop_at(:spawned, opener), do: suspend(opener)

  defp stop_at(step, opener) do
    assert_receive trace when elem(trace, 1) == opener and elem(trace, 2) == step, 60_000
    suspend(opener)
  end

  # It may have ended by now.
  defp suspend(pid) do
    :erlang.suspend_process(pid)
  rescue
    ArgumentError -> false
  end

  defp resume(pid) do
    :erlang.resume_process(pid)
  rescue
    ArgumentError -> false
  end

  test "a run that ends while its pipe is full leaves no table" do
    sidecar =
      start_supervised!({LibsqlPort, Stub.options("deaf", executable: Stub.path("sidecar_stub_deaf"))})

    {:ok, handle} = LibsqlPort.Supervisor.handle(sidecar, System.monotonic_time(:millisecond) + 60_000)
    fill(handle.port)
    kill(handle.sidecar)
    eventually(fn -> :ets.info(handle.table) == :undefined end)
    assert :sys.get_state(handle.guardian).tables == %{}
  end

  defp fill(port) do
    if :erlang.port_command(port, String.duplicate("x", 100_000), [:nosuspend]), do: fill(port)
  end
end
