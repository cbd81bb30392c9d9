defmodule Ecto.Adapters.LibSql.WriteSql do
  @moduledoc false
  # INSERT, UPDATE and DELETE. Called by `Connection`; takes clauses from `QuerySql` and expressions from
  # `ExpressionSql`.
  #
  # RETURNING and the SET of an upsert know no alias in SQLite, so there the first source stands without one.

  alias Ecto.Adapters.LibSql.{ArraySql, ExpressionSql, QuerySql, Quoting, ReturningSql}
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
      ReturningSql.query(query, sources)
    ]
  end

  defp update_from(%{joins: []}, _sources), do: {[], []}

  defp update_from(query, sources) do
    {from, conditions} = joined_from(query, sources, "update_all")
    {[" FROM ", from], conditions}
  end

  # The joins of a written table without it. The leading inner ones are a list of tables, their conditions become part of
  # the WHERE. If the first one is an outer join, a single row stands before it, since FROM must begin with a table.
  defp joined_from(%{joins: joins} = query, sources, operation) do
    {inner, outer} = Enum.split_while(joins, &(&1.qual in [:inner, :cross]))
    refuse_right_joins(outer, query, operation)

    tables =
      Enum.map(inner, fn %JoinExpr{ix: index, source: source} ->
        {join, name} = QuerySql.source(query, sources, index, source)
        [join, " AS ", name]
      end)

    tables = if tables == [], do: ["(SELECT 1)"], else: Enum.intersperse(tables, ", ")
    {[tables, QuerySql.joins(outer, sources, query)], conditions(inner)}
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

  @doc """
  `delete_all`. SQLite deletes from one table. With joins its rows are named by their primary key in a subquery, so that
  the engine may begin with any of the tables. Without a schema no key is known, and a rowid is nothing that every table
  has (WITHOUT ROWID, a column of that name): there each row is asked whether it has joined ones.
  """
  @spec delete_all(Ecto.Query.t()) :: iodata
  def delete_all(%{from: %{source: source}} = query) do
    sources = QuerySql.create_names(query, [])
    {table, name} = QuerySql.source(query, sources, 0, source)

    [
      QuerySql.cte(query, sources),
      "DELETE FROM ",
      table,
      " AS ",
      name,
      delete_where({table, name}, query, sources),
      ReturningSql.query(query, sources)
    ]
  end

  defp delete_where(_from, %{joins: []} = query, sources), do: QuerySql.where(query, sources)

  defp delete_where({table, name}, query, sources) do
    refuse_right_joins(query.joins, query, "delete_all")

    case QuerySql.primary_key(elem(query.sources, 0)) do
      [] ->
        {from, conditions} = joined_from(query, sources, "delete_all")
        where = QuerySql.where(%{query | wheres: conditions ++ query.wheres}, sources)
        [" WHERE EXISTS (SELECT 1 FROM ", from, where, ?)]

      key ->
        columns = Enum.map_intersperse(key, ", ", &ExpressionSql.qualified(&1, sources, 0))

        [
          [" WHERE ", key_value(key, columns), " IN (SELECT ", columns, " FROM ", table, " AS ", name],
          QuerySql.joins(query.joins, sources, query),
          QuerySql.where(query, sources),
          ?)
        ]
    end
  end

  defp key_value([_column], columns), do: columns
  defp key_value(_key, columns), do: [?(, columns, ?)]

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

  defp assigned(:push, field, value, sources, query) do
    array = ExpressionSql.qualified(field, sources, 0)
    ArraySql.push(array, expr(value, sources, query), ArraySql.element(sources, 0, field))
  end

  defp assigned(:pull, field, value, sources, query) do
    array = ExpressionSql.qualified(field, sources, 0)
    ArraySql.pull(array, expr(value, sources, query), ArraySql.element(sources, 0, field))
  end

  defp assigned(operation, _field, _value, _sources, query) do
    error!(query, "the libSQL adapter knows no update operation #{inspect(operation)}")
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
