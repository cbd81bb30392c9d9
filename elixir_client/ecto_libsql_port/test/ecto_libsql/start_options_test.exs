defmodule EctoLibSql.StartOptionsTest do
  # What a Repo that cannot work says when it is started: an error at once, and no connections that try for ever.
  use ExUnit.Case, async: true

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    Process.flag(:trap_exit, true)
    {:ok, database: Path.join(dir, "app.db")}
  end

  # The error with which a Repo does not start.
  defp refused(database, options) do
    name = :"start_options_#{System.unique_integer([:positive])}"
    started = Repo.start_link(Keyword.merge([database: database, name: name, log: false], options))
    assert {:error, {:shutdown, {:failed_to_start_child, _id, %EctoLibSql.Error{} = error}}} = started
    error
  end

  defp started(database, options) do
    name = :"start_options_#{System.unique_integer([:positive])}"
    start_supervised!({Repo, Keyword.merge([database: database, name: name, log: false], options)}, id: name)
  end

  for {option, values} <- [
        pool_size: [0, -1, "5", :many, nil, 1.5],
        pool_count: [0, -1, "2", :many, nil],
        queue_target: ["50", 0],
        queue_interval: [:x, -1],
        idle_interval: [0, "1"],
        idle_limit: [-1, :all],
        backoff_min: ["1", -1],
        backoff_max: [:x],
        backoff_type: [:never, "exp", nil],
        max_restarts: [:x, -1],
        max_seconds: [0],
        max_lifetime: [60_000, nil],
        after_connect: [3, {IO, :puts}],
        after_connect_timeout: [0, "1"],
        configure: [3, &List.first/2],
        connection_listeners: [3, ["x"], [:a | :b], {[:a | :b], 1}],
        pool: [No.Such.Module, String, 3, nil],
        ownership_mode: [:manuel, {:shared, 3}],
        ownership_log: [:nope, "debug"],
        log: [:nope, "debug", true, nil],
        log_stacktrace_mfa: [3, {IO, :puts}],
        stacktrace: [:yes],
        telemetry_prefix: ["x", :my_app, ["x"], [:a | :b]],
        ownership_timeout: [:x, 0],
        show_sensitive_data_on_connection_error: [1],
        sidecar: ["x", 3],
        ignored_options: [:x, ["x"], [:a | :b]],
        timeout: [0, "15"],
        connect_timeout: [0, :infinity],
        busy_timeout: [-1, "5"],
        mode: [:ro, "rw"],
        default_transaction_mode: [:eventual],
        statement_cache: [-1],
        checkpoint_pages: [-1, :x],
        wal_auto_check_point: ["x", :x],
        open_flags: [[:x], [:uri | :nofollow]],
        show_statement: [1, nil],
        telemetry: [1, nil],
        disconnect_on_error_codes: [:busy, [:nope], [:busy | :locked]],
        attach: ["b.db", [{:other, "b.db"} | :x]],
        pragmas: [:x, [{:a, 1} | :b]],
        custom_pragmas: [:x, [{:a, 1} | :b]],
        lane: [:x, [{:size, 1} | :b]],
        journal_mode: [:paper],
        synchronous: [:sometimes],
        foreign_keys: [2, "maybe"],
        cache_size: ["big"],
        temp_store: [:disk],
        sidecar_options: [[heartbeat: 0], [colour: :red], :x]
      ] do
    test "#{inspect(option)} of a wrong value", %{database: database} do
      for value <- unquote(Macro.escape(values)) do
        error = refused(database, [{unquote(option), value}])
        assert error.code == :invalid_option
        assert error.message =~ Atom.to_string(unquote(option))
        assert error.message =~ "takes" or error.message =~ "one of" or error.message =~ "known are"
      end

      refute File.exists?(database)
    end
  end

  test "an unknown name is refused with those that are known", %{database: database} do
    for options <- [[colour: :red], [{:colour, nil}], [colour: :red, pool_count: 2]] do
      error = refused(database, options)
      assert error.code == :invalid_option
      assert error.message =~ "unknown option :colour; known are "
      for name <- ~w(:database :pool_size :journal_mode :sidecar_options), do: assert(error.message =~ name)
      refute error.message =~ ":load_extensions"
    end

    assert refused(database, ignored_options: [:color], colour: :red).message =~ ":colour"
    assert Process.alive?(started(database, ignored_options: [:colour], colour: :red))
  end

  test "an option of the whole application is refused with where it belongs", %{database: database} do
    for {name, value} = option <- [
          binary_id_type: :binary,
          uuid_type: :binary,
          map_type: :binary,
          array_type: :binary,
          datetime_type: :text_datetime,
          utc_designator: true,
          json_library: Jason,
          untyped_binaries: :text_or_blob,
          unique_constraint_names: :columns
        ] do
      error = refused(database, [option])
      assert error.code == :invalid_option
      assert error.message =~ "config :ecto_libsql_port, #{name}: #{inspect(value)}"
    end
  end

  test "the :url of a host opens no file in its place" do
    error = refused(nil, url: "libsql://example.turso.io/no-such-file.db")
    assert error.message =~ "names libsql://example.turso.io"
    refute File.exists?("no-such-file.db")
    # As Ecto takes `sqlite://localhost/app.db` apart.
    assert EctoLibSql.StartOptions.check(scheme: "sqlite", hostname: "localhost", database: "app.db") == :ok
  end

  test "options of Ecto, its migrator and a generated application are known", %{database: database} do
    options = [
      stacktrace: true,
      show_sensitive_data_on_connection_error: true,
      priv: "priv/repo",
      migration_source: "migrations",
      migration_primary_key: [type: :binary_id],
      migration_timestamps: [type: :utc_datetime_usec],
      migration_lock: false,
      start_apps_before_migration: [:logger],
      telemetry_prefix: [:my_app],
      queue_target: 100,
      queue_interval: 1_000,
      idle_interval: 5_000,
      ssl: true,
      socket_options: [:inet6],
      pool_size: 1
    ]

    assert Process.alive?(started(database, options))
  end

  test "a database that cannot be opened ends the start, and the error names the mend", %{tmp_dir: dir} do
    file = Path.join(dir, "text.txt")
    File.write!(file, String.duplicate("This is no database. ", 1_000))
    missing = Path.join(dir, "missing/deep/app.db")

    for pool_count <- [1, 2] do
      error = refused(missing, pool_count: pool_count)
      assert error.code == :cannot_open
      assert error.message =~ "the directory #{Path.dirname(missing)} does not exist"
      assert error.message =~ "mix ecto.create"

      assert %{code: :cannot_open, message: message} = refused(dir, pool_count: pool_count)
      assert message =~ "it is a directory"

      assert %{code: :cannot_open, message: message} =
               refused(Path.join(file, "app.db"), pool_count: pool_count)

      assert message =~ "#{file} is not a directory"

      assert %{code: :cannot_open, message: message} =
               refused(Path.join(dir, "none.db"), pool_count: pool_count, mode: :read_only)

      assert message =~ "there is no such file"

      assert %{code: :not_a_database, message: message} = refused(file, pool_count: pool_count)
      assert message =~ file
    end

    assert %{code: :cannot_open, message: message} = refused(Path.join(dir, "app.db"), attach: [old: missing])
    assert message =~ "the directory #{Path.dirname(missing)} does not exist"
  end

  test "mix ecto.create does what the error says", %{tmp_dir: dir} do
    database = Path.join(dir, "missing/app.db")
    assert refused(database, []).code == :cannot_open
    assert :ok = Ecto.Adapters.LibSql.storage_up(database: database)
    assert Process.alive?(started(database, []))
  end

  test "a sidecar that does not run ends the start", %{database: database} do
    {:ok, ended} = Agent.start(fn -> nil end)
    :ok = Agent.stop(ended)

    for sidecar <- [No.Such.Sidecar, {:global, :no_such_sidecar}, ended], pool_count <- [1, 2] do
      error = refused(database, sidecar: sidecar, pool_count: pool_count)
      assert error.code == :invalid_option
      assert error.message =~ "the option :sidecar names #{inspect(sidecar)}"
      assert error.message =~ "Start it before the Repo"
    end
  end

  test "a :sidecar that is another process is refused, and the process goes on", %{database: database} do
    agent = start_supervised!({Agent, fn -> 1 end})
    supervisor = start_supervised!({Task.Supervisor, []})

    for other <- [agent, supervisor, self()], options <- [[], [pool_count: 2]] do
      error = refused(database, [sidecar: other] ++ options)
      assert error.code == :invalid_option
      assert error.message =~ "#{inspect(other)} is no sidecar"
    end

    assert Agent.get(agent, & &1) == 1
    refute_received {:"$gen_call", _from, _request}
  end

  test "a sidecar that cannot be started ends the start, with the driver's error", %{database: database} do
    for options <- [[], [pool_count: 2]] do
      error = refused(database, [sidecar_options: [executable: "/nowhere/libsql_port"]] ++ options)
      assert error.code == :executable_not_found
      assert error.message =~ "/nowhere/libsql_port"
    end
  end

  test "a busy database does not end the start: the connections wait for it", %{database: database} do
    sidecar = start_supervised!(LibsqlPort)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, locking_mode: :exclusive)
    {:ok, _} = LibsqlPort.query(conn, "CREATE TABLE t (x)")
    repo = started(database, busy_timeout: 1, pool_size: 1, queue_target: 60_000)
    :ok = LibsqlPort.close(conn)
    Repo.put_dynamic_repo(repo)
    assert %{rows: []} = Repo.query!("SELECT x FROM t", [], timeout: 30_000)
  end

  describe "with :pool_count" do
    test "all pools have one sidecar, by the Repo's name, which ends with it", %{database: database} do
      name = :start_options_pools
      options = [database: database, name: name, pool_count: 3, pool_size: 2, log: false]
      start_supervised!({Repo, options}, id: name)
      sidecar = Module.concat(name, Sidecar)
      assert {:ok, %{connections: connections}} = LibsqlPort.status(sidecar)
      assert connections in 0..6

      pids =
        1..12
        |> Enum.map(fn _ ->
          Task.async(fn ->
            Repo.put_dynamic_repo(name)
            Repo.query!("SELECT 1")
            elem(EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(name)), 0)
          end)
        end)
        |> Task.await_many()

      assert Enum.uniq(pids) == [sidecar]
      owner = Process.monitor(Process.whereis(sidecar))
      stop_supervised!(name)
      assert_receive {:DOWN, ^owner, :process, _, _}, 10_000
      # And the name is free for the next.
      start_supervised!({Repo, options}, id: name)
      assert {:ok, _} = LibsqlPort.status(sidecar)
    end

    test "a given sidecar is used", %{database: database} do
      shared = start_supervised!(LibsqlPort)
      repo = started(database, pool_count: 2, pool_size: 1, sidecar: shared)
      assert {^shared, _} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(repo))
    end

    test "a killed sidecar is replaced for all pools", %{database: database} do
      repo = started(database, pool_count: 2, pool_size: 1)
      {sidecar, _} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(repo))
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])

      for _ <- 1..8 do
        Task.async(fn ->
          Repo.put_dynamic_repo(repo)
          Repo.query("SELECT 1")
        end)
        |> Task.await(30_000)
      end

      # Reads that were never sent are repeated on new connections; those under way may have been lost once.
      assert {:ok, %{os_pid: next}} = LibsqlPort.status(sidecar)
      assert next != os_pid
      Repo.put_dynamic_repo(repo)
      assert {:ok, %{rows: [[1]]}} = Repo.query("SELECT 1")
    end

    test "a database in memory is one, in all pools" do
      repo = started(":memory:", pool_count: 3, pool_size: 1)
      Repo.put_dynamic_repo(repo)
      Repo.query!("CREATE TABLE t (x)")

      for n <- 1..9 do
        Task.async(fn ->
          Repo.put_dynamic_repo(repo)
          Repo.query!("INSERT INTO t VALUES (?)", [n])
        end)
        |> Task.await()
      end

      assert Repo.query!("SELECT count(*) FROM t").rows == [[9]]
    end
  end
end
