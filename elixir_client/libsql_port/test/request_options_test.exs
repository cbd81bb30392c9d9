defmodule LibsqlPort.RequestOptionsTest do
  # Options of requests go through one door: what it refuses is never sent.
  use LibsqlPort.SidecarCase

  alias LibsqlPort.{Connection, Cursor, Error, Options, Result, Wire}

  doctest LibsqlPort.Options
  doctest LibsqlPort.OptionCheck

  # Every function of the public API that takes options, with a name that it does not know and with wrong values.
  @calls [
    query: {LibsqlPort, :query, ["SELECT 1", []], [:rows_max, :bytes_max]},
    query_one: {LibsqlPort, :query_one, ["SELECT 1", []], [:rows_max, :bytes_max]},
    prepare: {LibsqlPort, :prepare, ["SELECT 1"], [:owner]},
    describe: {LibsqlPort, :describe, ["SELECT 1"], []},
    batch: {LibsqlPort, :batch, [["SELECT 1"]], [:atomic]},
    script: {LibsqlPort, :script, ["SELECT 1"], []},
    transaction: {LibsqlPort, :transaction, [&__MODULE__.nothing/1], [:mode]},
    reset: {LibsqlPort, :reset, [], []},
    checkpoint: {LibsqlPort, :checkpoint, [], [:mode]},
    status: {LibsqlPort, :status, [], []},
    ping: {LibsqlPort, :ping, [], []},
    cancel: {LibsqlPort, :cancel, [1], []},
    begin: {Connection, :begin, [:immediate], [:owner]},
    commit: {Connection, :commit, [], []},
    rollback: {Connection, :rollback, [], []},
    savepoint: {Connection, :savepoint, ["a"], []},
    release: {Connection, :release, ["a"], []},
    rollback_to: {Connection, :rollback_to, ["a"], []},
    declare: {Cursor, :declare, ["SELECT 1", []], [:owner, :live]},
    close: {LibsqlPort, :close, [], []}
  ]

  def nothing(_conn), do: :nothing

  for {name, {module, function, arguments, more}} <- @calls do
    test "#{name} refuses unknown names and wrong values", %{conn: conn} do
      wrong = [
        [tiemout: 5],
        [timeout: 0],
        [timeout: -1],
        [timeout: "5"],
        [timeout: 1.5],
        [timeout: 2_147_483_648]
      ]

      wrong = wrong ++ for(option <- unquote(more), value <- ["x", 1.5, :bogus], do: [{option, value}])

      for options <- wrong do
        answer = apply(unquote(module), unquote(function), [conn] ++ unquote(arguments) ++ [options])
        assert {:error, %Error{code: :invalid_option, message: message}} = answer
        assert message =~ inspect(options |> hd() |> elem(0))
        assert message =~ "takes" or message =~ "known are"
      end

      for options <- [[5], [:timeout], :timeout, %{timeout: 5}, nil, false, [{:timeout, 5} | nil]] do
        answer = apply(unquote(module), unquote(function), [conn] ++ unquote(arguments) ++ [options])
        assert {:error, %Error{code: :invalid_option, message: message}} = answer
        assert message =~ "keyword list"
      end

      assert {:ok, %{cursors: 0, tx_status: :none}} = LibsqlPort.status(conn)
    end
  end

  describe "an unknown name" do
    test "is told with the one that it may have been meant to be" do
      for {request, name, meant} <- [
            {:execute, :tiemout, :timeout},
            {:execute, :lock_timout, :lock_timeout},
            {:execute, :row_max, :rows_max},
            {:execute, :polcy, :policy},
            {:fetch, :chunk_row, :chunk_rows},
            {:transaction, :mod, :mode},
            {:stream, :chunk, :chunks},
            {:batch, :atomicity, :atomic}
          ] do
        assert {:error, %Error{code: :invalid_option, message: message}} =
                 Options.request(request, [{name, 1}])

        assert message =~ "unknown option #{inspect(name)} (did you mean #{inspect(meant)}?); known are "
      end

      assert {:error, %Error{message: message}} = Options.request(:execute, colour: :red)
      assert message =~ "unknown option :colour; known are "
    end

    test "is told so by what is opened, created and subscribed to as well", %{conn: conn} do
      fun = fn _ -> :ok end

      for {answer, meant} <- [
            {Options.sidecar(log_lvel: :info), ":log_level"},
            {Options.connection(database: "a", synchronos: :full), ":synchronous"},
            {LibsqlPort.create_function(conn, "f", 1, fun, determinstic: true), ":deterministic"},
            {LibsqlPort.create_aggregate(conn, "f", 1, [step: &+/2, finsh: fun], []), ":finish"},
            {LibsqlPort.set_commit_hook(conn, fun, tabels: ["t"]), ":tables"},
            {LibsqlPort.set_authorizer(conn, fun, timout: 5), ":timeout"},
            {LibsqlPort.Changes.subscribe(conn, valeus: :new), ":values"},
            {LibsqlPort.set_policy(conn, [{:allow, :reed}]), ":read"}
          ] do
        assert {:error, %Error{code: :invalid_option, message: message}} = answer
        assert message =~ "(did you mean #{meant}?)", message
      end
    end

    test "of a statement alone is told where it belongs, by all that have no such option", %{conn: conn} do
      statement = LibsqlPort.prepare!(conn, "SELECT 1")

      for option <- [policy: false, defensive: false],
          call <- [
            &LibsqlPort.execute(conn, statement, [], &1),
            &LibsqlPort.query_one(conn, "SELECT 1", [], &1),
            &LibsqlPort.batch(conn, ["SELECT 1"], &1),
            &LibsqlPort.script(conn, "SELECT 1", &1),
            &Cursor.declare(conn, "SELECT 1", [], &1),
            fn options ->
              error =
                assert_raise Error, fn ->
                  conn |> LibsqlPort.stream("SELECT 1", [], options) |> Enum.to_list()
                end

              {:error, error}
            end
          ] do
        assert {:error, %Error{code: :invalid_option, message: message}} = call.([option])
        assert message =~ "LibsqlPort.query/4 takes it, for a single statement"
      end

      :ok = LibsqlPort.close_statement(conn, statement)
    end
  end

  test "a list that is none to its end is told, by every option that takes a list", %{conn: conn} do
    for {answer, option} <- [
          {Options.connection(database: "a", allowed_directories: ["/a" | "/b"]), ":allowed_directories"},
          {Options.connection(database: "a", open_flags: [:uri | :nofollow]), ":open_flags"},
          {Options.connection(database: "a", pragmas: [{:a, 1} | :b]), ":pragmas"},
          {Options.connection(database: "a", limits: [{:length, 1000} | :b]), ":limits"},
          {Options.connection(database: "a", functions: [{:scalar, "f", 1, & &1} | :b]), ":functions"},
          {Options.sidecar(args: ["a" | "b"]), ":args"},
          {Options.sidecar(env: [{"a", "b"} | "c"]), ":env"},
          {LibsqlPort.create_table_function(conn, "f", columns: [:a | :b], rows: fn -> [] end), ":columns"},
          {LibsqlPort.set_policy(conn, [{:allow, :any} | :b]), "a list"},
          {LibsqlPort.set_policy(conn, [{:allow, [:read | :b]}]), "no action"},
          {LibsqlPort.set_policy(conn, [{:allow, :read, [{:table, "t"} | :b]}]), "names"},
          {LibsqlPort.set_policy(conn, [{:allow, :read, table: ["t" | "u"]}]), "a list of strings"},
          {LibsqlPort.Changes.subscribe(conn, tables: ["t" | "u"]), ":tables"},
          {LibsqlPort.Changes.subscribe(conn, operations: [:insert | :update]), ":operations"},
          {LibsqlPort.set_commit_hook(conn, fn _ -> :ok end, columns: ["a" | "b"]), ":columns"},
          {LibsqlPort.query(conn, "SELECT 1", [], [{:timeout, 5} | :b]), "keyword list"}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = answer
      assert message =~ option
    end
  end

  test "a stream raises them", %{conn: conn} do
    for options <- [
          [chunk_row: 1],
          [chunk_rows: -1],
          [chunk_bytes: :x],
          [timeout: 0],
          [chunks: 5],
          [chunks: nil],
          [live: 1],
          [owner: :me],
          [5],
          %{chunks: true},
          nil
        ] do
      assert_raise Error, ~r/invalid_option/, fn ->
        conn |> LibsqlPort.stream("SELECT 1", [], options) |> Enum.to_list()
      end

      assert {:ok, %{cursors: 0}} = LibsqlPort.status(conn)
    end
  end

  test "what takes a statement or a cursor refuses them as well", %{conn: conn} do
    {:ok, statement} = LibsqlPort.prepare(conn, "SELECT 1")
    {:ok, cursor} = Cursor.declare(conn, "SELECT 1", [])

    for options <- [[tiemout: 5], [timeout: 0], [5], %{timeout: 5}] do
      for {fun, arguments} <- [
            {&LibsqlPort.execute/4, [conn, statement, []]},
            {&LibsqlPort.describe/3, [conn, statement]},
            {&LibsqlPort.close_statement/3, [conn, statement]},
            {&Cursor.fetch/3, [conn, cursor]},
            {&Cursor.close/3, [conn, cursor]}
          ] do
        assert {:error, %Error{code: :invalid_option}} = apply(fun, arguments ++ [options])
      end
    end

    :ok = Cursor.close(conn, cursor)
    :ok = LibsqlPort.close_statement(conn, statement)
  end

  test "a transaction inside of another one refuses what the outer one refuses", %{conn: conn} do
    assert {:ok, :done} =
             LibsqlPort.transaction(conn, fn conn ->
               for options <- [[mode: :bogus], [mod: :deferred], [owner: nil], [5]] do
                 assert {:error, %Error{code: :invalid_option}} =
                          LibsqlPort.transaction(conn, &nothing/1, options)
               end

               :done
             end)
  end

  @tag sidecar_options: [queue_bytes_max: 1_000]
  test "the bytes of the requests that wait have a limit", %{conn: conn} do
    running = Task.async(fn -> LibsqlPort.query(conn, endless(), [], timeout: :infinity) end)
    request = await_request(conn)
    long = "SELECT '#{String.duplicate("x", 2_000)}'"
    test = self()

    # One has room if nothing else waits.
    for _ <- 1..2, do: spawn_link(fn -> send(test, LibsqlPort.query(conn, long, [], timeout: :infinity)) end)
    assert_receive {:error, %Error{code: :limit_exceeded, message: message}}, 60_000
    assert message =~ "queue_bytes_max, 1000"
    {:ok, true} = LibsqlPort.cancel(conn, request)
    assert {:error, %Error{code: :cancelled}} = Task.await(running, 60_000)
    # The one that had room waits no longer.
    assert_receive {:ok, %Result{num_rows: 1}}, 60_000
    assert {:ok, %Result{num_rows: 1}} = LibsqlPort.query(conn, long)
  end

  test "what is no keyword list is told", %{conn: conn} do
    assert {:error, %Error{code: :invalid_option, message: message}} =
             LibsqlPort.query(conn, "SELECT 1", [], [5])

    assert message =~ "keyword list"
  end

  test "a request that is refused in a transaction leaves it open", %{conn: conn} do
    assert {:ok, [[1]]} =
             LibsqlPort.transaction(conn, fn conn ->
               assert {:error, %Error{code: :invalid_option}} =
                        LibsqlPort.query(conn, "SELECT 1", [], rows: 1)

               LibsqlPort.query!(conn, "SELECT 1").rows
             end)
  end

  test "each request of the wire has a list" do
    for {name, _tag} <- Wire.requests(), do: assert(:ok = Options.request(name, timeout: 1))
  end

  describe "functions that raise" do
    test "return what the others have in their :ok", %{conn: conn} do
      assert %{statements: 1} = LibsqlPort.script!(conn, "CREATE TABLE t (x)")
      assert [%{changes: 1}] = LibsqlPort.batch!(conn, ["INSERT INTO t VALUES (1)"])
      assert [1] = LibsqlPort.query_one!(conn, "SELECT x FROM t")
      statement = LibsqlPort.prepare!(conn, "SELECT x FROM t WHERE x = ?")
      assert %{rows: [[1]]} = LibsqlPort.execute!(conn, statement, [1])
      assert %{columns: [_]} = LibsqlPort.describe!(conn, statement)
    end

    test "raise the error", %{conn: conn} do
      statement = LibsqlPort.prepare!(conn, "SELECT ?")

      for fun <- [
            fn -> LibsqlPort.query!(conn, "SELEKT") end,
            fn -> LibsqlPort.query_one!(conn, "SELECT 1 WHERE 0") end,
            fn -> LibsqlPort.prepare!(conn, "SELEKT") end,
            fn -> LibsqlPort.execute!(conn, statement, []) end,
            fn -> LibsqlPort.describe!(conn, "SELEKT") end,
            fn -> LibsqlPort.batch!(conn, ["SELEKT"]) end,
            fn -> LibsqlPort.script!(conn, "SELEKT") end
          ] do
        assert_raise Error, fun
      end
    end
  end
end
