defmodule EctoLibSql.Cases do
  @moduledoc false
  # Properties over seeds: a number of random inputs, and the smallest one found that breaks the property. The seeds
  # follow from ExUnit's, so `mix test --seed` repeats a run; PROPERTY_CASES sets the number of inputs, PROPERTY_SEED
  # runs a single one.

  @tries_max 400

  @doc "Runs `property` on the inputs of `count` seeds. It holds if it does not raise."
  @spec check!(pos_integer, (integer -> input), (input -> Enumerable.t()), (input -> any)) :: :ok
        when input: var
  def check!(count, generate, smaller, property) do
    for seed <- seeds(count), input = generate.(seed), failure = failure(property, input) do
      {smallest, failure} = shrink(input, failure, smaller, property, @tries_max)

      ExUnit.Assertions.flunk("""
      broken with PROPERTY_SEED=#{seed}, at its smallest by

      #{show(smallest)}

      #{failure}
      """)
    end

    :ok
  end

  defp seeds(count) do
    case System.get_env("PROPERTY_SEED") do
      nil ->
        count = String.to_integer(System.get_env("PROPERTY_CASES", to_string(count)))
        first = ExUnit.configuration()[:seed] * 10_000
        (first + 1)..(first + count)

      seed ->
        [String.to_integer(seed)]
    end
  end

  defp failure(property, input) do
    property.(input)
    nil
  rescue
    error -> Exception.format(:error, error, __STACKTRACE__)
  end

  defp shrink(input, failure, _smaller, _property, 0), do: {input, failure}

  defp shrink(input, failure, smaller, property, tries) do
    input
    |> smaller.()
    |> Stream.take(tries)
    |> Stream.with_index(1)
    |> Enum.find_value({:smallest, tries}, fn {candidate, tried} ->
      if failure = failure(property, candidate), do: {candidate, failure, tries - tried}
    end)
    |> case do
      {:smallest, _} -> {input, failure}
      {candidate, failure, tries} -> shrink(candidate, failure, smaller, property, tries)
    end
  end

  defp show(input) when is_list(input) do
    if Enum.all?(input, &(is_binary(&1) or match?({_, _, _}, &1))),
      do: Enum.map_join(input, "\n", &(EctoLibSql.RandomSchema.sql(&1) <> ";")),
      else: inspect(input, limit: :infinity, printable_limit: :infinity, pretty: true)
  end

  defp show({statements, rest}),
    do: show(statements) <> "\n\n" <> inspect(rest, limit: :infinity, pretty: true)

  defp show(input), do: inspect(input, limit: :infinity, pretty: true)
end
