# What a subscriber to changes costs those who write: `BENCH_ONLY=changes make bench`.
#
# Goal: each work with one subscriber as a ratio to the same work with none, end to end through the driver.
# Fixed: one machine, one VM, one sidecar with its defaults, a WAL file in a temporary directory, six columns, one connection.
# Varied: who listens (nobody, one to another table, keys alone, new values, old and new values) and the work.
# Method: pairs of an arm and nobody, one behind the other, which comes first by turns; the arms take turns, round by round; one round
# more comes first and is not counted. A row's ratio is the median of its pairs' ratios: what makes the machine slower for a while
# meets both of a pair. Works of less than 20 ms have five times the rounds. The subscriber's process takes all messages and drops
# them; a round ends when the writer has its last reply.
#
#   changes.exs DIRECTORY     BENCH_QUICK=1: fewer rounds, smaller ones
#                             BENCH_STRICT=1: exit status 1 if a limit is missed
#                             BENCH_BEFORE=PROGRAM: what nobody who listens costs, beside another version of the sidecar

for file <- ~w(statistics report changes), do: Code.require_file("macro/#{file}.exs", __DIR__)
alias Bench.{Changes, Report}

Logger.configure(level: :error)
[directory] = System.argv()
quick? = System.get_env("BENCH_QUICK") not in [nil, "", "0"]

IO.puts("""
Changes: what one subscriber costs those who write
  goal        each work with a subscriber as a ratio to the same with none
  fixed       one sidecar with its defaults, one WAL file, one connection, rows of six columns
  varied      who listens, the work
  method      pairs of a work with a subscriber and without, medians of their ratios#{if quick?, do: "; QUICK RUN, not to be quoted"}
#{Report.surroundings(directory)}
""")

rows = Changes.run(directory, quick?, System.get_env("BENCH_BEFORE"))
Report.table(rows)

strict? = System.get_env("BENCH_STRICT") not in [nil, "", "0"]
if strict? and Enum.any?(rows, &(&1.verdict == :missed)), do: System.halt(1)
