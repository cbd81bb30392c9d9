defmodule LibsqlPort.CursorTest do
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Cursor

  @numbers "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?1) SELECT x FROM c"

  defp open(conn), do: elem(LibsqlPort.status(conn), 1).cursors

  defp assert_clean(conn) do
    assert open(conn) == 0
    assert LibsqlPort.requests(conn) == []
    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "a cursor is fetched to its end", %{conn: conn} do
    assert {:ok, cursor} = Cursor.declare(conn, @numbers, [5])
    assert cursor.columns == ["x"]
    assert {:more, [[1], [2]]} = Cursor.fetch(conn, cursor, chunk_rows: 2)
    assert {:more, [[3], [4]]} = Cursor.fetch(conn, cursor, chunk_rows: 2)
    assert {:done, [[5]]} = Cursor.fetch(conn, cursor, chunk_rows: 2)
    assert {:error, %Error{code: :unknown_cursor}} = Cursor.fetch(conn, cursor)
    assert :ok = Cursor.close(conn, cursor)
    assert_clean(conn)
  end

  test "a cursor belongs to its connection", %{conn: conn, sidecar: sidecar} do
    {:ok, other} = LibsqlPort.connect(sidecar, database: ":memory:")
    {:ok, cursor} = Cursor.declare(other, @numbers, [5])
    assert {:error, %Error{code: :unknown_cursor}} = Cursor.fetch(conn, cursor)
    assert :ok = Cursor.close(other, cursor)
    :ok = LibsqlPort.close(other)
  end

  test "a stream gives every row, lazily", %{conn: conn} do
    stream = LibsqlPort.stream(conn, @numbers, [50_000])
    assert open(conn) == 0
    assert stream |> Stream.map(&hd/1) |> Enum.sum() == div(50_000 * 50_001, 2)
    assert_clean(conn)
    # And again: it is a recipe, not a position.
    assert Enum.count(stream) == 50_000
    assert Enum.to_list(LibsqlPort.stream(conn, @numbers <> " WHERE x < 0", [5])) == []
    assert_clean(conn)
  end

  test "chunks and their size", %{conn: conn} do
    chunks = LibsqlPort.stream(conn, @numbers, [10], chunks: true, chunk_rows: 3) |> Enum.map(&length/1)
    assert Enum.sum(chunks) == 10
    assert Enum.max(chunks) == 3

    chunks = LibsqlPort.stream(conn, @numbers, [1_000], chunks: true, chunk_bytes: 1_000) |> Enum.to_list()
    assert length(chunks) > 5
    assert List.flatten(chunks) == Enum.to_list(1..1_000)
    assert_clean(conn)
  end

  test "one that is left early is closed", %{conn: conn} do
    assert LibsqlPort.stream(conn, @numbers, [1_000_000_000]) |> Enum.take(3) == [[1], [2], [3]]
    assert_clean(conn)

    assert_raise RuntimeError, fn ->
      LibsqlPort.stream(conn, @numbers, [1_000_000_000]) |> Enum.each(fn _ -> raise "enough" end)
    end

    assert_clean(conn)
    assert catch_throw(Enum.each(LibsqlPort.stream(conn, @numbers, [1_000_000]), &throw/1)) == [1]
    assert_clean(conn)
  end

  test "two streams and queries take turns on one connection", %{conn: conn} do
    one = LibsqlPort.stream(conn, @numbers, [2_000], chunk_rows: 100)
    two = LibsqlPort.stream(conn, "SELECT x + 1 FROM (#{@numbers})", [2_000], chunk_rows: 70)

    assert Enum.zip(one, two)
           |> Enum.all?(fn {[a], [b]} ->
             if rem(a, 500) == 0, do: assert({:ok, [^a]} = LibsqlPort.query_one(conn, "SELECT ?", [a]))
             b == a + 1
           end)

    assert_clean(conn)
  end

  test "errors are raised", %{conn: conn} do
    assert_raise Error, ~r/sql_error/, fn -> Enum.to_list(LibsqlPort.stream(conn, "SELEKT")) end

    assert_raise Error, ~r/timeout/, fn ->
      Enum.to_list(LibsqlPort.stream(conn, endless(), [], timeout: 50))
    end

    assert_clean(conn)

    failing = "SELECT x, CASE WHEN x = 30 THEN json('{') END FROM (#{@numbers})"

    assert_raise Error, ~r/JSON/, fn ->
      Enum.to_list(LibsqlPort.stream(conn, failing, [100], chunk_rows: 4))
    end

    assert_clean(conn)
  end

  test "a sidecar that dies in the middle is raised", %{conn: conn} do
    assert_raise Error, ~r/sidecar_down/, fn ->
      LibsqlPort.stream(conn, @numbers, [1_000_000_000])
      |> Enum.each(fn [x] ->
        if x == 1, do: System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])
      end)
    end

    assert {:messages, []} = Process.info(self(), :messages)
  end

  test "memory stays flat", %{conn: conn} do
    task =
      Task.async(fn ->
        LibsqlPort.stream(conn, "SELECT x, printf('%0100d', x) FROM (#{@numbers})", [300_000], chunks: true)
        |> Enum.reduce({0, 0}, fn rows, {count, worst} ->
          {:memory, memory} = Process.info(self(), :memory)
          {count + length(rows), max(worst, memory)}
        end)
      end)

    # The result is some 40 MB; a chunk is 64 KiB.
    assert {300_000, worst} = Task.await(task, 60_000)
    assert worst < 8_000_000
  end

  # --- rows that are asked for ahead ----------------------------------------------------------------------------

  @endless "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"

  # The reply is kept in the table of requests: it must be gone from there too.
  defp assert_nothing_kept(conn) do
    assert :ets.match(conn.handle.table, {{:kept, :"$1"}, :_, :_}) == []
    assert_clean(conn)
  end

  defp kept?(conn) do
    :ets.match(conn.handle.table, {{:kept, :_}, :_, :"$1"}) not in [[], [[[]]]] or
      (Process.sleep(1) && kept?(conn))
  end

  test "rows that were asked for ahead come to no mailbox", %{conn: conn} do
    {:ok, cursor} = Cursor.declare(conn, @numbers, [4])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, chunk_rows: 2)
    # Answered behind it, so the rows have come.
    {:ok, _} = LibsqlPort.query(conn, "SELECT 1")
    assert kept?(conn)
    assert {:messages, []} = Process.info(self(), :messages)
    assert Cursor.fetched(conn, ahead) == {:more, [[1], [2]]}
    # Asked for before they have come, and in another process.
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, chunk_rows: 3)
    assert fn -> Cursor.fetched(conn, ahead) end |> Task.async() |> Task.await() == {:done, [[3], [4]]}
    assert_nothing_kept(conn)
  end

  test "what is yet to be read is waited for", %{conn: conn} do
    {:ok, cursor} = Cursor.declare(conn, "SELECT count(*) FROM (#{@numbers})", [2_000_000])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, timeout: :infinity)
    assert Cursor.fetched(conn, ahead) == {:done, [[2_000_000]]}
    assert_nothing_kept(conn)
  end

  test "a row of several frames is put together, whenever it is asked for", %{conn: conn} do
    size = 20_000_000

    for pause <- [0, 1, 5, :kept] do
      {:ok, cursor} = Cursor.declare(conn, "SELECT zeroblob(?1) UNION ALL SELECT x'01'", [size])
      {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, chunk_rows: 1)
      if pause == :kept, do: kept?(conn), else: Process.sleep(pause)
      assert {:more, [[blob]]} = Cursor.fetched(conn, ahead)
      assert byte_size(blob) == size
      assert {:done, [[<<1>>]]} = Cursor.fetch(conn, cursor)
      assert_nothing_kept(conn)
    end
  end

  test "one that is given up is stopped", %{conn: conn} do
    {:ok, cursor} = Cursor.declare(conn, "SELECT count(*) FROM (#{@endless})", [])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, timeout: :infinity)
    assert Cursor.drop(conn, ahead) == :ok
    assert Cursor.close(conn, cursor) == :ok
    assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT 1")
    assert_nothing_kept(conn)

    # Also one that has been answered, and in another process.
    {:ok, cursor} = Cursor.declare(conn, @numbers, [4])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, [])
    assert kept?(conn)
    assert fn -> Cursor.drop(conn, ahead) end |> Task.async() |> Task.await() == :ok
    assert Cursor.close(conn, cursor) == :ok
    assert_nothing_kept(conn)
  end

  test "an error comes when the rows are wanted", %{conn: conn} do
    {:ok, cursor} = Cursor.declare(conn, "SELECT count(*) FROM (#{@endless})", [])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, timeout: 20)
    assert {:error, %Error{code: :timeout}} = Cursor.fetched(conn, ahead)
    {:ok, cursor} = Cursor.declare(conn, "SELECT abs(-9223372036854775808)", [])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, [])
    assert kept?(conn)
    assert {:error, %Error{code: :sql_error}} = Cursor.fetched(conn, ahead)
    assert_nothing_kept(conn)
  end

  test "what nobody asks for or drops goes with its connection", %{conn: conn, sidecar: sidecar} do
    for sql <- ["SELECT 1", "SELECT count(*) FROM (#{@endless})"] do
      {:ok, other} = LibsqlPort.connect(sidecar, database: ":memory:")

      # A process that is killed before it has told anybody of its request.
      {killed, monitor} =
        spawn_monitor(fn ->
          {:ok, cursor} = Cursor.declare(other, sql, [], owner: nil)
          {:ok, _ahead} = Cursor.fetch_ahead(other, cursor, timeout: :infinity)
          Process.exit(self(), :kill)
        end)

      assert_receive {:DOWN, ^monitor, :process, ^killed, :killed}, 60_000
      assert :ok = LibsqlPort.close(other)
      assert_nothing_kept(conn)
    end
  end

  test "whoever asks for the rows of a closed connection is told so", %{sidecar: sidecar} do
    for answered? <- [true, false] do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      sql = if answered?, do: "SELECT 1", else: "SELECT count(*) FROM (#{@endless})"
      {:ok, cursor} = Cursor.declare(conn, sql, [])
      {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, timeout: :infinity)
      if answered?, do: kept?(conn)
      :ok = LibsqlPort.close(conn)
      assert {:error, %Error{code: :connection_closed}} = Cursor.fetched(conn, ahead)
      assert {:messages, []} = Process.info(self(), :messages)
    end
  end

  test "a connection that is closed ends the wait for the rows", %{sidecar: sidecar} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
    {:ok, cursor} = Cursor.declare(conn, "SELECT count(*) FROM (#{@endless})", [])
    {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, timeout: :infinity)
    waiting = Task.async(fn -> Cursor.fetched(conn, ahead) end)
    # The request is now that of the process that waits for it.
    eventually(fn -> match?([{_id, pid}] when pid == waiting.pid, LibsqlPort.requests(conn)) end)
    :ok = LibsqlPort.close(conn)
    assert {:error, %Error{code: :connection_closed}} = Task.await(waiting, 60_000)
  end

  test "the sidecar's end is told, whether the rows had come or not" do
    for answered? <- [true, false] do
      {:ok, sidecar} = LibsqlPort.start_link()
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      sql = if answered?, do: "SELECT 1", else: "SELECT count(*) FROM (#{@endless})"
      {:ok, cursor} = Cursor.declare(conn, sql, [])
      {:ok, ahead} = Cursor.fetch_ahead(conn, cursor, timeout: :infinity)
      if answered?, do: kept?(conn)
      :ok = Supervisor.stop(sidecar)
      assert {:error, %Error{code: code}} = Cursor.fetched(conn, ahead)
      assert code in [:sidecar_down, :not_sent]
      assert Cursor.drop(conn, ahead) == :ok
      assert {:messages, []} = Process.info(self(), :messages)
    end
  end
end
