defmodule EctoLibSql.DeadSidecarTest do
  # Once the next sidecar is there, no call meets the dead one's connections, however many the pool has.
  use EctoLibSql.RepoCase

  # The pool's connections are held for a while by this test itself.
  @queue [queue_target: 60_000, queue_interval: 60_000]

  defp meta, do: Ecto.Adapter.lookup_meta(TestRepo)

  # All connections are open before the sidecar dies, and the next one is there afterwards.
  defp kill(size) do
    test = self()
    {sidecar, _} = EctoLibSql.Direct.database(meta())

    holders =
      for _ <- 1..size do
        Task.async(fn ->
          TestRepo.checkout(fn ->
            send(test, :held)
            receive do: (:go_on -> :ok)
          end)
        end)
      end

    for _ <- holders, do: assert_receive(:held, 30_000)
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    await_next(sidecar, os_pid)
    for holder <- holders, do: send(holder.pid, :go_on)
    Task.await_many(holders, 30_000)
  end

  defp await_next(sidecar, os_pid) do
    case LibsqlPort.status(sidecar) do
      {:ok, %{os_pid: next}} when next != os_pid -> :ok
      _ -> await_next(sidecar, os_pid)
    end
  end

  for size <- [1, 4, 20] do
    # Nothing pings the idle connections meanwhile.
    @tag repo: [pool_size: size, idle_interval: 600_000] ++ @queue
    @tag :capture_log
    test "a pool of #{size}" do
      TestRepo.query!("CREATE TABLE t (x)")

      calls = [
        fn -> {:ok, _} = TestRepo.query("INSERT INTO t VALUES (1)") end,
        fn -> {:ok, _} = TestRepo.query_many("INSERT INTO t VALUES (1)") end,
        fn -> {:ok, _} = TestRepo.transaction(fn -> TestRepo.query!("INSERT INTO t VALUES (1)") end) end,
        fn -> {:ok, _} = TestRepo.checkout(fn -> TestRepo.query("INSERT INTO t VALUES (1)") end) end
      ]

      for {call, n} <- Enum.with_index(calls, 1) do
        kill(unquote(size))
        call.()
        assert TestRepo.query!("SELECT count(*) FROM t").rows == [[n]]
      end
    end
  end
end
