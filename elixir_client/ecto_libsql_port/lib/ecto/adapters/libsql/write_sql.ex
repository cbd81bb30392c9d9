defmodule Ecto.Adapters.LibSql.WriteSql do
  @moduledoc false
  # INSERT, UPDATE and DELETE. Called by `Connection`; takes clauses from `QuerySql` and expressions from
  # `ExpressionSql`.
  #
  # RETURNING and the SET of an upsert know no alias in SQLite, so there the first source stands without one.

  alias Ecto.Adapters.LibSql.{ExpressionSql, QuerySql, Quoting}
  alias Ecto.Query.{BooleanExpr, JoinExpr, QueryExpr}

  import ExpressionSql, only: [expr: 3, error!: 2]

  # --- queries --------------------------------------------------------------------------------------------------

  @doc "`update_all`."
  @spec update_all(Ecto.Query.t()) :: iodata
  def update_all(%{from: %{source: source}} = query) do
    sources = QuerySql.create_names(query, [])
    {table, name} = QuerySql.source(query, sources, 0, source)
    {from, wheres} = update_from(query, sources)

    [
      QuerySql.cte(query, sources),
      "UPDATE ",
      table,
      " AS ",
      name,
      " SET ",
      assignments(query, sources),
      from,
      QuerySql.where(%{query | wheres: wheres ++ query.wheres}, sources),
      returning_query(query, sources)
    ]
  end

  # The leading inner joins become the FROM, their conditions part of the WHERE. If the first one is an outer join, a
  # single row stands before it, since FROM must begin with a table.
  defp update_from(%{joins: []}, _sources), do: {[], []}

  defp update_from(%{joins: joins} = query, sources) do
    {inner, outer} = Enum.split_while(joins, &(&1.qual in [:inner, :cross]))
    refuse_right_joins(outer, query, "update_all")

    tables =
      Enum.map(inner, fn %JoinExpr{ix: index, source: source} ->
        {join, name} = QuerySql.source(query, sources, index, source)
        [join, " AS ", name]
      end)

    tables = if tables == [], do: ["(SELECT 1)"], else: Enum.intersperse(tables, ", ")
    {[" FROM ", tables, QuerySql.joins(outer, sources, query)], conditions(inner)}
  end

  defp conditions(joins) do
    for %JoinExpr{on: %QueryExpr{expr: expression} = on} <- joins, expression != true do
      struct!(BooleanExpr, expr: expression, op: :and, params: nil, file: on.file, line: on.line)
    end
  end

  defp refuse_right_joins(joins, query, operation) do
    for %{qual: qual} <- joins, qual not in [:inner, :cross, :left] do
      error!(query, "the libSQL adapter takes inner, cross and left joins in #{operation}, not #{qual}")
    end
  end

  @doc "`delete_all`. SQLite deletes from one table: with joins the rows are named by a subquery."
  @spec delete_all(Ecto.Query.t()) :: iodata
  def delete_all(%{from: %{source: source}, joins: joins} = query) do
    sources = QuerySql.create_names(query, [])
    {table, name} = QuerySql.source(query, sources, 0, source)

    [
      QuerySql.cte(query, sources),
      "DELETE FROM ",
      table,
      " AS ",
      name,
      delete_where(joins, {table, name}, query, sources),
      returning_query(query, sources)
    ]
  end

  defp delete_where([], _from, query, sources), do: QuerySql.where(query, sources)

  defp delete_where(joins, {table, name}, query, sources) do
    refuse_right_joins(joins, query, "delete_all")

    [
      " WHERE ",
      [name, ".rowid IN (SELECT ", name, ".rowid FROM ", table, " AS ", name],
      QuerySql.joins(joins, sources, query),
      QuerySql.where(query, sources),
      ?)
    ]
  end

  defp assignments(%{updates: updates} = query, sources) do
    assignments =
      for %{expr: expression} <- updates, {operation, fields} <- expression, {field, value} <- fields do
        [Quoting.name(field), " = ", assigned(operation, field, value, sources, query)]
      end

    Enum.intersperse(assignments, ", ")
  end

  defp assigned(:set, _field, value, sources, query), do: expr(value, sources, query)

  defp assigned(:inc, field, value, sources, query) do
    [ExpressionSql.qualified(field, sources, 0), " + ", expr(value, sources, query)]
  end

  # Arrays are JSON.
  defp assigned(:push, field, value, sources, query) do
    [
      "json_insert(",
      ExpressionSql.qualified(field, sources, 0),
      ", '$[#]', ",
      sources |> element(field) |> pushed(expr(value, sources, query)),
      ?)
    ]
  end

  defp assigned(:pull, field, value, sources, query) do
    [
      "(SELECT json_group_array(CASE WHEN type IN ('true', 'false', 'object', 'array')",
      " THEN json(iif(atom IS NULL OR type = 'object' OR type = 'array', value, type)) ELSE value END)",
      " FROM json_each(",
      ExpressionSql.qualified(field, sources, 0),
      ") WHERE value IS NOT ",
      expr(value, sources, query),
      ?)
    ]
  end

  defp assigned(operation, _field, _value, _sources, query) do
    error!(query, "the libSQL adapter knows no update operation #{inspect(operation)}")
  end

  # The type of an array's elements, where a schema tells it.
  defp element(sources, field) do
    with {_table, _name, schema} when schema != nil <- elem(sources, 0),
         {:array, element} <- schema.__schema__(:type, field) do
      element
    else
      _ -> nil
    end
  end

  # What goes into an array as a value of its own kind is no text or number there, though it is one as a parameter.
  defp pushed(:boolean, value),
    do: ["json(CASE ", value, " WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)"]

  defp pushed(:map, value), do: ["json(", value, ?)]
  defp pushed({json, _}, value) when json in [:map, :array], do: ["json(", value, ?)]
  defp pushed(_element, value), do: value

  defp returning_query(%{select: nil}, _sources), do: []

  defp returning_query(%{select: %{fields: fields}} = query, sources) do
    # SQLite could name the columns of other tables no more: the rows are gone, or never were joined.
    if joined?(fields), do: error!(query, "RETURNING knows only columns of the table that is written")
    [" RETURNING ", QuerySql.select_fields(fields, bare(sources), query, :outer)]
  end

  defp joined?({:&, _, [index]}), do: index > 0
  defp joined?(list) when is_list(list), do: Enum.any?(list, &joined?/1)
  defp joined?(%{__struct__: _}), do: false
  defp joined?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> joined?()
  defp joined?(_other), do: false

  defp bare(sources) do
    {sql, _name, schema} = elem(sources, 0)
    put_elem(sources, 0, {sql, nil, schema})
  end

  # --- insert ---------------------------------------------------------------------------------------------------

  @doc "`insert` and `insert_all`: rows, or a query."
  def insert(prefix, table, header, rows, on_conflict, returning, placeholders) do
    [
      "INSERT INTO ",
      Quoting.table(prefix, table),
      insert_as(on_conflict),
      inserted(header, rows, on_conflict, length(placeholders)),
      on_conflict(on_conflict),
      returning(returning)
    ]
  end

  defp insert_as({%Ecto.Query{sources: sources}, _, _}) do
    {_sql, name, _schema} = QuerySql.create_name(elem(sources, 0), 0, [])
    [" AS ", name]
  end

  defp insert_as(_on_conflict), do: []

  defp inserted([], [_row], _on_conflict, _placeholders), do: " DEFAULT VALUES"

  defp inserted([], rows, _on_conflict, _placeholders) when is_list(rows) do
    raise ArgumentError, "SQLite inserts one row of defaults at a time"
  end

  defp inserted(header, rows, _on_conflict, placeholders) when is_list(rows) do
    {rows, _next} = Enum.map_reduce(rows, placeholders + 1, &row/2)
    [" (", Quoting.names(header), ") VALUES ", Enum.intersperse(rows, ", ")]
  end

  defp inserted(header, %Ecto.Query{} = query, on_conflict, _placeholders) do
    [" (", Quoting.names(header), ") ", query |> unambiguous(on_conflict) |> QuerySql.inner()]
  end

  # Without a WHERE the parser takes the ON of ON CONFLICT for a join's.
  defp unambiguous(query, {:raise, _, _}), do: query

  defp unambiguous(query, on_conflict) do
    wheres = if query.wheres == [], do: [struct!(BooleanExpr, expr: true, op: :and)], else: query.wheres
    combinations = for {kind, combined} <- query.combinations, do: {kind, unambiguous(combined, on_conflict)}
    %{query | wheres: wheres, combinations: combinations}
  end

  defp row(values, next) do
    {values, next} = Enum.map_reduce(values, next, &value/2)
    {[?(, Enum.intersperse(values, ", "), ?)], next}
  end

  defp value(nil, _next) do
    raise ArgumentError,
          "SQLite has no DEFAULT for a single value: rows with different columns need a statement each, " <>
            "as Repo.insert_all/3 makes them"
  end

  defp value({%Ecto.Query{} = query, count}, next), do: {[?(, QuerySql.inner(query), ?)], next + count}
  defp value({:placeholder, index}, next), do: {[?? | to_string(index)], next}
  defp value(_field, next), do: {[?? | Integer.to_string(next)], next + 1}

  defp on_conflict({:raise, _, []}), do: []
  defp on_conflict({:nothing, _, targets}), do: [" ON CONFLICT", target(targets), " DO NOTHING"]

  defp on_conflict({%Ecto.Query{} = query, _, targets}) do
    sources = QuerySql.create_names(query, [])

    [
      " ON CONFLICT",
      target(targets),
      " DO UPDATE SET ",
      assignments(query, sources),
      QuerySql.where(query, sources)
    ]
  end

  defp on_conflict({fields, _, targets}) when is_list(fields) do
    assignments =
      Enum.map_intersperse(fields, ", ", fn field ->
        name = Quoting.name(field)
        [name, " = excluded.", name]
      end)

    [" ON CONFLICT", target(targets), " DO UPDATE SET ", assignments]
  end

  defp target([]), do: []
  defp target({:unsafe_fragment, fragment}), do: [?\s, fragment]
  defp target(targets), do: [" (", Quoting.names(targets), ?)]

  # --- one row --------------------------------------------------------------------------------------------------

  @doc "`update` of the rows that match the filters."
  def update(prefix, table, fields, filters, returning) do
    {assignments, next} =
      Enum.map_reduce(fields, 1, fn field, next ->
        {[Quoting.name(field), " = ?", Integer.to_string(next)], next + 1}
      end)

    [
      ["UPDATE ", Quoting.table(prefix, table), " SET ", Enum.intersperse(assignments, ", ")],
      filters(filters, next),
      returning(returning)
    ]
  end

  @doc "`delete` of the rows that match the filters."
  def delete(prefix, table, filters, returning) do
    ["DELETE FROM ", Quoting.table(prefix, table), filters(filters, 1), returning(returning)]
  end

  defp filters(filters, next) do
    {filters, _next} =
      Enum.map_reduce(filters, next, fn
        {field, nil}, next -> {[Quoting.name(field), " IS NULL"], next}
        {field, _value}, next -> {[Quoting.name(field), " = ?", Integer.to_string(next)], next + 1}
        field, next -> {[Quoting.name(field), " = ?", Integer.to_string(next)], next + 1}
      end)

    [" WHERE ", Enum.intersperse(filters, " AND ")]
  end

  defp returning([]), do: []
  defp returning({:unsafe_fragment, fragment}), do: [" RETURNING ", fragment]
  defp returning(fields), do: [" RETURNING ", Quoting.names(fields)]
end
