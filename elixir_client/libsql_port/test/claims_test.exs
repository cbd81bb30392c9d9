defmodule LibsqlPort.ClaimsTest do
  # What a process leaves on a connection that others use goes with it, however it ends.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.{Callers, Connection, Cursor}

  setup %{conn: conn, sidecar: sidecar, location: location} do
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE t (x); INSERT INTO t VALUES ('a'), ('b'), ('c')")
    {:ok, other} = LibsqlPort.connect(sidecar, location)
    %{other: other}
  end

  # Each of these leaves something open while `go_on` runs; the last four even when they return.
  @unwinding [:in_transaction, :in_nested_transaction, :stream, :everything]
  @leaving [:begin, :cursor, :writing_cursor, :prepared]

  def in_transaction(conn, go_on) do
    LibsqlPort.transaction(conn, fn conn ->
      LibsqlPort.query!(conn, "INSERT INTO t VALUES ('lost')")
      go_on.()
    end)
  end

  def in_nested_transaction(conn, go_on) do
    LibsqlPort.transaction(conn, fn conn -> in_transaction(conn, go_on) end)
  end

  def begin(conn, go_on) do
    {:ok, _} = Connection.begin(conn)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES ('lost')")
    go_on.()
  end

  def cursor(conn, go_on) do
    {:ok, cursor} = Cursor.declare(conn, "SELECT x FROM t", [])
    {:more, _} = Cursor.fetch(conn, cursor, chunk_rows: 1)
    go_on.()
  end

  def writing_cursor(conn, go_on) do
    {:ok, _cursor} = Cursor.declare(conn, "INSERT INTO t VALUES ('lost') RETURNING x", [])
    go_on.()
  end

  def stream(conn, go_on) do
    conn |> LibsqlPort.stream("SELECT x FROM t", [], chunk_rows: 1) |> Enum.each(fn _ -> go_on.() end)
  end

  def prepared(conn, go_on) do
    for _ <- 1..20, do: {:ok, _} = LibsqlPort.prepare(conn, "SELECT 1")
    go_on.()
  end

  def everything(conn, go_on) do
    prepared(conn, fn -> cursor(conn, fn -> in_transaction(conn, go_on) end) end)
  end

  for {names, endings} <- [{@unwinding, [:kill, :shutdown]}, {@leaving, [:kill, :shutdown, :normal]}],
      name <- names,
      ending <- endings do
    test "#{name} of a process that ends with #{ending}", %{conn: conn, other: other} do
      before = LibsqlPort.query!(conn, "SELECT x FROM t").rows
      {pid, monitor} = leave_behind(conn, unquote(name))
      # They wait for the transaction; who uses a connection inside of somebody's `begin/2` is a part of it.
      # Beside a cursor that writes outside of a transaction, writes are refused until it is closed.
      queued =
        if unquote(name) in [:begin, :writing_cursor], do: [], else: for(i <- 1..3, do: insert_later(conn, i))

      finish(pid, unquote(ending))
      assert_receive {:DOWN, ^monitor, :process, ^pid, _}, 10_000

      for task <- queued, do: assert({:ok, %Result{tx_status: :none}} = Task.await(task, 60_000))

      eventually(fn ->
        match?({:ok, %{cursors: 0, statements: 0, autocommit: true}}, LibsqlPort.status(conn))
      end)

      # Nobody keeps the writer turn, and nothing that was acknowledged is gone.
      assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES ('other')")
      expected = before ++ Enum.map(1..length(queued)//1, &[&1]) ++ [["other"]]
      assert Enum.sort(LibsqlPort.query!(other, "SELECT x FROM t").rows) == Enum.sort(expected)
      assert :sys.get_state(conn.handle.sidecar).claims.processes |> Map.keys() == [self()]
    end
  end

  defp leave_behind(conn, name) do
    test = self()

    started =
      spawn_monitor(fn ->
        apply(__MODULE__, name, [
          conn,
          fn ->
            send(test, :there)
            receive do: (:end -> :ok)
          end
        ])
      end)

    assert_receive :there, 10_000
    started
  end

  defp finish(pid, :normal), do: send(pid, :end)
  defp finish(pid, reason), do: Process.exit(pid, reason)

  defp insert_later(conn, value) do
    task = Task.async(fn -> LibsqlPort.query(conn, "INSERT INTO t VALUES (?)", [value], timeout: 60_000) end)

    eventually(fn ->
      Enum.any?(LibsqlPort.requests(conn), fn {_id, pid} -> pid == task.pid end) or done?(task)
    end)

    task
  end

  # Where nothing is held, it does not have to wait.
  defp done?(task), do: not Process.alive?(task.pid)

  test "what the process still has running is stopped", %{conn: conn} do
    {pid, monitor} =
      spawn_monitor(fn ->
        LibsqlPort.transaction(conn, fn conn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
      end)

    # The first is its BEGIN.
    eventually(fn ->
      match?({:ok, %{autocommit: false}}, LibsqlPort.status(conn, timeout: 100)) or running?(conn, pid)
    end)

    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 10_000
    assert {:ok, %Result{tx_status: :none}} = LibsqlPort.query(conn, "INSERT INTO t VALUES ('next')")
  end

  describe "a process that holds nothing" do
    def run(:query, conn), do: LibsqlPort.query(conn, endless(), [], timeout: :infinity)
    def run(:script, conn), do: LibsqlPort.script(conn, endless(), timeout: :infinity)
    def run(:batch, conn), do: LibsqlPort.batch(conn, ["SELECT 1", endless()], timeout: :infinity)

    def run(:stream, conn),
      do: conn |> LibsqlPort.stream(endless(), [], owner: nil, timeout: :infinity) |> Enum.to_list()

    for name <- [:query, :script, :batch, :stream], ending <- [:kill, :shutdown] do
      test "has its last request stopped as soon as it ends: #{name}, #{ending}", %{conn: conn} do
        {pid, monitor} = spawn_monitor(fn -> run(unquote(name), conn) end)
        eventually(fn -> running?(conn, pid) end)
        # Monitored, so that no round has to find it.
        eventually(fn -> is_map_key(:sys.get_state(conn.handle.sidecar).callers.monitors, pid) end)
        Process.exit(pid, unquote(ending))
        assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}, 10_000
        assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1", [], timeout: 60_000)
        # Who waits for nothing is not monitored.
        eventually(fn -> :sys.get_state(conn.handle.sidecar).callers.monitors == %{} end)
        :ok = LibsqlPort.reset(conn)
      end
    end

    # As the end is told, of a process that lives still: no round would stop its request.
    test "has its requests cancelled when its end is told", %{conn: conn} do
      task = Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
      eventually(fn -> is_map_key(:sys.get_state(conn.handle.sidecar).callers.monitors, task.pid) end)
      %{callers: %{monitors: monitors}} = state = :sys.get_state(conn.handle.sidecar)
      down = {:DOWN, monitors[task.pid], :process, task.pid, :killed}
      assert {:noreply, %{callers: %{monitors: none}}} = LibsqlPort.Sidecar.handle_info(down, state)
      assert none == %{}
      assert {:error, %Error{code: :cancelled}} = Task.await(task, 60_000)
    end

    test "and has ended before anybody looked is found by the first look", %{conn: conn} do
      table = :ets.new(:in_flight, [:public])
      ended = spawn(fn -> :ok end)
      monitor = Process.monitor(ended)
      assert_receive {:DOWN, ^monitor, :process, ^ended, _reason}, 10_000
      :ets.insert(table, {300, ended, make_ref(), conn.id, nil, nil, nil})
      :ets.insert(table, {301, self(), make_ref(), conn.id, nil, nil, nil})
      assert %{monitors: monitors} = callers = Callers.look(%Callers{}, table)
      # The owner of the port waits for itself.
      assert Map.keys(monitors) == [ended]
      assert_receive {:DOWN, monitor, :process, ^ended, :noproc}, 10_000
      assert monitor == monitors[ended]
      assert {true, %{monitors: none}} = Callers.down(callers, monitor, ended)
      assert none == %{}
      assert {false, ^callers} = Callers.down(callers, make_ref(), ended)
    end

    test "is not monitored longer than it waits, and between two runs of the program nobody is" do
      table = :ets.new(:in_flight, [:public])
      waiting = spawn_link(fn -> Process.sleep(:infinity) end)
      :ets.insert(table, {300, waiting, make_ref(), 1, nil, nil, nil})
      %{monitors: %{^waiting => monitor}} = callers = Callers.look(%Callers{}, table)
      assert Callers.look(callers, table) == callers
      :ets.delete(table, 300)
      assert Callers.look(callers, table) == %Callers{}
      refute Process.demonitor(monitor, [:info])
      :ets.insert(table, {300, waiting, make_ref(), 1, nil, nil, nil})
      assert table |> then(&Callers.look(%Callers{}, &1)) |> Callers.look(nil) == %Callers{}
    end
  end

  defp running?(conn, pid), do: Enum.any?(LibsqlPort.requests(conn), fn {_id, caller} -> caller == pid end)

  test "a transaction that was begun after its caller had ended is rolled back", %{conn: conn, other: other} do
    {:ok, _} = Connection.begin(other)
    {pid, monitor} = spawn_monitor(fn -> Connection.begin(conn, :immediate, timeout: :infinity) end)
    eventually(fn -> running?(conn, pid) end)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 10_000
    {:ok, _} = Connection.rollback(other)
    eventually(fn -> match?({:ok, %{autocommit: true}}, LibsqlPort.status(conn)) end)
    assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES (1)")
  end

  test "whose caller has given up, and is opened after all, is given back", %{conn: conn} do
    handle = conn.handle
    claim = {:claim, {:transaction, 300}, self()}
    address = LibsqlPort.Wire.address(conn.address, 300)
    payload = LibsqlPort.Wire.addressed(address, 0, LibsqlPort.Wire.encode(:deferred))

    request = %LibsqlPort.Request{
      name: :begin,
      connection: conn.id,
      payload: payload,
      timeout: 1,
      claim: claim
    }

    id = LibsqlPort.InFlight.enter(handle.table, handle.ids, make_ref(), request)
    assert LibsqlPort.InFlight.give_up(handle.table, id, request)
    :ok = LibsqlPort.Exchange.post(handle, id, LibsqlPort.Wire.tag(:begin), payload)
    assert {:ok, %Result{tx_status: :none}} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")
    assert :ets.info(handle.table, :size) == 0
  end

  test "what belongs to nobody stays", %{conn: conn} do
    owner = nil

    Task.await(
      Task.async(fn ->
        {:ok, _} = LibsqlPort.prepare(conn, "SELECT 1", owner: owner)
        {:ok, _} = Cursor.declare(conn, "SELECT 1", [], owner: owner)
        {:ok, _} = Connection.begin(conn, :deferred, owner: owner)
      end)
    )

    send(conn.handle.sidecar, :sweep)
    assert {:ok, %{cursors: 1, statements: 1, autocommit: false}} = LibsqlPort.status(conn)
    assert :ok = LibsqlPort.reset(conn)
  end

  test "another process may be named", %{conn: conn} do
    {owner, monitor} = spawn_monitor(fn -> receive do: (:end -> :ok) end)
    {:ok, _} = LibsqlPort.prepare(conn, "SELECT 1", owner: owner)
    send(owner, :end)
    assert_receive {:DOWN, ^monitor, :process, ^owner, _}, 10_000
    eventually(fn -> match?({:ok, %{statements: 0}}, LibsqlPort.status(conn)) end)
  end

  test "what is given back in time is forgotten", %{conn: conn} do
    state = fn -> :sys.get_state(conn.handle.sidecar).claims end
    before = state.()
    {:ok, statement} = LibsqlPort.prepare(conn, "SELECT x FROM t")
    {:ok, cursor} = Cursor.declare(conn, statement, [])
    {:ok, _} = Connection.begin(conn)
    assert map_size(state.().held[conn.id]) == map_size(before.held[conn.id]) + 3
    {:ok, _} = Connection.commit(conn)
    :ok = Cursor.close(conn, cursor)
    :ok = LibsqlPort.close_statement(conn, statement)
    assert state.() == before

    # Ended in other ways: read to its end, by the engine, by a reset.
    assert conn |> LibsqlPort.stream("SELECT x FROM t") |> Enum.count() == 3
    {:ok, _} = Connection.begin(conn)
    {:ok, _} = LibsqlPort.query(conn, "ROLLBACK")
    {:error, %Error{code: :no_transaction}} = Connection.commit(conn)
    assert state.() == before

    {:ok, _} = LibsqlPort.prepare(conn, "SELECT 1")
    :ok = LibsqlPort.reset(conn)
    assert state.() == before
  end

  # A reply above 1 MiB comes in parts.
  @long 1_200_000

  for {shape, times} <- [small: 1_000, empty: 300, long: 10, halted: 300, writing: 100, failing: 100] do
    test "streams leave no claim: #{shape}", %{conn: conn} do
      before = claims(conn)
      for _ <- 1..unquote(times), do: stream_of(unquote(shape), conn)
      assert claims(conn) == before
      assert {:ok, %{cursors: 0}} = LibsqlPort.status(conn)
    end
  end

  defp stream_of(:small, conn), do: assert(3 == conn |> LibsqlPort.stream("SELECT x FROM t") |> Enum.count())

  defp stream_of(:empty, conn),
    do: assert([] == conn |> LibsqlPort.stream("SELECT 1 WHERE 0") |> Enum.to_list())

  # The last chunk is a row that takes two parts.
  defp stream_of(:long, conn) do
    stream = LibsqlPort.stream(conn, "SELECT 1 UNION ALL SELECT zeroblob(?1)", [@long], chunk_rows: 1)
    assert [[1], [blob]] = Enum.to_list(stream)
    assert byte_size(blob) == @long
  end

  defp stream_of(:halted, conn) do
    assert [["a"]] = conn |> LibsqlPort.stream("SELECT x FROM t", [], chunk_rows: 1) |> Enum.take(1)
  end

  defp stream_of(:writing, conn) do
    assert [["d"]] = conn |> LibsqlPort.stream("INSERT INTO t VALUES ('d') RETURNING x") |> Enum.to_list()
  end

  # The sidecar has closed the cursor by itself.
  defp stream_of(:failing, conn) do
    {:ok, cursor} = Cursor.declare(conn, "SELECT abs(-9223372036854775808)", [])
    assert {:error, %Error{code: :sql_error}} = Cursor.fetch(conn, cursor)
  end

  test "statements whose description comes in parts are held, and given back", %{conn: conn} do
    before = claims(conn)
    long = "SELECT 1 AS \"#{String.duplicate("n", @long)}\""

    for {sql, times} <- [{"SELECT 1", 1_000}, {long, 5}], _ <- 1..times do
      {:ok, statement} = LibsqlPort.prepare(conn, sql)
      :ok = LibsqlPort.close_statement(conn, statement)
    end

    assert claims(conn) == before

    {pid, monitor} =
      spawn_monitor(fn ->
        {:ok, _} = LibsqlPort.prepare(conn, long)
        {:ok, _} = Cursor.declare(conn, long, [])
        Process.sleep(:infinity)
      end)

    eventually(fn -> match?({:ok, %{statements: 1, cursors: 1}}, LibsqlPort.status(conn)) end)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _}, 60_000
    eventually(fn -> match?({:ok, %{statements: 0, cursors: 0}}, LibsqlPort.status(conn)) end)
    eventually(fn -> claims(conn) == before end)
  end

  defp claims(conn), do: :sys.get_state(conn.handle.sidecar).claims

  test "a rollback of a transaction that is over leaves the next one its owner", %{conn: conn} do
    test = self()
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE u (x UNIQUE)")

    ended =
      Task.async(fn ->
        LibsqlPort.transaction(conn, fn conn ->
          LibsqlPort.query!(conn, "INSERT INTO u VALUES (1)")
          {:error, _} = LibsqlPort.query(conn, "INSERT OR ROLLBACK INTO u VALUES (1)")
          send(test, :rolled_back)
          receive(do: (:return -> :ok))
        end)
      end)

    assert_receive :rolled_back, 60_000

    next =
      spawn(fn ->
        LibsqlPort.transaction(conn, fn conn ->
          LibsqlPort.query!(conn, "INSERT INTO u VALUES (2)")
          send(test, :inside)
          Process.sleep(:infinity)
        end)
      end)

    assert_receive :inside, 60_000
    send(ended.pid, :return)
    assert {:error, %Error{code: :no_transaction}} = Task.await(ended, 60_000)

    Process.exit(next, :kill)
    assert {:ok, %{rows: [[0]]}} = LibsqlPort.query(conn, "SELECT count(*) FROM u", [], timeout: 30_000)
  end
end
