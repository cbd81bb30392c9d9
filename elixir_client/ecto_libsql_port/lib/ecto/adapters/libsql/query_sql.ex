defmodule Ecto.Adapters.LibSql.QuerySql do
  @moduledoc false
  # Queries as SQL, a function for each clause of SELECT. Called by `Connection`, by `ExpressionSql` for subqueries and by
  # `WriteSql`, which has UPDATE, DELETE and INSERT. Expressions are `ExpressionSql`'s.
  #
  # What SQLite lacks is written in what it has: DISTINCT ON as a window function, bracketed set operands as subqueries,
  # row locks as nothing, for a write transaction holds the whole database.

  alias Ecto.Adapters.LibSql.{ExpressionSql, ExpressionType, JsonSelect, Quoting}
  alias Ecto.Query.{ByExpr, JoinExpr, QueryExpr, WithExpr}

  import ExpressionSql, only: [expr: 3, boolean: 4, order: 3, error!: 2]

  @parent_as ExpressionSql.parent_key()

  @doc "A query whose rows go to Elixir."
  @spec all(Ecto.Query.t()) :: iodata
  def all(query), do: query |> JsonSelect.outer() |> select_statement([])

  @doc "A query inside another statement."
  @spec inner(Ecto.Query.t(), iodata) :: iodata
  def inner(query, as_prefix \\ []), do: select_statement(query, as_prefix)

  @doc "A subquery, which may refer to the query around it."
  @spec nested(Ecto.Query.t(), tuple, Ecto.Query.t()) :: iodata
  def nested(query, sources, parent) do
    combinations =
      for {kind, combination} <- query.combinations do
        {kind, put_in(combination.aliases[@parent_as], {parent, sources})}
      end

    query = put_in(query.combinations, combinations)
    query = put_in(query.aliases[@parent_as], {parent, sources})
    inner(query, as_prefix(sources))
  end

  defp select_statement(%{distinct: %ByExpr{expr: [_ | _]}} = query, as_prefix) do
    distinct_on(query, as_prefix)
  end

  defp select_statement(%{combinations: [_ | _]} = query, as_prefix) do
    if Enum.any?(query.order_bys, &by_json?/1),
      do: ordered_around(query, as_prefix),
      else: plain_statement(query, as_prefix)
  end

  defp select_statement(query, as_prefix), do: plain_statement(query, as_prefix)

  # A compound is ordered by its columns alone, not by an expression with one of them.
  defp by_json?(%{expr: terms}), do: Enum.any?(terms, &match?({_direction, {:json_value, _, _}}, &1))

  defp ordered_around(query, as_prefix) do
    sources = create_names(query, as_prefix)
    inside = %{query | order_bys: [], limit: nil, offset: nil}

    [
      ["SELECT * FROM (", select_statement(inside, as_prefix), ?)],
      order_by(query, sources),
      limit(query, sources),
      offset(query, sources)
    ]
  end

  defp plain_statement(query, as_prefix) do
    sources = create_names(query, as_prefix)

    select = [
      "SELECT ",
      distinct(query.distinct),
      select_fields(query.select.fields, sources, query),
      from(query, sources),
      joins(query.joins, sources, query),
      where(query, sources),
      group_by(query, sources),
      having(query, sources),
      windows(query, sources),
      combinations(query, as_prefix)
    ]

    [
      cte(query, sources),
      if(decimals_of_union?(query), do: ["SELECT * FROM (", select, ?)], else: select),
      order_by(query, sources),
      limit(query, sources),
      offset(query, sources)
    ]
  end

  # --- DISTINCT ON ----------------------------------------------------------------------------------------------

  # The first row of each group, in the order that is asked for: numbered in a subquery, and the ones taken.
  defp distinct_on(%{combinations: [_ | _]} = query, _as_prefix) do
    error!(query, "the libSQL adapter cannot combine distinct columns with union, except or intersect")
  end

  defp distinct_on(query, as_prefix) do
    sources = create_names(query, as_prefix)
    keys = query.distinct.expr
    asked = Enum.flat_map(query.order_bys, & &1.expr)
    orders = keys ++ Enum.reject(asked, &(&1 in keys))
    fields = query.select.fields
    names = fields |> Enum.with_index() |> Enum.map(&distinct_name/1)

    columns =
      fields
      |> Enum.zip(names)
      |> Enum.map(fn {field, name} -> [distinct_field(field, sources, query), " AS ", name, ", "] end)

    order_columns =
      for {{_direction, expression}, i} <- Enum.with_index(orders) do
        [ExpressionSql.sorted_by(expression, sources, query), " AS ", order_name(i), ", "]
      end

    order_terms =
      orders
      |> Enum.with_index()
      |> Enum.map(fn {{direction, _}, i} -> direction(direction, order_name(i)) end)

    [
      cte(query, sources),
      "SELECT ",
      outer_names(names),
      " FROM (SELECT ",
      columns,
      order_columns,
      "row_number() OVER (PARTITION BY ",
      Enum.map_intersperse(keys, ", ", fn {_direction, expression} -> expr(expression, sources, query) end),
      " ORDER BY ",
      Enum.map_intersperse(orders, ", ", &order(&1, sources, query)),
      ") AS distinct_row",
      from(query, sources),
      joins(query.joins, sources, query),
      where(query, sources),
      group_by(query, sources),
      having(query, sources),
      windows(query, sources),
      ") WHERE distinct_row = 1 ORDER BY ",
      Enum.intersperse(order_terms, ", "),
      limit(query, sources),
      offset(query, sources)
    ]
  end

  defp distinct_name({{name, _expression}, _i}) when is_atom(name), do: Quoting.name(name)
  defp distinct_name({_expression, i}), do: "distinct_c#{i}"

  defp distinct_field({name, expression}, sources, query) when is_atom(name),
    do: expr(expression, sources, query)

  defp distinct_field(expression, sources, query), do: expr(expression, sources, query)

  defp outer_names([]), do: "TRUE"
  defp outer_names(names), do: Enum.intersperse(names, ", ")

  defp order_name(i), do: "distinct_o#{i}"

  defp direction(:asc, name), do: name
  defp direction(:desc, name), do: [name, " DESC"]

  defp direction(direction, name) do
    [name, ?\s, direction |> Atom.to_string() |> String.upcase() |> String.replace("_", " ")]
  end

  # --- clauses --------------------------------------------------------------------------------------------------

  @doc "The list behind SELECT and RETURNING."
  @spec select_fields(list, tuple, Ecto.Query.t()) :: iodata
  def select_fields([], _sources, _query), do: "TRUE"

  def select_fields(fields, sources, query) do
    Enum.map_intersperse(fields, ", ", &select_field(&1, sources, query))
  end

  defp select_field({:&, _, [index]}, sources, query) do
    case elem(sources, index) do
      {nil, source, nil} ->
        error!(
          query,
          "selecting all fields of the fragment #{source} needs their names: select them one by one"
        )

      {source, _, nil} ->
        error!(query, "selecting all fields of #{source} needs a schema, or their names")

      {_, source, _} ->
        source
    end
  end

  defp select_field({name, expression}, sources, query) when is_atom(name) do
    [expr(expression, sources, query), " AS ", Quoting.name(name)]
  end

  defp select_field(expression, sources, query), do: expr(expression, sources, query)

  defp distinct(nil), do: []
  defp distinct(%{expr: true}), do: "DISTINCT "
  defp distinct(%{expr: _false_or_empty}), do: []

  defp from(%{from: nil}, _sources), do: []

  defp from(%{from: %{source: source, hints: hints}} = query, sources) do
    {from, name} = source(query, sources, 0, source)
    [" FROM ", from, " AS ", name, Enum.map(hints, &[?\s, &1])]
  end

  @doc "`WITH …`, or nothing."
  @spec cte(Ecto.Query.t(), tuple) :: iodata
  def cte(%{with_ctes: %WithExpr{queries: [_ | _] = queries, recursive: recursive}} = query, sources) do
    [
      if(recursive, do: "WITH RECURSIVE ", else: "WITH "),
      Enum.map_intersperse(queries, ", ", &common_table(&1, sources, query)),
      ?\s
    ]
  end

  def cte(_query, _sources), do: []

  defp common_table({name, options, cte}, sources, query) do
    [Quoting.name(name), materialized(options[:materialized]), common_query(cte, options, sources, query)]
  end

  defp materialized(nil), do: " AS "
  defp materialized(true), do: " AS MATERIALIZED "
  defp materialized(false), do: " AS NOT MATERIALIZED "

  defp common_query(%Ecto.Query{} = cte, options, sources, query) do
    case Map.get(options, :operation) do
      operation when operation in [nil, :all] ->
        [?(, inner(put_in(cte.aliases[@parent_as], {query, sources}), as_prefix(sources)), ?)]

      operation ->
        error!(query, "SQLite has no #{operation} inside a common table expression, only select")
    end
  end

  defp common_query(%QueryExpr{expr: expression}, _options, sources, query),
    do: expr(expression, sources, query)

  @doc "Joins, each behind a space."
  @spec joins([JoinExpr.t()], tuple, Ecto.Query.t()) :: iodata
  def joins(joins, sources, query) do
    Enum.map(joins, fn %JoinExpr{on: on, qual: qual, ix: index, source: source, hints: hints} ->
      {join, name} = source(query, sources, index, source)
      hints = Enum.map(hints, &[?\s, &1])
      [?\s, join_word(qual, query), join, " AS ", name, hints, join_on(qual, on, sources, query)]
    end)
  end

  defp join_word(:inner, _query), do: "INNER JOIN "
  defp join_word(:left, _query), do: "LEFT OUTER JOIN "
  defp join_word(:right, _query), do: "RIGHT OUTER JOIN "
  defp join_word(:full, _query), do: "FULL OUTER JOIN "
  defp join_word(:cross, _query), do: "CROSS JOIN "
  defp join_word(qual, query), do: error!(query, "SQLite has no #{qual} join: its joins cannot be lateral")

  defp join_on(:cross, %QueryExpr{expr: true}, _sources, _query), do: []

  defp join_on(_qual, %QueryExpr{expr: expression}, sources, query),
    do: [" ON ", expr(expression, sources, query)]

  @doc "`WHERE …`, or nothing."
  @spec where(Ecto.Query.t(), tuple) :: iodata
  def where(%{wheres: wheres} = query, sources), do: boolean(" WHERE ", wheres, sources, query)

  defp having(%{havings: havings} = query, sources), do: boolean(" HAVING ", havings, sources, query)

  defp group_by(%{group_bys: []}, _sources), do: []

  defp group_by(%{group_bys: group_bys} = query, sources) do
    expressions = ExpressionSql.by_expressions(group_bys)
    [" GROUP BY ", Enum.map_intersperse(expressions, ", ", &expr(&1, sources, query))]
  end

  defp windows(%{windows: []}, _sources), do: []

  defp windows(%{windows: windows} = query, sources) do
    definitions =
      Enum.map_intersperse(windows, ", ", fn {name, %{expr: window}} ->
        [Quoting.name(name), " AS ", ExpressionSql.window(window, sources, query)]
      end)

    [" WINDOW ", definitions]
  end

  defp order_by(%{order_bys: order_bys} = query, sources) do
    sources = if decimals_of_union?(query), do: bare(sources), else: sources

    case Enum.flat_map(order_bys, & &1.expr) do
      [] -> []
      terms -> [" ORDER BY ", Enum.map_intersperse(terms, ", ", &order(&1, sources, query))]
    end
  end

  # Behind a compound SELECT only its columns may stand, no expression of them, as the key of a decimal is. Around it they
  # may, by their names.
  defp decimals_of_union?(%{combinations: []}), do: false

  defp decimals_of_union?(%{order_bys: order_bys} = query) do
    Enum.any?(order_bys, fn %{expr: terms} ->
      Enum.any?(terms, fn {_direction, expression} -> ExpressionType.decimal?(expression, query) end)
    end)
  end

  defp bare(sources) do
    {prefix, names} = sources |> Tuple.to_list() |> List.pop_at(-1)
    List.to_tuple(Enum.map(names, fn {sql, _name, schema} -> {sql, nil, schema} end) ++ [prefix])
  end

  defp limit(%{limit: %{with_ties: true}} = query, _sources),
    do: error!(query, "SQLite has no limit with ties")

  defp limit(%{limit: nil, offset: nil}, _sources), do: []
  # SQLite's OFFSET stands only behind a LIMIT; a negative one is none.
  defp limit(%{limit: nil}, _sources), do: " LIMIT -1"

  defp limit(%{limit: %{expr: expression}} = query, sources),
    do: [" LIMIT ", expr(expression, sources, query)]

  defp offset(%{offset: nil}, _sources), do: []

  defp offset(%{offset: %{expr: expression}} = query, sources),
    do: [" OFFSET ", expr(expression, sources, query)]

  defp combinations(%{combinations: combinations}, as_prefix) do
    Enum.map(combinations, fn {kind, query} -> [set_word(kind, query), operand(query, as_prefix)] end)
  end

  defp set_word(:union, _query), do: " UNION "
  defp set_word(:union_all, _query), do: " UNION ALL "
  defp set_word(:except, _query), do: " EXCEPT "
  defp set_word(:intersect, _query), do: " INTERSECT "

  defp set_word(kind, query) do
    error!(query, "SQLite has no #{kind |> Atom.to_string() |> String.replace("_", " ")}, only without all")
  end

  # An operand has no brackets in SQLite, so what would need them becomes a subquery.
  defp operand(%{combinations: [], order_bys: [], limit: nil, offset: nil, with_ctes: nil} = query, as_prefix) do
    inner(query, as_prefix)
  end

  defp operand(query, as_prefix), do: ["SELECT * FROM (", inner(query, as_prefix), ?)]

  # --- sources --------------------------------------------------------------------------------------------------

  @doc "The aliases of a query's sources, the last element the prefix that they bear."
  @spec create_names(Ecto.Query.t(), iodata) :: tuple
  def create_names(%{sources: sources}, as_prefix) do
    names = for i <- 0..(tuple_size(sources) - 1)//1, do: create_name(elem(sources, i), i, as_prefix)
    List.to_tuple(names ++ [as_prefix])
  end

  @doc "What stands for a source: its SQL (`nil` where it is an expression), alias and schema."
  @spec create_name(term, non_neg_integer, iodata) :: {iodata | nil, iodata, module | nil}
  def create_name({:fragment, _, _}, i, as_prefix), do: {nil, [as_prefix, ?f | Integer.to_string(i)], nil}

  # Ecto 3.14: the rows of a fragment as a schema's.
  def create_name({{:fragment, _, _}, schema, _prefix}, i, as_prefix),
    do: {nil, [as_prefix, ?f | Integer.to_string(i)], schema}

  def create_name({:values, _, _}, i, as_prefix), do: {nil, [as_prefix, ?v | Integer.to_string(i)], nil}
  def create_name(%Ecto.SubQuery{}, i, as_prefix), do: {nil, [as_prefix, ?s | Integer.to_string(i)], nil}

  def create_name({table, schema, prefix}, i, as_prefix) do
    {Quoting.table(prefix, table), [as_prefix, letter(table), Integer.to_string(i)], schema}
  end

  defp letter(<<first, _::binary>>) when first in ?a..?z or first in ?A..?Z, do: first
  defp letter(_table), do: ?t

  @doc "A source's SQL and alias."
  @spec source(Ecto.Query.t(), tuple, non_neg_integer, term) :: {iodata, iodata}
  def source(query, sources, index, source) do
    {sql, name, _schema} = elem(sources, index)
    {sql || expr(source, sources, query), name}
  end

  @doc "The columns of the primary key of a source, where it has a schema."
  @spec primary_key(term) :: [atom]
  def primary_key({table, schema, _prefix}) when is_binary(table) and schema != nil,
    do: Enum.map(schema.__schema__(:primary_key), &schema.__schema__(:field_source, &1))

  def primary_key(_source), do: []

  defp as_prefix(sources), do: [?s | elem(sources, tuple_size(sources) - 1)]
end
