defmodule EctoLibSql.KnownOptions do
  @moduledoc false
  # Options of what listens, checked before anything is started or written: `EctoLibSql.Changes`, its `Broadcaster`,
  # `EctoLibSql.ChangeLog` with its `Consumer` and its migrations. A name that is not known would be passed over, and nobody would
  # see that less, or more, is told than was asked for.

  alias LibsqlPort.{Error, OptionCheck}

  @typedoc "For each name its default, or `:required`; what fits; and what it takes, in words."
  @type known :: [{atom, {term, (term -> boolean), String.t()}}]

  @doc "Returns all options with their defaults. `elsewhere` says of unknown names what to write in their place."
  @spec check(String.t(), term, known, [{atom, String.t()}]) :: {:ok, map} | {:error, Error.t()}
  def check(whose, options, known, elsewhere \\ []) do
    if Keyword.keyword?(options),
      do: keywords(whose, options, known, elsewhere),
      else: invalid("#{whose}: options are a keyword list, not #{inspect(options)}")
  end

  @doc "The same for functions that raise."
  @spec check!(String.t(), term, known, [{atom, String.t()}]) :: map
  def check!(whose, options, known, elsewhere \\ []) do
    case check(whose, options, known, elsewhere) do
      {:ok, checked} -> checked
      {:error, error} -> raise error
    end
  end

  defp keywords(whose, options, known, elsewhere) do
    case Enum.find_value(options, &wrong(&1, known, elsewhere)) || missing(options, known) do
      nil ->
        {:ok, Map.new(known, fn {name, {default, _, _}} -> {name, Keyword.get(options, name, default)} end)}

      message ->
        invalid("#{whose}: #{message}")
    end
  end

  defp wrong({name, value}, known, elsewhere) do
    case known[name] do
      nil ->
        names = known |> Keyword.keys() |> Enum.sort()
        hint = if elsewhere[name], do: "", else: OptionCheck.hint(name, names)

        "unknown option #{inspect(name)}#{hint}; known are #{Enum.map_join(names, ", ", &inspect/1)}" <>
          if(elsewhere[name], do: ". " <> elsewhere[name], else: "")

      {_default, fits?, takes} ->
        unless fits?.(value), do: "the option #{inspect(name)} takes #{takes}, not #{inspect(value)}"
    end
  end

  defp missing(options, known) do
    Enum.find_value(known, fn
      {name, {:required, _fits?, takes}} ->
        unless Keyword.has_key?(options, name),
          do: "the option #{inspect(name)} is missing: it takes #{takes}"

      _optional ->
        nil
    end)
  end

  @doc "An error of code `:invalid_option`."
  @spec invalid(String.t()) :: {:error, Error.t()}
  def invalid(message), do: {:error, Error.new(:invalid_option, message)}

  @doc "Raises one for an argument that does not fit."
  @spec argument!(String.t(), String.t(), term, {term, (term -> boolean), String.t()}) :: :ok
  def argument!(whose, name, value, {_default, fits?, takes}) do
    if fits?.(value),
      do: :ok,
      else: raise(Error.new(:invalid_option, "#{whose}: #{name} is #{takes}, not #{inspect(value)}"))
  end

  # --- what options take ----------------------------------------------------------------------------------------

  @doc "An integer from 1."
  @spec positive(term) :: {term, (term -> boolean), String.t()}
  def positive(default), do: {default, &(is_integer(&1) and &1 > 0), "an integer, 1 or more"}

  @doc "A name that is stored, as text of at least one character."
  @spec name(term) :: {term, (term -> boolean), String.t()}
  def name(default), do: {default, &name?/1, "a string, not empty and without NUL"}

  defp name?(name),
    do: is_binary(name) and name != "" and String.valid?(name) and not String.contains?(name, "\0")

  @doc "A list of names."
  @spec names(term) :: {term, (term -> boolean), String.t()}
  def names(default),
    do: {default, &(is_nil(&1) or OptionCheck.list_of?(&1, fn name -> is_atom(name) end)), "a list of fields"}

  @doc "A list of at least one name, or `nil`."
  @spec some_names :: {term, (term -> boolean), String.t()}
  def some_names do
    {default, fits?, _takes} = names(nil)
    {default, &(&1 != [] and fits?.(&1)), "a list of fields, at least one"}
  end

  @doc "The same without the empty list, which would have nothing told."
  @spec not_empty({term, (term -> boolean), String.t()}) :: {term, (term -> boolean), String.t()}
  def not_empty({default, fits?, takes}), do: {default, &(&1 != [] and fits?.(&1)), takes}

  @doc "One of the driver's, which says itself what it takes."
  @spec of_driver(atom, term) :: {term, (term -> boolean), String.t()}
  def of_driver(name, default) do
    takes = LibsqlPort.Changes.Options.valid(name, :not_this)

    {default, &(LibsqlPort.Changes.Options.valid(name, &1) == true),
     if(is_binary(takes), do: takes, else: "another value")}
  end
end
