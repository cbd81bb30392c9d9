defmodule EctoLibSql.ServerLedgerTest do
  # Writers on a server that is killed, stopped, cut off and robbed, over and over. Each write gets a number, and a line in a ledger of
  # this VM's that says what its caller was told. In the end the ledger and the database are compared:
  #
  #   * what was acknowledged is there, exactly once, and whole
  #   * what failed is not there, but for what was called unknown
  #   * of a transaction, all is there or nothing, also for each reader meanwhile
  #
  # CHAOS_ROUNDS says how many faults there are, or as many as CHAOS_SECONDS allow (200 and 100 here, 2,000 and no end in `make chaos`).
  # CHAOS_SEED repeats their order; that of the processes nobody repeats.
  use ExUnit.Case, async: false

  alias EctoLibSql.Error
  alias LibsqlPort.{Proxy, Sqld}
  alias LibsqlPort.Sqld.{Http, Token}

  @moduletag :sqld
  @moduletag timeout: :infinity
  @moduletag :capture_log

  @rounds String.to_integer(System.get_env("CHAOS_ROUNDS", "200"))
  @seconds String.to_integer(System.get_env("CHAOS_SECONDS", "100"))
  @writers 6
  # Writes that have to be acknowledged after each fault, before the next one comes.
  @acknowledged 3
  @patience_ms 120_000
  # sqld takes the lock from one that has it for so long while others wait: 5 s, unless its administrator says otherwise. A transaction whose
  # connection broke between two statements has it until then.
  @theft_s 1
  # And ends a stream that is idle for 10 s.
  @expired_ms 11_000
  @timeout_ms 2_500

  test "every acknowledged commit is there exactly once, and nothing else but what is unknown" do
    seed = String.to_integer(System.get_env("CHAOS_SEED", "#{:rand.uniform(1_000_000)}"))
    :rand.seed(:exsss, seed)
    key = Token.key()
    server = Sqld.start!(jwt: key)
    theft = ~s({"block_reads":false,"block_writes":false,"txn_timeout_s":#{@theft_s}})
    {200, _} = Sqld.admin(server, "POST", "/v1/namespaces/default/config", theft)
    # It is read as the database is opened.
    :ok = Sqld.kill(server)
    :ok = Sqld.restart(server)
    proxy = Proxy.start!(server.http_port)
    world = world(server, proxy, key)
    direct = start_pool(uri: server.url, auth_token: Token.sign(key), pool_size: 1, timeout: 60_000)
    EctoLibSql.query!(direct, "CREATE TABLE ledger (id INTEGER NOT NULL, part TEXT NOT NULL)")

    workers =
      for(n <- 1..@writers, do: start_worker(fn -> write(world, n) end)) ++
        [start_worker(fn -> read(world) end), start_worker(fn -> tarry(world) end)]

    began = System.monotonic_time(:millisecond)
    faults = rounds(world, began + @seconds * 1_000)
    took = System.monotonic_time(:millisecond) - began
    Proxy.plan(proxy, :pass)
    :counters.put(world.stop, 1, 1)

    for {pid, monitor} <- workers,
        do: assert_receive({:DOWN, ^monitor, :process, ^pid, :normal}, @patience_ms)

    stored = EctoLibSql.query!(direct, "SELECT id, part FROM ledger").rows
    summary = compared(world, Enum.group_by(stored, &hd/1, &List.last/1))

    IO.puts("""
    #{length(faults)} faults in #{div(took, 1_000)} s, seed #{seed}: #{inspect(durations(faults))}
    #{inspect(summary, limit: :infinity)}
    """)

    assert summary.acknowledged >= length(faults) * @acknowledged
    assert summary.reads > 0
  end

  # How often, and how long (ms) it took until writes were acknowledged again.
  defp durations(faults) do
    for {name, times} <- Enum.group_by(faults, &elem(&1, 0), &elem(&1, 1)),
        do: {name, length(times), div(Enum.sum(times), length(times))}
  end

  # --- the world ------------------------------------------------------------------------------------------------

  defp world(server, proxy, key) do
    ledger = :ets.new(:ledger, [:public, :set, write_concurrency: true])

    # One token of ten is none any more: it is refused, and asked for again.
    token = fn ->
      {:ok, Token.sign(key, expires_in: if(:rand.uniform(10) == 1, do: -120, else: 60)), 2_000}
    end

    options = [
      uri: proxy.url,
      auth_token: token,
      pool_size: @writers,
      timeout: @timeout_ms,
      server_connect_timeout: 1_000,
      backoff_min: 10,
      backoff_max: 200,
      queue_target: 60_000,
      queue_interval: 60_000
    ]

    %{
      server: server,
      proxy: proxy,
      ledger: ledger,
      stop: :counters.new(1, []),
      acknowledged: :counters.new(1, []),
      reads: :counters.new(1, []),
      db: start_pool(options),
      # One who is slow waits with a connection of its own.
      slow: start_pool([pool_size: 2, timeout: 60_000] ++ Keyword.drop(options, [:pool_size, :timeout]))
    }
  end

  defp start_pool(options), do: start_supervised!({EctoLibSql, options}, id: make_ref())

  defp start_worker(fun), do: spawn_monitor(fun)

  defp stopped?(world), do: :counters.get(world.stop, 1) == 1

  # No two writes have the same, in whatever process.
  defp next_id(_world), do: System.unique_integer([:positive, :monotonic])

  # --- writers --------------------------------------------------------------------------------------------------

  defp write(world, n) do
    unless stopped?(world) do
      id = next_id(world)
      kind = Enum.random([:single, :single, :returning, :transaction, :transaction, :again, :given_up])
      note(world, id, kind, told(fn -> write(kind, world.db, id) end))
      write(world, n)
    end
  end

  defp write(:single, db, id), do: insert(db, id, "single")

  defp write(:returning, db, id) do
    with {:ok, %{rows: [[^id]]}} <-
           EctoLibSql.query(db, "INSERT INTO ledger VALUES (?, 'returning') RETURNING id", [id]),
         do: :acknowledged
  end

  defp write(:transaction, db, id), do: db |> EctoLibSql.transaction(&both(&1, id)) |> committed()

  # Run again if it took no effect; each attempt writes the same.
  defp write(:again, db, id), do: db |> EctoLibSql.transaction_with_retry(&both(&1, id)) |> committed()

  defp write(:given_up, db, id) do
    rolled_back =
      EctoLibSql.transaction(db, fn conn ->
        both(conn, id)
        EctoLibSql.rollback(conn, :given_up)
      end)

    case rolled_back do
      {:error, :given_up} -> :rolled_back
      other -> other
    end
  end

  defp both(conn, id) do
    EctoLibSql.query!(conn, "INSERT INTO ledger VALUES (?, 'a')", [id])
    EctoLibSql.query!(conn, "INSERT INTO ledger VALUES (?, 'b')", [id])
  end

  defp insert(db, id, part) do
    with {:ok, %{num_rows: 1}} <- EctoLibSql.query(db, "INSERT INTO ledger VALUES (?, ?)", [id, part]),
         do: :acknowledged
  end

  defp committed({:ok, _}), do: :acknowledged
  defp committed(other), do: other

  # One who keeps the lock until it is stolen, or keeps a transaction until its stream has expired.
  defp tarry(world) do
    unless stopped?(world) do
      id = next_id(world)

      told =
        told(fn ->
          world.slow
          |> EctoLibSql.transaction(fn conn ->
            EctoLibSql.query!(conn, "INSERT INTO ledger VALUES (?, 'a')", [id])
            Process.sleep(Enum.random([@theft_s * 1_500, @theft_s * 1_500, @expired_ms]))
            EctoLibSql.query!(conn, "INSERT INTO ledger VALUES (?, 'b')", [id])
          end)
          |> committed()
        end)

      note(world, id, :slow, told)
      # Others have to come through between.
      rest(world, @theft_s * 12_000)
      tarry(world)
    end
  end

  defp rest(world, ms) do
    if ms > 0 and not stopped?(world) do
      Process.sleep(100)
      rest(world, ms - 100)
    end
  end

  # What the caller was told: `:acknowledged`, `:rolled_back`, or the code of an error.
  defp told(fun) do
    case fun.() do
      told when is_atom(told) -> told
      {:error, error} -> code(error)
    end
  rescue
    error in [Error, DBConnection.ConnectionError] -> code(error)
  end

  defp code(%Error{code: code}), do: code
  defp code(%DBConnection.ConnectionError{reason: reason}), do: reason

  defp note(world, id, kind, told) do
    :ets.insert(world.ledger, {id, kind, told})
    if told == :acknowledged, do: :counters.add(world.acknowledged, 1, 1)
  end

  # --- readers --------------------------------------------------------------------------------------------------

  # The halves of all transactions that are committed at one moment are as many.
  defp read(world) do
    unless stopped?(world) do
      sql = "SELECT count(*) FILTER (WHERE part = 'a'), count(*) FILTER (WHERE part = 'b') FROM ledger"

      case EctoLibSql.query(world.db, sql) do
        {:ok, %{rows: [[halves, others]]}} ->
          if halves != others, do: exit({:half, halves, others})
          :counters.add(world.reads, 1, 1)

        {:error, _unavailable} ->
          :ok
      end

      read(world)
    end
  end

  # --- faults ---------------------------------------------------------------------------------------------------

  @faults [cut: 10, refuse: 3, blackhole: 3, delay: 2, pause: 4, kill: 4, stop: 1]

  defp rounds(world, until) do
    1..@rounds
    |> Stream.take_while(fn round -> round == 1 or System.monotonic_time(:millisecond) < until end)
    |> Enum.map(&round(world, &1))
  end

  defp round(world, round) do
    name = chosen(:rand.uniform(@faults |> Keyword.values() |> Enum.sum()), @faults)
    before = :counters.get(world.acknowledged, 1)
    began = System.monotonic_time(:millisecond)
    fault(name, world)
    goes_on(world, before, round, name, began + @patience_ms)
    {name, System.monotonic_time(:millisecond) - began}
  end

  defp chosen(number, [{name, weight} | _]) when number <= weight, do: name
  defp chosen(number, [{_name, weight} | rest]), do: chosen(number - weight, rest)

  # An answer has some hundred bytes: of those that are cut off, some are to statements that have been committed.
  defp fault(:cut, world) do
    for _ <- 1..5 do
      :ok =
        Proxy.plan(
          world.proxy,
          {:cut, Enum.random([:to_server, :to_client, :to_client]), :rand.uniform(1_000)}
        )

      Process.sleep(20)
    end
  end

  defp fault(:refuse, world), do: for_a_while(world, :refuse)
  defp fault(:blackhole, world), do: for_a_while(world, :blackhole)
  defp fault(:delay, world), do: for_a_while(world, {:delay, 20})

  defp fault(:pause, world) do
    :ok = Sqld.pause(world.server)
    a_while()
    :ok = Sqld.resume(world.server)
  end

  defp fault(:kill, world) do
    :ok = Sqld.kill(world.server)
    a_while()
    :ok = Sqld.restart(world.server)
  end

  defp fault(:stop, world) do
    :ok = Sqld.stop(world.server)
    :ok = Sqld.restart(world.server)
  end

  defp for_a_while(world, plan) do
    :ok = Proxy.plan(world.proxy, plan)
    a_while()
    # What stood open in it is broken off.
    if plan == :blackhole, do: Proxy.plan(world.proxy, :refuse)
    :ok = Proxy.plan(world.proxy, :pass)
  end

  defp a_while, do: Process.sleep(:rand.uniform(150))

  defp goes_on(world, before, round, fault, deadline) do
    cond do
      :counters.get(world.acknowledged, 1) >= before + @acknowledged ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        health = Http.request(world.server.http_port, "GET", "/health")

        flunk(
          "nothing is acknowledged after round #{round}, #{fault}: #{inspect(health)}\n#{Sqld.log(world.server)}"
        )

      true ->
        Process.sleep(5)
        goes_on(world, before, round, fault, deadline)
    end
  end

  # --- the comparison -------------------------------------------------------------------------------------------

  @whole %{
    single: ["single"],
    returning: ["returning"],
    transaction: ["a", "b"],
    again: ["a", "b"],
    slow: ["a", "b"],
    given_up: []
  }
  @unknown [:outcome_unknown]

  defp compared(world, stored) do
    lines = :ets.tab2list(world.ledger)
    wrong = Enum.filter(lines, fn {id, kind, told} -> not right?(told, kind, Enum.sort(stored[id] || [])) end)
    nobodys = Map.keys(stored) -- Enum.map(lines, &elem(&1, 0))
    assert {wrong, nobodys} == {[], []}, explained(wrong, nobodys, stored)

    unknown = for {id, _kind, told} <- lines, told in @unknown, do: is_map_key(stored, id)

    %{
      acknowledged: Enum.count(lines, &(elem(&1, 2) == :acknowledged)),
      reads: :counters.get(world.reads, 1),
      unknown_there: Enum.count(unknown, & &1),
      unknown_not_there: Enum.count(unknown, &(not &1)),
      told: Enum.frequencies_by(lines, &elem(&1, 2)),
      slow: for({_id, :slow, told} <- lines, do: told) |> Enum.frequencies()
    }
  end

  defp right?(:acknowledged, kind, there), do: there == @whole[kind]
  defp right?(told, kind, there) when told in @unknown, do: there == [] or there == @whole[kind]
  defp right?(_failed, _kind, there), do: there == []

  defp explained(wrong, nobodys, stored) do
    lines =
      for {id, kind, told} <- wrong, do: "#{kind} #{id} was told #{told}, and there is #{inspect(stored[id])}"

    Enum.join(["Ledger and database differ.", "Of nobody: #{inspect(nobodys)}" | lines], "\n")
  end
end
