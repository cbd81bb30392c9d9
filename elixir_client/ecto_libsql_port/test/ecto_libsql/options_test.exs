defmodule EctoLibSql.OptionsTest do
  # The options of an application on ecto_sqlite3, as it has them in its configuration: each works or is refused.
  use ExUnit.Case, async: true

  alias EctoLibSql.Options

  @moduletag :tmp_dir

  setup %{tmp_dir: dir}, do: {:ok, database: Path.join(dir, "app.db")}

  defp pragma(database, options, name) do
    {:ok, state} = EctoLibSql.connect([database: database] ++ options)
    {:ok, %{rows: [[value]]}} = LibsqlPort.query(state.conn, "PRAGMA #{name}")
    EctoLibSql.disconnect(nil, state)
    value
  end

  describe "a misspelt option" do
    # One letter left out, doubled or swapped with the next, of every option in the documentation.
    test "is an error that names the one that was meant" do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Options)
      [_, text] = String.split(text, "## Where the database is")
      [text, _] = String.split(text, "## How values are stored")
      names = Regex.scan(~r/`:([a-z_]{4,})`(?= –|,)/, text) |> Enum.map(&List.last/1)
      values = ~w(memory read_write_create read_write readwrite readonly immediate deferred exclusive)
      names = Enum.uniq(names) -- values
      assert "journal_mode" in names and "sidecar_options" in names and length(names) > 15

      for name <- names, at <- 1..(String.length(name) - 2) do
        {left, <<letter, next, rest::binary>>} = String.split_at(name, at)

        for slip <- [
              left <> <<next>> <> rest,
              left <> <<letter, letter, next>> <> rest,
              left <> <<next, letter>> <> rest
            ],
            slip != name do
          option = String.to_atom(slip)
          assert {^slip, {:error, error}} = {slip, Options.check([{:database, "app.db"}, {option, 1}])}
          assert error.code == :invalid_option
          assert error.message == "unknown option #{inspect(option)}; did you mean :#{name}?"
        end
      end
    end

    test "of another library is its own matter" do
      for name <-
            [
              :name,
              :otp_app,
              :adapter,
              :repo,
              :pool,
              :pool_size,
              :pool_count,
              :pool_index,
              :log,
              :stacktrace,
              :priv
            ] ++
              [
                :telemetry_prefix,
                :telemetry_options,
                :migration_source,
                :migration_primary_key,
                :migration_lock
              ] ++
              [
                :migration_timestamps,
                :migration_foreign_key,
                :migration_repo,
                :hostname,
                :username,
                :password
              ] ++
              [:port, :ssl, :parameters, :prepare, :socket_options, :connect_timeout, :idle_interval, :queue] ++
              [
                :queue_target,
                :queue_interval,
                :connection_listeners,
                :after_connect,
                :max_restarts,
                :max_seconds
              ] ++
              [:max_lifetime, :backoff_min, :backoff_max, :backoff_type, :ownership_timeout, :ownership_mode] ++
              [:migrator, :dump_path, :sync, :chunk_size, :progress_handler_steps, :database_url] do
        assert {:ok, _, _} = Options.check([{:database, "app.db"}, {name, 1}])
      end
    end
  end

  test "values that only the adapter reads are checked before anything is opened" do
    for {option, values} <- [
          attach: ["other.db", [:other], [other: 1], [main: "other.db"]],
          pragmas: [3, :wal, [:wal]],
          custom_pragmas: [:x, [1]],
          show_statement: [nil, :no],
          sidecar_options: [nil, %{}, [:x]],
          disconnect_on_error_codes: [:busy, [:no_such_code]]
        ],
        value <- values do
      assert {:error, %{code: :invalid_option} = error} =
               Options.check([{:database, "app.db"}, {option, value}])

      assert error.message =~ "the option #{inspect(option)} takes "
      assert error.message =~ "not #{inspect(value)}"
    end

    assert {:ok, _, _} =
             Options.check(database: "app.db", attach: [other: "o.db"], pragmas: %{query_only: true})

    assert {:ok, _, _} =
             Options.check(database: "app.db", disconnect_on_error_codes: [:busy], show_statement: false)
  end

  test "switches are :on and :off", %{database: database} do
    assert pragma(database, [foreign_keys: :on], "foreign_keys") == 1
    assert pragma(database, [foreign_keys: :off], "foreign_keys") == 0
    assert pragma(database, [foreign_keys: false], "foreign_keys") == 0
    assert pragma(database, [recursive_triggers: :on], "recursive_triggers") == 1
    assert pragma(database, [secure_delete: :on], "secure_delete") == 1
    assert pragma(database, [cache_spill: :off], "cache_spill") == 0
    assert pragma(database, [cache_spill: :on], "cache_spill") > 0
  end

  test "LIKE minds the case if told to", %{database: database} do
    for {given, same} <- [on: 0, off: 1] do
      {:ok, state} = EctoLibSql.connect(database: database, case_sensitive_like: given)
      assert {:ok, %{rows: [[^same]]}} = LibsqlPort.query(state.conn, "SELECT 'A' LIKE 'a'")
      EctoLibSql.disconnect(nil, state)
    end
  end

  test "values of all others", %{database: database} do
    for {option, value, pragma, read} <- [
          {:journal_mode, :truncate, "journal_mode", "truncate"},
          {:journal_mode, :wal, "journal_mode", "wal"},
          {:temp_store, :file, "temp_store", 1},
          {:synchronous, :extra, "synchronous", 3},
          {:cache_size, -1234, "cache_size", -1234},
          {:locking_mode, :exclusive, "locking_mode", "exclusive"},
          {:busy_timeout, 1234, "busy_timeout", 1234},
          {:journal_size_limit, 4096, "journal_size_limit", 4096}
        ] do
      assert pragma(database, [{option, value}], pragma) == read
    end

    new = database <> "-new"
    assert pragma(new, [auto_vacuum: :incremental], "auto_vacuum") == 2
  end

  test "custom pragmas come by name, with values as SQL has them", %{database: database} do
    assert pragma(database, [custom_pragmas: [query_only: 1]], "query_only") == 1
    assert pragma(database, [custom_pragmas: [{"recursive_triggers", "ON"}]], "recursive_triggers") == 1
    assert pragma(database, [custom_pragmas: [cache_size: "-99"]], "cache_size") == -99
    assert pragma(database, [custom_pragmas: [busy_timeout: 77]], "busy_timeout") == 77
    assert pragma(database, [pragmas: %{threads: 1}, custom_pragmas: [cache_size: -9]], "threads") == 1
    assert {:error, error} = EctoLibSql.connect(database: database, custom_pragmas: [kdf_iter: 1])
    assert error.message =~ "kdf_iter"
  end

  test "checkpoints by another name" do
    for {given, pages} <- [{500, 500}, {0, 0}, {-1, 0}] do
      assert {:ok, options} = Options.driver(database: "a.db", wal_auto_check_point: given)
      assert options[:checkpoint_pages] == pages
    end

    assert {:ok, options} = Options.driver(database: "a.db", custom_pragmas: [wal_autocheckpoint: 7])
    assert options[:checkpoint_pages] == 7
    assert {:ok, options} = Options.driver(database: "a.db", wal_auto_check_point: 7, checkpoint_pages: 9)
    assert options[:checkpoint_pages] == 9
  end

  test "modes by their words, and by a file's URI" do
    for {given, mode} <- [
          {:readonly, :read_only},
          {:readwrite, :read_write},
          {[:readwrite, :create], :read_write_create},
          {[:nomutex, :readonly], :read_only},
          {:read_only, :read_only}
        ] do
      assert {:ok, options} = Options.driver(database: "a.db", mode: given)
      assert options[:mode] == mode
    end

    assert {:ok, options} = Options.driver(database: "file:a.db?mode=ro")
    assert {Path.absname("a.db"), :read_only} == {options[:database], options[:mode]}
    assert {:ok, options} = Options.driver(database: "file:a.db?mode=ro", mode: :read_write)
    assert options[:mode] == :read_write
    assert {:error, %{message: message}} = EctoLibSql.connect(database: "a.db", mode: [:readonly, :create])
    assert message =~ ":mode"
  end

  test "a database in memory by its URI", %{tmp_dir: dir} do
    assert Options.path(database: "file:shared?mode=memory&cache=shared") == {:ok, :memory}
    assert Options.path(database: "file:#{dir}/a.db?cache=shared") == {:ok, "#{dir}/a.db"}
  end

  test "what cannot be had is refused, and not passed over" do
    for {option, value} <- [
          key: "'secret'",
          load_extensions: ["vec0"],
          serialized: <<0>>,
          before_disconnect: {IO, :inspect, []},
          soft_heap_limit: 1_000_000,
          hard_heap_limit: 1_000_000
        ] do
      assert {:error, message} = Options.driver([{:database, "a.db"}, {option, value}])
      assert message =~ inspect(option)
      assert {:ok, _} = Options.driver([{:database, "a.db"}, {option, nil}])
    end

    assert {:ok, _} = Options.driver(database: "a.db", load_extensions: [])
    assert {:error, _} = Options.driver(database: "a.db", custom_pragmas: [key: "'secret'"])
    assert {:ok, _} = Options.driver(database: "a.db", chunk_size: 50, progress_handler_steps: 1000)
  end
end
