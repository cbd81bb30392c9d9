defmodule EctoLibSql.PoolStatusTest do
  # What an operator sees of a pool: connections, their holders, who waits, counts, events, and errors of exhaustion.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase, only: [open: 1, wait_until: 1, warm: 1]
  import EctoLibSql.PoolCase
  import ExUnit.CaptureLog

  alias DBConnection.ConnectionError
  alias EctoLibSql.PoolGauges

  @moduletag timeout: 120_000
  @moduletag repo: [pool_size: 2, lane: false]

  # Processes whose calls stand in the queue.
  defp wait(count, fun \\ fn -> TestRepo.query("SELECT 1") end) do
    before = status().waiting
    tasks = for _ <- 1..count, do: Task.async(fun)
    wait_until(fn -> status().waiting == before + count end)
    tasks
  end

  defp listen(event) do
    test = self()
    id = {__MODULE__, make_ref()}
    tell = fn _event, measurements, metadata, _ -> send(test, {event, measurements, metadata, self()}) end
    :ok = :telemetry.attach(id, [:ecto_libsql_port, :pool, event], tell, nil)
    on_exit(fn -> :telemetry.detach(id) end)
  end

  # --- connections ------------------------------------------------------------------------------------------------

  test "connections that are free, and those that are in use, with their holders" do
    opened()

    assert %{pools: 1, size: 2, idle: 2, checked_out: 0, holders: [], waiting: 0, longest_wait_ms: 0} =
             status()

    checkouts = [%{pid: checkout}] = hold(1)
    transactions = [%{pid: transaction}] = hold(1, &TestRepo.transaction/1)
    Process.register(transaction, __MODULE__.Transaction)

    assert %{idle: 0, opening: 0, checked_out: 2, holders: holders} = status()
    assert %{name: {_, _, _}, in_transaction: false, held_ms: ms} = Enum.find(holders, &(&1.pid == checkout))

    assert %{name: __MODULE__.Transaction, in_transaction: true} =
             Enum.find(holders, &(&1.pid == transaction))

    assert Enum.map(holders, & &1.pid) == [checkout, transaction]
    wait_until(fn -> hd(status().holders).held_ms > ms end)

    let_go(checkouts ++ transactions)
    assert %{idle: 2, checked_out: 0, holders: []} = status()
  end

  test "a process that ended has no connection any more" do
    [%{pid: pid} = task] = hold(1)
    assert [%{pid: ^pid}] = status().holders
    Process.unlink(pid)

    capture_log(fn ->
      Task.shutdown(task, :brutal_kill)
      wait_until(fn -> status().holders == [] end)
      let_go(hold(2))
    end)
  end

  test "a connection whose transaction was begun by hand is in a transaction" do
    TestRepo.checkout(fn ->
      TestRepo.query!("BEGIN")
      assert [%{in_transaction: true}] = status().holders
      TestRepo.query!("COMMIT")
      assert [%{in_transaction: false}] = status().holders
    end)
  end

  @tag repo: [pool_size: 1, lane: false]
  test "connections that are still being opened" do
    opened()
    {sidecar, _path} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    sidecar = GenServer.whereis(sidecar)
    :sys.suspend(sidecar)

    try do
      TestRepo.disconnect_all(0)
      TestRepo.query("SELECT 1")
      wait_until(fn -> match?(%{opening: 1, idle: 0}, status()) end)
    after
      :sys.resume(sidecar)
    end

    opened()
    assert %{idle: 1} = status()
  end

  @tag repo: [pool_size: 2, lane: false, idle_interval: 1]
  test "connections that were replaced are forgotten" do
    opened()
    %{gauges: %{held: held}} = PoolGauges.of(pool())

    # A connection that was looked at has another holder.
    Enum.reduce(1..20, [], fn _, holders ->
      wait_until(fn ->
        TestRepo.query!("SELECT 1") && Enum.any?(:ets.tab2list(held), &(elem(&1, 0) not in holders))
      end)

      Enum.uniq(holders ++ for({holder, _, _} <- :ets.tab2list(held), do: holder))
    end)

    wait_until(fn -> :ets.info(held, :size) <= 4 end)
  end

  # --- waiting ----------------------------------------------------------------------------------------------------

  test "calls that wait, for how long, and what they counted when they are through" do
    opened()
    %{checkouts: before, waits: waits} = status()
    held = hold(2)
    waiting = wait(3)
    assert %{waiting: 3, longest_wait_ms: ms, waits: ^waits} = status()
    wait_until(fn -> status().longest_wait_ms > ms end)
    let_go(held)
    Task.await_many(waiting)
    assert %{waiting: 0, longest_wait_ms: 0, waits: now, checkouts: checkouts, drops: 0} = status()
    assert {checkouts - before, now - waits} == {5, 3}
  end

  test "a caller that ended while it waited does not wait any more" do
    held = hold(2)
    [task] = wait(1)
    Process.unlink(task.pid)
    Task.shutdown(task, :brutal_kill)
    assert %{waiting: 0, longest_wait_ms: 0} = status()
    let_go(held)
  end

  @tag repo: [pool_size: 1, lane: false, queue_threshold: 0]
  test "a wait is an event in the process that waited" do
    opened()
    listen(:wait)
    [held] = hold(1)
    [waiting] = wait(1)
    let_go([held])
    assert {:ok, _} = Task.await(waiting)
    %{pid: pid} = waiting
    pool = pool()
    assert_receive {:wait, %{duration: duration}, %{pool: ^pool, repo: TestRepo}, ^pid}, 60_000
    assert duration > 0
  end

  @tag repo: [pool_size: 1, lane: false, queue_threshold: 3_600_000]
  test "a shorter wait than the threshold is none" do
    opened()
    listen(:wait)
    [held] = hold(1)
    [waiting] = wait(1)
    let_go([held])
    assert {:ok, _} = Task.await(waiting)
    refute_received {:wait, _, _, _}
    assert status().waits == 1
  end

  # --- exhaustion -------------------------------------------------------------------------------------------------

  @tag repo: [pool_size: 1, lane: false, queue_target: 1, queue_interval: 1]
  test "a call that is dropped from the queue learns who holds the connections, and for how long" do
    opened()
    listen(:drop)
    [%{pid: pid} = held] = hold(1, &TestRepo.transaction/1)
    assert {:error, %ConnectionError{reason: :queue_timeout} = error} = TestRepo.query("SELECT 1")
    assert error.message =~ "request was dropped from queue after"
    assert error.message =~ "1 of 1 connections are in use"
    assert error.message =~ ~r/  \* #{Regex.escape(inspect(pid))} \(.*\) for \d+ ms, in a transaction/
    assert error.message =~ "keep transactions and checkouts short"
    assert_received {:drop, %{duration: _}, %{reason: :queue_timeout, error: ^error, repo: TestRepo}, _}

    for raises <- [&TestRepo.transaction/1, &TestRepo.checkout/1] do
      error = assert_raise ConnectionError, fn -> raises.(fn -> :never end) end
      assert %{reason: :queue_timeout, message: message} = error
      assert message =~ inspect(pid)
    end

    assert status().drops == 3
    let_go([held])
  end

  test "a call that does not want to wait learns it, too" do
    held = [%{pid: pid}, _] = hold(2)

    assert {:error, %ConnectionError{reason: :error, message: message}} =
             TestRepo.query("SELECT 1", [], queue: false)

    assert message =~ "connection not available and queuing is disabled\n"
    assert message =~ "2 of 2 connections are in use"
    assert message =~ inspect(pid)
    assert status().drops == 1
    let_go(held)
  end

  @tag repo: [pool_size: 7, lane: false]
  test "five holders are named, the longest first" do
    opened()
    held = Enum.flat_map(1..7, fn _ -> hold(1) end)
    assert {:error, %{message: message}} = TestRepo.query("SELECT 1", [], queue: false)
    named = for [pid] <- Regex.scan(~r/(?<=  \* )#PID<[\d.]+>/, message), do: pid
    assert named == held |> Enum.take(5) |> Enum.map(&inspect(&1.pid))
    assert message =~ "  * and 2 more"
    let_go(held)
  end

  @tag repo: [pool_size: 1, lane: false, queue_max: 2]
  test "no more than :queue_max calls wait; the next one is refused at once" do
    opened()
    listen(:drop)
    assert status().queue_max == 2
    held = [%{pid: pid}] = hold(1)
    waiting = wait(2)

    assert {:error, %ConnectionError{reason: :queue_full, message: message}} =
             TestRepo.query("SELECT 1", [], timeout: :infinity)

    assert message =~ ":queue_max"
    assert message =~ inspect(pid)
    assert_received {:drop, _, %{reason: :queue_full}, _}
    assert_raise ConnectionError, fn -> TestRepo.transaction(fn -> :never end) end
    let_go(held)
    assert [{:ok, _}, {:ok, _}] = Task.await_many(waiting)
    assert {:ok, _} = TestRepo.query("SELECT 1")
  end

  @tag repo: [pool_size: 1, lane: false, queue_max: 2]
  test "calls whose processes have ended leave room in a full queue" do
    held = hold(1)

    for task <- wait(2) do
      Process.unlink(task.pid)
      Task.shutdown(task, :brutal_kill)
    end

    waiting = wait(2)
    let_go(held)
    assert [{:ok, _}, {:ok, _}] = Task.await_many(waiting)
  end

  @tag repo: [pool_size: 1, lane: false]
  test "a connection that is taken from its holder because its time was up is counted" do
    capture_log(fn ->
      hold = fn fun -> TestRepo.checkout(fun, timeout: 1) end
      held = hold(1, hold)
      wait_until(fn -> status().timeouts == 1 end)
      let_go(held)
    end)
  end

  # --- which pool -------------------------------------------------------------------------------------------------

  @tag repo: [pool_size: 2]
  test "the lane beside the pool" do
    open(1)
    run = fn -> TestRepo.query!("SELECT 'lane'") end
    warm(run)
    assert %{lane: %{size: 32, open: open, busy: 0, runs: runs}} = status()
    assert open > 0
    run.()
    assert status().lane.runs == runs + 1

    # All that are open are leased.
    %{opts: options} = Ecto.Adapter.lookup_meta(TestRepo)
    slots = options[:lane]

    for slot <- 1..slots.size, EctoLibSql.Lane.Slots.word(slots, slot) != 0 do
      {:ok, _, _, _, _} = EctoLibSql.Lane.Slots.lease(slots, System.monotonic_time())
    end

    assert status().lane.busy > 0
    %{checkouts: checkouts, lane: %{fallbacks: fallbacks}} = status()
    run.()
    assert %{checkouts: now, lane: %{fallbacks: later}} = status()
    assert {now, later} == {checkouts + 1, fallbacks + 1}
  end

  @tag repo: [pool_size: 2, pool_count: 2, lane: false]
  test "several pools are added up" do
    opened()
    assert %{pools: 2, size: 4, idle: 4} = status()
    held = [%{pid: pid}] = hold(1)
    assert %{checked_out: 1, idle: 3, holders: [%{pid: ^pid}], checkouts: 1} = status()
    let_go(held)
  end

  test "a dynamic Repo by its pid, and a pool by its pid and name", %{path: path} do
    repo = GenServer.whereis(TestRepo)
    assert %{size: 2} = status(repo)
    assert %{size: 2} = status(pool())

    {:ok, db} = EctoLibSql.start_link(database: path, pool_size: 3, name: __MODULE__.Pool)
    assert %{size: 3, lane: nil} = status(db)
    before = status(__MODULE__.Pool).checkouts
    EctoLibSql.query!(db, "SELECT 1")
    EctoLibSql.transaction(db, fn _ -> assert [%{in_transaction: true}] = status(db).holders end)
    EctoLibSql.checkout(db, fn _ -> assert [%{in_transaction: false}] = status(db).holders end)
    EctoLibSql.query!(db, "SELECT 1", [], pool: DBConnection.ConnectionPool)
    assert status(__MODULE__.Pool).checkouts == before + 4
  end

  @tag repo: [pool: Ecto.Adapters.SQL.Sandbox, ownership_mode: :auto]
  test "what has no status is an error" do
    for none <- [TestRepo, __MODULE__, self(), {:global, :none}, :none, nil, 5, "Repo"] do
      assert {:error, %EctoLibSql.Error{code: :invalid_request, message: message}} =
               EctoLibSql.pool_status(none)

      assert message =~ inspect(none)
    end
  end

  test "a Repo that has ended has none" do
    pool = pool()
    stop_supervised!(TestRepo)
    assert {:error, %EctoLibSql.Error{}} = EctoLibSql.pool_status(TestRepo)
    assert {:error, %EctoLibSql.Error{}} = EctoLibSql.pool_status(pool)
  end

  test "a pool that answers nobody is seen all the same" do
    held = [%{pid: pid}] = hold(1)
    pool = pool()
    :sys.suspend(pool)
    for _ <- 1..1_000, do: send(pool, :message)
    assert %{checked_out: 1, holders: [%{pid: ^pid}]} = status()
    :sys.resume(pool)
    let_go(held)
  end

  test "wrong values of the options are refused" do
    for options <- [[queue_max: 0], [queue_max: nil], [queue_threshold: -1], [queue_threshold: :infinity]] do
      assert {:error, %EctoLibSql.Error{code: :invalid_option}} =
               EctoLibSql.start_link([database: ":memory:"] ++ options)
    end
  end
end
