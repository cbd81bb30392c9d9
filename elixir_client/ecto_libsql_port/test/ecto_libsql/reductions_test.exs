defmodule EctoLibSql.ReductionsTest do
  # What a call costs its process, in reductions: calls of functions, which are the same from run to run. Time beside a port goes with
  # them (docs/benchmarks.md, "Reductions of a call"). Each figure is that of the call without the round trip itself, whose share differs
  # between versions of the VM.
  #
  # A limit may be raised with a reason, and docs/benchmarks.md with it.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase, only: [warm: 1]

  alias LibsqlPort.{CallChain, Exchange, Request, Wire}

  @moduletag repo: [pool_size: 3, log: false]

  defmodule Item do
    use Ecto.Schema

    schema "items" do
      field(:name, :string)
      field(:value, :float)
    end
  end

  @sql "SELECT id, name, value FROM items WHERE id = ?1"
  @insert "INSERT INTO items (name, value) VALUES (?1, ?2) RETURNING id"

  # Of their own calls there are more or fewer in other versions.
  @counted_with ecto: "3.14", ecto_sql: "3.14", db_connection: "2.10"
  @counted? Enum.all?(@counted_with, fn {app, version} ->
              Application.load(app)
              String.starts_with?(to_string(Application.spec(app, :vsn)), version <> ".")
            end)

  setup do
    # As in each VM in which there was ever a function in Elixir. Other tests make some.
    CallChain.functions_exist()

    script(
      "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, value REAL); INSERT INTO items VALUES (1, 'a', 1.5)"
    )

    warm(fn -> TestRepo.get!(Item, 1) end)
    warm(fn -> TestRepo.query!(@sql, [1]) end)
    meta = Ecto.Adapter.lookup_meta(TestRepo.get_dynamic_repo())
    [{_slot, state}] = :ets.lookup(meta.opts[:lane].states, 1)
    {:ok, meta: meta, conn: state.conn, round_trip: reductions(round_trip(state.conn))}
  end

  test "of a statement of the driver", %{conn: conn, round_trip: round_trip} do
    query = fn -> {:ok, %{rows: [_]}} = LibsqlPort.query(conn, @sql, [1], timeout: 1_000) end
    assert reductions(query) - round_trip <= limit(97)
  end

  test "of a planned query on the lane", %{meta: meta, round_trip: round_trip} do
    {:ok, query, _} = EctoLibSql.execute(meta.pid, EctoLibSql.prepare(@sql), [1], meta.opts)
    execute = fn -> {:ok, ^query, %{rows: [_]}} = EctoLibSql.execute(meta.pid, query, [1], meta.opts) end
    assert reductions(execute) - round_trip <= limit(219)
  end

  test "of SQL on the lane", %{meta: meta, round_trip: round_trip} do
    query = fn -> {:ok, %{rows: [_]}} = EctoLibSql.query(meta.pid, @sql, [1], meta.opts) end
    assert reductions(query) - round_trip <= limit(231)
  end

  if @counted? do
    test "of SQL in a transaction, DBConnection's own among them", %{meta: meta, round_trip: round_trip} do
      insert = fn conn -> {:ok, %{rows: [_]}} = EctoLibSql.query(conn, @insert, ["a", 1.5], meta.opts) end

      transaction = fn measure ->
        EctoLibSql.transaction(meta.pid, fn conn -> measure.(fn -> insert.(conn) end) end, meta.opts)
      end

      assert reductions_within(transaction) - round_trip <= limit(234)
    end

    test "of Repo.get, Ecto's own among them", %{round_trip: round_trip} do
      assert reductions(fn -> %Item{} = TestRepo.get(Item, 1) end) - round_trip <= limit(714)
    end

    test "of Repo.insert! in a transaction, Ecto's own among them", %{round_trip: round_trip} do
      insert = fn -> %Item{} = TestRepo.insert!(%Item{name: "a", value: 1.5}) end
      transaction = fn measure -> TestRepo.transaction(fn -> measure.(insert) end) end
      assert reductions_within(transaction) - round_trip <= limit(882)
    end
  end

  # What was counted, and a tenth.
  defp limit(counted), do: counted + div(counted, 10)

  defp round_trip(conn) do
    {:ok, params} = Wire.params([1])
    request = Request.statement(conn, :execute, {Wire.binary(@sql), @sql}, params, timeout: 1_000)
    fn -> {:ok, _frame, []} = Exchange.call(conn.handle, request) end
  end

  @rounds 5
  @calls 100

  # Of one call, in a process that has no need to collect garbage meanwhile. The least of several rounds: what meets a port that another
  # process is writing to takes a longer way.
  defp reductions(call), do: reductions_within(fn measure -> measure.(call) end)

  defp reductions_within(around) do
    test = self()
    ref = make_ref()

    measure = fn call ->
      for _ <- 1..20, do: call.()
      send(test, {ref, Enum.min(for _ <- 1..@rounds, do: round_of(call))})
    end

    {pid, monitor} = :erlang.spawn_opt(fn -> around.(measure) end, [:monitor, min_heap_size: 4_000_000])
    assert_receive {:DOWN, ^monitor, :process, ^pid, :normal}, 60_000
    receive do: ({^ref, reductions} -> reductions)
  end

  defp round_of(call) do
    nothing = counted(fn -> :ok end)
    div(counted(call) - nothing, @calls)
  end

  defp counted(call) do
    {:reductions, before} = Process.info(self(), :reductions)
    for _ <- 1..@calls, do: call.()
    {:reductions, now} = Process.info(self(), :reductions)
    now - before
  end
end
