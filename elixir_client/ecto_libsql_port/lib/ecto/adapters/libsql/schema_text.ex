defmodule Ecto.Adapters.LibSql.SchemaText do
  @moduledoc false
  # The one door through which the text of a table in the schema is replaced while its rows stay as they are. Called by
  # `Alter` and `TableCopy`.
  #
  # The new text must describe the same rows: the same stored columns in the same order, the same primary key, the same
  # indexes of UNIQUE. The engine is asked, by creating a table of that text, before anything is replaced; a text that it
  # refuses would make the database unreadable.
  #
  # libSQL's ALTER COLUMN does it where it can. It finds the end of a column by looking for a comma or a parenthesis, in
  # literals and comments as well, and it crashes where the result is no SQL; so it is used only where that search ends at
  # the right place. Elsewhere the text is written by `PRAGMA writable_schema`, as SQLite's documentation of ALTER TABLE
  # describes. Both read the schema again.

  alias Ecto.Adapters.LibSql.{Quoting, StoredTable, TableEdit}
  alias EctoLibSql.{SqlLexer, TableSql}

  @doc "Replaces the text of a table. Returns the table as it is then."
  @spec replace!(StoredTable.t(), TableSql.t()) :: StoredTable.t()
  def replace!(%StoredTable{} = table, %TableSql{} = sql) do
    if sql.text == table.sql.text do
      table
    else
      same_rows!(table, sql)
      before = StoredTable.objects(table.schema, table.query)
      alter_column(table, sql)
      write!(table, before, sql)
      StoredTable.reread!(table)
    end
  end

  @doc "The same, and gives everything else in the schema the text that it had before the engine's DROP COLUMN."
  @spec replace!(StoredTable.t(), TableSql.t(), [StoredTable.object()]) :: StoredTable.t()
  def replace!(%StoredTable{} = table, %TableSql{} = sql, before) do
    if sql.text != table.sql.text, do: same_rows!(table, sql)
    write!(table, before, sql)
    StoredTable.reread!(table)
  end

  # --- the new text is tried ----------------------------------------------------------------------------------------

  @doc "Whether a text describes the same rows as the table's own, so that they can stay as they are."
  @spec same_rows?(StoredTable.t(), TableSql.t()) :: boolean
  def same_rows?(table, sql), do: present(table) == tried(table, sql)

  defp same_rows!(table, sql) do
    [now, then] = [present(table), tried(table, sql)]

    if now != then do
      StoredTable.error!(
        :verification,
        table.name,
        "the new text of #{table.name} does not describe its rows: #{inspect(then)} instead of #{inspect(now)}"
      )
    end
  end

  defp present(table), do: layout(table.query, table.name, table.schema)
  defp tried(table, sql), do: trial(table, sql, &layout(table.query, &1, &2))

  @doc """
  Creates an empty table of a text for the time of a function, which is given its name and schema. It is a temporary one
  of the same name, because a check may name its table.
  """
  @spec trial(StoredTable.t(), TableSql.t(), (String.t(), String.t() -> result)) :: result when result: var
  def trial(table, sql, fun) do
    names = for {_, name, _, _} <- StoredTable.objects("temp", table.query), do: TableSql.lower(name)

    {name, schema} =
      if TableSql.lower(table.name) in names,
        do: {StoredTable.free_name(table, "ecto_trial_of_#{table.name}"), table.schema},
        else: {table.name, "temp"}

    quoted = Quoting.table(schema, name)

    # The whole text is only compiled: a table that refers to itself cannot be dropped while its other parents are not there.
    table.query.(["EXPLAIN CREATE TABLE ", quoted, " ", TableEdit.body(sql)], [])

    # AUTOINCREMENT would leave a sqlite_sequence in temp, which nobody can drop.
    small = sql |> TableEdit.without_references() |> TableEdit.without_autoincrement()
    table.query.(["CREATE TABLE ", quoted, " ", TableEdit.body(small)], [])

    result = fun.(name, schema)
    table.query.(["DROP TABLE ", quoted], [])
    result
  end

  # VIRTUAL columns are not stored, so their place among the others does not matter, but there is no reason to move one.
  defp layout(query, name, schema) do
    columns = query.("SELECT name, hidden, pk FROM pragma_table_xinfo(?1, ?2)", [name, schema]).rows

    # Ids of AUTOINCREMENT tables are given out in another way, but stored alike.
    options = query.("SELECT wr FROM pragma_table_list(?1) WHERE schema = ?2", [name, schema]).rows

    keys =
      query.(
        """
        SELECT list.origin, info.seqno, info.name FROM pragma_index_list(?1, ?2) AS list,
          pragma_index_info(list.name, ?2) AS info WHERE list.origin <> 'c' ORDER BY list.seq, info.seqno
        """,
        [name, schema]
      ).rows

    %{columns: columns, without_rowid: options, keys: keys}
  end

  # --- ALTER COLUMN -------------------------------------------------------------------------------------------------

  # Tried only. Whether it did what was wanted is seen afterwards; a view that does not compile makes it fail.
  defp alter_column(table, sql) do
    with {:ok, column, definition} <- alterable(table.sql, sql) do
      name = TableSql.slice(table.sql, column.name_range)

      try do
        # The semicolon is where the definition ends, so that a comment at its end is part of it.
        table.query.(
          ["ALTER TABLE ", StoredTable.quoted(table), " ALTER COLUMN ", name, " TO ", definition, ";"],
          []
        )
      rescue
        EctoLibSql.Error -> :ok
      end
    end
  end

  @doc """
  Returns the one column in which two texts differ, with its new definition, if ALTER COLUMN would replace just that.
  """
  @spec alterable(TableSql.t(), TableSql.t()) :: {:ok, TableSql.column(), String.t()} | :error
  def alterable(old, new) do
    with true <- length(old.columns) == length(new.columns),
         [{column, changed}] <-
           Enum.filter(Enum.zip(old.columns, new.columns), fn {a, b} ->
             definition(old, a) != definition(new, b)
           end),
         {from, _} = column.range,
         last = search_end(old.text, from + elem(column.name_range, 1), 0),
         true <- last != nil and last == next_token(old.text, finish(column)),
         behind = byte_size(old.text) - last,
         definition = binary_part(new.text, from, byte_size(new.text) - behind - from),
         true <-
           binary_part(old.text, 0, from) <> definition <> binary_part(old.text, last, behind) == new.text,
         true <- column.name_range == changed.name_range and plain?(old, column) and plain?(new, changed) do
      {:ok, column, definition}
    else
      _ -> :error
    end
  end

  defp definition(sql, column), do: TableSql.slice(sql, column.range)
  defp finish(%{range: {at, size}}), do: at + size

  # As libsqlAlterAlterColumn does it.
  defp search_end(text, at, depth) do
    case text do
      <<_::binary-size(at), ?,, _::binary>> -> at
      <<_::binary-size(at), ?(, _::binary>> -> search_end(text, at + 1, depth + 1)
      <<_::binary-size(at), ?), _::binary>> when depth == 0 -> at
      <<_::binary-size(at), ?), _::binary>> -> search_end(text, at + 1, depth - 1)
      <<_::binary-size(at), _, _::binary>> -> search_end(text, at + 1, depth)
      _ -> nil
    end
  end

  defp next_token(text, from) do
    [{_kind, at, _size} | _] = SqlLexer.tokens(binary_part(text, from, byte_size(text) - from))
    from + at
  end

  # It refuses to touch keys, UNIQUE and generated columns.
  defp plain?(sql, column) do
    not Enum.any?(column.clauses, &(&1.kind in [:primary_key, :unique, :generated])) and
      not Enum.any?(sql.constraints, fn constraint ->
        constraint.kind in [:primary_key, :unique] and
          TableSql.lower(column.name) in Enum.map(constraint.columns, &TableSql.lower/1)
      end)
  end

  # --- writable_schema ----------------------------------------------------------------------------------------------

  # Writes what the schema is to be, where it is not: the table's new text, and what ALTER COLUMN may have rewritten
  # elsewhere (it puts strings in double quotes into single ones).
  defp write!(table, before, sql) do
    now = MapSet.new(StoredTable.objects(table.schema, table.query))

    wanted =
      for {type, name, of, text} <- before do
        if type == "table" and name == table.name,
          do: {type, name, of, sql.text},
          else: {type, name, of, text}
      end

    case Enum.reject(wanted, &MapSet.member?(now, &1)) do
      [] -> :ok
      changes -> write_schema!(table, changes)
    end
  end

  defp write_schema!(%StoredTable{query: query} = table, changes) do
    StoredTable.no_server!(table)
    schema = [Quoting.name(table.schema), ?.]
    %{rows: [[version]]} = query.(["PRAGMA ", schema, "schema_version"], [])

    StoredTable.with_writable_schema(query, fn ->
      writable!(table)

      update = [
        "UPDATE ",
        StoredTable.schema_table(table.schema),
        " SET sql = ?1 WHERE type = ?2 AND name = ?3"
      ]

      for {type, name, _, text} <- changes, do: query.(update, [text, type, name])
      query.(["PRAGMA ", schema, "schema_version = #{version + 1}"], [])
    end)
  end

  defp writable!(table) do
    if table.query.("PRAGMA writable_schema", []).rows != [[1]] do
      StoredTable.error!(
        :schema_read_only,
        table.name,
        "this needs the text of #{table.name} to be replaced in the schema, which this connection forbids " <>
          "(SQLITE_DBCONFIG_DEFENSIVE)"
      )
    end
  end
end
