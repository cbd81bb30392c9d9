defmodule Ecto.Adapters.LibSql.SelectedTypes do
  @moduledoc false
  # Types of what a query selects where Ecto knows none: SQLite has no booleans, dates or decimals, so an expression of such a
  # type comes back as what stands for it. Databases with such types tell them with each result; here the planned query
  # tells them. Called by `Prepared`.
  #
  # Fields and `type/2` have a type by which Ecto loads them, except for fields of tables that it knows nothing of, which are
  # `:any`. What it loads again after it was loaded here is the same.

  alias Ecto.Adapters.LibSql.ExpressionType
  alias Ecto.Query.Tagged
  alias EctoLibSql.Parameter

  @simple [:boolean, :decimal, :float, :date, :time, :time_usec, :map] ++
            [:naive_datetime, :naive_datetime_usec, :utc_datetime, :utc_datetime_usec]

  @typedoc "For each selected column its type, `nil` where Ecto's own or none will do."
  @type t :: [Ecto.Type.t() | nil]

  @doc "The types of a planned query's columns; `[]` if there are none."
  @spec of(Ecto.Query.t()) :: t
  def of(query) do
    types = types(query)
    if Enum.all?(types, &is_nil/1), do: [], else: types
  end

  defp types(%{select: %{fields: fields}} = query) when is_list(fields) do
    own = Enum.map(fields, &type(&1, query))

    # A compound has the columns of all its parts.
    Enum.reduce(query.combinations, own, fn {_kind, part}, types ->
      part = Enum.map(part.select.fields, &(&1 |> unnamed() |> known(part)))
      Enum.zip_with(types, part, fn type, other -> if type == other, do: type end)
    end)
  end

  defp types(_query), do: []

  defp type(field, query) do
    expression = unnamed(field)
    if loaded_by_ecto?(expression), do: nil, else: known(expression, query)
  end

  defp known(expression, query) do
    case ExpressionType.of(expression, query) do
      simple when simple in @simple -> simple
      {:map, _} -> :map
      {:array, element} -> if Ecto.Type.base?(element), do: {:array, element}
      _ -> nil
    end
  end

  defp unnamed({name, expression}) when is_atom(name), do: expression
  defp unnamed(expression), do: expression

  defp loaded_by_ecto?({{:., meta, _}, _, []}), do: meta[:type] != :any
  defp loaded_by_ecto?(%Tagged{}), do: true
  defp loaded_by_ecto?(_expression), do: false

  @doc "Rows with their values loaded. A value that is none of its type stays as it is."
  @spec load([list] | nil, t) :: [list] | nil
  def load(rows, types) when rows == nil or types == [], do: rows
  def load(rows, types), do: Enum.map(rows, &row(&1, types))

  defp row([value | values], [nil | types]), do: [value | row(values, types)]
  defp row([nil | values], [_ | types]), do: [nil | row(values, types)]
  defp row([value | values], [type | types]), do: [value(value, type) | row(values, types)]
  defp row(values, []), do: values
  defp row([], _types), do: []

  defp value(1, :boolean), do: true
  defp value(0, :boolean), do: false
  defp value(value, :boolean), do: value
  defp value(value, :float) when is_integer(value), do: value / 1
  defp value(value, :float), do: value

  defp value(value, :decimal) do
    with {:ok, decimal} <- Parameter.to_decimal(value), do: decimal, else: (_ -> value)
  end

  # What is a text in JSON was not written by Ecto.
  defp value(<<first, _::binary>> = text, type)
       when (type != :map and not is_tuple(type)) or first in [?{, ?[] do
    case Ecto.Type.adapter_load(Ecto.Adapters.LibSql, type, text) do
      {:ok, loaded} -> loaded
      :error -> text
    end
  end

  defp value(value, _type), do: value
end
