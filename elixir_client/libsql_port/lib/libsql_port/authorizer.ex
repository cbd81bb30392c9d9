defmodule LibsqlPort.Authorizer do
  @moduledoc false
  # A function that decides what statements may do: its options, and what its answer means. It is registered and called as SQL
  # functions are (`LibsqlPort.Registration`, `LibsqlPort.Runner`).

  alias LibsqlPort.{Authorization, Callback, Error, Function, Policy}

  @timeout_ms 5_000
  @timeout_ms_max 2_147_483_647

  @doc "Checks what the option `:authorizer` holds."
  @spec of_option(term) :: {:ok, [Function.t()]} | {:error, Error.t()}
  def of_option(nil), do: {:ok, []}
  def of_option({fun, options}), do: listed(new(fun, options))
  def of_option(fun), do: listed(new(fun, []))

  defp listed({:ok, hook}), do: {:ok, [hook]}
  defp listed(error), do: error

  @doc "Checks an authorizer and fills in the defaults."
  @spec new(term, term) :: {:ok, Function.t()} | {:error, Error.t()}
  def new(fun, options) do
    cond do
      not is_function(fun, 1) ->
        error(
          "an authorizer is a function of one argument, a %LibsqlPort.Authorization{}, not #{inspect(fun)}"
        )

      not Keyword.keyword?(options) ->
        error("the options of an authorizer are a keyword list, not #{inspect(options)}")

      true ->
        hook = %Function{kind: :authorizer, name: "authorizer", fun: fun, filter: %{}, timeout: @timeout_ms}
        Enum.reduce_while(options, {:ok, hook}, &option/2)
    end
  end

  defp option({:timeout, timeout}, {:ok, hook}) when timeout == :infinity or timeout in 1..@timeout_ms_max,
    do: {:cont, {:ok, %{hook | timeout: timeout}}}

  defp option({:timeout, other}, _hook) do
    allowed = ":infinity or milliseconds from 1 to #{@timeout_ms_max}"
    {:halt, error(":timeout of an authorizer takes #{allowed}, not #{inspect(other)}")}
  end

  defp option({key, _value}, _hook),
    do: {:halt, error("an authorizer has no option #{inspect(key)}; it has :timeout")}

  defp error(message), do: {:error, Error.new(:invalid_option, message)}

  @doc "Asks the function; what the program is to be answered."
  @spec decide(Callback.t(), tuple) :: Callback.outcome()
  def decide(callback, what) do
    case callback.function.fun.(authorization(callback.connection, what)) do
      :ok ->
        {:ok, :ok}

      :deny ->
        {:ok, :deny}

      :ignore ->
        {:ok, :ignore}

      other ->
        {:error,
         "it returned #{inspect(other, limit: 5, printable_limit: 100)}, which is none of :ok, :deny and :ignore"}
    end
  end

  defp authorization(connection, {action, object, column, database, through}) do
    %Authorization{
      connection: connection,
      action: Policy.action(action),
      object: object,
      column: column,
      database: database,
      through: through
    }
  end
end
