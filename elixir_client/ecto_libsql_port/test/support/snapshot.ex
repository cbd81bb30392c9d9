defmodule EctoLibSql.Snapshot do
  @moduledoc false
  # All that a database holds, as data: texts and structure of its schemas, rows by value and type, the counters of
  # AUTOINCREMENT, broken references, and whether every connection of the pool enforces foreign keys.

  @schemas ["main", "arch"]

  defmodule Table do
    @moduledoc false
    defstruct [:sql, :options, columns: [], keys: [], indexes: [], rows: []]
  end

  @doc "Takes a snapshot of a Repo with so many connections."
  def take(repo, pool_size) do
    repo.checkout(fn ->
      query = fn sql, params -> repo.query!(sql, params).rows end

      %{
        objects: for(schema <- @schemas, object <- objects(schema, query), into: %{}, do: object),
        tables: for(schema <- @schemas, table <- tables(schema, query), into: %{}, do: table),
        sequences: for(schema <- @schemas, row <- sequences(schema, query), into: %{}, do: row),
        uncompiled: for(schema <- @schemas, message <- uncompiled(schema, query), into: %{}, do: message),
        violations: for(schema <- @schemas, row <- violations(schema, query), do: row) |> Enum.frequencies(),
        integrity: query.("PRAGMA integrity_check", [])
      }
    end)
    |> Map.put(:foreign_keys, on_every_connection(repo, pool_size, &pragmas/1))
  end

  # The statements that read a view or write a table and do not compile, with what the engine says.
  defp uncompiled(schema, query) do
    for [name, type] <-
          query.(
            "SELECT name, type FROM #{schema}.sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            []
          ),
        {event, sql} <- statements(type, schema, name, query),
        message = error("EXPLAIN QUERY PLAN " <> sql, query),
        not (message =~ "foreign key mismatch"),
        do: {{schema, name, event}, message}
  end

  defp statements("view", schema, name, _query), do: [{:select, "SELECT * FROM #{schema}.#{quoted(name)}"}]

  defp statements("table", schema, name, query) do
    to = "#{schema}.#{quoted(name)}"
    columns = query.("SELECT name FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0", [name, schema])
    set = Enum.map_join(columns, ", ", fn [column] -> "#{quoted(column)} = #{quoted(column)}" end)

    [
      insert: "INSERT INTO #{to} DEFAULT VALUES",
      update: "UPDATE #{to} SET #{set}",
      delete: "DELETE FROM #{to}"
    ]
  end

  defp error(sql, query) do
    query.(sql, [])
    nil
  rescue
    error in EctoLibSql.Error -> error.message
  end

  defp pragmas(repo) do
    for name <- ~w(foreign_keys writable_schema legacy_alter_table recursive_triggers defer_foreign_keys) do
      {name, repo.query!("PRAGMA #{name}").rows}
    end
  end

  # Each task holds its connection until all have one.
  defp on_every_connection(repo, count, fun) do
    parent = self()

    tasks =
      for _ <- 1..count do
        Task.async(fn ->
          repo.checkout(fn ->
            send(parent, :held)
            receive do: (:go -> fun.(repo))
          end)
        end)
      end

    for _ <- tasks, do: receive(do: (:held -> :ok))
    for task <- tasks, do: send(task.pid, :go)
    Task.await_many(tasks, 30_000)
  end

  defp objects(schema, query) do
    for [type, name, of, sql] <-
          query.(
            "SELECT type, name, tbl_name, sql FROM #{schema}.sqlite_schema WHERE name NOT LIKE '%schema_migrations%' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            []
          ),
        # The engine's own name of an index follows its table's.
        sql != nil,
        do: {{schema, type, name}, {of, sql}}
  end

  defp tables(schema, query) do
    for [name, sql] <-
          query.(
            "SELECT name, sql FROM #{schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> 'schema_migrations'",
            []
          ) do
      columns =
        query.("SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, ?2)", [
          name,
          schema
        ])

      table = %Table{
        sql: sql,
        options:
          query.("SELECT wr, strict FROM pragma_table_list WHERE schema = ?2 AND name = ?1", [name, schema]),
        columns: columns,
        keys: keys(schema, name, query),
        indexes: indexes(schema, name, query),
        rows: rows(schema, name, columns, query)
      }

      {{schema, name}, table}
    end
  end

  defp keys(schema, name, query) do
    query.(
      "SELECT id, seq, \"table\", \"from\", \"to\", on_update, on_delete, match FROM pragma_foreign_key_list(?1, ?2)",
      [name, schema]
    )
    |> Enum.group_by(&hd/1)
    |> Enum.map(fn {_id, rows} -> rows |> Enum.map(&tl/1) |> Enum.sort() end)
    |> Enum.sort()
  end

  defp indexes(schema, name, query) do
    for [index, unique, origin, partial] <-
          query.("SELECT name, \"unique\", origin, partial FROM pragma_index_list(?1, ?2)", [name, schema]) do
      columns =
        query.("SELECT seqno, name, \"desc\", coll, key FROM pragma_index_xinfo(?1, ?2)", [index, schema])

      {if(origin == "c", do: index), unique, origin, partial, columns}
    end
    |> Enum.sort()
  end

  defp rows(schema, name, columns, query) do
    names = Enum.map(columns, &hd/1)
    values = Enum.map_join(names, ", ", &value(quoted(&1)))
    rows = query.("SELECT #{values} FROM #{schema}.#{quoted(name)}", [])
    rows |> Enum.map(&Map.new(Enum.zip(names, &1))) |> Enum.sort()
  end

  # The type and the exact value: digits of a float that are enough to tell it, bytes of the rest.
  defp value(c),
    do: "typeof(#{c}) || ' ' || CASE typeof(#{c}) WHEN 'real' THEN printf('%!.17g', #{c}) ELSE hex(#{c}) END"

  defp sequences(schema, query) do
    case query.("SELECT 1 FROM #{schema}.sqlite_schema WHERE name = 'sqlite_sequence'", []) do
      [] ->
        []

      _ ->
        for [name, seq] <- query.("SELECT name, seq FROM #{schema}.sqlite_sequence", []),
            do: {{schema, name}, seq}
    end
  end

  # Asked table by table: a key whose parent has no such key is an error of the whole question.
  defp violations(schema, query) do
    for [name] <- query.("SELECT name FROM #{schema}.sqlite_schema WHERE type = 'table'", []),
        row <- check(schema, name, query),
        do: row
  end

  defp check(schema, name, query) do
    for [table, _row, parent, _key] <- query.("PRAGMA #{schema}.foreign_key_check(#{quoted(name)})", []),
        do: {schema, table, String.downcase(parent)}
  rescue
    EctoLibSql.Error -> [{schema, name, :mismatch}]
  end

  def quoted(name), do: "\"" <> String.replace(name, "\"", "\"\"") <> "\""
end
