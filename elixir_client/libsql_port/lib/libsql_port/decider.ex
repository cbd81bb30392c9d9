defmodule LibsqlPort.Decider do
  @moduledoc false
  # What functions that decide have in common, commit hooks and authorizers: how an option names one, how its own options are checked,
  # and how an answer that means nothing is told. `called` is the kind with its article, for messages. Called by
  # `LibsqlPort.CommitHook` and `LibsqlPort.Authorizer`.

  alias LibsqlPort.{Error, Function, OptionCheck}

  @timeout_ms_max 2_147_483_647

  @doc "What an option of a connection or a sidecar holds: nothing, a function, or `{function, options}`."
  @spec of_option(term, (term, term -> {:ok, Function.t()} | {:error, Error.t()})) ::
          {:ok, [Function.t()]} | {:error, Error.t()}
  def of_option(nil, _new), do: {:ok, []}
  def of_option({fun, options}, new), do: listed(new.(fun, options))
  def of_option(fun, new), do: listed(new.(fun, []))

  defp listed({:ok, function}), do: {:ok, [function]}
  defp listed(error), do: error

  @doc "Checks a function, which takes an `argument`, and its options: `:timeout`, and those that `option` takes."
  @spec new(Function.t(), term, String.t(), String.t(), (term, term, Function.t() -> result)) :: result
        when result: {:ok, Function.t()} | {:error, Error.t()}
  def new(%Function{fun: fun} = function, options, called, argument, option) do
    cond do
      not is_function(fun, 1) ->
        error("#{called} is a function of one argument, a %#{argument}{}, not #{inspect(fun)}")

      not Keyword.keyword?(options) ->
        error("the options of #{called} are a keyword list, not #{inspect(options)}")

      true ->
        Enum.reduce_while(options, {:ok, function}, fn {key, value}, {:ok, function} ->
          case option(key, value, function, called, option) do
            {:ok, _function} = ok -> {:cont, ok}
            error -> {:halt, error}
          end
        end)
    end
  end

  defp option(:timeout, timeout, function, _called, _option)
       when timeout == :infinity or timeout in 1..@timeout_ms_max,
       do: {:ok, %{function | timeout: timeout}}

  defp option(:timeout, other, _function, called, _option),
    do: wrong(:timeout, other, called, ":infinity or milliseconds from 1 to #{@timeout_ms_max}")

  defp option(key, value, function, _called, option), do: option.(key, value, function)

  @doc "A value that an option does not take."
  @spec wrong(atom, term, String.t(), String.t()) :: {:error, Error.t()}
  def wrong(key, value, called, allowed),
    do: error("#{inspect(key)} of #{called} takes #{allowed}, not #{inspect(value)}")

  @doc "An option that there is not; `known` are those besides `:timeout`."
  @spec unknown(atom, String.t(), [atom]) :: {:error, Error.t()}
  def unknown(key, called, known) do
    known = [:timeout | known]
    has = Enum.map_join(known, ", ", &inspect/1)
    error("#{called} has no option #{inspect(key)}#{OptionCheck.hint(key, known)}; it has #{has}")
  end

  @doc "What a function is told to have failed with that returned none of the answers that there are."
  @spec meaningless(term, String.t()) :: {:error, String.t()}
  def meaningless(answer, answers) do
    {:error, "it returned #{inspect(answer, limit: 5, printable_limit: 100)}, which is none of #{answers}"}
  end

  defp error(message), do: {:error, Error.new(:invalid_option, message)}
end
