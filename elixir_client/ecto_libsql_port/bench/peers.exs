# What an application pays for this adapter, beside what it would pay for its two peers: ecto_libsql (a NIF around the
# same engine) and ecto_sqlite3 (a NIF around SQLite).
#
# Goal: ratios to the peers, for the calls that applications make through Ecto.Repo.
# Fixed: one machine; one VM for each adapter, since two of them define the same modules, all alive during the whole
# run; the same Ecto in each of them; the same schema, data and pragmas (peers/adapters.exs); a pool of 5 connections on
# a WAL file of its own on the same disk; autocommit where no transaction is named; foreign keys and the mode of
# transactions as each adapter has them by default.
# Varied: the adapter, the work, the number of callers, and for two works the neighbours on the machine.
# Method: the VMs take turns, round by round, and who begins changes with the round, so that a neighbour's load meets
# all. Each round gives one figure; a row shows the median of the rounds, and the best and the worst of them. One round
# more comes first and is not counted, for code to be loaded, statements prepared and pages read; after that nothing is
# left out. Every work looks at what it got: an adapter that gives a wrong answer, or none, has no figure.
#
#   MIX_ENV=prod mix run --no-start bench/peers.exs [DIRECTORY]
#
#   ECTO_LIBSQL_LIB, ECTO_SQLITE3_LIB   where a peer is built: the `lib` of a Mix build, which holds it and those of
#                                       its dependencies that this project has not (`_build/prod/lib`)
#   PORT_ECHO_EXECUTABLE                the program of `cargo build --release --example port_echo`, for the works "way" and "busy_way":
#                                       Ecto and the driver's round trip to a program that does nothing
#   BENCH_WORKS=repo_get,insert_all     only these works
#   BENCH_QUICK=1                       fewer rounds, smaller ones: a check that all runs
#   BENCH_STRICT=1                      exit status 1 if a limit is missed, or if there is no peer to compare with

for file <- ~w(statistics report) do
  Code.require_file("../../libsql_port/bench/macro/#{file}.exs", __DIR__)
end

for file <- ~w(adapters vm table neighbours works) do
  Code.require_file("peers/#{file}.exs", __DIR__)
end

alias Peers.{Adapters, Table, VM, Works}

{directory, temporary?} =
  case System.argv() do
    [directory] -> {directory, false}
    [] -> {Path.join(System.tmp_dir!(), "ecto_libsql_port.bench.#{System.pid()}"), true}
  end

flag? = fn name -> System.get_env(name) not in [nil, "", "0"] end
quick? = flag?.("BENCH_QUICK")

rows =
  try do
    vms = Enum.map(Adapters.at_hand(), &VM.start(&1, directory))
    Table.conditions(vms, directory, quick?)
    rows = Enum.flat_map(Works.chosen(System.get_env("BENCH_WORKS")), &Works.run(&1, vms, quick?))
    Enum.each(vms, &VM.stop/1)
    Table.print(rows, Enum.map(vms, & &1.adapter.name))
    rows
  after
    if temporary?, do: File.rm_rf!(directory)
  end

# A limit that is missed on a busy machine is a figure, not a failure; whoever wants to be stopped by it says so.
if flag?.("BENCH_STRICT") and not Enum.all?(rows, &Table.reached?/1), do: System.halt(1)
