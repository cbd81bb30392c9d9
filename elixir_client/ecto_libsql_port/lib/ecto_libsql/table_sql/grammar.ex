defmodule EctoLibSql.TableSql.Grammar do
  @moduledoc false
  # SQLite's grammar of CREATE TABLE, as far as an accepted text needs it: what begins a clause, and where it ends. Called
  # by `TableSql`, whose fields it returns. What does not fit throws and becomes an error of `parse/1`.

  alias EctoLibSql.SqlLexer
  alias EctoLibSql.TableSql.{Clause, Column}

  @type range :: {non_neg_integer, non_neg_integer}

  @doc "Returns the fields of a `TableSql`."
  @spec parse(String.t()) :: {:ok, keyword} | {:error, :virtual | :unreadable}
  def parse(sql) do
    {:ok, table(sql, tokens(sql))}
  catch
    {:error, reason} -> {:error, reason}
  end

  @doc "Returns the names in a text that can be names of columns, in lower case."
  @spec mentions(String.t()) :: [String.t()]
  def mentions(sql), do: mentions(tokens(sql), [])

  defp tokens(sql), do: for(token <- SqlLexer.tokens(sql), do: valued(sql, token))

  # A token with what it says: words in lower case, names and strings without their quotes.
  defp valued(sql, {kind, at, size} = token) do
    text = SqlLexer.text(sql, token)

    value =
      case kind do
        :word -> SqlLexer.lower(text)
        kind when kind in [:name, :string] -> SqlLexer.unquoted(text)
        _ -> text
      end

    {kind, value, at, size}
  end

  defguardp is_name(kind) when kind in [:word, :name, :string]

  defp table(sql, tokens) do
    {name, range, [{:symbol, "(", open, 1} | rest]} = head(sql, tokens)
    {columns, constraints, rest} = items(sql, rest, [])

    case rest do
      [{:symbol, ")", close, 1} | options] ->
        [
          name: name,
          name_range: range,
          open: open,
          close: close,
          columns: columns,
          constraints: constraints,
          options: options(options)
        ]

      _ ->
        unreadable()
    end
  end

  defp unreadable, do: throw({:error, :unreadable})

  # SQLite stores "CREATE TABLE name"; a schema that was written by hand may have more.
  defp head(sql, [{:word, "create", _, _} | rest]), do: named_table(sql, rest)
  defp head(_sql, _tokens), do: unreadable()

  defp named_table(_sql, [{:word, "virtual", _, _} | _]), do: throw({:error, :virtual})

  defp named_table(sql, [{:word, word, _, _} | rest]) when word in ["temp", "temporary"],
    do: named_table(sql, rest)

  defp named_table(sql, [
         {:word, "table", _, _},
         {:word, "if", _, _},
         {:word, "not", _, _},
         {:word, "exists", _, _} | rest
       ]),
       do: table_name(sql, rest)

  defp named_table(sql, [{:word, "table", _, _} | rest]), do: table_name(sql, rest)
  defp named_table(_sql, _tokens), do: unreadable()

  defp table_name(sql, [{_, _, _, _}, {:symbol, ".", _, _} | rest]), do: table_name(sql, rest)

  defp table_name(sql, [{kind, _, at, size} | [{:symbol, "(", _, _} | _] = rest]) when is_name(kind),
    do: {name(sql, {kind, at, size}), {at, size}, rest}

  defp table_name(_sql, _tokens), do: unreadable()

  defp name(sql, token), do: sql |> SqlLexer.text(token) |> SqlLexer.unquoted()

  # --- columns ------------------------------------------------------------------------------------------------------

  @table_constraints ~w(constraint primary unique check foreign)

  defp items(sql, [{:word, word, _, _} | _] = tokens, columns) when word in @table_constraints do
    {constraints, rest} = constraints(sql, tokens, [])
    {Enum.reverse(columns), constraints, rest}
  end

  defp items(sql, tokens, columns) do
    {column, rest} = column(sql, tokens)

    case rest do
      [{:symbol, ",", _, _} | rest] -> items(sql, rest, [column | columns])
      rest -> {Enum.reverse([column | columns]), [], rest}
    end
  end

  defp column(sql, [{kind, _, at, size} | rest] = tokens) when is_name(kind) do
    {type, rest} = type(rest)
    {clauses, rest} = clauses(sql, rest, [])

    column = %Column{
      name: name(sql, {kind, at, size}),
      name_range: {at, size},
      range: range(tokens, rest),
      type: type,
      clauses: clauses
    }

    {column, rest}
  end

  defp column(_sql, _tokens), do: unreadable()

  # From the first token of the one list to the last before the other begins.
  defp range([{_, _, at, _} | _] = tokens, rest) do
    {_, _, last, size} = Enum.at(tokens, length(tokens) - length(rest) - 1)
    {at, last + size - at}
  end

  @clauses ~w(constraint primary not null unique check default collate references deferrable as)

  defp type(tokens) do
    case type_words(tokens) do
      ^tokens -> {nil, tokens}
      [{:symbol, "(", _, _} | _] = rest -> type_end(tokens, parenthesised(rest))
      rest -> type_end(tokens, rest)
    end
  end

  defp type_end(tokens, rest), do: {range(tokens, rest), rest}

  defp type_words([{:word, "generated", _, _}, {:word, "always", _, _} | _] = tokens), do: tokens
  defp type_words([{:word, word, _, _} | _] = tokens) when word in @clauses, do: tokens
  defp type_words([{kind, _, _, _} | rest]) when is_name(kind), do: type_words(rest)
  defp type_words(tokens), do: tokens

  # What follows the closing parenthesis.
  defp parenthesised([{:symbol, "(", _, _} | rest]), do: closing(rest, 0)
  defp parenthesised(_tokens), do: unreadable()

  defp closing([{:symbol, "(", _, _} | rest], depth), do: closing(rest, depth + 1)
  defp closing([{:symbol, ")", _, _} | rest], 0), do: rest
  defp closing([{:symbol, ")", _, _} | rest], depth), do: closing(rest, depth - 1)
  defp closing([_ | rest], depth), do: closing(rest, depth)
  defp closing([], _depth), do: unreadable()

  # --- clauses of a column --------------------------------------------------------------------------------------------

  defp clauses(_sql, [{:symbol, symbol, _, _} | _] = tokens, done) when symbol in [",", ")"],
    do: {Enum.reverse(done), tokens}

  defp clauses(sql, tokens, done) do
    {clause, rest} = constraint(sql, tokens, &clause/2)
    clauses(sql, rest, [clause | done])
  end

  # A clause with the name before it. Two names in a row: the first is of nothing.
  defp constraint(sql, [{:word, "constraint", _, _}, {kind, _, at, size} | rest] = tokens, read)
       when is_name(kind) do
    case rest do
      [{:word, "constraint", _, _} | _] ->
        nameless(sql, tokens, rest)

      [{:symbol, symbol, _, _} | _] when symbol in [",", ")"] ->
        nameless(sql, tokens, rest)

      _ ->
        {clause, left} = read.(sql, rest)

        {%{clause | name: name(sql, {kind, at, size}), range: range(tokens, left), body: range(rest, left)},
         left}
    end
  end

  defp constraint(sql, tokens, read) do
    {clause, rest} = read.(sql, tokens)
    {%{clause | range: range(tokens, rest), body: range(tokens, rest)}, rest}
  end

  defp nameless(sql, [_, {kind, _, at, size} | _] = tokens, rest) do
    range = range(tokens, rest)
    {%Clause{kind: :name, name: name(sql, {kind, at, size}), range: range, body: range}, rest}
  end

  defp clause(_sql, [{:word, "primary", _, _}, {:word, "key", _, _} | rest]) do
    {flags, rest} = rest |> sort() |> conflict() |> autoincrement()
    {%Clause{kind: :primary_key, flags: flags}, rest}
  end

  defp clause(sql, [{:word, "not", _, _}, {:word, "deferrable", _, _} = token | rest]),
    do: clause(sql, [token | rest])

  defp clause(_sql, [{:word, "deferrable", _, _} | rest]), do: {%Clause{kind: :deferrable}, initially(rest)}

  defp clause(_sql, [{:word, "not", _, _}, {:word, "null", _, _} | rest]),
    do: {%Clause{kind: :not_null}, conflict(rest)}

  defp clause(_sql, [{:word, "null", _, _} | rest]), do: {%Clause{kind: :null}, conflict(rest)}
  defp clause(_sql, [{:word, "unique", _, _} | rest]), do: {%Clause{kind: :unique}, conflict(rest)}

  defp clause(_sql, [{:word, "check", _, _} | rest]) do
    after_check = parenthesised(rest)
    {%Clause{kind: :check, mentions: mentions(rest, after_check)}, after_check}
  end

  defp clause(_sql, [{:word, "default", _, _}, {:symbol, "(", _, _} = open | rest]) do
    after_default = closing(rest, 0)
    {%Clause{kind: :default, mentions: mentions([open | rest], after_default)}, after_default}
  end

  defp clause(_sql, [{:word, "default", _, _}, {:symbol, sign, _, _}, _value | rest])
       when sign in ["+", "-"],
       do: {%Clause{kind: :default}, rest}

  defp clause(_sql, [{:word, "default", _, _}, _value | rest]), do: {%Clause{kind: :default}, rest}

  defp clause(sql, [{:word, "collate", _, _}, {kind, _, at, size} | rest]) when is_name(kind),
    do: {%Clause{kind: :collate, flags: [collation: name(sql, {kind, at, size})]}, rest}

  defp clause(sql, [{:word, "references", _, _} | _] = tokens), do: references(sql, tokens, [])

  defp clause(sql, [{:word, "generated", _, _}, {:word, "always", _, _} | rest]), do: clause(sql, rest)

  defp clause(_sql, [{:word, "as", _, _} | rest]) do
    after_expression = parenthesised(rest)
    clause = %Clause{kind: :generated, mentions: mentions(rest, after_expression)}

    case after_expression do
      [{:word, "stored", _, _} | rest] -> {%{clause | flags: [:stored]}, rest}
      [{:word, "virtual", _, _} | rest] -> {clause, rest}
      rest -> {clause, rest}
    end
  end

  defp clause(_sql, _tokens), do: unreadable()

  defp sort([{:word, order, _, _} | rest]) when order in ["asc", "desc"], do: rest
  defp sort(rest), do: rest

  defp conflict([{:word, "on", _, _}, {:word, "conflict", _, _}, _action | rest]), do: rest
  defp conflict(rest), do: rest

  defp autoincrement([{:word, "autoincrement", _, _} | rest]), do: {[:autoincrement], rest}
  defp autoincrement(rest), do: {[], rest}

  defp initially([{:word, "initially", _, _}, _when | rest]), do: rest
  defp initially(rest), do: rest

  # --- foreign keys ---------------------------------------------------------------------------------------------------

  defp references(sql, [{:word, "references", _, _}, {kind, _, at, size} | rest], columns)
       when is_name(kind) do
    {targets, rest} = optional_list(sql, rest)

    clause = %Clause{
      kind: :references,
      table: name(sql, {kind, at, size}),
      columns: columns,
      targets: targets
    }

    {clause, actions(rest)}
  end

  defp references(_sql, _tokens, _columns), do: unreadable()

  defp actions([{:word, "on", _, _}, {:word, event, _, _}, {:word, first, _, _} | rest])
       when event in ["insert", "delete", "update"] do
    case {first, rest} do
      {word, [_second | rest]} when word in ["set", "no"] -> actions(rest)
      _ -> actions(rest)
    end
  end

  defp actions([{:word, "match", _, _}, _name | rest]), do: actions(rest)
  defp actions(rest), do: rest

  defp optional_list(sql, [{:symbol, "(", _, _} | _] = tokens), do: list(sql, tokens)
  defp optional_list(_sql, rest), do: {[], rest}

  # Names in parentheses: the first token of each part; a collation or an order may follow it.
  defp list(sql, [{:symbol, "(", _, _} | rest] = tokens) do
    after_list = parenthesised(tokens)
    inner = Enum.take(rest, length(rest) - length(after_list) - 1)

    {parts, last, _depth} =
      Enum.reduce(inner, {[], [], 0}, fn
        {:symbol, ",", _, _}, {parts, part, 0} -> {[part | parts], [], 0}
        {:symbol, "(", _, _} = token, {parts, part, depth} -> {parts, [token | part], depth + 1}
        {:symbol, ")", _, _} = token, {parts, part, depth} -> {parts, [token | part], depth - 1}
        token, {parts, part, depth} -> {parts, [token | part], depth}
      end)

    names = for part <- Enum.reverse([last | parts]), do: sql |> part_name(Enum.reverse(part))
    {names, after_list}
  end

  defp list(_sql, _tokens), do: unreadable()

  defp part_name(sql, [{kind, _, at, size} | _]) when is_name(kind), do: name(sql, {kind, at, size})
  defp part_name(_sql, _tokens), do: unreadable()

  # --- constraints of the table -----------------------------------------------------------------------------------------

  # Commas between them are optional.
  defp constraints(sql, [{:symbol, ",", _, _} | rest], done), do: constraints(sql, rest, done)
  defp constraints(_sql, [{:symbol, ")", _, _} | _] = tokens, done), do: {Enum.reverse(done), tokens}

  defp constraints(sql, tokens, done) do
    {clause, rest} = constraint(sql, tokens, &table_constraint/2)
    constraints(sql, rest, [clause | done])
  end

  defp table_constraint(sql, [{:word, "primary", _, _}, {:word, "key", _, _}, open | rest]) do
    # The list may end with AUTOINCREMENT.
    {columns, after_list} = list(sql, [open | rest])
    autoincrement? = Enum.any?(Enum.take(rest, length(rest) - length(after_list)), &autoincrement?/1)
    flags = if autoincrement?, do: [:autoincrement], else: []
    {%Clause{kind: :primary_key, columns: columns, flags: flags}, conflict(after_list)}
  end

  defp table_constraint(sql, [{:word, "unique", _, _} | rest]) do
    {columns, rest} = list(sql, rest)
    {%Clause{kind: :unique, columns: columns}, conflict(rest)}
  end

  defp table_constraint(_sql, [{:word, "check", _, _} | rest]) do
    after_check = parenthesised(rest)
    {%Clause{kind: :check, mentions: mentions(rest, after_check)}, conflict(after_check)}
  end

  defp table_constraint(sql, [{:word, "foreign", _, _}, {:word, "key", _, _} | rest]) do
    {columns, rest} = list(sql, rest)
    {clause, rest} = references(sql, rest, columns)
    {clause, deferrable(rest)}
  end

  defp table_constraint(_sql, _tokens), do: unreadable()

  defp autoincrement?({:word, "autoincrement", _, _}), do: true
  defp autoincrement?(_token), do: false

  defp deferrable([{:word, "not", _, _}, {:word, "deferrable", _, _} | rest]), do: initially(rest)
  defp deferrable([{:word, "deferrable", _, _} | rest]), do: initially(rest)
  defp deferrable(rest), do: rest

  # --- options --------------------------------------------------------------------------------------------------------

  defp options([]), do: []
  defp options([{:symbol, symbol, _, _} | rest]) when symbol in [",", ";"], do: options(rest)

  defp options([{:word, word, _, _}, {:word, "rowid", _, _} | rest]) when word in ["without", "random"],
    do: [word <> " rowid" | options(rest)]

  defp options([{kind, value, _, _} | rest]) when is_name(kind), do: [SqlLexer.lower(value) | options(rest)]
  defp options(_tokens), do: unreadable()

  # --- names in expressions -------------------------------------------------------------------------------------------

  # What can be a column: no literal, no function, no name of a table, collation or type, no operator. CASE … END is
  # counted, because END is a column's name elsewhere.
  defp mentions(tokens, rest) do
    tokens |> Enum.take(length(tokens) - length(rest)) |> mentioned(0, []) |> Enum.uniq()
  end

  @operators ~w(and or not is null in between like glob match regexp exists when then else isnull notnull
                current_date current_time current_timestamp distinct from)

  defp mentioned([{:word, "case", _, _} | rest], cases, names), do: mentioned(rest, cases + 1, names)

  defp mentioned([{:word, "end", _, _} | rest], cases, names) when cases > 0,
    do: mentioned(rest, cases - 1, names)

  defp mentioned([{:word, "collate", _, _}, _name | rest], cases, names), do: mentioned(rest, cases, names)
  defp mentioned([{:word, "as", _, _}, _type | rest], cases, names), do: mentioned(rest, cases, names)

  defp mentioned([{:word, _, _, _}, {:symbol, "(", _, _} | rest], cases, names),
    do: mentioned(rest, cases, names)

  defp mentioned([{kind, _, _, _}, {:symbol, ".", _, _} | rest], cases, names) when is_name(kind),
    do: mentioned(rest, cases, names)

  defp mentioned([{:word, word, _, _} | rest], cases, names) when word in @operators,
    do: mentioned(rest, cases, names)

  defp mentioned([{kind, value, _, _} | rest], cases, names) when kind in [:word, :name],
    do: mentioned(rest, cases, [SqlLexer.lower(value) | names])

  defp mentioned([_ | rest], cases, names), do: mentioned(rest, cases, names)
  defp mentioned([], _cases, names), do: names
end
