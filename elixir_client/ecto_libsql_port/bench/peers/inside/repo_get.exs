defmodule Peers.RepoGet do
  # One row of six columns by its primary key: what a call costs when the engine has next to nothing to do.
  @moduledoc false
  alias Peers.{Data, Item, Measure, Repo}

  def latency(quick?), do: [Measure.p50(Measure.setting(quick?, 3_000, 500), &get/0)]

  def callers_8(quick?), do: throughput(8, quick?)
  def callers_32(quick?), do: throughput(32, quick?)

  defp throughput(callers, quick?) do
    [Measure.per_second(callers, Measure.setting(quick?, 700, 200), &get/0)]
  end

  # A key of the caller's own in every call, spread over the table.
  def get do
    id = :rand.uniform(Data.items())
    %Item{id: ^id, short: <<_::binary-size(20)>>, bytes: <<_::binary-size(32)>>} = Repo.get(Item, id)
  end
end
