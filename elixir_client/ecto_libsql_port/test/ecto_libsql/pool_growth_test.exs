defmodule EctoLibSql.PoolGrowthTest do
  # A pool between `:pool_size_min` and `:pool_size`: it grows when calls wait, and shrinks when connections were not needed.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase, only: [wait_until: 1]
  import EctoLibSql.PoolCase
  import ExUnit.CaptureLog

  @moduletag timeout: 120_000
  # It shrinks when a test says so.
  @moduletag repo: [pool_size: 4, pool_size_min: 1, pool_idle_timeout: 3_600_000, lane: false]

  defp period_ends, do: send(pool(), {EctoLibSql.PoolGrowth, :shrink})

  # Connections of the sidecar, which has those of the pool alone.
  defp of_sidecar do
    {sidecar, _path} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{connections: count}} = LibsqlPort.status(sidecar)
    count
  end

  test "one caller has the connections that are always there" do
    for _ <- 1..50, do: TestRepo.query!("SELECT 1")
    assert %{size: 1, size_max: 4, idle: 1} = status()
    assert of_sidecar() == 1
  end

  test "it grows by as many as wait, and no further than :pool_size" do
    opened()
    two = hold(2)
    assert %{size: 2, checked_out: 2} = status()
    others = hold(2)
    assert %{size: 4, checked_out: 4} = status()
    waiting = Task.async(fn -> TestRepo.query!("SELECT 1") end)
    wait_until(fn -> status().waiting == 1 end)
    assert %{size: 4} = status()
    let_go(two ++ others)
    Task.await(waiting)
    assert of_sidecar() == 4
  end

  test "calls that wait while one connection is opened get one each, too" do
    opened()
    let_go(hold(4))
    assert %{size: 4} = status()
  end

  test "it shrinks by those that were free all the time, and grows again" do
    opened()
    let_go(hold(4))
    # The period in which all were needed.
    period_ends()
    assert %{size: 4} = status()

    # In the next two are free all the time, although each of the four is used.
    for _ <- 1..20, do: TestRepo.query!("SELECT 1")
    two = hold(2)
    let_go(two)
    period_ends()
    wait_until(fn -> match?(%{size: 2, idle: 2}, status()) end)
    wait_until(fn -> of_sidecar() == 2 end)

    # That of the sidecar's status was one of two.
    period_ends()
    wait_until(fn -> match?(%{size: 1, idle: 1}, status()) end)
    period_ends()
    TestRepo.query!("SELECT 1")
    assert %{size: 1} = status()

    let_go(hold(4))
    assert %{size: 4} = status()
  end

  test "a connection in use is not closed" do
    opened()
    held = hold(4)
    period_ends()
    period_ends()
    assert %{size: 4, checked_out: 4} = status()
    let_go(held)
    assert of_sidecar() == 4
  end

  test "a connection that was lost is opened again or, beyond the first ones, when it is needed" do
    opened()
    held = hold(4)

    capture_log(fn ->
      for %{pid: pid} = task <- held do
        Process.unlink(pid)
        Task.shutdown(task, :brutal_kill)
      end

      let_go(hold(4))
    end)

    assert %{size: 4, waiting: 0} = status()
  end

  @tag repo: [
         pool_size: 4,
         pool_size_min: 1,
         pool_idle_timeout: 3_600_000,
         lane: false,
         sidecar_options: [connections_max: 2]
       ]
  test "a connection that cannot be opened is given up when nobody waits" do
    opened()

    capture_log(fn ->
      held = hold(2)
      waiting = Task.async(fn -> TestRepo.query!("SELECT 1") end)
      wait_until(fn -> match?(%{size: 3, opening: 1, waiting: 1}, status()) end)
      let_go(held)
      Task.await(waiting)
    end)

    period_ends()
    wait_until(fn -> match?(%{size: 2, opening: 0}, status()) end)
  end

  test "one that is given up while it comes is not let in" do
    opened()
    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    sidecar = GenServer.whereis(sidecar)
    pool = pool()
    held = hold(1)
    :sys.suspend(sidecar)
    waiting = Task.async(fn -> TestRepo.checkout(fn -> :had end) end)
    wait_until(fn -> match?(%{opening: 1, waiting: 1}, status()) end)
    let_go(held)
    Task.await(waiting)
    assert %{opening: 1, idle: 1} = status()

    # The pool gets the end of the period, and behind it the connection.
    :sys.suspend(pool)
    period_ends()
    :sys.resume(sidecar)
    transfer? = &match?({:"ETS-TRANSFER", _, _, {:checkin, _, _}}, &1)
    wait_until(fn -> pool |> Process.info(:messages) |> elem(1) |> Enum.any?(transfer?) end)
    :sys.resume(pool)

    for _ <- 1..10, do: TestRepo.query!("SELECT 1")
    assert %{size: 1, idle: 1, opening: 0} = status()
    wait_until(fn -> of_sidecar() == 1 end)
  end

  test "the pool's end closes all" do
    opened()
    let_go(hold(4))
    {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
    monitor = Process.monitor(GenServer.whereis(sidecar))
    assert capture_log(fn -> stop_supervised!(TestRepo) end) == ""
    assert_receive {:DOWN, ^monitor, _, _, _}, 60_000
  end

  test "more than :pool_size cannot always be there" do
    assert {:error, %EctoLibSql.Error{code: :invalid_option, message: message}} =
             EctoLibSql.start_link(database: ":memory:", pool_size: 2, pool_size_min: 3)

    assert message =~ ":pool_size_min"
  end
end
