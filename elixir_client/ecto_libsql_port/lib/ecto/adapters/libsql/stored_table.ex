defmodule Ecto.Adapters.LibSql.StoredTable do
  @moduledoc false
  # A table that exists: its names, its text taken apart, and what the schema around it says. Read by `Alter`, which
  # passes `query`, a function that runs a statement in the migration's transaction. Statements name the schema, so that a
  # temporary table of the same name is never meant. Only a table of `main` that has no such twin goes by its name alone, as
  # the migration wrote it.

  alias Ecto.Adapters.LibSql.Quoting
  alias Ecto.Adapters.SQL
  alias EctoLibSql.{MigrationError, Query, SqlLexer, TableSql}

  @enforce_keys [:name, :schema, :sql, :query]
  defstruct @enforce_keys ++ [:label, :unshadowed]

  @typedoc """
  Runs a statement, or puts a pragma back (see `restoring/3`), or compiles statements: returns for each `nil` or why it does
  not compile.
  """
  @type query ::
          (iodata | {:restore, String.t()} | :compile, [term] ->
             EctoLibSql.Result.t() | [String.t() | nil] | term)
  @typedoc """
  `label` is the name in messages, where it is another. `unshadowed` is the name that was looked up among the temporary
  tables and is not one of theirs; a struct that is given another name has not been looked up.
  """
  @type t :: %__MODULE__{
          name: String.t(),
          schema: String.t(),
          sql: TableSql.t(),
          query: query,
          label: String.t() | nil,
          unshadowed: String.t() | nil
        }
  @typedoc "A row of sqlite_schema: type, name, table, text."
  @type object :: {String.t(), String.t(), String.t(), String.t() | nil}

  @doc """
  The function that runs statements for a migration command. They may write the text of the schema, which a defensive
  connection does not let SQL do.
  """
  @spec query(map, keyword) :: query
  def query(meta, options) do
    options = [pragmas: :own, defensive: false] ++ options

    fn
      # An error means that the connection has been closed, with its pragmas.
      {:restore, sql}, [] -> SQL.query(meta, %Query{operation: :restore, statement: sql}, [], options)
      :server?, [] -> meta.opts[:server] == true
      :compile, statements -> SQL.query!(meta, %Query{operation: :compile}, statements, options)
      sql, params -> SQL.query!(meta, IO.iodata_to_binary(sql), params, options)
    end
  end

  @doc """
  Runs a function, after which a pragma is set back by a statement, however it ends: also if the engine has rolled back the
  transaction or if the time is up. An exception of the function stays what it is.
  """
  @spec restoring(query, String.t(), (() -> result)) :: result when result: var
  def restoring(query, sql, fun) do
    fun.()
  after
    query.({:restore, sql}, [])
  end

  @doc """
  Runs a function while the engine's RENAME and DROP COLUMN do not look at views and triggers, whose errors they ignore while
  `writable_schema` is on; `CompileCheck` compares them. Where that pragma has no effect (SQLITE_DBCONFIG_DEFENSIVE, and on a server), the
  engine refuses what does not compile, also if it did not before.
  """
  @spec tolerating_broken(query, (() -> result)) :: result when result: var
  def tolerating_broken(query, fun),
    do: if(query.(:server?, []), do: fun.(), else: with_writable_schema(query, fun))

  @doc "Whether the engine is that of a server, which changes no text of the schema, and copies no table behind its references."
  @spec server?(t) :: boolean
  def server?(table), do: table.query.(:server?, [])

  @doc "Raises for a command that a server has no way to do."
  @spec no_server!(t) :: :ok
  def no_server!(table) do
    if server?(table) do
      error!(
        :unsupported,
        table.name,
        "#{table.name} would have to be written anew, which a server does not let its clients do: it has neither the pragma " <>
          "writable_schema nor legacy_alter_table. What ALTER TABLE of SQLite does works: add, rename and remove columns, rename the table. For " <>
          "the rest make a new table and copy the rows"
      )
    else
      :ok
    end
  end

  @doc """
  Runs a function with `writable_schema` on, and reads the schema anew afterwards, however the function ends.

  Reading it anew makes the engine forget that the transaction has changed it: a rollback, also of a savepoint, would leave
  what was read in the connection's memory, under a number that a later change by another connection gives to something
  else. Setting a version, here that of the temporary schema, reminds it.
  """
  @spec with_writable_schema(query, (() -> result)) :: result when result: var
  def with_writable_schema(query, fun) do
    %{rows: [[version]]} = query.("PRAGMA temp.schema_version", [])
    query.("PRAGMA writable_schema = 1", [])

    restoring(query, "PRAGMA temp.schema_version = #{version + 1}", fn ->
      restoring(query, "PRAGMA writable_schema = RESET", fun)
    end)
  end

  @doc "Reads a table. Raises `EctoLibSql.MigrationError` if there is none, or if it is a view or a virtual table."
  @spec read!(map, query) :: t
  def read!(%{name: name, prefix: prefix}, query), do: read!(to_string(name), schema(prefix), query)

  @spec read!(String.t(), String.t(), query) :: t
  def read!(name, schema, query) do
    shadowed = "EXISTS (SELECT 1 FROM sqlite_temp_schema WHERE name = ?1 COLLATE NOCASE)"

    sql = [
      "SELECT type, name, sql, ",
      shadowed,
      " FROM ",
      schema_table(schema),
      " WHERE name = ?1 COLLATE NOCASE"
    ]

    rows = query.([sql, " AND type IN ('table', 'view')"], [name]).rows

    case rows do
      [["table", name, text, shadowed]] ->
        table = %__MODULE__{name: name, schema: schema, sql: parse!(name, text), query: query}
        if schema == "main" and shadowed == 0, do: %{table | unshadowed: name}, else: table

      [["view", name, _, _]] ->
        error!(
          :unsupported,
          name,
          "#{name} is a view, which SQLite does not alter: drop it and create it again"
        )

      [] ->
        error!(:no_such_table, name, "there is no table #{name} in the database #{schema}")
    end
  end

  defp parse!(name, text) do
    case TableSql.parse(text || "") do
      {:ok, sql} ->
        sql

      {:error, :virtual} ->
        error!(
          :unsupported,
          name,
          "#{name} is a virtual table, which SQLite does not alter"
        )

      {:error, :unreadable} ->
        error!(
          :unsupported,
          name,
          "the text of the table #{name} in the schema cannot be read: #{inspect(text)}"
        )
    end
  end

  @doc "The name of the schema that a prefix means."
  @spec schema(atom | String.t() | nil) :: String.t()
  def schema(nil), do: "main"
  def schema(prefix), do: to_string(prefix)

  @doc "Reads the table again, after a change."
  @spec reread!(t) :: t
  def reread!(%__MODULE__{} = table), do: read!(table.name, table.schema, table.query)

  @doc "Raises `EctoLibSql.MigrationError`."
  @spec error!(atom, String.t(), String.t(), keyword) :: no_return
  def error!(code, table, message, fields \\ []) do
    raise MigrationError, [code: code, table: table, message: message] ++ fields
  end

  @doc """
  Runs a function that asks the engine about a definition of the migration. What does not compile in it is no fault of the
  statement that asks: raises `EctoLibSql.MigrationError` with what the engine says, and `what` it says it of.
  """
  @spec compiling!(t, String.t(), (() -> result)) :: result when result: var
  def compiling!(%__MODULE__{} = table, what, fun) do
    fun.()
  rescue
    error in EctoLibSql.Error ->
      if EctoLibSql.Error.uncompilable?(error),
        do: error!(:definition, table.name, "SQLite does not take #{what}: #{error.message}"),
        else: reraise(error, __STACKTRACE__)
  end

  # --- names --------------------------------------------------------------------------------------------------------

  @doc "The quoted name, with its schema where it could be another table's."
  @spec quoted(t) :: iodata
  def quoted(%__MODULE__{name: name, unshadowed: name}), do: Quoting.name(name)
  def quoted(%__MODULE__{} = table), do: Quoting.table(table.schema, table.name)

  @doc "The quoted name of something else in the same schema."
  @spec quoted(t, String.t()) :: iodata
  def quoted(%__MODULE__{} = table, name), do: Quoting.table(table.schema, name)

  @spec schema_table(String.t()) :: iodata
  def schema_table("temp"), do: "sqlite_temp_schema"
  def schema_table(schema), do: [Quoting.name(schema), ".sqlite_schema"]

  @doc "Whether a schema has something of this type and name."
  @spec there?(String.t(), atom | String.t(), String.t(), query) :: boolean
  def there?(type, name, schema, query) do
    Enum.any?(objects(schema, query), fn {other, there, _table, _sql} ->
      other == type and TableSql.lower(there) == TableSql.lower(to_string(name))
    end)
  end

  @doc "A name that nothing in the schema has."
  @spec free_name(t, String.t()) :: String.t()
  def free_name(%__MODULE__{} = table, wanted), do: free_name(wanted, table.schema, table.query)

  @spec free_name(String.t(), String.t(), query) :: String.t()
  def free_name(wanted, schema, query) do
    taken =
      for {_type, name, _table, _sql} <- objects(schema, query),
          into: MapSet.new(),
          do: TableSql.lower(name)

    [""]
    |> Stream.concat(Stream.map(Stream.iterate(1, &(&1 + 1)), &"_#{&1}"))
    |> Enum.find_value(fn suffix ->
      name = wanted <> suffix
      if not MapSet.member?(taken, TableSql.lower(name)), do: name
    end)
  end

  # --- the schema ---------------------------------------------------------------------------------------------------

  @doc "Everything in a schema, in its order."
  @spec objects(String.t(), query) :: [object]
  def objects(schema, query) do
    sql = ["SELECT type, name, tbl_name, sql FROM ", schema_table(schema), " ORDER BY rowid"]
    Enum.map(query.(sql, []).rows, &List.to_tuple/1)
  end

  @doc """
  The indexes and triggers of the table that somebody created, with their schema. For a trigger the engine keeps the
  table's name as CREATE TRIGGER wrote it, in whatever case.
  """
  @spec dependents(t) :: [{schema :: String.t(), object}]
  def dependents(%__MODULE__{} = table) do
    own =
      for {type, _, of, sql} = object <- objects(table.schema, table.query),
          type in ["index", "trigger"] and sql != nil and TableSql.lower(of) == TableSql.lower(table.name),
          do: {table.schema, object}

    own ++ temporary_triggers(table)
  end

  # A temporary trigger may be on a table of any schema. Which one it is, only the engine knows; `Alter` recreates those
  # that are gone with the old table.
  defp temporary_triggers(table) do
    for {"trigger", _, of, sql} = object <- objects("temp", table.query),
        TableSql.lower(of) == TableSql.lower(table.name) and sql != nil,
        do: {"temp", object}
  end

  @children """
  SELECT DISTINCT s.name FROM %schema AS s, pragma_foreign_key_list(s.name, ?2) AS k
  WHERE s.type = 'table' AND k."table" = ?1 COLLATE NOCASE
  """

  @doc "Names of the tables whose foreign keys refer to this one, itself included. They are all in its own schema."
  @spec children(t) :: [String.t()]
  def children(%__MODULE__{} = table) do
    sql = String.replace(@children, "%schema", IO.iodata_to_binary(schema_table(table.schema)))
    for [name] <- table.query.(sql, [table.name, table.schema]).rows, do: name
  end

  @doc "The columns as SQLite has them: `%{name, type, hidden, pk}`. `hidden` is 2 for VIRTUAL and 3 for STORED."
  @spec columns(t) :: [map]
  def columns(%__MODULE__{} = table) do
    sql = "SELECT name, type, hidden, pk FROM pragma_table_xinfo(?1, ?2)"

    for [name, type, hidden, pk] <- table.query.(sql, [table.name, table.schema]).rows,
        do: %{name: name, type: type, hidden: hidden, pk: pk}
  end

  @doc "Whether the table is WITHOUT ROWID."
  @spec without_rowid?(t) :: boolean
  def without_rowid?(%__MODULE__{} = table), do: "without rowid" in table.sql.options

  @doc "Whether the table is STRICT."
  @spec strict?(t) :: boolean
  def strict?(%__MODULE__{} = table), do: "strict" in table.sql.options

  @doc "The column that is the rowid (INTEGER PRIMARY KEY), `nil` if there is none."
  @spec rowid_column(t) :: String.t() | nil
  def rowid_column(%__MODULE__{} = table) do
    indexes =
      table.query.("SELECT 1 FROM pragma_index_list(?1, ?2) WHERE origin = 'pk'", [table.name, table.schema])

    case Enum.filter(columns(table), &(&1.pk > 0)) do
      [%{name: name}] when indexes.rows == [] -> if not without_rowid?(table), do: name
      _ -> nil
    end
  end

  @doc "The name by which the rowid can be had, `nil` if there is none or if columns have taken all three names."
  @spec rowid(t) :: String.t() | nil
  def rowid(%__MODULE__{} = table) do
    names = Enum.map(table.sql.columns, &TableSql.lower(&1.name))
    unless without_rowid?(table), do: Enum.find(~w(rowid _rowid_ oid), &(&1 not in names))
  end

  @doc "The text of an index or a trigger with the name of its schema, which the schema keeps without it."
  @spec qualified(String.t(), String.t()) :: iodata
  def qualified(sql, schema) do
    {at, _size} = SqlLexer.object_name(sql)
    [binary_part(sql, 0, at), Quoting.name(schema), ?., binary_part(sql, at, byte_size(sql) - at)]
  end

  # --- rows ---------------------------------------------------------------------------------------------------------

  @sample 5

  @doc """
  Raises with the number of rows that meet a condition and the keys of some of them. `what` follows "… rows of table".
  """
  @spec refuse_rows!(t, iodata, String.t()) :: :ok
  def refuse_rows!(%__MODULE__{} = table, condition, what) do
    # Without an index: one may be of the order from before the change.
    from = [" FROM ", quoted(table), " NOT INDEXED WHERE ", condition]

    case table.query.(["SELECT count(*)" | from], []).rows do
      [[0]] ->
        :ok

      [[count]] ->
        keys = keys(table)
        limit = Integer.to_string(@sample)
        rows = table.query.(["SELECT ", Quoting.names(keys), from, " LIMIT ", limit], []).rows
        sample = Enum.map(rows, &Enum.zip(keys, &1))

        name = table.label || table.name

        error!(:rows, name, "#{rows(count, name, what)}: #{said(sample, count)}",
          count: count,
          sample: sample
        )
    end
  end

  @singular %{"have" => "has", "do" => "does", "refer" => "refers", "would" => "would"}

  @doc """
  A number of rows, and what is said of them in the plural.

      iex> Ecto.Adapters.LibSql.StoredTable.rows(1, "users", "have no age")
      "1 row of users has no age"
  """
  @spec rows(pos_integer, String.t(), String.t()) :: String.t()
  def rows(1, table, what) do
    [verb, rest] = String.split(what, " ", parts: 2)
    "#{rows(1, table)} #{Map.fetch!(@singular, verb)} #{rest}"
  end

  def rows(count, table, what), do: "#{rows(count, table)} #{what}"

  @doc "A number of rows."
  @spec rows(pos_integer, String.t()) :: String.t()
  def rows(1, table), do: "1 row of #{table}"
  def rows(count, table), do: "#{count} rows of #{table}"

  @doc "Raises if several rows have the same values in columns that are to be UNIQUE."
  @spec refuse_duplicates!(t, [String.t()], String.t()) :: :ok
  def refuse_duplicates!(%__MODULE__{} = table, columns, what) do
    names = Quoting.names(columns)
    from = [" FROM ", quoted(table), " NOT INDEXED GROUP BY ", names, " HAVING count(*) > 1"]
    refuse_rows!(table, [?(, names, ") IN (SELECT ", names, from, ?)], what)
  end

  defp keys(table) do
    primary = table |> columns() |> Enum.filter(&(&1.pk > 0)) |> Enum.sort_by(& &1.pk)

    case {primary, rowid(table)} do
      {[_ | _], _} -> Enum.map(primary, & &1.name)
      {[], nil} -> table |> columns() |> Enum.map(& &1.name)
      {[], rowid} -> [rowid]
    end
  end

  defp said(sample, count) do
    rows =
      Enum.map_join(sample, "; ", fn row ->
        Enum.map_join(row, ", ", fn {name, value} -> "#{name} = #{short(value)}" end)
      end)

    if count > length(sample), do: rows <> " and #{count - length(sample)} more", else: rows
  end

  defp short(value) do
    text = inspect(value, printable_limit: 40, limit: 5)
    if String.length(text) > 80, do: String.slice(text, 0, 80) <> "…", else: text
  end

  # --- the engine's own checks ----------------------------------------------------------------------------------------

  @doc "What integrity_check says of the table; an empty list is good."
  @spec integrity(t) :: [String.t()]
  def integrity(%__MODULE__{} = table) do
    sql = ["PRAGMA ", Quoting.name(table.schema), ".integrity_check(", Quoting.name(table.name), ?)]
    for [line] <- table.query.(sql, []).rows, line != "ok", do: line
  end

  @doc "Broken foreign keys of tables, as `{table, rowid, parent}`, or the engine's complaint."
  @spec broken_references(t, [String.t()]) :: [tuple]
  def broken_references(%__MODULE__{} = table, names) do
    Enum.flat_map(names, fn name ->
      try do
        sql = "SELECT rowid, \"parent\" FROM pragma_foreign_key_check(?1, ?2)"

        for [rowid, parent] <- table.query.(sql, [name, table.schema]).rows,
            do: {name, rowid, TableSql.lower(parent)}
      rescue
        error in EctoLibSql.Error -> [{name, :mismatch, error.message}]
      end
    end)
  end
end
