defmodule EctoLibSql.LaneTest do
  # A single statement takes the lane beside the pool, and nobody can tell by its answer.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase

  alias EctoLibSql.Lane.{Slots, Texts}
  alias EctoLibSql.State
  alias LibsqlPort.Connection

  @moduletag timeout: 120_000
  @moduletag repo: [pool_size: 3]

  defmodule Item do
    use Ecto.Schema

    schema "items" do
      field(:name, :string)
      field(:meta, :map)
    end
  end

  # Of somebody else, who may do with connections what nobody here knows.
  defmodule ForeignPool do
    @behaviour DBConnection.Pool

    def child_spec(arguments), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [arguments]}}
    defdelegate start_link(arguments), to: DBConnection.ConnectionPool

    @impl true
    defdelegate checkout(pool, callers, options), to: DBConnection.ConnectionPool
    @impl true
    defdelegate disconnect_all(pool, interval, options), to: DBConnection.ConnectionPool
    @impl true
    defdelegate get_connection_metrics(pool), to: DBConnection.ConnectionPool
  end

  @create "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE, meta TEXT)"

  setup do
    script(@create)
    :ok
  end

  # Of each kind of statement once.
  defp work(n) do
    item = TestRepo.insert!(%Item{name: "item #{n}", meta: %{"n" => n}})
    item = item |> Ecto.Changeset.change(name: "renamed #{n}") |> TestRepo.update!()
    assert TestRepo.get(Item, item.id).meta == %{"n" => n}
    assert TestRepo.get_by(Item, name: "renamed #{n}").id == item.id
    assert TestRepo.one(from(i in Item, where: i.id == ^item.id, select: i.meta["n"])) == n
    assert {1, nil} = TestRepo.update_all(from(i in Item, where: i.id == ^item.id), set: [name: "again #{n}"])
    assert TestRepo.exists?(Item)
    assert TestRepo.query!("SELECT name FROM items WHERE id = ?", [item.id]).rows == [["again #{n}"]]
    assert TestRepo.query!("UPDATE items SET name = ? WHERE id = ?", ["by hand #{n}", item.id]).num_rows == 1
    assert TestRepo.delete!(item)
  end

  test "statements of all kinds take the lane once they are known" do
    for n <- 1..2, do: work(n)
    open(1)
    work(3)
    {_, where} = where(fn -> work(4) end)
    assert where == List.duplicate(:lane, 10)
    assert TestRepo.aggregate(Item, :count) == 0
  end

  test "a statement that is seen once is not asked about" do
    open(1)
    {_, requests} = requests(fn -> TestRepo.query!("SELECT 'once'") end)
    assert [%{request: :execute}] = requests
    {_, requests} = requests(fn -> TestRepo.query!("SELECT 'once'") end)
    assert [%{request: :describe}, %{request: :execute}] = requests
    {_, requests} = requests(fn -> TestRepo.query!("SELECT 'once'") end)
    assert [%{request: :execute}] = requests
  end

  # --- what never takes it ------------------------------------------------------------------------------------------

  test "what may leave something behind never takes the lane, and leaves nothing on its connections" do
    open(3)

    for sql <- [
          "PRAGMA foreign_keys = 0",
          "PRAGMA foreign_keys",
          "/* SELECT */ PRAGMA case_sensitive_like = 1",
          "ATTACH ':memory:' AS beside",
          "DETACH beside",
          "CREATE TEMP TABLE kept (x)",
          "DROP TABLE temp.kept",
          "CREATE TEMP TABLE kept AS SELECT 1",
          "DROP TABLE kept",
          "EXPLAIN SELECT 1",
          "SAVEPOINT s",
          "BEGIN",
          "BEGIN IMMEDIATE",
          "COMMIT",
          "SELECT 1; PRAGMA foreign_keys = 0",
          "SELECT 1); PRAGMA foreign_keys = 0; --",
          "SELECT 1)); PRAGMA foreign_keys = 0; --",
          ";PRAGMA foreign_keys = 0",
          "ANALYZE",
          "REINDEX",
          ""
        ],
        _ <- 1..3 do
      {_, where} = where(fn -> TestRepo.query(sql) end)
      refute :lane in where, "#{sql} took the lane"
    end

    for conn <- lane_conns() do
      assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "PRAGMA foreign_keys")
      assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT 'a' LIKE 'A'")
      assert {:ok, %{rows: []}} = LibsqlPort.query(conn, "SELECT name FROM temp.sqlite_schema")
      assert {:ok, %{rows: rows}} = LibsqlPort.query(conn, "SELECT name FROM pragma_database_list")
      assert rows -- [["main"], ["temp"]] == []
      assert {:ok, %{"autocommit" => true}} = autocommit(conn)
    end
  end

  defp autocommit(conn) do
    with {:ok, %{autocommit: autocommit}} <- Connection.connection_status(conn, []),
         do: {:ok, %{"autocommit" => autocommit}}
  end

  test "the engine says what a statement is, whatever it looks like" do
    open(1)
    [{_, state}] = for {1, _} = row <- :ets.tab2list(lane().states), do: row
    ask = &Texts.ask(lane().texts, &1, [], state)
    script(~s|CREATE TABLE "begin" (x); CREATE TABLE "pragma" (foreign_keys)|)

    for sql <- [
          "SELECT 1",
          "select 1;",
          "  -- a comment\n SELECT 1 -- another",
          "VALUES (1), (2)",
          "WITH a AS (SELECT 1) SELECT * FROM a",
          "WITH a AS (SELECT 1) SELECT * FROM a -- a comment",
          ~s|SELECT * FROM "begin"|,
          "INSERT INTO items (name) VALUES (?) RETURNING id",
          "INSERT INTO items DEFAULT VALUES",
          "INSERT INTO items (id) SELECT 1 ON CONFLICT DO NOTHING",
          "REPLACE INTO items (id) VALUES (1)",
          "UPDATE items SET name = ?2 WHERE id = ?1",
          "DELETE FROM items"
        ],
        do: assert({sql, :plain} == {sql, ask.(sql)})

    # An error, wherever it runs.
    assert ask.("SELECT 1) UNION SELECT (2") == :plain
    assert {:error, %{code: :sql_error}} = TestRepo.query("SELECT 1) UNION SELECT (2")

    for sql <- [
          "begin",
          "pragma foreign_keys",
          "begin)",
          "SELECT * FROM no_table",
          "WITH a AS (SELECT 1) DELETE FROM items",
          "SELECT 1; SELECT 2",
          "CREATE TABLE t (x)",
          "VACUUM",
          "SELECT",
          "",
          "-- SELECT 1",
          "SELECT 1\0"
        ],
        do: assert({sql, :other} == {sql, ask.(sql)})
  end

  test "texts are bounded in number and in length" do
    texts = Texts.new()
    for n <- 1..5_000, do: Texts.kind(texts, "SELECT #{n}")
    assert :ets.info(texts.table, :size) <= 1_025
    assert Texts.kind(texts, "SELECT 5000") == :once
    assert Texts.kind(texts, "SELECT 1") == :new
    long = "SELECT '#{String.duplicate("a", 20_000)}'"
    for _ <- 1..2, do: assert(Texts.kind(texts, long) == :other)
  end

  test "a text in use is not forgotten" do
    texts = Texts.new()
    Texts.kind(texts, "SELECT 'used'")

    for n <- 1..5_000,
        do: assert({Texts.kind(texts, "SELECT 'used'"), Texts.kind(texts, "SELECT #{n}")} == {:once, :new})
  end

  test "a planned query that has run on the lane is known without its text" do
    warm(fn -> TestRepo.get(Item, 1) end)
    warm(fn -> TestRepo.query!("SELECT 7").rows end)
    :ets.delete_all_objects(lane().texts.table)
    assert {nil, [:lane]} = where(fn -> TestRepo.get(Item, 1) end)
    assert {[[7]], [:pool]} = where(fn -> TestRepo.query!("SELECT 7").rows end)
  end

  test "what one lane knows of a query counts for no other" do
    %{pid: pool, opts: options} = Ecto.Adapter.lookup_meta(TestRepo.get_dynamic_repo())
    known = fn number -> %{EctoLibSql.prepare("SELECT 8") | lane: number} end
    warm(fn -> TestRepo.query!("SELECT 7") end)
    run = fn query -> where(fn -> EctoLibSql.execute(pool, query, [], options) end) end
    assert {{:ok, %{lane: lane}, _}, [:lane]} = run.(known.(lane().id))
    assert lane == lane().id
    assert {{:ok, _, _}, [:pool]} = run.(known.(lane + 1))
  end

  test "transactions and checkouts have their own connection" do
    read = fn -> TestRepo.query!("SELECT 1") end
    warm(read)
    TestRepo.transaction(read)
    assert {{:ok, _}, [:pool, :pool]} = where(fn -> TestRepo.transaction(fn -> {read.(), read.()} end) end)

    {_, where} =
      where(fn ->
        TestRepo.checkout(fn ->
          TestRepo.query!("CREATE TEMP TABLE of_the_checkout (x)")
          for _ <- 1..3, do: assert(TestRepo.query!("SELECT count(*) FROM of_the_checkout").rows == [[0]])
          TestRepo.query!("DROP TABLE of_the_checkout")
        end)
      end)

    assert Enum.uniq(where) == [:pool]
    assert {_, [:lane]} = where(read)
  end

  test "a call that says so takes the pool" do
    read = fn options -> TestRepo.query!("SELECT 1", [], options) end
    warm(fn -> read.([]) end)
    assert {_, [:pool]} = where(fn -> read.(lane: false) end)
    assert {:error, %EctoLibSql.Error{code: :invalid_option}} = TestRepo.query("SELECT 1", [], lane: :no)
  end

  test "what a call cannot run fails as in the pool" do
    warm(fn -> TestRepo.query!("SELECT ?", [1]) end)
    same = fn run -> assert run.([]) == run.(lane: false) end
    same.(&elem(TestRepo.query("SELECT ?", [], &1), 1).code)
    same.(&elem(TestRepo.query("SELECT ?", [{:no, :value}], &1), 1).code)
    meta = Ecto.Adapter.lookup_meta(TestRepo.get_dynamic_repo())
    same.(&elem(EctoLibSql.query(meta.pid, "SELECT ?", :none, &1 ++ meta.opts), 1).code)
    same.(&catch_error(EctoLibSql.query(meta.pid, "SELECT ?", [%{of: self()}], &1 ++ meta.opts)))
    same.(&elem(TestRepo.query("SELECT ?", [<<255>>], &1), 1).code)
    assert {_, [:lane]} = where(fn -> TestRepo.query!("SELECT ?", [1]) end)
  end

  for {what, options} <- [
        {"with lane: false", [lane: false]},
        {"with one connection, whose state is that of all calls", [pool_size: 1]},
        {"with options for each connection", [lane: true, configure: {Function, :identity, []}]},
        {"behind another pool", [lane: true, pool: __MODULE__.ForeignPool]},
        {"in the sandbox", [lane: true, pool: Ecto.Adapters.SQL.Sandbox]}
      ] do
    @tag repo: options
    test "there is no lane #{what}" do
      assert lane() == nil
      for _ <- 1..5, do: assert(TestRepo.query!("SELECT 1").rows == [[1]])
    end
  end

  for {pool, size} <- [{2, 32}, {32, 32}, {33, 33}] do
    @tag repo: [pool_size: pool]
    test "there may be #{size} connections beside a pool of #{pool}" do
      assert lane().size == unquote(size)
    end
  end

  @tag repo: [pool_size: 1, lane: true]
  test "a Repo with one connection has a lane if it asks for it" do
    warm(fn -> TestRepo.query!("SELECT 1") end)
  end

  test "a wrong option is refused" do
    for wrong <- [:yes, 5, [size: 0], [size: 2, count: 3], [idle_timeout: :infinity]] do
      assert {:error, %EctoLibSql.Error{code: :invalid_option, message: message}} =
               EctoLibSql.StartOptions.check(database: "a.db", lane: wrong)

      assert message =~ ":lane"
    end

    for right <- [true, false, [], [size: 1, idle_timeout: 1_000]],
        do: assert(:ok == EctoLibSql.StartOptions.check(repo: Repo, database: "a.db", lane: right))
  end

  # --- many callers -------------------------------------------------------------------------------------------------

  @tag repo: [pool_size: 3, lane: [size: 2]]
  test "nobody stands behind a slow statement" do
    open(2)
    known("SELECT 'fast'")
    slow = for _ <- 1..2, do: endless()
    assert map_size(running()) == 2
    assert {%{rows: [["fast"]]}, [:pool]} = where(fn -> TestRepo.query!("SELECT 'fast'") end)
    assert map_size(running()) == 2
    for {pid, _} <- slow, do: Process.exit(pid, :kill)
  end

  @tag repo: [pool_size: 3, lane: [size: 3]]
  test "a slow statement leaves the other connections of the lane" do
    open(1)
    known("SELECT 'fast'")
    {pid, _} = endless()
    wait_until(fn -> match?({_, [:lane]}, where(fn -> TestRepo.query!("SELECT 'fast'") end)) end)
    assert Map.has_key?(running(), pid)
    assert length(lane_conns()) == 2
    Process.exit(pid, :kill)
  end

  @tag repo: [pool_size: 3, lane: [size: 2]]
  test "no more connections are opened than the option says, and none is used by two at once" do
    known("INSERT INTO items (name) VALUES (?)")

    1..8
    |> Task.async_stream(
      fn caller ->
        for n <- 1..50, do: TestRepo.query!("INSERT INTO items (name) VALUES (?)", ["#{caller} #{n}"])
      end,
      max_concurrency: 8,
      timeout: :infinity
    )
    |> Stream.run()

    assert TestRepo.aggregate(Item, :count) == 400
    assert length(lane_conns()) <= 2
  end

  # --- ends ---------------------------------------------------------------------------------------------------------

  test "a statement that runs out of time leaves its connection usable" do
    sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    known(sql)
    [conn] = lane_conns()

    assert {{:error, %EctoLibSql.Error{code: :timeout}}, [:lane]} =
             where(fn -> TestRepo.query(sql, [], timeout: 200) end)

    soon = System.monotonic_time(:millisecond) + 200

    assert {{:error, %EctoLibSql.Error{code: :timeout}}, [:lane]} =
             where(fn -> TestRepo.query(sql, [], deadline: soon, timeout: :infinity) end)

    assert [^conn] = lane_conns()
    assert {_, [:lane]} = where(fn -> TestRepo.query!("SELECT 1 AS of_the_lane") end)
  end

  test "what a killed caller runs is stopped, and nothing of it is left" do
    {pid, monitor} = endless()
    conn = running()[pid]
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 60_000

    wait_until(fn ->
      match?({:error, %{code: :unknown_connection}}, Connection.connection_status(conn, []))
    end)

    assert lane_conns() == []
    assert Process.info(connections(), :monitors) == {:monitors, []}
    warm(fn -> TestRepo.query!("SELECT 1 AS of_the_lane") end)
  end

  test "a caller that ends long after its statement was slow is not taken for another's" do
    {pid, monitor} = endless()
    conn = running()[pid]
    [{request, ^pid}] = Connection.requests(conn)
    wait_until(fn -> {:monitors, []} != Process.info(connections(), :monitors) end)
    assert {:ok, true} = LibsqlPort.cancel(conn, request)
    assert_receive {^pid, {:error, %EctoLibSql.Error{code: :cancelled}}}, 60_000
    assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}, 60_000
    wait_until(fn -> {:monitors, []} == Process.info(connections(), :monitors) end)
    assert [^conn] = lane_conns()
  end

  @tag repo: [lane: true, pool_size: 3, backoff_min: 10, backoff_max: 100]
  test "after the end of the sidecar nothing is repeated, and the lane comes back" do
    slow =
      "INSERT INTO items (name) WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"

    known(slow)
    test = self()
    {pid, _} = spawn_monitor(fn -> send(test, TestRepo.query(slow, [], timeout: 120_000)) end)
    wait_until(fn -> Map.has_key?(running(), pid) end)
    {os_pid, _} = {hd(lane_conns()).handle.os_pid, :killed}
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    assert_receive {:error, %DBConnection.ConnectionError{reason: :outcome_unknown}}, 60_000

    warm(fn -> assert TestRepo.query!("SELECT count(*) FROM items").rows == [[0]] end)
    assert Enum.all?(lane_conns(), &(&1.handle.os_pid != os_pid))
  end

  @tag repo: [lane: true, pool_size: 3, backoff_min: 10, backoff_max: 100]
  test "a call that finds its connection's sidecar ended is not lost" do
    open(3)
    os_pid = hd(lane_conns()).handle.os_pid
    monitor = Connection.monitor_sidecar(hd(lane_conns()))
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    assert_receive {:DOWN, ^monitor, _, _, _}, 60_000
    for _ <- 1..10, do: assert(TestRepo.query!("SELECT 1 AS of_the_lane").rows == [[1]])
    warm(fn -> TestRepo.query!("SELECT 1 AS of_the_lane") end)
  end

  @tag repo: [pool_size: 3, lane: [idle_timeout: 600_000]]
  test "disconnect_all replaces the connections of the lane, those in use when they come back" do
    open(2)
    [one, other] = lane_conns()
    {pid, _} = endless()
    used = running()[pid]
    TestRepo.disconnect_all(0)
    idle = if used == one, do: other, else: one
    wait_until(fn -> idle not in lane_conns() end)
    assert used in lane_conns()
    [{request, ^pid}] = Connection.requests(used)
    assert {:ok, true} = LibsqlPort.cancel(used, request)
    assert_receive {^pid, {:error, %EctoLibSql.Error{code: :cancelled}}}, 60_000
    wait_until(fn -> used not in lane_conns() end)
    warm(fn -> TestRepo.query!("SELECT 1 AS of_the_lane") end)
  end

  @tag repo: [pool_size: 2, lane: [idle_timeout: 50]]
  test "connections that nobody uses are closed" do
    open(2)
    conns = lane_conns()

    for conn <- conns do
      wait_until(fn ->
        match?({:error, %{code: :unknown_connection}}, Connection.connection_status(conn, []))
      end)
    end

    assert lane_conns() == []
    warm(fn -> TestRepo.query!("SELECT 1 AS of_the_lane") end)
  end

  test "the Repo works while the lane's process starts again" do
    open(2)
    conns = lane_conns()
    pid = connections()
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 60_000
    assert TestRepo.query!("SELECT 1 AS of_the_lane").rows == [[1]]
    warm(fn -> TestRepo.query!("SELECT 1 AS of_the_lane") end)
    assert Enum.all?(lane_conns(), &(&1 not in conns))

    for conn <- conns do
      wait_until(fn ->
        match?({:error, %{code: :unknown_connection}}, Connection.connection_status(conn, []))
      end)
    end
  end

  test "a scheduler's callers get the slot that it was given back last" do
    slots = Slots.new(3, 30_000)
    for slot <- 1..3, do: Slots.open(slots, slot, %State{conn_id: "#{slot}"})

    # Bound, since each scheduler has a slot of its own.
    on_a_scheduler(fn ->
      now = &System.monotonic_time/0
      leases = for _ <- 1..3, do: Slots.lease(slots, now.())
      assert [1, 2, 3] == for({:ok, slot, _word, _state, _since} <- leases, do: slot)
      for {:ok, slot, word, _state, _since} <- leases, slot != 2, do: Slots.release(slots, slot, word, now.())

      assert {:ok, 3, word, %State{conn_id: "3"}, _since} = Slots.lease(slots, now.())
      assert {:ok, 1, _word, _state, _since} = Slots.lease(slots, now.()), "the first free one, as 3 is taken"
      assert :none == Slots.lease(slots, now.())

      # Closed by another process meanwhile.
      Slots.release(slots, 3, word, now.())
      Slots.take(slots, 3)
      assert :room == Slots.lease(slots, now.())
    end)
  end

  defp on_a_scheduler(fun) do
    {pid, monitor} = :erlang.spawn_opt(fun, [:monitor, {:scheduler, 1}])
    assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}, 20_000
  end

  test "leases that are taken away are not given back" do
    open(1)
    slots = lane()
    {:ok, slot, word, _, _} = Slots.lease(slots, System.monotonic_time())
    assert Slots.leased?(Slots.word(slots, slot))
    assert :later == Slots.retire(slots, slot)
    refute Slots.take(slots, slot, word)
    assert Slots.take_lease(slots, slot, word)
    assert :ok == Slots.release(slots, slot, word, System.monotonic_time())
    assert Slots.word(slots, slot) == 0
    assert :room == Slots.lease(slots, System.monotonic_time())
  end
end
