defmodule LibsqlPort.RequestOptionsTest do
  # Options of requests go through one door: what it refuses is never sent.
  use LibsqlPort.SidecarCase

  alias LibsqlPort.{Connection, Cursor, Error, Options, Result, Wire}

  doctest LibsqlPort.Options

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
