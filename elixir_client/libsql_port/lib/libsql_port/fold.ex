defmodule LibsqlPort.Fold do
  @moduledoc false
  # The groups of aggregate and window functions that are under way: by number, each with its accumulator. Pure.
  #
  # `known` is the greatest number of those that an earlier runner of the connection has begun. Their accumulators ended with
  # it, so that a group which goes on must not begin anew.

  alias LibsqlPort.Function

  defstruct groups: %{}, known: -1

  @type instance :: integer
  @type op :: [term] | {[term]}
  @type t :: %__MODULE__{groups: %{optional(instance) => {:ok, term} | {:error, String.t()}}, known: integer}

  @doc "Rows enter and leave a group, which is begun with its first ones."
  @spec apply(t, Function.t(), instance, [op]) :: {:ok, term, t} | {:error, String.t()}
  def apply(fold, function, instance, ops) do
    case begun(fold, function, instance) do
      {:ok, accumulator} ->
        accumulator = Enum.reduce(ops, accumulator, &op(&1, &2, function))
        {:ok, accumulator, put(fold, instance, {:ok, accumulator})}

      {:error, _message} = failed ->
        failed
    end
  end

  @doc "Whether a group is under way here."
  @spec begun?(t, instance) :: boolean
  def begun?(fold, instance), do: is_map_key(fold.groups, instance)

  @doc "The group's function has failed: what is yet to come for it fails too."
  @spec failed(t, instance, String.t()) :: t
  def failed(fold, instance, message), do: put(fold, instance, {:error, message})

  @doc "The group is over."
  @spec drop(t, instance) :: t
  def drop(fold, instance), do: %{fold | groups: Map.delete(fold.groups, instance)}

  defp put(fold, instance, state), do: %{fold | groups: Map.put(fold.groups, instance, state)}

  defp begun(%{groups: groups, known: known}, function, instance) do
    case groups do
      %{^instance => begun} -> begun
      _new when instance > known -> {:ok, start(function.start)}
      _lost -> {:error, "the process that held the rows of this group has ended"}
    end
  end

  defp start(fun) when is_function(fun, 0), do: fun.()
  defp start(value), do: value

  defp op({arguments}, accumulator, function), do: call(function.inverse, function, arguments, accumulator)
  defp op(arguments, accumulator, function), do: call(function.step, function, arguments, accumulator)

  # The usual numbers of arguments without a list that is made for the call.
  defp call(fun, %{arguments: -1}, arguments, accumulator), do: fun.(arguments, accumulator)
  defp call(fun, _function, [one], accumulator), do: fun.(one, accumulator)
  defp call(fun, _function, [one, two], accumulator), do: fun.(one, two, accumulator)
  defp call(fun, _function, arguments, accumulator), do: Kernel.apply(fun, arguments ++ [accumulator])
end
