defmodule Ecto.Adapters.LibSql.Ddl do
  @moduledoc false
  # Migration commands as SQL, as far as the command alone tells what to do. Called by `Connection`. What depends on the
  # table that is there (`modify`, `remove`, `…_if_exists`, constraints, renamed indexes) is `Alter`'s, which takes its
  # columns from here.

  alias Ecto.Adapters.LibSql.{ColumnSql, Quoting, TableRules}
  alias Ecto.Migration.{Constraint, Index, Reference, Table}

  @creates [:create, :create_if_not_exists]
  @drops [:drop, :drop_if_exists]

  @doc "The statements of a command."
  @spec statements(Ecto.Adapter.Migration.command()) :: [iodata]
  def statements({command, %Table{} = table, columns}) when command in @creates do
    TableRules.check!(table, columns)

    case options(table.options) do
      {:virtual, module, arguments} -> [virtual_table(command, table, columns, module, arguments)]
      suffix -> [create_table(command, table, columns, suffix)]
    end
  end

  def statements({command, %Table{} = table, _mode}) when command in @drops do
    [["DROP TABLE ", if_exists(command), Quoting.table(table.prefix, table.name)]]
  end

  def statements({:alter, %Table{} = table, changes}), do: Enum.map(changes, &alter(table, &1))

  def statements({command, %Index{} = index}) when command in @creates, do: [create_index(command, index)]

  def statements({command, %Index{} = index, _mode}) when command in @drops do
    [["DROP INDEX ", if_exists(command), Quoting.table(index.prefix, index.name)]]
  end

  def statements({:rename, %Table{} = table, %Table{} = new}) do
    [["ALTER TABLE ", Quoting.table(table.prefix, table.name), " RENAME TO ", Quoting.name(new.name)]]
  end

  def statements({:rename, %Table{} = table, column, new}) do
    [
      [
        ["ALTER TABLE ", Quoting.table(table.prefix, table.name), " RENAME COLUMN ", Quoting.name(column)],
        [" TO ", Quoting.name(new)]
      ]
    ]
  end

  def statements({:rename, %Index{}, _new}), do: needs_table!("an index is renamed")
  def statements({:create, %Constraint{}}), do: needs_table!("a constraint is added")

  def statements({command, %Constraint{}, _mode}) when command in @drops,
    do: needs_table!("a constraint is dropped")

  def statements(sql) when is_binary(sql), do: [sql]

  def statements(keywords) when is_list(keywords) do
    raise ArgumentError, "the libSQL adapter does not support keyword lists in execute"
  end

  defp needs_table!(what) do
    raise ArgumentError,
          "#{what} by a migration that runs on a database: the statement depends on the table's own text"
  end

  # --- tables ---------------------------------------------------------------------------------------------------

  defp create_table(command, table, columns, suffix) do
    composite? = Enum.count(columns, &primary_key?/1) > 1
    definitions = Enum.map(columns, &column(&1, table, composite?, suffix))
    constraints = primary_key(columns, composite?) ++ composite_references(columns, table)

    [
      [
        "CREATE ",
        modifiers(table),
        "TABLE ",
        if_not_exists(command),
        Quoting.table(table.prefix, table.name),
        " ("
      ],
      [Enum.intersperse(definitions ++ constraints, ", "), ?), suffix]
    ]
  end

  # ecto_sql 3.14 and later have the field.
  defp modifiers(table) do
    case Map.get(table, :modifiers) do
      nil ->
        []

      modifiers when is_binary(modifiers) ->
        [modifiers, ?\s]

      other ->
        raise ArgumentError, "the option :modifiers takes a text such as \"TEMPORARY\", not #{inspect(other)}"
    end
  end

  defp column({:add, name, type, options}, table, composite?, suffix) do
    # WITHOUT ROWID has no AUTOINCREMENT, STRICT has few types.
    options =
      if suffix =~ ~r/WITHOUT\s+ROWID/i, do: Keyword.put(options, :autoincrement, false), else: options

    options = if suffix =~ ~r/\bSTRICT\b/i, do: Keyword.put(options, :strict, true), else: options
    ColumnSql.definition(table, name, type, options, composite?)
  end

  defp column({operation, name, _type, _options}, _table, _composite?, _suffix) do
    raise ArgumentError, "#{operation} #{inspect(name)} has no place in a table that is created"
  end

  defp primary_key?({_operation, _name, _type, options}), do: options[:primary_key] not in [nil, false]

  defp primary_key(_columns, false), do: []

  defp primary_key(columns, true) do
    names = for {_operation, name, _type, _options} = column <- columns, primary_key?(column), do: name
    [["PRIMARY KEY (", Quoting.names(names), ?)]]
  end

  defp composite_references(columns, table) do
    for {:add, name, %Reference{with: [_ | _]} = reference, _options} <- columns do
      ColumnSql.table_reference(table, name, reference)
    end
  end

  # --- options of tables ----------------------------------------------------------------------------------------

  defp options(nil), do: ""
  defp options(text) when is_binary(text), do: " " <> text

  defp options(options) when is_list(options) do
    Enum.find_value(options, fn
      {:rtree, true} -> {:virtual, "rtree", []}
      {:fts5, true} -> {:virtual, "fts5", []}
      {:fts5, arguments} when is_list(arguments) -> {:virtual, "fts5", arguments}
      {:using, module} -> {:virtual, to_string(module), []}
      _ -> nil
    end) || suffix(options)
  end

  defp suffix(options) do
    words = for {name, value} <- options, switch!(name, value), do: word!(name)

    case words do
      [] -> ""
      words -> " " <> Enum.join(words, ", ")
    end
  end

  defp switch!(_name, value) when is_boolean(value), do: value

  defp switch!(name, value) when name in [:strict, :without_rowid, :random_rowid] do
    raise ArgumentError, "the option #{inspect(name)} of a table takes true or false, not #{inspect(value)}"
  end

  defp switch!(_name, _value), do: true

  defp word!(:strict), do: "STRICT"
  defp word!(:without_rowid), do: "WITHOUT ROWID"
  defp word!(:random_rowid), do: "RANDOM ROWID"

  defp word!(other) do
    raise ArgumentError,
          "the libSQL adapter does not support keyword lists in :options, except of :strict, :without_rowid, " <>
            ":random_rowid, :fts5, :rtree and :using; #{inspect(other)} is none of them"
  end

  defp virtual_table(command, table, columns, module, arguments) do
    # Ecto adds an identifier by itself; fts5 has its rowid, rtree needs one as its first column.
    names =
      for {:add, name, type, options} <- columns,
          module == "rtree" or type == :text or not primary_key?({:add, name, type, options}),
          do: Quoting.name(name)

    arguments =
      for {name, value} <- arguments, do: [Atom.to_string(name), "=", Quoting.text(to_string(value))]

    [
      ["CREATE VIRTUAL TABLE ", if_not_exists(command), Quoting.table(table.prefix, table.name), " USING "],
      [module, ?(, Enum.intersperse(names ++ arguments, ", "), ?)]
    ]
  end

  # --- alter ----------------------------------------------------------------------------------------------------

  @doc "One change of a table, if nothing need be known of it."
  @spec alter(Table.t(), tuple) :: iodata
  def alter(_table, {:add, name, %Reference{with: [_ | _]}, _options}) do
    raise ArgumentError,
          "SQLite adds no foreign key of several columns to a table that exists (#{name}): create the table with it"
  end

  def alter(table, {:add, name, type, options}) do
    [
      "ALTER TABLE ",
      table_name(table),
      " ADD COLUMN ",
      ColumnSql.definition(table, name, type, options, false)
    ]
  end

  def alter(table, {:modify, name, type, options}) do
    [
      ["ALTER TABLE ", table_name(table), " ALTER COLUMN ", Quoting.name(name), " TO "],
      ColumnSql.definition(table, name, type, options, false)
    ]
  end

  def alter(table, change) when elem(change, 0) == :remove do
    ["ALTER TABLE ", table_name(table), " DROP COLUMN ", Quoting.name(elem(change, 1))]
  end

  def alter(_table, change) do
    needs_table!("#{elem(change, 0)} #{inspect(elem(change, 1))} is done")
  end

  defp table_name(table), do: Quoting.table(table.prefix, table.name)

  # --- indexes --------------------------------------------------------------------------------------------------

  defp create_index(command, %Index{} = index) do
    if index.nulls_distinct == false,
      do: unsupported!("nulls_distinct: false", "NULLs are distinct in its indexes")

    if index.unique and index.include != [],
      do: unsupported!("include in a unique index", "it would be part of the key")

    [
      ["CREATE ", if(index.unique, do: "UNIQUE ", else: []), "INDEX ", if_not_exists(command)],
      [Quoting.table(index.prefix, index.name), " ON ", Quoting.name(index.table), " ("],
      # An index that holds all columns of a query covers it, and needs no INCLUDE.
      Enum.map_intersperse(index.columns ++ index.include, ", ", &index_column(&1, index)),
      [?), if(index.where, do: [" WHERE ", to_string(index.where)], else: [])]
    ]
  end

  defp unsupported!(what, why), do: raise(ArgumentError, "SQLite has no #{what}: #{why}")

  defp index_column({direction, column}, index), do: [index_column(column, index), direction(direction)]

  # libSQL's vector indexes are called as a function of the column.
  defp index_column(column, %{using: using, options: options})
       when using in [:libsql_vector_idx, "libsql_vector_idx"] do
    ["libsql_vector_idx(", plain_column(column), if(options, do: [", ", options], else: []), ?)]
  end

  defp index_column(column, _index), do: plain_column(column)

  # A text is an expression.
  defp plain_column(column) when is_atom(column), do: Quoting.name(column)
  defp plain_column(column) when is_binary(column), do: column

  defp direction(:asc), do: " ASC"
  defp direction(:desc), do: " DESC"

  defp direction(other),
    do: unsupported!("#{other} in indexes", "it sorts NULLs first, and last if descending")

  defp if_not_exists(:create_if_not_exists), do: "IF NOT EXISTS "
  defp if_not_exists(:create), do: []
  defp if_exists(:drop_if_exists), do: "IF EXISTS "
  defp if_exists(:drop), do: []
end
