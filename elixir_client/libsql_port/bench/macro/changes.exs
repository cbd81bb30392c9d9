defmodule Bench.Changes do
  # The works of bench/changes.exs. Limits: what a subscriber may cost a writer; none for old and new values together, and none for
  # deletions without WHERE, which a subscriber makes go row by row.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @columns "(id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty TEXT, bytes BLOB)"
  @insert "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)"
  @keys 1.15
  # A work that takes less has so many times the rounds.
  @short_us 20_000
  @rounds_of_short 5
  # Against the program before, where nobody listens.
  @nobody 1.02
  @arms [elsewhere: :elsewhere, keys: :none, new: :new, old_and_new: :old_and_new]

  def run(directory, quick?, before) do
    {rounds, singles, rows} = if quick?, do: {3, 50, 1_000}, else: {21, 1_000, 10_000}
    works = works(singles, rows)
    conn = start(directory, "changes.db", [])
    listened = Enum.flat_map(works, &listened(conn, &1, rounds))

    nobody =
      if before, do: nobody(conn, start(directory, "before.db", executable: before), works, rounds), else: []

    nobody ++ listened
  end

  defp start(directory, name, options) do
    {:ok, sidecar} = LibsqlPort.start_link(options)
    options = [database: Path.join(directory, name), checkpoint_pages: 0, checkpoint_idle: 0]
    {:ok, conn} = LibsqlPort.connect(sidecar, options)

    LibsqlPort.script!(
      conn,
      "CREATE TABLE t #{@columns}; CREATE TABLE w (id INTEGER PRIMARY KEY, short TEXT, value REAL) WITHOUT ROWID"
    )

    conn
  end

  # `{name, the most that new values may cost, what comes before, what is measured}`.
  defp works(singles, rows) do
    inserts = for id <- 1..rows, do: {@insert, row(id)}
    replaces = for id <- 1..rows, do: {"REPLACE INTO w VALUES (?, ?, ?)", Enum.take(row(id), 3)}

    full = fn conn ->
      empty(conn)
      batch(conn, inserts)
    end

    [
      {"#{singles} single inserts", 1.2, &empty/1,
       fn conn -> for id <- 1..singles, do: LibsqlPort.query!(conn, @insert, row(id)) end},
      {"batch of #{rows} inserts", 1.6, &empty/1, &batch(&1, inserts)},
      {"UPDATE of #{rows} rows", 1.6, full, &LibsqlPort.query!(&1, "UPDATE t SET value = value + 1")},
      {"batch of #{rows} REPLACE, WITHOUT ROWID", 1.6,
       fn conn ->
         empty(conn)
         batch(conn, replaces)
       end, &batch(&1, replaces)},
      {"DELETE of #{rows} rows, no WHERE", nil, full, &LibsqlPort.query!(&1, "DELETE FROM t")}
    ]
  end

  # Six columns, mixed: integer, text of 20, float, text of 50, NULL, blob of 32.
  defp row(id) do
    text = fn length -> id |> Integer.to_string() |> String.pad_leading(length, "abcdefghij") end
    [id, text.(20), id / 7, text.(50), nil, {:blob, <<id::256>>}]
  end

  defp empty(conn),
    do: LibsqlPort.script!(conn, "DELETE FROM t; DELETE FROM w; PRAGMA wal_checkpoint(truncate)")

  defp batch(conn, statements), do: {:ok, _} = LibsqlPort.batch(conn, statements, atomic: true)

  # --- with a subscriber ----------------------------------------------------------------------------------------

  defp listened(conn, {name, limit, _before, _measured} = work, rounds) do
    IO.puts("measuring: #{name}")
    arms = for {_arm, values} <- @arms, do: fn -> with_subscriber(conn, values, work) end
    rounds = rounds(rounds, fn -> taken(conn, work) end)
    [elsewhere, keys, new, both] = Statistics.in_pairs(rounds, fn -> taken(conn, work) end, arms)

    [
      Report.paired("#{name}: keys of another table", nil, elsewhere, &Report.ms/1),
      Report.paired("#{name}: keys", limit && @keys, keys, &Report.ms/1),
      Report.paired("#{name}: new values", limit, new, &Report.ms/1),
      Report.paired("#{name}: old and new values", nil, both, &Report.ms/1)
    ]
  end

  # A round of a few milliseconds is at the mercy of whatever else the machine does meanwhile: more of them.
  defp rounds(rounds, work) do
    work.()
    if work.() < @short_us, do: rounds * @rounds_of_short, else: rounds
  end

  defp with_subscriber(conn, values, work) do
    sink = spawn_link(&sink/0)
    # What the engine does for its hook alone, whatever becomes of it: the floor of the rows after it.
    terms = if values == :elsewhere, do: [tables: ["elsewhere"]], else: [values: values]
    options = [subscriber: sink, pending_bytes_max: 1_073_741_824] ++ terms
    {:ok, subscription} = LibsqlPort.Changes.subscribe(conn, options)
    taken = taken(conn, work)
    :ok = LibsqlPort.Changes.unsubscribe(subscription)
    Process.unlink(sink)
    Process.exit(sink, :kill)
    taken
  end

  defp sink do
    receive do
      _message -> sink()
    end
  end

  defp taken(conn, {_name, _limit, before, measured}) do
    before.(conn)

    # Statements are compiled anew when the first subscriber comes and the last one goes: that is not what is measured.
    LibsqlPort.query!(conn, "INSERT INTO t (id) VALUES (-1)")
    LibsqlPort.query!(conn, "DELETE FROM t WHERE id = -1")
    Statistics.time(fn -> measured.(conn) end)
  end

  # --- with none, beside another program ------------------------------------------------------------------------

  defp nobody(conn, before, works, rounds) do
    for {name, limit, _, _} = work <- works, limit != nil do
      IO.puts("measuring: #{name}, nobody listens")
      rounds = rounds(rounds, fn -> taken(conn, work) end)
      [pairs] = Statistics.in_pairs(rounds, fn -> taken(before, work) end, [fn -> taken(conn, work) end])
      Report.paired("#{name}: nobody, beside the program before", @nobody, pairs, &Report.ms/1)
    end
  end
end
