defmodule Peers.RepoGet do
  # One row of six columns by its primary key: what a call costs when the engine has next to nothing to do.
  @moduledoc false
  alias Bench.Statistics
  alias Peers.{Data, Item, Measure, Processor, Repo}

  @query "SELECT id, short, value, long, empty, bytes FROM items WHERE id = ?"

  def latency(quick?), do: [Measure.p50(Measure.setting(quick?, 3_000, 500), &get/0)]

  def callers_8(quick?), do: throughput(8, quick?)
  def callers_32(quick?), do: throughput(32, quick?)

  def query_32(quick?), do: throughput(32, quick?, &query/0)

  @doc "Of the VM and of all programs that it has started."
  def processor_time_32(quick?) do
    calls = Measure.setting(quick?, 300, 50)

    taken =
      Processor.time(fn ->
        1..32
        |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..calls, do: get() end) end)
        |> Task.await_many(:infinity)
      end)

    [taken / (32 * calls)]
  end

  defp throughput(callers, quick?, call \\ &get/0) do
    [Statistics.per_second(callers, Measure.setting(quick?, 700, 200), fn _number -> call end)]
  end

  # A key of the caller's own in every call, spread over the table.
  def get do
    id = :rand.uniform(Data.items())
    %Item{id: ^id, short: <<_::binary-size(20)>>, bytes: <<_::binary-size(32)>>} = Repo.get(Item, id)
  end

  # The same row as SQL, without Ecto's planner and structs.
  def query do
    id = :rand.uniform(Data.items())
    %{rows: [[^id, <<_::binary-size(20)>> | _]]} = Repo.sql!(@query, [id])
  end
end
