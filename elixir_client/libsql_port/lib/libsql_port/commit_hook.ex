defmodule LibsqlPort.CommitHook do
  @moduledoc false
  # A function that decides about commits: its options, and what its answer means. It is registered and called as SQL functions
  # are (`LibsqlPort.Registration`, `LibsqlPort.Runner`).

  alias LibsqlPort.{Callback, Commit, Decider, Error, Function}
  alias LibsqlPort.Changes.{Event, Options}

  @called "a commit hook"
  @filter [:tables, :operations, :values, :columns, :changed_columns]
  @timeout_ms 1_000
  @reason_bytes_max 1_024

  @doc "Checks what the option `:commit_hook` holds."
  @spec of_option(term) :: {:ok, [Function.t()]} | {:error, Error.t()}
  def of_option(option), do: Decider.of_option(option, &new/2)

  @doc "Checks a hook and fills in the defaults."
  @spec new(term, term) :: {:ok, Function.t()} | {:error, Error.t()}
  def new(fun, options) do
    %Function{kind: :commit, name: "commit hook", fun: fun, filter: %{}, timeout: @timeout_ms}
    |> Decider.new(options, @called, "LibsqlPort.Commit", &option/3)
  end

  # It would be asked about nothing, or, without columns, be told none.
  defp option(key, [], _hook) when key in @filter,
    do: Decider.wrong(key, [], @called, "a list of at least one, or is left out for all")

  defp option(key, value, hook) when key in @filter do
    case Options.valid(key, value) do
      true when value == nil -> {:ok, hook}
      true -> {:ok, %{hook | filter: Map.put(hook.filter, Atom.to_string(key), value)}}
      allowed -> Decider.wrong(key, value, @called, allowed)
    end
  end

  defp option(key, _value, _hook), do: Decider.unknown(key, @called, @filter)

  @doc "Asks the function; what the program is to be answered."
  @spec decide(Callback.t(), [term]) :: Callback.outcome()
  def decide(callback, transactions) do
    with {:ok, commit} <- commit(callback, transactions), do: meaning(callback.function.fun.(commit))
  end

  defp commit(callback, transactions) do
    read = Enum.map(transactions, &Event.transaction/1)

    if Enum.all?(read, &match?({:ok, _}, &1)) do
      changes =
        for {:ok, one} <- read,
            change <- one.changes,
            do: Map.merge(change, %{database: one.database, schema: one.schema})

      {:ok, %Commit{connection: callback.connection, changes: changes}}
    else
      {:error, "the call cannot be read; is the program of this client's version?"}
    end
  end

  defp meaning(:ok), do: {:ok, true}
  defp meaning(true), do: {:ok, true}
  defp meaning(false), do: {:ok, false}
  defp meaning(:error), do: {:ok, false}
  defp meaning({:error, reason}), do: {:ok, reason(reason)}

  defp meaning(other), do: Decider.meaningless(other, ":ok, true, false, :error and {:error, reason}")

  defp reason(reason) when is_binary(reason) and byte_size(reason) in 1..@reason_bytes_max do
    if String.valid?(reason), do: reason, else: reason(inspect(reason))
  end

  defp reason(reason) when is_binary(reason), do: reason |> inspect(printable_limit: 200) |> reason()
  defp reason(reason) when is_exception(reason), do: reason |> Exception.message() |> reason()
  defp reason(reason), do: reason |> inspect(limit: 20, printable_limit: 200) |> reason()
end
