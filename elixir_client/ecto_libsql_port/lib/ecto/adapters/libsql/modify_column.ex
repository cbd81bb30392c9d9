defmodule Ecto.Adapters.LibSql.ModifyColumn do
  @moduledoc false
  # `modify` of a column: its text is edited, and the rows are checked and, where their values look different afterwards,
  # copied. Called by `Alter`.

  alias Ecto.Adapters.LibSql.{ColumnSql, ColumnText, Quoting, RemoveColumn, SchemaText, StoredTable}
  alias Ecto.Adapters.LibSql.{TableCheck, TableCopy, TableEdit}
  alias Ecto.Migration.Reference
  alias EctoLibSql.TableSql

  @doc "The options of a column in a table that exists."
  @spec for_table(keyword, StoredTable.t()) :: keyword
  def for_table(options, stored) do
    options = if StoredTable.strict?(stored), do: Keyword.put(options, :strict, true), else: options
    # WITHOUT ROWID has no AUTOINCREMENT.
    if StoredTable.without_rowid?(stored), do: Keyword.put(options, :autoincrement, false), else: options
  end

  @doc "Changes a column. `migration` is the table as the migration names it."
  @spec run!(StoredTable.t(), String.t(), term, keyword, Ecto.Migration.Table.t()) :: StoredTable.t()
  def run!(stored, name, type, options, migration) do
    column = RemoveColumn.column!(stored, name)
    options = for_table(options, stored)
    sql = text(stored, column, type, options, migration)
    new = TableSql.column_named(sql, name)

    if sql.text == stored.sql.text do
      stored
    else
      change!(stored, sql, %{old: column, new: new, type: type, options: options})
    end
  end

  # --- the text -----------------------------------------------------------------------------------------------------

  defp text(stored, column, type, options, migration) do
    stored.sql
    |> without_table_reference(column, type, options)
    |> ColumnText.modify(column, migration, type, options)
    |> counted(column.name, options)
    |> with_table_reference(column, type, migration)
  end

  # A foreign key of this column that stands with the table.
  defp without_table_reference(sql, column, type, options) do
    if ColumnText.reference?(type, options) do
      columns = [column.name | Enum.map(from_columns(options[:from]), &to_string/1)]
      lower = Enum.map(columns, &TableSql.lower/1)

      TableEdit.reject(sql, fn clause, own ->
        clause.kind == :references and clause.columns != [] and
          Enum.map(own, &TableSql.lower/1) in [lower, [hd(lower)]]
      end)
    else
      sql
    end
  end

  defp from_columns({%Reference{with: with}, _options}), do: Keyword.keys(with)
  defp from_columns(%Reference{with: with}), do: Keyword.keys(with)
  defp from_columns(_from), do: []

  defp with_table_reference(sql, column, %Reference{with: [_ | _]} = reference, migration),
    do: TableEdit.add_constraint(sql, ColumnSql.table_reference(migration, column.name, reference))

  defp with_table_reference(sql, _column, _type, _migration), do: sql

  # Only an INTEGER can be counted up. To give that up must be said, as rows would no longer get an identifier.
  defp counted(sql, name, options) do
    column = TableSql.column_named(sql, name)
    counts? = Enum.any?(column.clauses, &counts?/1) or Enum.any?(sql.constraints, &counts?(&1, name))
    type = ColumnText.type(sql, column)

    cond do
      counts? and options[:autoincrement] == false ->
        TableEdit.without_autoincrement(sql)

      counts? and String.upcase(type) != "INTEGER" ->
        StoredTable.error!(
          :unsupported,
          sql.name,
          "#{sql.name}.#{name} has AUTOINCREMENT, which a #{type} cannot have; modify it with autoincrement: false first"
        )

      true ->
        sql
    end
  end

  defp counts?(clause), do: clause.kind == :primary_key and :autoincrement in clause.flags

  defp counts?(clause, name),
    do: counts?(clause) and TableSql.lower(name) in Enum.map(clause.columns, &TableSql.lower/1)

  # --- rows ---------------------------------------------------------------------------------------------------------

  defp change!(stored, sql, change) do
    refuse_generated!(stored, change)
    refuse_nulls!(stored, change)
    refuse_unchecked!(stored, change)
    refuse_targets!(stored, change)
    refuse_orphans!(stored, change)
    refuse_values!(stored, sql, change)

    cond do
      copy?(stored, sql, change) ->
        TableCopy.run!(stored, sql, %{change.old.name => converted(stored, sql, change)})

      restricting?(stored, sql, change) ->
        replace_checked!(stored, sql, change)

      true ->
        SchemaText.replace!(stored, sql)
    end
  end

  # Its values would be computed from then on, and those that are there would be lost.
  defp refuse_generated!(stored, %{old: old, new: new}) do
    if ColumnText.has?(new, :generated) and not ColumnText.has?(old, :generated) do
      what = "have a #{old.name} that would be lost if it were computed; remove the column and add it"
      StoredTable.refuse_rows!(stored, [Quoting.name(old.name), " IS NOT NULL"], what)
    end
  end

  defp refuse_nulls!(stored, %{old: old, new: new}) do
    if ColumnText.has?(new, :not_null) and not ColumnText.has?(old, :not_null) do
      what = "have no #{old.name}, which is to be NOT NULL"
      StoredTable.refuse_rows!(stored, [Quoting.name(old.name), " IS NULL"], what)
    end
  end

  defp refuse_unchecked!(stored, %{options: options, old: old}) do
    case options[:check] do
      nil ->
        :ok

      check ->
        expression = if is_map(check), do: check.expr, else: check
        condition = ["NOT ", ColumnSql.parenthesised(expression)]
        StoredTable.refuse_rows!(stored, condition, "do not meet the check of #{old.name}")
    end
  end

  defp refuse_orphans!(stored, %{type: %Reference{with: [], validate: true} = reference, old: old}) do
    value = [Quoting.name(stored.name), ?., Quoting.name(old.name)]
    parent = to_string(reference.table)
    parents = [StoredTable.quoted(stored, parent), " AS p WHERE p.", Quoting.name(target(reference))]

    condition =
      if StoredTable.there?("table", parent, stored.schema, stored.query),
        do: [value, " IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ", parents, " = ", value, ?)],
        else: [value, " IS NOT NULL"]

    StoredTable.refuse_rows!(
      stored,
      condition,
      "refer by #{old.name} to rows of #{parent} that are not there"
    )
  end

  defp refuse_orphans!(_stored, _change), do: :ok

  # A table that is not there yet may have the columns when it is created.
  defp refuse_targets!(stored, %{type: %Reference{} = reference}) do
    parent = to_string(reference.table)
    columns = for %{name: name} <- StoredTable.columns(%{stored | name: parent}), do: TableSql.lower(name)

    for target <- [target(reference) | Keyword.values(reference.with)],
        columns != [] and TableSql.lower(to_string(target)) not in columns do
      StoredTable.error!(
        :no_such_column,
        parent,
        RemoveColumn.no_such_column(parent, target) <>
          ", which a foreign key is to refer to; name another one with references(#{inspect(parent)}, column: …)"
      )
    end
  end

  defp refuse_targets!(_stored, _change), do: :ok

  defp target(reference), do: reference.column || :id

  # Values that the new type does not take as they are: a text in an INTEGER, an integer of more than 53 bits in a REAL. They
  # are put into a column of the type to see what becomes of them.
  defp refuse_values!(stored, sql, %{old: old, new: new} = change) do
    type = ColumnText.type(sql, new)

    rejected =
      if converts?(stored, sql, change),
        do: rejected(type, decimal?(change, type), StoredTable.strict?(stored))

    if rejected do
      probe = StoredTable.quoted(stored, StoredTable.free_name(stored, "ecto_values"))
      value = Quoting.name(old.name)
      # What `decimal` makes of a text that is no number is an error.
      probed = if decimal?(change, type), do: value, else: converted(stored, sql, change)
      stored.query.(["CREATE TABLE ", probe, " (raw, value ", affine(type), ?)], [])

      stored.query.(
        [
          ["INSERT INTO ", probe, " SELECT DISTINCT ", value, " COLLATE BINARY, ", probed],
          [" FROM ", StoredTable.quoted(stored), " WHERE ", value, " IS NOT NULL"]
        ],
        []
      )

      condition = [value, " COLLATE BINARY IN (SELECT raw FROM ", probe, " WHERE ", rejected, ?)]
      StoredTable.refuse_rows!(stored, condition, "have a #{old.name} that #{type} does not take unchanged")
      stored.query.(["DROP TABLE ", probe], [])
    end
  end

  defp affine(type), do: if(type =~ ~r/\Aint\z/i, do: "INTEGER", else: type)

  # Of a row with a value as it is (`raw`) and as the type stores it (`value`). Numbers are compared exactly, texts by
  # their digits. Texts and blobs take all values, except in a STRICT table.
  defp rejected(_type, true, _strict?), do: "typeof(value) = 'text'"

  defp rejected(type, false, strict?) do
    case ColumnText.affinity(type) do
      :integer -> rounded("typeof(value) <> 'integer'")
      :real -> rounded("typeof(value) <> 'real'")
      :numeric -> rounded("false")
      :text when strict? -> "typeof(value) <> 'text'"
      :blob when strict? -> if(String.upcase(type) == "BLOB", do: "typeof(value) <> 'blob'")
      _ -> nil
    end
  end

  defp rounded(refused) do
    [
      ["CASE WHEN ", refused, " THEN true WHEN typeof(value) NOT IN ('integer', 'real') THEN false"],
      " WHEN typeof(raw) <> 'text' THEN raw <> value WHEN value IN (9e999, -9e999) THEN true",
      " ELSE decimal(raw) IS NOT decimal(value) END"
    ]
  end

  # The column's values as the new type is to store them, where its affinity would round them: it reads and writes
  # numbers with some 15 digits.
  defp converted(stored, sql, %{old: old, new: new} = change) do
    value = Quoting.name(old.name)
    type = ColumnText.type(sql, new)
    from_decimal? = ColumnText.decimal?(ColumnText.type(stored.sql, old))

    case if(decimal?(change, type), do: :decimal, else: ColumnText.affinity(type)) do
      :decimal ->
        ["CASE typeof(", value, ") WHEN 'text' THEN decimal(", value, ") ELSE ", value, " END"]

      :real ->
        [
          "CASE typeof(",
          value,
          ") WHEN 'text' THEN coalesce(float_of_text(",
          value,
          "), ",
          value,
          ") ELSE ",
          value,
          " END"
        ]

      :text when from_decimal? ->
        [
          "CASE WHEN typeof(",
          value,
          ") IN ('real', 'blob') THEN decimal_text(",
          value,
          ") ELSE ",
          value,
          " END"
        ]

      :text ->
        [
          ["CASE WHEN typeof(", value, ") = 'real' AND abs(", value, ") < 9e999"],
          [" THEN float_text(", value, ") ELSE ", value, " END"]
        ]

      _ ->
        value
    end
  end

  # In a STRICT table a decimal is declared as ANY.
  defp decimal?(%{type: type}, declared), do: type in [:decimal, :numeric] or ColumnText.decimal?(declared)

  # --- how ------------------------------------------------------------------------------------------------------------

  defp copy?(stored, sql, %{old: old, new: new} = change) do
    cond do
      not SchemaText.same_rows?(stored, sql) -> true
      ColumnText.stored?(new) -> retyped?(stored, sql, change) or change.options[:generated] != nil
      ColumnText.has?(new, :generated) -> false
      keyed_without_rowid?(stored, old) -> retyped?(stored, sql, change) or collated?(change)
      true -> converts?(stored, sql, change)
    end
  end

  defp keyed_without_rowid?(stored, column) do
    StoredTable.without_rowid?(stored) and
      Enum.any?(StoredTable.columns(stored), &(&1.pk > 0 and &1.name == column.name))
  end

  defp retyped?(stored, sql, %{old: old, new: new}) do
    [before, now] = [ColumnText.type(stored.sql, old), ColumnText.type(sql, new)]

    if StoredTable.strict?(stored),
      do: before != now,
      else: ColumnText.affinity(before) != ColumnText.affinity(now)
  end

  # Whether there are values that another type makes other ones of.
  defp converts?(stored, sql, %{old: old} = change) do
    retyped?(stored, sql, change) and not ColumnText.has?(old, :generated) and
      stored.query.(
        [
          ["SELECT 1 FROM ", StoredTable.quoted(stored), " WHERE ", Quoting.name(old.name)],
          " IS NOT NULL LIMIT 1"
        ],
        []
      ).rows != []
  end

  defp collated?(%{options: options}),
    do: Keyword.has_key?(options, :collate) or Keyword.has_key?(options, :collation)

  # A default, or a NULL that is allowed, breaks no row.
  defp restricting?(stored, sql, %{options: options} = change) do
    retyped?(stored, sql, change) or collated?(change) or options[:null] == false or
      options[:check] != nil or options[:generated] != nil or ColumnText.reference?(change.type, options)
  end

  defp replace_checked!(stored, sql, change) do
    referring = StoredTable.children(stored)
    before = TableCheck.state(stored, referring)
    table = SchemaText.replace!(stored, sql)

    # Indexes are kept in the order of the collation and of the values of the column.
    if retyped?(stored, sql, change) or collated?(change) or change.options[:generated] != nil,
      do: reindex!(table)

    now = TableCheck.state(table, referring)
    before = if unvalidated?(change.type), do: %{before | broken: now.broken}, else: before
    TableCheck.compare!(table, before, now)
    table
  end

  defp unvalidated?(%Reference{validate: false}), do: true
  defp unvalidated?(_type), do: false

  defp reindex!(table) do
    table.query.(["REINDEX ", StoredTable.quoted(table)], [])
  rescue
    error in EctoLibSql.Error ->
      with %{constraint: %{columns: [_ | _] = columns}} <- error do
        StoredTable.refuse_duplicates!(table, columns, "would be equal in #{Enum.join(columns, ", ")}")
      end

      reraise(error, __STACKTRACE__)
  end
end
