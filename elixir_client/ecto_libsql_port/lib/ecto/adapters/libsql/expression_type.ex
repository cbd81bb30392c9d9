defmodule Ecto.Adapters.LibSql.ExpressionType do
  @moduledoc false
  # The Ecto type of an expression in a planned query, as far as Ecto knows it: fields of schemas, subqueries, common
  # tables and values lists, `type/2`, and what keeps a type (aggregates, `coalesce`, arithmetic of decimals). Called by
  # `ExpressionSql` and `WriteSql`, which write decimals and times differently. `:any` is no answer.

  alias Ecto.Query.{JoinExpr, Tagged, WithExpr}

  @parent_as Ecto.Adapters.LibSql.ParentAs

  # Their value is one of their first argument's.
  @keeping [:min, :max, :sum, :avg, :first_value, :last_value, :nth_value, :lag, :lead, :filter, :over]
  @arithmetic [:+, :-, :*, :/]
  @precisions [
    time: :time_usec,
    naive_datetime: :naive_datetime_usec,
    utc_datetime: :utc_datetime_usec
  ]
  @conditions [:==, :!=, :<, :>, :<=, :>=, :and, :or, :not, :in, :is_nil, :like, :ilike, :exists]

  @type query :: Ecto.Query.t() | nil

  @doc "The primitive type of an expression, `:any` where it is unknown."
  @spec of(term, query) :: term
  def of(expression, query) do
    case type(expression, query) do
      {:primitive, type} -> type
      {:try, type} -> Ecto.Type.type(type)
      type -> Ecto.Type.type(type)
    end
  end

  @doc "The primitive type of a column of a source, `:any` where it is unknown."
  @spec of_field(query, non_neg_integer, atom | String.t()) :: term
  def of_field(query, index, column), do: query |> field(index, column) |> Ecto.Type.type()

  @doc "Whether an expression is a decimal."
  @spec decimal?(term, query) :: boolean
  def decimal?(expression, query), do: of(expression, query) == :decimal

  defp type({{:., _, [{:parent_as, _, [as]}, field]}, _, []}, query), do: parent_field(query, as, field)

  defp type({{:., meta, [{:&, _, [index]}, field]}, _, []}, query),
    do: if(meta[:type] in [nil, :any], do: field(query, index, field), else: meta[:type])

  # Ecto has taken the type of the type already.
  defp type(%Tagged{type: type}, _query), do: {:primitive, type}
  defp type(%Decimal{}, _query), do: :decimal

  defp type({operator, _, [left, right]}, query) when operator in @arithmetic and right != :distinct do
    if decimal?(left, query) or decimal?(right, query), do: :decimal, else: :any
  end

  defp type({condition, _, [_ | _]}, _query) when condition in @conditions, do: :boolean
  defp type(boolean, _query) when is_boolean(boolean), do: :boolean

  defp type({:coalesce, _, [left, right]}, query) do
    case {of(left, query), of(right, query)} do
      {same, same} -> {:primitive, same}
      {one, other} when {one, other} in @precisions -> other
      {one, other} when {other, one} in @precisions -> one
      {:decimal, _} -> :decimal
      {_, :decimal} -> :decimal
      {type, :any} -> {:primitive, type}
      {:any, type} -> {:primitive, type}
      _ -> :any
    end
  end

  defp type({keeping, _, [argument | _]}, query) when keeping in @keeping, do: type(argument, query)
  defp type({:datetime_add, _, [argument | _]}, query), do: type(argument, query)

  defp type({:selected_as, _, [name]}, %{select: %{fields: fields}} = query) when is_list(fields) do
    case List.keyfind(Enum.filter(fields, &match?({name, _} when is_atom(name), &1)), name, 0) do
      {^name, expression} -> type(expression, query)
      nil -> :any
    end
  end

  defp type(%Ecto.SubQuery{query: %{select: %{fields: [field]}} = query}, _parent),
    do: type(unnamed(field), query)

  defp type(_expression, _query), do: :any

  defp unnamed({name, expression}) when is_atom(name), do: expression
  defp unnamed(expression), do: expression

  defp parent_field(%{aliases: %{@parent_as => {parent, _sources}}}, as, field) do
    case parent do
      %{aliases: %{^as => index}} -> field(parent, index, field)
      parent -> parent_field(parent, as, field)
    end
  end

  defp parent_field(_query, _as, _field), do: :any

  # --- sources --------------------------------------------------------------------------------------------------

  @doc "The type of a column of a source. `column` is a field's `:source`."
  @spec field(query, non_neg_integer, atom | String.t()) :: term
  def field(%{sources: sources} = query, index, column)
      when is_tuple(sources) and index < tuple_size(sources),
      do: source_field(planned(query, index) || elem(sources, index), column, query)

  def field(_query, _index, _column), do: :any

  # Only the clause itself has a subquery as it was planned.
  defp planned(%{from: %{source: %Ecto.SubQuery{} = subquery}}, 0), do: subquery

  defp planned(%{joins: joins}, index) do
    Enum.find_value(joins, fn
      %JoinExpr{ix: ^index, source: %Ecto.SubQuery{} = subquery} -> subquery
      _ -> nil
    end)
  end

  defp source_field(%Ecto.SubQuery{query: %{select: %{fields: fields}} = query} = subquery, column, _parent)
       when is_list(fields) do
    case selected(fields, column) do
      nil -> subquery_field(subquery, column)
      expression -> type(expression, query)
    end
  end

  defp source_field(%Ecto.SubQuery{} = subquery, column, _query), do: subquery_field(subquery, column)
  defp source_field({:values, _, [types | _]}, column, _query) when is_list(types), do: types[column] || :any
  defp source_field({{:fragment, _, _}, schema, _prefix}, column, _query), do: schema_field(schema, column)

  defp source_field({name, nil, _prefix}, column, query) when is_binary(name),
    do: common_field(query, name, column)

  defp source_field({name, schema, _prefix}, column, _query) when is_binary(name),
    do: schema_field(schema, column)

  defp source_field(_source, _column, _query), do: :any

  defp subquery_field(%{select: {:source, _, _, types}}, column), do: types[column] || :any
  defp subquery_field(%{select: {:struct, _, types}}, column), do: value_type(types[column])
  defp subquery_field(%{select: {:map, types}}, column), do: value_type(types[column])
  defp subquery_field(_subquery, _column), do: :any

  defp value_type({:value, type}), do: type
  defp value_type(_other), do: :any

  # A query that was planned has the columns' names in the place of the fields'.
  defp schema_field(nil, _column), do: :any

  defp schema_field(schema, column) do
    case Enum.find(schema.__schema__(:fields), &(schema.__schema__(:field_source, &1) == column)) do
      nil -> :any
      field -> schema.__schema__(:type, field)
    end
  end

  # A recursive table refers to itself: its first part tells the type.
  defp common_field(%{with_ctes: %WithExpr{queries: queries}} = query, name, column) do
    case List.keyfind(queries, name, 0) do
      {^name, _options, %Ecto.Query{select: %{fields: fields}} = table} when is_list(fields) ->
        with expression when expression != nil <- selected(fields, column),
             do: type(expression, %{table | with_ctes: table.with_ctes || without(query, name)}),
             else: (nil -> :any)

      _ ->
        outer_field(query, name, column)
    end
  end

  defp common_field(query, name, column), do: outer_field(query, name, column)

  defp outer_field(%{aliases: %{@parent_as => {parent, _sources}}}, name, column),
    do: common_field(parent, name, column)

  defp outer_field(_query, _name, _column), do: :any

  defp without(%{with_ctes: with_ctes}, name),
    do: %{with_ctes | queries: List.keydelete(with_ctes.queries, name, 0)}

  defp selected(fields, column) do
    Enum.find_value(fields, fn
      {^column, expression} -> expression
      {{:., _, [{:&, _, [_]}, ^column]}, _, []} = field -> field
      _ -> nil
    end)
  end
end
