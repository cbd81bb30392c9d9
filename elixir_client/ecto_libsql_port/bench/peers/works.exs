defmodule Peers.Works do
  # Which works there are, what is asked of their figures, and whose turn it is.
  @moduledoc false
  alias Peers.{Table, VM}

  # One row for each figure that a round gives. A limit is a factor of a peer's median in the same run: at most so much
  # where less is better, at least so much where more is.
  @works [
    %{
      name: "repo_get",
      run: {Peers.RepoGet, :latency},
      rounds: 9,
      rows: [{"Repo.get, one caller, p50", :us, [{"ecto_libsql", 1.0}, {"ecto_sqlite3", 0.6}]}]
    },
    %{
      name: "repo_get_8",
      run: {Peers.RepoGet, :callers_8},
      rounds: 7,
      rows: [{"Repo.get, 8 callers on a pool of 5", :per_second, []}]
    },
    %{
      name: "repo_get_32",
      run: {Peers.RepoGet, :callers_32},
      rounds: 7,
      rows: [{"Repo.get, 32 callers on a pool of 5", :per_second, [{"ecto_libsql", 1.5}]}]
    },
    %{
      name: "query_32",
      run: {Peers.RepoGet, :query_32},
      rounds: 7,
      rows: [{"the same row as SQL, 32 callers on a pool of 5", :per_second, [{"ecto_libsql", 1.5}]}]
    },
    %{
      name: "repo_all",
      run: {Peers.ResultSets, :list},
      rounds: 9,
      rows: [{"Repo.all, 100k rows × 6 columns", :ms, [{"ecto_libsql", 0.5}, {"ecto_sqlite3", 0.5}]}]
    },
    %{
      name: "repo_stream",
      run: {Peers.ResultSets, :stream},
      rounds: 9,
      rows: [{"Repo.stream of the same", :ms, []}]
    },
    %{
      name: "insert_all",
      run: {Peers.Inserts, :in_bulk},
      rounds: 9,
      rows: [{"Repo.insert_all, 10 × 1000 rows", :ms, [{"ecto_sqlite3", 0.8}]}]
    },
    %{
      name: "insert",
      run: {Peers.Inserts, :one_by_one},
      rounds: 7,
      rows: [
        {"Repo.insert!, 10k times in one transaction", :ms, [{"ecto_libsql", 1.0}, {"ecto_sqlite3", 1.0}]}
      ]
    },
    %{
      name: "insert_autocommit",
      run: {Peers.Inserts, :autocommit},
      rounds: 7,
      rows: [{"Repo.insert!, a transaction each", :per_second, []}]
    },
    %{
      name: "update_all",
      run: {Peers.Queries, :update_all},
      rounds: 9,
      rows: [{"Repo.update_all, 10k rows", :ms, []}]
    },
    %{
      name: "preload",
      run: {Peers.Queries, :preload},
      rounds: 9,
      rows: [{"200 rows with a join and a preload of 600", :ms, []}]
    },
    %{
      name: "slow_queries",
      run: {Peers.SlowQueries, :run},
      rounds: 3,
      rows: [
        {"11 slow queries running: worst File.read", :ms, []},
        {"11 slow queries running: worst Repo.get", :ms, []},
        {"the 11 slow queries themselves", :ms, []}
      ]
    }
  ]

  @quick_rounds 3

  @doc "The works whose names are listed, separated by commas; all if none is."
  def chosen(names) when names in [nil, ""], do: @works

  def chosen(names) do
    for name <- String.split(names, ",", trim: true) do
      Enum.find(@works, &(&1.name == name)) ||
        raise ArgumentError, "there is no work #{name}, only #{Enum.map_join(@works, ", ", & &1.name)}"
    end
  end

  @doc "The rows of a work, with the figures of each VM."
  def run(work, vms, quick?) do
    IO.puts("measuring: #{work.name}")
    rounds = if quick?, do: @quick_rounds, else: work.rounds
    [_first | counted] = Enum.map(0..rounds, &round_of(work, vms, quick?, &1))

    by_vm = Enum.map(vms, fn vm -> {vm.adapter.name, figures(Enum.map(counted, & &1[vm.adapter.name]))} end)

    for {{title, unit, limits}, index} <- Enum.with_index(work.rows) do
      measured =
        Map.new(by_vm, fn
          {name, {:ok, rounds}} -> {name, {:ok, Enum.map(rounds, &Enum.at(&1, index))}}
          {name, error} -> {name, error}
        end)

      Table.row(title, unit, limits, measured)
    end
  end

  # Each has the first turn, the second and so on, as often as the others.
  defp round_of({module, function}, vms, quick?, number) do
    {late, early} = Enum.split(vms, rem(number, length(vms)))
    Map.new(early ++ late, &{&1.adapter.name, VM.measure(&1, module, function, quick?)})
  end

  defp round_of(work, vms, quick?, number), do: round_of(work.run, vms, quick?, number)

  # An answer that was wrong once makes all figures worthless.
  defp figures(rounds) do
    case Enum.find(rounds, &match?({:error, _}, &1)) do
      nil -> {:ok, Enum.map(rounds, fn {:ok, figures} -> figures end)}
      error -> error
    end
  end
end
