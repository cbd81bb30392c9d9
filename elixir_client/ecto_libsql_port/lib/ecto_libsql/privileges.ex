defmodule EctoLibSql.Privileges do
  @moduledoc false
  # The options `:policy` and `:defensive`, by which an application runs SQL as its own: of a statement, or of all statements of a
  # transaction or a checkout. Those of transactions are a stack in the connection's state, because transactions nest, in the pool as savepoints
  # or not at all; those of a checkout stand below it. Whoever ends one pops its own, and none outlives the checkout.

  alias EctoLibSql.{Error, State}

  @names [:policy, :defensive]

  @doc "Those among the options of a call."
  @spec given(keyword) :: keyword
  # Nearly all calls have none, and all come by here.
  def given(options) do
    if :lists.keymember(:policy, 1, options) or :lists.keymember(:defensive, 1, options),
      do: Keyword.take(options, @names),
      else: []
  end

  @doc "Those of a statement with these options, for the driver."
  @spec of(keyword, State.t()) :: keyword
  def of(options, %State{privileges: [], checkout_privileges: []}), do: given(options)
  def of(options, state), do: Keyword.merge(within(state), given(options))

  defp within(%State{privileges: [innermost | _]}), do: innermost
  defp within(%State{privileges: [], checkout_privileges: checkout}), do: checkout

  @doc "A transaction or a part of one begins."
  @spec push(State.t(), keyword) :: State.t()
  def push(state, options), do: %{state | privileges: [of(options, state) | state.privileges]}

  @doc "A part of a transaction has ended."
  @spec pop(State.t()) :: State.t()
  def pop(%State{privileges: [_ended | around]} = state), do: %{state | privileges: around}
  # The transaction has ended before.
  def pop(state), do: state

  @doc "The transaction is over."
  @spec none(State.t()) :: State.t()
  def none(state), do: %{state | privileges: []}

  @doc "A checkout begins, or ends."
  @spec checkout(State.t(), keyword) :: State.t()
  def checkout(state, options), do: %{state | privileges: [], checkout_privileges: given(options)}

  @doc "Runs a function between two marks if there are any: `mark` sends a query with options to the connection."
  @spec around(keyword, (:privileges | :no_privileges -> term), (() -> result)) :: result when result: var
  def around(options, mark, fun) do
    if given(options) == [] do
      fun.()
    else
      # A connection that cannot be told of them has nothing to run either.
      _ = mark.(:privileges)

      try do
        fun.()
      after
        mark.(:no_privileges)
      end
    end
  end

  @doc "Why a stream cannot have them; `nil` if it has none. The wire knows them of single statements alone."
  @spec of_stream(keyword, State.t()) :: Error.t() | nil
  def of_stream(options, state) do
    case of(options, state) do
      [] ->
        nil

      [{name, value} | _] ->
        %Error{
          code: :unsupported,
          message:
            "a stream runs under the policy of its connection, with no option #{name}: #{value} of its own or of the transaction: " <>
              "read the rows by a query"
        }
    end
  end
end
