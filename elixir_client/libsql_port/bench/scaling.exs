# How the cost of the work grows with its size. Run it with `make bench`, alone with `BENCH_ONLY=scaling make bench`.
#
# Goal: the cost of one unit (a call, a connection, a row, a byte) at sizes that differ by powers of ten: flat, or growing by a
# known factor. A table has a limit where one can be said: a unit costs at most so many times as much as at the size named.
# Fixed: one machine, one VM, for each axis a sidecar of its own with its defaults (blobs: with higher limits, which its
# table names), WAL files in a temporary directory.
# Varied: one size at a time, an axis each in scaling/*.exs: callers, connections, rows of a table, rows of a result,
# bytes of a blob, bytes of a statement, statements in the cache.
# Method: all sizes of an axis take turns, round by round, so that a neighbour's load meets all of them; a row shows the
# median of the rounds, the best and the worst. One round more comes first and is not counted. Sizes that the machine has
# no memory, disk space, file descriptors or threads for are left out, and the table says so.
#
#   scaling.exs DIRECTORY    BENCH_QUICK=1: fewer and smaller sizes, a check that all runs
#                            BENCH_AXES=callers,blobs: only these
#                            BENCH_PLOTS=DIRECTORY: where the plots go, in place of target/benchmarks
#                            BENCH_STRICT=1: exit status 1 if a limit is missed

for file <- ~w(statistics bench report), do: Code.require_file("macro/#{file}.exs", __DIR__)

for file <-
      ~w(scaling quantity room table plot callers connections tables result_sets blobs statement_texts statement_caches) do
  Code.require_file("scaling/#{file}.exs", __DIR__)
end

alias Bench.Report
alias Scaling.{Blobs, Callers, Connections, Plot, ResultSets, StatementCaches, StatementTexts, Table, Tables}

axes = [
  callers: Callers,
  connections: Connections,
  tables: Tables,
  result_sets: ResultSets,
  blobs: Blobs,
  statement_texts: StatementTexts,
  statement_caches: StatementCaches
]

chosen =
  case System.get_env("BENCH_AXES") do
    none when none in [nil, ""] ->
      axes

    names ->
      for name <- String.split(names, ","),
          do: List.keyfind(axes, String.to_atom(name), 0) || raise("no axis #{name}")
  end

[directory] = System.argv()
scaling = Scaling.start(directory)
# The plots of a quick run say nothing; they are made all the same, to see that they can be.
plots_directory = if scaling.quick?, do: directory, else: System.fetch_env!("BENCH_PLOTS")
File.mkdir_p!(plots_directory)

IO.puts("""
Scaling: how the cost of a unit grows with the size
  goal        each unit's cost flat, or its growth known and bounded
  fixed       one machine, one VM, a new sidecar for each axis, WAL files
  varied      one size at a time
  method      sizes in turns, medians of rounds, best and worst#{if scaling.quick?, do: "; QUICK RUN, not to be quoted"}
#{Report.surroundings(directory)}
  plots       #{if scaling.quick?, do: "made and dropped", else: plots_directory}
""")

tables =
  Enum.flat_map(chosen, fn {_name, axis} ->
    Report.progress(axis)
    started = System.monotonic_time(:millisecond)
    # A process for each axis takes its heap with it.
    tables = Task.await(Task.async(fn -> axis.run(scaling) end), :infinity)
    Enum.each(tables, &Table.print/1)

    for {name, title} <- axis.plots() do
      picture = Plot.svg(title, Enum.filter(tables, &(&1.plot == name)))
      File.write!(Path.join(plots_directory, name <> ".svg"), picture)
    end

    IO.puts(
      "\n(#{axis |> Module.split() |> List.last()}: #{div(System.monotonic_time(:millisecond) - started, 1_000)} s)\n"
    )

    tables
  end)

verdicts = tables |> Enum.map(&Table.verdict/1) |> Enum.reject(&is_nil/1)
missed = Enum.count(verdicts, &(&1 == :missed))
IO.puts("#{length(verdicts) - missed} of #{length(verdicts)} limits of growth reached, #{missed} missed")

# A limit that is missed on a busy machine is a figure, not a failure; whoever wants to be stopped by it says so.
if System.get_env("BENCH_STRICT") not in [nil, "", "0"] and missed > 0, do: System.halt(1)
