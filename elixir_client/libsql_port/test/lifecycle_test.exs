defmodule LibsqlPort.LifecycleTest do
  use LibsqlPort.SidecarCase, async: true

  describe "cancel" do
    test "stops everything of a connection, and nothing else", %{conn: conn, sidecar: sidecar} do
      {:ok, other} = LibsqlPort.connect(sidecar, database: ":memory:")

      stopped =
        for _ <- 1..3, do: Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)

      going_on = Task.async(fn -> LibsqlPort.query(other, endless(), [], timeout: 1_000) end)
      eventually(fn -> length(LibsqlPort.requests(conn)) == 3 end)
      eventually(fn -> LibsqlPort.requests(other) != [] end)

      assert {:ok, 3} = LibsqlPort.cancel(conn)
      for answer <- Task.await_many(stopped), do: assert({:error, %Error{code: :cancelled}} = answer)
      assert {:error, %Error{code: :timeout}} = Task.await(going_on)

      assert {:ok, 0} = LibsqlPort.cancel(conn)
      assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
      :ok = LibsqlPort.close(other)
    end

    test "stops one request", %{conn: conn} do
      task = Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
      request = await_request(conn)
      assert {:ok, false} = LibsqlPort.cancel(conn, request + 1_000_000)
      assert {:ok, true} = LibsqlPort.cancel(conn, request)
      assert {:error, %Error{code: :cancelled}} = Task.await(task)
      # The answer may overtake the sidecar's own note that the request has ended.
      eventually(fn -> LibsqlPort.cancel(conn, request) == {:ok, false} end)
    end
  end

  describe "timeouts" do
    test "of what runs", %{conn: conn} do
      assert {:error, %Error{code: :timeout}} = LibsqlPort.query(conn, endless(), [], timeout: 50)
      assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
    end

    test "of what waits in the queue", %{conn: conn} do
      running = Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
      request = await_request(conn)
      assert {:error, %Error{code: :timeout}} = LibsqlPort.query(conn, "SELECT 1", [], timeout: 50)
      assert {:ok, true} = LibsqlPort.cancel(conn, request)
      assert {:error, %Error{code: :cancelled}} = Task.await(running)
    end

    test "of what waits for another writer", %{conn: conn, sidecar: sidecar, database: database} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")
      {:ok, other} = LibsqlPort.connect(sidecar, database: database)

      {:ok, _} =
        LibsqlPort.transaction(conn, fn conn ->
          LibsqlPort.query!(conn, "INSERT INTO t VALUES (1)")

          assert {:error, %Error{code: :timeout}} =
                   LibsqlPort.query(other, "INSERT INTO t VALUES (2)", [], timeout: 50)
        end)

      assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES (3)")
      assert {:ok, %Result{rows: [[1], [3]]}} = LibsqlPort.query(conn, "SELECT a FROM t ORDER BY a")
      :ok = LibsqlPort.close(other)
    end

    test "are the connection's own unless given", %{sidecar: sidecar} do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:", timeout: 50)
      assert {:error, %Error{code: :timeout}} = LibsqlPort.query(conn, endless())
      assert {:error, %Error{code: :invalid_option}} = LibsqlPort.query(conn, "SELECT 1", [], timeout: -1)
      :ok = LibsqlPort.close(conn)
    end
  end

  describe "close/2" do
    test "stops what runs, answers what is queued", %{sidecar: sidecar} do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")

      tasks =
        for _ <- 1..3, do: Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)

      eventually(fn -> length(LibsqlPort.requests(conn)) == 3 end)
      assert :ok = LibsqlPort.close(conn)

      for answer <- Task.await_many(tasks) do
        assert {:error, %Error{code: code}} = answer
        assert code in [:connection_closed, :cancelled]
      end

      assert {:error, %Error{code: code}} = LibsqlPort.query(conn, "SELECT 1")
      assert code in [:unknown_connection, :connection_closed]
    end

    test "from another process, and twice", %{conn: conn} do
      assert :ok = Task.await(Task.async(fn -> LibsqlPort.close(conn) end))
      assert {:error, %Error{code: code}} = LibsqlPort.close(conn)
      assert code in [:unknown_connection, :connection_closed]
    end

    test "rolls back", %{conn: conn, sidecar: sidecar, database: database} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")
      {:ok, other} = LibsqlPort.connect(sidecar, database: database)
      {:ok, _} = LibsqlPort.Connection.begin(other)
      LibsqlPort.query!(other, "INSERT INTO t VALUES (1)")
      :ok = LibsqlPort.close(other)
      assert {:ok, [0]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    end
  end

  describe "the owner" do
    test "takes its connection along", %{sidecar: sidecar, conn: conn, database: database} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")

      {pid, monitor} =
        spawn_monitor(fn ->
          {:ok, mine} = LibsqlPort.connect(sidecar, database: database)
          {:ok, _} = LibsqlPort.Connection.begin(mine)
          LibsqlPort.query!(mine, "INSERT INTO t VALUES (1)")
          exit(:kill)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^pid, :kill}, 10_000
      eventually(fn -> elem(LibsqlPort.status(sidecar), 1).connections == 1 end)
      assert {:ok, [0]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    end

    test "may be another process, or none", %{sidecar: sidecar} do
      owner = spawn(fn -> receive do: (:end -> :ok) end)

      {:ok, other, free} =
        Task.await(
          Task.async(fn ->
            {:ok, other} = LibsqlPort.connect(sidecar, database: ":memory:", owner: owner)
            {:ok, free} = LibsqlPort.connect(sidecar, database: ":memory:", owner: nil)
            {:ok, other, free}
          end)
        )

      assert {:ok, [1]} = LibsqlPort.query_one(other, "SELECT 1")
      send(owner, :end)
      eventually(fn -> elem(LibsqlPort.status(sidecar), 1).connections == 2 end)
      assert {:error, %Error{}} = LibsqlPort.query(other, "SELECT 1")
      assert {:ok, [1]} = LibsqlPort.query_one(free, "SELECT 1")
      :ok = LibsqlPort.close(free)
    end
  end

  describe "the sidecar" do
    test "killed: every caller has an answer that fits what it asked", %{conn: conn, sidecar: sidecar} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")

      read =
        Task.async(fn ->
          LibsqlPort.query(conn, "SELECT x FROM (#{endless_rows()})", [], timeout: :infinity)
        end)

      # What comes before it might be answered.
      eventually(fn -> length(LibsqlPort.requests(conn)) == 1 end)

      write =
        Task.async(fn -> LibsqlPort.query(conn, "INSERT INTO t #{endless_rows()}", [], timeout: :infinity) end)

      script = Task.async(fn -> LibsqlPort.script(conn, "INSERT INTO t VALUES (1);", timeout: :infinity) end)
      describe = Task.async(fn -> LibsqlPort.describe(conn, "SELECT 1", timeout: :infinity) end)
      eventually(fn -> length(LibsqlPort.requests(conn)) == 4 end)
      kill(conn)

      assert {:error, %Error{code: :sidecar_down}} = Task.await(read)
      assert {:error, %Error{code: :outcome_unknown}} = Task.await(write)
      assert {:error, %Error{code: :outcome_unknown}} = Task.await(script)
      assert {:error, %Error{code: :sidecar_down}} = Task.await(describe)

      # Restarted, under another number; the old connection is of the past.
      eventually(fn -> match?({:ok, _}, LibsqlPort.status(sidecar)) end)
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      assert os_pid != conn.handle.os_pid
      assert {:error, %Error{code: :not_sent}} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")
    end

    test "killed while many connect", %{conn: conn, sidecar: sidecar} do
      tasks =
        for _ <- 1..20 do
          Task.async(fn ->
            with {:ok, conn} <- LibsqlPort.connect(sidecar, database: ":memory:"), do: LibsqlPort.close(conn)
          end)
        end

      kill(conn)

      for answer <- Task.await_many(tasks, 30_000),
          do: assert(answer == :ok or match?({:error, %Error{}}, answer))

      assert {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      assert :ok = LibsqlPort.close(conn)
    end

    test "tells about itself", %{conn: conn, sidecar: sidecar, database: database} do
      assert {:ok, status} = LibsqlPort.status(sidecar)
      assert status.os_pid == conn.handle.os_pid
      assert %{connections: 1, uptime: uptime, memory: memory, threads: threads, requests: _} = status
      assert Enum.all?([uptime, memory, threads], &is_integer/1)
      assert [%{path: path, connections: 1, waiting: 0}] = status.files
      assert Path.basename(path) == Path.basename(database)
    end

    test "two of them are apart", %{conn: conn, sidecar: sidecar, database: database} do
      other =
        start_supervised!({LibsqlPort, name: LibsqlPort.LifecycleTest.Other, log_level: :error}, id: :other)

      LibsqlPort.query!(conn, "CREATE TABLE t (a)")
      {:ok, second} = LibsqlPort.connect(LibsqlPort.LifecycleTest.Other, database: database)
      LibsqlPort.query!(second, "INSERT INTO t VALUES (1)")
      assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT a FROM t")
      kill(conn)
      assert {:ok, [1]} = LibsqlPort.query_one(second, "SELECT a FROM t")
      :ok = LibsqlPort.close(second)
      assert :ok = LibsqlPort.ping(other)
      # Until its owner has noticed, a dead pipe takes what is sent.
      eventually(fn -> LibsqlPort.ping(sidecar) == :ok end)
    end

    test "goes when its supervisor stops" do
      {:ok, sidecar} = LibsqlPort.start_link(log_level: :error)
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      program = LibsqlPort.OsProcess.identity(conn.handle.os_pid)
      running = Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
      await_request(conn)
      Supervisor.stop(sidecar)
      refute LibsqlPort.OsProcess.alive?(program)
      assert {:error, %Error{code: :sidecar_down}} = Task.await(running)
    end
  end

  test "200 connections at once", %{sidecar: sidecar, database: database, conn: conn} do
    LibsqlPort.query!(conn, "CREATE TABLE t (a)")

    tasks =
      for i <- 1..200 do
        Task.async(fn ->
          {:ok, conn} = LibsqlPort.connect(sidecar, database: database, connect_timeout: 60_000)
          LibsqlPort.query!(conn, "INSERT INTO t VALUES (?)", [i], timeout: 60_000)
          {:ok, [count]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
          :ok = LibsqlPort.close(conn)
          count
        end)
      end

    counts = Task.await_many(tasks, 120_000)
    assert Enum.max(counts) == 200
    assert {:ok, [200]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
  end

  describe "a connection" do
    test "in memory, private and shared by name", %{sidecar: sidecar} do
      {:ok, private} = LibsqlPort.connect(sidecar, memory: true)
      {:ok, one} = LibsqlPort.connect(sidecar, database: "shared", memory: true)
      {:ok, two} = LibsqlPort.connect(sidecar, database: "shared", memory: true)
      LibsqlPort.query!(one, "CREATE TABLE t (a)")
      assert {:ok, [0]} = LibsqlPort.query_one(two, "SELECT count(*) FROM t")
      assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(private, "SELECT * FROM t")
      for conn <- [private, one, two], do: assert(:ok = LibsqlPort.close(conn))
    end

    test "that only reads", %{sidecar: sidecar, conn: conn, database: database} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")
      {:ok, reader} = LibsqlPort.connect(sidecar, database: database, mode: :read_only)
      assert reader.info["read_only"]
      assert {:error, %Error{code: :read_only}} = LibsqlPort.query(reader, "INSERT INTO t VALUES (1)")
      :ok = LibsqlPort.close(reader)
    end

    test "is not created where it must be there", %{sidecar: sidecar, tmp_dir: directory} do
      path = Path.join(directory, "missing.db")

      for mode <- [:read_write, :read_only] do
        assert {:error, %Error{code: :cannot_open}} = LibsqlPort.connect(sidecar, database: path, mode: mode)
      end

      refute File.exists?(path)
    end

    test "is opened with its pragmas", %{sidecar: sidecar, database: database} do
      {:ok, conn} =
        LibsqlPort.connect(sidecar,
          database: database,
          synchronous: :full,
          cache_size: -123,
          foreign_keys: false
        )

      assert {:ok, :full} = LibsqlPort.Pragma.get(conn, :synchronous)
      assert {:ok, -123} = LibsqlPort.Pragma.get(conn, :cache_size)
      assert {:ok, false} = LibsqlPort.Pragma.get(conn, :foreign_keys)
      :ok = LibsqlPort.close(conn)
    end

    test "is reset", %{conn: conn} do
      {:ok, _} = LibsqlPort.Connection.begin(conn)
      LibsqlPort.query!(conn, "CREATE TEMP TABLE x (a)")
      {:ok, _} = LibsqlPort.prepare(conn, "SELECT 1")
      assert :ok = LibsqlPort.reset(conn)
      assert {:ok, %{autocommit: true, statements: 0}} = LibsqlPort.status(conn)
      assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, "SELECT * FROM x")
      LibsqlPort.query!(conn, "PRAGMA foreign_keys = 0")
      assert :ok = LibsqlPort.reset(conn)
      assert {:ok, true} = LibsqlPort.Pragma.get(conn, :foreign_keys)
    end

    test "counts", %{conn: conn} do
      for _ <- 1..5, do: LibsqlPort.query!(conn, "SELECT 1")
      LibsqlPort.query(conn, "SELEKT")
      assert {:ok, status} = LibsqlPort.status(conn)
      assert status.cache_hits >= 4
      assert status.errors >= 1
      assert status.memory.page_cache >= 0
      assert status.tx_status == :none
    end

    test "makes checkpoints", %{conn: conn, database: database} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")
      assert {:ok, %{busy: false}} = LibsqlPort.checkpoint(conn)
      assert {:ok, %{busy: false}} = LibsqlPort.checkpoint(conn, mode: :truncate)
      assert File.stat!(database <> "-wal").size == 0
      assert {:error, %Error{code: :invalid_option}} = LibsqlPort.checkpoint(conn, mode: :now)
    end

    test "is shown without its insides", %{conn: conn} do
      assert inspect(conn) =~ ~r/\A#LibsqlPort.Connection<id: \d+, path: "[^"]+", depth: 0, ...>\z/
    end
  end

  defp kill(conn), do: System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])

  defp endless_rows,
    do: "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c WHERE x < 0"

  test "a program that hangs behind a full pipe is found out by its heartbeat" do
    {:ok, sidecar} = LibsqlPort.start_link(heartbeat: 100, shutdown_grace: 100)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:", timeout: 60_000)
    %{port: port, sidecar: owner, os_pid: os_pid} = conn.handle
    suspend_between_beats(owner)
    {_, 0} = System.cmd("/bin/sh", ["-c", "kill -STOP #{os_pid}"])
    blob = {:blob, :binary.copy("x", 900_000)}
    callers = for _ <- 1..4, do: Task.async(fn -> LibsqlPort.query(conn, "SELECT length(?1)", [blob]) end)
    until_full(port)
    :ok = :sys.resume(owner)
    # Long before their own time is up.
    for answer <- Task.await_many(callers, 30_000), do: assert({:error, _} = answer)

    # A VM that halts waits for what is still to be written to a port: behind the last test, for this program that reads nothing.
    program = LibsqlPort.OsProcess.identity(os_pid)
    :ok = Supervisor.stop(sidecar)
    refute program && LibsqlPort.OsProcess.alive?(program)
  end

  test "what a process leaves that is killed before its request is sent is removed", %{
    conn: conn,
    sidecar: sidecar
  } do
    %{handle: %{table: table, ids: ids, sidecar: owner}} = conn
    {:ok, closed} = LibsqlPort.connect(sidecar, database: ":memory:")
    :ok = LibsqlPort.close(closed)

    # As `LibsqlPort.Exchange` enters it, of a connection that lives and of one that is closed.
    for id <- [conn.id, closed.id] do
      claim = {:status, self(), nil}
      request = %LibsqlPort.Request{name: :execute, payload: "", timeout: 1, connection: id, claim: claim}
      enter = fn -> LibsqlPort.InFlight.enter(table, ids, make_ref(), request) end
      enter |> Task.async() |> Task.await()
    end

    # And one that waits, which must stay.
    waits = Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
    eventually(fn -> length(LibsqlPort.requests(conn)) == 2 end)

    send(owner, :sweep)
    :ok = LibsqlPort.ping(sidecar)
    assert :ets.info(table, :size) == 3, "a reply may be on its way"
    send(owner, :sweep)
    eventually(fn -> :ets.info(table, :size) == 1 end)
    assert {:ok, 1} = LibsqlPort.cancel(conn)
    assert {:error, %Error{code: :cancelled}} = Task.await(waits)
  end

  # A ping that is under way would be missed by itself.
  defp suspend_between_beats(owner) do
    :ok = :sys.suspend(owner)

    if :sys.get_state(owner).answered == false do
      :ok = :sys.resume(owner)
      suspend_between_beats(owner)
    end
  end

  defp until_full(port) do
    {:queue_size, bytes} = :erlang.port_info(port, :queue_size)
    if bytes < 1024 * 1024, do: until_full(port)
  end
end
