defmodule EctoLibSql.StopTest do
  use ExUnit.Case, async: true

  import EctoLibSql.LaneCase, only: [wait_until: 1]

  alias EctoLibSql.{Direct, TestRepo}
  alias LibsqlPort.OsProcess

  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    {:ok, path: Path.join(dir, "stop.db")}
  end

  describe "when the stop returns, the program has ended and the file is at rest:" do
    for {what, options} <- [
          {"a pool", []},
          {"a sandbox", [pool: Ecto.Adapters.SQL.Sandbox, ownership_mode: :auto]},
          {"pools", [pool_count: 2, name: __MODULE__.Pools]}
        ] do
      @options options

      test what, %{path: path} do
        repo = start(@options ++ [database: path])
        program = program(repo)
        write(repo)
        :ok = Supervisor.stop(repo)
        assert_ended(program)
        assert at_rest?(path)
      end
    end

    test "Repo.stop/1", %{path: path} do
      repo = start(database: path)
      program = program(repo)
      write(repo)
      with_repo(repo, fn -> TestRepo.stop() end)
      assert_ended(program)
      assert at_rest?(path)
    end

    test "the supervisor of the Repo", %{path: path} do
      {:ok, supervisor} = Supervisor.start_link([{TestRepo, options(database: path)}], strategy: :one_for_one)

      [{_, repo, _, _}] = Supervisor.which_children(supervisor)
      program = program(repo)
      write(repo)
      :ok = Supervisor.stop(supervisor)
      assert_ended(program)
      assert at_rest?(path)
    end

    test "a database in memory" do
      repo = start(database: :memory)
      program = program(repo)
      :ok = Supervisor.stop(repo)
      assert_ended(program)
    end

    test "a Repo stopped as soon as it has started", %{path: path} do
      for n <- 1..10 do
        name = Module.concat(__MODULE__, "Quick#{n}")
        repo = start(database: path, name: name)
        program = program_of(Module.concat(name, Sidecar))
        :ok = Supervisor.stop(repo)
        assert_ended(program)
      end
    end
  end

  test "a program that answers nothing is killed after its grace", %{path: path} do
    repo = start(database: path, pool_size: 1, sidecar_options: [shutdown_grace: 100])
    {os_pid, _} = program = program(repo)
    {_, 0} = System.cmd("kill", ["-STOP", "#{os_pid}"])

    ExUnit.CaptureLog.capture_log(fn -> :ok = Supervisor.stop(repo, :normal, :infinity) end)
    # On a busy machine the system takes its time to end what was killed.
    wait_until(fn -> not OsProcess.alive?(program) end)
  end

  test "a shared sidecar goes on", %{path: path} do
    sidecar = start_supervised!(LibsqlPort)
    repo = start(database: path, sidecar: sidecar)
    program = program(repo)
    :ok = Supervisor.stop(repo)
    assert OsProcess.alive?(program)
    assert {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    assert {^os_pid, _} = program
  end

  @tag :capture_log
  test "a Repo whose pool crashes is restarted, after its program has ended", %{path: path} do
    {:ok, supervisor} = Supervisor.start_link([{TestRepo, options(database: path)}], strategy: :one_for_one)

    [{_, repo, _, _}] = Supervisor.which_children(supervisor)
    before = program(repo)
    monitor = Process.monitor(repo)
    Process.exit(Ecto.Adapter.lookup_meta(repo).pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, _, _}, 30_000
    assert_ended(before)

    # The answer waits for the restart.
    [{_, repo, _, _}] = Supervisor.which_children(supervisor)
    assert OsProcess.alive?(program(repo))
    Supervisor.stop(supervisor)
  end

  test "a pool without a Repo takes its sidecar along, also if only the pool is stopped", %{path: path} do
    {:ok, supervisor} = Supervisor.start_link([{EctoLibSql, database: path}], strategy: :one_for_one)
    [{id, pool, _, _}] = Supervisor.which_children(supervisor)
    {:ok, _, %{sidecar: sidecar}} = DBConnection.execute(pool, %EctoLibSql.Query{operation: :state}, [])
    monitor = Process.monitor(sidecar)

    :ok = Supervisor.terminate_child(supervisor, id)
    assert_receive {:DOWN, ^monitor, :process, _, _}, 30_000
    Supervisor.stop(supervisor)
  end

  defp start(options) do
    {:ok, repo} = TestRepo.start_link(options(options))
    repo
  end

  # A call waits for the first connection, however long a busy machine takes to open it.
  @queue [queue_target: 60_000, queue_interval: 60_000]

  defp options(options), do: Keyword.merge([name: nil, pool_size: 2, log: false] ++ @queue, options)

  defp with_repo(repo, fun) do
    default = TestRepo.put_dynamic_repo(repo)

    try do
      fun.()
    after
      TestRepo.put_dynamic_repo(default)
    end
  end

  defp write(repo), do: with_repo(repo, fn -> TestRepo.query!("CREATE TABLE t (x)") end)

  defp program(repo) do
    {sidecar, _conn} = Direct.connection(Ecto.Adapter.lookup_meta(repo))
    program_of(sidecar)
  end

  defp program_of(sidecar) do
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    OsProcess.identity(os_pid)
  end

  defp assert_ended(program), do: refute(OsProcess.alive?(program), "the program runs on")

  # The file alone has what was written: the log is empty.
  defp at_rest?(path) do
    wal = File.stat(path <> "-wal")
    File.stat!(path).size > 4096 and (match?({:ok, %{size: 0}}, wal) or wal == {:error, :enoent})
  end
end
