defmodule EctoLibSql.WarmFirstTest do
  # The connection that was used last is given out first, whatever DBConnection's looks at idle ones do to its queue.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase, only: [wait_until: 1]
  import EctoLibSql.PoolCase

  alias EctoLibSql.PoolGauges

  @moduletag timeout: 120_000
  @hour 3_600_000
  @growing [pool_size: 4, pool_size_min: 1, pool_idle_timeout: @hour]
  # Idle connections are looked at when a test says so.
  @moduletag repo: [pool_size: 4, lane: false, idle_interval: @hour]

  # The connection that a call gets, by the sidecar's number of it.
  defp used do
    test = self()
    handler = {__MODULE__, make_ref()}
    tell = fn _event, _times, about, _ -> if self() == test, do: send(test, {handler, about.connection}) end
    :ok = :telemetry.attach(handler, [:libsql_port, :query, :stop], tell, nil)
    TestRepo.query!("SELECT 1")
    :telemetry.detach(handler)
    receive do: ({^handler, id} -> id)
  end

  defp free, do: for({{since, _holder}} <- :ets.tab2list(PoolGauges.of(pool()).queue), do: since)

  # DBConnection looks at those that have been idle since `time`: each goes to its process and comes back.
  defp look(time) do
    {_own, {:ready, _queue, %{idle: timer}, _times}} = :sys.get_state(pool())
    count = length(free())
    now = System.monotonic_time()
    looked_at = Enum.count(free(), &(&1 <= time))
    send(pool(), {:timeout, timer, time})
    wait_until(fn -> length(free()) == count and Enum.count(free(), &(&1 > now)) == looked_at end)
  end

  test "one caller has the same connection each time" do
    opened()
    first = used()
    assert for(_ <- 1..10, do: used()) == List.duplicate(first, 10)
  end

  test "of several the one that came back last" do
    opened()
    tasks = hold(3)
    for task <- tasks, do: let_go([task])
    last = used()
    [other | _] = hold(1)
    refute used() == last
    let_go([other])
    assert used() == last
  end

  test "looks at idle connections do not change which is the warmest" do
    opened()
    let_go(hold(4))
    warm = used()
    for _ <- 1..3, do: look(System.monotonic_time())
    assert used() == warm

    # All but this one.
    cold_since = System.monotonic_time()
    assert used() == warm
    look(cold_since)
    assert used() == warm
  end

  @tag repo: [pool_size: 4, lane: false, idle_interval: @hour, sidecar_options: [heartbeat: :infinity]]
  test "looks at idle connections ask the sidecar nothing" do
    opened()
    let_go(hold(4))
    {sidecar, _path} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{requests: before}} = LibsqlPort.status(sidecar)
    for _ <- 1..3, do: look(System.monotonic_time())
    # That of the status itself.
    expected = before + 1
    assert {:ok, %{requests: ^expected}} = LibsqlPort.status(sidecar)
  end

  test "a caller that ended before it got one leaves it" do
    opened()
    warm = used()
    pool = pool()
    :sys.suspend(pool)
    {pid, monitor} = spawn_monitor(fn -> TestRepo.query("SELECT 1") end)
    checkout? = &match?({:db_connection, {^pid, _}, {:checkout, _, _, _}}, &1)
    wait_until(fn -> pool |> Process.info(:messages) |> elem(1) |> Enum.any?(checkout?) end)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 60_000
    :sys.resume(pool)
    assert used() == warm
    assert %{idle: 4, checked_out: 0} = status()
  end

  test "calls that wait get what comes back, and all are used when all are needed" do
    opened()
    held = hold(4)
    waiting = for _ <- 1..3, do: Task.async(&used/0)
    wait_until(fn -> status().waiting == 3 end)
    let_go(held)
    assert length(Task.await_many(waiting, 60_000)) == 3
    assert %{idle: 4} = status()
    let_go(hold(4))
  end

  @tag repo: [lane: false, idle_interval: @hour] ++ @growing
  test "a pool that shrinks closes the coldest" do
    opened()
    let_go(hold(4))
    period_ends = fn -> send(pool(), {EctoLibSql.PoolGrowth, :shrink}) end
    period_ends.()
    let_go(hold(2))
    cold_since = System.monotonic_time()
    warm = used()
    # Now the queue has the warm one as the one that came back first.
    look(cold_since)
    period_ends.()
    wait_until(fn -> match?(%{size: 2, idle: 2}, status()) end)
    assert used() == warm
  end
end
