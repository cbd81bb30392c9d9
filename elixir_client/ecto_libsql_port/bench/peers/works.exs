defmodule Peers.Works do
  # Which works there are, what is asked of their figures, and whose turn it is.
  @moduledoc false
  alias Peers.{Neighbours, Table, VM}

  # One row for each figure that a round gives. A limit is a factor and whose median of the same run it is a factor of:
  # the faster peer's, a named one's, that of another row of this adapter (its number in the work), or an absolute figure
  # in µs. At most so much where less is better, at least so much where more is. `busy` works run beside neighbours.
  @works [
    %{
      name: "repo_get",
      run: {Peers.RepoGet, :latency},
      rounds: 9,
      rows: [{"Repo.get, one caller, p50", :us, [{:faster, 0.8}]}]
    },
    %{
      name: "repo_get_8",
      run: {Peers.RepoGet, :callers_8},
      rounds: 7,
      rows: [{"Repo.get, 8 callers on a pool of 5", :per_second, [{:faster, 1.5}]}]
    },
    %{
      name: "repo_get_32",
      run: {Peers.RepoGet, :callers_32},
      rounds: 7,
      rows: [{"Repo.get, 32 callers on a pool of 5", :per_second, [{:faster, 1.5}]}]
    },
    %{
      name: "query_32",
      run: {Peers.RepoGet, :query_32},
      rounds: 7,
      rows: [{"the same row as SQL, 32 callers on a pool of 5", :per_second, [{:faster, 1.3}]}]
    },
    %{
      name: "busy_repo_get_8",
      run: {Peers.RepoGet, :callers_8},
      busy: true,
      rounds: 7,
      rows: [
        {"Repo.get, 8 callers, beside two busy neighbours per processor", :per_second, [{:faster, 0.9}]}
      ]
    },
    %{
      name: "busy_repo_get_32",
      run: {Peers.RepoGet, :callers_32},
      busy: true,
      rounds: 7,
      rows: [
        {"Repo.get, 32 callers, beside two busy neighbours per processor", :per_second, [{:faster, 0.9}]}
      ]
    },
    %{
      name: "busy_query_32",
      run: {Peers.RepoGet, :query_32},
      busy: true,
      rounds: 7,
      rows: [{"the same row as SQL, 32 callers, beside the same", :per_second, [{:faster, 0.9}]}]
    },
    %{
      name: "processor_time",
      run: {Peers.RepoGet, :processor_time_32},
      rounds: 7,
      rows: [{"processor time of a Repo.get, 32 callers", :us, [{:faster, 0.8}]}]
    },
    %{
      name: "repo_all",
      run: {Peers.ResultSets, :list},
      rounds: 9,
      rows: [{"Repo.all, 100k rows × 6 columns", :ms, [{:faster, 0.5}]}]
    },
    %{
      name: "repo_stream",
      run: {Peers.ResultSets, :stream},
      rounds: 9,
      rows: [{"Repo.stream of the same", :ms, [{:faster, 0.4}]}]
    },
    %{
      name: "insert_all",
      run: {Peers.Inserts, :in_bulk},
      rounds: 9,
      rows: [{"Repo.insert_all, 10 × 1000 rows", :ms, [{:faster, 0.6}]}]
    },
    %{
      name: "insert",
      run: {Peers.Inserts, :one_by_one},
      rounds: 7,
      rows: [{"Repo.insert!, 10k times in one transaction", :ms, [{:faster, 1.0}]}]
    },
    %{
      name: "insert_autocommit",
      run: {Peers.Inserts, :autocommit},
      rounds: 7,
      rows: [{"Repo.insert!, a transaction each", :per_second, [{:faster, 1.0}]}]
    },
    %{
      name: "insert_autocommit_8",
      run: {Peers.Inserts, :autocommit_8},
      rounds: 7,
      rows: [{"Repo.insert!, a transaction each, 8 callers", :per_second, [{:faster, 1.5}]}]
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
      name: "violations",
      run: {Peers.Violations, :run},
      rounds: 7,
      rows: [
        {"a unique error, p50, on a child table of 2 M rows", :us, []},
        {"a foreign-key error there", :us, [{{:row, 0}, 2.0}]}
      ]
    },
    %{
      name: "slow_queries",
      run: {Peers.SlowQueries, :run},
      rounds: 7,
      rows: [
        {"11 slow queries running: worst File.read", :ms, [{:absolute, 10_000}]},
        {"11 slow queries running: worst Repo.get", :ms, [{:absolute, 10_000}]},
        {"the 11 slow queries themselves", :ms, []}
      ]
    },
    %{
      name: "floor",
      run: {Peers.Floor, :run},
      rounds: 7,
      rows: [
        {"Ecto alone, the answers at hand: Repo.get, 32 callers", :per_second, []},
        {"Ecto alone: Repo.all, 100k rows × 6 columns", :ms, []},
        {"Ecto alone: Repo.stream of the same", :ms, []},
        {"Ecto alone: Repo.insert_all, 10 × 1000 rows", :ms, []}
      ]
    },
    %{
      name: "way",
      run: {Peers.Floor, :way},
      needs: "PORT_ECHO_EXECUTABLE",
      rounds: 9,
      rows: [
        {"Ecto and a round trip to a program that does nothing: Repo.get, one caller, p50", :us, []},
        {"the same, 8 callers", :per_second, []},
        {"the same, 32 callers", :per_second, []},
        {"processor time of it, 32 callers", :us, []}
      ]
    },
    %{
      name: "busy_way",
      run: {Peers.Floor, :busy_way},
      needs: "PORT_ECHO_EXECUTABLE",
      busy: true,
      rounds: 7,
      rows: [
        {"the same, 8 callers, beside two busy neighbours per processor", :per_second, []},
        {"the same, 32 callers, beside the same", :per_second, []}
      ]
    },
    %{
      name: "engine",
      run: {Peers.Engine, :run},
      rounds: 7,
      rows:
        Enum.map(
          [
            "recursion, 1 M steps",
            "count with a condition, 500k rows",
            "GROUP BY, 500k rows, 5k groups",
            "GROUP BY, 500k rows, 100k groups",
            "sort of 500k texts",
            "sort with LIMIT 10",
            "LIKE over 500k texts",
            "join of 500k and 100k rows",
            "window over 500k rows",
            "json_extract of 500k texts",
            "FTS5, 100k texts",
            "an index on 500k texts",
            "INSERT … SELECT of 200k rows",
            "DELETE of 200k rows"
          ],
          &{&1, :ms, [{"ecto_sqlite3", 1.1}]}
        )
    }
  ]

  @quick_rounds 3

  @doc "The works whose names are listed, separated by commas; all if none is."
  @spec chosen(String.t() | nil) :: [map]
  def chosen(names) when names in [nil, ""], do: Enum.filter(@works, &possible?/1)

  def chosen(names) do
    for name <- String.split(names, ",", trim: true) do
      Enum.find(@works, &(&1.name == name)) ||
        raise ArgumentError, "there is no work #{name}, only #{Enum.map_join(@works, ", ", & &1.name)}"
    end
  end

  defp possible?(work) do
    variable = work[:needs]
    possible? = variable == nil or System.get_env(variable) not in [nil, ""]
    if not possible?, do: IO.puts("not measured: #{work.name} (#{variable})")
    possible?
  end

  @doc "The rows of a work, with the figures of each VM."
  def run(work, vms, quick?) do
    IO.puts("measuring: #{work.name}")
    rounds = if quick?, do: @quick_rounds, else: work.rounds
    beside = if work[:busy], do: &Neighbours.beside/1, else: & &1.()
    [_first | counted] = beside.(fn -> Enum.map(0..rounds, &round_of(work, vms, quick?, &1)) end)

    by_vm = Enum.map(vms, fn vm -> {vm.adapter.name, figures(Enum.map(counted, & &1[vm.adapter.name]))} end)
    measured = for {_row, index} <- Enum.with_index(work.rows), do: figures_of(by_vm, index)

    for {{title, unit, limits}, index} <- Enum.with_index(work.rows) do
      Table.row(title, unit, limits, Enum.at(measured, index), measured)
    end
  end

  defp figures_of(by_vm, index) do
    Map.new(by_vm, fn
      {name, {:ok, rounds}} -> {name, {:ok, Enum.map(rounds, &Enum.at(&1, index))}}
      {name, error} -> {name, error}
    end)
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
