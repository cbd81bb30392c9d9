defmodule LibsqlPort.CommitHook do
  @moduledoc false
  # A function that decides about commits: its options, and what its answer means. It is registered and called as SQL functions
  # are (`LibsqlPort.Registration`, `LibsqlPort.Runner`).

  alias LibsqlPort.{Callback, Commit, Error, Function}
  alias LibsqlPort.Changes.{Event, Options}

  @filter [:tables, :operations, :values, :columns, :changed_columns]
  @timeout_ms 1_000
  @timeout_ms_max 2_147_483_647
  @reason_bytes_max 1_024

  @doc "Checks what the option `:commit_hook` holds."
  @spec of_option(term) :: {:ok, [Function.t()]} | {:error, Error.t()}
  def of_option(nil), do: {:ok, []}
  def of_option({fun, options}), do: listed(new(fun, options))
  def of_option(fun), do: listed(new(fun, []))

  defp listed({:ok, hook}), do: {:ok, [hook]}
  defp listed(error), do: error

  @doc "Checks a hook and fills in the defaults."
  @spec new(term, term) :: {:ok, Function.t()} | {:error, Error.t()}
  def new(fun, options) do
    cond do
      not is_function(fun, 1) ->
        error("a commit hook is a function of one argument, a %LibsqlPort.Commit{}, not #{inspect(fun)}")

      not Keyword.keyword?(options) ->
        error("the options of a commit hook are a keyword list, not #{inspect(options)}")

      true ->
        hook = %Function{kind: :commit, name: "commit hook", fun: fun, filter: %{}, timeout: @timeout_ms}
        Enum.reduce_while(options, {:ok, hook}, &option/2)
    end
  end

  defp option({:timeout, timeout}, {:ok, hook}) when timeout == :infinity or timeout in 1..@timeout_ms_max,
    do: {:cont, {:ok, %{hook | timeout: timeout}}}

  defp option({:timeout, other}, _hook),
    do: {:halt, wrong(:timeout, ":infinity or milliseconds from 1 to #{@timeout_ms_max}", other)}

  defp option({key, value}, {:ok, hook}) when key in @filter do
    case Options.valid(key, value) do
      true when value == nil -> {:cont, {:ok, hook}}
      true -> {:cont, {:ok, %{hook | filter: Map.put(hook.filter, Atom.to_string(key), value)}}}
      allowed -> {:halt, wrong(key, allowed, value)}
    end
  end

  defp option({key, _value}, _hook) do
    known = Enum.map_join([:timeout | @filter], ", ", &inspect/1)
    {:halt, error("a commit hook has no option #{inspect(key)}; it has #{known}")}
  end

  defp wrong(key, allowed, value),
    do: error("#{inspect(key)} of a commit hook takes #{allowed}, not #{inspect(value)}")

  defp error(message), do: {:error, Error.new(:invalid_option, message)}

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

  defp meaning(other) do
    {:error,
     "it returned #{inspect(other, limit: 5, printable_limit: 100)}, which is none of :ok, true, false, :error and {:error, reason}"}
  end

  defp reason(reason) when is_binary(reason) and byte_size(reason) in 1..@reason_bytes_max do
    if String.valid?(reason), do: reason, else: reason(inspect(reason))
  end

  defp reason(reason) when is_binary(reason), do: reason |> inspect(printable_limit: 200) |> reason()
  defp reason(reason) when is_exception(reason), do: reason |> Exception.message() |> reason()
  defp reason(reason), do: reason |> inspect(limit: 20, printable_limit: 200) |> reason()
end
