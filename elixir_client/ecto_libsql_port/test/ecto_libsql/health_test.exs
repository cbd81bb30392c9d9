defmodule EctoLibSql.HealthTest do
  # What a load balancer is told, of all that can be wrong: never late, never raised.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Error, Health}

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @moduletag :tmp_dir
  @queue [queue_target: 60_000, queue_interval: 60_000]

  setup context do
    unless context[:no_repo] do
      name = :"health_#{System.unique_integer([:positive])}"
      database = Path.join(context.tmp_dir, "app.db")
      options = [database: database, name: name, pool_size: 2, log: false] ++ @queue
      options = Keyword.merge(options, context[:repo] || [])
      start_supervised!({Repo, options})
      Repo.put_dynamic_repo(name)
      {:ok, name: name, database: database, sidecar: Module.concat(name, Sidecar)}
    else
      :ok
    end
  end

  # With time enough for a busy machine.
  defp health(repo, options \\ []), do: EctoLibSql.health(repo, [timeout: 60_000] ++ options)

  defp eventually(fun), do: Enum.any?(1..3_000, fn _ -> fun.() or (Process.sleep(20) && false) end)

  test "of a Repo in a file", %{name: name, database: database} do
    Repo.query!("CREATE TABLE t (x)")
    health = health(name)
    assert %Health{healthy?: true, reasons: [], mode: :local, servers: [], replica: nil} = health
    assert [%{path: :pool}, %{path: :lane}, %{path: :sidecar}] = health.paths
    for %{latency_us: latency, error: error} <- health.paths, do: assert({latency > 0, error} == {true, nil})
    assert %{size: 2, waiting: 0, checked_out: 0} = health.pool
    assert health.sidecar.os_pid > 0
    assert health.writer == %{connection: nil, holder: nil, held_ms: nil, waiting: 0}
    assert health.wal.bytes == File.stat!(database <> "-wal").size
    assert health.wal.pages > 0
    assert health.disk.free_bytes > 0
    assert health.took_us > 0
    # The module means the Repo that the process has chosen.
    assert %{healthy?: true, sidecar: %{os_pid: os_pid}} = health(Repo)
    assert os_pid == health.sidecar.os_pid
  end

  test "is plain data", %{name: name} do
    decoded = name |> health() |> Health.to_map() |> Jason.encode!() |> Jason.decode!()
    assert decoded["healthy"] == true
    assert decoded["mode"] == "local"
  end

  test "is no statement of the application's", %{name: name} do
    test = self()
    id = {__MODULE__, test}
    prefix = Repo.config()[:telemetry_prefix]

    :ok =
      :telemetry.attach(
        id,
        prefix ++ [:query],
        fn _, _, about, _ -> send(test, {:query, about.query}) end,
        nil
      )

    Repo.query!("SELECT 2")
    assert_received {:query, "SELECT 2"}
    assert health(name).healthy?
    :telemetry.detach(id)
    refute_received {:query, "SELECT 1"}
  end

  test "names who has the writer turn, and for how long", %{name: name} do
    test = self()

    {writer, monitor} =
      spawn_monitor(fn ->
        Repo.put_dynamic_repo(name)

        Repo.transaction(fn ->
          send(test, :writes)
          receive do: (:go_on -> :ok)
        end)
      end)

    assert_receive :writes, 60_000
    health = health(name)
    assert health.healthy?
    assert %{connection: number, holder: holder, held_ms: held} = health.writer
    assert is_integer(number)
    assert holder == inspect(writer)
    assert held >= 0
    # It has had it for a millisecond at some time.
    assert eventually(fn -> health(name, writer_held_max: 0).reasons == [:writer_held] end)
    send(writer, :go_on)
    assert_receive {:DOWN, ^monitor, _, _, :normal}, 60_000
    assert eventually(fn -> health(name).writer.connection == nil end)
  end

  test "limits make it unhealthy", %{name: name} do
    Repo.query!("CREATE TABLE t (x)")
    assert health(name, disk_free_min: 1_000_000_000_000_000).reasons == [:disk_low]
    assert health(name, wal_bytes_max: 0).reasons == [:wal_large]
    assert health(name, disk_free_min: nil).disk == nil
  end

  @tag repo: [lane: false, pool_size: 1]
  test "a pool without a free connection", %{name: name} do
    test = self()

    holder =
      spawn_link(fn ->
        Repo.put_dynamic_repo(name)
        Repo.checkout(fn -> send(test, :has) && receive(do: (:go_on -> :ok)) end)
      end)

    assert_receive :has, 60_000
    # On a busy machine there may be too little time to say more than that it is over.
    assert eventually(fn -> EctoLibSql.health(name, timeout: 300).reasons == [:pool_exhausted] end)
    health = EctoLibSql.health(name, timeout: 300)
    refute health.healthy?

    # Somebody waits.
    waiting =
      Task.async(fn -> Repo.put_dynamic_repo(name) && Repo.query!("SELECT 1", [], timeout: 60_000) end)

    assert eventually(fn -> :pool_waits in EctoLibSql.health(name, timeout: 200, pool_wait_max: 0).reasons end)

    send(holder, :go_on)
    Task.await(waiting, 60_000)
    assert health(name).healthy?
  end

  test "a sidecar that is killed, and is back", %{name: name, sidecar: sidecar} do
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    {_, 0} = System.cmd("kill", ["-STOP", Integer.to_string(os_pid)])
    assert eventually(fn -> EctoLibSql.health(name, timeout: 300).reasons == [:sidecar_silent] end)
    {took, health} = :timer.tc(fn -> EctoLibSql.health(name, timeout: 300) end)
    refute health.healthy?
    assert health.sidecar == nil
    # The machine's own delays aside, it is the time that was given.
    assert took in 200_000..30_000_000
    {_, 0} = System.cmd("kill", ["-KILL", Integer.to_string(os_pid)])
    assert eventually(fn -> health(name).healthy? end)
    {:ok, %{os_pid: next}} = LibsqlPort.status(sidecar)
    assert next != os_pid
  end

  test "a sidecar that is gone for good", %{name: name, sidecar: sidecar} do
    # Suspended, its supervisor answers nobody; the owner of the port behind it is dead.
    [{_, owner, _, _}] =
      for {LibsqlPort.Sidecar, _, _, _} = child <- Supervisor.which_children(sidecar), do: child

    :ok = :sys.suspend(sidecar)
    Process.exit(owner, :kill)
    gone = [[:sidecar_down], [:sidecar_silent]]
    assert eventually(fn -> EctoLibSql.health(name, timeout: 300).reasons in gone end)
    :ok = :sys.resume(sidecar)
    assert eventually(fn -> health(name).healthy? end)
  end

  test "a Repo that has ended", %{name: name} do
    stop_supervised!(Repo)
    assert %Health{healthy?: false, reasons: [:not_running], pool: nil} = health(name)
  end

  test "what is none, and wrong options" do
    for none <- [nil, :nobody, self(), "text", 7, String, {:global, :nobody}] do
      assert health(none).reasons == [:not_running]
    end

    for options <- [[timeout: 0], [timeout: :infinity], [wal_bytes_max: -1], [tiemout: 1], :none] do
      assert_raise Error, ~r/health\/2/, fn -> EctoLibSql.health(Repo, options) end
    end
  end

  @tag repo: [pool_count: 2, pool_size: 1]
  test "of several pools", %{name: name} do
    health = health(name)
    assert health.healthy?
    assert health.pool.size == 2
    assert health.sidecar.os_pid > 0
  end

  @tag :no_repo
  test "of a pool that is no Repo's, in memory" do
    db = start_supervised!({EctoLibSql, database: ":memory:"})
    health = health(db)
    assert %{healthy?: true, mode: :local, writer: nil, wal: nil, disk: nil} = health
    assert health.sidecar.os_pid > 0
  end

  @tag :no_repo
  test "of a Repo in the sandbox", %{tmp_dir: directory} do
    name = :"health_#{System.unique_integer([:positive])}"

    options = [
      database: Path.join(directory, "app.db"),
      name: name,
      pool: Ecto.Adapters.SQL.Sandbox,
      log: false
    ]

    start_supervised!({Repo, options})
    Repo.put_dynamic_repo(name)
    Ecto.Adapters.SQL.Sandbox.mode(Repo, :manual)
    :ok = Ecto.Adapters.SQL.Sandbox.checkout(Repo)
    assert %{healthy?: true, pool: nil, mode: nil, paths: [%{path: :pool}]} = health(Repo)
  end

  test "of several servers" do
    place = {:remote, "libsql://one.example.com?authToken=secret"}

    said = %{
      servers: [
        %{
          url: "https://one.example.com",
          role: :primary,
          breaker: :closed,
          latency: 7,
          answered: 3,
          reason: nil,
          replication_index: 40
        },
        %{
          url: "https://two.example.com",
          role: :replica,
          breaker: :open,
          latency: 9,
          answered: 8,
          reason: "refused",
          replication_index: 30
        }
      ]
    }

    assert [primary, replica] = Health.servers(place, {:ok, 11}, said)

    assert primary == %{
             url: "https://one.example.com",
             role: :primary,
             latency_us: 11,
             breaker: :closed,
             reason: nil,
             answered_ms: 3,
             frames_behind: nil
           }

    assert %{role: :replica, latency_us: 9, breaker: :open, reason: "refused", frames_behind: 10} = replica
    # A sidecar that tells nothing of servers, or not in time.
    for silent <- [nil, %{}, %{servers: []}, {:error, :timeout}] do
      assert [%{url: "libsql://one.example.com", role: :primary, latency_us: nil, breaker: nil}] =
               Health.servers(place, {:error, :timeout}, silent)
    end

    assert Health.servers(:local, {:ok, 1}, said) == []
  end

  describe "of a replica" do
    @describetag :sqld
    @describetag :no_repo

    test "its age is told, and can be a reason", %{tmp_dir: directory} do
      server = LibsqlPort.Sqld.start!()
      name = :"health_#{System.unique_integer([:positive])}"

      options = [
        uri: server.url,
        database: Path.join(directory, "replica.db"),
        name: name,
        pool_size: 1,
        log: false
      ]

      start_supervised!({Repo, options ++ @queue})
      Repo.put_dynamic_repo(name)
      Repo.query!("CREATE TABLE t (x)")

      assert eventually(fn ->
               match?(%{replica: %{age_ms: age, error: nil}} when is_integer(age), health(name))
             end)

      health = health(name)
      assert %{healthy?: true, mode: :replica, servers: [%{role: :primary, latency_us: nil}]} = health
      assert eventually(fn -> health(name, replica_age_max: 0).reasons == [:replica_stale] end)
      # It reads on without its server.
      :ok = LibsqlPort.Sqld.kill(server)
      assert %{healthy?: true, reasons: []} = health(name)
    end
  end

  describe "on a server" do
    @describetag :sqld
    @describetag :no_repo

    test "the server is asked, and its absence told" do
      server = LibsqlPort.Sqld.start!()
      name = :"health_#{System.unique_integer([:positive])}"

      start_supervised!(
        {Repo, [uri: server.url, name: name, pool_size: 1, log: false, backoff_min: 10] ++ @queue}
      )

      Repo.put_dynamic_repo(name)
      health = health(name)
      assert %{healthy?: true, mode: :remote, writer: nil, wal: nil, disk: nil} = health
      assert [%{url: url, role: :primary, latency_us: latency}] = health.servers
      assert url == server.url
      assert latency > 0
      assert Enum.map(health.paths, & &1.path) == [:pool, :sidecar]

      :ok = LibsqlPort.Sqld.kill(server)
      assert %{healthy?: false, reasons: [:server_unavailable], servers: [%{latency_us: nil}]} = health(name)
      :ok = LibsqlPort.Sqld.restart(server)
      assert eventually(fn -> health(name).healthy? end)

      # It stands still: the sidecar answers, the server does not.
      :ok = LibsqlPort.Sqld.pause(server)
      assert %{healthy?: false, reasons: [:timeout]} = EctoLibSql.health(name, timeout: 300)
      :ok = LibsqlPort.Sqld.resume(server)
      assert eventually(fn -> health(name).healthy? end)
    end
  end
end
