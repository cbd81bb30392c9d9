defmodule EctoLibSql.UniqueIndex do
  @moduledoc false
  # Tells which of several unique indexes on the same columns a statement has violated: partial indexes, an index beside a
  # UNIQUE of the table, tables of the same name in attached databases. SQLite names the columns alone. Called by
  # `Diagnosis`, and only if there is more than one.
  #
  # The program of the statement (EXPLAIN) says which indexes it fails on: those of the tables that it writes to, by triggers
  # too, and none that its ON CONFLICT takes care of. Mostly one is left, and nothing has been run.
  #
  # If there are more (partial indexes of one table), the row decides. The statement runs once more, in a savepoint or
  # transaction that is rolled back, under temporary triggers: before a row is written they look for the conflicting row by
  # each index, in the engine's order, and raise the index's number. What the engine did in the first run it does again up
  # to the same row; beyond the limit of time the name stays unknown.

  alias LibsqlPort.{Connection, Error}

  # The look-ups and the second run cost what the first run did, or less; these limits only bound how long the error of a
  # statement that is slow to fail, or a busy machine, may keep the connection beyond that.
  @limits [timeout: 2_000]
  @savepoint "ecto_unique_index"
  @raised "ecto_unique_index:"
  # SQLITE_CONSTRAINT_UNIQUE
  @constraint_unique 2067
  # OR FAIL: the rows before the failing one stay, and would conflict with themselves.
  @fail 3
  @unchecked %{fails: false, handled: false, kept: false}

  @doc "The name of the index, or `nil`."
  @spec name(Connection.t(), Error.t(), {String.t(), list | map}) :: String.t() | nil
  def name(conn, %Error{constraint: constraint, tx_status: tx_status}, {sql, params} = statement) do
    candidates = candidates(conn, constraint)

    with [_, _ | _] <- names(candidates),
         candidates = told(conn, candidates, sql, params),
         [_, _ | _] <- candidates |> Enum.filter(& &1.fails) |> names(),
         false <- Enum.any?(candidates, & &1.kept) do
      ask(conn, candidates, statement, tx_status)
    else
      [name] -> name
      _none_or_kept -> nil
    end
  end

  defp names(candidates), do: candidates |> Enum.map(& &1.name) |> Enum.uniq()

  # --- candidates -----------------------------------------------------------------------------------------------

  @indexes """
  SELECT d.seq, d.name, l.name, l.partial, s.sql, s.rootpage,
    (SELECT group_concat(coll, char(0)) FROM (SELECT coll FROM pragma_index_xinfo(l.name, d.name) WHERE key ORDER BY seqno))
  FROM pragma_database_list AS d, pragma_index_list(?1, d.name) AS l
  LEFT JOIN (SCHEMAS) AS s ON s.schema = d.name AND s.name = l.name
  WHERE l."unique" AND l.origin <> 'pk'
    AND (SELECT json_group_array(name) FROM (SELECT name FROM pragma_index_info(l.name, d.name) ORDER BY seqno)) = json_array(COLUMNS)
  ORDER BY d.seq, l.seq
  """

  defp candidates(conn, %{table: table, columns: columns}) do
    with {:ok, %{rows: schemas}} <-
           Connection.execute(conn, "SELECT name FROM pragma_database_list", [], @limits),
         sql = sql(List.flatten(schemas), length(columns)),
         {:ok, %{rows: rows}} <- Connection.execute(conn, sql, [table | columns], @limits) do
      for [number, schema, name, partial, sql, page, collations] <- rows do
        terms = Enum.zip(columns, String.split(collations, <<0>>))
        where = if partial == 1, do: condition(sql)
        %{schema: schema, name: name, table: table, terms: terms, where: where, place: {number, page}}
      end
    else
      _ -> []
    end
  end

  defp sql(schemas, columns) do
    union =
      Enum.map_join(schemas, " UNION ALL ", fn schema ->
        "SELECT #{text(schema)} AS schema, name, sql, rootpage FROM #{quoted(schema)}.sqlite_schema WHERE type = 'index'"
      end)

    places = Enum.map_join(2..(columns + 1), ", ", &"?#{&1}")
    @indexes |> String.replace("SCHEMAS", union) |> String.replace("COLUMNS", places)
  end

  # What stands behind the WHERE of a CREATE INDEX, outside of brackets, quotes and comments.
  defp condition(sql) do
    ~r/"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*.*?\*\/|\b(?i:where)\b/s
    |> Regex.scan(sql, return: :index)
    |> Enum.find_value(fn [{at, size}] ->
      if String.downcase(binary_part(sql, at, size)) == "where",
        do: binary_part(sql, at + size, byte_size(sql) - at - size)
    end)
  end

  # --- the statement's program ----------------------------------------------------------------------------------

  # Whether the statement `fails` on an index, and whether its ON CONFLICT has it `handled`. An upsert may do both: its
  # update fails on what its insert handles. If the program does not tell, it may fail on any.
  defp told(conn, candidates, sql, params) do
    with {:ok, %{rows: program}} <- Connection.execute(conn, "EXPLAIN " <> sql, params, @limits),
         checks = checks(program),
         told = for(index <- candidates, do: Map.merge(index, Map.get(checks, index.place, @unchecked))),
         true <- Enum.any?(told, & &1.fails) do
      told
    else
      _ -> Enum.map(candidates, &Map.put(Map.merge(&1, @unchecked), :fails, true))
    end
  end

  # A uniqueness check is a NoConflict on the index's cursor. If it finds a row, what follows is a Halt with the code of the
  # constraint, unless the statement does something else. Each program, those of triggers too, begins with Init and numbers
  # its own cursors.
  defp checks(program) do
    {_open, at, checks} =
      Enum.reduce(program, {%{}, nil, %{}}, fn
        [_, "Init" | _], {_, at, checks} ->
          {%{}, nil, check(checks, at, :handled)}

        [_, "OpenWrite", cursor, page, schema | _], {open, at, checks} ->
          {Map.put(open, cursor, {schema, page}), at, checks}

        [_, "NoConflict", cursor | _], {open, at, checks} ->
          {open, open[cursor], check(checks, at, :handled)}

        [_, "Halt", @constraint_unique, @fail | _], {open, at, checks} ->
          {open, nil, checks |> check(at, :fails) |> check(at, :kept)}

        [_, "Halt", @constraint_unique | _], {open, at, checks} ->
          {open, nil, check(checks, at, :fails)}

        _, state ->
          state
      end)

    check(checks, at, :handled)
  end

  defp check(checks, nil, _result), do: checks

  defp check(checks, place, result),
    do: Map.update(checks, place, %{@unchecked | result => true}, &%{&1 | result => true})

  # --- the question ---------------------------------------------------------------------------------------------

  defp ask(conn, candidates, {sql, params}, tx_status) do
    numbered = Enum.with_index(candidates)

    with {:ok, _} <- open(conn, tx_status) do
      try do
        with :ok <- triggers(conn, numbered),
             {:error, %Error{constraint: %{name: @raised <> number}}} <-
               Connection.execute(conn, sql, params, @limits) do
          Enum.at(candidates, String.to_integer(number)).name
        else
          _ -> nil
        end
      after
        close(conn, tx_status)
      end
    else
      _ -> nil
    end
  end

  defp open(conn, :none), do: Connection.begin(conn, :immediate, @limits)
  defp open(conn, _inside), do: Connection.savepoint(conn, @savepoint, @limits)

  defp close(conn, :none), do: Connection.rollback(conn)

  defp close(conn, _inside) do
    Connection.rollback_to(conn, @savepoint)
    Connection.release(conn, @savepoint)
  end

  defp triggers(conn, numbered) do
    numbered
    |> Enum.group_by(fn {index, _} -> index.schema end)
    |> Enum.find_value(:ok, fn {schema, indexes} ->
      with :ok <- triggers(conn, schema, indexes), do: nil
    end)
  end

  # The limit of time may be met by each of these statements.
  defp triggers(conn, schema, [{%{table: table}, _} | _] = indexes) do
    with {:ok, columns} <- columns(conn, schema, table) do
      Enum.find_value(["INSERT", "UPDATE"], :ok, fn event ->
        name = quoted("ecto_unique_#{schema}_#{event}")
        checks = raising(indexes, event, columns)

        sql =
          "CREATE TEMP TRIGGER #{name} BEFORE #{event} ON #{quoted(schema)}.#{quoted(table)} BEGIN #{checks} END"

        with {:ok, _} <- Connection.execute(conn, sql, [], @limits), do: nil
      end)
    end
  end

  defp columns(conn, schema, table) do
    sql = "SELECT name, pk FROM pragma_table_xinfo(?1, ?2) WHERE hidden <> 1"
    with {:ok, %{rows: rows}} <- Connection.execute(conn, sql, [table, schema], @limits), do: {:ok, rows}
  end

  # What an upsert handles is no failure of its insert, and comes first there.
  defp raising(indexes, event, columns) do
    {handled, failing} = Enum.split_with(indexes, fn {index, _} -> event == "INSERT" and index.handled end)
    unless_handled = for {index, _} <- handled, do: "NOT (#{conflict(index, event, columns)}) AND "

    for {%{fails: true} = index, number} <- failing do
      "SELECT RAISE(ABORT, '#{@raised}#{number}') WHERE #{unless_handled}#{conflict(index, event, columns)};"
    end
  end

  # The new row under the names of its columns, for the condition of a partial index.
  defp conflict(index, event, columns) do
    new = Enum.map_join(columns, ", ", fn [name, _pk] -> "new.#{quoted(name)} AS #{quoted(name)}" end)
    table = "#{quoted(index.schema)}.#{quoted(index.table)}"
    same = Enum.map_join(index.terms, " AND ", &same/1)
    other = if event == "UPDATE", do: " AND NOT (#{itself(columns)})", else: ""
    {in_new, in_row} = conditions(index, new)
    "#{in_new}EXISTS (SELECT 1 FROM #{table} AS t WHERE #{same}#{other}#{in_row})"
  end

  defp same({column, collation}),
    do: "t.#{quoted(column)} = new.#{quoted(column)} COLLATE #{quoted(collation)}"

  defp conditions(%{where: nil}, _new), do: {"", ""}

  defp conditions(%{where: where}, new),
    do: {"EXISTS (SELECT 1 FROM (SELECT #{new}) WHERE (#{where}\n)) AND ", " AND (#{where}\n)"}

  # By the key; a table without one has a rowid.
  defp itself(columns) do
    case for([name, pk] <- columns, pk > 0, do: "t.#{quoted(name)} = old.#{quoted(name)}") do
      [] -> "t._rowid_ = old._rowid_"
      key -> Enum.join(key, " AND ")
    end
  end

  defp quoted(name), do: ~s("#{String.replace(name, ~s("), ~s(""))}")
  defp text(name), do: "'" <> String.replace(name, "'", "''") <> "'"
end
