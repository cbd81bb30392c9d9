# What a request costs from the caller's line of Elixir to the engine and back. Run it with `make bench`.
#
# Goal: the costs of the whole path as ratios to what it cannot undercut: the round trip of the same bytes to a program
# that does nothing (examples/port_echo.rs), and the decoding of the same rows in the same VM.
# Fixed: one machine, one VM, one sidecar with its defaults, a WAL file in a temporary directory, data from the seed
# in macro/bench.exs. Sizes of the echo's frames are those of the measured requests and replies, read from the port.
# Varied: the work, and the number of callers.
# Method: work and yardstick take turns, round by round, so that a neighbour's load meets both; each round gives one
# figure, a row shows the median of the rounds and the best of them. One round more comes first and is not counted, for
# code to be loaded, statements prepared and pages read; after that nothing is left out.
#
#   macro.exs DIRECTORY     BENCH_QUICK=1: fewer rounds, smaller ones
#                           BENCH_STRICT=1: exit status 1 if a limit is missed
#                           BENCH_WORKS=functions,builtins: only these works

for file <-
      ~w(statistics bench report point_select result_sets inserts functions builtins memory start_up endless) do
  Code.require_file("macro/#{file}.exs", __DIR__)
end

alias Bench.{Builtins, Endless, Functions, Inserts, Memory, PointSelect, Report, ResultSets, StartUp}

[directory] = System.argv()
bench = Bench.start(directory)
Report.conditions(bench)

# The start of a sidecar comes last, when caches of the machine are as warm for it as they are in operation.
works = [PointSelect, ResultSets, Inserts, Functions, Builtins, Memory, Endless, StartUp]

works =
  case System.get_env("BENCH_WORKS") do
    none when none in [nil, ""] -> works
    names -> for name <- String.split(names, ","), do: Module.concat(Bench, Macro.camelize(name))
  end

rows =
  Enum.flat_map(works, fn work ->
    Report.progress(work)
    work.run(bench)
  end)

Bench.stop(bench)
Report.table(rows)

# A limit that is missed on a busy machine is a figure, not a failure; whoever wants to be stopped by it says so.
strict? = System.get_env("BENCH_STRICT") not in [nil, "", "0"]
if strict? and Enum.any?(rows, &(&1.verdict == :missed)), do: System.halt(1)
