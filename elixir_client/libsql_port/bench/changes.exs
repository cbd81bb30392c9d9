# What a subscriber to changes costs those who write: `BENCH_ONLY=changes make bench`.
#
# Goal: each work with one subscriber as a ratio to the same work with none, end to end through the driver.
# Fixed: one machine, one VM, one sidecar with its defaults, a WAL file in a temporary directory, six columns, one connection.
# Varied: who listens (nobody, keys alone, new values, old and new values) and the work.
# Method: the arms take turns, round by round, so that a neighbour's load meets all of them; a round's ratio is that to the round of
# nobody beside it. A row shows the median of the ratios, the best and the worst. The subscriber's process takes all messages and
# drops them; a round ends when the writer has its last reply. One round more comes first and is not counted.
#
#   changes.exs DIRECTORY     BENCH_QUICK=1: fewer rounds, smaller ones
Logger.configure(level: :error)
[directory] = System.argv()
quick? = System.get_env("BENCH_QUICK") not in [nil, "", "0"]
{rounds, singles, rows} = if quick?, do: {3, 50, 1_000}, else: {15, 500, 10_000}

{:ok, sidecar} = LibsqlPort.start_link([])

{:ok, conn} =
  LibsqlPort.connect(sidecar,
    database: Path.join(directory, "changes.db"),
    checkpoint_pages: 0,
    checkpoint_idle: 0
  )

LibsqlPort.script!(conn, """
CREATE TABLE t (id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty TEXT, bytes BLOB);
CREATE TABLE w (id INTEGER PRIMARY KEY, short TEXT, value REAL) WITHOUT ROWID;
""")

row = fn id ->
  text = fn length -> id |> Integer.to_string() |> String.pad_leading(length, "abcdefghij") end
  [id, text.(20), id / 7, text.(50), nil, {:blob, <<id::256>>}]
end

insert = "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)"
statements = for id <- 1..rows, do: {insert, row.(id)}
empty = fn -> LibsqlPort.script!(conn, "DELETE FROM t; DELETE FROM w; PRAGMA wal_checkpoint(truncate)") end

full = fn ->
  empty.()
  {:ok, _} = LibsqlPort.batch(conn, statements, atomic: true)
end

replace = for id <- 1..rows, do: {"REPLACE INTO w VALUES (?, ?, ?)", Enum.take(row.(id), 3)}

works = [
  {"#{singles} single inserts", empty,
   fn -> for id <- 1..singles, do: LibsqlPort.query!(conn, insert, row.(id)) end},
  {"batch of #{rows} inserts", empty, fn -> {:ok, _} = LibsqlPort.batch(conn, statements, atomic: true) end},
  {"UPDATE of #{rows} rows", full, fn -> LibsqlPort.query!(conn, "UPDATE t SET value = value + 1") end},
  {"batch of #{rows} REPLACE, WITHOUT ROWID",
   fn ->
     empty.()
     {:ok, _} = LibsqlPort.batch(conn, replace, atomic: true)
   end, fn -> {:ok, _} = LibsqlPort.batch(conn, replace, atomic: true) end},
  {"DELETE of #{rows} rows, no WHERE", full, fn -> LibsqlPort.query!(conn, "DELETE FROM t") end}
]

arms = [nobody: nil, keys: :none, new: :new, old_and_new: :old_and_new]

defmodule Sink do
  def loop do
    receive do
      _message -> loop()
    end
  end
end

subscribed = fn
  nil, fun ->
    fun.()

  values, fun ->
    sink = spawn_link(&Sink.loop/0)
    options = [subscriber: sink, values: values, pending_bytes_max: 1_073_741_824]
    {:ok, subscription} = LibsqlPort.Changes.subscribe(conn, options)
    taken = fun.()
    :ok = LibsqlPort.Changes.unsubscribe(subscription)
    Process.unlink(sink)
    Process.exit(sink, :kill)
    taken
end

measure = fn {_name, before, work}, values ->
  before.()
  # Statements are compiled anew for a subscriber: that is not what is measured.
  subscribed.(values, fn ->
    LibsqlPort.query!(conn, "INSERT INTO t (id) VALUES (-1)")
    LibsqlPort.query!(conn, "DELETE FROM t WHERE id = -1")
    {us, _} = :timer.tc(work)
    us
  end)
end

median = fn list -> list |> Enum.sort() |> Enum.at(div(length(list), 2)) end

IO.puts("\n| work | nobody, median | keys | new values | old and new values |\n|---|---|---|---|---|")

for {name, _, _} = work <- works do
  runs =
    for round <- 0..rounds do
      times = for {arm, values} <- arms, do: {arm, measure.(work, values)}
      {round, Map.new(times)}
    end

  runs = for {round, times} <- runs, round > 0, do: times
  nobody = runs |> Enum.map(& &1.nobody) |> median.()

  cells =
    for arm <- [:keys, :new, :old_and_new] do
      ratios = Enum.map(runs, &(&1[arm] / &1.nobody))
      format = &:erlang.float_to_binary(&1, decimals: 2)
      "#{format.(median.(ratios))} (#{format.(Enum.min(ratios))}–#{format.(Enum.max(ratios))})"
    end

  IO.puts("| #{name} | #{Float.round(nobody / 1000, 1)} ms | #{Enum.join(cells, " | ")} |")
end

:ok = LibsqlPort.close(conn)
Supervisor.stop(sidecar)
