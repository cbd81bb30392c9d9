defmodule EctoLibSql.RepoOptionsTest do
  use EctoLibSql.RepoCase

  alias EctoLibSql.{Direct, PrivateCopy, Query}

  defmodule OtherRepo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  setup do
    script("CREATE TABLE t (x INTEGER PRIMARY KEY, y UNIQUE)")
    :ok
  end

  defp connection, do: Direct.connection(Ecto.Adapter.lookup_meta(TestRepo))
  defp sidecar, do: elem(connection(), 0)

  describe "the transaction mode" do
    @tag repo: [default_transaction_mode: :read_only]
    test "is the Repo's" do
      assert {:ok, {:error, %{code: :read_only}}} =
               TestRepo.transaction(fn -> TestRepo.query("INSERT INTO t VALUES (1, 1)") end)
    end

    @tag repo: [default_transaction_mode: :read_only]
    test "or the transaction's" do
      assert {:ok, {:ok, _}} =
               TestRepo.transaction(fn -> TestRepo.query("INSERT INTO t VALUES (1, 1)") end, mode: :immediate)
    end
  end

  describe "a Repo does not start" do
    for {word, options} <- %{
          "default_transaction_mode" => [default_transaction_mode: :eventual],
          "not supported yet" => [encryption_key: "secret"],
          "no scheme" => [uri: "localhost"],
          ":database is missing" => [database: nil],
          "busy_timeout" => [busy_timeout: "long"],
          "journal_mode" => [journal_mode: :paper]
        } do
      @tag :capture_log
      test "with options that cannot be: #{word}", %{path: path} do
        Process.flag(:trap_exit, true)
        options = Keyword.merge([name: :wrong, database: path], unquote(Macro.escape(options)))
        assert {:error, reason} = OtherRepo.start_link(options)
        assert inspect(reason) =~ "invalid_option"
        assert inspect(reason) =~ unquote(word)
      end
    end
  end

  @tag repo: [pool_size: 1, disconnect_on_error_codes: [:constraint_unique]]
  @tag :capture_log
  test "a connection is opened anew after the errors that were named, and only after those" do
    TestRepo.query!("INSERT INTO t VALUES (1, 1)")
    {_, %{id: first}} = connection()
    assert {:error, %{code: :sql_error}} = TestRepo.query("SELECT nothing")
    assert {_, %{id: ^first}} = connection()
    assert {:error, %{code: :constraint_unique}} = TestRepo.query("INSERT INTO t VALUES (2, 1)")
    {_, %{id: next}} = connection()
    assert next != first
  end

  test "Repos may share a sidecar, which outlives them", %{path: path} do
    shared = start_supervised!({LibsqlPort, name: EctoLibSql.RepoOptionsTest.Sidecar})

    for name <- [:one, :two] do
      options = [name: name, database: path, sidecar: shared, pool_size: 2, log: false]
      start_supervised!({OtherRepo, options}, id: name)
    end

    for name <- [:one, :two] do
      OtherRepo.put_dynamic_repo(name)
      OtherRepo.query!("INSERT INTO t (y) VALUES (?)", [Atom.to_string(name)])
    end

    # Connections of a pool are opened after it has started.
    eventually(fn -> match?({:ok, %{connections: 4}}, LibsqlPort.status(shared)) end)
    assert sidecar() != shared
    assert TestRepo.query!("SELECT y FROM t ORDER BY x").rows == [["one"], ["two"]]
    for name <- [:one, :two], do: stop_supervised!(name)
    eventually(fn -> match?({:ok, %{connections: 0}}, LibsqlPort.status(shared)) end)
  end

  test "a cursor belongs to its connection", %{config: config} do
    {:ok, one} = EctoLibSql.connect(config)
    {:ok, two} = EctoLibSql.connect(config)
    query = %Query{statement: "SELECT 1 UNION SELECT 2"}
    {:ok, _} = LibsqlPort.Connection.begin(one.conn, :deferred)
    assert {:ok, query, cursor, one} = EctoLibSql.handle_declare(query, [], [], one)
    assert {:error, %{code: :unknown_cursor}, two} = EctoLibSql.handle_fetch(query, cursor, [], two)
    assert {:error, %{code: :unknown_cursor}, two} = EctoLibSql.handle_deallocate(query, cursor, [], two)
    assert {:halt, %{rows: [[1], [2]]}, one} = EctoLibSql.handle_fetch(query, cursor, [], one)
    for state <- [one, two], do: :ok = EctoLibSql.disconnect(nil, state)
  end

  test "telemetry tells the way of a query, Ecto's and the driver's" do
    parent = self()

    events = [[:ecto_lib_sql, :test_repo, :query], [:libsql_port, :query, :stop]]
    tell = fn event, measurements, metadata, _ -> send(parent, {event, measurements, metadata}) end
    :telemetry.attach_many("repo-options", events, tell, nil)
    on_exit(fn -> :telemetry.detach("repo-options") end)
    TestRepo.query!("SELECT y FROM t WHERE x = ?", [1])

    assert_receive {[:ecto_lib_sql, :test_repo, :query], %{query_time: _, total_time: total},
                    %{result: {:ok, _}}}

    assert_receive {[:libsql_port, :query, :stop], times, %{request: :execute, sql: "SELECT y" <> _}}
    assert %{queue: queue, lock: lock, run: run, wire: wire, duration: duration} = times
    # What the sidecar's clock has counted too much is not taken from what remains.
    assert wire == max(duration - queue - lock - run, 0)
    assert duration <= total
  end

  @tag repo: [telemetry: false]
  test "`telemetry: false` leaves the driver's events out" do
    parent = self()

    events = [
      [:ecto_lib_sql, :test_repo, :query],
      [:libsql_port, :query, :start],
      [:libsql_port, :query, :stop]
    ]

    tell = fn event, _, metadata, _ -> if self() == parent, do: send(parent, {event, metadata}) end
    :telemetry.attach_many("repo-options-false", events, tell, nil)
    on_exit(fn -> :telemetry.detach("repo-options-false") end)
    TestRepo.query!("SELECT y FROM t WHERE x = ?", [1])
    assert_received {[:ecto_lib_sql, :test_repo, :query], %{result: {:ok, _}}}
    refute_received {[:libsql_port, :query, _], _}
  end

  # The connections are counted, so none are opened beside those of the pool.
  @tag repo: [database: ":memory:", lane: false]
  @tag :capture_log
  test "the sidecar of a database in memory is killed: an empty one takes its place and is held like the first" do
    sidecar = sidecar()
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    eventually(fn -> match?({:ok, _}, TestRepo.query("CREATE TABLE IF NOT EXISTS next (x)")) end)
    # The keeper's own, and those of the pool.
    eventually(fn -> match?({:ok, %{files: [%{connections: 4}]}}, LibsqlPort.status(sidecar)) end)
    TestRepo.query!("INSERT INTO next VALUES (1)")
    {_, %{id: id}} = connection()
    TestRepo.disconnect_all(0)
    # Numbers grow, so it is a new one that is given out; the pool of the dead program has gone with it.
    eventually(fn -> match?({_, %{id: next}} when next > id, connection()) end)
    assert TestRepo.query!("SELECT x FROM next").rows == [[1]]
    assert {:error, _} = TestRepo.query("SELECT 1 FROM t")
  end

  test "a Repo without private copies has no source of them" do
    %{private_copy: switch} = Direct.state(Ecto.Adapter.lookup_meta(TestRepo))
    assert PrivateCopy.source(switch) == nil
  end

  defp eventually(condition, tries \\ 400) do
    cond do
      condition.() -> :ok
      tries == 0 -> flunk("it did not happen")
      true -> receive(do: (:never -> :ok), after: (25 -> eventually(condition, tries - 1)))
    end
  end
end
