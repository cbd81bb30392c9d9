defmodule Ecto.Adapters.LibSql.JsonSelect do
  @moduledoc false
  # Keeps the types of values out of JSON. `json_extract` makes true a 1 and a list a text, so where such a value reaches
  # Elixir it travels as JSON text, and `EctoLibSql.Query` decodes it. Called for a planned query before its SQL is
  # written; knows no SQL.
  #
  # A column of a subquery or CTE that holds such a value is JSON text as well. Two nodes are put into the query for
  # `ExpressionSql`:
  #
  #   * `{:json_text, [], [expression]}` – an expression as JSON text, in a list of selected fields
  #   * `{:json_value, [], [column]}` – the value of a column of JSON text, anywhere else
  #
  # and `{:json_column, [], [expression]}` inside the first for what is JSON text already.
  #
  # With `bare: true` a JSON null may stay one. Elsewhere it becomes NULL: to `coalesce`, `is_nil` and DISTINCT they are the
  # same.

  alias Ecto.Query.{ByExpr, JoinExpr, QueryExpr, WithExpr}

  @typedoc "For each selected field, whether it is JSON text."
  @type flags :: [boolean]

  @value_functions [:lag, :lead, :first_value, :last_value, :nth_value]
  @by_expressions [:wheres, :havings, :group_bys, :order_bys, :updates]

  @doc "A query whose rows go to Elixir."
  @spec outer(Ecto.Query.t()) :: Ecto.Query.t()
  def outer(query), do: query |> mark(:outer) |> elem(0)

  @doc "A query whose rows stay in the database."
  @spec plain(Ecto.Query.t()) :: Ecto.Query.t()
  def plain(query), do: query |> mark(:plain) |> elem(0)

  @doc "Which fields of an outer query are JSON text; `[]` if none is."
  @spec flags(Ecto.Query.t()) :: flags
  def flags(query) do
    {_query, flags} = mark(query, :outer)
    if Enum.any?(flags), do: flags, else: []
  end

  defp mark(query, mode) do
    if uses_json?(query), do: mark(query, %{ctes: %{}, parents: []}, mode), else: {query, []}
  end

  defp uses_json?({:json_extract_path, _, _}), do: true
  defp uses_json?(list) when is_list(list), do: any_uses_json?(list)
  defp uses_json?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> any_uses_json?()
  defp uses_json?(%_{} = struct), do: struct |> Map.from_struct() |> Map.values() |> any_uses_json?()
  defp uses_json?(_other), do: false

  defp any_uses_json?([head | tail]), do: uses_json?(head) or any_uses_json?(tail)
  defp any_uses_json?([]), do: false
  defp any_uses_json?(improper), do: uses_json?(improper)

  # --- queries --------------------------------------------------------------------------------------------------

  # `:outer` and `:inner` may give JSON text, `:plain` never. A list of flags says where an operand of UNION must.
  defp mark(query, scope, mode) do
    {query, scope} = ctes(query, scope)
    {query, columns} = sources(query, scope)
    env = Map.merge(scope, %{columns: columns, aliases: query.aliases, selected: %{}, query: query})
    flags = flags_of(query, env, mode)
    {operands(query, scope, flags) |> rewrite(env, flags, mode), flags}
  end

  defp flags_of(%{select: nil}, _env, _mode), do: []
  defp flags_of(query, _env, :plain), do: Enum.map(query.select.fields, fn _ -> false end)
  defp flags_of(_query, _env, flags) when is_list(flags), do: flags

  defp flags_of(query, env, _mode) do
    own = Enum.map(query.select.fields, &json?(unnamed(&1), env))

    Enum.reduce(query.combinations, own, fn {_kind, operand}, flags ->
      {_operand, others} = mark(operand, scope(env), :inner)
      either(flags, others)
    end)
  end

  defp either(flags, others), do: flags |> Enum.zip(others) |> Enum.map(fn {one, other} -> one or other end)

  defp scope(env), do: Map.take(env, [:ctes, :parents])

  defp operands(query, scope, flags) do
    mode = if Enum.any?(flags), do: flags, else: :plain

    combinations =
      for {kind, operand} <- query.combinations, do: {kind, operand |> mark(scope, mode) |> elem(0)}

    %{query | combinations: combinations}
  end

  defp ctes(%{with_ctes: %WithExpr{queries: [_ | _] = queries} = with_ctes} = query, scope) do
    {queries, scope} =
      Enum.map_reduce(queries, scope, fn
        {name, options, %Ecto.Query{} = cte}, scope ->
          {cte, columns} = cte(cte, name, scope, [])
          {{name, options, cte}, put_in(scope.ctes[name], columns)}

        other, scope ->
          {other, scope}
      end)

    {%{query | with_ctes: %{with_ctes | queries: queries}}, scope}
  end

  defp ctes(query, scope), do: {query, scope}

  # A recursive one reads its own columns, so it is looked at until no more of them turn out to be JSON.
  defp cte(cte, name, scope, columns) do
    case mark(cte, put_in(scope.ctes[name], columns), :inner) do
      {marked, flags} ->
        case names(cte, flags) do
          ^columns -> {marked, columns}
          more -> cte(cte, name, scope, more)
        end
    end
  end

  defp names(%{select: nil}, _flags), do: []

  defp names(query, flags) do
    for {{name, _expression}, true} <- Enum.zip(query.select.fields, flags), is_atom(name), do: name
  end

  # `columns` of the query's sources that are JSON text, by the index of the source.
  defp sources(query, scope) do
    {from, columns} = source(query.from && query.from.source, scope)
    query = if query.from, do: put_in(query.from.source, from), else: query

    {joins, columns} =
      Enum.map_reduce(query.joins, %{0 => columns}, fn %JoinExpr{source: source, ix: index} = join, all ->
        {source, columns} = source(source || elem(query.sources, index), scope)
        {if(join.source, do: %{join | source: source}, else: join), Map.put(all, index, columns)}
      end)

    {%{query | joins: joins}, columns}
  end

  defp source(%Ecto.SubQuery{query: query} = subquery, scope) do
    {marked, flags} = mark(query, scope, :inner)
    {%{subquery | query: marked}, names(query, flags)}
  end

  defp source(source, scope) when is_tuple(source) and is_binary(elem(source, 0)),
    do: {source, Map.get(scope.ctes, elem(source, 0), [])}

  defp source(source, _scope), do: {source, []}

  # --- clauses --------------------------------------------------------------------------------------------------

  defp rewrite(query, env, flags, mode) do
    fields = if query.select, do: query.select.fields, else: []
    bare? = mode == :outer and query.combinations == [] and query.distinct == nil

    selected =
      for {{name, _expression}, true} <- Enum.zip(fields, flags), is_atom(name), into: %{}, do: {name, true}

    inside = %{env | selected: selected}

    query =
      Enum.reduce(@by_expressions, query, fn clause, query ->
        Map.update!(query, clause, &each_expression(&1, inside))
      end)

    query =
      Enum.reduce(
        [:distinct, :limit, :offset],
        query,
        &Map.update!(&2, &1, fn by -> expression(by, inside) end)
      )

    windows = for {name, window} <- query.windows, do: {name, expression(window, inside)}
    joins = for join <- query.joins, do: %{join | on: expression(join.on, inside)}
    fields = for {field, flag} <- zip(fields, flags), do: field(field, flag, bare?, env)
    query = %{query | windows: windows, joins: joins}
    query = if query.select, do: put_in(query.select.fields, fields), else: query
    if query.combinations != [] and Enum.any?(flags), do: by_output(query, env.query, flags), else: query
  end

  # An UPDATE or DELETE without select has no flags.
  defp zip(fields, []), do: Enum.map(fields, &{&1, false})
  defp zip(fields, flags), do: Enum.zip(fields, flags)

  defp each_expression(list, env), do: Enum.map(list, &expression(&1, env))

  defp expression(%{expr: expr} = by, env), do: %{by | expr: plain(expr, env)}
  defp expression(other, _env), do: other

  defp field({name, expression}, flag, bare?, env) when is_atom(name),
    do: {name, field(expression, flag, bare?, env)}

  defp field(expression, true, bare?, env), do: {:json_text, [bare: bare?], [text(expression, env)]}
  defp field(expression, false, _bare?, env), do: plain(expression, env)

  # The ORDER BY of a compound sees its output alone, where JSON is text: the terms are named by their columns.
  defp by_output(query, original, flags) do
    columns =
      for {{field, flag}, index} <- original.select.fields |> Enum.zip(flags) |> Enum.with_index() do
        case field do
          {name, expression} when is_atom(name) -> {name, bare(expression), flag}
          expression -> {:"ecto_c#{index}", bare(expression), flag}
        end
      end

    fields = for {field, {name, _, _}} <- Enum.zip(query.select.fields, columns), do: {name, unnamed(field)}

    orders =
      for {order, given} <- Enum.zip(query.order_bys, original.order_bys) do
        %{order | expr: for({direction, term} <- given.expr, do: {direction, output(term, columns, query)})}
      end

    %{put_in(query.select.fields, fields) | order_bys: orders}
  end

  defp output(term, columns, query) do
    found =
      case term do
        {:selected_as, _, [name]} -> List.keyfind(columns, name, 0)
        term -> List.keyfind(columns, bare(term), 1)
      end

    case found do
      {name, _expression, true} ->
        {:json_value, [], [{:selected_as, [], [name]}]}

      {name, _expression, false} ->
        {:selected_as, [], [name]}

      nil ->
        raise Ecto.QueryError,
          query: query,
          message: "SQLite orders a union, except or intersect by what it selects"
    end
  end

  # Without what Ecto notes about types and places.
  defp bare({{:., _, arguments}, _, []}), do: {{:., [], bare(arguments)}, [], []}
  defp bare({name, _, arguments}) when is_atom(name), do: {name, [], bare(arguments)}
  defp bare(list) when is_list(list), do: Enum.map(list, &bare/1)
  defp bare(other), do: other

  defp unnamed({name, expression}) when is_atom(name), do: expression
  defp unnamed(expression), do: expression

  # --- expressions ----------------------------------------------------------------------------------------------

  defp json?({:json_extract_path, _, [_json, [_ | _]]}, _env), do: true
  defp json?({:json_extract_path, _, [json, []]}, env), do: json?(json, env)
  defp json?({{:., _, [{:&, _, [index]}, name]}, _, []}, env), do: name in Map.get(env.columns, index, [])

  defp json?({{:., _, [{:parent_as, _, [as]}, name]}, _, []}, env) do
    with %{aliases: %{^as => index}, columns: columns} <- Enum.find(env.parents, &is_map_key(&1.aliases, as)) do
      name in Map.get(columns, index, [])
    else
      _ -> false
    end
  end

  defp json?({:coalesce, _, [left, right]}, env), do: json?(left, env) or json?(right, env)

  defp json?({:over, _, [{function, _, [value | _]}, _]}, env) when function in @value_functions,
    do: json?(value, env)

  defp json?(%Ecto.SubQuery{query: query}, env) do
    match?({_, [true]}, mark(query, inside(env), :inner))
  end

  defp json?(_other, _env), do: false

  # The scope of a subquery in an expression, which may refer to the query around it.
  defp inside(env), do: %{ctes: env.ctes, parents: [Map.take(env, [:aliases, :columns]) | env.parents]}

  # Under a `:json_text`: operands are such again.
  defp text({:json_extract_path, meta, [json, path]}, env),
    do: {:json_extract_path, meta, [json, plain(path, env)]}

  defp text({:coalesce, meta, values}, env),
    do: {:json_column, [], [{:coalesce, meta, Enum.map(values, &inner_text(&1, env))}]}

  defp text({:over, meta, [{function, function_meta, [value | rest]}, window]} = over, env)
       when function in @value_functions do
    if json?(over, env) do
      {rest, default} = Enum.split(plain(rest, env), 1)
      arguments = [inner_text(value, env) | rest] ++ Enum.map(default, &{:json_text, [], [&1]})
      {:json_column, [], [{:over, meta, [{function, function_meta, arguments}, plain(window, env)]}]}
    else
      plain(over, env)
    end
  end

  defp text(%Ecto.SubQuery{query: query} = subquery, env) do
    if json?(subquery, env) do
      {:json_column, [], [%{subquery | query: query |> mark(inside(env), :inner) |> elem(0)}]}
    else
      plain(subquery, env)
    end
  end

  defp text(expression, env) do
    if json?(expression, env), do: {:json_column, [], [expression]}, else: plain(expression, env)
  end

  defp inner_text(expression, env), do: {:json_text, [], [text(expression, env)]}

  # Where a value is needed: columns of JSON text are read, those that are walked into with a path stay.
  defp plain({:json_extract_path, meta, [json, []]}, env),
    do: {:json_extract_path, meta, [plain(json, env), []]}

  defp plain({:json_extract_path, meta, [json, path]}, env),
    do: {:json_extract_path, meta, [json, plain(path, env)]}

  defp plain({{:., _, [_source, _name]}, _, []} = field, env) do
    if json?(field, env), do: {:json_value, [], [field]}, else: field
  end

  defp plain({:selected_as, _, [name]} = selected, env) do
    if is_map_key(env.selected, name), do: {:json_value, [], [selected]}, else: selected
  end

  defp plain(%Ecto.SubQuery{query: query} = subquery, env) do
    %{subquery | query: query |> mark(inside(env), :plain) |> elem(0)}
  end

  defp plain(%Ecto.Query.Tagged{value: value} = tagged, env), do: %{tagged | value: plain(value, env)}
  defp plain(%{__struct__: by, expr: _} = expr, env) when by in [ByExpr, QueryExpr], do: expression(expr, env)
  defp plain(list, env) when is_list(list), do: Enum.map(list, &plain(&1, env))
  defp plain(tuple, env) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> plain(env) |> List.to_tuple()
  defp plain(other, _env), do: other
end
