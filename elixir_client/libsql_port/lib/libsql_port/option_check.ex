defmodule LibsqlPort.OptionCheck do
  @moduledoc false
  # What all checks of options have in common, those of the Ecto adapter included: a list that is one to its end, and the known name that
  # a misspelt one was meant to be. Pure.

  # Jaro's similarity. Nothing depends on it but what is proposed.
  @near 0.8

  @doc """
  Whether this is a proper list of such elements.

      iex> LibsqlPort.OptionCheck.list_of?([:a, :b], &is_atom/1)
      true
      iex> for value <- [[:a | :b], [1], :a, nil], do: LibsqlPort.OptionCheck.list_of?(value, &is_atom/1)
      [false, false, false, false]
  """
  @spec list_of?(term, (term -> boolean)) :: boolean
  def list_of?([element | rest], fits?), do: fits?.(element) and list_of?(rest, fits?)
  def list_of?(rest, _fits?), do: rest == []

  @doc "Whether this is a proper list."
  @spec list?(term) :: boolean
  def list?(value), do: is_list(value) and not List.improper?(value)

  @doc """
  What to put behind an unknown name in a message: the known one that is nearest, or nothing.

      iex> LibsqlPort.OptionCheck.hint(:tiemout, [:timeout, :owner])
      " (did you mean :timeout?)"
      iex> LibsqlPort.OptionCheck.hint(:colour, [:timeout, :owner])
      ""
  """
  @spec hint(term, [atom]) :: String.t()
  def hint(name, [_ | _] = known) when is_atom(name) do
    text = Atom.to_string(name)

    case known |> Enum.map(&{String.jaro_distance(text, Atom.to_string(&1)), &1}) |> Enum.max() do
      {near, meant} when near >= @near -> " (did you mean #{inspect(meant)}?)"
      _far -> ""
    end
  end

  def hint(_no_name, _known), do: ""
end
