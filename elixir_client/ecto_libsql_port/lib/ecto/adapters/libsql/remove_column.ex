defmodule Ecto.Adapters.LibSql.RemoveColumn do
  @moduledoc false
  # `remove` of a column. What consists of the column goes with it: indexes, its foreign keys, UNIQUE and CHECK that name
  # it. SQLite's DROP COLUMN does the rest, once nothing in the table's text names the column any more. A table is copied
  # only if the column is its primary key or has a UNIQUE. Called by `Alter`.

  alias Ecto.Adapters.LibSql.{Quoting, SchemaText, StoredTable, TableCopy, TableEdit}
  alias EctoLibSql.{SqlLexer, TableSql}

  @doc "Removes a column."
  @spec run!(StoredTable.t(), String.t()) :: StoredTable.t()
  def run!(table, name) do
    column = column!(table, name)
    alone!(table, column)
    refuse_references!(table, column)
    refuse_generated!(table, column)
    refuse_triggers!(table, column)

    for index <- indexes(table, column),
        do: table.query.(["DROP INDEX ", StoredTable.quoted(table, index)], [])

    sql = TableEdit.reject(table.sql, fn clause, columns -> concerns?(clause, columns, column) end)

    if key?(table, column),
      do: copy(table, sql, column),
      else: drop(table, sql, column)
  end

  @doc "A column by its name."
  @spec column!(StoredTable.t(), String.t()) :: TableSql.column()
  def column!(table, name) do
    TableSql.column_named(table.sql, name) ||
      StoredTable.error!(:no_such_column, table.name, no_such_column(table.name, name))
  end

  @doc "What is said of a column that is not there."
  @spec no_such_column(String.t(), String.t()) :: String.t()
  def no_such_column(table, name), do: "the table #{table} has no column #{name}"

  # --- what holds the column ----------------------------------------------------------------------------------------

  # Columns are the names of the column that has the clause, or of those in a constraint of the table.
  defp concerns?(%{kind: :check} = clause, _columns, column),
    do: TableSql.lower(column.name) in clause.mentions

  defp concerns?(%{kind: kind}, columns, column) when kind in [:references, :unique, :primary_key],
    do: among?(column.name, columns)

  defp concerns?(_clause, _columns, _column), do: false

  defp among?(name, names), do: TableSql.lower(name) in Enum.map(names, &TableSql.lower/1)

  defp key?(table, column) do
    Enum.any?(column.clauses, &(&1.kind in [:primary_key, :unique])) or
      Enum.any?(
        table.sql.constraints,
        &(&1.kind in [:primary_key, :unique] and among?(column.name, &1.columns))
      )
  end

  defp alone!(table, column) do
    if length(table.sql.columns) == 1 do
      StoredTable.error!(
        :unsupported,
        table.name,
        "#{column.name} is the only column of #{table.name}, and a table has at least one: drop the table"
      )
    end

    for %{kind: :primary_key, columns: [_, _ | _] = columns} <- table.sql.constraints,
        among?(column.name, columns) do
      StoredTable.error!(
        :in_use,
        table.name,
        "#{column.name} is part of the primary key of #{table.name} (#{Enum.join(columns, ", ")}); without it rows " <>
          "may no longer be told apart. Drop the constraint #{table.name}_pkey first"
      )
    end

    if StoredTable.without_rowid?(table) and Enum.any?(StoredTable.columns(table), &primary?(&1, column)) do
      StoredTable.error!(
        :in_use,
        table.name,
        "#{column.name} is the primary key of #{table.name}, which a table WITHOUT ROWID must have"
      )
    end
  end

  defp primary?(%{name: name, pk: pk}, column), do: pk > 0 and name == column.name

  # A foreign key, also one of this table, that refers to the column.
  defp refuse_references!(table, column) do
    primary = for %{name: name, pk: pk} <- StoredTable.columns(table), pk > 0, do: name

    for child <- StoredTable.children(table),
        {columns, key} <- TableSql.foreign_keys(StoredTable.read!(child, table.schema, table.query).sql),
        TableSql.lower(key.table) == TableSql.lower(table.name),
        among?(column.name, if(key.targets == [], do: primary, else: key.targets)),
        not (child == table.name and among?(column.name, columns)) do
      StoredTable.error!(
        :in_use,
        table.name,
        "the foreign key #{key.name || "#{child}_#{hd(columns)}_fkey"} of #{child} refers to " <>
          "#{table.name}.#{column.name}: drop that constraint first"
      )
    end
  end

  defp refuse_generated!(table, column) do
    for other <- table.sql.columns,
        other.name != column.name,
        %{kind: :generated} = clause <- other.clauses do
      if TableSql.lower(column.name) in clause.mentions do
        StoredTable.error!(
          :in_use,
          table.name,
          "the generated column #{table.name}.#{other.name} is computed from #{column.name}: remove it first"
        )
      end
    end
  end

  # AFTER UPDATE OF column: the engine keeps such a trigger, which would never fire again.
  defp refuse_triggers!(table, column) do
    for {_schema, {"trigger", name, _, sql}} <- StoredTable.dependents(table),
        TableSql.lower(column.name) in update_of(sql) do
      StoredTable.error!(
        :in_use,
        table.name,
        "the trigger #{name} fires for updates of #{table.name}.#{column.name}: drop it first"
      )
    end
  end

  defp update_of(sql) do
    tokens = for token <- SqlLexer.tokens(sql), do: SqlLexer.text(sql, token)
    after_update = Enum.drop_while(tokens, &(TableSql.lower(&1) not in ["update", "on"]))

    case Enum.map(Enum.take(after_update, 2), &TableSql.lower/1) do
      ["update", "of"] ->
        after_update
        |> Enum.drop(2)
        |> Enum.take_while(&(TableSql.lower(&1) != "on"))
        |> Enum.map(&TableSql.lower(TableSql.unquoted(&1)))

      _ ->
        []
    end
  end

  # By their columns, their expressions and their WHERE.
  defp indexes(table, column) do
    for {_schema, {"index", name, _, sql}} <- StoredTable.dependents(table),
        TableSql.lower(column.name) in index_mentions(sql),
        do: name
  end

  defp index_mentions(sql) do
    {at, size} = SqlLexer.object_name(sql)
    rest = binary_part(sql, at + size, byte_size(sql) - at - size)
    # ON table ( … ) WHERE …
    [_on, {_, from, length} | _] = SqlLexer.tokens(rest)
    TableSql.mentions(binary_part(rest, from + length, byte_size(rest) - from - length))
  end

  # --- the two ways -------------------------------------------------------------------------------------------------

  defp copy(table, sql, column) do
    TableCopy.run!(table, TableEdit.remove(sql, TableSql.column_named(sql, column.name)))
  end

  defp drop(table, sql, column) do
    if StoredTable.server?(table) do
      drop_column(table, column)
      StoredTable.reread!(table)
    else
      wanted = TableEdit.remove(sql, TableSql.column_named(sql, column.name))
      table = SchemaText.replace!(table, droppable(sql, column))
      before = StoredTable.objects(table.schema, table.query)
      StoredTable.tolerating_broken(table.query, fn -> drop_column(table, column) end)

      # The engine leaves the comments of the column and takes those of the next one.
      table |> StoredTable.reread!() |> SchemaText.replace!(wanted, before)
    end
  end

  defp drop_column(table, column) do
    table.query.(["ALTER TABLE ", StoredTable.quoted(table), " DROP COLUMN ", Quoting.name(column.name)], [])
  end

  # The engine looks for the comma before the last column from its name backwards, in comments as well.
  defp droppable(sql, column) do
    name = column.name
    column = TableSql.column_named(sql, name)

    if List.last(sql.columns).name == name do
      before = Enum.at(sql.columns, -2)
      {at, size} = before.range
      from = at + size
      gap = binary_part(sql.text, from, elem(column.range, 0) - from)

      if String.trim(gap) == ",",
        do: sql,
        else: sql |> TableSql.edit([{{from, byte_size(gap)}, ", "}]) |> TableEdit.parse!()
    else
      sql
    end
  end
end
