defmodule LibsqlPort.ChangesPropertyTest do
  # Random programs of several writers, a subscriber, and kills of the sidecar, of its port's owner and of the subscriber. Triggers note each change of a row
  # in the table `audit`, within the transaction that makes it: this is what the feed is compared with.
  #
  #   * What is told is what was committed: the changes of a message are those that `audit` has for its transaction.
  #   * Nothing is left out in silence: the numbers of `audit` go on from message to message, but for where a message says `:resync`.
  #   * Nothing is told twice or out of order, kills or not.
  #   * New values that are applied to a copy give the tables; after a `:resync` the copy is read anew, and what was read already is
  #     applied again.
  #
  # CHANGES_ROUNDS=500 for a long run, and CHANGES_SEED to repeat one.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.{Changes, Cursor}
  alias LibsqlPort.Changes.Ended

  @moduletag :faults
  @moduletag timeout: 600_000
  @moduletag sidecar_options: [max_restarts: 1_000, backoff_min: 1]

  @rounds 14
  @enough_s 15
  @writers 3
  @columns %{"t" => ~w(id v u s r), "c" => ~w(id t v), "w" => ~w(k v u), "fence" => ~w(id)}
  @keys %{"t" => "id", "c" => "id", "w" => "k", "fence" => "id"}
  @audited ~w(t c w)

  @schema """
  CREATE TABLE t(id INTEGER PRIMARY KEY, v, u UNIQUE, g AS (v + 1) VIRTUAL, s AS (u * 2) STORED, r REAL DEFAULT 1);
  CREATE TABLE c(id INTEGER PRIMARY KEY,
                 t REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED, v);
  CREATE TABLE w(k TEXT PRIMARY KEY, v, u UNIQUE) WITHOUT ROWID;
  CREATE TABLE fence(id INTEGER PRIMARY KEY);
  CREATE TABLE audit(number INTEGER PRIMARY KEY AUTOINCREMENT, tab, op, key, old_key, v);
  CREATE TRIGGER raise_abort BEFORE INSERT ON t WHEN new.v = 90 BEGIN SELECT RAISE(ABORT, 'no'); END;
  CREATE TRIGGER raise_fail AFTER INSERT ON t WHEN new.v = 91 BEGIN SELECT RAISE(FAIL, 'no'); END;
  CREATE TRIGGER raise_ignore BEFORE UPDATE ON t WHEN new.v = 92 BEGIN SELECT RAISE(IGNORE); END;
  CREATE TRIGGER raise_rollback AFTER UPDATE ON t WHEN new.v = 93 BEGIN SELECT RAISE(ROLLBACK, 'no'); END;
  CREATE TRIGGER copies AFTER INSERT ON t WHEN new.v > 60
    BEGIN INSERT OR IGNORE INTO w VALUES ('t' || new.id, new.v, NULL); END;
  CREATE TRIGGER counts AFTER DELETE ON t BEGIN UPDATE w SET v = coalesce(v, 0) + 1 WHERE k < 'k3'; END;
  """

  defp audits do
    for table <- @audited, key = @keys[table], into: "" do
      note = fn op, key, old_key, v ->
        "BEGIN INSERT INTO audit(tab, op, key, old_key, v) VALUES ('#{table}', '#{op}', #{key}, #{old_key}, #{v}); END;\n"
      end

      "CREATE TRIGGER audit_i_#{table} AFTER INSERT ON #{table} #{note.("insert", "new.#{key}", "new.#{key}", "new.v")}" <>
        "CREATE TRIGGER audit_u_#{table} AFTER UPDATE ON #{table} #{note.("update", "new.#{key}", "old.#{key}", "new.v")}" <>
        "CREATE TRIGGER audit_d_#{table} AFTER DELETE ON #{table} #{note.("delete", "old.#{key}", "old.#{key}", "NULL")}"
    end
  end

  test "the feed is what triggers note, and a copy of the tables, under kills of the sidecar and of subscribers",
       context do
    rounds = number("CHANGES_ROUNDS", @rounds)
    started = System.monotonic_time(:second)
    seed = number("CHANGES_SEED", ExUnit.configuration()[:seed])
    :rand.seed(:exsss, {seed, 0, 0})
    LibsqlPort.script!(context.conn, @schema <> audits())
    context = Map.merge(context, %{name: context.conn.path, seed: seed})
    :ok = LibsqlPort.close(context.conn)

    seen =
      Enum.reduce_while(1..rounds, %{messages: 0, gaps: %{}}, fn round, seen ->
        # On a busy machine fewer rounds, but each kind of kill.
        late? = round > 7 and System.monotonic_time(:second) - started > @enough_s and rounds == @rounds
        if late?, do: {:halt, seen}, else: {:cont, add(seen, round(context, round))}
      end)

    # The test has met what it is about.
    assert seen.messages > 7

    for reason <- [:restarted, :lagged],
        do: assert(seen.gaps[reason] > 0, "no gap #{inspect(reason)}: #{inspect(seen)}")
  end

  defp number(name, default), do: String.to_integer(System.get_env(name) || "#{default}")

  defp add(seen, {messages, gaps}) do
    %{messages: seen.messages + messages, gaps: Map.merge(seen.gaps, gaps, fn _, a, b -> a + b end)}
  end

  # --- a round --------------------------------------------------------------------------------------------------

  defp round(context, round) do
    label = "seed #{context.seed}, round #{round}"
    slow? = rem(round, 3) == 0
    mirror = start_mirror(context, slow?)
    next = audit_end(context) + 1
    writers = for writer <- 1..@writers, do: start_writer(context, {context.seed, round, writer})
    await_told(mirror, :rand.uniform(60))

    # Who is killed, and in the midst of what, is for chance to say.
    {mirror, next} =
      case rem(round, 7) do
        victim when victim in [1, 3, 5, 6] ->
          if victim == 6, do: kill_owner(context), else: kill_sidecar(context)
          # The writers go on with the next program.
          await_told(mirror, :rand.uniform(20))
          {mirror, next}

        4 ->
          report = report(mirror)
          Process.exit(mirror, :kill)
          assert_receive {:DOWN, _, _, ^mirror, :killed}, 60_000
          check_items(report.items, next, audit(context), label)
          # It knows nothing of what comes before it.
          mirror = start_mirror(context, slow?)
          await_told(mirror, :rand.uniform(20))
          {mirror, {:after_gap, 1}}

        _nobody ->
          {mirror, next}
      end

    for writer <- writers, do: send(writer, :stop)
    for writer <- writers, do: assert_receive({:stopped, ^writer}, 120_000)
    with_conn(context, &LibsqlPort.query(&1, "INSERT OR IGNORE INTO fence VALUES (?)", [round]))
    send(mirror, {:until, round})

    :fenced = answer_of(mirror)

    report = report(mirror)
    send(mirror, :stop)

    audit = audit(context)
    left = check_items(report.items, next, audit, label)
    last = audit |> Map.keys() |> Enum.max(fn -> 0 end)

    case left do
      {:after_gap, _} -> :ok
      number -> assert number == last + 1, "#{label}: #{number} to #{last} of the audit were not told"
    end

    tables = with_conn(context, &read/1)
    assert report.copy === tables, "#{label}: the copy differs: #{inspect(difference(report.copy, tables))}"
    reasons = for {:gap, reason} <- report.items, do: reason
    {length(report.items), Enum.frequencies(reasons)}
  end

  defp difference(copy, tables) do
    {Map.reject(copy, fn {key, row} -> tables[key] === row end),
     Map.reject(tables, fn {key, row} -> copy[key] === row end)}
  end

  # Goes through what the subscriber was told. `next` is the number of the audit that has to come: exactly, or, after a gap,
  # at least. Returns what has to come after it.
  defp check_items(items, next, audit, label) do
    Enum.reduce(items, next, fn
      {:gap, _reason}, {:after_gap, number} -> {:after_gap, number}
      {:gap, _reason}, number -> {:after_gap, number}
      {:message, numbers, changes}, next -> check_message(numbers, changes, next, audit, label)
    end)
  end

  defp check_message([], changes, next, _audit, label) do
    assert changes == [], "#{label}: changes without a note: #{inspect(changes)}"
    next
  end

  defp check_message(numbers, changes, next, audit, label) do
    {first, last} = Enum.min_max(numbers)
    assert Enum.sort(numbers) == Enum.to_list(first..last), "#{label}: #{inspect(numbers)}"

    case next do
      {:after_gap, least} -> assert first >= least, "#{label}: #{first} was told before"
      number -> assert first == number, "#{label}: after #{number - 1} came #{first}, and no word of a gap"
    end

    noted = for number <- numbers, do: Map.get(audit, number)

    assert Enum.sort(changes) == Enum.sort(noted),
           "#{label}: told #{inspect(changes)}, noted #{inspect(noted)}"

    last + 1
  end

  defp audit(context) do
    rows =
      with_conn(context, &LibsqlPort.query!(&1, "SELECT number, tab, op, key, old_key, v FROM audit").rows)

    Map.new(rows, fn [number | note] -> {number, List.to_tuple(note)} end)
  end

  defp audit_end(context) do
    with_conn(context, fn conn ->
      {:ok, [last]} = LibsqlPort.query_one(conn, "SELECT coalesce(max(number), 0) FROM audit")
      last
    end)
  end

  # --- the subscriber -------------------------------------------------------------------------------------------

  defp start_mirror(context, slow?) do
    test = self()
    options = [tables: Map.keys(@columns) ++ ["audit"], values: :new]
    # One that is slow asks for one message at a time, and has room for little more: it lags.
    options = if slow?, do: options ++ [demand: :manual, pending_bytes_max: pick([1, 1_000])], else: options
    source = if :rand.uniform(2) == 1, do: context.sidecar, else: {:database, context.sidecar, context.name}

    # Its end would be that of the feed.
    {pid, _monitor} =
      spawn_monitor(fn ->
        {:ok, subscription} = Changes.subscribe(source, options)
        if slow?, do: Changes.demand(subscription)
        # Subscribed first and read after: what is told of before is applied once more.
        copy = with_conn(context, &read/1)
        send(test, {:mirror, self(), :subscribed})

        mirror(%{
          test: test,
          context: context,
          subscription: subscription,
          slow?: slow?,
          copy: copy,
          items: [],
          told: 0,
          await: nil,
          fence: nil,
          sequence: 0
        })
      end)

    :subscribed = answer_of(pid)
    pid
  end

  defp await_told(mirror, count) do
    send(mirror, {:await, count})
    :told = answer_of(mirror)
  end

  defp report(mirror) do
    send(mirror, :report)
    answer_of(mirror)
  end

  defp answer_of(mirror) do
    receive do
      {:mirror, ^mirror, answer} -> answer
      {:DOWN, _, _, ^mirror, reason} -> flunk("the subscriber ended: #{inspect(reason)}")
    after
      120_000 -> flunk("the subscriber was told nothing more")
    end
  end

  defp mirror(%{test: test, subscription: subscription} = state) do
    receive do
      %Changes{subscription: ^subscription} = message ->
        state = take(message, state)
        if state.slow?, do: Changes.demand(subscription)
        mirror(answer(%{state | told: state.told + 1}))

      %Ended{subscription: ^subscription, error: error} ->
        exit(error)

      {:await, count} ->
        mirror(answer(%{state | await: state.told + count}))

      {:until, fence} ->
        mirror(answer(%{state | fence: fence}))

      :report ->
        send(test, {:mirror, self(), %{items: Enum.reverse(state.items), copy: state.copy}})
        mirror(state)

      :stop ->
        Changes.unsubscribe(subscription)
    end
  end

  defp answer(%{await: await, told: told} = state) when await != nil and told >= await do
    send(state.test, {:mirror, self(), :told})
    answer(%{state | await: nil})
  end

  defp answer(%{fence: fence, copy: copy} = state) when is_map_key(copy, {"fence", fence}) do
    send(state.test, {:mirror, self(), :fenced})
    %{state | fence: nil}
  end

  defp answer(state), do: state

  defp take(%{changes: [%{operation: :resync, reason: reason} = gap]}, state) do
    if reason == :lagged, do: true = gap.from <= gap.to and gap.from > state.sequence
    %{state | copy: with_conn(state.context, &read/1), items: [{:gap, reason} | state.items], sequence: 0}
  end

  defp take(%{changes: changes, sequence: sequence}, state) do
    true = sequence > state.sequence
    {notes, rows} = Enum.split_with(changes, &(&1.table == "audit"))
    copy = Enum.reduce(rows, state.copy, &replay/2)
    told = for row <- rows, row.table in @audited, do: told(row)
    message = {:message, Enum.map(notes, & &1.rowid), told}
    %{state | copy: copy, items: [message | state.items], sequence: sequence}
  end

  defp replay(%{operation: :delete, table: table, key: key}, copy),
    do: Map.delete(copy, {table, key[@keys[table]]})

  defp replay(%{table: table, key: key, old_key: old_key, new: new}, copy) do
    copy |> Map.delete(old_key && {table, old_key[@keys[table]]}) |> Map.put({table, key[@keys[table]]}, new)
  end

  defp told(%{operation: operation, table: table, key: key, old_key: old_key, new: new}) do
    column = @keys[table]
    {table, Atom.to_string(operation), key[column], (old_key || key)[column], new && new["v"]}
  end

  defp read(conn) do
    {:ok, copy} =
      LibsqlPort.transaction(conn, fn conn ->
        for {table, columns} <- @columns, row <- rows(conn, table, columns), into: %{} do
          {{table, row[@keys[table]]}, row}
        end
      end)

    copy
  end

  defp rows(conn, table, columns) do
    rows = LibsqlPort.query!(conn, "SELECT #{Enum.join(columns, ", ")} FROM #{table}").rows
    Enum.map(rows, &Map.new(Enum.zip(columns, &1)))
  end

  # With a connection of its own, and once more if the sidecar is killed meanwhile.
  defp with_conn(context, fun) do
    {:ok, conn} = connect(context)

    try do
      fun.(conn)
    rescue
      _killed in [Error, MatchError] -> :again
    else
      {:error, %Error{code: code}} when code in [:sidecar_down, :not_sent, :outcome_unknown] -> :again
      answer -> {:done, answer}
    after
      LibsqlPort.close(conn)
    end
    |> case do
      {:done, answer} -> answer
      :again -> with_conn(context, fun)
    end
  end

  defp connect(context) do
    case LibsqlPort.connect(context.sidecar, database: context.database, connect_timeout: 60_000) do
      {:ok, conn} -> {:ok, conn}
      {:error, %Error{code: code}} when code in [:sidecar_down, :outcome_unknown] -> connect(context)
    end
  end

  defp kill_sidecar(context) do
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(context.sidecar)
    {_, 0} = System.cmd("kill", ["-KILL", "#{os_pid}"])
  end

  # The process that owns the port: the program ends with it, and its supervisor starts both.
  defp kill_owner(context) do
    {:ok, handle} = LibsqlPort.Supervisor.handle(context.sidecar, :infinity)
    Process.exit(handle.sidecar, :kill)
  end

  # --- writers --------------------------------------------------------------------------------------------------

  defp start_writer(context, seed) do
    test = self()

    spawn_link(fn ->
      :rand.seed(:exsss, seed)
      write(context, nil)
      send(test, {:stopped, self()})
    end)
  end

  defp write(context, nil) do
    {:ok, conn} = connect(context)

    case LibsqlPort.query(conn, "PRAGMA recursive_triggers = 1") do
      {:ok, _} -> write(context, conn)
      {:error, _} -> write(context, nil)
    end
  end

  defp write(context, conn) do
    receive do
      :stop -> LibsqlPort.close(conn)
    after
      0 ->
        case act(conn) do
          {:error, %Error{code: code}} when code in [:sidecar_down, :not_sent, :outcome_unknown] ->
            LibsqlPort.close(conn)
            write(context, nil)

          _whatever ->
            write(context, conn)
        end
    end
  end

  defp act(conn) do
    case :rand.uniform(12) do
      1 ->
        LibsqlPort.batch(conn, for(_ <- 1..3, do: change()), atomic: :rand.uniform(2) == 1)

      2 ->
        LibsqlPort.transaction(conn, fn conn ->
          for _ <- 1..:rand.uniform(4), do: LibsqlPort.query(conn, change())
          if :rand.uniform(2) == 1, do: LibsqlPort.rollback(conn, :no)
        end)

      3 ->
        half_read(conn, change() <> " RETURNING 1")

      4 ->
        # Stopped in its midst, which ends the transaction.
        LibsqlPort.query(
          conn,
          "INSERT INTO t(id, v) WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n) SELECT i, 1 FROM n",
          [],
          timeout: 2
        )

      5 ->
        LibsqlPort.script(
          conn,
          "SAVEPOINT s; #{change()}; SAVEPOINT s; #{change()}; #{pick(["ROLLBACK TO s", "RELEASE s"])}; RELEASE s"
        )

      _ ->
        LibsqlPort.query(conn, statement())
    end
  end

  defp half_read(conn, sql) do
    with {:ok, cursor} <- Cursor.declare(conn, sql, [], live: :rand.uniform(2) == 1) do
      Cursor.fetch(conn, cursor, chunk_rows: 1)
      if :rand.uniform(2) == 1, do: LibsqlPort.query(conn, change())
      Cursor.close(conn, cursor)
    end
  end

  defp statement do
    name = pick(~w(a b A c))

    case :rand.uniform(30) do
      n when n in 1..3 -> pick(["BEGIN", "BEGIN IMMEDIATE"])
      n when n in 4..8 -> "COMMIT"
      9 -> "ROLLBACK"
      n when n in 10..12 -> "SAVEPOINT #{name}"
      n when n in 13..14 -> "RELEASE #{name}"
      n when n in 15..16 -> "ROLLBACK TO #{name}"
      _ -> change()
    end
  end

  defp change do
    case :rand.uniform(20) do
      n when n in 1..5 ->
        "INSERT #{either()} INTO t(id, v, u, r) VALUES #{rows(fn -> "(#{id()}, #{v()}, #{id()}, #{v()})" end)}"

      n when n in 6..7 ->
        "INSERT #{either()} INTO c VALUES #{rows(fn -> "(#{id()}, #{id()}, #{v()})" end)}"

      n when n in 8..10 ->
        "INSERT #{either()} INTO w VALUES #{rows(fn -> "('k#{id()}', #{v()}, #{id()})" end)}"

      11 ->
        "UPDATE #{either()} t SET v = #{v()}, u = u + 1 WHERE id > #{id()}"

      12 ->
        "UPDATE #{either()} t SET id = id + #{:rand.uniform(3) - 1} WHERE id < #{id()}"

      13 ->
        "UPDATE #{either()} w SET k = 'k' || #{id()}, v = #{v()} WHERE k > 'k#{id()}'"

      14 ->
        "UPDATE c SET v = #{v()} WHERE t = #{id()}"

      15 ->
        "DELETE FROM t WHERE id > #{id()}"

      16 ->
        pick(["DELETE FROM t", "DELETE FROM w", "DELETE FROM c"])

      17 ->
        "INSERT INTO t(id, v, u) VALUES (#{id()}, #{v()}, #{id()}) ON CONFLICT DO UPDATE SET v = excluded.v + 1"

      18 ->
        "INSERT #{either()} INTO w SELECT 'c' || id, v, NULL FROM c WHERE true"

      19 ->
        "INSERT INTO t(id, v) SELECT id + 1, abs(-9223372036854775808 + (id < #{id()})) FROM t"

      20 ->
        "REPLACE INTO t(id, v, u) SELECT id, v + 1, u FROM t WHERE true"
    end
  end

  defp either, do: pick(["", "", "OR ABORT", "OR FAIL", "OR IGNORE", "OR REPLACE", "OR ROLLBACK"])
  defp rows(row), do: Enum.map_join(1..:rand.uniform(3), ", ", fn _ -> row.() end)
  defp id, do: :rand.uniform(8)
  defp v, do: :rand.uniform(100) - 1
  defp pick(choices), do: Enum.random(choices)
end
