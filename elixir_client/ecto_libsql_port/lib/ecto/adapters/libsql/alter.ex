defmodule Ecto.Adapters.LibSql.Alter do
  @moduledoc """
  Changes of tables that exist. They run in the migration's transaction, or in one of their own, and start from the text
  of the table that is there. A command that is refused raises `EctoLibSql.MigrationError` and changes nothing.

    * `modify` changes the type and what its options speak of: `:null`, `:default`, `:check`, `:collate`, `:generated`,
      `:primary_key`, and the foreign key if the type is `references/2`, or if `:from` says that it was one. The rest of
      the column stays as it is written, comments included. Rows that break the new column are counted and named.
      `:autoincrement` set to `false` takes AUTOINCREMENT from the primary key, which must be done before it can have
      another type than INTEGER. Identifiers of deleted rows may then be given again.
    * `add` also works where SQLite's ADD COLUMN does not: a primary key, a default that is computed, a STORED column.
      A foreign key of several columns is added with its last column.
    * `remove` takes along what consists of the column: its indexes, foreign keys, checks and UNIQUE constraints. It is
      refused while a generated column or another table's foreign key uses the column.
    * `create constraint` with `:check` adds a constraint; existing rows are checked, unless `validate: false`.
    * `drop constraint` drops a check, a foreign key, a UNIQUE or a primary key by its name. A constraint that was created
      without one goes by Ecto's name for it: `table_column_fkey`, `table_column_index`, `table_pkey`.
    * `add_if_not_exists`, `remove_if_exists` and `drop_if_exists` look first.
    * `rename index` creates it again under the new name.

  Each command is refused if a view or a trigger, of whichever table, would no longer compile that compiled before.

  ## How

  SQLite's own ADD, DROP and RENAME COLUMN and libSQL's ALTER COLUMN are used where they can do it. Where only the text of
  a table changes, its rows stay and the text is replaced in the schema. A table is copied where nothing else is left: the
  type of a column that has values, a primary key, a UNIQUE, a STORED column, a computed default. Indexes, triggers,
  rowids, the counter of AUTOINCREMENT and other tables' references to the table stay as they are. Rows, schema and
  foreign keys are compared with what they were before; if something differs, all is rolled back.

  Foreign keys are on all the time. A migration needs neither `@disable_ddl_transaction` nor a pragma.
  """

  alias Ecto.Adapters.LibSql.{ColumnSql, Ddl, ModifyColumn, Quoting, RemoveColumn, SchemaText}
  alias Ecto.Adapters.LibSql.{StoredTable, TableCopy, TableEdit}
  alias Ecto.Adapters.SQL
  alias Ecto.Migration.{Constraint, Index, Reference, Table}
  alias EctoLibSql.{SqlLexer, TableSql}

  @doc false
  @spec needed?(Ecto.Adapter.Migration.command()) :: boolean
  def needed?({:alter, %Table{}, _changes}), do: true
  def needed?({:rename, _index_or_table, _new}), do: true
  def needed?({:rename, %Table{}, _column, _new}), do: true
  def needed?({:create, %Constraint{}}), do: true
  def needed?({_drop, %Index{}, _mode}), do: true
  def needed?({_drop, %Constraint{}, _mode}), do: true
  def needed?(_command), do: false

  @doc false
  @spec run(map, Ecto.Adapter.Migration.command(), keyword) :: {:ok, []}
  def run(meta, command, options) do
    # One after the other: each reads what the one before has left.
    query = StoredTable.query(meta, options)
    {:ok, _} = SQL.transaction(meta, options, fn -> command(command, query) end)
    {:ok, []}
  end

  defp command({:alter, table, changes}, query), do: Enum.each(changes, &change(&1, table, query))
  defp command({:rename, %Index{} = index, new}, query), do: rename_index(index, new, query)

  defp command({:rename, %Table{} = table, _} = command, query) do
    # A virtual table has another name when the engine says so.
    unless StoredTable.there?("table", table.name, StoredTable.schema(table.prefix), query),
      do: StoredTable.read!(table, query)

    rename(command, query)
  end

  defp command({:rename, %Table{} = table, column, _} = command, query) do
    table |> StoredTable.read!(query) |> RemoveColumn.column!(to_string(column))
    rename(command, query)
  end

  defp command({drop, %Index{} = index, _mode} = command, query) do
    if drop == :drop and not StoredTable.there?("index", index.name, StoredTable.schema(index.prefix), query),
      do: no_such_index!(index, "drop")

    for sql <- Ddl.statements(command), do: query.(sql, [])
  end

  defp command({:create, %Constraint{check: check} = constraint}, query) when is_binary(check),
    do: create_check(constraint, query)

  defp command({:create, %Constraint{} = constraint}, _query) do
    StoredTable.error!(
      :unsupported,
      to_string(constraint.table),
      "SQLite has no exclusion constraints (#{constraint.name}): create it with :check, or use a unique index"
    )
  end

  defp command({drop, %Constraint{} = constraint, _mode}, query) do
    table = StoredTable.read!(%{name: constraint.table, prefix: constraint.prefix}, query)

    case constraint_named(table, to_string(constraint.name)) do
      nil when drop == :drop_if_exists -> :ok
      nil -> no_such_constraint!(table, constraint.name)
      found -> drop_constraint(table, found)
    end
  end

  # Also where a view or a trigger did not compile before.
  defp rename(command, query) do
    StoredTable.tolerating_broken(query, fn -> for sql <- Ddl.statements(command), do: query.(sql, []) end)
  end

  # --- changes --------------------------------------------------------------------------------------------------

  defp change({:add, name, type, options}, table, query), do: add(name, type, options, table, query)

  defp change({:add_if_not_exists, name, type, options}, table, query) do
    unless column?(table, name, query), do: add(name, type, options, table, query)
  end

  defp change({:remove, name}, table, query), do: remove(name, table, query)
  defp change({:remove, name, _type, _options}, table, query), do: remove(name, table, query)

  defp change({:remove_if_exists, name, _type}, table, query),
    do: change({:remove_if_exists, name}, table, query)

  defp change({:remove_if_exists, name}, table, query) do
    if column?(table, name, query), do: remove(name, table, query)
  end

  defp change({:modify, name, type, options}, table, query) do
    options = ColumnSql.options(type, options)
    stored = StoredTable.read!(table, query)

    StoredTable.compiling!(stored, "the new definition of #{stored.name}.#{name}", fn ->
      ModifyColumn.run!(stored, to_string(name), type, options, table)
    end)
  end

  defp remove(name, table, query), do: table |> StoredTable.read!(query) |> RemoveColumn.run!(to_string(name))

  defp column?(table, name, query) do
    stored = StoredTable.read!(table, query)
    TableSql.column_named(stored.sql, to_string(name)) != nil
  end

  # --- add ------------------------------------------------------------------------------------------------------

  defp add(name, type, options, table, query) do
    stored = StoredTable.read!(table, query)
    options = ModifyColumn.for_table(options, stored)

    if TableSql.column_named(stored.sql, to_string(name)) do
      StoredTable.error!(:unsupported, stored.name, "the table #{stored.name} has a column #{name} already")
    end

    definition = ColumnSql.definition(table, name, type, options, false)

    cond do
      options[:primary_key] not in [nil, false] -> add_key(stored, definition)
      empty?(stored) -> add_column(stored, definition)
      true -> add_to_rows(stored, to_string(name), definition, options)
    end

    with %Reference{with: [_ | _]} <- type do
      text = ColumnSql.table_reference(table, name, type)
      stored = StoredTable.read!(table, query)
      SchemaText.replace!(stored, TableEdit.add_constraint(stored.sql, text))
    end
  end

  defp empty?(stored),
    do: stored.query.(["SELECT 1 FROM ", StoredTable.quoted(stored), " LIMIT 1"], []).rows == []

  defp add_column(stored, definition),
    do: stored.query.(["ALTER TABLE ", StoredTable.quoted(stored), " ADD COLUMN ", definition], [])

  # The engine says what it cannot add to rows that exist: a default that is computed, one of a foreign key, a STORED
  # column. Then the table is copied.
  defp add_to_rows(stored, name, definition, options) do
    if options[:null] == false and options[:default] == nil and options[:generated] == nil do
      StoredTable.refuse_rows!(
        stored,
        "true",
        "would have no #{name}, which is to be NOT NULL; give it a :default, or add it with null: true, fill it, and " <>
          "modify it to null: false"
      )
    end

    try do
      add_column(stored, definition)
    rescue
      error in EctoLibSql.Error ->
        if EctoLibSql.Error.uncompilable?(error) or EctoLibSql.Error.constraint_violation?(error),
          do: add_by_copy(stored, definition, error, __STACKTRACE__),
          else: reraise(error, __STACKTRACE__)
    end
  end

  # A definition that is none is what the engine has said of it.
  defp add_by_copy(stored, definition, error, stacktrace) do
    case TableSql.parse(IO.iodata_to_binary(TableEdit.with_column(stored.sql, definition))) do
      {:ok, sql} -> TableCopy.run!(stored, sql)
      {:error, _} -> reraise(error, stacktrace)
    end
  end

  defp add_key(stored, definition) do
    key? = fn clause -> clause.kind == :primary_key end
    clauses = stored.sql.constraints ++ Enum.flat_map(stored.sql.columns, & &1.clauses)

    if Enum.any?(clauses, key?) do
      StoredTable.error!(
        :unsupported,
        stored.name,
        "the table #{stored.name} has a primary key already; drop the constraint #{stored.name}_pkey first, or modify " <>
          "its column with primary_key: false"
      )
    end

    TableCopy.run!(stored, TableEdit.add_column(stored.sql, definition))
  end

  # --- constraints ------------------------------------------------------------------------------------------------

  defp create_check(constraint, query) do
    table = StoredTable.read!(%{name: constraint.table, prefix: constraint.prefix}, query)
    name = to_string(constraint.name)

    if named(table, name) do
      StoredTable.error!(:unsupported, table.name, "the table #{table.name} has a constraint #{name} already")
    end

    check = ColumnSql.parenthesised(constraint.check)

    StoredTable.compiling!(table, "the constraint #{name}", fn ->
      if constraint.validate do
        StoredTable.refuse_rows!(table, ["NOT ", check], "do not meet the constraint #{name}")
      end

      SchemaText.replace!(
        table,
        TableEdit.add_constraint(table.sql, ["CONSTRAINT ", Quoting.name(name), " CHECK ", check])
      )
    end)
  end

  # The constraint, and the column whose clause it is.
  defp constraint_named(table, name), do: named(table, name) || by_default_name(table, name)

  defp named(table, name) do
    Enum.find(constraints(table), fn {clause, _} ->
      clause.name != nil and TableSql.lower(clause.name) == TableSql.lower(name)
    end)
  end

  defp by_default_name(table, name) do
    Enum.find(constraints(table), fn {clause, column} ->
      columns = if column, do: [column.name], else: clause.columns

      clause.name == nil and
        TableSql.lower(name) == TableSql.lower(default_name(table, clause.kind, columns) || "")
    end)
  end

  defp default_name(table, :references, [first | _]), do: "#{table.name}_#{first}_fkey"
  defp default_name(table, :unique, columns), do: "#{table.name}_#{Enum.join(columns, "_")}_index"
  defp default_name(table, :primary_key, _columns), do: "#{table.name}_pkey"
  defp default_name(_table, _kind, _columns), do: nil

  defp constraints(table) do
    of_columns = for column <- table.sql.columns, clause <- column.clauses, do: {clause, column}
    of_columns ++ Enum.map(table.sql.constraints, &{&1, nil})
  end

  defp drop_constraint(table, {clause, column}) do
    sql =
      if column,
        do: TableEdit.remove_clauses(table.sql, column, [clause]),
        else: TableEdit.remove(table.sql, clause)

    if clause.kind in [:unique, :primary_key],
      do: TableCopy.run!(table, sql),
      else: SchemaText.replace!(table, sql)
  end

  defp no_such_constraint!(table, name) do
    index? =
      Enum.any?(StoredTable.objects(table.schema, table.query), fn {type, other, _, _} ->
        type == "index" and TableSql.lower(other) == TableSql.lower(to_string(name))
      end)

    hint = if index?, do: "; #{name} is an index, which is dropped by `drop index`", else: ""

    StoredTable.error!(
      :no_such_constraint,
      table.name,
      "the table #{table.name} has no constraint #{name}#{hint}"
    )
  end

  # --- indexes ----------------------------------------------------------------------------------------------------

  defp rename_index(index, new, query) do
    schema = StoredTable.schema(index.prefix)
    name = to_string(index.name)

    found =
      Enum.find(StoredTable.objects(schema, query), fn {type, other, _, sql} ->
        type == "index" and sql != nil and TableSql.lower(other) == TableSql.lower(name)
      end)

    case found do
      {_, name, _, sql} ->
        query.(["DROP INDEX ", Quoting.table(schema, name)], [])
        {at, size} = SqlLexer.object_name(sql)
        rest = binary_part(sql, at + size, byte_size(sql) - at - size)
        query.([binary_part(sql, 0, at), Quoting.table(schema, new), rest], [])

      nil ->
        no_such_index!(index, "rename")
    end
  end

  defp no_such_index!(index, what) do
    StoredTable.error!(
      :no_such_index,
      to_string(index.table),
      "there is no index #{index.name} to #{what}, or it belongs to a constraint of its table"
    )
  end
end
