defmodule LibsqlPort.FunctionsTest do
  # Functions in Elixir, from SQL and back. What the driver does with each call is in runner_test.exs.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Callback

  defp one(conn, sql, parameters \\ [], options \\ []) do
    with {:ok, [value]} <- LibsqlPort.query_one(conn, sql, parameters, options), do: value
  end

  defp rows(conn, sql), do: LibsqlPort.query!(conn, sql).rows

  # How often the system has given a processor to threads whose names begin so.
  defp thread_switches(os_pid, name) do
    tasks = Path.wildcard("/proc/#{os_pid}/task/*")
    named = Enum.filter(tasks, &(File.read!(Path.join(&1, "comm")) |> String.starts_with?(name)))

    for task <- named,
        [count] <-
          Regex.scan(~r/ctxt_switches:\s+(\d+)/, File.read!(Path.join(task, "status")),
            capture: :all_but_first
          ),
        reduce: 0 do
      sum -> sum + String.to_integer(count)
    end
  end

  describe "a scalar function" do
    # A call that wakes the connection's thread costs two switches of threads more than one that does not. On a busy machine
    # some do; where another thread had to fetch the answers, all would.
    test "is answered without the connection's thread", %{sidecar: sidecar, conn: conn} do
      :ok = LibsqlPort.create_function(conn, "same", 1, fn x -> x end)
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      assert thread_switches(os_pid, "libsql-conn-") > 0

      assert Enum.any?(1..2_000, fn x ->
               before = thread_switches(os_pid, "libsql-conn-")
               assert one(conn, "SELECT same(?)", [x]) == x
               thread_switches(os_pid, "libsql-conn-") == before
             end)
    end

    test "gets and gives every kind of value", %{conn: conn} do
      test = self()
      :ok = LibsqlPort.create_function(conn, "same", 1, fn x -> send(test, x) end)

      for value <- [nil, 0, -1, 9_223_372_036_854_775_807, 1.5, "text", "", "nul\0nul"] do
        assert one(conn, "SELECT same(?)", [value]) == value
        assert_received ^value
      end

      :ok = LibsqlPort.create_function(conn, "blob", 1, fn x -> {:blob, x} end)
      assert one(conn, "SELECT hex(blob(?))", [{:blob, <<255, 0>>}]) == "FF00"
      assert one(conn, "SELECT typeof(blob('x'))") == "blob"
      :ok = LibsqlPort.create_function(conn, "yes", 0, fn -> true end)
      assert one(conn, "SELECT yes()") == 1
      :ok = LibsqlPort.create_function(conn, "infinite", 0, fn -> :infinity end)
      assert one(conn, "SELECT infinite()") == :infinity
    end

    # A hundred times what a pipe holds, while nothing else is sent.
    test "gets arguments of any length, one after the other", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "size", 1, &byte_size/1, timeout: 20_000)
      sizes = [6_500_000, 65_536, 65_000, 6_500_001]

      for size <- sizes do
        rows = LibsqlPort.query!(conn, "SELECT size(zeroblob(?)), size(x'00')", [size], timeout: 120_000).rows
        assert rows == [[size, 1]]
      end

      values = Enum.map_join(sizes, ", ", &"(#{&1})")
      sql = "SELECT sum(size(zeroblob(column1))) FROM (VALUES #{values})"
      assert LibsqlPort.query!(conn, sql, [], timeout: 120_000).rows == [[Enum.sum(sizes)]]
    end

    test "that returns what is no value fails the statement and nothing else", %{conn: conn} do
      for value <- [
            self(),
            make_ref(),
            {:a, 1},
            %{},
            [1],
            :atom,
            ~D[2024-01-01],
            <<255>>,
            9_223_372_036_854_775_808
          ] do
        :ok = LibsqlPort.create_function(conn, "bad", 0, fn -> value end)

        assert {:error, %Error{code: :callback_failed, message: message}} =
                 LibsqlPort.query(conn, "SELECT bad()")

        assert message =~ "bad"
      end

      assert one(conn, "SELECT 1") == 1
    end

    test "may be called with several numbers of arguments", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "f", 1, fn _ -> "one" end)
      :ok = LibsqlPort.create_function(conn, "f", :any, fn list -> "#{length(list)} of any" end)
      assert [["one", "2 of any", "0 of any"]] = rows(conn, "SELECT f(1), f(1, 2), f()")
      assert {:ok, true} = LibsqlPort.drop_function(conn, "F", 1)
      assert one(conn, "SELECT f(1)") == "1 of any"
    end

    test "takes the place of one of SQLite's, which is there again afterwards", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "upper", 1, fn x -> "<" <> x <> ">" end)
      assert one(conn, "SELECT upper('a')") == "<a>"
      assert {:ok, true} = LibsqlPort.drop_function(conn, :upper, 1)
      assert one(conn, "SELECT upper('a')") == "A"
      assert {:ok, false} = LibsqlPort.drop_function(conn, :upper, 1)
    end

    test "that returns more than a frame takes is told so, without a copy of what it has returned", %{
      conn: conn
    } do
      large = :binary.copy(<<0>>, 17_000_000)
      :ok = LibsqlPort.create_function(conn, "large", 0, fn -> {:blob, large} end)
      rows = fn -> [[1, {:blob, large}]] end
      :ok = LibsqlPort.create_table_function(conn, "larges", columns: [:a, :b], rows: rows)

      for sql <- ["SELECT large()", "SELECT b FROM larges"] do
        assert {:error, %Error{code: :callback_failed, message: message}} = LibsqlPort.query(conn, sql)
        assert message =~ "takes 170000" and message =~ "frame_bytes_max is 16777216"
      end

      for {value, bytes} <- [{large, nil}, {{:blob, large}, nil}, {{[[1, large]], true}, byte_size(large)}] do
        encoded = Callback.encoded({:ok, value}, bytes)
        assert IO.iodata_to_binary([131, encoded]) == :erlang.term_to_binary({:ok, value})
        assert Enum.any?(encoded, &(:binary.referenced_byte_size(&1) == byte_size(large)))
      end
    end

    test "that raises undoes its statement inside a transaction, which goes on", %{conn: conn} do
      :ok =
        LibsqlPort.create_function(conn, "small", 1, fn x -> if x > 2, do: raise("too large"), else: x end)

      LibsqlPort.query!(conn, "CREATE TABLE t (x)")

      {:ok, _} =
        LibsqlPort.transaction(conn, fn conn ->
          LibsqlPort.query!(conn, "INSERT INTO t VALUES (0)")

          assert {:error, %Error{code: :callback_failed, message: message, tx_status: :write}} =
                   LibsqlPort.query(conn, "INSERT INTO t SELECT small(value) FROM json_each('[1,2,3]')")

          assert message =~ "too large"
        end)

      assert rows(conn, "SELECT x FROM t") == [[0]]
    end

    test "that is deterministic may stand in an index and a CHECK, for other connections too", context do
      %{sidecar: sidecar, conn: conn, database: database} = context
      {:ok, early} = LibsqlPort.connect(sidecar, database: database)
      options = [deterministic: true, directonly: false]
      :ok = LibsqlPort.create_function(sidecar, "twice", 1, fn x -> x && 2 * x end, options)
      LibsqlPort.script!(conn, "CREATE TABLE t (x CHECK (twice(x) < 100)); CREATE INDEX i ON t (twice(x))")
      LibsqlPort.query!(early, "INSERT INTO t VALUES (21), (22)")
      assert one(early, "SELECT x FROM t WHERE twice(x) = 42") == 21
      assert [[_, _, _, plan] | _] = rows(conn, "EXPLAIN QUERY PLAN SELECT x FROM t WHERE twice(x) = 42")
      assert plan =~ "USING INDEX i"
      assert {:error, %Error{code: :constraint_check}} = LibsqlPort.query(conn, "INSERT INTO t VALUES (50)")
    end

    test "is not for what is stored in the database, unless that is said", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "direct", 0, fn -> 1 end)
      LibsqlPort.query!(conn, "CREATE VIEW v AS SELECT direct() AS x")
      assert {:error, %Error{message: message}} = LibsqlPort.query(conn, "SELECT x FROM v")
      assert message =~ "unsafe use of direct()"
      :ok = LibsqlPort.create_function(conn, "direct", 0, fn -> 1 end, directonly: false)
      assert one(conn, "SELECT x FROM v") == 1
    end

    test "of a deterministic kind is called once for each set of arguments", %{conn: conn} do
      calls = :counters.new(1, [])
      count = fn x -> :counters.add(calls, 1, 1) && x end
      :ok = LibsqlPort.create_function(conn, "det", 1, count, deterministic: true)

      rows(
        conn,
        "SELECT det(value % 3), det(value % 3) FROM generate(100)"
        |> String.replace("generate(100)", series())
      )

      assert :counters.get(calls, 1) == 3
    end

    defp series,
      do:
        "(WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c LIMIT 100) SELECT * FROM c)"

    test "may be called while a statement is compiled", %{conn: conn} do
      test = self()
      fun = fn x -> send(test, :called) && x end
      :ok = LibsqlPort.create_function(conn, "det", 1, fun, deterministic: true)
      LibsqlPort.script!(conn, "CREATE TABLE t (a); CREATE INDEX i ON t (a)")
      LibsqlPort.query!(conn, "INSERT INTO t SELECT value FROM #{series()}")
      LibsqlPort.query!(conn, "ANALYZE")
      # Whether SQLite asks depends on how it was built; what counts is that nothing waits for ever.
      assert {:ok, _} = LibsqlPort.describe(conn, "SELECT * FROM t WHERE a > det(5)")
      assert {:ok, statement} = LibsqlPort.prepare(conn, "SELECT count(*) FROM t WHERE a > det(5)")
      assert {:ok, %{rows: [[95]]}} = LibsqlPort.execute(conn, statement)
      assert_received :called
      :ok = LibsqlPort.close_statement(conn, statement)
    end
  end

  describe "time" do
    test "a call that takes longer than its own limit is killed", %{conn: conn} do
      test = self()
      hang = fn -> send(test, self()) && Process.sleep(:infinity) end
      :ok = LibsqlPort.create_function(conn, "hang", 0, hang, timeout: 50)

      assert {:error, %Error{code: :callback_timeout, message: message}} =
               LibsqlPort.query(conn, "SELECT hang()")

      assert message =~ "hang"
      assert_received runner
      monitor = Process.monitor(runner)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
      assert one(conn, "SELECT 1") == 1
    end

    test "the request's limit and a cancellation end a call too", %{conn: conn} do
      test = self()

      :ok =
        LibsqlPort.create_function(conn, "hang", 0, fn -> send(test, self()) && Process.sleep(:infinity) end)

      assert {:error, %Error{code: :timeout}} = LibsqlPort.query(conn, "SELECT hang()", [], timeout: 100)
      assert_received runner
      monitor = Process.monitor(runner)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000

      task = Task.async(fn -> LibsqlPort.query(conn, "SELECT hang()") end)
      assert_receive runner when is_pid(runner), 5_000
      assert {:ok, 1} = LibsqlPort.cancel(conn)
      assert {:error, %Error{code: :cancelled}} = Task.await(task)
      monitor = Process.monitor(runner)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
    end

    test "a connection that is closed in the midst of a call ends it", %{sidecar: sidecar, database: database} do
      test = self()
      {:ok, conn} = LibsqlPort.connect(sidecar, database: database)

      :ok =
        LibsqlPort.create_function(conn, "hang", 0, fn -> send(test, self()) && Process.sleep(:infinity) end)

      task = Task.async(fn -> LibsqlPort.query(conn, "SELECT hang()") end)
      assert_receive runner when is_pid(runner), 5_000
      monitor = Process.monitor(runner)
      assert :ok = LibsqlPort.close(conn)
      assert {:error, %Error{code: :connection_closed}} = Task.await(task)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
    end

    test "a runner that is killed fails its statement at once", %{conn: conn} do
      :ok =
        LibsqlPort.create_function(conn, "die", 0, fn -> Process.exit(self(), :kill) end, timeout: :infinity)

      ExUnit.CaptureLog.capture_log(fn ->
        assert {:error, %Error{code: :callback_failed, message: message}} =
                 LibsqlPort.query(conn, "SELECT die()", [], timeout: :infinity)

        assert message =~ "has ended"
      end)

      :ok = LibsqlPort.create_function(conn, "live", 0, fn -> 1 end)
      assert one(conn, "SELECT live()") == 1
    end

    test "a sidecar that is killed in the midst of a call", %{sidecar: sidecar} do
      test = self()
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")

      :ok =
        LibsqlPort.create_function(sidecar, "hang", 0, fn ->
          send(test, self()) && Process.sleep(:infinity)
        end)

      :ok = LibsqlPort.create_function(sidecar, "one", 0, fn -> 1 end)

      ExUnit.CaptureLog.capture_log(fn ->
        task = Task.async(fn -> LibsqlPort.query(conn, "SELECT hang()") end)
        assert_receive runner when is_pid(runner), 5_000
        monitor = Process.monitor(runner)
        System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])
        assert {:error, %Error{code: :sidecar_down}} = Task.await(task)
        assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
      end)

      # What belongs to the sidecar is there again.
      {:ok, again} = LibsqlPort.connect(sidecar, database: ":memory:")
      assert one(again, "SELECT one()") == 1
    end
  end

  describe "connections that wait for each other" do
    test "32 call back at once", %{sidecar: sidecar} do
      :ok = LibsqlPort.create_function(sidecar, "echo", 1, fn x -> x end)

      tasks =
        for number <- 1..32 do
          Task.async(fn ->
            {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
            sum = one(conn, "SELECT sum(echo(value)) FROM #{series()}")
            :ok = LibsqlPort.close(conn)
            {number, sum}
          end)
        end

      assert Task.await_many(tasks, 60_000) == for(number <- 1..32, do: {number, 5_050})
    end

    test "three deep, and back again", %{sidecar: sidecar, database: database} do
      [a, b, c] =
        for _ <- 1..3 do
          {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
          conn
        end

      :ok = LibsqlPort.create_function(a, "f", 0, fn -> one(b, "SELECT g() + 1") end)

      :ok =
        LibsqlPort.create_function(b, "g", 0, fn ->
          Task.await(Task.async(fn -> one(c, "SELECT h() + 1") end))
        end)

      :ok = LibsqlPort.create_function(c, "h", 0, fn -> 1 end)
      assert one(a, "SELECT f()") == 3

      :ok =
        LibsqlPort.create_function(c, "h", 0, fn ->
          {:error, error} = LibsqlPort.query(a, "SELECT 1")
          raise error
        end)

      assert {:error, %Error{code: :callback_failed, message: message}} = LibsqlPort.query(a, "SELECT f()")
      assert message =~ "no SQL value" or message =~ "waits for the callback"
    end

    test "a callback that needs the turn of the connection which waits for it", context do
      %{sidecar: sidecar, conn: conn, database: database} = context
      {:ok, other} = LibsqlPort.connect(sidecar, database: database)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")

      :ok =
        LibsqlPort.create_function(
          conn,
          "write",
          0,
          fn ->
            {:error, %Error{code: code, message: message}} =
              LibsqlPort.query(other, "INSERT INTO t VALUES (1)")

            "#{code}: #{message}"
          end,
          timeout: 1_000
        )

      case LibsqlPort.query(conn, "INSERT INTO t VALUES (write()) RETURNING x") do
        # The innermost ends first, and is told who has the turn.
        {:ok, %{rows: [[text]]}} -> assert text =~ "turn"
        # Both have the same end; whichever comes first is typed.
        {:error, %Error{code: code}} -> assert code in [:callback_timeout, :callback_failed]
      end

      assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES (1)")
    end

    test "a callback that waits for that turn is told whose it is", context do
      %{sidecar: sidecar, conn: conn, database: database} = context
      {:ok, other} = LibsqlPort.connect(sidecar, database: database)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")

      :ok =
        LibsqlPort.create_function(conn, "write", 0, fn ->
          {:error, error} = LibsqlPort.query(other, "INSERT INTO t VALUES (1)", [], lock_timeout: 20)
          "#{error.code}: #{error.message}"
        end)

      %{rows: [["busy: " <> message]]} = LibsqlPort.query!(conn, "INSERT INTO t VALUES (write()) RETURNING x")

      assert message =~ "connection #{conn.id} "
    end

    test "a function that reads by another connection while its statement writes", context do
      %{sidecar: sidecar, conn: conn, database: database} = context
      {:ok, other} = LibsqlPort.connect(sidecar, database: database)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")
      :ok = LibsqlPort.create_function(conn, "seen", 0, fn -> one(other, "SELECT count(*) FROM t") end)
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (seen())")
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (seen())")
      assert rows(conn, "SELECT x FROM t") == [[0], [1]]
    end
  end

  describe "an aggregate" do
    test "folds many rows, in groups, and of no row", %{conn: conn} do
      :ok = LibsqlPort.create_aggregate(conn, "total", 1, start: 0, step: &(&1 + &2))
      many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 10000)"
      assert one(conn, many <> "SELECT total(x) FROM c") == 50_005_000
      assert rows(conn, many <> "SELECT x % 3, total(x) FROM c GROUP BY 1") |> Enum.map(&hd/1) == [0, 1, 2]

      assert rows(conn, many <> "SELECT total(x), total(2 * x), sum(x) FROM c") == [
               [50_005_000, 100_010_000, 50_005_000]
             ]

      assert one(conn, "SELECT total(1) WHERE 0") == 0
    end

    test "makes a value of its accumulator, which may be anything", %{conn: conn} do
      :ok =
        LibsqlPort.create_aggregate(conn, "joined", 2,
          start: fn -> [] end,
          step: fn text, separator, acc -> [{text, separator} | acc] end,
          finish: fn acc ->
            acc |> Enum.reverse() |> Enum.map_join(fn {text, separator} -> text <> separator end)
          end
        )

      assert one(conn, "SELECT joined(value, ';') FROM json_each('[\"a\", \"b\"]')") == "a;b;"
    end

    test "over a window", %{conn: conn} do
      :ok =
        LibsqlPort.create_aggregate(conn, "total", 1,
          start: 0,
          step: &(&1 + &2),
          inverse: fn x, sum -> sum - x end
        )

      sql = """
      SELECT total(value) OVER (ORDER BY value ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
      FROM json_each('[1, 2, 3, 4]')
      """

      assert rows(conn, sql) == [[3], [6], [9], [7]]
      assert one(conn, "SELECT total(value) FROM json_each('[1, 2, 3, 4]')") == 10
      :ok = LibsqlPort.create_aggregate(conn, "plain", 1, start: 0, step: &(&1 + &2))
      assert {:error, %Error{message: message}} = LibsqlPort.query(conn, "SELECT plain(1) OVER ()")
      assert message =~ "window"
    end

    test "that raises fails its statement, and the next one begins anew", %{conn: conn} do
      step = fn
        nil, _sum -> raise "no row"
        x, sum -> sum + x
      end

      :ok = LibsqlPort.create_aggregate(conn, "total", 1, start: 0, step: step)
      failing = "SELECT total(value) FROM json_each('[1, null, 3]')"
      assert {:error, %Error{code: :callback_failed, message: message}} = LibsqlPort.query(conn, failing)
      assert message =~ "no row"
      assert one(conn, "SELECT total(value) FROM json_each('[1, 3]')") == 4
    end
  end

  describe "an aggregate whose step takes too long" do
    # A block is full before its last row: the group is asked for its value although its process was ended.
    test "is late, in a block that is full and in one that is not, alone and beside another", %{conn: conn} do
      hang = fn _x, _acc -> Process.sleep(:infinity) end
      :ok = LibsqlPort.create_aggregate(conn, "hang", 1, [step: hang], timeout: 50)
      :ok = LibsqlPort.create_aggregate(conn, "total", 1, start: 0, step: &(&1 + &2))

      for count <- [1, 1023, 1024, 1025, 5000],
          columns <- ["hang(x)", "total(x), hang(x)", "hang(x), total(x)"] do
        sql =
          "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT #{count}) SELECT #{columns} FROM c"

        assert {:error, %Error{code: code, message: message}} = LibsqlPort.query(conn, sql)
        assert {code, message, sql} == {:callback_timeout, "hang: no answer within 50 ms", sql}
      end

      assert one(conn, "SELECT total(value) FROM json_each('[1, 2]')") == 3
    end
  end

  describe "a table function" do
    setup %{conn: conn} do
      :ok =
        LibsqlPort.create_table_function(conn, "series",
          parameters: [:first, :last],
          columns: [:n],
          rows: fn first, last ->
            Stream.unfold(first, fn n -> if n && (last == nil or n <= last), do: {[n], n + 1} end)
          end
        )
    end

    test "gives rows in chunks of any number", %{conn: conn} do
      for count <- [0, 1, 15, 16, 17, 100, 5_000] do
        assert rows(conn, "SELECT count(*), sum(n) FROM series(1, #{count})") ==
                 [[count, if(count > 0, do: div(count * (count + 1), 2))]]
      end
    end

    test "joins, also with itself, and takes parameters from other tables", %{conn: conn} do
      assert rows(conn, "SELECT a.n, b.n FROM series(1, 2) a JOIN series(a.n, 3) b ORDER BY 1, 2") ==
               [[1, 1], [1, 2], [1, 3], [2, 2], [2, 3]]

      assert rows(conn, "SELECT n FROM series(1, 9) WHERE n IN (SELECT n FROM series(3, 4))") == [[3], [4]]
      assert rows(conn, "SELECT n FROM series WHERE first = 1 AND last = 2") == [[1], [2]]
    end

    test "stops where the statement stops, and closes what it has opened", %{conn: conn} do
      test = self()

      rows = fn ->
        Stream.resource(fn -> 1 end, fn n -> {[[n]], n + 1} end, fn _ -> send(test, :closed) end)
      end

      :ok = LibsqlPort.create_table_function(conn, "endless", columns: [:n], rows: rows)
      assert rows(conn, "SELECT n FROM endless LIMIT 3") == [[1], [2], [3]]
      assert_receive :closed, 5_000

      assert {:error, %Error{code: :timeout}} =
               LibsqlPort.query(conn, "SELECT count(*) FROM endless", [], timeout: 200)

      assert_receive :closed, 5_000

      assert [[1] | _] =
               conn |> LibsqlPort.stream("SELECT n FROM endless", [], chunk_rows: 10) |> Enum.take(20)

      assert_receive :closed, 5_000
    end

    test "that raises, or has rows of another size, fails its statement", %{conn: conn} do
      for {name, row, text} <- [
            {"long", [1, 2], "list of 1 value"},
            {"none", :none, "list or tuple"},
            {"pid", [self()], "column 1"}
          ] do
        :ok = LibsqlPort.create_table_function(conn, name, columns: [:n], rows: fn -> [row] end)

        assert {:error, %Error{code: :callback_failed, message: message}} =
                 LibsqlPort.query(conn, "SELECT * FROM " <> name)

        assert message =~ text
      end

      assert {:ok, true} = LibsqlPort.drop_table_function(conn, "long")
      assert {:ok, false} = LibsqlPort.drop_table_function(conn, "long")
      assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, "SELECT n FROM long")
    end
  end

  describe "a collation" do
    test "orders by its keys", %{conn: conn} do
      key = fn text -> String.reverse(text) end
      :ok = LibsqlPort.create_collation(conn, "backwards", key: key)

      assert rows(
               conn,
               "SELECT value FROM json_each('[\"ab\", \"ba\", \"aa\"]') ORDER BY value COLLATE backwards"
             ) ==
               [["aa"], ["ba"], ["ab"]]

      assert one(conn, "SELECT 'é' = 'É' COLLATE folded") |> elem(0) == :error
      :ok = LibsqlPort.create_collation(conn, "folded", key: &String.downcase/1)
      assert one(conn, "SELECT 'é' = 'É' COLLATE folded") == 1
      :ok = LibsqlPort.create_collation(conn, "raw", key: fn text -> <<255 - :binary.first(text)>> end)

      assert rows(conn, "SELECT value FROM json_each('[\"a\", \"b\"]') ORDER BY value COLLATE raw") == [
               ["b"],
               ["a"]
             ]
    end

    test "whose key function fails fails the statement", %{conn: conn} do
      :ok = LibsqlPort.create_collation(conn, "bad", key: fn _ -> raise "no key" end)
      sql = "SELECT value FROM json_each('[\"b\", \"a\"]') ORDER BY value COLLATE bad"
      assert {:error, %Error{code: :callback_failed, message: message}} = LibsqlPort.query(conn, sql)
      assert message =~ "no key"
      LibsqlPort.script!(conn, "CREATE TABLE t (x COLLATE bad); INSERT INTO t VALUES ('b'), ('a')")
      assert {:error, %Error{code: :callback_failed}} = LibsqlPort.query(conn, "CREATE INDEX i ON t (x)")
      assert {:ok, []} = LibsqlPort.Pragma.integrity_check(conn)
    end
  end

  describe "a database that needs a function" do
    test "can be read without it, and says what is missing", context do
      %{sidecar: sidecar, conn: conn, database: database} = context
      options = [deterministic: true, directonly: false]
      :ok = LibsqlPort.create_function(conn, "slug", 1, &String.downcase/1, options)
      :ok = LibsqlPort.create_collation(conn, "folded", key: &String.downcase/1)

      LibsqlPort.script!(conn, """
      CREATE TABLE t (x);
      CREATE INDEX i ON t (slug(x));
      CREATE TABLE c (x COLLATE folded);
      INSERT INTO t VALUES ('A');
      INSERT INTO c VALUES ('A');
      """)

      {:ok, plain} = LibsqlPort.connect(sidecar, database: database)
      assert one(plain, "SELECT x FROM t") == "A"

      for {sql, name} <- [
            {"INSERT INTO t VALUES ('B')", "slug"},
            {"VACUUM", "folded"},
            {"SELECT x FROM c ORDER BY x", "folded"},
            {"SELECT slug(x) FROM t", "slug"}
          ] do
        assert {:error, %Error{code: :unknown_function, message: message}} = LibsqlPort.query(plain, sql)
        assert message =~ name
      end

      assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(plain, "SELECT * FROM nothing(1)")
    end
  end

  test "a function may be replaced and dropped from inside itself", %{sidecar: sidecar, conn: conn} do
    :ok =
      LibsqlPort.create_function(sidecar, "once", 0, fn ->
        :ok = LibsqlPort.create_function(sidecar, "once", 0, fn -> "new" end)
        "old"
      end)

    assert one(conn, "SELECT once()") == "old"
    assert one(conn, "SELECT once()") == "new"
  end

  test "one that is dropped while a statement runs is still called by that statement", context do
    %{sidecar: sidecar, conn: conn} = context
    :ok = LibsqlPort.create_function(sidecar, "second", 0, fn -> 2 end)

    :ok =
      LibsqlPort.create_function(sidecar, "first", 0, fn ->
        {:ok, true} = LibsqlPort.drop_function(sidecar, "second", 0)
        1
      end)

    assert rows(conn, "SELECT first(), second()") == [[1, 2]]
    assert {:error, %Error{code: :unknown_function}} = LibsqlPort.query(conn, "SELECT second()")
  end

  test "a function that may not stand where it does is told how it may", %{conn: conn} do
    :ok = LibsqlPort.create_function(conn, "slug", 1, &String.downcase/1)

    :ok =
      LibsqlPort.create_aggregate(conn, "total_of", 1,
        start: fn -> 0 end,
        step: fn x, sum -> x + sum end,
        finish: & &1
      )

    LibsqlPort.script!(conn, "CREATE TABLE t (x)")

    for {sql, mend} <- [
          {"CREATE INDEX i ON t (slug(x))", "deterministic"},
          {"SELECT total_of(x) OVER () FROM t", "inverse"}
        ] do
      assert {:error, %Error{message: message}} = LibsqlPort.query(conn, sql)
      assert message =~ mend
    end

    :ok = LibsqlPort.create_function(conn, "slug", 1, &String.downcase/1, deterministic: true)
    assert {:error, %Error{message: message}} = LibsqlPort.query(conn, "CREATE INDEX i ON t (slug(x))")
    assert message =~ "directonly false"
  end

  test "a table function is dropped by no call that fails", %{conn: conn} do
    :ok = LibsqlPort.create_table_function(conn, "g", columns: [:n], rows: fn -> [[1]] end)
    {:ok, cursor} = LibsqlPort.Cursor.declare(conn, "SELECT value FROM #{series()}", [])
    {:more, _} = LibsqlPort.Cursor.fetch(conn, cursor, chunk_rows: 1)
    assert {:error, %Error{code: :locked}} = LibsqlPort.drop_table_function(conn, "g")
    assert rows(conn, "SELECT n FROM g") == [[1]]
    :ok = LibsqlPort.Cursor.close(conn, cursor)
    assert rows(conn, "SELECT n FROM g") == [[1]]
    assert {:ok, true} = LibsqlPort.drop_table_function(conn, "g")
    assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, "SELECT n FROM g")
  end

  test "while a cursor is open, replacing is locked", %{conn: conn} do
    :ok = LibsqlPort.create_function(conn, "f", 1, fn x -> x end)
    {:ok, cursor} = LibsqlPort.Cursor.declare(conn, "SELECT f(value) FROM #{series()}", [])
    {:more, _} = LibsqlPort.Cursor.fetch(conn, cursor, chunk_rows: 1)
    assert {:error, %Error{code: :locked}} = LibsqlPort.create_function(conn, "f", 1, fn _ -> 0 end)
    assert {:error, %Error{code: :locked}} = LibsqlPort.drop_function(conn, "f", 1)
    {:done, rows} = LibsqlPort.Cursor.fetch(conn, cursor)
    assert length(rows) == 99
    assert :ok = LibsqlPort.create_function(conn, "f", 1, fn _ -> 0 end)
  end

  test "wrong definitions name what is wrong", %{conn: conn} do
    for {answer, text} <- [
          {LibsqlPort.create_function(conn, "", 0, fn -> 1 end), "1 to 255 bytes"},
          {LibsqlPort.create_function(conn, String.duplicate("x", 256), 0, fn -> 1 end), "1 to 255 bytes"},
          {LibsqlPort.create_function(conn, "a\0b", 0, fn -> 1 end), "without NUL"},
          {LibsqlPort.create_function(conn, 7, 0, fn -> 1 end), "a string or an atom"},
          {LibsqlPort.create_function(conn, "f", 1, fn -> 1 end), ":fun is a function of 1 argument,"},
          {LibsqlPort.create_function(conn, "f", 101, fn -> 1 end), "an integer from 0 to 100 or :any"},
          {LibsqlPort.create_function(conn, "f", 0, fn -> 1 end, timeout: 0), ":infinity or milliseconds"},
          {LibsqlPort.create_function(conn, "f", 0, fn -> 1 end, deterministic: 1), "true or false"},
          {LibsqlPort.create_function(conn, "f", 0, fn -> 1 end, pure: true), "unknown option :pure"},
          {LibsqlPort.create_function(conn, "f", 0, fn -> 1 end, :pure), "a keyword list"},
          {LibsqlPort.create_aggregate(conn, "f", 1, start: 0), ":step is missing"},
          {LibsqlPort.create_aggregate(conn, "f", 1, step: fn x -> x end),
           ":step is a function of 2 arguments"},
          {LibsqlPort.create_aggregate(conn, "f", 1, step: &+/2, inverse: fn x -> x end),
           ":inverse is a function of 2"},
          {LibsqlPort.create_aggregate(conn, "f", 0, step: & &1, inverse: & &1), "at least one argument"},
          {LibsqlPort.create_aggregate(conn, "f", 1, step: &+/2, stop: 1), "unknown :stop"},
          {LibsqlPort.create_aggregate(conn, "f", 1, %{}), "a keyword list"},
          {LibsqlPort.create_table_function(conn, "f", columns: [], rows: fn -> [] end),
           ":columns is a list of 1 to 100"},
          {LibsqlPort.create_table_function(conn, "f", columns: [:a], parameters: ["A"], rows: & &1),
           "given twice"},
          {LibsqlPort.create_table_function(conn, "f", columns: [:a], rows: & &1),
           ":rows is a function of 0 arguments"},
          {LibsqlPort.create_collation(conn, "f", []), ":key is missing"},
          {LibsqlPort.create_collation(conn, "f", [key: & &1], directonly: true),
           "unknown option :directonly"},
          {LibsqlPort.drop_function(conn, "f", -1), "an integer from 0 to 100 or :any"}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = answer
      assert message =~ text
    end

    assert LibsqlPort.Functions.any?(conn.handle.functions) == false
  end

  test "from another process's point of view nothing stays", %{sidecar: sidecar} do
    functions = fn ->
      {_, s, _, _} = List.keyfind(Supervisor.which_children(sidecar), LibsqlPort.Runners, 0)
      DynamicSupervisor.count_children(s).active
    end

    for _ <- 1..20 do
      {:ok, conn} =
        LibsqlPort.connect(sidecar, database: ":memory:", functions: [{:scalar, "f", 0, fn -> 1 end}])

      assert one(conn, "SELECT f()") == 1
      :ok = LibsqlPort.close(conn)
    end

    eventually(fn -> functions.() == 0 end)
  end
end
