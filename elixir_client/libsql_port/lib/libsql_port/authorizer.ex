defmodule LibsqlPort.Authorizer do
  @moduledoc false
  # A function that decides what statements may do: its options, and what its answer means. It is registered and called as SQL
  # functions are (`LibsqlPort.Registration`, `LibsqlPort.Runner`).

  alias LibsqlPort.{Authorization, Callback, Decider, Error, Function, Policy}

  @called "an authorizer"
  @timeout_ms 5_000

  @doc "Checks what the option `:authorizer` holds."
  @spec of_option(term) :: {:ok, [Function.t()]} | {:error, Error.t()}
  def of_option(option), do: Decider.of_option(option, &new/2)

  @doc "Checks an authorizer and fills in the defaults."
  @spec new(term, term) :: {:ok, Function.t()} | {:error, Error.t()}
  def new(fun, options) do
    %Function{kind: :authorizer, name: "authorizer", fun: fun, filter: %{}, timeout: @timeout_ms}
    |> Decider.new(options, @called, "LibsqlPort.Authorization", fn key, _value, _function ->
      Decider.unknown(key, @called, [])
    end)
  end

  @doc "Asks the function; what the program is to be answered."
  @spec decide(Callback.t(), tuple) :: Callback.outcome()
  def decide(callback, what) do
    case callback.function.fun.(authorization(callback.connection, what)) do
      answer when answer in [:ok, :deny, :ignore] -> {:ok, answer}
      other -> Decider.meaningless(other, ":ok, :deny and :ignore")
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
