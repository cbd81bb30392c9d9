defmodule EctoLibSql.UniqueIndex do
  @moduledoc false
  # Tells which of several unique indexes on the same columns a statement has violated: partial indexes, an index beside a
  # UNIQUE of the table, tables of the same name in attached databases. SQLite names the columns alone. Called by
  # `Diagnosis`, and only if there is more than one.
  #
  # The failed statement runs once more, in a savepoint or transaction that is rolled back, under temporary triggers: before
  # a row is written they look for the conflicting row by each index, in the engine's order, and raise the index's number.
  # What the engine did in the first run it does again up to the same row; beyond the limit of time the name stays unknown.

  alias LibsqlPort.{Connection, Error}

  @limits [timeout: 200]
  @savepoint "ecto_unique_index"
  @raised "ecto_unique_index:"

  @doc "The name of the index, or `nil`."
  @spec name(Connection.t(), Error.t(), {String.t(), list | map}) :: String.t() | nil
  def name(conn, %Error{constraint: constraint, tx_status: tx_status}, statement) do
    case candidates(conn, constraint) do
      [] ->
        nil

      [%{name: name}] ->
        name

      several ->
        if Enum.any?(several, &(&1.name != hd(several).name)),
          do: ask(conn, several, statement, tx_status),
          else: hd(several).name
    end
  end

  # --- candidates -----------------------------------------------------------------------------------------------

  @indexes """
  SELECT d.name, l.name, l.partial, s.sql, l.origin
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
      for [schema, name, partial, sql, origin] <- rows do
        %{schema: schema, name: name, table: table, columns: columns, origin: origin}
        |> Map.put(:where, if(partial == 1, do: condition(sql)))
      end
    else
      _ -> []
    end
  end

  defp sql(schemas, columns) do
    union =
      Enum.map_join(schemas, " UNION ALL ", fn schema ->
        "SELECT #{text(schema)} AS schema, name, sql FROM #{quoted(schema)}.sqlite_schema WHERE type = 'index'"
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
    for schema <- numbered |> Enum.map(fn {index, _} -> index.schema end) |> Enum.uniq(),
        event <- ["INSERT", "UPDATE"] do
      {:ok, columns} = columns(conn, schema, elem(hd(numbered), 0).table)
      checks = for {%{schema: ^schema} = index, number} <- numbered, do: check(index, number, event, columns)
      name = quoted("ecto_unique_#{schema}_#{event}")
      table = quoted(elem(hd(numbered), 0).table)
      "CREATE TEMP TRIGGER #{name} BEFORE #{event} ON #{quoted(schema)}.#{table} BEGIN #{checks} END"
    end
    |> Enum.find_value(:ok, fn sql ->
      case Connection.execute(conn, sql, [], @limits) do
        {:ok, _} -> nil
        error -> error
      end
    end)
  end

  defp columns(conn, schema, table) do
    sql = "SELECT name, pk FROM pragma_table_xinfo(?1, ?2) WHERE hidden <> 1"
    with {:ok, %{rows: rows}} <- Connection.execute(conn, sql, [table, schema], @limits), do: {:ok, rows}
  end

  # The new row under the names of its columns, for the condition of a partial index.
  defp check(index, number, event, columns) do
    new = Enum.map_join(columns, ", ", fn [name, _pk] -> "new.#{quoted(name)} AS #{quoted(name)}" end)
    table = "#{quoted(index.schema)}.#{quoted(index.table)}"
    same = Enum.map_join(index.columns, " AND ", &"t.#{quoted(&1)} = new.#{quoted(&1)}")
    other = if event == "UPDATE", do: " AND NOT (#{itself(columns)})", else: ""
    {in_new, in_row} = conditions(index, new)

    "SELECT RAISE(ABORT, '#{@raised}#{number}') WHERE #{in_new}EXISTS (SELECT 1 FROM #{table} AS t WHERE #{same}#{other}#{in_row});"
  end

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
