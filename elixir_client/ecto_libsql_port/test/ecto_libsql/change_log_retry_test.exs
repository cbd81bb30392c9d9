defmodule EctoLibSql.ChangeLogRetryTest do
  # A consumer's function that fails: the process waits and tries again, and its supervisor hears of it only when it gives up.
  use EctoLibSql.RepoCase

  import ExUnit.CaptureLog

  alias EctoLibSql.{ChangeLog, Migration}
  alias EctoLibSql.ChangeLog.{Consumer, LeftBehind}

  @event [:ecto_libsql_port, :change_log, :not_handled]

  setup do
    TestRepo.query!("CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT)")
    Migration.create_change_log(:cities, repo: TestRepo)
    :ok = ChangeLog.create_consumer(TestRepo, "p")
    test = self()
    :telemetry.attach(test, @event, &__MODULE__.told/4, test)
    on_exit(fn -> :telemetry.detach(test) end)

    {:ok,
     options: [
       repo: TestRepo,
       name: "p",
       interval_ms: 5,
       trim: false,
       retry_wait_min_ms: 1,
       retry_wait_max_ms: 4
     ]}
  end

  def told(_event, measurements, metadata, test), do: send(test, {:told, measurements, metadata})

  defp insert(name), do: TestRepo.query!("INSERT INTO cities (name) VALUES (?1)", [name])

  # No restart is left to what it starts.
  defp supervised(options) do
    {:ok, supervisor} = Supervisor.start_link([{Consumer, options}], strategy: :one_for_one, max_restarts: 0)
    [{_id, pid, _, _}] = Supervisor.which_children(supervisor)
    {supervisor, pid}
  end

  test "is tried again after a wait that grows, with the failure in the log and as telemetry", %{
    options: options
  } do
    test = self()
    insert("Ulm")
    left = :atomics.new(1, [])

    failures = [
      fn -> {:error, :not_yet} end,
      fn -> raise "boom" end,
      fn -> throw(:it) end,
      fn -> exit(:away) end,
      fn -> nil end
    ]

    handler = fn changes ->
      case Enum.at(failures, :atomics.add_get(left, 1, 1) - 1) do
        nil -> send(test, {:handled, self(), Enum.map(changes, & &1.sequence)}) && :ok
        fail -> fail.()
      end
    end

    log =
      capture_log(fn ->
        {supervisor, pid} = supervised(Keyword.put(options, :handler, handler))
        assert_receive {:handled, ^pid, [1]}, 30_000

        told =
          for _ <- failures, do: receive(do: ({:told, measurements, metadata} -> {measurements, metadata}))

        assert Enum.map(told, fn {m, _} -> {m.attempt, m.wait_ms} end) == [
                 {1, 1},
                 {2, 2},
                 {3, 4},
                 {4, 4},
                 {5, 4}
               ]

        assert [
                 {:returned, {:error, :not_yet}},
                 {:error, %{message: "boom"}, [_ | _]},
                 {:throw, :it, _},
                 {:exit, :away, _},
                 {:returned, nil}
               ] = Enum.map(told, fn {_, metadata} -> metadata.failure end)

        assert %{repo: TestRepo, log: "change_log", consumer: "p", first: 1, last: 1} =
                 told |> hd() |> elem(1)

        # The wait begins anew.
        :atomics.put(left, 1, 0)
        insert("Bonn")
        assert_receive {:told, %{attempt: 1, wait_ms: 1}, %{first: 2}}, 30_000
        assert_receive {:handled, ^pid, [2]}, 30_000
        Supervisor.stop(supervisor)
      end)

    assert log =~
             "the consumer p of change_log has not processed the changes 1 to 1 (attempt 1), and tries again in 1 ms"

    assert log =~ "it returned {:error, :not_yet}"
    assert log =~ "(RuntimeError) boom"
  end

  test "is not called while the wait lasts, whatever wakes the process", %{options: options} do
    test = self()
    insert("Ulm")
    handler = fn changes -> send(test, {:called, length(changes)}) && :error end

    capture_log(fn ->
      {supervisor, pid} =
        supervised(
          Keyword.merge(options, handler: handler, retry_wait_min_ms: 3_600_000, retry_wait_max_ms: 3_600_000)
        )

      assert_receive {:called, 1}, 30_000
      insert("Bonn")
      ChangeLog.wake(TestRepo)
      for message <- [:committed, :interval, :again], do: send(pid, message)
      :sys.get_state(pid)
      refute_received {:called, _}
      # It reads anew what is not acknowledged.
      send(pid, :retry)
      assert_receive {:called, 2}, 30_000
      Supervisor.stop(supervisor)
    end)
  end

  test "passes over what is acknowledged elsewhere", %{options: options} do
    test = self()
    insert("poison")

    handler = fn changes ->
      if Enum.any?(changes, &(&1.new["name"] == "poison")),
        do: {:error, :poison},
        else: send(test, {:handled, Enum.map(changes, & &1.new["name"])}) && :ok
    end

    capture_log(fn ->
      {supervisor, _pid} = supervised(Keyword.put(options, :handler, handler))
      assert_receive {:told, %{attempt: 2}, _}, 30_000
      insert("Ulm")
      ChangeLog.ack(TestRepo, "p", 1)
      assert_receive {:handled, ["Ulm"]}, 30_000
      Supervisor.stop(supervisor)
    end)
  end

  test "ends the process after so many failures", %{options: options} do
    Process.flag(:trap_exit, true)
    insert("Ulm")

    log =
      capture_log(fn ->
        {:ok, pid} = Consumer.start_link(Keyword.merge(options, handler: fn _ -> :no end, attempts_max: 3))
        assert_receive {:EXIT, ^pid, {:not_handled, {:returned, :no}}}, 30_000
        for attempt <- 1..3, do: assert_received({:told, %{attempt: ^attempt}, _})
        refute_received {:told, _, _}
      end)

    assert log =~ "(attempt 3), and ends: it returned :no"
  end

  test "waits as well when it was left behind and nobody says how to go on", %{options: options} do
    test = self()
    for name <- ~w(Ulm Bonn Jena), do: insert(name)
    {2, [_]} = ChangeLog.trim(TestRepo, rows_max: 1)
    handler = fn changes -> send(test, {:handled, Enum.map(changes, & &1.sequence)}) && :ok end

    log =
      capture_log(fn ->
        {supervisor, pid} = supervised(Keyword.put(options, :handler, handler))

        assert_receive {:told, %{attempt: 2},
                        %{first: 1, last: 2, failure: {:error, %LeftBehind{last: 2}, _}}},
                       30_000

        ChangeLog.ack(TestRepo, "p", 2)
        assert_receive {:handled, [3]}, 30_000
        assert Process.alive?(pid)
        Supervisor.stop(supervisor)
      end)

    assert log =~ "read the tables anew, then acknowledge 2"
  end
end
