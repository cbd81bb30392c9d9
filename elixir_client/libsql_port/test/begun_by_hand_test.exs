defmodule LibsqlPort.BegunByHandTest do
  # A transaction belongs to the process that began it, whichever way: it is the reply that says so.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.{Connection, Cursor}

  setup %{conn: conn, sidecar: sidecar, location: location} do
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE t (x UNIQUE)")
    {:ok, other} = LibsqlPort.connect(sidecar, location)
    %{other: other}
  end

  @moduletag sidecar_options: [result_rows_max: 10]
  @long String.duplicate("x", 700_000)

  # Each leaves a transaction open that has written 'lost'.
  @ways [
    query: &__MODULE__.by_query/1,
    savepoint: &__MODULE__.by_savepoint/1,
    comment: &__MODULE__.by_comment/1,
    prepared: &__MODULE__.by_prepared/1,
    script: &__MODULE__.by_script/1,
    failing_script: &__MODULE__.by_failing_script/1,
    batch: &__MODULE__.by_batch/1,
    long_batch: &__MODULE__.by_long_batch/1,
    failing_batch: &__MODULE__.by_failing_batch/1,
    stream: &__MODULE__.by_stream/1,
    cursor: &__MODULE__.by_cursor/1,
    savepoint_request: &__MODULE__.by_savepoint_request/1,
    begin: &__MODULE__.by_begin/1,
    begin_after_begin: &__MODULE__.by_begin_after_begin/1,
    rolled_back_and_begun: &__MODULE__.by_rolled_back_and_begun/1
  ]

  def by_query(conn), do: {:ok, _} = LibsqlPort.query(conn, "BEGIN IMMEDIATE")
  def by_savepoint(conn), do: {:ok, _} = LibsqlPort.query(conn, "SAVEPOINT a")
  def by_comment(conn), do: {:ok, _} = LibsqlPort.query(conn, "/* COMMIT */ -- x\n;BEGIN")

  def by_prepared(conn) do
    {:ok, begin} = LibsqlPort.prepare(conn, "BEGIN")
    {:ok, _} = LibsqlPort.execute(conn, begin)
  end

  def by_script(conn), do: {:ok, _} = LibsqlPort.script(conn, "BEGIN; INSERT INTO t VALUES ('script')")

  def by_failing_script(conn),
    do: {:error, _} = LibsqlPort.script(conn, "BEGIN; INSERT INTO missing VALUES (1)")

  def by_batch(conn), do: {:ok, [_, _]} = LibsqlPort.batch(conn, ["BEGIN", "SELECT 1"], atomic: false)

  # Its reply comes in parts.
  def by_long_batch(conn) do
    {:ok, [_, _, _]} =
      LibsqlPort.batch(conn, ["BEGIN", {"SELECT ?1", [@long]}, {"SELECT ?1", [@long]}], atomic: false)
  end

  def by_failing_batch(conn) do
    {:error, %{code: :result_too_large}} = LibsqlPort.batch(conn, ["BEGIN", endless_rows()], atomic: false)
  end

  defp endless_rows, do: "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"

  def by_stream(conn), do: [] = conn |> LibsqlPort.stream("BEGIN") |> Enum.to_list()

  def by_cursor(conn) do
    {:ok, cursor} = Cursor.declare(conn, "SAVEPOINT a", [])
    {:done, []} = Cursor.fetch(conn, cursor)
  end

  def by_savepoint_request(conn), do: {:ok, _} = Connection.savepoint(conn, "a")
  def by_begin(conn), do: {:ok, _} = Connection.begin(conn, :deferred)

  def by_begin_after_begin(conn) do
    {:ok, _} = Connection.begin(conn, :deferred)
    {:ok, _} = LibsqlPort.query(conn, "COMMIT")
    {:ok, _} = LibsqlPort.query(conn, "BEGIN")
  end

  def by_rolled_back_and_begun(conn) do
    {:ok, _} =
      LibsqlPort.script(conn, "BEGIN; INSERT INTO t VALUES ('a'); INSERT OR FAIL INTO t VALUES ('b')")

    {:error, _} = LibsqlPort.query(conn, "INSERT OR ROLLBACK INTO t VALUES ('a')")
    {:ok, _} = LibsqlPort.query(conn, "BEGIN")
  end

  for {name, _way} <- @ways, ending <- if(name == :query, do: [:kill, :shutdown, :normal], else: [:kill]) do
    test "begun by #{name}, by a process that ends with #{ending}", %{conn: conn, other: other} do
      way = Keyword.fetch!(@ways, unquote(name))

      {pid, monitor} =
        begin(fn ->
          way.(conn)
          {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES ('lost')")
        end)

      assert {:ok, %{autocommit: false}} = LibsqlPort.status(conn)
      finish(pid, unquote(ending))
      assert_receive {:DOWN, ^monitor, :process, ^pid, _}, 60_000
      eventually(fn -> match?({:ok, %{autocommit: true}}, LibsqlPort.status(conn)) end)
      assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES ('other')")
      assert LibsqlPort.query!(other, "SELECT x FROM t").rows == [["other"]]
      assert held(conn) == [self()]
    end
  end

  # Each leaves no transaction open, so nothing of it is held.
  @endings [
    query: &__MODULE__.ended_by_query/1,
    stream: &__MODULE__.ended_by_stream/1,
    script: &__MODULE__.ended_by_script/1,
    batch: &__MODULE__.ended_by_batch/1,
    commit: &__MODULE__.ended_by_commit/1,
    rollback: &__MODULE__.ended_by_rollback/1,
    engine: &__MODULE__.ended_by_engine/1,
    engine_in_a_batch: &__MODULE__.ended_by_engine_in_a_batch/1,
    engine_in_a_stream: &__MODULE__.ended_by_engine_in_a_stream/1,
    reset: &__MODULE__.ended_by_reset/1,
    too_late: &__MODULE__.ended_too_late/1
  ]

  def ended_by_query(conn), do: {:ok, _} = LibsqlPort.query(conn, "COMMIT")
  def ended_by_stream(conn), do: [] = conn |> LibsqlPort.stream("COMMIT") |> Enum.to_list()
  def ended_by_script(conn), do: {:ok, _} = LibsqlPort.script(conn, "SELECT 1; ROLLBACK")
  def ended_by_batch(conn), do: {:ok, [_]} = LibsqlPort.batch(conn, ["COMMIT"], atomic: false)
  def ended_by_commit(conn), do: {:ok, :none} = Connection.commit(conn)
  def ended_by_rollback(conn), do: {:ok, :none} = Connection.rollback(conn, in_transaction: true)
  def ended_by_engine(conn), do: {:error, _} = LibsqlPort.query(conn, "INSERT OR ROLLBACK INTO t VALUES (1)")

  def ended_by_engine_in_a_batch(conn),
    do: {:error, _} = LibsqlPort.batch(conn, ["SELECT 1", "INSERT OR ROLLBACK INTO t VALUES (1)"])

  def ended_by_engine_in_a_stream(conn) do
    assert_raise Error, fn ->
      conn |> LibsqlPort.stream("INSERT OR ROLLBACK INTO t VALUES (1) RETURNING x") |> Enum.to_list()
    end
  end

  def ended_by_reset(conn), do: :ok = LibsqlPort.reset(conn)

  def ended_too_late(conn) do
    {:ok, _} = LibsqlPort.query(conn, "ROLLBACK")
    {:error, %{code: :no_transaction}} = Connection.rollback(conn)
  end

  for {name, _} <- @endings, begun <- [:query, :begin] do
    test "begun by #{begun} and ended by #{name}", %{conn: conn, other: other} do
      {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")

      {_pid, _monitor} =
        begin(fn ->
          Keyword.fetch!(@ways, unquote(begun)).(conn)
          Keyword.fetch!(@endings, unquote(name)).(conn)
        end)

      assert {:ok, %{autocommit: true}} = LibsqlPort.status(conn)
      eventually(fn -> held(conn) == [self()] end)

      # The next one is another's, who keeps it while the first one is still there, and not after.
      {next, monitor} = begin(fn -> by_query(conn) end)
      Process.exit(next, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^next, _}, 60_000
      eventually(fn -> match?({:ok, %{autocommit: true}}, LibsqlPort.status(conn)) end)
      assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES ('other')")
    end
  end

  test "it stays who has begun it that holds it, whoever else takes part", %{conn: conn, other: other} do
    {first, _} = begin(fn -> by_query(conn) end)
    {second, second_monitor} = begin(fn -> {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (2)") end)
    assert {:error, %Error{tx_status: :write}} = LibsqlPort.query(conn, "BEGIN")
    Process.exit(second, :kill)
    assert_receive {:DOWN, ^second_monitor, :process, ^second, _}, 60_000
    _ = :sys.get_state(conn.handle.sidecar)
    assert {:ok, %{autocommit: false}} = LibsqlPort.status(conn)

    # Ended by another, begun anew by that one: the first loses nothing when it ends.
    {:ok, _} = LibsqlPort.query(conn, "COMMIT")
    {:ok, _} = LibsqlPort.query(conn, "BEGIN IMMEDIATE")
    {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (3)")
    eventually(fn -> held(conn) == [self()] end)
    monitor = Process.monitor(first)
    Process.exit(first, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^first, _}, 60_000
    _ = :sys.get_state(conn.handle.sidecar)
    assert {:ok, _} = LibsqlPort.query(conn, "COMMIT")
    assert LibsqlPort.query!(other, "SELECT x FROM t ORDER BY x").rows == [[2], [3]]
  end

  test "what is nobody's does not become another's", %{conn: conn} do
    {:ok, _} = Connection.begin(conn, :immediate, owner: nil)
    {pid, monitor} = begin(fn -> {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)") end)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, _}, 60_000
    _ = :sys.get_state(conn.handle.sidecar)
    assert {:ok, :none} = Connection.commit(conn)
    assert LibsqlPort.query!(conn, "SELECT x FROM t").rows == [[1]]
  end

  test "whose caller has given up is rolled back", %{conn: conn, other: other} do
    handle = conn.handle
    request = LibsqlPort.Request.text(conn, :script, {LibsqlPort.Wire.binary("BEGIN IMMEDIATE"), "BEGIN"}, [])
    id = LibsqlPort.InFlight.enter(handle.table, handle.ids, make_ref(), request)
    assert LibsqlPort.InFlight.give_up(handle.table, id, request)
    :ok = LibsqlPort.Exchange.post(handle, id, LibsqlPort.Wire.tag(:script), request.payload)
    assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO t VALUES (1)")
    eventually(fn -> match?({:ok, %{autocommit: true}}, LibsqlPort.status(conn)) end)
    assert :ets.info(handle.table, :size) == 0
  end

  defp begin(fun) do
    test = self()

    started =
      spawn_monitor(fn ->
        fun.()
        send(test, :begun)
        receive do: (:end -> :ok)
      end)

    assert_receive :begun, 60_000
    started
  end

  defp finish(pid, :normal), do: send(pid, :end)
  defp finish(pid, reason), do: Process.exit(pid, reason)

  # Who holds something: the test its connections, and who has begun a transaction.
  defp held(conn), do: Map.keys(:sys.get_state(conn.handle.sidecar).claims.processes)
end
