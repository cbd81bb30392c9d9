defmodule Ecto.Adapters.LibSql.WriteSql do
  @moduledoc false
  # INSERT, UPDATE and DELETE. Called by `Connection`; takes clauses from `QuerySql` and expressions from
  # `ExpressionSql`.
  #
  # RETURNING and the SET of an upsert know no alias in SQLite, so there the first source stands without one.

  alias Ecto.Adapters.LibSql.{
    ArraySql,
    ExpressionSql,
    ExpressionType,
    JsonSelect,
    QuerySql,
    Quoting,
    ReturningSql
  }

  alias Ecto.Query.{BooleanExpr, JoinExpr, QueryExpr}
  alias EctoLibSql.TimeSql

  import ExpressionSql, only: [expr: 3, error!: 2]

  @arithmetic [:+, :-, :*, :/]

  # --- queries --------------------------------------------------------------------------------------------------

  @doc """
  `update_all`. In the WHERE of a view SQLite knows no alias, only the view's own name, and it counts no rows: where none are
  selected, each returns a 1.
  """
  @spec update_all(Ecto.Query.t(), :table | :view) :: iodata
  def update_all(query, kind \\ :table) do
    %{from: %{source: source}} = query = JsonSelect.outer(query)
    sources = query |> QuerySql.create_names([]) |> written(query, kind)
    {table, name} = QuerySql.source(query, sources, 0, source)
    {from, conditions} = update_from(table, query, sources)

    [
      QuerySql.cte(query, sources),
      ["UPDATE ", table, written_as(name, kind), " SET "],
      assignments(query, sources),
      from,
      joined_where(conditions, query, sources),
      written_rows(query, sources, kind)
    ]
  end

  defp written(sources, _query, :table), do: sources

  defp written(sources, query, :view) do
    {name, _schema, _prefix} = elem(query.sources, 0)
    put_elem(sources, 0, put_elem(elem(sources, 0), 1, Quoting.name(name)))
  end

  defp written_as(name, :table), do: [" AS ", name]
  defp written_as(_name, :view), do: []

  defp written_rows(%{select: nil}, _sources, :view), do: " RETURNING 1"
  defp written_rows(query, sources, _kind), do: ReturningSql.query(query, sources)

  # The leading inner joins become a list of tables, their conditions part of the WHERE.
  defp update_from(_from, %{joins: []}, _sources), do: {[], []}

  defp update_from(table, query, sources) do
    case split_joins(query, "update_all") do
      {inner, []} ->
        {[" FROM ", listed(inner, query, sources)], conditions(inner)}

      {inner, outer} ->
        # The ON of an outer join cannot refer to the table that is written. So this one stands there once more.
        {_sql, as, _schema} = QuerySql.create_name(elem(query.sources, 0), 0, [])
        again = [as, ?w]
        joined = put_elem(sources, 0, put_elem(elem(sources, 0), 1, again))
        from = [" FROM ", table, " AS ", again, Enum.map(tables(inner, query, sources), &[", ", &1])]
        {[from, QuerySql.joins(outer, joined, query)], same_row(again, query) ++ conditions(inner)}
    end
  end

  defp split_joins(%{joins: joins} = query, operation) do
    {inner, outer} = Enum.split_while(joins, &(&1.qual in [:inner, :cross]))
    refuse_right_joins(outer, query, operation)
    {inner, outer}
  end

  defp listed(joins, query, sources), do: joins |> tables(query, sources) |> Enum.intersperse(", ")

  defp tables(joins, query, sources) do
    Enum.map(joins, fn %JoinExpr{ix: index, source: source} ->
      {join, name} = QuerySql.source(query, sources, index, source)
      [join, " AS ", name]
    end)
  end

  # By the key; where no schema tells it, by the number that SQLite gives to the rows of all tables but those WITHOUT ROWID.
  defp same_row(again, query) do
    key = with [] <- QuerySql.primary_key(elem(query.sources, 0)), do: [:_rowid_]

    for column <- key do
      other = IO.iodata_to_binary([again, ?., Quoting.name(column)])
      written = {{:., [], [{:&, [], [0]}, column]}, [], []}
      struct!(BooleanExpr, expr: {:==, [], [written, {:fragment, [], [raw: other]}]}, op: :and)
    end
  end

  # The conditions of joins hold whatever the WHERE says behind an OR.
  defp joined_where(conditions, %{wheres: wheres} = query, sources) do
    wheres = if conditions != [] and Enum.any?(wheres, &(&1.op == :or)), do: [as_one(wheres)], else: wheres
    QuerySql.where(%{query | wheres: conditions ++ wheres}, sources)
  end

  defp as_one([first | rest]) do
    expression =
      Enum.reduce(rest, first.expr, fn %{op: op, expr: next}, before -> {op, [], [before, next]} end)

    %{first | expr: expression, op: :and}
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
  @spec delete_all(Ecto.Query.t(), :table | :view) :: iodata
  def delete_all(query, kind \\ :table) do
    %{from: %{source: source}} = query = JsonSelect.outer(query)
    sources = query |> QuerySql.create_names([]) |> written(query, kind)
    {table, name} = QuerySql.source(query, sources, 0, source)

    [
      QuerySql.cte(query, sources),
      ["DELETE FROM ", table, written_as(name, kind)],
      delete_where({table, name}, query, sources),
      written_rows(query, sources, kind)
    ]
  end

  defp delete_where(_from, %{joins: []} = query, sources), do: QuerySql.where(query, sources)

  defp delete_where({table, name}, query, sources) do
    {inner, outer} = split_joins(query, "delete_all")

    case QuerySql.primary_key(elem(query.sources, 0)) do
      [] ->
        # FROM must begin with a table; here an ON may refer to the row.
        from = if inner == [], do: "(SELECT 1)", else: listed(inner, query, sources)
        where = joined_where(conditions(inner), query, sources)
        [" WHERE EXISTS (SELECT 1 FROM ", from, QuerySql.joins(outer, sources, query), where, ?)]

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

  defp assigned(:set, field, {operator, _, [_, _]} = value, sources, query) when operator in @arithmetic,
    do: computed(field, value, sources, query)

  defp assigned(:set, field, {kind, _, _} = value, sources, query) when kind not in [:^, :fragment] do
    type = ExpressionType.of_field(query, 0, field)
    sql = expr(value, sources, query)

    # What is computed, or comes from a column of another type, may have another form.
    if TimeSql.designated?(type) and (kind == :datetime_add or ExpressionType.of(value, query) != type),
      do: TimeSql.cast(sql, type, false),
      else: sql
  end

  defp assigned(:set, _field, value, sources, query), do: expr(value, sources, query)

  defp assigned(:inc, field, value, sources, query) do
    column = {{:., [], [{:&, [], [0]}, field]}, [], []}
    computed(field, {:+, [], [column, value]}, sources, query)
  end

  defp assigned(:push, field, value, sources, query) do
    array = ExpressionSql.qualified(field, sources, 0)
    element = ArraySql.element(sources, 0, field)

    # Whether the bytes are text, which alone JSON can hold, is not known here.
    if element == :binary,
      do:
        error!(
          query,
          "an array is JSON, which has no bytes: push takes no {:array, :binary} (#{field}); use {:array, :string}"
        )

    ArraySql.push(array, expr(value, sources, query), element)
  end

  defp assigned(:pull, field, value, sources, query) do
    array = ExpressionSql.qualified(field, sources, 0)
    ArraySql.pull(array, expr(value, sources, query), ArraySql.element(sources, 0, field))
  end

  defp assigned(operation, _field, _value, _sources, query) do
    error!(query, "the libSQL adapter knows no update operation #{inspect(operation)}")
  end

  # SQLite makes a float of an integer that has become too large, which no integer field loads. So it is an error, as in
  # other databases: `abs` of the smallest integer is the one that SQLite itself has for it. It refers to the row because
  # constants are computed before the CASE is.
  defp computed(field, value, sources, query) do
    sql = expr(value, sources, query)

    if ExpressionType.of_field(query, 0, field) in [:integer, :id] and
         not ExpressionType.decimal?(value, query) do
      [
        ["CASE WHEN typeof(", sql, ") = 'real' AND ", sql, " NOT BETWEEN -9.2e18 AND 9.2e18 THEN abs((CAST("],
        [sql, " AS INTEGER) & 0) | -9223372036854775808) ELSE ", sql, " END"]
      ]
    else
      sql
    end
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
    [" (", Quoting.names(header), ") VALUES ", values(header, rows, placeholders)]
  end

  defp inserted(header, %Ecto.Query{} = query, on_conflict, _placeholders) do
    [
      " (",
      Quoting.names(header),
      ") ",
      query |> JsonSelect.plain() |> unambiguous(on_conflict) |> QuerySql.inner()
    ]
  end

  # Without a WHERE the parser takes the ON of ON CONFLICT for a join's.
  defp unambiguous(query, {:raise, _, _}), do: query

  defp unambiguous(query, on_conflict) do
    wheres = if query.wheres == [], do: [struct!(BooleanExpr, expr: true, op: :and)], else: query.wheres
    combinations = for {kind, combined} <- query.combinations, do: {kind, unambiguous(combined, on_conflict)}
    %{query | wheres: wheres, combinations: combinations}
  end

  # Many rows of nothing but values: SQLite numbers a bare `?` itself. The text is a third as long, one copy of the same few
  # bytes, and the same for the next as many rows.
  defp values(header, [_, _ | _] = rows, 0) do
    if Enum.all?(rows, &bare?/1) do
      row = "(" <> Enum.map_join(header, ",", fn _column -> "?" end) <> ")"
      [row, :binary.copy("," <> row, length(rows) - 1)]
    else
      numbered(rows, 1)
    end
  end

  defp values(_header, rows, placeholders), do: numbered(rows, placeholders + 1)

  defp bare?([nil | _values]), do: false
  defp bare?([{:placeholder, _index} | _values]), do: false
  defp bare?([{%Ecto.Query{}, _count} | _values]), do: false
  defp bare?([_value | values]), do: bare?(values)
  defp bare?([]), do: true

  defp numbered(rows, next) do
    {rows, _next} = Enum.map_reduce(rows, next, &row/2)
    Enum.intersperse(rows, ", ")
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

  defp value({%Ecto.Query{} = query, count}, next),
    do: {[?(, query |> JsonSelect.plain() |> QuerySql.inner(), ?)], next + count}

  defp value({:placeholder, index}, next), do: {[?? | to_string(index)], next}
  defp value(_field, next), do: {[?? | Integer.to_string(next)], next + 1}

  defp on_conflict({:raise, _, []}), do: []
  defp on_conflict({:nothing, _, targets}), do: [" ON CONFLICT", target(targets), " DO NOTHING"]

  defp on_conflict({%Ecto.Query{} = query, _, targets}) do
    query = JsonSelect.plain(query)
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

  defp target({:constraint, name}) do
    raise ArgumentError,
          "SQLite does not find a conflict by the name of its constraint (#{inspect(name)}): " <>
            "name the columns, or the index's own text with {:unsafe_fragment, \"(...) WHERE ...\"}"
  end

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
