defmodule Ecto.Adapters.LibSql.TableCopy do
  @moduledoc false
  # Copies a table into one of another form, which takes its place: SQLite's twelve steps
  # (https://www.sqlite.org/lang_altertable.html#otheralter) inside of a transaction. Called by `Alter` where SQLite leaves
  # no other way.
  #
  # Foreign keys cannot be switched off in a transaction, and while they are on, dropping a table deletes its rows first,
  # with all that ON DELETE does to the rows that refer to them. So the foreign keys that refer to the table, its own among
  # them, are taken out of the schema's text before and put back after. Nothing refers to the table while it is dropped, so
  # nothing is deleted, and whatever ends the transaction early brings everything back.
  #
  # Before the old table goes, the rows are compared. At the end the schema, the table's integrity, its foreign keys and
  # those that refer to it are compared with what they were.

  alias Ecto.Adapters.LibSql.{Quoting, SchemaText, StoredTable, TableCheck, TableEdit}
  alias EctoLibSql.TableSql

  @doc """
  Copies the table. `sql` is its new text, `changed` are the columns whose values may look different afterwards, each with
  the expression that gives them. Columns of the same name are copied. Returns the table as it is then.
  """
  @spec run!(StoredTable.t(), TableSql.t(), %{String.t() => iodata}) :: StoredTable.t()
  def run!(%StoredTable{} = table, %TableSql{} = sql, changed \\ %{}) do
    StoredTable.no_server!(table)
    refuse_no_key!(table, sql)
    referring = StoredTable.children(table)
    before = TableCheck.state(table, referring)
    kept = kept(table)

    children = for name <- referring, name != table.name, do: detach(table, name)
    # Dropped with deferred foreign keys of its own, it would delete its rows as well.
    bare = SchemaText.replace!(table, TableEdit.without_references(table.sql))
    copy = fill!(bare, sql, changed)
    swap!(bare, copy)
    if counted?(sql), do: restore(kept, table)

    table |> StoredTable.reread!() |> SchemaText.replace!(sql)
    for {child, text} <- children, do: child |> StoredTable.reread!() |> SchemaText.replace!(text)
    recreate(kept, table)

    table = StoredTable.reread!(table)
    TableCheck.compare!(table, before, TableCheck.state(table, referring))
    table
  end

  # --- foreign keys -------------------------------------------------------------------------------------------------

  defp detach(table, name) do
    child = StoredTable.read!(name, table.schema, table.query)
    {SchemaText.replace!(child, TableEdit.without_references_to(child.sql, table.name)), child.sql}
  end

  defp refuse_no_key!(table, sql) do
    if "without rowid" in sql.options and not Enum.any?(clauses(sql), &(&1.kind == :primary_key)) do
      StoredTable.error!(
        :in_use,
        table.name,
        "the table #{table.name} is WITHOUT ROWID and must have a primary key, so that it cannot be dropped"
      )
    end
  end

  # Without AUTOINCREMENT there is no counter.
  defp counted?(sql), do: Enum.any?(clauses(sql), &(:autoincrement in &1.flags))
  defp clauses(sql), do: sql.constraints ++ Enum.flat_map(sql.columns, & &1.clauses)

  # --- rows ---------------------------------------------------------------------------------------------------------

  # The copy is created without checks: a row that broke one before is no reason to refuse.
  defp fill!(table, sql, changed) do
    copy = StoredTable.free_name(table, "ecto_copy_of_#{table.name}")

    table.query.(
      ["CREATE TABLE ", StoredTable.quoted(table, copy), " ", TableEdit.body(TableEdit.bare(sql))],
      []
    )

    copy = StoredTable.read!(copy, table.schema, table.query)

    stored = for column <- StoredTable.columns(copy), column.hidden == 0, do: TableSql.lower(column.name)

    columns =
      for column <- StoredTable.columns(table),
          column.hidden == 0,
          TableSql.lower(column.name) in stored,
          do: column.name

    {rowid, join} = correspondence(table, copy, columns)

    if rowid ++ columns == [] do
      StoredTable.error!(:unsupported, table.name, "none of the columns of #{table.name} would be left")
    end

    changed = Map.new(changed, fn {name, value} -> {TableSql.lower(name), value} end)
    filled = for name <- rowid ++ columns, do: {name, changed[TableSql.lower(name)] || Quoting.name(name)}
    insert!(copy, table, sql, filled)
    same_rows!(copy, table, Enum.reject(columns, &is_map_key(changed, TableSql.lower(&1))), join)
    copy
  end

  # The rowid stays, unless a column is it. Returns what to copy beside the columns, and how rows of both are found.
  defp correspondence(table, copy, columns) do
    key = StoredTable.rowid_column(copy)
    copied? = key != nil and TableSql.lower(key) in Enum.map(columns, &TableSql.lower/1)
    same? = copied? and TableSql.lower(StoredTable.rowid_column(table) || "") == TableSql.lower(key)
    if copied? and not same?, do: refuse_no_rowid!(table, key)

    case shared_rowid(table, copy) do
      _ when same? -> {[], key}
      name when name == nil or copied? -> {[], nil}
      name -> {[name], name}
    end
  end

  # SQLite would make a number up.
  defp refuse_no_rowid!(table, key) do
    StoredTable.refuse_rows!(
      table,
      [Quoting.name(key), " IS NULL"],
      "have no #{key}, which is to be the primary key; give them one first"
    )
  end

  defp shared_rowid(table, copy) do
    taken = for column <- table.sql.columns ++ copy.sql.columns, do: TableSql.lower(column.name)

    unless StoredTable.without_rowid?(table) or StoredTable.without_rowid?(copy),
      do: Enum.find(~w(rowid _rowid_ oid), &(&1 not in taken))
  end

  # A conflict is an error, whatever ON CONFLICT says: no row is ignored or replaced.
  defp insert!(copy, table, sql, filled) do
    insert_into(copy, table, filled)
  rescue
    error in EctoLibSql.Error ->
      if EctoLibSql.Error.constraint_violation?(error) or error.code in [:mismatch, :type_mismatch, :too_big] do
        refuse_duplicates!(table, sql, filled, error.constraint)
        message = String.replace(error.message, copy.name, table.name)
        StoredTable.error!(:rows, table.name, "rows of #{table.name} do not fit its new form: #{message}")
      else
        reraise error, __STACKTRACE__
      end
  end

  # Columns and what they are filled with.
  defp insert_into(copy, table, filled) do
    {names, values} = Enum.unzip(filled)
    values = Enum.intersperse(values, ", ")

    from = [
      StoredTable.quoted(copy),
      " (",
      Quoting.names(names),
      ") SELECT ",
      values,
      " FROM ",
      StoredTable.quoted(table)
    ]

    table.query.(["INSERT OR ABORT INTO " | from], [])
  end

  # Which rows are equal is seen in a copy that takes them all.
  defp refuse_duplicates!(table, sql, filled, %{kind: kind, columns: [_ | _] = columns})
       when kind in [:unique, :primary_key] do
    if "without rowid" not in sql.options do
      open =
        sql
        |> TableEdit.bare()
        |> TableEdit.reject(fn clause, _ -> clause.kind in [:unique, :primary_key] end)

      name = StoredTable.free_name(table, "ecto_rows_of_#{table.name}")
      table.query.(["CREATE TABLE ", StoredTable.quoted(table, name), " ", TableEdit.body(open)], [])
      open = StoredTable.read!(name, table.schema, table.query)
      insert_into(open, table, filled)

      StoredTable.refuse_duplicates!(
        %{open | label: table.name},
        columns,
        "would be equal in #{Enum.join(columns, ", ")}"
      )
    end
  end

  defp refuse_duplicates!(_table, _sql, _filled, _constraint), do: :ok

  # The number of rows, and the values of all columns that are to stay, with their types. Rows are found by their
  # rowid where it stays, else each is looked for in the other table.
  defp same_rows!(copy, table, columns, join) do
    counts = for one <- [table, copy], do: count(table, ["SELECT count(*) FROM ", StoredTable.quoted(one)])

    different =
      cond do
        columns == [] -> 0
        join -> differing(table, copy, columns, Quoting.name(join))
        true -> missing(table, copy, columns) + missing(copy, table, columns)
      end

    if length(Enum.uniq(counts)) > 1 or different > 0 do
      StoredTable.error!(
        :verification,
        table.name,
        "the copy of #{table.name} is not equal to it: #{inspect(counts)} rows, #{different} of them differ"
      )
    end
  end

  defp count(table, sql), do: table.query.(sql, []).rows |> hd() |> hd()

  defp differing(table, copy, columns, join) do
    differences =
      for column <- columns do
        [a, b] = for side <- ["a", "b"], do: [side, ?., Quoting.name(column)]
        [a, " IS NOT ", b, " COLLATE BINARY OR typeof(", a, ") <> typeof(", b, ?)]
      end

    tables = [StoredTable.quoted(table), " AS a LEFT JOIN ", StoredTable.quoted(copy), " AS b"]
    on = [" ON b.", join, " = a.", join]
    count(table, ["SELECT count(*) FROM ", tables, on, " WHERE b.", join, " IS NULL OR ", any(differences)])
  end

  # As a tree, because the engine limits the depth of an expression (1000) below the number of columns (2000).
  defp any([one]), do: one

  defp any(conditions) do
    {left, right} = Enum.split(conditions, div(length(conditions), 2))
    [?(, any(left), ") OR (", any(right), ?)]
  end

  # quote() tells types and all digits apart.
  defp missing(table, copy, columns) do
    values = Enum.map_intersperse(columns, ", ", &["quote(", Quoting.name(&1), ?)])
    [a, b] = for one <- [table, copy], do: ["SELECT ", values, " FROM ", StoredTable.quoted(one)]
    count(table, ["SELECT count(*) FROM (", a, " EXCEPT ", b, ?)])
  end

  # --- the old table goes ---------------------------------------------------------------------------------------------

  defp swap!(table, copy) do
    table.query.(["DROP TABLE ", StoredTable.quoted(table)], [])

    # Else views and triggers that name the table keep the copy from taking its name.
    TableCheck.with_legacy_alter_table(table, 1, fn ->
      table.query.(["ALTER TABLE ", StoredTable.quoted(copy), " RENAME TO ", Quoting.name(table.name)], [])
    end)
  end

  # --- what goes with a table and comes back --------------------------------------------------------------------------

  # Indexes and triggers, the counter of AUTOINCREMENT, and what ANALYZE has found.
  defp kept(table) do
    tables = for {"table", name, _, _} <- StoredTable.objects(table.schema, table.query), do: name

    %{
      dependents: StoredTable.dependents(table),
      sequence: if("sqlite_sequence" in tables, do: sequence(table), else: []),
      statistics:
        for(name <- ["sqlite_stat1", "sqlite_stat4"], name in tables, do: {name, statistics(table, name)})
    }
  end

  defp sequence(table) do
    sql = ["SELECT name, seq FROM ", StoredTable.quoted(table, "sqlite_sequence"), " WHERE name = ?1"]
    table.query.(sql, [table.name]).rows
  end

  # Aside in the database, where values keep their types. They go with the table.
  defp statistics(table, name) do
    aside = StoredTable.free_name(table, "ecto_#{name}")
    rows = ["SELECT * FROM ", StoredTable.quoted(table, name), " WHERE tbl = ", Quoting.text(table.name)]
    table.query.(["CREATE TABLE ", StoredTable.quoted(table, aside), " AS " | rows], [])
    aside
  end

  defp restore(%{sequence: []}, _table), do: :ok

  defp restore(%{sequence: [[name, former] | _]}, table) do
    sequence = StoredTable.quoted(table, "sqlite_sequence")

    case table.query.(["SELECT seq FROM ", sequence, " WHERE name = ?1"], [name]).rows do
      [[now] | _] ->
        table.query.(["UPDATE ", sequence, " SET seq = ?1 WHERE name = ?2"], [max(now, former), name])

      [] ->
        table.query.(["INSERT INTO ", sequence, " (name, seq) VALUES (?1, ?2)"], [name, former])
    end
  end

  defp recreate(kept, table) do
    there = names(table.schema, table)
    there_temp = names("temp", table)

    for {schema, {type, name, _, sql}} <- kept.dependents do
      present = if schema == "temp", do: there_temp, else: there
      if {type, name} not in present, do: table.query.(StoredTable.qualified(sql, schema), [])
    end

    for {name, aside} <- kept.statistics do
      aside = StoredTable.quoted(table, aside)
      indexes = ["SELECT name FROM ", StoredTable.schema_table(table.schema), " WHERE type = 'index'"]
      rows = [" SELECT * FROM ", aside, " WHERE idx IS NULL OR idx IN (", indexes, ?)]
      table.query.(["INSERT INTO ", StoredTable.quoted(table, name) | rows], [])
      table.query.(["DROP TABLE ", aside], [])
    end
  end

  defp names(schema, table) do
    for {type, name, _, _} <- StoredTable.objects(schema, table.query), into: MapSet.new(), do: {type, name}
  end
end
