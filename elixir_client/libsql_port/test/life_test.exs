defmodule LibsqlPort.LifeTest do
  # Not async: a module of the name :telemetry comes and goes, and Logger's level is everybody's.
  use LibsqlPort.SidecarCase, async: false

  import ExUnit.CaptureLog

  alias LibsqlPort.{Sqld, Telemetry, TelemetryDouble}

  @moduletag connect: false

  setup do
    TelemetryDouble.load()
    on_exit(&TelemetryDouble.unload/0)
    TelemetryDouble.start()
    Process.register(self(), :libsql_port_telemetry)
    :ok
  end

  defmodule Application do
    use Elixir.Application

    @impl true
    def start(_type, parent) do
      connection = fn ->
        {:ok, conn} = LibsqlPort.connect(__MODULE__.Sidecar, database: ":memory:")
        send(parent, {:connected, conn})
        conn
      end

      children = [{LibsqlPort, name: __MODULE__.Sidecar, shutdown_grace: 60_000}, {Agent, connection}]
      Supervisor.start_link(children, strategy: :one_for_one)
    end
  end

  describe "life-cycle events" do
    # The application controller answers nobody until the application has stopped.
    test "do not keep an application with a sidecar from stopping" do
      application = :libsql_port_life_test
      properties = [vsn: ~c"0", applications: [:kernel, :stdlib], mod: {__MODULE__.Application, self()}]
      :ok = :application.load({:application, application, properties})
      on_exit(fn -> :application.unload(application) end)

      log =
        capture_log(fn ->
          :ok = Elixir.Application.start(application)
          assert_receive {:connected, conn}
          monitor = Process.monitor(conn.handle.sidecar)
          :ok = Elixir.Application.stop(application)
          assert_received {:DOWN, ^monitor, :process, _, :shutdown}
        end)

      refute log =~ "terminating"
    end

    @tag :sqld
    test "tell when a replica is not synced any more, and when it is again", context do
      server = Sqld.start!()
      path = Path.join(context.tmp_dir, "r.db")
      {:ok, conn} = LibsqlPort.connect(context.sidecar, database: path, url: server.url)
      Sqld.kill(server)
      for _ <- 1..2, do: {:error, _} = LibsqlPort.Replica.sync(conn)
      assert_receive {:event, [:libsql_port, :replica, :failing], %{system_time: _}, metadata}
      assert %{database: ^path, error: %Error{code: :remote_unavailable}, os_pid: _} = metadata
      Sqld.restart(server)
      {:ok, _} = LibsqlPort.Replica.sync(conn)
      assert_receive {:event, [:libsql_port, :replica, :synced], _, %{database: ^path}}
      refute_received {:event, [:libsql_port, :replica, _], _, _}
    end

    test "tell the beginning and the end of connections", %{sidecar: sidecar} do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      id = conn.id
      assert_receive {:event, [:libsql_port, :connection, :opened], times, %{connection: ^id} = metadata}
      assert %{system_time: _, monotonic_time: _} = times
      assert %{database: _, name: nil, os_pid: os_pid} = metadata
      assert {:ok, %{os_pid: ^os_pid}} = LibsqlPort.status(sidecar)

      :ok = LibsqlPort.close(conn)
      assert_receive {:event, [:libsql_port, :connection, :closed], _, %{connection: ^id, reason: :closed}}

      owner = spawn(fn -> receive(do: (:end -> :ok)) end)
      {:ok, %{id: id}} = LibsqlPort.connect(sidecar, database: ":memory:", owner: owner)
      send(owner, :end)

      assert_receive {:event, [:libsql_port, :connection, :closed], _,
                      %{connection: ^id, reason: :owner_down}},
                     60_000
    end

    test "tell what a policy denies", %{sidecar: sidecar} do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:", policy: :read_only)
      id = conn.id
      {:error, %{denial: denial}} = LibsqlPort.query(conn, "CREATE TABLE t (a)")
      assert_receive {:event, [:libsql_port, :policy, :denied], measurements, %{connection: ^id} = metadata}
      assert %{count: 1, left_out: 0, monotonic_time: _} = measurements
      assert denial == Map.take(metadata, Map.keys(denial))
      assert %{action: :create_table, object: "t", rule: :read_only, name: nil} = metadata
      :ok = LibsqlPort.close(conn)

      log =
        capture_log(fn ->
          Telemetry.handle_event([:libsql_port, :policy, :denied], measurements, metadata, nil)
        end)

      assert log =~ "policy denied" and log =~ "create_table"
    end

    test "tell of a lost sidecar and of the next one" do
      name = :"#{__MODULE__}.named"
      sidecar = start_supervised!({LibsqlPort, name: name}, id: :named)

      assert_received {:event, [:libsql_port, :sidecar, :started], _,
                       %{name: ^name, restart: false, version: version, os_pid: os_pid}}

      assert is_binary(version)

      log =
        capture_log(fn ->
          System.cmd("kill", ["-9", "#{os_pid}"])

          assert_receive {:event, [:libsql_port, :sidecar, :lost], %{connections: 0},
                          %{name: ^name, os_pid: ^os_pid, reason: reason}},
                         60_000

          assert reason =~ "signal 9"

          assert_receive {:event, [:libsql_port, :sidecar, :started], _, %{name: ^name, restart: true}},
                         60_000
        end)

      assert log =~ "#{inspect(name)} (#{os_pid})"
      assert :ok = LibsqlPort.ping(sidecar, timeout: 60_000)
    end

    test "are silent without :telemetry" do
      TelemetryDouble.unload()
      assert :ok = Telemetry.event([:sidecar, :lost], %{}, %{})
      TelemetryDouble.load()
    end

    test "are logged by the default handler" do
      assert :ok = Telemetry.attach_default_handler()
      assert_received {:attached, "libsql_port-default-handler", events, handler}
      assert length(events) == 8

      log =
        capture_log(fn -> handler.([:libsql_port, :sidecar, :lost], %{}, %{name: A, reason: "ended"}, nil) end)

      assert log =~ "sidecar lost"
      assert log =~ ~s(reason="ended")
      assert log =~ "warn"
    end
  end

  describe "the program's own log" do
    @tag sidecar_options: [log_level: :error]
    test "goes through Logger, with metadata", %{sidecar: sidecar} do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      os_pid = conn.handle.os_pid

      log =
        capture_log([format: "$metadata[$level] $message\n", metadata: [:os_pid, :domain]], fn ->
          # What is no frame ends the program, which says why before it goes.
          true = Port.command(conn.handle.port, "no frame")
          assert_receive {:event, [:libsql_port, :sidecar, :lost], _, %{os_pid: ^os_pid}}, 60_000
        end)

      assert log =~ "broken frame on standard input"
      assert [_, os_pid] = Regex.run(~r/os_pid=(\d+) .*\[error\] libsql_port: broken frame/, log)
      assert String.to_integer(os_pid) == conn.handle.os_pid
      assert log =~ "domain=elixir.libsql_port"
    end
  end
end
