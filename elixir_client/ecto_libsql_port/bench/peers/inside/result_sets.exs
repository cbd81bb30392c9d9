defmodule Peers.ResultSets do
  # The whole table as a list of structs, and streamed, each chunk dropped before the next.
  @moduledoc false
  alias Peers.{Data, Item, Measure, Repo}

  @timeout 60_000

  def list(_quick?) do
    [
      Measure.checked_apart(
        fn -> Repo.all(Item, timeout: @timeout) end,
        fn items -> items |> Enum.reduce({0, 0}, &count/2) |> whole!() end
      )
    ]
  end

  def stream(_quick?) do
    [Measure.checked_apart(fn -> streamed() end, fn {:ok, sums} -> whole!(sums) end)]
  end

  defp streamed do
    Repo.transaction(
      fn -> Item |> Repo.stream(timeout: @timeout) |> Enum.reduce({0, 0}, &count/2) end,
      timeout: @timeout
    )
  end

  defp count(%Item{id: id, value: value, bytes: <<_::binary-size(32)>>}, {count, sum}) when is_float(value) do
    {count + 1, sum + id}
  end

  defp whole!(sums) do
    expected = {Data.items(), div(Data.items() * (Data.items() + 1), 2)}
    ^expected = sums
  end
end
