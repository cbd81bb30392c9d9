defmodule LibsqlPort.Faults.CallbacksSoakTest do
  # Subscriptions, functions and connections that come and go, and what is left of them: nothing may grow. `make soak` runs it for ten
  # minutes and prints what it has measured; SOAK_SECONDS says how long, SOAK_SEED repeats a run's choices.
  #
  # The workers pause for each measurement with nothing open, so that all of them see the same state. After a third of them, for code,
  # caches and allocators to settle, a figure has grown if the last third lies above the middle one altogether.
  use LibsqlPort.SidecarCase, async: false

  alias LibsqlPort.Changes

  @moduletag :faults
  @moduletag timeout: :infinity
  @moduletag connect: false

  @workers 4
  @measurements 12

  # What a figure may differ by without having grown. Others in this VM come and go, too; a leak is in the hundreds.
  @slack %{
    processes: 4,
    ets_tables: 2,
    ets_bytes: 200_000,
    atoms: 60,
    ports: 0,
    vm_bytes: 2_000_000,
    threads: 2,
    descriptors: 2,
    rss_bytes: 2_000_000,
    engine_bytes: 200_000
  }

  test "nothing grows", %{sidecar: sidecar, database: database} do
    seconds = String.to_integer(System.get_env("SOAK_SECONDS") || "20")
    seed = String.to_integer(System.get_env("SOAK_SEED") || "#{ExUnit.configuration()[:seed]}")
    show? = System.get_env("SOAK_SECONDS") != nil
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)

    LibsqlPort.script!(
      conn,
      "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE u (k TEXT PRIMARY KEY)"
    )

    :ok = LibsqlPort.close(conn)
    context = %{sidecar: sidecar, database: database, done: :counters.new(1, [])}
    workers = for worker <- 1..@workers, do: start_worker(context, worker, seed)
    if show?, do: show(header())

    measured =
      for number <- 1..@measurements do
        for pid <- workers, do: send(pid, :go)
        # How long the work goes on; nothing is waited for.
        Process.sleep(div(seconds * 1_000, @measurements))
        for pid <- workers, do: send(pid, :pause)
        for pid <- workers, do: assert_receive({:paused, ^pid}, 120_000)
        measured = measure(sidecar)
        if show?, do: show(line(number, measured, context))
        measured
      end

    for pid <- workers, do: send(pid, :stop)
    assert :counters.get(context.done, 1) > 10 * length(works()), "it has done nearly nothing"
    third = div(@measurements, 3)
    {_warm, rest} = Enum.split(measured, third)
    {middle, last} = Enum.split(rest, third)

    grown =
      for {key, slack} <- @slack,
          before = Enum.max(Enum.map(middle, & &1[key])),
          now = Enum.min(Enum.map(last, & &1[key])),
          now > before + slack,
          do: {key, before, now}

    assert grown == [], "seed #{seed}: grown: #{inspect(grown)}"
  end

  defp show(line), do: IO.puts(:stderr, line)
  defp keys, do: @slack |> Map.keys() |> Enum.sort()
  defp header, do: Enum.map_join(["", "works" | keys()], &String.pad_leading("#{&1}", 13))

  defp line(number, measured, context) do
    figures = [number, :counters.get(context.done, 1) | Enum.map(keys(), &measured[&1])]
    Enum.map_join(figures, &String.pad_leading("#{&1}", 13))
  end

  # --- measuring ------------------------------------------------------------------------------------------------

  defp measure(sidecar) do
    # What belonged to processes that were killed is given back when their end is noticed.
    eventually(fn ->
      {:ok, status} = LibsqlPort.status(sidecar)
      {status.connections, status.statements, status.cursors, of(Changes.Subscription)} == {0, 0, 0, 0}
    end)

    {:ok, handle} = LibsqlPort.Supervisor.handle(sidecar, :infinity)
    assert eventually(fn -> :ets.info(handle.table, :size) == 0 end)
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    {:ok, status} = LibsqlPort.status(sidecar)

    %{
      processes: :erlang.system_info(:process_count),
      ets_tables: length(:ets.all()),
      ets_bytes: :erlang.memory(:ets),
      atoms: :erlang.system_info(:atom_count),
      ports: :erlang.system_info(:port_count),
      vm_bytes: :erlang.memory(:total),
      threads: status.threads,
      descriptors: descriptors(handle.os_pid),
      rss_bytes: status.rss || 0,
      engine_bytes: status.memory || 0
    }
  end

  defp of(module) do
    Enum.count(Process.list(), fn pid ->
      match?({:dictionary, [_ | _]}, Process.info(pid, :dictionary)) and
        elem(Process.info(pid, :dictionary) || {nil, []}, 1)[:"$initial_call"] == {module, :init, 1}
    end)
  end

  # --- working --------------------------------------------------------------------------------------------------

  defp start_worker(context, worker, seed) do
    test = self()

    spawn_link(fn ->
      :rand.seed(:exsss, {seed, worker, 0})
      paused(Map.merge(context, %{worker: worker, test: test}))
    end)
  end

  defp paused(context) do
    receive do
      :go -> working(context)
      :stop -> :ok
    end
  end

  defp working(context) do
    receive do
      :pause ->
        flush()
        send(context.test, {:paused, self()})
        paused(context)
    after
      0 ->
        works = works()
        Enum.at(works, :rand.uniform(length(works)) - 1).(context)
        :counters.add(context.done, 1, 1)
        working(context)
    end
  end

  # Messages of subscriptions that have ended.
  defp flush do
    receive do
      %{subscription: _} -> flush()
    after
      0 -> :ok
    end
  end

  defp works do
    [
      &subscription/1,
      &stream/1,
      &subscriber_killed/1,
      &owner_killed/1,
      &function_of_connection/1,
      &function_of_sidecar/1,
      &functions_that_fail/1,
      &table_function/1,
      &collation/1,
      &aggregate/1,
      &commit_hook/1,
      &policy/1
    ]
  end

  defp with_conn(context, fun) do
    {:ok, conn} = LibsqlPort.connect(context.sidecar, database: context.database)
    answer = fun.(conn)
    :ok = LibsqlPort.close(conn)
    answer
  end

  defp write(conn) do
    LibsqlPort.query!(conn, "INSERT INTO t (a) VALUES (?)", [String.duplicate("x", :rand.uniform(200))])
    LibsqlPort.query!(conn, "DELETE FROM t WHERE id < (SELECT max(id) - 50 FROM t)")
  end

  defp subscription(context) do
    with_conn(context, fn conn ->
      source = Enum.random([conn, context.sidecar, {:database, context.sidecar, conn.path}])
      values = Enum.random([:none, :new, :old_and_new])

      {:ok, subscription} =
        Changes.subscribe(source, values: values, hooks: Enum.random([[], [:commit, :wal, :rollback]]))

      {:ok, other} = Changes.subscribe(conn, tables: ["u"], demand: :manual, pending_bytes_max: 1)
      write(conn)
      LibsqlPort.transaction(conn, fn conn -> LibsqlPort.rollback(conn, write(conn)) end)
      :ok = Changes.unsubscribe(subscription)
      :ok = Changes.unsubscribe(other)
    end)
  end

  defp stream(context) do
    with_conn(context, fn conn ->
      reader = Task.async(fn -> conn |> Changes.stream(values: :new) |> Enum.take(2) end)
      write_until_ended(conn, reader)
    end)
  end

  defp write_until_ended(conn, reader) do
    write(conn)
    Task.yield(reader, 1) || write_until_ended(conn, reader)
  end

  defp subscriber_killed(context) do
    with_conn(context, fn conn ->
      test = self()

      {pid, monitor} =
        spawn_monitor(fn ->
          {:ok, _} = Changes.subscribe(conn, values: :new)
          send(test, :subscribed)
          Process.sleep(:infinity)
        end)

      receive do: (:subscribed -> :ok)
      write(conn)
      Process.exit(pid, :kill)
      receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
    end)
  end

  # With a statement, a cursor and a function that are open, and a transaction.
  defp owner_killed(context) do
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        {:ok, conn} = LibsqlPort.connect(context.sidecar, database: context.database)
        :ok = LibsqlPort.create_function(conn, "of_the_dead", 0, fn -> 1 end)
        {:ok, _} = LibsqlPort.prepare(conn, "SELECT of_the_dead()")
        {:ok, _} = LibsqlPort.Cursor.declare(conn, "SELECT * FROM t", [])
        LibsqlPort.query!(conn, "BEGIN")
        send(test, :opened)
        LibsqlPort.query(conn, endless(), [], timeout: :infinity)
      end)

    receive do: (:opened -> :ok)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  defp function_of_connection(context) do
    with_conn(context, fn conn ->
      :ok = LibsqlPort.create_function(conn, "twice", 1, &(&1 * 2), deterministic: true)
      {:ok, [14]} = LibsqlPort.query_one(conn, "SELECT twice(7)")
      # Another of that name takes its place; some are dropped, some go with their connection.
      :ok = LibsqlPort.create_function(conn, "twice", 1, &{:blob, <<&1>>})
      {:ok, [<<7>>]} = LibsqlPort.query_one(conn, "SELECT twice(7)")
      if :rand.uniform(2) == 1, do: {:ok, true} = LibsqlPort.drop_function(conn, "twice", 1)
    end)
  end

  defp function_of_sidecar(context) do
    name = "of_worker_#{context.worker}"
    :ok = LibsqlPort.create_function(context.sidecar, name, :any, fn values -> length(values) end)
    with_conn(context, fn conn -> {:ok, [3]} = LibsqlPort.query_one(conn, "SELECT #{name}(1, 2, 3)") end)
    {:ok, true} = LibsqlPort.drop_function(context.sidecar, name, :any)
  end

  defp functions_that_fail(context) do
    with_conn(context, fn conn ->
      :ok = LibsqlPort.create_function(conn, "raises", 0, fn -> raise "no" end)
      :ok = LibsqlPort.create_function(conn, "dies", 0, fn -> Process.exit(self(), :kill) end)
      :ok = LibsqlPort.create_function(conn, "hangs", 0, fn -> Process.sleep(:infinity) end, timeout: 5)
      for name <- ~w(raises dies hangs), do: {:error, _} = LibsqlPort.query(conn, "SELECT #{name}()")
      {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
    end)
  end

  defp table_function(context) do
    with_conn(context, fn conn ->
      rows = fn last ->
        Stream.resource(fn -> 1 end, &if(&1 > last, do: {:halt, &1}, else: {[[&1]], &1 + 1}), & &1)
      end

      :ok = LibsqlPort.create_table_function(conn, "numbers", parameters: [:last], columns: [:n], rows: rows)
      {:ok, [2_000]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM numbers(2000)")
      %{num_rows: 3} = LibsqlPort.query!(conn, "SELECT n FROM numbers(1000000) LIMIT 3")
    end)
  end

  defp collation(context) do
    with_conn(context, fn conn ->
      :ok = LibsqlPort.create_collation(conn, "backwards", key: &String.reverse/1)
      sql = "SELECT x FROM (SELECT 'ab' AS x UNION ALL SELECT 'ba') ORDER BY x COLLATE backwards"
      %{rows: [["ba"], ["ab"]]} = LibsqlPort.query!(conn, sql)
    end)
  end

  defp aggregate(context) do
    with_conn(context, fn conn ->
      :ok = LibsqlPort.create_aggregate(conn, "total_of", 1, start: 0, step: &(&1 + &2), inverse: &(&2 - &1))
      series = "SELECT value FROM generate_series(1, 3000)"
      {:ok, [4_501_500]} = LibsqlPort.query_one(conn, "SELECT total_of(value) FROM (#{series})")
      LibsqlPort.query!(conn, "SELECT total_of(value) OVER (ROWS 2 PRECEDING) FROM (#{series} LIMIT 20)")
      # Left in its midst.
      LibsqlPort.query(conn, "SELECT total_of(value) FROM generate_series(1, 100000000)", [], timeout: 5)
    end)
  end

  defp commit_hook(context) do
    with_conn(context, fn conn ->
      :ok = LibsqlPort.set_commit_hook(conn, fn _commit -> :ok end, values: :new)
      write(conn)
      insert = "INSERT INTO t (a) VALUES ('x')"

      for hook <- [fn _ -> false end, fn _ -> raise "no" end, fn _ -> Process.sleep(:infinity) end] do
        :ok = LibsqlPort.set_commit_hook(conn, hook, timeout: 5)
        {:error, %Error{}} = LibsqlPort.query(conn, insert)
      end

      if :rand.uniform(2) == 1, do: {:ok, true} = LibsqlPort.remove_commit_hook(conn)
    end)
  end

  defp policy(context) do
    rules = [:read_only, {:ignore, :read, table: "t", column: "a"}]
    policy = Enum.random([:read_only, :no_schema_changes, :untrusted_sql, rules])
    {:ok, conn} = LibsqlPort.connect(context.sidecar, database: context.database, policy: policy)
    {:ok, [_]} = LibsqlPort.query_one(conn, "SELECT count(a) FROM t")
    {:error, %Error{code: :not_authorized}} = LibsqlPort.query(conn, "CREATE TEMP TABLE x (a)")
    :ok = LibsqlPort.set_policy(conn, [{:deny, :function}, {:allow, :any}])
    {:error, %Error{code: :not_authorized}} = LibsqlPort.query(conn, "SELECT upper(a) FROM t")
    :ok = LibsqlPort.set_policy(conn, nil)
    write(conn)
    :ok = LibsqlPort.close(conn)
  end
end
