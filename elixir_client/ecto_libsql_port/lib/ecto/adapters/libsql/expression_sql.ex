defmodule Ecto.Adapters.LibSql.ExpressionSql do
  @moduledoc false
  # Ecto's expressions as SQL: one clause each of `expr/3`. Called by `QuerySql`, which it calls for subqueries. `sources`
  # is the tuple of `{sql, alias, schema}` that `QuerySql.create_names/2` makes, its last element the prefix of aliases.
  #
  # Parameters are written with their number (`?1`), so that a rewritten clause may move or repeat them.

  alias Ecto.Adapters.LibSql.{ArraySql, CastSql, DataType, DecimalSql, ExpressionType, FloatSql, IntervalSql}
  alias Ecto.Adapters.LibSql.{JsonPathSql, QuerySql, Quoting, ServerSql}
  alias Ecto.Query.{ByExpr, Tagged}
  alias EctoLibSql.{Parameter, TimeSql}

  @parent_as Ecto.Adapters.LibSql.ParentAs

  @operators [
    ==: " = ",
    !=: " != ",
    <=: " <= ",
    >=: " >= ",
    <: " < ",
    >: " > ",
    +: " + ",
    -: " - ",
    *: " * ",
    /: " / ",
    and: " AND ",
    or: " OR ",
    # LIKE ignores the case of ASCII letters, unless the pragma case_sensitive_like is set.
    like: " LIKE ",
    ilike: " LIKE "
  ]

  @binary Keyword.keys(@operators)
  @comparisons [:==, :!=, :<=, :>=, :<, :>]
  @aggregates [:sum, :avg, :min, :max]

  import DecimalSql, only: [is_operator: 1, is_order: 1]
  import ExpressionType, only: [decimal?: 2]

  defguardp is_parameter(value) when is_tuple(value) and elem(value, 0) == :^
  # The name of a field is a call of the dot.
  defguardp is_column(value)
            when is_tuple(value) and is_tuple(elem(value, 0)) and elem(elem(value, 0), 0) == :.

  @type sources :: tuple
  @type query :: Ecto.Query.t() | nil

  @doc "The key under which a query's aliases hold the query around it."
  def parent_key, do: @parent_as

  @doc "An expression as SQL."
  @spec expr(term, sources, query) :: iodata
  def expr({:^, _, [index]}, _sources, _query), do: parameter(index)

  def expr({{:., _, [{:parent_as, _, [as]}, field]}, _, []}, _sources, query)
      when is_atom(field) or is_binary(field) do
    {index, sources} = parent_source(query, as)
    qualified(field, sources, index)
  end

  def expr({{:., _, [{:&, _, [index]}, field]}, _, []}, sources, _query)
      when is_atom(field) or is_binary(field) do
    qualified(field, sources, index)
  end

  def expr({:&, _, [index]}, sources, _query) do
    {_sql, name, _schema} = elem(sources, index)
    name
  end

  def expr({:in, _, [_left, []]}, _sources, _query), do: "FALSE"

  def expr({:in, _, [left, right]}, sources, query) when is_list(right) do
    right = Enum.map_intersperse(right, ", ", &expr(&1, sources, query))
    [operand(left, sources, query), " IN (", right, ?)]
  end

  # A list is one parameter, as JSON: the text is the same however long the list is, so that it is prepared once, and no
  # limit on the number of parameters applies. `Parameter.in_list/1` writes blobs as objects.
  def expr({:in, _, [left, {:^, _, [index, _length]}]}, sources, query) do
    [operand(left, sources, query), " IN (", list(parameter(index), left, sources), ?)]
  end

  # Ecto has dumped a list of literals the same way.
  def expr({:in, _, [left, json]}, sources, query) when is_binary(json) do
    [operand(left, sources, query), " IN (", list(Quoting.text(json), left, sources), ?)]
  end

  def expr({:in, _, [left, %Ecto.SubQuery{} = subquery]}, sources, query) do
    [operand(left, sources, query), " IN ", expr(subquery, sources, query)]
  end

  def expr({:in, _, [left, {:fragment, _, [{:raw, raw} | _]} = fragment]}, sources, query) do
    sql = expr(fragment, sources, query)
    left = operand(left, sources, query)

    case raw |> String.trim_leading() |> String.downcase() do
      "(" <> _ -> [left, " IN ", sql]
      "select" <> _ -> [left, " IN ", sql]
      "with" <> _ -> [left, " IN (", sql, ?)]
      "values" <> _ -> [left, " IN (", sql, ?)]
      _ -> [left, " IN (SELECT value FROM json_each(", sql, "))"]
    end
  end

  # What is left is a value of an array type, which is JSON.
  def expr({:in, _, [left, array]}, sources, query) do
    element = with {:array, element} <- ExpressionType.of(array, query), do: element, else: (_ -> nil)
    [operand(left, sources, query), " IN ", ArraySql.values(expr(array, sources, query), element)]
  end

  def expr({:is_nil, _, [value]}, sources, query), do: [operand(value, sources, query), " IS NULL"]
  def expr({:not, _, [value]}, sources, query), do: ["NOT (", expr(value, sources, query), ?)]

  def expr({:exists, _, [subquery]}, sources, query), do: ["exists", expr(subquery, sources, query)]

  def expr({quantifier, _, [%Ecto.SubQuery{}]}, _sources, query) when quantifier in [:any, :all] do
    error!(query, "SQLite has no #{quantifier}(subquery); use in/2, exists/1 or an aggregate")
  end

  def expr(%Ecto.SubQuery{query: query}, sources, parent) do
    [?(, QuerySql.nested(query, sources, parent), ?)]
  end

  def expr({:fragment, _, [keyword]}, _sources, query) when is_list(keyword) or tuple_size(keyword) == 3 do
    error!(query, "the libSQL adapter takes no keyword lists in fragments")
  end

  def expr({:fragment, _, parts}, sources, query) do
    # What is put into a fragment keeps together whatever stands around it there.
    parts
    |> Enum.map(fn
      {:raw, raw} -> raw
      {:expr, expression} -> operand(expression, sources, query)
    end)
    |> parenthesized_select()
  end

  def expr({{:fragment, _, _} = fragment, schema}, sources, query) when is_atom(schema),
    do: expr(fragment, sources, query)

  def expr({:values, _, [types, index, rows]}, _sources, _query) do
    names = Keyword.keys(types)
    width = length(names)

    columns =
      names
      |> Enum.with_index(1)
      |> Enum.map_intersperse(", ", fn {name, i} -> ["column#{i} AS ", Quoting.name(name)] end)

    values =
      Enum.map_intersperse(0..(rows - 1), ", ", fn row ->
        [
          ?(,
          Enum.map_intersperse(0..(width - 1), ", ", &parameter(index + row * width + &1)),
          ?)
        ]
      end)

    ["(SELECT ", columns, " FROM (VALUES ", values, "))"]
  end

  def expr({name, _, [literal]}, _sources, _query) when name in [:identifier, :literal] do
    Quoting.name(literal)
  end

  def expr({:constant, _, [text]}, _sources, _query) when is_binary(text), do: Quoting.text(text)
  def expr({:constant, _, [number]}, sources, query) when is_number(number), do: expr(number, sources, query)

  def expr({:splice, _, [{:^, _, [index, length]}]}, _sources, _query) do
    Enum.map_intersperse(index..(index + length - 1)//1, ?,, &parameter/1)
  end

  def expr({:selected_as, _, [name]}, _sources, _query), do: Quoting.name(name)

  def expr({:datetime_add, _, [datetime, count, unit]} = expression, sources, query) do
    type = ExpressionType.of(expression, query)
    IntervalSql.datetime(expr(datetime, sources, query), expr(count, sources, query), unit, type)
  end

  def expr({:date_add, _, [date, count, unit]}, sources, query) do
    IntervalSql.date(expr(date, sources, query), expr(count, sources, query), unit)
  end

  def expr({:json_extract_path, _, [json, []]}, sources, query), do: expr(json, sources, query)

  def expr({:json_extract_path, _, [json, path]}, sources, query) do
    path = JsonPathSql.path(path, &expr(&1, sources, query))
    ["json_extract(", expr(json, sources, query), ", ", path, ?)]
  end

  # Put in by `JsonSelect`.
  def expr({:json_text, _, [{:json_column, _, [column]}]}, sources, query), do: expr(column, sources, query)

  def expr({:json_text, meta, [{:json_extract_path, _, [json, [_ | _] = path]}]}, sources, query) do
    path = JsonPathSql.path(path, &expr(&1, sources, query))
    text = [expr(json, sources, query), " -> (", path, ?)]
    if meta[:bare], do: text, else: JsonPathSql.null(text)
  end

  def expr({:json_text, _, [value]}, sources, query), do: JsonPathSql.text(value, &expr(&1, sources, query))
  def expr({:json_value, _, [column]}, sources, query), do: [?(, expr(column, sources, query), " ->> '$')"]

  def expr({call, _, [_, _]} = expression, sources, query) when call in [:filter, :over] do
    expression |> aggregate(sources, query) |> Tuple.to_list()
  end

  def expr({:{}, _, elements}, sources, query) do
    [?(, Enum.map_intersperse(elements, ", ", &expr(&1, sources, query)), ?)]
  end

  def expr({:count, _, []}, _sources, _query), do: "count(*)"

  def expr({:count, _, [{:&, _, _} | _]}, _sources, query) do
    error!(
      query,
      "SQLite cannot count a source; use count() for its rows, or count a field that joined rows have"
    )
  end

  def expr({operator, _, [left, right]}, sources, query) when operator in @binary and right != :distinct do
    cond do
      is_operator(operator) and (decimal?(left, query) or decimal?(right, query)) ->
        decimals(operator, left, right, expr(left, sources, query), expr(right, sources, query))

      operator in @comparisons and Parameter.designator?() and instants?(left, right, query) ->
        instants(operator, left, right, expr(left, sources, query), expr(right, sources, query))

      true ->
        native(operator, left, right, sources, query)
    end
  end

  def expr({function, _, [_ | _]} = expression, sources, query) when function in @aggregates do
    expression |> aggregate(sources, query) |> Tuple.to_list()
  end

  def expr({function, _, arguments}, sources, query) when is_atom(function) and is_list(arguments) do
    [Atom.to_string(function), ?(, arguments(arguments, sources, query), ?)]
  end

  # A list of literals is what an array column holds: JSON.
  def expr(list, sources, query) when is_list(list) do
    ["json_array(", Enum.map_intersperse(list, ", ", &expr(&1, sources, query)), ?)]
  end

  def expr(%Decimal{} = decimal, _sources, _query), do: DecimalSql.literal(decimal)

  def expr(%Tagged{value: bytes, type: :binary}, _sources, _query) when is_binary(bytes),
    do: Quoting.blob(bytes)

  def expr(%Tagged{value: %module{} = value, type: _}, _sources, _query)
      when module in [DateTime, NaiveDateTime, Date, Time] do
    Quoting.text(Parameter.encode(value))
  end

  # Ecto has cast parameters; an integer stays one where it is a number of another type.
  def expr(%Tagged{value: value, type: type}, sources, query)
      when not is_parameter(value) and is_tuple(value) do
    CastSql.cast(expr(value, sources, query), ExpressionType.of(value, query), type, is_column(value))
  end

  def expr(%Tagged{value: value, type: type}, sources, query) do
    case DataType.cast(type) do
      nil -> operand(value, sources, query)
      sql_type -> ["CAST(", expr(value, sources, query), " AS ", sql_type, ?)]
    end
  end

  # A literal that Ecto has dumped as its field's type.
  def expr({:blob, bytes}, _sources, _query) when is_binary(bytes), do: Quoting.blob(bytes)
  def expr(nil, _sources, _query), do: "NULL"
  def expr(true, _sources, _query), do: "TRUE"
  def expr(false, _sources, _query), do: "FALSE"
  def expr(text, _sources, _query) when is_binary(text), do: Quoting.text(text)
  def expr(integer, _sources, _query) when is_integer(integer), do: Quoting.integer(integer)
  def expr(float, _sources, _query) when is_float(float), do: FloatSql.literal(float)

  def expr(%module{} = value, _sources, _query) when module in [DateTime, NaiveDateTime, Date, Time] do
    Quoting.text(Parameter.encode(value))
  end

  def expr(other, _sources, query) do
    error!(query, "the libSQL adapter knows no SQL for the expression #{inspect(other)}")
  end

  @doc "A window in parentheses: `PARTITION BY`, `ORDER BY`, frame."
  @spec window(keyword, sources, query) :: iodata
  def window(window, sources, query) do
    [?(, Enum.map_intersperse(window, ?\s, &window_part(&1, sources, query)), ?)]
  end

  defp window_part({:partition_by, fields}, sources, query) do
    ["PARTITION BY ", Enum.map_intersperse(fields, ", ", &expr(&1, sources, query))]
  end

  defp window_part({:order_by, fields}, sources, query) do
    ["ORDER BY ", Enum.map_intersperse(fields, ", ", &order(&1, sources, query))]
  end

  defp window_part({:frame, {:fragment, _, _} = fragment}, sources, query), do: expr(fragment, sources, query)

  @doc "One term of an `ORDER BY`."
  @spec order({atom, term}, sources, query) :: iodata
  def order({direction, expression}, sources, query) do
    [sorted_by(expression, sources, query), direction(direction)]
  end

  @doc "What an expression is sorted by."
  @spec sorted_by(term, sources, query) :: iodata
  def sorted_by(expression, sources, query) do
    sql = expr(expression, sources, query)
    if decimal?(expression, query), do: DecimalSql.key(sql), else: sql
  end

  defp direction(:asc), do: []
  defp direction(:asc_nulls_first), do: " ASC NULLS FIRST"
  defp direction(:asc_nulls_last), do: " ASC NULLS LAST"
  defp direction(:desc), do: " DESC"
  defp direction(:desc_nulls_first), do: " DESC NULLS FIRST"
  defp direction(:desc_nulls_last), do: " DESC NULLS LAST"

  @doc "Conditions joined by their own `and` and `or`, behind `keyword`; nothing if there are none."
  @spec boolean(String.t(), [map], sources, query) :: iodata
  def boolean(_keyword, [], _sources, _query), do: []

  def boolean(keyword, [%{expr: first, op: op} | rest], sources, query) do
    {_op, sql} =
      Enum.reduce(rest, {op, parenthesized(first, sources, query)}, fn
        %{expr: expression, op: op}, {op, sql} ->
          {op, [sql, connective(op), parenthesized(expression, sources, query)]}

        %{expr: expression, op: op}, {_other, sql} ->
          {op, [?(, sql, ?), connective(op), parenthesized(expression, sources, query)]}
      end)

    [keyword, sql]
  end

  defp connective(:and), do: " AND "
  defp connective(:or), do: " OR "

  @doc "The expressions of a `group_by` or `distinct`."
  def by_expressions(by) when is_list(by), do: Enum.flat_map(by, &by_expressions/1)
  def by_expressions(%ByExpr{expr: expressions}), do: expressions

  @doc "A column, with its table's alias if the source has one (in RETURNING and in upserts it has none)."
  @spec qualified(atom | String.t(), sources, non_neg_integer) :: iodata
  def qualified(field, sources, index) do
    case elem(sources, index) do
      {_sql, nil, _schema} -> Quoting.name(field)
      {_sql, name, _schema} -> [name, ?., Quoting.name(field)]
    end
  end

  @spec error!(query, String.t()) :: no_return
  def error!(nil, message), do: raise(ArgumentError, message)
  def error!(query, message), do: raise(Ecto.QueryError, query: query, message: message)

  defp list(json, left, sources) do
    [
      [
        "SELECT CASE type WHEN 'object' THEN coalesce(",
        ServerSql.float_in_list(),
        ", unhex(value ->> 'blob'))"
      ],
      written_out(left, sources),
      [" ELSE value END FROM json_each(", json, ?)]
    ]
  end

  # A list with `type(^ids, {:array, Ecto.UUID})` around it has identifiers as they stand in arrays.
  defp written_out({{:., _, [{:&, _, [index]}, field]}, _, []}, sources) do
    if ArraySql.bytes?(ArraySql.type(sources, index, field)),
      do: " WHEN 'text' THEN unhex(value, '-')",
      else: []
  end

  defp written_out(_left, _sources), do: []

  defp native(operator, left, right, sources, query),
    do: [operand(left, sources, query), @operators[operator], operand(right, sources, query)]

  # Times with a Z that may be in different forms.
  defp instants?(left, right, query) do
    case {form(left, query), form(right, query)} do
      {same, same} -> same == :computed
      {:value, type} when type != :unknown -> type == :computed
      {type, :value} when type != :unknown -> type == :computed
      {:unknown, :value} -> false
      {:value, :unknown} -> false
      {left, right} -> timed?(left) or timed?(right)
    end
  end

  # A parameter has the form of what it is compared with; what is computed may have a fraction that its type has not.
  defp form({:^, _, _}, _query), do: :value

  defp form(expression, query) do
    type = ExpressionType.of(expression, query)

    cond do
      not TimeSql.designated?(type) -> :unknown
      is_column(expression) or is_struct(expression, Tagged) -> type
      true -> :computed
    end
  end

  defp timed?(form), do: form != :unknown

  defp instants(operator, left, right, left_sql, right_sql) do
    comparison = [TimeSql.key(left_sql), @operators[operator], TimeSql.key(right_sql)]

    cond do
      is_column(left) -> [comparison, TimeSql.range(operator, left_sql, right_sql)]
      is_column(right) -> [comparison, TimeSql.range(flipped(operator), right_sql, left_sql)]
      true -> comparison
    end
  end

  # A column beside a value may be looked for in an index.
  defp decimals(operator, left, right, left_sql, right_sql) do
    cond do
      not is_order(operator) -> DecimalSql.operator(operator, left_sql, right_sql)
      is_column(left) and value?(right) -> DecimalSql.range(operator, left_sql, right_sql)
      is_column(right) and value?(left) -> operator |> flipped() |> DecimalSql.range(right_sql, left_sql)
      true -> DecimalSql.operator(operator, left_sql, right_sql)
    end
  end

  defp value?(%Tagged{value: value}), do: value?(value)
  defp value?(value), do: is_number(value) or is_parameter(value)

  defp flipped(:<), do: :>
  defp flipped(:<=), do: :>=
  defp flipped(:>), do: :<
  defp flipped(:>=), do: :<=
  defp flipped(equality), do: equality

  # A call in three parts: FILTER and OVER belong before the last.
  defp aggregate({:filter, _, [call, filter]}, sources, query) do
    {before, call, behind} = aggregate(call, sources, query)
    {before, [call, " FILTER (WHERE ", expr(filter, sources, query), ?)], behind}
  end

  defp aggregate({:over, _, [call, window]}, sources, query) do
    {before, call, behind} = aggregate(call, sources, query)
    window = if is_atom(window), do: Quoting.name(window), else: window(window, sources, query)
    {before, [call, " OVER ", window], behind}
  end

  defp aggregate({function, _, [argument | _] = arguments}, sources, query) when function in @aggregates do
    if decimal?(argument, query) do
      DecimalSql.aggregate(function, arguments(arguments, sources, query))
    else
      {[], [Atom.to_string(function), ?(, arguments(arguments, sources, query), ?)], []}
    end
  end

  defp aggregate(call, sources, query), do: {[], expr(call, sources, query), []}

  # What stands before the arguments, and they.
  defp arguments([argument, :distinct], sources, query), do: ["DISTINCT ", expr(argument, sources, query)]

  defp arguments(arguments, sources, query),
    do: [[], Enum.map_intersperse(arguments, ", ", &expr(&1, sources, query))]

  defp parameter(index), do: [?? | Integer.to_string(index + 1)]

  defp parent_source(query, as) do
    case query.aliases[@parent_as] do
      {%{aliases: %{^as => index}}, sources} -> {index, sources}
      {%{} = parent, _sources} -> parent_source(parent, as)
    end
  end

  defp parenthesized(expression, sources, query), do: [?(, expr(expression, sources, query), ?)]

  defp operand({operator, _, [_, _]} = expression, sources, query) when operator in [:in | @binary],
    do: parenthesized(expression, sources, query)

  defp operand({operator, _, [_]} = expression, sources, query) when operator in [:is_nil, :not],
    do: parenthesized(expression, sources, query)

  defp operand(expression, sources, query), do: expr(expression, sources, query)

  defp parenthesized_select([first | _] = parts) when is_binary(first) do
    if String.match?(first, ~r/\A\s*select\b/i), do: [?(, parts, ?)], else: parts
  end

  defp parenthesized_select(parts), do: parts
end
