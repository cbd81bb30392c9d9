defmodule EctoLibSql.LaneRepoTest do
  # What belongs to a Repo is the same on the lane as in its pool: options of connections, log entries, telemetry, metrics,
  # dynamic Repos, partitions.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase
  import ExUnit.CaptureLog

  @moduletag timeout: 120_000
  @moduletag repo: [pool_size: 3]

  defmodule Item do
    use Ecto.Schema

    schema "items" do
      field(:name, :string)
    end
  end

  defp items, do: script("CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, name TEXT)")

  # --- connections --------------------------------------------------------------------------------------------------

  defmodule After do
    def connect(conn, name) do
      EctoLibSql.query!(conn, "CREATE TEMP TABLE told (name)")
      EctoLibSql.query!(conn, "INSERT INTO told VALUES (?)", [name])
    end
  end

  @tag repo: [
         lane: true,
         pool_size: 2,
         after_connect: {After, :connect, ["after"]},
         case_sensitive_like: true,
         pragmas: [cache_size: -1234],
         attach: [beside: ":memory:"]
       ]
  test "connections of the lane are opened as those of the pool" do
    told = fn -> TestRepo.query!("SELECT name FROM temp.told").rows == [["after"]] end
    warm(told)
    assert {true, [:lane]} = where(told)
    like = fn -> TestRepo.query!("SELECT 'a' LIKE 'A'").rows == [[0]] end
    warm(like)
    assert {true, [:lane]} = where(like)
    assert {:ok, %{rows: [[-1234]]}} = LibsqlPort.query(hd(lane_conns()), "PRAGMA cache_size")
    assert {:ok, %{rows: rows}} = LibsqlPort.query(hd(lane_conns()), "SELECT name FROM pragma_database_list")
    assert ["beside"] in rows
  end

  defmodule Own do
    def connect(conn) do
      EctoLibSql.query!(conn, "CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, name TEXT)")
      EctoLibSql.query!(conn, "CREATE TEMP TABLE own (x)")
      EctoLibSql.query!(conn, "CREATE TABLE beside.own (x)")

      EctoLibSql.query!(
        conn,
        "CREATE TEMP TRIGGER noted AFTER INSERT ON items BEGIN INSERT INTO own VALUES (new.name); END"
      )
    end
  end

  @tag repo: [lane: true, pool_size: 2, after_connect: &Own.connect/1, attach: [beside: ":memory:"]]
  test "what is written into a connection's own databases takes the pool" do
    for sql <- [
          "INSERT INTO temp.own VALUES (?)",
          "INSERT INTO beside.own VALUES (?)",
          "INSERT INTO own SELECT ?",
          "DELETE FROM own WHERE x = ?",
          "UPDATE beside.own SET x = ?",
          "INSERT INTO items (name) VALUES (?)"
        ] do
      # The engine is asked about the text as soon as the lane has a connection.
      wait_until(fn -> :lane in elem(where(fn -> TestRepo.query!(sql, ["a"]) end), 1) end)
      assert {_, [:pool]} = where(fn -> TestRepo.query!(sql, ["a"]) end)
    end

    write = fn -> TestRepo.query!("UPDATE items SET name = ? WHERE id = ?", ["b", 1]) end
    warm(write)
    assert {_, [:lane]} = where(write)

    for conn <- lane_conns(),
        table <- ["temp.own", "beside.own"],
        do: assert({:ok, %{rows: [[0]]}} = LibsqlPort.query(conn, "SELECT count(*) FROM #{table}"))
  end

  @tag repo: [lane: true, pool_size: 2, sidecar_options: [connections_max: 2]]
  test "where no connection can be opened all is left to the pool, and nothing is logged" do
    growing? = fn -> :atomics.get(lane().ref, lane().size + 1) == 1 end

    log =
      capture_log(fn ->
        wait_until(fn -> TestRepo.query!("SELECT 1") && growing?.() end)
        wait_until(fn -> not growing?.() end)
      end)

    refute log =~ "connect"
    assert lane_conns() == []
    assert {_, [:pool]} = where(fn -> TestRepo.query!("SELECT 1") end)
  end

  defmodule AfterLane do
    # In a process that DBConnection starts for the connection's.
    def connect(_conn, test) do
      send(test, {:after_connect, self(), hd(Process.get(:"$callers", Process.get(:"$ancestors")))})
      receive do: (:go_on -> :ok)
    end
  end

  # The processes of a connection that is being prepared.
  defp preparing do
    receive do: ({:after_connect, task, connection} -> {task, connection})
  end

  # Calls until the lane prepares a connection.
  defp growing do
    TestRepo.query!("SELECT 1")
    receive do: ({:after_connect, task, connection} -> {task, connection}), after: (10 -> growing())
  end

  test "a connection that is never prepared is given up", %{path: path} do
    options = [database: path, pool_size: 2, lane: [idle_timeout: 50], name: nil]
    {:ok, repo} = start_with_after(options)
    for _ <- 1..2, do: send(elem(preparing(), 0), :go_on)
    TestRepo.put_dynamic_repo(repo)
    {_task, connection} = growing()
    monitor = Process.monitor(connection)
    assert_receive {:DOWN, ^monitor, _, _, _}, 60_000
    assert {_, [:pool]} = where(fn -> TestRepo.query!("SELECT 1") end)
  end

  test "disconnect_all replaces a connection that is being prepared, too", %{path: path} do
    options = [database: path, pool_size: 2, lane: [idle_timeout: 600_000], name: nil]
    {:ok, repo} = start_with_after(options)
    for _ <- 1..2, do: send(elem(preparing(), 0), :go_on)
    TestRepo.put_dynamic_repo(repo)
    {_task, connection} = growing()
    monitor = Process.monitor(connection)
    TestRepo.disconnect_all(0)
    assert_receive {:DOWN, ^monitor, _, _, _}, 60_000
  end

  defp start_with_after(options),
    do:
      start_supervised({TestRepo, [after_connect: {AfterLane, :connect, [self()]}] ++ options}, id: make_ref())

  @tag repo: [lane: true, database: ":memory:", pool_size: 3]
  test "a database in memory is that of the Repo" do
    items()
    insert = fn -> TestRepo.insert!(%Item{name: "a"}) end
    warm(insert)
    {_, [:lane]} = where(insert)
    count = TestRepo.query!("SELECT count(*) FROM items", [], lane: false).rows
    warm(fn -> TestRepo.query!("SELECT count(*) FROM items") end)
    assert {%{rows: ^count}, [:lane]} = where(fn -> TestRepo.query!("SELECT count(*) FROM items") end)
  end

  @tag repo: [lane: true, database: "file:own?vfs=memdb", pool_size: 2]
  test "databases of which each connection has its own have no lane" do
    for _ <- 1..20, do: TestRepo.query!("SELECT 1")
    wait_until(fn -> not :sys.get_state(connections()).on? end)
    for _ <- 1..20, do: assert({_, [:pool]} = where(fn -> TestRepo.query!("SELECT 1") end))
    assert lane_conns() == []
  end

  # --- log and telemetry --------------------------------------------------------------------------------------------

  defp entries(fun) do
    test = self()
    id = {__MODULE__, make_ref()}
    tell = fn _event, measurements, metadata, _ -> send(test, {id, measurements, metadata}) end
    :ok = :telemetry.attach(id, [:ecto_lib_sql, :test_repo, :query], tell, nil)

    try do
      fun.()
    after
      :telemetry.detach(id)
    end

    received(id)
  end

  defp received(id) do
    receive do
      {^id, measurements, metadata} -> [{measurements, metadata} | received(id)]
    after
      0 -> []
    end
  end

  defp shape({measurements, metadata}) do
    assert Enum.all?(measurements, fn {_name, time} -> is_integer(time) and time >= 0 end)
    %{queue_time: queue, query_time: query, total_time: total} = measurements
    assert total == queue + query + Map.get(measurements, :decode_time, 0)
    {Enum.sort(Map.keys(measurements)), Map.update!(metadata, :result, &result/1)}
  end

  defp result({:ok, result}), do: {:ok, %{result | times: nil, last_insert_rowid: 0}}
  defp result({:error, error}), do: {:error, error}

  test "log entries and events are those of the pool" do
    items()
    TestRepo.query!("CREATE UNIQUE INDEX items_name ON items (name)")
    TestRepo.insert!(%Item{id: 1, name: "one"})

    for call <- [
          &TestRepo.get(Item, 1, &1),
          &TestRepo.all(from(i in Item, select: i.name), &1),
          &TestRepo.query!("SELECT ? AS a", ["param"], &1),
          &TestRepo.insert_all(Item, [[id: 1, name: "two"]], [on_conflict: :nothing] ++ &1),
          &TestRepo.query("INSERT INTO items (name) VALUES ('one')", [], &1),
          &TestRepo.get(Item, 1, [telemetry_options: [for: "this"]] ++ &1)
        ] do
      warm(fn -> call.([]) end)
      [lane] = entries(fn -> assert {_, [:lane]} = where(fn -> call.([]) end) end)
      [pool] = entries(fn -> assert {_, [:pool]} = where(fn -> call.(lane: false) end) end)
      assert shape(lane) == shape(pool)
      assert Map.has_key?(elem(lane, 0), :idle_time)
    end
  end

  test "the log names the statement and its times" do
    warm(fn -> TestRepo.query!("SELECT 'logged'") end)

    log = fn options ->
      level = Logger.level()
      Logger.configure(level: :debug)

      try do
        capture_log(fn -> TestRepo.query!("SELECT 'logged'", [], Keyword.merge([log: :debug], options)) end)
      after
        Logger.configure(level: level)
      end
    end

    for options <- [[], [lane: false]] do
      assert log.(options) =~ ~r/QUERY OK db=[0-9.]+ms.* idle=[0-9.]+ms.*SELECT 'logged' \[\]/s
    end

    refute log.(log: false) =~ "QUERY"
  end

  test "a function that fails to log is none of the caller's business" do
    warm(fn -> TestRepo.query!("SELECT 'logged'") end)
    meta = Ecto.Adapter.lookup_meta(TestRepo.get_dynamic_repo())

    for options <- [[], [lane: false]], failing <- [fn _ -> raise "no log" end, fn _ -> throw(:no_log) end] do
      log =
        capture_log(fn ->
          assert {:ok, %{rows: [["logged"]]}} =
                   EctoLibSql.query(meta.pid, "SELECT 'logged'", [], [log: failing] ++ options ++ meta.opts)
        end)

      assert log =~ "an exception was raised logging"
      assert log =~ "no"
    end
  end

  test "a log entry of DBConnection, whichever way the statement took" do
    warm(fn -> TestRepo.query!("SELECT ?", [1]) end)
    meta = Ecto.Adapter.lookup_meta(TestRepo.get_dynamic_repo())
    test = self()

    entry = fn options ->
      options = [log: &send(test, {:entry, &1})] ++ options ++ meta.opts
      EctoLibSql.query!(meta.pid, "SELECT ?", [1], options)
      assert_receive {:entry, %DBConnection.LogEntry{} = entry}
      times = [:pool_time, :connection_time, :decode_time, :idle_time]
      assert Enum.all?(times, &(Map.fetch!(entry, &1) >= 0))
      {:ok, query, result} = entry.result
      %{Map.drop(entry, times) | result: {:ok, query, %{result | times: nil}}}
    end

    assert {lane, [:lane]} = where(fn -> entry.([]) end)
    assert lane == entry.(lane: false)
  end

  # --- the Repo -----------------------------------------------------------------------------------------------------

  test "the metrics of the pool know nothing of the lane" do
    {pid, _} = endless()
    meta = Ecto.Adapter.lookup_meta(TestRepo.get_dynamic_repo())
    wait_until(fn -> match?([%{ready_conn_count: 3}], DBConnection.get_connection_metrics(meta.pid)) end)
    assert Map.has_key?(running(), pid)
    Process.exit(pid, :kill)
  end

  test "dynamic Repos have lanes of their own", %{path: path} do
    items()
    TestRepo.insert!(%Item{name: "of the first"})
    other = path <> "-other"
    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: other) end)
    {:ok, pid} = TestRepo.start_link(name: nil, lane: true, database: other, pool_size: 2, log: false)
    read = fn -> TestRepo.all(from(i in Item, select: i.name)) end
    warm(read)
    first = TestRepo.put_dynamic_repo(pid)
    items()
    TestRepo.insert!(%Item{name: "of the second"})
    warm(read)
    assert {["of the second"], [:lane]} = where(read)
    TestRepo.put_dynamic_repo(first)
    assert {["of the first"], [:lane]} = where(read)
    assert lane(pid) != lane(first)
    Supervisor.stop(pid)
  end

  @tag repo: [pool_size: 1, pool_count: 3, lane: [idle_timeout: 600_000]]
  test "partitions share a lane" do
    items()
    read = fn -> TestRepo.all(Item) end
    warm(read)
    conns = lane_conns()
    TestRepo.disconnect_all(0)
    wait_until(fn -> not Enum.any?(conns, &(&1 in lane_conns())) end)
    warm(read)
  end

  test "a Repo that is stopped has closed the lane", %{path: path} do
    open(2)
    [conn | _] = lane_conns()
    monitor = LibsqlPort.Connection.monitor_sidecar(conn)
    stop_supervised!(TestRepo)
    assert_receive {:DOWN, ^monitor, _, _, _}
    assert File.exists?(path)
  end

  @tag repo: [pool_size: 3, lane: [idle_timeout: 600_000]]
  test "copies for tests have no lane" do
    items()
    warm(fn -> TestRepo.all(Item) end)
    :ok = EctoLibSql.Sandbox.private_copies(TestRepo)
    # At once: a call on the lane would write to the database that was copied.
    assert lane_conns() == []
    for _ <- 1..5, do: refute(:lane in elem(where(fn -> TestRepo.all(Item) end), 1))

    # Also when its process starts again.
    process = connections()
    Process.exit(process, :kill)
    wait_until(fn -> connections() != process end)
    assert %{on?: false} = :sys.get_state(connections())

    :ok = EctoLibSql.Sandbox.private_copies(TestRepo, false)
    warm(fn -> TestRepo.all(Item) end)
  end

  @tag repo: [pool_size: 3, lane: [idle_timeout: 600_000]]
  test "a lane that is closed has no connection from then on" do
    for _ <- 1..20 do
      open(2)
      EctoLibSql.Lane.switch(lane(), false)
      assert lane_conns() == []
      EctoLibSql.Lane.switch(lane(), true)
    end
  end
end
